//! The configuration that counts, and how each thread comes to it.
//!
//! A configuration is never changed. A reload puts a whole new [`Shared`] in the place of the
//! old one, and each thread makes a new [`Worker`] of it when its next request comes. Requests
//! that run keep the worker that they began with, and with it their configuration.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::app::{Shared, Worker};

/// What all threads share: the newest [`Shared`], and its number, which only grows.
#[derive(Clone)]
pub(super) struct Current(Arc<Slot>);

struct Slot {
    /// Changed only while `shared` is locked.
    generation: AtomicU64,
    shared: Mutex<Shared>,
}

impl Current {
    /// The first generation: number 1.
    pub(super) fn new(shared: Shared) -> Self {
        Self(Arc::new(Slot { generation: AtomicU64::new(1), shared: Mutex::new(shared) }))
    }

    /// The newest, with its number.
    pub(super) fn get(&self) -> (u64, Shared) {
        let shared = self.0.shared.lock().unwrap_or_else(PoisonError::into_inner);
        (self.generation(), shared.clone())
    }

    pub(super) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Changes the newest before anybody uses it.
    pub(super) fn amend(&self, change: impl FnOnce(&mut Shared)) {
        change(&mut self.0.shared.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Puts what `next` makes of the newest in its place; with an error nothing changes. Its
    /// number.
    pub(super) fn replace<E>(&self, next: impl FnOnce(&Shared) -> Result<Shared, E>) -> Result<u64, E> {
        let mut shared = self.0.shared.lock().unwrap_or_else(PoisonError::into_inner);
        *shared = next(&shared)?;
        Ok(self.0.generation.fetch_add(1, Ordering::AcqRel) + 1)
    }
}

/// The newest worker of one thread.
pub(super) struct Newest {
    current: Current,
    worker: RefCell<Rc<Worker>>,
}

impl Newest {
    pub(super) fn new(current: Current) -> Self {
        let worker = RefCell::new(Rc::new(Worker::new(current.clone(), None)));
        Self { current, worker }
    }

    /// For a request that begins now. One atomic load, unless there was a reload.
    pub(super) fn worker(&self) -> Rc<Worker> {
        let worker = Rc::clone(&self.worker.borrow());
        if self.current.generation() == worker.generation {
            return worker;
        }
        let next = Rc::new(Worker::new(self.current.clone(), Some(&worker)));
        self.worker.replace(Rc::clone(&next));
        next
    }
}
