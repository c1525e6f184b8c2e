//! R17: a panic costs one request. What only a test build can show: panics in the handler, in the
//! translation of a stream and of a whole answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{Load, Server};
use crate::config;

/// In an upstream's answer, or in a path: panics there.
pub(super) const PANIC: &str = "panic-for-a-test";

/// Panics when these bytes ask for it.
pub(super) fn trip(bytes: &[u8]) {
    assert!(memchr::memmem::find(bytes, PANIC.as_bytes()).is_none(), "asked for by a test");
}

/// An upstream whose answers say one word, and then the one that panics; it counts the
/// connections that were closed to it.
fn upstream() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, count) = (stream.unwrap(), Arc::clone(&count));
            std::thread::spawn(move || {
                let (mut bytes, mut request) = ([0; 8192], String::new());
                while !request.contains("\"messages\"") {
                    let n = stream.read(&mut bytes).unwrap();
                    request.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
                }
                // Each in one piece.
                let mut say = |text: String| stream.write_all(text.as_bytes()).unwrap();
                if request.contains("\"model\":\"agent\"") {
                    let call = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_0","function":{"name":"Bash","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#;
                    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type";
                    return say(format!("{head}: text/event-stream\r\n\r\ndata: {call}\n\ndata: [DONE]\n\n"));
                }
                if request.contains("\"stream\":true") {
                    let word = r#"data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}"#;
                    say(format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{word}\n\n"));
                    std::thread::sleep(Duration::from_millis(100));
                    say(format!("data: {PANIC}\n\n"));
                } else {
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000";
                    say(format!("{head}\r\n\r\n{{\"a\":\"{PANIC}"));
                }
                // The rest is never said: the other side has to close.
                while stream.read(&mut bytes).is_ok_and(|n| n > 0) {}
                count.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    (addr, closed)
}

struct Running {
    addr: SocketAddr,
    load: Load,
    stop: UnboundedSender<()>,
    thread: JoinHandle<()>,
}

impl Running {
    /// A proxy with room for one request alone.
    fn start(upstream: SocketAddr) -> Self {
        let text = format!(
            r#"{{"port": 0, "workers": 1, "max_concurrent_requests": 1, "upstream_timeout_seconds": 10, "providers": [{{"base_url": "http://{upstream}", "api_key": "", "models": [{{"id": "m"}}, {{"id": "agent"}}]}}], "safeguards_model": "m"}}"#,
        );
        let config = config::check(&text, &|_| Err(std::env::VarError::NotPresent)).config.unwrap();
        let (told, bound) = std::sync::mpsc::channel();
        let (stop, stopped) = unbounded_channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async {
                let bound = Server::bind(Arc::new(config)).unwrap();
                told.send((bound.addr(), bound.load())).unwrap();
                bound.run(stopped).await.unwrap();
            });
        });
        let (addr, load) = bound.recv().unwrap();
        Self { addr, load, stop, thread }
    }

    fn ask(&self, request: &str) -> String {
        let mut client = TcpStream::connect(self.addr).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    fn post(&self, path: &str, stream: bool) -> String {
        self.post_to("m", path, stream)
    }

    fn post_to(&self, model: &str, path: &str, stream: bool) -> String {
        let body = format!(
            r#"{{"model":"{model}","max_tokens":9,"stream":{stream},"messages":[{{"role":"user","content":"hi"}}],"safeguards":[{{"type":"dangerous_tool_use"}}]}}"#
        );
        let n = body.len();
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nhost: p\r\nconnection: close\r\ncontent-length: {n}\r\n\r\n{body}"
        ))
    }

    /// Everything is as before: room, and answers.
    fn assert_well(&self) {
        eventually("its room is free", || self.load.running() == 0);
        let answer = self.ask("GET /health HTTP/1.1\r\nhost: p\r\nconnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    fn end(self) {
        self.stop.send(()).unwrap();
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn r17_a_panic_in_a_handler_costs_one_request() {
    let (upstream, _) = upstream();
    let proxy = Running::start(upstream);
    for _ in 0..3 {
        let request = format!("GET /{PANIC} HTTP/1.1\r\nhost: p\r\nconnection: close\r\n\r\n");
        for answer in [proxy.ask(&request), proxy.post(&format!("/{PANIC}"), true)] {
            assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
            assert!(
                answer.contains("request-id: req_") && answer.contains("\"type\":\"api_error\""),
                "{answer}"
            );
            assert!(!answer.contains("asked for by a test"), "the panic's words stay here: {answer}");
        }
        proxy.assert_well();
    }
    proxy.end();
}

#[test]
fn r17_a_panic_in_a_stream_costs_one_request() {
    let (upstream, closed) = upstream();
    let proxy = Running::start(upstream);
    for n in 1..=3 {
        let answer = proxy.post("/v1/messages", true);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("hello"), "{answer}");
        assert_eq!(answer.matches("event: error").count(), 1, "{answer}");
        assert!(!answer.contains("message_stop"), "{answer}");
        assert!(answer.ends_with("0\r\n\r\n"), "the body is framed to its end: {answer}");
        proxy.assert_well();
        eventually("the upstream's connection is closed", || closed.load(Ordering::SeqCst) == n);
    }
    let metrics = proxy.ask("GET /metrics HTTP/1.1\r\nhost: p\r\nconnection: close\r\n\r\n");
    for line in [
        "claude_proxy_panics_total 3",
        "claude_proxy_requests_total{model=\"m\",provider=\"127.0.0.1\",status=\"200\",outcome=\"panicked\",stop_reason=\"none\"} 3",
        "claude_proxy_streams_in_flight{model=\"m\",provider=\"127.0.0.1\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    proxy.end();
}

#[test]
fn r17_a_panic_in_a_whole_answer_costs_one_request() {
    let (upstream, closed) = upstream();
    let proxy = Running::start(upstream);
    for n in 1..=3 {
        let answer = proxy.post("/v1/messages", false);
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        assert!(answer.contains("request-id: req_") && answer.contains("\"type\":\"api_error\""), "{answer}");
        proxy.assert_well();
        eventually("the upstream's connection is closed", || closed.load(Ordering::SeqCst) == n);
    }
    proxy.end();
}

/// The judge's answer panics where it is read: in the stream or the request that waits for it.
#[test]
fn r17_a_panic_in_a_question_of_our_own_costs_one_request() {
    let (upstream, closed) = upstream();
    let proxy = Running::start(upstream);
    for n in 1..=2 {
        let answer = proxy.post_to("agent", "/v1/messages", true);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("content_block_stop"), "{answer}");
        assert_eq!(answer.matches("event: error").count(), 1, "{answer}");
        assert!(!answer.contains("message_delta") && answer.ends_with("0\r\n\r\n"), "{answer}");
        proxy.assert_well();
        let answer = proxy.post_to("agent", "/v1/messages", false);
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("\"type\":\"api_error\""), "{answer}");
        proxy.assert_well();
        eventually("the judge's connections are closed", || closed.load(Ordering::SeqCst) == 2 * n);
    }
    proxy.end();
}
