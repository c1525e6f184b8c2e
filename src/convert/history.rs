//! The model's turns as they go back upstream: text, tool calls, reasoning.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::loss::Losses;
use super::media::type_of;
use super::messages::Call;
use super::profile::{AssistantEmpty, Echo, PlaceholderScope, Profile};
use super::signature::Envelope;
use super::text::{BLANK_LINE, Composer, Text};
use super::tools::Names;
use super::web::Served;
use crate::wire::anthropic::{Block, BlockKind};
use crate::wire::json::{JsonStr, write_str};

/// What an assistant turn holds, sorted.
#[derive(Debug, Default)]
pub(super) struct Spoken<'r, 'a> {
    /// Text, and whether it stands as a paragraph of its own.
    texts: SmallVec<[(Text<'a>, bool); 1]>,
    /// (id, name, input)
    pub(super) calls: SmallVec<[&'r Block<'a>; 2]>,
    reasoning: Vec<Text<'a>>,
    /// `reasoning_details` entries of this family, as they were.
    details: Vec<String>,
    /// Gemini's thought signatures by tool_use id.
    signatures: Vec<(String, String)>,
}

impl<'r, 'a> Spoken<'r, 'a> {
    /// Sorts the blocks of a turn. `echo` is what the upstream takes back of reasoning.
    ///
    /// Calls of web tools that are carried out here are calls as any; `served` names them.
    pub(super) fn sort(
        blocks: &[&'r Block<'a>],
        profile: &Profile,
        (echo, served): (Echo, Served),
        losses: &mut Losses,
    ) -> Self {
        let mut spoken = Self::default();
        for block in blocks {
            match &block.kind {
                BlockKind::Text(text) => spoken.texts.push((Text::Json(*text), false)),
                BlockKind::ToolUse { .. } => spoken.calls.push(block),
                BlockKind::ServerToolUse { name, .. } if served.calls(*name).is_some() => {
                    spoken.calls.push(block);
                }
                BlockKind::Thinking { thinking, signature } => {
                    spoken.think(*thinking, *signature, profile, echo, block, losses);
                }
                BlockKind::WebSearchResult { found: Ok(results), .. } => {
                    let mut text = Composer::new().lit("Web search results:");
                    for found in results {
                        text = text.lit("\n- ").json(found.title).lit(": ").json(found.url);
                    }
                    spoken.texts.push((text.done(), true));
                }
                BlockKind::McpToolResult(content) => {
                    for inner in content {
                        if let BlockKind::Text(text) = &inner.kind {
                            spoken.texts.push((Text::Json(*text), true));
                        }
                    }
                }
                BlockKind::Other(kind) if kind.raw() == "redacted_thinking" => {
                    losses.add(|| block.place.to_string(), "dropped:redacted_thinking");
                }
                other => losses.add(|| block.place.to_string(), &format!("dropped_block:{}", type_of(other))),
            }
        }
        spoken.texts.retain(|(text, _)| !text.is_empty());
        spoken
    }

    fn think(
        &mut self,
        thinking: JsonStr<'a>,
        signature: JsonStr<'a>,
        profile: &Profile,
        echo: Echo,
        block: &Block<'_>,
        losses: &mut Losses,
    ) {
        let mut text = Text::Json(thinking);
        if !signature.is_empty() {
            let Some(envelope) = Envelope::open(&signature.decode()) else {
                losses.add(|| block.place.to_string(), "dropped:foreign_thinking");
                return;
            };
            if let Some(hidden) = &envelope.t {
                text = Text::plain(hidden);
            }
            if envelope.p == profile.family {
                self.signatures.extend(envelope.g);
                if echo == Echo::ReasoningDetails {
                    let details = envelope.d.unwrap_or_default();
                    if !details.is_empty() {
                        self.details.extend(details.iter().map(|d| d.get().to_owned()));
                        return;
                    }
                }
            }
        }
        if text.is_empty() {
            return;
        }
        if echo == Echo::None {
            losses.add(|| block.place.to_string(), "dropped:thinking");
        } else {
            self.reasoning.push(text);
        }
    }

    /// Nothing is left of the turn.
    pub(super) fn is_empty(&self, echo: Echo) -> bool {
        let no_reasoning = self.reasoning.is_empty() && self.details.is_empty();
        self.texts.is_empty() && self.calls.is_empty() && (no_reasoning || echo == Echo::None)
    }

    /// There is text and nothing to be run.
    pub(super) fn is_plain_text(&self) -> bool {
        self.calls.is_empty() && !self.texts.is_empty()
    }

    /// Appends the message. `calls` are the turn's calls as they are named upstream.
    pub(super) fn write(
        &self,
        calls: &[Call<'_>],
        profile: &Profile,
        echo: Echo,
        prefix: bool,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":");
        self.write_content(profile, echo, out);
        if !calls.is_empty() {
            out.extend_from_slice(b",\"tool_calls\":[");
            let mut first_of_step = true;
            for (n, (call, block)) in calls.iter().zip(&self.calls).enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                self.write_call(call, block, profile, &mut first_of_step, out);
            }
            out.push(b']');
        }
        self.write_reasoning(calls.is_empty(), profile, echo, out);
        if prefix {
            out.extend_from_slice(b",\"prefix\":true");
        }
        out.push(b'}');
    }

    fn write_call(
        &self,
        call: &Call<'_>,
        block: &Block<'_>,
        profile: &Profile,
        first: &mut bool,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(b"{\"id\":");
        write_str(&call.id, out);
        out.extend_from_slice(b",\"type\":\"function\",\"function\":{\"name\":");
        write_str(&call.name, out);
        out.extend_from_slice(b",\"arguments\":\"");
        match block.kind {
            BlockKind::ToolUse { input: Some(input), .. }
            | BlockKind::ServerToolUse { input: Some(input), .. } => input.write_compact_escaped(out),
            _ => out.extend_from_slice(b"{}"),
        }
        out.extend_from_slice(b"\"}");
        if profile.family == "gemini" {
            // The first call of a step has to carry a signature; this one is documented for
            // histories that other models made.
            let own = self.signatures.iter().find(|(id, _)| *id == call.own_id).map(|(_, s)| s.as_str());
            let sentinel = std::mem::take(first).then_some("skip_thought_signature_validator");
            if let Some(signature) = own.or(sentinel) {
                out.extend_from_slice(b",\"extra_content\":{\"google\":{\"thought_signature\":");
                write_str(signature, out);
                out.extend_from_slice(b"}}");
            }
        }
        out.push(b'}');
    }

    fn write_content(&self, profile: &Profile, echo: Echo, out: &mut Vec<u8>) {
        let thinking = echo == Echo::Mistral && !self.reasoning.is_empty();
        if thinking {
            out.extend_from_slice(b"[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",\"text\":\"");
            self.write_reasoning_text(out);
            out.extend_from_slice(b"\"}]}");
            if !self.texts.is_empty() {
                out.extend_from_slice(b",{\"type\":\"text\",\"text\":\"");
                self.write_text(out);
                out.extend_from_slice(b"\"}");
            }
            out.push(b']');
        } else if self.texts.is_empty()
            && !self.calls.is_empty()
            && profile.assistant_empty == AssistantEmpty::Null
        {
            out.extend_from_slice(b"null");
        } else {
            out.push(b'"');
            self.write_text(out);
            out.push(b'"');
        }
    }

    /// Fragments of one answer follow each other directly; paragraphs of ours stand apart.
    fn write_text(&self, out: &mut Vec<u8>) {
        let mut after_paragraph = false;
        for (n, (text, paragraph)) in self.texts.iter().enumerate() {
            if n > 0 && (after_paragraph || *paragraph) {
                out.extend_from_slice(BLANK_LINE);
            }
            text.write_inner(out);
            after_paragraph = *paragraph;
        }
    }

    fn write_reasoning_text(&self, out: &mut Vec<u8>) {
        for (n, text) in self.reasoning.iter().enumerate() {
            if n > 0 {
                out.extend_from_slice(b"\\n");
            }
            text.write_inner(out);
        }
    }

    fn write_reasoning(&self, no_calls: bool, profile: &Profile, echo: Echo, out: &mut Vec<u8>) {
        let field = match echo {
            Echo::None | Echo::Mistral => return,
            Echo::ReasoningContent => "reasoning_content",
            Echo::Reasoning => "reasoning",
            Echo::ReasoningDetails => return self.write_details(profile, out),
        };
        let in_scope = profile.echo_placeholder_scope == PlaceholderScope::All || !no_calls;
        let placeholder = profile.echo_placeholder.as_deref().filter(|_| in_scope);
        if self.reasoning.is_empty() && placeholder.is_none() {
            return;
        }
        out.push(b',');
        write_str(field, out);
        out.extend_from_slice(b":\"");
        match placeholder {
            Some(text) if self.reasoning.is_empty() => Text::plain(text).write_inner(out),
            _ => self.write_reasoning_text(out),
        }
        out.push(b'"');
    }

    fn write_details(&self, profile: &Profile, out: &mut Vec<u8>) {
        let has_text = !self.reasoning.is_empty();
        if self.details.is_empty() && has_text && profile.family == "openrouter" {
            out.extend_from_slice(b",\"reasoning\":\"");
            self.write_reasoning_text(out);
            out.push(b'"');
            return;
        }
        if self.details.is_empty() && !has_text {
            return;
        }
        out.extend_from_slice(b",\"reasoning_details\":[");
        for (n, detail) in self.details.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            out.extend_from_slice(detail.as_bytes());
        }
        if has_text {
            if !self.details.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"type\":\"reasoning.text\",\"text\":\"");
            self.write_reasoning_text(out);
            out.extend_from_slice(b"\"}");
        }
        out.push(b']');
    }
}

/// The id of a call block, decoded, and the name that its tool has upstream.
pub(super) fn call_of<'a>(
    block: &Block<'a>,
    served: Served,
    names: &mut Names,
) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
    match &block.kind {
        BlockKind::ToolUse { id, name, .. } => Some((id.decode(), names.upstream(*name))),
        BlockKind::ServerToolUse { id, name, .. } => Some((id.decode(), served.calls(*name)?.into())),
        _ => None,
    }
}
