//! R13: limits are exact (bodies, heads, whole answers of an upstream), and a refusal comes in
//! Anthropic's shape, before the upstream is asked.

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
fn a_length_that_lies_asks_nobody() {
    let (up, proxy) = setup();
    // Announces too much: refused before a byte of it has come.
    let mut client = Client::connect(proxy.addr);
    client.write(format!("POST /v1/messages HTTP/1.1\r\nhost: p\r\ncontent-length: {}\r\n\r\n", LIMIT + 1));
    assert_eq!(client.answer().error().0, "request_too_large");
    // So large that no machine has a number for it.
    for length in ["18446744073709551615", "18446744073709551616", "99999999999999999999999"] {
        let mut client = Client::connect(proxy.addr);
        client.write(format!("POST /v1/messages HTTP/1.1\r\nhost: p\r\ncontent-length: {length}\r\n\r\n"));
        let answer = client.answer();
        assert!(matches!(answer.status, 400 | 413), "{length}: {}", answer.status);
        answer.error();
    }
    // Sends less, and closes.
    let mut client = Client::connect(proxy.addr);
    client.write("POST /v1/messages HTTP/1.1\r\nhost: p\r\ncontent-length: 50\r\n\r\n{\"model\":\"m\"");
    client.half_close();
    let rest = client.until_closed().expect("closed");
    assert!(!rest.contains("200 OK"), "{rest}");
    // No length at all is an empty body.
    let mut client = Client::connect(proxy.addr);
    client.write("POST /v1/messages HTTP/1.1\r\nhost: p\r\n\r\n");
    assert_eq!(client.answer().error().0, "invalid_request_error");
    assert_eq!(up.connections(), 0);
    // Sends more: what is beyond is no part of the request, and no request.
    let body = message("hi", false);
    let mut client = Client::connect(proxy.addr);
    client.send("POST", "/v1/messages", &[], &body);
    client.write("and some more\r\n\r\n");
    // If that comes before the answer is there, the connection ends at once, and the request with it.
    let rest = client.until_closed().expect("closed");
    let (good, bad) = (rest.matches("HTTP/1.1 200 ").count(), rest.matches("HTTP/1.1 400 ").count());
    assert!(good <= 1 && bad <= 1 && rest.matches("HTTP/1.1 ").count() == good + bad, "{rest}");
    assert!(up.seen().len() <= 1);
}

/// A GET with a head of exactly `n` bytes.
fn head_of(n: usize) -> String {
    let (begin, end) = ("GET /health HTTP/1.1\r\nhost: p\r\nx-filler: ", "\r\n\r\n");
    format!("{begin}{}{end}", "a".repeat(n - begin.len() - end.len()))
}

#[test]
fn a_head_of_128_kib_passes_and_one_more_byte_does_not() {
    const MOST: usize = 128 * 1024;
    let (up, proxy) = setup();
    for later in [false, true] {
        for n in [MOST - 1, MOST] {
            let mut client = Client::connect(proxy.addr);
            if later {
                client.write(head_of(100));
                assert_eq!(client.answer().status, 200);
            }
            client.write(head_of(n));
            assert_eq!(client.answer().status, 200, "{n}");
        }
        for n in [MOST + 1, MOST + 5000, 3 * MOST] {
            let mut client = Client::connect(proxy.addr);
            if later {
                client.write(head_of(100));
                assert_eq!(client.answer().status, 200);
            }
            client.write(head_of(n));
            let answer = client.answer();
            assert_eq!((answer.status, answer.error().0.as_str()), (431, "invalid_request_error"), "{n}");
            assert_eq!(answer.header("connection"), Some("close"));
            assert_eq!(client.until_closed().as_deref(), Some(""), "closed, and nothing follows");
        }
    }
    assert_eq!(up.connections(), 0);
    eprintln!("heads: {} and {MOST} bytes pass, {} are refused", MOST - 1, MOST + 1);
}

