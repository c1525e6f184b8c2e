//! `serve --capture`: what is in the folders, and what is not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::program::Program;
use crate::support::upstream::{http, ok};
use crate::support::*;

const KEY: &str = "sk-upstream-sentinel";

/// A place for captures, gone at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Self(dir)
    }

    /// The exchanges that are over, oldest first: the text of each file by its name.
    fn exchanges(&self) -> Vec<BTreeMap<String, String>> {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return Vec::new() };
        let mut folders: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        folders.sort();
        folders.retain(|f| f.join("meta.json").exists());
        // The oldest may be deleted just now.
        let files = |folder: PathBuf| {
            let entries = std::fs::read_dir(folder).ok()?.map(|e| e.unwrap());
            let text = |e: &std::fs::DirEntry| std::fs::read_to_string(e.path()).ok();
            entries.map(|e| Some((e.file_name().into_string().unwrap(), text(&e)?))).collect()
        };
        folders.into_iter().filter_map(files).collect()
    }

    fn size(&self) -> u64 {
        let mut size = 0;
        for folder in std::fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().path()) {
            if folder.is_dir() {
                let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
                size += files.filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum::<u64>();
            }
        }
        size
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn serve(up: &Upstream, dir: &Dir, more: &[&str]) -> Program {
    let config = json!({
        "port": 0, "ak": "inbound-sentinel", "workers": 1,
        "providers": [{"name": "up", "base_url": up.base(), "api_key": KEY,
            "headers": {"x-team-token": "header-sentinel"},
            "models": [{"id": "m", "remote_id": "remote-m", "context_window": 1000}]}],
    });
    let capture = dir.0.display().to_string();
    let args: Vec<&str> = ["serve", "--capture", &capture].iter().chain(more).copied().collect();
    Program::start(&args, &config.to_string())
}

fn send(program: &Program, body: &[u8]) -> client::Answer {
    ask(program.addr(), "POST", "/v1/messages", &[("x-api-key", "inbound-sentinel")], body)
}

fn meta(exchange: &BTreeMap<String, String>) -> Value {
    serde_json::from_str(&exchange["meta.json"]).unwrap()
}

