//! Who can be asked: the providers of a configuration, ready for one worker.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use actix_web::http::header::HeaderValue;

use super::app::Shared;
use crate::config::{Model, Provider};
use crate::upstream::health::{Lease, ProviderHealth, Rest};
use crate::upstream::{Client, Endpoint, Fault, Session};
use crate::wire::anthropic::{ApiError, ErrorKind};

/// One provider.
pub(super) struct Upstream {
    provider: Arc<Provider>,
    client: Client,
    /// One for each key, in the order of the configuration.
    endpoints: Vec<Result<Endpoint, ApiError>>,
    pub(super) health: ProviderHealth,
    /// Its name, as `x-claude-proxy-provider` tells it.
    pub(super) shown: Option<HeaderValue>,
}

/// All providers of a configuration.
pub(super) struct Upstreams(Vec<Upstream>);

impl Upstreams {
    /// `before`: those of the configuration before. Connections that this one would open in the
    /// same way are used further; the others end with their requests.
    pub(super) fn new(shared: &Shared, before: Option<&Self>) -> Self {
        let Shared { config, health, .. } = shared;
        let mut all: Vec<Upstream> = Vec::new();
        for Model { provider, .. } in config.models.iter().map(|m| &**m) {
            if all.iter().any(|u| Arc::ptr_eq(&u.provider, provider)) {
                continue;
            }
            let client = client(shared, provider, before);
            let told = |fault: Fault| fault.api_error(&provider.name);
            all.push(Upstream {
                endpoints: provider
                    .keys
                    .iter()
                    .map(|key| client.endpoint(provider, key).map_err(told))
                    .collect(),
                health: health.of(provider),
                shown: HeaderValue::from_str(&printable(&provider.name)).ok(),
                provider: Arc::clone(provider),
                client,
            });
        }
        Self(all)
    }

    /// Which of them rest now.
    pub(super) fn resting(&self, now: Instant) -> impl Iterator<Item = (&Provider, bool)> {
        self.0.iter().map(move |u| (&*u.provider, u.health.is_resting(now)))
    }

    /// One of them at least has a chance to answer. True without any: then that is no reason.
    pub(super) fn are_usable(&self, now: Instant) -> bool {
        self.0.is_empty() || self.0.iter().any(|u| u.health.is_usable(now))
    }

    /// The session of the id that `id` looks up, if any provider has several keys to choose from.
    pub(super) fn session<'h>(&self, id: impl FnOnce() -> Option<&'h HeaderValue>) -> Option<Session> {
        let choice = self.0.iter().any(|u| u.endpoints.len() > 1);
        let id = choice.then(id).flatten().filter(|id| !id.is_empty())?;
        Some(Session::of(id.as_bytes()))
    }

    /// The model that answers already.
    pub(super) fn again(&self, model: &Arc<Model>, now: Instant) -> Result<Candidate<'_>, ApiError> {
        let upstream = self.of(model)?;
        let lease = upstream.health.enter(now).unwrap_or_default();
        Ok(Candidate { model: Arc::clone(model), upstream, stands_in: false, _lease: lease })
    }

    pub(super) fn of(&self, model: &Model) -> Result<&Upstream, ApiError> {
        let found = self.0.iter().find(|u| Arc::ptr_eq(&u.provider, &model.provider));
        found.ok_or_else(|| internal("a provider that is not there"))
    }
}

impl Upstream {
    /// With the key at that place.
    pub(super) fn endpoint(&self, key: usize) -> Result<&Endpoint, ApiError> {
        let found = self.endpoints.get(key).ok_or_else(|| internal("a key that is not there"))?;
        found.as_ref().map_err(Clone::clone)
    }
}

/// Each provider has connections of its own, which end with it.
fn client(shared: &Shared, provider: &Provider, before: Option<&Upstreams>) -> Client {
    let (way, connect) = (shared.transports.to(provider), shared.config.connect_timeout);
    let like = |u: &&Upstream| {
        u.provider.completions_url == provider.completions_url && u.client.connects_like(&way, connect)
    };
    let known = before.and_then(|before| before.0.iter().find(like));
    known.map_or_else(|| Client::new(&way, connect), |known| known.client.clone())
}

fn internal(what: &str) -> ApiError {
    ApiError::new(500, ErrorKind::Api, format!("internal error: {what}; please report it"))
}

/// Letters of any script become `%XX`: a header is ASCII.
fn printable(name: &str) -> String {
    const MOST: usize = 128;
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes().take(MOST) {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

/// The models that one request is offered to, one after the other.
///
/// Whose provider rests is passed over. When all of them rest, the best of them is asked all the
/// same: a request is not refused for what happened to others.
pub(super) struct Candidates<'w> {
    upstreams: &'w Upstreams,
    chain: std::vec::IntoIter<Arc<Model>>,
    /// The one that the client asked for.
    wanted: Option<Arc<Model>>,
    /// None was asked so far.
    untouched: bool,
    /// The best of those that rest.
    resting: Option<(Rest, Arc<Model>)>,
}

/// A model that is to be asked.
pub(super) struct Candidate<'w> {
    pub(super) model: Arc<Model>,
    pub(super) upstream: &'w Upstream,
    /// It is not the one that the client asked for.
    pub(super) stands_in: bool,
    _lease: Lease,
}

impl<'w> Candidates<'w> {
    pub(super) fn new(upstreams: &'w Upstreams, chain: Vec<Arc<Model>>) -> Self {
        let wanted = chain.first().cloned();
        Self { upstreams, chain: chain.into_iter(), wanted, untouched: true, resting: None }
    }

    /// The next one; none: that was all.
    pub(super) fn next(&mut self, now: Instant) -> Option<Result<Candidate<'w>, ApiError>> {
        while let Some(model) = self.chain.next() {
            let upstream = match self.upstreams.of(&model) {
                Ok(upstream) => upstream,
                Err(error) => return Some(Err(error)),
            };
            if let Some(lease) = upstream.health.enter(now) {
                self.untouched = false;
                return Some(Ok(self.candidate(model, upstream, lease)));
            }
            let rest = upstream.health.rest(now);
            if self.resting.as_ref().is_none_or(|(best, _)| rest < *best) {
                self.resting = Some((rest, model));
            }
        }
        if self.untouched { self.last_resort() } else { None }
    }

    /// The best of those that rest, once.
    pub(super) fn last_resort(&mut self) -> Option<Result<Candidate<'w>, ApiError>> {
        let (_, model) = self.resting.take()?;
        self.untouched = false;
        let upstream = self.upstreams.of(&model);
        Some(upstream.map(|upstream| self.candidate(model, upstream, Lease::default())))
    }

    fn candidate(&self, model: Arc<Model>, upstream: &'w Upstream, lease: Lease) -> Candidate<'w> {
        let stands_in = !self.wanted.as_ref().is_some_and(|wanted| Arc::ptr_eq(wanted, &model));
        Candidate { model, upstream, stands_in, _lease: lease }
    }

    /// Whether [`Candidates::next`] or [`Candidates::last_resort`] may have another one.
    pub(super) fn has_more(&self) -> bool {
        !self.chain.as_slice().is_empty() || self.resting.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_name_is_one_line_of_ascii() {
        assert_eq!(printable("api.deepseek.com"), "api.deepseek.com");
        assert_eq!(printable("my box"), "my box");
        assert_eq!(printable("a\r\nb: c%"), "a%0D%0Ab: c%25");
        assert_eq!(printable("模"), "%E6%A8%A1");
        assert!(printable(&"é".repeat(5000)).len() < 500);
    }
}
