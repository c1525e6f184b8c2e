//! `POST /v1/messages/count_tokens`: an estimate of our own, no upstream.

use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::app::Worker;
use super::reply::{Refusal, json};
use super::{intake, models};
use crate::convert::count::count_tokens;
use crate::wire::anthropic::{ApiError, ErrorKind, Request};
use crate::wire::json::write_u64;

pub(super) async fn count(
    worker: &Worker,
    request: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Refusal> {
    worker.gate.has_room()?;
    let bytes = intake::read(request, payload, &worker.config, &worker.unfinished).await?;
    let _permit = worker.gate.admit()?;
    // Claude Code asks 25 times at once for `/context`. Counting is all CPU: two at a time
    // leave the streams their share.
    let turn = worker.counting.acquire().await;
    let config = std::sync::Arc::clone(&worker.config);
    let counted = web::block(move || {
        let request = Request::parse_for_count(&bytes)?;
        let model = config.route(&request.model).ok_or_else(|| models::unknown(&config, &request.model))?;
        count_tokens(&request, model.profile, &model.spec)
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
