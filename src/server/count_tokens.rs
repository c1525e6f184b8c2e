//! `POST /v1/messages/count_tokens`: an estimate of our own, no upstream.

use std::sync::Arc;
use std::thread;

use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse};
use tokio::sync::Semaphore;

use super::app::Worker;
use super::reply::{Refusal, json};
use super::{intake, models, threads};
use crate::convert::count::{Known, count_tokens};
use crate::wire::anthropic::{ApiError, ErrorKind, Request};
use crate::wire::json::write_u64;

/// What counting shares between workers and configurations.
pub(super) struct Counting {
    /// Claude Code asks 25 times at once for `/context`. Counting is all CPU: two at a time, and
    /// one where that would leave the streams no core of their own.
    turns: Semaphore,
    known: Known,
}

impl Default for Counting {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { turns: Semaphore::new(cores.saturating_sub(1).clamp(1, 2)), known: Known::default() }
    }
}

pub(super) async fn count(
    worker: &Worker,
    request: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Refusal> {
    worker.gate.has_room()?;
    let bytes = intake::read(request, payload, &worker.config, &worker.unfinished).await?;
    let _permit = worker.gate.admit()?;
    let whole = match threads::asked(worker, request.headers()) {
        Some(threads) => threads::unfold(worker, threads, &bytes).await?,
        None => None,
    };
    let bytes = whole.map_or(bytes, |(whole, _)| whole);
    let turn = worker.counting.turns.acquire().await;
    let (config, counting) = (Arc::clone(&worker.config), Arc::clone(&worker.counting));
    let counted = web::block(move || {
        let request = Request::parse_for_count(&bytes)?;
        let model = config.route(&request.model).ok_or_else(|| models::unknown(&config, &request.model))?;
        count_tokens(&request, model.profile, &model.spec, &counting.known, &mut thread::yield_now)
    })
    .await;
    drop(turn);
    let tokens = counted.map_err(|_| {
        ApiError::new(500, ErrorKind::Api, "internal error while counting: please report it")
    })??;
    let mut body = b"{\"input_tokens\":".to_vec();
    write_u64(tokens, &mut body);
    body.push(b'}');
    Ok(json(body))
}
