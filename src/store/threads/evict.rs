//! What goes: threads that nobody has continued for too long, and the oldest where there are
//! too many.

use std::sync::{Arc, Weak};

use redb::{Database, ReadableDatabase, ReadableTable, TableError};

use super::Limits;
use super::pins::Pins;
use super::tables::{AGES, IDS, THREADS, TURNS, Turn, bytes, counters};
use crate::store::Result;
use crate::store::file::META;

/// Most threads that one transaction removes: others wait for it.
const BATCH: usize = 256;

pub(super) struct Bounds {
    pub(super) limits: Limits,
    pub(super) pins: Arc<Pins>,
}

impl Bounds {
    /// Removes what is too old or too much. Two look-ups where there is nothing to do.
    pub(super) fn keep(&self, db: &Database, now: u64) -> Result<()> {
        while self.is_due(db, now)? {
            // Nobody comes to a thread while it goes.
            let pins = self.pins.lock();
            let txn = db.begin_write()?;
            let mut removed = 0;
            {
                let (mut ids, mut turns) = (txn.open_table(IDS)?, txn.open_table(TURNS)?);
                let (mut threads, mut ages) = (txn.open_table(THREADS)?, txn.open_table(AGES)?);
                let mut counters = counters(&txn)?;
                let mut held = counters.bytes()?;
                // A little less, so that not each turn makes one go.
                let max = self.limits.max_bytes;
                let enough = if held > max { max - max / 16 } else { max };
                let mut going = Vec::new();
                for age in ages.iter()? {
                    let (used, thread) = age?.0.value();
                    if (held <= enough && !self.is_old(used, now)) || going.len() >= BATCH {
                        break;
                    }
                    if pins.get(&thread).map_or(0, Weak::strong_count) > 0 {
                        continue;
                    }
                    let size = threads.get(thread)?.map_or(0, |row| row.value().1);
                    held = held.saturating_sub(size);
                    going.push((used, thread, size));
                }
                for (used, thread, size) in going {
                    for turn in turns.extract_from_if((thread, 0)..=(thread, u32::MAX), |_, _| true)? {
                        ids.remove(Turn::read(turn?.1.value())?.key)?;
                    }
                    threads.remove(thread)?;
                    ages.remove((used, thread))?;
                    counters.subtract(size)?;
                    removed += 1;
                }
            }
            if removed == 0 {
                // What is left is in use.
                return Ok(());
            }
            txn.commit()?;
            drop(pins);
            tracing::debug!(removed, "old threads are gone");
        }
        Ok(())
    }

    fn is_due(&self, db: &Database, now: u64) -> Result<bool> {
        let txn = db.begin_read()?;
        let ages = match txn.open_table(AGES) {
            Ok(ages) => ages,
            Err(TableError::TableDoesNotExist(_)) => return Ok(false),
            Err(other) => return Err(other.into()),
        };
        let oldest = ages.first()?.map(|(age, _)| age.value().0);
        Ok(oldest.is_some_and(|used| self.is_old(used, now))
            || bytes(&txn.open_table(META)?)? > self.limits.max_bytes)
    }

    fn is_old(&self, used: u64, now: u64) -> bool {
        now.saturating_sub(used) > self.limits.max_age.as_secs()
    }
}
