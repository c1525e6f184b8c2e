//! R21: keys appear nowhere: not in a log at trace level, an answer, a capture, a command's
//! output or a `Debug`; also where an upstream repeats them.
//!
//! A key shorter than eight characters is no secret worth the name, and is not looked for.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::program::Program;
use crate::support::upstream::{http, ok};
use crate::support::*;

/// In every secret, and nowhere else.
const MARK: &str = "sentinel";
const INBOUND: &str = "ak-sentinel-inbound-01";
const UPSTREAM: &str = "sk-sentinel-upstream-02";
const HEADER: &str = "hv-sentinel-header-03";
const WRONG: &str = "ak-sentinel-wrong-04";

fn config_of(up: &str) -> String {
    json!({
        "port": 0, "ak": INBOUND,
        "log_body_max_chars": 100_000, "log_stream_text_preview_chars": 10_000,
        "stream_idle_timeout_seconds": 1, "upstream_timeout_seconds": 2,
        "providers": [{"name": "up", "base_url": up, "api_key": UPSTREAM,
            "headers": {"x-auth-token": HEADER}, "models": [{"id": "m", "remote_id": "remote-m"}]}],
    })
    .to_string()
}

/// What it can be told to do.
const WRONGS: [&str; 14] = [
    "401",
    "429",
    "500",
    "html",
    "json error",
    "sse error",
    "late",
    "cut",
    "garbage",
    "silent",
    "redirect",
    "gzip",
    "headers",
    "reset",
];

/// An upstream that does wrong as it is told, and each time repeats all that it was sent.
fn upstream() -> Upstream {
    Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            assert!(seen.head.contains(UPSTREAM) && seen.head.contains(HEADER), "{}", seen.head);
            let echo = seen.head.replace("\r\n", " ");
            let error =
                json!({"error": {"message": echo, "type": echo, "code": echo, "param": echo}}).to_string();
            let body = String::from_utf8(seen.body).unwrap();
            let case = WRONGS.into_iter().find(|case| body.contains(&format!("case {case}.")));
            let kind = ("content-type", "application/json");
            match case {
                Some(status @ ("401" | "429" | "500")) => {
                    conn.write(http(status.parse().unwrap(), &[kind, ("x-echo", &echo)], &error));
                }
                Some("html") => {
                    conn.write(http(502, &[("content-type", "text/html")], &format!("<h1>{echo}</h1>")));
                }
                Some("json error") => {
                    conn.write(http(200, &[kind], &error));
                }
                Some("sse error") => conn.stream(&[&format!("data: {error}\n\n")]),
                Some("late") => conn.stream(&[&text("hello"), &format!("event: error\ndata: {error}\n\n")]),
                Some("cut") => {
                    conn.stream_head();
                    conn.chunk(text("hello"));
                    return conn.close();
                }
                Some("garbage") => {
                    conn.write(format!("{echo}\r\n{echo}\r\n\r\n"));
                    return conn.close();
                }
                Some("silent") => {
                    conn.stream_head();
                    conn.chunk(text("hello"));
                    return conn.hang();
                }
                Some("redirect") => {
                    conn.write(http(
                        302,
                        &[("location", &format!("http://127.0.0.1:1/?key={UPSTREAM}"))],
                        &echo,
                    ));
                }
                Some("gzip") => {
                    conn.write(http(200, &[kind, ("content-encoding", UPSTREAM)], &error));
                }
                Some("headers") => {
                    let all =
                        [kind, ("x-request-id", UPSTREAM), ("set-cookie", HEADER), ("retry-after", UPSTREAM)];
                    conn.write(http(503, &all, "{}"));
                }
                Some("reset") => return conn.reset(),
                _ if body.contains("\"stream\":true") => {
                    conn.stream(&[&text("hello"), &finish("stop"), &usage(), DONE]);
                }
                _ => drop(conn.write(ok(&completion("hello")))),
            }
        }
    })
}

fn assert_silent(what: &str, text: &str) {
    if let Some(at) = text.find(MARK) {
        let from = text[..at].char_indices().rev().nth(200).map_or(0, |(i, _)| i);
        let end = text[at..].char_indices().nth(100).map_or(text.len(), |(i, _)| at + i);
        panic!("{what} has a key in it: ...{}...", &text[from..end]);
    }
}

/// Every file below a directory.
fn files(dir: &Path, out: &mut String) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            count += files(&path, out);
        } else {
            writeln!(out, "{}", path.display()).unwrap();
            out.push_str(&String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
            count += 1;
        }
    }
    count
}

