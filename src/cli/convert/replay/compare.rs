//! Two bodies that should be the same: where they first differ.

use std::fmt::{self, Write as _};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::convert::fold::MAX_EVENT;
use crate::wire::sse::SseDecoder;

/// Longest part of a value in a message, in characters.
const SHOWN: usize = 60;

/// The first difference of a body.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Difference {
    /// Which file of the exchange.
    file: String,
    /// Number of the event in a stream, from 1, pings not counted.
    event: Option<usize>,
    /// Place in the JSON, as in `content[0].text`; empty: all of it.
    path: String,
    /// What was sent then, shortened.
    then: String,
    /// What would be sent now, shortened.
    now: String,
}

impl Difference {
    pub(super) fn new(
        file: &str,
        path: impl Into<String>,
        then: impl Into<String>,
        now: impl Into<String>,
    ) -> Self {
        Self { file: file.to_owned(), event: None, path: path.into(), then: then.into(), now: now.into() }
    }

    /// The conversion panicked.
    pub(super) fn crash() -> Self {
        Self::new("the conversion", "", "no crash", "a crash, told above")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, event, path, then, now } = self;
        write!(f, "{file}: ")?;
        if let Some(event) = event {
            write!(f, "event {event}: ")?;
        }
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        write!(f, "then {then}, now {now}")
    }
}

/// One event of a stream.
#[derive(Debug, PartialEq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: Value,
}

/// The events of a stream that say something: no pings.
pub(super) fn events(bytes: &[u8]) -> Vec<Event> {
    let mut decoder = SseDecoder::new(MAX_EVENT * 4);
    let mut out = Vec::new();
    let mut pieces = bytes.chunks(1 << 16);
    loop {
        let piece = pieces.next();
        if let Some(piece) = piece {
            decoder.push(piece);
        }
        while let Some(Ok(event)) = if piece.is_some() { decoder.next_event() } else { decoder.last_event() }
        {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            if event.name != b"ping" {
                let data =
                    serde_json::from_slice(event.data).unwrap_or_else(|_| Value::String(text(event.data)));
                out.push(Event { name: text(event.name), data });
            }
        }
        if piece.is_none() {
            return out;
        }
    }
}

/// The first difference between two streams. `open`: one of them may end before the other.
pub(super) fn stream(file: &str, then: &[Event], now: &[Event], open: bool) -> Option<Difference> {
    let mut pairs = then.iter().zip(now).enumerate();
    let unequal = pairs.find_map(|(i, (then, now))| {
        let found = if then.name == now.name {
            document(file, &then.data, &now.data)?
        } else {
            Difference::new(file, "", told(then), told(now))
        };
        Some(Difference { event: Some(i + 1), ..found })
    });
    if unequal.is_some() || open || then.len() == now.len() {
        return unequal;
    }
    let at = then.len().min(now.len());
    let end = || "the end".to_owned();
    let (then, now) = (then.get(at).map_or_else(end, told), now.get(at).map_or_else(end, told));
    Some(Difference { event: Some(at + 1), ..Difference::new(file, "", then, now) })
}

fn told(event: &Event) -> String {
    match event.data.pointer("/error/message").and_then(Value::as_str) {
        Some(message) => format!("`{}` ({})", event.name, brief(message, 0)),
        None => format!("`{}`", event.name),
    }
}

/// The first difference between two JSON bodies. The request's id is another each time.
pub(super) fn document(file: &str, then: &Value, now: &Value) -> Option<Difference> {
    let mut path = String::new();
    let (then, now) = walk(then, now, &mut path)?;
    Some(Difference::new(file, path, then, now))
}

/// Descends to the first difference: `path` is its place then, and its two values are given.
fn walk(then: &Value, now: &Value, path: &mut String) -> Option<(String, String)> {
    let back = path.len();
    match (then, now) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().collect();
            keys.extend(b.keys().filter(|k| !a.contains_key(*k)));
            let top = path.is_empty();
            let verdicts = (top || path == "delta") && is_unjudged(b);
            let skipped = |key: &str| match key {
                "request_id" => top,
                "safeguard_results" => verdicts,
                _ => false,
            };
            for key in keys.into_iter().filter(|k| !skipped(k)) {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                if let Some(found) = pair(a.get(key), b.get(key), path) {
                    return Some(found);
                }
                path.truncate(back);
            }
            None
        }
        (Value::Array(a), Value::Array(b)) => {
            for i in 0..a.len().max(b.len()) {
                let _ = write!(path, "[{i}]");
                if let Some(found) = pair(a.get(i), b.get(i), path) {
                    return Some(found);
                }
                path.truncate(back);
            }
            None
        }
        (Value::String(a), Value::String(b)) if a != b => {
            let at = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
            Some((brief(a, at), brief(b, at)))
        }
        (a, b) if a == b => None,
        (a, b) => Some((shown(a), shown(b))),
    }
}

