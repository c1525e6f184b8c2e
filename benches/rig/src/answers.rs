//! What the mock answers, made once for each shape.

use crate::{Kind, SLOT, Spec, filler};
use memchr::memmem;
use serde_json::{Value, json};

/// Bytes of one TCP write, with the places where the send time goes.
pub struct Piece {
    pub bytes: Vec<u8>,
    pub slots: Vec<usize>,
}

impl Piece {
    fn chunk(events: &[u8]) -> Piece {
        let mut bytes = format!("{:x}\r\n", events.len()).into_bytes();
        bytes.extend_from_slice(events);
        bytes.extend_from_slice(b"\r\n");
        let slots = memmem::find_iter(&bytes, SLOT).map(|at| at + 1).collect();
        Piece { bytes, slots }
    }
}

pub enum Answer {
    Full(Vec<u8>),
    Stream { head: Vec<u8>, piece: Piece, pieces: usize, last: Option<Piece>, tail: Vec<u8> },
}

/// A whole HTTP answer.
pub fn full(status: &str, body: &[u8]) -> Vec<u8> {
    let mut v = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    v.extend_from_slice(body);
    v
}

/// Text of delta number `i`: the time slot, then filler. What is shorter than a slot has none.
fn delta_text(spec: &Spec, i: usize) -> String {
    if spec.bytes < SLOT.len() {
        return filler(spec.bytes, 1); // begins with a letter: white space may be held back
    }
    format!("{SLOT}{}", filler(spec.bytes.saturating_sub(SLOT.len()), i))
}

/// The same text as a piece of a JSON string inside tool-call arguments.
fn delta_args(spec: &Spec, i: usize) -> String {
    let q = serde_json::to_string(&delta_text(spec, i)).unwrap();
    q[1..q.len() - 1].to_string()
}

fn whole_text(spec: &Spec) -> String {
    filler(spec.events * spec.bytes, 1)
}

