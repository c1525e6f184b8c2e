//! One input converted.

use std::io;
use std::path::PathBuf;

use anyhow::bail;
use indicatif::ProgressBar;

use super::capture::{self, Role};
use super::input::{self, Foreign, Input, json_text, read_whole, recognise, syntax};
use super::kind;
use super::plan::Job;
use super::setup::Setup;
use super::sink::Sink;
use super::sse::{self, Ended};
use super::target::Target;
use crate::cli::Printer;
use crate::cli::args::{ConvertArgs, From as Kind, To};
use crate::cli::exit::UsageError;
use crate::convert::{self, Losses, StreamTranslator, UpstreamEnd};
use crate::wire::anthropic::ApiError;
use crate::wire::json::without_bom;

/// An input that was converted.
pub(super) struct Done {
    pub(super) kind: Kind,
    pub(super) ended: Ended,
    /// The input was an error: HTTP status that the client gets.
    pub(super) told: Option<u16>,
    /// The file that was written.
    pub(super) output: Option<PathBuf>,
    /// Settings were taken from the captured exchange around it: its profile or protocol.
    pub(super) captured: Option<String>,
}

/// How a conversion is to be made.
pub(super) struct Maker<'a> {
    pub(super) args: &'a ConvertArgs,
    pub(super) setup: &'a Setup,
    pub(super) target: &'a mut Target,
    /// Options that do not go with an input are its mistake, and not of the whole command line.
    pub(super) strict_options: bool,
}

/// What is known of an input before its bytes are looked at.
#[derive(Default)]
struct Known {
    kind: Option<Kind>,
    /// The client asked for a stream, or did not.
    stream: Option<bool>,
    status: Option<u16>,
    /// The bytes of an answer are converted whatever they are, as `serve` had to.
    anything: bool,
}

impl Maker<'_> {
    /// Converts one input; nothing is written unless all of it can be.
    pub(super) fn convert(
        &mut self,
        job: &Job,
        bar: &ProgressBar,
        printer: &mut Printer,
    ) -> anyhow::Result<Done> {
        let args = self.args;
        let around = match &job.path {
            Some(path) => capture::around(path)?,
            None => None,
        };
        let (setup, known, captured) = match around {
            Some((_, Role::Result(what))) if args.from.is_none() => {
                return Err(Foreign(format!("{}: this is {what}", job.name)).into());
            }
            None | Some((None, _)) => {
                let known = Known { kind: args.from, status: args.status, ..Known::default() };
                (self.setup.clone(), known, false)
            }
            Some((Some(folder), role)) => {
                let answer = role == Role::UpstreamResponse;
                let error = folder.status().is_some_and(|s| s >= 400);
                let known = Known {
                    kind: args.from.or(match (answer, error) {
                        (false, _) => Some(Kind::AnthropicRequest),
                        (true, true) => Some(Kind::OpenaiError),
                        (true, false) => None,
                    }),
                    stream: Some(folder.meta.stream),
                    status: args.status.or_else(|| folder.status()),
                    anything: answer && args.from.is_none(),
                };
                (self.setup.of_exchange(&folder, answer)?, known, true)
            }
        };
        let is_answer = !matches!(known.kind, Some(Kind::AnthropicRequest | Kind::OpenaiError));
        if setup.passes() && captured && known.anything && is_answer {
            let what = "an answer in Anthropic's own form, which passed through as it is: nothing to convert";
            return Err(Foreign(format!("{}: this is {what}", job.name)).into());
        }
        let input = input::open(job.path.as_deref(), &job.name)?;
        let mut one = One { maker: self, job, setup, known, captured };
        one.convert(input, bar, printer)
    }
}

struct One<'a, 'm> {
    maker: &'a mut Maker<'m>,
    job: &'a Job,
    setup: Setup,
    known: Known,
    captured: bool,
}

impl One<'_, '_> {
    fn convert(
        &mut self,
        mut input: Input,
        bar: &ProgressBar,
        printer: &mut Printer,
    ) -> anyhow::Result<Done> {
        let name = self.job.name.as_str();
        let kind = match self.known.kind {
            Some(kind) => Some(kind),
            None => match recognise(&mut input) {
                // What came instead of an answer.
                Err(e) if self.known.anything && e.is::<Foreign>() => Some(Kind::OpenaiResponse),
                kind => kind?,
            },
        };
        if kind == Some(Kind::OpenaiSse) && self.setup.passes() {
            bail!(
                "{name}: answers of this model pass through as they are (`\"api\": \"anthropic\"`): nothing to convert; \
                 --profile converts all the same"
            );
        }
        if kind == Some(Kind::OpenaiSse) {
            let events = self.events(Kind::OpenaiSse)?;
            return self.write(Kind::OpenaiSse, events, printer, |setup, sink| {
                sse::convert(input, !events, setup, sink, bar)
            });
        }
        let document = read_whole(std::mem::replace(&mut input.reader, Box::new(io::empty())), name)?;
        // An error may be anything, HTML too; the rest is JSON.
        if kind == Some(Kind::OpenaiError) {
            return self.error(without_bom(&document), printer);
        }
        if self.known.anything {
            let events = self.events(Kind::OpenaiResponse)?;
            return self.write(Kind::OpenaiResponse, events, printer, |setup, sink| {
                response(&document, events, setup, sink)
            });
        }
        let text = json_text(&document, name)?;
        let found = kind::of_json(text).map_err(|e| syntax(name, text, &e))?;
        let kind = match kind {
            Some(kind) => kind,
            None => found.map_err(|what| Foreign(format!("{name}: {what}")))?,
        };
        match kind {
            Kind::OpenaiError => self.error(text.as_bytes(), printer),
            _ if self.setup.passes() && kind != Kind::AnthropicRequest => bail!(
                "{name}: answers of this model pass through as they are (`\"api\": \"anthropic\"`): nothing to convert; \
                 --profile converts all the same"
            ),
            Kind::AnthropicRequest => {
                self.events(kind)?;
                self.write(kind, false, printer, |setup, sink| request(name, text, setup, sink))
            }
            _ => {
                let events = self.events(kind)?;
                self.write(kind, events, printer, |setup, sink| {
                    response(text.as_bytes(), events, setup, sink)
                })
            }
        }
    }

