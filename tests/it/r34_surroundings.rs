//! R34: hostile surroundings: a port that is taken, names that resolve to nothing, output that is
//! closed or full, few file descriptors, little memory, no home, a clock that jumps. A message
//! and an exit code where it cannot start; where it can, it goes on answering.
#![cfg(unix)]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::sources::sources;
use crate::support::program::Program;
use crate::support::upstream::ok;
use crate::support::*;

fn config_of(up: &str, more: &Value) -> String {
    let mut config = json!({
        "port": 0, "workers": 1, "connect_timeout_seconds": 3,
        "providers": [{"name": "up", "base_url": up, "api_key": "", "models": [{"id": "m"}]}],
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config.to_string()
}

/// A port that is free, for a program whose output cannot be read. Not one of those that systems give
/// out by themselves: between here and the program, a connection of another test would take it.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = 20_000 + (std::process::id() % 5_000) as u16;
    loop {
        let port = begin + NEXT.fetch_add(1, Ordering::Relaxed) % 5_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The program, started by this line of a shell, where `$0` is the program.
fn shell(line: &str) -> impl FnOnce(&str, &Path) -> Command {
    move |program, _| {
        let mut command = Command::new("sh");
        command.args(["-c", line, program]);
        command
    }
}

fn upstream() -> Upstream {
    Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            if seen.json()["stream"] == true {
                conn.stream(&[&text("hello"), &finish("stop"), DONE]);
            } else {
                conn.write(ok(&completion("hello")));
            }
        }
    })
}

fn assert_serves(addr: SocketAddr) {
    for stream in [false, true] {
        assert_eq!(post(addr, &message("hi", stream)).status, 200);
    }
    assert_eq!(post(addr, b"{").status, 400);
    assert_eq!(ask(addr, "GET", "/health", &[], b"").status, 200);
}

fn wait_for(addr: SocketAddr) {
    eventually("it listens", || TcpStream::connect(addr).is_ok());
}

#[test]
fn a_taken_port_is_said_plainly() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = config_of("http://127.0.0.1:1", &json!({"port": port}));
    let (code, output) = Program::start(&["serve"], &config).end();
    assert_eq!(code, Some(1));
    assert!(output.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{output}");
}

#[test]
fn names_that_resolve_to_nothing() {
    // The upstream's: it starts, and each request is told.
    let config = config_of("http://no-such-host.invalid", &json!({}));
    let program = Program::start(&["serve"], &config);
    for stream in [false, true] {
        let answer = post(program.addr(), &message("hi", stream));
        assert!(matches!(answer.status, 502 | 504), "{}", answer.status);
        let text = answer.error().1;
        assert!(text.contains("could not be resolved") || text.contains("no connection within"), "{text}");
    }
    assert_eq!(ask(program.addr(), "GET", "/ready", &[], b"").status, 200);
    // Its own: it does not.
    let config =
        config_of("http://127.0.0.1:1", &json!({"host": "no-such-host.invalid", "ak": "sesame-open"}));
    let (code, output) = Program::start(&["serve"], &config).end();
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("no-such-host.invalid") && !output.contains("panicked"), "{output}");
}

#[test]
fn output_that_is_closed_or_full_does_not_stop_it() {
    let up = upstream();
    for redirect in [">&- 2>&-", ">/dev/full 2>/dev/full", "2>/dev/full", "2>&-", "<&- >&- 2>&-"] {
        let port = free_port();
        let config = config_of(&up.base(), &json!({"port": port}));
        let line = format!("exec \"$0\" serve --log-level debug {redirect}");
        let mut program = Program::start_as(&config, shell(&line));
        let addr: SocketAddr = ([127, 0, 0, 1], port).into();
        wait_for(addr);
        for _ in 0..3 {
            assert_serves(addr);
        }
        assert!(!program.has_ended(), "{redirect}");
        program.signal("TERM");
        assert_eq!(program.end().0, Some(0), "{redirect}");
    }
}

