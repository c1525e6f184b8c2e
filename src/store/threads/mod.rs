//! Conversations that are kept for clients which send only what is new.
//!
//! A thread is a tree of turns: what the client sent, and what it was answered. Each turn is kept
//! once, under the id of its answer; who continues twice from one answer has two branches. A
//! thread belongs to an owner, the digest of the key with which it was made; for any other owner
//! it does not exist.

mod evict;
mod pins;
mod tables;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redb::{ReadableDatabase, ReadableTable};
use sha2::{Digest, Sha256};

use self::evict::Bounds;
use self::pins::{Pin, Pins};
use self::tables::{AGES, IDS, NodeRef, THREADS, TURNS, Turn, counters, expect};
use super::{OpenError, Result, Store, StoreError, Written};

/// How much is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Beyond it the threads go that nobody has continued for the longest time. In bytes, as the
    /// file holds them: long turns take up to twice their length there.
    pub max_bytes: u64,
    /// A thread that nobody has continued for that long goes.
    pub max_age: Duration,
}

/// Whose threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner([u8; 16]);

/// A turn to be kept.
#[derive(Debug, Clone)]
pub struct NewTurn {
    /// Who may continue from it.
    pub owner: Owner,
    /// The id of its answer.
    pub id: String,
    /// What it continues from; none: it begins a thread.
    pub parent: Option<At>,
    /// `system` and `tools` of a thread's beginning, as they came.
    pub inherited: Inherited,
    /// The messages of the request: the inside of a JSON list.
    pub messages: String,
    /// `content` of the answer, JSON.
    pub content: Vec<u8>,
}

/// What a continue takes from the beginning of its thread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inherited {
    /// `system`.
    pub system: Option<String>,
    /// `tools`.
    pub tools: Option<String>,
}

/// A turn that can be continued from. While this lives, its thread stays.
#[derive(Debug, Clone)]
pub struct At {
    node: NodeRef,
    _pin: Pin,
}

/// A conversation up to one answer.
#[derive(Debug, Clone)]
pub struct History {
    /// That answer.
    pub at: At,
    /// What a continue inherits.
    pub inherited: Inherited,
    /// All messages, the answers among them: the inside of a JSON list.
    pub messages: String,
    /// What the whole thread takes, in bytes.
    pub thread_bytes: u64,
}

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// There is no such turn, or not any more, or it is not this owner's.
    #[error("no such thread")]
    Unknown,
    /// It is longer than was asked for.
    #[error("the thread is longer than {0} bytes")]
    TooLong(usize),
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The threads of one file. All clones are one.
#[derive(Debug, Clone)]
pub struct Threads {
    store: Store,
    limits: Limits,
    pins: Arc<Pins>,
}

