//! JSON kept as it came: a checked cursor over the input, and strings and values that are
//! spliced into the output without ever becoming a tree.
//!
//! Numbers in tool arguments keep every digit and keys keep their order, which upstream
//! prompt caches and exact integers depend on.

mod cursor;
mod half;
mod place;
mod raw;
mod scan;
mod text;
mod write;

pub use cursor::{Cursor, MAX_DEPTH};
pub use half::Half;
pub use place::{Place, Placed};
pub use raw::RawJson;
pub use text::{JsonStr, Piece, Pieces};
pub use write::{escape, write_str, write_u64};

/// UTF-8's byte order mark: no part of a text, and some put it before one.
pub const BOM: &[u8] = b"\xEF\xBB\xBF";

/// The bytes behind a byte order mark, if there is one.
pub fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BOM).unwrap_or(bytes)
}

/// The bytes as text.
///
/// # Errors
/// They are no UTF-8.
pub fn utf8(bytes: &[u8]) -> std::result::Result<&str, std::str::Utf8Error> {
    // The quick one does not say where it fails.
    simdutf8::basic::from_utf8(bytes).or_else(|_| std::str::from_utf8(bytes))
}

/// What is wrong with a JSON text, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// Offset into the text, in bytes.
    pub at: usize,
    /// What was expected or what is not allowed, as a sentence fragment.
    pub what: &'static str,
    /// The value was read but is not of the type that belongs here: the JSON itself is fine.
    pub wrong_type: bool,
}

impl JsonError {
    fn syntax(at: usize, what: &'static str) -> Self {
        Self { at, what, wrong_type: false }
    }

    /// Line and column (both from 1, column in characters) of the place in `text`.
    pub fn line_column(&self, text: &[u8]) -> (usize, usize) {
        line_column(text, self.at)
    }
}

/// Line and column (both from 1, column in characters) of a byte offset.
pub fn line_column(text: &[u8], at: usize) -> (usize, usize) {
    let head = text.get(..at.min(text.len())).unwrap_or_default();
    let line = memchr::memchr_iter(b'\n', head).count() + 1;
    let start = head.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    let column = head.get(start..).unwrap_or_default().iter().filter(|b| (**b & 0xC0) != 0x80).count() + 1;
    (line, column)
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.what)
    }
}

impl std::error::Error for JsonError {}

type Result<T> = std::result::Result<T, JsonError>;

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Result<RawJson<'_>> {
        RawJson::parse(text)
    }

    #[test]
    fn accepts_what_serde_json_accepts() {
        for text in [
            "{}",
            "[]",
            " [1, -2.5e3, \"a\\u00e9\", {\"k\": [true,false,null]}] ",
            "0",
            "\"\"",
            "{\"a\":{\"b\":{}},\"c\":[[]]}",
        ] {
            assert!(raw(text).is_ok(), "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_json() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":}",
            "{a:1}",
            "01",
            "1.",
            "1e",
            "+1",
            "tru",
            "\"\\x\"",
            "\"\\u12\"",
            "\"a",
            "[1 2]",
            "{\"a\" 1}",
            "{\"a\":1,}",
            "1e999",
            "\"\\ud800\"",
            "\"\n\"",
            "{]",
            "[}",
            "1 2",
        ] {
            assert!(raw(text).is_err(), "{text}");
        }
        assert!(raw(&"[".repeat(2000)).is_err());
        assert!(raw(&format!("{}{}", "[".repeat(128), "]".repeat(128))).is_ok());
        assert!(raw(&format!("{}{}", "[".repeat(129), "]".repeat(129))).is_err());
    }

    #[test]
    fn compact_keeps_order_digits_and_text() {
        let text = "{ \"b\" : 12345678901234567890123 , \"a\" : [ 1 , \"x \\u00e9 \\n \\\" y\" ] }";
        let mut out = Vec::new();
        raw(text).unwrap().write_compact(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"b\":12345678901234567890123,\"a\":[1,\"x é \\n \\\" y\"]}"
        );
        let mut out = Vec::new();
        raw(text).unwrap().write_compact_escaped(&mut out);
        let arguments: String = serde_json::from_slice(&[b"\"", out.as_slice(), b"\""].concat()).unwrap();
        assert_eq!(arguments, "{\"b\":12345678901234567890123,\"a\":[1,\"x é \\n \\\" y\"]}");
    }

    #[test]
    fn lenient_strings_are_made_valid() {
        let mut c = Cursor::lenient("\"a\tb\\ud83dc\"");
        let s = c.string().unwrap();
        let mut out = Vec::new();
        s.write(&mut out);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), "a\tb\u{fffd}c");
    }

    #[test]
    fn long_strings_are_checked_to_the_end() {
        for n in [0, 7, 8, 9, 127, 128, 129, 1000] {
            let fill = "x".repeat(n);
            assert!(raw(&format!("\"{fill}\"")).is_ok());
            assert!(raw(&format!("\"{fill}\n\"")).is_err(), "{n}");
            assert!(raw(&format!("\"{fill}\\n\u{80}é\"")).is_ok(), "{n}");
            assert!(raw(&format!("\"{fill}")).is_err());
        }
    }

    #[test]
    fn positions_count_lines_and_characters() {
        let text = "{\n  \"é\": x}";
        let e = raw(text).unwrap_err();
        assert_eq!(e.line_column(text.as_bytes()), (2, 8));
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_serde_json(text in "[\\[\\]{}:,\"\\\\a0-9.eE+\\- \\n]{0,24}") {
            let ours = raw(&text).is_ok();
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            // serde_json's RawValue does not look at the range of numbers.
            if ours != theirs {
                proptest::prop_assert!(!ours && text.contains(['e', 'E']), "{:?}: ours {} theirs {}", text, ours, theirs);
            }
        }

        #[test]
        fn escaping_round_trips(text in "\\PC{0,40}|[\\x00-\\x20\"\\\\é🙂]{0,40}") {
            let mut out = Vec::new();
            write_str(&text, &mut out);
            proptest::prop_assert_eq!(&serde_json::from_slice::<String>(&out).unwrap(), &text);
            let json = String::from_utf8(out).unwrap();
            proptest::prop_assert_eq!(Cursor::new(&json).string().unwrap().decode(), text);
        }
    }
}
