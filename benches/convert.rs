//! What the conversion costs: `cargo bench`.
//!
//! The request has the shape of a Claude Code session under way: 120 KB, 25 tools, 41 messages.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::hint::black_box;

use claude_proxy::convert::{self, ModelSpec, Profile, ReplyContext, StreamTranslator};
use claude_proxy::wire::anthropic::Request;
use claude_proxy::wire::sse::SseDecoder;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

fn filler(bytes: usize, seed: usize) -> String {
    // One line end in about fifty characters and a quoted word now and then, as in real prompts.
    const WORDS: [&str; 16] = [
        "the ",
        "parser ",
        "reads ",
        "another ",
        "line of ",
        "the file, ",
        "looks for ",
        "\"quotes\" ",
        "and ",
        "then ",
        "returns ",
        "the offset ",
        "of its ",
        "value ",
        "in bytes.\n",
        "Each token ",
    ];
    (0..)
        .map(|i| WORDS[(i * 5 + seed) % WORDS.len()])
        .scan(0, |n, w| {
            *n += w.len();
            (*n <= bytes).then_some(w)
        })
        .collect()
}

fn claude_code(stream: bool) -> Vec<u8> {
    let tool = |i: usize| {
        json!({"name": format!("tool_{i:02}"), "description": filler(900, i), "input_schema": {
            "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {
                "file_path": {"type": "string", "description": "The absolute path of the file to work on"},
                "pattern": {"type": "string", "description": filler(120, i + 1)},
                "offset": {"type": "number", "description": "The line number to start reading from"},
                "mode": {"type": "string", "enum": ["content", "files_with_matches", "count"], "description": filler(90, i + 2)},
                "todos": {"type": "array", "items": {"type": "object", "properties": {
                    "content": {"type": "string", "minLength": 1},
                    "status": {"type": "string", "enum": ["pending", "in_progress", "completed"]}},
                    "required": ["content", "status"], "additionalProperties": false}}},
            "required": ["file_path"], "additionalProperties": false}})
    };
    let mut messages = vec![json!({"role": "user", "content": [{"type": "text", "text": filler(900, 7)}]})];
    for t in 0..20 {
        let id = format!("toolu_01bench{t:014}");
        messages.push(json!({"role": "assistant", "content": [
            {"type": "text", "text": filler(220, t)},
            {"type": "tool_use", "id": id, "name": format!("tool_{:02}", t % 25), "input": {
                "file_path": format!("/home/user/project/src/module_{t}/parser.rs"), "pattern": "fn\\s+parse_\\w+\\(\"",
                "offset": t * 100, "limit": 200, "todos": [{"content": filler(60, t), "status": "pending"}]}}]}));
        let text = filler(2060, t);
        let content: Value = if t % 2 == 0 { json!(text) } else { json!([{"type": "text", "text": text}]) };
        messages.push(json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": content}]}));
    }
    json!({"model": "claude-bench", "messages": messages,
        "system": [{"type": "text", "text": "You are a coding assistant.", "cache_control": {"type": "ephemeral"}},
                   {"type": "text", "text": filler(12_000, 3), "cache_control": {"type": "ephemeral"}}],
        "tools": (0..25).map(tool).collect::<Vec<_>>(), "metadata": {"user_id": "u"},
        "max_tokens": 32000, "temperature": 1, "stream": stream}).to_string().into_bytes()
}

fn generic() -> &'static Profile {
    Profile::named("generic").unwrap()
}

fn context() -> ReplyContext {
    let body = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"}]}"#;
    convert::request(&Request::parse(body).unwrap(), generic(), &ModelSpec::default()).unwrap().reply
}

/// Bytes of an Anthropic request in, bytes of the OpenAI request out.
#[divan::bench]
fn request_120kb(bencher: Bencher<'_, '_>) {
    let body = claude_code(true);
    let model = ModelSpec { remote_id: "upstream".into(), ..ModelSpec::default() };
    bencher.counter(BytesCount::of_slice(&body)).bench(|| {
        let request = Request::parse(black_box(&body)).unwrap();
        convert::request(&request, generic(), &model).unwrap().body.len()
    });
}

/// Reading alone.
#[divan::bench]
fn request_120kb_parse(bencher: Bencher<'_, '_>) {
    let body = claude_code(true);
    bencher
        .counter(BytesCount::of_slice(&body))
        .bench(|| Request::parse(black_box(&body)).unwrap().messages.len());
}

