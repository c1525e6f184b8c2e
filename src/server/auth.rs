//! Who may come in.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::budgets::{Account, Standing};
use super::reply::Refusal;
use crate::config::{AK, ANONYMOUS, Allowed, Config, Digest, Model};
use crate::observe::Metrics;
use crate::observe::cost::{Payer, Purse};
use crate::store::spent::Spent;
use crate::wire::anthropic::{ApiError, ErrorKind};

/// The inbound keys: `ak` and those of `keys`, as their digests. Comparing digests of equal length
/// tells neither where two keys differ nor how long the right one is.
#[derive(Clone)]
pub(super) struct Keys {
    all: Arc<[(Digest, Inbound)]>,
    /// Where there are no keys.
    anybody: Inbound,
}

/// Whose a request is.
#[derive(Debug, Clone, Default)]
pub(super) struct Inbound {
    /// The key's name; none: no key is asked for.
    pub(super) name: Option<Arc<str>>,
    /// Stands for the key where it must not be told.
    pub(super) digest: Option<Digest>,
    /// Counts what it asks and spends.
    pub(super) payer: Option<Arc<Payer>>,
    /// What it may spend; none: nobody notes that.
    account: Option<Arc<Account>>,
    models: Allowed,
}

impl Keys {
    /// `spent` is where it is noted what each spends; none: nowhere.
    pub(super) fn new(config: &Config, metrics: &Metrics, spent: Option<&Spent>) -> Self {
        let spent = spent.filter(|_| config.budgets.is_some());
        let per_day = config.budgets.as_ref().and_then(|budgets| budgets.per_day);
        let inbound = |name: &Arc<str>, digest: Option<Digest>, models: &Allowed, budget: Option<u128>| {
            let account = spent.map(|spent| Arc::new(Account::new(name, spent, budget.or(per_day))));
            let purse = account.clone().map(|account| account as Arc<dyn Purse>);
            Inbound {
                name: digest.map(|_| Arc::clone(name)),
                digest,
                payer: Some(Arc::new(Payer { meter: metrics.key(name), purse })),
                account,
                models: models.clone(),
            }
        };
        let everything = Allowed::default();
        let ak = config.ak.as_ref().map(|ak| Digest::of(ak.expose().as_bytes()));
        let ak = ak.map(|digest| (digest, inbound(&AK.into(), Some(digest), &everything, None)));
        let more = config
            .keys
            .iter()
            .map(|key| (key.digest, inbound(&key.name, Some(key.digest), &key.models, key.budget)));
        let all: Arc<[_]> = ak.into_iter().chain(more).collect();
        let nobody = all.is_empty().then(|| inbound(&ANONYMOUS.into(), None, &everything, None));
        Self { all, anybody: nobody.unwrap_or_default() }
    }

    /// How each key stands today, in the order of the file; empty where nobody notes what is spent.
    pub(super) fn standings(&self) -> Vec<Standing> {
        let all = self.all.iter().map(|(_, inbound)| inbound).chain([&self.anybody]);
        all.filter_map(|inbound| Some(inbound.account.as_ref()?.standing())).collect()
    }

