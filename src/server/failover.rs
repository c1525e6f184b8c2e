//! Several upstreams behind one model: attempt after attempt, until one answers or none is left.
//!
//! [`crate::upstream::retry`] decides what follows an attempt that failed; here it is done.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

use super::adapt;
use super::app::Worker;
use super::attempt::{Answered, Asking, Call, Failure, Prepared, attempt};
use super::reading::Reading;
use super::reply::Refusal;
use super::upstreams::{Candidate, Candidates, Upstream};
use crate::observe::Record;
use crate::upstream::retry::{Second, Situation, Step, decide};
use crate::wire::anthropic::{ApiError, ErrorKind};

/// Offers a request to one candidate after the other, `first` to begin with.
///
/// Each converts the request anew, for its own profile and settings; `bytes` is the request as
/// it came, and may be missing where `candidates` has no more.
///
/// # Errors
/// What the client is told: see [`Failures`].
pub(super) async fn answer<'w>(
    worker: &'w Rc<Worker>,
    mut candidates: Candidates<'w>,
    first: (Candidate<'w>, Call),
    bytes: Option<Bytes>,
    asking: &Asking<'_>,
    record: &mut Record,
) -> Result<(Answered, &'w Upstream), Refusal> {
    let mut failures = Failures::default();
    let (mut candidate, mut call) = first;
    loop {
        let failure = match of_one(worker, &candidate, &call, candidates.has_more(), record).await {
            Ok(answered) => return Ok((answered, candidate.upstream)),
            Err(failure) => failure,
        };
        let goes_on = failure.sign.goes_on(candidate.stands_in);
        let told = failure.refusal.error.message.clone();
        failures.add(failure);
        let Some(bytes) = bytes.as_ref().filter(|_| goes_on) else { break };
        // Where nothing gives hope for a second request, those that rest get a chance.
        let next = candidates
            .next(Instant::now())
            .or_else(|| if failures.may_pass() { None } else { candidates.last_resort() });
        let Some(next) = next else { break };
        candidate = next?;
        let (from, to) = (&record.model, &candidate.model.id);
        tracing::warn!(request_id = asking.request_id, model = %from, fallback = %to, error = %told, "asking a fallback");
        record.fall_back();
        let mut reading = Reading::of(bytes, worker);
        call = match adapt::prepare(worker, asking, &mut reading, &candidate.model, record).await {
            Ok(Prepared::Call(call)) => call,
            // `max_tokens` is 0, which the first one has an answer of its own to.
            Ok(Prepared::Local(_)) => break,
            Err(error) => {
                let failure = Failure::new(error, &candidate.model);
                failures.add(failure.known_as(None, record.attempts));
                break;
            }
        };
    }
    Err(failures.told(worker, record))
}

/// Asks a model once more in the same exchange, with its keys and one second attempt; nobody
/// stands in for it, since its answer has begun.
///
/// # Errors
/// What the client is told.
pub(super) async fn once_more(
    worker: &Rc<Worker>,
    call: &Call,
    record: &mut Record,
) -> Result<Answered, ApiError> {
    let candidate = worker.upstreams.again(&call.model, Instant::now())?;
    of_one(worker, &candidate, call, false, record).await.map_err(|failure| failure.refusal.error)
}

/// Everything that is tried at one model: its keys, and one second attempt.
async fn of_one(
    worker: &Rc<Worker>,
    candidate: &Candidate<'_>,
    call: &Call,
    other_model: bool,
    record: &mut Record,
) -> Result<Answered, Failure> {
    let Upstream { health, .. } = candidate.upstream;
    let (began, limit) = (tokio::time::Instant::now(), worker.config.upstream_timeout);
    record.own.asks(began.into_std());
    let mut tried: SmallVec<[usize; 4]> = SmallVec::new();
    let mut second: Option<Second> = None;
    let mut kept: Option<Failure> = None;
    let now = Instant::now();
    let mut turn = health.next_key(now, &tried, call.session).unwrap_or_else(|| health.best_key(now));
    loop {
        let index = turn.index;
        if !tried.contains(&index) {
            tried.push(index);
        }
        let asked = match candidate.upstream.endpoint(index) {
            Ok(endpoint) => {
                record.attempts += 1;
                attempt(worker, call, endpoint, began, record).await
            }
            Err(error) => Err(Failure::unsendable(error, &call.model)),
        };
        let failure = match asked {
            Ok(answered) => {
                health.succeed(index);
                return Ok(answered);
            }
            Err(failure) => failure.known_as(candidate.upstream.shown.clone(), record.attempts),
        };
        let (now, luck, sign) = (Instant::now(), worker.ids.luck(), failure.sign);
        if let Some(rests) = health.fail(index, &sign, now, luck) {
            worker.meters.rest_begins(&call.model.provider, rests);
        }
        let best = match kept.take() {
            // Of two that say the same the newer one.
            Some(earlier) if earlier.sign != sign && !sign.is_of_the_request() => earlier.or(failure),
            _ => failure,
        };
        let situation = Situation {
            tried_again: second.is_some(),
            other_key: health.has_other_key(now, &tried),
            other_model,
            stands_in: candidate.stands_in,
            resting: health.is_resting(now),
            left: limit.saturating_sub(began.elapsed()),
        };
        let step = decide(&sign, &situation, luck);
        tracing::debug!(request_id = %record.request_id, provider = %record.provider, ?sign, ?step, "an attempt failed");
        match step {
            Step::OtherKey => {
                let Some(next) = health.next_key(now, &tried, call.session) else { return Err(best) };
                record.rotate();
                turn = next;
            }
            Step::Again(wait) => {
                second = worker.budget.take(worker.gate.running());
                if second.is_none() {
                    return Err(best);
                }
                record.retry();
                tokio::time::sleep(wait).await;
            }
            Step::OtherModel | Step::Tell => return Err(best),
        }
        kept = Some(best);
    }
}

/// What the client is told when nobody answered: the error that is of most use to it.
///
/// The first one that may pass, because the model that was asked for is the one to wait for; of
/// rate limits the one that is over first. If none passes, the first complaint about the request
/// itself, which came from a model that works; else the first of all.
#[derive(Default)]
struct Failures(Option<Failure>);

impl Failures {
    fn add(&mut self, failure: Failure) {
        self.0 = Some(match self.0.take() {
            Some(earlier) => earlier.or(failure),
            None => failure,
        });
    }

    /// The client may try again later.
    fn may_pass(&self) -> bool {
        self.0.as_ref().is_some_and(|failure| failure.sign.is_passing())
    }

    fn told(self, worker: &Worker, record: &mut Record) -> Refusal {
        let Some(failure) = self.0 else {
            return ApiError::new(500, ErrorKind::Api, "internal error: nobody was asked; please report it")
                .into();
        };
        record.meter = Some(worker.meters.of(&failure.model));
        failure.model.provider.name.clone_into(&mut record.provider);
        failure.model.spec.remote_id.clone_into(&mut record.remote);
        if let Some(exchange) = record.capture.as_ref().filter(|_| failure.attempt != record.attempts) {
            exchange.describe(|meta| meta.earlier_error = true);
        }
        failure.refusal
    }
}

impl Failure {
    /// The one of two that the client should see.
    fn or(self, later: Self) -> Self {
        if later.sign.is_worth_more_than(&self.sign) { later } else { self }
    }
}
