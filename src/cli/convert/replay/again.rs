//! A recorded answer of an upstream converted again, on the paths that `serve` takes.

use crate::convert::fold::MAX_EVENT;
use crate::convert::{self, Feed, Fold, Form, ReplyContext, UpstreamEnd};
use crate::wire::anthropic::ApiError;
use crate::wire::sse::{SseDecoder, is_done};

/// Longest error body that `serve` reads, in bytes.
const MAX_ERROR: usize = 1 << 20;

/// What the client would get.
#[derive(Debug)]
pub(super) enum Again {
    /// HTTP 200 and this body.
    Whole(Vec<u8>),
    /// HTTP 200 and events.
    Stream {
        all: Vec<u8>,
        /// How many bytes of them came before the upstream's body ended.
        before_end: usize,
    },
    /// Another status, and an error.
    Refused(ApiError),
}

/// What was recorded of an upstream's answer.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

impl Recorded {
    /// An answer with an error's status.
    pub(super) fn error(&self, context: &ReplyContext) -> Again {
        let body = if self.body.len() > MAX_ERROR { &[][..] } else { &self.body };
        Again::Refused(convert::error::error(self.status, body, &context.provider, Some(context)))
    }

    /// For a client that did not ask for a stream.
    pub(super) fn whole(&self, context: ReplyContext) -> Again {
        let done = match self.form() {
            Form::Whole => convert::response(&self.body, context),
            Form::Events => self.fold(context),
        };
        done.map_or_else(Again::Refused, |answer| Again::Whole(answer.body))
    }

    fn fold(&self, context: ReplyContext) -> Result<convert::WholeAnswer, ApiError> {
        let mut fold = Fold::new(context);
        for piece in self.pieces() {
            if fold.take(piece)? {
                return fold.finish(UpstreamEnd::DoneMarker);
            }
        }
        let end = fold.last()?;
        fold.finish(end)
    }

    /// For a client that asked for a stream. `committed`: its head was sent before the upstream
    /// had said anything, so that errors are events.
    pub(super) fn stream(&self, context: ReplyContext, committed: bool) -> Again {
        let mut feed = Feed::new(self.content_type.clone(), context);
        let (mut all, mut before_end) = (Vec::new(), 0);
        if committed {
            feed.translator.start(&mut all);
        }
        match self.events(&mut feed, &mut all, &mut before_end) {
            Err(error) if !feed.translator.started() => return Again::Refused(error),
            Err(error) => feed.translator.fail(&error, &mut all),
            Ok(()) => {}
        }
        Again::Stream { all, before_end }
    }

    fn events(&self, feed: &mut Feed, out: &mut Vec<u8>, before_end: &mut usize) -> Result<(), ApiError> {
        for piece in self.pieces() {
            let done = feed.take(piece, out, || ());
            *before_end = out.len();
            if done? {
                return Ok(());
            }
        }
        feed.end(out)
    }

    /// What the body is; an empty one counts as a stream that ended at once.
    pub(super) fn form(&self) -> Form {
        Form::of(&self.content_type, &self.body).unwrap_or(Form::Events)
    }

    /// The upstream itself said that its stream was over.
    pub(super) fn marked(&self) -> bool {
        let mut decoder = SseDecoder::new(MAX_EVENT);
        let mut is_over = |piece: &[u8]| {
            decoder.push(piece);
            while let Some(Ok(event)) = decoder.next_event() {
                if is_done(event.data) {
                    return true;
                }
            }
            false
        };
        self.form() == Form::Events && self.pieces().any(&mut is_over)
    }

    fn pieces(&self) -> std::slice::Chunks<'_, u8> {
        self.body.chunks(1 << 16)
    }
}
