//! What the log, captures and the commands say of a native upstream.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{JSON, MESSAGE, SSE, STREAM, error};
use crate::support::config as support_config;
use crate::support::metrics::Metrics;
use crate::support::program::Program;
use crate::support::upstream::http;
use crate::support::*;

const KEY: &str = "sk-upstream-sentinel";

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_claude-proxy"))
            .args(args)
            .current_dir(&self.0)
            .env_remove("CONFIG_PATH")
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(up: &Upstream) -> String {
    json!({"port": 0, "workers": 1, "log_stream_text_preview_chars": 3, "log_body_max_chars": 4096,
        "providers": [{"name": "up", "api": "anthropic", "base_url": up.base(), "api_key": KEY,
            "models": [{"id": "m", "remote_id": "remote-m"}]}]})
    .to_string()
}

/// An upstream for all that is asked here.
fn upstream() -> Upstream {
    Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let id = ("request-id", "req_theirs");
            if seen.head.starts_with("GET /v1/models?limit=1000 ") {
                let list = json!({"data": [{"type": "model", "id": "remote-m"}], "has_more": false});
                conn.write(http(200, &[JSON], &list.to_string()));
            } else if seen.head.contains(" /v1/models") || seen.header("x-api-key") != Some(KEY) {
                conn.write(http(400, &[JSON], &error("invalid_request_error", "unexpected")));
            } else if String::from_utf8_lossy(&seen.body).contains("refuse") {
                conn.write(http(529, &[JSON, id], &error("overloaded_error", &format!("busy: {KEY}"))));
            } else if seen.json()["stream"] == true && String::from_utf8_lossy(&seen.body).contains("cut") {
                conn.stream_head();
                conn.chunk(&STREAM[..STREAM.len() - 40]);
                return conn.close();
            } else if seen.json()["stream"] == true {
                conn.write(http(200, &[SSE, id], STREAM));
            } else {
                conn.write(http(200, &[JSON, id], MESSAGE));
            }
        }
    })
}

#[test]
fn the_log_line_has_tokens_and_stop_reason() {
    let up = upstream();
    let program = Program::start(&["serve", "--log-format", "json"], &config(&up));
    let addr = program.addr();
    for body in [message("hi", false), message("hi", true), message("cut", true), message("refuse", false)] {
        post(addr, &body);
    }
    let lines = || -> Vec<Value> {
        let output = program.output();
        let json = output.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
        json.filter(|l| l["target"] == "claude_proxy::request").collect()
    };
    eventually("four lines", || lines().len() == 4);
    let line = |n: usize| {
        let line = &lines()[n];
        let number = |key: &str| line[key].as_u64().unwrap();
        (
            [number("input_tokens"), number("output_tokens"), number("cached_tokens"), number("status")],
            ["stop_reason", "outcome", "upstream_request_id"]
                .map(|key| line[key].as_str().unwrap().to_owned()),
        )
    };
    let owned = |words: [&str; 3]| words.map(str::to_owned);
    assert_eq!(line(0), ([25, 15, 9, 200], owned(["tool_use", "done", "req_theirs"])));
    assert_eq!(line(1), ([25, 15, 9, 200], owned(["end_turn", "done", "req_theirs"])));
    assert_eq!(line(2), ([25, 15, 9, 200], owned(["end_turn", "failed", ""])));
    assert_eq!(line(3), ([0, 0, 0, 529], owned(["", "refused", "req_theirs"])));
    assert_eq!(lines()[3]["error"], "busy: [key]");
    let output = program.output();
    assert!(output.contains("\"stream preview\",\"body\":\"Hél\""), "the preview: {output}");
    assert!(output.contains("upstream request") && output.contains("upstream answer"), "{output}");
    assert!(!output.contains(KEY));
}

#[test]
fn metrics_count_it_like_the_others() {
    let up = upstream();
    let proxy = Proxy::start(native::native(&up.base()));
    // The key is another: everything is refused.
    for stream in [false, true] {
        assert_eq!(post(proxy.addr, &message("hi", stream)).status, 400);
    }
    let mut config = native::native(&up.base());
    support_config::keys(&mut config, &[KEY]);
    let proxy_2 = Proxy::start(config);
    for stream in [false, true] {
        assert_eq!(post(proxy_2.addr, &message("hi", stream)).status, 200);
    }
    assert_eq!(post(proxy_2.addr, &message("cut", true)).status, 200);
    let sum = |proxy: &Proxy, name: &str, labels: &[(&str, &str)]| {
        Metrics::of(proxy.addr, None).sum(&format!("claude_proxy_{name}_total"), labels)
    };
    eventually("three are counted", || sum(&proxy_2, "requests", &[("provider", "messages.example")]) == 3);
    assert_eq!(sum(&proxy_2, "requests", &[("outcome", "failed")]), 1);
    assert_eq!(sum(&proxy_2, "tokens", &[("kind", "input")]), 3 * 25);
    assert_eq!(sum(&proxy_2, "tokens", &[("kind", "cache_read")]), 3 * 9);
    assert_eq!(sum(&proxy_2, "tokens", &[("kind", "output")]), 3 * 15);
    assert_eq!(sum(&proxy_2, "upstream_attempts", &[("result", "ok")]), 3);
    eventually("two are counted", || sum(&proxy, "upstream_attempts", &[("result", "http_4xx")]) == 2);
}

