//! Answers of real servers, and what is in them, found without the code under test.

use std::ops::Range;
use std::path::Path;

use serde_json::Value;

/// One answer of a real server.
pub struct Capture {
    pub name: &'static str,
    pub body: Vec<u8>,
    pub content_type: &'static str,
    /// Where the payload of each `data:` line stands, `[DONE]` left out.
    pub payloads: Vec<Range<usize>>,
    /// Text, reasoning and arguments after so many payloads.
    told: Vec<Told>,
    /// So many bytes have to come before the answer is whole but for its usage.
    pub whole_from: usize,
}

/// What was said, joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    pub text: String,
    pub thinking: String,
    pub arguments: String,
}

impl Capture {
    /// `NAME.sse` or `NAME.json` of tests/fixtures/captures.
    pub fn read(name: &'static str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures").join(name);
        let body = std::fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        Self::of(name, body)
    }

    pub fn of(name: &'static str, body: Vec<u8>) -> Self {
        let mut capture = Self {
            name,
            content_type: "application/json",
            payloads: Vec::new(),
            told: vec![Told::default()],
            whole_from: body.len(),
            body,
        };
        if name.split('.').nth(1) == Some("sse") {
            capture.content_type = "text/event-stream";
            capture.look();
        }
        capture
    }

    /// With `most` events of a stream, about: the first and last ones and, from between, the ones
    /// with calls (all of them) and with characters of more than one byte.
    pub fn shortened(self, most: usize) -> Self {
        let count = self.payloads.len();
        if count <= most {
            return self;
        }
        let text = String::from_utf8(self.body).unwrap();
        let (mut n, mut picked) = (0, 0);
        let mut kept = String::new();
        for event in text.split_inclusive("\n\n") {
            let is_payload = event.starts_with("data: {");
            n += usize::from(is_payload);
            let ends = n <= most / 3 || n > count - most / 3;
            // Of a call's arguments none may be missing.
            let call = event.contains("\"arguments\"");
            if !is_payload || ends || call || (!event.is_ascii() && picked < most / 3) {
                picked += usize::from(is_payload && !ends);
                kept.push_str(event);
            }
        }
        Self::of(self.name, kept.into_bytes())
    }

    pub fn streams(&self) -> bool {
        !self.payloads.is_empty()
    }

    fn look(&mut self) {
        let text = std::str::from_utf8(&self.body).unwrap();
        let (mut at, mut finished) = (0, None);
        let mut told = Told::default();
        for line in text.split_inclusive('\n') {
            let range = at + "data: ".len()..at + line.trim_end().len();
            at += line.len();
            if !line.starts_with("data: ") || line.contains("[DONE]") {
                continue;
            }
            let payload: Value = serde_json::from_str(&text[range.clone()]).unwrap();
            if let Some(choice) = payload["choices"].get(0) {
                let delta = &choice["delta"];
                told.text.push_str(delta["content"].as_str().unwrap_or_default());
                told.thinking.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
                for call in delta["tool_calls"].as_array().into_iter().flatten() {
                    told.arguments.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
                }
                if !choice["finish_reason"].is_null() {
                    finished = Some(range.end);
                }
            }
            self.payloads.push(range);
            self.told.push(told.clone());
        }
        self.whole_from = finished.expect("a finish_reason");
    }

    /// What the first `bytes` bytes say: the payloads that are whole in them.
    pub fn told(&self, bytes: usize) -> &Told {
        &self.told[self.payloads.iter().take_while(|p| p.end <= bytes).count()]
    }
}

impl Told {
    /// The same of our events.
    pub fn of(events: &[Value]) -> Self {
        let mut told = Self::default();
        for event in events {
            let delta = &event["delta"];
            told.text.push_str(delta["text"].as_str().unwrap_or_default());
            told.thinking.push_str(delta["thinking"].as_str().unwrap_or_default());
            told.arguments.push_str(delta["partial_json"].as_str().unwrap_or_default());
        }
        told
    }
}
