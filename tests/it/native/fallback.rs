//! From Anthropic's API to an OpenAI-compatible model and back, with the history of both.

use std::sync::Arc;

use claude_proxy::config::Config;
use claude_proxy::convert::Profile;
use serde_json::{Value, json};

use super::{JSON, MESSAGE, SSE, STREAM, error};
use crate::support::config::{UPSTREAM_KEY, add_model, config};
use crate::support::native::{add_native, native};
use crate::support::upstream::http;
use crate::support::*;

fn edit(config: &mut Config, n: usize, change: impl FnOnce(&mut claude_proxy::config::Model)) {
    let model = Arc::get_mut(&mut config.models[n]).unwrap();
    change(model);
}

/// Model `m` is native, and falls back to `o`, which is not.
fn native_first(up: &Upstream, other: &Upstream) -> Config {
    let mut config = native(&up.base());
    add_model(&mut config, "o", &other.base(), "deepseek");
    edit(&mut config, 0, |m| m.fallbacks = vec!["o".to_owned()]);
    config
}

/// The other way round.
fn native_last(up: &Upstream, other: &Upstream) -> Config {
    let mut config = config(&up.base());
    edit(&mut config, 0, |m| {
        m.fallbacks = vec!["n".to_owned()];
        m.profile = Profile::named("moonshot").unwrap();
    });
    add_native(&mut config, "n", &other.base());
    config
}

/// A conversation that Anthropic's API began.
fn history(stream: bool) -> Value {
    json!({"model": "m", "max_tokens": 64, "stream": stream, "thinking": {"type": "adaptive"},
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "secret thoughts", "signature": "EqQBCkgI"},
                {"type": "redacted_thinking", "data": "EqQBdata"},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"n": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "2"}]}]})
}

#[test]
fn from_anthropic_to_another() {
    let event = format!("event: error\ndata: {}\n\n", error("overloaded_error", "busy"));
    for refusal in [
        http(529, &[JSON], &error("overloaded_error", "busy")),
        http(500, &[JSON], &error("api_error", "broken")),
        http(401, &[JSON], &error("authentication_error", "invalid x-api-key")),
        http(400, &[JSON], &error("invalid_request_error", "Your credit balance is too low to go on")),
        http(200, &[SSE], &event),
        http(200, &[SSE], &STREAM[..40]),
    ] {
        let stream_only = refusal.starts_with("HTTP/1.1 200");
        let up = Upstream::answering(refusal.clone());
        let other = Upstream::start(|mut conn| {
            while let Some(seen) = conn.request() {
                if seen.json()["stream"] == true {
                    conn.stream(&[&text("from the other"), &finish("stop"), &usage(), DONE]);
                } else {
                    conn.write(http(200, &[JSON], &completion("from the other")));
                }
            }
        });
        let proxy = Proxy::start(native_first(&up, &other));
        for stream in [true, false].into_iter().filter(|stream| *stream || !stream_only) {
            let answer = post(proxy.addr, history(stream).to_string().as_bytes());
            let body = String::from_utf8(answer.body.clone()).unwrap();
            assert!(answer.status == 200 && body.contains("from the other"), "{refusal}: {body}");
            assert_eq!(answer.header("x-claude-proxy-provider"), Some("up.example"));
            assert!(answer.header("x-claude-proxy-warnings").unwrap().contains("dropped:foreign_thinking"));
            let sent = other.seen().pop().unwrap();
            let words = String::from_utf8(sent.body.clone()).unwrap();
            assert!(!words.contains("EqQB") && !words.contains("secret thoughts"), "{words}");
            assert_eq!(sent.json()["messages"][1]["tool_calls"][0]["id"], "toolu_1");
            assert_eq!((sent.header("x-api-key"), sent.header("anthropic-version")), (None, None));
        }
        // The native one was asked with the client's own bytes.
        let asked = up.seen()[0].body.clone();
        let want = history(true).to_string().replacen("\"m\"", "\"remote-m\"", 1);
        assert_eq!(String::from_utf8(asked).unwrap(), want);
    }
}

