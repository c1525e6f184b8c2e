//! R23: only configured upstreams are contacted. What a request or an answer names is passed on
//! as text, and never fetched; a redirect is a fault.

use serde_json::json;

use crate::support::program::Program;
use crate::support::upstream::{http, ok};
use crate::support::*;

#[test]
fn images_and_documents_are_named_and_not_fetched() {
    let canary = Canary::start();
    let up = Upstream::answering(ok(&completion("a cat")));
    let proxy = Proxy::start(config(&up.base()));
    let urls = [
        format!("{}/cat.png", canary.base),
        format!("{}/cat.png", canary.base.replace("127.0.0.1", "localhost")),
        format!("{}/cat.png", canary.base.replace("127.0.0.1", "[::ffff:127.0.0.1]")),
        format!("{}/cat.png", canary.base.replace("127.0.0.1", "2130706433")),
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "ftp://127.0.0.1/x".to_owned(),
        "gopher://127.0.0.1:6379/_FLUSHALL".to_owned(),
        "data:image/png;base64,iVBORw0KGgo=".to_owned(),
        "//127.0.0.1/x".to_owned(),
        "/etc/passwd".to_owned(),
    ];
    let mut named = 0;
    for url in &urls {
        for kind in ["image", "document"] {
            for within in [false, true] {
                let block = json!({"type": kind, "source": {"type": "url", "url": url}});
                let content = if within {
                    json!([{"type": "tool_result", "tool_use_id": "toolu_1", "content": [block]}])
                } else {
                    json!([{"type": "text", "text": "what is this?"}, block])
                };
                let mut messages = vec![json!({"role": "user", "content": content})];
                if within {
                    messages.insert(0, json!({"role": "user", "content": "go"}));
                    let call = json!({"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}});
                    messages.insert(1, json!({"role": "assistant", "content": [call]}));
                }
                let body = json!({"model": "m", "max_tokens": 9, "messages": messages,
                    "tools": [{"name": "look", "input_schema": {"type": "object"}}]});
                for path in ["/v1/messages", "/v1/messages/count_tokens"] {
                    let answer = ask(proxy.addr, "POST", path, &[], body.to_string().as_bytes());
                    assert!(matches!(answer.status, 200 | 400), "{url}: {}", answer.status);
                }
                let seen = up.seen();
                if kind == "image" && url.starts_with("http") {
                    let last = String::from_utf8_lossy(&seen.last().unwrap().body).into_owned();
                    assert!(last.contains(url.as_str()), "{url} is passed on: {last}");
                    named += 1;
                }
                for seen in seen {
                    let text = String::from_utf8_lossy(&seen.body).into_owned();
                    assert!(!text.contains("root:"), "{text}");
                    assert_eq!(seen.header("host"), Some(up.addr.to_string().as_str()));
                }
            }
        }
    }
    canary.assert_alone();
    eprintln!(
        "ssrf: {} URLs in images, documents and tool results, {named} passed on, none fetched",
        urls.len()
    );
}

#[test]
fn redirects_are_faults() {
    let canary = Canary::start();
    for status in [300, 301, 302, 303, 304, 305, 307, 308] {
        let location = format!("{}/v1/chat/completions", canary.base);
        let up = Upstream::answering(http(status, &[("location", &location)], "moved"));
        let proxy = Proxy::start(config(&up.base()));
        for stream in [false, true] {
            let answer = post(proxy.addr, &message("hi", stream));
            assert_eq!((answer.status, answer.error().0.as_str()), (502, "api_error"), "{status}");
            let text = answer.error().1;
            assert!(text.contains(&format!("HTTP {status}")) && text.contains("base_url"), "{text}");
            assert!(!text.contains(&canary.base) && answer.header("location").is_none(), "{text}");
        }
        assert_eq!(up.seen().len(), 2, "asked once each");
    }
    canary.assert_alone();
}

#[test]
fn what_the_client_says_of_hosts_steers_nothing() {
    let canary = Canary::start();
    let up = Upstream::answering(ok(&completion("hello")));
    let proxy = Proxy::start(config(&up.base()));
    let elsewhere = canary.base.trim_start_matches("http://");
    let body = String::from_utf8(message("hi", false)).unwrap();
    let length = format!("content-length: {}", body.len());
    for request in [
        format!("POST {}/v1/messages HTTP/1.1\r\nhost: {elsewhere}\r\n{length}\r\n\r\n{body}", canary.base),
        format!("POST /v1/messages HTTP/1.1\r\nhost: {elsewhere}\r\n{length}\r\n\r\n{body}"),
        format!(
            "POST /v1/messages HTTP/1.1\r\nhost: p\r\nx-forwarded-host: {elsewhere}\r\n{length}\r\n\r\n{body}"
        ),
        format!(
            "POST /v1/messages HTTP/1.1\r\nhost: p\r\nforwarded: host={elsewhere}\r\n{length}\r\n\r\n{body}"
        ),
        format!("POST //{elsewhere}/v1/messages HTTP/1.1\r\nhost: p\r\n{length}\r\n\r\n{body}"),
        format!("POST /{}/v1/messages HTTP/1.1\r\nhost: p\r\n{length}\r\n\r\n{body}", canary.base),
        format!("CONNECT {elsewhere} HTTP/1.1\r\nhost: {elsewhere}\r\n\r\n"),
        format!("GET {}/ HTTP/1.1\r\nhost: {elsewhere}\r\n\r\n", canary.base),
        format!("OPTIONS * HTTP/1.1\r\nhost: {elsewhere}\r\n\r\n"),
    ] {
        let mut client = Client::connect(proxy.addr);
        client.write(&request);
        let answer = client.answer();
        assert!(matches!(answer.status, 200 | 400 | 404 | 405), "{request}: {}", answer.status);
    }
    for seen in up.seen() {
        assert_eq!(seen.header("host"), Some(up.addr.to_string().as_str()));
        assert!(seen.head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{}", seen.head);
    }
    assert_eq!(up.seen().len(), 4);
    // A model's name is a name, also where it looks like a place.
    for model in
        [&canary.base, &format!("m@{elsewhere}"), &format!("../{elsewhere}"), "http://169.254.169.254/"]
    {
        let body = json!({"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]});
        assert_eq!(post(proxy.addr, body.to_string().as_bytes()).status, 404, "{model}");
        let path = format!("/v1/models/{model}");
        assert_eq!(ask(proxy.addr, "GET", &path, &[], b"").status, 404, "{model}");
    }
    assert_eq!(up.seen().len(), 4);
    canary.assert_alone();
}

#[test]
fn what_an_upstream_names_is_not_fetched() {
    let canary = Canary::start();
    let image = json!({"type": "image_url", "image_url": {"url": format!("{}/a.png", canary.base)}});
    let message = json!({"role": "assistant", "content": [image, {"type": "text", "text": canary.base}],
        "images": [image]});
    let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
    let up = Upstream::answering(ok(&body.to_string()));
    let proxy = Proxy::start(config(&up.base()));
    for stream in [false, true] {
        post(proxy.addr, &crate::support::message("hi", stream));
    }
    assert_eq!(up.seen().len(), 2);
    canary.assert_alone();
}

#[test]
fn commands_follow_no_redirect_either() {
    let canary = Canary::start();
    let up = Upstream::answering(http(302, &[("location", &format!("{}/v1/models", canary.base))], ""));
    let config = json!({"port": 0, "providers": [{"name": "up", "base_url": up.base(), "api_key": "sk-upstream-sentinel",
        "models": [{"id": "m"}]}]});
    for args in [&["models", "--remote"][..], &["ping-upstream"]] {
        let (code, output) = Program::start(args, &config.to_string()).end();
        assert_ne!(code, Some(0), "{output}");
        assert!(output.contains("302") || output.contains("redirect"), "{output}");
        assert!(!output.contains("sentinel"), "{output}");
    }
    assert!(!up.seen().is_empty());
    // `check-config` asks nobody at all.
    let config = json!({"port": 0, "providers": [{"name": "up", "base_url": canary.base, "api_key": "k",
        "models": [{"id": "m"}]}]});
    let (code, output) = Program::start(&["check-config"], &config.to_string()).end();
    assert_eq!(code, Some(0), "{output}");
    canary.assert_alone();
}
