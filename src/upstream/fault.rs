//! What an upstream did wrong, and what the client is told of it.

use std::io;
use std::time::Duration;

use awc::error::{ConnectError, PayloadError, SendRequestError};

use super::tls::wants_certificate;
use crate::wire::anthropic::{ApiError, ErrorKind};

mod proxy;
mod tls;

pub use proxy::ProxyFault;
pub use tls::TlsFault;

/// How far an exchange had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Resolving, TCP or TLS: the provider has seen nothing of the request.
    Connect,
    /// Writing the request.
    Send,
    /// Waiting for the answer's head.
    Head,
    /// Reading the answer's body.
    Body,
}

/// Whether a second attempt is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// No: the provider may be at work on the request.
    Never,
    /// Yes: nothing was sent.
    Safe,
    /// Only if the connection came from the pool: it was closed while the request was under way.
    IfReused,
}

/// What happened.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The URL or a header of the configuration cannot be sent.
    #[error("cannot be asked: {0}")]
    Config(String),
    /// No address for the host name.
    #[error("its host name could not be resolved")]
    Resolve,
    /// TCP failed.
    #[error("connecting failed: {}", io_words(.0))]
    Connect(io::Error),
    /// TLS failed.
    #[error("the TLS handshake failed: {0}")]
    Tls(TlsFault),
    /// There is no tunnel through the proxy.
    #[error("the proxy {proxy} {fault}")]
    Proxy {
        /// Where it is and who named it.
        proxy: String,
        /// What happened.
        fault: ProxyFault,
    },
    /// [`super::Limits::connect`] has passed.
    #[error("no connection within {}", seconds(*.0))]
    ConnectTimeout(Duration),
    /// The request could not be written.
    #[error("it stopped reading the request ({}): perhaps it is too large for it", io_words(.0))]
    Send(io::Error),
    /// Closed without a byte of an answer.
    #[error("it closed the connection without an answer")]
    ClosedUnanswered,
    /// The answer is not HTTP.
    #[error("its answer is not valid HTTP ({0})")]
    NotHttp(String),
    /// The answer took longer than [`super::Limits::answer`].
    #[error("no answer within {}", seconds(*.0))]
    Timeout(Duration),
    /// The stream was silent for longer than the idle limit.
    #[error("it sent nothing for {}", seconds(*.0))]
    Idle(Duration),
    /// A 3xx. Following it could carry the key to another host.
    #[error("it answered with a redirect (HTTP {0}); set base_url to the final address")]
    Redirect(u16),
    /// A content-encoding although `identity` was asked for.
    #[error(
        "it sent a compressed answer (content-encoding: {0}), which was not asked for; switch compression off there"
    )]
    Encoded(String),
    /// HTTP/1.1 with neither content-length nor chunks.
    #[error("it sent an unframed HTTP/1.1 body (neither content-length nor chunked), which cannot be read")]
    Unframed,
    /// Fewer bytes than content-length announced.
    #[error("its answer was cut off after {received} of {announced} bytes")]
    Truncated {
        /// Bytes that came.
        received: u64,
        /// Bytes that were announced.
        announced: u64,
    },
    /// The connection broke inside the body.
    #[error("the connection broke in the middle of its answer: {0}")]
    Broken(String),
    /// More bytes than are kept.
    #[error("its answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// The upstream did it.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Fault {
    /// How far the exchange had come.
    pub stage: Stage,
    /// Whether a second attempt is safe.
    pub retry: Retry,
    /// The request was sent twice, because a pooled connection had died.
    pub resent: bool,
    /// What happened.
    #[source]
    pub cause: Cause,
}

impl Fault {
    /// A fault after which nothing is tried again.
    pub fn new(stage: Stage, cause: Cause) -> Self {
        // Nothing was sent while connecting; but these end the same way every time.
        let lasts = match &cause {
            Cause::Config(_) => true,
            Cause::Tls(fault) => !matches!(fault, TlsFault::Closed),
            Cause::Proxy { fault, .. } => fault.lasts(),
            _ => false,
        };
        let retry = if stage == Stage::Connect && !lasts { Retry::Safe } else { Retry::Never };
        Self { stage, retry, resent: false, cause }
    }

