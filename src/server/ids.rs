//! Random numbers and request ids.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// Random enough for ids: SipHash of a counter, under a key of the system's randomness.
#[derive(Debug, Default)]
pub(super) struct Ids {
    key: RandomState,
    count: Cell<u64>,
}

impl Ids {
    /// 64 random bits.
    pub(super) fn random(&self) -> u64 {
        let n = self.count.get().wrapping_add(1);
        self.count.set(n);
        self.key.hash_one(n)
    }

    /// From 0 to 1.
    pub(super) fn luck(&self) -> f64 {
        (self.random() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `req_` and 24 letters and digits.
    pub(super) fn request_id(&self) -> String {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut id = String::with_capacity(28);
        id.push_str("req_");
        for _ in 0..3 {
            let mut n = self.random();
            for _ in 0..8 {
                id.push(char::from(DIGITS.get((n % 62) as usize).copied().unwrap_or(b'0')));
                n /= 62;
            }
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::Ids;

    #[test]
    fn ids_differ() {
        let ids = Ids::default();
        let some: std::collections::HashSet<String> = (0..1000).map(|_| ids.request_id()).collect();
        assert_eq!(some.len(), 1000);
        assert!(some.iter().all(|id| id.len() == 28 && id.starts_with("req_")));
    }
}
