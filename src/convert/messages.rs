//! Turns become Chat Completions messages, and tool results find their calls.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::history::{Spoken, call_of};
use super::ids::{fingerprint, upstream_call_id};
use super::loss::Losses;
use super::media::{Media, Part, write_content};
use super::profile::{Echo, Profile, ToolResultImages, UserAfterTool};
use super::text::{BLANK_LINE, Composer, Text, write_joined};
use super::tools::Names;
use super::turns::{Item, Turn};
use super::web::{Served, Told, is_web_result, told};
use crate::wire::anthropic::{Block, BlockKind};
use crate::wire::json::{JsonStr, RawJson, write_str};

/// The text of a failed result that has none but has pictures.
const FAILED: &str = "Error:";

/// A tool call of the history that waits for its result.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The client's id.
    pub(super) own_id: Cow<'a, str>,
    /// The id upstream.
    pub(super) id: Cow<'a, str>,
    /// The name upstream.
    pub(super) name: Cow<'a, str>,
    /// Its result, where it was carried out by the server and stands in the same turn.
    told: Option<Told<'a>>,
}

/// Writes the list of messages.
pub(super) struct Messages<'w, 'a> {
    out: &'w mut Vec<u8>,
    profile: &'w Profile,
    media: Media<'w>,
    echo: Echo,
    served: Served,
    names: &'w mut Names,
    losses: &'w mut Losses,
    first: bool,
    /// A user message is only written when what follows it is known: two in a row become one.
    user: Vec<Part<'a>>,
    /// Calls of the last assistant turn that have no result yet.
    calls: Vec<Call<'a>>,
    /// Tool calls so far, over the whole conversation.
    count: usize,
    /// The last message is a tool message with text: more text can be folded into it.
    after_tool: bool,
    stats: Stats,
}

/// What else is known when all messages are written.
#[derive(Debug, Default)]
pub(super) struct Stats {
    /// Fingerprints of all tool_use ids in the history.
    pub(super) history_ids: Vec<u64>,
    /// Images and files.
    pub(super) media: u64,
    /// Bytes of base64 in them.
    pub(super) media_bytes: usize,
    /// The last message is an unfinished answer of the model.
    pub(super) prefill: bool,
}

impl<'w, 'a> Messages<'w, 'a> {
    pub(super) fn new(
        out: &'w mut Vec<u8>,
        profile: &'w Profile,
        media: Media<'w>,
        (echo, served): (Echo, Served),
        names: &'w mut Names,
        losses: &'w mut Losses,
    ) -> Self {
        out.push(b'[');
        Self {
            out,
            profile,
            media,
            echo,
            served,
            names,
            losses,
            first: true,
            user: Vec::new(),
            calls: Vec::new(),
            count: 0,
            after_tool: false,
            stats: Stats::default(),
        }
    }

    fn begin(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.after_tool = false;
    }

    /// Writes a system message; `content` writes the value.
    pub(super) fn system(&mut self, content: impl FnOnce(&mut Vec<u8>)) {
        self.flush();
        self.begin();
        self.out.extend_from_slice(b"{\"role\":");
        write_str(self.profile.system_role.as_str(), self.out);
        self.out.extend_from_slice(b",\"content\":");
        content(self.out);
        self.out.push(b'}');
    }

    pub(super) fn turn(&mut self, turn: &Turn<'_, 'a>, last: bool) {
        match turn {
            Turn::System(text) => {
                self.system(|out| text.write(out));
            }
            Turn::Assistant(blocks) => self.assistant(blocks, last),
            Turn::User(items) => self.user_turn(items),
        }
    }

    /// Closes the list.
    pub(super) fn finish(mut self) -> Stats {
        self.flush();
        self.out.push(b']');
        self.stats.history_ids.sort_unstable();
        self.stats
    }