#[test]
fn each_exchange_is_kept_whole_and_without_keys() {
    let refusal =
        json!({"error": {"message": format!("Incorrect API key provided: {KEY}"), "code": 401}}).to_string();
    let said = refusal.clone();
    let up = Upstream::start(move |mut conn| {
        let answers =
            [http(200, &[("content-type", "application/json")], &completion("whole")), http(401, &[], &said)];
        if conn.request().is_some() {
            conn.stream_head();
            for event in [&text("one "), &text("two"), &finish("stop"), DONE] {
                conn.chunk(event);
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            conn.end_chunks();
        }
        for answer in answers {
            conn.request();
            conn.write(answer);
        }
    });
    let dir = Dir::new("capture-kept");
    let program = serve(&up, &dir, &[]);
    let streamed = send(&program, &message("hi", true));
    // The connection is free again a moment after the stream's end.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let whole = send(&program, &message("hi", false));
    let refused = send(&program, &message("hi", false));
    let bad = send(&program, b"{\"model\": 1}");
    assert_eq!([streamed.status, whole.status, refused.status, bad.status], [200, 200, 401, 400]);
    eventually("four exchanges are on disk", || dir.exchanges().len() == 4);
    let exchanges = dir.exchanges();
    let names = |n: usize| exchanges[n].keys().map(String::as_str).collect::<Vec<_>>();

    let files = [
        "client-request.json",
        "client-response.sse",
        "meta.json",
        "upstream-request.json",
        "upstream-response.sse",
        "upstream-times.jsonl",
    ];
    assert_eq!(names(0), files);
    assert_eq!(exchanges[0]["client-request.json"].as_bytes(), message("hi", true));
    assert_eq!(exchanges[0]["client-response.sse"].as_bytes(), streamed.body);
    let raw = [text("one "), text("two"), finish("stop"), DONE.to_owned()].concat();
    assert_eq!(exchanges[0]["upstream-response.sse"], raw);
    assert_eq!(exchanges[0]["upstream-request.json"].as_bytes(), up.seen()[0].body);
    let times: Vec<Value> =
        exchanges[0]["upstream-times.jsonl"].lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(times.iter().map(|t| t["bytes"].as_u64().unwrap()).sum::<u64>(), raw.len() as u64);
    assert!(times.windows(2).all(|w| w[0]["ms"].as_f64() <= w[1]["ms"].as_f64()), "{times:?}");
    let m = meta(&exchanges[0]);
    assert_eq!(
        (m["format"].as_u64(), m["outcome"].as_str(), m["status"].as_u64()),
        (Some(1), Some("done"), Some(200))
    );
    assert_eq!(
        (m["model"].as_str(), m["provider"].as_str(), m["profile"].as_str()),
        (Some("m"), Some("up"), Some("generic"))
    );
    assert_eq!(m["spec"], json!({"remote_id": "remote-m", "context_window": 1000}));
    assert_eq!(
        (m["upstream"]["status"].as_u64(), m["stream"].as_bool(), m["missing_bytes"].as_u64()),
        (Some(200), Some(true), Some(0))
    );
    assert_eq!(streamed.header("request-id"), m["request_id"].as_str());

    assert_eq!(exchanges[1]["client-response.json"].as_bytes(), whole.body);
    assert_eq!(exchanges[1]["upstream-response.json"], completion("whole"));
    assert_eq!(meta(&exchanges[1])["upstream"]["complete"], true);

    assert_eq!(exchanges[2]["client-response.json"].as_bytes(), refused.body);
    assert_eq!(exchanges[2]["upstream-response.json"], refusal.replace(KEY, "[key]"));
    assert_eq!(
        (meta(&exchanges[2])["outcome"].as_str(), meta(&exchanges[2])["status"].as_u64()),
        (Some("refused"), Some(401))
    );

    assert_eq!(names(3), ["client-request.json", "client-response.json", "meta.json"]);
    assert_eq!(exchanges[3]["client-response.json"].as_bytes(), bad.body);
    assert_eq!(
        (&meta(&exchanges[3])["model_id"], &meta(&exchanges[3])["upstream"]),
        (&Value::Null, &Value::Null)
    );

    let all = format!("{exchanges:?}").to_lowercase();
    for secret in ["sentinel", "authorization", "x-api-key", "bearer"] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
    #[cfg(unix)]
    for folder in std::fs::read_dir(&dir.0).unwrap().map(|e| e.unwrap().path()) {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        for file in std::fs::read_dir(&folder).unwrap() {
            assert_eq!(mode(&file.unwrap().path()), 0o600);
        }
    }
}

#[test]
fn a_client_that_leaves_and_an_upstream_that_is_not_there() {
    let up = Upstream::start(|mut conn| {
        if conn.request().is_some() {
            conn.stream_head();
            conn.chunk(text("one "));
            conn.wait_gone();
        }
    });
    let dir = Dir::new("capture-gone");
    let program = serve(&up, &dir, &[]);
    let mut client = Client::connect(program.addr());
    client.send("POST", "/v1/messages", &[("x-api-key", "inbound-sentinel")], &message("hi", true));
    client.until("one ");
    drop(client);
    eventually("the exchange is on disk", || dir.exchanges().len() == 1);
    let exchange = dir.exchanges().remove(0);
    let m = meta(&exchange);
    assert_eq!(
        (m["outcome"].as_str(), m["upstream"]["complete"].as_bool()),
        (Some("client_gone"), Some(false))
    );
    assert_eq!(exchange["upstream-response.sse"], text("one "));
    assert!(exchange["client-response.sse"].contains("one "));
    drop(up);
}

/// 40 exchanges of 100 KB each in 1 MiB; what was there before and is not ours stays.
#[test]
fn the_oldest_go_first() {
    let up = Upstream::start(|mut conn| {
        while conn.request().is_some() {
            conn.write(http(200, &[("content-type", "application/json")], &completion("x")));
        }
    });
    let dir = Dir::new("capture-full");
    let old = dir.0.join("20200101T000000.000Z-req_old");
    std::fs::create_dir_all(&old).unwrap();
    std::fs::write(old.join("client-request.json"), "x".repeat(700_000)).unwrap();
    std::fs::write(old.join("notes.txt"), "mine").unwrap();
    std::fs::create_dir_all(dir.0.join("other")).unwrap();
    std::fs::write(dir.0.join("other/file"), "mine").unwrap();
    let program = serve(&up, &dir, &["--capture-max-mb", "1"]);
    let mut last = String::new();
    for n in 0..40 {
        let text = format!("{n}: {}", "y".repeat(50_000));
        let answer = send(&program, &message(&text, false));
        answer.header("request-id").unwrap().clone_into(&mut last);
    }
    let is_last = |e: &BTreeMap<String, String>| meta(e)["request_id"] == json!(last);
    eventually("the last one is on disk", || dir.exchanges().iter().any(is_last));
    let kept = dir.exchanges();
    assert!((5..=10).contains(&kept.len()), "{}", kept.len());
    assert!(dir.size() <= 1 << 20, "{}", dir.size());
    assert!(kept.iter().all(|e| meta(e)["missing_bytes"] == 0));
    assert_eq!(std::fs::read_to_string(old.join("notes.txt")).unwrap(), "mine");
    assert!(!old.join("client-request.json").exists());
    assert!(dir.0.join("other/file").exists());
}

/// `convert --replay` of what was kept: its exit code and what it said.
fn replay(dir: &Dir) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_claude-proxy"));
    let done = command.args(["convert", "--replay"]).arg(&dir.0).output().unwrap();
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (done.status.code(), said)
}