impl Threads {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// As [`OpenError`] says.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, OpenError> {
        Store::open(path).map(|store| Self::of(store, limits))
    }

    /// Those of an open file.
    pub fn of(store: Store, limits: Limits) -> Self {
        let pins = Arc::new(Pins::default());
        let bounds = Bounds { limits, pins: Arc::clone(&pins) };
        store.writer.keep_up(Box::new(move |db| bounds.keep(db, now())));
        Self { store, limits, pins }
    }

    /// The limits that it was opened with.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// A write has failed not long ago: the next one may, too.
    pub fn is_failing(&self) -> bool {
        self.store.writer.is_failing()
    }

    /// The owner that a key makes; without keys all threads have one owner.
    pub fn owner(&self, key: Option<&[u8]>) -> Owner {
        let mut hash = Sha256::new();
        hash.update(self.store.salt());
        // So that an empty key is not the same as none.
        hash.update([u8::from(key.is_some())]);
        hash.update(key.unwrap_or_default());
        let mut owner = [0; 16];
        owner.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        Owner(owner)
    }

    /// The conversation up to the answer of that id. Reads the disk: not for a thread that
    /// must not wait.
    ///
    /// # Errors
    /// It is unknown to `owner`, or its messages are longer than `room` bytes.
    pub fn history(&self, owner: Owner, id: &str, room: usize) -> Result<History, Missing> {
        let key = tables::id_key(owner, id);
        let Some(node) = self.find(&key)? else { return Err(Missing::Unknown) };
        // From here on it stays; it may have gone just before.
        let pin = self.pins.pin(node.0);
        let db = self.store.slot.get()?;
        let txn = db.begin_read().map_err(StoreError::from)?;
        let read = || -> Result<Option<(History, bool)>> {
            let (ids, turns) = (txn.open_table(IDS)?, txn.open_table(TURNS)?);
            if ids.get_owned(key.as_slice())?.map(|at| at.value()) != Some(node) {
                return Ok(None);
            }
            let row = txn.open_table(THREADS)?.get_owned(node.0)?;
            let Some((used, thread_bytes, _)) = row.map(|row| row.value()) else { return Ok(None) };
            if self.expired(used, now()) {
                return Ok(None);
            }
            let (mut chain, mut next, mut length) = (Vec::new(), Some(node.1), 0usize);
            while let Some(turn) = next {
                let value = expect(turns.get_owned((node.0, turn))?)?;
                let read = Turn::read(value.value())?;
                next = read.parent;
                if next.is_some_and(|parent| parent >= turn) {
                    return Err(StoreError::new("damaged: a turn is its own ancestor"));
                }
                // Turns without a word take time, too.
                length = length.saturating_add(read.length()).saturating_add(tables::WRAPPING);
                chain.push(value);
                if length > room {
                    break;
                }
            }
            let too_long = length > room;
            let mut history = History {
                at: At { node, _pin: pin.clone() },
                inherited: Inherited::default(),
                messages: String::with_capacity(if too_long { 0 } else { length }),
                thread_bytes,
            };
            if !too_long {
                for value in chain.iter().rev() {
                    Turn::read(value.value())?.tell(&mut history)?;
                }
            }
            Ok(Some((history, too_long)))
        };
        match read()? {
            None => Err(Missing::Unknown),
            Some((_, true)) => Err(Missing::TooLong(room)),
            Some((history, false)) => Ok(history),
        }
    }

    fn find(&self, key: &[u8]) -> Result<Option<NodeRef>> {
        let db = self.store.slot.get()?;
        let txn = db.begin_read()?;
        match txn.open_table(IDS) {
            Ok(ids) => Ok(ids.get_owned(key)?.map(|at| at.value())),
            // Nothing was ever written.
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    fn expired(&self, used: u64, now: u64) -> bool {
        now.saturating_sub(used) > self.limits.max_age.as_secs()
    }

    /// Has a turn written; it can be continued from when [`Written`] says so. Never waits.
    pub fn keep(&self, turn: NewTurn) -> Written {
        self.keep_at(turn, now())
    }

    fn keep_at(&self, turn: NewTurn, now: u64) -> Written {
        self.store.writer.write(Box::new(move |txn| {
            let (mut ids, mut turns) = (txn.open_table(IDS)?, txn.open_table(TURNS)?);
            let (mut threads, mut ages) = (txn.open_table(THREADS)?, txn.open_table(AGES)?);
            let mut counters = counters(txn)?;
            let key = tables::id_key(turn.owner, &turn.id);
            if ids.get(key.as_slice())?.is_some() {
                return Err(StoreError::new(format_args!("there is a turn {} already", turn.id)));
            }
            let (number, row) = match &turn.parent {
                Some(At { node, .. }) => {
                    let row = threads.get(node.0)?.map(|row| row.value());
                    // Pinned, so it is there.
                    (node.0, row.ok_or_else(|| StoreError::new("the thread is gone"))?)
                }
                None => (counters.next_thread()?, (now, 0, 0)),
            };
            let (used, bytes, count) = row;
            let value = Turn::write(&turn);
            let size = tables::size(value.len());
            if count > 0 {
                ages.remove((used, number))?;
            }
            let used = used.max(now);
            ages.insert((used, number), ())?;
            threads.insert(number, (used, bytes + size, count + 1))?;
            turns.insert((number, count), value.as_slice())?;
            ids.insert(key.as_slice(), (number, count))?;
            counters.add(size)
        }))
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
