//! Reasoning and text: which block they go to, and what has to wait.

use super::{Held, Machine};
use crate::convert::reply::ThinkingMode;
use crate::convert::sink::{Kind, Sink};
use crate::convert::text::Fragment;
use crate::convert::think::Found;
use crate::wire::anthropic::ApiError;
use crate::wire::json::JsonStr;
use crate::wire::openai::{Content, Delta};

/// Most `reasoning_details` of one payload, in bytes: they become a tree, which takes many
/// times as much.
const MAX_DETAILS: usize = 1 << 20;

impl<S: Sink> Machine<S> {
    pub(super) fn think(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        match (delta.reasoning, delta.reasoning_details) {
            (Some(text), None) => self.reason(text, out),
            (reasoning, Some(details)) => {
                self.think_details(reasoning.map(Fragment::Json), details.text(), out)
            }
            (None, None) => Ok(()),
        }
    }

    pub(super) fn think_details(
        &mut self,
        text: Option<Fragment<'_>>,
        details: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), ApiError> {
        if self.context.thinking == ThinkingMode::Off {
            return Ok(());
        }
        if details.len() > MAX_DETAILS {
            return Err(ApiError::bad_gateway(format!(
                "upstream sent more than {} MiB of reasoning_details at once",
                MAX_DETAILS >> 20
            )));
        }
        if self.calls.open() && !self.calls.all_complete() {
            let text = text.map(|text| {
                let mut held = String::new();
                push_inner(text, &mut held);
                held
            });
            self.held.push(Held::Details(text, details.to_owned()));
            return Ok(());
        }
        if self.open != Some(Kind::Thinking) {
            // Blocks of their own may come before these: details have to be gathered after them.
            self.finish_calls(out)?;
        }
        let (fresh, carried) = self.thoughts.details(details, self.context.profile, self.whole);
        if carried {
            self.open_thinking(out)?;
        }
        self.emit_thinking(text.unwrap_or(Fragment::Plain(&fresh)), out)
    }

    pub(super) fn emit_thinking(&mut self, text: Fragment<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        if text.is_empty() || self.context.thinking == ThinkingMode::Off {
            self.output_bytes += text.len() as u64;
            return Ok(());
        }
        if self.calls.open() && !self.calls.all_complete() {
            self.hold(true, text);
            return Ok(());
        }
        self.output_bytes += text.len() as u64;
        self.open_thinking(out)?;
        if self.context.thinking == ThinkingMode::Omit {
            self.thoughts.hide(text);
        } else {
            self.sink.delta(out, |out| text.write_inner(out));
        }
        Ok(())
    }

    pub(super) fn open_thinking(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        if self.open != Some(Kind::Thinking) {
            self.finish_calls(out)?;
            self.close(out);
            self.begin(Kind::Thinking, out);
        }
        Ok(())
    }

