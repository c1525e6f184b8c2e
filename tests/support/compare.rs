//! The comparison rules of the fixtures: see tests/fixtures/README.md.

use serde_json::Value;

/// Where `actual` differs from `expected`; none if it fits.
pub fn difference(expected: &Value, actual: &Value) -> Option<String> {
    compare(expected, actual, "")
}

fn compare(expected: &Value, actual: &Value, at: &str) -> Option<String> {
    let differ = || Some(format!("{at}: expected {expected}, got {actual}"));
    match (expected, actual) {
        (Value::String(pattern), _) if pattern.starts_with("<<") && pattern.ends_with(">>") => {
            (!wildcard(pattern, actual)).then(|| differ().unwrap())
        }
        (Value::Object(e), Value::Object(a)) => {
            for (key, value) in e {
                let path = format!("{at}.{key}");
                match a.get(key) {
                    Some(other) => {
                        if let Some(d) = compare(value, other, &path) {
                            return Some(d);
                        }
                    }
                    None if key == "request_id" => {}
                    None => return Some(format!("{path}: missing, expected {value}")),
                }
            }
            a.iter()
                .find(|(key, value)| !e.contains_key(*key) && !value.is_null() && *key != "request_id")
                .map(|(key, value)| format!("{at}.{key}: not expected, got {value}"))
        }
        (Value::Array(e), Value::Array(a)) => {
            if let Some(d) =
                e.iter().zip(a).enumerate().find_map(|(n, (e, a))| compare(e, a, &format!("{at}[{n}]")))
            {
                return Some(d);
            }
            (e.len() != a.len())
                .then(|| format!("{at}: expected {} items, got {}: {actual}", e.len(), a.len()))
        }
        // Numbers of different types differ: 1 is not 1.0.
        _ if expected == actual => None,
        _ => differ(),
    }
}

fn wildcard(pattern: &str, actual: &Value) -> bool {
    let id = |prefix: &str| {
        actual
            .as_str()
            .and_then(|s| s.strip_prefix(prefix))
            .is_some_and(|rest| rest.len() >= 20 && rest.chars().all(|c| c.is_ascii_alphanumeric()))
    };
    match pattern {
        "<<msg_id>>" => id("msg_"),
        "<<tool_id>>" => id("toolu_"),
        "<<signature>>" => actual.as_str().is_some_and(|s| s.starts_with("cp1.")),
        "<<int>>" => actual.is_u64(),
        "<<request_id>>" => actual.as_str().is_some_and(|s| s.starts_with("req_")),
        _ => panic!("unknown wildcard {pattern}"),
    }
}

/// Joins neighbouring deltas of one kind and index, and drops pings: translators may split
/// and merge text as they like.
pub fn joined(events: &[Value]) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for event in events {
        if event["type"] == "ping" {
            continue;
        }
        if let Some(last) = out.last_mut()
            && event["type"] == "content_block_delta"
            && last["type"] == "content_block_delta"
            && last["index"] == event["index"]
            && last["delta"]["type"] == event["delta"]["type"]
        {
            let mut merged = false;
            for key in ["text", "thinking", "partial_json"] {
                if let (Some(a), Some(b)) = (last["delta"][key].as_str(), event["delta"][key].as_str()) {
                    last["delta"][key] = format!("{a}{b}").into();
                    merged = true;
                }
            }
            if merged {
                continue;
            }
        }
        out.push(event.clone());
    }
    out
}
