//! A streamed answer: upstream bytes in, Anthropic events out.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};
use tokio::sync::futures::OwnedNotified;

use super::admit::Permit;
use super::clocks::Due;
use super::dashboard;
use super::drain::shutting_down;
use super::source::{BATCH, Opened, Source, Step};
use crate::convert::{Summary, Usage};
use crate::observe::cost::Counts;
use crate::observe::{Outcome, Record, log};
use crate::wire::anthropic::{ApiError, ErrorKind};
use crate::wire::sse::PING;

/// The body of a streamed answer.
///
/// Dropping it, which is what actix does when the client goes, drops the upstream connection,
/// the permit and the request's log line with it.
pub(super) struct Pump {
    source: Source,
    deadline: Pin<Box<OwnedNotified>>,
    watching: bool,
    /// What was ready before the body was asked for.
    opening: Vec<u8>,
    over: bool,
    /// The flow panicked: it is not asked for a summary either.
    broken: bool,
    record: Record,
    _permit: Permit,
}

impl Pump {
    /// For a stream that has begun; its head goes out now.
    pub(super) fn new(opened: Opened, mut record: Record, permit: Permit) -> Self {
        let Opened { source, events, broken } = opened;
        record.status = 200;
        record.mark_first_byte();
        record.begin_stream();
        let deadline = source.worker.drain.deadline();
        let mut pump = Self {
            source,
            deadline,
            watching: false,
            opening: Vec::new(),
            over: false,
            broken: false,
            record,
            _permit: permit,
        };
        let mut opening = events;
        if let Some(error) = broken {
            pump.fail(&error, &mut opening);
        }
        pump.opening = opening;
        pump.progress();
        pump
    }

    /// Tells the dashboard how far the answer has come.
    fn progress(&mut self) {
        if let Some(live) = &mut self.record.live {
            let (used, estimated) = self.source.flow.used();
            live.progress(used.output_tokens, !estimated, self.source.clocks.sent().into_std());
        }
    }

    fn is_forced(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.watching {
            // Once is enough: the stream stays in one task, so the waker stays the same.
            self.watching = true;
            let _ = self.deadline.as_mut().poll(cx);
        }
        self.source.worker.drain.is_forced()
    }

    /// One look at upstream and clocks. True: nothing follows.
    fn step(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> bool {
        let held = match self.source.read(cx, out) {
            Ok(Step::Over) if self.source.flow.is_held() => true,
            Ok(Step::Over) => {
                self.end_well();
                return true;
            }
            Err(error) => {
                self.fail(&error, out);
                return true;
            }
            Ok(Step::Batch) => return false,
            Ok(Step::Waiting) => false,
        };
        if held || self.source.works.is_some() {
            match self.source.attend(&mut self.record, cx, out) {
                Poll::Pending => {}
                Poll::Ready(Ok(true)) => {
                    self.end_well();
                    return true;
                }
                Poll::Ready(Ok(false)) => return self.step(cx, out),
                Poll::Ready(Err(error)) => {
                    self.end_with(&error, out);
                    return true;
                }
            }
        }
        if !out.is_empty() {
            return false;
        }
        if self.is_forced(cx) {
            self.end_with(&shutting_down(), out);
            return true;
        }
        let Poll::Ready(due) = self.source.clocks.poll(self.source.phase(true), cx) else { return false };
        match due {
            Due::Ping | Due::Commit => {
                out.extend_from_slice(PING);
                false
            }
            Due::Settled => {
                self.source.upstream = None;
                match self.source.flow.settle(out) {
                    Ok(()) if self.source.flow.is_held() => return self.step(cx, out),
                    Ok(()) => self.end_well(),
                    Err(error) => self.fail(&error, out),
                }
                true
            }
            due => {
                self.fail(&self.source.overdue(due), out);
                true
            }
        }
    }

    /// What the client gets, for the capture and the count.
    fn show(&mut self, bytes: &Bytes) {
        self.record.sent += bytes.len() as u64;
        self.record.mark_first_token(bytes);
        if let Some(exchange) = &self.record.capture {
            exchange.client_piece(bytes);
        }
    }

    fn end_well(&mut self) {
        self.over = true;
        self.record.outcome = Outcome::Done;
    }

    /// The upstream did it.
    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        self.source.blame();
        self.end_with(error, out);
    }

    fn end_with(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        self.over = true;
        self.source.upstream = None;
        self.source.works = None;
        self.source.rounds = None;
        let mut error = error.clone();
        error.each_text(|text| self.source.blot(text));
        self.source.flow.fail(&error, out);
        self.record.outcome = Outcome::Failed;
        self.record.error = error.message;
    }

    /// A panic costs this stream, not the worker: the flow is not asked again.
    fn end_after_panic(&mut self, out: &mut Vec<u8>) {
        self.over = true;
        self.source.upstream = None;
        self.source.works = None;
        self.source.rounds = None;
        out.clear();
        out.extend_from_slice(b"event: error\ndata: ");
        let error = ApiError::new(500, ErrorKind::Api, "internal error: please report it");
        error.write(&self.record.request_id, out);
        out.extend_from_slice(b"\n\n");
        self.broken = true;
        self.source.worker.metrics.panicked();
        self.record.outcome = Outcome::Panicked;
    }
}

/// The tokens of an answer as they are paid.
pub(super) fn counts(usage: &Usage) -> Counts {
    Counts {
        input: usage.input_tokens.saturating_add(usage.cache_creation_input_tokens),
        cached: usage.cache_read_input_tokens,
        output: usage.output_tokens,
    }
}

/// Notes the answer in the request's line.
pub(super) fn note(record: &mut Record, summary: &Summary) {
    record.input_tokens = summary.usage.input_tokens;
    record.output_tokens = summary.usage.output_tokens;
    record.cached_tokens = summary.usage.cache_read_input_tokens;
    record.counts = counts(&summary.usage);
    record.counts_estimated = summary.usage_estimated;
    record.stop_reason = summary.stop_reason.unwrap_or("");
    for token in summary.losses.tokens() {
        record.warn(token);
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if self.broken || std::thread::panicking() {
            return;
        }
        self.record.own.answered(self.source.clocks.own());
        let summary = self.source.flow.summary();
        note(&mut self.record, &summary);
        dashboard::answered(&self.source.worker.config, &mut self.record, || summary.preview.clone());
        let (used, estimated) = self.source.flow.used();
        (self.record.counts, self.record.counts_estimated) = (counts(&used), estimated);
        let max = self.source.worker.config.log_stream_text_preview_chars;
        let blot = |text: &mut String| self.source.blot(text);
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
        let worker = Rc::clone(&this.source.worker);
        let mut scratch = worker.scratch.take();
        if catch_unwind(AssertUnwindSafe(|| this.step(cx, &mut scratch.events))).is_err() {
            this.end_after_panic(&mut scratch.events);
        }
        let next = match scratch.chunk() {
            Some(bytes) => {
                this.source.clocks.send();
                this.progress();
                this.show(&bytes);
                Poll::Ready(Some(Ok(bytes)))
            }
            None if this.over => Poll::Ready(None),
            None => {
                this.source.clocks.pause();
                Poll::Pending
            }
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