#[test]
fn a_request_that_is_wrong_goes_nowhere_else() {
    let up = Upstream::answering(http(
        400,
        &[JSON],
        &error("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"),
    ));
    let other = Upstream::answering(http(200, &[JSON], &completion("x")));
    let proxy = Proxy::start(native_first(&up, &other));
    let answer = post(proxy.addr, &message("hi", false));
    assert_eq!((answer.status, answer.error().1.as_str()), (400, "prompt is too long: 9 tokens > 8 maximum"));
    assert_eq!((up.seen().len(), other.seen().len()), (1, 0));
}

/// What the fallback cannot express is told in the words of the first.
#[test]
fn a_request_that_only_anthropic_takes_has_no_fallback() {
    let up = Upstream::answering(http(529, &[JSON], &error("overloaded_error", "busy")));
    let other = Upstream::answering(http(200, &[JSON], &completion("x")));
    let proxy = Proxy::start(native_first(&up, &other));
    for more in [json!({"thread": {"type": "create"}}), json!({"max_tokens": 0}), json!({"messages": []})] {
        let mut body = history(false);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = post(proxy.addr, body.to_string().as_bytes());
        assert_eq!((answer.status, answer.error().1.as_str()), (529, "busy"), "{more}");
    }
    assert_eq!(other.seen().len(), 0);
}

#[test]
fn from_another_to_anthropic() {
    let up = Upstream::answering(http(503, &[JSON], r#"{"error":{"message":"busy"}}"#));
    let other = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            conn.write(super::answer(&seen.body));
        }
    });
    let proxy = Proxy::start(native_last(&up, &other));
    for stream in [true, false] {
        let body = history(stream).to_string();
        let answer =
            ask(proxy.addr, "POST", "/v1/messages?beta=true", &[("anthropic-beta", "b")], body.as_bytes());
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, if stream { STREAM.as_bytes() } else { MESSAGE.as_bytes() });
        assert_eq!(answer.header("x-claude-proxy-provider"), Some("messages.example"));
        let sent = other.seen().pop().unwrap();
        assert_eq!(String::from_utf8(sent.body.clone()).unwrap(), body.replacen("\"m\"", "\"remote-n\"", 1));
        assert_eq!(
            (sent.header("anthropic-beta"), sent.header("x-api-key")),
            (Some("b"), Some(UPSTREAM_KEY))
        );
        assert!(sent.head.starts_with("POST /v1/messages?beta=true "));
    }
}

