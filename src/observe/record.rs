//! One line for each request, whatever became of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use memchr::memmem;
use tracing::field::{DisplayValue, display};

use super::activity::Live;
use super::capture::Exchange;
use super::cost::{Amount, Counts, Payer, Price};
use super::metrics::ModelMeter;
use super::own::Own;
use super::side::{Side, SideCounts};
use super::trace::{Trace, TraceId};

/// Target of the line of a request.
pub(super) const TARGET: &str = "claude_proxy::request";

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outcome {
    /// The client went away before the end. What a record says until it is told otherwise.
    #[default]
    ClientGone,
    /// Answered in full.
    Done,
    /// Answered with an HTTP error.
    Refused,
    /// The stream ended with an `error` event.
    Failed,
    /// The request ended in a panic.
    Panicked,
}

impl Outcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
        }
    }
}

/// The request of a client's that something is done for.
#[derive(Debug, Clone)]
pub struct Cause {
    /// Its `request-id`.
    pub request_id: Arc<str>,
    /// Where it stands in a trace.
    pub trace: Option<Arc<Trace>>,
    /// Who pays for what is done.
    pub payer: Option<Arc<Payer>>,
}

/// What is known of one request. Dropping it writes the line: a request whose client left is
/// logged as surely as one that was answered.
#[derive(Debug)]
pub struct Record {
    /// Our `request-id`.
    pub request_id: String,
    /// The model as the client named it.
    pub model: String,
    /// Who was asked.
    pub provider: String,
    /// The model as the provider names it.
    pub remote: String,
    /// Requests sent upstream for it, all told; 0: it never got that far.
    pub attempts: u32,
    /// Second attempts at one model with one key.
    pub retries: u32,
    /// How often another key was taken because one was refused.
    pub rotations: u32,
    /// How many models the request was passed on to after the first.
    pub fallbacks: u32,
    /// The provider's own `request-id`, where answers pass through; empty: it told none.
    pub upstream_request_id: String,
    /// A stream was asked for.
    pub stream: bool,
    /// HTTP status of our answer; 0: none was sent.
    pub status: u16,
    /// When the request's head was read.
    pub began: Instant,
    /// Until the first byte of the answer was ready.
    pub first_byte: Option<Duration>,
    /// Until the first `content_block_delta` of a streamed answer was ready.
    pub first_token: Option<Duration>,
    /// What the proxy itself took of that time.
    pub own: Own,
    /// `usage.input_tokens`.
    pub input_tokens: u64,
    /// `usage.output_tokens`.
    pub output_tokens: u64,
    /// `usage.cache_read_input_tokens`.
    pub cached_tokens: u64,
    /// `stop_reason`.
    pub stop_reason: &'static str,
    /// Losses, as in `x-claude-proxy-warnings`.
    pub warnings: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong.
    pub error: String,
    /// Where its bodies are kept, with `--capture`.
    pub capture: Option<Arc<Exchange>>,
    /// Bytes of its body.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// Counts it: of the model that was asked last. None: nobody counts.
    pub meter: Option<Arc<ModelMeter>>,
    /// It is no client's request but a question of our own.
    pub side: Option<Side>,
    /// What questions of our own took for it.
    pub asides: SideCounts,
    /// Where it stands in a trace; none: it belongs to none.
    pub trace: Option<Arc<Trace>>,
    /// Web searches that were carried out for it, failed ones included.
    pub web_searches: u64,
    /// Pages that were fetched for it, likewise.
    pub web_fetches: u64,
    /// Tells the dashboard of it; none: there is none.
    pub live: Option<Live>,
    /// The name of the inbound key; none: none is asked for.
    pub key: Option<Arc<str>>,
    /// Who pays for it; none: nobody counts that.
    pub payer: Option<Arc<Payer>>,
    /// What the tokens of the model that was asked last cost; none: that is not known.
    pub price: Option<Price>,
    /// The tokens that are to be paid.
    pub counts: Counts,
    /// The upstream did not tell them: they are estimated.
    pub counts_estimated: bool,
    /// It is only a part of a request, which is counted and told with the rest.
    part: bool,
    /// Counts its stream, while it runs.
    streaming: Option<Arc<ModelMeter>>,
}

