//! Is it a stream of events, or one JSON body? Servers answer either to either request.

use crate::wire::json::BOM;

/// What an upstream's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Server-sent events.
    Events,
    /// Anything else; JSON, one hopes.
    Whole,
}

impl Form {
    /// By the first bytes where they are unmistakable, for content types lie; else by the
    /// content type. None while there is only white space.
    pub fn of(content_type: &str, bytes: &[u8]) -> Option<Self> {
        let bytes = begin(bytes);
        let first = bytes.first()?;
        Some(match first {
            b'{' | b'[' | b'<' | b'"' => Self::Whole,
            b':' => Self::Events,
            _ if begins_field(bytes) => Self::Events,
            _ if content_type == "text/event-stream" => Self::Events,
            _ => Self::Whole,
        })
    }
}

/// An answer's bytes from where it begins: without byte order marks and white space, which may
/// have come in reads of their own.
pub(super) fn begin(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes.trim_ascii_start();
    while let Some(after) = rest.strip_prefix(BOM) {
        rest = after.trim_ascii_start();
    }
    rest
}

/// Whether a line of an event stream may begin so; `bytes` may end in the middle of it.
fn begins_field(bytes: &[u8]) -> bool {
    [&b"data:"[..], b"event:", b"id:", b"retry:"]
        .iter()
        .any(|field| bytes.starts_with(field) || (!bytes.is_empty() && field.starts_with(bytes)))
}

#[cfg(test)]
mod tests {
    use super::Form;

    #[test]
    fn the_bytes_win_over_the_content_type() {
        let of = |t: &str, b: &str| Form::of(t, b.as_bytes());
        assert_eq!(of("application/json", " data: {}"), Some(Form::Events));
        assert_eq!(of("application/json", ": comment"), Some(Form::Events));
        assert_eq!(of("application/json", "\u{feff}da"), Some(Form::Events));
        assert_eq!(of("text/event-stream", "\n{\"id\""), Some(Form::Whole));
        assert_eq!(of("text/html", "<html>"), Some(Form::Whole));
        assert_eq!(of("text/plain", "Bad gateway"), Some(Form::Whole));
        assert_eq!(of("text/event-stream", "weird: x"), Some(Form::Events));
        assert_eq!(of("text/event-stream", " \r\n"), None);
    }
}
