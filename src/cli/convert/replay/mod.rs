//! `convert --replay`: recorded exchanges converted again, and compared with what was sent then.

mod again;
mod compare;
mod exchange;
mod find;

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::Serialize;

use crate::cli::args::ConvertArgs;
use crate::cli::output::{GREEN, RED, YELLOW};
use crate::cli::{Exit, Printer, progress};
use compare::Difference;

/// How an exchange compares.
#[derive(Debug)]
enum Verdict {
    /// As then; the text says if only a part could be compared.
    Same(Option<String>),
    Differs(Vec<Difference>),
    CannotCompare(String),
}

/// What `--json` prints.
#[derive(Debug, Default, Serialize)]
struct Report {
    same: usize,
    differs: usize,
    cannot_compare: usize,
    exchanges: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    folder: String,
    /// `same`, `differs` or `cannot_compare`.
    result: &'static str,
    /// Why it cannot be compared, or how much of it was.
    note: Option<String>,
    differences: Vec<Difference>,
}

/// Runs the command.
pub(super) fn run(args: &ConvertArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let folders = find::folders(&args.paths)?;
    let mut report = Report::default();
    let bar = progress::steps(printer, folders.len() as u64);
    for folder in &folders {
        bar.set_message(folder.display().to_string());
        let row = row(folder);
        bar.inc(1);
        match row.result {
            "same" => report.same += 1,
            "differs" => report.differs += 1,
            _ => report.cannot_compare += 1,
        }
        if args.json {
            report.exchanges.push(row);
        } else {
            bar.suspend(|| print(&row, printer))?;
        }
    }
    bar.finish_and_clear();
    if args.json {
        serde_json::to_writer_pretty(printer.data(), &report)?;
        printer.data().write_all(b"\n")?;
        printer.flush()?;
    }
    let Report { same, differs, cannot_compare, .. } = report;
    if folders.len() > 1 {
        printer.note(format_args!("{same} same, {differs} different, {cannot_compare} cannot be compared"));
    }
    // A comparison was asked for: without any there is no success.
    Ok(if differs == 0 && same > 0 { Exit::Success } else { Exit::Failure })
}

fn row(folder: &Path) -> Row {
    // A crash is a finding of its own; the other exchanges are still to be compared.
    let verdict = catch_unwind(AssertUnwindSafe(|| exchange::replay(folder)))
        .unwrap_or_else(|_| Verdict::Differs(vec![Difference::crash()]));
    let (result, note, differences) = match verdict {
        Verdict::Same(note) => ("same", note, Vec::new()),
        Verdict::Differs(differences) => ("differs", None, differences),
        Verdict::CannotCompare(why) => ("cannot_compare", Some(why), Vec::new()),
    };
    Row { folder: folder.display().to_string(), result, note, differences }
}

fn print(row: &Row, printer: &mut Printer) -> anyhow::Result<()> {
    let Row { folder, note, .. } = row;
    let out = printer.text();
    match (row.result, note) {
        ("same", None) => writeln!(out, "{GREEN}same{GREEN:#} {folder}")?,
        ("same", Some(note)) => writeln!(out, "{GREEN}same{GREEN:#} {folder}: {note}")?,
        ("differs", _) => {
            for difference in &row.differences {
                writeln!(out, "{RED}differs{RED:#} {folder}: {difference}")?;
            }
        }
        (_, note) => {
            let why = note.as_deref().unwrap_or_default();
            writeln!(out, "{YELLOW}cannot compare{YELLOW:#} {folder}: {why}")?;
        }
    }
    Ok(())
}
