//! What an upstream answered, as it stands in OpenAI's terms, with what is odd about its form.
//!
//! Looser than `convert`, which mends what it reads: here what needs mending is the result.

use serde_json::Value;

use super::ask::{MAX_ANSWER, Reply};
use super::once::Tokens;
use crate::wire::sse::SseDecoder;

/// Fields that carry reasoning beside the text.
const REASONING: [&str; 5] =
    ["reasoning_content", "reasoning", "reasoning_details", "reasoning_text", "thinking"];

/// One answer.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// It came as events.
    pub(super) streamed: bool,
    pub(super) text: String,
    /// Which fields carried reasoning.
    pub(super) reasoning: Vec<&'static str>,
    pub(super) calls: Vec<Call>,
    pub(super) finish: Option<String>,
    /// Prompt and answer, if they were told.
    pub(super) tokens: Option<Tokens>,
    /// Of the answer's tokens.
    pub(super) reasoning_tokens: u64,
    /// Where the usage stood, other than where it belongs.
    pub(super) usage_place: Option<&'static str>,
    /// Events with usage.
    pub(super) usages: usize,
    /// Events with choices.
    pub(super) chunks: usize,
    /// Events with text, reasoning or a part of a call.
    pub(super) pieces: usize,
    /// `[DONE]` came.
    pub(super) done: bool,
    /// What is odd about the form of the answer.
    pub(super) odd: Vec<&'static str>,
}

/// One tool call.
#[derive(Debug, Default, Clone)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
    index: Option<u64>,
}

/// Every JSON document of a body: one, or one for each event.
pub(super) fn documents(body: &[u8]) -> (Vec<Value>, bool) {
    if let Ok(value) = serde_json::from_slice(body) {
        return (vec![value], false);
    }
    let mut decoder = SseDecoder::new(MAX_ANSWER);
    decoder.push(body);
    let (mut all, mut done) = (Vec::new(), false);
    while let Some(Ok(event)) = decoder.last_event() {
        done = event.data.trim_ascii() == b"[DONE]";
        if done {
            break;
        }
        all.extend(serde_json::from_slice::<Value>(event.data));
    }
    (all, done)
}

impl Said {
    /// Reads an answer. The error is the one that came inside of it.
    pub(super) fn read(reply: &Reply) -> Result<Self, String> {
        let (documents, done) = documents(&reply.body);
        let mut said = Self { done, ..Self::default() };
        for document in &documents {
            if let Some(error) = document.get("error").filter(|e| !e.is_null()) {
                let words = error.get("message").and_then(Value::as_str);
                return Err(words.map_or_else(|| error.to_string(), str::to_owned));
            }
            said.take(document);
        }
        if said.chunks == 0 {
            return Err(format!("what it answered is no completion ({} bytes)", reply.body.len()));
        }
        if said.streamed && reply.content_type != "text/event-stream" {
            said.odd("a stream that does not say content-type text/event-stream");
        }
        Ok(said)
    }

    fn odd(&mut self, what: &'static str) {
        if !self.odd.contains(&what) {
            self.odd.push(what);
        }
    }

