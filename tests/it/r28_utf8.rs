//! R28: UTF-8 may be split anywhere: between TCP segments, chunks and, as JSON's escapes,
//! between deltas. What is no UTF-8, and half a character without its other half, becomes
//! U+FFFD, in streams and in whole answers alike.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::grammar::End;
use crate::support::*;

const TEXT: &str = "a\u{1F600}\u{e9}\u{20AC}\u{10FFFF}z";

fn chunk(delta: &Value) -> String {
    format!("data: {}\n\n", json!({"id": "c", "choices": [{"index": 0, "delta": delta}]}))
}

/// A stream with these characters in reasoning, text and arguments, plain or as escapes.
fn stream_of(text: &str, escaped: bool) -> Vec<u8> {
    let call = |more: &Value| {
        let mut call = json!({"index": 0, "function": {"arguments": json!({"t": text}).to_string()}});
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call["function"]["name"] = "f".into();
        chunk(&json!({"tool_calls": [call]}))
    };
    let all = [
        chunk(&json!({"reasoning_content": text})),
        chunk(&json!({"content": text})),
        call(&json!({"id": "call_1"})),
        finish("tool_calls"),
        DONE.to_owned(),
    ];
    let all = all.concat();
    if !escaped {
        return all.into_bytes();
    }
    let mut out = String::new();
    for c in all.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").unwrap();
            }
        }
    }
    out.into_bytes()
}

fn request(n: usize) -> Vec<u8> {
    json!({"model": "m", "max_tokens": 4096, "stream": true, "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [{"role": "user", "content": format!("cut {n:06} .")}]})
    .to_string()
    .into_bytes()
}

/// Ids aside.
fn events(answer: &client::Answer) -> Vec<Value> {
    let (mut events, end) = answer.events();
    assert_eq!(end, End::Complete);
    events[0]["message"]["id"] = Value::Null;
    events
}

/// Sends the stream in two pieces for every cut, and byte by byte, and compares the answers.
fn every_cut(name: &'static str, wire: Vec<u8>, segments: bool) {
    let cuts = wire.len();
    let script = wire.clone();
    let up = Upstream::start(move |mut conn| {
        while let Some(seen) = conn.quiet_request() {
            let body = String::from_utf8(seen.body).unwrap();
            let at: usize = body[body.find("cut ").unwrap() + 4..][..6].parse().unwrap();
            let (a, b) = script.split_at(at.min(script.len()));
            if segments {
                conn.write(format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n",
                    script.len()
                ));
                conn.write(a);
                std::thread::sleep(Duration::from_millis(3));
                conn.write(b);
                continue;
            }
            conn.stream_head();
            if at > script.len() {
                let bytes: Vec<u8> =
                    script.iter().flat_map(|b| [b"1\r\n", &[*b][..], b"\r\n"].concat()).collect();
                conn.write(bytes);
            } else {
                for piece in [a, b].iter().filter(|piece| !piece.is_empty()) {
                    conn.chunk(piece);
                }
            }
            conn.end_chunks();
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    let uncut = events(&post(proxy.addr, &request(0)));
    let told = capture::Told::of(&uncut);
    assert_eq!((told.text.as_str(), told.thinking.as_str()), (TEXT, TEXT));
    assert_eq!(serde_json::from_str::<Value>(&told.arguments).unwrap()["t"], TEXT);
    let (next, began) = (AtomicUsize::new(1), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = Client::connect(proxy.addr);
                loop {
                    let cut = next.fetch_add(1, Ordering::Relaxed);
                    if cut > cuts + 1 {
                        return;
                    }
                    client.send("POST", "/v1/messages", &[], &request(cut));
                    assert_eq!(events(&client.answer()), uncut, "{name} cut at {cut}");
                }
            });
        }
    });
    eprintln!("R28 {name}: {cuts} cuts in {} ms", began.elapsed().as_millis());
    assert!(cuts > 400);
}

#[test]
fn between_segments() {
    every_cut("TCP segments, plain", stream_of(TEXT, false), true);
    every_cut("TCP segments, escapes", stream_of(TEXT, true), true);
}

#[test]
fn between_chunks() {
    every_cut("chunks, plain", stream_of(TEXT, false), false);
    every_cut("chunks, escapes", stream_of(TEXT, true), false);
}

