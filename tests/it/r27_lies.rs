//! R27: an upstream that lies. Each lie has its outcome in the table, for a client that wants a
//! stream and for one that does not: never a panic, never a success that is none.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::grammar::End;
use crate::support::tls::Authority;
use crate::support::upstream::{Conn, http};
use crate::support::*;

/// What a client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    /// A whole answer with this text.
    Complete(&'static str),
    /// A stream with this text, then an `error` with these words.
    Broken(&'static str, &'static str),
    /// An HTTP error with these words.
    Refused(u16, &'static str),
}
use Got::{Broken, Complete, Refused};

/// One lie: what goes over the wire, a pause between the pieces, and what comes of it.
struct Lie {
    name: String,
    pieces: Vec<Vec<u8>>,
    /// The connection stays open afterwards.
    open: bool,
    stream: Got,
    whole: Got,
}

fn lie(name: impl Into<String>, wire: impl Into<Vec<u8>>, stream: Got, whole: Got) -> Lie {
    Lie { name: name.into(), pieces: vec![wire.into()], open: false, stream, whole }
}

const SSE: (&str, &str) = ("content-type", "text/event-stream");
const JSON: (&str, &str) = ("content-type", "application/json");

fn sse(body: &str) -> String {
    http(200, &[SSE], body)
}

fn hello() -> String {
    [text("Hello"), finish("stop"), usage(), DONE.to_owned()].concat()
}

fn deltas(deltas: &[Value]) -> String {
    deltas.iter().fold(String::new(), |mut out, delta| {
        let chunk = json!({"id": "c", "choices": [{"index": 0, "delta": delta}]});
        write!(out, "data: {chunk}\n\n").unwrap();
        out
    })
}

/// Sends each lie, in both forms, and compares.
fn judge(lies: &[Lie]) {
    judge_over(None, lies);
}

fn judge_over(tls: Option<&Authority>, lies: &[Lie]) {
    let pieces: Vec<(Vec<Vec<u8>>, bool)> = lies.iter().map(|l| (l.pieces.clone(), l.open)).collect();
    let pieces = Arc::new(pieces);
    let script = move |mut conn: Conn| {
        while let Some(seen) = conn.quiet_request() {
            let body: Value = serde_json::from_slice(&seen.body).unwrap();
            let which = body["messages"][0]["content"].as_str().unwrap();
            if which == "honest" {
                conn.write(upstream::ok(&completion("honest")));
                continue;
            }
            let (pieces, open) = &pieces[which.parse::<usize>().unwrap()];
            for (n, piece) in pieces.iter().enumerate() {
                if n > 0 {
                    std::thread::sleep(Duration::from_millis(20));
                }
                conn.write(piece);
            }
            if !open {
                return conn.close();
            }
        }
    };
    let (up, config) = reached(tls, script);
    let proxy = Proxy::start(config);
    let mut wrong = Vec::new();
    for (n, lie) in lies.iter().enumerate() {
        for (stream, want) in [(true, &lie.stream), (false, &lie.whole)] {
            let answer = post(proxy.addr, &message(&n.to_string(), stream));
            let got = told(&answer, stream);
            let fits = match want {
                Complete(text) => got == format!("complete {text:?}"),
                Broken(text, words) => got.starts_with(&format!("broken {text:?}: ")) && got.contains(words),
                Refused(status, words) => got.starts_with(&format!("{status}: ")) && got.contains(words),
            };
            if !fits {
                wrong.push(format!("{} (stream {stream}): wanted {want:?}, got {got}", lie.name));
            }
            // Whatever it was, it meets nobody else.
            let next = post(proxy.addr, &message("honest", false));
            if next.status != 200 || next.json()["content"][0]["text"] != "honest" {
                wrong.push(format!("{}: the next request got {next:?}", lie.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eprintln!(
        "R27 {} lies in both forms over {} upstream connections, TLS {}",
        lies.len(),
        up.connections(),
        tls.is_some()
    );
}

fn told(answer: &client::Answer, stream: bool) -> String {
    assert!(answer.complete, "{answer:?}");
    if answer.status != 200 {
        let (_, message) = answer.error();
        return format!("{}: {message}", answer.status);
    }
    if !stream {
        let body = answer.json();
        let blocks = body["content"].as_array().unwrap();
        let text: String = blocks.iter().filter_map(|b| b["text"].as_str()).collect();
        return format!("complete {text:?}");
    }
    let (events, end) = answer.events();
    match end {
        End::Complete => format!("complete {:?}", answer.text()),
        End::Error => format!("broken {:?}: {}", answer.text(), events.last().unwrap()["error"]["message"]),
        End::Open => "an open end".into(),
    }
}

#[test]
fn about_what_the_body_is() {
    let html = "<html><head><title>Gateway of tomorrow</title></head></html>";
    let not_json = "upstream returned HTTP 200 with a non-JSON body";
    let error = json!({"error": {"message": "no more room", "code": 503}}).to_string();
    let mut lies = vec![
        lie(
            "JSON for a stream, a stream for JSON",
            http(200, &[JSON], &completion("Hello")),
            Complete("Hello"),
            Complete("Hello"),
        ),
        lie(
            "200 and an error",
            http(200, &[JSON], &error),
            Refused(529, "no more room"),
            Refused(529, "no more room"),
        ),
        lie(
            "200 and an error in a stream",
            sse(&format!("data: {error}\n\n")),
            Refused(529, "no more room"),
            Refused(529, "no more room"),
        ),
        lie(
            "an error in mid-stream",
            sse(&format!("{}data: {error}\n\n{}", text("Hel"), hello())),
            Broken("Hel", "no more room"),
            Refused(529, "no more room"),
        ),
        lie(
            "an error event in mid-stream",
            sse(&format!("{}event: error\ndata: {{\"message\":\"no more room\"}}\n\n", text("Hel"))),
            Broken("Hel", "no more room"),
            Refused(502, "no more room"),
        ),
        lie("a JSON string", http(200, &[JSON], "\"Hello\""), Refused(502, not_json), Refused(502, not_json)),
        lie("null", http(200, &[JSON], "null"), Refused(502, not_json), Refused(502, not_json)),
        lie(
            "an empty object",
            http(200, &[JSON], "{}"),
            Refused(502, "empty response"),
            Refused(502, "empty response"),
        ),
        lie("an empty list", http(200, &[JSON], "[]"), Refused(502, not_json), Refused(502, not_json)),
        lie(
            "two objects",
            http(200, &[JSON], &completion("Hello").repeat(2)),
            Refused(502, not_json),
            Refused(502, not_json),
        ),
        lie(
            "plain text",
            http(200, &[("content-type", "text/plain")], "all is well"),
            Refused(502, not_json),
            Refused(502, not_json),
        ),
        lie(
            "nothing",
            http(200, &[JSON], ""),
            Refused(502, "empty response"),
            Refused(502, "empty response"),
        ),
        lie(
            "nothing but white space",
            http(200, &[SSE], "\n\n \r\n"),
            Refused(502, "empty response"),
            Refused(502, "empty response"),
        ),
        lie(
            "an empty stream",
            sse(": hello\n\n"),
            Refused(502, "empty response"),
            Refused(502, "empty response"),
        ),
        lie("nothing but [DONE]", sse(DONE), Refused(502, "empty response"), Refused(502, "empty response")),
        lie(
            "a stream that is no JSON",
            sse("data: all\n\ndata: is\n\ndata: well\n\ndata: [DONE]\n\n"),
            Refused(502, "3 that are not JSON"),
            Refused(502, "3 that are not JSON"),
        ),
    ];
    for kind in
        ["text/event-stream", "application/json", "text/plain", "text/html; charset=utf-8", "nonsense", ""]
    {
        let kind = ("content-type", kind);
        lies.push(lie(
            format!("a page as {kind:?}"),
            http(200, &[kind], html),
            Refused(502, not_json),
            Refused(502, not_json),
        ));
        lies.push(lie(
            format!("a stream as {kind:?}"),
            http(200, &[kind], &hello()),
            Complete("Hello"),
            Complete("Hello"),
        ));
        lies.push(lie(
            format!("a completion as {kind:?}"),
            http(200, &[kind], &completion("Hello")),
            Complete("Hello"),
            Complete("Hello"),
        ));
    }
    let marked = format!("\u{FEFF}{}", completion("Hello"));
    lies.push(lie(
        "a byte order mark before JSON",
        http(200, &[JSON], &marked),
        Complete("Hello"),
        Complete("Hello"),
    ));
    lies.push(lie("no content-type", http(200, &[], &hello()), Complete("Hello"), Complete("Hello")));
    judge(&lies);
}

#[test]
fn about_what_a_stream_looks_like() {
    let mut lies = Vec::new();
    let mut fine = |name: &str, body: String| {
        lies.push(lie(name, sse(&body), Complete("Hello"), Complete("Hello")));
    };
    fine("a byte order mark", format!("\u{FEFF}{}", hello()));
    fine("CRLF", hello().replace('\n', "\r\n"));
    fine("CR", hello().replace('\n', "\r"));
    fine(
        "all line ends",
        format!("{}{}", text("Hel").replace('\n', "\r"), text("lo").replace('\n', "\r\n"))
            + &finish("stop")
            + &DONE.replace('\n', "\r"),
    );
    fine("comments", format!(": a\n\n:\n:b\r\n{}: c\n\n{}", text("Hello"), finish("stop") + DONE));
    fine("event, id and retry fields", {
        let event = |body: &str| format!("id: 7\nretry: 3\nevent: message\nunknown: x\nunknown\n{body}");
        [text("Hello"), finish("stop"), DONE.into()].iter().map(|e| event(e)).collect()
    });
    fine("no space after the colon", hello().replace("data: ", "data:"));
    fine("data of several lines", hello().replace("{\"id\"", "{\ndata: \"id\""));
    fine("empty data lines", format!("data:\n\ndata\n\n{}data:\n\n{}", text("Hello"), finish("stop") + DONE));
    fine(
        "notes between the chunks",
        format!("data: working\n\n{}data: {{broken\n\n{}", text("Hello"), finish("stop") + DONE),
    );
    fine(
        "null bytes between the chunks",
        format!("{}\0\0\n\ndata: \0\n\n{}", text("Hello"), finish("stop") + DONE),
    );
    fine("no role", deltas(&[json!({"content": "Hello"})]) + &finish("stop") + DONE);
    fine(
        "a role in every chunk",
        deltas(&[
            json!({"role": "assistant", "content": "Hel"}),
            json!({"role": "assistant", "content": "lo"}),
        ]) + &finish("stop")
            + DONE,
    );
    fine(
        "empty choices",
        format!(
            "data: {{\"choices\":[]}}\n\n{}data: {{\"choices\":[]}}\n\n{}",
            text("Hello"),
            finish("stop") + DONE
        ),
    );
    fine(
        "choices that are null",
        format!("data: {{\"choices\":null}}\n\n{}{}", text("Hello"), finish("stop") + DONE),
    );
    fine("changing ids and models", ["Hel", "lo"].iter().enumerate().fold(String::new(), |out, (n, word)| {
        out + &format!("data: {}\n\n", json!({"id": format!("id{n}"), "model": n, "choices": [{"index": 0, "delta": {"content": word}}]}))
    }) + &finish("stop") + DONE);
    fine(
        "wrong types",
        deltas(&[
            json!({"content": 7, "tool_calls": "none", "role": 3}),
            json!({"content": "Hello", "tool_calls": {}, "refusal": false}),
            json!({"content": {"text": "no"}, "reasoning_content": []}),
        ]) + &finish("stop")
            + DONE,
    );
    fine("two finish_reasons", format!("{}{}{}{}", text("Hello"), finish("stop"), finish("stop"), DONE));
    fine("null bytes in the text", hello().replace("Hello", "Hel\\u0000lo")); // Checked below.
    lies.last_mut().unwrap().stream = Complete("Hel\0lo");
    lies.last_mut().unwrap().whole = Complete("Hel\0lo");
    // Line ends that a read splits.
    for at in 0..3 {
        let body = format!("{}\r\n\r\n{}", text("Hello").trim_end(), finish("stop") + DONE);
        let wire = sse(&body);
        let cut = wire.rfind("\r\n\r\ndata").unwrap() + 1 + at;
        let (a, b) = wire.as_bytes().split_at(cut);
        lies.push(Lie {
            pieces: vec![a.to_vec(), b.to_vec()],
            ..lie(format!("a line end split at {at}"), "", Complete("Hello"), Complete("Hello"))
        });
    }
    let marked = sse(&format!("\u{FEFF}{}", hello()));
    for at in 1..3 {
        let (a, b) = marked.as_bytes().split_at(marked.find('\u{FEFF}').unwrap() + at);
        lies.push(Lie {
            pieces: vec![a.to_vec(), b.to_vec()],
            ..lie(format!("a byte order mark split at {at}"), "", Complete("Hello"), Complete("Hello"))
        });
    }
    let cut = "before the response was complete";
    lies.push(lie("nothing after text", sse(&text("Hel")), Broken("Hel", cut), Refused(502, cut)));
    lies.push(lie(
        "invalid JSON instead of the end",
        sse(&(text("Hel") + "data: {\"choices\":[{\n\n")),
        Broken("Hel", cut),
        Refused(502, cut),
    ));
    lies.push(lie(
        "one more than [DONE]",
        sse(&(hello() + &text("more"))),
        Complete("Hello"),
        Complete("Hello"),
    ));
    judge(&lies);
}

#[test]
fn about_tool_calls() {
    let call = |index: Value, id: &str, name: &str, arguments: &str| json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]});
    let end = finish("tool_calls") + DONE;
    let stream = |all: &[Value]| sse(&(deltas(&[json!({"content": "Hel"})]) + &deltas(all) + &end));
    let cut = "incomplete JSON arguments for tool f";
    let mut lies = Vec::new();
    let mut fine =
        |name: &str, all: &[Value]| lies.push(lie(name, stream(all), Complete("Hel"), Complete("Hel")));
    fine("gaps between indexes", &[call(json!(3), "a", "f", "{}"), call(json!(90), "b", "g", "{}")]);
    fine("no index", &[json!({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]})]);
    fine("an index that is no number", &[call(json!("x"), "a", "f", "{}")]);
    fine(
        "an index beyond all bounds",
        &[call(json!(1e300), "a", "f", "{}"), call(json!(-1), "b", "g", "{}")],
    );
    fine("the id changes in mid-call", &[call(json!(0), "a", "f", "{\"x\":"), call(json!(0), "b", "", "1}")]);
    fine(
        "arguments that are an object",
        &[json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]})],
    );
    fine(
        "arguments that are null",
        &[json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": null}}]})],
    );
    fine("no arguments", &[call(json!(0), "a", "f", "")]);
    fine("something behind the arguments", &[call(json!(0), "a", "f", "{\"x\":1} and that was that")]);
    fine("a call without a name", &[call(json!(0), "a", "", "{}")]);
    let mut bad = |name: &str, all: &[Value], words: &'static str| {
        lies.push(lie(name, stream(all), Broken("Hel", words), Refused(502, words)));
    };
    bad("arguments that end in the middle", &[call(json!(0), "a", "f", "{\"x\":")], cut);
    bad(
        "arguments that are no JSON",
        &[call(json!(0), "a", "f", "{x: 1}")],
        "invalid JSON arguments for tool f",
    );
    bad("arguments that are a list", &[call(json!(0), "a", "f", "[1]")], "non-object arguments for tool f");
    judge(&lies);
}

