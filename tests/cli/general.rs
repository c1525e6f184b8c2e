//! Help, version, exit codes, completions, pipes.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use clap_complete::Shell;

use crate::run::{Dir, command};

const COMMANDS: [&str; 7] =
    ["serve", "demo", "convert", "check-config", "models", "ping-upstream", "completions"];

#[test]
fn help_goes_to_stdout_and_has_examples() {
    let dir = Dir::new();
    let done = dir.run("--help").exits(0);
    for command in COMMANDS {
        assert!(done.stdout.contains(command), "{command}");
        let help = dir.run(&format!("{command} --help")).exits(0);
        assert!(help.stdout.contains(&format!("\nExamples:\n  claude-proxy {command}")), "{help:?}");
        assert!(help.stdout.contains("--config"), "{help:?}");
        assert!(help.stderr.is_empty(), "{help:?}");
    }
    let version = dir.run("--version").exits(0);
    assert_eq!(version.stdout, format!("claude-proxy {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn alone_it_prints_a_short_help() {
    let done = Dir::new().run("").exits(2).prints_nothing().says(&["Usage: claude-proxy", "check-config"]);
    assert!(done.stderr.lines().count() < 30, "{done:?}");
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
    for level in ["inof", "info,x=nonsense", "", "2"] {
        let output = command(&dir.0, "completions bash --log-level").arg(level).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{level}");
    }
    for level in ["WARN", "info,claude_proxy::body=off", "claude_proxy=debug"] {
        dir.run(&format!("completions bash --log-level {level}")).exits(0);
    }
    dir.run("check-confg").exits(2).says(&["check-config"]);
}

#[test]
fn a_closed_pipe_is_success() {
    let dir = Dir::new();
    // More than a pipe holds, so that the program notices.
    let models: Vec<String> = (0..20_000).map(|n| format!("{{\"id\":\"model-{n}\"}}")).collect();
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
