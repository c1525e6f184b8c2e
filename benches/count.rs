//! What counting costs: `cargo bench --bench count`.
//!
//! The request has the shape of a Claude Code session under way: 120 KB, 25 tools, 41 messages. Its
//! text is this repository's: prose in the system prompt and the tools, sources in the results.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::hint::black_box;

use claude_proxy::convert::count::{Known, count_tokens, tokens};
use claude_proxy::convert::{ModelSpec, Profile};
use claude_proxy::wire::anthropic::Request;
use divan::Bencher;
use divan::counter::BytesCount;
use serde_json::{Value, json};

fn main() {
    // The first use is measured apart.
    tokens("", &mut || ());
    divan::main();
}

const PROSE: &str = concat!(include_str!("../README.md"), include_str!("../docs/providers.md"));
const CODE: &str = concat!(
    include_str!("../src/convert/machine/mod.rs"),
    include_str!("../src/convert/messages.rs"),
    include_str!("../src/convert/request.rs"),
    include_str!("../src/server/listen.rs"),
    include_str!("../tests/conformance/judge.py"),
);

/// The `n`th part of that size; from the beginning again after the end.
fn part(text: &str, bytes: usize, n: usize) -> String {
    let from = n * bytes % text.len();
    String::from_utf8_lossy(&text.as_bytes()[from..text.len().min(from + bytes)]).into_owned()
}

fn claude_code() -> Vec<u8> {
    let tool = |i: usize| {
        json!({"name": format!("tool_{i:02}"), "description": part(PROSE, 1100, i), "input_schema": {
            "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {
                "file_path": {"type": "string", "description": "The absolute path of the file to work on"},
                "pattern": {"type": "string", "description": part(PROSE, 120, 500 + i)},
                "offset": {"type": "number", "description": "The line number to start reading from"},
                "mode": {"type": "string", "enum": ["content", "files_with_matches", "count"]}},
            "required": ["file_path"], "additionalProperties": false}})
    };
    let mut messages = vec![json!({"role": "user", "content": part(PROSE, 900, 60)})];
    for t in 0..20 {
        let id = format!("toolu_01bench{t:014}");
        messages.push(json!({"role": "assistant", "content": [
            {"type": "text", "text": part(PROSE, 220, 300 + t)},
            {"type": "tool_use", "id": id, "name": format!("tool_{t:02}"), "input": {
                "file_path": format!("/home/user/project/src/module_{t}/parser.rs"),
                "pattern": "fn\\s+parse_\\w+\\(\"", "offset": t * 100, "limit": 200}}]}));
        messages.push(json!({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": id, "content": part(CODE, 2750, t)}]}));
    }
    let tools: Vec<Value> = (0..25).map(tool).collect();
    json!({"model": "m", "messages": messages, "system": part(PROSE, 12_000, 2), "tools": tools})
        .to_string()
        .into_bytes()
}

fn count(body: &[u8], known: &Known) -> u64 {
    let request = Request::parse_for_count(body).unwrap();
    let profile = Profile::named("generic").unwrap();
    count_tokens(&request, profile, &ModelSpec::default(), known, &mut || ()).unwrap()
}

/// Nothing is remembered, neither here nor by the tokenizer, which remembers words by thread.
fn cold(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap());
}

#[divan::bench]
fn request_120kb_cold(bencher: Bencher) {
    let body = claude_code();
    bencher.counter(BytesCount::of_slice(&body)).bench_local(|| {
        cold(|| {
            black_box(count(&body, &Known::default()));
        });
    });
}

#[divan::bench]
fn request_120kb_same_thread(bencher: Bencher) {
    let body = claude_code();
    bencher.counter(BytesCount::of_slice(&body)).bench_local(|| count(black_box(&body), &Known::default()));
}

#[divan::bench]
fn request_120kb_known(bencher: Bencher) {
    let (body, known) = (claude_code(), Known::default());
    bencher.counter(BytesCount::of_slice(&body)).bench_local(|| count(black_box(&body), &known));
}

/// 120 KB of one kind of text, cold.
#[divan::bench(args = ["prose", "code", "chinese", "russian", "emoji", "spaces", "one word", "base64"])]
fn text_120kb_cold(bencher: Bencher, kind: &str) {
    let unit = match kind {
        "prose" => PROSE,
        "code" => CODE,
        "chinese" => "代理把请求转换成另一种格式，然后把回答流式地送回客户端。超时、重试和错误都会如实报告。",
        "russian" => "Прокси переводит запросы в другой формат и возвращает ответ потоком. ",
        "emoji" => "👩‍💻🎉✅ ❌🚀🔥 ",
        "spaces" => "                ",
        "one word" => "abracadabra",
        _ => "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=",
    };
    let text: String = unit
        .chars()
        .cycle()
        .scan(0, |n, c| {
            *n += c.len_utf8();
            (*n <= 120_000).then_some(c)
        })
        .collect();
    bencher.counter(BytesCount::of_str(&text)).bench_local(|| {
        cold(|| {
            black_box(tokens(&text, &mut || ()));
        });
    });
}