    /// Whether events come out; and whether the options go with this kind of input.
    fn events(&self, kind: Kind) -> Result<bool, UsageError> {
        let args = self.maker.args;
        let (what, may): (_, &[To]) = match kind {
            Kind::AnthropicRequest => ("an Anthropic request", &[To::OpenaiRequest]),
            Kind::OpenaiResponse => ("an OpenAI response", &[To::AnthropicMessage, To::AnthropicSse]),
            Kind::OpenaiSse => ("an OpenAI stream", &[To::AnthropicSse, To::AnthropicMessage]),
            Kind::OpenaiError => ("an OpenAI error", &[To::AnthropicError]),
        };
        let to = args.to.filter(|to| may.contains(to));
        if self.maker.strict_options {
            let wrong = |option: &str| {
                Err(UsageError(format!("{option} does not go with {what}, which the input is")))
            };
            if args.to != to {
                return wrong("this --to");
            }
            if args.whole && (!may.contains(&To::AnthropicMessage) || to == Some(To::AnthropicSse)) {
                return wrong(if kind == Kind::OpenaiSse {
                    "--whole with --to anthropic-sse"
                } else {
                    "--whole"
                });
            }
            if args.status.is_some() && kind != Kind::OpenaiError {
                return wrong("--status");
            }
            if args.request.is_some() && kind == Kind::AnthropicRequest {
                return wrong("--request");
            }
        }
        let by_itself = self.known.stream.unwrap_or(kind == Kind::OpenaiSse) && !args.whole;
        Ok(match to {
            Some(to) => to == To::AnthropicSse,
            None => by_itself && matches!(kind, Kind::OpenaiSse | Kind::OpenaiResponse),
        })
    }

    fn write(
        &mut self,
        kind: Kind,
        events: bool,
        printer: &mut Printer,
        make: impl FnOnce(&Setup, &mut Sink<'_>) -> anyhow::Result<Ended>,
    ) -> anyhow::Result<Done> {
        let end = if events { "sse" } else { "json" };
        let (mut sink, output) = self.maker.target.open(self.job, end, printer)?;
        let ended = make(&self.setup, &mut sink)?;
        sink.commit()?;
        let captured = self.captured.then(|| self.setup.how());
        Ok(Done { kind, ended, told: None, output, captured })
    }

    /// Converts an error's body. That is a success: an error was asked for.
    fn error(&mut self, body: &[u8], printer: &mut Printer) -> anyhow::Result<Done> {
        self.events(Kind::OpenaiError)?;
        // Without a status its body tells one, as with errors that upstreams send with status 200.
        let status = self.known.status.unwrap_or(200);
        let mut told = 0;
        let done = self.write(Kind::OpenaiError, false, printer, |setup, sink| {
            let error = if setup.passes() {
                convert::native::error(status, body, &setup.provider)
            } else {
                convert::error::error(status, body, &setup.provider, Some(&setup.reply(body)))
            };
            told = error.status;
            let mut out = Vec::new();
            write_error(&error, &mut out);
            sink.write(&out)?;
            Ok(Ended::new(Losses::default(), None))
        })?;
        Ok(Done { told: Some(told), ..done })
    }
}

fn request(name: &str, text: &str, setup: &Setup, sink: &mut Sink<'_>) -> anyhow::Result<Ended> {
    match setup.upstream(text) {
        Ok((body, losses)) => {
            sink.write(&body)?;
            sink.write(b"\n")?;
            Ok(Ended::new(losses, None))
        }
        // There is nothing to send upstream: bad input.
        Err(e) => bail!("{name}: {} {}: {}", e.status, e.kind.as_str(), e.message),
    }
}

fn response(body: &[u8], events: bool, setup: &Setup, sink: &mut Sink<'_>) -> anyhow::Result<Ended> {
    let mut out = Vec::new();
    let reply = setup.reply(body);
    let ended = if events {
        let mut translator = StreamTranslator::new(reply);
        let done = translator.push_completion(body, &mut out);
        let error = done.and_then(|()| translator.finish(UpstreamEnd::DoneMarker, &mut out)).err();
        match &error {
            Some(error) if translator.started() => translator.fail(error, &mut out),
            Some(error) => write_error(error, &mut out),
            None => {}
        }
        Ended::new(translator.summary().losses, error)
    } else {
        match convert::response(body, reply) {
            Ok(answer) => {
                out = answer.body;
                out.push(b'\n');
                Ended::new(answer.summary.losses, None)
            }
            Err(error) => {
                write_error(&error, &mut out);
                Ended::new(Losses::default(), Some(error))
            }
        }
    };
    sink.write(&out)?;
    Ok(ended)
}

/// An error as the client gets it.
pub(super) fn write_error(error: &ApiError, out: &mut Vec<u8>) {
    error.write("", out);
    out.push(b'\n');
}
