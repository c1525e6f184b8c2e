//! Several inbound keys (`keys`): each has a name, and may be bound to models.

use claude_proxy::config::{self, Config, Digest};
use serde_json::{Value, json};

use crate::support::metrics::Metrics;
use crate::support::program::Program;
use crate::support::upstream::ok;
use crate::support::*;

pub fn checked(json: &Value) -> Config {
    let checked = config::check(&json.to_string(), &|_| Err(std::env::VarError::NotPresent));
    checked.config.unwrap_or_else(|| panic!("{:?}", checked.findings))
}

/// Models `glm`, `glm-air` (whose fallback is `big`) and `big` at `up`, and three keys beside `ak`.
fn file(up: &str) -> Value {
    let digest = Digest::of(b"open-carol").0.map(|b| format!("{b:02x}")).concat();
    json!({"port": 0, "workers": 1, "ak": "open-all", "log_body_max_chars": 0,
    "keys": [{"name": "alice", "key": "open-alice", "models": ["glm*"]},
        {"name": "bob", "key": "open-bob", "models": ["big"]}, {"name": "carol", "key_sha256": digest}],
    "aliases": {"claude-*": "big"}, "default_model": "glm",
    "providers": [
        {"name": "up", "base_url": up, "api_key": "sk-upstream", "models": [{"id": "glm"}, {"id": "big"}]},
        {"name": "down", "base_url": format!("{up}/no"), "api_key": "", "models": [{"id": "glm-air", "fallbacks": ["big"]}]}]})
}

fn upstream() -> Upstream {
    Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            if seen.head.starts_with("POST /no") {
                conn.write(upstream::http(503, &[], r#"{"error":{"message":"no"}}"#));
            } else {
                conn.write(ok(&completion("hello")));
            }
        }
    })
}

fn body(model: &str) -> Vec<u8> {
    json!({"model": model, "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]})
        .to_string()
        .into_bytes()
}

fn say(proxy: &Proxy, key: &str, path: &str, model: &str) -> client::Answer {
    ask(proxy.addr, "POST", path, &[("x-api-key", key)], &body(model))
}

#[test]
fn every_key_opens_and_no_other_does() {
    let up = upstream();
    let proxy = Proxy::start(checked(&file(&up.base())));
    for (key, model) in
        [("open-all", "glm"), ("open-alice", "glm"), ("open-bob", "big"), ("open-carol", "big")]
    {
        assert_eq!(say(&proxy, key, "/v1/messages", model).status, 200, "{key}");
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str()), ("x-api-key", "left-over")];
        assert_eq!(ask(proxy.addr, "POST", "/v1/messages", &headers, &body(model)).status, 200, "{key}");
        assert_eq!(ask(proxy.addr, "GET", "/metrics", &[("x-api-key", key)], b"").status, 200, "{key}");
    }
    let seen = up.seen().len();
    let digest = Digest::of(b"open-carol").0.map(|b| format!("{b:02x}")).concat();
    for key in ["", "open", "open-dave", "alice", digest.as_str()] {
        for path in ["/v1/messages", "/v1/messages/count_tokens"] {
            let answer = say(&proxy, key, path, "glm");
            assert_eq!((answer.status, answer.error().0.as_str()), (401, "authentication_error"), "{key}");
        }
        assert_eq!(ask(proxy.addr, "GET", "/v1/models", &[("x-api-key", key)], b"").status, 401);
    }
    assert_eq!(up.seen().len(), seen);
    let now = Metrics::of(proxy.addr, Some("open-bob"));
    for (key, requests) in [("ak", 2), ("alice", 2), ("bob", 2), ("carol", 2)] {
        assert_eq!(now.sum("claude_proxy_key_requests_total", &[("key", key)]), requests, "{key}");
    }
}

