//! The program itself: demo, serve and its signals, its log, ping-upstream.

use serde_json::{Value, json};

use crate::grammar::End;
use crate::support::program::Program;
use crate::support::upstream::{http, ok};
use crate::support::*;

fn config_of(up: &str, more: &Value) -> String {
    let mut config = json!({
        "port": 0,
        "providers": [{"name": "up", "base_url": up, "api_key": "sk-upstream-sentinel",
            "models": [{"id": "m", "remote_id": "remote-m"}]}],
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config.to_string()
}

#[test]
fn demo_shows_a_whole_exchange_and_ends() {
    let (code, output) = Program::start(&["demo"], "").end();
    assert_eq!(code, Some(0), "{output}");
    for part in [
        "POST /v1/messages",
        "POST /v1/chat/completions",
        "thinking_delta",
        "input_json_delta",
        "tool_result",
        "text_delta",
        "message_stop",
    ] {
        assert!(output.contains(part), "{part}: {output}");
    }
}

#[test]
fn serve_demo_answers_any_model_in_both_forms() {
    let program = Program::start(&["serve", "--demo", "--port", "0"], "");
    let addr = program.addr();
    for stream in [true, false] {
        let body = json!({"model": "claude-opus-4-8", "max_tokens": 500, "stream": stream,
            "thinking": {"type": "adaptive"},
            "tools": [{"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}],
            "messages": [{"role": "user", "content": "Please run a command"}]});
        let answer = post(addr, body.to_string().as_bytes());
        assert_eq!(answer.status, 200);
        if stream {
            let (events, end) = answer.events();
            assert_eq!(end, End::Complete);
            let kinds: Vec<&str> =
                events.iter().filter_map(|e| e["content_block"]["type"].as_str()).collect();
            assert_eq!(kinds, ["thinking", "text", "tool_use"]);
        } else {
            let body = answer.json();
            assert_eq!(body["content"][2]["input"]["command"], "echo \"Hello from the demo upstream\"");
            assert_eq!(body["stop_reason"], "tool_use");
        }
    }
    let output = program.output();
    assert!(output.contains(&format!("export ANTHROPIC_BASE_URL=http://{addr}")), "{output}");
    assert!(output.contains("export ANTHROPIC_MODEL=demo"), "{output}");
}

/// The lines of the log with this message, as JSON.
fn lines(output: &str, message: &str) -> Vec<Value> {
    output
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok())
        .filter(|l| l["message"] == message)
        .collect()
}

#[test]
fn one_line_for_every_request_whatever_became_of_it() {
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let body = String::from_utf8(seen.body).unwrap();
            if body.contains("hang") {
                conn.stream_head();
                conn.chunk(text("one"));
                return conn.hang();
            } else if body.contains("cut") {
                conn.stream_head();
                conn.chunk(text("one"));
                return conn.close();
            } else if body.contains("\"stream\":true") {
                conn.stream(&[&text("Hello"), &finish("stop"), &usage(), DONE]);
            } else {
                conn.write(ok(&completion("Hello")));
            }
        }
    });
    let program = Program::start(&["serve", "--log-format", "json"], &config_of(&up.base(), &json!({})));
    let addr = program.addr();
    let ids: Vec<String> = [message("hi", false), message("hi", true), message("cut", true), b"{".to_vec()]
        .iter()
        .map(|body| post(addr, body).header("request-id").unwrap().to_owned())
        .collect();
    let mut client = Client::connect(addr);
    client.send("POST", "/v1/messages", &[], &message("hang", true));
    client.until("one");
    drop(client);
    eventually("five lines", || lines(&program.output(), "request").len() == 5);
    let lines = lines(&program.output(), "request");
    for (id, outcome, status, stop) in [
        (&ids[0], "done", 200, "end_turn"),
        (&ids[1], "done", 200, "end_turn"),
        (&ids[2], "failed", 200, ""),
        (&ids[3], "refused", 400, ""),
    ] {
        let line = lines.iter().find(|l| l["request_id"] == id.as_str()).unwrap();
        assert_eq!((&line["outcome"], &line["status"]), (&outcome.into(), &status.into()), "{line}");
        assert_eq!(line["stop_reason"], stop, "{line}");
        if status == 200 {
            assert_eq!(
                (&line["model"], &line["provider"], &line["remote"]),
                (&"m".into(), &"up".into(), &"remote-m".into())
            );
            assert!(line["first_byte_ms"].as_f64().unwrap() <= line["total_ms"].as_f64().unwrap());
        }
        if outcome == "done" {
            assert_eq!((&line["input_tokens"], &line["output_tokens"]), (&7.into(), &3.into()), "{line}");
        }
    }
    let gone = lines.iter().find(|l| l["outcome"] == "client_gone").unwrap();
    assert_eq!(gone["level"], "INFO");
    assert!(!program.output().contains("\"level\":\"ERROR\""));
}