/// Two keys and a fallback: only what belongs to the answer is there, and it can be replayed.
#[test]
fn of_several_attempts_the_last_is_kept() {
    let long = "x".repeat(50_000);
    let first = Upstream::answering(http(
        500,
        &[("content-type", "application/json")],
        &format!("{{\"error\":\"{long}\"}}"),
    ));
    let refused = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let known = seen.header("authorization") == Some("Bearer key-two-sentinel");
            if known {
                conn.stream(&[&text("from the second"), &finish("stop"), DONE]);
            } else {
                conn.write(http(401, &[], "{\"error\":{\"message\":\"no key-one-sentinel\"}}"));
            }
        }
    });
    let limited =
        Upstream::answering(http(429, &[("retry-after", "9")], "{\"error\":{\"message\":\"slow down\"}}"));
    let config = json!({"port": 0, "workers": 1, "providers": [
        {"name": "first", "base_url": first.base(), "api_key": "", "models": [{"id": "m", "fallbacks": ["n"]}]},
        {"name": "second", "base_url": refused.base(), "api_keys": ["key-one-sentinel", "key-two-sentinel"],
            "profile": "deepseek", "models": [{"id": "n"}]},
        {"name": "third", "base_url": limited.base(), "api_key": "", "models": [{"id": "l", "fallbacks": ["m0"]}]},
        {"name": "fourth", "base_url": first.base(), "api_key": "", "models": [{"id": "m0"}]},
    ]});
    let dir = Dir::new("capture-several");
    let program = Program::start(&["serve", "--capture", &dir.0.display().to_string()], &config.to_string());
    let answer = post(program.addr(), &message("hi", true));
    assert_eq!((answer.status, answer.text().as_str()), (200, "from the second"));
    let asked = json!({"model": "l", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    let answer = post(program.addr(), asked.to_string().as_bytes());
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("9")));
    eventually("both are on disk", || dir.exchanges().len() == 2);
    let exchanges = dir.exchanges();
    let m = meta(&exchanges[0]);
    assert_eq!((m["attempts"].as_u64(), m["earlier_error"].as_bool()), (Some(3), None));
    assert_eq!(
        (m["provider"].as_str(), m["model_id"].as_str(), m["profile"].as_str()),
        (Some("second"), Some("n"), Some("deepseek"))
    );
    assert_eq!(m["upstream"]["status"], 200);
    assert_eq!(exchanges[0]["upstream-request.json"].as_bytes(), refused.seen()[1].body);
    assert_eq!(
        exchanges[0]["upstream-response.sse"],
        [text("from the second"), finish("stop"), DONE.to_owned()].concat()
    );
    let bytes: u64 = exchanges[0]["upstream-times.jsonl"]
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap()["bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(bytes as usize, exchanges[0]["upstream-response.sse"].len());
    assert!(
        !exchanges[0].contains_key("upstream-response.json")
            && !format!("{exchanges:?}").contains("sentinel")
    );
    // The client got the first one's error, the files are about the last one.
    let m = meta(&exchanges[1]);
    assert_eq!((m["attempts"].as_u64(), m["earlier_error"].as_bool()), (Some(2), Some(true)));
    assert_eq!((m["provider"].as_str(), m["status"].as_u64()), (Some("fourth"), Some(429)));
    let (code, said) = replay(&dir);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the client got the error of an earlier attempt"), "{said}");
}

