//! The size of a model's context: what would be cut without a word is refused, and no answer is
//! asked for that does not fit.

use std::sync::Arc;

use claude_proxy::config::Config;
use serde_json::json;

use crate::support::config::add_model;
use crate::support::upstream::ok;
use crate::support::*;

const WINDOW: u64 = 4096;

fn windowed(base: &str, profile: &str) -> Config {
    let mut config = config(base);
    config.models.clear();
    add_model(&mut config, "m", base, profile);
    Arc::get_mut(&mut config.models[0]).unwrap().spec.context_window = Some(WINDOW);
    config
}

/// A request whose prompt is of so many words, one token each.
fn words(count: usize, word: &str) -> Vec<u8> {
    let text = vec![word; count].join(" ");
    json!({"model": "m", "max_tokens": 32_000, "messages": [{"role": "user", "content": text}]})
        .to_string()
        .into_bytes()
}

fn counted(proxy: &Proxy, body: &[u8]) -> u64 {
    let answer = ask(proxy.addr, "POST", "/v1/messages/count_tokens", &[], body);
    answer.json()["input_tokens"].as_u64().unwrap()
}

#[test]
fn a_prompt_that_would_be_cut_is_refused() {
    let up = Upstream::answering(ok(&completion("hello")));
    let proxy = Proxy::start(windowed(&up.base(), "ollama"));
    let long = words(6000, "house");
    let tokens = counted(&proxy, &long);
    assert!(tokens > 6000, "{tokens}");
    let answer = post(proxy.addr, &long);
    assert_eq!(answer.status, 400);
    let want = format!("prompt is too long: {tokens} tokens > {WINDOW} maximum");
    assert_eq!(answer.error(), ("invalid_request_error".to_owned(), want));
    assert_eq!(up.seen().len(), 0, "the upstream was asked");
}

#[test]
fn what_may_fit_is_asked() {
    let up = Upstream::answering(ok(&completion("hello")));
    let proxy = Proxy::start(windowed(&up.base(), "ollama"));
    // A model may count fewer than we do, and Chinese a fifth fewer.
    for (count, word) in [(4000, "house"), (4250, "house"), (1180, "因为所以")] {
        let body = words(count, word);
        let counted = counted(&proxy, &body);
        assert!(counted > 3900, "{counted} {word}");
        assert_eq!(post(proxy.addr, &body).status, 200, "{count} {word}");
    }
    // Images have a size of their own at each model.
    let image =
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
    let images =
        json!({"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": vec![image; 8]}]});
    assert_eq!(post(proxy.addr, images.to_string().as_bytes()).status, 200);
    assert_eq!(up.seen().len(), 4);
}

#[test]
fn an_upstream_that_refuses_is_asked() {
    let up = Upstream::answering(ok(&completion("hello")));
    let proxy = Proxy::start(windowed(&up.base(), "vllm"));
    assert_eq!(post(proxy.addr, &words(6000, "house")).status, 200);
    // The least that is asked for, since nothing is left.
    assert_eq!(up.seen()[0].json()["max_tokens"], WINDOW / 16);
}

#[test]
fn an_answer_is_asked_for_that_fits() {
    let up = Upstream::answering(ok(&completion("hello")));
    let proxy = Proxy::start(windowed(&up.base(), "vllm"));
    let body = words(1000, "house");
    let answer = post(proxy.addr, &body);
    assert_eq!(answer.header("x-claude-proxy-warnings"), Some("degraded:max_tokens"));
    let asked = up.seen()[0].json()["max_tokens"].as_u64().unwrap();
    let room = WINDOW - counted(&proxy, &body);
    assert!(asked <= room && asked > room * 3 / 4, "{asked} of {room}");
}
