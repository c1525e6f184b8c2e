//! Who has PDFs read.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::MAX_CHARS;
use super::child::{ARGUMENT, NO_PDF, PASSWORD, WHOLE};

/// Longest that one document is read. Hundreds of pages take less than a second.
const DEADLINE: Duration = Duration::from_secs(10);
/// So many are read at a time, all told.
const AT_ONCE: usize = 2;
/// Most that the process may say, in bytes: the text, and what stands around it.
const MAX_OUTPUT: usize = 4 * MAX_CHARS + (64 << 10);

/// Has PDFs read, two at a time.
#[derive(Debug)]
pub struct Reader {
    turns: Semaphore,
}

/// A PDF of which there is no text.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// It is something else.
    #[error("it is no PDF, or too broken to read")]
    NoPdf,
    /// It is encrypted, and not with the empty password.
    #[error("it needs a password")]
    Password,
    /// The process that read it came to an end before it had a page.
    #[error("reading it takes too much time or memory")]
    TooMuch,
    /// The process could not be started. May be otherwise the next time.
    #[error("it could not be read: {0}")]
    Unable(#[from] std::io::Error),
}

impl Unread {
    /// It would be the same the next time.
    pub fn lasts(&self) -> bool {
        !matches!(self, Self::Unable(_))
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self { turns: Semaphore::new(AT_ONCE) }
    }
}

impl Reader {
    /// The text of a PDF with marks of its pages, at most [`MAX_CHARS`] of [`super::MAX_PAGES`].
    /// `data` is its base64, as it stands in a JSON string. Dropped, the reading ends.
    ///
    /// # Errors
    /// There is nothing to read in it, or it cannot be read: see [`Unread`]. Where reading stopped
    /// half way, what was read until then is the text, with a note at its end.
    pub async fn text(&self, data: &str) -> Result<String, Unread> {
        let _turn = self.turns.acquire().await;
        let mut child = start()?;
        let mut said = Vec::new();
        let in_time = timeout(DEADLINE, talk(&mut child, data, &mut said)).await.is_ok();
        // Its memory is free before the next one begins.
        let _ = child.kill().await;
        conclude(said, in_time)
    }
}

/// This program, once more.
fn start() -> Result<Child, Unread> {
    // The link leads to the program that runs even if its file was replaced by a newer one.
    let program =
        if cfg!(target_os = "linux") { PathBuf::from("/proc/self/exe") } else { std::env::current_exe()? };
    let mut command = Command::new(program);
    command.arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // Keys are in the environment.
    command.env_clear().kill_on_drop(true);
    Ok(command.spawn()?)
}

/// Gives it the document, and collects what it says.
async fn talk(child: &mut Child, data: &str, said: &mut Vec<u8>) {
    let (Some(mut to), Some(from)) = (child.stdin.take(), child.stdout.take()) else { return };
    let give = async move {
        // Who does not listen to the end has its reasons, and tells them.
        let _ = to.write_all(data.as_bytes()).await;
    };
    let mut from = from.take(MAX_OUTPUT as u64);
    let _ = tokio::join!(give, from.read_to_end(said));
}

/// What becomes of its words.
fn conclude(mut said: Vec<u8>, in_time: bool) -> Result<String, Unread> {
    let end = said.last().copied().filter(|end| matches!(*end, WHOLE | NO_PDF | PASSWORD));
    if end.is_some() {
        said.pop();
    }
    match end {
        Some(NO_PDF) => return Err(Unread::NoPdf),
        Some(PASSWORD) => return Err(Unread::Password),
        _ if said.is_empty() => return Err(Unread::TooMuch),
        _ => {}
    }
    // It may have been stopped within a character.
    let mut text = String::from_utf8_lossy(&said).into_owned();
    if end.is_none() {
        let what = if in_time { "memory" } else { "time" };
        text.push_str("\n[the rest is left out: reading it takes too much ");
        text.push_str(what);
        text.push(']');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_until_it_ended_counts() {
        let told = |said: &[u8], in_time| conclude(said.to_vec(), in_time).map_err(|e| e.to_string());
        assert_eq!(told(b"[page 1]\nx\0", true).unwrap(), "[page 1]\nx");
        assert_eq!(
            told(b"[page 1]\nx\xc3", true).unwrap(),
            "[page 1]\nx\u{fffd}\n[the rest is left out: reading it takes too much memory]"
        );
        assert!(told(b"[page 1]", false).unwrap().ends_with("too much time]"));
        assert_eq!(told(b"\x01", true).unwrap_err(), "it is no PDF, or too broken to read");
        assert_eq!(told(b"\x02", true).unwrap_err(), "it needs a password");
        assert!(told(b"", true).is_err() && told(b"", false).is_err() && told(b"\0", true).is_err());
    }

    #[test]
    fn only_what_cannot_be_read_at_all_stays_unread() {
        assert!(Unread::TooMuch.lasts() && Unread::NoPdf.lasts() && Unread::Password.lasts());
        assert!(!Unread::from(std::io::Error::other("no process")).lasts());
    }
}
