//! One client of the load generator: its connection, its exchanges, what it counts.

use crate::{get_hex16, http, mono_ns};
use hdrhistogram::Histogram;
use memchr::{memchr_iter, memmem, memrchr};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

pub fn hist() -> Histogram<u64> {
    Histogram::new_with_bounds(100, 300_000_000_000, 3).unwrap()
}

pub struct Stats {
    pub lat: Histogram<u64>,
    pub ttft: Histogram<u64>,
    pub event: Histogram<u64>,
    pub jitter: Histogram<u64>,
    pub requests: u64,
    pub events: u64,
    pub deltas: u64,
    pub bytes: u64,
    pub connects: u64,
    pub errors: BTreeMap<String, u64>,
    pub sample: String,
}

pub struct Shared {
    pub addr: std::net::SocketAddr,
    pub request: Vec<u8>,
    pub stream: bool,
    pub expect_events: u64,
    /// Deltas carry the time at which they were sent; those too short for it are only counted.
    pub marked: bool,
    pub timeout: Duration,
    pub max: u64,
    pub on: Cell<bool>,
    pub stop: Cell<bool>,
    pub inflight: Cell<u64>,
    pub stats: RefCell<Stats>,
    pub buf: RefCell<Vec<u8>>,
    pub f_stop: memmem::Finder<'static>,
    pub f_delta: memmem::Finder<'static>,
}

pub struct Conn {
    sock: TcpStream,
    used: bool,
    acc: Vec<u8>,
    body: Vec<u8>,
}

pub struct Fail(String, String);

impl From<io::Error> for Fail {
    fn from(e: io::Error) -> Fail {
        Fail(format!("io:{:?}", e.kind()), e.to_string())
    }
}

/// What one SSE stream has told so far.
#[derive(Default)]
struct Sse {
    markers: u64,
    deltas: u64,
    done: bool,
    last_lat: Option<i64>,
}

impl Sse {
    /// Takes the complete lines of `body` and leaves the rest in it.
    fn eat(&mut self, sh: &Shared, body: &mut Vec<u8>, t0: u64) {
        let Some(end) = memrchr(b'\n', body) else { return };
        let region = &body[..=end];
        let now = mono_ns();
        let on = sh.on.get();
        let mut st = sh.stats.borrow_mut();
        let mut n = 0;
        for at in memchr_iter(b'~', region) {
            if region.get(at + 17) != Some(&b'~') {
                continue;
            }
            let Some(ts) = get_hex16(&region[at + 1..]) else { continue };
            n += 1;
            let lat = now.saturating_sub(ts);
            if on {
                st.event.saturating_record(lat.max(100));
                if let Some(p) = self.last_lat {
                    st.jitter.saturating_record((lat as i64 - p).unsigned_abs().max(100));
                }
            }
            self.last_lat = Some(lat as i64);
        }
        let d = sh.f_delta.find_iter(region).count() as u64;
        if d > 0 && self.deltas == 0 && on {
            st.ttft.saturating_record(now.saturating_sub(t0).max(100));
        }
        if on {
            st.events += if sh.marked { n } else { d };
            st.deltas += d;
        }
        self.markers += n;
        self.deltas += d;
        self.done |= sh.f_stop.find(region).is_some();
        body.drain(..=end);
    }
}

async fn connect(sh: &Shared) -> Result<Conn, Fail> {
    let sock = TcpStream::connect(sh.addr).await.map_err(|e| Fail("connect".into(), e.to_string()))?;
    sock.set_nodelay(true)?;
    sh.stats.borrow_mut().connects += 1;
    Ok(Conn { sock, used: false, acc: Vec::new(), body: Vec::new() })
}