/// The same with four pictures, 2 MB of base64: what is not read over and over costs little more
/// than copying it.
#[divan::bench]
fn request_2mb(bencher: Bencher<'_, '_>) {
    let mut body: Value = serde_json::from_slice(&claude_code(true)).unwrap();
    let data = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ".repeat(11_000);
    let image =
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}});
    body["messages"][0]["content"].as_array_mut().unwrap().extend(vec![image; 4]);
    let body = body.to_string().into_bytes();
    let model = ModelSpec { remote_id: "upstream".into(), ..ModelSpec::default() };
    bencher.counter(BytesCount::of_slice(&body)).bench(|| {
        let request = Request::parse(black_box(&body)).unwrap();
        convert::request(&request, generic(), &model).unwrap().body.len()
    });
}

/// A whole answer of 200 KB of text.
#[divan::bench]
fn response_200kb(bencher: Bencher<'_, '_>) {
    let body = json!({"choices": [{"message": {"content": filler(200_000, 1)}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2}})
    .to_string();
    bencher
        .counter(BytesCount::of_str(&body))
        .with_inputs(context)
        .bench_values(|context| convert::response(black_box(body.as_bytes()), context).unwrap().body.len());
}

const EVENTS: usize = 1000;

/// A stream under way: decoding, translating and framing of 1,000 chunks in one go.
fn translate(bencher: Bencher<'_, '_>, first: &str, chunks: &[String]) {
    let first = format!("data: {first}\n\n");
    let events: Vec<String> = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    let bytes = events.concat().repeat(16 / chunks.len());
    bencher
        .counter(ItemsCount::new(EVENTS / 16 * 16))
        .with_inputs(|| {
            let mut translator = StreamTranslator::new(context());
            let mut decoder = SseDecoder::new(1 << 20);
            let mut out = Vec::with_capacity(64 << 10);
            push(&mut translator, &mut decoder, first.as_bytes(), &mut out);
            push(&mut translator, &mut decoder, bytes.as_bytes(), &mut out);
            (translator, decoder, out)
        })
        .bench_refs(|(translator, decoder, out)| {
            for _ in 0..EVENTS / 16 {
                out.clear();
                push(translator, decoder, black_box(bytes.as_bytes()), out);
                black_box(&out);
            }
        });
}

fn push(translator: &mut StreamTranslator, decoder: &mut SseDecoder, bytes: &[u8], out: &mut Vec<u8>) {
    decoder.push(bytes);
    while let Some(event) = decoder.next_event() {
        let event = event.unwrap();
        translator.push(event.name, event.data, out).unwrap();
    }
}

const HEAD: &str = r#""id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1741569952,"model":"gpt-4.1","system_fingerprint":"fp_44709d6fcb""#;

/// Each with another time: none is like the one before it.
#[divan::bench]
fn stream_1000_unlike_chunks(bencher: Bencher<'_, '_>) {
    let chunk = |time: usize, text: &str| {
        let head = HEAD.replace("1741569952", &format!("17415699{time:02}"));
        format!(r#"{{{head},"choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}"#)
    };
    let chunks: Vec<String> = (0..16).map(|time| chunk(time, " upon a time there was")).collect();
    translate(bencher, &chunk(16, "Once"), &chunks);
}

#[divan::bench]
fn stream_1000_text_chunks(bencher: Bencher<'_, '_>) {
    let chunk = |text: &str| {
        format!(
            r#"{{{HEAD},"choices":[{{"index":0,"delta":{{"content":"{text}"}},"logprobs":null,"finish_reason":null}}],"usage":null}}"#
        )
    };
    translate(bencher, &chunk("Once"), &[chunk(" upon a time there was"), chunk(" a \\n\\nking")]);
}

#[divan::bench]
fn stream_1000_argument_chunks(bencher: Bencher<'_, '_>) {
    let call = |call: &str| {
        format!(
            r#"{{{HEAD},"choices":[{{"index":0,"delta":{{"tool_calls":[{call}]}},"finish_reason":null}}]}}"#
        )
    };
    translate(
        bencher,
        &call(
            r#"{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"text\":\""}}"#,
        ),
        &[call(r#"{"index":0,"function":{"arguments":"a piece of \\\"text\\\" of it"}}"#)],
    );
}
