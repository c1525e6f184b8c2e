//! What is counted, for `GET /metrics`.
//!
//! Series of a model that a reload removed stay until a restart: its last requests may still
//! run, and counts that vanish would be a lie about the past.

mod labels;
mod meters;
mod money;
pub mod names;

use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::record::{Outcome, Record};
use super::side::Purpose;
use labels::{
    Asked, Attempted, Build, Carried, Ended, Failed, Judged, Kept, Lasted, Lost, OfKey, OfModel, OfProvider,
    OwnShare, Reload, Responded, Rested, SideTokens, Status, Tokens,
};
pub use meters::{Attempt, FaultStage, ModelMeter, ProviderMeter};
pub use money::KeyMeter;
use money::MoneyCounter;
use names::Name;

/// Upper bounds, in seconds: a reasoning model may think for minutes before its first byte.
const FIRST_BOUNDS: [f64; 13] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];
/// Upper bounds, in seconds: an agent's answer may go on for many minutes.
const DURATION_BOUNDS: [f64; 14] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];
/// Upper bounds, in seconds: from 10 us to 100 ms.
const OWN_BOUNDS: [f64; 13] =
    [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Everything that one server counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    ended: Family<Ended, Counter>,
    running: Gauge,
    limit: Gauge,
    streams: Family<OfModel, Gauge>,
    first_byte: Histograms<OfModel>,
    first_token: Histograms<OfModel>,
    duration: Histograms<Lasted>,
    own: Histograms<OwnShare>,
    tokens: Family<Tokens, Counter>,
    cost: Family<OfModel, MoneyCounter>,
    key_cost: Family<OfKey, MoneyCounter>,
    key_requests: Family<OfKey, Counter>,
    budget_refusals: Family<OfKey, Counter>,
    received: Family<OfModel, Counter>,
    sent: Family<OfModel, Counter>,
    losses: Arc<[Counter]>,
    attempts: Family<Attempted, Counter>,
    faults: Family<Failed, Counter>,
    retries: Family<OfModel, Counter>,
    rotations: Family<OfModel, Counter>,
    fallbacks: Family<OfModel, Counter>,
    side_requests: Family<Asked, Counter>,
    side_tokens: Family<SideTokens, Counter>,
    verdicts: Family<Judged, Counter>,
    web_requests: Family<Carried, Counter>,
    thread_turns: Family<Kept, Counter>,
    resting: Family<OfProvider, Gauge>,
    rests: Family<Rested, Counter>,
    responses: Family<Responded, Counter>,
    /// Of these the one for messages that were answered, once there was one.
    answered: OnceLock<Counter>,
    panics: Counter,
    reloads: Family<Reload, Counter>,
    generation: Gauge,
}

