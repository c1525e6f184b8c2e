//! A mock upstream that costs far less than any proxy in front of it.
//!
//! POST */chat/completions  OpenAI Chat Completions, stream or not
//! POST */messages          Anthropic Messages, stream or not (the pass-through floor)
//! GET  */models, /stats    model list; counters as JSON
//!
//! What is answered is spelled in the request, see `bench_rig::Spec`.
//! Options: --listen 127.0.0.1:9100  --threads 1

use bench_rig::answers::{Answer, Piece, answer, full};
use bench_rig::{Args, Spec, http, mono_ns, put_hex16};
use bytes::{Buf, BytesMut};
use memchr::memmem;
use serde_json::json;
use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};

static CONNS: AtomicU64 = AtomicU64::new(0);
static OPEN: AtomicU64 = AtomicU64::new(0);
static REQUESTS: AtomicU64 = AtomicU64::new(0);
static STREAMS_OPEN: AtomicU64 = AtomicU64::new(0);
static STREAMS_CUT: AtomicU64 = AtomicU64::new(0);
static EVENTS: AtomicU64 = AtomicU64::new(0);

struct State {
    finder: memmem::Finder<'static>,
    stream_a: memmem::Finder<'static>,
    stream_b: memmem::Finder<'static>,
    answers: RefCell<HashMap<(String, bool, bool), Rc<Answer>>>,
}

async fn send_piece(sock: &mut TcpStream, work: &mut Vec<u8>, p: &Piece) -> io::Result<()> {
    work.clear();
    work.extend_from_slice(&p.bytes);
    let now = mono_ns();
    for &at in &p.slots {
        put_hex16(&mut work[at..], now);
    }
    EVENTS.fetch_add(p.slots.len() as u64, Relaxed);
    sock.write_all(work).await
}

async fn send(sock: &mut TcpStream, spec: &Spec, a: &Answer) -> io::Result<()> {
    if spec.wait_us > 0 {
        sleep(Duration::from_micros(spec.wait_us)).await;
    }
    match a {
        Answer::Full(bytes) => sock.write_all(bytes).await,
        Answer::Stream { head, piece, pieces, last, tail } => {
            STREAMS_OPEN.fetch_add(1, Relaxed);
            let r = async {
                sock.write_all(head).await?;
                let mut work = Vec::with_capacity(piece.bytes.len());
                let mut due = Instant::now();
                for p in std::iter::repeat_n(piece, *pieces).chain(last) {
                    if spec.delay_us > 0 {
                        due += Duration::from_micros(spec.delay_us);
                        sleep_until(due).await;
                    }
                    send_piece(sock, &mut work, p).await?;
                }
                sock.write_all(tail).await
            }
            .await;
            STREAMS_OPEN.fetch_sub(1, Relaxed);
            if r.is_err() {
                STREAMS_CUT.fetch_add(1, Relaxed);
            }
            r
        }
    }
}

async fn serve(mut sock: TcpStream, st: Rc<State>) -> io::Result<()> {
    sock.set_nodelay(true)?;
    let mut buf = BytesMut::with_capacity(8 * 1024);
    loop {
        let head = loop {
            if let Some(h) = http::parse_request(&buf)? {
                break h;
            }
            buf.reserve(4096);
            if sock.read_buf(&mut buf).await? == 0 {
                return Ok(());
            }
        };
        if head.expect {
            sock.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut decoded = Vec::new();
        let total = match head.framing {
            http::Framing::Len(n) => {
                let total = head.len + n;
                buf.reserve(total.saturating_sub(buf.len()));
                while buf.len() < total {
                    if sock.read_buf(&mut buf).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                total
            }
            http::Framing::Chunked => {
                let mut d = http::Dechunk::default();
                let mut at = head.len;
                loop {
                    at += d.feed(&buf[at..], &mut decoded)?;
                    if d.done() {
                        break at;
                    }
                    buf.reserve(64 * 1024);
                    if sock.read_buf(&mut buf).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
            http::Framing::Close => return Err(io::ErrorKind::InvalidData.into()),
        };
        REQUESTS.fetch_add(1, Relaxed);
        let path = head.path.split('?').next().unwrap_or("");
        let anthropic = path.ends_with("/messages");
        if anthropic || path.ends_with("/chat/completions") {
            let body: &[u8] =
                if head.framing == http::Framing::Chunked { &decoded } else { &buf[head.len..total] };
            let stream = st.stream_a.find(body).is_some() || st.stream_b.find(body).is_some();
            match Spec::find(&st.finder, body) {
                Some(spec) => {
                    let key = (spec.raw.clone(), anthropic, stream);
                    let found = st.answers.borrow().get(&key).cloned();
                    let a = found.unwrap_or_else(|| {
                        let a = Rc::new(answer(&spec, anthropic, stream));
                        st.answers.borrow_mut().insert(key, a.clone());
                        a
                    });
                    send(&mut sock, &spec, &a).await?;
                }
                None => {
                    let e = json!({"error": {"message": "no bench- spec in the request", "type": "invalid_request_error"}});
                    sock.write_all(&full("400 Bad Request", e.to_string().as_bytes())).await?;
                }
            }
        } else {
            let v = match path {
                "/stats" => json!({"conns": CONNS.load(Relaxed), "open": OPEN.load(Relaxed),
                    "requests": REQUESTS.load(Relaxed), "streams_open": STREAMS_OPEN.load(Relaxed),
                    "streams_cut": STREAMS_CUT.load(Relaxed), "events": EVENTS.load(Relaxed)}),
                p if p.ends_with("/models") => json!({"object": "list", "data": [
                    {"id": "gpt-bench", "object": "model", "created": 1763856000, "owned_by": "bench"}]}),
                _ => json!({"ok": true}),
            };
            sock.write_all(&full("200 OK", v.to_string().as_bytes())).await?;
        }
        buf.advance(total);
        if head.close {
            return Ok(());
        }
    }
}

fn run(addr: std::net::SocketAddr) -> io::Result<()> {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&rt, async move {
        let s = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None)?;
        s.set_reuse_address(true)?;
        s.set_reuse_port(true)?;
        s.set_nonblocking(true)?;
        s.bind(&addr.into())?;
        s.listen(8192)?;
        let l = TcpListener::from_std(s.into())?;
        let st = Rc::new(State {
            finder: memmem::Finder::new("bench-"),
            stream_a: memmem::Finder::new("\"stream\":true"),
            stream_b: memmem::Finder::new("\"stream\": true"),
            answers: Default::default(),
        });
        loop {
            let (sock, _) = match l.accept().await {
                Ok(x) => x,
                Err(_) => {
                    sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            CONNS.fetch_add(1, Relaxed);
            OPEN.fetch_add(1, Relaxed);
            let st = st.clone();
            tokio::task::spawn_local(async move {
                let _ = serve(sock, st).await;
                OPEN.fetch_sub(1, Relaxed);
            });
        }
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env()?;
    let addr: std::net::SocketAddr = args.get("listen").unwrap_or("127.0.0.1:9100").parse()?;
    assert!(addr.ip().is_loopback(), "loopback only");
    let threads: usize = args.num("threads", 1)?;
    let hs: Vec<_> = (1..threads).map(|_| std::thread::spawn(move || run(addr))).collect();
    run(addr)?;
    for h in hs {
        h.join().map_err(|_| "a thread panicked")??;
    }
    Ok(())
}
