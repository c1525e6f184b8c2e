//! A streamed answer: upstream bytes in, Anthropic events out.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};
use tokio::sync::futures::OwnedNotified;

use super::admit::Permit;
use super::app::Worker;
use super::clocks::{Clocks, Due, Phase};
use super::drain::shutting_down;
use super::reply::Refusal;
use crate::config::Model;
use crate::convert::{Feed, Form, ReplyContext, Summary, UpstreamEnd};
use crate::observe::{Outcome, Record, log};
use crate::upstream::body::MAX_WHOLE;
use crate::upstream::{Answer, Body, Cause, Fault, Stage};
use crate::wire::anthropic::{ApiError, ErrorKind};
use crate::wire::sse::PING;

/// Output that is collected before it is passed on although the upstream has more.
const BATCH: usize = 64 * 1024;

/// The body of a streamed answer.
///
/// Dropping it, which is what actix does when the client goes, drops the upstream connection,
/// the permit and the request's log line with it.
pub(super) struct Pump {
    worker: Rc<Worker>,
    model: Arc<Model>,
    upstream: Option<Body>,
    feed: Feed,
    clocks: Clocks,
    deadline: Pin<Box<OwnedNotified>>,
    watching: bool,
    /// What was ready before the body was asked for.
    opening: Vec<u8>,
    committed: bool,
    over: bool,
    /// The translator panicked: it is not asked for a summary either.
    broken: bool,
    record: Record,
    _permit: Permit,
}

/// How far one look at the upstream came.
enum Step {
    /// There may be more later.
    Waiting,
    /// There is more, but enough for one chunk.
    Batch,
    /// That was all.
    Over,
}

impl Pump {
    /// For an answer whose head is here.
    pub(super) fn new(
        worker: Rc<Worker>,
        model: Arc<Model>,
        answer: Answer,
        context: ReplyContext,
        record: Record,
        permit: Permit,
    ) -> Self {
        let clocks = Clocks::new(&worker.config, answer.began);
        let deadline = worker.drain.deadline();
        Self {
            model,
            feed: Feed::new(answer.content_type(), context),
            upstream: Some(answer.body),
            clocks,
            deadline,
            watching: false,
            opening: Vec::new(),
            committed: false,
            over: false,
            broken: false,
            record,
            _permit: permit,
            worker,
        }
    }