/// The judge's questions are in no file of the exchange, and its verdicts are not asked for again.
#[test]
fn a_judged_exchange_can_be_replayed() {
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            if seen.json()["model"] == "judge" {
                conn.write(ok(&completion("no verdict")));
                continue;
            }
            let call = json!({"index": 0, "id": "call_0", "function": {"name": "Bash", "arguments": "{}"}});
            let delta = json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]});
            conn.stream(&[&format!("data: {delta}\n\n"), &finish("tool_calls"), DONE]);
        }
    });
    let config = json!({"port": 0, "safeguards_model": "judge", "providers": [
        {"base_url": up.base(), "api_key": "", "profile": "generic", "models": [{"id": "m"}, {"id": "judge"}]}]});
    let dir = Dir::new("capture-judged");
    let program = Program::start(&["serve", "--capture", &dir.0.display().to_string()], &config.to_string());
    for stream in [true, false] {
        let asked = json!({"model": "m", "max_tokens": 9, "stream": stream, "safeguards": [{"type": "dangerous_tool_use"}],
            "messages": [{"role": "user", "content": "hi"}]});
        let answer = post(program.addr(), asked.to_string().as_bytes());
        assert!(String::from_utf8_lossy(&answer.body).contains(r#""reason":"error""#), "{answer:?}");
    }
    eventually("both are on disk", || dir.exchanges().len() == 2);
    assert!(!format!("{:?}", dir.exchanges()).contains("You are the safety check"));
    let (code, said) = replay(&dir);
    assert_eq!(code, Some(0), "{said}");
}

/// What stood in for an image came from elsewhere: nobody claims that the exchange differs now.
#[test]
fn an_exchange_with_a_described_image_is_no_difference() {
    let up = Upstream::answering(ok(&completion("A cat.")));
    let config = json!({"port": 0, "vision_model": "eye", "providers": [
        {"base_url": up.base(), "api_key": "", "profile": "generic", "models": [{"id": "m", "vision": false}, {"id": "eye"}]}]});
    let dir = Dir::new("capture-described");
    let program = Program::start(&["serve", "--capture", &dir.0.display().to_string()], &config.to_string());
    let image =
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aW1hZ2U="}});
    let asked = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [image]}]});
    assert_eq!(post(program.addr(), asked.to_string().as_bytes()).status, 200);
    assert_eq!(post(program.addr(), &message("no image", false)).status, 200);
    eventually("both are on disk", || dir.exchanges().len() == 2);
    let exchanges = dir.exchanges();
    assert_eq!(
        (&meta(&exchanges[0])["adapted"], &meta(&exchanges[1])["adapted"]),
        (&json!(true), &Value::Null)
    );
    assert!(exchanges[0]["upstream-request.json"].contains("<image_description>"));
    assert!(exchanges[0]["client-request.json"].contains("aW1hZ2U="));
    let (_, said) = replay(&dir);
    assert!(said.contains("its images or PDF documents were replaced by texts that others made"), "{said}");
    assert!(!said.contains("differs"), "{said}");
}
