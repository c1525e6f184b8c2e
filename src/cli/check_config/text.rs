//! Findings for people.

use std::io::{self, Write};

use unicode_width::UnicodeWidthChar as _;

use crate::cli::output::{BOLD, CYAN, RED, YELLOW};
use crate::config::load::snippet;
use crate::config::{Finding, Severity};

/// In front of the source: `12345 | `.
const MARGIN: usize = 8;

/// `file:line:column: error[code]: what is wrong; what to do`.
pub(super) fn short(out: &mut impl Write, file: &str, finding: &Finding) -> io::Result<()> {
    head(out, file, finding, &finding.sentence())
}

/// `file:line:column: error[code]: what is wrong`, under it the line of the file with a caret,
/// and what to do.
pub(super) fn full(
    out: &mut impl Write,
    file: &str,
    finding: &Finding,
    text: &str,
    columns: usize,
) -> io::Result<()> {
    head(out, file, finding, &finding.message)?;
    let style = style(finding.severity);
    let (source, before, marked) = snippet(text, finding);
    let Window { part, at } = window(&source, before, columns.saturating_sub(MARGIN));
    // Tabs stay tabs in the second line, so that the caret stands under its character.
    let indent: String = part
        .chars()
        .take(at)
        .map(|c| if c == '\t' { "\t".to_owned() } else { " ".repeat(width(c)) })
        .collect();
    let carets: usize = part.chars().skip(at).take(marked).map(width).sum();
    writeln!(out, "{CYAN}{:>5} |{CYAN:#} {part}", finding.line)?;
    writeln!(out, "      {CYAN}|{CYAN:#} {indent}{style}{}{style:#}", "^".repeat(carets.max(1)))?;
    if finding.help.is_empty() {
        return Ok(());
    }
    writeln!(out, "      {CYAN}= help:{CYAN:#} {}", finding.help)
}

fn head(out: &mut impl Write, file: &str, finding: &Finding, said: &str) -> io::Result<()> {
    let Finding { line, column, code, .. } = finding;
    let (style, severity) = (style(finding.severity), finding.severity.as_str());
    writeln!(out, "{BOLD}{file}:{line}:{column}:{BOLD:#} {style}{severity}[{code}]{style:#}: {said}")
}

fn style(severity: Severity) -> anstyle::Style {
    match severity {
        Severity::Error => RED,
        Severity::Warning => YELLOW,
        Severity::Note => CYAN,
    }
}

/// Columns that a character takes; a tab may take up to eight.
fn width(c: char) -> usize {
    if c == '\t' { 8 } else { c.width().unwrap_or(1) }
}

/// What is shown of a line.
struct Window {
    part: String,
    /// How many of its characters stand before the place.
    at: usize,
}

/// The part of a long line around the character at `at` that fits into `columns`.
fn window(line: &str, at: usize, columns: usize) -> Window {
    /// Less than this shows nothing.
    const LEAST: usize = 20;
    let columns = columns.max(LEAST);
    let clean = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let chars: Vec<char> = line.chars().map(clean).collect();
    if chars.iter().copied().map(width).sum::<usize>() <= columns {
        return Window { part: chars.into_iter().collect(), at };
    }
    // A third of the room goes to what stands before the place; a column each to the two `…`.
    let head: usize = chars.iter().take(at).copied().map(width).sum();
    let mut start = 0;
    if head > columns / 2 {
        let mut room = columns / 3;
        start = at;
        for c in chars.iter().take(at).rev() {
            let Some(rest) = room.checked_sub(width(*c)) else { break };
            room = rest;
            start -= 1;
        }
    }
    let mut part = String::new();
    let mut room = columns - 1;
    if start > 0 {
        part.push('…');
        room -= 1;
    }
    for c in chars.iter().skip(start) {
        let Some(rest) = room.checked_sub(width(*c)) else {
            part.push('…');
            break;
        };
        room = rest;
        part.push(*c);
    }
    Window { part, at: at - start + usize::from(start > 0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check;

    fn shown(text: &str, columns: usize) -> String {
        let checked = check(text, &|_| Err(std::env::VarError::NotPresent));
        let mut out = Vec::new();
        for finding in &checked.findings {
            full(&mut out, "f.json", finding, text, columns).unwrap();
        }
        anstream::adapter::strip_bytes(&out).into_vec().try_into().unwrap()
    }

    #[test]
    fn the_caret_stands_under_its_word_and_keys_are_blotted_out() {
        let text = "{\n\t\"é\": 1, \"ak\": \"sesam\", \"port\": \"x\",\n \"providers\": [{}]}";
        let shown = shown(text, 120);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines[..6],
            [
                "f.json:2:2: warning[unknown-key]: unknown key `é` in the top level",
                "    2 | \t\"é\": 1, \"ak\": \"•••••\", \"port\": \"x\",",
                "      | \t^^^",
                "f.json:2:33: error[wrong-type]: `port` should be a whole number from 0 to 65535, found a string",
                "    2 | \t\"é\": 1, \"ak\": \"•••••\", \"port\": \"x\",",
                "      | \t                               ^^^",
            ],
            "{shown}"
        );
        assert!(!shown.contains("sesam"));
    }

    #[test]
    fn help_stands_below_and_wide_characters_take_two_columns() {
        let text =
            "{\"providers\": [{\"name\": \"模型\", \"base_url\": \"h\", \"api_key\": \"\", \"models\": []}]}";
        let shown = shown(text, 200);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[2], format!("      | {}^^^", " ".repeat(44)), "{shown}");
        assert_eq!(
            lines[3], "      = help: write `https://HOST`, or `http://` for a server of your own",
            "{shown}"
        );
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text =
            format!("{{\"a\": \"{}\", \"port\": \"x\", \"b\": \"{}\"}}", "y".repeat(5000), "z".repeat(5000));
        for columns in [0, 30, 80, 120] {
            let shown = shown(&text, columns);
            for line in shown.lines().filter(|l| l.contains('|')) {
                assert!(line.chars().count() <= columns.max(28), "{columns}: {line}");
            }
            let caret = shown.lines().position(|l| l.contains("error[wrong-type]")).unwrap() + 2;
            let lines: Vec<&str> = shown.lines().collect();
            let at = lines[caret].chars().position(|c| c == '^').unwrap();
            let marked: String = lines[caret - 1].chars().skip(at).take(3).collect();
            assert_eq!(marked, "\"x\"", "{shown}");
        }
    }
}
