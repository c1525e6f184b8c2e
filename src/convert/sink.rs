//! Where an answer goes: events of a stream, or one whole message.

use super::recorded::{Recorded, Recording, Resumed};
use super::reply::{ReplyContext, Usage};
use super::usage;
use crate::wire::json::{JsonStr, Piece, Pieces, write_str, write_u64};

/// What kind of block is open, and what its deltas are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Thinking,
    Tool,
}

/// The end of an answer.
#[derive(Debug)]
pub(super) struct Ending<'e> {
    pub(super) stop_reason: &'static str,
    pub(super) stop_sequence: Option<&'e str>,
    /// With `refusal`: the upstream's words for it.
    pub(super) explanation: Option<&'e str>,
    pub(super) usage: Usage,
    /// The value of `safeguard_results`, where somebody judges.
    pub(super) safeguard_results: Option<&'e str>,
}

/// Takes the answer piece by piece: one block at a time, in order.
pub(super) trait Sink {
    /// The message begins.
    fn start(&mut self, id: &str, context: &ReplyContext, out: &mut Vec<u8>);
    /// A text or thinking block begins.
    fn open(&mut self, kind: Kind, out: &mut Vec<u8>);
    /// The message goes on that began in an earlier round; it had these blocks so far.
    fn resume(&mut self, earlier: &Resumed, context: &ReplyContext, out: &mut Vec<u8>);
    /// A `tool_use` or `server_tool_use` block begins.
    fn open_tool(&mut self, kind: &'static str, id: &str, name: &str, out: &mut Vec<u8>);
    /// The open text block names a source: a citation, as JSON.
    fn cite(&mut self, citation: &[u8], out: &mut Vec<u8>);
    /// A whole block of our own, as JSON; none is open.
    fn insert(&mut self, block: &[u8], out: &mut Vec<u8>);
    /// More of the open block. `write` appends the inside of a JSON string; if it appends
    /// nothing, there is no delta.
    fn delta<R>(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> R) -> R;
    /// The open thinking block ends.
    fn close_thinking(&mut self, signature: &str, out: &mut Vec<u8>);
    /// The open text or tool_use block ends. `whole`: it is not cut off.
    fn close(&mut self, whole: bool, out: &mut Vec<u8>);
    /// The message ends.
    fn end(&mut self, ending: &Ending<'_>, context: &ReplyContext, out: &mut Vec<u8>);
    /// The answer so far, if [`ReplyContext::record`] asked for it; no block is open. `out` is
    /// what all the others wrote to.
    fn recorded(&self, out: &[u8]) -> Option<Recorded>;
}

/// Nobody judges the calls: never say that they were not flagged.
const UNSUPPORTED: &str = r#"[{"type":"dangerous_tool_use","status":{"type":"unsupported"}}]"#;

/// Appends `"stop_reason":..,"stop_sequence":..` and what belongs to them.
fn write_stop(ending: &Ending<'_>, context: &ReplyContext, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"stop_reason\":");
    write_str(ending.stop_reason, out);
    out.extend_from_slice(b",\"stop_sequence\":");
    opt_str(ending.stop_sequence, out);
    if ending.stop_reason == "refusal" {
        out.extend_from_slice(b",\"stop_details\":{\"type\":\"refusal\",\"category\":null,\"explanation\":");
        opt_str(ending.explanation, out);
        out.push(b'}');
    }
    if context.safeguards {
        out.extend_from_slice(b",\"safeguard_results\":");
        out.extend_from_slice(ending.safeguard_results.unwrap_or(UNSUPPORTED).as_bytes());
    }
}

fn opt_str(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        Some(text) => write_str(text, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// Writes server-sent events.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Index of the open block, or of the next one.
    index: u64,
    /// What every delta of the open block begins with.
    prefix: Vec<u8>,
    /// The same as blocks, if somebody needs them.
    recording: Option<Box<Recording>>,
}

impl Events {
    /// Bytes that are recorded.
    pub(super) fn retained(&self) -> usize {
        self.recording.as_ref().map_or(0, |recording| recording.retained())
    }

    fn opened(&mut self, delta: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"}}\n\n");
        self.prefix.clear();
        self.prefix.extend_from_slice(
            b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":",
        );
        write_u64(self.index, &mut self.prefix);
        self.prefix.extend_from_slice(b",\"delta\":{\"type\":\"");
        self.prefix.extend_from_slice(delta.as_bytes());
    }

    fn begin(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":",
        );
        write_u64(self.index, out);
        out.extend_from_slice(b",\"content_block\":{\"type\":");
    }

    fn stop(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":",
        );
        write_u64(self.index, out);
        out.extend_from_slice(b"}\n\n");
        self.index += 1;
    }
}

