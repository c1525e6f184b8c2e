//! Below awc: what it reads wrongly is made readable, and what it would copy is not.
//!
//! Heads of answers are looked at before awc sees them.
//! A body that ends with the connection is plain HTTP/1.1 (RFC 9112, 6.3), and small servers
//! send streams so. awc gives an empty body for it; for HTTP/1.0 it reads to the end. So the
//! version of such an answer is changed under its eyes. Interim heads (1xx, RFC 9110, 15.2) it
//! takes for the answer, and gives the connection back with the real one still to come: for
//! the next request to read. So they are left out.
//!
//! Bodies of requests go past awc: it would copy them into its write buffer, which lives as long
//! as the connection, and send them in pieces. awc sends a head without a body; here the head
//! gets its `content-length` and leaves together with the body, from where that lies.
//!
//! Bodies of answers in chunks go past it, too: see [`aside`].
//!
//! [`aside`]: super::aside

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_rt::net::{ActixStream, Ready};
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::aside::Aside;
use super::dial;
use super::stream::Stream;
use crate::wire::json::write_u64;

/// Longest head that is looked through, in bytes; awc itself reads no longer ones.
const MAX_HEAD: usize = 128 * 1024;

/// A connection to a provider.
#[derive(Debug)]
pub(super) struct Framing {
    stream: Stream,
    /// A request was written: the next bytes are a head.
    head_next: bool,
    /// The beginning of a head that did not come in one read; then the rest of what was read.
    held: Vec<u8>,
    /// `held` is complete and waits to be read, from here on.
    release: Option<usize>,
    /// A request, as far as it is not written: its head and its body.
    leaving: [Bytes; 2],
    /// The body that comes now goes past awc.
    aside: Option<Aside>,
}

impl Framing {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            head_next: false,
            held: Vec::new(),
            release: None,
            aside: None,
            leaving: Default::default(),
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            let new = buf.filled_mut().get_mut(before..).unwrap_or_default();
            let ended = new.is_empty();
            // Nearly always: the whole head came in one read and is changed in place.
            if self.held.is_empty() {
                let head = if ended { Head::Final } else { fix(new) };
                if let Head::Final | Head::Chunked(_) = head {
                    self.head_next = false;
                    let kept = self.divert(&head, new);
                    buf.set_filled(before + kept);
                    return Poll::Ready(Ok(()));
                }
            }
            self.held.extend_from_slice(new);
            buf.set_filled(before);
            let head = loop {
                match fix(&mut self.held) {
                    Head::Interim(length) => drop(self.held.drain(..length)),
                    head => break head,
                }
            };
            if head == Head::Partial && !ended && self.held.len() < MAX_HEAD {
                continue;
            }
            let held = std::mem::take(&mut self.held);
            let kept = self.divert(&head, &held);
            self.held = held;
            self.held.truncate(kept);
            self.head_next = false;
            self.release = Some(0);
            self.give(buf);
            return Poll::Ready(Ok(()));
        }
    }

    /// Lets a body in chunks go past awc. How many of the bytes, which begin with the head, awc
    /// is to read.
    fn divert(&mut self, head: &Head, bytes: &[u8]) -> usize {
        if let Head::Chunked(length) = head
            && let Some((_, tail)) = bytes.split_at_checked(*length)
            && let Some(mut aside) = Aside::new()
        {
            aside.begin(tail);
            self.aside = Some(aside);
            return *length;
        }
        bytes.len()
    }

    /// Hands out what was held.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let Some(at) = self.release else { return };
        let rest = self.held.get(at..).unwrap_or_default();
        let n = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..n).unwrap_or_default());
        self.release = Some(at + n);
        if n == rest.len() {
            self.release = None;
            self.held = Vec::new();
        }
    }
}

impl Framing {
    /// Writes what is left of a request.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let [head, body] = &mut self.leaving;
            let n = match (head.is_empty(), body.is_empty()) {
                (true, true) => return Poll::Ready(Ok(())),
                (true, false) => ready!(Pin::new(&mut self.stream).poll_write(cx, body))?,
                (false, _) => {
                    let both = [io::IoSlice::new(head), io::IoSlice::new(body)];
                    ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &both))?
                }
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = n.min(head.len());
            head.advance(of_head);
            body.advance((n - of_head).min(body.len()));
            if body.is_empty() {
                // Another request's memory may be waiting for it.
                *body = Bytes::new();
            }
        }
    }
}

