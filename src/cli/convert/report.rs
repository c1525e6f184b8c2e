//! What is told of conversions: losses, errors, verdicts, the sum.

use std::io::Write as _;

use serde::Serialize;

use super::one::Done;
use super::plan::Job;
use crate::cli::args::{ConvertArgs, From as Kind};
use crate::cli::output::{GREEN, RED, YELLOW};
use crate::cli::{Exit, Printer};

/// How it went with one input.
pub(super) enum Outcome {
    Converted(Done),
    /// Why.
    Failed(String),
    /// What it is instead of an input.
    Skipped(String),
}

/// All that is told of a run; printed as it is with `--json`.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    converted: usize,
    failed: usize,
    skipped: usize,
    lossy: usize,
    files: Vec<Row>,
    #[serde(skip)]
    captured: usize,
    #[serde(skip)]
    args: &'a ConvertArgs,
}

/// One input.
#[derive(Serialize)]
struct Row {
    file: String,
    /// `ok`, `lossy`, `failed` or `skipped`.
    result: &'static str,
    /// What the input was, as in `--from`.
    kind: Option<&'static str>,
    /// The file that was written.
    output: Option<String>,
    losses: Vec<Lost>,
    /// Losses that were counted, but are not in the list.
    uncounted_losses: usize,
    /// Why it failed or was skipped.
    message: Option<String>,
}

#[derive(Serialize)]
struct Lost {
    path: String,
    token: String,
}

impl<'a> Report<'a> {
    pub(super) fn new(args: &'a ConvertArgs) -> Self {
        Self { converted: 0, failed: 0, skipped: 0, lossy: 0, files: Vec::new(), captured: 0, args }
    }

    /// Counts and tells how it went with one input.
    pub(super) fn add(
        &mut self,
        job: &Job,
        outcome: Outcome,
        several: bool,
        printer: &mut Printer,
    ) -> anyhow::Result<()> {
        let mut row = Row {
            file: job.name.clone(),
            result: "ok",
            kind: None,
            output: None,
            losses: Vec::new(),
            uncounted_losses: 0,
            message: None,
        };
        match outcome {
            Outcome::Converted(done) => {
                losses(self.args, job, &done, several, printer);
                row.take(&done);
                row.message = answer_error(job, &done);
                self.captured += usize::from(done.captured.is_some());
                if row.message.is_some() {
                    row.result = "failed";
                } else if !row.losses.is_empty() {
                    row.result = "lossy";
                    self.lossy += 1;
                }
            }
            Outcome::Failed(why) => (row.result, row.message) = ("failed", Some(why)),
            Outcome::Skipped(what) => (row.result, row.message) = ("skipped", Some(what)),
        }
        match row.result {
            "failed" => self.failed += 1,
            "skipped" => self.skipped += 1,
            _ => self.converted += 1,
        }
        self.say(&row, printer)?;
        if self.args.json {
            self.files.push(row);
        }
        Ok(())
    }

    fn say(&self, row: &Row, printer: &mut Printer) -> anyhow::Result<()> {
        let message = row.message.as_deref().unwrap_or_default();
        if self.args.check && !self.args.json {
            let out = printer.text();
            match row.result {
                "failed" if message.starts_with(&row.file) => writeln!(out, "{RED}failed{RED:#} {message}")?,
                "failed" => writeln!(out, "{RED}failed{RED:#} {}: {message}", row.file)?,
                "skipped" => writeln!(out, "skipped {message}")?,
                "lossy" => writeln!(out, "{YELLOW}lossy{YELLOW:#} {}: {}", row.file, row.tokens())?,
                _ => writeln!(out, "{GREEN}ok{GREEN:#} {}", row.file)?,
            }
            return Ok(());
        }
        match row.result {
            "failed" => printer.error(format_args!("{message}")),
            "skipped" => printer.note(format_args!("skipped: {message}")),
            _ => {}
        }
        Ok(())
    }

    /// The sum, and how the program ends.
    pub(super) fn finish(self, several: bool, printer: &mut Printer) -> anyhow::Result<Exit> {
        if self.args.json {
            serde_json::to_writer_pretty(printer.data(), &self)?;
            printer.data().write_all(b"\n")?;
            printer.flush()?;
        }
        let Self { converted, failed, skipped, lossy, captured, .. } = self;
        if several {
            let captured = match captured {
                0 => String::new(),
                n => format!("; {n} with the settings of their captured exchange"),
            };
            if self.args.check {
                let ok = converted - lossy;
                printer.note(format_args!(
                    "{ok} ok, {lossy} lossy, {failed} failed, {skipped} skipped{captured}"
                ));
            } else {
                printer.note(format_args!(
                    "{converted} converted, {failed} failed, {skipped} skipped, {lossy} with losses{captured}"
                ));
            }
        }
        if converted + failed == 0 {
            printer.error(format_args!("there was nothing to convert"));
            return Ok(Exit::Failure);
        }
        let fails = failed > 0 || (self.args.strict && lossy > 0);
        Ok(if fails { Exit::Failure } else { Exit::Success })
    }
}

impl Row {
    fn take(&mut self, done: &Done) {
        self.kind = Some(match done.kind {
            Kind::AnthropicRequest => "anthropic-request",
            Kind::OpenaiResponse => "openai-response",
            Kind::OpenaiSse => "openai-sse",
            Kind::OpenaiError => "openai-error",
        });
        self.output = done.output.as_ref().map(|o| o.display().to_string());
        let lost = done.ended.losses.iter();
        self.losses = lost.map(|l| Lost { path: l.path.clone(), token: l.token.clone() }).collect();
        self.uncounted_losses = done.ended.losses.uncounted();
    }

    /// Each kind of loss once.
    fn tokens(&self) -> String {
        let mut tokens: Vec<&str> = Vec::new();
        for loss in &self.losses {
            if !tokens.contains(&loss.token.as_str()) {
                tokens.push(&loss.token);
            }
        }
        tokens.join(", ")
    }
}

/// Tells which events were skipped and, if asked for, what was lost.
pub(super) fn losses(args: &ConvertArgs, job: &Job, done: &Done, several: bool, printer: &mut Printer) {
    let (name, ended) = (&job.name, &done.ended);
    for complaint in &ended.skipped.first {
        printer.warning(format_args!("{complaint}"));
    }
    if ended.skipped.more > 0 {
        printer.warning(format_args!("{name}: {} more events were skipped", ended.skipped.more));
    }
    if !args.report {
        return;
    }
    let before = if several { format!("{name}: ") } else { String::new() };
    for loss in &ended.losses {
        printer.say(format_args!("{before}{}: {}", loss.path, loss.token));
    }
    match ended.losses.uncounted() {
        0 if ended.losses.is_empty() => printer.say(format_args!("{name}: nothing was lost")),
        0 => {}
        more => printer.say(format_args!("{before}and {more} more")),
    }
}

/// The error that the client gets instead of an answer.
pub(super) fn answer_error(job: &Job, done: &Done) -> Option<String> {
    let e = done.ended.error.as_ref()?;
    Some(format!("{}: the answer is an error: {} {}: {}", job.name, e.status, e.kind.as_str(), e.message))
}
