//! `convert` on a file and `serve` on a socket run the same code: the same bytes go upstream,
//! and the same bytes come back, but for ids that are random on a socket.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use claude_proxy::convert::Profile;
use serde_json::{Value, json};

use crate::support::upstream::http;
use crate::support::*;

/// A proxy with a model for each profile, named like it, and an upstream that says what it is told.
struct Both {
    upstream: Upstream,
    says: Arc<Mutex<String>>,
    proxy: Proxy,
    dir: PathBuf,
}

impl Both {
    fn start(name: &str) -> Self {
        let says = Arc::new(Mutex::new(String::new()));
        let said = Arc::clone(&says);
        let upstream = Upstream::start(move |mut conn| {
            while conn.request().is_some() {
                let answer = said.lock().unwrap().clone();
                conn.write(answer);
            }
        });
        let provider = |profile: &Profile| {
            json!({"base_url": upstream.base(), "api_key": "sk-1", "profile": profile.name,
                "models": [{"id": profile.name, "remote_id": format!("remote-{}", profile.name)}]})
        };
        let providers: Vec<Value> = Profile::all().iter().map(provider).collect();
        let text = json!({"port": 0, "workers": 1, "providers": providers}).to_string();
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("config.json"), &text).unwrap();
        let checked = claude_proxy::config::check(&text, &|name| std::env::var(name));
        Self { proxy: Proxy::start(checked.config.unwrap()), upstream, says, dir }
    }

    /// What `convert` makes of `input`.
    fn convert(&self, model: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
        std::fs::write(self.dir.join("input"), input).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_claude-proxy"))
            .args(["convert", "input", "--model", model])
            .args(args)
            .current_dir(&self.dir)
            .env_remove("CONFIG_PATH")
            .output()
            .unwrap();
        output.stdout
    }

    /// Checks one exchange: the request on its way up, the answer on its way down.
    fn exchange(&self, name: &str, profile: &str, request: &mut Value, kind: &str, answer: &str) -> bool {
        request["model"] = profile.into();
        let request = request.to_string();
        let (content_type, from) = match kind {
            "stream" => ("text/event-stream", "openai-sse"),
            _ => ("application/json", "openai-response"),
        };
        *self.says.lock().unwrap() = http(200, &[("content-type", content_type)], answer);
        let before = self.upstream.seen().len();
        let got = post(self.proxy.addr, request.as_bytes());
        let Some(seen) = self.upstream.seen().into_iter().nth(before) else {
            return false; // Refused, or answered without an upstream.
        };
        let sent = self.convert(profile, &["--from", "anthropic-request"], request.as_bytes());
        assert_eq!(text_of(&seen.body), text_of(&sent).trim_end(), "{name}: the request");
        std::fs::write(self.dir.join("request.json"), &request).unwrap();
        let converted =
            self.convert(profile, &["--from", from, "--request", "request.json"], answer.as_bytes());
        let expected = without_ids(&text_of(&converted));
        assert_eq!(without_ids(&text_of(&got.body)), expected, "{name}: the answer");
        true
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The text with `msg_…`, `toolu_…` and `request_id` made equal, and without a line end behind JSON.
fn without_ids(text: &str) -> String {
    let text =
        regex::Regex::new(r#""(msg|toolu)_01[0-9A-Za-z]{22}""#).unwrap().replace_all(text, "\"${1}_ID\"");
    let text = regex::Regex::new(r#","request_id":"req_[0-9A-Za-z]+""#).unwrap().replace_all(&text, "");
    if text.starts_with('{') { text.trim_end().to_owned() } else { text.into_owned() }
}

fn fixtures(direction: &str) -> Vec<(String, Value)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(direction);
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let read = |p: &PathBuf| serde_json::from_slice(&std::fs::read(p).unwrap()).unwrap();
    files.iter().map(|p| (p.file_stem().unwrap().display().to_string(), read(p))).collect()
}

/// The text of an upstream's stream; none if it is not UTF-8.
fn stream_text(input: &Value) -> Option<String> {
    let events = |list: &Vec<Value>| {
        let event = |d: &Value| format!("data: {}\n\n", d.as_str().unwrap()).into_bytes();
        list.iter().flat_map(event).collect::<Vec<u8>>()
    };
    let pieces = |raw: &Vec<Value>| {
        let piece = |p: &Value| match p.as_str().unwrap().strip_prefix("b64:") {
            Some(b64) => base64::engine::general_purpose::STANDARD.decode(b64).unwrap(),
            None => p.as_str().unwrap().as_bytes().to_vec(),
        };
        raw.iter().flat_map(piece).collect::<Vec<u8>>()
    };
    let bytes = input["raw"].as_array().map_or_else(|| events(input.as_array().unwrap()), pieces);
    String::from_utf8(bytes).ok()
}

#[test]
fn requests() {
    let both = Both::start("same-requests");
    let answer = completion("Hello");
    let mut compared = 0;
    for (name, case) in fixtures("request") {
        let mut request = case["input"].clone();
        let profile = case["provider_profile"].as_str().unwrap();
        if request["stream"] == true {
            request["stream"] = false.into();
        }
        compared += usize::from(both.exchange(&name, profile, &mut request, "response", &answer));
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn responses() {
    let both = Both::start("same-responses");
    let mut compared = 0;
    for (name, case) in fixtures("response") {
        let profile = case["provider_profile"].as_str().unwrap();
        let answer = case["input"].to_string();
        compared +=
            usize::from(both.exchange(&name, profile, &mut case["request"].clone(), "response", &answer));
    }
    assert!(compared > 10, "{compared}");
}

#[test]
fn streams() {
    let both = Both::start("same-streams");
    let mut compared = 0;
    for (name, case) in fixtures("stream") {
        let Some(answer) = stream_text(&case["input"]) else { continue };
        let profile = case["provider_profile"].as_str().unwrap();
        let mut request = case["request"].clone();
        request["stream"] = true.into();
        compared += usize::from(both.exchange(&name, profile, &mut request, "stream", &answer));
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn captures_of_real_servers() {
    let both = Both::start("same-captures");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures");
    let mut compared = 0;
    let servers = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    for server in servers {
        for entry in std::fs::read_dir(server).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "sse") {
                continue;
            }
            let answer = std::fs::read_to_string(&path).unwrap();
            if answer.is_empty() {
                continue;
            }
            for thinking in ["disabled", "adaptive"] {
                let mut request = json!({"max_tokens": 99, "stream": true, "thinking": {"type": thinking},
                    "messages": [{"role": "user", "content": "hi"}]});
                let name = path.display().to_string();
                compared += usize::from(both.exchange(&name, "llamacpp", &mut request, "stream", &answer));
            }
        }
    }
    assert!(compared > 20, "{compared}");
}
