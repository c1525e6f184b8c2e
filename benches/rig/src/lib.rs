//! Shared pieces of the mock upstream and the load generator.

pub mod answers;
pub mod bodies;
pub mod client;
pub mod http;
pub mod probe;

pub use bodies::filler;

use std::collections::HashMap;

use memchr::memmem;
use nix::time::ClockId;

/// CLOCK_MONOTONIC in nanoseconds: one clock for every process on the machine,
/// so a timestamp written by the mock can be subtracted by the load generator.
pub fn mono_ns() -> u64 {
    clock_ns(ClockId::CLOCK_MONOTONIC).unwrap_or(0)
}

/// Any clock, in nanoseconds.
pub fn clock_ns(id: ClockId) -> Option<u64> {
    let ts = id.now().ok()?;
    Some(ts.tv_sec() as u64 * 1_000_000_000 + ts.tv_nsec() as u64)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Text,
    Tool,
}

/// What the mock shall answer, spelled inside the model name (or anywhere in the body):
///
/// `bench-<t|f><events>-<delay_us>-<bytes>[-k<batch>][-w<first_wait_us>]`
///
/// `t` text deltas, `f` tool-call argument deltas; `events` deltas of `bytes` bytes each,
/// `delay_us` between writes, `batch` events in one TCP write, `first_wait_us` before the head.
/// A non-stream request for the same spec gets events x bytes of content in one body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    pub raw: String,
    pub kind: Kind,
    pub events: usize,
    pub delay_us: u64,
    pub bytes: usize,
    pub batch: usize,
    pub wait_us: u64,
}

impl Spec {
    pub fn parse(raw: &str) -> Option<Spec> {
        let rest = raw.strip_prefix("bench-")?;
        let mut parts = rest.split('-');
        let head = parts.next()?;
        let kind = match head.as_bytes().first()? {
            b't' => Kind::Text,
            b'f' => Kind::Tool,
            _ => return None,
        };
        let mut s = Spec {
            raw: raw.to_string(),
            kind,
            events: head.get(1..)?.parse().ok()?,
            delay_us: parts.next()?.parse().ok()?,
            bytes: parts.next()?.parse().ok()?,
            batch: 1,
            wait_us: 0,
        };
        for p in parts {
            match p.as_bytes().first() {
                Some(b'k') => s.batch = p[1..].parse::<usize>().ok()?.max(1),
                Some(b'w') => s.wait_us = p[1..].parse().ok()?,
                _ => break,
            }
        }
        s.events = s.events.max(1);
        Some(s)
    }

    pub fn find(finder: &memmem::Finder, body: &[u8]) -> Option<Spec> {
        let at = finder.find(body)?;
        let end = body[at..]
            .iter()
            .position(|b| !(b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-'))
            .map_or(body.len(), |n| at + n);
        Spec::parse(std::str::from_utf8(&body[at..end]).ok()?)
    }
}

/// Marker in every delta: `~` + 16 hex digits of the mock's send time + `~`.
pub const SLOT: &str = "~0000000000000000~";

pub fn put_hex16(dst: &mut [u8], mut v: u64) {
    for b in dst[..16].iter_mut().rev() {
        *b = b"0123456789abcdef"[(v & 15) as usize];
        v >>= 4;
    }
}

pub fn get_hex16(src: &[u8]) -> Option<u64> {
    let mut v = 0u64;
    for &b in src.get(..16)? {
        let d = match b {
            b'0'..=b'9' => b - b'0',
            b'a'..=b'f' => b - b'a' + 10,
            _ => return None,
        };
        v = v << 4 | d as u64;
    }
    Some(v)
}

/// `--name value` arguments; a name without a value is `1`.
pub struct Args(HashMap<String, Vec<String>>);

impl Args {
    pub fn from_env() -> Result<Args, String> {
        let mut m: HashMap<String, Vec<String>> = HashMap::new();
        let mut it = std::env::args().skip(1).peekable();
        while let Some(a) = it.next() {
            let name = a.strip_prefix("--").ok_or_else(|| format!("unexpected argument {a}"))?;
            let val = it.next_if(|v| !v.starts_with("--")).unwrap_or_else(|| "1".to_owned());
            m.entry(name.to_owned()).or_default().push(val);
        }
        Ok(Args(m))
    }

    pub fn get(&self, k: &str) -> Option<&str> {
        self.0.get(k)?.last().map(String::as_str)
    }

    pub fn all(&self, k: &str) -> &[String] {
        self.0.get(k).map_or(&[], Vec::as_slice)
    }

    pub fn num<T: std::str::FromStr>(&self, k: &str, default: T) -> Result<T, String> {
        self.get(k).map_or(Ok(default), |v| v.parse().map_err(|_| format!("--{k} {v}: not a number")))
    }
}
