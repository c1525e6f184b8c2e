//! The bytes of an upstream's answer, whatever form it has, for a client that asked for a stream.

use super::fold::MAX_EVENT;
use super::form::{self, Form};
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
        mut bytes: &[u8],
        out: &mut Vec<u8>,
        mut heard: impl FnMut(),
    ) -> Result<bool, ApiError> {
        if self.form.is_none() {
            self.form = Form::of(&self.content_type, bytes);
            bytes = form::begin(bytes);
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
                // What could be read as JSON was all there.
                return self.translator.finish(UpstreamEnd::DoneMarker, out);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::{ModelSpec, Profile, request};
    use crate::wire::anthropic::Request;

    /// What a client gets for these pieces.
    fn fed(pieces: &[&[u8]]) -> String {
        let body = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"}]}"#;
        let profile = Profile::named("generic").unwrap();
        let context = request(&Request::parse(body).unwrap(), profile, &ModelSpec::default()).unwrap().reply;
        let mut feed = Feed::new("application/json".to_owned(), context);
        let mut out = Vec::new();
        for piece in pieces {
            assert_eq!(feed.take(piece, &mut out, || ()), Ok(false));
        }
        feed.end(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// A whole answer is complete where its JSON is, as it is for a client that does not stream.
    #[test]
    fn a_whole_answer_needs_no_finish_reason() {
        let out = fed(&[br#"{"choices":[{"message":{"role":"assistant","#, br#""content":"hi"}}]}"#]);
        assert!(out.contains("end_turn") && out.ends_with("{\"type\":\"message_stop\"}\n\n"), "{out}");
    }

    #[test]
    fn white_space_before_the_answer_may_come_alone() {
        let event = br#"data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}"#;
        let together = [&b" \t"[..], event].concat();
        assert_eq!(fed(&[&together]), fed(&[b" ", b"\t", event]));
        assert!(fed(&[&together]).contains("\"hi\""));
    }
}
