//! The corpora of the fuzz targets, through the functions that libFuzzer calls: see fuzz/README.md.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// Runs a target over what is kept for it, and over each of that cut short.
fn replay(name: &str, at_least: usize) {
    let (_, run) = targets::ALL.into_iter().find(|(n, _)| *n == name).unwrap();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= at_least, "{} holds only {} inputs", dir.display(), files.len());
    let mut bad = Vec::new();
    for file in files {
        let data = fs::read(&file).unwrap();
        for len in [data.len(), data.len() / 2] {
            if catch_unwind(|| run(&data[..len])).is_err() {
                bad.push(format!("{} (the first {len} bytes)", file.display()));
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn sse() {
    replay("sse", 20);
}

#[test]
fn request() {
    replay("request", 100);
}

#[test]
fn response() {
    replay("response", 50);
}

#[test]
fn stream() {
    replay("stream", 100);
}

#[test]
fn config() {
    replay("config", 50);
}
