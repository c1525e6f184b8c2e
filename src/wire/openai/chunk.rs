//! `chat.completion.chunk` and `chat.completion`, borrowed from their bytes.

use smallvec::SmallVec;

use super::usage::{Usage, count};
use crate::wire::json::{Cursor, JsonError, JsonStr, RawJson};

type Result<T> = std::result::Result<T, JsonError>;

/// More choices, tool calls or parts of a content than this are not kept of one payload: an
/// entry of a few bytes would take hundreds in memory.
pub const MAX_ENTRIES: usize = 1024;

/// One payload of the stream, or a whole completion: they differ in `delta` and `message` only.
#[derive(Debug, Default)]
pub struct Chunk<'a> {
    /// `choices`.
    pub choices: SmallVec<[Choice<'a>; 1]>,
    /// The last usage found: at the top, in `x_groq` (Groq), or in a choice (Kimi).
    pub usage: Option<Usage>,
    /// `timings.cache_n` (llama.cpp).
    pub timings_cache: u64,
    /// Something in it says that it is an error: `error`, `object: "error"`, `base_resp`, or
    /// an error in a choice.
    pub faulty: bool,
    /// `message`, `msg` or `detail` at the top: without choices it is an error in disguise.
    pub told: bool,
    /// Some list in it had more than [`MAX_ENTRIES`] entries; the rest was left out.
    pub crowded: bool,
}

/// An entry of `choices`.
#[derive(Debug, Default)]
pub struct Choice<'a> {
    /// `delta`, or `message` of a whole completion.
    pub delta: Delta<'a>,
    /// `message` stood there and not `delta`.
    pub whole: bool,
    /// `finish_reason`.
    pub finish_reason: Option<JsonStr<'a>>,
    /// The stop string that was hit: `stop_reason` (vLLM) or `matched_stop` (SGLang).
    pub matched_stop: Option<JsonStr<'a>>,
}

/// What is new, or all there is.
#[derive(Debug, Default)]
pub struct Delta<'a> {
    /// `content`.
    pub content: Content<'a>,
    /// The first of `reasoning_content`, `reasoning`, `reasoning_text` that is not empty.
    pub reasoning: Option<JsonStr<'a>>,
    /// `reasoning_details`, a list.
    pub reasoning_details: Option<RawJson<'a>>,
    /// `refusal`.
    pub refusal: Option<JsonStr<'a>>,
    /// `tool_calls`.
    pub tool_calls: SmallVec<[ToolDelta<'a>; 1]>,
    /// `function_call` of older servers.
    pub function_call: Option<ToolDelta<'a>>,
    /// Calls or parts were left out.
    crowded: bool,
}

