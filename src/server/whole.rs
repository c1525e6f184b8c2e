//! A whole answer, also where the upstream sent it as a stream.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use super::app::Worker;
use super::attempt::Answered;
use super::clocks::SETTLED;
use super::rounds::{Next, Rounds};
use super::work::Works;
use crate::config::Provider;
use crate::convert::{self, Fold, Form, ReplyContext, UpstreamEnd, WholeAnswer, WholeTranslator, native};
use crate::observe::{Record, log};
use crate::upstream::body::MAX_WHOLE;
use crate::upstream::{Answer, Body, Cause, Fault, Spare, Stage};
use crate::wire::anthropic::{ApiError, ErrorKind};

/// What a Message has more than the completion that it was, in bytes; nearly always.
const ROOM: usize = 4096;

/// An answer that was read.
pub(super) enum Read {
    /// All of it is here.
    Done(WholeAnswer),
    /// Its end waits for work of ours.
    Held(Box<WholeTranslator>),
}

/// An answer whose end waits for work of ours.
pub(super) struct Held {
    pub(super) translator: Box<WholeTranslator>,
    pub(super) works: Option<Box<Works>>,
    pub(super) rounds: Option<Box<Rounds>>,
    pub(super) provider: Arc<Provider>,
}

impl Held {
    /// Does that work, and gives the answer. Dropping it is cancelling.
    ///
    /// # Errors
    /// What the client is told instead.
    pub(super) async fn finish(
        mut self: Box<Self>,
        worker: &Worker,
        record: &mut Record,
    ) -> Result<WholeAnswer, ApiError> {
        while let Some(mut rounds) = self.rounds.take() {
            let next = poll_fn(|cx| {
                let (end, out) = self.translator.held_end();
                if end.is_held() { rounds.poll(end, out, record, cx) } else { Poll::Ready(Ok(Next::End)) }
            });
            let Next::Answer(answer) = next.await? else { break };
            let Answered::Held(held, _) = *answer else {
                let what = "internal error: a round of another kind; please report it";
                return Err(ApiError::new(500, ErrorKind::Api, what));
            };
            self = held;
            self.rounds = Some(rounds);
        }
        poll_fn(|cx| {
            let (end, out) = self.translator.held_end();
            match &mut self.works {
                Some(works) if end.is_held() => works.poll(end, true, out, record, cx),
                _ => {
                    end.conclude(out);
                    Poll::Ready(Ok(()))
                }
            }
        })
        .await?;
        let whole = self.translator.answer();
        show(worker, &self.provider, record, "answer", &whole.body);
        Ok(whole)
    }
}

/// An answer that is being read; `upstream_timeout` bounds all of it.
struct Coming<'a> {
    worker: &'a Worker,
    provider: &'a Provider,
    content_type: String,
    body: Body,
    until: Instant,
}

impl<'a> Coming<'a> {
    fn new(worker: &'a Worker, provider: &'a Provider, answer: Answer) -> Self {
        let until = answer.began + worker.config.upstream_timeout;
        Self { worker, provider, content_type: answer.content_type(), body: answer.body, until }
    }

    fn told(&self, fault: &Fault) -> ApiError {
        fault.api_error(&self.provider.name)
    }

    fn late(&self) -> ApiError {
        self.told(&Fault::new(Stage::Body, Cause::Timeout(self.worker.config.upstream_timeout)))
    }

    /// The next bytes; none: that was all.
    async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        let next = timeout_at(self.until, self.body.chunk()).await.map_err(|_| self.late())?;
        next.transpose().map_err(|fault| self.told(&fault))
    }

    /// All of it, `head` included, which was read already.
    async fn rest(&mut self, head: Bytes) -> Result<Bytes, ApiError> {
        let rest = self.body.rest(head, MAX_WHOLE, self.until, self.worker.config.upstream_timeout).await;
        rest.map_err(|fault| self.told(&fault))
    }
}

/// Logs a body, without the provider's keys.
fn show(worker: &Worker, provider: &Provider, record: &Record, what: &'static str, bytes: &[u8]) {
    let max = worker.config.log_body_max_chars;
    log::body(max, &record.request_id, what, bytes, |text| provider.blot(text));
}

