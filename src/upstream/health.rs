//! How providers and their keys fare, over all workers and from one configuration to the next.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::affinity::{Session, short};
use super::breaker::{Breaker, Entry};
use super::retry::{Sign, What};
use crate::config::{Provider, Secret};

/// Faults in a row after which a provider rests.
const PROVIDER_LIMIT: u32 = 5;
/// The first rest of a provider or a key.
const FIRST_REST: Duration = Duration::from_secs(30);
/// More providers than this are not remembered when no configuration names them any more.
const REMEMBERED: usize = 1000;

/// What is remembered of every provider, by its name and `base_url`, and of every key, by a
/// digest: who stays in the configuration stays known when it is read again.
#[derive(Debug)]
pub struct Health {
    first_rest: Duration,
    known: Mutex<HashMap<(String, String), Arc<Shared>>>,
}

/// One provider, over all workers.
#[derive(Debug)]
struct Shared {
    provider: Mark,
    /// How many requests took a key.
    turn: AtomicUsize,
    keys: Mutex<HashMap<[u8; 32], Arc<Mark>>>,
}

/// A [`Breaker`] that costs one atomic read as long as all is well.
#[derive(Debug)]
struct Mark {
    troubled: AtomicBool,
    /// The last fault was a 429.
    limited: AtomicBool,
    breaker: Mutex<Breaker>,
}

impl Default for Health {
    fn default() -> Self {
        Self::resting_for(FIRST_REST)
    }
}

impl Health {
    /// With another first rest than 30 s.
    pub fn resting_for(first_rest: Duration) -> Self {
        Self { first_rest, known: Mutex::default() }
    }

    /// How this provider and its keys fare.
    pub fn of(&self, provider: &Provider) -> ProviderHealth {
        let id = (provider.name.clone(), provider.base_url.clone());
        let mut known = lock(&self.known);
        if known.len() >= REMEMBERED {
            known.retain(|_, shared| Arc::strong_count(shared) > 1);
        }
        let new = || {
            let provider = Mark::new(PROVIDER_LIMIT, self.first_rest);
            Arc::new(Shared { provider, turn: AtomicUsize::new(0), keys: Mutex::default() })
        };
        let shared = Arc::clone(known.entry(id).or_insert_with(new));
        drop(known);
        let mut all = lock(&shared.keys);
        if all.len() >= REMEMBERED {
            all.retain(|_, mark| Arc::strong_count(mark) > 1);
        }
        let mark = |key: &Secret| {
            let digest: [u8; 32] = Sha256::digest(key.expose().as_bytes()).into();
            let new = || Arc::new(Mark::new(1, self.first_rest));
            (Arc::clone(all.entry(digest).or_insert_with(new)), short(digest))
        };
        let (keys, ids) = provider.keys.iter().map(mark).unzip();
        drop(all);
        ProviderHealth { name: provider.name.clone(), shared, keys, ids }
    }
}

/// How one provider of a configuration and its keys fare.
#[derive(Debug, Clone)]
pub struct ProviderHealth {
    name: String,
    shared: Arc<Shared>,
    /// In the order of the configuration.
    keys: Vec<Arc<Mark>>,
    /// What sessions know each of them by.
    ids: Vec<u64>,
}

/// A rest. The smaller one leaves more hope: a limit passes, a refused key seldom gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rest {
    /// It is a key's, which was refused for another reason than a limit.
    pub refused: bool,
    /// When it is over; now, if only a probe is waited for.
    pub until: Instant,
}

/// How a provider fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// It rests until then.
    pub until: Option<Instant>,
    /// Its rest is over, and it is not known yet whether that helped.
    pub probing: bool,
    /// Its keys, in the order of the configuration.
    pub keys: Vec<KeyState>,
}

/// How a key fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyState {
    /// It was refused for another reason than a limit.
    pub refused: bool,
    /// It rests until then.
    pub until: Option<Instant>,
    /// Its rest is over, and it is not known yet whether that helped.
    pub probing: bool,
}

/// Who begins to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rests {
    /// The provider, after faults in a row.
    Provider,
    /// One of its keys, which was refused.
    Key,
}

/// A request is under way, perhaps the one that finds out whether a rest is over. Dropping it
/// without a word on how it went lets the next one try.
#[derive(Debug, Default)]
pub struct Lease(Option<Probe>);

