//! Who may come in.

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

#[cfg(test)]
mod tests {
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
