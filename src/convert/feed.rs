//! The bytes of an upstream's answer, whatever form it has, for a client that asked for a stream.

use super::fold::MAX_EVENT;
use super::form::Form;
use super::reply::ReplyContext;
use super::stream::{StreamTranslator, UpstreamEnd};
use crate::wire::anthropic::ApiError;
use crate::wire::sse::{SseDecoder, is_done};

/// Feeds the translator, from bytes as they come.
#[derive(Debug)]
pub struct Feed {
    content_type: String,
    /// Unknown until the first bytes.
    form: Option<Form>,
    decoder: SseDecoder,
    /// An answer that is no stream, until it is whole.
    whole: Vec<u8>,
    /// Where it all goes.
    pub translator: StreamTranslator,
}

impl Feed {
    /// For one answer of that content type.
    pub fn new(content_type: String, context: ReplyContext) -> Self {
        Self {
            content_type,
            form: None,
            decoder: SseDecoder::new(MAX_EVENT),
            whole: Vec::new(),
            translator: StreamTranslator::new(context),
        }
    }

    /// What the answer is; none: nothing but white space has come.
    pub fn form(&self) -> Option<Form> {
        self.form
    }

    /// What has come of an answer that is no stream. It is for the caller to bound it.
    pub fn whole(&self) -> &[u8] {
        &self.whole
    }

    /// Takes the next bytes and appends what the client gets for them; `heard` is called for
    /// each event. True: the upstream said that it is done, and so is the answer.
    ///
    /// # Errors
    /// As [`StreamTranslator::push`] and [`StreamTranslator::finish`].
    pub fn take(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        mut heard: impl FnMut(),
    ) -> Result<bool, ApiError> {
        if self.form.is_none() {
            self.form = Form::of(&self.content_type, bytes);
        }
        match self.form {
            None => {}
            Some(Form::Whole) => self.whole.extend_from_slice(bytes),
            Some(Form::Events) => {
                self.decoder.push(bytes);
                while let Some(event) = self.decoder.next_event() {
                    let event = event.map_err(|e| ApiError::bad_gateway(e.to_string()))?;
                    heard();
                    if is_done(event.data) {
                        self.translator.finish(UpstreamEnd::DoneMarker, out)?;
                        return Ok(true);
                    }
                    self.translator.push(event.name, event.data, out)?;
                }
            }
        }
        Ok(false)
    }

    /// The body has ended: takes what is left, and ends the answer.
    ///
    /// # Errors
    /// As [`Feed::take`]; the translator knows whether that was all.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        match self.form {
            None => {}
            Some(Form::Whole) => {
                let body = std::mem::take(&mut self.whole);
                self.translator.push_completion(&body, out)?;
            }
            Some(Form::Events) => {
                while let Some(Ok(event)) = self.decoder.last_event() {
                    if is_done(event.data) {
                        return self.translator.finish(UpstreamEnd::DoneMarker, out);
                    }
                    self.translator.push(event.name, event.data, out)?;
                }
            }
        }
        self.translator.finish(UpstreamEnd::Eof, out)
    }
}
