//! Help, version, exit codes, completions, pipes.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use clap::{CommandFactory as _, Parser as _};
use clap_complete::Shell;
use claude_proxy::cli::args::Cli;
use claude_proxy::cli::man;

use crate::run::{Dir, command};

/// Every command, as `--help` lists them.
fn commands() -> Vec<clap::Command> {
    let mut whole = Cli::command();
    whole.build();
    whole.get_subcommands().cloned().collect()
}

#[test]
fn help_goes_to_stdout_and_has_examples() {
    let dir = Dir::new();
    let done = dir.run("--help").exits(0);
    for command in commands() {
        let command = command.get_name();
        assert!(done.stdout.contains(&format!("\n  {command} ")), "{command}");
        let help = dir.run(&format!("{command} --help")).exits(0);
        assert!(
            help.stdout.contains("\nExamples:\n") && help.stdout.contains("\n  claude-proxy "),
            "{help:?}"
        );
        assert!(help.stdout.contains("--config"), "{help:?}");
        assert!(help.stderr.is_empty(), "{help:?}");
        let short = dir.run(&format!("{command} -h")).exits(0);
        assert!(!short.stdout.contains("Examples:"), "{short:?}");
    }
    let version = dir.run("-V").exits(0);
    assert!(
        version.stdout.starts_with(&format!("claude-proxy {}", env!("CARGO_PKG_VERSION"))),
        "{version:?}"
    );
    assert_eq!(version.stdout.lines().count(), 1);
    let version = dir.run("--version").exits(0);
    assert!(version.stdout.contains("\nfeatures: "), "{version:?}");
}

/// The words of a shell's line, without what the shell itself does with them.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, ' ') => words.push(String::new()),
            (None, '|' | '<' | '>' | ')') => break,
            _ => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|w| !w.is_empty());
    words
}

