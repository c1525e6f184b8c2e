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
            // Of ours, 4xx are words about the request.
            (Some(status), _) | (None, status @ 400..500) => What::Refused(status),
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

    /// Another model may be asked after this. A complaint about the request ends it only if it
    /// comes from the model that was asked for: a fallback may have a smaller context.
    pub fn goes_on(&self, stands_in: bool) -> bool {
        stands_in || !self.is_of_the_request()
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
    /// The model is not the one that the client asked for: it stands in for that.
    pub stands_in: bool,
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
    if now.other_model && sign.goes_on(now.stands_in) { Step::OtherModel } else { Step::Tell }
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const S: Duration = Duration::from_secs(1);
    /// Other keys and models, and time.
    const RICH: Situation = Situation {
        tried_again: false,
        other_key: true,
        other_model: true,
        stands_in: false,
        resting: false,
        left: Duration::from_secs(300),
    };
    /// One key, one model.
    const POOR: Situation = Situation { other_key: false, other_model: false, ..RICH };

    fn sign(what: What) -> Sign {
        Sign { what, retry_after: None, should_retry: None }
    }

    fn refused(status: u16) -> Sign {
        sign(What::Refused(status))
    }

    fn after(status: u16, wait: Duration) -> Sign {
        Sign { retry_after: Some(wait), ..refused(status) }
    }

    #[test]
    fn what_follows_each_failure() {
        use Step::{Again, OtherKey, OtherModel, Tell};
        let again = Again(125 * MS);
        let unreached = |late| sign(What::Unreached { late });
        // The failure; with nothing else to ask; with another model; with another key as well.
        for (failure, poor, model, rich) in [
            (unreached(false), again, again, again),
            (unreached(true), again, OtherModel, OtherModel),
            (sign(What::Late), Tell, OtherModel, OtherModel),
            (sign(What::Broken), Tell, OtherModel, OtherModel),
            (sign(What::Unsendable), Tell, OtherModel, OtherModel),
            (refused(502), again, again, again),
            (refused(503), again, again, again),
            (refused(529), again, again, again),
            (after(503, S), Again(1125 * MS), Again(1125 * MS), Again(1125 * MS)),
            (after(503, 2 * S), Again(2125 * MS), Again(2125 * MS), Again(2125 * MS)),
            (after(503, 2001 * MS), Tell, OtherModel, OtherModel),
            (after(529, 60 * S), Tell, OtherModel, OtherModel),
            (after(429, Duration::ZERO), again, again, OtherKey),
            (after(429, 2 * S), Again(2125 * MS), Again(2125 * MS), OtherKey),
            (after(429, 3 * S), Tell, OtherModel, OtherKey),
            (refused(429), Tell, OtherModel, OtherKey),
            (refused(401), Tell, OtherModel, OtherKey),
            (refused(402), Tell, OtherModel, OtherKey),
            (refused(403), Tell, OtherModel, OtherKey),
            (refused(404), Tell, OtherModel, OtherModel),
            (refused(405), Tell, OtherModel, OtherModel),
            (refused(408), Tell, OtherModel, OtherModel),
            (refused(409), Tell, OtherModel, OtherModel),
            (refused(500), Tell, OtherModel, OtherModel),
            (refused(504), Tell, OtherModel, OtherModel),
            (refused(524), Tell, OtherModel, OtherModel),
            (refused(400), Tell, Tell, Tell),
            (refused(413), Tell, Tell, Tell),
            (refused(415), Tell, Tell, Tell),
            (refused(422), Tell, Tell, Tell),
            (refused(451), Tell, Tell, Tell),
        ] {
            let with_model = Situation { other_key: false, ..RICH };
            for (situation, want) in [(POOR, poor), (with_model, model), (RICH, rich)] {
                assert_eq!(decide(&failure, &situation, 0.5), want, "{failure:?} {situation:?}");
            }
            // One second attempt, none at a provider that rests or says no, none beyond the clock.
            let spoiled = [
                (Situation { tried_again: true, ..POOR }, failure),
                (Situation { resting: true, ..POOR }, failure),
                (Situation { left: 125 * MS, ..POOR }, failure),
                (POOR, Sign { should_retry: Some(false), ..failure }),
            ];
            for (situation, failure) in spoiled {
                assert_eq!(decide(&failure, &situation, 0.5), Tell, "{failure:?} {situation:?}");
            }
        }
    }

    #[test]
    fn what_a_fallback_complains_of_is_its_own_affair() {
        for status in [400, 413, 422] {
            let stands_in = Situation { stands_in: true, ..RICH };
            assert_eq!(decide(&refused(status), &stands_in, 0.5), Step::OtherModel);
            let last = Situation { other_model: false, ..stands_in };
            assert_eq!(decide(&refused(status), &last, 0.5), Step::Tell);
        }
    }

    #[test]
    fn luck_spreads_second_attempts() {
        for (luck, wait) in
            [(0.0, Duration::ZERO), (0.4, 100 * MS), (1.0, 250 * MS), (9.0, 250 * MS), (-1.0, Duration::ZERO)]
        {
            assert_eq!(decide(&refused(503), &POOR, luck), Step::Again(wait));
        }
    }

    #[test]
    fn x_should_retry_does_not_keep_others_from_being_asked() {
        let empty = Sign { should_retry: Some(false), ..refused(429) };
        assert_eq!(decide(&empty, &RICH, 0.5), Step::OtherKey);
        assert_eq!(decide(&empty, &Situation { other_key: false, ..RICH }, 0.5), Step::OtherModel);
    }

    #[test]
    fn the_error_that_helps_most_is_told() {
        let empty = Sign { should_retry: Some(false), ..refused(429) };
        let unreached = sign(What::Unreached { late: false });
        // Of each pair, first the earlier failure, the one that is told.
        for (earlier, later, told_later) in [
            // The first that may pass.
            (refused(503), unreached, false),
            (unreached, refused(503), false),
            (after(429, 60 * S), unreached, false),
            (refused(503), refused(401), false),
            (refused(503), refused(400), false),
            (sign(What::Late), refused(429), false),
            // Of rate limits the one that is over first.
            (after(429, 60 * S), after(429, 5 * S), true),
            (after(429, 5 * S), after(429, 60 * S), false),
            (refused(429), after(429, 60 * S), true),
            (after(429, 60 * S), empty, false),
            // What passes before what does not.
            (refused(401), unreached, true),
            (empty, after(429, S), true),
            (refused(404), refused(500), true),
            // A complaint of a model that works before a key that does not.
            (refused(401), refused(400), true),
            (refused(404), refused(413), true),
            (refused(400), refused(401), false),
            (refused(400), refused(422), false),
            // Else the first.
            (refused(401), refused(404), false),
            (sign(What::Unsendable), refused(403), false),
        ] {
            assert_eq!(later.is_worth_more_than(&earlier), told_later, "{earlier:?} {later:?}");
        }
    }

    #[test]
    fn a_fifth_of_the_running_and_three() {
        for (running, most) in [(0, 3), (4, 3), (5, 4), (9, 4), (10, 5), (200, 43), (1024, 207)] {
            let budget = Budget::default();
            let clone = budget.clone();
            let mut taken: Vec<Second> = (0..most).map(|_| budget.take(running).unwrap()).collect();
            assert!(budget.take(running).is_none() && clone.take(running).is_none(), "{running}");
            taken.pop();
            taken.push(clone.take(running).unwrap());
            assert!(budget.take(running).is_none());
        }
    }

    #[test]
    fn our_own_complaint_is_about_the_request() {
        assert!(Sign::of_error(&ApiError::invalid_request("m")).is_of_the_request());
        assert_eq!(Sign::of_error(&ApiError::bad_gateway("m")).what, What::Broken);
    }

    #[test]
    fn signs_of_faults_and_errors() {
        let connect = |cause| Fault::new(Stage::Connect, cause);
        let tls = Fault { retry: Retry::Never, ..connect(Cause::Tls(super::super::TlsFault::Expired(None))) };
        for (fault, what) in [
            (connect(Cause::Resolve), What::Unreached { late: false }),
            (connect(Cause::ConnectTimeout(S)), What::Unreached { late: true }),
            (connect(Cause::Config(String::new())), What::Unsendable),
            (tls, What::Broken),
            (Fault::new(Stage::Head, Cause::Timeout(S)), What::Late),
            (Fault::new(Stage::Body, Cause::Idle(S)), What::Late),
            (Fault::new(Stage::Head, Cause::ClosedUnanswered), What::Broken),
            (Fault::new(Stage::Head, Cause::Redirect(301)), What::Broken),
            (Fault::new(Stage::Body, Cause::Unframed), What::Broken),
        ] {
            assert_eq!(Sign::of_fault(&fault), sign(what), "{fault:?}");
        }
        let read = |status, body: &str| {
            Sign::of_error(&crate::convert::error::error(status, body.as_bytes(), "p", None))
        };
        let busy = r#"{"error":{"message":"m","code":"rate_limit_exceeded"}}"#;
        for (status, body, want) in [
            (503, "", refused(503)),
            (422, "", refused(422)),
            (200, busy, refused(429)),
            (200, r#"{"error":{"message":"m","code":503}}"#, refused(503)),
            (200, r#"{"error":{"message":"m"}}"#, sign(What::Broken)),
            (200, "<html>", sign(What::Broken)),
            (413, "maximum context length is 5", refused(400)),
            (200, r#"{"error":{"message":"maximum context length is 5"}}"#, refused(400)),
        ] {
            assert_eq!(read(status, body), want, "{status} {body}");
        }
        assert_eq!(
            Sign::of_error(&Fault::new(Stage::Body, Cause::Timeout(S)).api_error("p")).what,
            What::Late
        );
    }
}
