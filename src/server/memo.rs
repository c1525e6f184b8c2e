//! What was found out about something once and holds for ever: kept by what it is about, made by
//! whoever asks first.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// SHA-256 of all that the answer depends on.
pub(super) type Key = [u8; 32];

/// How long nobody tries again what has just failed.
const REST: Duration = Duration::from_secs(60);
/// What an entry costs besides its text, in bytes, about.
const ENTRY: usize = 200;

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// The text.
    Text(Arc<str>),
    /// That there is none, for ever: a text that says why.
    Hopeless(Arc<str>),
    /// Nothing, for now.
    Failed,
}

impl Finding {
    fn size(&self) -> usize {
        match self {
            Self::Text(text) | Self::Hopeless(text) => text.len(),
            Self::Failed => 0,
        }
    }
}

/// Findings of all threads. Bounded: what was not asked for longest is forgotten.
#[derive(Debug)]
pub(super) struct Memo {
    kept: Mutex<Kept>,
    /// Most that it holds, in bytes.
    most: usize,
}

#[derive(Debug, Default)]
struct Kept {
    slots: HashMap<Key, Slot>,
    bytes: usize,
    /// Grows with each use.
    clock: u64,
}

#[derive(Debug)]
enum Slot {
    Found {
        finding: Finding,
        used: u64,
        since: Instant,
    },
    /// Somebody is finding it out; tells when that is over, one way or the other.
    Underway(Arc<Notify>),
}

/// Whose turn it is.
enum Turn<'m> {
    Found(Finding),
    Wait(Pin<Box<OwnedNotified>>),
    Ours(Finder<'m>),
}

impl Memo {
    pub(super) fn new(most: usize) -> Self {
        Self { kept: Mutex::default(), most }
    }

    /// What is known of it by now. Nobody is asked.
    pub(super) fn known(&self, key: &Key) -> Option<Finding> {
        self.lock().look(key)
    }

    /// What is known of it, or what `find` finds out. Many that ask at once find it out once: if
    /// the one that does is dropped, another takes its place.
    pub(super) async fn get(&self, key: Key, find: impl AsyncFnOnce() -> Finding) -> Finding {
        loop {
            match self.turn(key) {
                Turn::Found(finding) => return finding,
                Turn::Ours(finder) => return finder.found(find().await),
                Turn::Wait(over) => over.await,
            }
        }
    }

    fn turn(&self, key: Key) -> Turn<'_> {
        let mut kept = self.lock();
        if let Some(finding) = kept.look(&key) {
            return Turn::Found(finding);
        }
        if let Some(Slot::Underway(over)) = kept.slots.get(&key) {
            // Made before the lock is given back: it is told whatever comes now.
            return Turn::Wait(Box::pin(Arc::clone(over).notified_owned()));
        }
        kept.slots.insert(key, Slot::Underway(Arc::default()));
        Turn::Ours(Finder { memo: self, key, finding: None })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn look(&mut self, key: &Key) -> Option<Finding> {
        self.clock += 1;
        let clock = self.clock;
        match self.slots.get_mut(key)? {
            Slot::Underway(_) => None,
            Slot::Found { finding: Finding::Failed, since, .. } if since.elapsed() >= REST => {
                self.remove(key);
                None
            }
            Slot::Found { finding, used, .. } => {
                *used = clock;
                Some(finding.clone())
            }
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(Slot::Found { finding, .. }) = self.slots.remove(key) {
            self.bytes -= finding.size() + ENTRY;
        }
    }

    fn keep(&mut self, key: Key, finding: Finding, most: usize) {
        self.clock += 1;
        self.bytes += finding.size() + ENTRY;
        self.slots.insert(key, Slot::Found { finding, used: self.clock, since: Instant::now() });
        while self.bytes > most {
            let oldest = self.slots.iter().filter_map(|(key, slot)| match slot {
                Slot::Found { used, .. } => Some((*used, *key)),
                Slot::Underway(_) => None,
            });
            let Some((_, oldest)) = oldest.min() else { return };
            self.remove(&oldest);
        }
    }
}

/// Finds it out; dropped before, it leaves that to the next.
struct Finder<'m> {
    memo: &'m Memo,
    key: Key,
    finding: Option<Finding>,
}

impl Finder<'_> {
    fn found(mut self, finding: Finding) -> Finding {
        self.finding = Some(finding.clone());
        finding
    }
}

impl Drop for Finder<'_> {
    fn drop(&mut self) {
        let mut kept = self.memo.lock();
        let underway = kept.slots.remove(&self.key);
        if let Some(finding) = self.finding.take() {
            kept.keep(self.key, finding, self.memo.most);
        }
        drop(kept);
        if let Some(Slot::Underway(over)) = underway {
            over.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use super::*;
    use futures_util::FutureExt;
    use futures_util::future::join_all;

    const KEY: Key = [1; 32];

    fn text(text: &str) -> Finding {
        Finding::Text(text.into())
    }

    #[actix_rt::test]
    async fn many_that_ask_at_once_ask_once() {
        let memo = Memo::new(1000);
        let asked = Cell::new(0);
        let find = async || {
            asked.set(asked.get() + 1);
            tokio::task::yield_now().await;
            text("found")
        };
        let all = join_all((0..25).map(|_| memo.get(KEY, find))).await;
        assert!(all.iter().all(|f| *f == text("found")));
        assert_eq!(memo.get(KEY, find).await, text("found"));
        assert_eq!(asked.get(), 1);
        assert_eq!(memo.known(&KEY), Some(text("found")));
        assert_eq!(memo.known(&[2; 32]), None);
    }

    #[actix_rt::test]
    async fn another_takes_the_place_of_one_that_left() {
        let memo = Memo::new(1000);
        let mut first = Box::pin(memo.get(KEY, async || pending().await));
        let mut second = Box::pin(memo.get(KEY, async || text("second")));
        assert_eq!(((&mut first).now_or_never(), (&mut second).now_or_never()), (None, None));
        drop(first);
        assert_eq!(second.now_or_never(), Some(text("second")));
    }

    #[actix_rt::test]
    async fn a_failure_is_kept_for_a_while() {
        let memo = Memo::new(1000);
        assert_eq!(memo.get(KEY, async || Finding::Failed).await, Finding::Failed);
        assert_eq!(memo.get(KEY, async || text("no")).await, Finding::Failed);
        if let Some(Slot::Found { since, .. }) = memo.lock().slots.get_mut(&KEY) {
            *since = Instant::now().checked_sub(REST).unwrap();
        }
        assert_eq!(memo.get(KEY, async || text("again")).await, text("again"));
    }

    #[actix_rt::test]
    async fn what_was_not_asked_for_longest_is_forgotten() {
        let memo = Memo::new(3 * (ENTRY + 10));
        let key = |n: u8| [n; 32];
        for n in 0..3 {
            memo.get(key(n), async || text("0123456789")).await;
        }
        assert!(memo.known(&key(0)).is_some());
        memo.get(key(3), async || text("0123456789")).await;
        let known: Vec<_> = (0..4).filter(|n| memo.known(&key(*n)).is_some()).collect();
        assert_eq!(known, [0, 2, 3]);
        assert_eq!(memo.lock().bytes, 3 * (ENTRY + 10));
        // What is too large for all of it is told, and not kept.
        assert_eq!(memo.get(key(9), async || text(&"x".repeat(5000))).await, text(&"x".repeat(5000)));
        assert_eq!(memo.lock().bytes, 0);
        assert!(memo.lock().slots.is_empty());
    }
}
