//! Values as they stood in the input: checked, never a tree.

use std::borrow::Cow;

use super::write::escape_json;
use super::{Cursor, Piece, Pieces, Result};

/// A JSON value as it stood in the input, checked and never re-parsed into a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawJson<'a> {
    pub(super) text: &'a str,
    /// No white space between tokens and no `\uXXXX`: already what compact JSON looks like.
    pub(super) compact: bool,
}

impl<'a> RawJson<'a> {
    /// Checks that `text` is one JSON value and nothing else.
    pub fn parse(text: &'a str) -> Result<Self> {
        let mut c = Cursor::new(text);
        let raw = c.raw()?;
        c.end()?;
        Ok(raw)
    }

    /// The value's text.
    pub fn text(self) -> &'a str {
        self.text
    }

    /// A cursor over the value.
    pub fn cursor(self) -> Cursor<'a> {
        Cursor::new(self.text)
    }

    /// The value's first byte tells its type.
    pub fn is_object(self) -> bool {
        self.text.starts_with('{')
    }

    /// `null`.
    pub fn is_null(self) -> bool {
        self.text == "null"
    }

    /// Appends the value as it came.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text.as_bytes());
    }

    /// Appends the value without white space between tokens and with non-ASCII text
    /// unescaped; key order and numbers stay.
    pub fn write_compact(self, out: &mut Vec<u8>) {
        if self.compact {
            out.extend_from_slice(self.text.as_bytes());
            return;
        }
        for token in Tokens(self.text) {
            match token {
                Token::Mark(s) => out.extend_from_slice(s.as_bytes()),
                Token::Str(inner) => {
                    out.push(b'"');
                    for piece in unescape_non_ascii(inner) {
                        out.extend_from_slice(piece.as_bytes());
                    }
                    out.push(b'"');
                }
            }
        }
    }

    /// Appends the compact value as the inside of a JSON string, as `arguments` wants it.
    pub fn write_compact_escaped(self, out: &mut Vec<u8>) {
        if self.compact {
            escape_json(self.text, out);
            return;
        }
        for token in Tokens(self.text) {
            match token {
                Token::Mark(s) => out.extend_from_slice(s.as_bytes()),
                Token::Str(inner) => {
                    out.extend_from_slice(b"\\\"");
                    for piece in unescape_non_ascii(inner) {
                        escape_json(&piece, out);
                    }
                    out.extend_from_slice(b"\\\"");
                }
            }
        }
    }
}

/// The inside of a string with `\uXXXX` of non-ASCII characters decoded; other escapes stay.
fn unescape_non_ascii(inner: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let mut pieces = Pieces::over(inner);
    std::iter::from_fn(move || {
        let before = pieces.rest();
        let piece = pieces.next()?;
        let used = before.len() - pieces.rest().len();
        Some(match piece {
            Piece::Plain(s) => Cow::Borrowed(s),
            Piece::Char(c) if !c.is_ascii() && c != char::REPLACEMENT_CHARACTER => Cow::Owned(c.to_string()),
            Piece::Char(_) => Cow::Borrowed(before.get(..used).unwrap_or_default()),
        })
    })
}

enum Token<'a> {
    /// Punctuation, a number or a literal.
    Mark(&'a str),
    /// The inside of a string.
    Str(&'a str),
}

/// Tokens of checked JSON text, white space skipped.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.0 = self.0.trim_start_matches([' ', '\n', '\r', '\t']);
        let bytes = self.0.as_bytes();
        if *bytes.first()? == b'"' {
            let mut end = 1;
            loop {
                end += memchr::memchr2(b'"', b'\\', bytes.get(end..)?)?;
                if *bytes.get(end)? == b'"' {
                    break;
                }
                end += 2;
            }
            let inner = self.0.get(1..end)?;
            self.0 = self.0.get(end + 1..)?;
            return Some(Token::Str(inner));
        }
        let end = bytes
            .iter()
            .position(|b| matches!(b, b'"' | b' ' | b'\n' | b'\r' | b'\t'))
            .unwrap_or(bytes.len());
        let (head, tail) = self.0.split_at_checked(end)?;
        self.0 = tail;
        Some(Token::Mark(head))
    }
}
