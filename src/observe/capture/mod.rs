//! Exchanges on disk, for `convert` and for bug reports: [`meta`] says what they consist of.
//!
//! Who answers requests only passes bytes on; a thread writes them. What it has not written yet
//! is bounded in bytes: when the disk is too slow, pieces are left out and counted, and no
//! stream waits.

mod blot;
mod files;
pub mod meta;
mod shelf;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use blot::Blot;
use meta::{FORMAT, Meta, Upstream};
use writer::Writer;

/// Most bytes that wait for the disk, [`COST`] for each piece included.
const MOST_QUEUED: usize = 64 << 20;
/// What a piece costs besides its bytes.
const COST: usize = 256;
/// A smaller piece is copied: a slice would keep the buffer that it was read into from being
/// used again.
const COPIED: usize = 16 * 1024;

/// Which file a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    ClientRequest,
    UpstreamRequest,
    UpstreamResponse,
    ClientResponse,
}

/// What the thread is told.
enum Told {
    Opened {
        id: u64,
        name: String,
    },
    /// The upstream is asked again: what there is of it is let go.
    Again {
        id: u64,
    },
    Piece {
        id: u64,
        part: Part,
        at: Duration,
        bytes: Bytes,
    },
    Closed {
        id: u64,
        meta: Box<Meta>,
    },
    /// More words that must not be written.
    Secrets(Vec<String>),
    End,
}

/// What the thread and those who tell it share.
#[derive(Debug, Default)]
struct Level {
    queued: AtomicUsize,
    /// Exchanges of which nothing is on disk.
    lost: AtomicU64,
}

/// Where exchanges are kept.
#[derive(Debug)]
pub struct Capture {
    sender: Sender<Told>,
    level: Arc<Level>,
    ids: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
    dir: PathBuf,
}

