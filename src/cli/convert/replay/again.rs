//! A recorded answer of an upstream converted again, on the paths that `serve` takes.

use crate::convert::fold::MAX_EVENT;
use crate::convert::{self, Feed, Flow, Fold, Form, ReplyContext, UpstreamEnd, native};
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

/// How an answer goes to the client.
#[derive(Debug, Clone)]
pub(super) enum Way {
    Converted(Box<ReplyContext>),
    /// As it is, from the provider of that name.
    Passed(String),
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
    pub(super) fn error(&self, way: &Way) -> Again {
        let body = if self.body.len() > MAX_ERROR { &[][..] } else { &self.body };
        Again::Refused(match way {
            Way::Converted(context) => {
                convert::error::error(self.status, body, &context.provider, Some(context))
            }
            Way::Passed(provider) => native::error(self.status, body, provider),
        })
    }

    /// For a client that did not ask for a stream.
    pub(super) fn whole(&self, way: Way) -> Again {
        let done = match (way, self.form()) {
            (Way::Converted(context), Form::Whole) => {
                convert::response(&self.body, *context).map(|answer| answer.body)
            }
            (Way::Converted(context), Form::Events) => self.fold(*context).map(|answer| answer.body),
            (Way::Passed(provider), form) => native::check_form(form, &provider)
                .and_then(|()| native::answer(&self.body, &provider))
                .map(|_| self.body.clone()),
        };
        done.map_or_else(Again::Refused, Again::Whole)
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
    pub(super) fn stream(&self, way: Way, committed: bool) -> Again {
        let content_type = self.content_type.clone();
        let mut flow = match way {
            Way::Converted(context) => Flow::from(Feed::new(content_type, *context)),
            Way::Passed(provider) => Flow::from(native::Relay::new(content_type, provider, 0)),
        };
        let (mut all, mut before_end) = (Vec::new(), 0);
        if committed {
            flow.start(&mut all);
        }
        match self.events(&mut flow, &mut all, &mut before_end) {
            Err(error) if !flow.started() => return Again::Refused(error),
            Err(error) => flow.fail(&error, &mut all),
            Ok(()) => {}
        }
        Again::Stream { all, before_end }
    }

    fn events(&self, flow: &mut Flow, out: &mut Vec<u8>, before_end: &mut usize) -> Result<(), ApiError> {
        for piece in self.pieces() {
            let done = flow.take(piece, out, || ());
            *before_end = out.len();
            if done? {
                return Ok(());
            }
        }
        flow.end(out)
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
                if is_done(event.data) || event.name == b"message_stop" {
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
