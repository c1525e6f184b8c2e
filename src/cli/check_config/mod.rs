//! `check-config`: every mistake of configuration files.

mod github;
mod sarif;
mod text;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::{CheckConfigArgs, FindingFormat, GlobalArgs};
use super::output::{GREEN, RED};
use super::{Exit, Printer};
use crate::config::load::{check_file, read};
use crate::config::{Code, Finding, LoadError, Severity, locate, schema};

/// For output that is no terminal and has no width.
const WIDTH: usize = 120;

/// A file and what was found in it.
struct File {
    path: PathBuf,
    /// Empty if it could not be read.
    text: String,
    findings: Vec<Finding>,
}

/// How many findings there are of each severity.
#[derive(Default, Clone, Copy, Serialize)]
struct Counts {
    errors: usize,
    warnings: usize,
    notes: usize,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    counts: Counts,
    findings: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    file: String,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    severity: &'static str,
    code: &'static str,
    path: &'a str,
    message: &'a str,
    help: &'a str,
}

/// Runs the command.
pub(super) fn run(
    args: &CheckConfigArgs,
    global: &GlobalArgs,
    printer: &mut Printer,
) -> anyhow::Result<Exit> {
    if args.schema {
        serde_json::to_writer_pretty(printer.data(), &schema::schema())?;
        writeln!(printer.data())?;
        return Ok(Exit::Success);
    }
    let format = match args.format {
        _ if args.json => FindingFormat::Json,
        FindingFormat::Text if printer.is_terminal() => FindingFormat::Full,
        FindingFormat::Text => FindingFormat::Short,
        other => other,
    };
    let default = [locate(global.config.as_deref())];
    let paths: &[_] = if args.files.is_empty() { &default } else { &args.files };
    let width = printer.width().unwrap_or(WIDTH);
    let mut files = Vec::new();
    let mut counts = Counts::default();
    for path in paths {
        let (file, models) = check(path, printer);
        let own = Counts::of(&file.findings);
        let name = name(path);
        // An unreadable file was told on standard error.
        for finding in file.findings.iter().filter(|f| f.code != Code::Unreadable) {
            match format {
                FindingFormat::Full => text::full(printer.text(), &name, finding, &file.text, width)?,
                FindingFormat::Text | FindingFormat::Short => text::short(printer.text(), &name, finding)?,
                FindingFormat::Json | FindingFormat::Github | FindingFormat::Sarif => {}
            }
        }
        if format == FindingFormat::Github {
            for finding in &file.findings {
                github::annotation(printer.data(), path, finding, &file.text)?;
            }
            printer.flush()?;
        }
        let warnings = plural(own.warnings, "warning");
        if let Some(models) = models {
            let models = plural(models, "model");
            printer.note(format_args!("{GREEN}ok{GREEN:#} {name}: {models}, {warnings}"));
        } else {
            let errors = plural(own.errors, "error");
            printer.note(format_args!("{RED}failed{RED:#} {name}: {errors}, {warnings}"));
        }
        counts = counts.and(own);
        files.push(file);
    }
    match format {
        FindingFormat::Json => {
            let findings = files.iter().flat_map(File::rows).collect();
            serde_json::to_writer_pretty(printer.data(), &Report { counts, findings })?;
            writeln!(printer.data())?;
        }
        FindingFormat::Sarif => {
            serde_json::to_writer_pretty(printer.data(), &sarif::log(&files))?;
            writeln!(printer.data())?;
        }
        _ => {}
    }
    let failed = counts.errors > 0 || (args.strict && counts.warnings > 0);
    Ok(if failed { Exit::Failure } else { Exit::Success })
}

/// Reads and checks a file. The number says how many models it has; none if it has errors.
fn check(path: &Path, printer: &mut Printer) -> (File, Option<usize>) {
    let path = path.to_path_buf();
    match read(&path) {
        Ok(text) => {
            let checked = check_file(&path, &text);
            let models = checked.config.map(|config| config.models.len());
            (File { path, text, findings: checked.findings }, models)
        }
        Err(e) => {
            printer.error(format_args!("{e}"));
            let findings = vec![unreadable(&e)];
            (File { path, text: String::new(), findings }, None)
        }
    }
}

fn unreadable(error: &LoadError) -> Finding {
    Finding {
        severity: Severity::Error,
        code: Code::Unreadable,
        path: String::new(),
        message: error.to_string(),
        help: String::new(),
        span: 0..0,
        line: 1,
        column: 1,
    }
}

impl Counts {
    fn of(findings: &[Finding]) -> Self {
        let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
        Self {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            notes: count(Severity::Note),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            errors: self.errors + other.errors,
            warnings: self.warnings + other.warnings,
            notes: self.notes + other.notes,
        }
    }
}

impl File {
    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.findings.iter().map(|f| {
            let (end_line, end_column) = f.end(&self.text);
            Row {
                file: name(&self.path),
                line: f.line,
                column: f.column,
                end_line,
                end_column,
                severity: f.severity.as_str(),
                code: f.code.as_str(),
                path: &f.path,
                message: &f.message,
                help: &f.help,
            }
        })
    }
}

fn name(file: &Path) -> String {
    if file.as_os_str() == "-" { "<stdin>".to_owned() } else { file.display().to_string() }
}

fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
