//! What was spent, by day and key.
//!
//! The sums are in memory, and on disk as they were at the last commit: what is added is written
//! by the thread that writes, together with all that came meanwhile. Whole sums are written and
//! not what is added, so that no write can count twice. Who is killed loses what was added while
//! the last commit ran, some milliseconds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::{Result, Store};

/// Day and name of a key: the sum.
const SPENT: TableDefinition<'_, (u64, &str), u128> = TableDefinition::new("spent");
/// Of so many days, on which something was spent, sums are kept. They are counted and not
/// reckoned from today, so that a clock which jumps ahead for a moment removes one of them.
const DAYS: usize = 40;
/// At the end a disk that takes longer than this to write is as good as none.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sums of one file. All clones are one.
#[derive(Clone)]
pub struct Spent {
    store: Store,
    book: Arc<Mutex<Book>>,
}

type Key = (u64, Arc<str>);

#[derive(Default)]
struct Book {
    days: BTreeMap<u64, HashMap<Arc<str>, u128>>,
    /// Sums that are not known to be on disk.
    unwritten: HashSet<Key>,
    /// A write is on its way, and has not looked at them yet.
    queued: bool,
    /// The last write failed.
    failed: bool,
}

impl fmt::Debug for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spent")
    }
}

impl Book {
    fn sum(&self, day: u64, name: &str) -> u128 {
        self.days.get(&day).and_then(|names| names.get(name)).copied().unwrap_or_default()
    }

    /// Lets days go that are too many. The first day that is kept, if one went.
    fn forget(&mut self) -> Option<u64> {
        let mut went = false;
        while self.days.len() > DAYS {
            self.days.pop_first();
            went = true;
        }
        let first = *self.days.first_key_value()?.0;
        self.unwritten.retain(|(day, _)| *day >= first);
        went.then_some(first)
    }
}

