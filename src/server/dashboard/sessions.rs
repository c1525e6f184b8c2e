//! Who signed in, and for how long.
//!
//! A session is 256 random bits. They are kept as a digest, in this process only: a restart ends
//! them, and so does another key.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq as _;

use crate::config::Digest;

/// A session ends after that long.
pub(super) const LASTS: Duration = Duration::from_secs(12 * 3600);
/// The oldest goes when there are more.
const MOST: usize = 64;

/// All sessions of this process.
pub(super) struct Sessions {
    /// The cookie's name: another proxy on this host, at another port, gets the same cookies.
    pub(super) cookie: String,
    open: Mutex<Vec<Session>>,
}

struct Session {
    token: Digest,
    /// The key that it was opened with.
    key: Digest,
    until: Instant,
}

impl Default for Sessions {
    fn default() -> Self {
        let mut own = [0; 4];
        // Without random numbers no session is ever opened, and the name does not matter.
        let _ = getrandom::fill(&mut own);
        Self { cookie: format!("claude_proxy_{}", hex(&own)), open: Mutex::default() }
    }
}

impl Sessions {
    /// A new one for who has this key: its token. None: there are no random numbers.
    pub(super) fn open(&self, key: Digest, now: Instant) -> Option<String> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).ok()?;
        let token = hex(&bytes);
        let mut open = self.lock();
        open.retain(|session| session.until > now);
        if open.len() >= MOST {
            open.remove(0);
        }
        open.push(Session { token: Digest::of(token.as_bytes()), key, until: now + LASTS });
        Some(token)
    }

    /// The key that the session of this token was opened with; none: there is no such session, or
    /// it has ended.
    pub(super) fn find(&self, token: &str, now: Instant) -> Option<Digest> {
        let token = Digest::of(token.as_bytes());
        let mut found = None;
        for session in self.lock().iter().filter(|session| session.until > now) {
            if session.token.0.ct_eq(&token.0).into() {
                found = Some(session.key);
            }
        }
        found
    }

    /// Ends it.
    pub(super) fn close(&self, token: &str) {
        let token = Digest::of(token.as_bytes());
        self.lock().retain(|session| !bool::from(session.token.0.ct_eq(&token.0)));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_with_its_time_or_a_word() {
        let (sessions, now, key) = (Sessions::default(), Instant::now(), Digest::of(b"sesame"));
        let token = sessions.open(key, now).unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(sessions.find(&token, now), Some(key));
        assert_eq!(sessions.find(&token, now + LASTS), None, "its time is over");
        assert_eq!(sessions.find(&token.to_uppercase(), now), None);
        assert_eq!(sessions.find("", now), None);
        sessions.close("nonsense");
        assert_eq!(sessions.find(&token, now), Some(key));
        sessions.close(&token);
        assert_eq!(sessions.find(&token, now), None);
    }

    #[test]
    fn there_are_few_of_them() {
        let (sessions, now, key) = (Sessions::default(), Instant::now(), Digest::of(b"sesame"));
        let tokens: Vec<_> = (0..=MOST).map(|_| sessions.open(key, now).unwrap()).collect();
        let open = |token: &String| sessions.find(token, now).is_some();
        assert!(!open(&tokens[0]) && open(&tokens[1]) && open(&tokens[MOST]));
        assert_eq!(sessions.lock().len(), MOST);
        assert_ne!(Sessions::default().cookie, sessions.cookie);
    }
}
