//! W3C Trace Context: a trace that a client is part of goes on upstream, and nothing else does.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use claude_proxy::config::Engine;
use claude_proxy::config::{Secret, WebSearch};
use serde_json::{Value, json};

use crate::support::native::native;
use crate::support::program::Program;
use crate::support::upstream::{Seen, http, ok};
use crate::support::*;

const ID: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The span that a request upstream says it belongs to; it has to be of the client's trace.
fn span(seen: &Seen) -> String {
    let parent = seen.header("traceparent").unwrap_or_else(|| panic!("{}", seen.head));
    let span = parent.strip_prefix(&format!("00-{ID}-")).and_then(|rest| rest.strip_suffix("-01"));
    let span = span.unwrap_or_else(|| panic!("{parent}"));
    assert!(span.len() == 16 && span.bytes().all(|b| b"0123456789abcdef".contains(&b)), "{parent}");
    assert!(span != "b7ad6b7169203331" && span != "0000000000000000", "{parent}");
    assert_eq!(seen.head.matches("traceparent").count(), 1, "{}", seen.head);
    span.to_owned()
}

fn distinct(seen: &[Seen]) {
    let spans: HashSet<String> = seen.iter().map(span).collect();
    assert_eq!(spans.len(), seen.len(), "each request upstream is a span of its own");
}

fn traced(addr: std::net::SocketAddr, headers: &[(&str, &str)], stream: bool) {
    let answer = ask(addr, "POST", "/v1/messages", headers, &message("hi", stream));
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    // It is the upstream's affair, not the client's.
    assert!(answer.header("traceparent").is_none() && answer.header("traceresponse").is_none());
}

/// Answers of both protocols.
fn upstream() -> Upstream {
    Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let stream = seen.json()["stream"] == true;
            if seen.head.contains("/chat/completions") && stream {
                conn.stream(&[&text("x"), &finish("stop"), DONE]);
            } else if seen.head.contains("/chat/completions") {
                conn.write(ok(&completion("x")));
            } else if stream {
                conn.write(http(200, &[crate::native::SSE], crate::native::STREAM));
            } else {
                conn.write(ok(crate::native::MESSAGE));
            }
        }
    })
}

#[test]
fn a_trace_goes_on_upstream() {
    let up = upstream();
    for config in [config(&up.base()), native(&up.base())] {
        let proxy = Proxy::start(config);
        let before = up.seen().len();
        for stream in [false, true] {
            traced(proxy.addr, &[("traceparent", PARENT)], stream);
            let state = [("TraceParent", PARENT), ("tracestate", "a=1 ,b@v=2"), ("tracestate", "c=3")];
            traced(proxy.addr, &state, stream);
            // A later version is read as far as it is known.
            let later = format!("cc{}-more", &PARENT[2..]);
            traced(proxy.addr, &[("traceparent", &later), ("tracestate", "a=1,broken")], stream);
        }
        let seen = &up.seen()[before..];
        distinct(seen);
        for three in seen.chunks(3) {
            let states: Vec<_> = three.iter().map(|seen| seen.header("tracestate")).collect();
            assert_eq!(states, [None, Some("a=1,b@v=2,c=3"), None]);
        }
    }
}

