//! One line for each event, whatever is in it.
//!
//! Names and texts in a log line come from clients and upstreams. With a line break in them they
//! could forge a line of their own, with an escape sequence they could move the reader's cursor.

use std::fmt::Write as _;
use std::io::{self, Write};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// How a character is written that must not be written as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `\n`, `\u{9b}`.
    Text { colour: bool },
    /// `\u009b`, inside a JSON string.
    Json,
}

/// A writer that is given whole events and lets no control character through.
#[derive(Debug)]
pub(super) struct Plain<W> {
    writer: W,
    form: Form,
}

impl<W> Plain<W> {
    pub(super) fn text(writer: W, colour: bool) -> Self {
        Self { writer, form: Form::Text { colour } }
    }

    pub(super) fn json(writer: W) -> Self {
        Self { writer, form: Form::Json }
    }
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Plain<W> {
    type Writer = Plain<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Plain { writer: self.writer.make_writer(), form: self.form }
    }

    fn make_writer_for(&'w self, meta: &Metadata<'_>) -> Self::Writer {
        Plain { writer: self.writer.make_writer_for(meta), form: self.form }
    }
}

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        // A log that cannot be written (a full disk, a closed pipe) must not harm a request:
        // told of an error, the subscriber would print it to stderr, and panic if that fails too.
        let _ = match clean(event, self.form) {
            Some(line) => self.writer.write_all(line.as_bytes()),
            None => self.writer.write_all(event),
        };
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// What the subscriber colours with. It takes no escape sequence out of the fields' values, so
/// these may be a value's as well: it could look odd, and no more.
const COLOURS: [&str; 12] = [
    "\u{1b}[0m",
    "\u{1b}[1m",
    "\u{1b}[2m",
    "\u{1b}[3m",
    "\u{1b}[4m",
    "\u{1b}[31m",
    "\u{1b}[32m",
    "\u{1b}[33m",
    "\u{1b}[34m",
    "\u{1b}[35m",
    "\u{1b}[36m",
    "\u{1b}[37m",
];

/// Characters that end a line, move a cursor or turn the direction of what follows.
fn is_harmful(c: char) -> bool {
    match c {
        '\t' => false,
        '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    }
}

/// The event as one line; none: it is one.
fn clean(event: &[u8], form: Form) -> Option<String> {
    let (body, end) = match event.strip_suffix(b"\n") {
        Some(body) => (body, "\n"),
        None => (event, ""),
    };
    // Nearly always: printable ASCII. Without a way out in the middle it is a few instructions.
    if body.iter().fold(true, |plain, b| plain & matches!(b, b' '..=b'~' | b'\t')) {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let mut line = String::with_capacity(event.len() + 32);
    let mut rest = text.as_ref();
    while let Some(c) = rest.chars().next() {
        let colour = (form == Form::Text { colour: true } && c == '\u{1b}')
            .then(|| COLOURS.iter().find(|colour| rest.starts_with(**colour)))
            .flatten();
        let _ = match (c, form) {
            (_, _) if colour.is_some() => line.write_str(colour.unwrap_or(&"")),
            (c, _) if !is_harmful(c) => line.write_char(c),
            ('\n', Form::Text { .. }) => line.write_str("\\n"),
            ('\r', Form::Text { .. }) => line.write_str("\\r"),
            (c, Form::Text { .. }) => write!(line, "\\u{{{:x}}}", u32::from(c)),
            (c, Form::Json) => write!(line, "\\u{:04x}", u32::from(c)),
        };
        rest = rest.get(colour.map_or(c.len_utf8(), |colour| colour.len())..).unwrap_or_default();
    }
    line.push_str(end);
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_harmless_characters() {
        let text = |colour, event: &str| {
            clean(event.as_bytes(), Form::Text { colour }).unwrap_or_else(|| event.to_owned())
        };
        for (event, want) in [
            ("plain\tline\n", "plain\tline\n"),
            ("a\nINFO forged\r\n", "a\\nINFO forged\\r\n"),
            ("añ€😀\n", "añ€😀\n"),
            ("\u{9b}2J \0 \u{7f}\n", "\\u{9b}2J \\u{0} \\u{7f}\n"),
            ("a\u{202e}b\u{2028}\n", "a\\u{202e}b\\u{2028}\n"),
            ("a\n\n", "a\\n\n"),
        ] {
            assert_eq!(text(false, event), want);
            assert_eq!(text(true, event), want);
        }
        assert_eq!(text(true, "\u{1b}[32mINFO\u{1b}[0m\n"), "\u{1b}[32mINFO\u{1b}[0m\n");
        assert_eq!(text(false, "\u{1b}[2J\u{1b}[0m\n"), "\\u{1b}[2J\\u{1b}[0m\n");
        assert_eq!(
            text(true, "\u{1b}[2J\u{1b}[8m\u{1b}]0;x\u{7}\u{1b}\n"),
            "\\u{1b}[2J\\u{1b}[8m\\u{1b}]0;x\\u{7}\\u{1b}\n"
        );
        let json = clean("{\"m\":\"\u{9b}\u{7f}\"}\n".as_bytes(), Form::Json).unwrap();
        assert_eq!(json, "{\"m\":\"\\u009b\\u007f\"}\n");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["m"], "\u{9b}\u{7f}");
    }
}