#[test]
fn ninety_six_headers_pass_and_one_more_does_not() {
    let (_up, proxy) = setup();
    for (n, status) in [(95, 200), (96, 200), (97, 431), (500, 431)] {
        let mut client = Client::connect(proxy.addr);
        client.write(format!("GET /health HTTP/1.1\r\nhost: p\r\n{}\r\n", "x-more: y\r\n".repeat(n - 1)));
        let answer = client.answer();
        assert_eq!(answer.status, status, "{n}");
        if status == 431 {
            assert_eq!(answer.error().0, "invalid_request_error");
        }
    }
}

/// An upstream that answers with JSON of exactly `n` bytes.
fn upstream_of(n: usize, chunked: bool) -> Upstream {
    Upstream::start(move |mut conn| {
        while conn.request().is_some() {
            let begin = completion("hello").trim_end_matches('}').to_owned() + "},\"filler\":\"";
            let end = "\"}";
            let framing = if chunked {
                "transfer-encoding: chunked".to_owned()
            } else {
                format!("content-length: {n}")
            };
            conn.write(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{framing}\r\n\r\n"));
            let mut left = n - begin.len() - end.len();
            let filler = vec![b'a'; 1 << 20];
            let mut put = |bytes: &[u8]| if chunked { conn.chunk(bytes) } else { conn.write(bytes) };
            put(begin.as_bytes());
            while left > 0 {
                let piece = left.min(filler.len());
                if !put(&filler[..piece]) {
                    return;
                }
                left -= piece;
            }
            put(end.as_bytes());
            if chunked {
                conn.end_chunks();
            }
        }
    })
}

#[test]
fn a_whole_answer_of_64_mib_passes_and_one_more_byte_does_not() {
    const MOST: usize = 64 << 20;
    for (chunked, stream) in [(false, false), (true, false), (false, true), (true, true)] {
        let up = upstream_of(MOST, chunked);
        let answer = post(Proxy::start(config(&up.base())).addr, &message("hi", stream));
        assert_eq!(answer.status, 200, "chunked {chunked}, stream {stream}");
        if stream {
            assert_eq!(answer.text(), "hello");
        } else {
            assert_eq!(answer.json()["content"][0]["text"], "hello");
        }

        let up = upstream_of(MOST + 1, chunked);
        let answer = post(Proxy::start(config(&up.base())).addr, &message("hi", stream));
        assert_eq!(answer.status, 502, "chunked {chunked}, stream {stream}");
        let (kind, text) = answer.error();
        assert_eq!(kind, "api_error");
        assert!(text.contains("67108864"), "{text}");
    }
    eprintln!("whole answers: {MOST} bytes pass, {} are refused; by length and in chunks", MOST + 1);
}

#[test]
fn an_error_answer_is_read_to_1_mib() {
    const MOST: usize = 1 << 20;
    for (n, words) in [(MOST, true), (MOST + 1, false)] {
        let begin = r#"{"error":{"message":"no such thing","filler":""#;
        let body = format!("{begin}{}\"}}}}", "e".repeat(n - begin.len() - 3));
        assert_eq!(body.len(), n);
        let up = Upstream::answering(http(400, &[("content-type", "application/json")], &body));
        let proxy = Proxy::start(config(&up.base()));
        for stream in [false, true] {
            let answer = post(proxy.addr, &message("hi", stream));
            assert_eq!(answer.status, 400);
            assert_eq!(answer.error().1.contains("no such thing"), words, "{n}: {}", answer.error().1);
            assert!(answer.body.len() < 4096, "cut to what a person reads");
        }
    }
    let up = Upstream::answering(http(400, &[("content-type", "text/plain")], &"e".repeat(900_000)));
    let answer = post(Proxy::start(config(&up.base())).addr, &message("hi", false));
    assert_eq!(answer.status, 400);
    assert!(answer.body.len() < 4096, "cut to what a person reads");
}

#[test]
fn an_error_answer_without_an_end_is_not_waited_for() {
    let up = Upstream::start(|mut conn| {
        conn.request();
        conn.write("HTTP/1.1 400 X\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n");
        while conn.chunk(vec![b'e'; 64 << 10]) {}
    });
    let answer = post(Proxy::start(config(&up.base())).addr, &message("hi", false));
    assert_eq!((answer.status, answer.error().0.as_str()), (400, "invalid_request_error"));
}
