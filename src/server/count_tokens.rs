//! `POST /v1/messages/count_tokens`: an estimate of our own, no upstream.

use std::sync::Arc;
use std::thread;

use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::adapt::stand_in;
use super::app::Worker;
use super::auth::Inbound;
use super::media::Media;
use super::reply::{Refusal, json};
use super::{intake, models, threads};
use crate::config::Config;
use crate::convert::count::{self, Counted, Known, count_tokens, stand_in_tokens};
use crate::convert::stand_in::{Missing, find, put};
use crate::wire::anthropic::{ApiError, ErrorKind, Request};
use crate::wire::json::{utf8, write_u64};

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
    request_id: &str,
    inbound: &Inbound,
) -> Result<HttpResponse, Refusal> {
    worker.gate.has_room()?;
    let bytes = intake::read(request, payload, &worker.config, &worker.unfinished).await?;
    let _permit = worker.gate.admit()?;
    let whole = match threads::asked(worker, request.headers()) {
        Some(threads) => threads::unfold(worker, threads, &bytes, request_id, inbound).await?,
        None => None,
    };
    let bytes = whole.map_or(bytes, |(whole, _)| whole);
    let config = Arc::clone(&worker.config);
    let media = Arc::clone(&worker.media);
    let inbound = inbound.clone();
    let count = move |known: &Known| {
        let request = Request::parse_for_count(&bytes)?;
        let name = &*request.model;
        let model = config.route(name).ok_or_else(|| models::unknown(&config, &inbound, name))?;
        inbound.check(model, name)?;
        let count = |request: &Request<'_>| {
            count_tokens(request, model.profile, &model.spec, known, &mut thread::yield_now)
        };
        let missing = config.extras.replaces(model);
        if !missing.is_in(&request) {
            return count(&request);
        }
        let (adapted, more) = with_what_is_known(&media, &config, missing, &bytes);
        Ok(count(&Request::parse_for_count(&adapted)?)? + more)
    };
    let tokens = Arc::clone(&worker.counting).run(count).await?;
    let mut body = b"{\"input_tokens\":".to_vec();
    write_u64(tokens, &mut body);
    body.push(b'}');
    Ok(json(body))
}

/// The request with what is known by now in the place of images and documents, and what the rest
/// will count, about: for a count nobody is asked.
fn with_what_is_known(known: &Media, config: &Config, missing: Missing, bytes: &[u8]) -> (Vec<u8>, u64) {
    let text = utf8(bytes).unwrap_or_default();
    let describer = config.extras.vision_model.as_deref().unwrap_or_default();
    let media = find(text, missing);
    let findings: Vec<_> = media.iter().map(|medium| known.known(&config.extras, medium)).collect();
    let both = || media.iter().zip(&findings);
    let more =
        both().filter(|(_, finding)| finding.is_none()).map(|(medium, _)| stand_in_tokens(medium)).sum();
    let stand_ins = both().filter_map(|(m, found)| Some((m, stand_in(m.kind, found.as_ref()?, describer)?)));
    (put(text, stand_ins).0, more)
}
