//! Ids: what tool calls are called upstream, and ids of our own making.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use sha2::{Digest, Sha256};

use super::profile::ToolCallId;

/// The id that a tool call of the history has upstream; the same for call and result.
///
/// `n` counts the calls of the conversation from 0.
pub(super) fn upstream_call_id<'i>(form: ToolCallId, id: Cow<'i, str>, name: &str, n: usize) -> Cow<'i, str> {
    match form {
        ToolCallId::Max40 if id.chars().count() > 40 => format!("call_{}", sha256_hex(&id, 32)).into(),
        ToolCallId::Mistral9 if id.len() != 9 || !id.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            sha256_hex(&id, 9).into()
        }
        ToolCallId::Kimi => format!("functions.{name}:{n}").into(),
        _ => id,
    }
}

/// The first `digits` hexadecimal digits of the text's SHA-256.
pub(super) fn sha256_hex(text: &str, digits: usize) -> String {
    let mut out = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out.truncate(digits);
    out
}

/// A hash to recognise an id by: histories are long, contexts have to stay small.
pub(super) fn fingerprint(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// Whether an upstream's call id can be passed to clients as it is.
pub(super) fn usable(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-'))
}

/// Makes ids in Anthropic's form from a seed that the caller chose. Not a secret: unique is enough.
#[derive(Debug, Clone)]
pub(super) struct IdSource(u64);

impl IdSource {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// `prefix` and 22 base62 characters, as in `msg_01XFDUDYJgAACzvnptvVoYEL`.
    pub(super) fn next(&mut self, prefix: &str) -> String {
        const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut id = String::with_capacity(prefix.len() + 22);
        id.push_str(prefix);
        for _ in 0..2 {
            let mut bits = self.step();
            for _ in 0..11 {
                id.push(BASE62.get((bits % 62) as usize).map_or('0', |b| char::from(*b)));
                bits /= 62;
            }
        }
        id
    }

    /// SplitMix64.
    fn step(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fit_their_upstream() {
        assert_eq!(upstream_call_id(ToolCallId::Mistral9, "toolu_01A".into(), "f", 0), "5abc8d7f9");
        assert_eq!(upstream_call_id(ToolCallId::Mistral9, "abcDEF123".into(), "f", 0), "abcDEF123");
        assert_eq!(upstream_call_id(ToolCallId::Kimi, "x".into(), "bash", 2), "functions.bash:2");
        let long = "x".repeat(41);
        let id = upstream_call_id(ToolCallId::Max40, long.into(), "f", 0);
        assert_eq!(id.len(), 37);
        assert_eq!(upstream_call_id(ToolCallId::Max40, "x".repeat(40).into(), "f", 0), "x".repeat(40));
    }

    #[test]
    fn own_ids_differ() {
        let mut a = IdSource::new(1);
        let (x, y) = (a.next("msg_01"), a.next("msg_01"));
        assert_ne!(x, y);
        assert_eq!(x.len(), 28);
        assert_ne!(IdSource::new(2).next("msg_01"), x);
    }
}
