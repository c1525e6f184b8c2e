//! A Messages request, borrowed from its bytes.

use super::ApiError;

/// A `POST /v1/messages` body. Text, tool inputs and schemas stay slices of the input.
#[derive(Debug)]
pub struct Request<'a> {
    /// `model`, as the client wrote it.
    pub model: std::borrow::Cow<'a, str>,
    /// `stream`.
    pub stream: bool,
}

impl<'a> Request<'a> {
    /// Reads and checks a body.
    ///
    /// # Errors
    /// 400 in Anthropic's words: broken JSON with line and column, wrong types and missing
    /// fields with their path (`messages.1.content.0.type: Field required`).
    pub fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        let _ = body;
        Err(ApiError::invalid_request("stub"))
    }

    /// Like [`Request::parse`] for `count_tokens`, which has no `max_tokens`.
    ///
    /// # Errors
    /// As [`Request::parse`].
    pub fn parse_for_count(body: &'a [u8]) -> Result<Self, ApiError> {
        Self::parse(body)
    }
}
