//! Limits are exact, and refusals come before the upstream is asked.

use std::time::{Duration, Instant};

use crate::support::upstream::{http, ok};
use crate::support::*;

const LIMIT: usize = 100_000;

fn setup() -> (Upstream, Proxy) {
    let up = Upstream::answering(ok(&completion("hello")));
    let mut config = config(&up.base());
    config.max_body_bytes = LIMIT;
    let proxy = Proxy::start(config);
    (up, proxy)
}

/// A request of exactly `n` bytes.
fn body_of(n: usize) -> Vec<u8> {
    let empty = message("", false).len();
    let body = message(&"a".repeat(n - empty), false);
    assert_eq!(body.len(), n);
    body
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut out = b"POST /v1/messages HTTP/1.1\r\nhost: p\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for piece in body.chunks(7000) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

#[test]
fn a_body_at_the_limit_passes_and_one_more_byte_does_not() {
    let (up, proxy) = setup();
    assert_eq!(post(proxy.addr, &body_of(LIMIT)).status, 200);
    let mut client = Client::connect(proxy.addr);
    client.write(chunked(&body_of(LIMIT)));
    assert_eq!(client.answer().status, 200);
    assert_eq!(up.seen().len(), 2);

    let answer = post(proxy.addr, &body_of(LIMIT + 1));
    assert_eq!((answer.status, answer.error().0.as_str()), (413, "request_too_large"));
    let mut client = Client::connect(proxy.addr);
    client.write(chunked(&body_of(LIMIT + 1)));
    let answer = client.answer();
    assert_eq!((answer.status, answer.error().0.as_str()), (413, "request_too_large"));
    assert_eq!(up.seen().len(), 2, "the upstream was not asked");
}

#[test]
fn a_body_far_beyond_the_limit_still_gets_its_answer() {
    let (up, proxy) = setup();
    let answer = post(proxy.addr, &vec![b'x'; 20 * LIMIT]);
    assert_eq!((answer.status, answer.error().0.as_str()), (413, "request_too_large"));
    assert_eq!(up.connections(), 0);
}

#[test]
fn compressed_requests_are_refused_with_a_reason() {
    let (up, proxy) = setup();
    let answer = ask(proxy.addr, "POST", "/v1/messages", &[("content-encoding", "gzip")], b"\x1f\x8b\x08");
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["details"]["error_code"], "request_body_encoding_unsupported");
    assert_eq!(up.connections(), 0);
}

#[test]
fn requests_whose_length_is_in_doubt_are_refused() {
    let (up, proxy) = setup();
    for head in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: +5\r\n",
        "transfer-encoding: chunked, identity\r\n",
    ] {
        let mut client = Client::connect(proxy.addr);
        client.write(format!("POST /v1/messages HTTP/1.1\r\nhost: p\r\n{head}\r\n5\r\nhello\r\n0\r\n\r\n"));
        let (status, _) = client.head().expect("an answer");
        assert_eq!(status, 400, "{head}");
    }
    assert_eq!(up.connections(), 0);
}

#[test]
fn a_whole_answer_beyond_64_mib_is_refused() {
    let up = Upstream::start(|mut conn| {
        conn.request();
        let size = (64 << 20) + 1;
        conn.write(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n{{\"a\":\""
        ));
        let piece = vec![b'a'; 1 << 20];
        while conn.write(&piece) {}
    });
    let proxy = Proxy::start(config(&up.base()));
    let answer = post(proxy.addr, &message("hi", false));
    assert_eq!(answer.status, 502);
    let (kind, text) = answer.error();
    assert_eq!(kind, "api_error");
    assert!(text.contains("67108864"), "{text}");
}

#[test]
fn a_head_that_dribbles_is_cut_off() {
    let (_up, proxy) = setup();
    let mut slow = Client::connect(proxy.addr);
    slow.write("POST /v1/messages HTTP/1.1\r\nhost:");
    let began = Instant::now();
    // actix answers this one itself.
    let status = slow.head().map(|(status, _)| status);
    assert!(matches!(status, Some(408) | None), "{status:?}");
    assert!(began.elapsed() > Duration::from_secs(2));
    assert_eq!(post(proxy.addr, &message("hi", false)).status, 200, "others are unharmed");
}

#[test]
fn error_answers_of_any_size_are_read_within_reason() {
    let up = Upstream::answering(http(400, &[("content-type", "text/plain")], &"e".repeat(900_000)));
    let proxy = Proxy::start(config(&up.base()));
    let answer = post(proxy.addr, &message("hi", false));
    assert_eq!(answer.status, 400);
    assert!(answer.body.len() < 4096, "cut to what a person reads");
}
