//! Spans that never got to a collector.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines about it.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// Counts them, and says so once in a while.
#[derive(Debug, Default)]
pub(super) struct Losses(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Not told so far.
    spans: usize,
    why: String,
    /// What the client said of its last attempt.
    client: String,
    said: Option<Instant>,
}

impl Losses {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many were lost.
    pub(super) fn add(&self, spans: usize, why: &str) {
        let mut inner = self.lock();
        inner.spans += spans;
        why.clone_into(&mut inner.why);
        if inner.said.is_none_or(|said| said.elapsed() >= SAID_AGAIN) {
            inner.tell();
        }
    }

    /// So many were lost, as the client said.
    pub(super) fn add_failed(&self, spans: usize) {
        let why = self.lock().client.clone();
        self.add(spans, if why.is_empty() { "they could not be sent" } else { &why });
    }

    /// Why sending failed.
    pub(super) fn note(&self, why: String) {
        self.lock().client = why;
    }

    /// Says what was not said so far.
    pub(super) fn tell(&self) {
        self.lock().tell();
    }
}

impl Inner {
    fn tell(&mut self) {
        let spans = std::mem::take(&mut self.spans);
        if spans > 0 {
            self.said = Some(Instant::now());
            let error = &self.why;
            tracing::warn!(spans, error, "spans were lost");
        }
    }
}
