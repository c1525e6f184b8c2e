//! One client's connection, below actix: clocks that actix does not have, and words for the
//! answers that it gives by itself.
//!
//! actix has a clock for the first head of a connection, and one for a connection that rests
//! between two requests. A second head that dribbles in, and the rest of a chunked body that was
//! refused, have none: such a connection would stay for ever. And when actix refuses a request
//! by itself (400, 431), its answer is a bare status line. Both are put right here.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use actix_web::http::header::HttpDate;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::ids::Ids;
use super::talk::{HEAD, Phase, Talk};
use crate::observe::{Outcome, Record};
use crate::wire::anthropic::{ApiError, ErrorKind};

/// Largest head, in bytes: what actix takes.
const MAX_HEAD: usize = 128 * 1024;
/// After a refusal: the client may still be writing, and a reset would take the answer from it.
const LINGER: Duration = Duration::from_secs(1);

/// A client's connection; `T` is TCP, or TLS above it.
#[derive(Debug)]
pub(super) struct Connection<T> {
    stream: T,
    talk: Rc<Talk>,
    ids: Rc<Ids>,
    peer: Option<SocketAddr>,
    /// Fires no later than the phase's clock, and is moved only after it fired, or forward.
    timer: Pin<Box<Sleep>>,
    /// Bytes that have come of a head.
    head: usize,
    /// The last write did not take all: the next one begins in the middle of an answer.
    partial: bool,
    /// An answer of our own, as far as it is not written.
    out: Bytes,
    /// Nothing is read any more.
    over: bool,
    /// Nothing is written any more, and what still comes is thrown away.
    lingering: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// A connection that was just accepted.
    pub(super) fn new(stream: T, peer: Option<SocketAddr>, ids: Rc<Ids>) -> Self {
        let now = Instant::now();
        Self {
            stream,
            talk: Rc::new(Talk::new(now)),
            ids,
            peer,
            timer: Box::pin(sleep_until(now + HEAD)),
            head: 0,
            partial: false,
            out: Bytes::new(),
            over: false,
            lingering: false,
        }
    }

    /// For the requests on it.
    pub(super) fn talk(&self) -> Rc<Talk> {
        Rc::clone(&self.talk)
    }

    /// How many bytes may be read now. actix looks at the size of a head only after it has read
    /// a whole buffer more; with no byte beyond the limit in its hands the limit is exact.
    fn room(&self) -> usize {
        match self.talk.phase() {
            Phase::Idle { .. } => MAX_HEAD,
            // None left: actix has refused it, and what it reads now is thrown away.
            Phase::Head { .. } if self.head < MAX_HEAD => MAX_HEAD - self.head,
            _ => usize::MAX,
        }
    }

    /// `n` bytes have come. True: but too late.
    fn heard(&mut self, n: usize) -> bool {
        let phase = self.talk.phase();
        match phase {
            Phase::Answering => return false,
            Phase::Idle { .. } => self.head = n,
            Phase::Head { .. } | Phase::Rest { .. } => self.head += n,
        }
        let now = Instant::now();
        let until = self.talk.heard(now);
        if self.timer.deadline() > until {
            self.timer.as_mut().reset(until);
        }
        until <= now
    }

