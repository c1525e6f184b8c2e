//! The open database, which is opened anew after the disk has failed: until then it refuses
//! everything.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use redb::Database;

use super::{OpenError, Result, StoreError};

/// Opens the file that is there already.
pub(super) type Open = Box<dyn Fn() -> Result<Database, OpenError> + Send + Sync>;

/// How long those who read may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Slot {
    db: RwLock<Option<Arc<Database>>>,
    open: Open,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl Slot {
    pub(super) fn new(db: Database, open: Open) -> Self {
        Self { db: RwLock::new(Some(Arc::new(db))), open }
    }

    /// The database, for one read or write and no longer.
    pub(super) fn get(&self) -> Result<Arc<Database>> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner).clone();
        db.ok_or_else(|| StoreError::new("it is closed since the disk failed"))
    }

    /// Closes it and opens it again, from what is on disk.
    #[expect(clippy::disallowed_methods, reason = "a thread of its own")]
    pub(super) fn reopen(&self) -> Result<()> {
        let mut slot = self.db.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(db) = slot.take() {
            let mut left = PATIENCE;
            // Nobody comes to it any more; who has it is soon done.
            while Arc::strong_count(&db) > 1 {
                if left.is_zero() {
                    *slot = Some(db);
                    return Err(StoreError::new("it is still read"));
                }
                let step = Duration::from_millis(5);
                thread::sleep(step);
                left = left.saturating_sub(step);
            }
        }
        let db = (self.open)().map_err(StoreError::new)?;
        *slot = Some(Arc::new(db));
        Ok(())
    }
}
