//! R19: no header, request or log line can be put in by a model's name, an id, a tool's name, the
//! configuration or an upstream's words; escape sequences do not reach a terminal.

use serde_json::{Value, json};

use crate::support::program::Program;
use crate::support::upstream::{http, ok};
use crate::support::*;

/// What would begin a header, a request, a line, an event or an escape sequence.
fn evil() -> Vec<String> {
    let mut all: Vec<String> = [
        "a\r\nx-injected: 1",
        "a\r\n\r\nPOST /v1/chat/completions HTTP/1.1\r\nhost: q\r\ncontent-length: 0\r\n\r\n",
        "a\nFORGED line",
        "a\rFORGED",
        "a\u{0}b",
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "\u{9b}2J\u{85}next",
        "a\u{2028}b\u{2029}c\u{202e}d",
        "data: {}\n\nevent: message_stop\ndata: {}\n\n",
        "\",\"injected\":\"1",
        "añ€😀",
        "\u{feff}bom",
        "%0d%0ax-injected: 1",
    ]
    .map(str::to_owned)
    .to_vec();
    all.push("long".repeat(25_000));
    all
}

/// A request that says it in every place that a client can name.
fn request(evil: &str, model: &str, stream: bool) -> Vec<u8> {
    json!({"model": model, "max_tokens": 9, "stream": stream,
        "metadata": {"user_id": evil},
        "system": evil,
        "stop_sequences": [evil],
        "tools": [{"name": evil, "description": evil, "input_schema": {"type": "object", "title": evil,
            "properties": {evil: {"type": "string", "description": evil}}}}],
        "tool_choice": {"type": "tool", "name": evil},
        "messages": [
            {"role": "user", "content": evil},
            {"role": "assistant", "content": [{"type": "tool_use", "id": evil, "name": evil, "input": {evil: evil}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": evil, "content": evil}]},
        ]})
    .to_string()
    .into_bytes()
}

/// No line of a head is more than what we wrote.
fn assert_head(head: &str) {
    for line in head.split("\r\n") {
        assert!(line.chars().all(|c| (' '..='~').contains(&c)), "{line:?}");
        assert!(!line.contains("injected") && !line.contains("FORGED") && line.len() < 1000, "{line:?}");
    }
}

#[test]
fn what_a_client_says_stays_within_its_string() {
    let up = Upstream::hello();
    let mut config = config(&up.base());
    config.default_model = Some("m".to_owned());
    config.aliases = vec![("alias*".to_owned(), "m".to_owned())];
    let proxy = Proxy::start(config);
    let mut asked = 0;
    for evil in evil() {
        for model in ["m".to_owned(), evil.clone(), format!("alias{evil}")] {
            for stream in [false, true] {
                let before = up.seen().len();
                let answer = post(proxy.addr, &request(&evil, &model, stream));
                assert_head(&answer.head);
                assert!(matches!(answer.status, 200 | 400), "{evil:?}: {}", answer.status);
                let seen = up.seen();
                assert_eq!(seen.len() - before, usize::from(answer.status == 200), "{evil:?}");
                if answer.status == 200 {
                    let seen = seen.last().unwrap();
                    assert_head(&seen.head);
                    // JSON to its last byte, and the model is the configured one.
                    assert_eq!(seen.json()["model"], "remote-m");
                    assert_eq!(seen.json()["injected"], Value::Null);
                    asked += 1;
                    if stream {
                        assert_eq!(answer.text(), "hello");
                    }
                }
            }
        }
    }
    assert!(asked > 20, "{asked}");
    eprintln!(
        "injection: {} texts in 14 places of a request, {asked} requests upstream, none more",
        evil().len()
    );
}

#[test]
fn what_an_upstream_says_stays_within_its_string() {
    for evil in evil() {
        let says = evil.clone();
        let up = Upstream::start(move |mut conn| {
            while let Some(seen) = conn.request() {
                let asked = String::from_utf8_lossy(&seen.body).into_owned();
                let call = json!({"id": says, "type": "function", "index": 0,
                    "function": {"name": says, "arguments": json!({says.as_str(): says}).to_string()}});
                let body = |key: &str| {
                    json!({"id": says, "model": says, "object": says, "system_fingerprint": says, "choices": [{
                        "index": 0, key: {"role": "assistant", "content": says, "reasoning_content": says,
                            "tool_calls": [call]}, "finish_reason": says}]})
                };
                if asked.contains("an error") {
                    let error =
                        json!({"error": {"message": says, "type": says, "code": says, "param": says}});
                    conn.write(http(400, &[("content-type", "application/json")], &error.to_string()));
                } else if asked.contains("\"stream\":true") {
                    conn.stream(&[&format!("data: {}\n\n", body("delta")), DONE]);
                } else {
                    conn.write(ok(&body("message").to_string()));
                }
            }
        });
        let proxy = Proxy::start(config(&up.base()));
        for (text, stream) in [("hi", false), ("hi", true), ("an error", false), ("an error", true)] {
            let answer = post(proxy.addr, &message(text, stream));
            assert_head(&answer.head);
            if answer.status == 200 && stream {
                let (events, _) = answer.events();
                assert!(events.iter().filter(|e| e["type"] == "message_stop").count() <= 1);
            } else {
                answer.json();
            }
        }
    }
    // Values of the one header that may cross, such as no header may have.
    for value in ["7\u{1b}[2J", "a\u{80}b", "\u{7f}", &"9".repeat(9000)] {
        let up = Upstream::answering(http(429, &[("retry-after", value)], "{}"));
        let proxy = Proxy::start(config(&up.base()));
        let answer = post(proxy.addr, &message("hi", false));
        assert!(matches!(answer.status, 429 | 502), "{}", answer.status);
        assert!(
            answer.head.split("\r\n").all(|l| l.chars().all(|c| (' '..='~').contains(&c))),
            "{:?}",
            answer.head
        );
    }
}

#[test]
fn every_request_is_one_line_of_the_log() {
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let evil = seen.json()["messages"][0]["content"].as_str().unwrap().to_owned();
            let error = json!({"error": {"message": evil}});
            match seen.json()["stream"].as_bool() {
                Some(true) => conn.stream(&[&text(&evil), &format!("data: {error}\n\n")]),
                _ => drop(conn.write(http(400, &[("content-type", "application/json")], &error.to_string()))),
            }
        }
    });
    let config = json!({"port": 0, "default_model": "m", "providers": [{"name": "up", "base_url": up.base(),
        "api_key": "", "models": [{"id": "m"}]}]});
    for (format, color) in [("text", "never"), ("text", "always"), ("json", "never")] {
        let args = ["serve", "--log-level", "debug", "--log-format", format, "--color", color];
        let program = Program::start(&args, &config.to_string());
        let addr = program.addr();
        let mut ids = Vec::new();
        for evil in evil() {
            for stream in [false, true] {
                let answer = post(addr, &request(&evil, &evil, stream));
                ids.push(answer.header("request-id").unwrap().to_owned());
            }
            // And in a path, as far as HTTP lets it through.
            let path: String = evil.chars().filter(char::is_ascii_graphic).take(3000).collect();
            ask(addr, "GET", &format!("/v1/models/{path}%0aFORGED%1b[2J"), &[("user-agent", "x")], b"");
        }
        let lines = |id: &str| {
            let output = program.output();
            output
                .lines()
                .filter(|l| l.contains(id) && l.contains("total_ms"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        for id in &ids {
            eventually("its line", || !lines(id).is_empty());
            assert_eq!(lines(id).len(), 1, "{id}");
        }
        let output = program.output();
        for line in output.lines() {
            assert!(!line.starts_with("FORGED") && !line.starts_with("next"), "{line:?}");
            let harmful = |c: char| match c {
                '\t' => false,
                '\u{1b}' => color != "always",
                '\u{2028}' | '\u{2029}' | '\u{202e}' => true,
                c => c.is_control(),
            };
            assert!(!line.contains(harmful), "{line:?}");
            // Colours end where they began, and nothing else is an escape.
            for sequence in line.split('\u{1b}').skip(1) {
                let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                assert!(sequence.starts_with('[') && sequence[end..].starts_with('m'), "{line:?}");
            }
            if format == "json" && line.starts_with('{') {
                serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
            }
        }
        eprintln!("injection: {} requests, one line each, {format}, colour {color}", ids.len());
    }
}

#[test]
fn a_configuration_cannot_put_anything_in_and_cannot_hide() {
    for evil in evil().iter().filter(|e| e.chars().any(char::is_control)) {
        let place = |key: &str| {
            let mut model = json!({"id": "m"});
            let mut provider = json!({"base_url": "http://127.0.0.1:1", "api_key": "k"});
            let mut config = json!({"port": 0});
            match key {
                "id" | "remote_id" | "display_name" | "profile" => model[key] = json!(evil),
                "name" | "api_key" | "base_url" => provider[key] = json!(evil),
                "header value" => provider["headers"] = json!({"x-a": evil}),
                "header name" => provider["headers"] = json!({evil.as_str(): "v"}),
                "default_model" | "host" | "ak" => config[key] = json!(evil),
                "alias" => config["aliases"] = json!({"a": evil}),
                "alias name" => config["aliases"] = json!({evil.as_str(): "m"}),
                key => config[format!("{key}{evil}")] = json!(1),
            }
            provider["models"] = json!([model]);
            config["providers"] = json!([provider]);
            config.to_string()
        };
        for key in
            ["id", "name", "header value", "header name", "default_model", "alias", "unknown", "profile"]
        {
            for format in ["short", "full", "json", "github", "sarif"] {
                let (code, output) =
                    Program::start(&["check-config", "--color", "never", "--format", format], &place(key))
                        .end();
                assert!(matches!(code, Some(0 | 1)), "{key} {format}: {output}");
                assert!(
                    !output.contains(|c: char| c.is_control() && c != '\n'),
                    "{key} {format}: {output:?}"
                );
                assert!(output.lines().all(|l| !l.starts_with("FORGED")), "{key} {format}: {output:?}");
                if format == "github" {
                    for line in output.lines().filter(|l| l.starts_with("::")) {
                        let command = ["::error ", "::warning ", "::notice "];
                        assert!(command.iter().any(|c| line.starts_with(c)), "{line:?}");
                    }
                }
            }
        }
        // None of these can be served: they would have to be sent as a header.
        for key in ["header value", "header name", "api_key"] {
            let (code, output) = Program::start(&["check-config"], &place(key)).end();
            assert_eq!(code, Some(1), "{key}: {output}");
        }
    }
}
