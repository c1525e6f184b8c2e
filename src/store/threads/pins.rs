//! Threads that are in use, and stay while they are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// By the numbers of the threads. Who removes threads holds the lock until that is on disk.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<HashMap<u64, Weak<()>>>);

/// Keeps one thread. Dropping it waits for nobody.
pub(super) type Pin = Arc<()>;

impl Pins {
    /// Keeps the thread of that number. May wait for a removal to end.
    pub(super) fn pin(&self, thread: u64) -> Pin {
        let mut pins = self.lock();
        if let Some(pin) = pins.get(&thread).and_then(Weak::upgrade) {
            return pin;
        }
        if pins.len() >= 64 {
            pins.retain(|_, pin| pin.strong_count() > 0);
        }
        let pin = Arc::new(());
        pins.insert(thread, Arc::downgrade(&pin));
        pin
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<u64, Weak<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
