//! Whole answers: a Chat Completion becomes a Message.

use super::form;
use super::hold::HeldEnd;
use super::machine::{MAX_RETAINED, Machine};
use super::recorded::Recorded;
use super::reply::ReplyContext;
use super::sink::{Message, Sink};
use super::stream::{Summary, UpstreamEnd};
use crate::wire::anthropic::ApiError;

/// Longest Message that is put together from a stream, in bytes.
pub const MAX_WHOLE: usize = 64 << 20;

pub(super) fn too_large() -> ApiError {
    ApiError::bad_gateway(format!("upstream answer is larger than {} MiB", MAX_WHOLE >> 20))
}

/// A converted whole answer.
#[derive(Debug)]
pub struct WholeAnswer {
    /// The Message as JSON.
    pub body: Vec<u8>,
    /// What was in it, for the log.
    pub summary: Summary,
    /// What it said, if [`ReplyContext::record`] asked for it.
    pub recorded: Option<Recorded>,
}

/// Converts a whole Chat Completion.
///
/// # Errors
/// The upstream's own error in it, or 502 when it is not a completion.
pub fn response(body: &[u8], context: ReplyContext) -> Result<WholeAnswer, ApiError> {
    response_into(Vec::new(), body, context)
}

/// As [`response`]; the Message is written into `out`, an empty buffer that may have served before.
///
/// # Errors
/// As [`response`].
pub fn response_into(out: Vec<u8>, body: &[u8], context: ReplyContext) -> Result<WholeAnswer, ApiError> {
    let mut translator = WholeTranslator { out, ..WholeTranslator::new(context) };
    translator.out.reserve(body.len() + 256);
    translator.machine.push_completion(form::begin(body), &mut translator.out)?;
    translator.finish(UpstreamEnd::DoneMarker)
}

/// As [`response_into`], where [`ReplyContext::holds`] holds the end of the answer.
///
/// # Errors
/// As [`response`].
pub fn response_held(out: Vec<u8>, body: &[u8], context: ReplyContext) -> Result<WholeTranslator, ApiError> {
    let mut translator = WholeTranslator { out, ..WholeTranslator::new(context) };
    translator.machine.push_completion(form::begin(body), &mut translator.out)?;
    translator.close(UpstreamEnd::DoneMarker)?;
    Ok(translator)
}

/// The answer to a request with `max_tokens: 0`: no content, no upstream call.
pub fn empty(context: ReplyContext) -> WholeAnswer {
    let mut translator = WholeTranslator::new(context);
    translator.machine.finish_empty(&mut translator.out);
    translator.answer()
}

/// Folds a streamed upstream answer into one Message.
#[derive(Debug)]
pub struct WholeTranslator {
    machine: Machine<Message>,
    out: Vec<u8>,
}

impl WholeTranslator {
    /// For one answer.
    pub fn new(context: ReplyContext) -> Self {
        Self { machine: Machine::new(context, Message::default()), out: Vec::new() }
    }

    /// Takes one upstream event. `name` is its `event:` line, empty when there is none.
    ///
    /// # Errors
    /// The upstream's error, or a limit that was passed.
    pub fn push(&mut self, name: &[u8], data: &[u8]) -> Result<(), ApiError> {
        self.machine.push(name, data, &mut self.out)?;
        if self.out.len() + self.machine.sink().retained() > MAX_WHOLE {
            return Err(too_large());
        }
        Ok(())
    }

    /// `finish_reason` has arrived: the answer is whole but for its usage.
    pub fn finish_seen(&self) -> bool {
        self.machine.finish.is_some()
    }

    /// Ends the answer.
    ///
    /// # Errors
    /// The stream was cut, or a tool call is unusable.
    pub fn finish(mut self, end: UpstreamEnd) -> Result<WholeAnswer, ApiError> {
        self.close(end)?;
        Ok(self.answer())
    }

    /// As [`WholeTranslator::finish`], where the end may be held.
    ///
    /// # Errors
    /// As [`WholeTranslator::finish`].
    pub fn close(&mut self, end: UpstreamEnd) -> Result<(), ApiError> {
        self.machine.finish(end, &mut self.out)
    }

    /// The end, which may be held, and where it is to be appended.
    pub fn held_end(&mut self) -> (&mut dyn HeldEnd, &mut Vec<u8>) {
        (&mut self.machine, &mut self.out)
    }

    /// The answer, which is not held any more.
    pub fn answer(self) -> WholeAnswer {
        WholeAnswer {
            summary: self.machine.summary().clone(),
            recorded: self.machine.sink().recorded(&self.out),
            body: self.out,
        }
    }

    /// Bytes held: the Message so far, and at most a fixed amount beside it.
    pub fn retained(&self) -> usize {
        debug_assert!(self.machine.retained() <= MAX_RETAINED * 2);
        self.machine.retained() + self.machine.sink().retained() + self.out.len()
    }
}
