//! `run` and `init`, where it matters how processes and files behave.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::run::{Dir, command};

/// `run --demo -- sh -c SCRIPT`, and the first line that the script printed.
fn started(dir: &Dir, script: &str) -> (Child, String, BufReader<std::process::ChildStdout>) {
    let mut child = command(&dir.0, "run -q --demo --log-file proxy.log -- sh -c")
        .arg(script)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    (child, line.trim().to_owned(), lines)
}

#[test]
fn signals_are_passed_on() {
    for (signal, number) in [(Signal::TERM, 15), (Signal::HUP, 1), (Signal::USR1, 10)] {
        let dir = Dir::new();
        // The shell waits in steps: a trap runs between two commands.
        let script = format!(
            "trap 'echo got {number}; exit 3' {number}; echo $ANTHROPIC_BASE_URL; while :; do sleep 0.05; done"
        );
        let (child, url, mut lines) = started(&dir, &script);
        let addr = url.strip_prefix("http://").unwrap();
        assert!(TcpStream::connect(addr).is_ok(), "{addr}");
        kill_process(Pid::from_child(&child), signal).unwrap();
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, format!("got {number}\n"));
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        assert!(TcpStream::connect(addr).is_err(), "the proxy is still there");
    }
}

#[test]
fn a_command_that_a_signal_ends_is_128_and_its_number() {
    let dir = Dir::new();
    let (child, _, _lines) = started(&dir, "echo here; exec sleep 600");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(143));
}

#[test]
fn the_log_is_the_owners_and_the_key_is_nowhere() {
    let dir = Dir::new();
    let ask = r#"echo "$ANTHROPIC_AUTH_TOKEN"; tr '\0' '\n' < /proc/$PPID/cmdline"#;
    let (child, key, mut lines) = started(&dir, ask);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut lines, &mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(key.len() == 64 && key.chars().all(|c| c.is_ascii_hexdigit()), "{key}");
    assert!(!rest.contains(&key), "{rest}");
    let log = dir.read("proxy.log");
    assert!(log.contains("the command has ended") && !log.contains(&key), "{log}");
    let mode = fs::metadata(dir.0.join("proxy.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_the_command_left_running_gets_its_answer() {
    let dir = Dir::new();
    // A client that the command leaves behind: it asks for a stream, which takes a while.
    let body =
        r#"{"model":"demo","max_tokens":4096,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    dir.file("body.json", body);
    let script = concat!(
        "host=${ANTHROPIC_BASE_URL#http://}; exec 3<>/dev/tcp/${host%:*}/${host#*:}; ",
        "printf 'POST /v1/messages HTTP/1.1\\r\\nhost: x\\r\\nx-api-key: %s\\r\\ncontent-length: %s\\r\\nconnection: close\\r\\n\\r\\n' ",
        "$ANTHROPIC_AUTH_TOKEN $(wc -c < body.json) >&3; cat body.json >&3; ",
        "read -r line <&3; (cat <&3 > answer.txt) & exit 5",
    );
    let output = command(&dir.0, "run --demo --log-file proxy.log -- bash -c").arg(script).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("to finish its requests"), "{stderr}");
    let answer = dir.read("answer.txt");
    assert!(answer.contains("message_stop"), "{answer}");
}

#[test]
fn an_inherited_http_proxy_does_not_catch_the_command() {
    let dir = Dir::new();
    let output = command(&dir.0, "run -q --demo --log-file proxy.log -- sh -c")
        .arg("echo $NO_PROXY $no_proxy; echo ${ANTHROPIC_API_KEY-none} ${CLAUDE_CODE_USE_BEDROCK-none}")
        .env("HTTPS_PROXY", "http://192.0.2.1:3128")
        .env("NO_PROXY", "example.com")
        .env_remove("no_proxy")
        .env("ANTHROPIC_API_KEY", "sk-ant-1")
        .env("CLAUDE_CODE_USE_BEDROCK", "1")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "example.com,127.0.0.1 127.0.0.1\nnone none\n");
}

#[test]
fn a_new_configuration_is_its_owners_and_points_to_the_schema_beside_it() {
    let dir = Dir::new();
    dir.run("init --provider ollama --model qwen3:8b --no-ping").exits(0);
    let mode = |name: &str| fs::metadata(dir.0.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("config.json"), 0o600);
    assert!(!dir.read("config.json").contains("$schema"));
    dir.file("config.schema.json", "{}");
    dir.run("init --provider ollama --model other --no-ping --force").exits(0);
    assert!(dir.read("config.json").starts_with("{\n  \"$schema\": \"config.schema.json\",\n"));
    assert_eq!((mode("config.json"), dir.names().len()), (0o600, 2));
    dir.run("check-config --strict").exits(0);
    let key = "sk-0123456789abcdef";
    let input = format!("{key}\nnot the key\n");
    let done = dir.run_with(
        "init --provider https://llm.example.com/v1 --key-stdin --model m --no-ping -o typed.json",
        input.as_bytes(),
        &[],
    );
    let done = done.exits(0);
    assert!(!done.stdout.contains(key) && !done.stderr.contains(key), "{done:?}");
    assert!(dir.read("typed.json").contains(&format!("\"api_key\": \"{key}\"")));
}
