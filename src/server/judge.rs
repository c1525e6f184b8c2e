//! Auto mode: a model of the configuration judges the tool calls of an answer.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Sleep, sleep};

use super::app::Worker;
use super::attempt::Asking;
use super::side::{self, Said};
use super::work::{Turn, Work};
use crate::config::Api;
use crate::convert::CompletedCall;
use crate::convert::safeguards::{Case, Manner, Reason, Verdict, results};
use crate::observe::side::Purpose;
use crate::observe::{Cause, Record};
use crate::wire::anthropic::{ApiError, ErrorKind, Request};

/// Longest time for one verdict, and from the end of the answer until all are there, if
/// `upstream_timeout` is no shorter. Claude Code waits as long as pings come; a user does not.
const LIMIT: Duration = Duration::from_secs(30);
/// Calls of one answer that are judged at the same time.
const AT_ONCE: usize = 4;
/// Calls of one answer that are judged at all: each is a request.
const MOST: usize = 64;

/// What is known of the request for those who judge the calls of its answer; none: nobody does.
pub(super) fn case(
    worker: &Worker,
    asking: &Asking<'_>,
    request: &Request<'_>,
    record: &Record,
) -> Option<Rc<Case>> {
    if request.safeguards.is_none()
        || worker.config.extras.safeguards_model.is_none()
        || record.side.is_some()
    {
        return None;
    }
    Case::of(request, worker.ids.random(), asking.delegated).map(Rc::new)
}

type Question = Pin<Box<dyn Future<Output = (usize, Verdict, Option<Said>)>>>;

/// The judgement of one answer.
pub(super) struct Judge {
    worker: Rc<Worker>,
    model: String,
    manner: Manner,
    case: Rc<Case>,
    cause: Cause,
    limit: Duration,
    /// Calls that wait for their turn: which of `found` they are.
    waiting: VecDeque<(usize, CompletedCall)>,
    running: FuturesUnordered<Question>,
    /// Each call's id, and what was found on it.
    found: Vec<(String, Option<Verdict>)>,
    /// From when all calls are here.
    until: Option<Pin<Box<Sleep>>>,
    told: bool,
}

impl Judge {
    /// None: there is no such model.
    pub(super) fn new(worker: &Rc<Worker>, case: &Rc<Case>, cause: Cause) -> Option<Self> {
        let model = worker.config.extras.safeguards_model.clone()?;
        let api = worker.config.model(&model)?.provider.api;
        Some(Self {
            worker: Rc::clone(worker),
            model,
            manner: if api == Api::Anthropic { Manner::Passed } else { Manner::Converted },
            case: Rc::clone(case),
            cause,
            limit: LIMIT.min(worker.config.upstream_timeout),
            waiting: VecDeque::new(),
            running: FuturesUnordered::new(),
            found: Vec::new(),
            until: None,
            told: false,
        })
    }

    /// Takes a call that is at its end.
    fn take(&mut self, call: CompletedCall) {
        let at = self.found.len();
        let left_out = at >= MOST;
        self.found.push((call.id.clone(), left_out.then_some(Verdict::Unavailable(Reason::Error))));
        if !left_out {
            self.waiting.push_back((at, call));
        }
    }

    /// Asks about as many calls as may be asked about now.
    fn ask(&mut self) {
        while self.running.len() < AT_ONCE
            && let Some((at, call)) = self.waiting.pop_front()
        {
            match self.case.question(&self.model, &call, self.manner) {
                Ok(body) => self.running.push(self.question(at, body)),
                Err(reason) => self.find(at, Verdict::Unavailable(reason)),
            }
        }
    }

    fn question(&self, at: usize, body: Vec<u8>) -> Question {
        let worker = Rc::clone(&self.worker);
        let (model, case, cause) = (self.model.clone(), Rc::clone(&self.case), self.cause.clone());
        let limit = self.limit;
        Box::pin(async move {
            match side::ask(&worker, Purpose::Safeguards, &model, body, limit, &cause).await {
                Ok(said) => {
                    let verdict = case.verdict(&said.text, &said.stop_reason);
                    if verdict == Verdict::Unavailable(Reason::Error) {
                        tracing::warn!(request_id = &*cause.request_id, %model, stop_reason = %said.stop_reason, "the judge's answer is no verdict");
                    }
                    (at, verdict, Some(said))
                }
                // `side::ask` has it in the log.
                Err(error) => (at, Verdict::Unavailable(reason(&error)), None),
            }
        })
    }

    fn find(&mut self, at: usize, verdict: Verdict) {
        if let Some((_, found)) = self.found.get_mut(at) {
            *found = Some(verdict);
        }
    }

    /// Says what was found; where that is nothing, `otherwise`.
    fn tell(&self, otherwise: Reason) -> String {
        let none = Verdict::Unavailable(otherwise);
        let found = self.found.iter().map(|(id, found)| (id.as_str(), found.as_ref().unwrap_or(&none)));
        results(found.inspect(|(_, verdict)| self.worker.metrics.judged(verdict.as_str())))
    }
}

impl Work for Judge {
    fn poll(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Poll<Result<(), ApiError>> {
        for call in turn.end.take_calls() {
            self.take(call);
        }
        self.ask();
        while let Poll::Ready(Some((at, verdict, said))) = self.running.poll_next_unpin(cx) {
            if let Some(said) = said {
                turn.record.asides.add(said.counts);
            }
            self.find(at, verdict);
            self.ask();
        }
        if self.told {
            return Poll::Ready(Ok(()));
        }
        if !turn.closing {
            return Poll::Pending;
        }
        let over = self.running.is_empty() && self.waiting.is_empty();
        let late = !over
            && self.until.get_or_insert_with(|| Box::pin(sleep(self.limit))).as_mut().poll(cx).is_ready();
        if !over && !late {
            return Poll::Pending;
        }
        self.running.clear();
        self.waiting.clear();
        let told = self.tell(Reason::Timeout);
        turn.end.judged(told);
        self.told = true;
        Poll::Ready(Ok(()))
    }
}

/// Why there is no verdict, when the judge could not be asked.
fn reason(error: &ApiError) -> Reason {
    match error.kind {
        ErrorKind::Timeout => Reason::Timeout,
        ErrorKind::RequestTooLarge => Reason::InputTooLong,
        _ if error.message.starts_with("prompt is too long") => Reason::InputTooLong,
        _ => Reason::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons() {
        for (error, want) in [
            (ApiError::new(504, ErrorKind::Timeout, "x"), Reason::Timeout),
            (ApiError::new(413, ErrorKind::RequestTooLarge, "x"), Reason::InputTooLong),
            (ApiError::invalid_request("prompt is too long: 9 tokens > 8 maximum"), Reason::InputTooLong),
            (ApiError::invalid_request("temperature: no"), Reason::Error),
            (ApiError::bad_gateway("x"), Reason::Error),
        ] {
            assert_eq!(reason(&error), want);
        }
    }
}
