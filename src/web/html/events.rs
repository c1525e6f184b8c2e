//! Reading HTML event by event.

use std::convert::Infallible;

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Readable as _, Reader, Span, StringReader, Tokenizer};

/// Values in double quotes after which the tokenizer has to return.
///
/// From one such value to the next, html5gum 0.9 goes by function calls that do not return: of a
/// tag with some thousand attributes it overflowed the stack, which ends the process. An error of
/// its reader makes it return, and it goes on where it was when it is asked again.
const IN_A_ROW: u32 = 16;
/// What it looks for inside of such a value.
const QUOTED: &[u8] = b"\"&\0\r";

/// Shows the events of a page until `see` has seen enough, and gives what that makes of it.
pub(in crate::web) fn events<T>(
    html: &[u8],
    mut see: impl FnMut(&CallbackEvent<'_>) -> Option<T>,
) -> Option<T> {
    let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, _: Span<()>| see(&event));
    // What is inside of `script`, `title` and the like is no HTML.
    emitter.naively_switch_states(true);
    let pages = Pausing { inner: html.to_reader(), quoted: 0 };
    let mut found = Tokenizer::new_with_emitter(pages, emitter);
    loop {
        // An error is but a pause.
        if let Ok(found) = found.next()? {
            return Some(found);
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a pause")]
struct Pause;

/// Fails once in a while, between two attributes.
#[derive(Debug)]
struct Pausing<'a> {
    inner: StringReader<'a>,
    quoted: u32,
}

impl Pausing<'_> {
    fn pause(&mut self) -> Result<(), Pause> {
        if self.quoted < IN_A_ROW {
            return Ok(());
        }
        self.quoted = 0;
        Err(Pause)
    }
}

fn never<T>(read: Result<T, Infallible>) -> T {
    match read {
        Ok(read) => read,
        Err(never) => match never {},
    }
}

impl Reader for Pausing<'_> {
    type Error = Pause;

    fn read_byte(&mut self) -> Result<Option<u8>, Pause> {
        self.pause()?;
        Ok(never(self.inner.read_byte()))
    }

    fn try_read_string(&mut self, text: &[u8], case_sensitive: bool) -> Result<bool, Pause> {
        self.pause()?;
        Ok(never(self.inner.try_read_string(text, case_sensitive)))
    }

    fn read_until<'b>(
        &'b mut self,
        needle: &[u8],
        buffer: &'b mut [u8; 4],
    ) -> Result<Option<&'b [u8]>, Pause> {
        self.pause()?;
        let read = never(self.inner.read_until(needle, buffer));
        if needle == QUOTED && read == Some(b"\"") {
            self.quoted += 1;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_loses_nothing() {
        for closing in ["", "/"] {
            let attributes: String = (0..1000)
                .map(|i| format!(" a{i}=\"&lt;{i}\"b{i}=\"{i}\" c d='e'"))
                .collect::<Vec<_>>()
                .concat();
            let (mut names, mut values) = (Vec::new(), Vec::new());
            let html = format!("x<{closing}p{attributes}>y");
            let mut text = String::new();
            events(html.as_bytes(), |event| -> Option<()> {
                match event {
                    CallbackEvent::AttributeName { name } => names.push(name.to_vec()),
                    CallbackEvent::AttributeValue { value } => values.push(value.to_vec()),
                    CallbackEvent::String { value } => text += &String::from_utf8_lossy(value),
                    _ => {}
                }
                None
            });
            let want = |i: usize| [format!("a{i}"), format!("b{i}"), "c".to_owned(), "d".to_owned()];
            assert_eq!(names, (0..1000).flat_map(want).map(String::into_bytes).collect::<Vec<_>>());
            let want = |i: usize| [format!("<{i}"), format!("{i}"), "e".to_owned()];
            assert_eq!(values, (0..1000).flat_map(want).map(String::into_bytes).collect::<Vec<_>>());
            assert_eq!(text, "xy");
        }
    }

    #[test]
    fn a_tag_of_a_million_attributes() {
        let html = format!("<p {}>x", "a=\"\" ".repeat(1_000_000));
        let mut count = 0;
        let text = events(html.as_bytes(), |event| match event {
            CallbackEvent::AttributeName { .. } => {
                count += 1;
                None
            }
            CallbackEvent::String { value } => Some(value.to_vec()),
            _ => None,
        });
        assert_eq!((count, text), (1_000_000, Some(b"x".to_vec())));
    }
}
