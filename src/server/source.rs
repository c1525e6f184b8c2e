//! The upstream's side of a streamed answer: what is read, and when it is overdue.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::app::Worker;
use super::attempt::Answered;
use super::clocks::{Clocks, Due, Phase};
use super::rounds::{Next, Rounds};
use super::work::Works;
use crate::config::Provider;
use crate::convert::{Flow, Form};
use crate::observe::metrics::FaultStage;
use crate::observe::{Record, log};
use crate::upstream::body::MAX_WHOLE;
use crate::upstream::{Answer, Body, Cause, Fault, Stage};
use crate::wire::anthropic::{ApiError, ErrorKind};

/// Output that is collected before it is passed on although the upstream has more.
pub(super) const BATCH: usize = 64 * 1024;

/// How far one look at the upstream came.
pub(super) enum Step {
    /// There may be more later.
    Waiting,
    /// There is more, but enough for one chunk.
    Batch,
    /// That was all.
    Over,
}

/// Where the events of a stream come from.
pub(super) struct Source {
    pub(super) worker: Rc<Worker>,
    provider: Arc<Provider>,
    request_id: String,
    /// None: it has ended, or was let go.
    pub(super) upstream: Option<Body>,
    pub(super) flow: Flow,
    pub(super) clocks: Clocks,
    /// Work that the end waits for.
    pub(super) works: Option<Box<Works>>,
    /// Further rounds that the answer may lead to.
    pub(super) rounds: Option<Box<Rounds>>,
}

/// The beginning of a stream, which can go to the client.
pub(super) struct Opened {
    pub(super) source: Source,
    /// The first events.
    pub(super) events: Vec<u8>,
    /// What went wrong behind them.
    pub(super) broken: Option<ApiError>,
}

impl Source {
    /// For an answer whose head is here.
    pub(super) fn new(
        worker: &Rc<Worker>,
        provider: &Arc<Provider>,
        request_id: &str,
        mut answer: Answer,
        flow: Flow,
        works: Option<Box<Works>>,
    ) -> Self {
        answer.body.forget_head();
        Self {
            worker: Rc::clone(worker),
            provider: Arc::clone(provider),
            request_id: request_id.to_owned(),
            clocks: Clocks::new(&worker.config, answer.began),
            flow,
            upstream: Some(answer.body),
            works,
            rounds: None,
        }
    }

    /// Waits for the first event, so that what goes wrong until then is a real HTTP error, or
    /// somebody else can be asked; not longer than the grace, and then commits to a 200.
    ///
    /// # Errors
    /// The answer to give instead.
    pub(super) async fn open(mut self) -> Result<Opened, ApiError> {
        let mut events = Vec::new();
        let broken = poll_fn(|cx| {
            loop {
                match self.read(cx, &mut events) {
                    Ok(Step::Over) => return Poll::Ready(Ok(None)),
                    Ok(_) if self.flow.started() => return Poll::Ready(Ok(None)),
                    Ok(Step::Batch) => continue,
                    Ok(Step::Waiting) => self.clocks.pause(),
                    Err(error) if self.flow.started() => return Poll::Ready(Ok(Some(error))),
                    Err(error) => return Poll::Ready(Err(error)),
                }
                match std::task::ready!(self.clocks.poll(self.phase(false), cx)) {
                    Due::Commit | Due::Ping => {
                        self.flow.start(&mut events);
                        return Poll::Ready(Ok(None));
                    }
                    due => return Poll::Ready(Err(self.overdue(due))),
                }
            }
        })
        .await;
        let broken = broken.inspect_err(|_| self.blame())?;
        self.clocks.send();
        Ok(Opened { source: self, events, broken })
    }

    pub(super) fn phase(&self, committed: bool) -> Phase {
        Phase { committed, finished: self.flow.finish_seen(), held: self.is_held() }
    }

    /// The upstream is done, and the answer's end waits for work of ours.
    pub(super) fn is_held(&self) -> bool {
        self.upstream.is_none() && self.flow.is_held()
    }

