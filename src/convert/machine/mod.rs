//! The state machine of an answer: what came from upstream, in the order in which it may be told.
//!
//! One block is open at a time. Text and reasoning that arrive while a tool call is
//! incomplete wait for it; arguments of later calls wait for the earlier ones.

mod end;
mod text;
mod tools;

use std::borrow::Cow;
use std::collections::VecDeque;

use crate::convert::calls::Calls;
use crate::convert::hold::Hold;
use crate::convert::ids::IdSource;
use crate::convert::reply::ReplyContext;
use crate::convert::sink::{Kind, Sink};
use crate::convert::stop::Finish;
use crate::convert::stream::Summary;
use crate::convert::text::Fragment;
use crate::convert::think::ThinkTags;
use crate::convert::thoughts::Thoughts;
use crate::convert::web::Citations;
use crate::wire::anthropic::ApiError;
use crate::wire::json::{Half, JsonStr, utf8, without_bom};
use crate::wire::openai::{self, Chunk, Content, MAX_ENTRIES, Mould, Spot};

/// An answer that makes the proxy hold more than this is a fault of the upstream. Bytes.
pub(super) const MAX_RETAINED: usize = 8 << 20;

/// Output that waits. Texts are the inside of a JSON string.
#[derive(Debug)]
enum Held {
    Text(String),
    Thinking(String),
    /// The reasoning beside them, and `reasoning_details` as they came.
    Details(Option<String>, String),
}

impl Held {
    fn retained(&self) -> usize {
        32 + match self {
            Self::Text(text) | Self::Thinking(text) => text.len(),
            Self::Details(text, details) => text.as_ref().map_or(0, String::len) + details.len(),
        }
    }
}

/// Translates one answer into a [`Sink`].
#[derive(Debug)]
pub(super) struct Machine<S> {
    pub(super) context: ReplyContext,
    sink: S,
    /// The last chunk of the stream.
    mould: Mould,
    ids: IdSource,
    pub(super) started: bool,
    /// A chunk with choices or usage has come: there is an answer, if perhaps an empty one.
    answered: bool,
    /// What an upstream said that sent no answer.
    note: Option<ApiError>,
    /// The end or an error is out: nothing may follow.
    pub(super) ended: bool,
    open: Option<Kind>,
    /// Blocks that were started.
    blocks: usize,
    /// A block was completed: errors are told by their own type from here on.
    pub(super) completed_block: bool,
    tags: ThinkTags,
    thoughts: Thoughts,
    calls: Calls,
    /// Tool calls that became blocks, by the fingerprints of their ids.
    used_ids: Vec<u64>,
    /// Ids that calls of a whole answer were given before their turn.
    claimed: VecDeque<String>,
    /// Half a character that the last piece of text or reasoning ended with; its place.
    half: (Kind, Half),
    /// White space that opens no text block of its own: the inside of a JSON string.
    space: String,
    /// Output that waits for incomplete calls.
    held: Vec<Held>,
    /// What the end waits for; none: nothing.
    hold: Option<Box<Hold>>,
    pub(super) finish: Option<Finish>,
    matched_stop: Option<String>,
    refusal: Option<String>,
    usage: Option<openai::Usage>,
    timings_cache: u64,
    /// Bytes of text, reasoning and arguments that came: the output is estimated from them
    /// where the upstream tells no usage.
    output_bytes: u64,
    /// Payloads that were no JSON.
    skipped: u64,
    /// The answer came as one completion, not as a stream.
    whole: bool,
    summary: Summary,
    preview_left: usize,
    /// Looks for sources that the text names; none: there are none.
    citations: Option<Box<Citations>>,
}

impl<S: Sink> Machine<S> {
    pub(super) fn new(context: ReplyContext, sink: S) -> Self {
        let tags = ThinkTags::new(context.profile.think_tags == super::profile::ThinkTags::Leading);
        let hold = Hold::new(context.holds);
        let earlier = context.resumed.as_deref();
        let summary = earlier.map_or_else(Summary::default, |earlier| earlier.summary.clone());
        Self {
            ids: earlier.map_or_else(|| IdSource::new(context.seed), |earlier| earlier.ids.clone()),
            preview_left: context.preview_chars.saturating_sub(summary.preview.chars().count()),
            completed_block: earlier.is_some(),
            citations: (!context.sources.is_empty()).then(Box::default),
            context,
            sink,
            mould: Mould::default(),
            started: false,
            answered: false,
            note: None,
            ended: false,
            open: None,
            blocks: 0,
            tags,
            thoughts: Thoughts::default(),
            calls: Calls::default(),
            used_ids: Vec::new(),
            claimed: VecDeque::new(),
            half: (Kind::Text, Half::default()),
            space: String::new(),
            held: Vec::new(),
            hold,
            finish: None,
            matched_stop: None,
            refusal: None,
            usage: None,
            timings_cache: 0,
            output_bytes: 0,
            skipped: 0,
            whole: false,
            summary,
        }
    }