impl Record {
    /// For a request that has just come in.
    pub fn new(request_id: String) -> Self {
        Self {
            request_id,
            model: String::new(),
            provider: String::new(),
            remote: String::new(),
            upstream_request_id: String::new(),
            attempts: 0,
            retries: 0,
            rotations: 0,
            fallbacks: 0,
            stream: false,
            status: 0,
            began: Instant::now(),
            first_byte: None,
            first_token: None,
            own: Own::default(),
            input_tokens: 0,
            output_tokens: 0,
            cached_tokens: 0,
            stop_reason: "",
            warnings: String::new(),
            outcome: Outcome::default(),
            error: String::new(),
            capture: None,
            received: 0,
            sent: 0,
            meter: None,
            side: None,
            asides: SideCounts::default(),
            trace: None,
            web_searches: 0,
            web_fetches: 0,
            live: None,
            key: None,
            payer: None,
            price: None,
            counts: Counts::default(),
            counts_estimated: false,
            part: false,
            streaming: None,
        }
    }

    /// It has a place, and is known as far as its model. `question` gives the last thing that the
    /// user wrote, and is called only if that may be shown.
    pub fn admit(&mut self, question: impl FnOnce() -> Option<String>) {
        if let Some(mut live) = self.live.take() {
            live.admit(self, question);
            self.live = Some(live);
        }
    }

    /// This provider is asked now, for that model of its own.
    pub fn ask(&mut self, provider: &str, remote: &str) {
        provider.clone_into(&mut self.provider);
        remote.clone_into(&mut self.remote);
        if let Some(live) = &self.live {
            live.ask(provider, remote);
        }
    }

    /// The same is asked once more.
    pub fn retry(&mut self) {
        self.retries += 1;
        if let Some(meter) = &self.meter {
            meter.retries();
        }
    }

    /// Another key is taken.
    pub fn rotate(&mut self) {
        self.rotations += 1;
        if let Some(meter) = &self.meter {
            meter.rotates();
        }
    }

    /// Another model is asked instead of the one that was.
    pub fn fall_back(&mut self) {
        self.fallbacks += 1;
        if let Some(meter) = &self.meter {
            meter.falls_back();
        }
    }

    /// The answer is a stream, and it has begun.
    pub fn begin_stream(&mut self) {
        if self.streaming.is_none()
            && let Some(meter) = &self.meter
        {
            meter.stream_begins();
            self.streaming = Some(Arc::clone(meter));
        }
    }

    /// For a further round of the same request: what it takes is added with [`Record::add`].
    #[must_use]
    pub fn part(&self) -> Self {
        let mut part = Self::new(self.request_id.clone());
        part.model.clone_from(&self.model);
        part.stream = self.stream;
        part.capture.clone_from(&self.capture);
        part.meter.clone_from(&self.meter);
        part.payer.clone_from(&self.payer);
        part.trace.clone_from(&self.trace);
        part.part = true;
        part
    }

    /// Adds what a part of the request took.
    pub fn add(&mut self, part: &Self) {
        self.attempts += part.attempts;
        self.retries += part.retries;
        self.rotations += part.rotations;
        if let Some(took) = part.own.answer {
            self.own.answered(took);
        }
        self.asides.add(part.asides);
    }

    /// What the model that was asked took for it, in the currency of the prices.
    fn own_cost(&self) -> Option<Amount> {
        self.price.map(|price| price.of(self.counts))
    }

    /// What it cost so far, with questions of our own; none: no price is known.
    pub fn cost(&self) -> Option<Amount> {
        let known = [self.own_cost(), self.asides.cost];
        known.iter().any(Option::is_some).then(|| known.into_iter().flatten().sum())
    }

    /// Has it counted and paid.
    fn pay(&self) {
        let Some(cost) = self.own_cost() else { return };
        if let Some(meter) = &self.meter {
            meter.costs(cost);
        }
        if let Some(payer) = &self.payer {
            payer.pay(cost);
        }
    }

    /// For what is done on its account.
    pub fn cause(&self) -> Cause {
        Cause {
            request_id: self.request_id.as_str().into(),
            trace: self.trace.clone(),
            payer: self.payer.clone(),
        }
    }

    /// For the log.
    fn trace_id(&self) -> Option<DisplayValue<TraceId>> {
        self.trace.as_ref().map(|trace| display(trace.id()))
    }

