//! How providers and their keys fare, over all workers and from one configuration to the next.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

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
            let digest = Sha256::digest(key.expose().as_bytes()).into();
            Arc::clone(all.entry(digest).or_insert_with(|| Arc::new(Mark::new(1, self.first_rest))))
        };
        let keys = provider.keys.iter().map(mark).collect();
        drop(all);
        ProviderHealth { name: provider.name.clone(), shared, keys }
    }
}

/// How one provider of a configuration and its keys fare.
#[derive(Debug, Clone)]
pub struct ProviderHealth {
    name: String,
    shared: Arc<Shared>,
    /// In the order of the configuration.
    keys: Vec<Arc<Mark>>,
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

    /// When [`ProviderHealth::enter`] may say yes; `now` if only a probe stands in the way.
    pub fn rests_until(&self, now: Instant) -> Instant {
        let key = self.keys.iter().map(|key| key.rests_until(now)).min().unwrap_or(now);
        key.max(self.shared.provider.rests_until(now))
    }

    /// The provider itself has failed too often of late.
    pub fn is_resting(&self, now: Instant) -> bool {
        self.shared.provider.rests_until(now) > now
    }

    /// Somebody who asks now has a chance: the provider does not rest, and of one key at least
    /// it is not known that it is refused. A rate limit is no reason to send clients elsewhere.
    pub fn is_usable(&self, now: Instant) -> bool {
        let good = |key: &Arc<Mark>| key.limited.load(Ordering::Relaxed) || key.rests_until(now) <= now;
        !self.is_resting(now) && self.keys.iter().any(good)
    }

    /// The next key in turn that does not rest and is none of `tried`.
    pub fn next_key(&self, now: Instant, tried: &[usize]) -> Option<Turn> {
        let count = self.keys.len();
        let from = if count > 1 { self.shared.turn.fetch_add(1, Ordering::Relaxed) } else { 0 };
        (0..count).map(|n| from.wrapping_add(n) % count).filter(|at| !tried.contains(at)).find_map(|index| {
            let key = self.keys.get(index)?;
            let lease = key.enter(now, || Probe::Key(Arc::clone(key)))?;
            Some(Turn { index, _lease: lease })
        })
    }

    /// The key whose rest ends first: for when all of them rest.
    pub fn best_key(&self, now: Instant) -> Turn {
        let ends = self.keys.iter().enumerate().min_by_key(|(_, key)| key.rests_until(now));
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

    /// An attempt with that key failed. `luck` is a random number from 0 to 1.
    pub fn fail(&self, index: usize, sign: &Sign, now: Instant, luck: f64) {
        let name = &self.name;
        if sign.is_of_the_provider() {
            if let Some(rest) = self.shared.provider.fail(now, None, luck) {
                let seconds = rest.as_secs_f32();
                tracing::warn!(provider = %name, seconds, "the provider keeps failing and rests");
            }
            return;
        }
        if sign.what == What::Unsendable {
            return;
        }
        // Whatever it says, it is there.
        self.shared.provider.succeed();
        let Some(key) = self.keys.get(index) else { return };
        let What::Refused(status) = sign.what else { return };
        if !sign.is_of_the_key() {
            key.succeed();
            return;
        }
        key.limited.store(status == 429, Ordering::Relaxed);
        let told = sign.retry_after.filter(|_| status == 429);
        if let Some(rest) = key.fail(now, told, luck) {
            // By its place: a key is not shown, not even in part.
            let (key, seconds) = (index + 1, rest.as_secs_f32());
            tracing::warn!(provider = %name, key, status, seconds, "the key was refused and rests");
        }
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

    /// `now` if it does not rest.
    fn rests_until(&self, now: Instant) -> Instant {
        if self.is_well() {
            return now;
        }
        lock(&self.breaker).rests_until(now).unwrap_or(now)
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
