//! R22: keys are compared by their digests in constant time (src/server/auth.rs); wrong and
//! missing look the same, and nobody is told more than "no".

use claude_proxy::config::Secret;

use crate::support::program::Program;
use crate::support::upstream::ok;
use crate::support::*;

const BODY: &str = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}"#;

fn proxy(up: &Upstream) -> Proxy {
    let mut config = config(&up.base());
    config.ak = Some(Secret::new("ak-inbound"));
    Proxy::start(config)
}

#[test]
fn either_header_opens() {
    let up = Upstream::answering(ok(&completion("hello")));
    let proxy = proxy(&up);
    for headers in [
        &[("authorization", "Bearer ak-inbound")][..],
        &[("Authorization", "bearer ak-inbound")],
        &[("AUTHORIZATION", "BEARER ak-inbound")],
        &[("x-api-key", "ak-inbound")],
        &[("X-API-KEY", "ak-inbound")],
        &[("authorization", "Bearer ak-inbound"), ("x-api-key", "sk-ant-left-over")],
        &[("x-api-key", "ak-inbound"), ("authorization", "Bearer left-over")],
    ] {
        let answer = ask(proxy.addr, "POST", "/v1/messages", headers, BODY.as_bytes());
        assert_eq!(answer.status, 200, "{headers:?}");
    }
}

#[test]
fn everything_else_gets_401_before_the_upstream_is_asked() {
    let up = Upstream::answering(ok(&completion("hello")));
    let proxy = proxy(&up);
    let mut messages = std::collections::HashSet::new();
    for headers in [
        &[][..],
        &[("x-api-key", "wrong")],
        &[("x-api-key", "")],
        &[("x-api-key", "ak-inboun")],
        &[("x-api-key", "ak-inboundx")],
        &[("authorization", "Bearer wrong")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Basic ak-inbound")],
        &[("authorization", "ak-inbound")],
    ] {
        for path in ["/v1/messages", "//v1/messages/", "/v1/v1/messages", "/v1/messages/count_tokens"] {
            let answer = ask(proxy.addr, "POST", path, headers, BODY.as_bytes());
            assert_eq!(answer.status, 401, "{headers:?}");
            let (kind, message) = answer.error();
            assert_eq!(kind, "authentication_error");
            // Claude Code turns a message with this word into "please log in".
            assert!(!message.contains("x-api-key") && !message.contains("ak-inbound"), "{message}");
            messages.insert(message);
        }
        assert_eq!(ask(proxy.addr, "GET", "/v1/models", headers, b"").status, 401);
        assert_eq!(ask(proxy.addr, "GET", "/v1/nothing", headers, b"").status, 401);
    }
    assert_eq!(messages.len(), 1, "wrong and missing look the same");
    assert_eq!(up.connections(), 0);
}

#[test]
fn health_needs_no_key() {
    let up = Upstream::answering("");
    let proxy = proxy(&up);
    for path in ["/", "/health", "/status", "/ready"] {
        assert_eq!(ask(proxy.addr, "GET", path, &[], b"").status, 200, "{path}");
    }
}

/// An answer without what differs from one request to the next.
fn faceless(answer: &client::Answer) -> (String, String) {
    let id = answer.header("request-id").unwrap().to_owned();
    let date = answer.header("date").unwrap().to_owned();
    let head = answer.head.replace(&id, "ID").replace(&date, "DATE");
    (head, String::from_utf8_lossy(&answer.body).replace(&id, "ID"))
}

#[test]
fn wrong_and_missing_look_the_same_byte_for_byte() {
    let up = Upstream::answering(ok(&completion("hello")));
    let proxy = proxy(&up);
    let long = "k".repeat(8000);
    let mut tried = 0;
    for method in ["POST", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
        let mut seen = std::collections::HashSet::new();
        for path in [
            "/v1",
            "/v1/",
            "/v1/messages",
            "/v1/messages?beta=true",
            "/v1/messages/count_tokens",
            "/v1/messages/batches",
            "/v1/models",
            "/v1/models/m",
            "/v1/models/nobody",
            "/v1/v1/messages",
            "//v1//messages//",
            "/v1/nothing/at/all",
            "/v1/../v1/messages",
        ] {
            for key in [
                None,
                Some(("x-api-key", "")),
                Some(("x-api-key", "wrong")),
                Some(("x-api-key", "ak-inboun")),
                Some(("x-api-key", "ak-inboundx")),
                Some(("x-api-key", "AK-INBOUND")),
                Some(("x-api-key", "Bearer ak-inbound")),
                Some(("x-api-key", "ak-inbound, ak-inbound")),
                Some(("x-api-key", long.as_str())),
                Some(("authorization", "Bearer")),
                Some(("authorization", "Bearer wrong")),
                Some(("authorization", "Bearer ak-inbound ak-inbound")),
                Some(("authorization", "Basic YWstaW5ib3VuZA==")),
                Some(("authorization", "ak-inbound")),
                Some(("proxy-authorization", "Bearer ak-inbound")),
                Some(("cookie", "x-api-key=ak-inbound")),
            ] {
                let headers: Vec<_> = key.into_iter().collect();
                let answer = ask(proxy.addr, method, path, &headers, b"");
                assert_eq!(answer.status, 401, "{method} {path} {key:?}");
                seen.insert(faceless(&answer));
                tried += 1;
            }
        }
        assert_eq!(seen.len(), 1, "{method}: {seen:?}");
    }
    // A key in the address is none: it would be in somebody's log.
    let path = "/v1/messages?key=ak-inbound&x-api-key=ak-inbound&api_key=ak-inbound";
    assert_eq!(ask(proxy.addr, "POST", path, &[], BODY.as_bytes()).status, 401);
    assert_eq!(up.connections(), 0);
    eprintln!("auth: {tried} requests with wrong or missing keys, one answer for each method");
}

#[test]
fn outside_v1_nobody_learns_whether_a_key_is_right() {
    let up = Upstream::answering("");
    let proxy = proxy(&up);
    for path in ["/", "/health", "/nothing", "/v2/messages", "/V1/messages", "/v1x"] {
        let answers = ["ak-inbound", "wrong"].map(|key| {
            let answer = ask(proxy.addr, "GET", path, &[("x-api-key", key)], b"");
            (answer.status, faceless(&answer))
        });
        assert_eq!(answers[0], answers[1], "{path}");
        assert_ne!(answers[0].0, 401, "{path}");
    }
}

#[test]
fn refused_keys_are_counted_in_the_log_and_not_shown() {
    let config = serde_json::json!({"port": 0, "ak": "ak-inbound-sentinel", "providers": [{"name": "up",
        "base_url": "http://127.0.0.1:1", "api_key": "", "models": [{"id": "m"}]}]});
    let program = Program::start(&["serve", "--log-format", "json"], &config.to_string());
    for n in 0..20 {
        let key = format!("guess-sentinel-{n}");
        assert_eq!(ask(program.addr(), "GET", "/v1/models", &[("x-api-key", &key)], b"").status, 401);
    }
    let refused = || program.output().matches("requests without the right key were refused").count();
    eventually("the log tells", || refused() > 0);
    assert_eq!(refused(), 1, "once, not twenty times");
    assert!(program.output().contains("\"peer\":\"127.0.0.1\""), "{}", program.output());
    assert!(!program.output().contains("sentinel"), "{}", program.output());
}
