//! The request's body: bounded in size and time, and all unfinished ones together in bytes.
//!
//! A request is admitted when its body is whole: one that only dribbles takes no room from
//! others. What it does take is memory, so the bytes of all unfinished bodies have a bound, and
//! beyond it no body may be larger than its fair share. Small ones always pass, and what is
//! kept is never more than twice the bound.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, RETRY_AFTER};
use actix_web::web::Payload;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::reply::Refusal;
use super::talk::Talk;
use crate::config::Config;
use crate::upstream::Spare;
use crate::wire::anthropic::{ApiError, ErrorKind};

/// Unfinished bodies may hold as much as this many of the largest size.
const BODIES: usize = 16;
/// How often a body that does not move asks whether it may stay.
const LOOK: Duration = Duration::from_secs(1);
/// Memory that an announced length gets before a byte has come.
const TRUSTED: usize = 1 << 20;

/// Unfinished bodies, over all workers.
#[derive(Debug, Clone, Default)]
pub(super) struct Unfinished(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicUsize,
    bodies: AtomicUsize,
}

/// One unfinished body.
struct Share<'u> {
    all: &'u Counts,
    bytes: usize,
}

impl Unfinished {
    pub(super) fn bodies(&self) -> usize {
        self.0.bodies.load(Ordering::Acquire)
    }

    fn begin(&self) -> Share<'_> {
        self.0.bodies.fetch_add(1, Ordering::AcqRel);
        Share { all: &self.0, bytes: 0 }
    }
}