    /// Something could not be carried over.
    pub fn warn(&mut self, token: &str) {
        if !self.warnings.is_empty() {
            self.warnings.push_str(", ");
        }
        self.warnings.push_str(token);
    }

    /// The answer's first byte is ready; only the first call counts.
    pub fn mark_first_byte(&mut self) {
        if self.first_byte.is_none() {
            let after = self.began.elapsed();
            self.first_byte = Some(after);
            if let Some(live) = &self.live {
                live.first_byte(after);
            }
        }
    }

    /// These bytes of a streamed answer are ready; only the first content counts.
    pub fn mark_first_token(&mut self, bytes: &[u8]) {
        if self.first_token.is_none() && memmem::find(bytes, b"content_block_delta").is_some() {
            self.first_token = Some(self.began.elapsed());
        }
    }
}

impl Record {
    /// Counts and tells a question of our own.
    fn end_aside(&self, side: &Side) {
        side.metrics.asked(side.purpose, self);
        tracing::info!(
            target: TARGET,
            request_id = %self.request_id,
            purpose = side.purpose.as_str(),
            model = %self.model,
            provider = %self.provider,
            remote = %self.remote,
            attempts = self.attempts,
            status = self.status,
            total_ms = ms(self.began.elapsed()),
            input_tokens = self.input_tokens,
            output_tokens = self.output_tokens,
            cached_tokens = self.cached_tokens,
            cost = self.own_cost().map(Amount::as_f64),
            outcome = self.outcome.as_str(),
            trace_id = self.trace_id(),
            error = %self.error,
            "side request"
        );
    }
}

/// Lines have it only where there is some.
fn some(n: u64) -> Option<u64> {
    (n > 0).then_some(n)
}

fn ms(d: Duration) -> f64 {
    (d.as_secs_f64() * 10_000.0).round() / 10.0
}

/// To a microsecond.
fn fine_ms(d: Duration) -> f64 {
    (d.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.part {
            return;
        }
        if std::thread::panicking() {
            self.outcome = Outcome::Panicked;
            // What its client gets, if it has no head yet.
            if self.status == 0 {
                self.status = 500;
            }
        }
        if let Some(meter) = self.streaming.take() {
            meter.stream_ends();
        }
        if let Some(live) = self.live.take() {
            live.end(self);
        }
        self.pay();
        #[cfg(feature = "otel")]
        super::otel::request(self);
        if let Some(side) = self.side.take() {
            return self.end_aside(&side);
        }
        if let Some(meter) = self.meter.take() {
            meter.ended(self);
        }
        if let Some(payer) = &self.payer {
            payer.meter.asks();
        }
        if let Some(exchange) = &self.capture {
            exchange.close(|meta| {
                meta.status = self.status;
                meta.attempts = self.attempts;
                self.outcome.as_str().clone_into(&mut meta.outcome);
                meta.error.clone_from(&self.error);
                meta.warnings.clone_from(&self.warnings);
            });
        }
        tracing::info!(
            target: TARGET,
            request_id = %self.request_id,
            key = self.key.as_deref(),
            model = %self.model,
            provider = %self.provider,
            remote = %self.remote,
            attempts = self.attempts,
            retries = self.retries,
            rotations = self.rotations,
            fallbacks = self.fallbacks,
            stream = self.stream,
            status = self.status,
            first_byte_ms = self.first_byte.map(ms),
            first_token_ms = self.first_token.map(ms),
            own_ms = self.own.total().map(fine_ms),
            total_ms = ms(self.began.elapsed()),
            input_tokens = self.input_tokens,
            output_tokens = self.output_tokens,
            cached_tokens = self.cached_tokens,
            cost = self.cost().map(Amount::as_f64),
            cost_estimated = (self.counts_estimated && self.price.is_some()).then_some(true),
            stop_reason = self.stop_reason,
            warnings = %self.warnings,
            outcome = self.outcome.as_str(),
            upstream_request_id = %self.upstream_request_id,
            side_requests = some(self.asides.requests),
            side_input_tokens = some(self.asides.input_tokens),
            side_output_tokens = some(self.asides.output_tokens),
            web_searches = some(self.web_searches),
            web_fetches = some(self.web_fetches),
            trace_id = self.trace_id(),
            error = %self.error,
            "request"
        );
    }
}
