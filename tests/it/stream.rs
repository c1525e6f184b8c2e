//! Streams: whole, in the other form than asked for, one read at a time.

use std::time::Duration;

use crate::grammar::End;
use crate::support::config::add_model;
use crate::support::upstream::http;
use crate::support::*;

fn events(text_of: &str) -> String {
    [text(text_of), finish("stop"), usage(), DONE.to_owned()].concat()
}

#[test]
fn a_stream_and_its_headers() {
    let up = Upstream::start(|mut conn| {
        while conn.request().is_some() {
            conn.stream(&[&text("Hel"), &text("lo"), &finish("stop"), &usage(), DONE]);
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    let answer = post(proxy.addr, &message("hi", true));
    assert_eq!((answer.status, answer.complete), (200, true));
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert!(answer.header("request-id").unwrap().starts_with("req_"));
    let (events, end) = answer.events();
    assert_eq!((end, answer.text().as_str()), (End::Complete, "Hello"));
    let delta = events.iter().find(|e| e["type"] == "message_delta").unwrap();
    assert_eq!(delta["usage"]["output_tokens"], 3);
    assert_eq!(up.seen()[0].json()["stream"], true);
}

#[test]
fn profiles_that_always_stream_are_folded() {
    let up = Upstream::answering(http(200, &[("content-type", "text/event-stream")], &events("Hello")));
    let mut config = config(&up.base());
    add_model(&mut config, "local", &up.base(), "llamacpp");
    let proxy = Proxy::start(config);
    let body = br#"{"model":"local","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    let answer = post(proxy.addr, body);
    assert_eq!(answer.json()["content"][0]["text"], "Hello");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(up.seen()[0].json()["stream"], true);
    assert_eq!(up.seen()[0].header("accept"), Some("text/event-stream"));
}

#[test]
fn one_read_becomes_one_chunk() {
    let many: String = (0..16).map(|n| text(&format!("w{n} "))).collect();
    let up = Upstream::start(move |mut conn| {
        if conn.request().is_some() {
            conn.stream_head();
            conn.chunk(text("first"));
            std::thread::sleep(Duration::from_millis(100));
            conn.chunk(&many);
            conn.chunk([finish("stop"), DONE.to_owned()].concat());
            conn.end_chunks();
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    let mut client = Client::connect(proxy.addr);
    client.send("POST", "/v1/messages", &[], &message("hi", true));
    client.until("0\r\n\r\n");
    let raw = client.raw();
    let sizes =
        raw.split("\r\n").filter(|l| !l.is_empty() && l.chars().all(|c| c.is_ascii_hexdigit())).count();
    assert!(sizes <= 5, "head, first text, the batch, the end, and the last chunk: {sizes}");
}

/// awc gives an empty body for these (and the proxy says so, where TLS hides the head from it).
#[test]
fn bodies_that_end_with_the_connection_are_read() {
    for (kind, body) in [("text/event-stream", events("Hello")), ("application/json", completion("Hello"))] {
        // The head in one piece and byte by byte.
        for piece in [10_000, 1] {
            let body = body.clone();
            let up = Upstream::start(move |mut conn| {
                if conn.request().is_some() {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\n");
                    for piece in head.as_bytes().chunks(piece) {
                        conn.write(piece);
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    conn.write(&body);
                    conn.close();
                }
            });
            let proxy = Proxy::start(config(&up.base()));
            let answer = post(proxy.addr, &message("hi", true));
            assert_eq!((answer.events().1, answer.text().as_str()), (End::Complete, "Hello"), "{kind}");
            assert_eq!(post(proxy.addr, &message("hi", false)).json()["content"][0]["text"], "Hello");
        }
    }
}