    /// Waits for the first event, so that what goes wrong until then is a real HTTP error; not
    /// longer than the grace, and then commits to a 200.
    ///
    /// # Errors
    /// The answer to give instead; the request's line is written already.
    pub(super) async fn open(mut self) -> Result<Self, Refusal> {
        let mut out = Vec::new();
        let result = poll_fn(|cx| {
            loop {
                match self.read(cx, &mut out) {
                    Ok(Step::Over) => return Poll::Ready(Ok(())),
                    Ok(_) if self.feed.translator.started() => return Poll::Ready(Ok(())),
                    Ok(Step::Batch) => continue,
                    Ok(Step::Waiting) => {}
                    Err(error) if self.feed.translator.started() => {
                        self.end_with(&error, &mut out);
                        return Poll::Ready(Ok(()));
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
                if self.is_forced(cx) {
                    return Poll::Ready(Err(shutting_down()));
                }
                match std::task::ready!(self.clocks.poll(self.phase(), cx)) {
                    Due::Commit | Due::Ping => {
                        self.feed.translator.start(&mut out);
                        return Poll::Ready(Ok(()));
                    }
                    due => return Poll::Ready(Err(self.overdue(due))),
                }
            }
        })
        .await;
        if let Err(mut error) = result {
            self.over = true;
            self.model.provider.blot(&mut error.message);
            let refusal = Refusal::from(error);
            refusal.note(&mut self.record);
            return Err(refusal);
        }
        self.committed = true;
        self.record.status = 200;
        self.record.mark_first_byte();
        self.opening = out;
        self.clocks.send();
        Ok(self)
    }

    fn phase(&self) -> Phase {
        Phase { committed: self.committed, finished: self.feed.translator.finish_seen() }
    }

    fn is_forced(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.watching {
            // Once is enough: the stream stays in one task, so the waker stays the same.
            self.watching = true;
            let _ = self.deadline.as_mut().poll(cx);
        }
        self.worker.drain.is_forced()
    }

    /// Takes all that the upstream has for us now.
    fn read(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Result<Step, ApiError> {
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

    /// Translates upstream bytes. True: the stream said that it is done.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<bool, ApiError> {
        #[cfg(test)]
        super::tests::trip(bytes);
        let done = self.feed.take(bytes, out, || self.clocks.event())?;
        if self.feed.whole().len() > MAX_WHOLE {
            return Err(self.told(Cause::TooLarge(MAX_WHOLE)));
        }
        if done {
            self.let_go();
        }
        Ok(done)
    }

    /// The upstream's body has ended, cleanly or not: the translator knows whether that was all.
    fn end(&mut self, fault: Option<Fault>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        match (self.feed.form(), fault) {
            (Some(Form::Events), Some(fault)) => {
                tracing::debug!(request_id = %self.record.request_id, %fault, "the upstream's stream broke");
            }
            (_, Some(fault)) => return Err(fault.api_error(&self.model.provider.name)),
            (Some(Form::Whole), None) => {
                let max = self.worker.config.log_body_max_chars;
                let blot = |text: &mut String| self.model.provider.blot(text);
                log::body(max, &self.record.request_id, "upstream answer", self.feed.whole(), blot);
            }
            _ => {}
        }
        self.feed.end(out)
    }

    /// Lets the connection end by itself, so that it can be used again.
    fn let_go(&mut self) {
        if let Some(body) = self.upstream.take() {
            body.linger();
        }
    }

    fn told(&self, cause: Cause) -> ApiError {
        Fault::new(Stage::Body, cause).api_error(&self.model.provider.name)
    }

    fn overdue(&self, due: Due) -> ApiError {
        match due {
            Due::FirstEvent(limit) => self.told(Cause::Timeout(limit)),
            Due::Idle(limit) => self.told(Cause::Idle(limit)),
            Due::Ping | Due::Commit | Due::Settled => ApiError::bad_gateway(""),
        }
    }

    /// One look at upstream and clocks. True: nothing follows.
    fn step(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> bool {
        match self.read(cx, out) {
            Ok(Step::Over) => {
                self.end_well();
                return true;
            }
            Err(error) => {
                self.end_with(&error, out);
                return true;
            }
            Ok(Step::Batch) => return false,
            Ok(Step::Waiting) => {}
        }
        if !out.is_empty() {
            return false;
        }
        if self.is_forced(cx) {
            self.end_with(&shutting_down(), out);
            return true;
        }
        let Poll::Ready(due) = self.clocks.poll(self.phase(), cx) else { return false };
        match due {
            Due::Ping | Due::Commit => {
                out.extend_from_slice(PING);
                false
            }
            Due::Settled => {
                self.upstream = None;
                match self.feed.translator.finish(UpstreamEnd::Eof, out) {
                    Ok(()) => self.end_well(),
                    Err(error) => self.end_with(&error, out),
                }
                true
            }
            due => {
                self.end_with(&self.overdue(due), out);
                true
            }
        }
    }

    /// What the client gets, for the capture.
    fn show(&self, bytes: &Bytes) {
        if let Some(exchange) = &self.record.capture {
            exchange.client_piece(bytes);
        }
    }

    fn end_well(&mut self) {
        self.over = true;
        self.record.outcome = Outcome::Done;
    }

    fn end_with(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        self.over = true;
        self.upstream = None;
        let mut error = error.clone();
        self.model.provider.blot(&mut error.message);
        self.feed.translator.fail(&error, out);
        self.record.outcome = Outcome::Failed;
        self.record.error = error.message;
    }

    /// A panic costs this stream, not the worker: the translator is not asked again.
    fn end_after_panic(&mut self, out: &mut Vec<u8>) {
        self.over = true;
        self.upstream = None;
        out.clear();
        out.extend_from_slice(b"event: error\ndata: ");
        let error = ApiError::new(500, ErrorKind::Api, "internal error: please report it");
        error.write(&self.record.request_id, out);
        out.extend_from_slice(b"\n\n");
        self.broken = true;
        self.record.outcome = Outcome::Panicked;
    }
}

/// Notes the answer in the request's line.
pub(super) fn note(record: &mut Record, summary: &Summary) {
    record.input_tokens = summary.usage.input_tokens;
    record.output_tokens = summary.usage.output_tokens;
    record.cached_tokens = summary.usage.cache_read_input_tokens;
    record.stop_reason = summary.stop_reason.unwrap_or("");
    for token in summary.losses.tokens() {
        if !record.warnings.is_empty() {
            record.warnings.push_str(", ");
        }
        record.warnings.push_str(token);
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if !self.committed || self.broken || std::thread::panicking() {
            return;
        }
        let summary = self.feed.translator.summary();
        note(&mut self.record, &summary);
        let max = self.worker.config.log_stream_text_preview_chars;
        let blot = |text: &mut String| self.model.provider.blot(text);
        log::body(max, &self.record.request_id, "stream preview", summary.preview.as_bytes(), blot);
    }
}

impl MessageBody for Pump {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        if !this.opening.is_empty() {
            let opening = Bytes::from(std::mem::take(&mut this.opening));
            this.show(&opening);
            return Poll::Ready(Some(Ok(opening)));
        }
        if this.over {
            return Poll::Ready(None);
        }
        let worker = Rc::clone(&this.worker);
        let mut scratch = worker.scratch.take();
        if catch_unwind(AssertUnwindSafe(|| this.step(cx, &mut scratch.events))).is_err() {
            this.end_after_panic(&mut scratch.events);
        }
        let next = match scratch.chunk() {
            Some(bytes) => {
                this.clocks.send();
                this.show(&bytes);
                Poll::Ready(Some(Ok(bytes)))
            }
            None if this.over => Poll::Ready(None),
            None => Poll::Pending,
        };
        worker.scratch.replace(scratch);
        next
    }
}

/// Output buffers that all streams of a worker share: a stream holds none of its own, and in
/// steady state no chunk costs an allocation.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    events: Vec<u8>,
    /// actix copies a chunk into its own buffer and drops it, so this one is free again.
    chunks: BytesMut,
}

impl Scratch {
    /// What was written, as one chunk.
    fn chunk(&mut self) -> Option<Bytes> {
        if self.events.is_empty() {
            return None;
        }
        if self.events.capacity() > 4 * BATCH {
            // A large one is handed over whole and not kept.
            return Some(Bytes::from(std::mem::take(&mut self.events)));
        }
        self.chunks.extend_from_slice(&self.events);
        self.events.clear();
        Some(self.chunks.split().freeze())
    }
}