    pub(super) fn sink(&self) -> &S {
        &self.sink
    }

    pub(super) fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Bytes held.
    pub(super) fn retained(&self) -> usize {
        let citations = self.citations.as_ref().map_or(0, |citations| citations.retained());
        self.held_back() + self.hold.as_ref().map_or(0, |hold| hold.retained()) + citations
    }

    /// Bytes that wait for more from the upstream.
    fn held_back(&self) -> usize {
        self.tags.retained()
            + self.thoughts.retained()
            + self.calls.retained()
            + self.used_ids.len() * 8
            + self.space.len()
            + self.held.iter().map(Held::retained).sum::<usize>()
            + self.refusal.as_ref().map_or(0, String::len)
    }

    pub(super) fn start(&mut self, out: &mut Vec<u8>) {
        if !self.started {
            self.started = true;
            if let Some(earlier) = &self.context.resumed {
                return self.sink.resume(earlier, &self.context, out);
            }
            let id = self.ids.next("msg_01");
            self.sink.start(&id, &self.context, out);
        }
    }

    /// Takes one payload of the stream.
    pub(super) fn push(&mut self, name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
        if name != b"error"
            && let Some((spot, text)) = self.mould.read(data)
        {
            self.repeat(spot, text, out)?;
            return self.within_limits();
        }
        let text = self.text_of(data);
        if name == b"error" {
            return Err(self.fault(data));
        }
        let Ok(chunk) = Chunk::parse(&text) else {
            if super::error::is_error_list(&text) {
                return Err(self.fault(data));
            }
            // Not every line is a chunk: some gateways send notes of their own.
            self.skipped += u64::from(!text.trim().is_empty());
            return Ok(());
        };
        if chunk.faulty {
            return Err(self.fault(data));
        }
        uncrowded(&chunk)?;
        self.mould.take(&text, &chunk);
        self.numbers(&chunk);
        // Azure's first chunk has neither: only what filters said of the prompt.
        if chunk.choices.is_empty() && chunk.usage.is_none() {
            if chunk.told && !self.answered {
                self.note = Some(self.fault(data));
            }
            return Ok(());
        }
        self.answered = true;
        if !self.started {
            // An upstream that gives up at once is an HTTP error still.
            for choice in &chunk.choices {
                self.stop(choice)?;
            }
        }
        self.start(out);
        let something_came = !self.nothing_came();
        for choice in &chunk.choices {
            if choice.whole && something_came {
                // MiniMax repeats the whole message at the end.
                continue;
            }
            let delta = &choice.delta;
            self.think(delta, out)?;
            self.say(&delta.content, out)?;
            if let Some(refusal) = delta.refusal {
                self.refuse(Fragment::Json(refusal), true, out)?;
            }
            self.call(delta, out)?;
        }
        for choice in &chunk.choices {
            self.stop(choice)?;
        }
        self.within_limits()
    }

    /// Takes a chunk that has nothing but `text`, from a stream that has had such chunks.
    fn repeat(&mut self, spot: Spot, text: JsonStr<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        match spot {
            Spot::Content => self.say(&Content::Text(text), out),
            Spot::Reasoning => self.reason(text, out),
            Spot::Arguments(index) => {
                let arguments = Some(openai::Arguments::Text(text));
                self.tool_delta(&openai::ToolDelta { index, arguments, ..Default::default() }, out)
            }
        }
    }

