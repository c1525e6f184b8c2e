//! What a connection is at, and where it and the requests on it tell each other.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header::{HeaderMap, TRANSFER_ENCODING};
use bytes::Bytes;
use tokio::time::Instant;

/// From accept, or from the first byte of a later head, until the head is whole.
pub(super) const HEAD: Duration = Duration::from_secs(5);
/// Between two requests. Longer than load balancers keep theirs, or they lose the race.
pub(super) const IDLE: Duration = Duration::from_secs(75);
/// While a request is being answered its own clocks count; this one only looks in again.
const LOOK: Duration = Duration::from_secs(30);

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing has come since the last answer.
    Idle { until: Instant },
    /// A head is coming.
    Head { until: Instant },
    /// The rest of a chunked body is coming whose request was answered already: actix waits for
    /// it without a clock.
    Rest { until: Instant },
    /// A request is being answered.
    Answering,
}

impl Phase {
    /// When bytes have come.
    pub(super) fn heard(self, now: Instant) -> Self {
        match self {
            Self::Idle { until } => Self::Head { until: until.min(now + HEAD) },
            other => other,
        }
    }

    /// When to give up, or to look again.
    pub(super) fn until(self, now: Instant) -> Instant {
        match self {
            Self::Idle { until } | Self::Head { until } | Self::Rest { until } => until,
            Self::Answering => now + LOOK,
        }
    }
}

/// Where the connection and the requests on it meet.
#[derive(Debug)]
pub(super) struct Talk {
    phase: Cell<Phase>,
    /// The request has a chunked body that was not read to its end.
    unread: Cell<bool>,
}

/// A request that is being answered, until this is dropped.
#[derive(Debug)]
pub(super) struct Answering(Rc<Talk>);

impl Talk {
    /// For a connection that was just accepted.
    pub(super) fn new(now: Instant) -> Self {
        Self { phase: Cell::new(Phase::Idle { until: now + HEAD }), unread: Cell::new(false) }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Bytes have come; until when the rest may come.
    pub(super) fn heard(&self, now: Instant) -> Instant {
        let next = self.phase.get().heard(now);
        self.phase.set(next);
        next.until(now)
    }

    /// A request's head is whole.
    pub(super) fn answer(self: &Rc<Self>, head: &HeaderMap) -> Answering {
        self.phase.set(Phase::Answering);
        self.unread.set(head.contains_key(TRANSFER_ENCODING));
        Answering(Rc::clone(self))
    }

    /// Its body is whole, too.
    pub(super) fn has_all(&self) {
        self.unread.set(false);
    }
}

impl Answering {
    /// The body, ready to be sent; goes on until that is done, where it takes more than one write.
    pub(super) fn through(self, body: BoxBody) -> BoxBody {
        match body.try_into_bytes() {
            Ok(bytes) if bytes.len() <= SLICE => BoxBody::new(bytes),
            Ok(bytes) => BoxBody::new(Through { body: Slices(bytes), _answering: self }),
            Err(body) => BoxBody::new(Through { body, _answering: self }),
        }
    }
}

/// Bytes that are handed over at once.
const SLICE: usize = 64 * 1024;

/// A body for actix to take in slices: it copies what it is given into its buffer, and would
/// make that as large as the whole. It would also take the answer for sent then, and cut off a
/// client that needs longer for it than [`IDLE`].
struct Slices(Bytes);

impl MessageBody for Slices {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let slice = self.0.len().min(SLICE);
        Poll::Ready(Some(Ok(self.0.split_to(slice))))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let now = Instant::now();
        self.0.phase.set(if self.0.unread.get() {
            Phase::Rest { until: now + HEAD }
        } else {
            Phase::Idle { until: now + IDLE }
        });
    }
}

/// A body, and the note that it is being sent.
pub(super) struct Through<B> {
    body: B,
    _answering: Answering,
}

impl<B: MessageBody + Unpin> MessageBody for Through<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
