//! Tunnels that do not come about, in sentences that help.

use std::io;
use std::time::Duration;

use super::{io_words, seconds};

/// What a proxy did instead of opening a tunnel; each is said behind the proxy's name.
#[derive(Debug, thiserror::Error)]
pub enum ProxyFault {
    /// No address for its host name.
    #[error("is not there: its host name could not be resolved")]
    Resolve,
    /// TCP failed.
    #[error("cannot be reached: {}", io_words(.0))]
    Connect(io::Error),
    /// It closed without a whole answer.
    #[error("closed the connection instead of opening a tunnel")]
    Closed,
    /// It said nothing for that long.
    #[error("opened no tunnel within {}", seconds(*.0))]
    Silent(Duration),
    /// The answer is not HTTP.
    #[error("does not answer in HTTP: is it an HTTP proxy?")]
    NotHttp,
    /// The answer's head is longer than this.
    #[error("answered with a head of more than {0} bytes")]
    TooLong(usize),
    /// 407, and we have nothing to show.
    #[error("wants a user name and password (HTTP 407): write http://NAME:PASSWORD@ into its URL")]
    NoPassword,
    /// 407 (tinyproxy: 401), although we showed something.
    #[error(
        "refuses the user name and password in its URL (HTTP {0}): are they right, and special characters percent-encoded?"
    )]
    WrongPassword(u16),
    /// 407, in a way that is not ours.
    #[error(
        "wants to be logged in to by {0} (HTTP 407), and only Basic is supported: a local proxy such as px or cntlm can translate"
    )]
    OtherScheme(String),
    /// Another status.
    #[error("opened no tunnel to {target} (HTTP {status}{}{reason}){}", space(reason), meaning(*status))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The reason beside it.
        reason: String,
        /// Host and port that it was asked for.
        target: String,
    },
}

impl ProxyFault {
    /// Asking again would not help.
    pub(super) fn lasts(&self) -> bool {
        match self {
            Self::NoPassword | Self::WrongPassword(_) | Self::OtherScheme(_) | Self::NotHttp => true,
            Self::Refused { status, .. } => *status < 500,
            _ => false,
        }
    }
}

/// A space before words.
fn space(words: &str) -> &'static str {
    if words.is_empty() { "" } else { " " }
}

/// What a proxy probably means by a status.
fn meaning(status: u16) -> &'static str {
    match status {
        403 => ": its rules forbid the host, or a port other than 443",
        400 | 404 | 405 | 501 => ": it may be no proxy that knows CONNECT",
        500..600 => ": perhaps it cannot reach the host",
        _ => "",
    }
}