/// A head of a request without a body, made that of one with `length` bytes.
fn with_length(head: &[u8], length: usize) -> Option<Bytes> {
    let fields = head.strip_suffix(b"\r\n").filter(|fields| fields.ends_with(b"\r\n"))?;
    let mut all = Vec::with_capacity(fields.len() + 40);
    all.extend_from_slice(fields);
    all.extend_from_slice(b"content-length: ");
    write_u64(length as u64, &mut all);
    all.extend_from_slice(b"\r\n\r\n");
    Some(all.into())
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
enum Head {
    /// The head of the answer, or no HTTP at all.
    Final,
    /// The head of an answer, so many bytes long, whose body comes in chunks.
    Chunked(usize),
    /// An interim head of so many bytes; another head follows.
    Interim(usize),
    /// It is not whole yet.
    Partial,
}

/// Looks at a head, and makes it HTTP/1.0 if it is the answer's and its body has no length.
fn fix(bytes: &mut [u8]) -> Head {
    const START: &[u8] = b"HTTP/1.1 ";
    let n = bytes.len().min(START.len());
    if bytes.get(..n) != START.get(..n) {
        return Head::Final;
    }
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Head::Partial };
    let head = bytes.get(..end).unwrap_or_default();
    let status = head.get(9..12).unwrap_or_default();
    // After 101 comes no HTTP.
    if status.starts_with(b"1") && status != b"101" {
        return Head::Interim(end + 4);
    }
    let has_body = status != b"204" && status != b"304" && status != b"101";
    match length(head) {
        Length::Chunks if has_body => return Head::Chunked(end + 4),
        Length::None if has_body => {
            if let Some(minor) = bytes.get_mut(7) {
                *minor = b'0';
            }
        }
        _ => {}
    }
    Head::Final
}

/// How a head says where its body ends.
#[derive(Clone, Copy)]
enum Length {
    None,
    /// `transfer-encoding: chunked`, and nothing else.
    Chunks,
    Other,
}

fn length(head: &[u8]) -> Length {
    let mut length = Length::None;
    for line in head.split(|b| *b == b'\n').skip(1) {
        let mut halves = line.splitn(2, |b| *b == b':');
        let (name, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
        let chunked = || value.trim_ascii().eq_ignore_ascii_case(b"chunked");
        if name.eq_ignore_ascii_case(b"content-length") {
            length = Length::Other;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            length = match length {
                Length::None if chunked() => Length::Chunks,
                _ => Length::Other,
            };
        }
    }
    length
}

impl AsyncRead for Framing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.release.is_some() {
            self.give(buf);
            return Poll::Ready(Ok(()));
        }
        if self.head_next {
            return self.poll_head(cx, buf);
        }
        let this = &mut *self;
        if let Some(aside) = &mut this.aside {
            this.held = ready!(aside.poll(&mut this.stream, cx))?;
            this.aside = None;
            this.release = Some(0);
            this.give(buf);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Framing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.head_next = true;
        ready!(self.poll_leave(cx))?;
        if let Some(body) = dial::outgoing() {
            // The whole head: awc makes one of it before it writes.
            let Some(head) = with_length(buf, body.len()) else {
                return Poll::Ready(Err(io::Error::other("awc did not write a whole head")));
            };
            self.leaving = [head, body];
            // Taken; it leaves with the flush that follows.
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_leave(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl ActixStream for Framing {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.stream, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.stream, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::{Head, fix};

    #[test]
    fn only_heads_without_a_length_change() {
        let fixed = |head: &str| {
            let mut bytes = head.as_bytes().to_vec();
            let found = fix(&mut bytes);
            (String::from_utf8(bytes).unwrap(), found)
        };
        for same in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "SSH-2.0\r\n\r\n",
        ] {
            assert_eq!(fixed(same), (same.to_owned(), Head::Final));
        }
        let (bytes, found) =
            fixed("HTTP/1.1 200 OK\r\nx: content-length: 3\r\n\r\ncontent-length: 4\r\n\r\n");
        assert!(bytes.starts_with("HTTP/1.0 200 OK\r\n"), "{bytes}");
        assert_eq!(found, Head::Final);
        for chunked in ["transfer-encoding:chunked", "a: b\r\nTransfer-Encoding: Chunked \r\nc: d"] {
            let head = format!("HTTP/1.1 200 OK\r\n{chunked}\r\n\r\n");
            assert_eq!(fixed(&format!("{head}1\r\n")), (format!("{head}1\r\n"), Head::Chunked(head.len())));
        }
        assert_eq!(fixed("HTTP/1.1 103 Early Hints\r\n\r\n").1, Head::Interim(28));
        assert_eq!(fixed("HTTP/1.1 100 \r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").1, Head::Interim(23));
        assert_eq!(fixed("HTTP/1.1 200 OK\r\ncontent-").1, Head::Partial);
        assert_eq!(fixed("HTT").1, Head::Partial);
    }
}
