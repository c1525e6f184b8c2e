//! The paths around /v1/messages, and what the others say.

use crate::support::config::add_model;
use crate::support::upstream::ok;
use crate::support::*;

#[test]
fn health_in_every_spelling() {
    let proxy = Proxy::start(config("http://127.0.0.1:1"));
    for path in ["/", "/status", "/health", "//health/", "/status?x=1"] {
        let answer = ask(proxy.addr, "GET", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.body, br#"{"message":"claude-proxy","health":"ok"}"#);
        assert!(answer.header("request-id").unwrap().starts_with("req_"));
    }
    for path in ["/", "/status", "/health", "/api/hello", "/ready"] {
        assert_eq!(ask(proxy.addr, "HEAD", path, &[], b"").status, 200, "{path}");
    }
    assert_eq!(ask(proxy.addr, "GET", "/ready", &[], b"").status, 200);
}

#[test]
fn unknown_paths_and_methods_are_errors_in_json() {
    let proxy = Proxy::start(config("http://127.0.0.1:1"));
    for (method, path) in [
        ("GET", "/v1/nothing"),
        ("POST", "/v1/complete"),
        ("GET", "/favicon.ico"),
        ("GET", "/%2e%2e/%00"),
        ("GET", "/v1"),
        ("DELETE", "/x"),
    ] {
        let answer = ask(proxy.addr, method, path, &[], b"");
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.error().0, "not_found_error");
    }
    for (method, path, allow) in [
        ("GET", "/v1/messages", "POST"),
        ("PUT", "/v1/messages", "POST"),
        ("GET", "/v1/messages/count_tokens", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/models/m", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
        ("OPTIONS", "/v1/messages", "POST"),
    ] {
        let answer = ask(proxy.addr, method, path, &[], b"");
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.header("allow"), Some(allow));
        assert_eq!(answer.error().0, "invalid_request_error");
    }
}

#[test]
fn odd_slashes_and_a_doubled_version_are_forgiven() {
    let up = Upstream::answering(ok(&completion("hello")));
    let proxy = Proxy::start(config(&up.base()));
    for path in
        ["/v1/messages", "//v1/messages", "/v1/messages/", "/v1/v1/messages", "/v1/messages?beta=true"]
    {
        let answer = ask(proxy.addr, "POST", path, &[], &message("hi", false));
        assert_eq!(answer.status, 200, "{path}");
    }
    assert_eq!(ask(proxy.addr, "GET", "/v1/v1/models", &[], b"").status, 200);
}

