//! Is it there, and may it be sent requests?

use std::time::Instant;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;

use super::app::Worker;
use super::reply::json;
use crate::observe::metrics::{self, Now};

/// `/status`, `/health`, `/`: the process is alive.
pub(super) fn health() -> HttpResponse {
    json(r#"{"message":"claude-proxy","health":"ok"}"#)
}

/// `/metrics`: Prometheus's text format.
pub(super) fn metrics(worker: &Worker) -> HttpResponse {
    worker.meters.rest(worker.upstreams.resting(Instant::now()));
    let now =
        Now { running: worker.gate.running(), limit: worker.gate.limit(), generation: worker.generation };
    HttpResponse::Ok().insert_header((CONTENT_TYPE, metrics::CONTENT_TYPE)).body(worker.metrics.text(&now))
}

/// `/ready`: for load balancers; no from the first moment of the way out, and while there is no
/// provider that a request would have a chance at.
pub(super) fn ready(worker: &Worker) -> HttpResponse {
    let why = if worker.drain.is_draining() {
        "draining"
    } else if !worker.upstreams.are_usable(Instant::now()) {
        "no usable provider"
    } else {
        return json(r#"{"message":"claude-proxy","ready":true}"#);
    };
    HttpResponse::build(StatusCode::SERVICE_UNAVAILABLE)
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(format!(r#"{{"message":"claude-proxy","ready":false,"reason":"{why}"}}"#))
}
