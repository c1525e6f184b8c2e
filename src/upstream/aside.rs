//! Bodies of answers that go past awc.
//!
//! awc keeps a read buffer for each answer, and as soon as 8 KiB of chunks have come it is one of
//! 32 KiB: more than all else that a stream holds. So a body in chunks is read here, into one
//! buffer for all streams of a thread, and laid down for [`Body`] to take. awc sees its end, and
//! does with the connection what it always does.
//!
//! [`Body`]: super::Body

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;

use super::chunks::{Chunks, Stripped};
use super::dial::PROGRESS;
use super::stream::Stream;

/// Most bytes that are read at once.
const READ: usize = 32 * 1024;

thread_local! {
    /// Free again as soon as the piece that was read into it is dropped.
    static INCOMING: RefCell<BytesMut> = RefCell::default();
}

/// Where a piece of a body lies until it is taken.
#[derive(Default)]
pub(super) struct Line(Cell<Bytes>);

impl Line {
    /// What was laid down. It is taken after each look at awc's body, or the next piece is laid
    /// upon it.
    pub(super) fn take(&self) -> Option<Bytes> {
        Some(self.0.take()).filter(|piece| !piece.is_empty())
    }
}

/// A body that is being read.
pub(super) struct Aside {
    line: Rc<Line>,
    chunks: Chunks,
    /// The body's end, as awc is to read it.
    end: Option<Vec<u8>>,
}

impl std::fmt::Debug for Aside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aside").field("chunks", &self.chunks).finish_non_exhaustive()
    }
}

impl Aside {
    /// For the answer to the current request; none: nobody would take its pieces.
    pub(super) fn new() -> Option<Self> {
        let line = Rc::new(Line::default());
        let told = PROGRESS.try_with(|progress| progress.line.set(Some(Rc::clone(&line))));
        told.ok().map(|()| Self { line, chunks: Chunks::new(), end: None })
    }

    /// Takes what came together with the head.
    pub(super) fn begin(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.lay(&mut BytesMut::from(bytes));
        }
    }

    /// Reads until there is a piece. Ready with what awc is to read: the end, or nothing where
    /// the connection ended before.
    pub(super) fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        INCOMING.with_borrow_mut(|incoming| {
            while self.end.is_none() {
                self.chunks.check()?;
                incoming.clear();
                incoming.reserve(READ);
                if ready!(pin!(stream.read_buf(incoming)).poll(cx))? == 0 {
                    return Poll::Ready(Ok(Vec::new()));
                }
                if self.lay(incoming) {
                    // Whoever takes it looks again.
                    return Poll::Pending;
                }
            }
            Poll::Ready(Ok(self.end.take().unwrap_or_default()))
        })
    }

    /// Lays down the body's bytes among those that came. False: there are none.
    fn lay(&mut self, bytes: &mut BytesMut) -> bool {
        let Stripped { data, end } = self.chunks.strip(bytes);
        if let Some(end) = end {
            let mut last = b"0\r\n".to_vec();
            last.extend_from_slice(bytes.get(end..).unwrap_or_default());
            self.end = Some(last);
        }
        if data > 0 {
            self.line.0.set(bytes.split_to(data).freeze());
        }
        data > 0
    }
}