/// Nobody has judged tool calls now: verdicts of then cannot be compared.
fn is_unjudged(now: &Map<String, Value>) -> bool {
    now.get("safeguard_results")
        .and_then(|results| results.pointer("/0/status/type"))
        .is_some_and(|kind| kind == "unsupported")
}

fn pair(then: Option<&Value>, now: Option<&Value>, path: &mut String) -> Option<(String, String)> {
    let nothing = || "nothing".to_owned();
    match (then, now) {
        (Some(then), Some(now)) => walk(then, now, path),
        (then, now) => Some((then.map_or_else(nothing, shown), now.map_or_else(nothing, shown))),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => brief(text, 0),
        other => {
            let text = other.to_string();
            if text.chars().count() <= SHOWN {
                return text;
            }
            format!("{}…", text.chars().take(SHOWN).collect::<String>())
        }
    }
}

/// A text in quotes; of a long one the part around a character.
fn brief(text: &str, at: usize) -> String {
    let from = if text.chars().count() <= SHOWN { 0 } else { at.saturating_sub(SHOWN / 3) };
    let part: String = text.chars().skip(from).take(SHOWN).collect();
    let more = text.chars().nth(from + SHOWN).is_some();
    let quoted = Value::String(part).to_string();
    format!("{}{quoted}{}", if from > 0 { "…" } else { "" }, if more { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn of(then: Value, now: Value) -> String {
        document("f", &then, &now).map_or_else(String::new, |d| d.to_string())
    }

    #[test]
    fn json_differs_at_a_place() {
        assert_eq!(of(json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1})), "");
        assert_eq!(of(json!({"request_id": "x"}), json!({})), "");
        assert_eq!(
            of(json!({"a": {"request_id": 1}}), json!({"a": {}})),
            "f: a.request_id: then 1, now nothing"
        );
        assert_eq!(
            of(json!({"a": [1, {"b": "x"}]}), json!({"a": [1, {"b": "y"}]})),
            "f: a[1].b: then \"x\", now \"y\""
        );
        assert_eq!(of(json!({"a": [1]}), json!({"a": [1, 2]})), "f: a[1]: then nothing, now 2");
        assert_eq!(of(json!({"a": 1}), json!({"a": "1"})), "f: a: then 1, now \"1\"");
        assert_eq!(of(json!([1]), json!({})), "f: then [1], now {}");
        let long = "é".repeat(100);
        let said = of(json!(format!("{long}a")), json!(format!("{long}b")));
        assert_eq!(said, format!("f: then …\"{0}a\", now …\"{0}b\"", "é".repeat(20)));
    }

    #[test]
    fn verdicts_are_not_compared() {
        let with =
            |results: Value| json!({"delta": {"stop_reason": "tool_use", "safeguard_results": results}});
        let judged =
            json!([{"type": "dangerous_tool_use", "status": {"type": "available", "tool_uses": {}}}]);
        let unjudged = json!([{"type": "dangerous_tool_use", "status": {"type": "unsupported"}}]);
        assert_eq!(of(with(judged.clone()), with(unjudged.clone())), "");
        assert_eq!(of(with(judged.clone())["delta"].clone(), with(unjudged.clone())["delta"].clone()), "");
        assert!(of(with(unjudged.clone()), with(judged.clone())).contains("safeguard_results"));
        assert!(
            of(with(judged.clone()), json!({"delta": {"stop_reason": "tool_use"}})).contains("now nothing")
        );
        let input = |results: &Value| json!({"input": {"safeguard_results": results}});
        assert!(of(input(&judged), input(&unjudged)).contains("input.safeguard_results"));
    }

    const STREAM: &str =
        "event: a\ndata: {\"n\":1}\n\nevent: ping\ndata: {}\n\nevent: b\ndata: {\"n\":2}\n\n";

    #[test]
    fn streams_differ_at_an_event() {
        let then = events(STREAM.as_bytes());
        assert_eq!(then.len(), 2);
        let compared = |now: &str, open| {
            stream("f", &then, &events(now.as_bytes()), open).map_or_else(String::new, |d| d.to_string())
        };
        assert_eq!(compared(&STREAM.replace("event: ping\ndata: {}\n\n", ""), false), "");
        assert_eq!(compared(&STREAM.replace("\"n\":2", "\"n\":3"), false), "f: event 2: n: then 2, now 3");
        assert_eq!(compared(&STREAM.replace("event: b", "event: c"), false), "f: event 2: then `b`, now `c`");
        let shorter = STREAM.split_once("event: b").unwrap().0;
        assert_eq!(compared(shorter, false), "f: event 2: then `b`, now the end");
        assert_eq!(compared(shorter, true), "");
        let error = format!("{shorter}event: error\ndata: {{\"error\":{{\"message\":\"m\"}}}}\n\n");
        assert_eq!(compared(&error, true), "f: event 2: then `b`, now `error` (\"m\")");
    }
}