    /// What the client is told. Names the provider; never its URL or key.
    pub fn api_error(&self, provider: &str) -> ApiError {
        let message = format!("upstream {provider}: {}", self.cause);
        match self.cause {
            Cause::ConnectTimeout(_)
            | Cause::Timeout(_)
            | Cause::Idle(_)
            | Cause::Proxy { fault: ProxyFault::Silent(_), .. } => {
                ApiError::new(504, ErrorKind::Timeout, message)
            }
            _ => ApiError::bad_gateway(message),
        }
    }
}

/// `300 s`, `1.5 s`, `50 ms`.
fn seconds(d: Duration) -> String {
    if d < Duration::from_secs(1) {
        format!("{} ms", d.as_millis())
    } else {
        format!("{} s", d.as_secs_f64())
    }
}

/// The system's words without Rust's `(os error 111)`.
fn io_words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

/// The peer closed: on a pooled connection that is the keep-alive race.
fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::UnexpectedEof | K::NotConnected
    )
}

impl From<SendRequestError> for Fault {
    fn from(error: SendRequestError) -> Self {
        use awc::error::SendRequestError as E;
        let closed = || Self { retry: Retry::IfReused, ..Self::new(Stage::Head, Cause::ClosedUnanswered) };
        match error {
            E::Url(e) => Self::new(Stage::Connect, Cause::Config(e.to_string())),
            // "Internal error: connector has been disconnected" is how awc says that the peer
            // closed before the head of its answer.
            E::Connect(ConnectError::Disconnected) => closed(),
            E::Connect(ConnectError::Timeout) => {
                Self::new(Stage::Connect, Cause::ConnectTimeout(Duration::ZERO))
            }
            // The dialler's own.
            E::Connect(ConnectError::Io(e)) => {
                e.downcast::<Self>().unwrap_or_else(|e| Self::new(Stage::Connect, Cause::Connect(e)))
            }
            E::Connect(e) => Self::new(Stage::Connect, Cause::Connect(io::Error::other(e.to_string()))),
            E::Send(e) if is_closed(&e) => {
                Self { retry: Retry::IfReused, ..Self::new(Stage::Send, Cause::Send(e)) }
            }
            E::Send(e) => Self::new(Stage::Send, Cause::Send(e)),
            E::Response(actix_web::error::ParseError::Io(e)) if is_closed(&e) => closed(),
            E::Response(actix_web::error::ParseError::Io(e)) if wants_certificate(&e) => {
                Self::new(Stage::Head, Cause::Tls(TlsFault::ClientCertificate))
            }
            E::Response(e) => Self::new(Stage::Head, Cause::NotHttp(e.to_string())),
            E::Timeout => Self::new(Stage::Head, Cause::Timeout(Duration::ZERO)),
            e => Self::new(Stage::Send, Cause::Broken(e.to_string())),
        }
    }
}

impl From<PayloadError> for Fault {
    fn from(error: PayloadError) -> Self {
        let words = match &error {
            PayloadError::Incomplete(Some(e)) | PayloadError::Io(e) => io_words(e),
            e => e.to_string(),
        };
        Self::new(Stage::Body, Cause::Broken(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_504_and_the_rest_502() {
        let timeout = Fault::new(Stage::Head, Cause::Timeout(Duration::from_secs(300)));
        let told = timeout.api_error("deepseek");
        assert_eq!((told.status, told.kind), (504, ErrorKind::Timeout));
        assert_eq!(told.message, "upstream deepseek: no answer within 300 s");
        let refused =
            Fault::from(SendRequestError::Connect(ConnectError::Io(io::Error::from_raw_os_error(111))));
        assert_eq!((refused.stage, refused.retry), (Stage::Connect, Retry::Safe));
        let told = refused.api_error("local");
        assert_eq!((told.status, told.kind), (502, ErrorKind::Api));
        #[cfg(target_os = "linux")]
        assert_eq!(told.message, "upstream local: connecting failed: connection refused");
    }
}
