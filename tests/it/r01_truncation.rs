//! R1: a cut upstream stream is never shown as complete.
//!
//! Answers of real servers are cut at every byte offset of what goes over the wire: inside the
//! head, inside heads of chunks, between a chunk and its line end, inside characters. The
//! client gets a prefix of the uncut answer's events that keeps to the grammar, then exactly one
//! `error`; before the first event an HTTP 502. It gets all that came.
//!
//! The one exception: when the payload with `finish_reason` has come to its last byte, the
//! answer is whole but for its usage (R2), and cut or not it ends with `message_stop`.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};

use crate::grammar::{self, End};
use crate::support::capture::{Capture, Told};
use crate::support::tls::Authority;
use crate::support::upstream::Conn;
use crate::support::*;

/// Set: long captures are whole, not only their first, last and most telling events, and every
/// offset is tried where else it is every so-manieth.
const FULL: &str = "CLAUDE_PROXY_FULL";

/// Offsets of [`captures`] that are tried, at least.
const BYTES: usize = 11_000;

fn full() -> bool {
    std::env::var_os(FULL).is_some()
}

/// The captures, and whether every offset of theirs is tried without [`FULL`], too.
fn captures() -> Vec<(Capture, bool)> {
    let every = [
        // A call without arguments; a call that the limit cut; reasoning that the limit cut;
        // text; another server; characters of more than one byte.
        "llama-server/tools_noargs_stream.sse",
        "llama-server/tools_cut_by_max_tokens_stream.sse",
        "llama-server-think/think_cut_stream.sse",
        "llama-server/max_tokens_stream.sse",
        "llama-cpp-python/stop_stream.sse",
        "llama-server/json_schema_emoji_stream.sse",
        // Not streamed.
        "llama-server-think/think_tools.json",
        "llama-server/json_schema_emoji.json",
    ];
    let some = [
        // Reasoning, then a call; comments and white space first; two calls.
        "llama-server-think/think_tools_stream.sse",
        "llama-server-ping/ping_stream.sse",
        "llama-server/tools_parallel_stream.sse",
    ];
    let read = |name| if full() { Capture::read(name) } else { Capture::read(name).shortened(6) };
    let every = every.map(|name| (read(name), true)).into_iter();
    every.chain(some.map(|name| (Capture::read(name), full()))).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    /// It ends with the connection.
    Unframed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Close {
    /// FIN; over TLS after close_notify.
    Fin,
    /// FIN; over TLS without close_notify.
    Cut,
    Rst,
}

/// What goes over the wire, and how many bytes of the body each offset of it has seen.
struct Wire {
    bytes: Vec<u8>,
    seen: Vec<usize>,
}

impl Wire {
    fn new(capture: &Capture, framing: Framing) -> Self {
        let length = match framing {
            Framing::Length => format!("content-length: {}\r\n", capture.body.len()),
            Framing::Chunked => "transfer-encoding: chunked\r\n".into(),
            Framing::Unframed => String::new(),
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {}\r\n{length}\r\n", capture.content_type);
        let mut wire = Self { bytes: Vec::new(), seen: vec![0] };
        wire.add(head.as_bytes(), false);
        if framing != Framing::Chunked {
            wire.add(&capture.body, true);
            return wire;
        }
        // A chunk for each event, and now and then a cut of its own inside one.
        let mut rest = capture.body.as_slice();
        let mut n = 0;
        while !rest.is_empty() {
            n += 1;
            let event = rest.windows(2).position(|w| w == b"\n\n").map_or(rest.len(), |at| at + 2);
            let (chunk, after) = rest.split_at(if n % 3 == 0 { event.div_ceil(2) } else { event });
            wire.add(format!("{:x}\r\n", chunk.len()).as_bytes(), false);
            wire.add(chunk, true);
            wire.add(b"\r\n", false);
            rest = after;
        }
        wire.add(b"0\r\n\r\n", false);
        wire
    }

    fn add(&mut self, bytes: &[u8], body: bool) {
        for byte in bytes {
            self.bytes.push(*byte);
            self.seen.push(self.seen.last().unwrap() + usize::from(body));
        }
    }
}

/// An answer to be cut.
struct Plan {
    capture: Capture,
    framing: Framing,
    wire: Wire,
    stream: bool,
    step: usize,
}

/// The same, with what it is uncut.
struct Case {
    capture: Capture,
    framing: Framing,
    wire: Wire,
    /// Whether the client asks for a stream.
    stream: bool,
    /// Every so-manieth offset is tried.
    step: usize,
    /// What it gets of the uncut answer, ids aside.
    uncut: Vec<u8>,
    /// Prefixes and tails that were looked at already.
    known: Mutex<HashSet<(usize, Vec<u8>)>>,
}

/// Counts what became of the cuts.
#[derive(Default)]
struct Count {
    refused: AtomicUsize,
    failed: AtomicUsize,
    complete: AtomicUsize,
    bytes: AtomicUsize,
}

fn request(case: usize, cut: usize, close: Close, stream: bool) -> Vec<u8> {
    json!({"model": "m", "max_tokens": 4096, "stream": stream,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        // Of one length, for the estimate of its tokens.
        "messages": [{"role": "user", "content": format!("cut {case:02} {cut:06} {close:?} .")}]})
    .to_string()
    .into_bytes()
}

/// Follows what a request says.
fn cut(conn: &mut Conn, wires: &[Vec<u8>]) -> Option<Close> {
    let seen = conn.quiet_request()?;
    let text = String::from_utf8(seen.body).unwrap();
    let mut words = text[text.find("cut ").unwrap()..].split(' ').skip(1);
    let mut number = || words.next().unwrap().parse::<usize>().unwrap();
    let (case, cut) = (number(), number());
    let close = match words.next() {
        Some("Fin") => Close::Fin,
        Some("Cut") => Close::Cut,
        _ => Close::Rst,
    };
    conn.write(&wires[case][..cut]);
    Some(close)
}

/// Ids that are random: the message's, in the first event.
fn without_id(mut body: Vec<u8>) -> Vec<u8> {
    let head = &body[..body.len().min(200)];
    if let Some(at) = head.windows(6).position(|w| w == b"msg_01") {
        let end = body[at..].iter().position(|b| *b == b'"').unwrap();
        body[at + 4..at + end].fill(b'0');
    }
    body
}

fn ask(client: &mut Client, body: &[u8]) -> client::Answer {
    client.send("POST", "/v1/messages", &[("content-type", "application/json")], body);
    client.answer()
}

impl Case {
    fn new(n: usize, plan: Plan, client: &mut Client) -> Self {
        let Plan { capture, framing, wire, stream, step } = plan;
        let answer = ask(client, &request(n, wire.bytes.len(), Close::Fin, stream));
        let name = capture.name;
        assert_eq!((answer.status, answer.complete), (200, true), "{name} {framing:?}");
        if stream {
            let (events, end) = answer.events();
            assert_eq!(end, End::Complete, "{name}");
            if capture.streams() {
                assert_eq!(&Told::of(&events), capture.told(usize::MAX), "{name}");
            }
        }
        Self { capture, framing, wire, stream, step, uncut: without_id(answer.body), known: Mutex::default() }
    }

    /// What a client got of an answer that was cut at `cut`.
    fn check(&self, cut: usize, close: Close, answer: client::Answer, count: &Count) {
        let at = || format!("{} {:?} {close:?} cut at {cut}", self.capture.name, self.framing);
        let came = self.wire.seen[cut];
        let first = self.capture.payloads.first().map_or(usize::MAX, |p| p.end);
        // After a reset the kernel may throw away what came: then less is known.
        let (mut least, most) = if close == Close::Rst { (0, came) } else { (came, came) };
        count.bytes.fetch_add(answer.body.len(), Ordering::Relaxed);
        if answer.status != 200 {
            assert_eq!(answer.status, 502, "{}", at());
            let (kind, message) = answer.error();
            assert_eq!(kind, "api_error", "{}", at());
            assert!(message.contains("upstream"), "{}: {message}", at());
            // What came was no answer: no event of a stream, not all of a whole one.
            if close == Close::Cut && !self.capture.streams() {
                // Over TLS the end of the framing counts, even where all of the JSON has come.
                least = least.min(self.capture.whole_from - 1);
            }
            let told = if self.stream && self.capture.streams() { first } else { self.capture.whole_from };
            assert!(least < told, "{}: 502 although {came} bytes of the body had come", at());
            count.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        assert!(answer.complete, "{}", at());
        let body = without_id(answer.body);
        if !self.stream {
            assert!(most >= self.capture.whole_from, "{}: 200", at());
            let (ours, uncut): (Value, Value) =
                (serde_json::from_slice(&body).unwrap(), serde_json::from_slice(&self.uncut).unwrap());
            assert_eq!((&ours["content"], &ours["stop_reason"]), (&uncut["content"], &uncut["stop_reason"]));
            count.complete.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let same = body.iter().zip(&self.uncut).take_while(|(a, b)| a == b).count();
        // Back to the end of an event.
        let same = body[..same].windows(2).rposition(|w| w == b"\n\n").map_or(0, |p| p + 2);
        let tail = body[same..].to_vec();
        let complete = most >= self.capture.whole_from;
        if tail.starts_with(b"event: error\n") {
            assert!(least < self.capture.whole_from, "{}: an error although it was whole", at());
            assert!(most >= first, "{}: an event although none had come", at());
            count.failed.fetch_add(1, Ordering::Relaxed);
        } else {
            // The usage alone may differ.
            assert!(complete, "{}: shown as complete", at());
            assert!(tail.is_empty() || tail.starts_with(b"event: message_delta\n"), "{}: {tail:?}", at());
            count.complete.fetch_add(1, Ordering::Relaxed);
        }
        // There are few different answers: each is looked at once.
        if close != Close::Rst && tail.starts_with(b"event: error\n") {
            let payloads = self.capture.payloads.iter().take_while(|p| p.end <= came).count();
            if self.known.lock().unwrap().insert((payloads, tail.clone())) {
                let told = Told::of(&grammar::events(&body[..same]).unwrap());
                let mut came = self.capture.told(came).clone();
                if came.text.trim().is_empty() {
                    // White space opens no block before there is text.
                    came.text.clear();
                }
                assert_eq!(told, came, "{}: not all that came", at());
            }
        }
        if self.known.lock().unwrap().insert((usize::MAX - same, tail)) {
            let events = grammar::events(&body).unwrap_or_else(|e| panic!("{}: {e}", at()));
            let end = grammar::check(&events).unwrap_or_else(|e| panic!("{}: {e}", at()));
            let kinds = |kind: &str| events.iter().filter(|e| e["type"] == kind).count();
            match end {
                End::Error => assert_eq!((kinds("error"), kinds("message_stop")), (1, 0), "{}", at()),
                End::Complete => assert_eq!((kinds("error"), kinds("message_stop")), (0, 1), "{}", at()),
                End::Open => panic!("{}: an open end", at()),
            }
        }
    }
}

/// Cuts every case at each offset that `offsets` picks, many at a time.
fn run(name: &str, ways: &[(Framing, Close)], step: usize) -> Count {
    run_over(None, name, ways, step)
}

fn run_over(tls: Option<&Authority>, name: &str, ways: &[(Framing, Close)], step: usize) -> Count {
    let mut plans = Vec::new();
    for framing in [Framing::Length, Framing::Chunked, Framing::Unframed] {
        for (capture, every) in captures() {
            if !ways.iter().any(|(f, _)| *f == framing) {
                continue;
            }
            // A whole answer in both forms.
            let forms: &[bool] = if capture.streams() { &[true] } else { &[true, false] };
            for stream in forms {
                let capture = Capture::of(capture.name, capture.body.clone());
                let wire = Wire::new(&capture, framing);
                let step = if every { step } else { step.max(11) };
                plans.push(Plan { capture, framing, wire, stream: *stream, step });
            }
        }
    }
    let wires: Arc<Vec<Vec<u8>>> = Arc::new(plans.iter().map(|plan| plan.wire.bytes.clone()).collect());
    let script = move |mut conn: Conn| match cut(&mut conn, &wires) {
        Some(Close::Fin) => conn.close(),
        Some(Close::Cut) => conn.cut(),
        Some(Close::Rst) => conn.reset(),
        None => {}
    };
    let (up, mut config) = reached(tls, script);
    config.workers = 2;
    let proxy = Proxy::start(config);
    let mut client = Client::connect(proxy.addr);
    let cases: Vec<Case> =
        plans.into_iter().enumerate().map(|(n, plan)| Case::new(n, plan, &mut client)).collect();
    let mut jobs: Vec<(usize, usize, Close)> = Vec::new();
    for (n, case) in cases.iter().enumerate() {
        for (_, close) in ways.iter().filter(|(framing, _)| *framing == case.framing) {
            jobs.extend((0..case.wire.bytes.len()).step_by(case.step).map(|cut| (n, cut, *close)));
        }
    }
    let (count, next, began) = (Count::default(), AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let mut client = Client::connect(proxy.addr);
                while let Some((n, cut, close)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let case = &cases[*n];
                    let answer = ask(&mut client, &request(*n, *cut, *close, case.stream));
                    case.check(*cut, *close, answer, &count);
                }
            });
        }
    });
    let took = began.elapsed();
    let of = |n: &AtomicUsize| n.load(Ordering::Relaxed);
    eprintln!(
        "R1 {name}: {} cuts of {} answers over {} upstream connections in {} ms: {} HTTP 502, {} error events, \
         {} complete after finish_reason; {} bytes to clients",
        jobs.len(),
        cases.len(),
        up.connections(),
        took.as_millis(),
        of(&count.refused),
        of(&count.failed),
        of(&count.complete),
        of(&count.bytes)
    );
    assert_eq!(of(&count.refused) + of(&count.failed) + of(&count.complete), jobs.len());
    assert_eq!(up.connections(), jobs.len() + cases.len(), "no cut was tried twice");
    count
}