    /// Looks after the work that the end waits for. Ready: it is done, and so is the answer; or
    /// not (false), because there is another upstream answer to be read.
    pub(super) fn attend(
        &mut self,
        record: &mut Record,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Result<bool, ApiError>> {
        let held = self.is_held();
        let Some(end) = self.flow.held_end() else { return Poll::Pending };
        let mut closing = held;
        if let Some(rounds) = self.rounds.as_mut().filter(|_| held) {
            closing = match rounds.poll(end, out, record, cx)? {
                Poll::Ready(Next::Answer(answer)) => {
                    return Poll::Ready(self.go_on(*answer, out).map(|()| false));
                }
                Poll::Ready(Next::End) => true,
                Poll::Pending => false,
            };
        }
        match &mut self.works {
            Some(works) => works.poll(end, closing, out, record, cx).map_ok(|()| true),
            None if closing => {
                end.conclude(out);
                Poll::Ready(Ok(true))
            }
            None => Poll::Pending,
        }
    }

    /// Another upstream answer takes the place of the one that is read.
    fn go_on(&mut self, answer: Answered, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let Answered::Stream(opened, _) = answer else {
            return Err(ApiError::new(
                500,
                ErrorKind::Api,
                "internal error: a round of another kind; please report it",
            ));
        };
        let Opened { mut source, events, broken } = *opened;
        source.rounds = self.rounds.take();
        source.clocks.carry(self.clocks.own());
        *self = source;
        out.extend_from_slice(&events);
        broken.map_or(Ok(()), Err)
    }

    /// Takes all that the upstream has for us now.
    pub(super) fn read(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Result<Step, ApiError> {
        loop {
            let Some(upstream) = &mut self.upstream else { return Ok(Step::Over) };
            match upstream.poll_chunk(cx) {
                Poll::Pending => return Ok(Step::Waiting),
                Poll::Ready(Some(Ok(bytes))) => {
                    self.clocks.hear();
                    if self.take(&bytes, out)? {
                        return Ok(Step::Over);
                    }
                    if out.len() >= BATCH {
                        return Ok(Step::Batch);
                    }
                }
                Poll::Ready(ended) => {
                    self.upstream = None;
                    self.end(ended.and_then(Result::err), out)?;
                    return Ok(Step::Over);
                }
            }
        }
    }

    /// Makes events of upstream bytes. True: the stream said that it is done.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<bool, ApiError> {
        #[cfg(test)]
        super::tests::trip(bytes);
        let done = self.flow.take(bytes, out, || self.clocks.event())?;
        if self.flow.whole().len() > MAX_WHOLE {
            return Err(self.told(Cause::TooLarge(MAX_WHOLE)));
        }
        if done {
            self.let_go();
        }
        Ok(done)
    }

    /// The upstream's body has ended, cleanly or not: the flow knows whether that was all.
    fn end(&mut self, fault: Option<Fault>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        match (self.flow.form(), fault) {
            (Some(Form::Events), Some(fault)) => {
                tracing::debug!(request_id = %self.request_id, %fault, "the upstream's stream broke");
            }
            (_, Some(fault)) => return Err(fault.api_error(&self.provider.name)),
            (Some(Form::Whole), None) => {
                let max = self.worker.config.log_body_max_chars;
                let blot = |text: &mut String| self.blot(text);
                log::body(max, &self.request_id, "upstream answer", self.flow.whole(), blot);
            }
            _ => {}
        }
        self.flow.end(out)
    }

    /// Lets the connection end by itself, so that it can be used again.
    fn let_go(&mut self) {
        if let Some(body) = self.upstream.take() {
            body.linger();
        }
    }

    fn told(&self, cause: Cause) -> ApiError {
        Fault::new(Stage::Body, cause).api_error(&self.provider.name)
    }

    /// What the client is told when a clock has run out.
    pub(super) fn overdue(&self, due: Due) -> ApiError {
        match due {
            Due::FirstEvent(limit) => self.told(Cause::Timeout(limit)),
            Due::Idle(limit) => self.told(Cause::Idle(limit)),
            Due::Ping | Due::Commit | Due::Settled => ApiError::bad_gateway(""),
        }
    }

    /// Counts that the upstream failed in its answer.
    pub(super) fn blame(&self) {
        self.worker.meters.fault(&self.provider, FaultStage::Body);
    }

    /// Blots keys out of what an upstream said.
    pub(super) fn blot(&self, words: &mut String) {
        self.provider.blot(words);
    }
}
