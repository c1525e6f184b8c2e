//! A streamed answer on its way to the client: translated, or as it is.

use super::feed::Feed;
use super::form::Form;
use super::hold::HeldEnd;
use super::native::Relay;
use super::recorded::Recorded;
use super::stream::{Summary, UpstreamEnd};
use crate::convert::Usage;
use crate::wire::anthropic::ApiError;

/// From upstream bytes to Messages events.
#[derive(Debug)]
pub enum Flow {
    /// The upstream speaks Chat Completions.
    Translated(Box<Feed>),
    /// It speaks the Messages API itself.
    Passed(Box<Relay>),
}

impl From<Feed> for Flow {
    fn from(feed: Feed) -> Self {
        Self::Translated(Box::new(feed))
    }
}

impl From<Relay> for Flow {
    fn from(relay: Relay) -> Self {
        Self::Passed(Box::new(relay))
    }
}

impl Flow {
    /// What the upstream's body is; none: nothing but white space has come.
    pub fn form(&self) -> Option<Form> {
        match self {
            Self::Translated(feed) => feed.form(),
            Self::Passed(relay) => relay.form(),
        }
    }

    /// What has come of an answer that is no stream. It is for the caller to bound it.
    pub fn whole(&self) -> &[u8] {
        match self {
            Self::Translated(feed) => feed.whole(),
            Self::Passed(relay) => relay.whole(),
        }
    }

    /// Takes the next bytes and appends what the client gets for them; `heard` is called for
    /// each event. True: the answer is complete.
    ///
    /// # Errors
    /// The upstream's error, or a limit that was passed. Before [`Flow::started`] it can still
    /// be an HTTP answer; afterwards pass it to [`Flow::fail`].
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>, heard: impl FnMut()) -> Result<bool, ApiError> {
        match self {
            Self::Translated(feed) => feed.take(bytes, out, heard),
            Self::Passed(relay) => relay.take(bytes, out, heard),
        }
    }

    /// The body has ended: takes what is left, and ends the answer.
    ///
    /// # Errors
    /// As [`Flow::take`]; also if that was not all.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        match self {
            Self::Translated(feed) => feed.end(out),
            Self::Passed(relay) => relay.end(out),
        }
    }

    /// Commits to a stream although nothing has come yet: the client has waited long enough.
    pub fn start(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Translated(feed) => feed.translator.start(out),
            Self::Passed(relay) => relay.start(out),
        }
    }

    /// Errors are events from here on.
    pub fn started(&self) -> bool {
        match self {
            Self::Translated(feed) => feed.translator.started(),
            Self::Passed(relay) => relay.started(),
        }
    }

    /// The answer is whole, if the upstream now falls silent: see [`Flow::settle`]. Never so for
    /// a Messages stream, which is complete with `message_stop` and not before.
    pub fn finish_seen(&self) -> bool {
        match self {
            Self::Translated(feed) => feed.translator.finish_seen(),
            Self::Passed(_) => false,
        }
    }

    /// Ends an answer of which nothing more is waited for.
    ///
    /// # Errors
    /// As [`Flow::end`].
    pub fn settle(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        match self {
            Self::Translated(feed) => feed.translator.finish(UpstreamEnd::Eof, out),
            Self::Passed(relay) => relay.end(out),
        }
    }

    /// The answer's end, which may be held although the upstream is done. None: it passes as it is.
    pub fn held_end(&mut self) -> Option<&mut dyn HeldEnd> {
        match self {
            Self::Translated(feed) => Some(feed.translator.held_end()),
            Self::Passed(_) => None,
        }
    }

    /// The upstream is done, and the answer's end is held.
    pub fn is_held(&self) -> bool {
        match self {
            Self::Translated(feed) => feed.translator.is_held(),
            Self::Passed(_) => false,
        }
    }

    /// Appends the one `error` event; nothing may follow it.
    pub fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        match self {
            Self::Translated(feed) => feed.translator.fail(error, out),
            Self::Passed(relay) => relay.fail(error, out),
        }
    }

    /// What a translated answer said, once all its blocks are complete: see [`Recorded`].
    pub fn recorded(&self) -> Option<Recorded> {
        match self {
            Self::Translated(feed) => feed.translator.recorded(),
            Self::Passed(_) => None,
        }
    }

    /// What the answer was, for the log.
    pub fn summary(&self) -> Summary {
        match self {
            Self::Translated(feed) => feed.translator.summary(),
            Self::Passed(relay) => relay.summary(),
        }
    }

    /// The tokens that the answer took so far, also of one that was cut: as the upstream told
    /// them, else as they are estimated. True: they are.
    pub fn used(&self) -> (Usage, bool) {
        match self {
            Self::Translated(feed) => feed.translator.used(),
            Self::Passed(relay) => relay.used(),
        }
    }
}
