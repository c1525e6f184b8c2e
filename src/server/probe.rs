//! Is it there, and may it be sent requests?

use std::time::Instant;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;

use super::app::Worker;
use super::reply::json;

/// `/status`, `/health`, `/`: the process is alive.
pub(super) fn health() -> HttpResponse {
    json(r#"{"message":"claude-proxy","health":"ok"}"#)
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
