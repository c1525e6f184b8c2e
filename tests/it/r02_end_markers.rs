//! R2: `[DONE]` missing but `finish_reason` seen is a success; both missing is a cut stream (R1);
//! data after `[DONE]` is ignored.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::grammar::End;
use crate::support::upstream::{Conn, http};
use crate::support::*;

/// How the upstream's body and connection end.
const ENDS: [&str; 5] = ["length", "chunked", "chunked, closed", "chunked, reset", "unframed"];

fn send(conn: &mut Conn, body: &str, end: &str) -> bool {
    match end {
        "length" => conn.write(http(200, &[("content-type", "text/event-stream")], body)),
        "unframed" => {
            conn.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
            conn.write(body);
            false
        }
        _ => {
            conn.stream_head();
            conn.chunk(body);
            if end == "chunked" {
                conn.end_chunks();
            }
            end == "chunked"
        }
    }
}

/// Sends the body each way, to a client that wants a stream and to one that does not.
fn each_way(body: &str, check: impl Fn(&str, bool, client::Answer)) {
    for end in ENDS {
        let (body, what) = (body.to_owned(), end);
        let up = Upstream::start(move |mut conn| {
            while conn.request().is_some() {
                if !send(&mut conn, &body, what) {
                    if what == "chunked, reset" {
                        std::thread::sleep(Duration::from_millis(100));
                        return conn.reset();
                    }
                    return conn.close();
                }
            }
        });
        let proxy = Proxy::start(config(&up.base()));
        for stream in [true, false] {
            check(end, stream, post(proxy.addr, &message("hi", stream)));
        }
        assert_eq!(up.seen().len(), 2, "no second attempts");
    }
}

fn complete(body: &str, text: &str, stop_reason: &str, output_tokens: Option<u64>) {
    each_way(body, |end, stream, answer| {
        let at = format!("{body:?} {end} {stream}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!((answer.status, answer.complete), (200, true), "{at}");
        let told: Value = if stream {
            let (events, end) = answer.events();
            assert_eq!((end, answer.text().as_str()), (End::Complete, text), "{at}");
            events.iter().find(|e| e["type"] == "message_delta").unwrap().clone()
        } else {
            assert_eq!(answer.json()["content"][0]["text"], text, "{at}");
            answer.json()
        };
        let reason = if stream { &told["delta"]["stop_reason"] } else { &told["stop_reason"] };
        assert_eq!(reason, stop_reason, "{at}");
        if let Some(tokens) = output_tokens {
            assert_eq!(told["usage"]["output_tokens"], tokens, "{at}");
        }
    });
}

#[test]
fn finish_reason_is_enough() {
    complete(&[text("Hello"), finish("stop")].concat(), "Hello", "end_turn", None);
    complete(&[text("Hello"), finish("length")].concat(), "Hello", "max_tokens", None);
    complete(&[text("Hello"), finish("stop"), usage()].concat(), "Hello", "end_turn", Some(3));
    // The last event lacks its blank line, or its line end.
    let cut = [text("Hello"), finish("stop")].concat();
    complete(cut.trim_end(), "Hello", "end_turn", None);
    // A marker, or a usage, that was cut: neither is needed.
    for rest in ["data: [DO", "data: {\"choices\":[],\"usage\":{\"prompt_tok", "da", ": comm"] {
        complete(&[text("Hello"), finish("stop"), rest.into()].concat(), "Hello", "end_turn", None);
    }
}

#[test]
fn the_marker_is_enough() {
    for marker in ["data: [DONE]\n\n", "data:[DONE]\n\n", "data: [DONE] \r\n\r\n", "data: [DONE]"] {
        complete(&[text("Hello"), marker.into()].concat(), "Hello", "end_turn", None);
    }
}

#[test]
fn neither_is_a_cut_stream() {
    let usage_only = [text("Hello"), usage()].concat();
    let half = format!(
        "{}data: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"",
        text("Hello")
    );
    for body in [text("Hello"), usage_only, half, text("Hello") + "data: [DON"] {
        each_way(&body, |end, stream, answer| {
            if !stream {
                assert_eq!((answer.status, answer.error().0.as_str()), (502, "api_error"), "{end}");
                return;
            }
            let (events, how) = answer.events();
            assert_eq!((how, answer.text().as_str()), (End::Error, "Hello"), "{end}");
            assert_eq!(events.iter().filter(|e| e["type"] == "error").count(), 1);
        });
    }
}

#[test]
fn nothing_counts_after_the_marker() {
    let after = [
        text(" and more"),
        finish("length"),
        "data: {\"error\":{\"message\":\"too late\"}}\n\n".into(),
        "event: error\ndata: {\"message\":\"too late\"}\n\n".into(),
        DONE.into(),
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\n".into(),
        "\0\u{FFFD}garbage".into(),
    ];
    for after in after {
        let body = [text("Hello"), finish("stop"), usage(), DONE.into(), after].concat();
        complete(&body, "Hello", "end_turn", Some(3));
    }
}

#[test]
fn what_comes_late_after_the_marker_meets_no_other_request() {
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let name = seen.json()["messages"][0]["content"].as_str().unwrap().to_owned();
            conn.stream_head();
            for event in [&text(&name), &finish("stop"), DONE] {
                conn.chunk(event);
            }
            std::thread::sleep(Duration::from_millis(30));
            conn.chunk(text("late"));
            conn.end_chunks();
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    for n in 0..20 {
        let name = format!("request {n}");
        let answer = post(proxy.addr, &message(&name, true));
        assert_eq!((answer.events().1, answer.text()), (End::Complete, name));
    }
}

#[test]
fn done_ends_it_though_the_connection_stays_open() {
    let up = Upstream::start(|mut conn| {
        if conn.request().is_some() {
            conn.stream_head();
            for event in [&text("Hello"), &finish("stop"), &usage(), DONE] {
                conn.chunk(event);
            }
            conn.hang();
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    let began = Instant::now();
    let answer = post(proxy.addr, &message("hi", true));
    assert_eq!((answer.events().1, answer.complete), (End::Complete, true));
    assert!(began.elapsed() < Duration::from_secs(4));
    eventually("the connection was closed", || up.gone() == 1);
}

#[test]
fn silence_after_finish_reason_ends_it_well() {
    let up = Upstream::start(|mut conn| {
        if conn.request().is_some() {
            conn.stream_head();
            conn.chunk(text("Hello"));
            conn.chunk(finish("stop"));
            conn.hang();
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let answer = post(proxy.addr, &message("hi", true));
            assert_eq!((answer.events().1, answer.text().as_str()), (End::Complete, "Hello"));
        });
        scope.spawn(|| {
            let answer = post(proxy.addr, &message("hi", false));
            assert_eq!(answer.json()["content"][0]["text"], "Hello");
        });
    });
    eventually("the upstream was let go", || up.gone() == 2);
}