    fn take(&mut self, document: &Value) {
        let choices = document.get("choices").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if !choices.is_empty() {
            self.chunks += 1;
        }
        if choices.len() > 1
            || choices.iter().any(|c| c.get("index").and_then(Value::as_u64).unwrap_or(0) > 0)
        {
            self.odd("more than one choice");
        }
        let places =
            [(None, document.get("usage")), (Some("x_groq.usage"), document.pointer("/x_groq/usage"))];
        let inside = (Some("choices[0].usage"), document.pointer("/choices/0/usage"));
        let mut usage = places.into_iter().chain([inside]).filter(|(_, u)| u.is_some_and(Value::is_object));
        if let Some((place, Some(usage))) = usage.next() {
            self.usages += 1;
            self.usage_place = place;
            let count = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64);
            let (input, output) = (count("/prompt_tokens"), count("/completion_tokens"));
            self.tokens = input.zip(output).map(|(input, output)| Tokens { input, output }).or(self.tokens);
            let reasoning = count("/completion_tokens_details/reasoning_tokens");
            self.reasoning_tokens = reasoning.or(count("/reasoning_tokens")).unwrap_or(self.reasoning_tokens);
        }
        for choice in choices {
            if let Some(reason) =
                choice.get("finish_reason").and_then(Value::as_str).filter(|r| !r.is_empty())
            {
                self.finish = Some(reason.to_owned());
            }
            let delta = choice.get("delta").filter(|d| d.is_object());
            self.streamed |= delta.is_some();
            if let Some(message) = delta.or_else(|| choice.get("message")) {
                self.message(message);
            }
        }
    }

    fn message(&mut self, message: &Value) {
        let before = (self.text.len(), self.calls.len());
        let mut piece = false;
        match message.get("content") {
            Some(Value::String(text)) => self.text.push_str(text),
            Some(Value::Array(parts)) => {
                for part in parts {
                    self.text.push_str(part.get("text").and_then(Value::as_str).unwrap_or_default());
                    if part.get("type").is_some_and(|t| t == "thinking") {
                        self.reasons("content[].thinking");
                        piece = true;
                    }
                }
            }
            _ => {}
        }
        for field in REASONING {
            let there = message.get(field).is_some_and(|value| match value {
                Value::String(text) => !text.is_empty(),
                Value::Array(parts) => !parts.is_empty(),
                _ => false,
            });
            if there {
                self.reasons(field);
                piece = true;
            }
        }
        for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            self.call(call);
            piece = true;
        }
        self.pieces += usize::from(piece || before != (self.text.len(), self.calls.len()));
    }

    fn reasons(&mut self, field: &'static str) {
        if !self.reasoning.contains(&field) {
            self.reasoning.push(field);
        }
    }

    fn call(&mut self, call: &Value) {
        let text = |pointer: &str| call.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (id, name) = (text("/id"), text("/function/name"));
        let index = call.get("index").and_then(Value::as_u64);
        // A stream sends a call in pieces. Without an index every piece with a name is a new one.
        let same = |known: &Call| {
            let ids = id.is_empty() || known.id.is_empty() || known.id == id;
            self.streamed && known.index == index && ids && (index.is_some() || name.is_empty())
        };
        let known = self.calls.iter().rposition(same);
        if known.is_none() {
            self.calls.push(Call { index, ..Call::default() });
            if self.streamed && index.is_none() {
                self.odd("a tool call without index");
            }
        }
        let at = known.unwrap_or(self.calls.len().saturating_sub(1));
        let Some(target) = self.calls.get_mut(at) else { return };
        if target.id.is_empty() {
            id.clone_into(&mut target.id);
        }
        if target.name.is_empty() {
            name.clone_into(&mut target.name);
        }
        let mut not_text = false;
        match call.pointer("/function/arguments") {
            Some(Value::String(more)) => target.arguments.push_str(more),
            Some(Value::Object(object)) => {
                target.arguments = Value::Object(object.clone()).to_string();
                not_text = true;
            }
            _ => {}
        }
        if not_text {
            self.odd("arguments that are an object, not text");
        }
    }

    /// The limit of tokens ended it.
    pub(super) fn cut(&self) -> bool {
        self.finish.as_deref() == Some("length")
    }

    /// The text behind a leading `<think>` section, and whether there was one.
    pub(super) fn answer(&self) -> (&str, bool) {
        let text = self.text.trim();
        for (open, close) in [("<think>", "</think>"), ("<thought>", "</thought>")] {
            if let Some((thought, answer)) = text.split_once(close) {
                // Some templates write the opening tag themselves.
                return (answer.trim(), thought.contains(open) || !thought.is_empty());
            }
            if text.starts_with(open) {
                return ("", true);
            }
        }
        (text, false)
    }
}

/// The beginning of a text, on one line, in quotation marks.
pub(super) fn quote(text: &str) -> String {
    const MOST: usize = 60;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = line.chars().take(MOST).collect();
    let more = if short.len() < line.len() { "..." } else { "" };
    format!("\"{short}{more}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str) -> Said {
        Said::read(&Reply {
            status: 200,
            content_type: "text/event-stream".to_owned(),
            server: None,
            retry_after: None,
            body: body.to_owned().into(),
            times: super::super::ask::Times::default(),
        })
        .unwrap()
    }

    #[test]
    fn streams_are_put_together() {
        let s = said(concat!(
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"hm\"}}]}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"}\"}},{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"g\"}}]}}]}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
            "data: [DONE]\n\n",
        ));
        assert!(s.streamed && s.done && s.odd.is_empty() && s.usages == 1 && s.usage_place.is_none());
        assert_eq!((s.chunks, s.pieces, s.reasoning.as_slice()), (5, 3, &["reasoning"][..]));
        let calls: Vec<_> =
            s.calls.iter().map(|c| (c.id.as_str(), c.name.as_str(), c.arguments.as_str())).collect();
        assert_eq!(calls, [("a", "f", "{}"), ("b", "g", "")]);
    }

    #[test]
    fn thinking_in_the_text_is_told_from_the_answer() {
        for (text, want) in [
            ("<think>a</think> b", ("b", true)),
            ("a</think>b", ("b", true)),
            ("<think>a", ("", true)),
            (" b ", ("b", false)),
        ] {
            assert_eq!(Said { text: text.to_owned(), ..Said::default() }.answer(), want);
        }
    }
}
