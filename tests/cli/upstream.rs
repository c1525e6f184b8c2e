//! An upstream that answers as a test tells it to, one request a connection.
#![expect(clippy::unnecessary_wraps, reason = "what can be answered can also be left unanswered")]

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) key: Option<String>,
    /// Null for a GET.
    pub(crate) body: Value,
}

/// What to answer; none: nothing, and the connection stays open.
pub(crate) type Answer = Option<(u16, &'static str, String)>;

type Script = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

/// Listens until the test process ends.
pub(crate) struct Upstream {
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Upstream {
    pub(crate) fn start(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(None, script)
    }

    pub(crate) fn start_with(
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, log): (Script, _) = (Arc::new(script), Arc::clone(&seen));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, log, tls) = (Arc::clone(&script), Arc::clone(&log), tls.clone());
                thread::spawn(move || match tls {
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).unwrap();
                        answer(StreamOwned::new(connection, stream), &script, &log);
                    }
                    None => answer(stream, &script, &log),
                });
            }
        });
        Self { host, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn answer(mut stream: impl Read + Write, script: &Script, log: &Mutex<Vec<Seen>>) {
    let Some(seen) = request(&mut stream) else {
        // As servers do when what comes is not HTTP.
        let _ =
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return;
    };
    log.lock().unwrap().push(seen.clone());
    let Some((status, headers, body)) = script(&seen) else {
        // Until the client has enough.
        let _ = stream.read(&mut [0]);
        return;
    };
    let kind = if body.starts_with("data:") { "text/event-stream" } else { "application/json" };
    let kind =
        if headers.contains("content-type") { String::new() } else { format!("content-type: {kind}\r\n") };
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\n{kind}{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.flush();
}

fn request(stream: &mut impl Read) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut key) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => key = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { path, key, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

/// A port on loopback where nothing listens.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    port
}

pub(crate) fn ok(body: &Value) -> Answer {
    Some((200, "", body.to_string()))
}

pub(crate) fn error(status: u16, words: &str) -> Answer {
    Some((status, "", json!({"error": {"message": words}}).to_string()))
}

/// The name of the probe that sent this; `whole`, `stream`, `list` or `other` for what is none.
pub(crate) fn probe(seen: &Seen) -> &'static str {
    let body = &seen.body;
    let text = body["messages"].to_string();
    if body.is_null() {
        return if seen.path.ends_with("/models") { "list" } else { "other" };
    }
    if body["tools"].is_array() {
        return match &body["tool_choice"] {
            Value::Object(_) => "tool_choice_named",
            Value::String(_) => "tool_choice_required",
            _ if text.contains("Tokyo") => "parallel_tools",
            _ => "tools",
        };
    }
    match () {
        () if body["response_format"].is_object() => "json_schema",
        () if body["stop"].is_array() => "stop",
        () if text.contains("image_url") => "image",
        () if text.contains("MARMALADE") => "system_in_middle",
        () if text.contains("A bat and a ball") => "reasoning",
        () if text.contains("pong") => "whole",
        () if text.contains("Count from") => "stream",
        () if text.contains("Say hello") => "usage_in_stream",
        () => "other",
    }
}

/// One whole answer.
pub(crate) fn message(message: &Value, finish: &str) -> Value {
    json!({"id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5}})
}

pub(crate) fn said(text: &str) -> Answer {
    ok(&message(&json!({"role": "assistant", "content": text}), "stop"))
}

pub(crate) fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

pub(crate) fn calls(calls: &[Value], finish: &str) -> Answer {
    ok(&message(&json!({"role": "assistant", "content": null, "tool_calls": calls}), finish))
}

/// Chunks with these deltas, one that ends the answer, and usage.
pub(crate) fn events(deltas: &[Value], finish: &str) -> Vec<String> {
    let chunk = |delta: &Value, finish: Value| {
        json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        .to_string()
    };
    let mut all: Vec<String> = deltas.iter().map(|d| chunk(d, Value::Null)).collect();
    all.push(chunk(&json!({}), finish.into()));
    all.push(
        json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
            "usage": {"prompt_tokens": 10, "completion_tokens": 20}})
        .to_string(),
    );
    all.push("[DONE]".to_owned());
    all
}

pub(crate) fn sse(events: &[String]) -> Answer {
    Some((200, "", format!("data: {}\n\n", events.join("\n\ndata: "))))
}

/// A model that can do everything.
pub(crate) fn good(seen: &Seen) -> Answer {
    let words =
        |text: &str| -> Vec<Value> { text.split_inclusive(' ').map(|w| json!({"content": w})).collect() };
    let weather = |id| call(id, "get_weather", r#"{"city":"Paris"}"#);
    match probe(seen) {
        "list" => ok(&json!({"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "me"}]})),
        "stream" | "usage_in_stream" => sse(&events(&words("1 2 3 4 5 6 7 8 9 10"), "stop")),
        "tools" => {
            let mut first = weather("a");
            first["index"] = 0.into();
            sse(&events(&[json!({"tool_calls": [first]})], "tool_calls"))
        }
        "tool_choice_named" => match seen.body["tool_choice"]["function"]["name"].as_str() {
            Some("get_time") => calls(&[call("a", "get_time", r#"{"zone":"UTC"}"#)], "stop"),
            _ => calls(&[weather("a")], "stop"),
        },
        "tool_choice_required" => calls(&[weather("a")], "tool_calls"),
        "parallel_tools" => calls(&[weather("a"), weather("b")], "tool_calls"),
        "json_schema" => said(r#"{"answer": 5, "certain": true}"#),
        "stop" => said("on"),
        "image" => said("Green, yellow."),
        "system_in_middle" => said("MARMALADE"),
        "reasoning" => {
            ok(&message(&json!({"role": "assistant", "content": "0.05", "reasoning_content": "Hm."}), "stop"))
        }
        "whole" => said("pong"),
        _ => error(404, "no such path"),
    }
}

/// Counts requests, to answer the first of a kind in another way.
#[derive(Default)]
pub(crate) struct Counter(AtomicUsize);

impl Counter {
    /// 0 for the first.
    pub(crate) fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}