#[test]
fn the_server_tells_no_key_at_trace_level() {
    let up = upstream();
    let level = "trace,actix_http=trace,actix_server=trace";
    for format in ["text", "json"] {
        let args = ["serve", "--log-level", level, "--log-format", format, "--capture", "exchanges"];
        let program = Program::start(&args, &config_of(&up.base()));
        let addr = program.addr();
        let mut told = String::new();
        let mut answers = 0;
        let mut tell = |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
            let answer = ask(addr, method, path, headers, body);
            told.push_str(&answer.head);
            told.push_str(&String::from_utf8_lossy(&answer.body));
            answers += 1;
            answer.status
        };
        let bearer = format!("Bearer {INBOUND}");
        let right: [(&str, &str); 1] = [("authorization", &bearer)];
        for case in ["fine"].into_iter().chain(WRONGS) {
            for stream in [false, true] {
                tell("POST", "/v1/messages", &right, &message(&format!("case {case}."), stream));
            }
        }
        for (header, key) in [
            ("x-api-key", INBOUND),
            ("x-api-key", WRONG),
            ("authorization", WRONG),
            ("authorization", &*format!("Bearer {WRONG}")),
            ("authorization", &*format!("Basic {WRONG}")),
        ] {
            for (method, path) in [
                ("POST", "/v1/messages"),
                ("POST", "/v1/messages/count_tokens"),
                ("GET", "/v1/models"),
                ("GET", "/v1/models/nobody"),
                ("PUT", "/v1/messages"),
                ("GET", "/v1/nothing"),
                ("GET", "/health"),
                ("GET", "/ready"),
                ("GET", "/metrics"),
                ("GET", "/nothing"),
            ] {
                tell(method, path, &[(header, key)], b"{broken");
            }
        }
        // Requests that actix refuses by itself, with the key in them.
        for head in [
            "POST /v1/messages HTTP/1.1\r\ncontent-length: x",
            "GET / HTTP/1.1\r\nhost: p\r\nhost: q",
            "GET / HTTP/9",
        ] {
            let mut client = Client::connect(addr);
            client
                .write(format!("{head}\r\nx-api-key: {INBOUND}\r\nauthorization: Bearer {INBOUND}\r\n\r\n"));
            told.push_str(&client.until_closed().unwrap());
        }
        // And a client that leaves.
        let mut client = Client::connect(addr);
        client.send("POST", "/v1/messages", &right, &message("case silent.", true));
        client.until("hello");
        drop(client);
        eventually("it was noticed", || program.output().contains("client_gone"));
        program.signal("TERM");
        let dir = program.dir().to_owned();
        let mut program = program;
        eventually("it ends", || program.has_ended());
        let mut kept = String::new();
        let count = files(&dir.join("exchanges"), &mut kept);
        assert!(count > 60, "{count} captured files");
        let output = program.output();
        assert!(output.contains("TRACE") && output.contains("DEBUG"), "the log is on");
        assert!(output.contains("[key]") && told.contains("[key]"), "keys were repeated, and blotted out");
        assert_silent("the log", &output);
        assert_silent("an answer", &told);
        assert_silent("a capture", &kept);
        eprintln!(
            "secrets: {answers} answers of {} bytes, {} bytes of {format} log, {count} captured files of {} bytes",
            told.len(),
            output.len(),
            kept.len()
        );
    }
}

#[test]
fn commands_tell_no_key() {
    let up = upstream();
    let good = config_of(&up.base());
    let mut outputs = 0;
    let mut silent = |args: &[&str], config: &str| {
        let (_, output) = Program::start(args, config).end();
        assert!(!output.is_empty(), "{args:?}");
        assert_silent(&format!("{args:?}"), &output);
        outputs += 1;
    };
    // Wrong in many ways, next to the keys and in them.
    let mut broken = vec![
        good.clone(),
        good.replace("\"api_key\"", "\"api_kye\""),
        good.replace("\"ak\"", "\"ak\":1,\"ak\""),
        good.replace("\"port\":0", "\"port\":\"zero\""),
        good.replace("http://", "ftp://"),
        good.replace(UPSTREAM, &format!("{UPSTREAM}\\n")),
        good.replace(UPSTREAM, &format!("{UPSTREAM}ä")),
        good.replace(HEADER, &format!(" {HEADER}")),
        good.replace(&format!("\"{UPSTREAM}\""), &format!("[\"{UPSTREAM}\"]")),
        good.replace(&format!("\"{UPSTREAM}\""), &format!("{{\"key\":\"{UPSTREAM}\"}}")),
        good.replace(&format!("\"{INBOUND}\""), &format!("[\"{INBOUND}\"]")),
        good.replace(INBOUND, &format!("${{{INBOUND}")),
        good.replace(UPSTREAM, &format!("{UPSTREAM}\\u12")),
        good.replace("http://", &format!("http://user:{UPSTREAM}@")),
    ];
    // Cut off at every place where a key is near.
    for key in [INBOUND, UPSTREAM, HEADER] {
        let at = good.find(key).unwrap();
        broken.extend((at..at + key.len() + 3).step_by(3).map(|end| good[..end].to_owned()));
    }
    for config in &broken {
        for format in ["short", "full", "json", "github", "sarif"] {
            silent(&["check-config", "--format", format], config);
        }
    }
    for args in [
        &["models"][..],
        &["models", "--remote"],
        &["models", "--json"],
        &["ping-upstream"],
        &["ping-upstream", "--json"],
        &["--log-level", "trace", "ping-upstream"],
        &["--log-level", "trace", "models", "--remote"],
        &["convert", "request", "config.json"],
        &["serve", "--host", "no such host"],
    ] {
        silent(args, &good);
    }
    for config in &broken[1..] {
        silent(&["models"], config);
        if serde_json::from_str::<Value>(config).is_err() {
            silent(&["serve"], config);
        }
    }
    eprintln!("secrets: the output of {outputs} commands");
}

#[test]
fn debug_shows_no_key() {
    use claude_proxy::config::{self, Secret};
    use claude_proxy::upstream::{Client, Transports};
    let config = config_of("http://127.0.0.1:1");
    let checked = config::check(&config, &|_| Err(std::env::VarError::NotPresent));
    let secret = Secret::new(UPSTREAM);
    let config = checked.config.as_ref().unwrap();
    let bound = claude_proxy::server::Server::bind(std::sync::Arc::new(config.clone())).unwrap();
    let transports = Transports::new(config.providers(), None).unwrap();
    let client = Client::new(&transports, config.connect_timeout);
    let endpoint = client.endpoint(&config.models[0].provider, &secret).unwrap();
    let shown = [
        format!("{checked:?} {checked:#?}"),
        format!("{secret:?} {secret:#?} {secret}"),
        format!("{bound:?} {client:?} {endpoint:?} {endpoint:#?}"),
    ];
    for shown in shown {
        assert_silent("Debug", &shown);
    }
}
