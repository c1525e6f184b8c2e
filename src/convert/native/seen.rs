//! What the events of a passing stream say, read without touching them.

use super::error::error;
use super::usage;
use crate::convert;
use crate::convert::Usage;
use crate::convert::stream::Summary;
use crate::wire::anthropic::ApiError;
use crate::wire::json::{Cursor, JsonError, JsonStr, Piece};
use crate::wire::sse::is_done;

/// What an event is to a proxy.
#[derive(Debug)]
pub(super) enum Kind {
    /// A sign of life, and no more.
    Ping,
    /// `message_stop`.
    Stop,
    /// The upstream gives up.
    Error(ApiError),
    /// A part of the answer, or something newer than this.
    Other,
}

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Seen {
    provider: String,
    /// A block was completed.
    pub(super) completed_block: bool,
    /// For the log.
    pub(super) summary: Summary,
    preview_left: usize,
    /// Bytes of text, reasoning and arguments, about: the upstream tells how many tokens they are
    /// only at the end.
    output_bytes: u64,
}

/// What an event of a delta has beside the delta's own text, in bytes, about.
const ENVELOPE: usize = 88;

impl Seen {
    pub(super) fn new(provider: String, preview_chars: usize) -> Self {
        Self {
            provider,
            completed_block: false,
            summary: Summary::default(),
            preview_left: preview_chars,
            output_bytes: 0,
        }
    }

    /// The tokens that it took so far. True: those of the output are estimated.
    pub(super) fn used(&self) -> (Usage, bool) {
        let told = self.summary.usage;
        let estimate = self.output_bytes.div_ceil(4);
        if self.summary.stop_reason.is_some() || estimate <= told.output_tokens {
            return (told, false);
        }
        (Usage { output_tokens: estimate, ..told }, true)
    }

    /// Looks at one event. `started`: some of the answer has come before.
    pub(super) fn look(&mut self, name: &[u8], data: &[u8], started: bool) -> Kind {
        let found;
        let name = if name.is_empty() {
            found = type_of(data);
            found.as_bytes()
        } else {
            name
        };
        if name == b"content_block_delta" {
            self.output_bytes += data.len().saturating_sub(ENVELOPE) as u64;
        }
        match name {
            b"content_block_delta" if self.preview_left > 0 => self.preview(data),
            b"content_block_stop" => self.completed_block = true,
            b"message_start" | b"message_delta" => self.count(data),
            b"message_stop" => return Kind::Stop,
            b"ping" => return Kind::Ping,
            b"error" => return Kind::Error(error(200, data, &self.provider)),
            b"" if !started && (data.trim_ascii().is_empty() || is_done(data)) => return Kind::Ping,
            b"" if !started => return Kind::Error(self.foreign(data)),
            _ => {}
        }
        Kind::Other
    }

    /// An event without a type, before there was one of Anthropic's.
    fn foreign(&self, data: &[u8]) -> ApiError {
        let error = convert::error::error(200, data, &self.provider, None);
        if error.status != 502 {
            return error;
        }
        ApiError::bad_gateway(format!(
            "upstream {}: it sent a stream with no Anthropic event: does it speak the Messages API at that address?",
            self.provider
        ))
    }

    /// `message_start` and `message_delta`: tokens, and why it stopped.
    fn count(&mut self, data: &[u8]) {
        let Ok(text) = std::str::from_utf8(data) else { return };
        let summary = &mut self.summary;
        // Broken JSON passes like all else: the log says what could be read.
        let _ = Cursor::lenient(text).object(|key, value| -> Result<(), JsonError> {
            let is_object = value.peek() == Some(b'{');
            match key.raw() {
                "usage" => usage::read(value, &mut summary.usage),
                "message" | "delta" if is_object => value.object(|key, value| {
                    let is_text = value.peek() == Some(b'"');
                    match key.raw() {
                        "usage" => usage::read(value, &mut summary.usage)?,
                        "stop_reason" if is_text => {
                            summary.stop_reason = Some(usage::stop_reason(&value.string()?.decode()));
                        }
                        _ => drop(value.raw()?),
                    }
                    Ok(())
                }),
                _ => value.raw().map(drop),
            }
        });
    }

    /// Keeps the beginning of the answer's text.
    fn preview(&mut self, data: &[u8]) {
        let Ok(text) = std::str::from_utf8(data) else { return };
        let mut said: Option<JsonStr<'_>> = None;
        let _ = Cursor::lenient(text).object(|key, value| -> Result<(), JsonError> {
            if key.raw() != "delta" || value.peek() != Some(b'{') {
                return value.raw().map(drop);
            }
            value.object(|key, value| {
                if key.raw() == "text" && value.peek() == Some(b'"') {
                    said = Some(value.string()?);
                } else {
                    value.raw()?;
                }
                Ok(())
            })
        });
        let Some(said) = said else { return };
        for piece in said.pieces() {
            match piece {
                Piece::Plain(text) => {
                    for c in text.chars().take(self.preview_left) {
                        self.summary.preview.push(c);
                        self.preview_left -= 1;
                    }
                }
                Piece::Char(c) if self.preview_left > 0 => {
                    self.summary.preview.push(c);
                    self.preview_left -= 1;
                }
                Piece::Char(_) => {}
            }
        }
    }
}

/// `type` of an event's data; empty where there is none.
fn type_of(data: &[u8]) -> String {
    let mut kind = String::new();
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Cursor::lenient(text).object(|key, value| -> Result<(), JsonError> {
            if key.raw() == "type" && value.peek() == Some(b'"') {
                kind = value.string()?.decode().into_owned();
            } else {
                value.raw()?;
            }
            Ok(())
        });
    }
    kind
}