impl Share<'_> {
    fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.all.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Whether it may stay as large as it is.
    fn is_fair(&self, bound: usize) -> bool {
        is_fair(
            self.bytes,
            self.all.bytes.load(Ordering::Acquire),
            self.all.bodies.load(Ordering::Acquire),
            bound,
        )
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.all.bodies.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Whether one body of `own` bytes may stay, when `bodies` of them hold `all` bytes.
fn is_fair(own: usize, all: usize, bodies: usize, bound: usize) -> bool {
    all <= bound || own <= bound / bodies.max(1)
}

/// Reads a body of at most `max_body_bytes` into one buffer.
pub(super) async fn read(
    request: &HttpRequest,
    payload: Payload,
    config: &Config,
    unfinished: &Unfinished,
) -> Result<Bytes, Refusal> {
    let max = config.max_body_bytes;
    let headers = request.headers();
    if let Some(encoding) = headers.get(CONTENT_ENCODING)
        && !encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")
    {
        let mut error =
            ApiError::invalid_request("compressed request bodies are not supported: send the JSON as it is");
        error.details = Some(r#"{"error_code":"request_body_encoding_unsupported"}"#.to_owned());
        return Err(Refusal::from(error).closing());
    }
    let announced: Option<usize> =
        headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.trim().parse().ok());
    if announced.is_some_and(|n| n > max) {
        return Err(too_large(max));
    }
    let body = collect(payload, announced, max, config.client_body_timeout, unfinished.begin()).await?;
    if let Some(talk) = request.conn_data::<Rc<Talk>>() {
        talk.has_all();
    }
    Ok(body)
}

async fn collect(
    mut payload: Payload,
    announced: Option<usize>,
    max: usize,
    limit: Duration,
    mut share: Share<'_>,
) -> Result<Bytes, Refusal> {
    let bound = max.saturating_mul(BODIES);
    let until = Instant::now() + limit;
    let mut all = Spare::default();
    loop {
        let look = until.min(Instant::now() + LOOK);
        let Ok(next) = timeout_at(look, payload.next()).await else {
            if look >= until {
                return Err(late(limit));
            }
            if share.is_fair(bound) {
                continue;
            }
            return Err(crowded());
        };
        let Some(bytes) = next else { return Ok(all.into()) };
        let bytes = bytes.map_err(|e| broken(&e))?;
        if all.len() + bytes.len() > max {
            return Err(too_large(max));
        }
        // With `upgrade: websocket`, actix reads on beyond the announced length.
        let left = announced.map(|n| n.saturating_sub(all.len()));
        if left.is_some_and(|left| bytes.len() > left) {
            return Err(broken(&PayloadError::EncodingCorrupted));
        }
        let is_last = left == Some(bytes.len());
        if is_last && all.is_empty() {
            return Ok(bytes);
        }
        share.grow(bytes.len());
        if !share.is_fair(bound) {
            return Err(crowded());
        }
        if all.capacity() - all.len() < bytes.len() {
            // An announced length is a claim: memory comes as the bytes do.
            let wanted = announced.unwrap_or(max).min(TRUSTED.max(8 * all.len()));
            let more = wanted.saturating_sub(all.len()).max(bytes.len());
            if all.is_empty() {
                all = Spare::with_capacity(more);
            } else {
                all.reserve_exact(more);
            }
        }
        all.extend_from_slice(&bytes);
        if is_last {
            return Ok(all.into());
        }
    }
}

fn late(limit: Duration) -> Refusal {
    let message = format!("the request's body did not arrive within {} s", limit.as_secs_f32());
    Refusal::from(ApiError::new(408, ErrorKind::InvalidRequest, message)).closing()
}

fn crowded() -> Refusal {
    let message = "too many large requests are being received at once; try again";
    let refusal = Refusal::from(ApiError::new(529, ErrorKind::Overloaded, message));
    refusal.with(RETRY_AFTER, Some(HeaderValue::from_static("1"))).closing()
}

fn too_large(max: usize) -> Refusal {
    let message = format!("the request's body is larger than {max} bytes (config key `max_body_bytes`)");
    Refusal::from(ApiError::new(413, ErrorKind::RequestTooLarge, message)).closing()
}

fn broken(error: &PayloadError) -> Refusal {
    if matches!(error, PayloadError::Incomplete(_)) {
        let error = ApiError::invalid_request("the client left before the request's body had come");
        return Refusal::from(error).unread();
    }
    let message = format!("the request's body could not be read: {error}");
    Refusal::from(ApiError::invalid_request(message)).closing()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use actix_web::{FromRequest, dev};
    use futures_util::stream;

    use super::*;

    #[test]
    fn fair_is_all_below_the_bound_and_the_small_beyond() {
        for (own, all, bodies, fair) in [
            (0, 0, 1, true),
            (100, 100, 1, true),
            (101, 101, 1, false),
            (60, 100, 2, true),
            (60, 101, 2, false),
            (50, 150, 2, true),
            (1, 1_000, 100, true),
            (2, 1_000, 100, false),
        ] {
            assert_eq!(is_fair(own, all, bodies, 100), fair, "{own} of {all} in {bodies}");
        }
    }

    async fn payload(first: &'static [u8]) -> Payload {
        let first = stream::iter([Ok(Bytes::from_static(first))]);
        let stream: dev::Payload = dev::Payload::Stream { payload: Box::pin(first.chain(stream::pending())) };
        let mut payload = stream;
        Payload::from_request(&TestRequest::post().to_http_request(), &mut payload).await.unwrap()
    }

    #[actix_web::test]
    async fn a_body_that_does_not_come_is_408() {
        let unfinished = Unfinished::default();
        let limit = Duration::from_millis(50);
        let refusal = collect(payload(b"{").await, None, 100, limit, unfinished.begin()).await.unwrap_err();
        assert_eq!((refusal.error.status, refusal.error.kind), (408, ErrorKind::InvalidRequest));
        assert_eq!(unfinished.0.bytes.load(Ordering::SeqCst), 0);
        assert_eq!(unfinished.0.bodies.load(Ordering::SeqCst), 0);
    }

    #[actix_web::test]
    async fn a_large_body_that_stands_still_makes_room_for_small_ones() {
        let unfinished = Unfinished::default();
        let limit = Duration::from_secs(60);
        // 16 bodies of at most 10 bytes: 160 together.
        let large = collect(payload(b"123456789").await, Some(10), 10, limit, unfinished.begin());
        let mut others: Vec<Share<'_>> = (0..20).map(|_| unfinished.begin()).collect();
        for share in &mut others {
            share.grow(8);
        }
        let refusal = large.await.unwrap_err();
        assert_eq!(refusal.error.status, 529);
        let small = collect(payload(b"1").await, Some(1), 10, limit, unfinished.begin());
        assert_eq!(small.await.unwrap(), "1");
    }
}