/// The other model thinks and calls a tool, under an id that Anthropic's API would refuse; the
/// next turn goes to Anthropic's.
#[test]
fn a_conversation_over_both() {
    let chunks = [
        json!({"choices": [{"index": 0, "delta": {"reasoning_content": "let me see"}}]}),
        json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": "{\"n\":1}"}}]}}]}),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
    ];
    let says = chunks.map(|c| format!("data: {c}\n\n")).concat();
    let up = Upstream::start(move |mut conn| {
        // Once; then it is gone.
        if conn.number == 0 && conn.request().is_some() {
            conn.stream(&[&says, DONE]);
        }
        conn.close();
    });
    let other = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            conn.write(super::answer(&seen.body));
        }
    });
    let proxy = Proxy::start(native_last(&up, &other));
    for thinking in [json!({"type": "adaptive"}), json!({"type": "enabled", "budget_tokens": 2048})] {
        let first = json!({"model": "m", "max_tokens": 4096, "stream": true, "thinking": thinking,
            "tools": [{"name": "f", "input_schema": {"type": "object"}}],
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "messages": [{"role": "user", "content": "hi"}]});
        // The second time round it is the native one that answers at once: the history is made up then.
        let (signature, id) = if up.connections() == 0 {
            let (events, _) = post(proxy.addr, first.to_string().as_bytes()).events();
            let find = |pointer: &str| {
                events
                    .iter()
                    .find_map(|e| e.pointer(pointer)?.as_str().filter(|s| !s.is_empty()))
                    .unwrap()
                    .to_owned()
            };
            (find("/delta/signature"), find("/content_block/id"))
        } else {
            ("cp1.eyJwIjoibW9vbnNob3QifQ".to_owned(), "functions.f:0".to_owned())
        };
        assert!(signature.starts_with("cp1."));
        assert_eq!(id, "functions.f:0");
        let mut second = first;
        second["messages"].as_array_mut().unwrap().extend([
            json!({"role": "assistant", "content": [
                {"type": "thinking", "thinking": "let me see", "signature": signature},
                {"type": "tool_use", "id": id, "name": "f", "input": {"n": 1}}]}),
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "2"}]}),
        ]);
        let answer = post(proxy.addr, second.to_string().as_bytes());
        assert_eq!(answer.body, STREAM.as_bytes());
        let sent = other.seen().pop().unwrap();
        let words = String::from_utf8(sent.body.clone()).unwrap();
        assert!(!words.contains("cp1.") && !words.contains("let me see"), "{words}");
        let sent = sent.json();
        let call = &sent["messages"][1]["content"][0];
        assert_eq!((&call["type"], &call["input"]), (&json!("tool_use"), &json!({"n": 1})));
        let id = call["id"].as_str().unwrap();
        assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'), "{id}");
        assert_eq!(sent["messages"][2]["content"][0]["tool_use_id"], id);
        let warnings = answer.header("x-claude-proxy-warnings").unwrap();
        // With a budget, thinking has to lead the turn of the call; here none can.
        let budget = thinking["type"] == "enabled";
        assert_eq!(sent.get("thinking").is_none() && sent.get("context_management").is_none(), budget);
        let want = if budget {
            "dropped:foreign_thinking, degraded:thinking, dropped:context_management"
        } else {
            "dropped:foreign_thinking"
        };
        assert_eq!(warnings, want);
    }
}

/// With `reasoning: true` the upstream is a claude-proxy too, and gets all of it.
#[test]
fn another_claude_proxy_gets_the_history_as_it_is() {
    let up = Upstream::answering(http(200, &[JSON], MESSAGE));
    let mut config = native(&up.base());
    edit(&mut config, 0, |m| m.spec.reasoning = Some(true));
    let proxy = Proxy::start(config);
    let body = json!({"model": "m", "messages": [{"role": "assistant", "content": [
        {"type": "thinking", "thinking": "t", "signature": "cp1.eyJwIjoibW9vbnNob3QifQ"},
        {"type": "tool_use", "id": "functions.f:0", "name": "f", "input": {}}]}]})
    .to_string();
    assert_eq!(post(proxy.addr, body.as_bytes()).status, 200);
    let sent = String::from_utf8(up.seen().pop().unwrap().body).unwrap();
    assert_eq!(sent, body.replacen("\"m\"", "\"remote-m\"", 1));
}

#[test]
fn a_refused_key_rests_and_the_next_one_answers() {
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let fine = seen.header("x-api-key") == Some("sk-second-4711");
            let refused = http(401, &[JSON], &error("authentication_error", "no"));
            conn.write(if fine { http(200, &[JSON], MESSAGE) } else { refused });
        }
    });
    let mut config = native(&up.base());
    edit(&mut config, 0, |m| {
        let provider = Arc::get_mut(&mut m.provider).unwrap();
        provider.keys = ["sk-first-0815", "sk-second-4711"].map(claude_proxy::config::Secret::new).to_vec();
    });
    let proxy = Proxy::start(config);
    for _ in 0..3 {
        assert_eq!(post(proxy.addr, &message("hi", false)).body, MESSAGE.as_bytes());
    }
    let keys: Vec<_> = up.seen().iter().map(|s| s.header("x-api-key").unwrap().to_owned()).collect();
    assert!(keys.iter().filter(|k| *k == "sk-first-0815").count() <= 1, "{keys:?}");
}