#[test]
fn other_models_are_refused_before_the_upstream_is_asked() {
    let up = upstream();
    let proxy = Proxy::start(checked(&file(&up.base())));
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        // By id, by alias, by default.
        for (key, model, id) in [
            ("open-alice", "big", "big"),
            ("open-alice", "claude-opus-5", "big"),
            ("open-bob", "whatever", "glm"),
        ] {
            let answer = say(&proxy, key, path, model);
            let (kind, message) = answer.error();
            assert_eq!((answer.status, kind.as_str()), (403, "permission_error"), "{message}");
            assert_eq!(answer.header("x-should-retry"), Some("false"));
            assert!(message.contains(&format!("may not use the model `{id}`")), "{message}");
            assert_eq!(message.contains(&format!("asked for as `{model}`")), id != model, "{message}");
        }
        for (key, model) in [("open-alice", "whatever"), ("open-bob", "claude-opus-5")] {
            assert_eq!(say(&proxy, key, path, model).status, 200, "{key} {model}");
        }
    }
    assert_eq!(up.seen().len(), 2);
}

#[test]
fn a_fallback_is_the_operators_choice() {
    let up = upstream();
    let proxy = Proxy::start(checked(&file(&up.base())));
    let answer = say(&proxy, "open-alice", "/v1/messages", "glm-air");
    assert_eq!(answer.status, 200);
    assert_eq!(up.seen().last().unwrap().json()["model"], "big");
}

#[test]
fn lists_have_what_the_key_may_use() {
    let up = upstream();
    let mut file = file(&up.base());
    file.as_object_mut().unwrap().remove("default_model");
    let proxy = Proxy::start(checked(&file));
    let get = |key: &str, path: &str| ask(proxy.addr, "GET", path, &[("x-api-key", key)], b"");
    let ids = |key: &str, path: &str| -> Vec<String> {
        let list = get(key, path).json();
        list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("open-all", "/v1/models"), ["glm", "big", "glm-air"]);
    assert_eq!(ids("open-alice", "/v1/models"), ["glm", "glm-air"]);
    assert_eq!(ids("open-alice", "/v1/models?limit=1"), ["glm"]);
    assert_eq!(ids("open-alice", "/v1/models?after_id=glm"), ["glm-air"]);
    assert_eq!(ids("open-bob", "/v1/models"), ["big"]);
    assert_eq!(get("open-bob", "/v1/models?after_id=glm").status, 400);
    assert_eq!(
        (get("open-bob", "/v1/models/big").status, get("open-bob", "/v1/models/glm").status),
        (200, 404)
    );
    let unknown = say(&proxy, "open-bob", "/v1/messages", "nobody");
    let (_, message) = unknown.error();
    assert!(unknown.status == 404 && message.contains("big") && !message.contains("glm"), "{message}");
}

#[cfg(unix)]
#[test]
fn keys_change_while_it_runs_and_are_told_nowhere() {
    let up = upstream();
    let mut config = file(&up.base());
    let args = ["serve", "--log-format", "json", "--log-level", "trace,hyper=off"];
    let program = Program::start(&args, &config.to_string());
    let addr = program.addr();
    let status = |key: &str| ask(addr, "POST", "/v1/messages", &[("x-api-key", key)], &body("glm")).status;
    assert_eq!((status("open-alice"), status("open-dave")), (200, 401));
    config["keys"][0] = json!({"name": "dave", "key": "open-dave"});
    std::fs::write(program.dir().join("config.json"), config.to_string()).unwrap();
    program.signal("HUP");
    eventually("a reload", || program.lines("the configuration was reloaded").len() == 1);
    assert_eq!((status("open-alice"), status("open-dave"), status("open-all")), (401, 200, 200));
    let output = || program.output();
    eventually("a line for each", || program.lines("request").len() == 3);
    let names: Vec<Value> = program.lines("request").iter().map(|l| l["key"].clone()).collect();
    assert_eq!(names, ["alice", "dave", "ak"], "{}", output());
    for key in ["open-alice", "open-bob", "open-carol", "open-dave", "open-all"] {
        assert!(!output().contains(key), "{key} in {}", output());
    }
}
