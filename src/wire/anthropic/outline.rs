//! Where the parts of a Messages request stand, for who passes it on as it is.
//!
//! Nothing is judged here but the JSON itself: what Anthropic's API makes of an unknown field
//! or block is for that API to say.

use std::borrow::Cow;
use std::ops::Range;

use super::ApiError;
use super::complaint::{Complaint, Result, Under};
use crate::wire::json::{Cursor, JsonStr};

/// A request body, with the places of what a proxy may have to change.
#[derive(Debug)]
pub struct Outline<'a> {
    /// The whole body.
    pub text: &'a str,
    /// `model`; of several, the last, as JSON parsers have it.
    pub model: Cow<'a, str>,
    /// `stream` is true.
    pub stream: bool,
    /// `thinking.type` is `enabled`.
    pub thinking_enabled: bool,
    /// Every string under a key `model` at the top, with its quotes.
    pub models: Vec<Range<usize>>,
    /// The members of the body, in order.
    pub fields: List<Field>,
    /// The entries of `messages`, in order.
    pub turns: List<Turn<'a>>,
}

/// The items of a JSON object or array, each from the end of the one before it: what stands
/// between belongs to the later one, its comma too.
#[derive(Debug)]
pub struct List<T> {
    /// Where the first one begins.
    pub start: usize,
    /// The items, and where each ends.
    pub items: Vec<(T, usize)>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { start: 0, items: Vec::new() }
    }
}

/// A member of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `thinking`.
    Thinking,
    /// `context_management`.
    ContextManagement,
    /// Any other.
    Other,
}

/// An entry of `messages`.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The model said it.
    pub assistant: bool,
    /// Its blocks; none where `content` is a string.
    pub blocks: List<Part<'a>>,
}

/// A content block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'a> {
    /// `thinking`.
    Thinking {
        /// `signature`; empty where there is none.
        signature: JsonStr<'a>,
    },
    /// `redacted_thinking`.
    Redacted,
    /// `tool_use`.
    ToolUse(CallId<'a>),
    /// `tool_result`.
    ToolResult(CallId<'a>),
    /// Any other.
    Other,
}

/// The id of a tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallId<'a> {
    /// The id.
    pub text: JsonStr<'a>,
    /// Where it stands, with its quotes.
    pub at: Range<usize>,
}

impl<'a> Outline<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 in Anthropic's words: broken JSON with line and column, no `model`, a `stream` that
    /// is no boolean.
    pub fn read(body: &'a [u8]) -> std::result::Result<Self, ApiError> {
        let text = super::request::utf8(body)?;
        outline(text).map_err(|e| e.into_error(body))
    }
}

fn outline(text: &str) -> Result<Outline<'_>> {
    let mut outline = Outline {
        text,
        model: Cow::Borrowed(""),
        stream: false,
        thinking_enabled: false,
        models: Vec::new(),
        fields: List::default(),
        turns: List::default(),
    };
    let mut cur = Cursor::new(text);
    let mut model = None;
    outline.fields.start = opening(&mut cur);
    cur.object(|key, cur| -> Result<()> {
        let mut field = Field::Other;
        match key.decode().as_ref() {
            "model" => {
                cur.peek();
                let start = cur.at();
                model = Some(cur.string().under("model")?);
                outline.models.push(start..cur.at());
            }
            "stream" => outline.stream = !cur.null()? && cur.bool().under("stream")?,
            "messages" => outline.turns = turns(cur)?,
            "thinking" => {
                field = Field::Thinking;
                outline.thinking_enabled = thinking_enabled(cur)?;
            }
            "context_management" => {
                field = Field::ContextManagement;
                cur.raw()?;
            }
            _ => drop(cur.raw()?),
        }
        outline.fields.items.push((field, cur.at()));
        Ok(())
    })?;
    cur.end()?;
    outline.model = model.ok_or_else(|| Complaint::required("model"))?.decode();
    if outline.model.is_empty() {
        return Err(Complaint::new("String should have at least 1 character")).under("model");
    }
    Ok(outline)
}

/// Where the first item of the list or object that comes next begins.
fn opening(cur: &mut Cursor<'_>) -> usize {
    cur.peek();
    cur.at() + 1
}

fn turns<'a>(cur: &mut Cursor<'a>) -> Result<List<Turn<'a>>> {
    let mut turns = List { start: opening(cur), items: Vec::new() };
    if cur.peek() != Some(b'[') {
        cur.raw()?;
        return Ok(turns);
    }
    cur.array(|_, cur| -> Result<()> {
        let turn = turn(cur)?;
        turns.items.push((turn, cur.at()));
        Ok(())
    })?;
    Ok(turns)
}

fn turn<'a>(cur: &mut Cursor<'a>) -> Result<Turn<'a>> {
    let mut turn = Turn { assistant: false, blocks: List::default() };
    if cur.peek() != Some(b'{') {
        cur.raw()?;
        return Ok(turn);
    }
    cur.object(|key, cur| -> Result<()> {
        match (key.decode().as_ref(), cur.peek()) {
            ("role", Some(b'"')) => turn.assistant = cur.string()?.is("assistant"),
            ("content", Some(b'[')) => {
                turn.blocks = List { start: opening(cur), items: Vec::new() };
                cur.array(|_, cur| -> Result<()> {
                    let part = part(cur)?;
                    turn.blocks.items.push((part, cur.at()));
                    Ok(())
                })?;
            }
            _ => drop(cur.raw()?),
        }
        Ok(())
    })?;
    Ok(turn)
}

