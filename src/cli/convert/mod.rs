//! `convert`: what `serve` makes of a request, an answer, a stream or an error, from a file.

mod kind;
mod setup;
mod sink;
mod sse;

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

use anyhow::{Context as _, bail};

use super::args::{ConvertArgs, From as Kind, GlobalArgs, To};
use super::exit::UsageError;
use super::{Exit, Printer, progress};
use crate::convert::{self, Losses, StreamTranslator, UpstreamEnd};
use crate::wire::anthropic::{ApiError, Request};
use crate::wire::json::{JsonError, line_column};
use kind::Form;
use setup::{Setup, without_bom};
use sink::Sink;
use sse::Ended;

/// Largest JSON document, in bytes. Captures of streams may be of any size.
const MAX_DOCUMENT: u64 = 256 << 20;

/// What is converted.
struct Input {
    /// For messages.
    name: String,
    reader: Box<dyn Read>,
    /// Size in bytes, if it is known.
    size: Option<u64>,
}

/// Runs the command.
pub(super) fn run(args: &ConvertArgs, global: &GlobalArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let mut input = open(args.file.as_deref())?;
    let setup = Setup::new(args, global)?;
    let kind = match args.from {
        Some(kind) => Some(kind),
        None => recognise(&mut input)?,
    };
    let bar = progress::bytes(printer, input.size);
    let name = input.name.clone();
    let document;
    let (kind, text) = match kind {
        Some(Kind::OpenaiSse) => (Kind::OpenaiSse, ""),
        kind => {
            document = read_whole(input.reader, &name)?;
            input.reader = Box::new(io::empty());
            // An error may be anything, HTML too; the rest is JSON.
            if kind == Some(Kind::OpenaiError) {
                return finish_error(args, &setup, &name, without_bom(&document), printer);
            }
            let text = json_text(&document, &name)?;
            let found = kind::of_json(text).map_err(|e| syntax(&name, text, &e))?;
            let kind = match kind {
                Some(kind) => kind,
                None => found.map_err(|what| anyhow::anyhow!("{name}: {what}"))?,
            };
            (kind, text)
        }
    };
    check_options(args, kind)?;
    if kind == Kind::OpenaiError {
        return finish_error(args, &setup, &name, text.as_bytes(), printer);
    }
    let events =
        args.to == Some(To::AnthropicSse) || (args.to.is_none() && kind == Kind::OpenaiSse && !args.whole);
    let mut sink = Sink::open(args.output.as_deref(), printer)?;
    let ended = match kind {
        Kind::AnthropicRequest => request(&name, text, &setup, &mut sink)?,
        Kind::OpenaiSse => sse::convert(input, !events, &setup, &mut sink, &bar)?,
        _ => response(text.as_bytes(), events, &setup, &mut sink)?,
    };
    bar.finish_and_clear();
    sink.commit()?;
    Ok(report(args, &name, &ended, printer))
}

fn open(file: Option<&Path>) -> anyhow::Result<Input> {
    let Some(path) = file.filter(|p| p.as_os_str() != "-") else {
        if file.is_none() && io::stdin().is_terminal() {
            let message = "nothing to convert: name a FILE, or pipe one in (`-` reads the terminal)";
            return Err(UsageError(message.to_owned()).into());
        }
        return Ok(Input { name: "<stdin>".to_owned(), reader: Box::new(io::stdin()), size: None });
    };
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    let meta = file.metadata().with_context(|| format!("cannot read {name}"))?;
    if meta.is_dir() {
        let message = format!("{name} is a directory: directories are not supported yet, name one file");
        return Err(UsageError(message).into());
    }
    Ok(Input { name, reader: Box::new(file), size: meta.is_file().then_some(meta.len()) })
}

/// Whether the input is a stream, by its first bytes, which are put back. None: read it whole
/// and look at its keys.
fn recognise(input: &mut Input) -> anyhow::Result<Option<Kind>> {
    let mut head = Vec::new();
    let mut piece = [0u8; 4096];
    let form = loop {
        let n = input.reader.read(&mut piece).with_context(|| format!("cannot read {}", input.name))?;
        head.extend_from_slice(piece.get(..n).unwrap_or_default());
        if let Some(form) = kind::form(&head, n == 0) {
            break form;
        }
        if head.len() > 1 << 20 {
            break Form::Other;
        }
    };
    let empty = without_bom(&head).trim_ascii().is_empty();
    let rest = std::mem::replace(&mut input.reader, Box::new(io::empty()));
    input.reader = Box::new(io::Cursor::new(head).chain(rest));
    match form {
        Form::Json => Ok(None),
        Form::Sse => Ok(Some(Kind::OpenaiSse)),
        Form::Other if empty => bail!("{}: the input is empty", input.name),
        Form::Other => bail!(
            "{}:1:1: neither JSON (`{{`) nor a capture of a stream (`data: …`); for the body of an error that is no \
             JSON say --from openai-error",
            input.name
        ),
    }
}

