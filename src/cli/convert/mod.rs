//! `convert`: what `serve` makes of a request, an answer, a stream or an error, from files.

mod capture;
mod diff;
mod input;
mod kind;
mod one;
mod plan;
mod replay;
mod report;
mod setup;
mod sink;
mod sse;
mod target;

use std::fs;

use anyhow::bail;
use indicatif::MultiProgress;

use super::args::{ConvertArgs, GlobalArgs};
use super::exit::UsageError;
use super::{Exit, Printer, progress};
use input::Foreign;
use one::Maker;
use plan::{Job, Plan, Trouble, plan};
use report::{Outcome, Report};
use setup::Setup;
use target::Target;

/// Runs the command.
pub(super) fn run(args: &ConvertArgs, global: &GlobalArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    if args.replay {
        return replay::run(args, printer);
    }
    let to_stdout = args.output.as_ref().is_none_or(|o| o.as_os_str() == "-");
    if args.json && to_stdout && !args.check {
        let message = "--json needs -o, --check or --replay: standard output has what was converted";
        return Err(UsageError(message.to_owned()).into());
    }
    let plan = plan(args)?;
    if args.diff {
        return diff::run(args, &plan, &Setup::new(args, global)?, printer);
    }
    let mut target = Target::of(args, &plan)?;
    let setup = Setup::new(args, global)?;
    let maker = Maker { args, setup: &setup, target: &mut target, strict_options: !plan.several };
    if let ([job], false) = (plan.jobs.as_slice(), plan.several || args.check || args.json) {
        return single(maker, job, printer);
    }
    several(maker, &plan, printer)
}

/// One input: an error is that of the command.
fn single(mut maker: Maker<'_>, job: &Job, printer: &mut Printer) -> anyhow::Result<Exit> {
    let bar = progress::bytes(printer, size(job));
    let done = maker.convert(job, &bar, printer)?;
    bar.finish_and_clear();
    if let Some(status) = done.told {
        printer.note(format_args!("{}: the client gets HTTP {status}", job.name));
    }
    if let Some(how) = &done.captured {
        printer.note(format_args!("{}: with the settings of its captured exchange ({how})", job.name));
    }
    report::losses(maker.args, job, &done, false, printer);
    Ok(match report::answer_error(job, &done) {
        None => Exit::Success,
        Some(message) => {
            printer.error(format_args!("{message}"));
            Exit::Failure
        }
    })
}

/// Any number of inputs: what is wrong with one does not stop the rest.
fn several(mut maker: Maker<'_>, plan: &Plan, printer: &mut Printer) -> anyhow::Result<Exit> {
    let args = maker.args;
    let mut report = Report::new(args);
    let bars = MultiProgress::new();
    let files = bars.add(progress::steps(printer, plan.jobs.len() as u64));
    for job in &plan.jobs {
        files.set_message(job.name.clone());
        let outcome = match &job.trouble {
            Some(Trouble::Failed(why)) => Outcome::Failed(why.clone()),
            Some(Trouble::Skipped(what)) => Outcome::Skipped(what.clone()),
            None => {
                let bar = bars.add(progress::bytes(printer, size(job)));
                let converted = maker.convert(job, &bar, printer);
                bar.finish_and_clear();
                match converted {
                    Ok(done) => Outcome::Converted(done),
                    // One input: its options are wrong, not it.
                    Err(e) if e.is::<UsageError>() && !plan.several => return Err(e),
                    Err(e) if job.found && e.is::<Foreign>() => Outcome::Skipped(super::in_one_line(&e)),
                    Err(e) => Outcome::Failed(super::in_one_line(&e)),
                }
            }
        };
        files.inc(1);
        bars.suspend(|| report.add(job, outcome, plan.several, printer))?;
    }
    files.finish_and_clear();
    if plan.jobs.is_empty() {
        bail!("there are no files below {}", named(args));
    }
    report.finish(plan.several, printer)
}

/// The paths of the command line, for a message.
fn named(args: &ConvertArgs) -> String {
    args.paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Size in bytes of a regular file.
fn size(job: &Job) -> Option<u64> {
    let meta = fs::metadata(job.path.as_ref()?).ok()?;
    meta.is_file().then_some(meta.len())
}
