//! What to do after an attempt that failed, as long as the client has got nothing.
//!
//! One second attempt, where it is safe and not too many are under way; another key, where one
//! was refused; another model, where the failure says nothing of the request itself. All of it
//! is decided here, without a clock and without luck: both are passed in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::fault::{Cause, Fault, Retry, Stage};
use crate::wire::anthropic::ApiError;

/// The longest `retry-after` that is waited for here instead of by the client.
pub const SHORT: Duration = Duration::from_secs(2);
/// A second attempt comes after a random part of this.
pub const SPREAD: Duration = Duration::from_millis(250);

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The configuration makes a request that cannot be sent.
    Unsendable,
    /// There is no connection: nothing of the request was sent.
    Unreached {
        /// It took all of the time for connecting to find that out.
        late: bool,
    },
    /// No answer in time.
    Late,
    /// An answer that is none, or was cut, or a connection that broke.
    Broken,
    /// The upstream refused, with this status, or with a body that stands for it.
    Refused(u16),
}

/// What is known of an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sign {
    /// How it failed.
    pub what: What,
    /// How long the upstream asks to wait.
    pub retry_after: Option<Duration>,
    /// The upstream, or its words, say whether to try again.
    pub should_retry: Option<bool>,
}

impl Sign {
    /// Of a fault.
    pub fn of_fault(fault: &Fault) -> Self {
        let what = match (fault.stage, &fault.cause) {
            (_, Cause::Config(_)) => What::Unsendable,
            (Stage::Connect, Cause::ConnectTimeout(_)) => What::Unreached { late: true },
            (Stage::Connect, _) if fault.retry == Retry::Safe => What::Unreached { late: false },
            (_, Cause::Timeout(_) | Cause::Idle(_)) => What::Late,
            _ => What::Broken,
        };
        Self { what, retry_after: None, should_retry: None }
    }

    /// Of an error that was read from an answer.
    pub fn of_error(error: &ApiError) -> Self {
        let what = match (error.upstream_status, error.status) {
            (Some(status), _) => What::Refused(status),
            (None, 504) => What::Late,
            (None, _) => What::Broken,
        };
        Self { what, retry_after: None, should_retry: error.should_retry }
    }

    /// The key was refused, or has had enough for now.
    pub fn is_of_the_key(&self) -> bool {
        matches!(self.what, What::Refused(401 | 402 | 403 | 429))
    }

    /// The upstream complains about the request itself: another one might not, but the client
    /// has to see it. Claude Code compacts its history on an overflow, and asks for fewer
    /// tokens when `max_tokens` is too large.
    pub fn is_of_the_request(&self) -> bool {
        match self.what {
            What::Refused(401..=405 | 408..=410 | 425 | 429 | 500..) => false,
            What::Refused(_) => true,
            _ => false,
        }
    }

    /// Trying again later may help.
    pub fn is_passing(&self) -> bool {
        self.should_retry != Some(false)
            && match self.what {
                What::Refused(status) => matches!(status, 408 | 409 | 425 | 429 | 500..),
                What::Unreached { .. } | What::Late | What::Broken => true,
                What::Unsendable => false,
            }
    }

    /// Whether the client is helped more by this failure than by `earlier` one.
    pub fn is_worth_more_than(&self, earlier: &Self) -> bool {
        if earlier.is_passing() {
            let both = [earlier, self].iter().all(|s| s.what == What::Refused(429) && s.is_passing());
            let wait = |s: &Self| s.retry_after.unwrap_or(Duration::MAX);
            return both && wait(self) < wait(earlier);
        }
        self.is_passing() || (self.is_of_the_request() && !earlier.is_of_the_request())
    }

    /// The provider is in trouble, whoever asks it for what.
    pub fn is_of_the_provider(&self) -> bool {
        match self.what {
            What::Unreached { .. } | What::Late | What::Broken => true,
            What::Refused(status) => status >= 500,
            What::Unsendable => false,
        }
    }
}

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Situation {
    /// The one second attempt at this model was made.
    pub tried_again: bool,
    /// The provider has another key that does not rest and was not tried.
    pub other_key: bool,
    /// There is another model that may be asked.
    pub other_model: bool,
    /// The provider rests: it has failed too often of late.
    pub resting: bool,
    /// What is left of the time for this model's answer.
    pub left: Duration,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask at once with another key.
    OtherKey,
    /// Ask again, after so long.
    Again(Duration),
    /// Ask another model, if there is one.
    OtherModel,
    /// Tell the client.
    Tell,
}

/// Decides. `luck` is a random number from 0 to 1, which spreads second attempts in time.
pub fn decide(sign: &Sign, now: &Situation, luck: f64) -> Step {
    if sign.is_of_the_key() && now.other_key {
        return Step::OtherKey;
    }
    if let Some(wait) = again(sign, now, luck) {
        return Step::Again(wait);
    }
    if sign.is_of_the_request() || !now.other_model { Step::Tell } else { Step::OtherModel }
}

fn again(sign: &Sign, now: &Situation, luck: f64) -> Option<Duration> {
    if now.tried_again || now.resting || sign.should_retry == Some(false) {
        return None;
    }
    match sign.what {
        // Another model is likely to be there sooner.
        What::Unreached { late } if late && now.other_model => return None,
        What::Unreached { .. } | What::Refused(502 | 503 | 529) => {}
        // Without a word on when, it would only be refused again.
        What::Refused(429) if sign.retry_after.is_some() => {}
        _ => return None,
    }
    let told = sign.retry_after.unwrap_or_default();
    let wait = told + SPREAD.mul_f64(luck.clamp(0.0, 1.0));
    (told <= SHORT && wait < now.left).then_some(wait)
}

/// How many second attempts may be under way at once, over all workers: a fifth of the running
/// requests, and three. An upstream that is down is not asked twice as often for it.
///
/// Other keys and other models do not count: each is asked once at most for a request, and
/// rests when it fails.
#[derive(Debug, Clone, Default)]
pub struct Budget(Arc<AtomicUsize>);

/// One second attempt. Dropping it makes room for the next.
#[derive(Debug)]
pub struct Second(Arc<AtomicUsize>);

impl Budget {
    /// Room for one more while so many requests run.
    pub fn take(&self, running: usize) -> Option<Second> {
        let before = self.0.fetch_add(1, Ordering::AcqRel);
        let second = Second(Arc::clone(&self.0));
        (before < running / 5 + 3).then_some(second)
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
