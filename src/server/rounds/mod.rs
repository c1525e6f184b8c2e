//! An exchange of several rounds: an answer calls web tools, they are carried out, and the
//! upstream goes on with their results. For the client it is one message.

mod carry;

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use super::app::Worker;
use super::attempt::{Answered, Asking, Further, Origin, Prepared};
use super::pump::counts;
use super::reading::Reading;
use super::{adapt, failover};
use crate::config::Model;
use crate::convert::web::{Round, continued};
use crate::convert::{CompletedCall, HeldEnd, Resumed};
use crate::observe::Record;
use crate::upstream::Crossing;
use crate::wire::anthropic::{ApiError, ErrorKind, Request, WebSettings, WebTool};
use carry::{Carried, Task};

/// Further requests upstream in one exchange. With the last of them the tools are not offered any
/// more, so that the model answers.
const MOST_ROUNDS: u32 = 10;
/// As if so many rounds were gone, when the first calls are so long ago.
const MOST_TIME: Duration = Duration::from_secs(300);
/// Calls of one tool in one exchange, where `max_uses` allows more.
const MOST_USES: u64 = 50;
/// Calls of one answer that are carried out at once; more are refused.
const MOST_AT_ONCE: usize = 16;
/// Results in one exchange, in bytes: they are kept until it ends. A PDF of 10 MiB takes 14 MB.
const MOST_BYTES: usize = 32 << 20;

/// The rounds of one exchange. Dropping it takes back what is under way.
pub(super) struct Rounds {
    worker: Rc<Worker>,
    model: Arc<Model>,
    request_id: Rc<str>,
    origin: Origin,
    /// The same with all that was said since, as it went upstream last.
    latest: Bytes,
    /// How often each tool was called, and as what it was offered.
    uses: Vec<(WebTool, u64, Rc<WebSettings>)>,
    /// Bytes of results.
    bytes: usize,
    /// Requests after the first.
    asked: u32,
    /// When the first calls came.
    began: Option<Instant>,
    /// The tools are not offered any more.
    spent: bool,
    step: Step,
}

