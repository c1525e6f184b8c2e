//! The two requests beside each other, or below each other where there is no room.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use similar::{Algorithm, DiffOp, capture_diff_slices};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::pair::Section;
use crate::cli::output::{BOLD, CYAN};

/// Fewer columns are too few for two.
const WIDE: usize = 100;
const GONE: Style = AnsiColor::Red.on_default();
const COME: Style = AnsiColor::Green.on_default();

/// Columns of the terminal: `COLUMNS`, else as it says itself.
pub(super) fn width() -> Option<usize> {
    let told = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).filter(|c| *c > 0);
    told.or_else(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)))
}

/// Writes all sections; side by side if `width` has room for it.
pub(super) fn write(
    sections: &[Section],
    titles: [&str; 2],
    width: Option<usize>,
    out: &mut impl Write,
) -> io::Result<()> {
    match width.filter(|w| *w >= WIDE) {
        Some(width) => beside(sections, titles, (width - 3) / 2, out),
        None => below(sections, titles, out),
    }
}

fn below(sections: &[Section], [left, right]: [&str; 2], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{BOLD}--- {left}{BOLD:#}\n{BOLD}+++ {right}{BOLD:#}")?;
    for section in sections {
        writeln!(out, "{CYAN}@@ {} @@{CYAN:#}", section.title)?;
        for op in ops(section) {
            let old = section.client.get(op.old_range()).unwrap_or_default();
            let new = section.upstream.get(op.new_range()).unwrap_or_default();
            if matches!(op, DiffOp::Equal { .. }) {
                old.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
                continue;
            }
            old.iter().try_for_each(|line| writeln!(out, "{GONE}- {line}{GONE:#}"))?;
            new.iter().try_for_each(|line| writeln!(out, "{COME}+ {line}{COME:#}"))?;
        }
    }
    Ok(())
}

fn beside(sections: &[Section], titles: [&str; 2], column: usize, out: &mut impl Write) -> io::Result<()> {
    let [left, right] = titles;
    writeln!(out, "{BOLD}{}   {}{BOLD:#}", padded(left, column), fitted(right, column))?;
    for section in sections {
        let rule = "─".repeat((column * 2 + 2).saturating_sub(section.title.width()));
        writeln!(out, "{CYAN}{} {rule}{CYAN:#}", section.title)?;
        for op in ops(section) {
            let old = section.client.get(op.old_range()).unwrap_or_default();
            let new = section.upstream.get(op.new_range()).unwrap_or_default();
            let same = matches!(op, DiffOp::Equal { .. });
            for i in 0..old.len().max(new.len()) {
                let (l, r) = (old.get(i), new.get(i));
                let mark = match (l, r) {
                    _ if same => ' ',
                    (Some(_), Some(_)) => '|',
                    (Some(_), None) => '<',
                    _ => '>',
                };
                let plain = Style::new();
                let (gone, come) = if same { (plain, plain) } else { (GONE, COME) };
                let l = padded(l.map_or("", String::as_str), column);
                let r = fitted(r.map_or("", String::as_str), column);
                if r.is_empty() {
                    writeln!(out, "{gone}{l}{gone:#} {mark}")?;
                } else {
                    writeln!(out, "{gone}{l}{gone:#} {mark} {come}{r}{come:#}")?;
                }
            }
        }
    }
    Ok(())
}

fn ops(section: &Section) -> Vec<DiffOp> {
    capture_diff_slices(Algorithm::Myers, &section.client, &section.upstream)
}

/// The text in at most so many columns.
fn fitted(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let (mut out, mut used) = (String::new(), 1);
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > columns {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

/// The text in exactly so many columns.
fn padded(text: &str, columns: usize) -> String {
    let mut text = fitted(text, columns);
    let missing = columns.saturating_sub(text.width());
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(width: Option<usize>) -> Vec<String> {
        let line = |s: &str| vec![s.to_owned()];
        let section = |title: &str, client, upstream| Section { title: title.to_owned(), client, upstream };
        let sections = [
            section("model", line("\"model\": \"世界\""), line("\"model\": \"b\"")),
            section("top_k", line("\"top_k\": 1"), vec![]),
            section("seed", vec![], line(&format!("\"seed\": {}", "9".repeat(80)))),
            section("stream", line("\"stream\": true"), line("\"stream\": true")),
        ];
        let mut out = Vec::new();
        write(&sections, ["r.json", "upstream"], width, &mut out).unwrap();
        let text = anstream::adapter::strip_str(std::str::from_utf8(&out).unwrap()).to_string();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn side_by_side_where_there_is_room() {
        let lines = shown(Some(100));
        assert_eq!(lines[0], format!("r.json{}upstream", " ".repeat(45)));
        assert_eq!(lines[2], format!("\"model\": \"世界\"{} | \"model\": \"b\"", " ".repeat(33)));
        assert_eq!(lines[4], format!("\"top_k\": 1{} <", " ".repeat(38)));
        assert_eq!(lines[6], format!("{} > \"seed\": {}…", " ".repeat(48), "9".repeat(39)));
        assert_eq!(lines[8], format!("\"stream\": true{}   \"stream\": true", " ".repeat(34)));
        assert!(lines.iter().all(|l| l.width() <= 100), "{lines:#?}");
    }

    #[test]
    fn one_below_the_other_where_there_is_not() {
        for width in [None, Some(99)] {
            let lines = shown(width);
            assert_eq!(
                lines[..5],
                ["--- r.json", "+++ upstream", "@@ model @@", "- \"model\": \"世界\"", "+ \"model\": \"b\""]
            );
            assert_eq!(lines.last().unwrap(), "  \"stream\": true");
        }
    }
}
