//! R18: only listed headers cross, both ways; credentials never.

use std::fmt::Write as _;

use claude_proxy::config::Secret;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};

use crate::support::config::UPSTREAM_KEY;
use crate::support::upstream::http;
use crate::support::*;

/// What the upstream gets, whatever the client sends.
const TO_UPSTREAM: &str =
    "accept accept-encoding authorization content-length content-type date host user-agent";
/// What comes back with a whole answer, and with an error.
const WHOLE: &str = "content-length content-type date request-id x-claude-proxy-provider";
/// With a stream.
const STREAM: &str = "cache-control content-type date request-id transfer-encoding x-claude-proxy-provider";

/// The names of a head's headers, in alphabetical order.
fn header_names(head: &str) -> String {
    let lines = head.lines().skip(1).filter_map(|l| l.split_once(':'));
    let mut names: Vec<String> = lines.map(|(n, _)| n.to_ascii_lowercase()).collect();
    names.sort();
    names.join(" ")
}

/// Headers that other proxies pass on, and some that nobody knows.
fn odd_headers() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![
        3 => prop::sample::select(vec![
            "keep-alive", "te", "trailer", "proxy-authorization", "proxy-authenticate", "proxy-connection",
            "cookie", "set-cookie", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded",
            "via", "x-real-ip", "cf-connecting-ip", "true-client-ip", "origin", "referer", "range",
            "if-none-match", "authorization", "x-api-key", "api-key", "anthropic-version", "anthropic-beta",
            "x-claude-code-session-id", "user-agent", "accept", "accept-encoding", "accept-language",
            "content-language", "date", "server", "location", "www-authenticate", "openai-organization",
            "x-request-id", "request-id", "x-ratelimit-limit-requests", "alt-svc", "strict-transport-security",
            "connection", "upgrade-insecure-requests", "traceparent", "tracestate", "baggage", "x-http-method-override", "x-original-url", "link",
        ]).prop_map(str::to_owned),
        1 => "x-[a-z]{1,12}(-[a-z0-9]{1,8})?",
    ];
    let value = prop_oneof!["[ -~]{0,40}", "[a-zA-Z0-9,;= ]{0,20}", Just("sk-client-secret".to_owned())];
    vec((name, value.prop_map(|v: String| v.trim().to_owned())), 0..24)
}

#[test]
fn whatever_a_client_sends_the_upstream_gets_our_headers() {
    const CASES: u32 = 96;
    let up = Upstream::answering(http(200, &[("content-type", "application/json")], &completion("x")));
    let proxy = Proxy::start(config(&up.base()));
    let crossed = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Cases { cases: CASES, failure_persistence: None, ..Cases::default() });
    runner
        .run(&(odd_headers(), any::<bool>(), any::<bool>()), |(headers, stream, chunked)| {
            let mut request = String::from("POST /v1/messages?beta=true HTTP/1.1\r\nhost: proxy\r\n");
            for (name, value) in &headers {
                write!(request, "{name}: {value}\r\n").unwrap();
            }
            let body = String::from_utf8(message("hi", stream)).unwrap();
            if chunked {
                // Trailers are headers, too.
                let trailers = "x-trailer: sk-client-secret\r\nauthorization: Bearer sk-client-secret\r\n";
                write!(
                    request,
                    "transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n{trailers}\r\n",
                    body.len()
                )
                .unwrap();
            } else {
                write!(request, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
            }
            let before = up.seen().len();
            let mut client = Client::connect(proxy.addr);
            client.write(&request);
            prop_assert_eq!(client.answer().status, 200);
            let seen = up.seen();
            prop_assert_eq!(seen.len(), before + 1);
            let seen = &seen[before];
            prop_assert_eq!(header_names(&seen.head), TO_UPSTREAM);
            let key = format!("Bearer {UPSTREAM_KEY}");
            prop_assert_eq!(seen.header("authorization"), Some(key.as_str()));
            prop_assert_eq!(
                seen.header("accept"),
                Some(if stream { "text/event-stream" } else { "application/json" })
            );
            prop_assert_eq!(seen.header("accept-encoding"), Some("identity"));
            let host = up.addr.to_string();
            prop_assert_eq!(seen.header("host"), Some(host.as_str()));
            prop_assert!(seen.header("user-agent").unwrap().starts_with("claude-proxy/"));
            prop_assert!(seen.head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"));
            prop_assert!(!seen.head.contains("sk-client-secret"));
            crossed.set(crossed.get() + headers.len());
            Ok(())
        })
        .unwrap();
    eprintln!("headers: {CASES} requests with {} headers of the client's, none crossed", crossed.get());
}

#[test]
fn whatever_an_upstream_sends_the_client_gets_our_headers() {
    const CASES: u32 = 96;
    #[derive(Debug, Clone, Copy)]
    enum Form {
        Whole,
        Stream,
        Error,
    }
    let form = prop::sample::select(vec![Form::Whole, Form::Stream, Form::Error]);
    let next = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let says = std::sync::Arc::clone(&next);
    let up = Upstream::start(move |mut conn| {
        while conn.request().is_some() {
            let answer = says.lock().unwrap().clone();
            conn.write(answer);
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    let crossed = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Cases { cases: CASES, failure_persistence: None, ..Cases::default() });
    runner
        .run(&(odd_headers(), form), |(headers, form)| {
            let (status, kind, body) = match form {
                Form::Whole => (200, "application/json", completion("x")),
                Form::Stream => (200, "text/event-stream", [&text("x"), &finish("stop"), DONE].concat()),
                Form::Error => (400, "application/json", r#"{"error":{"message":"because"}}"#.to_owned()),
            };
            let mut all = vec![("content-type", kind)];
            // What says how to read the answer is not among the odd ones.
            all.extend(
                headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).filter(|(n, _)| *n != "upgrade"),
            );
            *next.lock().unwrap() = http(status, &all, &body);
            for stream in [false, true] {
                let answer = post(proxy.addr, &message("hi", stream));
                prop_assert_eq!(answer.status, status, "{}", answer.head);
                let want = if stream && status == 200 { STREAM } else { WHOLE };
                prop_assert_eq!(header_names(&answer.head), want);
                prop_assert!(answer.header("request-id").unwrap().starts_with("req_"));
                prop_assert!(!answer.head.contains("sk-client-secret"));
            }
            crossed.set(crossed.get() + headers.len());
            Ok(())
        })
        .unwrap();
    eprintln!(
        "headers: {} answers with {} headers of the upstream's, none crossed",
        2 * CASES,
        crossed.get()
    );
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
    assert_eq!(header_names(&answer.head), WHOLE);
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
