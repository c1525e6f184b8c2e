//! The state machine of an answer: what came from upstream, in the order in which it may be told.
//!
//! One block is open at a time. Text and reasoning that arrive while a tool call is
//! incomplete wait for it; arguments of later calls wait for the earlier ones.

use super::arguments::Outcome;
use super::calls::Calls;
use super::ids::{IdSource, fingerprint, usable};
use super::reply::{ReplyContext, ThinkingMode, Usage};
use super::sink::{Ending, Kind, Sink, clean};
use super::stop::{self, Finish};
use super::stream::{Summary, UpstreamEnd};
use super::text::Fragment;
use super::think::{Found, ThinkTags};
use super::thoughts::Thoughts;
use super::usage;
use crate::wire::anthropic::ApiError;
use crate::wire::json::RawJson;
use crate::wire::openai::{self, Arguments, Chunk, Content, Delta, ToolDelta};

/// An answer that makes the proxy hold more than this is a fault of the upstream. Bytes.
pub(super) const MAX_RETAINED: usize = 8 << 20;

/// Translates one answer into a [`Sink`].
#[derive(Debug)]
pub(super) struct Machine<S> {
    pub(super) context: ReplyContext,
    sink: S,
    ids: IdSource,
    pub(super) started: bool,
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
    /// White space that opens no text block of its own: the inside of a JSON string.
    space: String,
    /// Output that waits for incomplete calls: (is thinking, inside of a JSON string).
    held: Vec<(bool, String)>,
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
}

