//! Reading an answer's body, and not believing that it is whole because it ended.

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::{BoxedPayloadStream, Payload};
use awc::ClientResponse;
use awc::http::Version;
use awc::http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use bytes::Bytes;
use futures_util::Stream as _;
use tokio::time::{Instant, timeout_at};

use super::aside::Line;
use super::fault::{Cause, Fault, Stage};
use super::spare::Spare;
use crate::observe::Exchange;
#[cfg(feature = "otel")]
use crate::observe::trace::Hop;

/// Largest whole answer that is kept, in bytes.
pub const MAX_WHOLE: usize = 64 << 20;

/// Memory that an announced length gets before the bytes come: it is a claim.
const TRUSTED: usize = 1 << 20;

/// The body of an answer. Dropping it closes the connection at once.
pub struct Body {
    payload: Payload,
    /// Where pieces are laid down that go past awc.
    line: Option<Rc<Line>>,
    headers: HeaderMap,
    /// HTTP/1.1 with neither content-length nor chunks: awc gives an empty body for it.
    unframed: bool,
    /// From content-length, in bytes.
    announced: Option<u64>,
    /// Bytes that have come.
    received: u64,
    ended: bool,
    tap: Option<Arc<Exchange>>,
    /// The span of the request, which ends with the body.
    #[cfg(feature = "otel")]
    hop: Option<Hop>,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("headers", &self.headers).finish_non_exhaustive()
    }
}

impl Body {
    pub(super) fn new(response: ClientResponse, line: Option<Rc<Line>>) -> Self {
        let announced =
            response.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.trim().parse().ok());
        let unframed = response.version() == Version::HTTP_11
            && !matches!(response.status().as_u16(), 204 | 304)
            && announced.is_none()
            && !response.headers().contains_key(TRANSFER_ENCODING);
        let (mut headers, mut payload) = (HeaderMap::new(), Payload::None);
        response.map_body::<_, BoxedPayloadStream>(|head, body| {
            headers = mem::take(&mut head.headers);
            payload = body;
            Payload::None
        });
        Self {
            payload,
            line,
            headers,
            unframed,
            announced,
            received: 0,
            ended: false,
            tap: None,
            #[cfg(feature = "otel")]
            hop: None,
        }
    }

    /// Lets go of the answer's headers: a stream may last.
    pub fn forget_head(&mut self) {
        self.headers = HeaderMap::new();
    }

    /// Notes in the span of the request what becomes of the body, and ends it with that.
    #[cfg(feature = "otel")]
    pub fn follow(&mut self, hop: Hop) {
        self.hop = Some(hop);
    }

    /// Shows every byte to a capture.
    pub fn tap(&mut self, exchange: Arc<Exchange>) {
        self.tap = Some(exchange);
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(super) fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.headers.get(name)
    }

    /// The content-encoding, if there is one.
    pub fn encoding(&self) -> Option<String> {
        let value = self.header(&CONTENT_ENCODING)?.to_str().unwrap_or("unreadable");
        let value = value.trim();
        (!value.is_empty() && !value.eq_ignore_ascii_case("identity"))
            .then(|| value.chars().filter(|c| !c.is_control()).take(40).collect())
    }

    /// The next bytes; none when the body has ended.
    ///
    /// awc reports a body that was cut, by a closed connection, as a clean end. A short one is
    /// noticed here when its length was announced; otherwise "ended" does not mean "complete",
    /// and only the protocol (`finish_reason`, `[DONE]`, JSON that parses) tells.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        let chunk = self.look(cx);
        #[cfg(feature = "otel")]
        if let Some(hop) = &mut self.hop {
            match &chunk {
                Poll::Ready(Some(Ok(_))) => hop.hears(),
                Poll::Ready(Some(Err(_))) => hop.failed("body"),
                _ => {}
            }
        }
        chunk
    }

    fn look(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(piece) = self.laid_down() {
            return Poll::Ready(Some(Ok(piece)));
        }
        match Pin::new(&mut self.payload).poll_next(cx) {
            // Nothing for awc, perhaps something for us.
            Poll::Pending => self.laid_down().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(piece)))),
            Poll::Ready(Some(Ok(bytes))) => {
                self.arrived(&bytes);
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(Some(Err(e))) => {
                self.ended = true;
                Poll::Ready(Some(Err(e.into())))
            }
            Poll::Ready(None) => {
                self.ended = true;
                let cause = match self.announced {
                    Some(announced) if announced != self.received => {
                        Cause::Truncated { received: self.received, announced }
                    }
                    None if self.received == 0 && self.unframed => Cause::Unframed,
                    _ => {
                        if let Some(exchange) = &self.tap {
                            exchange.upstream_end();
                        }
                        return Poll::Ready(None);
                    }
                };
                Poll::Ready(Some(Err(Fault::new(Stage::Body, cause))))
            }
        }
    }

    /// A piece that went past awc.
    fn laid_down(&mut self) -> Option<Bytes> {
        let mut piece = self.line.as_ref()?.take()?;
        if self.tap.is_some() {
            // Until it is written it would keep a whole read buffer.
            piece = Bytes::copy_from_slice(&piece);
        }
        self.arrived(&piece);
        Some(piece)
    }

    fn arrived(&mut self, bytes: &Bytes) {
        self.received += bytes.len() as u64;
        if let Some(exchange) = &self.tap {
            exchange.upstream_piece(bytes);
        }
    }

    /// The next bytes; none when the body has ended. See [`Body::poll_chunk`].
    pub async fn chunk(&mut self) -> Option<Result<Bytes, Fault>> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// All that is left, after `head`, which was read already.
    ///
    /// # Errors
    /// Cut off, larger than `cap` bytes, or not there by `until`, which is `limit` after the start.
    pub async fn rest(
        &mut self,
        head: Bytes,
        cap: usize,
        until: Instant,
        limit: Duration,
    ) -> Result<Bytes, Fault> {
        let collect = async {
            if head.len() > cap {
                return Err(Fault::new(Stage::Body, Cause::TooLarge(cap)));
            }
            let Some(first) = self.chunk().await else { return Ok(head) };
            let first = first?;
            let announced = usize::try_from(self.announced.unwrap_or(0)).unwrap_or(cap).min(TRUSTED);
            let mut all = Spare::with_capacity(announced.max(head.len() + first.len()));
            all.extend_from_slice(&head);
            let mut next = Some(Ok(first));
            while let Some(chunk) = next {
                let chunk = chunk?;
                if all.len() + chunk.len() > cap {
                    return Err(Fault::new(Stage::Body, Cause::TooLarge(cap)));
                }
                all.extend_from_slice(&chunk);
                next = self.chunk().await;
            }
            Ok(all.into())
        };
        timeout_at(until, collect)
            .await
            .unwrap_or_else(|_| Err(Fault::new(Stage::Body, Cause::Timeout(limit))))
    }

    /// Reads on for a moment, in the background, so that a connection whose stream said
    /// `[DONE]` can be used again.
    ///
    /// Servers write the last chunk of the framing a little after that marker; dropping the
    /// body at once would cost the next request a new connection.
    pub fn linger(mut self) {
        const MOMENT: Duration = Duration::from_millis(200);
        const MOST: u64 = 64 * 1024;
        if self.ended {
            return;
        }
        let most = self.received + MOST;
        let drain = async move {
            while let Some(Ok(_)) = self.chunk().await {
                if self.received > most {
                    break;
                }
            }
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded in time and bytes; holds nothing but the connection"
        )]
        actix_web::rt::spawn(tokio::time::timeout(MOMENT, drain));
    }
}
