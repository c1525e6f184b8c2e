//! The thread that writes exchanges.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::blot::Blot;
use super::files::{Files, make_dir};
use super::meta::Meta;
use super::shelf::Shelf;
use super::{COST, Level, Part, Told};

/// What is in memory goes to disk when nothing has come for this long.
const IDLE: Duration = Duration::from_millis(500);
/// Between two lines in the log about the same trouble.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// Everything that the thread knows.
#[derive(Debug)]
pub(super) struct Writer {
    dir: PathBuf,
    blot: Blot,
    level: Arc<Level>,
    shelf: Shelf,
    open: HashMap<u64, Open>,
    /// Bytes on disk of exchanges that go on.
    unfinished: u64,
    said: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    /// None: its folder could not be made.
    files: Option<Files>,
    missing: u64,
}

impl Writer {
    pub(super) fn new(dir: &Path, max: u64, blot: Blot, level: Arc<Level>) -> io::Result<Self> {
        make_dir(dir)?;
        let shelf = Shelf::read(dir, max)?;
        let dir = dir.to_owned();
        Ok(Self { dir, blot, level, shelf, open: HashMap::new(), unfinished: 0, said: None })
    }

    /// Writes until the end is told.
    pub(super) fn run(mut self, told: &Receiver<Told>) {
        loop {
            match told.recv_timeout(IDLE) {
                Ok(Told::End) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(told) => self.take(told),
                Err(RecvTimeoutError::Timeout) => self.flush(),
            }
        }
        self.flush();
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::Opened { id, name } => {
                self.level.gives_back(COST);
                let files = Files::new(self.dir.join(name)).map_err(|e| self.complain(&e)).ok();
                self.open.insert(id, Open { files, missing: 0 });
            }
            Told::Piece { id, part, at, bytes } => {
                let cost = COST + bytes.len();
                self.write(id, part, at, &bytes);
                drop(bytes);
                self.level.gives_back(cost);
            }
            Told::Again { id } => {
                let Some(Open { files: Some(files), .. }) = self.open.get_mut(&id) else { return };
                let before = files.written;
                let result = files.forget_upstream();
                self.unfinished = self.unfinished.saturating_sub(before - files.written);
                if let Err(e) = result {
                    self.complain(&e);
                }
            }
            Told::Closed { id, meta } => self.close(id, *meta),
            Told::Secrets(secrets) => self.blot.add(secrets),
            Told::End => {}
        }
    }

    fn write(&mut self, id: u64, part: Part, at: Duration, bytes: &Bytes) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let Some(files) = &mut open.files else { return };
        if !self.shelf.make_room(self.unfinished + bytes.len() as u64) {
            open.missing += bytes.len() as u64;
            return;
        }
        let before = files.written;
        let result = files.take(part, at, bytes, &self.blot);
        self.unfinished += files.written - before;
        if let Err(e) = result {
            open.missing += bytes.len() as u64;
            self.complain(&e);
        }
    }

    fn close(&mut self, id: u64, mut meta: Meta) {
        let Some(Open { files: Some(files), missing }) = self.open.remove(&id) else { return };
        meta.missing_bytes += missing;
        if meta.missing_bytes > 0 {
            let Meta { request_id, missing_bytes, .. } = &meta;
            tracing::warn!(request_id, missing_bytes, "not all of this exchange could be captured");
        }
        let lost = self.level.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(exchanges = lost, "the disk is too slow: exchanges were not captured");
        }
        let dir = files.dir.clone();
        let before = files.written;
        match files.close(&meta, &self.blot) {
            Ok(size) => self.shelf.add(dir, size),
            Err(e) => {
                self.shelf.add(dir, before);
                self.complain(&e);
            }
        }
        self.unfinished = self.unfinished.saturating_sub(before);
        self.shelf.make_room(self.unfinished);
    }

    fn flush(&mut self) {
        let mut failed = None;
        for files in self.open.values_mut().filter_map(|open| open.files.as_mut()) {
            let before = files.written;
            failed = files.flush().err().or(failed);
            self.unfinished += files.written - before;
        }
        if let Some(e) = failed {
            self.complain(&e);
        }
    }

    /// Says it once in a while: a full disk fails with every piece.
    fn complain(&mut self, error: &io::Error) {
        if self.said.is_none_or(|at| at.elapsed() >= SAID_AGAIN) {
            self.said = Some(Instant::now());
            tracing::error!(%error, dir = %self.dir.display(), "an exchange cannot be captured");
        }
    }
}
