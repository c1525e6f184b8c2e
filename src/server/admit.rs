//! How many at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::http::header::{HeaderValue, RETRY_AFTER};

use super::intake::Unfinished;
use super::reply::Refusal;
use crate::wire::anthropic::{ApiError, ErrorKind};

/// Counts running requests over all workers.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    running: Arc<AtomicUsize>,
    most: usize,
}

/// Tells how many requests run.
#[derive(Debug, Clone)]
pub struct Load {
    running: Arc<AtomicUsize>,
    unfinished: Unfinished,
}

impl Load {
    /// Requests that were admitted and are not answered whole.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// Requests whose body has not come to its end.
    pub fn receiving(&self) -> usize {
        self.unfinished.bodies()
    }
}

/// One running request. Dropping it makes room for the next.
#[derive(Debug)]
pub(super) struct Permit(Arc<AtomicUsize>);

impl Gate {
    pub(super) fn new(most: usize) -> Self {
        Self { running: Arc::default(), most }
    }

    /// The same count with another limit.
    pub(super) fn with_limit(&self, most: usize) -> Self {
        Self { running: Arc::clone(&self.running), most }
    }

    /// Most that may run.
    pub(super) fn limit(&self) -> usize {
        self.most
    }

    /// How many run now.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// Tells how many run, whenever it is asked.
    pub(super) fn load(&self, unfinished: &Unfinished) -> Load {
        Load { running: Arc::clone(&self.running), unfinished: unfinished.clone() }
    }

    /// Room for one more, or 529 at once: a queue would only hide the overload.
    pub(super) fn admit(&self) -> Result<Permit, Refusal> {
        let before = self.running.fetch_add(1, Ordering::AcqRel);
        let permit = Permit(Arc::clone(&self.running));
        if before < self.most {
            return Ok(permit);
        }
        drop(permit);
        Err(self.full())
    }

    /// Whether there is room now. Asked before a body is read, so that none is read in vain; the
    /// room itself is taken when the body is whole, and a client that dribbles takes none.
    pub(super) fn has_room(&self) -> Result<(), Refusal> {
        if self.running.load(Ordering::Acquire) < self.most { Ok(()) } else { Err(self.full()) }
    }

    fn full(&self) -> Refusal {
        let message =
            format!("{} requests are running already (max_concurrent_requests); try again", self.most);
        let refusal = Refusal::from(ApiError::new(529, ErrorKind::Overloaded, message));
        refusal.with(RETRY_AFTER, Some(HeaderValue::from_static("1")))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::super::intake::Unfinished;
    use super::Gate;

    #[test]
    fn a_dropped_permit_makes_room() {
        let gate = Gate::new(2);
        let (a, _b) = (gate.admit().unwrap(), gate.admit().unwrap());
        assert_eq!(gate.admit().unwrap_err().error.status, 529);
        assert!(gate.admit().is_err() && gate.has_room().is_err(), "a refusal takes no room");
        drop(a);
        assert!(gate.has_room().is_ok() && gate.has_room().is_ok(), "asking takes none");
        assert!(gate.admit().is_ok());
    }

    #[test]
    fn another_limit_counts_who_runs_already() {
        let two = Gate::new(2);
        let (a, b) = (two.admit().unwrap(), two.admit().unwrap());
        let three = two.with_limit(3);
        let c = three.admit().unwrap();
        assert!(three.admit().is_err());
        let one = three.with_limit(1);
        drop((a, b));
        assert!(one.admit().is_err(), "one still runs");
        drop(c);
        assert!(one.admit().is_ok());
        assert_eq!(two.load(&Unfinished::default()).running(), 0);
    }
}