fn read_whole(reader: Box<dyn Read>, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut document = Vec::new();
    reader
        .take(MAX_DOCUMENT + 1)
        .read_to_end(&mut document)
        .with_context(|| format!("cannot read {name}"))?;
    if document.len() as u64 > MAX_DOCUMENT {
        bail!("{name}: a JSON document of more than 256 MiB");
    }
    Ok(document)
}

/// The document as text, without a byte order mark.
fn json_text<'a>(document: &'a [u8], name: &str) -> anyhow::Result<&'a str> {
    std::str::from_utf8(without_bom(document)).map_err(|e| {
        let (line, column) = line_column(document, e.valid_up_to());
        anyhow::anyhow!("{name}:{line}:{column}: byte {}: not UTF-8", e.valid_up_to())
    })
}

/// `file:line:column: byte N: what is wrong`.
fn syntax(name: &str, text: &str, error: &JsonError) -> anyhow::Error {
    let (line, column) = error.line_column(text.as_bytes());
    anyhow::anyhow!("{name}:{line}:{column}: byte {}: {error}", error.at)
}

/// Options that do not go with what the input is.
fn check_options(args: &ConvertArgs, kind: Kind) -> Result<(), UsageError> {
    let (what, may): (_, &[To]) = match kind {
        Kind::AnthropicRequest => ("an Anthropic request", &[To::OpenaiRequest]),
        Kind::OpenaiResponse => ("an OpenAI response", &[To::AnthropicMessage, To::AnthropicSse]),
        Kind::OpenaiSse => ("an OpenAI stream", &[To::AnthropicSse, To::AnthropicMessage]),
        Kind::OpenaiError => ("an OpenAI error", &[To::AnthropicError]),
    };
    let wrong =
        |option: &str| Err(UsageError(format!("{option} does not go with {what}, which the input is")));
    if args.to.is_some_and(|to| !may.contains(&to)) {
        return wrong("this --to");
    }
    if args.whole && (!may.contains(&To::AnthropicMessage) || args.to == Some(To::AnthropicSse)) {
        return wrong(if kind == Kind::OpenaiSse { "--whole with --to anthropic-sse" } else { "--whole" });
    }
    if args.status.is_some() && kind != Kind::OpenaiError {
        return wrong("--status");
    }
    if args.request.is_some() && kind == Kind::AnthropicRequest {
        return wrong("--request");
    }
    Ok(())
}

fn request(name: &str, text: &str, setup: &Setup, sink: &mut Sink<'_>) -> anyhow::Result<Ended> {
    let converted = Request::parse(text.as_bytes())
        .and_then(|request| convert::request(&request, setup.profile, &setup.spec_for(&request)));
    match converted {
        Ok(converted) => {
            sink.write(&converted.body)?;
            sink.write(b"\n")?;
            Ok(Ended::new(converted.losses, None))
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

/// Converts an error's body. That is a success: an error was asked for.
fn finish_error(
    args: &ConvertArgs,
    setup: &Setup,
    name: &str,
    body: &[u8],
    printer: &mut Printer,
) -> anyhow::Result<Exit> {
    check_options(args, Kind::OpenaiError)?;
    let reply = setup.reply(body);
    // Without a status its body tells one, as with errors that upstreams send with status 200.
    let status = args.status.unwrap_or(200);
    let error = convert::error::error(status, body, &setup.provider, Some(&reply));
    let mut out = Vec::new();
    write_error(&error, &mut out);
    let mut sink = Sink::open(args.output.as_deref(), printer)?;
    sink.write(&out)?;
    sink.commit()?;
    printer.note(format_args!("{name}: the client gets HTTP {}", error.status));
    Ok(Exit::Success)
}

fn write_error(error: &ApiError, out: &mut Vec<u8>) {
    error.write("", out);
    out.push(b'\n');
}

/// What was lost, if asked for, and how it ended.
fn report(args: &ConvertArgs, name: &str, ended: &Ended, printer: &mut Printer) -> Exit {
    for complaint in &ended.skipped.first {
        printer.warning(format_args!("{complaint}"));
    }
    if ended.skipped.more > 0 {
        printer.warning(format_args!("{name}: {} more events were skipped", ended.skipped.more));
    }
    if args.report {
        for loss in &ended.losses {
            printer.say(format_args!("{}: {}", loss.path, loss.token));
        }
        match ended.losses.uncounted() {
            0 if ended.losses.is_empty() => printer.say(format_args!("{name}: nothing was lost")),
            0 => {}
            more => printer.say(format_args!("and {more} more")),
        }
    }
    match &ended.error {
        None => Exit::Success,
        Some(e) => {
            printer.error(format_args!(
                "{name}: the answer is an error: {} {}: {}",
                e.status,
                e.kind.as_str(),
                e.message
            ));
            Exit::Failure
        }
    }
}
