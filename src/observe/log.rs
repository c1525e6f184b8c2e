//! Setting up the log.

use std::borrow::Cow;
use std::fs::File;
use std::io::{IsTerminal, Write};

use tracing_subscriber::EnvFilter;

use super::lines::{self, Lines};
use super::plain::Plain;
use super::request_line::Events;

/// Target of the lines that hold bodies, so that a filter can drop just these.
pub const BODY: &str = "claude_proxy::body";

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("log level `{0}`: {1}")]
    Level(String, tracing_subscriber::filter::ParseError),
    /// Somebody was faster.
    #[error("a log is already set up")]
    Twice,
}

/// Sends log lines to stderr, and what panics say. `level` is a level, or a filter as
/// `info,claude_proxy::body=off`.
///
/// `ansi`: colour on or off; none: on a terminal only, and never with `NO_COLOR`.
///
/// # Errors
/// A filter that cannot be read, or a second call in one process.
pub fn init(level: &str, format: LogFormat, ansi: Option<bool>) -> Result<(), LogError> {
    let ansi = ansi.unwrap_or_else(|| {
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
    });
    start(level, format, ansi, std::io::stderr())
}

/// Sends log lines to a file, without colour.
///
/// # Errors
/// As [`init`].
pub fn init_file(level: &str, format: LogFormat, file: File) -> Result<(), LogError> {
    start(level, format, false, file)
}

/// Writes the lines that still wait: for the end of the process.
pub fn flush() {
    lines::flush();
}

fn start(
    level: &str,
    format: LogFormat,
    ansi: bool,
    output: impl Write + Send + 'static,
) -> Result<(), LogError> {
    // What actix says of its own starting and stopping is ours to say; a filter can ask for it.
    // Its errors are what strangers sent: each has a line of its own already.
    let filter = EnvFilter::try_new(format!("actix_server=warn,actix_http=off,{level}"))
        .map_err(|e| LogError::Level(level.to_owned(), e))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter);
    let writer = Lines::new(output);
    match format {
        LogFormat::Text => lines
            .with_ansi(ansi)
            .event_format(Events::default())
            .with_writer(Plain::text(writer, ansi))
            .try_init(),
        LogFormat::Json => lines
            .with_writer(Plain::json(writer))
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
    }
    .map_err(|_| LogError::Twice)?;
    // A panic costs one request; its message has to go where the log is, and look like it.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(())
}

/// The beginning of a text, at most `max` characters; what is left out is counted.
pub fn clip(text: &[u8], max: usize) -> Cow<'_, str> {
    // Four bytes hold one character at most: a 2 MB body is not decoded for its first 4,096.
    let end = max.saturating_add(1).saturating_mul(4).min(text.len());
    let head = String::from_utf8_lossy(text.get(..end).unwrap_or_default());
    let Some((cut, _)) = head.char_indices().nth(max) else {
        return head;
    };
    let kept = head.get(..cut).unwrap_or_default();
    Cow::Owned(format!("{kept}… ({} bytes in all)", text.len()))
}

/// Logs a body, at most `max` characters of it; 0: nothing. `blot` takes keys out of it.
pub fn body(max: usize, request_id: &str, what: &'static str, bytes: &[u8], blot: impl FnOnce(&mut String)) {
    if max > 0 && tracing::enabled!(target: "claude_proxy::body", tracing::Level::INFO) {
        let text = clip_without(bytes, max, blot);
        tracing::info!(target: "claude_proxy::body", request_id, what, body = %text);
    }
}

/// [`clip`], with the keys taken out first: one that the clip would cut in two is not found.
fn clip_without(bytes: &[u8], max: usize, blot: impl FnOnce(&mut String)) -> String {
    /// Longer than any key.
    const MARGIN: usize = 4096;
    let end = max.saturating_add(1).saturating_mul(4).saturating_add(MARGIN).min(bytes.len());
    let mut text = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
    blot(&mut text);
    match text.char_indices().nth(max) {
        Some((cut, _)) => {
            text.truncate(cut);
            format!("{text}… ({} bytes in all)", bytes.len())
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::{clip, clip_without};

    #[test]
    fn a_key_at_the_clip_is_not_cut_in_two() {
        let blot = |text: &mut String| *text = text.replace("sk-0123456789", "[key]");
        assert_eq!(clip_without(b"a sk-0123456789 b", 7, blot), "a [key]… (17 bytes in all)");
        assert_eq!(clip_without(b"a sk-0123456789 b", 4, blot), "a [k… (17 bytes in all)");
        assert_eq!(clip_without(b"a sk-0123456789 b", 99, blot), "a [key] b");
    }

    #[test]
    fn clips_between_characters() {
        assert_eq!(clip("añb".as_bytes(), 3), "añb");
        assert_eq!(clip("añ€😀b".as_bytes(), 3), "añ€… (11 bytes in all)");
        assert_eq!(clip("añ€😀b".as_bytes(), 4), "añ€😀… (11 bytes in all)");
        assert_eq!(clip("😀😀".as_bytes(), 1), "😀… (8 bytes in all)");
    }
}
