//! Token counts without an upstream.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::profile::Profile;
use super::request::ModelSpec;
use crate::wire::anthropic::{ApiError, Request};
use crate::wire::json::{Cursor, JsonError, JsonStr, RawJson};

/// What a media part counts when its size is not known, in tokens; also the most that one
/// image counts, since larger ones are scaled down.
///
/// Source: Anthropic documentation, "Vision", image costs.
const MEDIA_TOKENS: u64 = 1600;
/// Tokens of a PDF page, about. Source: Anthropic documentation, "PDF support".
const PAGE_TOKENS: u64 = 2000;
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
/// images by their size. Takes milliseconds for a large request, and a quarter of a second the
/// first time: keep it off the event loop.
///
/// # Errors
/// As [`super::request()`].
pub fn count_tokens(
    request: &Request<'_>,
    profile: &'static Profile,
    model: &ModelSpec,
) -> Result<u64, ApiError> {
    let converted = super::request(request, profile, model)?;
    let text = String::from_utf8_lossy(&converted.body);
    let mut counter = Counter { tokens: 0 };
    // The text is our own JSON: it can be read.
    counter.body(&mut Cursor::new(&text)).map_err(|e| ApiError::bad_gateway(e.to_string()))?;
    Ok(counter.tokens.max(1))
}

struct Counter {
    tokens: u64,
}

type Read = Result<(), JsonError>;

impl Counter {
    fn text(&mut self, text: JsonStr<'_>) {
        self.plain(&text.decode());
    }

    fn plain(&mut self, text: &str) {
        if !text.is_empty() {
            self.tokens += tiktoken_rs::o200k_base_singleton().count_ordinary(text) as u64;
        }
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
                    self.tokens += image_tokens(cur.string()?.raw());
                    return Ok(());
                }
                cur.raw().map(drop)
            }),
            "file" => cur.object(|key, cur| {
                if key.raw() == "file_data" {
                    self.tokens += pdf_tokens(cur.string()?.raw());
                    return Ok(());
                }
                cur.raw().map(drop)
            }),
            _ => cur.raw().map(drop),
        })
    }
}

/// Lenient at the end: only a beginning may be decoded.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The bytes behind a `data:` URL, at most about `most` of them.
fn data_of(url: &str, most: usize) -> Option<Vec<u8>> {
    let data = url.strip_prefix("data:")?.split_once(";base64,")?.1.as_bytes();
    let cut = data.len().min(most / 3 * 4);
    BASE64.decode(data.get(..cut - cut % 4)?).ok()
}

fn image_tokens(url: &str) -> u64 {
    // The size stands near the beginning; a JPEG may carry a preview before it.
    let size = data_of(url, 256 << 10).and_then(|bytes| imagesize::blob_size(&bytes).ok());
    size.map_or(MEDIA_TOKENS, |s| ((s.width * s.height) as u64 / 750).clamp(1, MEDIA_TOKENS))
}

fn pdf_tokens(url: &str) -> u64 {
    let pages = data_of(url, 8 << 20).map_or(1, |bytes| {
        let all = memchr::memmem::find_iter(&bytes, b"/Type/Page").count()
            + memchr::memmem::find_iter(&bytes, b"/Type /Page").count();
        let trees = memchr::memmem::find_iter(&bytes, b"/Type/Pages").count()
            + memchr::memmem::find_iter(&bytes, b"/Type /Pages").count();
        all.saturating_sub(trees).max(1)
    });
    pages as u64 * PAGE_TOKENS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(body: &str) -> u64 {
        let request = Request::parse_for_count(body.as_bytes()).unwrap();
        count_tokens(&request, Profile::named("generic").unwrap(), &ModelSpec::default()).unwrap()
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