fn part<'a>(cur: &mut Cursor<'a>) -> Result<Part<'a>> {
    if cur.peek() != Some(b'{') {
        cur.raw()?;
        return Ok(Part::Other);
    }
    let (mut kind, mut signature) = (None, JsonStr::default());
    let (mut id, mut result) = (None, None);
    cur.object(|key, cur| -> Result<()> {
        let is_text = cur.peek() == Some(b'"');
        let at = cur.at();
        match key.decode().as_ref() {
            "type" if is_text => kind = Some(cur.string()?),
            "signature" if is_text => signature = cur.string()?,
            "id" if is_text => id = Some(CallId { text: cur.string()?, at: at..cur.at() }),
            "tool_use_id" if is_text => result = Some(CallId { text: cur.string()?, at: at..cur.at() }),
            _ => drop(cur.raw()?),
        }
        Ok(())
    })?;
    let kind = kind.map(JsonStr::decode).unwrap_or_default();
    Ok(match (kind.as_ref(), id, result) {
        ("thinking", _, _) => Part::Thinking { signature },
        ("redacted_thinking", _, _) => Part::Redacted,
        ("tool_use", Some(id), _) => Part::ToolUse(id),
        ("tool_result", _, Some(id)) => Part::ToolResult(id),
        _ => Part::Other,
    })
}

fn thinking_enabled(cur: &mut Cursor<'_>) -> Result<bool> {
    if cur.peek() != Some(b'{') {
        cur.raw()?;
        return Ok(false);
    }
    let mut enabled = false;
    cur.object(|key, cur| -> Result<()> {
        if key.is("type") && cur.peek() == Some(b'"') {
            enabled = cur.string()?.is("enabled");
        } else {
            cur.raw()?;
        }
        Ok(())
    })?;
    Ok(enabled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_asked_for() {
        let body = r#" { "model" : "a" , "x":[1,{"model":"no"}], "messages":[{"role":"user","content":"hi"},
            {"content":[{"type":"thinking","thinking":"","signature":"s"},7,{"id":"t","type":"tool_use"}],"role":"assistant"},
            3,{"role":"user","content":[{"tool_use_id":"t","type":"tool_result","content":[{"type":"thinking"}]}]}],
            "thinking":{"budget_tokens":5,"type":"enabled"}, "mod\u0065l":"b", "stream":true } "#;
        let outline = Outline::read(body.as_bytes()).unwrap();
        assert_eq!((outline.model.as_ref(), outline.stream, outline.thinking_enabled), ("b", true, true));
        let models: Vec<&str> = outline.models.iter().map(|m| &body[m.clone()]).collect();
        assert_eq!(models, ["\"a\"", "\"b\""]);
        let fields = outline.fields.items.len();
        assert_eq!((fields, outline.fields.items[3].0), (6, Field::Thinking));
        assert_eq!(
            &body[outline.fields.items[0].1..outline.fields.items[1].1],
            r#" , "x":[1,{"model":"no"}]"#
        );
        let turns: Vec<(bool, usize)> =
            outline.turns.items.iter().map(|(t, _)| (t.assistant, t.blocks.items.len())).collect();
        assert_eq!(turns, [(false, 0), (true, 3), (false, 0), (false, 1)]);
        let said = &outline.turns.items[1].0.blocks;
        assert!(matches!(&said.items[0].0, Part::Thinking { signature } if signature.is("s")));
        let Part::ToolUse(id) = &said.items[2].0 else { panic!("{said:?}") };
        assert_eq!(&body[id.at.clone()], "\"t\"");
        assert!(matches!(&outline.turns.items[3].0.blocks.items[0].0, Part::ToolResult(_)));
    }

    #[test]
    fn only_what_cannot_be_passed_on_is_refused() {
        for odd in [
            r#"{"model":"m"}"#,
            r#"{"model":"m","messages":{},"thinking":[],"stream":null}"#,
            r#"{"model":"m","messages":[[],{"role":1,"content":{}},{"content":[1,[],{"type":5,"id":{}}]}]}"#,
        ] {
            assert!(Outline::read(odd.as_bytes()).is_ok(), "{odd}");
        }
        let told = |body: &str| Outline::read(body.as_bytes()).unwrap_err().message;
        assert_eq!(told("{}"), "model: Field required");
        assert_eq!(told(r#"{"model":1}"#), "model: Input should be a valid string");
        assert_eq!(told(r#"{"model":""}"#), "model: String should have at least 1 character");
        assert_eq!(told(r#"{"model":"m","stream":"x"}"#), "stream: Input should be a valid boolean");
        assert!(told("{\"model\":\"m\"}}").ends_with("at line 1 column 14"));
        assert_eq!(told("[]"), "Input should be an object");
    }
}
