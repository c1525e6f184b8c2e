//! The fuzz targets without a fuzzer: what is kept for each of them, and what comes of that by
//! chance in some seconds. fuzz/README.md says how libFuzzer runs them.
//!
//! `FUZZ_SECONDS` is how long each goes on (3); `FUZZ_SEED` repeats a run.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod targets;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Whether this is what `cargo package` made: fuzz/ is a crate of its own, and not in it.
fn packaged() -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".cargo_vcs_info.json").is_file()
}

/// The words of fuzz/json.dict.
fn words() -> Vec<Vec<u8>> {
    let text = fs::read_to_string(fuzz().join("json.dict")).unwrap();
    let word = |line: &str| {
        let mut out = Vec::new();
        let mut rest = line.strip_prefix('"')?.strip_suffix('"')?;
        while let Some(c) = rest.chars().next() {
            if let Some(hex) = rest.strip_prefix("\\x") {
                out.push(u8::from_str_radix(&hex[..2], 16).unwrap());
                rest = &hex[2..];
            } else {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[c.len_utf8()..];
            }
        }
        Some(out)
    };
    text.lines().filter_map(word).collect()
}

/// Chance, from a seed.
struct Dice(u64);

impl Dice {
    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n.max(1)
    }

    /// A place in `data` and one behind it, mostly near.
    fn range(&mut self, data: &[u8]) -> (usize, usize) {
        let start = self.below(data.len() + 1);
        let longest = if self.below(2) == 0 { 8 } else { data.len() };
        (start, (start + self.below(longest + 1)).min(data.len()))
    }
}

/// Changes an input in some places.
fn mutate(data: &mut Vec<u8>, kept: &[Vec<u8>], words: &[Vec<u8>], dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        let (start, end) = dice.range(data);
        match dice.below(7) {
            0 => drop(data.drain(start..end)),
            1 => {
                let copy = data[start..end].to_vec();
                let at = dice.below(data.len() + 1);
                data.splice(at..at, copy);
            }
            2 => {
                let other = &kept[dice.below(kept.len())];
                let (from, to) = dice.range(other);
                data.splice(start..end, other[from..to].iter().copied());
            }
            3 | 4 => {
                let word = &words[dice.below(words.len())];
                let end = if dice.below(2) == 0 { start } else { end };
                data.splice(start..end, word.iter().copied());
            }
            5 if start < data.len() => data[start] ^= 1 << dice.below(8),
            _ if start < data.len() => data[start] = b"{}[]\",:\\\n\r0\x00\xff"[dice.below(13)],
            _ => {}
        }
    }
    data.truncate(8192);
}

fn run(name: &str, at_least: usize) {
    if packaged() {
        println!("{name}: a package of the crate holds no corpora");
        return;
    }
    let (_, target) = targets::ALL.into_iter().find(|(n, _)| *n == name).unwrap();
    let dir = fuzz().join("corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= at_least, "{} holds only {} inputs", dir.display(), files.len());
    let kept: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    for (data, file) in kept.iter().zip(&files) {
        assert!(catch_unwind(|| target(data)).is_ok(), "{}", file.display());
    }

    let set = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = set("FUZZ_SEED").unwrap_or_else(clock) | 1;
    let until = Instant::now() + Duration::from_secs(set("FUZZ_SECONDS").unwrap_or(3));
    let (mut dice, words, mut runs) = (Dice(seed), words(), 0);
    while Instant::now() < until {
        let mut data = kept[dice.below(kept.len())].clone();
        mutate(&mut data, &kept, &words, &mut dice);
        runs += 1;
        if catch_unwind(|| target(&data)).is_err() {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}-{seed}"));
            fs::write(&file, &data).unwrap();
            panic!("after {runs} runs from seed {seed}: the input is kept in {}", file.display());
        }
    }
    println!("{name}: {} inputs, {runs} more from seed {seed}", kept.len());
}

#[test]
fn sse() {
    run("sse", 20);
}

#[test]
fn request() {
    run("request", 100);
}

#[test]
fn response() {
    run("response", 50);
}

#[test]
fn stream() {
    run("stream", 100);
}

#[test]
fn config() {
    run("config", 50);
}
