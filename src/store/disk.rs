//! A disk of the tests' own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

/// A disk of which everything is remembered that was done to it.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Disk(
    Arc<Mutex<(Vec<u8>, Vec<Done>)>>,
    /// Nothing can be written.
    pub(in crate::store) Arc<AtomicBool>,
);

#[derive(Debug, Clone)]
pub(in crate::store) enum Done {
    Wrote(u64, Vec<u8>),
    Length(u64),
    Synced,
}

impl Disk {
    pub(in crate::store) fn lock(&self) -> MutexGuard<'_, (Vec<u8>, Vec<Done>)> {
        self.0.lock().unwrap()
    }

    fn apply(bytes: &mut Vec<u8>, done: &Done) {
        match done {
            Done::Wrote(at, data) => {
                let at = *at as usize;
                bytes.resize(bytes.len().max(at + data.len()), 0);
                bytes[at..at + data.len()].copy_from_slice(data);
            }
            Done::Length(length) => bytes.resize(*length as usize, 0),
            Done::Synced => {}
        }
    }

    fn act(&self, done: Done) -> std::io::Result<()> {
        if self.1.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        let (bytes, log) = &mut *self.lock();
        Self::apply(bytes, &done);
        log.push(done);
        Ok(())
    }

    /// What is there after a power failure at `cut`: all that was synced, and of the rest what
    /// `luck` says.
    pub(in crate::store) fn after_failure(&self, cut: usize, mut luck: impl FnMut() -> bool) -> Self {
        let log = &self.lock().1;
        let synced = log[..cut].iter().rposition(|done| matches!(done, Done::Synced)).unwrap_or(0);
        let mut bytes = Vec::new();
        for (n, done) in log[..cut].iter().enumerate() {
            if n < synced || luck() {
                Self::apply(&mut bytes, done);
            }
        }
        Self(Arc::new(Mutex::new((bytes, Vec::new()))), Arc::default())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.lock().0.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let at = offset as usize;
        let state = self.lock();
        let bytes = state.0.get(at..at + out.len()).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.act(Done::Length(len))
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.act(Done::Synced)
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.act(Done::Wrote(offset, data.to_vec()))
    }
}
