//! Is it there, and may it be sent requests?

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;

use super::drain::Drain;
use super::reply::json;

/// `/status`, `/health`, `/`: the process is alive.
pub(super) fn health() -> HttpResponse {
    json(r#"{"message":"claude-proxy","health":"ok"}"#)
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