impl Spent {
    /// Those of an open file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(store: Store) -> Result<Self> {
        let mut book = Book::default();
        {
            let db = store.slot.get()?;
            let txn = db.begin_read()?;
            match txn.open_table(SPENT) {
                Ok(table) => {
                    for row in table.iter()? {
                        let (key, sum) = row?;
                        let (day, name) = key.value();
                        book.days.entry(day).or_default().insert(name.into(), sum.value());
                    }
                }
                // Nothing was ever spent.
                Err(TableError::TableDoesNotExist(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Ok(Self { store, book: Arc::new(Mutex::new(book)) })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// What was spent on that day, in the unit in which it was added.
    pub fn sum(&self, day: u64, name: &str) -> u128 {
        self.book().sum(day, name)
    }

    /// Adds to it. On disk soon; never waits.
    pub fn add(&self, day: u64, name: &Arc<str>, more: u128) {
        let mut book = self.book();
        let sum = book.days.entry(day).or_default().entry(Arc::clone(name)).or_default();
        *sum = sum.saturating_add(more);
        book.unwritten.insert((day, Arc::clone(name)));
        if !std::mem::replace(&mut book.queued, true) {
            drop(book);
            self.write();
        }
    }

    fn write(&self) {
        // What the latest transaction was given.
        let given: Arc<Mutex<Vec<(Key, u128)>>> = Arc::default();
        let (book, to_give) = (Arc::clone(&self.book), Arc::clone(&given));
        let write = Box::new(move |txn: &redb::WriteTransaction| {
            let (rows, first) = {
                let mut book = lock(&book);
                book.queued = false;
                let first = book.forget();
                let rows = book.unwritten.iter().map(|key| (key.clone(), book.sum(key.0, &key.1)));
                (rows.collect::<Vec<_>>(), first)
            };
            let mut table = txn.open_table(SPENT)?;
            for ((day, name), sum) in &rows {
                table.insert((*day, &**name), sum)?;
            }
            if let Some(first) = first {
                table.retain_in(..(first, ""), |_, _| false)?;
            }
            *lock(&to_give) = rows;
            Ok(())
        });
        let book = Arc::clone(&self.book);
        let done = Box::new(move |written: Result<()>| {
            let mut book = lock(&book);
            let failed = written.is_err();
            if let Err(error) = written {
                if !book.failed {
                    tracing::error!(%error, "what was spent could not be written: budgets hold, but a restart would forget it");
                }
            } else {
                for (key, sum) in lock(&given).drain(..) {
                    tracing::debug!(key = %key.1, day = key.0, picos = %sum, "a sum of what was spent is on disk");
                    if book.sum(key.0, &key.1) == sum {
                        book.unwritten.remove(&key);
                    }
                }
            }
            book.failed = failed;
        });
        self.store.writer.write_then(write, done);
    }

    /// Waits until all that was added is on disk; not for ever.
    pub async fn flush(&self) {
        self.book().queued = true;
        self.write();
        // It is behind the others.
        let nothing = self.store.writer.write(Box::new(|_| Ok(())));
        if tokio::time::timeout(PATIENCE, nothing).await.is_err() {
            tracing::error!("what was spent could not be written in {} s", PATIENCE.as_secs());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::store::disk::Disk;
    use crate::store::threads::{Limits, Threads};

    fn open(dir: &Path) -> Spent {
        Spent::of(Store::open(&dir.join("spent.redb")).unwrap()).unwrap()
    }

    fn name(name: &str) -> Arc<str> {
        name.into()
    }

    #[test]
    fn sums_outlive_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let spent = open(dir.path());
        assert_eq!(spent.sum(1, "a"), 0);
        for n in 1..=100 {
            spent.add(1, &name("a"), n);
            spent.add(1, &name("b"), 1);
            spent.add(2, &name("a"), 2);
        }
        let sums = |spent: &Spent| [(1, "a"), (1, "b"), (2, "a"), (2, "b")].map(|(d, n)| spent.sum(d, n));
        assert_eq!(sums(&spent), [5050, 100, 200, 0]);
        // The thread ends after what it was given.
        drop(spent);
        let spent = open(dir.path());
        assert_eq!(sums(&spent), [5050, 100, 200, 0]);
        spent.add(1, &name("a"), 1);
        drop(spent);
        assert_eq!(open(dir.path()).sum(1, "a"), 5051);
    }

    #[test]
    fn flushed_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let spent = open(dir.path());
        spent.add(7, &name("a"), u128::MAX);
        spent.add(7, &name("a"), 1);
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(spent.flush());
        assert!(spent.book().unwritten.is_empty());
        let db = spent.store.slot.get().unwrap();
        let table = db.begin_read().unwrap().open_table(SPENT).unwrap();
        assert_eq!(table.get((7, "a")).unwrap().unwrap().value(), u128::MAX);
    }

    #[test]
    fn forty_days_are_kept_whatever_the_clock_does() {
        let dir = tempfile::tempdir().unwrap();
        let spent = open(dir.path());
        for day in 100..160 {
            spent.add(day, &name("a"), 1);
        }
        // A clock that was wrong for a moment, and right again.
        spent.add(99_999, &name("a"), 1);
        spent.add(159, &name("a"), 1);
        drop(spent);
        let spent = open(dir.path());
        let days: Vec<u64> = spent.book().days.keys().copied().collect();
        assert_eq!(days, (121..160).chain([99_999]).collect::<Vec<_>>());
        assert_eq!(spent.sum(159, "a"), 2);
    }

    #[test]
    fn a_disk_that_fails_is_caught_up_with() {
        let disk = Disk::default();
        let spent = Spent::of(Store::over_backend(disk.clone()).unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let flush = || runtime.block_on(spent.flush());
        spent.add(1, &name("a"), 1);
        flush();
        disk.1.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            spent.add(1, &name("a"), 10);
            spent.add(2, &name("b"), 10);
            flush();
        }
        // It holds in memory.
        assert_eq!((spent.sum(1, "a"), spent.sum(2, "b")), (31, 30));
        assert_eq!(spent.book().unwritten.len(), 2);
        disk.1.store(false, Ordering::Relaxed);
        spent.add(3, &name("c"), 1);
        flush();
        assert!(spent.book().unwritten.is_empty());
        drop(spent);
        let again = Spent::of(Store::over_backend(disk).unwrap()).unwrap();
        assert_eq!((again.sum(1, "a"), again.sum(2, "b"), again.sum(3, "c")), (31, 30, 1));
    }

    #[test]
    fn a_power_failure_takes_no_sum_that_was_on_disk_and_doubles_none() {
        let disk = Disk::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        // After which operation of the disk each sum was there.
        let mut there = Vec::new();
        {
            let spent = Spent::of(Store::over_backend(disk.clone()).unwrap()).unwrap();
            for _ in 0..40 {
                spent.add(1, &name("a"), 1);
                runtime.block_on(spent.flush());
                there.push(disk.lock().1.len());
            }
        }
        let (created, all) = (there[0], disk.lock().1.len());
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for cut in (created..=all).step_by(3) {
            let failed = disk.after_failure(cut, || {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                random >> 63 == 1
            });
            let spent = Spent::of(Store::over_backend(failed).unwrap()).unwrap();
            let least = there.iter().filter(|at| **at <= cut).count() as u128;
            let sum = spent.sum(1, "a");
            assert!((least..=least + 1).contains(&sum), "cut at {cut}: {least}, there {sum}");
        }
    }

    #[test]
    fn a_file_has_threads_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("both.redb")).unwrap();
        let limits = Limits { max_bytes: 1 << 20, max_age: Duration::from_secs(60) };
        let threads = Threads::of(store.clone(), limits);
        let spent = Spent::of(store).unwrap();
        spent.add(1, &name("a"), 5);
        assert!(!threads.is_failing());
        drop((spent, threads));
        let store = Store::open(&dir.path().join("both.redb")).unwrap();
        assert_eq!(Spent::of(store).unwrap().sum(1, "a"), 5);
    }
}
