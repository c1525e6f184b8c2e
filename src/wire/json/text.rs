//! Strings as they stood in the input: checked, still escaped.

use std::borrow::Cow;
use std::ops::Range;

use super::place::place_in;
use super::write::escape;

pub(super) const ESCAPED: u8 = 1;
pub(super) const LONE_SURROGATE: u8 = 2;
pub(super) const CONTROL: u8 = 4;
/// There is a `\\uXXXX` in it.
pub(super) const UNICODE: u8 = 8;

/// A JSON string as it stood in the input, without its quotes; checked, still escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JsonStr<'a> {
    pub(super) raw: &'a str,
    pub(super) flags: u8,
}

impl<'a> JsonStr<'a> {
    /// Between the quotes, escapes untouched.
    pub fn raw(self) -> &'a str {
        self.raw
    }

    /// The empty string.
    pub fn is_empty(self) -> bool {
        self.raw.is_empty()
    }

    /// Whether the string may be copied between other quotes as it is.
    pub fn is_clean(self) -> bool {
        self.flags & (LONE_SURROGATE | CONTROL) == 0
    }

    /// Half a character stands in it.
    pub fn has_lone_surrogate(self) -> bool {
        self.flags & LONE_SURROGATE != 0
    }

    /// The text it stands for. A lone surrogate becomes U+FFFD.
    pub fn decode(self) -> Cow<'a, str> {
        if self.flags & ESCAPED == 0 {
            return Cow::Borrowed(self.raw);
        }
        let mut out = String::with_capacity(self.raw.len());
        for piece in Pieces::over(self.raw) {
            match piece {
                Piece::Plain(s) => out.push_str(s),
                Piece::Char(c) => out.push(c),
            }
        }
        Cow::Owned(out)
    }

    /// Appends the string's inside, escaped, ready to stand between quotes.
    pub fn write_inner(self, out: &mut Vec<u8>) {
        if self.is_clean() {
            out.extend_from_slice(self.raw.as_bytes());
        } else {
            escape(&self.decode(), out);
        }
    }

    /// Appends the string with its quotes.
    pub fn write(self, out: &mut Vec<u8>) {
        out.push(b'"');
        self.write_inner(out);
        out.push(b'"');
    }

    /// Whether the text is `other`.
    pub fn is(self, other: &str) -> bool {
        if self.flags & ESCAPED == 0 { self.raw == other } else { self.rest_after(other) == Some("") }
    }

    /// Whether the text begins with `prefix`.
    pub fn starts_with(self, prefix: &str) -> bool {
        if self.flags & ESCAPED == 0 {
            self.raw.starts_with(prefix)
        } else {
            self.rest_after(prefix).is_some()
        }
    }

    /// What follows `prefix`, still escaped.
    fn rest_after(self, prefix: &str) -> Option<&'a str> {
        let (mut pieces, mut left) = (self.pieces(), prefix);
        while !left.is_empty() {
            let before = pieces.rest();
            match pieces.next()? {
                Piece::Plain(text) if text.len() > left.len() => {
                    return text.starts_with(left).then(|| before.get(left.len()..)).flatten();
                }
                Piece::Plain(text) => left = left.strip_prefix(text)?,
                Piece::Char(c) => left = left.strip_prefix(c)?,
            }
        }
        Some(pieces.rest())
    }

    /// Where the string stands in `text`, which it is a part of.
    pub fn place_in(self, text: &str) -> Option<Range<usize>> {
        place_in(self.raw, text)
    }

    /// Whether the text has nothing but white space (also: nothing at all).
    pub fn is_blank(self) -> bool {
        if self.flags & ESCAPED == 0 {
            return self.raw.trim().is_empty();
        }
        Pieces::over(self.raw).all(|p| match p {
            Piece::Plain(s) => s.trim().is_empty(),
            Piece::Char(c) => c.is_whitespace(),
        })
    }

    /// Length of the text in bytes, at most: escapes count as they are written.
    pub fn len_hint(self) -> usize {
        self.raw.len()
    }

    /// The text piece by piece, without allocating.
    pub fn pieces(self) -> Pieces<'a> {
        Pieces::over(self.raw)
    }
}

/// A part of a decoded string: a run that stood there plainly, or one escaped character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes that needed no decoding.
    Plain(&'a str),
    /// What an escape stood for.
    Char(char),
}

/// Iterator over a checked, escaped string.
#[derive(Debug, Clone)]
pub struct Pieces<'a> {
    rest: &'a str,
}

impl<'a> Pieces<'a> {
    /// The pieces of the inside of a JSON string. What is not a valid escape ends the iteration.
    pub fn over(inner: &'a str) -> Self {
        Self { rest: inner }
    }

    /// What has not been read yet, escaped as it came.
    pub fn rest(&self) -> &'a str {
        self.rest
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let bytes = self.rest.as_bytes();
        let first = *bytes.first()?;
        if first != b'\\' {
            let end = memchr::memchr(b'\\', bytes).unwrap_or(bytes.len());
            let (head, tail) = self.rest.split_at_checked(end)?;
            self.rest = tail;
            return Some(Piece::Plain(head));
        }
        let (c, used) = match bytes.get(1)? {
            b'n' => ('\n', 2),
            b't' => ('\t', 2),
            b'r' => ('\r', 2),
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'u' => {
                let high = hex4(bytes.get(2..6)?)?;
                match high {
                    0xD800..=0xDBFF => match low_surrogate(bytes.get(6..12)) {
                        Some(low) => {
                            let code =
                                0x10000 + ((u32::from(high) - 0xD800) << 10) + (u32::from(low) - 0xDC00);
                            (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
                        }
                        None => (char::REPLACEMENT_CHARACTER, 6),
                    },
                    _ => (char::from_u32(u32::from(high)).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
                }
            }
            other => (char::from(*other), 2),
        };
        self.rest = self.rest.get(used..)?;
        Some(Piece::Char(c))
    }
}

pub(super) fn hex4(digits: &[u8]) -> Option<u16> {
    if digits.len() != 4 {
        return None;
    }
    digits.iter().try_fold(0u16, |n, d| Some((n << 4) | (char::from(*d).to_digit(16)? as u16)))
}

pub(super) fn low_surrogate(escape: Option<&[u8]>) -> Option<u16> {
    let digits = escape?.strip_prefix(b"\\u")?;
    hex4(digits).filter(|n| (0xDC00..=0xDFFF).contains(n))
}
