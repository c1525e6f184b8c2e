//! Counts that are remembered: system, tools and history of a session are the same each time.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::{Mutex, PoisonError};

/// Shorter strings are counted anew: it takes no longer than to look them up.
const SHORTEST: usize = 256;
/// So many strings are remembered before those not met for longest are forgotten, half at a time.
const MOST: usize = 8192;

/// What strings count, for at most 8192 of them: 0.4 MB at most, and none of the text.
///
/// Strings are told apart by their length and by a 64-bit hash with a secret that is drawn when the
/// program starts: nobody outside can aim at two that are the same, and by chance it happens once
/// in 10^15 look-ups. What would follow is a wrong estimate.
#[derive(Default)]
pub struct Known {
    secret: RandomState,
    counts: Mutex<Counts>,
}

type Key = (u64, usize);

/// Two generations: what is met in the older one moves to the newer one.
#[derive(Default)]
struct Counts {
    newer: HashMap<Key, u64>,
    older: HashMap<Key, u64>,
}

impl Known {
    /// [`tokens`](super::tokens) of `text`, from memory where it is known.
    pub fn tokens(&self, text: &str, breath: &mut dyn FnMut()) -> u64 {
        if text.len() < SHORTEST {
            return super::tokens(text, breath);
        }
        let key = (self.secret.hash_one(text), text.len());
        // Not locked while it counts.
        if let Some(count) = self.with(|counts| counts.get(key)) {
            return count;
        }
        let count = super::tokens(text, breath);
        self.with(|counts| counts.put(key, count));
        count
    }

    fn with<T>(&self, look: impl FnOnce(&mut Counts) -> T) -> T {
        look(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Counts {
    fn get(&mut self, key: Key) -> Option<u64> {
        if let Some(&count) = self.newer.get(&key) {
            return Some(count);
        }
        let count = self.older.remove(&key)?;
        self.put(key, count);
        Some(count)
    }

    fn put(&mut self, key: Key, count: u64) {
        if self.newer.len() >= MOST / 2 {
            self.older = mem::take(&mut self.newer);
        }
        self.newer.insert(key, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(known: &Known) -> (usize, usize) {
        known.with(|counts| (counts.newer.len(), counts.older.len()))
    }

    fn text(n: usize) -> String {
        format!("{n} {}", "x y ".repeat(SHORTEST / 4))
    }

    #[test]
    fn what_is_known_is_not_counted_again() {
        let known = Known::default();
        let long = "words of a system prompt ".repeat(2000);
        let mut breaths = 0;
        let first = known.tokens(&long, &mut || breaths += 1);
        assert_eq!(first, super::super::tokens(&long, &mut || ()));
        assert!(breaths > 1);
        assert_eq!(known.tokens(&long, &mut || panic!("it is known")), first);
        assert_eq!(known.tokens("short", &mut || ()), 1);
        assert_eq!(known.tokens("", &mut || ()), 0);
        assert_eq!(sizes(&known), (1, 0));
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_is_in_use() {
        let known = Known::default();
        let used = text(0);
        let count = known.tokens(&used, &mut || ());
        known.with(|counts| counts.put((0, 0), 7));
        for n in 1..3 * MOST {
            known.with(|counts| counts.put((n as u64, n), 1));
            if n % 1000 == 0 {
                let key = (known.secret.hash_one(&used), used.len());
                assert_eq!(known.with(|counts| counts.get(key)), Some(count), "after {n}");
            }
            let (newer, older) = sizes(&known);
            assert!(newer + older <= MOST, "{newer} + {older}");
        }
        assert_eq!(known.with(|counts| counts.get((0, 0))), None, "long unused");
    }
}