#[derive(Debug)]
enum Probe {
    Provider(Arc<Shared>),
    Key(Arc<Mark>),
}

impl Drop for Lease {
    fn drop(&mut self) {
        match &self.0 {
            Some(Probe::Provider(shared)) => lock(&shared.provider.breaker).forget(),
            Some(Probe::Key(mark)) => lock(&mark.breaker).forget(),
            None => {}
        }
    }
}

/// One of a provider's keys, taken for an attempt.
#[derive(Debug)]
pub struct Turn {
    /// Its place among the provider's keys.
    pub index: usize,
    _lease: Lease,
}

impl ProviderHealth {
    /// May the provider be asked? None: it rests, or all its keys do.
    pub fn enter(&self, now: Instant) -> Option<Lease> {
        if !self.keys.iter().any(|key| key.may_enter(now)) {
            return None;
        }
        let provider = &self.shared.provider;
        provider.enter(now, || Probe::Provider(Arc::clone(&self.shared)))
    }

    /// Why [`ProviderHealth::enter`] says no.
    pub fn rest(&self, now: Instant) -> Rest {
        let key = self.keys.iter().map(|key| key.rest(now)).min();
        let Rest { refused, until } = key.unwrap_or(Rest { refused: false, until: now });
        Rest { refused, until: until.max(self.shared.provider.rests_until(now)) }
    }

    /// How the provider and its keys fare, for people.
    pub fn state(&self, now: Instant) -> State {
        let provider = &self.shared.provider;
        let key = |mark: &Arc<Mark>| {
            let Rest { refused, until } = mark.rest(now);
            KeyState { refused, until: (until > now).then_some(until), probing: mark.is_probed(now) }
        };
        let until = provider.rests_until(now);
        State {
            until: (until > now).then_some(until),
            probing: provider.is_probed(now),
            keys: self.keys.iter().map(key).collect(),
        }
    }

    /// The provider itself has failed too often of late.
    pub fn is_resting(&self, now: Instant) -> bool {
        self.shared.provider.rests_until(now) > now
    }

    /// Somebody who asks now has a chance: the provider does not rest, and of one key at least
    /// it is not known that it is refused. A rate limit is no reason to send clients elsewhere.
    pub fn is_usable(&self, now: Instant) -> bool {
        !self.is_resting(now) && self.keys.iter().any(|key| !key.rest(now).refused)
    }

    /// The key that the session likes best of those that do not rest and are none of `tried`;
    /// without a session the next one in turn.
    pub fn next_key(&self, now: Instant, tried: &[usize], session: Option<Session>) -> Option<Turn> {
        let take = |index: usize| {
            let key = self.keys.get(index).filter(|_| !tried.contains(&index))?;
            let lease = key.enter(now, || Probe::Key(Arc::clone(key)))?;
            Some(Turn { index, _lease: lease })
        };
        match (self.keys.len(), session) {
            (0 | 1, _) => take(0),
            (_, Some(session)) => session.order(self.ids.iter().copied()).into_iter().find_map(take),
            (count, None) => {
                let from = self.shared.turn.fetch_add(1, Ordering::Relaxed);
                (0..count).map(|n| from.wrapping_add(n) % count).find_map(take)
            }
        }
    }

    /// The key that is likeliest to work when all of them rest.
    pub fn best_key(&self, now: Instant) -> Turn {
        let ends = self.keys.iter().enumerate().min_by_key(|(_, key)| key.rest(now));
        Turn { index: ends.map_or(0, |(index, _)| index), _lease: Lease::default() }
    }

    /// Whether [`ProviderHealth::next_key`] would find one.
    pub fn has_other_key(&self, now: Instant, tried: &[usize]) -> bool {
        self.keys.iter().enumerate().any(|(at, key)| !tried.contains(&at) && key.may_enter(now))
    }

    /// An attempt with that key went well.
    pub fn succeed(&self, index: usize) {
        self.shared.provider.succeed();
        if let Some(key) = self.keys.get(index) {
            key.succeed();
        }
    }