/// What a client gets for these events, stream and whole: text, reasoning, arguments.
fn told(body: Vec<u8>) -> capture::Told {
    let body = Arc::new(body);
    let script = Arc::clone(&body);
    let up = Upstream::start(move |mut conn| {
        while conn.request().is_some() {
            conn.stream_head();
            conn.chunk(script.as_slice());
            conn.end_chunks();
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    let told = capture::Told::of(&events(&post(proxy.addr, &request(0))));
    let whole = String::from_utf8(request(0)).unwrap().replace("\"stream\":true", "\"stream\":false");
    let answer = post(proxy.addr, whole.as_bytes());
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let mut folded = capture::Told::default();
    for block in answer.json()["content"].as_array().unwrap() {
        folded.text.push_str(block["text"].as_str().unwrap_or_default());
        folded.thinking.push_str(block["thinking"].as_str().unwrap_or_default());
        if block["type"] == "tool_use" {
            folded.arguments.push_str(&block["input"].to_string());
        }
    }
    assert_eq!(folded, told, "a whole answer says the same");
    told
}

/// A delta whose string holds these escapes, as they stand.
fn raw(key: &str, inside: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"{key}\":\"{inside}\"}}}}]}}\n\n")
}

fn raw_arguments(id: &str, inside: &str) -> String {
    let id = if id.is_empty() { String::new() } else { format!("\"id\":\"{id}\",") };
    let name = if id.is_empty() { "" } else { "\"name\":\"f\"," };
    format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{{\"index\":0,{id}\"function\":{{{name}\"arguments\":\"{inside}\"}}}}]}}}}]}}\n\n"
    )
}

#[test]
fn a_pair_of_escapes_split_over_two_deltas_is_one_character() {
    let end = [finish("stop"), DONE.to_owned()].concat();
    for (pieces, want) in [
        (&["a\\ud83d", "\\ude00b"][..], "a\u{1F600}b"),
        (&["a", "\\uD83D", "\\uDE00", "b"], "a\u{1F600}b"),
        (&["a\\ud83d", "", "\\ude00\\ud83d", "\\ude01"], "a\u{1F600}\u{1F601}"),
        // Halves that stay alone.
        (&["a\\ud83d", "b"], "a\u{FFFD}b"),
        (&["a\\ude00", "b"], "a\u{FFFD}b"),
        (&["a\\ud83d\\ud83d", "\\ude00"], "a\u{FFFD}\u{1F600}"),
        (&["ab\\ud83d"], "ab\u{FFFD}"),
        (&["a\\\\ud83d", "\\\\ude00"], "a\\ud83d\\ude00"),
    ] {
        let deltas = |key: &str| pieces.iter().map(|p| raw(key, p)).collect::<String>();
        assert_eq!(told((deltas("content") + &end).into()).text, want, "{pieces:?}");
        let thought = deltas("reasoning_content") + &raw("content", "ok") + &end;
        let got = told(thought.into());
        assert_eq!((got.thinking.as_str(), got.text.as_str()), (want, "ok"), "{pieces:?}");
        let mut call = raw_arguments("call_1", "{\\\"t\\\":\\\"");
        for piece in pieces {
            // In arguments a backslash of the text is one of the JSON inside.
            call.push_str(&raw_arguments("", &piece.replace("\\\\", "\\\\\\\\")));
        }
        let got = told((call + &raw_arguments("", "\\\"}") + &finish("tool_calls") + DONE).into());
        assert_eq!(serde_json::from_str::<Value>(&got.arguments).unwrap(), json!({"t": want}), "{pieces:?}");
    }
    // Another part of the answer comes between the halves: they are not one character.
    let mixed =
        raw("content", "a\\ud83d") + &raw("reasoning_content", "t") + &raw("content", "\\ude00b") + &end;
    let got = told(mixed.into());
    assert_eq!((got.text.as_str(), got.thinking.as_str()), ("a\u{FFFD}\u{FFFD}b", "t"));
    let call = raw("content", "a\\ud83d") + &raw_arguments("call_1", "{}") + &end;
    assert_eq!(told(call.into()).text, "a\u{FFFD}");
}

#[test]
fn what_is_no_utf8_becomes_the_replacement_character() {
    let end = [finish("stop"), DONE.to_owned()].concat();
    let with = |bytes: &[u8]| {
        let body = raw("content", "a%b").into_bytes();
        let at = body.iter().position(|b| *b == b'%').unwrap();
        [&body[..at], bytes, &body[at + 1..], end.as_bytes()].concat()
    };
    for (bytes, want) in [
        (&b"\x80"[..], "a\u{FFFD}b"),
        (b"\xFF", "a\u{FFFD}b"),
        (b"\xF0\x9F\x98", "a\u{FFFD}b"),
        (b"\xC0\xAF", "a\u{FFFD}\u{FFFD}b"),
        // A surrogate of its own, and one past the last character.
        (b"\xED\xA0\xBD", "a\u{FFFD}\u{FFFD}\u{FFFD}b"),
        (b"\xF4\x90\x80\x80", "a\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}b"),
        // Not text, but UTF-8.
        (b"\\u0000", "a\0b"),
        (b"\\ufffd\\uffff", "a\u{FFFD}\u{FFFF}b"),
    ] {
        assert_eq!(told(with(bytes)).text, want, "{bytes:x?}");
    }
    // The bytes of one character in two events: neither is UTF-8.
    for at in 1..4 {
        let (a, b) = "\u{1F600}".as_bytes().split_at(at);
        let mut body = with(a);
        body.truncate(body.len() - end.len());
        body.extend(with(b));
        // The beginning is one mistake; each byte that continues nothing is one of its own.
        let want = format!("a\u{FFFD}ba{}b", "\u{FFFD}".repeat(4 - at));
        assert_eq!(told(body).text, want);
    }
    // A whole completion.
    let mut body = completion("a%b").into_bytes();
    let at = body.iter().position(|b| *b == b'%').unwrap();
    body.splice(at..=at, *b"\xF0\x9F\x98");
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let up = Upstream::answering([head.as_bytes(), &body].concat());
    let proxy = Proxy::start(config(&up.base()));
    let answer = post(proxy.addr, &message("hi", false));
    assert_eq!(answer.json()["content"][0]["text"], "a\u{FFFD}b");
    assert_eq!(answer.header("x-claude-proxy-warnings"), Some("degraded:invalid_utf8"));
    assert_eq!(post(proxy.addr, &message("hi", true)).text(), "a\u{FFFD}b");
}
