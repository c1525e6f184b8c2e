//! Token counts without an upstream.

mod bpe;
mod counted;
mod known;
mod media;

pub use bpe::tokens;
pub use counted::Counted;
pub use known::Known;
pub use media::stand_in_tokens;
use media::{MEDIA_TOKENS, image_tokens, pdf_tokens};

use super::profile::Profile;
use super::request::ModelSpec;
use crate::wire::anthropic::{ApiError, Request};
use crate::wire::json::{Cursor, JsonError, JsonStr, RawJson};

/// What the frame of a message costs: role and delimiters.
const MESSAGE_TOKENS: u64 = 4;
/// What the frame of a tool definition or of a tool call costs.
const TOOL_TOKENS: u64 = 8;

/// A quick estimate of the prompt in tokens, for `message_start`: never 0, since the client's
/// context meter starts from it.
///
/// Converted requests, JSON syntax included, come to about four bytes a token.
pub(super) fn estimate(text_bytes: u64, media: u64) -> u64 {
    (text_bytes / 4 + media * MEDIA_TOKENS).max(1)
}

/// `input_tokens` of a request: the converted request, counted by a BPE tokenizer (o200k),
/// images by their size. Two milliseconds for 120 KB of which `known` knows nothing, and 70 ms
/// more the first time: keep it off the event loop.
///
/// `breath` is called every 16 KB of text that had to be counted.
///
/// # Errors
/// As [`super::request()`].
pub fn count_tokens(
    request: &Request<'_>,
    profile: &'static Profile,
    model: &ModelSpec,
    known: &Known,
    breath: &mut dyn FnMut(),
) -> Result<u64, ApiError> {
    let converted = super::request(request, profile, model)?;
    let text = String::from_utf8_lossy(&converted.body);
    Ok(Counter::of(&text, known, breath)?.total())
}

/// What a converted request counts, and how far that can be trusted.
///
/// # Errors
/// 502: it is no request that [`super::request()`] made.
pub fn count(body: &[u8], known: &Known, breath: &mut dyn FnMut()) -> Result<Counted, ApiError> {
    let text = String::from_utf8_lossy(body);
    let counter = Counter::of(&text, known, breath)?;
    let (tokens, media) = (counter.total(), counter.media);
    let foreign = text.bytes().filter(|b| !b.is_ascii()).count() as u64;
    Ok(Counted { tokens, media, foreign })
}

struct Counter<'k> {
    /// Of text.
    tokens: u64,
    /// Of images and documents.
    media: u64,
    known: &'k Known,
    breath: &'k mut dyn FnMut(),
}

type Read = Result<(), JsonError>;

impl<'k> Counter<'k> {
    /// Counts a converted request.
    fn of(text: &str, known: &'k Known, breath: &'k mut dyn FnMut()) -> Result<Self, ApiError> {
        let mut counter = Self { tokens: 0, media: 0, known, breath };
        // The text is our own JSON: it can be read.
        counter.body(&mut Cursor::new(text)).map_err(|e| ApiError::bad_gateway(e.to_string()))?;
        Ok(counter)
    }

    fn total(&self) -> u64 {
        (self.tokens + self.media).max(1)
    }

    fn text(&mut self, text: JsonStr<'_>) {
        self.plain(&text.decode());
    }

    fn plain(&mut self, text: &str) {
        self.tokens += self.known.tokens(text, self.breath);
    }

    fn json(&mut self, value: RawJson<'_>) {
        self.plain(value.text());
    }

    fn body(&mut self, cur: &mut Cursor<'_>) -> Read {
        cur.object(|key, cur| match key.raw() {
            "messages" => cur.array(|_, cur| self.message(cur)),
            "tools" => cur.array(|_, cur| self.tool(cur)),
            "response_format" => {
                self.json(cur.raw()?);
                Ok(())
            }
            _ => cur.raw().map(drop),
        })
    }