impl Capture {
    /// Makes `dir`, for its owner only, and starts the thread. `max_bytes` bounds all exchanges
    /// in it, those of earlier runs included: the oldest go first. `secrets` are replaced
    /// wherever they occur in a body.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn start(dir: &Path, max_bytes: u64, secrets: impl IntoIterator<Item = String>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let level = Arc::<Level>::default();
        let writer = Writer::new(dir, max_bytes, Blot::new(secrets), Arc::clone(&level))?;
        let thread =
            std::thread::Builder::new().name("capture".to_owned()).spawn(move || writer.run(&receiver))?;
        Ok(Self {
            sender,
            level,
            ids: AtomicU64::new(0),
            thread: Mutex::new(Some(thread)),
            dir: dir.to_owned(),
        })
    }

    /// Where the exchanges are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// More that is replaced wherever it occurs, from the next piece on.
    pub fn conceal(&self, secrets: impl IntoIterator<Item = String>) {
        let _ = self.sender.send(Told::Secrets(secrets.into_iter().collect()));
    }

    /// A new exchange; none while the disk is too far behind.
    pub fn open(&self, request_id: &str) -> Option<Arc<Exchange>> {
        if !self.level.takes(COST) {
            self.level.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now();
        let began = humantime::format_rfc3339_millis(now).to_string();
        // 20261124T221100.123456Z: sorted by name is sorted by time, also for two in one
        // millisecond; Windows allows no colons.
        let time = humantime::format_rfc3339_micros(now).to_string();
        let name = format!("{}-{request_id}", time.replace(['-', ':'], ""));
        let meta = Meta {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            request_id: request_id.to_owned(),
            began,
            ..Meta::default()
        };
        self.sender.send(Told::Opened { id, name }).ok()?;
        Some(Arc::new(Exchange {
            id,
            began: Instant::now(),
            sender: self.sender.clone(),
            level: Arc::clone(&self.level),
            state: Mutex::new(State { meta, asked: None, closed: false }),
        }))
    }

    /// Writes what is still queued, and ends the thread.
    pub fn finish(&self) {
        let _ = self.sender.send(Told::End);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Level {
    /// Room for that many bytes, taken; false: there is none.
    fn takes(&self, cost: usize) -> bool {
        let before = self.queued.fetch_add(cost, Ordering::Relaxed);
        let fits = before + cost <= MOST_QUEUED;
        if !fits {
            self.queued.fetch_sub(cost, Ordering::Relaxed);
        }
        fits
    }

    fn gives_back(&self, cost: usize) {
        self.queued.fetch_sub(cost, Ordering::Relaxed);
    }
}

/// One exchange, while it goes on.
#[derive(Debug)]
pub struct Exchange {
    id: u64,
    began: Instant,
    sender: Sender<Told>,
    level: Arc<Level>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    meta: Meta,
    /// When the request went upstream.
    asked: Option<Instant>,
    closed: bool,
}

impl Exchange {
    /// Notes something that is no body.
    pub fn describe(&self, note: impl FnOnce(&mut Meta)) {
        note(&mut self.state().meta);
    }

    /// The client's request.
    pub fn client_request(&self, body: &Bytes) {
        self.pass(Part::ClientRequest, body);
    }

    /// The request for the upstream, which is sent now. Of several only the last is kept, and
    /// what is answered to it.
    pub fn upstream_request(&self, body: &Bytes) {
        let mut state = self.state();
        if state.asked.replace(Instant::now()).is_some() {
            state.meta.upstream = None;
            let _ = self.sender.send(Told::Again { id: self.id });
        }
        drop(state);
        self.pass(Part::UpstreamRequest, body);
    }

    /// The head of the upstream's answer.
    pub fn upstream_head(&self, head: Upstream) {
        self.state().meta.upstream = Some(head);
    }

    /// The next bytes of the upstream's answer.
    pub fn upstream_piece(&self, bytes: &Bytes) {
        self.pass(Part::UpstreamResponse, bytes);
    }

    /// The upstream's answer has come to its end.
    pub fn upstream_end(&self) {
        if let Some(upstream) = &mut self.state().meta.upstream {
            upstream.complete = true;
        }
    }

    /// The next bytes of what the client gets.
    pub fn client_piece(&self, bytes: &Bytes) {
        self.pass(Part::ClientResponse, bytes);
    }

    /// The exchange is over. What comes later is not kept.
    pub fn close(&self, note: impl FnOnce(&mut Meta)) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        state.closed = true;
        note(&mut state.meta);
        state.meta.duration_ms = millis(self.began.elapsed());
        let meta = Box::new(std::mem::take(&mut state.meta));
        let _ = self.sender.send(Told::Closed { id: self.id, meta });
    }

    fn pass(&self, part: Part, bytes: &Bytes) {
        if bytes.is_empty() {
            return;
        }
        let mut state = self.state();
        if state.closed {
            return;
        }
        if !self.level.takes(COST + bytes.len()) {
            state.meta.missing_bytes += bytes.len() as u64;
            return;
        }
        let at = state.asked.map(|asked| asked.elapsed()).unwrap_or_default();
        let bytes = if bytes.len() < COPIED { Bytes::copy_from_slice(bytes) } else { bytes.clone() };
        let _ = self.sender.send(Told::Piece { id: self.id, part, at, bytes });
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In milliseconds, to a tenth.
fn millis(d: Duration) -> f64 {
    (d.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of the only exchange in `dir`, by name.
    fn only(dir: &Path) -> PathBuf {
        let mut folders: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(folders.len(), 1, "{folders:?}");
        folders.remove(0)
    }

    fn temporary(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("claude-proxy-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn what_does_not_fit_is_counted_and_nobody_waits() {
        let dir = temporary("capture-slow");
        let capture = Capture::start(&dir, 1 << 30, []).unwrap();
        let exchange = capture.open("req_1").unwrap();
        exchange.client_request(&Bytes::from_static(b"{}"));
        // As if the disk had all that is allowed still before it.
        capture.level.queued.fetch_add(MOST_QUEUED, Ordering::Relaxed);
        exchange.client_piece(&Bytes::from_static(b"12345"));
        assert!(capture.open("req_2").is_none());
        capture.level.queued.fetch_sub(MOST_QUEUED, Ordering::Relaxed);
        exchange.client_piece(&Bytes::from_static(b"678"));
        exchange.close(|meta| "done".clone_into(&mut meta.outcome));
        exchange.client_piece(&Bytes::from_static(b"too late"));
        capture.finish();
        let folder = only(&dir);
        let meta: Meta = serde_json::from_slice(&std::fs::read(folder.join("meta.json")).unwrap()).unwrap();
        assert_eq!((meta.missing_bytes, meta.outcome.as_str()), (5, "done"));
        assert_eq!(std::fs::read(folder.join("client-response.txt")).unwrap(), b"678");
        assert_eq!(capture.level.queued.load(Ordering::Relaxed), 0);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_disk_that_fails_costs_nothing_but_the_capture() {
        let dir = temporary("capture-broken");
        let capture = Capture::start(&dir, 1 << 30, []).unwrap();
        let exchange = capture.open("req_1").unwrap();
        while std::fs::read_dir(&dir).unwrap().next().is_none() {
            std::thread::yield_now();
        }
        std::fs::remove_dir_all(&dir).unwrap();
        for _ in 0..10 {
            exchange.upstream_piece(&Bytes::from(vec![b'x'; 10_000]));
        }
        exchange.close(|_| {});
        capture.finish();
        assert_eq!(capture.level.queued.load(Ordering::Relaxed), 0);
        assert!(!dir.exists());
    }
}