/// What is not counted but looked up when somebody asks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Requests that were admitted and are not answered whole.
    pub running: usize,
    /// `max_concurrent_requests`.
    pub limit: usize,
    /// The number of the configuration that counts.
    pub generation: u64,
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &Name, metric: M) -> M {
    registry.register(name.base, name.help, metric.clone());
    metric
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        let first: fn() -> Histogram = || Histogram::new(FIRST_BOUNDS);
        let duration: fn() -> Histogram = || Histogram::new(DURATION_BOUNDS);
        let own: fn() -> Histogram = || Histogram::new(OWN_BOUNDS);
        let metrics = Self {
            ended: add(r, &names::REQUESTS, Family::default()),
            running: add(r, &names::REQUESTS_IN_FLIGHT, Gauge::default()),
            limit: add(r, &names::REQUESTS_LIMIT, Gauge::default()),
            streams: add(r, &names::STREAMS_IN_FLIGHT, Family::default()),
            first_byte: add(r, &names::FIRST_BYTE, Family::new_with_constructor(first)),
            first_token: add(r, &names::FIRST_TOKEN, Family::new_with_constructor(first)),
            duration: add(r, &names::DURATION, Family::new_with_constructor(duration)),
            own: add(r, &names::OWN, Family::new_with_constructor(own)),
            tokens: add(r, &names::TOKENS, Family::default()),
            cost: add(r, &names::COST, Family::default()),
            key_cost: add(r, &names::KEY_COST, Family::default()),
            key_requests: add(r, &names::KEY_REQUESTS, Family::default()),
            budget_refusals: add(r, &names::BUDGET_REFUSALS, Family::default()),
            received: add(r, &names::REQUEST_BYTES, Family::default()),
            sent: add(r, &names::RESPONSE_BYTES, Family::default()),
            losses: {
                let losses = add(r, &names::LOSSES, Family::<Lost, Counter>::default());
                names::LOSS_TOKENS.iter().map(|loss| losses.get_or_create_owned(&Lost { loss })).collect()
            },
            attempts: add(r, &names::ATTEMPTS, Family::default()),
            faults: add(r, &names::FAULTS, Family::default()),
            retries: add(r, &names::RETRIES, Family::default()),
            rotations: add(r, &names::ROTATIONS, Family::default()),
            fallbacks: add(r, &names::FALLBACKS, Family::default()),
            side_requests: add(r, &names::SIDE_REQUESTS, Family::default()),
            side_tokens: add(r, &names::SIDE_TOKENS, Family::default()),
            verdicts: add(r, &names::VERDICTS, Family::default()),
            web_requests: add(r, &names::WEB_REQUESTS, Family::default()),
            thread_turns: add(r, &names::THREAD_TURNS, Family::default()),
            resting: add(r, &names::RESTING, Family::default()),
            rests: add(r, &names::RESTS, Family::default()),
            responses: add(r, &names::HTTP_RESPONSES, Family::default()),
            answered: OnceLock::new(),
            panics: add(r, &names::PANICS, Counter::default()),
            reloads: add(r, &names::RELOADS, Family::default()),
            generation: add(r, &names::GENERATION, Gauge::default()),
            registry: Registry::default(),
        };
        let build = add(r, &names::BUILD, Family::<Build, Gauge>::default());
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        for result in names::RELOAD_RESULTS {
            metrics.reloads.get_or_create(&Reload { result }).inc_by(0);
        }
        for tool in names::WEB_TOOLS {
            metrics.web_requests.get_or_create(&Carried { tool, outcome: names::WEB_OK }).inc_by(0);
        }
        for purpose in names::PURPOSES {
            let outcome = Outcome::Done.as_str();
            metrics.side_requests.get_or_create(&Asked { purpose, outcome }).inc_by(0);
            for kind in names::TOKEN_KINDS {
                metrics.side_tokens.get_or_create(&SideTokens { purpose, kind }).inc_by(0);
            }
        }
        for turn in names::TURNS {
            metrics.thread_turns.get_or_create(&Kept { turn }).inc_by(0);
        }
        for verdict in names::VERDICT_KINDS {
            metrics.verdicts.get_or_create(&Judged { verdict }).inc_by(0);
        }
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// For one model; its series are there from now on, at zero.
    pub fn model(&self, model: &str, provider: &str) -> Arc<ModelMeter> {
        let labels = OfModel { model: model.into(), provider: provider.into() };
        let tokens = names::TOKEN_KINDS.map(|kind| {
            let OfModel { model, provider } = labels.clone();
            self.tokens.get_or_create_owned(&Tokens { model, provider, kind })
        });
        for (status, outcome, stop_reason) in names::USUAL {
            let OfModel { model, provider } = labels.clone();
            let status = Status(status);
            self.ended.get_or_create_owned(&Ended { model, provider, status, outcome, stop_reason });
        }
        let own = names::OWN_PARTS.map(|part| {
            let OfModel { model, provider } = labels.clone();
            self.own.get_or_create_owned(&OwnShare { model, provider, part })
        });
        let done_lasted = {
            let OfModel { model, provider } = labels.clone();
            let outcome = Outcome::Done.as_str();
            self.duration.get_or_create_owned(&Lasted { model, provider, outcome })
        };
        Arc::new(ModelMeter {
            ended: self.ended.clone(),
            done: Default::default(),
            streams: self.streams.get_or_create_owned(&labels),
            first_byte: self.first_byte.get_or_create_owned(&labels),
            first_token: self.first_token.get_or_create_owned(&labels),
            lasted: self.duration.clone(),
            done_lasted,
            own,
            tokens,
            cost: self.cost.get_or_create_owned(&labels),
            received: self.received.get_or_create_owned(&labels),
            sent: self.sent.get_or_create_owned(&labels),
            retries: self.retries.get_or_create_owned(&labels),
            rotations: self.rotations.get_or_create_owned(&labels),
            fallbacks: self.fallbacks.get_or_create_owned(&labels),
            losses: Arc::clone(&self.losses),
            labels,
        })
    }

    /// For requests that are not routed.
    pub fn unknown(&self) -> Arc<ModelMeter> {
        self.model(names::UNKNOWN, names::UNKNOWN)
    }

    /// For one key of clients; its series are there from now on, at zero.
    pub fn key(&self, name: &Arc<str>) -> KeyMeter {
        let labels = OfKey { key: Arc::clone(name) };
        KeyMeter {
            cost: self.key_cost.get_or_create_owned(&labels),
            requests: self.key_requests.get_or_create_owned(&labels),
            refusals: self.budget_refusals.get_or_create_owned(&labels),
        }
    }

    /// For one provider.
    pub fn provider(&self, name: &str) -> Arc<ProviderMeter> {
        let provider: Arc<str> = name.into();
        let attempts = names::RESULTS.map(|result| {
            self.attempts.get_or_create_owned(&Attempted { provider: Arc::clone(&provider), result })
        });
        let faults = names::STAGES
            .map(|stage| self.faults.get_or_create_owned(&Failed { provider: Arc::clone(&provider), stage }));
        let rests = names::REST_SCOPES
            .map(|scope| self.rests.get_or_create_owned(&Rested { provider: Arc::clone(&provider), scope }));
        let resting = self.resting.get_or_create_owned(&OfProvider { provider });
        Arc::new(ProviderMeter { attempts, faults, resting, rests })
    }

    /// An answer goes out; `endpoint` is one of [`names::ENDPOINTS`].
    pub fn responded(&self, endpoint: &'static str, status: u16) {
        let counter = || self.responses.get_or_create_owned(&Responded { endpoint, status: Status(status) });
        if (endpoint, status) == ("messages", 200) {
            self.answered.get_or_init(counter).inc();
        } else {
            counter().inc();
        }
    }

    /// A question of our own has ended.
    pub fn asked(&self, purpose: Purpose, record: &Record) {
        let purpose = purpose.as_str();
        let outcome = record.outcome.as_str();
        self.side_requests.get_or_create(&Asked { purpose, outcome }).inc();
        let counts = [record.input_tokens, record.output_tokens, record.cached_tokens];
        for (kind, n) in names::TOKEN_KINDS.into_iter().zip(counts) {
            self.side_tokens.get_or_create(&SideTokens { purpose, kind }).inc_by(n);
        }
    }

    /// A tool call was to be judged; `verdict` is one of [`names::VERDICT_KINDS`].
    pub fn judged(&self, verdict: &'static str) {
        self.verdicts.get_or_create(&Judged { verdict }).inc();
    }

    /// A turn of a thread was kept or not; `turn` is one of [`names::TURNS`].
    pub fn thread(&self, turn: &'static str) {
        self.thread_turns.get_or_create(&Kept { turn }).inc();
    }

    /// A call of a web tool has ended; `error` is its code.
    pub fn web(&self, tool: &'static str, error: Option<&'static str>) {
        let outcome = error.unwrap_or(names::WEB_OK);
        self.web_requests.get_or_create(&Carried { tool, outcome }).inc();
    }

    /// Something panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// A configuration was read again, and taken or refused.
    pub fn reloaded(&self, taken: bool) {
        let [ok, refused] = names::RELOAD_RESULTS;
        self.reloads.get_or_create(&Reload { result: if taken { ok } else { refused } }).inc();
    }

    /// Prometheus's text format, version 0.0.4.
    pub fn text(&self, now: &Now) -> String {
        let most = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.running.set(most(now.running as u64));
        self.limit.set(most(now.limit as u64));
        self.generation.set(most(now.generation));
        let mut out = String::with_capacity(8 * 1024);
        // Writing into a string does not fail.
        let _ = prometheus_text::encode(&mut out, &self.registry);
        out
    }
}

/// The `content-type` of [`Metrics::text`].
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;