#[test]
fn without_a_trace_or_with_a_broken_one_nothing_goes_upstream() {
    let up = upstream();
    let upper = PARENT.to_uppercase();
    for config in [config(&up.base()), native(&up.base())] {
        let proxy = Proxy::start(config);
        for headers in [
            &[][..],
            &[("tracestate", "a=1")],
            &[("traceparent", ""), ("tracestate", "a=1")],
            &[("traceparent", &upper)],
            &[("traceparent", PARENT), ("traceparent", PARENT), ("tracestate", "a=1")],
            &[("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01")],
            &[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x")],
        ] {
            traced(proxy.addr, headers, false);
            let seen = up.seen().pop().unwrap();
            assert!(!seen.head.to_ascii_lowercase().contains("trace"), "{headers:?}: {}", seen.head);
        }
    }
}

#[test]
fn nothing_can_be_put_in_by_way_of_a_trace() {
    let up = upstream();
    let proxy = Proxy::start(config(&up.base()));
    for state in
        ["a=1\tx", "a=\u{e9}", "a=1\u{b}evil", "a=sk-client-secret\u{85}", "a=1,b", &"a=1,".repeat(40)]
    {
        let mut request =
            b"POST /v1/messages HTTP/1.1\r\nhost: proxy\r\ncontent-type: application/json\r\n".to_vec();
        let body = message("hi", false);
        request.extend(format!("traceparent: {PARENT}\r\ntracestate: {state}\r\n").as_bytes());
        request.extend(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        request.extend(&body);
        let before = up.seen().len();
        let mut client = Client::connect(proxy.addr);
        client.write(&request);
        // A byte that no header may have is refused before anyone looks at it.
        if client.answer().status != 200 {
            continue;
        }
        let seen = up.seen();
        assert_eq!(seen.len(), before + 1);
        let state = seen[before].header("tracestate");
        assert!(state.is_none_or(|state| state == "a=1"), "{state:?}");
    }
}

#[test]
fn second_attempts_are_spans_of_their_own() {
    let count = Arc::new(AtomicUsize::new(0));
    let up = Upstream::start(move |mut conn| {
        while conn.request().is_some() {
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                conn.write(http(503, &[("content-type", "application/json")], "{}"));
            } else {
                conn.write(ok(&completion("x")));
            }
        }
    });
    let proxy = Proxy::start(config(&up.base()));
    traced(proxy.addr, &[("traceparent", PARENT)], false);
    assert_eq!(up.seen().len(), 2);
    distinct(&up.seen());
}

#[test]
fn rounds_of_web_tools_are_of_the_same_trace_and_strangers_hear_nothing_of_it() {
    let search =
        Upstream::answering(ok(r#"{"results":[{"title":"t","url":"https://a.example/","content":"c"}]}"#));
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            if seen.json()["messages"].as_array().unwrap().iter().any(|m| m["role"] == "tool") {
                conn.write(ok(&completion("x")));
            } else {
                let call = json!({"id": "c1", "type": "function",
                    "function": {"name": "web_search", "arguments": "{\"query\":\"q\"}"}});
                conn.write(ok(&json!({"id": "c", "choices": [{"index": 0, "finish_reason": "tool_calls",
                    "message": {"role": "assistant", "content": null, "tool_calls": [call]}}]})
                .to_string()));
            }
        }
    });
    let mut config = config(&up.base());
    config.extras.web_search = Some(WebSearch {
        engine: Engine::SearXng,
        key: Secret::new(""),
        base_url: search.base(),
        proxy: None,
    });
    let web = config.extras.web_tools();
    config.models.iter_mut().for_each(|model| Arc::get_mut(model).unwrap().spec.web = web);
    let proxy = Proxy::start(config);
    let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "web_search_20250305", "name": "web_search"}]});
    let headers = [("traceparent", PARENT), ("tracestate", "a=1")];
    let answer = ask(proxy.addr, "POST", "/v1/messages", &headers, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(up.seen().len(), 2);
    distinct(&up.seen());
    assert!(up.seen().iter().all(|seen| seen.header("tracestate") == Some("a=1")));
    assert_eq!(search.seen().len(), 1);
    assert!(!search.seen()[0].head.to_ascii_lowercase().contains("trace"), "{}", search.seen()[0].head);
}

#[test]
fn lines_of_the_log_name_the_trace() {
    let up = upstream();
    let config = json!({"port": 0, "vision_model": "eye", "providers": [{"name": "up", "base_url": up.base(),
        "api_key": "", "models": [{"id": "m", "vision": false}, {"id": "eye"}]}]});
    let image = json!({"type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "aW1hZ2U="}});
    let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [image]}]})
        .to_string();
    for format in ["text", "json"] {
        let program = Program::start(&["serve", "--log-format", format], &config.to_string());
        let answer = ask(program.addr(), "POST", "/v1/messages", &[("traceparent", PARENT)], body.as_bytes());
        assert_eq!(answer.status, 200);
        let id = answer.header("request-id").unwrap().to_owned();
        ask(program.addr(), "POST", "/v1/messages", &[], &message("hi", false));
        eventually("three lines", || program.output().matches("total_ms").count() == 3);
        let output = program.output();
        let lines: Vec<&str> = output.lines().filter(|line| line.contains("total_ms")).collect();
        let (with, without): (Vec<&str>, Vec<&str>) = lines.iter().partition(|line| line.contains(&id));
        assert_eq!((with.len(), without.len()), (2, 1), "{output}");
        for line in with {
            if format == "json" {
                assert_eq!(serde_json::from_str::<Value>(line).unwrap()["trace_id"], ID);
            } else {
                assert!(line.contains(&format!(" trace_id={ID} ")), "{line}");
            }
        }
        assert!(!without[0].contains("trace_id"), "{without:?}");
    }
    // Two questions about an image and two requests with one, each a span of its own.
    let traced: Vec<Seen> =
        up.seen().into_iter().filter(|seen| seen.header("traceparent").is_some()).collect();
    assert_eq!(traced.len(), 4);
    distinct(&traced);
}