#[test]
fn about_the_head() {
    let body = completion("Hello");
    let fine = |name: &str, wire: String| lie(name, wire, Complete("Hello"), Complete("Hello"));
    let refused = |name: &str, wire: String, words: &'static str| {
        lie(name, wire, Refused(502, words), Refused(502, words))
    };
    let head = |line: &str, more: &str| {
        format!(
            "{line}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{more}\r\n{body}",
            body.len()
        )
    };
    let interim = |status: &str| format!("HTTP/1.1 {status}\r\nlink: </a>; rel=preload\r\n\r\n");
    let good = head("HTTP/1.1 200 OK", "");
    let not_http = "not valid HTTP";
    let mut lies = vec![
        refused("status 000", head("HTTP/1.1 000 X", ""), not_http),
        refused("status 099", head("HTTP/1.1 099 X", ""), not_http),
        refused("status 20", head("HTTP/1.1 20 X", ""), not_http),
        refused("status 2000", head("HTTP/1.1 2000 X", ""), not_http),
        refused("status -1", head("HTTP/1.1 -1 X", ""), not_http),
        refused("no status", head("HTTP/1.1", ""), not_http),
        refused("another protocol", head("ICY 200 OK", ""), not_http),
        refused("HTTP/2.0 in HTTP/1's clothes", head("HTTP/2.0 200 OK", ""), not_http),
        refused("status 600", http(600, &[JSON], "{}"), "HTTP 600"),
        refused("status 999", http(999, &[JSON], "{}"), "HTTP 999"),
        refused("an empty head", "\r\n\r\n".into(), ""),
        refused("a header without a colon", head("HTTP/1.1 200 OK", "nonsense\r\n"), not_http),
        refused("a null byte in a header", head("HTTP/1.1 200 OK", "x: a\0b\r\n"), not_http),
        refused("a folded header", head("HTTP/1.1 200 OK", "x: a\r\n b\r\n"), not_http),
        refused("97 headers", head("HTTP/1.1 200 OK", &"x: y\r\n".repeat(97)), not_http),
        refused(
            "a length that is no number",
            head("HTTP/1.1 200 OK", "").replace("content-length: ", "content-length: x"),
            not_http,
        ),
        refused(
            "a negative length",
            head("HTTP/1.1 200 OK", "").replace("content-length: ", "content-length: -"),
            not_http,
        ),
        refused("two lengths", head("HTTP/1.1 200 OK", "content-length: 3\r\n"), not_http),
        refused(
            "an unknown transfer-encoding",
            head("HTTP/1.1 200 OK", "transfer-encoding: gzip\r\n"),
            not_http,
        ),
        fine("lower case, no reason", head("HTTP/1.1 200", "")),
        fine("status 201", head("HTTP/1.1 201 Created", "")),
        fine("status 299", head("HTTP/1.1 299 Odd", "")),
        fine("HTTP/1.0", head("HTTP/1.0 200 OK", "")),
        fine("HTTP/1.0 without a length", format!("HTTP/1.0 200 OK\r\n\r\n{body}")),
        fine("a length of spaces and a number", good.replace("content-length: ", "content-length:   ")),
        refused("204", "HTTP/1.1 204 No Content\r\n\r\n".into(), "empty response"),
        refused("205", "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n".into(), "empty response"),
        refused("304", "HTTP/1.1 304 Not Modified\r\n\r\n".into(), "HTTP 304"),
        refused(
            "101",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc".into(),
            "interim status, 101",
        ),
        refused(
            "a redirect without a place",
            "HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n".into(),
            "redirect",
        ),
        refused("too long by half", good.replace("content-length: ", "content-length: 1"), "cut off after"),
        refused(
            "too short",
            head("HTTP/1.1 200 OK", "")
                .replace(&format!("content-length: {}", body.len()), "content-length: 20"),
            "non-JSON",
        ),
        refused("a chunk head that is no number", chunked("zz\r\n"), "the connection broke"),
        refused("a chunk larger than all memory", chunked("fffffffffffffffff\r\n"), ""),
        refused("a chunk without its end", chunked("5\r\nhelloXX"), ""),
    ];
    let size = body.len();
    lies.push(fine("chunk extensions", chunked(&format!("{size:x};a=b;c\r\n{body}\r\n0\r\n\r\n"))));
    lies.push(fine("trailers", chunked(&format!("{size:x}\r\n{body}\r\n0\r\nx: y\r\nz: 1\r\n\r\n"))));
    lies.push(fine("upper-case sizes with zeros", chunked(&format!("000{size:X}\r\n{body}\r\n000\r\n\r\n"))));
    lies.push(fine("two answers to one request", good.repeat(2)));
    for status in ["100 Continue", "102 Processing", "103 Early Hints", "199 Odd"] {
        lies.push(fine(&format!("{status} before"), interim(status) + &good));
        lies.push(fine(&format!("{status}, many of them"), interim(status).repeat(20) + &good));
        for open in [true, false] {
            let pieces = vec![interim(status).into_bytes(), good.clone().into_bytes()];
            let name = format!("{status}, then a pause, then the answer; stays open: {open}");
            lies.push(Lie { pieces, open, ..fine(&name, String::new()) });
        }
        lies.push(refused(&format!("{status} alone"), interim(status), "without an answer"));
    }
    // The head in two reads, at every byte; an interim one before it.
    let wire = interim("103 Early Hints") + &good;
    for at in 1..wire.len() - body.len() {
        let (a, b) = wire.as_bytes().split_at(at);
        let pieces = vec![a.to_vec(), b.to_vec()];
        if at % 5 == 0 {
            lies.push(Lie { pieces, ..fine(&format!("a head split at {at}"), String::new()) });
        }
    }
    judge(&lies);
    judge_over(Some(&Authority::new("Test CA")), &lies);
}

fn chunked(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{body}")
}