impl<S: Sink> Machine<S> {
    pub(super) fn new(context: ReplyContext, sink: S) -> Self {
        let tags = ThinkTags::new(context.profile.think_tags == super::profile::ThinkTags::Leading);
        Self {
            ids: IdSource::new(context.seed),
            preview_left: context.preview_chars,
            context,
            sink,
            started: false,
            ended: false,
            open: None,
            blocks: 0,
            completed_block: false,
            tags,
            thoughts: Thoughts::default(),
            calls: Calls::default(),
            used_ids: Vec::new(),
            space: String::new(),
            held: Vec::new(),
            finish: None,
            matched_stop: None,
            refusal: None,
            usage: None,
            timings_cache: 0,
            output_bytes: 0,
            skipped: 0,
            whole: false,
            summary: Summary::default(),
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
        self.tags.retained()
            + self.thoughts.retained()
            + self.calls.retained()
            + self.used_ids.len() * 8
            + self.space.len()
            + self.held.iter().map(|(_, text)| text.len() + 32).sum::<usize>()
            + self.refusal.as_ref().map_or(0, String::len)
    }

    pub(super) fn start(&mut self, out: &mut Vec<u8>) {
        if !self.started {
            self.started = true;
            let id = self.ids.next("msg_01");
            self.sink.start(&id, &self.context, out);
        }
    }

    /// Takes one payload of the stream.
    pub(super) fn push(&mut self, name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
        let text = String::from_utf8_lossy(data);
        if name == b"error" {
            return Err(self.fault(data));
        }
        let Ok(chunk) = Chunk::parse(&text) else {
            // Not every line is a chunk: some gateways send notes of their own.
            self.skipped += 1;
            return Ok(());
        };
        if chunk.faulty {
            return Err(self.fault(data));
        }
        self.numbers(&chunk);
        // Azure's first chunk has neither: only what filters said of the prompt.
        if chunk.choices.is_empty() && chunk.usage.is_none() {
            return Ok(());
        }
        self.start(out);
        for choice in &chunk.choices {
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

    /// Takes a whole completion. Choices are merged: reasoning, then text, then calls.
    pub(super) fn push_completion(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
        let text = String::from_utf8_lossy(body);
        let Ok(chunk) = Chunk::parse(&text) else {
            return Err(ApiError::bad_gateway("upstream returned HTTP 200 with a non-JSON body"));
        };
        if chunk.faulty {
            return Err(self.fault(body));
        }
        if chunk.choices.is_empty() {
            return Err(ApiError::bad_gateway("upstream returned an empty response"));
        }
        self.whole = true;
        self.numbers(&chunk);
        for choice in &chunk.choices {
            self.stop(choice)?;
        }
        self.start(out);
        for choice in &chunk.choices {
            self.think(&choice.delta, out)?;
            if let Content::Parts(parts) = &choice.delta.content {
                for (_, text) in parts.iter().filter(|(thinking, _)| *thinking) {
                    self.emit_thinking(Fragment::Json(*text), out)?;
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
                        self.emit_text(Fragment::Json(*text), out)?;
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

    fn fault(&self, data: &[u8]) -> ApiError {
        super::error::in_band(data, &self.context)
    }

    fn within_limits(&self) -> Result<(), ApiError> {
        if self.retained() > MAX_RETAINED {
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

    // Reasoning.

    fn think(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        match (delta.reasoning, delta.reasoning_details) {
            (Some(text), None) => self.emit_thinking(Fragment::Json(text), out),
            (reasoning, Some(details)) => self.think_details(reasoning.map(Fragment::Json), details, out),
            (None, None) => Ok(()),
        }
    }

    fn think_details(
        &mut self,
        text: Option<Fragment<'_>>,
        details: RawJson<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ApiError> {
        if self.context.thinking == ThinkingMode::Off {
            return Ok(());
        }
        if details.text().trim_matches(['[', ']', ' ']).is_empty() {
            return text.map_or(Ok(()), |text| self.emit_thinking(text, out));
        }
        let profile = self.context.profile;
        if self.calls.open() && !self.calls.all_complete() {
            // The block that would carry them cannot be opened yet; their text can wait.
            let fresh = Thoughts::default().details(details, profile);
            return self.emit_thinking(text.unwrap_or(Fragment::Plain(&fresh)), out);
        }
        // The block has to be there before the details are gathered: closing one empties them.
        self.open_thinking(out)?;
        let fresh = self.thoughts.details(details, profile);
        self.emit_thinking(text.unwrap_or(Fragment::Plain(&fresh)), out)
    }

    fn emit_thinking(&mut self, text: Fragment<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.output_bytes += text.len() as u64;
        if text.is_empty() || self.context.thinking == ThinkingMode::Off {
            return Ok(());
        }
        if self.calls.open() && !self.calls.all_complete() {
            self.hold(true, text);
            return Ok(());
        }
        self.open_thinking(out)?;
        if self.context.thinking == ThinkingMode::Omit {
            self.thoughts.hide(text);
        } else {
            self.sink.delta(out, |out| text.write_inner(out));
        }
        Ok(())
    }

    fn open_thinking(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        if self.open != Some(Kind::Thinking) {
            self.finish_calls(out)?;
            self.close(out);
            self.begin(Kind::Thinking, out);
        }
        Ok(())
    }

    // Text.

    fn say(&mut self, content: &Content<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        match content {
            Content::None => Ok(()),
            Content::Text(text) => {
                self.tags.rule_out(text.raw().bytes().next());
                if self.tags.is_text() {
                    return self.emit_text(Fragment::Json(*text), out);
                }
                for found in self.tags.push(&text.decode()) {
                    self.found(&found, out)?;
                }
                Ok(())
            }
            Content::Parts(parts) => {
                for (thinking, text) in parts {
                    if *thinking {
                        self.emit_thinking(Fragment::Json(*text), out)?;
                    } else {
                        self.emit_text(Fragment::Json(*text), out)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn found(&mut self, found: &Found, out: &mut Vec<u8>) -> Result<(), ApiError> {
        match found {
            Found::Thinking(text) => self.emit_thinking(Fragment::Plain(text), out),
            Found::Text(text) => self.emit_text(Fragment::Plain(text), out),
        }
    }

    fn flush_tags(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        match self.tags.flush() {
            Some(found) => self.found(&found, out),
            None => Ok(()),
        }
    }

    fn refuse(&mut self, text: Fragment<'_>, shown: bool, out: &mut Vec<u8>) -> Result<(), ApiError> {
        text.decode_some(usize::MAX, self.refusal.get_or_insert_default());
        if shown { self.emit_text(text, out) } else { Ok(()) }
    }

    fn emit_text(&mut self, text: Fragment<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.output_bytes += text.len() as u64;
        if self.open == Some(Kind::Text) {
            self.write_text(text, out);
            return Ok(());
        }
        if text.is_empty() {
            return Ok(());
        }
        if self.calls.open() && !self.calls.all_complete() {
            self.hold(false, text);
            return Ok(());
        }
        if text.is_blank() {
            // A text block is not worth opening for it yet.
            push_inner(text, &mut self.space);
            return Ok(());
        }
        self.finish_calls(out)?;
        let space = std::mem::take(&mut self.space);
        self.close(out);
        self.begin(Kind::Text, out);
        self.write_text(Fragment::Escaped(&space), out);
        self.write_text(text, out);
        Ok(())
    }

    fn write_text(&mut self, text: Fragment<'_>, out: &mut Vec<u8>) {
        if self.preview_left > 0 {
            self.preview_left -= text.decode_some(self.preview_left, &mut self.summary.preview);
        }
        self.sink.delta(out, |out| text.write_inner(out));
    }

    /// Keeps output until the calls before it are complete.
    fn hold(&mut self, thinking: bool, text: Fragment<'_>) {
        match self.held.last_mut() {
            Some((kind, held)) if *kind == thinking => push_inner(text, held),
            _ => {
                let mut held = String::new();
                push_inner(text, &mut held);
                self.held.push((thinking, held));
            }
        }
    }

    // Tool calls.

    fn call(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.calls.modern |= !delta.tool_calls.is_empty();
        for call in &delta.tool_calls {
            self.tool_delta(call, out)?;
        }
        match &delta.function_call {
            Some(call) if !self.calls.modern => self.tool_delta(call, out),
            _ => Ok(()),
        }
    }

    fn tool_delta(&mut self, delta: &ToolDelta<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        // Text that might have been the beginning of a tag comes before the call.
        self.flush_tags(out)?;
        let at = self.calls.take(delta, self.whole)?;
        match delta.arguments {
            None => {}
            Some(Arguments::Text(text)) => self.arguments(at, &clean(text), out)?,
            Some(Arguments::Object(object)) => {
                let mut inner = Vec::new();
                object.write_compact_escaped(&mut inner);
                self.arguments(at, &String::from_utf8_lossy(&inner), out)?;
            }
        }
        self.advance(out)
    }

    fn arguments(&mut self, at: usize, text: &str, out: &mut Vec<u8>) -> Result<(), ApiError> {
        if text.is_empty() || at < self.calls.current {
            // Nothing, or something behind the end of an object.
            return Ok(());
        }
        self.output_bytes += text.len() as u64;
        let Some(call) = self.calls.list.get_mut(at) else { return Ok(()) };
        if !call.opened {
            call.wait(text);
            return Ok(());
        }
        let fed = self.sink.delta(out, |out| call.arguments.feed(text, out));
        fed.map_err(|_| unusable("invalid JSON", &call.name))
    }

    /// Opens the call whose turn it is, and goes on to the next when one is complete.
    fn advance(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        loop {
            let Some(call) = self.calls.list.get(self.calls.current) else { break };
            if !call.opened {
                if call.name.is_empty() {
                    return Ok(());
                }
                self.open_call(out)?;
                continue;
            }
            let next_known =
                self.calls.list.get(self.calls.current + 1).is_some_and(|next| !next.name.is_empty());
            if !(call.arguments.is_complete() && next_known) {
                break;
            }
            self.finish_call(out)?;
        }
        if !self.held.is_empty() && self.calls.all_complete() {
            self.release(out)?;
        }
        Ok(())
    }

    fn open_call(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let at = self.calls.current;
        let Some(call) = self.calls.list.get_mut(at) else { return Ok(()) };
        call.opened = true;
        let taken = |id: &str| {
            let print = fingerprint(id);
            self.context.history_ids.binary_search(&print).is_ok() || self.used_ids.contains(&print)
        };
        let id =
            if usable(&call.id) && !taken(&call.id) { call.id.clone() } else { self.ids.next("toolu_01") };
        self.used_ids.push(fingerprint(&id));
        let own = self.context.tool_names.iter().find(|(upstream, _)| *upstream == call.name);
        let name = own.map_or_else(|| call.name.clone(), |(_, own)| own.clone());
        let signature = call.thought_signature.take();
        if let Some(signature) = signature.filter(|_| self.context.thinking != ThinkingMode::Off) {
            // It has to come back on this very call: the thinking block before it carries it.
            if self.open != Some(Kind::Thinking) {
                self.close(out);
                self.begin(Kind::Thinking, out);
            }
            self.thoughts.gemini = Some((id.clone(), signature));
        }
        self.close(out);
        self.space.clear();
        self.open = Some(Kind::Tool);
        self.blocks += 1;
        self.sink.open_tool(&id, &name, out);
        let Some(call) = self.calls.list.get_mut(at) else { return Ok(()) };
        let pending = std::mem::take(&mut call.pending);
        let fed = self.sink.delta(out, |out| call.arguments.feed(&pending, out));
        fed.map_err(|_| unusable("invalid JSON", &call.name))
    }

    /// Ends the call whose turn it is.
    fn finish_call(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let cut = self.finish == Some(Finish::Length);
        let Some(call) = self.calls.list.get_mut(self.calls.current) else { return Ok(()) };
        let mut whole = true;
        match call.arguments.end() {
            Outcome::Complete => {}
            Outcome::None => self.sink.delta(out, |out| out.extend_from_slice(b"{}")),
            Outcome::Whole(text) => self.sink.delta(out, |out| out.extend_from_slice(&text)),
            // The token limit cut it: stop_reason says so, and nobody runs the call.
            _ if cut => whole = false,
            // Never closed: clients run what is closed.
            Outcome::Incomplete if !self.whole => return Err(unusable("incomplete JSON", &call.name)),
            Outcome::Incomplete | Outcome::Invalid => return Err(unusable("invalid JSON", &call.name)),
            Outcome::NotObject => return Err(unusable("non-object", &call.name)),
        }
        call.arguments = super::arguments::Arguments::default();
        self.calls.current += 1;
        self.open = None;
        self.completed_block = true;
        self.sink.close(whole, out);
        Ok(())
    }

    /// Ends all calls, and tells what waited for them.
    fn finish_calls(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        while let Some(call) = self.calls.list.get(self.calls.current) {
            if call.name.is_empty() {
                // It never got a name: nobody could run it.
                self.summary.losses.add(|| "tool_calls".into(), "dropped:unnamed_tool_call");
                self.calls.current += 1;
                continue;
            }
            if !call.opened {
                self.open_call(out)?;
            }
            self.finish_call(out)?;
        }
        Ok(())
    }

    fn release(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return Ok(());
        }
        self.finish_calls(out)?;
        for (thinking, text) in held {
            // It was counted when it came.
            self.output_bytes -= text.len() as u64;
            if thinking {
                self.emit_thinking(Fragment::Escaped(&text), out)?;
            } else {
                self.emit_text(Fragment::Escaped(&text), out)?;
            }
        }
        Ok(())
    }

    // Blocks.

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
            Some(Kind::Text) => self.sink.close(true, out),
            Some(Kind::Thinking) => {
                let thoughts = std::mem::take(&mut self.thoughts);
                let signature = thoughts.seal(self.context.thinking, self.context.profile);
                self.sink.close_thinking(&signature, out);
            }
        }
        self.completed_block = true;
    }

    // The end.

    pub(super) fn finish(&mut self, end: &UpstreamEnd, out: &mut Vec<u8>) -> Result<(), ApiError> {
        if self.ended {
            return Ok(());
        }
        if !self.started
            || (self.blocks == 0 && self.usage.is_none() && self.finish.is_none() && self.nothing_came())
        {
            return Err(match self.skipped {
                0 => ApiError::bad_gateway("upstream returned an empty response"),
                n => ApiError::bad_gateway(format!(
                    "upstream sent no chunk that can be read ({n} that are not JSON)"
                )),
            });
        }
        if *end == UpstreamEnd::Eof && self.finish.is_none() {
            return Err(ApiError::bad_gateway("upstream closed the stream before the response was complete"));
        }
        self.flush_tags(out)?;
        self.finish_calls(out)?;
        self.release(out)?;
        if self.blocks == 0 && !self.space.is_empty() {
            // White space is all there is: then it is the answer.
            let space = std::mem::take(&mut self.space);
            self.begin(Kind::Text, out);
            self.write_text(Fragment::Escaped(&space), out);
        }
        self.close(out);
        let refused = self.refusal.is_some();
        let calls = !self.used_ids.is_empty();
        let (stop_reason, stop_sequence) =
            stop::reason(self.finish, calls, refused, self.matched_stop.as_deref(), &self.context);
        self.conclude(stop_reason, stop_sequence.map(str::to_owned), out);
        Ok(())
    }

    fn nothing_came(&self) -> bool {
        self.output_bytes == 0 && self.space.is_empty() && self.calls.list.is_empty()
    }

    /// The answer to a request that asked for no output.
    pub(super) fn finish_empty(&mut self, out: &mut Vec<u8>) {
        self.start(out);
        self.conclude("max_tokens", None, out);
    }

    fn conclude(&mut self, stop_reason: &'static str, stop_sequence: Option<String>, out: &mut Vec<u8>) {
        self.ended = true;
        self.summary.stop_reason = Some(stop_reason);
        self.summary.usage_estimated = self.usage.is_none();
        self.summary.usage = match &self.usage {
            Some(told) => usage::anthropic(told, self.timings_cache),
            None => Usage {
                input_tokens: self.context.input_estimate.max(1),
                output_tokens: self.output_bytes.div_ceil(4),
                ..Usage::default()
            },
        };
        let ending = Ending {
            stop_reason,
            stop_sequence: stop_sequence.as_deref(),
            explanation: self.refusal.as_deref(),
            usage: self.summary.usage,
        };
        self.sink.end(&ending, &self.context, out);
    }
}

fn unusable(how: &str, tool: &str) -> ApiError {
    ApiError::bad_gateway(format!("upstream returned {how} arguments for tool {tool}"))
}

/// Appends the inside of a JSON string to a string.
fn push_inner(text: Fragment<'_>, held: &mut String) {
    let mut inner = Vec::with_capacity(text.len());
    text.write_inner(&mut inner);
    held.push_str(&String::from_utf8_lossy(&inner));
}
