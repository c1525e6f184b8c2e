//! The one place where errors become answers.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use bytes::Bytes;

use crate::observe::{Outcome, Record};
use crate::wire::anthropic::ApiError;

/// On every answer.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// What a conversion could not carry.
pub(super) const WARNINGS: HeaderName = HeaderName::from_static("x-claude-proxy-warnings");
/// The name of the provider that answered, or that the error is about.
pub(super) const PROVIDER: HeaderName = HeaderName::from_static("x-claude-proxy-provider");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// An error, with the headers that its answer carries.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: ApiError,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The connection cannot be used any more: its body was not read to the end.
    close: bool,
    /// The client is not there to read it.
    gone: bool,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { error, headers: Vec::new(), close: false, gone: false }
    }
}

impl Refusal {
    /// With a header, if there is a value for it.
    pub(super) fn with(mut self, name: HeaderName, value: Option<HeaderValue>) -> Self {
        self.headers.extend(value.map(|value| (name, value)));
        self
    }

    /// And closes the connection.
    pub(super) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// To a client that has left.
    pub(super) fn unread(mut self) -> Self {
        self.gone = true;
        self.closing()
    }

    /// The answer.
    pub(super) fn answer(self, request_id: &str) -> HttpResponse {
        let mut body = Vec::with_capacity(256);
        self.error.write(request_id, &mut body);
        let status = StatusCode::from_u16(self.error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = HttpResponse::build(status);
        answer.insert_header((CONTENT_TYPE, "application/json"));
        if let Some(retry) = self.error.should_retry {
            answer.insert_header((SHOULD_RETRY, if retry { "true" } else { "false" }));
        }
        for header in self.headers {
            answer.insert_header(header);
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
        if self.gone {
            record.status = 0;
            record.outcome = Outcome::ClientGone;
        }
        record.error.clone_from(&self.error.message);
        let mut body = Vec::with_capacity(256);
        self.error.write(&record.request_id, &mut body);
        record.sent = if self.gone { 0 } else { body.len() as u64 };
        if let Some(exchange) = &record.capture {
            exchange.client_piece(&body.into());
        }
    }
}

/// 200 with JSON.
pub(super) fn json(body: impl Into<Bytes>) -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/json")).body(body.into())
}
