//! A capture of a stream: event by event through the translator that `serve` uses.

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;

use super::input::{Foreign, Input};
use super::one::write_error;
use super::setup::Setup;
use super::sink::Sink;
use crate::convert::fold::MAX_EVENT;
use crate::convert::{Losses, StreamTranslator, UpstreamEnd, WholeTranslator};
use crate::wire::anthropic::ApiError;
use crate::wire::json::RawJson;
use crate::wire::sse::{SseDecoder, SseEvent, is_done};

/// How a conversion ended.
pub(super) struct Ended {
    pub(super) losses: Losses,
    /// What the client is told instead of, or at the end of, an answer.
    pub(super) error: Option<ApiError>,
    /// Events of a capture that are none.
    pub(super) skipped: Skipped,
}

/// Complaints about events, of which only the first few are kept.
#[derive(Default)]
pub(super) struct Skipped {
    pub(super) first: Vec<String>,
    pub(super) more: usize,
}

impl Skipped {
    fn add(&mut self, complaint: impl FnOnce() -> String) {
        if self.first.len() < 20 {
            self.first.push(complaint());
        } else {
            self.more += 1;
        }
    }
}

impl Ended {
    pub(super) fn new(losses: Losses, error: Option<ApiError>) -> Self {
        Self { losses, error, skipped: Skipped::default() }
    }
}

/// Reads a capture line by line. Lines are counted for error messages; what they mean is the
/// decoder's business.
struct Capture<R> {
    reader: BufReader<R>,
    decoder: SseDecoder,
    line: Vec<u8>,
    /// The line before was a `data:` line, kept in `last`.
    after_data: bool,
    last: Vec<u8>,
    number: u64,
    bytes: u64,
}

impl<R: Read> Capture<R> {
    fn new(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(1 << 16, reader),
            decoder: SseDecoder::new(MAX_EVENT),
            line: Vec::new(),
            after_data: false,
            last: Vec::new(),
            number: 0,
            bytes: 0,
        }
    }

    /// Hands the next line to the decoder; false at the end.
    fn next_line(&mut self, name: &str) -> anyhow::Result<bool> {
        self.line.clear();
        let read = (&mut self.reader).take(MAX_EVENT as u64 + 1).read_until(b'\n', &mut self.line);
        let read = read.with_context(|| format!("cannot read {name}"))?;
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        if read > MAX_EVENT {
            bail!("{name}:{}: byte {}: the line is longer than {MAX_EVENT} bytes", self.number, self.bytes);
        }
        self.bytes += read as u64;
        let payload = self.line.strip_prefix(b"data:").map(<[u8]>::trim_ascii);
        // Captures made by filtering lines have lost the blank lines between events.
        if payload.is_some() && self.after_data && is_whole(&self.last) {
            self.decoder.push(b"\n");
        }
        self.after_data = payload.is_some();
        if let Some(payload) = payload {
            self.last.clear();
            self.last.extend_from_slice(payload);
        }
        Ok(true)
    }
}

fn is_whole(payload: &[u8]) -> bool {
    payload == b"[DONE]" || std::str::from_utf8(payload).is_ok_and(|text| RawJson::parse(text).is_ok())
}

/// Whether an event looks like a chunk; the translator skips what is none, and here that is told.
fn is_object(data: &[u8]) -> bool {
    let data = data.trim_ascii();
    data.starts_with(b"{") && data.ends_with(b"}")
}

/// The two things that a stream can become.
enum Translator {
    Events(StreamTranslator),
    Message(WholeTranslator),
}

impl Translator {
    fn push(&mut self, event: SseEvent<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        match self {
            Self::Events(translator) => translator.push(event.name, event.data, out),
            Self::Message(translator) => translator.push(event.name, event.data),
        }
    }

    /// Ends the answer, as `serve` does: an error is an event once a stream has begun, and an
    /// answer of its own before.
    fn finish(self, end: Result<UpstreamEnd, ApiError>, out: &mut Vec<u8>) -> Ended {
        match self {
            Self::Events(mut translator) => {
                let error = end.and_then(|end| translator.finish(end, out)).err();
                match &error {
                    Some(error) if translator.started() => translator.fail(error, out),
                    Some(error) => write_error(error, out),
                    None => {}
                }
                Ended::new(translator.summary().losses, error)
            }
            Self::Message(translator) => match end.and_then(|end| translator.finish(end)) {
                Ok(answer) => {
                    out.extend_from_slice(&answer.body);
                    out.push(b'\n');
                    Ended::new(answer.summary.losses, None)
                }
                Err(error) => {
                    write_error(&error, out);
                    Ended::new(Losses::default(), Some(error))
                }
            },
        }
    }
}

/// Converts a capture: into Anthropic's events, or folded into one message.
pub(super) fn convert(
    input: Input,
    whole: bool,
    setup: &Setup,
    sink: &mut Sink<'_>,
    bar: &ProgressBar,
) -> anyhow::Result<Ended> {
    let name = input.name;
    let mut capture = Capture::new(input.reader);
    let mut translator: Option<Translator> = None;
    let start = |first: &[u8]| {
        let reply = setup.reply(first);
        if whole {
            Translator::Message(WholeTranslator::new(reply))
        } else {
            Translator::Events(StreamTranslator::new(reply))
        }
    };
    let mut out = Vec::new();
    let mut skipped = Skipped::default();
    let end = 'read: loop {
        let more = capture.next_line(&name)?;
        capture.decoder.push(&capture.line);
        loop {
            let event = if more { capture.decoder.next_event() } else { capture.decoder.last_event() };
            let Some(event) = event else { break };
            let event =
                event.with_context(|| format!("{name}:{}: byte {}", capture.number, capture.bytes))?;
            if is_done(event.data) {
                break 'read Ok(UpstreamEnd::DoneMarker);
            }
            if translator.is_none() && event.name == b"message_start" {
                return Err(Foreign(format!("{name}: this is an Anthropic event stream already")).into());
            }
            if !is_object(event.data) && event.name != b"error" {
                let what = if more { "no JSON object" } else { "cut off or no JSON object" };
                skipped.add(|| format!("{name}:{}: this event is {what}: skipped", capture.number));
            }
            let translator = translator.get_or_insert_with(|| start(event.data));
            if let Err(error) = translator.push(event, &mut out) {
                break 'read Err(error);
            }
        }
        if !more {
            break Ok(UpstreamEnd::Eof);
        }
        if !out.is_empty() {
            sink.write(&out)?;
            out.clear();
            if capture.reader.buffer().is_empty() {
                // The next read may have to wait: show what there is.
                sink.flush()?;
            }
        }
        bar.set_position(capture.bytes);
    };
    if translator.is_none() && end == Ok(UpstreamEnd::Eof) {
        let what = format!(
            "{name}: {} lines and no `data:` among them: this is no capture of a stream",
            capture.number
        );
        return Err(Foreign(what).into());
    }
    let mut ended = translator.unwrap_or_else(|| start(b"")).finish(end, &mut out);
    ended.skipped = skipped;
    sink.write(&out)?;
    Ok(ended)
}
