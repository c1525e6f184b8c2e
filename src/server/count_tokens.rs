//! `POST /v1/messages/count_tokens`: an estimate of our own, no upstream.

use std::sync::Arc;
use std::thread;

use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::app::Worker;
use super::reply::{Refusal, json};
use super::{intake, models, threads};
use crate::convert::count::{self, Counted, Known, count_tokens};
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

impl Counting {
    /// Counts in a thread of its own, when it is its turn.
    async fn run<T: Send + 'static>(
        self: Arc<Self>,
        count: impl FnOnce(&Known) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = self.turns.acquire().await;
        let known = Arc::clone(&self);
        let counted = web::block(move || count(&known.known)).await;
        drop(turn);
        counted.map_err(|_| {
            ApiError::new(500, ErrorKind::Api, "internal error while counting: please report it")
        })?
    }

    /// What a converted request counts.
    pub(super) async fn body(self: Arc<Self>, body: Bytes) -> Result<Counted, ApiError> {
        self.run(move |known| count::count(&body, known, &mut thread::yield_now)).await
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
    let config = Arc::clone(&worker.config);
    let count = move |known: &Known| {
        let request = Request::parse_for_count(&bytes)?;
        let model = config.route(&request.model).ok_or_else(|| models::unknown(&config, &request.model))?;
        count_tokens(&request, model.profile, &model.spec, known, &mut thread::yield_now)
    };
    let tokens = Arc::clone(&worker.counting).run(count).await?;
    let mut body = b"{\"input_tokens\":".to_vec();
    write_u64(tokens, &mut body);
    body.push(b'}');
    Ok(json(body))
}