enum Step {
    /// An answer is coming.
    Listening,
    /// Its calls are carried out; the results come in the order of the calls.
    Working(FuturesOrdered<LocalBoxFuture<'static, Carried>>),
    /// The next answer is asked for.
    Asking(LocalBoxFuture<'static, (Result<Answered, ApiError>, Record)>),
    /// There is nothing to go on with.
    Over,
}

/// What follows an answer whose end is held.
pub(super) enum Next {
    /// Its end.
    End,
    /// Another answer, which goes on with the same message.
    Answer(Box<Answered>),
}

impl Rounds {
    /// For an answer of `model`.
    pub(super) fn new(worker: &Rc<Worker>, model: &Arc<Model>, request_id: &str, origin: Origin) -> Self {
        Self {
            worker: Rc::clone(worker),
            model: Arc::clone(model),
            request_id: request_id.into(),
            latest: origin.request.clone(),
            origin,
            uses: Vec::new(),
            bytes: 0,
            asked: 0,
            began: None,
            spent: false,
            step: Step::Listening,
        }
    }

    /// One look, for an answer whose end is held. Ready: nothing is under way any more.
    ///
    /// # Errors
    /// The exchange ends with this.
    pub(super) fn poll(
        &mut self,
        end: &mut dyn HeldEnd,
        out: &mut Vec<u8>,
        record: &mut Record,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Next, ApiError>> {
        loop {
            match &mut self.step {
                Step::Listening => {
                    let calls = end.take_web_calls();
                    self.step = if calls.is_empty() { Step::Over } else { Step::Working(self.begin(calls)) };
                }
                Step::Working(under_way) => {
                    if let Some(mut carried) = ready!(under_way.poll_next_unpin(cx)) {
                        self.bytes += carried.fit(MOST_BYTES.saturating_sub(self.bytes));
                        carried.insert(end, out, record);
                        continue;
                    }
                    let resumed = if self.spent { None } else { end.resumed(out) };
                    self.step = resumed.map_or(Step::Over, |resumed| self.ask(resumed, record));
                }
                Step::Asking(asked) => {
                    let (answer, part) = ready!(asked.poll_unpin(cx));
                    self.step = Step::Listening;
                    record.add(&part);
                    return Poll::Ready(answer.map(|answer| Next::Answer(Box::new(answer))));
                }
                Step::Over => return Poll::Ready(Ok(Next::End)),
            }
        }
    }

    /// Begins to carry out the calls of an answer, side by side.
    fn begin(&mut self, calls: Vec<CompletedCall>) -> FuturesOrdered<LocalBoxFuture<'static, Carried>> {
        self.began.get_or_insert_with(Instant::now);
        let latest = self.latest.clone();
        let request = Request::parse(&latest).ok();
        let mut under_way = FuturesOrdered::new();
        for (n, call) in calls.into_iter().enumerate() {
            let Some(tool) = call.web else { continue };
            let task = match self.grant(tool, request.as_ref()) {
                Some(_) if n >= MOST_AT_ONCE => Task::refused(call, tool, "too_many_requests"),
                Some(settings) => Task::of(call, tool, &settings, request.as_ref()),
                None => Task::refused(call, tool, "max_uses_exceeded"),
            };
            let run = task.run(Rc::clone(&self.worker), Rc::clone(&self.request_id));
            under_way.push_back(Box::pin(run) as LocalBoxFuture<'static, Carried>);
        }
        under_way
    }

    /// Counts a call; none: there were too many.
    fn grant(&mut self, tool: WebTool, request: Option<&Request<'_>>) -> Option<Rc<WebSettings>> {
        if !self.uses.iter().any(|(known, ..)| *known == tool) {
            let settings = request.and_then(|r| WebSettings::of(r, tool).ok().flatten())?;
            self.uses.push((tool, 0, Rc::new(settings)));
        }
        let (_, used, settings) = self.uses.iter_mut().find(|(known, ..)| *known == tool)?;
        *used += 1;
        let most = settings.max_uses.unwrap_or(MOST_USES).min(MOST_USES);
        (*used <= most && !self.spent).then(|| Rc::clone(settings))
    }

    /// Asks the same model to go on.
    fn ask(&mut self, resumed: Resumed, record: &mut Record) -> Step {
        self.asked += 1;
        // Is to be paid, whatever becomes of the rest.
        record.counts = counts(resumed.usage());
        self.spent =
            self.asked >= MOST_ROUNDS || self.began.is_some_and(|began| began.elapsed() >= MOST_TIME);
        let Some(latest) = continued(&self.origin.request, &resumed.content()) else { return Step::Over };
        self.latest = latest.into();
        let mut part = record.part();
        if let Some(exchange) = &part.capture {
            let rounds = self.asked + 1;
            exchange.describe(|meta| meta.rounds = rounds);
        }
        let (worker, model) = (Rc::clone(&self.worker), Arc::clone(&self.model));
        let (request, request_id) = (self.latest.clone(), Rc::clone(&self.request_id));
        let Origin { seed, delegated, session, keeping, .. } = self.origin.clone();
        let round = if self.spent { Round::Last } else { Round::Further };
        let further = Further { resumed: Arc::new(resumed), round };
        Step::Asking(Box::pin(async move {
            let asking = Asking {
                request_id: &request_id,
                seed,
                crossing: Crossing::default(),
                delegated,
                session,
                keeping: keeping.map_or_else(OnceCell::new, OnceCell::from),
                further: Some(further),
            };
            let answer = go_on(&worker, &asking, &request, &model, &mut part).await;
            (answer, part)
        }))
    }
}

async fn go_on(
    worker: &Rc<Worker>,
    asking: &Asking<'_>,
    request: &Bytes,
    model: &Arc<Model>,
    record: &mut Record,
) -> Result<Answered, ApiError> {
    let mut reading = Reading::of(request, worker);
    match adapt::prepare(worker, asking, &mut reading, model, record).await? {
        Prepared::Call(call) => failover::once_more(worker, &call, record).await,
        Prepared::Local(_) => Err(ApiError::new(
            500,
            ErrorKind::Api,
            "internal error: a round without a request; please report it",
        )),
    }
}
