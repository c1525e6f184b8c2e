//! Who may come in: either header, every spelling of Bearer; nobody is told more than "no".

use claude_proxy::config::Secret;

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
