//! One thread writes, and what came meanwhile with it: many writes cost one `fsync`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redb::{Database, WriteTransaction};
use tokio::sync::oneshot;

use super::slot::Slot;
use super::{Result, StoreError};

/// Most writes that share one transaction.
const BATCH: usize = 256;
/// Between two looks at what is due, if nobody writes.
const LOOK: Duration = Duration::from_secs(15 * 60);
/// After a write that failed, for that long nobody should count on the next.
const PAUSE: Duration = Duration::from_secs(30);

/// A write. Called again in a transaction of its own if it, or one beside it, fails.
pub(super) type Write = Box<dyn FnMut(&WriteTransaction) -> Result<()> + Send>;
/// What is done between writes.
pub(super) type Upkeep = Box<dyn FnMut(&Database) -> Result<()> + Send>;

/// Tells whether a write is on disk. An error of the channel: it is not known.
pub type Written = oneshot::Receiver<Result<(), StoreError>>;

/// Told what became of a write, by the thread that did it.
pub(super) type Done = Box<dyn FnOnce(Result<()>) + Send>;

struct Job {
    write: Write,
    done: Done,
}

/// When the last write failed, in ms since the thread began, plus 1; 0: it did not.
#[derive(Debug)]
struct Failing {
    began: Instant,
    last: AtomicU64,
}

impl Failing {
    fn note(&self, failed: bool) {
        let now = self.began.elapsed().as_millis() as u64 + 1;
        self.last.store(if failed { now } else { 0 }, Ordering::Relaxed);
    }

    fn is_noted(&self) -> bool {
        self.last.load(Ordering::Relaxed) > 0
    }

    fn is_recent(&self) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        last > 0 && self.began.elapsed() < Duration::from_millis(last) + PAUSE
    }
}

/// The way to the thread. When the last clone goes, it ends, after what it was given.
#[derive(Clone)]
pub(super) struct Writer(Arc<Inner>);

struct Inner {
    failing: Arc<Failing>,
    upkeep: Arc<Mutex<Vec<Upkeep>>>,
    jobs: Mutex<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        *self.jobs.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It panicked or it did not: there is nobody to tell.
            drop(thread.join());
        }
    }
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(slot: Arc<Slot>) -> std::io::Result<Self> {
        let (jobs, coming) = channel();
        let failing = Arc::new(Failing { began: Instant::now(), last: AtomicU64::new(0) });
        let noted = Arc::clone(&failing);
        let upkeep = Arc::new(Mutex::new(Vec::new()));
        let due = Arc::clone(&upkeep);
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || run(&slot, &coming, &noted, &due))?;
        let inner = Inner { failing, upkeep, jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) };
        Ok(Self(Arc::new(inner)))
    }

    /// A write has failed less than [`PAUSE`] ago, and none succeeded since.
    pub(super) fn is_failing(&self) -> bool {
        self.0.failing.is_recent()
    }

    /// From now on this is done after writes, and once in a while without.
    pub(super) fn keep_up(&self, upkeep: Upkeep) {
        self.0.upkeep.lock().unwrap_or_else(PoisonError::into_inner).push(upkeep);
    }

    /// Has it written. Never waits; dropping what it gives does not take the write back.
    pub(super) fn write(&self, write: Write) -> Written {
        let (done, written) = oneshot::channel();
        // Who asked may have left. Without a thread the channel tells.
        self.write_then(write, Box::new(move |written| drop(done.send(written))));
        written
    }

    /// Has it written, and tells `done`. Never waits; without a thread nobody is told.
    pub(super) fn write_then(&self, write: Write, done: Done) {
        if let Some(jobs) = &*self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            drop(jobs.send(Job { write, done }));
        }
    }
}

fn run(slot: &Slot, coming: &Receiver<Job>, failing: &Failing, upkeep: &Mutex<Vec<Upkeep>>) {
    loop {
        match coming.recv_timeout(LOOK) {
            Ok(first) => {
                let mut jobs = vec![first];
                jobs.extend(coming.try_iter().take(BATCH - 1));
                if failing.is_noted()
                    && let Err(error) = slot.reopen()
                {
                    tracing::warn!(%error, "the database could not be opened again");
                }
                write(slot, jobs, failing);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        for upkeep in &mut *upkeep.lock().unwrap_or_else(PoisonError::into_inner) {
            if let Err(error) = slot.get().and_then(|db| upkeep(&db)) {
                tracing::warn!(%error, "old threads could not be removed");
            }
        }
    }
}

fn write(slot: &Slot, mut jobs: Vec<Job>, failing: &Failing) {
    let written = together(slot, jobs.iter_mut().map(|job| &mut job.write));
    failing.note(written.is_err());
    if written.is_ok() || jobs.len() == 1 {
        let mut written = Some(written);
        for job in jobs {
            (job.done)(written.take().unwrap_or(Ok(())));
        }
        return;
    }
    // One of them cannot be written: the others must not suffer.
    for mut job in jobs {
        let written = together(slot, std::iter::once(&mut job.write));
        failing.note(written.is_err());
        (job.done)(written);
    }
}

/// All of them are on disk, or none.
fn together<'w>(slot: &Slot, writes: impl Iterator<Item = &'w mut Write>) -> Result<()> {
    let db = slot.get()?;
    let txn = db.begin_write()?;
    for write in writes {
        // Dropping the transaction takes all back.
        write(&txn)?;
    }
    txn.commit().map_err(StoreError::from)
}
