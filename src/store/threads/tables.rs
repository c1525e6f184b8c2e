//! What the tables hold, and how.

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::{History, NewTurn, Owner};
use crate::store::file::META;
use crate::store::{Result, StoreError};

/// A turn: the number of its thread, and its own in it.
pub(super) type NodeRef = (u64, u32);

/// Turns by their numbers, in the form of [`Turn`].
pub(super) const TURNS: TableDefinition<'_, NodeRef, &[u8]> = TableDefinition::new("turns");
/// Turns by owner and id of the answer: see [`id_key`].
pub(super) const IDS: TableDefinition<'_, &[u8], NodeRef> = TableDefinition::new("turn_ids");
/// Threads by number: seconds since 1970 when it was last continued, bytes that it takes, turns.
pub(super) const THREADS: TableDefinition<'_, u64, (u64, u64, u32)> = TableDefinition::new("threads");
/// When each was last continued, and its number.
pub(super) const AGES: TableDefinition<'_, (u64, u64), ()> = TableDefinition::new("thread_ages");

/// What a turn without a word takes while a history is read, in bytes.
pub(super) const WRAPPING: usize = 256;

pub(super) fn id_key(owner: Owner, id: &str) -> Vec<u8> {
    [&owner.0, id.as_bytes()].concat()
}

/// What a turn takes in the file: values that are longer than a page get a power of two of pages.
pub(super) fn size(value: usize) -> u64 {
    let value = value as u64;
    256 + if value > 3072 { (value + 64).next_power_of_two() } else { value }
}

/// A turn, as it stands in [`TURNS`]: the parent's number, then five texts, each with its length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn<'a> {
    pub(super) parent: Option<u32>,
    /// Of the answer.
    pub(super) key: &'a [u8],
    system: Option<&'a [u8]>,
    tools: Option<&'a [u8]>,
    messages: &'a [u8],
    content: &'a [u8],
}

/// Stands for none, as a number and as a length.
const NONE: u32 = u32::MAX;

impl<'a> Turn<'a> {
    pub(super) fn write(turn: &NewTurn) -> Vec<u8> {
        let key = id_key(turn.owner, &turn.id);
        let parts = [
            Some(key.as_slice()),
            turn.inherited.system.as_deref().map(str::as_bytes),
            turn.inherited.tools.as_deref().map(str::as_bytes),
            Some(turn.messages.as_bytes()),
            Some(&turn.content),
        ];
        let length: usize = parts.iter().flatten().map(|part| part.len()).sum();
        let mut out = Vec::with_capacity(length + 24);
        let parent = turn.parent.as_ref().map_or(NONE, |at| at.node.1);
        out.extend_from_slice(&parent.to_le_bytes());
        for part in parts {
            let length = part.map_or(NONE, |part| part.len() as u32);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(part.unwrap_or_default());
        }
        out
    }

    pub(super) fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut rest = bytes;
        let number = |rest: &mut &'a [u8]| -> Result<Option<u32>> {
            let (number, after) = rest.split_first_chunk().ok_or_else(damaged)?;
            *rest = after;
            Ok(Some(u32::from_le_bytes(*number)).filter(|n| *n != NONE))
        };
        let parent = number(&mut rest)?;
        let mut part = || -> Result<Option<&'a [u8]>> {
            let Some(length) = number(&mut rest)? else { return Ok(None) };
            let (part, after) = rest.split_at_checked(length as usize).ok_or_else(damaged)?;
            rest = after;
            Ok(Some(part))
        };
        Ok(Self {
            parent,
            key: part()?.ok_or_else(damaged)?,
            system: part()?,
            tools: part()?,
            messages: part()?.ok_or_else(damaged)?,
            content: part()?.ok_or_else(damaged)?,
        })
    }

    /// Bytes that it adds to a history.
    pub(super) fn length(&self) -> usize {
        [self.system.unwrap_or_default(), self.tools.unwrap_or_default(), self.messages, self.content]
            .iter()
            .map(|part| part.len())
            .sum()
    }

    /// Goes on with a history.
    pub(super) fn tell(&self, history: &mut History) -> Result<()> {
        for (to, from) in
            [(&mut history.inherited.system, self.system), (&mut history.inherited.tools, self.tools)]
        {
            if let Some(from) = from {
                *to = Some(text(from)?.to_owned());
            }
        }
        let out = &mut history.messages;
        let mut message = |parts: [&str; 3]| {
            if !out.is_empty() {
                out.push(',');
            }
            out.extend(parts);
        };
        if !self.messages.is_empty() {
            message(["", text(self.messages)?, ""]);
        }
        // An answer without a word is no message.
        if self.content != b"[]" {
            message([r#"{"role":"assistant","content":"#, text(self.content)?, "}"]);
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| damaged())
}

fn damaged() -> StoreError {
    StoreError::new("damaged: a turn cannot be read")
}

/// What has to be there.
pub(super) fn expect<T>(found: Option<T>) -> Result<T> {
    found.ok_or_else(|| StoreError::new("damaged: a turn is missing"))
}

/// Numbers about all threads.
pub(super) struct Counters<'t>(Table<'t, &'static str, &'static [u8]>);

const BYTES: &str = "threads_bytes";
const NEXT: &str = "threads_next";

pub(super) fn counters(txn: &WriteTransaction) -> Result<Counters<'_>> {
    Ok(Counters(txn.open_table(META)?))
}

impl Counters<'_> {
    fn change(&mut self, name: &'static str, next: impl FnOnce(u64) -> u64) -> Result<u64> {
        let was = count(self.0.get(name)?.map(|value| value.value().to_vec()).as_deref());
        self.0.insert(name, next(was).to_le_bytes().as_slice())?;
        Ok(was)
    }

    /// A number that no thread has had.
    pub(super) fn next_thread(&mut self) -> Result<u64> {
        self.change(NEXT, |n| n + 1)
    }

    pub(super) fn bytes(&self) -> Result<u64> {
        bytes(&self.0)
    }

    pub(super) fn add(&mut self, bytes: u64) -> Result<()> {
        self.change(BYTES, |was| was.saturating_add(bytes)).map(drop)
    }

    pub(super) fn subtract(&mut self, bytes: u64) -> Result<()> {
        self.change(BYTES, |was| was.saturating_sub(bytes)).map(drop)
    }
}

/// What all threads take, in bytes.
pub(super) fn bytes(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<u64> {
    Ok(count(meta.get(BYTES)?.map(|value| value.value().to_vec()).as_deref()))
}

fn count(bytes: Option<&[u8]>) -> u64 {
    bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}