/// `content`.
#[derive(Debug, Default)]
pub enum Content<'a> {
    /// `null`, or not there.
    #[default]
    None,
    /// A string.
    Text(JsonStr<'a>),
    /// A list of parts (Mistral): (is thinking, text).
    Parts(Vec<(bool, JsonStr<'a>)>),
}

/// An entry of `tool_calls`. Empty ids and names count as absent.
#[derive(Debug, Default)]
pub struct ToolDelta<'a> {
    /// `index`.
    pub index: Option<u64>,
    /// `id`.
    pub id: Option<JsonStr<'a>>,
    /// `function.name`.
    pub name: Option<JsonStr<'a>>,
    /// `function.arguments`.
    pub arguments: Option<Arguments<'a>>,
    /// `extra_content.google.thought_signature` (Gemini).
    pub thought_signature: Option<JsonStr<'a>>,
}

/// `function.arguments`.
#[derive(Debug, Clone, Copy)]
pub enum Arguments<'a> {
    /// A string (or a fragment of one), as it should be.
    Text(JsonStr<'a>),
    /// An object, or whatever else, where a string belongs.
    Value(RawJson<'a>),
}

impl Arguments<'_> {
    /// They begin with `{`.
    pub fn begin_object(self) -> bool {
        match self {
            Self::Text(text) => text.decode().trim_start().starts_with('{'),
            Self::Value(value) => value.is_object(),
        }
    }
}

impl<'a> Chunk<'a> {
    /// Reads a payload.
    ///
    /// # Errors
    /// It is not one JSON object.
    pub fn parse(text: &'a str) -> Result<Self> {
        let mut chunk = Self::default();
        let mut cur = Cursor::lenient(text);
        if cur.peek() != Some(b'{') {
            return cur.wrong_type("expected an object");
        }
        cur.object(|key, cur| -> Result<()> {
            match key.raw() {
                "choices" if cur.peek() == Some(b'[') => cur.array(|_, cur| -> Result<()> {
                    chunk.crowded |= chunk.choices.len() == MAX_ENTRIES;
                    if cur.peek() == Some(b'{') && !chunk.crowded {
                        let choice = chunk.choice(cur)?;
                        chunk.crowded |= choice.delta.crowded;
                        chunk.choices.push(choice);
                    } else {
                        cur.raw()?;
                    }
                    Ok(())
                })?,
                "usage" => chunk.usage = Usage::read(cur)?.or(chunk.usage),
                "error" => chunk.faulty |= is_fault(cur)?,
                "message" | "msg" | "detail" => chunk.told |= is_fault(cur)?,
                "object" => chunk.faulty |= cur.raw()?.text() == "\"error\"",
                "x_groq" => fields(cur, |key, cur| {
                    match key {
                        "usage" => chunk.usage = Usage::read(cur)?.or(chunk.usage),
                        "error" => chunk.faulty |= is_fault(cur)?,
                        _ => drop(cur.raw()?),
                    }
                    Ok(())
                })?,
                "timings" => fields(cur, |key, cur| {
                    match key {
                        "cache_n" => chunk.timings_cache = count(cur)?,
                        _ => drop(cur.raw()?),
                    }
                    Ok(())
                })?,
                "base_resp" => fields(cur, |key, cur| {
                    match key {
                        "status_code" => chunk.faulty |= !matches!(cur.raw()?.text(), "0" | "\"0\"" | "null"),
                        _ => drop(cur.raw()?),
                    }
                    Ok(())
                })?,
                _ => drop(cur.raw()?),
            }
            Ok(())
        })?;
        cur.end()?;
        Ok(chunk)
    }

    fn choice(&mut self, cur: &mut Cursor<'a>) -> Result<Choice<'a>> {
        let mut choice = Choice::default();
        let mut has_delta = false;
        cur.object(|key, cur| -> Result<()> {
            match key.raw() {
                "delta" if cur.peek() == Some(b'{') => {
                    choice.delta = Delta::read(cur)?;
                    choice.whole = false;
                    has_delta = true;
                }
                "message" if !has_delta && cur.peek() == Some(b'{') => {
                    choice.delta = Delta::read(cur)?;
                    choice.whole = true;
                }
                "finish_reason" => choice.finish_reason = text(cur)?,
                "stop_reason" | "matched_stop" => choice.matched_stop = text(cur)?.or(choice.matched_stop),
                "usage" => self.usage = Usage::read(cur)?.or(self.usage),
                "error" => self.faulty |= is_fault(cur)?,
                _ => drop(cur.raw()?),
            }
            Ok(())
        })?;
        Ok(choice)
    }
}

impl<'a> Delta<'a> {
    fn read(cur: &mut Cursor<'a>) -> Result<Self> {
        let mut delta = Self::default();
        let mut reasoning = [None; 3];
        cur.object(|key, cur| -> Result<()> {
            match key.raw() {
                "content" => {
                    delta.content = content(cur)?;
                    delta.crowded |= matches!(&delta.content, Content::Parts(p) if p.len() > MAX_ENTRIES);
                }
                "reasoning_content" => reasoning[0] = text(cur)?,
                "reasoning" => reasoning[1] = text(cur)?,
                "reasoning_text" => reasoning[2] = text(cur)?,
                "reasoning_details" => {
                    delta.reasoning_details = Some(cur.raw()?).filter(|d| d.text().starts_with('['));
                }
                "refusal" => delta.refusal = text(cur)?,
                "tool_calls" if cur.peek() == Some(b'[') => cur.array(|_, cur| -> Result<()> {
                    delta.crowded |= delta.tool_calls.len() == MAX_ENTRIES;
                    if cur.peek() == Some(b'{') && !delta.crowded {
                        delta.tool_calls.push(ToolDelta::read(cur)?);
                    } else {
                        cur.raw()?;
                    }
                    Ok(())
                })?,
                "function_call" if cur.peek() == Some(b'{') => {
                    let mut call = ToolDelta::default();
                    call.function(cur)?;
                    delta.function_call = Some(call);
                }
                _ => drop(cur.raw()?),
            }
            Ok(())
        })?;
        delta.reasoning = reasoning.into_iter().flatten().next();
        Ok(delta)
    }
}

impl<'a> ToolDelta<'a> {
    fn read(cur: &mut Cursor<'a>) -> Result<Self> {
        let mut call = Self::default();
        cur.object(|key, cur| -> Result<()> {
            match key.raw() {
                "index" => call.index = cur.raw()?.text().parse().ok(),
                "id" => call.id = text(cur)?,
                "function" if cur.peek() == Some(b'{') => call.function(cur)?,
                "extra_content" => fields(cur, |key, cur| match key {
                    "google" => fields(cur, |key, cur| {
                        match key {
                            "thought_signature" => call.thought_signature = text(cur)?,
                            _ => drop(cur.raw()?),
                        }
                        Ok(())
                    }),
                    _ => cur.raw().map(drop),
                })?,
                _ => drop(cur.raw()?),
            }
            Ok(())
        })?;
        Ok(call)
    }

    fn function(&mut self, cur: &mut Cursor<'a>) -> Result<()> {
        cur.object(|key, cur| -> Result<()> {
            match key.raw() {
                "name" => self.name = text(cur)?,
                "arguments" => match cur.peek() {
                    Some(b'"') => self.arguments = Some(Arguments::Text(cur.string()?)),
                    _ => self.arguments = Some(cur.raw()?).filter(|v| !v.is_null()).map(Arguments::Value),
                },
                _ => drop(cur.raw()?),
            }
            Ok(())
        })
    }
}

/// Whether what stands there says something: not null, false, or an empty string.
fn is_fault(cur: &mut Cursor<'_>) -> Result<bool> {
    Ok(!matches!(cur.raw()?.text(), "null" | "false" | "\"\""))
}

/// A string that is not empty; anything else counts as absent.
fn text<'a>(cur: &mut Cursor<'a>) -> Result<Option<JsonStr<'a>>> {
    if cur.peek() == Some(b'"') {
        return Ok(Some(cur.string()?).filter(|s| !s.is_empty()));
    }
    cur.raw()?;
    Ok(None)
}