#[test]
fn readers_of_its_output_may_leave() {
    let up = upstream();
    let port = free_port();
    let config = config_of(&up.base(), &json!({"port": port}));
    // The log goes into a pipe whose reader ends at once.
    let line = r#"
        { "$0" serve --log-level debug & echo $! >id; wait $!; echo "code $?" >code; } 2>&1 | true
        while ! test -e code; do sleep 0.05; done"#;
    let mut program = Program::start_as(&config, shell(line));
    let addr: SocketAddr = ([127, 0, 0, 1], port).into();
    wait_for(addr);
    for _ in 0..3 {
        assert_serves(addr);
    }
    assert!(!program.has_ended());
    let id = std::fs::read_to_string(program.dir().join("id")).unwrap();
    assert!(Command::new("kill").args(["-s", "TERM", id.trim()]).status().unwrap().success());
    let code = program.dir().join("code");
    eventually("it ended", || code.exists());
    assert_eq!(std::fs::read_to_string(code).unwrap(), "code 0\n");
    assert!(program.end().0.is_some());
    // What only prints ends when nobody reads, without a word of a panic.
    for args in ["demo", "check-config --schema", "models", "completions bash"] {
        let line = format!("\"$0\" {args} 2>err | true; cat err");
        let (_, output) = Program::start_as(&config, shell(&line)).end();
        assert!(!output.contains("panicked"), "{args}: {output}");
        for full in [">/dev/full", ">&-"] {
            let line = format!("\"$0\" {args} {full}; echo \"code $?\"");
            let (_, output) = Program::start_as(&config, shell(&line)).end();
            assert!(!output.contains("panicked") && output.contains("code "), "{args} {full}: {output}");
            if full == ">/dev/full" {
                assert!(!output.contains("code 0"), "what was not written was not done: {args}: {output}");
            }
        }
    }
}

#[test]
fn with_64_file_descriptors_the_accept_loop_survives() {
    const CONNECTIONS: usize = 200;
    let up = upstream();
    let line = "ulimit -n 64; exec \"$0\" serve";
    let program = Program::start_as(&config_of(&up.base(), &json!({})), shell(line));
    let addr = program.addr();
    assert_serves(addr);
    let mut crowd: Vec<Client> = (0..CONNECTIONS)
        .map(|_| {
            let mut client = Client::connect(addr);
            client.send("GET", "/health", &[], b"");
            client
        })
        .collect();
    eventually("it has run out", || program.output().contains("Error accepting connection"));
    // Those who are in are served, also where nothing is left for a connection to the upstream.
    let mut first = crowd.remove(0);
    assert_eq!(first.answer().status, 200);
    first.send("POST", "/v1/messages", &[], &message("hi", false));
    let answer = first.answer();
    assert!(matches!(answer.status, 200 | 502), "{}", answer.status);
    drop(crowd);
    eventually("it serves again", || {
        let mut client = Client::connect(addr);
        client.send("POST", "/v1/messages", &[], &message("hi", true));
        client.head().is_some_and(|(status, _)| status == 200)
    });
    assert_serves(addr);
    let complaints = program.output().matches("Error accepting connection").count();
    assert!(complaints < 50, "{complaints}: it waits before it tries again");
    assert!(!program.output().contains("panicked"), "{}", program.output());
    eprintln!("descriptors: {CONNECTIONS} connections at 64, {complaints} complaints, served afterwards");
}

#[test]
fn with_little_memory_claims_cost_nothing() {
    const CLAIMS: usize = 100;
    let up = upstream();
    // 1 GiB of addresses; what the clients claim together is 3.2 GiB.
    let line = "ulimit -v 1048576; exec \"$0\" serve";
    let program = Program::start_as(&config_of(&up.base(), &json!({})), shell(line));
    let addr = program.addr();
    let claims: Vec<Client> = (0..CLAIMS)
        .map(|_| {
            let mut client = Client::connect(addr);
            client.write(format!(
                "POST /v1/messages HTTP/1.1\r\nhost: p\r\ncontent-length: {}\r\n\r\n{{",
                32 << 20
            ));
            client
        })
        .collect();
    assert_serves(addr);
    // One of them is a real one.
    assert_eq!(post(addr, &message(&"a".repeat(20 << 20), false)).status, 200);
    drop(claims);
    assert_serves(addr);
    eprintln!("memory: {CLAIMS} claims of 32 MiB within 1 GiB of address space");
}

