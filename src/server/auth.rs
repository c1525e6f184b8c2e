//! Who may come in.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::reply::Refusal;
use crate::config::Secret;
use crate::wire::anthropic::{ApiError, ErrorKind};

/// The inbound key, as its digest: comparing digests of equal length tells neither where
/// two keys differ nor how long the right one is.
#[derive(Clone)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn new(ak: &Secret) -> Self {
        Self(Sha256::digest(ak.expose().as_bytes()).into())
    }

    /// Stands for the key where it must not be told.
    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.0
    }

    /// Claude Code sends both headers when both of its variables are set, and only one of
    /// them is ours: either is enough.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut right = Choice::from(0);
        for value in headers.get_all(AUTHORIZATION) {
            if let Some(token) = bearer(value.as_bytes()) {
                right |= self.matches(token);
            }
        }
        for value in headers.get_all("x-api-key") {
            right |= self.matches(value.as_bytes().trim_ascii());
        }
        if right.into() {
            return Ok(());
        }
        // No word of the header: Claude Code turns a message with "x-api-key" into "please log in".
        let message = "the key for this proxy is missing or wrong (config key `ak`): send it as `authorization: Bearer KEY`, \
                       which is what ANTHROPIC_AUTH_TOKEN does";
        let mut error = ApiError::new(401, ErrorKind::Authentication, message);
        // Else Claude Code tries the same key for three minutes before it shows this.
        error.should_retry = Some(false);
        Err(error.into())
    }

    /// Whether this is the key.
    pub(super) fn is(&self, candidate: &[u8]) -> bool {
        self.matches(candidate).into()
    }

    fn matches(&self, candidate: &[u8]) -> Choice {
        let digest: [u8; 32] = Sha256::digest(candidate).into();
        digest.ct_eq(&self.0)
    }
}

/// The token of `Bearer TOKEN`; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Refused keys, as the log tells of them: the first one at once, then how many there were, so
/// that nobody can fill the log by guessing.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<Tally>);

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    since: u64,
    said: Option<Instant>,
}

impl Tally {
    /// One more; how many to tell of, if it is time.
    fn add(&mut self, now: Instant) -> Option<u64> {
        const PAUSE: Duration = Duration::from_secs(10);
        self.since += 1;
        if self.said.is_some_and(|said| now.duration_since(said) < PAUSE) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

impl Failures {
    /// A request was refused. Nothing of what it sent is kept.
    pub(super) fn note(&self, peer: Option<SocketAddr>) {
        let due = self.0.lock().unwrap_or_else(PoisonError::into_inner).add(Instant::now());
        if let Some(count) = due {
            let peer = peer.map(|p| p.ip().to_string()).unwrap_or_default();
            tracing::warn!(count, %peer, "requests without the right key were refused");
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn refused_keys_are_told_of_at_once_and_then_counted() {
        let mut tally = Tally::default();
        let start = Instant::now();
        let at = |tally: &mut Tally, s| tally.add(start + Duration::from_secs(s));
        assert_eq!(at(&mut tally, 0), Some(1));
        assert_eq!((at(&mut tally, 1), at(&mut tally, 9)), (None, None));
        assert_eq!(at(&mut tally, 10), Some(3));
        assert_eq!(at(&mut tally, 11), None);
    }

    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn either_header_is_enough() {
        let key = Key::new(&Secret::new("sesame"));
        let ok = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(
                    actix_web::http::header::HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                );
            }
            key.check(&headers).is_ok()
        };
        for scheme in ["Bearer", "bearer", "BEARER"] {
            assert!(ok(&[("authorization", &format!("{scheme} sesame"))]), "{scheme}");
        }
        assert!(ok(&[("x-api-key", "sesame")]));
        assert!(ok(&[("x-api-key", "sk-ant-left-over"), ("authorization", "Bearer sesame")]));
        assert!(ok(&[("x-api-key", "sesame"), ("authorization", "Bearer left-over")]));
        for wrong in ["sesam", "sesamee", "", "Sesame"] {
            assert!(!ok(&[("x-api-key", wrong)]), "{wrong}");
        }
        assert!(!ok(&[]));
        assert!(!ok(&[("authorization", "sesame")]));
        assert!(!ok(&[("authorization", "Basic sesame")]));
        assert!(!ok(&[("authorization", "Bearer")]));
    }
}