    /// Whose key came. Claude Code sends both headers when both of its variables are set, and only
    /// one of them is ours: either is enough. Of two that are ours the first in `Authorization`
    /// counts.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<&Inbound, Refusal> {
        if self.all.is_empty() {
            return Ok(&self.anybody);
        }
        let tokens = headers.get_all(AUTHORIZATION).filter_map(|value| bearer(value.as_bytes()));
        let plain = headers.get_all("x-api-key").map(|value| value.as_bytes().trim_ascii());
        self.find(tokens.chain(plain)).ok_or_else(refused)
    }

    /// Whose key the first of these is that is one of ours.
    pub(super) fn find<'k>(&self, candidates: impl Iterator<Item = &'k [u8]>) -> Option<&Inbound> {
        // The number of the key, from 1. Each is compared with each, found or not.
        let mut found = 0u32;
        for candidate in candidates {
            let candidate = Digest::of(candidate);
            for (number, (digest, _)) in (1..).zip(&*self.all) {
                let is_it = digest.0.ct_eq(&candidate.0) & found.ct_eq(&0);
                found.conditional_assign(&number, is_it);
            }
        }
        let found = (found as usize).checked_sub(1).and_then(|at| self.all.get(at));
        found.map(|(_, inbound)| inbound)
    }

    /// Whose key this is the digest of; the digest is our own, and no guess.
    pub(super) fn known(&self, key: &Digest) -> Option<&Inbound> {
        self.all.iter().find(|(digest, _)| digest == key).map(|(_, inbound)| inbound)
    }

    /// Nobody is asked for a key: who comes is anybody.
    pub(super) fn anybody(&self) -> Option<&Inbound> {
        self.all.is_empty().then_some(&self.anybody)
    }
}

impl Inbound {
    /// It may see what is others': it is `ak`, or there are no keys.
    pub(super) fn sees_all(&self) -> bool {
        self.name.as_deref().is_none_or(|name| name == AK)
    }

    /// Whether this model may be used.
    pub(super) fn may_use(&self, model: &Model) -> bool {
        self.models.has(&model.id)
    }

    /// 429 if it has nothing left to spend today.
    pub(super) fn check_budget(&self) -> Result<(), Refusal> {
        let Some(account) = &self.account else { return Ok(()) };
        account.check().inspect_err(|_| {
            if let Some(payer) = &self.payer {
                payer.meter.refuses();
            }
        })
    }

    /// 403 if it may not. `asked` is the name that led to it.
    pub(super) fn check(&self, model: &Model, asked: &str) -> Result<(), ApiError> {
        if self.may_use(model) {
            return Ok(());
        }
        let key = self.name.as_deref().unwrap_or_default();
        let id = &model.id;
        let asked: String = asked.chars().take(128).filter(|c| !c.is_control()).collect();
        let through = if asked == *id { String::new() } else { format!(" (asked for as `{asked}`)") };
        let message = format!(
            "the key `{key}` may not use the model `{id}`{through}: choose another, of those that /v1/models \
             lists, or ask who runs this proxy (config key `keys[].models`)"
        );
        let mut error = ApiError::new(403, ErrorKind::Permission, message);
        error.should_retry = Some(false);
        Err(error)
    }
}

fn refused() -> Refusal {
    // No word of the header: Claude Code turns a message with "x-api-key" into "please log in".
    let message = "the key for this proxy is missing or wrong (config keys `ak`, `keys`): send it as `authorization: Bearer KEY`, \
                   which is what ANTHROPIC_AUTH_TOKEN does";
    let mut error = ApiError::new(401, ErrorKind::Authentication, message);
    // Else Claude Code tries the same key for three minutes before it shows this.
    error.should_retry = Some(false);
    error.into()
}

/// The token of `Bearer TOKEN`; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Refused keys, as the log tells of them: the first one at once, then how many there were, so
/// that nobody can fill the log by guessing.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<Tally>);

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    since: u64,
    said: Option<Instant>,
}

