//! The one place where errors become answers.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};

use crate::observe::{Outcome, Record};
use crate::wire::anthropic::ApiError;

/// On every answer.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// What a conversion could not carry.
pub(super) const WARNINGS: HeaderName = HeaderName::from_static("x-claude-proxy-warnings");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// An error, with the headers that its answer carries.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: ApiError,
    /// The upstream's own; ours only where we know it, which is when we are full.
    pub(super) retry_after: Option<HeaderValue>,
    /// Like `retry_after`, in milliseconds.
    pub(super) retry_after_ms: Option<HeaderValue>,
    /// `allow` of a 405.
    pub(super) allow: Option<&'static str>,
    /// The connection cannot be used any more: its body was not read to the end.
    pub(super) close: bool,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { error, retry_after: None, retry_after_ms: None, allow: None, close: false }
    }
}

impl Refusal {
    /// The answer.
    pub(super) fn answer(&self, request_id: &str) -> HttpResponse {
        let mut body = Vec::with_capacity(256);
        self.error.write(request_id, &mut body);
        let status = StatusCode::from_u16(self.error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = HttpResponse::build(status);
        answer.insert_header((CONTENT_TYPE, "application/json"));
        if let Some(value) = &self.retry_after {
            answer.insert_header((RETRY_AFTER, value.clone()));
        }
        if let Some(value) = &self.retry_after_ms {
            answer.insert_header((RETRY_AFTER_MS, value.clone()));
        }
        if let Some(retry) = self.error.should_retry {
            answer.insert_header((SHOULD_RETRY, if retry { "true" } else { "false" }));
        }
        if let Some(methods) = self.allow {
            answer.insert_header((ALLOW, methods));
        }
        if self.close {
            answer.force_close();
        }
        answer.body(body)
    }

    /// Notes it in the request's line.
    pub(super) fn note(&self, record: &mut Record) {
        record.status = self.error.status;
        record.outcome = Outcome::Refused;
        record.error.clone_from(&self.error.message);
    }
}

/// 200 with JSON.
pub(super) fn json(body: impl Into<Vec<u8>>) -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/json")).body(body.into())
}
