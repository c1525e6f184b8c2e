//! What must hold for any bytes at all: a function for each target, which panics where it does
//! not. libFuzzer calls them with what it makes up, `cargo test` with what was kept.
//!
//! The first bytes of an input choose (profile, options, where to cut); the rest is the text.

pub mod config;
pub mod message;
pub mod request;
pub mod response;
pub mod sse;
pub mod stream;

#[allow(dead_code)]
#[path = "../support/grammar.rs"]
mod grammar;

use std::sync::LazyLock;

use claude_proxy::convert::{self, ModelSpec, Profile, ReplyContext, ThinkingMode};
use claude_proxy::wire::anthropic::{ApiError, Request};
use serde_json::Value;

/// A function of this module, by the name of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Target; 5] = [
    ("config", config::run),
    ("request", request::run),
    ("response", response::run),
    ("sse", sse::run),
    ("stream", stream::run),
];

/// The first `N` bytes, which choose, and the rest.
fn choices<const N: usize>(data: &[u8]) -> Option<([u8; N], &[u8])> {
    let (head, rest) = data.split_first_chunk::<N>()?;
    Some((*head, rest))
}

fn profile(choice: u8) -> &'static Profile {
    let all = Profile::all();
    &all[usize::from(choice) % all.len()]
}

/// The context of an answer to a request that names tools, stops and a history.
fn context(profile: &'static Profile, choice: u8) -> ReplyContext {
    static REQUEST: LazyLock<Request<'static>> = LazyLock::new(|| {
        Request::parse(
            br#"{"model":"m","max_tokens":9,"stop_sequences":["END","\n\n"],
            "tools":[{"name":"f","input_schema":{"type":"object","properties":{"k":{"type":"string"}}}},
                {"name":"a name with spaces","input_schema":{"type":"object"}}],
            "messages":[{"role":"user","content":"q"},
                {"role":"assistant","content":[{"type":"tool_use","id":"call_1","name":"f","input":{}}]},
                {"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","content":"ok"}]}]}"#,
        )
        .unwrap()
    });
    let mut reply = convert::request(&REQUEST, profile, &ModelSpec::default()).unwrap().reply;
    reply.thinking = match choice % 3 {
        0 => ThinkingMode::Show,
        1 => ThinkingMode::Omit,
        _ => ThinkingMode::Off,
    };
    reply.safeguards = choice & 0x80 != 0;
    reply.record = choice & 0x20 != 0;
    reply.context_window = (choice & 0x40 != 0).then_some(4096);
    reply.provider = "upstream".into();
    reply.preview_chars = 10;
    reply.seed = 7;
    reply
}

/// Where to cut a text of `len` bytes: some places for small texts, drawn from `seed`.
fn cuts(seed: u8, len: usize) -> Vec<usize> {
    let mut state = u32::from(seed).wrapping_mul(2_654_435_761) | 1;
    let mut at = 0;
    let mut out = Vec::new();
    while at < len && out.len() < 200 {
        // xorshift: no randomness of its own, the input says it all.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let longest = [2, 7, 40, 400][usize::from(seed % 4)];
        at += 1 + state as usize % longest;
        out.push(at.min(len));
    }
    out
}

fn pieces<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut at = 0;
    let mut out = Vec::new();
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        if cut > at {
            out.push(&bytes[at..cut]);
            at = cut;
        }
    }
    out
}

/// An error that can be sent: a status of its kind, words, JSON.
fn check_error(error: &ApiError) {
    assert!((400..600).contains(&error.status), "{error:?}");
    assert!(!error.message.is_empty(), "{error:?}");
    // Messages quote a piece of what came, not all of it.
    assert!(error.message.chars().count() < 5000, "{} characters", error.message.chars().count());
    let mut out = Vec::new();
    error.write("req_1", &mut out);
    let value: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(value["type"], "error");
    assert_eq!(value["error"]["message"], error.message.as_str());
    assert!(!out.contains(&b'\n'), "an error event is one line");
}
