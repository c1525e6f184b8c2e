//! Is it there, and may it be sent requests?

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;

use super::app::Worker;
use super::drain::Drain;
use super::reply::json;
use crate::observe::metrics::{self, Now};

/// `/status`, `/health`, `/`: the process is alive.
pub(super) fn health() -> HttpResponse {
    json(r#"{"message":"claude-proxy","health":"ok"}"#)
}

/// `/metrics`: Prometheus's text format.
pub(super) fn metrics(worker: &Worker) -> HttpResponse {
    let now = Now {
        running: worker.gate.load().running(),
        limit: worker.gate.limit(),
        generation: worker.generation,
    };
    HttpResponse::Ok().insert_header((CONTENT_TYPE, metrics::CONTENT_TYPE)).body(worker.metrics.text(&now))
}

/// `/ready`: for load balancers; no from the first moment of the way out.
pub(super) fn ready(drain: &Drain) -> HttpResponse {
    if drain.is_draining() {
        return HttpResponse::build(StatusCode::SERVICE_UNAVAILABLE)
            .insert_header((CONTENT_TYPE, "application/json"))
            .body(r#"{"message":"claude-proxy","ready":false,"reason":"draining"}"#);
    }
    json(r#"{"message":"claude-proxy","ready":true}"#)
}