    /// An attempt with that key failed. `luck` is a random number from 0 to 1. Gives who begins to
    /// rest for it.
    pub fn fail(&self, index: usize, sign: &Sign, now: Instant, luck: f64) -> Option<Rests> {
        let name = &self.name;
        if sign.is_of_the_provider() {
            let rest = self.shared.provider.fail(now, None, luck)?;
            let seconds = rest.as_secs_f32();
            tracing::warn!(provider = %name, seconds, "the provider keeps failing and rests");
            return Some(Rests::Provider);
        }
        if sign.what == What::Unsendable {
            return None;
        }
        // Whatever it says, it is there.
        self.shared.provider.succeed();
        let key = self.keys.get(index)?;
        let What::Refused(status) = sign.what else { return None };
        if !sign.is_of_the_key() {
            key.succeed();
            return None;
        }
        key.limited.store(status == 429, Ordering::Relaxed);
        let told = sign.retry_after.filter(|_| status == 429);
        let rest = key.fail(now, told, luck)?;
        // By its place: a key is not shown, not even in part.
        let (key, seconds) = (index + 1, rest.as_secs_f32());
        tracing::warn!(provider = %name, key, status, seconds, "the key was refused and rests");
        Some(Rests::Key)
    }
}

impl Mark {
    fn new(limit: u32, first_rest: Duration) -> Self {
        Self {
            troubled: AtomicBool::new(false),
            limited: AtomicBool::new(false),
            breaker: Mutex::new(Breaker::new(limit, first_rest)),
        }
    }

    fn is_well(&self) -> bool {
        !self.troubled.load(Ordering::Acquire)
    }

    fn may_enter(&self, now: Instant) -> bool {
        self.is_well() || lock(&self.breaker).look(now) != Entry::Rests
    }

    fn enter(&self, now: Instant, probe: impl FnOnce() -> Probe) -> Option<Lease> {
        if self.is_well() {
            return Some(Lease::default());
        }
        match lock(&self.breaker).enter(now) {
            Entry::Free => Some(Lease::default()),
            Entry::Probe => Some(Lease(Some(probe()))),
            Entry::Rests => None,
        }
    }

    /// It has rested, and nothing went well since.
    fn is_probed(&self, now: Instant) -> bool {
        !self.is_well() && lock(&self.breaker).has_rested(now)
    }

    /// `now` if it does not rest.
    fn rests_until(&self, now: Instant) -> Instant {
        if self.is_well() {
            return now;
        }
        lock(&self.breaker).rests_until(now).unwrap_or(now)
    }

    fn rest(&self, now: Instant) -> Rest {
        let until = self.rests_until(now);
        Rest { refused: until > now && !self.limited.load(Ordering::Relaxed), until }
    }

    fn succeed(&self) {
        if !self.is_well() {
            let mut breaker = lock(&self.breaker);
            breaker.succeed();
            self.troubled.store(false, Ordering::Release);
        }
    }

    fn fail(&self, now: Instant, told: Option<Duration>, luck: f64) -> Option<Duration> {
        let mut breaker = lock(&self.breaker);
        self.troubled.store(true, Ordering::Release);
        breaker.fail(now, told, luck)
    }
}

