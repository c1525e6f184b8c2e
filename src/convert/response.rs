//! Whole answers: a Chat Completion becomes a Message.

use super::{ReplyContext, Summary, UpstreamEnd};
use crate::wire::anthropic::ApiError;

/// A converted whole answer.
#[derive(Debug)]
pub struct WholeAnswer {
    /// The Message as JSON.
    pub body: Vec<u8>,
    /// What was in it, for the log.
    pub summary: Summary,
}

/// Converts a whole Chat Completion.
///
/// # Errors
/// The upstream's own error in it, or 502 when it is not a completion.
pub fn response(body: &[u8], context: ReplyContext) -> Result<WholeAnswer, ApiError> {
    let _ = (body, context);
    Err(ApiError::bad_gateway("stub"))
}

/// The answer to a request with `max_tokens: 0`: no content, no upstream call.
pub fn empty(context: ReplyContext) -> WholeAnswer {
    let _ = context;
    WholeAnswer { body: Vec::new(), summary: Summary::default() }
}

/// Folds a streamed upstream answer into one Message.
#[derive(Debug)]
pub struct WholeTranslator {}

impl WholeTranslator {
    /// For one answer.
    pub fn new(context: ReplyContext) -> Self {
        let _ = context;
        Self {}
    }

    /// Takes one upstream event. `name` is its `event:` line, empty when there is none.
    ///
    /// # Errors
    /// The upstream's error, or a limit that was passed.
    pub fn push(&mut self, name: &[u8], data: &[u8]) -> Result<(), ApiError> {
        let _ = (name, data);
        Ok(())
    }

    /// `finish_reason` has arrived: the answer is whole but for its usage.
    pub fn finish_seen(&self) -> bool {
        false
    }

    /// Ends the answer.
    ///
    /// # Errors
    /// The stream was cut, or a tool call is unusable.
    pub fn finish(self, end: UpstreamEnd) -> Result<WholeAnswer, ApiError> {
        let _ = end;
        Err(ApiError::bad_gateway("stub"))
    }

    /// Bytes held.
    pub fn retained(&self) -> usize {
        0
    }
}