    /// No bytes have come. True: and none will be waited for.
    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let until = self.talk.phase().until(now);
            if until <= now {
                return true;
            }
            self.timer.as_mut().reset(until);
        }
        false
    }

    /// The clock has run out.
    fn give_up(&mut self) {
        self.over = true;
        // Of a connection that said nothing, nobody waits for an answer.
        if matches!(self.talk.phase(), Phase::Head { .. }) && !self.partial && self.out.is_empty() {
            self.refuse(408);
        }
    }

    /// Our words for a refusal of a request that never reached a handler.
    fn refuse(&mut self, status: u16) {
        let (reason, kind, message) = match status {
            408 => (
                "Request Timeout",
                ErrorKind::InvalidRequest,
                format!("the request's head did not arrive within {} s", HEAD.as_secs()),
            ),
            431 => (
                "Request Header Fields Too Large",
                ErrorKind::InvalidRequest,
                "the request's head is larger than 128 KiB, or has more than 96 headers".to_owned(),
            ),
            _ => (
                "Bad Request",
                ErrorKind::InvalidRequest,
                "this is not a valid HTTP/1.1 request: it was not read any further".to_owned(),
            ),
        };
        let error = ApiError::new(status, kind, message);
        let mut record = Record::new(self.ids.request_id());
        record.status = status;
        record.outcome = Outcome::Refused;
        record.error.clone_from(&error.message);
        tracing::debug!(request_id = %record.request_id, peer = ?self.peer, status, "refused below HTTP");
        let mut body = Vec::with_capacity(256);
        error.write(&record.request_id, &mut body);
        let mut out = format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             request-id: {}\r\nconnection: close\r\ndate: {}\r\n\r\n",
            body.len(),
            record.request_id,
            HttpDate::from(SystemTime::now()),
        )
        .into_bytes();
        out.extend_from_slice(&body);
        self.out = out.into();
    }

    /// The status of an answer that actix made by itself, if this is one: it begins a write, no
    /// handler is at work, and it has no `request-id`.
    fn bare(&self, buf: &[u8]) -> Option<u16> {
        const MOST: usize = 300;
        if self.partial || !buf.starts_with(b"HTTP/1.1 4") || buf.len() > MOST || !buf.ends_with(b"\r\n\r\n")
        {
            return None;
        }
        if self.talk.phase() == Phase::Answering || memchr::memmem::find(buf, b"request-id: ").is_some() {
            return None;
        }
        std::str::from_utf8(buf.get(9..12)?).ok()?.parse().ok()
    }

    /// Writes what is left of our own answer.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let _ = self.out.split_to(n);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what still comes, for a moment, so that the answer is not lost to a reset.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        const MOST_READS: usize = 256;
        let mut bytes = [0; 8192];
        for _ in 0..MOST_READS {
            let mut buf = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return self.timer.as_mut().poll(cx).map(Ok),
            }
        }
        // It floods.
        Poll::Ready(Ok(()))
    }
}