/// A panic elsewhere leaves numbers that are as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn provider(name: &str, base: &str, keys: &[&str]) -> Provider {
        Provider {
            name: name.to_owned(),
            base_url: base.to_owned(),
            api: crate::config::Api::OpenAi,
            completions_url: String::new(),
            models_url: String::new(),
            keys: keys.iter().map(|k| Secret::new(*k)).collect(),
            headers: Vec::new(),
            roots: None,
            proxy: None,
        }
    }

    fn sign(what: What) -> Sign {
        Sign { what, retry_after: None, should_retry: None }
    }

    fn keys_in_turn(health: &ProviderHealth, now: Instant, count: usize) -> Vec<usize> {
        (0..count).map(|_| health.next_key(now, &[], None).unwrap().index).collect()
    }

    #[test]
    fn keys_are_used_in_turn_over_all_workers() {
        let health = Health::default();
        let now = Instant::now();
        let (one, other) = (
            health.of(&provider("p", "b", &["a", "b", "c"])),
            health.of(&provider("p", "b", &["a", "b", "c"])),
        );
        assert_eq!(keys_in_turn(&one, now, 2), [0, 1]);
        assert_eq!(keys_in_turn(&other, now, 3), [2, 0, 1]);
        assert_eq!(one.next_key(now, &[2, 0], None).unwrap().index, 1);
        assert!(one.next_key(now, &[2, 0, 1], None).is_none() && !one.has_other_key(now, &[0, 1, 2]));
    }

    #[test]
    fn a_key_rests_alone() {
        for status in [401, 402, 403, 429] {
            let health = Health::default().of(&provider("p", "b", &["a", "b"]));
            let now = Instant::now();
            let refused = sign(What::Refused(status));
            assert_eq!(health.fail(0, &refused, now, 0.0), Some(Rests::Key));
            assert_eq!(health.fail(0, &refused, now, 0.0), None, "it rests already");
            assert_eq!(keys_in_turn(&health, now + 29 * S, 3), [1, 1, 1], "{status}");
            assert!(health.enter(now).is_some() && !health.is_resting(now));
            // After the rest one request tries it.
            let probe = health.next_key(now + 30 * S, &[1], None).unwrap();
            assert_eq!(probe.index, 0);
            assert!(health.next_key(now + 31 * S, &[1], None).is_none(), "a probe is under way");
            drop(probe);
            assert_eq!(health.next_key(now + 31 * S, &[1], None).unwrap().index, 0);
        }
    }

    #[test]
    fn a_session_stays_with_its_key_and_comes_back_to_it() {
        let keys = ["a", "b", "c"];
        // Two replicas; the other one has the keys in another order.
        let here = Health::default().of(&provider("p", "b", &keys));
        let there = Health::default().of(&provider("q", "d", &["c", "a", "b"]));
        let now = Instant::now();
        for n in 0..50 {
            let session = Some(Session::of(format!("s{n}").as_bytes()));
            let take = |now, tried: &[usize]| here.next_key(now, tried, session).unwrap().index;
            let (first, second) = (take(now, &[]), take(now, &[take(now, &[])]));
            assert!((0..5).all(|_| take(now, &[]) == first) && first != second);
            let same = there.next_key(now, &[], session).unwrap().index;
            assert_eq!(keys[first], ["c", "a", "b"][same]);
            // While it rests the next best, always the same one; then back.
            let later = now + n * 1000 * S;
            here.fail(first, &sign(What::Refused(429)), later, 0.0);
            assert!((0..5).all(|_| take(later, &[]) == second));
            assert_eq!(take(later + 500 * S, &[]), first);
            here.succeed(first);
            assert_eq!(take(later + 500 * S, &[]), first);
        }
        // Those that like another key do not notice.
        let favourite = |n: u8, now| here.next_key(now, &[], Some(Session::of(&[n]))).unwrap().index;
        let before: Vec<usize> = (0..200).map(|n| favourite(n, now)).collect();
        let later = now + 100_000 * S;
        here.fail(1, &sign(What::Refused(401)), later, 0.0);
        for (n, before) in (0..).zip(before) {
            let after = favourite(n, later);
            assert!(if before == 1 { after != 1 } else { after == before });
        }
    }

    #[test]
    fn a_rate_limit_rests_as_long_as_it_says() {
        let health = Health::default().of(&provider("p", "b", &["a"]));
        let now = Instant::now();
        health.fail(0, &Sign { retry_after: Some(7 * S), ..sign(What::Refused(429)) }, now, 1.0);
        assert!(health.enter(now + 6 * S).is_none(), "all its keys rest");
        assert_eq!(health.rest(now), Rest { refused: false, until: now + 7 * S });
        assert!(health.enter(now + 7 * S).is_some());
        // A refused key's word on when to come back means nothing.
        let health = Health::default().of(&provider("p", "b", &["a"]));
        health.fail(0, &Sign { retry_after: Some(7 * S), ..sign(What::Refused(401)) }, now, 0.0);
        assert!(health.enter(now + 29 * S).is_none());
    }

    #[test]
    fn five_faults_rest_the_provider_and_one_request_finds_out() {
        for what in [
            What::Unreached { late: false },
            What::Unreached { late: true },
            What::Late,
            What::Broken,
            What::Refused(500),
            What::Refused(503),
            What::Refused(529),
        ] {
            let health = Health::default().of(&provider("p", "b", &["a"]));
            let now = Instant::now();
            for n in 1..=5 {
                assert!(health.enter(now).is_some() && health.is_usable(now));
                let rests = health.fail(0, &sign(what), now, 0.0);
                assert_eq!(rests, (n == 5).then_some(Rests::Provider), "{what:?}, {n}");
            }
            assert!(health.enter(now + 29 * S).is_none() && !health.is_usable(now + 29 * S), "{what:?}");
            assert!(health.is_usable(now + 30 * S));
            let probe = health.enter(now + 30 * S);
            assert!(probe.is_some() && health.enter(now + 30 * S).is_none());
            // It fails: twice as long. Its client leaves: the next one tries. It succeeds.
            health.fail(0, &sign(what), now + 31 * S, 0.0);
            drop(probe);
            assert!(health.enter(now + 90 * S).is_none());
            drop(health.enter(now + 91 * S).unwrap());
            let probe = health.enter(now + 92 * S);
            assert!(probe.is_some());
            health.succeed(0);
            assert!(health.enter(now + 92 * S).is_some() && health.enter(now + 92 * S).is_some());
        }
    }

    #[test]
    fn what_a_provider_says_of_a_request_or_key_is_no_fault_of_its_own() {
        for status in [400, 401, 403, 404, 413, 422, 429] {
            let health = Health::default().of(&provider("p", "b", &["a"]));
            let now = Instant::now();
            for _ in 0..4 {
                health.fail(0, &sign(What::Refused(503)), now, 0.0);
            }
            health.fail(0, &sign(What::Refused(status)), now, 0.0);
            health.fail(0, &sign(What::Refused(503)), now, 0.0);
            assert!(!health.is_resting(now), "{status}");
        }
        let health = Health::default().of(&provider("p", "b", &["a"]));
        let now = Instant::now();
        for _ in 0..9 {
            health.fail(0, &sign(What::Unsendable), now, 0.0);
        }
        assert!(health.enter(now).is_some(), "what was never sent tells nothing");
    }

    #[test]
    fn when_all_rest_the_first_to_wake_is_the_best() {
        let health = Health::default().of(&provider("p", "b", &["a", "b"]));
        let now = Instant::now();
        let limited = |wait| Sign { retry_after: Some(wait), ..sign(What::Refused(429)) };
        health.fail(0, &limited(60 * S), now, 0.0);
        health.fail(1, &limited(20 * S), now, 0.0);
        assert!(health.next_key(now, &[], None).is_none() && health.enter(now).is_none());
        assert_eq!((health.best_key(now).index, health.rest(now).until), (1, now + 20 * S));
        // Rate limits are no reason to send clients elsewhere, refused keys are.
        assert!(health.is_usable(now));
        health.fail(0, &sign(What::Refused(401)), now + 100 * S, 0.0);
        assert!(health.is_usable(now + 100 * S));
        // A limit that lasts longer is still the better choice.
        health.fail(1, &limited(500 * S), now + 100 * S, 0.0);
        assert_eq!(health.best_key(now + 100 * S).index, 1);
        let now = now + 500 * S;
        health.fail(0, &sign(What::Refused(401)), now + 100 * S, 0.0);
        health.fail(1, &sign(What::Refused(401)), now + 100 * S, 0.0);
        assert!(!health.is_usable(now + 101 * S) && health.is_usable(now + 200 * S));
    }

    #[test]
    fn who_stays_in_the_configuration_stays_known() {
        let all = Health::default();
        let now = Instant::now();
        let before = all.of(&provider("p", "b", &["a", "b"]));
        before.fail(1, &sign(What::Refused(401)), now, 0.0);
        drop(before);
        // Another order, another key more; another name or address is somebody else.
        let after = all.of(&provider("p", "b", &["b", "c"]));
        assert_eq!(keys_in_turn(&after, now, 2), [1, 1]);
        for (name, base) in [("q", "b"), ("p", "c")] {
            assert!(all.of(&provider(name, base, &["b"])).enter(now).is_some());
        }
        for n in 0..REMEMBERED + 50 {
            drop(all.of(&provider(&n.to_string(), "b", &["b"])));
        }
        assert!(lock(&all.known).len() <= REMEMBERED);
    }
}
