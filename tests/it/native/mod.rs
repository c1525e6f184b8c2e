//! An upstream that speaks the Messages API itself: requests and answers pass through byte for
//! byte, and all else is as with the others.

mod chain;
mod cuts;
mod errors;
mod fallback;
mod log;
mod pass;

use crate::support::upstream::http;

/// A stream as Anthropic's API sends it, with things that no converter would write: numbers
/// that no double holds, escapes, odd spaces, fields and a block that are newer than this.
pub const STREAM: &str = concat!(
    "event: message_start\n",
    r#"data: {"type":"message_start","message":{"id":"msg_up","type":"message","role":"assistant","model":"remote-m","content":[],"stop_reason":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":4,"cache_read_input_tokens":9,"output_tokens":1,"service_tier":"standard"}}}"#,
    "\n\n",
    "event: content_block_start\n",
    r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
    "\n\n",
    "event: ping\n",
    r#"data: {"type": "ping"}"#,
    "\n\n",
    "event: content_block_delta\n",
    r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"h\u006d"}}"#,
    "\n\n",
    "event: content_block_delta\n",
    r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQBCkgI"}}"#,
    "\n\n",
    "event: content_block_stop\n",
    r#"data: {"type":"content_block_stop","index":0}"#,
    "\n\n",
    "event: content_block_start\n",
    r#"data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
    "\n\n",
    "event: content_block_delta\n",
    "data:  {\"index\":1, \"type\":\"content_block_delta\" ,\"delta\":{\"type\":\"text_delta\",\"text\":\"H\\u00e9llo 🙂\\ud83d\\ude42\"}, \"n\":12345678901234567890.10}\n\n",
    "event: content_block_stop\n",
    r#"data: {"type":"content_block_stop","index":1}"#,
    "\n\n",
    "event: message_delta\n",
    r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":15},"context_management":{"applied_edits":[]}}"#,
    "\n\n",
    "event: message_stop\n",
    r#"data: {"type":"message_stop"}"#,
    "\n\n",
);

/// A whole message of the same kind.
pub const MESSAGE: &str = concat!(
    " {\"id\":\"msg_up\", \"type\" : \"message\",\"role\":\"assistant\",\"model\":\"remote-m\",\r\n",
    "  \"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"EqQBCkgI\"},",
    "{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"f\",\"input\":{\"n\":12345678901234567890,\"x\":1.0}},",
    "{\"type\":\"text\",\"text\":\"H\\u00e9llo \\/ 🙂\"},{\"type\":\"brand_new\"}],\"stop_reason\":\"tool_use\",",
    "\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":9,\"output_tokens\":15,\"new\":{\"a\":[1e3]}},\"container\":null}\n",
);

pub const SSE: (&str, &str) = ("content-type", "text/event-stream; charset=utf-8");
const JSON: (&str, &str) = ("content-type", "application/json");

/// Anthropic's error JSON.
fn error(kind: &str, message: &str) -> String {
    format!(
        r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}","details":null}},"request_id":"req_theirs"}}"#
    )
}

/// Answers in the form that is asked for.
fn answer(body: &[u8]) -> String {
    let asked: serde_json::Value = serde_json::from_slice(body).unwrap();
    if asked["stream"] == true { http(200, &[SSE], STREAM) } else { http(200, &[JSON], MESSAGE) }
}
