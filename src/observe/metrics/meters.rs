//! What is counted for one model or one provider, looked up once: counting is an atomic or two.

use std::sync::{Arc, OnceLock};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::labels::{Ended, Lasted, OfModel, Status};
use super::money::MoneyCounter;
use super::{Histograms, names};
use crate::observe::cost::Amount;
use crate::observe::{Outcome, Record};

/// One model's.
#[derive(Debug)]
pub struct ModelMeter {
    pub(super) labels: OfModel,
    pub(super) ended: Family<Ended, Counter>,
    /// Of these those for answers in full, once there was one, as [`names::STOP_REASONS`].
    pub(super) done: [OnceLock<Counter>; names::STOP_REASONS.len()],
    pub(super) streams: Gauge,
    pub(super) first_byte: Histogram,
    pub(super) first_token: Histogram,
    pub(super) lasted: Histograms<Lasted>,
    /// Of these the one for answers in full.
    pub(super) done_lasted: Histogram,
    /// As [`names::OWN_PARTS`].
    pub(super) own: [Histogram; 2],
    /// As [`names::TOKEN_KINDS`].
    pub(super) tokens: [Counter; 3],
    pub(super) cost: MoneyCounter,
    pub(super) received: Counter,
    pub(super) sent: Counter,
    pub(super) retries: Counter,
    pub(super) rotations: Counter,
    pub(super) fallbacks: Counter,
    /// As [`names::LOSS_TOKENS`].
    pub(super) losses: Arc<[Counter]>,
}

impl ModelMeter {
    /// A streamed answer has begun; [`Record`] tells when it has ended.
    pub(in crate::observe) fn stream_begins(&self) {
        self.streams.inc();
    }

    pub(in crate::observe) fn stream_ends(&self) {
        self.streams.dec();
    }

    /// The same is asked once more.
    pub(in crate::observe) fn retries(&self) {
        self.retries.inc();
    }

    /// Another key is taken.
    pub(in crate::observe) fn rotates(&self) {
        self.rotations.inc();
    }

    /// Another model is asked instead.
    pub(in crate::observe) fn falls_back(&self) {
        self.fallbacks.inc();
    }

    /// An answer cost so much.
    pub(in crate::observe) fn costs(&self, cost: Amount) {
        self.cost.inc_by(cost);
    }

    /// A request has ended.
    pub(in crate::observe) fn ended(&self, record: &Record) {
        let at = names::stop_reason(record.stop_reason);
        let outcome = record.outcome.as_str();
        let counter = || {
            let OfModel { model, provider } = self.labels.clone();
            let status = Status(record.status);
            let stop_reason = names::STOP_REASONS.get(at).copied().unwrap_or(names::NO_STOP_REASON);
            self.ended.get_or_create_owned(&Ended { model, provider, status, outcome, stop_reason })
        };
        let lasted = record.began.elapsed().as_secs_f64();
        match self.done.get(at) {
            Some(done) if (record.status, record.outcome) == (200, Outcome::Done) => {
                done.get_or_init(counter).inc();
                self.done_lasted.observe(lasted);
            }
            _ => {
                counter().inc();
                let OfModel { model, provider } = self.labels.clone();
                self.lasted.get_or_create(&Lasted { model, provider, outcome }).observe(lasted);
            }
        }
        let [own_request, own_answer] = &self.own;
        for (histogram, took) in [
            (&self.first_byte, record.first_byte),
            (&self.first_token, record.first_token),
            (own_request, record.own.request),
            (own_answer, record.own.answer),
        ] {
            if let Some(took) = took {
                histogram.observe(took.as_secs_f64());
            }
        }
        let counts = [record.input_tokens, record.output_tokens, record.cached_tokens];
        for (counter, n) in self.tokens.iter().zip(counts) {
            counter.inc_by(n);
        }
        self.received.inc_by(record.received);
        self.sent.inc_by(record.sent);
        if !record.warnings.is_empty() {
            let mut seen = [false; names::LOSS_TOKENS.len()];
            for at in record.warnings.split(", ").map(names::loss) {
                if let (Some(seen @ false), Some(counter)) = (seen.get_mut(at), self.losses.get(at)) {
                    *seen = true;
                    counter.inc();
                }
            }
        }
    }
}

/// What an attempt brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// An answer with this status.
    Answered(u16),
    /// No answer, or none that is HTTP.
    Fault(FaultStage),
    /// The client left while it was waited for, or the server ended.
    Cancelled,
}

/// How far an exchange had come when the upstream failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultStage {
    /// Resolving, TCP or TLS.
    Connect,
    /// Writing the request.
    Send,
    /// Waiting for the answer's head.
    Head,
    /// In the answer: cut off, silent, not what was asked for, or an error in its words.
    Body,
}

/// One provider's.
#[derive(Debug)]
pub struct ProviderMeter {
    /// As [`names::RESULTS`].
    pub(super) attempts: [Counter; 6],
    /// As [`names::STAGES`].
    pub(super) faults: [Counter; 4],
    pub(super) resting: Gauge,
    /// As [`names::REST_SCOPES`].
    pub(super) rests: [Counter; 2],
}

impl ProviderMeter {
    /// A request was sent, or could not be.
    pub fn attempt(&self, attempt: Attempt) {
        let [ok, refused, busy, error, fault, cancelled] = &self.attempts;
        match attempt {
            Attempt::Answered(429) => busy,
            Attempt::Answered(..400) => ok,
            Attempt::Answered(..500) => refused,
            Attempt::Answered(_) => error,
            Attempt::Fault(_) => fault,
            Attempt::Cancelled => cancelled,
        }
        .inc();
        if let Attempt::Fault(stage) = attempt {
            self.fault(stage);
        }
    }

    /// A rest begins: of the provider itself, or of one of its keys.
    pub fn rest_begins(&self, of_key: bool) {
        let [provider, key] = &self.rests;
        if of_key { key } else { provider }.inc();
    }

    /// Whether it rests.
    pub fn rests(&self, so: bool) {
        self.resting.set(i64::from(so));
    }

    /// The upstream failed.
    pub fn fault(&self, stage: FaultStage) {
        let [connect, send, head, body] = &self.faults;
        match stage {
            FaultStage::Connect => connect,
            FaultStage::Send => send,
            FaultStage::Head => head,
            FaultStage::Body => body,
        }
        .inc();
    }
}
