//! Streamed answers: Chat Completions chunks in, Messages events out.

use super::hold::HeldEnd;
use super::loss::Losses;
use super::machine::Machine;
use super::recorded::Recorded;
use super::reply::{ReplyContext, Usage};
use super::response::{MAX_WHOLE, too_large};
use super::sink::{Events, Sink};
use crate::wire::anthropic::{ApiError, ErrorKind};

/// How the upstream's stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamEnd {
    /// `data: [DONE]`, or the end of a completion that was read as a whole.
    DoneMarker,
    /// The body ended, by its framing or by a closed connection: not a proof of completeness.
    Eof,
}

/// What an answer was, for the log.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// `stop_reason`, when the answer came to its end.
    pub stop_reason: Option<&'static str>,
    /// Token counts, as the client was told.
    pub usage: Usage,
    /// The counts are local estimates: the upstream told none.
    pub usage_estimated: bool,
    /// What was lost on the way.
    pub losses: Losses,
    /// The beginning of the answer's text, at most [`ReplyContext::preview_chars`] characters.
    pub preview: String,
}

/// Translates one streamed answer. Bytes out are whole SSE events, ready to be sent.
#[derive(Debug)]
pub struct StreamTranslator {
    machine: Machine<Events>,
}

impl StreamTranslator {
    /// For one answer.
    pub fn new(context: ReplyContext) -> Self {
        Self { machine: Machine::new(context, Events::default()) }
    }

    /// Takes one upstream event (not `[DONE]`: that is [`StreamTranslator::finish`]) and appends
    /// what the client gets for it. `name` is its `event:` line, empty when there is none.
    ///
    /// # Errors
    /// The upstream's error, or a limit that was passed. Before [`StreamTranslator::started`] it
    /// can still be an HTTP answer; afterwards pass it to [`StreamTranslator::fail`].
    pub fn push(&mut self, name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.machine.push(name, data, out)?;
        if self.machine.sink().retained() > MAX_WHOLE {
            return Err(too_large());
        }
        Ok(())
    }

    /// Takes a whole Chat Completion instead: the upstream did not stream. Follow with `finish`.
    ///
    /// # Errors
    /// As [`StreamTranslator::push`].
    pub fn push_completion(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.machine.push_completion(body, out)
    }

    /// Appends `message_start` although nothing has come yet: the client has waited long enough.
    pub fn start(&mut self, out: &mut Vec<u8>) {
        self.machine.start(out);
    }

    /// `message_start` is out: errors are events from here on.
    pub fn started(&self) -> bool {
        self.machine.started
    }

    /// `finish_reason` has arrived: the answer is whole but for its usage.
    pub fn finish_seen(&self) -> bool {
        self.machine.finish.is_some()
    }

    /// Ends the answer and appends the closing events.
    ///
    /// # Errors
    /// The stream was cut, or a tool call is unusable; as with [`StreamTranslator::push`].
    pub fn finish(&mut self, end: UpstreamEnd, out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.machine.finish(end, out)
    }

    /// The end is held: see [`StreamTranslator::held_end`].
    pub fn is_held(&self) -> bool {
        self.machine.is_held()
    }

    /// Its end, which may be held: then [`StreamTranslator::finish`] appended all but that.
    pub fn held_end(&mut self) -> &mut dyn HeldEnd {
        &mut self.machine
    }

    /// Appends the whole answer to a request with `max_tokens: 0`.
    pub fn finish_empty(&mut self, out: &mut Vec<u8>) {
        self.machine.finish_empty(out);
    }

    /// Appends the one `error` event; nothing may follow it. `api_error` and `timeout_error`
    /// become `overloaded_error` while no block has been completed, because clients re-issue
    /// only that.
    pub fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.machine.ended, true) {
            return;
        }
        let kind = match error.kind {
            ErrorKind::Api | ErrorKind::Timeout if !self.machine.completed_block => ErrorKind::Overloaded,
            kind => kind,
        };
        out.extend_from_slice(b"event: error\ndata: ");
        error.write_as(kind, "", out);
        out.extend_from_slice(b"\n\n");
    }

    /// Bytes held: bounded, whatever the upstream sends.
    pub fn retained(&self) -> usize {
        self.machine.retained() + self.machine.sink().retained()
    }

    /// What the answer said, once all its blocks are complete; none unless
    /// [`ReplyContext::record`] asked for it.
    pub fn recorded(&self) -> Option<Recorded> {
        self.machine.sink().recorded(&[])
    }

    /// What the answer was so far.
    pub fn summary(&self) -> Summary {
        self.machine.summary().clone()
    }

    /// What it took so far, and whether that is estimated.
    pub fn used(&self) -> (Usage, bool) {
        self.machine.used()
    }
}