impl Tally {
    /// One more; how many to tell of, if it is time.
    fn add(&mut self, now: Instant) -> Option<u64> {
        const PAUSE: Duration = Duration::from_secs(10);
        self.since += 1;
        if self.said.is_some_and(|said| now.duration_since(said) < PAUSE) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

impl Failures {
    /// A request was refused. Nothing of what it sent is kept.
    pub(super) fn note(&self, peer: Option<SocketAddr>) {
        let due = self.0.lock().unwrap_or_else(PoisonError::into_inner).add(Instant::now());
        if let Some(count) = due {
            let peer = peer.map(|p| p.ip().to_string()).unwrap_or_default();
            tracing::warn!(count, %peer, "requests without the right key were refused");
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn refused_keys_are_told_of_at_once_and_then_counted() {
        let mut tally = Tally::default();
        let start = Instant::now();
        let at = |tally: &mut Tally, s| tally.add(start + Duration::from_secs(s));
        assert_eq!(at(&mut tally, 0), Some(1));
        assert_eq!((at(&mut tally, 1), at(&mut tally, 9)), (None, None));
        assert_eq!(at(&mut tally, 10), Some(3));
        assert_eq!(at(&mut tally, 11), None);
    }

    use actix_web::http::header::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;

    fn keys(ak: Option<&str>, keys: &[(&str, &str, &[&str])]) -> Keys {
        let keys: Vec<_> = keys
            .iter()
            .map(|(name, key, models)| json!({"name": name, "key": key, "models": models}))
            .collect();
        let mut file = json!({"keys": keys, "providers": [{"base_url": "http://h", "api_key": "",
            "models": [{"id": "glm"}, {"id": "glm-air"}, {"id": "big"}]}]});
        if keys.is_empty() {
            file.as_object_mut().unwrap().remove("keys");
        }
        if let Some(ak) = ak {
            file["ak"] = ak.into();
        }
        let checked = crate::config::check(&file.to_string(), &|_| Err(std::env::VarError::NotPresent));
        Keys::new(&checked.config.unwrap(), &Metrics::default(), None)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn each_key_has_its_name() {
        let keys = keys(Some("sesame"), &[("alice", "open-a", &["glm*"]), ("bob", "open-b", &["big"])]);
        let who = |pairs: &[(&'static str, &str)]| {
            keys.check(&headers(pairs)).ok().map(|inbound| inbound.name.as_deref().unwrap().to_owned())
        };
        for (key, name) in [("sesame", AK), ("open-a", "alice"), ("open-b", "bob")] {
            assert_eq!(who(&[("x-api-key", key)]).as_deref(), Some(name));
            assert_eq!(who(&[("authorization", &format!("Bearer {key}"))]).as_deref(), Some(name));
            assert_eq!(
                who(&[("x-api-key", "left-over"), ("authorization", &format!("Bearer {key}"))]).as_deref(),
                Some(name)
            );
        }
        assert_eq!(
            who(&[("x-api-key", "open-a"), ("authorization", "Bearer open-b")]).as_deref(),
            Some("bob")
        );
        assert_eq!(who(&[("x-api-key", "open-c")]), None);
        assert_eq!(who(&[]), None);
        assert!(
            keys.check(&headers(&[("x-api-key", "open-a")]))
                .is_ok_and(|a| a.digest == Some(Digest::of(b"open-a")))
        );
    }

    #[test]
    fn without_keys_everybody_is_nobody() {
        let keys = keys(None, &[]);
        let anybody = keys.check(&headers(&[("x-api-key", "whatever")])).unwrap();
        assert!(anybody.name.is_none() && anybody.digest.is_none() && anybody.models.is_all());
    }

    #[test]
    fn either_header_is_enough() {
        let keys = keys(Some("sesame"), &[]);
        let ok = |pairs: &[(&'static str, &str)]| keys.check(&headers(pairs)).is_ok();
        for scheme in ["Bearer", "bearer", "BEARER"] {
            assert!(ok(&[("authorization", &format!("{scheme} sesame"))]), "{scheme}");
        }
        assert!(ok(&[("x-api-key", "sesame")]));
        assert!(ok(&[("x-api-key", "sk-ant-left-over"), ("authorization", "Bearer sesame")]));
        assert!(ok(&[("x-api-key", "sesame"), ("authorization", "Bearer left-over")]));
        for wrong in ["sesam", "sesamee", "", "Sesame"] {
            assert!(!ok(&[("x-api-key", wrong)]), "{wrong}");
        }
        assert!(!ok(&[]));
        assert!(!ok(&[("authorization", "sesame")]));
        assert!(!ok(&[("authorization", "Basic sesame")]));
        assert!(!ok(&[("authorization", "Bearer")]));
    }
}
