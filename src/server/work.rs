//! Work of the proxy's own that the end of an answer waits for.

use std::task::{Context, Poll};

use crate::convert::HeldEnd;
use crate::observe::Record;
use crate::wire::anthropic::ApiError;

/// One piece of work on an answer, streamed or whole. Dropping it is cancelling.
pub(super) trait Work {
    /// One look, while the answer comes and when it is here.
    ///
    /// Ready counts only where [`Turn::closing`] is true; it may be asked again afterwards, and
    /// is ready again then.
    ///
    /// # Errors
    /// The answer ends with this.
    fn poll(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Poll<Result<(), ApiError>>;
}

/// What a piece of work has before it.
pub(super) struct Turn<'a> {
    /// The answer's end: the calls so far, and what is to be said at the end.
    pub(super) end: &'a mut dyn HeldEnd,
    /// What goes to the client next; of an answer that is not streamed, all of it so far.
    pub(super) out: &'a mut Vec<u8>,
    /// The log line of the request.
    pub(super) record: &'a mut Record,
    /// The upstream has said all, and the work before this one is done: nothing more will come.
    pub(super) closing: bool,
}

/// All work on one answer, in the order in which it has to be done.
#[derive(Default)]
pub(super) struct Works(Vec<Box<dyn Work>>);

impl Works {
    pub(super) fn new(works: Vec<Box<dyn Work>>) -> Self {
        Self(works)
    }

    /// Lets everyone look. `closing`: the upstream has said all, and will say no more. Ready:
    /// nothing is left to be done, and the end is in `out`.
    ///
    /// # Errors
    /// The answer ends with this.
    pub(super) fn poll(
        &mut self,
        end: &mut dyn HeldEnd,
        closing: bool,
        out: &mut Vec<u8>,
        record: &mut Record,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ApiError>> {
        let mut turn = Turn { end, out, record, closing };
        for work in &mut self.0 {
            let done = work.poll(&mut turn, cx)?.is_ready();
            turn.closing &= done;
        }
        if !turn.closing {
            return Poll::Pending;
        }
        turn.end.conclude(turn.out);
        Poll::Ready(Ok(()))
    }
}
