//! Only listed headers cross, both ways; keys never.

use claude_proxy::config::Secret;

use crate::support::config::UPSTREAM_KEY;
use crate::support::upstream::http;
use crate::support::*;

/// The names of a head's headers, in alphabetical order.
fn header_names(head: &str) -> String {
    let lines = head.lines().skip(1).filter_map(|l| l.split_once(':'));
    let mut names: Vec<String> = lines.map(|(n, _)| n.to_ascii_lowercase()).collect();
    names.sort();
    names.join(" ")
}

#[test]
fn only_our_own_headers_go_upstream() {
    let up = Upstream::answering(http(200, &[("content-type", "application/json")], &completion("x")));
    let mut config = config(&up.base());
    config.ak = Some(Secret::new("ak-inbound"));
    let proxy = Proxy::start(config);
    let headers = [
        ("authorization", "Bearer ak-inbound"),
        ("x-api-key", "ak-inbound"),
        ("cookie", "session=secret"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "context-1m-2025-08-07"),
        ("x-claude-code-session-id", "5e551011"),
        ("user-agent", "claude-cli/2.1.330"),
        ("accept-encoding", "gzip, br"),
        ("x-forwarded-for", "10.0.0.1"),
    ];
    for stream in [false, true] {
        ask(proxy.addr, "POST", "/v1/messages", &headers, &message("hi", stream));
    }
    for (seen, accept) in up.seen().iter().zip(["application/json", "text/event-stream"]) {
        assert_eq!(
            header_names(&seen.head),
            "accept accept-encoding authorization content-length content-type date host user-agent"
        );
        assert_eq!(seen.header("authorization"), Some(format!("Bearer {UPSTREAM_KEY}").as_str()));
        assert_eq!(seen.header("accept"), Some(accept));
        assert_eq!(seen.header("accept-encoding"), Some("identity"));
        assert_eq!(seen.header("host"), Some(up.addr.to_string().as_str()));
        assert!(seen.header("user-agent").unwrap().starts_with("claude-proxy/"));
        assert!(seen.head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"));
    }
    assert_eq!(up.seen().len(), 2);
}

#[test]
fn only_listed_headers_come_back() {
    let odd = [
        ("content-type", "application/json"),
        ("set-cookie", "a=b"),
        ("x-request-id", "abc"),
        ("server", "nginx"),
        ("x-ratelimit-limit-requests", "1"),
        ("retry-after", "7"),
        ("openai-organization", "org-secret"),
    ];
    let up = Upstream::answering(http(200, &odd, &completion("x")));
    let proxy = Proxy::start(config(&up.base()));
    let answer = post(proxy.addr, &message("hi", false));
    assert_eq!(answer.status, 200);
    assert_eq!(
        header_names(&answer.head),
        "content-length content-type date request-id x-claude-proxy-provider"
    );
}

#[test]
fn a_key_that_the_upstream_repeats_is_blotted_out() {
    let error = format!(r#"{{"error":{{"message":"no such key: {UPSTREAM_KEY}","code":401}}}}"#);
    let event = format!("data: {error}\n\n");
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let sse = [("content-type", "text/event-stream")];
    let plain = [("content-type", "application/json")];
    for answer in [
        http(401, &plain, &error),
        http(200, &plain, &error),
        http(200, &sse, &event),
        http(200, &sse, &format!("{text}{event}")),
    ] {
        let up = Upstream::answering(answer);
        let proxy = Proxy::start(config(&up.base()));
        for stream in [false, true] {
            let answer = post(proxy.addr, &message("hi", stream));
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(body.contains("no such key: [key]"), "{body}");
            assert!(!body.contains(UPSTREAM_KEY), "{body}");
        }
    }
}
