//! Characters that were cut in the middle: `\ud83d` at the end of one string, `\ude00` at the
//! beginning of the next. Servers that slice text by UTF-16 units (JavaScript's) send such.

use super::text::{JsonStr, Piece, Pieces, hex4, low_surrogate};

/// Joins the strings of one text that comes in pieces. Holds the first half of a character.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Half(Option<u16>);

impl Half {
    /// Nothing is held, and nothing in `text` has to be: it can be taken as it is.
    pub fn is_idle(self, text: JsonStr<'_>) -> bool {
        self.0.is_none() && !text.has_lone_surrogate()
    }

    /// The text of `text`, decoded: with the half that was held before it, and without the half
    /// that it ends with. Halves without their other half become U+FFFD.
    pub fn join(&mut self, text: JsonStr<'_>) -> String {
        let mut raw = text.raw();
        let mut out = String::with_capacity(raw.len() + 4);
        if !raw.is_empty()
            && let Some(high) = self.0.take()
        {
            let low = low_surrogate(raw.as_bytes().get(..6));
            if low.is_some() {
                raw = raw.get(6..).unwrap_or_default();
            }
            out.push(low.and_then(|low| joined(high, low)).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        if let Some((before, high)) = ends_high(raw) {
            raw = before;
            self.0 = Some(high);
        }
        for piece in Pieces::over(raw) {
            match piece {
                Piece::Plain(text) => out.push_str(text),
                Piece::Char(c) => out.push(c),
            }
        }
        out
    }

    /// The text is over: what a held half stands for now.
    pub fn end(&mut self) -> Option<&'static str> {
        self.0.take().map(|_| "\u{FFFD}")
    }
}

fn joined(high: u16, low: u16) -> Option<char> {
    char::decode_utf16([high, low]).next()?.ok()
}

/// The escaped text before the high surrogate that it ends with, and that surrogate.
fn ends_high(raw: &str) -> Option<(&str, u16)> {
    let (before, escape) = raw.split_at_checked(raw.len().checked_sub(6)?)?;
    let high = hex4(escape.as_bytes().strip_prefix(b"\\u")?)?;
    // An odd number of backslashes before: ours is the second of a pair.
    let escaped = before.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1;
    ((0xD800..=0xDBFF).contains(&high) && !escaped).then_some((before, high))
}

#[cfg(test)]
mod tests {
    use super::super::Cursor;
    use super::Half;

    fn run(pieces: &[&str]) -> String {
        let mut half = Half::default();
        let mut out = String::new();
        for piece in pieces {
            let quoted = format!("\"{piece}\"");
            let text = Cursor::lenient(&quoted).string().unwrap();
            if half.is_idle(text) {
                out.push_str(&text.decode());
            } else {
                out.push_str(&half.join(text));
            }
        }
        out.push_str(half.end().unwrap_or_default());
        out
    }

    #[test]
    fn halves_meet() {
        for (pieces, want) in [
            (&["a\\ud83d", "\\ude00b"][..], "a\u{1F600}b"),
            (&["\\ud83d", "\\ude00"], "\u{1F600}"),
            (&["\\uD83D", "", "\\uDE00\\ud83d", "\\ude00"], "\u{1F600}\u{1F600}"),
            (&["a\\ud83d\\ude00", "b"], "a\u{1F600}b"),
            // Alone.
            (&["a\\ud83d", "b"], "a\u{FFFD}b"),
            (&["a\\ud83d"], "a\u{FFFD}"),
            (&["\\ude00a"], "\u{FFFD}a"),
            (&["\\ud83d", "\\ud83d", "\\ude00"], "\u{FFFD}\u{1F600}"),
            (&["\\ude00\\ud83d", "x"], "\u{FFFD}\u{FFFD}x"),
            // A backslash and five letters are no half.
            (&["\\\\ud83d", "\\ude00"], "\\ud83d\u{FFFD}"),
            (&["\\\\\\ud83d", "\\ude00"], "\\\u{1F600}"),
            (&["\\n\\ud83d", "\\ude00\\n"], "\n\u{1F600}\n"),
        ] {
            assert_eq!(run(pieces), want, "{pieces:?}");
        }
    }
}
