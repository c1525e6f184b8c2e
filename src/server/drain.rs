//! Ending without cutting anybody off.
//!
//! SIGTERM: `/ready` says 503 for a moment while the load balancer looks away, then nothing
//! new is accepted and running requests go on; at the deadline each open stream gets an
//! `overloaded_error` event, which clients answer by asking again elsewhere.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::wire::anthropic::{ApiError, ErrorKind};

const DRAINING: u8 = 1;
const FORCED: u8 = 2;

/// Where the server is on its way out; one for all workers.
#[derive(Debug, Clone, Default)]
pub(super) struct Drain {
    phase: Arc<AtomicU8>,
    forced: Arc<Notify>,
}

impl Drain {
    /// From now on `/ready` says no.
    pub(super) fn begin(&self) {
        self.phase.fetch_max(DRAINING, Ordering::AcqRel);
    }

    /// The deadline: what still runs is ended.
    pub(super) fn force(&self) {
        self.phase.fetch_max(FORCED, Ordering::AcqRel);
        self.forced.notify_waiters();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.phase.load(Ordering::Acquire) >= DRAINING
    }

    pub(super) fn is_forced(&self) -> bool {
        self.phase.load(Ordering::Acquire) >= FORCED
    }

    /// Wakes at the deadline. Ask [`Drain::is_forced`] after making it, not before.
    pub(super) fn deadline(&self) -> Pin<Box<OwnedNotified>> {
        Box::pin(Arc::clone(&self.forced).notified_owned())
    }

    /// Runs `work` unless the deadline comes first.
    pub(super) async fn bound<T>(&self, work: impl Future<Output = T>) -> Result<T, ApiError> {
        let deadline = self.deadline();
        if self.is_forced() {
            return Err(shutting_down());
        }
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = deadline => Err(shutting_down()),
        }
    }
}

/// What those get who are still there at the deadline.
pub(super) fn shutting_down() -> ApiError {
    ApiError::new(529, ErrorKind::Overloaded, "the proxy is shutting down; try again")
}
