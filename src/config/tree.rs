//! config.json as a tree that remembers where each value stood.

use std::ops::Range;

use crate::wire::json::{Cursor, JsonError};

/// A value and its place in the file, in bytes.
#[derive(Clone, PartialEq)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) value: Value,
}

/// A JSON value. Numbers stay as they were written.
#[derive(Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

/// One `"key": value` of an object; keys may repeat.
#[derive(Clone, PartialEq)]
pub(super) struct Member {
    pub(super) key: String,
    /// The key's place, quotes included.
    pub(super) key_span: Range<usize>,
    pub(super) node: Node,
}

impl Value {
    /// What it is, for "expected .., found ..".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// Reads a whole file. A byte order mark at its start is skipped.
pub(super) fn parse(text: &str) -> Result<Node, JsonError> {
    let bom = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut cursor = Cursor::new(text).at_offset(bom);
    let root = node(text, &mut cursor)?;
    cursor.end()?;
    Ok(root)
}

// Recursion is bounded: the cursor refuses more than 128 levels.
fn node(text: &str, cursor: &mut Cursor<'_>) -> Result<Node, JsonError> {
    let first = cursor.peek();
    let start = cursor.at();
    let value = match first {
        Some(b'{') => {
            let mut members = Vec::new();
            cursor.object(|key, cursor| {
                let inner = offset_in(text, key.raw());
                let key_span = inner.saturating_sub(1)..inner + key.raw().len() + 1;
                let node = node(text, cursor)?;
                members.push(Member { key: key.decode().into_owned(), key_span, node });
                Ok::<(), JsonError>(())
            })?;
            Value::Object(members)
        }
        Some(b'[') => {
            let mut items = Vec::new();
            cursor.array(|_, cursor| {
                items.push(node(text, cursor)?);
                Ok::<(), JsonError>(())
            })?;
            Value::List(items)
        }
        Some(b'"') => Value::Text(cursor.string()?.decode().into_owned()),
        Some(b't' | b'f') => Value::Bool(cursor.bool()?),
        Some(b'-' | b'0'..=b'9') => Value::Number(cursor.number_text()?.to_owned()),
        _ => {
            // `null`, or the error that says what is there instead.
            cursor.raw()?;
            Value::Null
        }
    };
    Ok(Node { span: start..cursor.at(), value })
}

/// Where `part`, a slice of `text`, begins in it.
fn offset_in(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cover_keys_and_values() {
        let text = "\u{feff}{ \"a\\u0062\" : [ 1, \"x\" , null ] }";
        let root = parse(text).unwrap();
        let Value::Object(members) = &root.value else { panic!() };
        assert_eq!(members[0].key, "ab");
        assert_eq!(text.get(members[0].key_span.clone()).unwrap(), "\"a\\u0062\"");
        assert_eq!(text.get(members[0].node.span.clone()).unwrap(), "[ 1, \"x\" , null ]");
        let Value::List(items) = &members[0].node.value else { panic!() };
        assert_eq!(text.get(items[1].span.clone()).unwrap(), "\"x\"");
        assert!(items[2].value == Value::Null);
        assert_eq!(text.get(root.span).unwrap(), "{ \"a\\u0062\" : [ 1, \"x\" , null ] }");
    }

    #[test]
    fn deep_nesting_is_an_error() {
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse("").is_err());
        assert!(parse("nul").is_err());
    }
}