/// Reads `most` bytes or less.
fn poll_at_most<T: AsyncRead>(
    stream: Pin<&mut T>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
    most: usize,
) -> Poll<io::Result<()>> {
    if buf.remaining() <= most {
        return stream.poll_read(cx, buf);
    }
    let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
    ready!(stream.poll_read(cx, &mut part))?;
    let n = part.filled().len();
    buf.advance(n);
    Poll::Ready(Ok(()))
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if !this.over {
            let room = this.room();
            match poll_at_most(Pin::new(&mut this.stream), cx, buf, room) {
                Poll::Ready(Ok(())) if buf.filled().len() > before => {
                    if !this.heard(buf.filled().len() - before) {
                        return Poll::Ready(Ok(()));
                    }
                    buf.set_filled(before);
                }
                Poll::Pending => {
                    if !this.is_overdue(cx) {
                        return Poll::Pending;
                    }
                }
                ended @ Poll::Ready(_) => return ended,
            }
            this.give_up();
        }
        // No bytes: the end, and actix closes.
        let _ = this.poll_out(cx)?;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_out(cx))?;
        if let Some(status) = this.bare(buf) {
            this.refuse(status);
            this.over = true;
            let _ = this.poll_out(cx)?;
            return Poll::Ready(Ok(buf.len()));
        }
        let n = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.partial = n < buf.len();
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.lingering {
            ready!(this.poll_out(cx))?;
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.over {
                return Poll::Ready(Ok(()));
            }
            this.lingering = true;
            this.timer.as_mut().reset(Instant::now() + LINGER);
        }
        this.poll_linger(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use actix_web::http::header::{HeaderMap, TRANSFER_ENCODING};

    use super::super::talk::IDLE;
    use super::*;

    const BARE: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    fn pair(size: usize) -> (Connection<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(size);
        (Connection::new(ours, None, Rc::default()), theirs)
    }

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    /// When the connection is given up.
    async fn over(connection: &mut Connection<DuplexStream>) -> Duration {
        let began = Instant::now();
        let mut bytes = [0; 64];
        while connection.read(&mut bytes).await.unwrap() > 0 {}
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_clock() {
        let (mut connection, mut client) = pair(1024);
        let mut bytes = [0; 64];
        client.write_all(b"GET").await.unwrap();
        assert_eq!(connection.read(&mut bytes).await.unwrap(), 3);
        let mut chunked = HeaderMap::new();
        chunked.insert(TRANSFER_ENCODING, actix_web::http::header::HeaderValue::from_static("chunked"));

        // While a request is answered, nothing here is due.
        let answering = connection.talk().answer(&HeaderMap::new());
        assert!(timeout(seconds(7200), connection.read(&mut bytes)).await.is_err());
        drop(answering);
        // Then a later head has five seconds from its first byte.
        assert!(timeout(seconds(70), connection.read(&mut bytes)).await.is_err());
        client.write_all(b"G").await.unwrap();
        assert_eq!(connection.read(&mut bytes).await.unwrap(), 1);
        assert!(timeout(seconds(4), connection.read(&mut bytes)).await.is_err());
        client.write_all(b"E").await.unwrap();
        assert_eq!(connection.read(&mut bytes).await.unwrap(), 1);
        // A body that was read to its end leaves a connection that may rest.
        let answering = connection.talk().answer(&chunked);
        connection.talk().has_all();
        drop(answering);
        let took = over(&mut connection).await;
        assert!(took >= IDLE && took < IDLE + seconds(1), "{took:?}");
        connection.shutdown().await.unwrap();
        let mut said = Vec::new();
        client.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"", "nobody asked anything");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_is_told_so() {
        let (mut connection, mut client) = pair(1024);
        client.write_all(b"GET /").await.unwrap();
        let took = over(&mut connection).await;
        assert!(took >= HEAD && took < HEAD + seconds(1), "{took:?}");
        drop(client.shutdown().await);
        connection.shutdown().await.unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("request-id: req_"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_refused_body_has_five_seconds() {
        for more in [true, false] {
            let (mut connection, mut client) = pair(1024);
            let mut chunked = HeaderMap::new();
            chunked.insert(TRANSFER_ENCODING, actix_web::http::header::HeaderValue::from_static("chunked"));
            drop(connection.talk().answer(&chunked));
            if more {
                client.write_all(b"1\r\nx\r\n").await.unwrap();
            }
            let took = over(&mut connection).await;
            assert!(took >= HEAD && took < HEAD + seconds(1), "{took:?}");
            drop(connection);
            let mut said = Vec::new();
            client.read_to_end(&mut said).await.unwrap();
            assert_eq!(said, b"", "it had its answer");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bare_answer_gets_words_also_through_a_narrow_pipe() {
        for size in [7, 1024] {
            let (mut connection, mut client) = pair(size);
            let writing = async {
                connection.write_all(BARE).await.unwrap();
                connection.flush().await.unwrap();
                connection.shutdown().await.unwrap();
            };
            let reading = async {
                let mut said = String::new();
                client.read_to_string(&mut said).await.unwrap();
                said
            };
            let ((), said) = tokio::join!(writing, reading);
            assert!(
                said.starts_with("HTTP/1.1 400 ") && said.contains("\"invalid_request_error\""),
                "{said}"
            );
            let (head, body) = said.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}", body.len())), "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_handler_answers_is_left_alone() {
        // In the middle of a body.
        let (mut connection, mut client) = pair(1024);
        let answering = connection.talk().answer(&HeaderMap::new());
        connection.write_all(BARE).await.unwrap();
        drop(answering);
        // With an id of its own; and the end of an answer that was written in two pieces.
        let own = b"HTTP/1.1 400 Bad Request\r\nrequest-id: req_1\r\ncontent-length: 0\r\n\r\n";
        connection.write_all(own).await.unwrap();
        drop(connection);
        let mut said = Vec::new();
        client.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, [BARE, own].concat());

        let (mut connection, mut client) = pair(10);
        let all = [&b"0123456789"[..], BARE].concat();
        let writing = async {
            connection.write_all(&all).await.unwrap();
            drop(connection);
        };
        let mut said = Vec::new();
        let ((), read) = tokio::join!(writing, client.read_to_end(&mut said));
        read.unwrap();
        assert_eq!(said, all);
    }
}