impl Sink for Events {
    fn start(&mut self, id: &str, context: &ReplyContext, out: &mut Vec<u8>) {
        if context.record {
            self.recording = Some(Box::new(Recording::new(id)));
        }
        out.extend_from_slice(
            b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":",
        );
        write_str(id, out);
        out.extend_from_slice(b",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
        write_str(&context.model, out);
        out.extend_from_slice(b",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
        usage::write(&Usage { input_tokens: context.input_estimate.max(1), ..Usage::default() }, out);
        out.extend_from_slice(b"}}\n\n");
    }

    fn open(&mut self, kind: Kind, out: &mut Vec<u8>) {
        if let Some(recording) = &mut self.recording {
            recording.add(|message, out| message.open(kind, out));
        }
        self.begin(out);
        if kind == Kind::Thinking {
            out.extend_from_slice(b"\"thinking\",\"thinking\":\"\",\"signature\":\"\"");
            self.opened("thinking_delta\",\"thinking\":\"", out);
        } else {
            out.extend_from_slice(b"\"text\",\"text\":\"\"");
            self.opened("text_delta\",\"text\":\"", out);
        }
    }

    fn resume(&mut self, earlier: &Resumed, context: &ReplyContext, _: &mut Vec<u8>) {
        self.index = earlier.blocks;
        if context.record {
            let mut recording = Recording::new(&earlier.id);
            recording.add(|message, out| message.take_up(earlier, out));
            self.recording = Some(Box::new(recording));
        }
    }

    fn open_tool(&mut self, kind: &'static str, id: &str, name: &str, out: &mut Vec<u8>) {
        if let Some(recording) = &mut self.recording {
            recording.add(|message, out| message.open_tool(kind, id, name, out));
        }
        self.begin(out);
        write_str(kind, out);
        out.extend_from_slice(b",\"id\":");
        write_str(id, out);
        out.extend_from_slice(b",\"name\":");
        write_str(name, out);
        out.extend_from_slice(b",\"input\":{}");
        self.opened("input_json_delta\",\"partial_json\":\"", out);
    }

    fn cite(&mut self, citation: &[u8], out: &mut Vec<u8>) {
        if let Some(recording) = &mut self.recording {
            recording.add(|message, out| message.cite(citation, out));
        }
        out.extend_from_slice(
            b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":",
        );
        write_u64(self.index, out);
        out.extend_from_slice(b",\"delta\":{\"type\":\"citations_delta\",\"citation\":");
        out.extend_from_slice(citation);
        out.extend_from_slice(b"}}\n\n");
    }

    fn insert(&mut self, block: &[u8], out: &mut Vec<u8>) {
        if let Some(recording) = &mut self.recording {
            recording.add(|message, out| message.insert(block, out));
        }
        out.extend_from_slice(
            b"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":",
        );
        write_u64(self.index, out);
        out.extend_from_slice(b",\"content_block\":");
        out.extend_from_slice(block);
        out.extend_from_slice(b"}\n\n");
        self.stop(out);
    }

    fn delta<R>(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let start = out.len();
        out.extend_from_slice(&self.prefix);
        let content = out.len();
        let result = write(out);
        if out.len() == content {
            out.truncate(start);
        } else {
            if let (Some(recording), Some(inner)) = (&mut self.recording, out.get(content..)) {
                recording.add(|message, out| message.delta(out, |out| out.extend_from_slice(inner)));
            }
            out.extend_from_slice(b"\"}}\n\n");
        }
        result
    }

    fn close_thinking(&mut self, signature: &str, out: &mut Vec<u8>) {
        if let Some(recording) = &mut self.recording {
            recording.add(|message, out| message.close_thinking(signature, out));
        }
        out.extend_from_slice(
            b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":",
        );
        write_u64(self.index, out);
        out.extend_from_slice(b",\"delta\":{\"type\":\"signature_delta\",\"signature\":");
        write_str(signature, out);
        out.extend_from_slice(b"}}\n\n");
        self.stop(out);
    }

    fn close(&mut self, whole: bool, out: &mut Vec<u8>) {
        if let Some(recording) = &mut self.recording {
            recording.add(|message, out| message.close(whole, out));
        }
        self.stop(out);
    }

    fn end(&mut self, ending: &Ending<'_>, context: &ReplyContext, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{");
        write_stop(ending, context, out);
        out.extend_from_slice(b"},\"usage\":");
        usage::write(&ending.usage, out);
        out.extend_from_slice(b"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    fn recorded(&self, _: &[u8]) -> Option<Recorded> {
        self.recording.as_ref().map(|recording| recording.recorded())
    }
}

/// Writes one Message.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// Where the open block starts in the output.
    block: usize,
    /// Arguments of the open tool_use block: the inside of a JSON string.
    arguments: Vec<u8>,
    kind: Option<Kind>,
    blocks: u64,
    /// Citations of the open text block: the inside of a JSON array.
    citations: Vec<u8>,
    /// The message's id, if it is recorded, and where its content begins and ends in the output.
    id: Option<String>,
    content: usize,
    end: Option<usize>,
}

impl Message {
    /// Bytes held beside the output.
    pub(super) fn retained(&self) -> usize {
        self.arguments.len() + self.citations.len()
    }

    /// Goes on behind the blocks of earlier rounds.
    fn take_up(&mut self, earlier: &Resumed, out: &mut Vec<u8>) {
        out.extend_from_slice(&earlier.blocks_json);
        self.blocks = earlier.blocks;
    }

    fn begin(&mut self, kind: Kind, out: &mut Vec<u8>) {
        self.block = out.len();
        self.kind = Some(kind);
        if self.blocks > 0 {
            out.push(b',');
        }
        self.blocks += 1;
    }
}

impl Sink for Message {
    fn start(&mut self, id: &str, context: &ReplyContext, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"id\":");
        write_str(id, out);
        out.extend_from_slice(b",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
        write_str(&context.model, out);
        out.extend_from_slice(b",\"content\":[");
        self.id = context.record.then(|| id.to_owned());
        self.content = out.len();
    }

    fn open(&mut self, kind: Kind, out: &mut Vec<u8>) {
        self.begin(kind, out);
        out.extend_from_slice(if kind == Kind::Thinking {
            b"{\"type\":\"thinking\",\"thinking\":\"".as_slice()
        } else {
            b"{\"type\":\"text\",\"text\":\""
        });
    }

    fn resume(&mut self, earlier: &Resumed, context: &ReplyContext, out: &mut Vec<u8>) {
        self.start(&earlier.id, context, out);
        self.take_up(earlier, out);
    }

    fn open_tool(&mut self, kind: &'static str, id: &str, name: &str, out: &mut Vec<u8>) {
        self.begin(Kind::Tool, out);
        out.extend_from_slice(b"{\"type\":");
        write_str(kind, out);
        out.extend_from_slice(b",\"id\":");
        write_str(id, out);
        out.extend_from_slice(b",\"name\":");
        write_str(name, out);
        out.extend_from_slice(b",\"input\":");
        self.arguments.clear();
    }

    fn cite(&mut self, citation: &[u8], _: &mut Vec<u8>) {
        if !self.citations.is_empty() {
            self.citations.push(b',');
        }
        self.citations.extend_from_slice(citation);
    }

    fn insert(&mut self, block: &[u8], out: &mut Vec<u8>) {
        self.begin(Kind::Tool, out);
        out.extend_from_slice(block);
    }

    fn delta<R>(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        if self.kind == Some(Kind::Tool) { write(&mut self.arguments) } else { write(out) }
    }

    fn close_thinking(&mut self, signature: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\",\"signature\":");
        write_str(signature, out);
        out.push(b'}');
    }

    fn close(&mut self, whole: bool, out: &mut Vec<u8>) {
        if self.kind != Some(Kind::Tool) {
            out.push(b'"');
            if !self.citations.is_empty() {
                out.extend_from_slice(b",\"citations\":[");
                out.append(&mut self.citations);
                out.push(b']');
            }
            out.push(b'}');
        } else if whole {
            for piece in Pieces::over(&String::from_utf8_lossy(&self.arguments)) {
                match piece {
                    Piece::Plain(text) => out.extend_from_slice(text.as_bytes()),
                    Piece::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
            out.push(b'}');
        } else {
            // Cut off by the token limit: half a call is of no use to anybody.
            out.truncate(self.block);
            self.blocks -= 1;
        }
    }

    fn end(&mut self, ending: &Ending<'_>, context: &ReplyContext, out: &mut Vec<u8>) {
        self.end = Some(out.len());
        out.extend_from_slice(b"],");
        write_stop(ending, context, out);
        out.extend_from_slice(b",\"usage\":");
        usage::write(&ending.usage, out);
        out.push(b'}');
    }

    fn recorded(&self, out: &[u8]) -> Option<Recorded> {
        let id = self.id.clone()?;
        let blocks = out.get(self.content..self.end.unwrap_or(out.len()))?;
        Some(Recorded { id, content: [b"[", blocks, b"]"].concat() })
    }
}

/// Writes a fragment of the upstream's arguments so that it can be fed on: clean and escaped.
pub(super) fn clean(text: JsonStr<'_>) -> std::borrow::Cow<'_, str> {
    if text.is_clean() {
        return std::borrow::Cow::Borrowed(text.raw());
    }
    let mut inner = Vec::new();
    text.write_inner(&mut inner);
    std::borrow::Cow::Owned(String::from_utf8_lossy(&inner).into_owned())
}