    /// Writes what has been held back, results that never came included.
    fn flush(&mut self) {
        for mut call in std::mem::take(&mut self.calls) {
            if let Some(told) = call.told.take() {
                let mut media = Vec::new();
                self.tell(&call, told, None, &mut media);
                self.user.append(&mut media);
            } else {
                self.losses.add(|| "messages".into(), "synthesized_tool_result");
                self.unanswered(&call);
            }
        }
        let parts = std::mem::take(&mut self.user);
        if parts.is_empty() {
            return;
        }
        for part in &parts {
            if let Some(bytes) = part.media_bytes() {
                self.stats.media += 1;
                self.stats.media_bytes += bytes;
            }
        }
        if self.after_tool && self.profile.user_after_tool == UserAfterTool::Fold {
            let texts: Option<Vec<&Text<'_>>> =
                parts.iter().map(|p| if let Part::Text(text, _) = p { Some(text) } else { None }).collect();
            if let Some(texts) = texts {
                // The message ends in `"}`: it is opened again.
                self.out.truncate(self.out.len() - 2);
                if !self.out.ends_with(b"\"content\":\"") {
                    self.out.extend_from_slice(BLANK_LINE);
                }
                write_joined(texts, self.out);
                self.out.extend_from_slice(b"\"}");
                return;
            }
            self.begin();
            self.out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":\"I have the tool results.\"}");
        }
        self.begin();
        self.out.extend_from_slice(b"{\"role\":\"user\",\"content\":");
        write_content(&parts, self.profile.cache_control, self.out);
        self.out.push(b'}');
    }

    fn tool_message(&mut self, call: &Call<'_>, content: impl FnOnce(&mut Vec<u8>)) {
        self.begin();
        self.out.extend_from_slice(b"{\"role\":\"tool\",\"tool_call_id\":");
        write_str(&call.id, self.out);
        if self.profile.family == "mistral" {
            self.out.extend_from_slice(b",\"name\":");
            write_str(&call.name, self.out);
        }
        self.out.extend_from_slice(b",\"content\":");
        content(self.out);
        self.out.push(b'}');
        self.after_tool = self.out.ends_with(b"\"}");
    }

    fn unanswered(&mut self, call: &Call<'_>) {
        self.tool_message(call, |out| write_str("[no result was provided for this tool call]", out));
    }

    fn assistant(&mut self, blocks: &[&Block<'a>], last: bool) {
        let calls = |block: &&Block<'a>| match &block.kind {
            BlockKind::ServerToolUse { name, .. } => self.served.calls(*name).is_some(),
            _ => false,
        };
        if !blocks.iter().any(calls) {
            return self.said(blocks, last);
        }
        let steps = steps(blocks, self.served);
        for (n, step) in steps.iter().enumerate() {
            self.said(&step.said, last && n + 1 == steps.len());
            for result in &step.results {
                let id = is_web_result(result).map(JsonStr::decode);
                let call = self.calls.iter_mut().find(|c| Some(&c.own_id) == id.as_ref());
                if let Some(call) = call {
                    call.told = told(result, self.media, self.losses);
                }
            }
        }
    }

    fn said(&mut self, blocks: &[&Block<'a>], last: bool) {
        let spoken = Spoken::sort(blocks, self.profile, (self.echo, self.served), self.losses);
        if spoken.is_empty(self.echo) {
            let at = blocks.first().map(|b| b.place.message).unwrap_or_default();
            self.losses.add(|| format!("messages[{at}]"), "dropped:empty_message");
            return;
        }
        self.flush();
        self.begin();
        let mut calls = Vec::with_capacity(spoken.calls.len());
        for block in &spoken.calls {
            let Some((own_id, name)) = call_of(block, self.served, self.names) else { continue };
            let id = upstream_call_id(self.profile.tool_call_id, own_id.clone(), &name, self.count);
            self.count += 1;
            self.stats.history_ids.push(fingerprint(&own_id));
            calls.push(Call { own_id, id, name, told: None });
        }
        self.stats.prefill = last && spoken.is_plain_text();
        let prefix = self.stats.prefill && self.profile.family == "mistral";
        spoken.write(&calls, self.profile, self.echo, prefix, self.out);
        self.calls = calls;
    }

    fn user_turn(&mut self, items: &[Item<'_, 'a>]) {
        let mut parts = Vec::new();
        // Pictures of tool results go first: they belong to what stands before them.
        let mut from_results = Vec::new();
        let mut results: SmallVec<[&Block<'a>; 4]> = SmallVec::new();
        for item in items {
            match item {
                Item::Block(block) if matches!(block.kind, BlockKind::ToolResult { .. }) => {
                    results.push(block);
                }
                _ => {}
            }
        }
        for mut call in std::mem::take(&mut self.calls) {
            if let Some(told) = call.told.take() {
                self.tell(&call, told, None, &mut from_results);
                continue;
            }
            let (own, rest): (SmallVec<_>, SmallVec<_>) =
                results.into_iter().partition(|b| result_id(b) == Some(Cow::Borrowed(&*call.own_id)));
            results = rest;
            if own.is_empty() {
                self.losses.add(|| format!("messages[tool_use {}]", call.own_id), "synthesized_tool_result");
                self.unanswered(&call);
            } else {
                self.result(&call, &own, &mut from_results);
            }
        }
        for item in items {
            match item {
                Item::Reminder(text) => parts.push(Part::Text(text.clone(), None)),
                Item::Block(block) => match &block.kind {
                    BlockKind::ToolResult { tool_use_id, .. } => {
                        if results.iter().any(|r| std::ptr::eq(*r, *block)) {
                            self.losses.add(|| block.place.to_string(), "orphan_tool_result");
                            let mut inner = Vec::new();
                            let text = self.result_text(&[block], &mut inner);
                            let head = Composer::new()
                                .lit("[result of unknown tool call ")
                                .json(*tool_use_id)
                                .lit("]\n");
                            parts.push(Part::Text(head.text(&text).done(), None));
                            parts.append(&mut inner);
                        }
                    }
                    _ => self.media.add(block, &mut parts, self.losses),
                },
            }
        }
        self.user.append(&mut from_results);
        self.user.append(&mut parts);
    }

    /// Writes the tool message of a call.
    fn result(&mut self, call: &Call<'a>, blocks: &[&Block<'a>], from_results: &mut Vec<Part<'a>>) {
        let mut media = Vec::new();
        let text = self.result_text(blocks, &mut media);
        let cache = blocks.iter().find_map(|b| b.cache_control);
        self.tell(call, Told { text, media }, cache, from_results);
    }

    fn tell(
        &mut self,
        call: &Call<'a>,
        Told { text, mut media }: Told<'a>,
        cache: Option<RawJson<'a>>,
        from_results: &mut Vec<Part<'a>>,
    ) {
        if media.is_empty() {
            let cache = cache.filter(|_| self.profile.cache_control);
            self.tool_message(call, |out| match cache {
                Some(cache) => write_content(&[Part::Text(text, Some(cache))], true, out),
                None => text.write(out),
            });
            return;
        }
        if self.profile.tool_result_images == ToolResultImages::Inline {
            if !text.is_empty() {
                media.insert(0, Part::Text(text, None));
            }
            let apart = self.profile.cache_control;
            self.tool_message(call, |out| write_content(&media, apart, out));
            return;
        }
        let kind = if media.iter().all(|p| matches!(p, Part::File { .. })) { "document" } else { "image" };
        let mut note = Composer::new();
        if !text.is_empty() {
            let bare = matches!(&text, Text::Composed(bytes) if bytes == FAILED.as_bytes());
            note = note.text(&text).lit(if bare { " " } else { "\n\n" });
        }
        let note = note.lit(&format!("[{kind} content follows in the next user message]")).done();
        self.tool_message(call, |out| note.write(out));
        from_results
            .push(Part::Text(Text::plain(&format!("[{kind} content of tool call {}]", call.id)), None));
        from_results.append(&mut media);
    }

    /// The text of a call's results; their images and files go to `media`.
    fn result_text(&mut self, blocks: &[&Block<'a>], media: &mut Vec<Part<'a>>) -> Text<'a> {
        let mut texts: SmallVec<[Text<'a>; 1]> = SmallVec::new();
        for block in blocks {
            let BlockKind::ToolResult { content, is_error, .. } = &block.kind else { continue };
            let (first, first_medium) = (texts.len(), media.len());
            let mut parts = Vec::new();
            for inner in content {
                match &inner.kind {
                    // Nearly always: no list is needed.
                    BlockKind::Text(text) if !text.is_empty() => texts.push(Text::Json(*text)),
                    _ => self.media.add(inner, &mut parts, self.losses),
                }
                for part in parts.drain(..) {
                    match part {
                        Part::Text(text, _) => texts.push(text),
                        other => media.push(other),
                    }
                }
            }
            if !*is_error {
                continue;
            }
            match texts.get_mut(first) {
                None if media.len() == first_medium => {
                    texts.push(Text::plain("Error: tool failed without output"));
                }
                None => texts.push(Text::plain(FAILED)),
                Some(text) if text.begins_with_any(&["error", "<tool_use_error>"]) => {}
                Some(text) => *text = Composer::new().lit("Error: ").text(text).done(),
            }
        }
        if texts.len() == 1 {
            texts.remove(0)
        } else {
            let mut joined = Vec::with_capacity(texts.iter().map(|t| t.len() + 4).sum());
            write_joined(&texts, &mut joined);
            Text::Composed(joined)
        }
    }
}

/// What the model said up to results of calls that were carried out for it, and these results.
struct Step<'r, 'a> {
    said: Vec<&'r Block<'a>>,
    results: Vec<&'r Block<'a>>,
}

/// Takes a turn apart: what the model said next, it said with the results before it.
fn steps<'r, 'a>(blocks: &[&'r Block<'a>], served: Served) -> Vec<Step<'r, 'a>> {
    let mut steps: Vec<Step<'r, 'a>> = Vec::new();
    for block in blocks {
        let answers = is_web_result(block).filter(|id| {
            let calls = steps.last().into_iter().flat_map(|step| &step.said);
            let mut ids = calls.filter_map(|call| match &call.kind {
                BlockKind::ServerToolUse { id, name, .. } => served.calls(*name).and(Some(*id)),
                _ => None,
            });
            ids.any(|call| call.decode() == id.decode())
        });
        match steps.last_mut() {
            Some(step) if answers.is_some() => step.results.push(block),
            Some(step) if step.results.is_empty() => step.said.push(block),
            _ => steps.push(Step { said: vec![block], results: Vec::new() }),
        }
    }
    steps
}

fn result_id<'a>(block: &Block<'a>) -> Option<Cow<'a, str>> {
    match &block.kind {
        BlockKind::ToolResult { tool_use_id, .. } => Some(tool_use_id.decode()),
        _ => None,
    }
}