/// One read into the shared buffer; what came is handed to `f`.
async fn pump<R>(sh: &Shared, sock: &TcpStream, f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, Fail> {
    loop {
        sock.readable().await?;
        let mut buf = sh.buf.borrow_mut();
        match sock.try_read(&mut buf) {
            Ok(0) => return Ok(None),
            Ok(n) => return Ok(Some(f(&buf[..n]))),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(e) => return Err(e.into()),
        }
    }
}

/// Sends the request and reads the answer. Ok(true): the connection may be used again.
async fn exchange(sh: &Shared, c: &mut Conn, t0: u64) -> Result<bool, Fail> {
    c.acc.clear();
    c.body.clear();
    c.sock.write_all(&sh.request).await?;
    let head = loop {
        let acc = &mut c.acc;
        if pump(sh, &c.sock, |b| acc.extend_from_slice(b)).await?.is_none() {
            return Err(Fail(if c.acc.is_empty() { "eof-early" } else { "eof-head" }.into(), String::new()));
        }
        match http::parse_response(&c.acc)? {
            Some(h) if h.status < 200 => {
                c.acc.drain(..h.len);
                if let Some(h) = http::parse_response(&c.acc)? {
                    break h;
                }
            }
            Some(h) => break h,
            None => {}
        }
    };
    let mut sse = Sse::default();
    let mut de = http::Dechunk::default();
    let mut left = match head.framing {
        http::Framing::Len(n) => n,
        _ => usize::MAX,
    };
    let mut bytes = 0u64;
    let mut take = |c_body: &mut Vec<u8>, b: &[u8]| -> io::Result<bool> {
        bytes += b.len() as u64;
        let end = match head.framing {
            http::Framing::Chunked => {
                de.feed(b, c_body)?;
                de.done()
            }
            _ => {
                c_body.extend_from_slice(b);
                left = left.saturating_sub(b.len());
                left == 0
            }
        };
        if sh.stream && head.status == 200 {
            sse.eat(sh, c_body, t0);
        }
        Ok(end)
    };
    let mut end = head.framing == http::Framing::Len(0) || take(&mut c.body, &c.acc[head.len..])?;
    while !end {
        let body = &mut c.body;
        match pump(sh, &c.sock, |b| take(body, b)).await? {
            Some(r) => end = r?,
            None if head.framing == http::Framing::Close => break,
            None => return Err(Fail("eof-body".into(), String::new())),
        }
    }
    if sh.on.get() {
        sh.stats.borrow_mut().bytes += bytes;
    }
    if head.status != 200 {
        return Err(Fail(
            format!("http:{}", head.status),
            String::from_utf8_lossy(&c.body[..c.body.len().min(600)]).into(),
        ));
    }
    if sh.stream {
        if !sh.marked {
            sse.markers = sse.deltas;
        }
        if !sse.done {
            return Err(Fail(
                "no-message-stop".into(),
                format!("{} markers, {} deltas", sse.markers, sse.deltas),
            ));
        }
        if sse.markers != sh.expect_events {
            return Err(Fail(
                "events-lost".into(),
                format!("{} of {} events", sse.markers, sh.expect_events),
            ));
        }
    } else if memmem::find(&c.body, b"\"stop_reason\"").is_none() {
        return Err(Fail(
            "not-a-message".into(),
            String::from_utf8_lossy(&c.body[..c.body.len().min(600)]).into(),
        ));
    }
    Ok(!head.close && head.framing != http::Framing::Close)
}

async fn one(sh: &Shared, slot: &mut Option<Conn>, t0: u64) -> bool {
    let work = async {
        let mut c = match slot.take() {
            Some(c) => c,
            None => connect(sh).await?,
        };
        let mut r = exchange(sh, &mut c, t0).await;
        let stale = matches!(&r, Err(Fail(k, _)) if c.used && (k == "eof-early" || k == "io:ConnectionReset" || k == "io:BrokenPipe"));
        if stale {
            c = connect(sh).await?; // an idle keep-alive connection was closed under us
            r = exchange(sh, &mut c, t0).await;
        }
        if r? {
            c.used = true;
            *slot = Some(c);
        }
        Ok(())
    };
    let r = match timeout(sh.timeout, work).await {
        Ok(r) => r,
        Err(_) => Err(Fail("timeout".into(), String::new())),
    };
    if !sh.on.get() {
        return r.is_ok();
    }
    let mut st = sh.stats.borrow_mut();
    match r {
        Ok(()) => {
            st.requests += 1;
            st.lat.saturating_record(mono_ns().saturating_sub(t0).max(100));
            if sh.max > 0 && st.requests >= sh.max {
                sh.stop.set(true);
            }
            true
        }
        Err(Fail(kind, text)) => {
            if st.sample.is_empty() {
                st.sample = format!("{kind}: {text}");
            }
            *st.errors.entry(kind).or_default() += 1;
            false
        }
    }
}

pub async fn client(sh: Rc<Shared>, delay: Duration) {
    sleep(delay).await;
    let mut slot = None;
    while !sh.stop.get() {
        if !one(&sh, &mut slot, mono_ns()).await {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Sends requests at `rate` per second on an absolute schedule, which a thread keeps: tokio's timer has steps of 1 ms.
pub async fn open_loop(sh: Rc<Shared>, rate: f64) {
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let start = mono_ns() + 1_000_000;
        for k in 0u64.. {
            let due = start + (k as f64 * 1e9 / rate) as u64;
            std::thread::sleep(Duration::from_nanos(due.saturating_sub(mono_ns())));
            if tx.send(due).is_err() {
                break;
            }
        }
    });
    let idle: Rc<RefCell<Vec<Conn>>> = Default::default();
    while let Some(due) = rx.recv().await {
        if sh.stop.get() {
            break;
        }
        if sh.inflight.get() >= 4000 {
            if sh.on.get() {
                *sh.stats.borrow_mut().errors.entry("not-sent:4000-in-flight".into()).or_default() += 1;
            }
            continue;
        }
        let (sh, idle) = (sh.clone(), idle.clone());
        sh.inflight.set(sh.inflight.get() + 1);
        tokio::task::spawn_local(async move {
            let mut slot = idle.borrow_mut().pop();
            one(&sh, &mut slot, due).await;
            if let Some(c) = slot {
                idle.borrow_mut().push(c);
            }
            sh.inflight.set(sh.inflight.get() - 1);
        });
    }
}
