//! `convert` holds no more of a stream than it needs, however long the stream is.
#![cfg(target_os = "linux")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The program, or the one that `$CLAUDE_PROXY_BIN` names: a release build for long streams.
fn convert(args: &str) -> Child {
    let binary = std::env::var("CLAUDE_PROXY_BIN").ok().filter(|b| !b.is_empty());
    Command::new(binary.as_deref().unwrap_or(env!("CARGO_BIN_EXE_claude-proxy")))
        .arg("convert")
        .args(args.split_whitespace())
        .current_dir(Path::new(env!("CARGO_TARGET_TMPDIR")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The most memory that the process has had so far, in KiB.
fn peak(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// About a megabyte of events: text, reasoning and tool calls as they come in real streams.
fn piece() -> String {
    let mut out = String::new();
    let mut chunk = |delta: &str| {
        let _ = writeln!(
            out,
            "data: {{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"up\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]}}\n"
        );
    };
    let mut size = 0;
    while size < 1 << 20 {
        for n in 0..20 {
            let delta = format!(
                "{{\"content\":\"word {n} of a text that goes on and on, \\n with a line or two. \"}}"
            );
            size += delta.len() + 120;
            chunk(&delta);
        }
    }
    out
}

/// Sends that many MiB of one answer through, and gives the peaks of memory at a quarter and at
/// the end, in KiB.
fn peaks(megabytes: usize) -> (u64, u64) {
    let mut child = convert("-");
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::with_capacity(1 << 16, child.stdout.take().unwrap());
    let (told, heard) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let (mut line, mut bytes, mut last) = (Vec::new(), 0u64, String::new());
        while output.read_until(b'\n', &mut line).unwrap() > 0 {
            bytes += line.len() as u64;
            if line.windows(10).any(|w| w == b"a mark 7Q.") {
                told.send(()).unwrap();
            }
            if line.len() > 1 {
                last = String::from_utf8(std::mem::take(&mut line)).unwrap();
            }
            line.clear();
        }
        (bytes, last)
    });
    let piece = piece();
    let mark = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a mark 7Q.\"}}]}\n\n";
    let mut first = 0;
    for n in 0..megabytes {
        input.write_all(piece.as_bytes()).unwrap();
        if n == megabytes / 4 {
            input.write_all(mark.as_bytes()).unwrap();
            heard.recv().unwrap();
            first = peak(&child);
        }
    }
    input.write_all(mark.as_bytes()).unwrap();
    heard.recv().unwrap();
    let last = peak(&child);
    input
        .write_all(b"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
        .unwrap();
    drop(input);
    let (bytes, end) = reader.join().unwrap();
    let mut complaints = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
    assert!(child.wait().unwrap().success(), "{complaints}");
    assert!(end.contains("message_stop"), "{end}");
    // Nothing was left out: an event of ours is about as large as one of theirs.
    assert!(bytes > (megabytes as u64) << 19, "{bytes} bytes came out");
    (first, last)
}

#[test]
fn a_long_stream_takes_no_more_memory_than_a_short_one() {
    let (quarter, end) = peaks(64);
    assert!(end < quarter + 2048 && end < 64 << 10, "{quarter} KiB after 16 MiB, {end} KiB after 64 MiB");
}

#[test]
#[ignore = "2 GB: a minute or more, see tests/run long"]
fn two_gigabytes_fit_into_64_megabytes() {
    let (quarter, end) = peaks(2048);
    println!("2 GiB of events: {quarter} KiB of memory after a quarter, {end} KiB at the end");
    assert!(end < quarter + 2048 && end < 64 << 10, "{quarter} KiB after 512 MiB, {end} KiB after 2 GiB");
}

#[test]
fn one_message_that_is_too_large_is_refused() {
    let mut child = convert("--whole -");
    let mut input = child.stdin.take().unwrap();
    let text = "words ".repeat(10_000);
    let piece = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    // It stops reading when it is over the limit, which ends the writing.
    let writer = std::thread::spawn(move || {
        (0..4096).take_while(|_| input.write_all(piece.as_bytes()).is_ok()).count()
    });
    let (mut said, mut told) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    let read = writer.join().unwrap() * 60_000;
    assert!((64 << 20..80 << 20).contains(&read), "it read {read} bytes");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(told.contains("upstream answer is larger than 64 MiB"), "{told}");
    assert!(said.starts_with("{\"type\":\"error\"") && said.len() < 1000, "{} bytes", said.len());
}
