//! Proxy, client and upstream of the tests.

pub mod canary;
pub mod capture;
pub mod client;
pub mod config;
pub mod metrics;
pub mod native;
pub mod program;
pub mod proxy;
pub mod tls;
pub mod upstream;

pub use canary::Canary;
pub use client::{Client, ask, message, post};
pub use config::{config, trusting};
pub use proxy::Proxy;
pub use upstream::Upstream;

use std::time::{Duration, Instant};

/// Longest that a test waits for anything that should happen at once: enough for a machine that has
/// five times as much to do as it can.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An upstream, over TLS if there is an authority for its certificate, and a configuration that
/// leads to it.
pub fn reached(
    tls: Option<&tls::Authority>,
    script: impl Fn(upstream::Conn) + Send + Sync + 'static,
) -> (Upstream, claude_proxy::config::Config) {
    match tls {
        None => {
            let up = Upstream::start(script);
            let config = config(&up.base());
            (up, config)
        }
        Some(authority) => {
            let up = Upstream::start_tls(authority.server(&["127.0.0.1"]), script);
            let config = trusting(&up.base(), authority);
            (up, config)
        }
    }
}

/// Waits until it is so.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A chunk of a stream with some text.
pub fn text(text: &str) -> String {
    format!(
        "data: {}\n\n",
        serde_json::json!({"id": "c", "object": "chat.completion.chunk", "model": "m",
            "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})
    )
}

/// The chunk with `finish_reason`.
pub fn finish(reason: &str) -> String {
    format!(
        "data: {}\n\n",
        serde_json::json!({"id": "c", "object": "chat.completion.chunk", "model": "m",
            "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    )
}

/// The chunk with the usage.
pub fn usage() -> String {
    "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}\n\n"
        .to_owned()
}

pub const DONE: &str = "data: [DONE]\n\n";

/// A whole Chat Completion.
pub fn completion(text: &str) -> String {
    serde_json::json!({"id": "c", "object": "chat.completion", "model": "m", "created": 1,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}})
    .to_string()
}
