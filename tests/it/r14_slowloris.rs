//! R14: clients that send their heads and bodies byte by byte are closed in time, and harm nobody.
//!
//! `SLOW_CONNECTIONS=2000` for the full size.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::upstream::ok;
use crate::support::*;

/// How many of them.
fn many() -> usize {
    let wanted = std::env::var("SLOW_CONNECTIONS").map_or(200, |n| n.parse().unwrap());
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        // Both ends of each connection are in this process.
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
        let most = getrlimit(Resource::Nofile).current.map_or(wanted, |n| n as usize / 3);
        assert!(wanted <= most, "SLOW_CONNECTIONS={wanted} needs ulimit -n {}", 3 * wanted);
    }
    wanted
}

struct Slow {
    stream: TcpStream,
    heard: Vec<u8>,
    closed: Option<Duration>,
}

/// Opens connections that each send `first`, `answered` answers are read, then one more byte of
/// `drip` every 200 ms, until they are closed: when, and what was said.
fn dribble(
    addr: SocketAddr,
    n: usize,
    first: &[u8],
    answered: usize,
    drip: &[u8],
) -> Vec<(Duration, String)> {
    let mut all: Vec<Slow> = (0..n)
        .map(|_| {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(first).unwrap();
            let mut heard = Vec::new();
            while heard.windows(4).filter(|w| w == b"\r\n\r\n").count() < answered {
                let mut bytes = [0; 4096];
                let n = stream.read(&mut bytes).unwrap();
                heard.extend_from_slice(&bytes[..n]);
            }
            stream.set_nonblocking(true).unwrap();
            Slow { stream, heard, closed: None }
        })
        .collect();
    let began = Instant::now();
    let mut bytes = [0; 4096];
    for at in 0.. {
        assert!(began.elapsed() < Duration::from_secs(60), "some stay open for ever");
        for slow in all.iter_mut().filter(|s| s.closed.is_none()) {
            loop {
                match slow.stream.read(&mut bytes) {
                    Ok(0) => slow.closed = Some(began.elapsed()),
                    Ok(n) => {
                        slow.heard.extend_from_slice(&bytes[..n]);
                        continue;
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => slow.closed = Some(began.elapsed()),
                }
                break;
            }
            if let Some(byte) = drip.get(at % drip.len().max(1)) {
                let _ = slow.stream.write(&[*byte]);
            }
        }
        if all.iter().all(|s| s.closed.is_some()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    all.into_iter().map(|s| (s.closed.unwrap(), String::from_utf8_lossy(&s.heard).into_owned())).collect()
}

/// A client that goes on asking: how long its answers took.
struct Healthy {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Healthy {
    fn start(addr: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut took = Vec::new();
            while !told.load(Ordering::SeqCst) {
                let began = Instant::now();
                let answer = post(addr, &message("hi", took.len() % 2 == 0));
                assert_eq!(answer.status, 200, "{:?}", String::from_utf8_lossy(&answer.body));
                took.push(began.elapsed());
                std::thread::sleep(Duration::from_millis(20));
            }
            took
        });
        Self { stop, thread }
    }

    /// Every answer came, and soon.
    fn end(self, what: &str) {
        self.stop.store(true, Ordering::SeqCst);
        let mut took = self.thread.join().unwrap();
        took.sort();
        let (half, late) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        eprintln!("{what}: {} healthy requests meanwhile, p50 {half:?}, p99 {late:?}", took.len());
        assert!(took.len() > 5);
        assert!(late < Duration::from_secs(3), "{late:?}");
    }
}

fn upstream() -> Upstream {
    Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            if seen.json()["stream"] == true {
                conn.stream(&[&text("hello"), &finish("stop"), DONE]);
            } else {
                conn.write(ok(&completion("hello")));
            }
        }
    })
}

fn last(closed: &[(Duration, String)]) -> Duration {
    closed.iter().map(|(at, _)| *at).max().unwrap()
}

/// What a head's clock may be late by, on a busy machine.
const LATE: Duration = Duration::from_secs(6);

#[test]
fn heads_that_dribble_are_closed_with_408() {
    let up = upstream();
    let proxy = Proxy::start(config(&up.base()));
    let n = many();
    let healthy = Healthy::start(proxy.addr);
    let first = b"POST /v1/messages HTTP/1.1\r\nhost: p\r\nx-slow: ";
    let closed = dribble(proxy.addr, n, first, 0, b"abcdefgh");
    healthy.end("heads");
    for (at, heard) in &closed {
        assert!(*at > Duration::from_secs(3) && *at < Duration::from_secs(5) + LATE, "{at:?}");
        assert!(heard.starts_with("HTTP/1.1 408 "), "{heard}");
        assert!(heard.contains("request-id: req_") && heard.contains("\"invalid_request_error\""), "{heard}");
    }
    eprintln!("heads: {n} connections, the last one closed after {:?}", last(&closed));
}