    /// Takes a whole completion. Choices are merged: reasoning, then text, then calls.
    pub(super) fn push_completion(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
        let text = self.text_of(without_bom(body));
        let Ok(chunk) = Chunk::parse(&text) else {
            if super::error::is_error_list(&text) {
                return Err(self.fault(body));
            }
            return Err(ApiError::bad_gateway(if text.trim().is_empty() {
                "upstream returned an empty response"
            } else {
                "upstream returned HTTP 200 with a non-JSON body"
            }));
        };
        if chunk.faulty {
            return Err(self.fault(body));
        }
        uncrowded(&chunk)?;
        if chunk.choices.is_empty() {
            return Err(if chunk.told {
                self.fault(body)
            } else {
                ApiError::bad_gateway("upstream returned an empty response")
            });
        }
        self.whole = true;
        self.answered = true;
        self.numbers(&chunk);
        for choice in &chunk.choices {
            self.stop(choice)?;
        }
        self.start(out);
        self.sign_calls(&chunk.choices, out);
        for choice in &chunk.choices {
            self.think(&choice.delta, out)?;
            if let Content::Parts(parts) = &choice.delta.content {
                for (_, text) in parts.iter().filter(|(thinking, _)| *thinking) {
                    self.reason(*text, out)?;
                }
            }
        }
        let mut content = false;
        for choice in &chunk.choices {
            match &choice.delta.content {
                Content::None => {}
                Content::Text(_) => {
                    content = true;
                    self.say(&choice.delta.content, out)?;
                }
                Content::Parts(parts) => {
                    for (_, text) in parts.iter().filter(|(thinking, _)| !thinking) {
                        content = true;
                        self.write(*text, out)?;
                    }
                }
            }
        }
        for refusal in chunk.choices.iter().filter_map(|c| c.delta.refusal) {
            self.refuse(Fragment::Json(refusal), !content, out)?;
        }
        self.flush_tags(out)?;
        for choice in &chunk.choices {
            self.call(&choice.delta, out)?;
        }
        self.within_limits()
    }

    /// The bytes as text; what is no UTF-8 becomes U+FFFD.
    fn text_of<'d>(&mut self, data: &'d [u8]) -> Cow<'d, str> {
        // `from_utf8_lossy` looks at each character even where all is well.
        utf8(data).map_or_else(
            |_| {
                self.summary.losses.add(|| "answer".into(), "degraded:invalid_utf8");
                String::from_utf8_lossy(data)
            },
            Cow::Borrowed,
        )
    }

    fn fault(&self, data: &[u8]) -> ApiError {
        super::error::in_band(data, &self.context)
    }

    fn within_limits(&self) -> Result<(), ApiError> {
        if self.held_back() > MAX_RETAINED {
            return Err(ApiError::bad_gateway(format!(
                "upstream sent more than {} MiB that cannot be passed on yet",
                MAX_RETAINED >> 20
            )));
        }
        Ok(())
    }

    fn numbers(&mut self, chunk: &Chunk<'_>) {
        self.usage = chunk.usage.or(self.usage);
        self.timings_cache = self.timings_cache.max(chunk.timings_cache);
    }

    fn stop(&mut self, choice: &openai::Choice<'_>) -> Result<(), ApiError> {
        if let Some(reason) = choice.finish_reason {
            self.finish = self.finish.max(Some(Finish::read(&reason.decode())?));
        }
        if let Some(matched) = choice.matched_stop {
            self.matched_stop = Some(matched.decode().into_owned());
        }
        Ok(())
    }

    fn begin(&mut self, kind: Kind, out: &mut Vec<u8>) {
        if kind == Kind::Thinking {
            self.space.clear();
        }
        self.open = Some(kind);
        self.blocks += 1;
        self.sink.open(kind, out);
    }

    /// Closes the open text or thinking block. Calls have their own end: [`Self::finish_call`].
    fn close(&mut self, out: &mut Vec<u8>) {
        match self.open.take() {
            None | Some(Kind::Tool) => return,
            Some(Kind::Text) => {
                self.cite(None, out);
                self.sink.close(true, out);
            }
            Some(Kind::Thinking) => {
                let signature = self.thoughts.seal(self.context.thinking, self.context.profile);
                self.sink.close_thinking(&signature, out);
            }
        }
        self.completed_block = true;
    }
}

fn uncrowded(chunk: &Chunk<'_>) -> Result<(), ApiError> {
    if chunk.crowded {
        return Err(ApiError::bad_gateway(format!(
            "upstream sent more than {MAX_ENTRIES} choices, tool calls or content parts at once"
        )));
    }
    Ok(())
}