/// The fields of an object; anything else is skipped.
fn fields<'a>(cur: &mut Cursor<'a>, mut each: impl FnMut(&str, &mut Cursor<'a>) -> Result<()>) -> Result<()> {
    if cur.peek() != Some(b'{') {
        return cur.raw().map(drop);
    }
    cur.object(|key, cur| each(key.raw(), cur))
}

fn content<'a>(cur: &mut Cursor<'a>) -> Result<Content<'a>> {
    match cur.peek() {
        Some(b'"') => {
            let text = cur.string()?;
            Ok(if text.is_empty() { Content::None } else { Content::Text(text) })
        }
        Some(b'[') => {
            let mut parts = Vec::new();
            cur.array(|_, cur| part(cur, &mut parts, false))?;
            Ok(Content::Parts(parts))
        }
        _ => {
            cur.raw()?;
            Ok(Content::None)
        }
    }
}

/// Reads a part of a content array: `{"type":"text","text":..}`, or
/// `{"type":"thinking","thinking":[{"type":"text","text":..}]}`.
fn part<'a>(cur: &mut Cursor<'a>, parts: &mut Vec<(bool, JsonStr<'a>)>, thinking: bool) -> Result<()> {
    if parts.len() > MAX_ENTRIES {
        return cur.raw().map(drop);
    }
    fields(cur, |key, cur| {
        match key {
            "text" => parts.extend(text(cur)?.map(|t| (thinking, t))),
            "thinking" if cur.peek() == Some(b'[') => {
                cur.array(|_, cur| part(cur, parts, true))?;
            }
            "thinking" => parts.extend(text(cur)?.map(|t| (true, t))),
            _ => drop(cur.raw()?),
        }
        Ok(())
    })
}
