//! A prompt that its upstream would cut to fit: refused, so that the client compacts instead.

use std::sync::Arc;

use super::app::Worker;
use super::attempt::Call;
use crate::convert::overflow::too_long;
use crate::wire::anthropic::ApiError;

/// Text has at least so many bytes a token, however it is written: shorter requests need no count.
const DENSEST: usize = 2;

/// Refuses a request that is certain not to fit into its model's window, if the upstream would not
/// say so itself: it would forget the instructions, and go on. Others cost a look.
///
/// # Errors
/// 400 in the words on which Claude Code compacts, with the size that `count_tokens` tells.
pub(super) async fn check(worker: &Worker, call: &Call) -> Result<(), ApiError> {
    let Some(window) = call.cut_at() else { return Ok(()) };
    if (call.body.len() / DENSEST) as u64 <= window {
        return Ok(());
    }
    let counted = Arc::clone(&worker.counting).body(call.body.clone()).await?;
    if counted.at_least() <= window {
        return Ok(());
    }
    Err(ApiError::invalid_request(too_long(counted.tokens, window)))
}