fn openai_full(spec: &Spec) -> Value {
    let message = match spec.kind {
        Kind::Text => {
            json!({"role": "assistant", "content": whole_text(spec), "refusal": null, "annotations": []})
        }
        Kind::Tool => json!({"role": "assistant", "content": null, "tool_calls": [{
            "id": "call_bench000000000000000000", "type": "function",
            "function": {"name": "tool_01", "arguments": json!({"content": whole_text(spec)}).to_string()}}]}),
    };
    json!({
        "id": "chatcmpl-bench0000000000000000000", "object": "chat.completion", "created": 1763856000,
        "model": spec.raw,
        "choices": [{"index": 0, "message": message, "logprobs": null,
            "finish_reason": if spec.kind == Kind::Text { "stop" } else { "tool_calls" }}],
        "usage": {"prompt_tokens": 1200, "completion_tokens": spec.events, "total_tokens": 1200 + spec.events,
            "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}},
        "service_tier": "default", "system_fingerprint": "fp_bench000000"
    })
}

fn anthropic_full(spec: &Spec) -> Value {
    let block = match spec.kind {
        Kind::Text => json!({"type": "text", "text": whole_text(spec)}),
        Kind::Tool => json!({"type": "tool_use", "id": "toolu_bench0000000000000000", "name": "tool_01",
            "input": {"content": whole_text(spec)}}),
    };
    json!({
        "id": "msg_bench00000000000000000000", "type": "message", "role": "assistant", "model": spec.raw,
        "content": [block],
        "stop_reason": if spec.kind == Kind::Text { "end_turn" } else { "tool_use" }, "stop_sequence": null,
        "usage": {"input_tokens": 176, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 1024,
            "output_tokens": spec.events, "service_tier": "standard"}
    })
}

fn openai_events(spec: &Spec) -> (String, Vec<String>, String) {
    let ev = |choices: Value, usage: Value| {
        format!(
            "data: {}\n\n",
            json!({"id": "chatcmpl-bench0000000000000000000", "object": "chat.completion.chunk",
                "created": 1763856000, "model": spec.raw, "service_tier": "default",
                "system_fingerprint": "fp_bench000000", "choices": choices, "usage": usage})
        )
    };
    let delta = |d: Value, fin: Value| {
        ev(json!([{"index": 0, "delta": d, "logprobs": null, "finish_reason": fin}]), Value::Null)
    };
    let usage = openai_full(&Spec { bytes: 1, ..spec.clone() })["usage"].clone();
    let end = format!("{}data: [DONE]\n\n", ev(json!([]), usage));
    match spec.kind {
        Kind::Text => (
            delta(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null),
            (0..spec.events).map(|i| delta(json!({"content": delta_text(spec, i)}), Value::Null)).collect(),
            delta(json!({}), json!("stop")) + &end,
        ),
        Kind::Tool => {
            let args = |a: &str| {
                delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": a}}]}), Value::Null)
            };
            (
                delta(
                    json!({"role": "assistant", "content": null, "tool_calls": [{"index": 0,
                    "id": "call_bench000000000000000000", "type": "function",
                    "function": {"name": "tool_01", "arguments": ""}}], "refusal": null}),
                    Value::Null,
                ) + &args("{\"content\":\""),
                (0..spec.events).map(|i| args(&delta_args(spec, i))).collect(),
                args("\"}") + &delta(json!({}), json!("tool_calls")) + &end,
            )
        }
    }
}

fn anthropic_events(spec: &Spec) -> (String, Vec<String>, String) {
    let ev = |v: Value| format!("event: {}\ndata: {v}\n\n", v["type"].as_str().unwrap());
    let start = ev(json!({"type": "message_start", "message": {
        "id": "msg_bench00000000000000000000", "type": "message", "role": "assistant", "model": spec.raw,
        "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 176, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 1024,
            "output_tokens": 1, "service_tier": "standard"}}}));
    let ping = ev(json!({"type": "ping"}));
    let delta = |d: Value| ev(json!({"type": "content_block_delta", "index": 0, "delta": d}));
    let stop = |reason: &str| {
        ev(json!({"type": "content_block_stop", "index": 0}))
            + &ev(json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null},
                "usage": {"output_tokens": spec.events}}))
            + &ev(json!({"type": "message_stop"}))
    };
    match spec.kind {
        Kind::Text => (
            start
                + &ev(
                    json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
                )
                + &ping,
            (0..spec.events)
                .map(|i| delta(json!({"type": "text_delta", "text": delta_text(spec, i)})))
                .collect(),
            stop("end_turn"),
        ),
        Kind::Tool => {
            let args = |a: &str| delta(json!({"type": "input_json_delta", "partial_json": a}));
            (
                start
                    + &ev(
                        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use",
                    "id": "toolu_bench0000000000000000", "name": "tool_01", "input": {}}}),
                    )
                    + &ping
                    + &args("{\"content\":\""),
                (0..spec.events).map(|i| args(&delta_args(spec, i))).collect(),
                args("\"}") + &stop("tool_use"),
            )
        }
    }
}

/// The answer to a request of this shape.
pub fn answer(spec: &Spec, anthropic: bool, stream: bool) -> Answer {
    if !stream {
        let v = if anthropic { anthropic_full(spec) } else { openai_full(spec) };
        return Answer::Full(full("200 OK", v.to_string().as_bytes()));
    }
    let (first, events, last) = if anthropic { anthropic_events(spec) } else { openai_events(spec) };
    let mut head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    head.extend_from_slice(&Piece::chunk(first.as_bytes()).bytes);
    let pieces = spec.events / spec.batch;
    let rest = spec.events % spec.batch;
    let piece = Piece::chunk(events[..spec.batch.min(spec.events)].concat().as_bytes());
    let part = (rest > 0).then(|| Piece::chunk(events[..rest].concat().as_bytes()));
    let mut tail = Piece::chunk(last.as_bytes()).bytes;
    tail.extend_from_slice(b"0\r\n\r\n");
    Answer::Stream { head, piece, pieces, last: part, tail }
}
