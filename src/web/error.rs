//! What goes wrong, as Anthropic's results of server tools have it.

use crate::upstream::{Cause, Fault};

/// `error_code` of a `web_search_tool_result_error` or a `web_fetch_tool_result_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The input of the call cannot be meant.
    InvalidToolInput,
    /// The service is not there, not right, or ours is at its limit.
    Unavailable,
    /// The tool was called more often than the request allows.
    MaxUsesExceeded,
    /// The other side asks for fewer requests.
    TooManyRequests,
    /// Search: the query is longer than the service takes.
    QueryTooLong,
    /// Search: the request is larger than the service takes.
    RequestTooLarge,
    /// Fetch: the URL is longer than [`super::MAX_URL`].
    UrlTooLong,
    /// Fetch: domains, addresses or ports forbid it.
    UrlNotAllowed,
    /// Fetch: there is no page, or it did not come whole and in time.
    UrlNotAccessible,
    /// Fetch: what is there is neither text nor PDF.
    UnsupportedContentType,
}

impl Code {
    /// As the API has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidToolInput => "invalid_tool_input",
            Self::Unavailable => "unavailable",
            Self::MaxUsesExceeded => "max_uses_exceeded",
            Self::TooManyRequests => "too_many_requests",
            Self::QueryTooLong => "query_too_long",
            Self::RequestTooLarge => "request_too_large",
            Self::UrlTooLong => "url_too_long",
            Self::UrlNotAllowed => "url_not_allowed",
            Self::UrlNotAccessible => "url_not_accessible",
            Self::UnsupportedContentType => "unsupported_content_type",
        }
    }
}

/// A search or a fetch that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", code.as_str())]
pub struct WebError {
    /// What the client and the model are told.
    pub code: Code,
    /// What happened and what to do, for the log: no key, and no URL with a password.
    pub detail: String,
}

impl WebError {
    /// With words for the log.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// Of a page whose answer did not come.
    pub(super) fn unreached(fault: &Fault) -> Self {
        let code = match fault.cause {
            Cause::Config(_) => Code::InvalidToolInput,
            _ => Code::UrlNotAccessible,
        };
        Self::new(code, fault.to_string())
    }
}