/// The three outcomes came up, and so many cuts were tried.
fn expect(count: &Count, cuts: usize) {
    let of = |n: &AtomicUsize| n.load(Ordering::Relaxed);
    assert!(
        of(&count.refused) > cuts / 20 && of(&count.failed) > cuts / 3 && of(&count.complete) > cuts / 20
    );
    assert!(of(&count.refused) + of(&count.failed) + of(&count.complete) >= cuts);
}

#[test]
fn closed_at_every_byte_of_a_body_with_a_length() {
    expect(&run("content-length, FIN", &[(Framing::Length, Close::Fin)], 1), BYTES);
}

#[test]
fn closed_at_every_byte_of_a_chunked_body() {
    expect(&run("chunked, FIN", &[(Framing::Chunked, Close::Fin)], 1), BYTES);
}

#[test]
fn closed_in_a_body_that_ends_with_the_connection() {
    let step = if full() { 1 } else { 3 };
    expect(&run("unframed, FIN", &[(Framing::Unframed, Close::Fin)], step), BYTES / step);
}

#[test]
fn reset_anywhere() {
    let ways = [Framing::Length, Framing::Chunked, Framing::Unframed].map(|f| (f, Close::Rst));
    let step = if full() { 1 } else { 23 };
    let count = run("all framings, RST", &ways, step);
    let all = [count.refused, count.failed, count.complete].map(AtomicUsize::into_inner);
    assert!(all.iter().sum::<usize>() >= 3 * BYTES / step && all[0] > 0 && all[1] > 0, "{all:?}");
}

/// Without close_notify, where rustls tells of the cut, and with it, where only the framing and
/// the protocol do.
#[test]
fn over_tls() {
    let authority = Authority::new("Test CA");
    let ways = [(Framing::Length, Close::Fin), (Framing::Chunked, Close::Cut)];
    expect(&run_over(Some(&authority), "TLS", &ways, 1), 2 * BYTES);
    let ways = [
        (Framing::Length, Close::Cut),
        (Framing::Chunked, Close::Fin),
        (Framing::Unframed, Close::Fin),
        (Framing::Unframed, Close::Cut),
        (Framing::Chunked, Close::Rst),
    ];
    let step = if full() { 1 } else { 61 };
    run_over(Some(&authority), "TLS, the other ways", &ways, step);
}