#[test]
fn a_captured_exchange_replays_byte_for_byte() {
    let up = upstream();
    let dir = Dir::new("native-capture");
    let captures = dir.0.join("captures").display().to_string();
    let program = Program::start(&["serve", "--capture", &captures], &config(&up));
    let addr = program.addr();
    let odd = String::from_utf8(message("hi", true)).unwrap().replacen('{', "{ ", 1);
    for body in
        [message("hi", false), odd.clone().into_bytes(), message("cut", true), message("refuse", true)]
    {
        post(addr, &body);
    }
    program.signal("TERM");
    let (_, output) = program.end();
    assert!(!output.contains(KEY));
    let (code, out, err) = dir.run(&["convert", "--replay", "captures", "--json"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["same"], 4, "{report}");
    // One byte that means nothing to a converter.
    let mut folders: Vec<_> =
        std::fs::read_dir(dir.0.join("captures")).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    let sent = folders[1].join("upstream-request.json");
    let bytes = std::fs::read_to_string(&sent).unwrap();
    assert_eq!(bytes, odd.replacen("\"m\"", "\"remote-m\"", 1));
    std::fs::write(&sent, bytes.replacen("{ ", "{", 1)).unwrap();
    let (code, out, _) = dir.run(&["convert", "--replay", folders[1].to_str().unwrap()]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("upstream-request.json"), "{out}");
    // Its answers are nothing to convert, and the request converts as it went.
    let (code, out, err) = dir.run(&["convert", folders[1].join("client-request.json").to_str().unwrap()]);
    assert_eq!((code, out.trim_end()), (Some(0), odd.replacen("\"m\"", "\"remote-m\"", 1).as_str()), "{err}");
    assert!(err.contains("api anthropic"), "{err}");
    let (code, _, err) = dir.run(&["convert", folders[1].join("upstream-response.sse").to_str().unwrap()]);
    assert!(code == Some(1) && err.contains("passed through as it is"), "{err}");
}

#[test]
fn the_commands_speak_its_protocol() {
    let up = upstream();
    let dir = Dir::new("native-commands");
    std::fs::write(dir.0.join("config.json"), config(&up)).unwrap();
    let (code, out, err) = dir.run(&["models", "--remote", "--json"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let models: Value = serde_json::from_str(&out).unwrap();
    let model = &models["models"][0];
    assert_eq!((&model["api"], &model["remote"]["listed"]), (&json!("anthropic"), &json!("yes")));

    let (code, out, err) = dir.run(&["ping-upstream", "--json"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let ping = serde_json::from_str::<Value>(&out).unwrap()["pings"][0].clone();
    assert_eq!(
        (&ping["ok"], &ping["api"], &ping["cost"]["requests"]),
        (&json!(true), &json!("anthropic"), &json!(2))
    );
    assert_eq!(
        (&ping["tokens"]["input"], &ping["tokens"]["output"], &ping["probes"]),
        (&json!(34), &json!(15), &json!([]))
    );
    assert!(ping["timings"]["first_token_ms"].is_object(), "{ping}");
    let (_, out, _) = dir.run(&["ping-upstream", "m"]);
    assert!(
        out.contains("(remote-m at up, api anthropic)") && out.contains("requests pass through"),
        "{out}"
    );

    let request = dir.0.join("request.json");
    std::fs::write(&request, r#"{"model": "m", "messages": [], "n": 1.0}"#).unwrap();
    let (code, out, err) = dir.run(&["convert", "request.json", "--model", "m"]);
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "{\"model\": \"remote-m\", \"messages\": [], \"n\": 1.0}\n"),
        "{err}"
    );
    std::fs::write(dir.0.join("answer.json"), completion("x")).unwrap();
    let (code, _, err) = dir.run(&["convert", "answer.json", "--model", "m"]);
    assert!(code == Some(1) && err.contains("nothing to convert"), "{err}");
    std::fs::write(dir.0.join("error.json"), error("overloaded_error", "busy")).unwrap();
    let (code, out, err) = dir.run(&["convert", "error.json", "--model", "m"]);
    assert!(code == Some(0) && out.contains(r#""type":"overloaded_error","message":"busy""#), "{out}{err}");
}

#[test]
fn a_ping_that_fails_says_why() {
    let up = Upstream::answering(http(404, &[("content-type", "text/html")], "<html>"));
    let dir = Dir::new("native-ping");
    std::fs::write(dir.0.join("config.json"), config(&up)).unwrap();
    let (code, out, _) = dir.run(&["ping-upstream", "--json"]);
    assert_eq!(code, Some(1));
    let ping = serde_json::from_str::<Value>(&out).unwrap()["pings"][0].clone();
    assert!(ping["hint"].as_str().unwrap().contains("`/v1/messages`"), "{ping}");
    let paths: Vec<_> = up.seen().iter().map(|s| s.head.split(' ').nth(1).unwrap().to_owned()).collect();
    assert!(paths.iter().all(|p| p.starts_with("/v1/messages") || p.starts_with("/v1/models")), "{paths:?}");
}
