//! An Anthropic request becomes a Chat Completions request.

use serde_json::{Map, Value};

use super::{Losses, Profile, ReplyContext};
use crate::wire::anthropic::{ApiError, Request};

/// What the configuration says of one model.
#[derive(Debug, Clone, Default)]
pub struct ModelSpec {
    /// The name sent upstream.
    pub remote_id: String,
    /// A larger `max_tokens` is lowered to it.
    pub max_output_tokens: Option<u64>,
    /// Size of the context in tokens; used in overflow errors.
    pub context_window: Option<u64>,
    /// False: images become a placeholder. None: as the profile says.
    pub vision: Option<bool>,
    /// False: tools are not offered.
    pub tools: Option<bool>,
    /// False: reasoning is neither asked for nor sent back.
    pub reasoning: Option<bool>,
    /// Merged into the upstream request, last.
    pub extra_body: Map<String, Value>,
    /// Removed from the upstream request, last.
    pub drop_params: Vec<String>,
}

/// A converted request, and what is needed to convert its answer.
#[derive(Debug)]
pub struct Converted {
    /// The Chat Completions request as JSON.
    pub body: Vec<u8>,
    /// What was dropped or degraded.
    pub losses: Losses,
    /// What the answer's conversion has to know. Holds nothing of the request's text.
    pub reply: ReplyContext,
    /// The client asked for a stream.
    pub client_streams: bool,
    /// The upstream was asked for a stream (always so when the client streams).
    pub upstream_streams: bool,
    /// `max_tokens` is 0: nothing is sent upstream, the answer is empty (see [`super::response::empty`]).
    pub answer_locally: bool,
}

/// Converts a request for one upstream.
///
/// # Errors
/// 400 for what cannot be expressed (`thread`, `compaction`).
pub fn request(
    request: &Request<'_>,
    profile: &'static Profile,
    model: &ModelSpec,
) -> Result<Converted, ApiError> {
    let _ = (request, profile, model);
    Err(ApiError::invalid_request("stub"))
}
