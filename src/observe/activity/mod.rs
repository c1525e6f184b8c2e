//! What runs now and what ended lately, for the dashboard. Bounded; a request costs two short
//! locks, a piece of its answer one store.

mod ended;
mod live;
mod rates;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use ended::Ended;
pub use live::{Live, PREVIEW, Running};
pub use rates::{BUCKET, Point, SPAN};

use rates::Rates;

/// So many requests that ended are remembered.
pub const REMEMBERED: usize = 200;

/// One process's.
#[derive(Debug)]
pub struct Activity {
    /// The same moment on both clocks.
    began: (Instant, SystemTime),
    next: AtomicU64,
    /// Texts may be remembered.
    content: AtomicBool,
    running: Mutex<BTreeMap<u64, Arc<Running>>>,
    ended: Mutex<Past>,
    rates: Mutex<Rates>,
}

#[derive(Debug, Default)]
struct Past {
    /// How many there were.
    count: u64,
    /// The last of them, oldest first.
    last: VecDeque<Arc<Ended>>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            began: (Instant::now(), SystemTime::now()),
            next: AtomicU64::new(1),
            content: AtomicBool::new(false),
            running: Mutex::default(),
            ended: Mutex::default(),
            rates: Mutex::default(),
        }
    }
}

impl Activity {
    /// A request has come. With `content` the beginnings of its question and answer are kept.
    pub fn begin(self: &Arc<Self>, content: bool) -> Live {
        Live::new(Arc::clone(self), content)
    }

    /// Whether texts of conversations may be remembered from now on. If not, those that are known
    /// are forgotten, and requests that run leave none.
    pub fn keep_content(&self, so: bool) {
        self.content.store(so, Ordering::Release);
        if !so {
            for ended in &mut lock(&self.ended).last {
                if !ended.question.is_empty() || !ended.answer.is_empty() {
                    *ended = Arc::new(ended.without_texts());
                }
            }
        }
    }

    /// Forgets what has ended.
    pub fn forget(&self) {
        lock(&self.ended).last.clear();
        *lock(&self.rates) = Rates::default();
    }

    /// When the process began, in milliseconds since 1970.
    pub fn since(&self) -> u64 {
        self.epoch_ms(self.began.0)
    }

    /// A moment in milliseconds since 1970: the same moment is always the same number.
    pub fn epoch_ms(&self, at: Instant) -> u64 {
        let (instant, time) = self.began;
        let time = match at.checked_duration_since(instant) {
            Some(later) => time + later,
            None => time - instant.duration_since(at),
        };
        time.duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    /// The oldest of the requests that run, at most `most`, and how many there are.
    pub fn running(&self, most: usize) -> (Vec<Arc<Running>>, usize) {
        let running = lock(&self.running);
        (running.values().take(most).cloned().collect(), running.len())
    }

    /// The requests that have ended since number `after` ([`Ended::number`]), oldest first.
    pub fn ended(&self, after: u64) -> Vec<Arc<Ended>> {
        let past = lock(&self.ended);
        let new = usize::try_from(past.count.saturating_sub(after)).unwrap_or(usize::MAX);
        let skipped = past.last.len().saturating_sub(new);
        past.last.iter().skip(skipped).cloned().collect()
    }

    /// What was counted from `from` on (in milliseconds since 1970), oldest first. Times in which
    /// nothing happened are left out.
    pub fn points(&self, from: u64) -> Vec<Point> {
        let now = self.bucket(Instant::now());
        lock(&self.rates).points(now, |bucket| self.epoch_ms(self.began.0 + BUCKET * bucket), from)
    }

    fn bucket(&self, at: Instant) -> u32 {
        let passed: Duration = at.saturating_duration_since(self.began.0);
        u32::try_from(passed.as_secs() / BUCKET.as_secs()).unwrap_or(u32::MAX)
    }
}

/// A panic elsewhere leaves what is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Activity {
    fn enter(&self, running: impl FnOnce(u64) -> Running) -> Arc<Running> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let running = Arc::new(running(id));
        lock(&self.running).insert(id, Arc::clone(&running));
        running
    }

    fn leave(&self, id: u64) {
        lock(&self.running).remove(&id);
    }

    fn remember(&self, mut ended: Ended) {
        let mut past = lock(&self.ended);
        // Asked while it is locked: [`Activity::keep_content`] would miss this one otherwise.
        if !self.content.load(Ordering::Acquire) {
            ended.question.clear();
            ended.answer.clear();
        }
        past.count += 1;
        ended.number = past.count;
        let oldest = if past.last.len() >= REMEMBERED { past.last.pop_front() } else { None };
        past.last.push_back(Arc::new(ended));
        drop(past);
        drop(oldest);
    }

    fn count(&self, at: Instant, add: impl FnOnce(&mut rates::Bucket)) {
        let bucket = self.bucket(at);
        lock(&self.rates).count(bucket, add);
    }
}

#[cfg(test)]
mod tests;