/// Reads and converts the answer.
pub(super) async fn read(
    worker: &Worker,
    provider: &Provider,
    answer: Answer,
    context: ReplyContext,
    record: &mut Record,
) -> Result<Read, ApiError> {
    let mut coming = Coming::new(worker, provider, answer);
    // Enough of it to tell what it is.
    let mut head = Bytes::new();
    let form = loop {
        if let Some(form) = Form::of(&coming.content_type, &head) {
            break form;
        }
        match coming.chunk().await? {
            Some(chunk) => head = chunk,
            None => break Form::Whole,
        }
    };
    record.mark_first_byte();
    #[cfg(test)]
    super::tests::trip(&head);
    if form == Form::Whole {
        let whole = coming.rest(head).await?;
        let here = Instant::now();
        show(worker, provider, record, "upstream answer", &whole);
        let out = Spare::with_capacity(whole.len() + ROOM).into_vec();
        if context.holds.any() {
            let held = convert::response_held(out, &whole, context)?;
            record.own.answered(here.elapsed());
            return Ok(Read::Held(Box::new(held)));
        }
        let answer = convert::response_into(out, &whole, context)?;
        record.own.answered(here.elapsed());
        return Ok(Read::Done(answer));
    }

    // Rare, and large.
    Box::pin(fold(coming, head, context, record)).await
}

/// Makes a whole answer of one that was streamed.
async fn fold(
    mut coming: Coming<'_>,
    head: Bytes,
    context: ReplyContext,
    record: &mut Record,
) -> Result<Read, ApiError> {
    let (worker, provider) = (coming.worker, coming.provider);
    let holds = context.holds.any();
    let mut fold = Fold::new(context);
    let mut idle = worker.config.stream_idle_timeout;
    let mut next = Some(Ok(head));
    let end = loop {
        match next {
            Some(Ok(bytes)) if fold.take(&bytes)? => {
                break UpstreamEnd::DoneMarker;
            }
            Some(Ok(_)) => {}
            Some(Err(fault)) => {
                tracing::debug!(request_id = %record.request_id, %fault, "the upstream's stream broke");
                break fold.last()?;
            }
            None => break fold.last()?,
        }
        if fold.finish_seen() {
            idle = SETTLED;
        }
        let silent = Instant::now() + idle;
        next = match timeout_at(coming.until.min(silent), coming.body.chunk()).await {
            Ok(next) => next,
            Err(_) if fold.finish_seen() => break UpstreamEnd::Eof,
            Err(_) if coming.until <= silent => return Err(coming.late()),
            Err(_) => return Err(coming.told(&Fault::new(Stage::Body, Cause::Idle(idle)))),
        };
    };
    if end == UpstreamEnd::DoneMarker {
        coming.body.linger();
    }
    let here = Instant::now();
    if holds {
        let held = fold.close(end)?;
        record.own.answered(here.elapsed());
        return Ok(Read::Held(Box::new(held)));
    }
    let whole = fold.finish(end)?;
    record.own.answered(here.elapsed());
    show(worker, provider, record, "answer", &whole.body);
    Ok(Read::Done(whole))
}

/// Reads an answer that passes as it is.
pub(super) async fn pass(
    worker: &Worker,
    provider: &Provider,
    answer: Answer,
    record: &mut Record,
) -> Result<Read, ApiError> {
    let mut coming = Coming::new(worker, provider, answer);
    // Enough of it to tell that it is no stream, which might never end.
    let mut head = BytesMut::new();
    while Form::of(&coming.content_type, &head).is_none() && head.len() < 64 * 1024 {
        let Some(chunk) = coming.chunk().await? else { break };
        head.extend_from_slice(&chunk);
    }
    record.mark_first_byte();
    native::check_form(Form::of(&coming.content_type, &head).unwrap_or(Form::Whole), &provider.name)?;
    let whole = coming.rest(head.freeze()).await?;
    let here = Instant::now();
    show(worker, provider, record, "upstream answer", &whole);
    let summary = native::answer(&whole, &provider.name)?;
    record.own.answered(here.elapsed());
    Ok(Read::Done(WholeAnswer { body: whole.into(), summary, recorded: None }))
}