#[test]
fn every_example_parses() {
    let mut seen = 0;
    let whole = Cli::command();
    for command in commands().iter().chain([&whole]) {
        let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        let examples = help.split_once("Examples:\n").unwrap().1;
        let examples = examples.split("\n\n").next().unwrap();
        for line in examples.lines() {
            // Behind some spaces it says what the line is for.
            let line = line.trim_start().split("   ").next().unwrap();
            let (_, line) = line.split_once("claude-proxy ").unwrap_or_else(|| panic!("{line}"));
            let line = words(&format!("claude-proxy {line}"));
            let parsed = Cli::try_parse_from(&line);
            assert!(parsed.is_ok(), "{line:?}: {}", parsed.unwrap_err());
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn alone_it_prints_a_short_help() {
    let done = Dir::new().run("").exits(2).prints_nothing().says(&["Usage: claude-proxy"]);
    for command in ["init", "run", "serve", "ping-upstream", "check-config", "convert"] {
        assert!(done.stderr.contains(command), "{command}");
    }
    assert!(done.stderr.lines().count() < 15, "{done:?}");
}

#[test]
fn a_wrong_command_line_is_2() {
    let dir = Dir::new();
    for args in [
        "nonsense",
        "--nonsense",
        "models --color purple",
        "completions tcsh",
        "convert a b",
        "serve --port 99999",
    ] {
        dir.run(args).exits(2).prints_nothing();
    }
    for (level, says) in [
        ("inof", "wanted is a level (off, error, warn, info, debug, trace) or a filter"),
        ("info,x=nonsense", "`nonsense` in `x=nonsense` is not a level; wanted is"),
        ("info, claude_proxy::body=of", "`of` in `claude_proxy::body=of` is not a level"),
        ("warn claude_proxy=debug", "`warn claude_proxy` in `warn claude_proxy=debug` is not the target"),
        ("info,=debug", "`` in `=debug` is not the target"),
        ("info,[x", "invalid filter directive; wanted is"),
        ("", "wanted is"),
        ("2", "wanted is"),
    ] {
        let output = command(&dir.0, "completions bash --log-level").arg(level).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{level}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(says) && told.contains("claude_proxy::body=off"), "{level}: {told}");
    }
    for level in ["WARN", "info,claude_proxy::body=off", "claude_proxy=debug", "info,,claude_proxy::server=3"]
    {
        dir.run(&format!("completions bash --log-level {level}")).exits(0);
    }
    dir.run("check-confg").exits(2).says(&["check-config"]);
}

#[test]
fn a_closed_pipe_is_success() {
    let dir = Dir::new();
    // More than a pipe holds, so that the program notices.
    let shown = "x".repeat(1000);
    let models: Vec<String> =
        (0..500).map(|n| format!("{{\"id\":\"model-{n}\",\"display_name\":\"{shown}\"}}")).collect();
    let config = format!(
        "{{\"providers\":[{{\"base_url\":\"http://h\",\"api_key\":\"\",\"models\":[{}]}}]}}",
        models.join(",")
    );
    dir.file("config.json", config);
    let mut child =
        command(&dir.0, "models --json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_a_failure() {
    let dir = Dir::new();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command(&dir.0, "completions bash").stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to standard output"));
}

#[test]
fn completions_are_current() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
    let files = [
        (Shell::Bash, "claude-proxy.bash"),
        (Shell::Zsh, "_claude-proxy"),
        (Shell::Fish, "claude-proxy.fish"),
        (Shell::PowerShell, "_claude-proxy.ps1"),
        (Shell::Elvish, "claude-proxy.elv"),
    ];
    for (shell, name) in files {
        let committed = fs::read_to_string(dir.join(name)).unwrap().replace("\r\n", "\n");
        let done = Dir::new().run(&format!("completions {shell}")).exits(0);
        assert!(
            committed == done.stdout,
            "completions/{name} is old: run `cargo run -- completions {shell} > completions/{name}`"
        );
    }
    assert_eq!(fs::read_dir(dir).unwrap().count(), files.len());
}

#[test]
fn man_pages_are_current() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let pages = man::pages().unwrap();
    for (name, page) in &pages {
        let committed = fs::read_to_string(dir.join(name)).unwrap_or_default().replace("\r\n", "\n");
        assert!(committed.as_bytes() == page, "man/{name} is old: run `cargo run -- man man`");
    }
    assert_eq!(fs::read_dir(dir).unwrap().count(), pages.len());
}

/// What the program offers for the last of these words.
fn offers(dir: &Dir, words: &[&str]) -> Vec<String> {
    let output = command(&dir.0, "-- claude-proxy")
        .args(words)
        .env("CLAUDE_PROXY_COMPLETE", "bash")
        .env("_CLAP_IFS", "\n")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn completions_offer_models_and_profiles() {
    let dir = Dir::new();
    // A variable that is not set stops `serve`, but not this.
    let config = |ids: [&str; 2]| {
        let models = ids.map(|id| format!("{{\"id\":\"{id}\"}}")).join(",");
        format!(
            "{{\"providers\":[{{\"base_url\":\"http://h\",\"api_key\":\"${{X}}\",\"models\":[{models}]}}]}}"
        )
    };
    dir.file("config.json", config(["glm", "org/deep:seek"]));
    dir.file("other.json", config(["other", "more"]));
    assert_eq!(offers(&dir, &["run", "--model", "g"]), ["glm"]);
    assert_eq!(offers(&dir, &["env", "--model=org"]), ["--model=org/deep:seek"]);
    assert_eq!(offers(&dir, &["ping-upstream", "glm", "org/deep:"]), ["org/deep:seek"]);
    assert_eq!(offers(&dir, &["--config", "other.json", "convert", "--model", "o"]), ["other"]);
    assert_eq!(offers(&dir, &["convert", "--config=other.json", "--model", "m"]), ["more"]);
    assert_eq!(offers(&dir, &["convert", "--profile", "llama"]), ["llamacpp", "llama_cpp_python"]);
    assert_eq!(offers(&dir, &["check-c"]), ["check-config"]);
    assert!(offers(&dir, &["run", "--model", "x"]).is_empty());
}

#[test]
#[cfg(unix)]
#[expect(clippy::disallowed_methods, reason = "this waits for another process")]
fn ctrl_c_leaves_no_half_written_file() {
    use std::os::unix::process::ExitStatusExt as _;
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, Signal, kill_process};

    for signal in [Signal::INT, Signal::TERM] {
        let dir = Dir::new();
        let mut child = command(&dir.0, "convert -o out.sse -")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It waits for more of this stream.
        let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
        // Open to the end: `wait` would close the child's own, and the stream would be over.
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(event.repeat(2000).as_bytes()).unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while dir.names().is_empty() {
            assert!(Instant::now() < until, "no temporary file");
            std::thread::sleep(Duration::from_millis(5));
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(signal.as_raw()));
        assert_eq!(dir.names(), [""; 0]);
        drop(stdin);
    }
}