#[test]
fn without_a_home_and_a_directory_to_write_to() {
    let up = upstream();
    let program = Program::start_as(&config_of(&up.base(), &json!({})), |program, dir| {
        let mut command = Command::new("sh");
        let config = dir.join("config.json");
        let line = "cd /proc && exec \"$0\" --config \"$1\" serve";
        command.args(["-c", line, program, config.to_str().unwrap()]);
        command.env_clear().env("PATH", "/usr/bin:/bin");
        command
    });
    assert_serves(program.addr());
    drop(program);
    // Where something is to be written, it says so.
    let (code, output) = Program::start_as(&config_of(&up.base(), &json!({})), |program, dir| {
        let mut command = Command::new(program);
        let config = dir.join("config.json");
        command.args(["--config", config.to_str().unwrap(), "serve", "--capture", "/proc/nowhere"]);
        command.env_clear();
        command
    })
    .end();
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("/proc/nowhere") && !output.contains("panicked"), "{output}");
}

#[test]
fn a_config_that_cannot_be_read_is_said_plainly() {
    for (line, word) in [
        ("exec \"$0\" serve --config /nowhere/config.json", "/nowhere/config.json"),
        ("exec \"$0\" serve --config /proc", "/proc"),
        ("exec \"$0\" serve --config /dev/null", "/dev/null"),
        ("head -c 3000000 /dev/zero >zero; exec \"$0\" serve --config zero", "zero"),
    ] {
        let began = Instant::now();
        let (code, output) = Program::start_as("{}", shell(line)).end();
        assert_eq!(code, Some(1), "{line}: {output}");
        assert!(output.contains(word) && !output.contains("panicked"), "{line}: {output}");
        assert!(began.elapsed() < Duration::from_secs(8), "{line}");
    }
}

#[test]
fn no_clock_is_the_calendars() {
    // A jump of the system's time moves no timeout: those are all `Instant`s. Who asks for the
    // time of day does so to write it down.
    // What a thread's age is counted from outlives the process.
    // A budget is for a day of the calendar; one that goes back gives nothing back (R37).
    // Spans tell when they began.
    // `retry-after` may be a date: that is a wait by the calendar, of two seconds at most.
    const MAY: [&str; 11] = [
        "cli/run/logfile.rs",
        "observe/activity/",
        "observe/capture/",
        "observe/otel/",
        "observe/request_line.rs",
        "server/budgets.rs",
        "server/connection.rs",
        "upstream/attempt.rs",
        "upstream/tls.rs",
        "store/threads/mod.rs",
        "web/fetch.rs",
    ];
    let sources = sources();
    assert!(sources.len() > 50);
    for (path, text) in sources {
        if text.contains("SystemTime") || text.contains("UNIX_EPOCH") {
            assert!(MAY.iter().any(|may| path.starts_with(may)), "{path} asks for the time of day");
        }
    }
}

#[test]
fn signals_before_and_during_the_start_end_it() {
    for name in ["TERM", "INT"] {
        let mut program = Program::start_as(&config_of("http://127.0.0.1:1", &json!({})), |program, _| {
            let mut command = Command::new(program);
            command.arg("serve").stdin(Stdio::null());
            command
        });
        program.signal(name);
        eventually("it ended", || {
            let ended = program.has_ended();
            // Jobs in the background ignore SIGINT (POSIX shells, 2.11) until the program asks for it.
            if !ended && name == "INT" {
                program.signal(name);
            }
            ended
        });
    }
}
