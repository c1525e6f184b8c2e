//! What only a test build can show: panics, in the handler and in a stream.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use tokio::sync::mpsc::unbounded_channel;

use super::Server;
use crate::config;

/// In an upstream's stream, or in a path: panics there.
pub(super) const PANIC: &str = "panic-for-a-test";

/// Panics when these bytes ask for it.
pub(super) fn trip(bytes: &[u8]) {
    assert!(memchr::memmem::find(bytes, PANIC.as_bytes()).is_none(), "asked for by a test");
}

/// An upstream whose stream says one word, and then the one that panics.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let word = r#"data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}"#;
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{word}\n\n").unwrap();
            std::thread::sleep(std::time::Duration::from_millis(100));
            let _ = write!(stream, "data: {PANIC}\n\n");
        }
    });
    addr
}

fn ask(addr: SocketAddr, request: &str) -> String {
    let mut client = TcpStream::connect(addr).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_panic_costs_one_request() {
    let text = format!(
        r#"{{"port": 0, "workers": 1, "providers": [{{"base_url": "http://{}", "api_key": "", "models": [{{"id": "m"}}]}}]}}"#,
        upstream()
    );
    let config = config::check(&text, &|_| Err(std::env::VarError::NotPresent)).config.unwrap();
    let (told, addr) = std::sync::mpsc::channel();
    let (stop, stopped) = unbounded_channel();
    let proxy = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async {
            let bound = Server::bind(Arc::new(config)).unwrap();
            told.send(bound.addr()).unwrap();
            bound.run(stopped).await.unwrap();
        });
    });
    let addr = addr.recv().unwrap();

    let answer = ask(addr, &format!("GET /{PANIC} HTTP/1.1\r\nhost: p\r\nconnection: close\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.contains("request-id: req_") && answer.contains("\"type\":\"api_error\""), "{answer}");

    let body = r#"{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let answer = ask(
        addr,
        &format!(
            "POST /v1/messages HTTP/1.1\r\nhost: p\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("hello"), "{answer}");
    assert_eq!(answer.matches("event: error").count(), 1, "{answer}");
    assert!(!answer.contains("message_stop"), "{answer}");
    assert!(answer.ends_with("0\r\n\r\n"), "the body is framed to its end: {answer}");

    let answer = ask(addr, "GET /health HTTP/1.1\r\nhost: p\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let metrics = ask(addr, "GET /metrics HTTP/1.1\r\nhost: p\r\nconnection: close\r\n\r\n");
    for line in [
        "claude_proxy_panics_total 2",
        "claude_proxy_http_responses_total{endpoint=\"other\",status=\"500\"} 1",
        "claude_proxy_requests_total{model=\"m\",provider=\"127.0.0.1\",status=\"200\",outcome=\"panicked\"} 1",
        "claude_proxy_streams_in_flight{model=\"m\",provider=\"127.0.0.1\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    stop.send(()).unwrap();
    stop.send(()).unwrap();
    proxy.join().unwrap();
}