    pub(super) fn say(&mut self, content: &Content<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        match content {
            Content::None => Ok(()),
            Content::Text(text) => {
                self.tags.rule_out(text.raw().bytes().next());
                if self.tags.is_text() {
                    return self.write(*text, out);
                }
                self.settle_half(Some(Kind::Text), out)?;
                let half = &mut self.half.1;
                let text = if half.is_idle(*text) { text.decode() } else { half.join(*text).into() };
                for found in self.tags.push(&text) {
                    self.found(&found, out)?;
                }
                Ok(())
            }
            Content::Parts(parts) => {
                for (thinking, text) in parts {
                    if *thinking {
                        self.reason(*text, out)?;
                    } else {
                        self.flush_tags(out)?;
                        self.write(*text, out)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Reasoning of the upstream's.
    pub(super) fn reason(&mut self, text: JsonStr<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.settle_half(Some(Kind::Thinking), out)?;
        if self.half.1.is_idle(text) {
            return self.emit_thinking(Fragment::Json(text), out);
        }
        let text = self.half.1.join(text);
        self.emit_thinking(Fragment::Plain(&text), out)
    }

    /// Text of the upstream's.
    pub(super) fn write(&mut self, text: JsonStr<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.settle_half(Some(Kind::Text), out)?;
        if self.half.1.is_idle(text) {
            return self.emit_text(Fragment::Json(text), out);
        }
        let text = self.half.1.join(text);
        self.emit_text(Fragment::Plain(&text), out)
    }

    /// Something comes that is not of this kind: half a character before it stays one.
    pub(super) fn settle_half(&mut self, next: Option<Kind>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        if next == Some(self.half.0) {
            return Ok(());
        }
        let rest = self.half.1.end();
        let kind = std::mem::replace(&mut self.half.0, next.unwrap_or(Kind::Text));
        match (kind, rest) {
            (_, None) => Ok(()),
            (Kind::Thinking, Some(rest)) => self.emit_thinking(Fragment::Plain(rest), out),
            (_, Some(rest)) if self.tags.is_text() => self.emit_text(Fragment::Plain(rest), out),
            (_, Some(rest)) => {
                for found in self.tags.push(rest) {
                    self.found(&found, out)?;
                }
                Ok(())
            }
        }
    }

    pub(super) fn found(&mut self, found: &Found, out: &mut Vec<u8>) -> Result<(), ApiError> {
        match found {
            Found::Thinking(text) => self.emit_thinking(Fragment::Plain(text), out),
            Found::Text(text) => self.emit_text(Fragment::Plain(text), out),
        }
    }

    pub(super) fn flush_tags(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        match self.tags.flush() {
            Some(found) => self.found(&found, out),
            None => Ok(()),
        }
    }

    pub(super) fn refuse(
        &mut self,
        text: Fragment<'_>,
        shown: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), ApiError> {
        self.settle_half(None, out)?;
        text.decode_some(usize::MAX, self.refusal.get_or_insert_default());
        if !shown {
            return Ok(());
        }
        self.flush_tags(out)?;
        self.emit_text(text, out)
    }

    pub(super) fn emit_text(&mut self, text: Fragment<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        if self.open == Some(Kind::Text) {
            self.output_bytes += text.len() as u64;
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
        self.output_bytes += text.len() as u64;
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

    pub(super) fn write_text(&mut self, text: Fragment<'_>, out: &mut Vec<u8>) {
        if self.preview_left > 0 {
            self.preview_left -= text.decode_some(self.preview_left, &mut self.summary.preview);
        }
        self.sink.delta(out, |out| text.write_inner(out));
        if self.citations.is_some() {
            self.cite(Some(text), out);
        }
    }

    /// Looks for sources in what was just written to the open block; none: the block ends.
    pub(super) fn cite(&mut self, text: Option<Fragment<'_>>, out: &mut Vec<u8>) {
        let Some(citations) = &mut self.citations else { return };
        let mut found = Vec::new();
        match text {
            Some(text) => {
                let mut plain = String::with_capacity(text.len());
                text.decode_some(usize::MAX, &mut plain);
                citations.take(&plain, &self.context.sources, &mut found);
            }
            None => citations.end(&self.context.sources, &mut found),
        }
        for citation in found {
            self.sink.cite(&citation, out);
        }
    }

    /// Keeps output until the calls before it are complete.
    pub(super) fn hold(&mut self, thinking: bool, text: Fragment<'_>) {
        match (self.held.last_mut(), thinking) {
            (Some(Held::Thinking(held)), true) | (Some(Held::Text(held)), false) => push_inner(text, held),
            _ => {
                let mut held = String::new();
                push_inner(text, &mut held);
                self.held.push(if thinking { Held::Thinking(held) } else { Held::Text(held) });
            }
        }
    }
}

/// Appends the inside of a JSON string to a string.
fn push_inner(text: Fragment<'_>, held: &mut String) {
    let mut inner = Vec::with_capacity(text.len());
    text.write_inner(&mut inner);
    held.push_str(&String::from_utf8_lossy(&inner));
}
