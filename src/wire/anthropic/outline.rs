//! Where the parts of a Messages request stand, for who passes it on as it is.
//!
//! Nothing is judged here but the JSON itself: what Anthropic's API makes of an unknown field
//! or block is for that API to say.

use std::borrow::Cow;
use std::ops::Range;

use super::ApiError;
use super::complaint::{Complaint, Result, Under};
use crate::wire::json::{Cursor, JsonStr, RawJson};

/// A request body, with the places of what a proxy may have to change.
#[derive(Debug)]
pub struct Outline<'a> {
    /// The whole body.
    pub text: &'a str,
    /// `model`.
    pub model: Cow<'a, str>,
    /// Where it stands, with its quotes.
    pub model_at: Range<usize>,
    /// `stream` is true.
    pub stream: bool,
    /// `thinking.type` is `enabled`.
    pub thinking_enabled: bool,
    /// `metadata`, as it came.
    pub metadata: Option<RawJson<'a>>,
    /// The members of the body.
    pub fields: List<Field>,
    /// The entries of `messages`.
    pub turns: List<Turn<'a>>,
}

/// The items of a JSON object or array, each from the end of the one before it: what stands
/// between belongs to the later one, its comma too.
#[derive(Debug)]
pub struct List<T> {
    /// Where the first one begins.
    pub start: usize,
    /// Where each ends.
    pub ends: Vec<usize>,
    /// Those that matter here, by their index, in order.
    pub marks: Vec<(usize, T)>,
}

impl<T> List<T> {
    fn at(start: usize) -> Self {
        Self { start, ends: Vec::new(), marks: Vec::new() }
    }

    fn push(&mut self, mark: Option<T>, end: usize) {
        self.marks.extend(mark.map(|mark| (self.ends.len(), mark)));
        self.ends.push(end);
    }
}

/// A member of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `thinking`.
    Thinking,
    /// `context_management`.
    ContextManagement,
}

/// An entry of `messages` that the model said, or that has a marked block.
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
    /// 400 in Anthropic's words: broken JSON with line and column, no `model` or two, a `stream`
    /// that is no boolean.
    pub fn read(body: &'a [u8]) -> std::result::Result<Self, ApiError> {
        let text = super::request::utf8(body)?;
        outline(text).map_err(|e| e.into_error(body))
    }
}

fn outline(text: &str) -> Result<Outline<'_>> {
    let mut cur = Cursor::new(text);
    let mut outline = Outline {
        text,
        model: Cow::Borrowed(""),
        model_at: 0..0,
        stream: false,
        thinking_enabled: false,
        metadata: None,
        fields: List::at(opening(&mut cur)),
        turns: List::at(0),
    };
    let mut model = None;
    cur.object(|key, cur| -> Result<()> {
        let mut field = None;
        match key.decode().as_ref() {
            "model" if model.is_some() => return Err(Complaint::new("given twice")).under("model"),
            "model" => {
                cur.peek();
                let start = cur.at();
                model = Some(cur.string().under("model")?);
                outline.model_at = start..cur.at();
            }
            "stream" => outline.stream = !cur.null()? && cur.bool().under("stream")?,
            "messages" => outline.turns = turns(cur)?,
            "thinking" => {
                field = Some(Field::Thinking);
                outline.thinking_enabled = thinking_enabled(cur)?;
            }
            "context_management" => {
                field = Some(Field::ContextManagement);
                cur.raw()?;
            }
            "metadata" => outline.metadata = Some(cur.raw()?),
            _ => drop(cur.raw()?),
        }
        outline.fields.push(field, cur.at());
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
    let mut turns = List::at(opening(cur));
    if cur.peek() != Some(b'[') {
        cur.raw()?;
        return Ok(turns);
    }
    cur.array(|_, cur| -> Result<()> {
        let turn = turn(cur)?;
        let matters = turn.assistant || !turn.blocks.marks.is_empty();
        turns.push(matters.then_some(turn), cur.at());
        Ok(())
    })?;
    Ok(turns)
}

fn turn<'a>(cur: &mut Cursor<'a>) -> Result<Turn<'a>> {
    let mut turn = Turn { assistant: false, blocks: List::at(0) };
    if cur.peek() != Some(b'{') {
        cur.raw()?;
        return Ok(turn);
    }
    cur.object(|key, cur| -> Result<()> {
        match (key.decode().as_ref(), cur.peek()) {
            ("role", Some(b'"')) => turn.assistant = cur.string()?.is("assistant"),
            ("content", Some(b'[')) => {
                turn.blocks = List::at(opening(cur));
                cur.array(|_, cur| -> Result<()> {
                    let part = part(cur)?;
                    turn.blocks.push(part, cur.at());
                    Ok(())
                })?;
            }
            _ => drop(cur.raw()?),
        }
        Ok(())
    })?;
    Ok(turn)
}

fn part<'a>(cur: &mut Cursor<'a>) -> Result<Option<Part<'a>>> {
    if cur.peek() != Some(b'{') {
        cur.raw()?;
        return Ok(None);
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
    Ok(match kind.as_ref() {
        "thinking" => Some(Part::Thinking { signature }),
        "redacted_thinking" => Some(Part::Redacted),
        "tool_use" => id.map(Part::ToolUse),
        "tool_result" => result.map(Part::ToolResult),
        _ => None,
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
        let body = r#" { "x":[1,{"model":"no"}], "messages":[{"role":"user","content":"hi"},
            {"content":[{"type":"thinking","thinking":"","signature":"s"},7,{"id":"t","type":"tool_use"}],"role":"assistant"},
            3,{"role":"user","content":[{"tool_use_id":"t","type":"tool_result","content":[{"type":"thinking"}]}]}],
            "thinking":{"budget_tokens":5,"type":"enabled"}, "mod\u0065l" : "\u0062", "stream":true } "#;
        let outline = Outline::read(body.as_bytes()).unwrap();
        assert_eq!((outline.model.as_ref(), outline.stream, outline.thinking_enabled), ("b", true, true));
        assert_eq!(body.get(outline.model_at.clone()), Some("\"\\u0062\""));
        let fields = &outline.fields;
        assert_eq!((fields.ends.len(), &fields.marks[..]), (5, &[(2, Field::Thinking)][..]));
        assert_eq!(body.get(fields.start..fields.ends[0]), Some(r#" "x":[1,{"model":"no"}]"#));
        let turns = &outline.turns;
        let marked: Vec<(usize, bool, usize)> =
            turns.marks.iter().map(|(n, t)| (*n, t.assistant, t.blocks.ends.len())).collect();
        assert_eq!((turns.ends.len(), &marked[..]), (4, &[(1, true, 3), (3, false, 1)][..]));
        let said = &turns.marks[0].1.blocks.marks;
        assert!(matches!(&said[0], (0, Part::Thinking { signature }) if signature.is("s")));
        let (2, Part::ToolUse(id)) = &said[1] else { panic!("{said:?}") };
        assert_eq!(body.get(id.at.clone()), Some("\"t\""));
        assert!(matches!(&turns.marks[1].1.blocks.marks[..], [(0, Part::ToolResult(_))]));
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
        // Who reads the first and who reads the last must not ask for different models.
        assert_eq!(told(r#"{"model":"a","mod\u0065l":"b"}"#), "model: given twice");
    }
}