#[test]
fn models_serve_both_families_of_client() {
    let mut config = config("http://127.0.0.1:1");
    add_model(&mut config, "moonshotai/kimi-k2", "http://127.0.0.1:1", "moonshot");
    add_model(&mut config, "z", "http://127.0.0.1:1", "zai");
    let proxy = Proxy::start(config);
    let get = |path: &str| ask(proxy.addr, "GET", path, &[], b"");
    let ids = |path: &str| {
        let answer = get(path);
        assert_eq!(answer.status, 200, "{path}");
        let body = answer.json();
        let ids: Vec<String> =
            body["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(body["first_id"].as_str(), ids.first().map(String::as_str));
        assert_eq!(body["last_id"].as_str(), ids.last().map(String::as_str));
        (ids.join(" "), body["has_more"].as_bool().unwrap())
    };
    assert_eq!(ids("/v1/models"), ("m moonshotai/kimi-k2 z".to_owned(), false));
    assert_eq!(ids("/v1/models?limit=1000"), ("m moonshotai/kimi-k2 z".to_owned(), false));
    assert_eq!(ids("/v1/models?limit=2"), ("m moonshotai/kimi-k2".to_owned(), true));
    assert_eq!(ids("/v1/models?limit=2&after_id=moonshotai%2Fkimi-k2"), ("z".to_owned(), false));
    assert_eq!(ids("/v1/models?before_id=z&limit=1"), ("moonshotai/kimi-k2".to_owned(), true));
    assert_eq!(ids("/v1/models?after_id=z"), (String::new(), false));
    for bad in ["?limit=0", "?limit=1001", "?limit=x", "?after_id=nobody"] {
        let answer = get(&format!("/v1/models{bad}"));
        assert_eq!((answer.status, answer.error().0.as_str()), (400, "invalid_request_error"), "{bad}");
    }

    let all = get("/v1/models").json();
    assert_eq!(all["object"], "list");
    let first = &all["data"][0];
    assert_eq!((&first["object"], &first["type"]), (&"model".into(), &"model".into()));
    assert_eq!(first["display_name"], "Model m");
    assert!(first["created"].is_u64() && first["created_at"].as_str().unwrap().ends_with('Z'));
    assert!(!all.to_string().contains("remote-"), "no inner names");

    for path in ["/v1/models/moonshotai/kimi-k2", "/v1/models/moonshotai%2Fkimi-k2"] {
        assert_eq!(get(path).json()["id"], "moonshotai/kimi-k2");
    }
    let answer = get("/v1/models/nobody");
    assert_eq!(answer.status, 404);
    let (kind, message) = answer.error();
    assert_eq!(kind, "not_found_error");
    assert!(message.contains("nobody") && message.contains("moonshotai/kimi-k2"), "{message}");
}

#[test]
fn an_unknown_model_is_404_with_the_known_ones() {
    let proxy = Proxy::start(config("http://127.0.0.1:1"));
    let body = br#"{"model":"gpt-9","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}"#;
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        let answer = ask(proxy.addr, "POST", path, &[], body);
        assert_eq!(answer.status, 404);
        let (kind, message) = answer.error();
        assert_eq!(kind, "not_found_error");
        assert_eq!(message, "model: `gpt-9` is not configured. Known models: m");
    }
}

#[test]
fn broken_requests_say_where() {
    let proxy = Proxy::start(config("http://127.0.0.1:1"));
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        for body in ["{\"model\": \"m\", ", "not json", "", "[]", "null", "{}"] {
            let answer = ask(proxy.addr, "POST", path, &[], body.as_bytes());
            assert_eq!(answer.status, 400, "{body}");
            assert_eq!(answer.error().0, "invalid_request_error");
        }
    }
    let body = br#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"text":"x"}]}]}"#;
    let (_, message) = post(proxy.addr, body).error();
    assert!(message.starts_with("messages.0.content.0"), "{message}");
}

#[test]
fn count_tokens_asks_nobody() {
    let proxy = Proxy::start(config("http://127.0.0.1:1"));
    let body = br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let answer = ask(proxy.addr, "POST", "/v1/messages/count_tokens?beta=true", &[], body);
    assert_eq!(answer.status, 200);
    assert!(answer.json()["input_tokens"].as_u64().unwrap() > 0);
}

#[test]
fn twenty_five_counts_at_once_are_what_one_is() {
    let proxy = Proxy::start(config("http://127.0.0.1:1"));
    // A system prompt that all have in common, and a file that each has of its own.
    let count = |n: usize| {
        let (system, file) =
            ("You are a coding assistant. ".repeat(500), format!("line {n} of a file\n").repeat(3000));
        let body = serde_json::json!({"model": "m", "system": system, "tools": [],
            "messages": [{"role": "user", "content": file}]});
        let answer = ask(proxy.addr, "POST", "/v1/messages/count_tokens", &[], body.to_string().as_bytes());
        assert_eq!(answer.status, 200);
        answer.json()["input_tokens"].as_u64().unwrap()
    };
    let alone = count(10);
    assert!(alone > 20_000, "{alone}");
    let together: Vec<u64> = std::thread::scope(|scope| {
        let asked: Vec<_> = (10..35).map(|n| scope.spawn(move || count(n))).collect();
        asked.into_iter().map(|count| count.join().unwrap()).collect()
    });
    assert_eq!(together, vec![alone; 25], "two digits are one token");
    assert_eq!(count(10), alone);
}