    fn message(&mut self, cur: &mut Cursor<'_>) -> Read {
        self.tokens += MESSAGE_TOKENS;
        cur.object(|key, cur| match key.raw() {
            "content" => match cur.peek() {
                Some(b'"') => {
                    self.text(cur.string()?);
                    Ok(())
                }
                Some(b'[') => cur.array(|_, cur| self.part(cur)),
                _ => cur.raw().map(drop),
            },
            "tool_calls" => cur.array(|_, cur| {
                self.tokens += TOOL_TOKENS;
                self.strings_of(cur, "function", &["name", "arguments"])
            }),
            "reasoning_content" | "reasoning" if cur.peek() == Some(b'"') => {
                self.text(cur.string()?);
                Ok(())
            }
            "reasoning_details" => {
                self.json(cur.raw()?);
                Ok(())
            }
            _ => cur.raw().map(drop),
        })
    }

    /// Counts strings of an object inside an object.
    fn strings_of(&mut self, cur: &mut Cursor<'_>, inner: &str, names: &[&str]) -> Read {
        cur.object(|key, cur| {
            if key.raw() != inner {
                return cur.raw().map(drop);
            }
            cur.object(|key, cur| {
                if names.contains(&key.raw()) && cur.peek() == Some(b'"') {
                    self.text(cur.string()?);
                    return Ok(());
                }
                cur.raw().map(drop)
            })
        })
    }

    fn tool(&mut self, cur: &mut Cursor<'_>) -> Read {
        self.tokens += TOOL_TOKENS;
        cur.object(|key, cur| {
            if key.raw() != "function" {
                return cur.raw().map(drop);
            }
            cur.object(|key, cur| match key.raw() {
                "name" | "description" => {
                    self.text(cur.string()?);
                    Ok(())
                }
                "parameters" => {
                    self.json(cur.raw()?);
                    Ok(())
                }
                _ => cur.raw().map(drop),
            })
        })
    }

    fn part(&mut self, cur: &mut Cursor<'_>) -> Read {
        cur.object(|key, cur| match key.raw() {
            "text" => {
                self.text(cur.string()?);
                Ok(())
            }
            "thinking" => {
                self.json(cur.raw()?);
                Ok(())
            }
            "image_url" => cur.object(|key, cur| {
                if key.raw() == "url" {
                    self.media += image_tokens(cur.string()?.raw());
                    return Ok(());
                }
                cur.raw().map(drop)
            }),
            "file" => cur.object(|key, cur| {
                if key.raw() == "file_data" {
                    self.media += pdf_tokens(cur.string()?.raw());
                    return Ok(());
                }
                cur.raw().map(drop)
            }),
            _ => cur.raw().map(drop),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(body: &str) -> u64 {
        let request = Request::parse_for_count(body.as_bytes()).unwrap();
        let profile = Profile::named("generic").unwrap();
        let known = Known::default();
        let count = || count_tokens(&request, profile, &ModelSpec::default(), &known, &mut || ()).unwrap();
        let cold = count();
        assert_eq!(count(), cold, "what is known counts the same");
        cold
    }

    #[test]
    fn every_part_counts() {
        let hi = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]"#;
        let base = count(&format!("{hi}}}"));
        assert_eq!(base, MESSAGE_TOKENS + 1);
        assert!(count(&format!(r#"{hi},"system":"Be brief."}}"#)) > base);
        let tool = r#"{"name":"f","description":"does it","input_schema":{"type":"object","properties":{"a":{"type":"string"}}}}"#;
        assert!(count(&format!(r#"{hi},"tools":[{tool}]}}"#)) > base + TOOL_TOKENS);
        // A 1x1 PNG, and one whose size cannot be read.
        let image = |data: &str| {
            count(&format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{data}"}}}}]}}]}}"#
            ))
        };
        assert_eq!(
            image(
                "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
            ),
            MESSAGE_TOKENS + 1
        );
        assert_eq!(image("AAAA"), MESSAGE_TOKENS + MEDIA_TOKENS);
    }
}