#[test]
fn bodies_are_logged_as_far_as_the_config_says() {
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            if String::from_utf8(seen.body).unwrap().contains("\"stream\":true") {
                conn.stream(&[&text("Hello there"), &finish("stop"), DONE]);
            } else {
                conn.write(ok(&completion("Hello there")));
            }
        }
    });
    for (body, preview) in [(20, 5), (0, 0)] {
        let more = json!({"log_body_max_chars": body, "log_stream_text_preview_chars": preview});
        let program = Program::start(&["serve", "--log-format", "json"], &config_of(&up.base(), &more));
        let addr = program.addr();
        post(addr, &message("hi", false));
        post(addr, &message("hi", true));
        eventually("both lines", || lines(&program.output(), "request").len() == 2);
        let output = program.output();
        let of = |what: &str| {
            output
                .lines()
                .filter_map(|l| serde_json::from_str::<Value>(l).ok())
                .filter(|l| l["what"] == what)
                .map(|l| {
                    assert_eq!((&l["target"], &l["level"]), (&"claude_proxy::body".into(), &"INFO".into()));
                    l["body"].as_str().unwrap().to_owned()
                })
                .collect::<Vec<_>>()
        };
        if body == 0 {
            assert!(!output.contains("claude_proxy::body"), "{output}");
            continue;
        }
        assert_eq!(of("upstream request").len(), 2);
        assert!(of("upstream request")[0].starts_with("{\"model\":\"remote-m\",… ("), "{output}");
        assert_eq!(of("upstream answer").len(), 1);
        assert!(of("stream preview")[0].starts_with("Hello"), "{output}");
        assert!(!of("stream preview")[0].contains("there"), "{output}");
    }
}

#[test]
fn ping_upstream_tells_what_it_saw() {
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            assert_eq!(seen.header("authorization"), Some("Bearer sk-upstream-sentinel"));
            conn.write(ok(&completion("pong")));
        }
    });
    let config = config_of(&up.base(), &json!({}));
    let (code, output) = Program::start(&["ping-upstream", "--json"], &config).end();
    assert_eq!(code, Some(0), "{output}");
    let ping = serde_json::from_str::<Value>(&output).unwrap()["pings"][0].clone();
    assert_eq!(
        (&ping["ok"], &ping["status"], &ping["tokens"]["output"]),
        (&true.into(), &200.into(), &3.into())
    );
    for clock in ["connect_ms", "first_byte_ms", "total_ms", "whole_ms"] {
        assert!(ping["timings"][clock]["median"].as_f64().is_some(), "{clock}: {ping}");
    }
    let (code, output) = Program::start(&["ping-upstream", "m"], &config).end();
    assert_eq!(code, Some(0));
    assert!(output.starts_with("ok    m (remote-m at up, profile generic)\n"), "{output}");
    let (code, output) = Program::start(&["ping-upstream", "nobody"], &config).end();
    assert_eq!(code, Some(2), "{output}");
}

#[test]
fn ping_upstream_fails_with_the_upstreams_words_and_a_hint() {
    for (status, words, hint) in [
        (401, "wrong key, sorry", "check `api_key`"),
        (404, "no such model", "remote_id"),
        (429, "slow down", "limits this key"),
    ] {
        let up = Upstream::answering(http(status, &[], &json!({"error": {"message": words}}).to_string()));
        let (code, output) = Program::start(&["ping-upstream"], &config_of(&up.base(), &json!({}))).end();
        assert_eq!(code, Some(1), "{output}");
        assert!(output.contains(words) && output.contains(hint), "{output}");
        assert!(!output.contains("sentinel"), "{output}");
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = config_of(&format!("http://127.0.0.1:{port}"), &json!({}));
    let (code, output) = Program::start(&["ping-upstream"], &config).end();
    assert_eq!(code, Some(1));
    assert!(output.contains("connection refused") && output.contains("base_url"), "{output}");
}