#[test]
fn a_later_head_on_a_connection_has_the_same_clock() {
    let up = upstream();
    let proxy = Proxy::start(config(&up.base()));
    let n = many() / 4;
    let healthy = Healthy::start(proxy.addr);
    let closed = dribble(proxy.addr, n, b"GET /health HTTP/1.1\r\nhost: p\r\n\r\n", 1, b"G");
    healthy.end("later heads");
    for (at, heard) in &closed {
        assert!(*at < Duration::from_secs(5) + LATE, "{at:?}");
        assert_eq!(heard.matches("HTTP/1.1 ").count(), 2, "{heard}");
        assert!(heard.contains("HTTP/1.1 408 "), "{heard}");
    }
    eprintln!("later heads: {n} connections, the last one closed after {:?}", last(&closed));
}

#[test]
fn connections_that_say_nothing_are_closed() {
    let up = upstream();
    let proxy = Proxy::start(config(&up.base()));
    for (at, heard) in dribble(proxy.addr, 20, b"", 0, b"") {
        assert!(at < Duration::from_secs(5) + LATE, "{at:?}");
        assert_eq!(heard, "", "nobody asked anything");
    }
}

#[test]
fn bodies_that_dribble_take_no_room_and_are_closed_with_408() {
    let up = upstream();
    let mut config = config(&up.base());
    // Far fewer than there are slow clients: none of these may hold one.
    config.max_concurrent_requests = 8;
    config.client_body_timeout = Duration::from_secs(3);
    let proxy = Proxy::start(config);
    let n = many();
    let healthy = Healthy::start(proxy.addr);
    let forms = [
        (&b"POST /v1/messages HTTP/1.1\r\nhost: p\r\ncontent-length: 33554432\r\n\r\n{"[..], &b" "[..]),
        (b"POST /v1/messages HTTP/1.1\r\nhost: p\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"POST /v1/messages/count_tokens HTTP/1.1\r\nhost: p\r\ncontent-length: 1000\r\n\r\n{", b""),
    ];
    let addr = proxy.addr;
    let forms = forms.map(|(first, drip)| std::thread::spawn(move || dribble(addr, n / 3, first, 0, drip)));
    for closed in forms.map(|form| form.join().unwrap()) {
        for (at, heard) in &closed {
            assert!(*at > Duration::from_secs(2) && *at < Duration::from_secs(3) + 2 * LATE, "{at:?}");
            assert!(heard.starts_with("HTTP/1.1 408 "), "{heard}");
            assert!(heard.contains("request-id: req_") && heard.contains("within 3 s"), "{heard}");
        }
        eprintln!("bodies: {} connections, the last one closed after {:?}", n / 3, last(&closed));
    }
    healthy.end("bodies");
    assert!(up.seen().iter().all(|seen| seen.json()["messages"][0]["content"] == "hi"));
}

#[test]
fn the_rest_of_a_body_that_was_refused_is_not_waited_for() {
    let up = upstream();
    let mut config = config(&up.base());
    config.ak = Some(claude_proxy::config::Secret::new("ak-inbound"));
    let proxy = Proxy::start(config);
    let addr = proxy.addr;
    let forms = [
        ("/v1/messages", &b"1\r\nx\r\n"[..]),
        ("/v1/messages", b""),
        ("/nothing", b"1\r\nx\r\n"),
        ("/nothing", b""),
    ];
    let forms = forms.map(|(path, drip)| {
        let first = format!("POST {path} HTTP/1.1\r\nhost: p\r\ntransfer-encoding: chunked\r\n\r\n");
        std::thread::spawn(move || dribble(addr, 10, first.as_bytes(), 1, drip))
    });
    for (at, heard) in forms.into_iter().flat_map(|form| form.join().unwrap()) {
        assert!(at < Duration::from_secs(5) + LATE, "{at:?}");
        assert_eq!(heard.matches("HTTP/1.1 ").count(), 1, "one request, one answer: {heard}");
        assert!(heard.starts_with("HTTP/1.1 40"), "{heard}");
    }
    assert_eq!(up.connections(), 0);
}

#[test]
fn a_connection_that_was_refused_a_chunked_body_can_be_used_again() {
    let up = upstream();
    let proxy = Proxy::start(config(&up.base()));
    let mut client = Client::connect(proxy.addr);
    client.write("POST /nothing HTTP/1.1\r\nhost: p\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
    assert_eq!(client.answer().status, 404);
    client.write("1\r\ny\r\n0\r\n\r\n");
    client.send("POST", "/v1/messages", &[], &message("hi", false));
    assert_eq!(client.answer().status, 200);
}
