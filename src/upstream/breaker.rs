//! When something that keeps failing rests. Pure: the clock and the luck are passed in.

use std::time::{Duration, Instant};

/// The longest rest, before luck.
pub const LONGEST: Duration = Duration::from_secs(300);
/// The longest that an upstream's own word is believed.
const BELIEVED: Duration = Duration::from_secs(3600);

/// Counts the faults of a provider or of a key, and says when it may be asked.
///
/// After `limit` faults in a row it rests: `first`, the next time twice that, then three times,
/// [`LONGEST`] at most, and up to a tenth more by luck. After the rest one request may try; if
/// that fails it rests again, if it succeeds all is forgotten.
#[derive(Debug, Clone)]
pub struct Breaker {
    limit: u32,
    first: Duration,
    faults: u32,
    rests: u32,
    until: Option<Instant>,
    probed: bool,
}

/// Whether a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Yes.
    Free,
    /// Yes, and it is the only one until it is known how it fared.
    Probe,
    /// No.
    Rests,
}

impl Breaker {
    /// One that rests after `limit` faults in a row, `first` for the first time.
    pub fn new(limit: u32, first: Duration) -> Self {
        Self { limit, first, faults: 0, rests: 0, until: None, probed: false }
    }

    /// What [`Breaker::enter`] would say.
    pub fn look(&self, now: Instant) -> Entry {
        match self.until {
            None => Entry::Free,
            Some(until) if now < until || self.probed => Entry::Rests,
            Some(_) => Entry::Probe,
        }
    }

    /// A request wants to go. After [`Entry::Probe`] tell how it fared: with
    /// [`Breaker::succeed`], [`Breaker::fail`] or [`Breaker::forget`].
    pub fn enter(&mut self, now: Instant) -> Entry {
        let entry = self.look(now);
        self.probed |= entry == Entry::Probe;
        entry
    }

    /// When it may be asked again; none: now. A probe that is under way is no rest.
    pub fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }

    /// A rest is over, and nothing went well since.
    pub fn has_rested(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Something went well.
    pub fn succeed(&mut self) {
        *self = Self::new(self.limit, self.first);
    }

    /// The probe ended without telling: the next one may try.
    pub fn forget(&mut self) {
        self.probed = false;
    }

    /// A fault, and for how long to rest if the upstream said so. Gives the length of the rest
    /// if one begins now.
    ///
    /// Requests that were under way when the rest began do not make it longer, but a later end
    /// that the upstream itself names does.
    pub fn fail(&mut self, now: Instant, told: Option<Duration>, luck: f64) -> Option<Duration> {
        self.faults = self.faults.saturating_add(1);
        let told = told.map(|told| told.min(BELIEVED));
        if let Some(until) = self.rests_until(now) {
            self.until = told.map(|told| now + told).max(Some(until));
            return None;
        }
        self.probed = false;
        if self.faults < self.limit {
            return None;
        }
        self.rests = self.rests.saturating_add(1);
        let rest = told.unwrap_or_else(|| {
            let grown = self.first.saturating_mul(self.rests).min(LONGEST.max(self.first));
            grown + grown.mul_f64(0.1 * luck.clamp(0.0, 1.0))
        });
        self.until = Some(now + rest);
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// A clock that starts at nothing.
    fn at() -> impl Fn(u32) -> Instant {
        let zero = Instant::now();
        move |seconds| zero + S * seconds
    }

    #[test]
    fn five_in_a_row_are_one_rest_and_one_probe() {
        let at = at();
        let mut b = Breaker::new(5, 30 * S);
        for n in 0..4 {
            assert_eq!(b.fail(at(n), None, 0.0), None);
            assert_eq!(b.enter(at(n)), Entry::Free);
        }
        b.succeed();
        for n in 0..4 {
            assert_eq!(b.fail(at(n), None, 0.0), None, "a success breaks the row");
        }
        assert_eq!(b.fail(at(10), None, 0.0), Some(30 * S));
        // Those that were under way change nothing.
        assert_eq!(b.fail(at(11), None, 1.0), None);
        for (now, entry) in [(10, Entry::Rests), (39, Entry::Rests), (40, Entry::Probe), (41, Entry::Rests)] {
            assert_eq!((now, b.enter(at(now))), (now, entry));
        }
        assert_eq!(b.rests_until(at(39)), Some(at(40)));
        assert_eq!(b.rests_until(at(41)), None, "a probe is under way");
        // The probe's client left: another may try.
        b.forget();
        assert_eq!([b.enter(at(42)), b.enter(at(42))], [Entry::Probe, Entry::Rests]);
        b.succeed();
        assert_eq!([b.enter(at(43)), b.enter(at(43))], [Entry::Free, Entry::Free]);
        assert_eq!(b.fail(at(44), None, 0.0), None, "all is forgotten");
    }

    #[test]
    fn rests_grow_to_a_cap_and_luck_only_adds() {
        let at = at();
        for (luck, tenth) in [(0.0, 0), (1.0, 1), (7.0, 1), (-1.0, 0)] {
            let mut b = Breaker::new(1, 30 * S);
            let mut now = 0;
            for n in 1..=12u32 {
                let want = (30 * n).min(300);
                assert_eq!(b.fail(at(now), None, luck), Some(S * want + S * want * tenth / 10), "{n}");
                now += 1000;
                assert_eq!(b.enter(at(now)), Entry::Probe);
            }
        }
    }

    #[test]
    fn the_upstreams_own_word_counts() {
        let at = at();
        let mut b = Breaker::new(1, 30 * S);
        assert_eq!(b.fail(at(0), Some(7 * S), 1.0), Some(7 * S));
        assert_eq!(b.look(at(6)), Entry::Rests);
        // A later word makes it longer, an earlier one not shorter.
        assert_eq!(b.fail(at(1), Some(9 * S), 0.0), None);
        assert_eq!(b.fail(at(2), Some(S), 0.0), None);
        assert_eq!((b.look(at(9)), b.look(at(10))), (Entry::Rests, Entry::Probe));
        assert_eq!(b.enter(at(10)), Entry::Probe);
        assert_eq!(b.fail(at(11), Some(100_000 * S), 0.0), Some(3600 * S), "nobody waits for a day");
        let mut b = Breaker::new(1, 30 * S);
        assert_eq!(b.fail(at(0), Some(Duration::ZERO), 0.0), Some(Duration::ZERO));
        assert_eq!(b.enter(at(0)), Entry::Probe);
    }
}
