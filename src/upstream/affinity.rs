//! Which key a session belongs to.
//!
//! Providers keep their prompt caches apart by account, so a conversation is read anew, and paid
//! in full, whenever it comes with another key. By rendezvous hashing a session has an order of
//! preference over the keys that follows from the session and the keys alone: every replica comes
//! to the same one without a word to the others, after a restart too, and a key that is added or
//! taken away moves only the sessions that it gets or had.

use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

/// A session, as a number that is the same on every machine and in every build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session(u64);

impl Session {
    /// The session with this id.
    pub fn of(id: &[u8]) -> Self {
        Self(short(Sha256::digest(id).into()))
    }

    /// The places of `keys` (see [`short`]), the one that this session likes best first.
    pub(super) fn order(self, keys: impl Iterator<Item = u64>) -> SmallVec<[usize; 8]> {
        let mut ranked: SmallVec<[(u64, usize); 8]> =
            keys.enumerate().map(|(at, key)| (mix(self.0 ^ mix(key)), at)).collect();
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        ranked.into_iter().map(|(_, at)| at).collect()
    }
}

/// The first eight bytes of a digest.
pub(super) fn short(digest: [u8; 32]) -> u64 {
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Spreads what differs in one bit over all of them: the last step of SplitMix64.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many sessions as a fixed list has.
    const SESSIONS: usize = 10_000;

    fn key(name: &str) -> u64 {
        short(Sha256::digest(name).into())
    }

    /// The favourite of every session.
    fn favourites(keys: &[&str]) -> Vec<String> {
        let session = |n: usize| Session::of(format!("session-{n}").as_bytes());
        let best = |n| session(n).order(keys.iter().map(|k| key(k)))[0];
        (0..SESSIONS).map(|n| keys[best(n)].to_owned()).collect()
    }

    #[test]
    fn replicas_of_any_build_agree() {
        let session = Session::of(b"5b5b2e0e-7a0c-4c35-9d0e-2f1d6ac7a001");
        let order = session.order(["sk-a", "sk-b", "sk-c", "sk-d"].map(key).into_iter());
        // Worked out by another program. Another order moves the sessions of all users.
        assert_eq!(order.as_slice(), [3, 1, 2, 0]);
    }

    #[test]
    fn sessions_spread_evenly() {
        for keys in [&["a", "b"][..], &["a", "b", "c", "d", "e", "f", "g"]] {
            let favourites = favourites(keys);
            let even = SESSIONS / keys.len();
            for key in keys {
                let share = favourites.iter().filter(|f| f == key).count();
                assert!(
                    share.abs_diff(even) < even / 10,
                    "{key}: {share} of {SESSIONS}, {} keys",
                    keys.len()
                );
            }
        }
    }

    #[test]
    fn a_key_more_or_less_moves_its_own_sessions_alone() {
        let (four, five) = (favourites(&["a", "b", "c", "d"]), favourites(&["d", "e", "b", "a", "c"]));
        let moved = four.iter().zip(&five).filter(|(before, after)| before != after);
        assert!(moved.clone().all(|(_, after)| after == "e"));
        let (moved, even) = (moved.count(), SESSIONS / 5);
        assert!(moved.abs_diff(even) < even / 10, "{moved}");
    }

    #[test]
    fn the_order_has_each_key_once() {
        for count in 0..20 {
            let mut order = Session::of(b"s").order((0..count).map(|n| n * 7));
            order.sort_unstable();
            assert!(order.iter().copied().eq(0..count as usize));
        }
    }
}
