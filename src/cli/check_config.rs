//! `check-config`: every mistake of configuration files.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::args::{CheckConfigArgs, GlobalArgs};
use super::output::{BOLD, CYAN, GREEN, RED, YELLOW};
use super::{Exit, Printer};
use crate::config::load::{read, snippet};
use crate::config::{Finding, LoadError, Severity, check, locate};

/// What is printed with `--json`.
#[derive(Serialize, Default)]
struct Report {
    errors: usize,
    warnings: usize,
    findings: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    file: String,
    line: usize,
    column: usize,
    severity: &'static str,
    code: &'static str,
    path: String,
    message: String,
}

/// Runs the command.
pub(super) fn run(
    args: &CheckConfigArgs,
    global: &GlobalArgs,
    printer: &mut Printer,
) -> anyhow::Result<Exit> {
    let default = [locate(global.config.as_deref())];
    let files: &[_] = if args.files.is_empty() { &default } else { &args.files };
    let with_source = !args.json && printer.is_terminal();
    let mut report = Report::default();
    for file in files {
        let text = match read(file) {
            Ok(text) => text,
            Err(e) => {
                printer.error(format_args!("{e}"));
                report.errors += 1;
                report.findings.push(Row::unreadable(name(file), &e));
                continue;
            }
        };
        let checked = check(&text, &|name| std::env::var(name));
        let count = |severity| checked.findings.iter().filter(|f| f.severity == severity).count();
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        report.errors += errors;
        report.warnings += warnings;
        let name = name(file);
        for finding in &checked.findings {
            if args.json {
                report.findings.push(Row::new(&name, finding));
            } else {
                print(printer.text(), &name, finding, with_source.then_some(text.as_str()))?;
            }
        }
        match checked.config {
            Some(config) => printer.note(format_args!(
                "{GREEN}ok{GREEN:#} {name}: {}, {}",
                plural(config.models.len(), "model"),
                plural(warnings, "warning")
            )),
            None => printer.note(format_args!(
                "{RED}failed{RED:#} {name}: {}, {}",
                plural(errors, "error"),
                plural(warnings, "warning")
            )),
        }
    }
    if args.json {
        serde_json::to_writer_pretty(printer.data(), &report)?;
        writeln!(printer.data())?;
    }
    let failed = report.errors > 0 || (args.strict && report.warnings > 0);
    Ok(if failed { Exit::Failure } else { Exit::Success })
}

impl Row {
    fn unreadable(file: String, error: &LoadError) -> Self {
        let (severity, code) = (Severity::Error.as_str(), "unreadable");
        Self { file, line: 1, column: 1, severity, code, path: String::new(), message: error.to_string() }
    }

    fn new(file: &str, f: &Finding) -> Self {
        Self {
            file: file.to_owned(),
            line: f.line,
            column: f.column,
            severity: f.severity.as_str(),
            code: f.code,
            path: f.path.clone(),
            message: f.message.clone(),
        }
    }
}

fn name(file: &Path) -> String {
    if file.as_os_str() == "-" { "<stdin>".to_owned() } else { file.display().to_string() }
}

fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// `file:line:column: error[code]: text`, and under it the line of the file with a caret.
fn print(out: &mut impl Write, file: &str, finding: &Finding, source: Option<&str>) -> io::Result<()> {
    let Finding { line, column, code, message, .. } = finding;
    let style = match finding.severity {
        Severity::Error => RED,
        Severity::Warning => YELLOW,
        Severity::Note => CYAN,
    };
    let severity = finding.severity.as_str();
    writeln!(out, "{BOLD}{file}:{line}:{column}:{BOLD:#} {style}{severity}[{code}]{style:#}: {message}")?;
    let Some(text) = source else { return Ok(()) };
    let (source, before, width) = snippet(text, finding);
    let (source, before) = window(&source, before);
    // Tabs stay tabs in the second line, so that the caret stands under its character.
    let indent: String = source.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let width = width.min(source.chars().count().saturating_sub(before)).max(1);
    writeln!(out, "{CYAN}{line:>5} |{CYAN:#} {source}")?;
    writeln!(out, "      {CYAN}|{CYAN:#} {indent}{style}{}{style:#}", "^".repeat(width))
}

/// The part of a long line around the character at `at`, and where that is in the part.
fn window(line: &str, at: usize) -> (String, usize) {
    const WIDTH: usize = 120;
    let clean = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let start = if at < WIDTH * 2 / 3 { 0 } else { at - WIDTH / 2 };
    let part: String = line.chars().skip(start).take(WIDTH).map(clean).collect();
    (part, at - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let checked = check(text, &|_| Err(std::env::VarError::NotPresent));
        let mut out = Vec::new();
        for finding in &checked.findings {
            print(&mut out, "f.json", finding, Some(text)).unwrap();
        }
        anstream::adapter::strip_bytes(&out).into_vec().try_into().unwrap()
    }

    #[test]
    fn the_caret_stands_under_its_word_and_keys_are_blotted_out() {
        let text = "{\n\t\"é\": 1, \"ak\": \"sesam\", \"port\": \"x\",\n \"providers\": [{}]}";
        let shown = shown(text);
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
    fn long_lines_are_cut_around_the_place() {
        let text =
            format!("{{\"a\": \"{}\", \"port\": \"x\", \"b\": \"{}\"}}", "y".repeat(5000), "z".repeat(5000));
        for (line, caret) in shown(&text).lines().collect::<Vec<_>>().chunks(3).map(|c| (c[1], c[2])) {
            assert!(line.chars().count() < 140, "{line}");
            assert!(caret.chars().count() < 140 && caret.contains('^'), "{caret}");
        }
        let shown = shown(&text);
        let caret = shown.lines().position(|l| l.contains("error[wrong-type]")).unwrap() + 2;
        let lines: Vec<&str> = shown.lines().collect();
        let at = lines[caret].chars().position(|c| c == '^').unwrap();
        let marked: String = lines[caret - 1].chars().skip(at).take(3).collect();
        assert_eq!(marked, "\"x\"", "{shown}");
    }
}
