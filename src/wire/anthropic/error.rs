//! Anthropic's error JSON.

use crate::wire::json::write_str;

/// `error.type` of Anthropic's error JSON.
///
/// Source: Anthropic API documentation, "Errors"; `conflict_error` from the SDKs' types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// 400, and other 4xx without a type of their own.
    InvalidRequest,
    /// 401.
    Authentication,
    /// 402.
    Billing,
    /// 403.
    Permission,
    /// 404.
    NotFound,
    /// 409.
    Conflict,
    /// 413.
    RequestTooLarge,
    /// 429.
    RateLimit,
    /// 504, and 408.
    Timeout,
    /// 500, 502.
    Api,
    /// 529 (and 503).
    Overloaded,
}

impl ErrorKind {
    /// The literal that goes over the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Billing => "billing_error",
            Self::Permission => "permission_error",
            Self::NotFound => "not_found_error",
            Self::Conflict => "conflict_error",
            Self::RequestTooLarge => "request_too_large",
            Self::RateLimit => "rate_limit_error",
            Self::Timeout => "timeout_error",
            Self::Api => "api_error",
            Self::Overloaded => "overloaded_error",
        }
    }

    /// The type that belongs to an HTTP status.
    pub fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            402 => Self::Billing,
            403 => Self::Permission,
            404 => Self::NotFound,
            408 | 504 | 524 => Self::Timeout,
            409 => Self::Conflict,
            413 => Self::RequestTooLarge,
            429 => Self::RateLimit,
            503 | 529 => Self::Overloaded,
            400..=499 => Self::InvalidRequest,
            _ => Self::Api,
        }
    }
}

/// What the client is told when something fails: an HTTP answer, or an `error` event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status of the answer. Inside a stream only [`ApiError::kind`] travels.
    pub status: u16,
    /// `error.type`.
    pub kind: ErrorKind,
    /// `error.message`: what is wrong, where, and what to do.
    pub message: String,
    /// `error.details`, as JSON text; machine-readable causes such as
    /// `thread_unsupported_request`.
    pub details: Option<String>,
    /// `x-should-retry` of the answer; the SDKs and Claude Code obey it above the status.
    pub should_retry: Option<bool>,
    /// The upstream itself refused, with this HTTP status or with a body that stands for it.
    /// None: it is our own word, on a fault or on the request. Not told to the client.
    pub upstream_status: Option<u16>,
}

impl ApiError {
    /// An error of that type.
    pub fn new(status: u16, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            details: None,
            should_retry: None,
            upstream_status: None,
        }
    }

    /// 400 `invalid_request_error`.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(400, ErrorKind::InvalidRequest, message)
    }

    /// 502 `api_error`: the upstream did it.
    pub fn bad_gateway(message: impl Into<String>) -> Self {
        Self::new(502, ErrorKind::Api, message)
    }

    /// Appends `{"type":"error","error":{..},"request_id":..}`; without an id the key is left out.
    pub fn write(&self, request_id: &str, out: &mut Vec<u8>) {
        self.write_as(self.kind, request_id, out);
    }

    /// [`ApiError::write`] under another type: streams tell some errors as
    /// `overloaded_error`, because clients re-issue only these.
    pub fn write_as(&self, kind: ErrorKind, request_id: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"error\",\"error\":{\"type\":");
        write_str(kind.as_str(), out);
        out.extend_from_slice(b",\"message\":");
        write_str(&self.message, out);
        if let Some(details) = &self.details {
            out.extend_from_slice(b",\"details\":");
            out.extend_from_slice(details.as_bytes());
        }
        out.push(b'}');
        if !request_id.is_empty() {
            out.extend_from_slice(b",\"request_id\":");
            write_str(request_id, out);
        }
        out.push(b'}');
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.status, self.kind.as_str(), self.message)
    }
}

impl std::error::Error for ApiError {}
