//! The bytes of a streamed answer folded into one Message.

use super::form;
use super::reply::ReplyContext;
use super::response::{WholeAnswer, WholeTranslator};
use super::stream::UpstreamEnd;
use crate::wire::anthropic::ApiError;
use crate::wire::sse::{SseDecoder, is_done};

/// Largest upstream event, in bytes.
pub const MAX_EVENT: usize = 16 << 20;

/// Folds the events of a stream, from bytes as they come.
#[derive(Debug)]
pub struct Fold {
    begun: bool,
    decoder: SseDecoder,
    translator: WholeTranslator,
}

impl Fold {
    /// For one answer.
    pub fn new(context: ReplyContext) -> Self {
        Self { begun: false, decoder: SseDecoder::new(MAX_EVENT), translator: WholeTranslator::new(context) }
    }

    /// Takes the next bytes. True: the stream said that it is done.
    ///
    /// # Errors
    /// The upstream's error, or a limit that was passed.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<bool, ApiError> {
        if !self.begun {
            bytes = form::begin(bytes);
            self.begun = !bytes.is_empty();
        }
        self.decoder.push(bytes);
        while let Some(event) = self.decoder.next_event() {
            let event = event.map_err(|e| ApiError::bad_gateway(e.to_string()))?;
            if is_done(event.data) {
                return Ok(true);
            }
            self.translator.push(event.name, event.data)?;
        }
        Ok(false)
    }

    /// The body has ended: takes the event that lacks its blank line.
    ///
    /// # Errors
    /// As [`Fold::take`].
    pub fn last(&mut self) -> Result<UpstreamEnd, ApiError> {
        while let Some(Ok(event)) = self.decoder.last_event() {
            if is_done(event.data) {
                return Ok(UpstreamEnd::DoneMarker);
            }
            self.translator.push(event.name, event.data)?;
        }
        Ok(UpstreamEnd::Eof)
    }

    /// `finish_reason` has arrived: the answer is whole but for its usage.
    pub fn finish_seen(&self) -> bool {
        self.translator.finish_seen()
    }

    /// Ends the answer.
    ///
    /// # Errors
    /// The stream was cut, or a tool call is unusable.
    pub fn finish(self, end: UpstreamEnd) -> Result<WholeAnswer, ApiError> {
        self.translator.finish(end)
    }

    /// As [`Fold::finish`], where [`ReplyContext::holds`] holds the end of the answer.
    ///
    /// # Errors
    /// As [`Fold::finish`].
    pub fn close(mut self, end: UpstreamEnd) -> Result<WholeTranslator, ApiError> {
        self.translator.close(end)?;
        Ok(self.translator)
    }
}
