//! Text on its way into a JSON string: kept escaped, copied once.

use crate::wire::json::{JsonStr, Piece, Pieces, escape};

/// A text, either as it stood in the request or composed here.
#[derive(Debug, Clone)]
pub(super) enum Text<'a> {
    /// As it stood, still escaped.
    Json(JsonStr<'a>),
    /// Composed: the inside of a JSON string, escaped.
    Composed(Vec<u8>),
}

impl Text<'_> {
    /// A text of our own words.
    pub(super) fn plain(text: &str) -> Self {
        Composer::new().lit(text).done()
    }

    /// Appends the inside of the JSON string.
    pub(super) fn write_inner(&self, out: &mut Vec<u8>) {
        match self {
            Self::Json(text) => text.write_inner(out),
            Self::Composed(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// Appends the JSON string, quotes included.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        self.write_inner(out);
        out.push(b'"');
    }

    /// Whether there is no text.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Json(text) => text.is_empty(),
            Self::Composed(bytes) => bytes.is_empty(),
        }
    }

    /// Bytes it takes, escaped.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(text) => text.len_hint(),
            Self::Composed(bytes) => bytes.len(),
        }
    }

    /// Whether the text begins with one of these, whatever the case of ASCII letters.
    pub(super) fn begins_with_any(&self, starts: &[&str]) -> bool {
        let longest = starts.iter().map(|s| s.len()).max().unwrap_or(0);
        let head: String = match self {
            Self::Json(text) => chars(text.pieces()).take(longest).collect(),
            Self::Composed(bytes) => {
                String::from_utf8_lossy(bytes.get(..longest.min(bytes.len())).unwrap_or(bytes)).into_owned()
            }
        };
        let head = head.to_ascii_lowercase();
        starts.iter().any(|s| head.starts_with(s))
    }
}

/// Writes the texts with a blank line (escaped) between them.
pub(super) fn write_joined<'t, 'a: 't>(texts: impl IntoIterator<Item = &'t Text<'a>>, out: &mut Vec<u8>) {
    for (n, text) in texts.into_iter().enumerate() {
        if n > 0 {
            out.extend_from_slice(BLANK_LINE);
        }
        text.write_inner(out);
    }
}

/// A blank line between paragraphs, as it stands inside a JSON string.
pub(super) const BLANK_LINE: &[u8] = b"\\n\\n";

/// Puts a text together from literals and from the request's own strings.
#[derive(Debug, Default)]
pub(super) struct Composer(Vec<u8>);

impl Composer {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Plain text.
    pub(super) fn lit(mut self, text: &str) -> Self {
        escape(text, &mut self.0);
        self
    }

    /// A string of the request.
    pub(super) fn json(mut self, text: JsonStr<'_>) -> Self {
        text.write_inner(&mut self.0);
        self
    }

    /// A text.
    pub(super) fn text(mut self, text: &Text<'_>) -> Self {
        text.write_inner(&mut self.0);
        self
    }

    /// ` name="value"`, unless there is no value. `& " <` are escaped as in XML.
    pub(super) fn attribute(self, name: &str, value: Option<JsonStr<'_>>) -> Self {
        let Some(value) = value.filter(|v| !v.is_empty()) else { return self };
        let value = value.decode().replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
        self.lit(" ").lit(name).lit("=\"").lit(&value).lit("\"")
    }

    pub(super) fn done<'a>(self) -> Text<'a> {
        Text::Composed(self.0)
    }
}

/// A piece of an answer on its way to the client.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fragment<'a> {
    /// A string of the upstream's, still escaped.
    Json(JsonStr<'a>),
    /// Decoded text.
    Plain(&'a str),
    /// The inside of a JSON string, held back earlier.
    Escaped(&'a str),
}

impl Fragment<'_> {
    /// Appends the inside of the JSON string.
    pub(super) fn write_inner(self, out: &mut Vec<u8>) {
        match self {
            Self::Json(text) => text.write_inner(out),
            Self::Plain(text) => escape(text, out),
            Self::Escaped(text) => out.extend_from_slice(text.as_bytes()),
        }
    }

    /// Nothing but white space.
    pub(super) fn is_blank(self) -> bool {
        match self {
            Self::Json(text) => text.is_blank(),
            Self::Plain(text) => text.trim().is_empty(),
            Self::Escaped(text) => Pieces::over(text).all(|p| match p {
                Piece::Plain(s) => s.trim().is_empty(),
                Piece::Char(c) => c.is_whitespace(),
            }),
        }
    }

    pub(super) fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Bytes, about.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Json(text) => text.len_hint(),
            Self::Plain(text) | Self::Escaped(text) => text.len(),
        }
    }

    /// Appends the text itself, up to `most` characters, and returns how many.
    pub(super) fn decode_some(self, most: usize, out: &mut String) -> usize {
        let before = out.len();
        match self {
            Self::Json(text) => out.extend(chars(text.pieces()).take(most)),
            Self::Plain(text) => out.extend(text.chars().take(most)),
            Self::Escaped(text) => out.extend(chars(Pieces::over(text)).take(most)),
        }
        out.get(before..).unwrap_or_default().chars().count()
    }
}

/// The characters that the pieces stand for.
fn chars(pieces: Pieces<'_>) -> impl Iterator<Item = char> {
    pieces.flat_map(|piece| {
        let (plain, one) = match piece {
            Piece::Plain(text) => (text, None),
            Piece::Char(c) => ("", Some(c)),
        };
        plain.chars().chain(one)
    })
}
