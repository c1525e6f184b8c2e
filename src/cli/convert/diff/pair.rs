//! Which part of the OpenAI request stands for which part of the Anthropic one.

use serde_json::{Map, Value};

/// Longest string that is shown whole, in characters.
const MAX_STRING: usize = 160;
/// How much is shown of a longer one.
const SHOWN: usize = 60;

/// Two parts that belong together, as lines of JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) client: Vec<String>,
    pub(super) upstream: Vec<String>,
}

/// Keys under which the upstream gets what the client sent under another.
const COUNTERPARTS: &[(&str, &[&str])] = &[
    ("max_tokens", &["max_tokens", "max_completion_tokens"]),
    ("stop_sequences", &["stop"]),
    ("tool_choice", &["tool_choice", "parallel_tool_calls"]),
    ("stream", &["stream", "stream_options"]),
    ("thinking", &["thinking", "reasoning", "reasoning_effort", "enable_thinking", "chat_template_kwargs"]),
    ("output_config", &["response_format", "reasoning_effort", "reasoning"]),
    ("output_format", &["response_format"]),
    ("metadata", &["metadata", "user"]),
];

/// Everything in both requests, in the client's order; what only goes upstream is at the end.
pub(super) fn sections(client: &Map<String, Value>, upstream: &Map<String, Value>) -> Vec<Section> {
    let mut rest: Vec<(&str, &Value)> = upstream.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let mut out = Vec::new();
    let list = |map: &Map<String, Value>, key: &str| -> Vec<Value> {
        map.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let sent = list(upstream, "messages");
    let is_system = |m: &&Value| matches!(m["role"].as_str(), Some("system" | "developer"));
    let (system, messages) = sent.split_at(sent.iter().take_while(is_system).count());
    rest.retain(|(key, _)| *key != "messages");
    if !system.is_empty() && !client.contains_key("system") {
        out.push(section("system", vec![], each("messages", 0, system)));
    }
    for (key, value) in client {
        match key.as_str() {
            "system" => out.push(section("system", field(key, value), each("messages", 0, system))),
            "messages" => conversation(&list(client, key), messages, system.len(), &mut out),
            "tools" => {
                let tools = list(upstream, "tools");
                rest.retain(|(key, _)| *key != "tools");
                pairwise("tools", 0, &list(client, key), 0, &tools, &mut out);
            }
            _ => {
                let same = [key.as_str()];
                let names =
                    COUNTERPARTS.iter().find(|(k, _)| k == key).map_or(&same[..], |(_, names)| *names);
                let (mine, others) = rest.iter().partition(|(k, _)| names.contains(k));
                rest = others;
                out.push(section(key, field(key, value), fields(&mine)));
            }
        }
    }
    for (key, value) in rest {
        out.push(section(key, vec![], field(key, value)));
    }
    out
}

fn section(title: &str, client: Vec<String>, upstream: Vec<String>) -> Section {
    Section { title: title.to_owned(), client, upstream }
}

/// Messages in order. What stands between two answers of the model is one question, in however
/// many messages either side puts it.
fn conversation(client: &[Value], upstream: &[Value], first: usize, out: &mut Vec<Section>) {
    let is_answer = |m: &Value| m["role"] == "assistant";
    let alike = |a: &Value, b: &Value| is_answer(a) == is_answer(b);
    let (mut left, mut right) = (client.chunk_by(alike).peekable(), upstream.chunk_by(alike).peekable());
    let (mut i, mut k) = (0, first);
    loop {
        let asks = |part: Option<&&[Value]>| part.and_then(|p| p.first()).map(is_answer);
        // One side may have begun with an answer.
        let (l, r) = match (asks(left.peek()), asks(right.peek())) {
            (None, None) => return,
            (Some(false), Some(true)) => (left.next(), None),
            (Some(true), Some(false)) => (None, right.next()),
            _ => (left.next(), right.next()),
        };
        let (l, r) = (l.unwrap_or_default(), r.unwrap_or_default());
        pairwise("messages", i, l, k, r, out);
        i += l.len();
        k += r.len();
    }
}

/// Two lists: item by item if they are of one length, else as they are.
fn pairwise(what: &str, i: usize, left: &[Value], k: usize, right: &[Value], out: &mut Vec<Section>) {
    if left.len() == right.len() {
        for (n, (l, r)) in left.iter().zip(right).enumerate() {
            out.push(section(&titled(what, i + n, 1), lines(l), lines(r)));
        }
        return;
    }
    let title = if left.is_empty() { titled(what, k, right.len()) } else { titled(what, i, left.len()) };
    out.push(section(&title, each(what, i, left), each(what, k, right)));
}

fn titled(what: &str, from: usize, count: usize) -> String {
    if count == 1 { format!("{what}[{from}]") } else { format!("{what}[{from}..{}]", from + count - 1) }
}

/// The items of a list below their places, if there are several.
fn each(what: &str, from: usize, items: &[Value]) -> Vec<String> {
    if let [item] = items {
        return lines(item);
    }
    let item = |(n, item): (usize, &Value)| {
        let mut all = vec![format!("# {what}[{}]", from + n)];
        all.extend(lines(item));
        all
    };
    items.iter().enumerate().flat_map(item).collect()
}

fn fields(fields: &[(&str, &Value)]) -> Vec<String> {
    fields.iter().flat_map(|(key, value)| field(key, value)).collect()
}

fn field(key: &str, value: &Value) -> Vec<String> {
    let mut all = lines(value);
    if let Some(first) = all.first_mut() {
        first.insert_str(0, &format!("{}: ", Value::String(key.to_owned())));
    }
    all
}

/// A value as JSON for people.
fn lines(value: &Value) -> Vec<String> {
    let text = serde_json::to_string_pretty(&brief(value)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The value with its long strings shortened.
fn brief(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let length = text.chars().count();
            if length <= MAX_STRING {
                return value.clone();
            }
            let head: String = text.chars().take(SHOWN).collect();
            Value::String(format!("{head}… [{length} characters]"))
        }
        Value::Array(items) => Value::Array(items.iter().map(brief).collect()),
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), brief(v))).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn titles(client: Value, upstream: Value) -> Vec<(String, usize, usize)> {
        let map = |v: Value| v.as_object().unwrap().clone();
        let all = sections(&map(client), &map(upstream));
        all.into_iter().map(|s| (s.title, s.client.len(), s.upstream.len())).collect()
    }

    #[test]
    fn what_means_the_same_stands_together() {
        let client = json!({"max_tokens": 1, "stop_sequences": ["x"], "top_k": 3, "system": "s",
            "messages": [{"role": "user", "content": "q"}], "stream": true});
        let upstream = json!({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
            "max_completion_tokens": 1, "stop": ["x"], "stream": true, "stream_options": {}, "seed": 1});
        let want = [
            ("max_tokens", 1, 1),
            ("stop_sequences", 3, 3),
            ("top_k", 1, 0),
            ("system", 1, 4),
            ("messages[0]", 4, 4),
            ("stream", 1, 2),
            ("seed", 0, 1),
        ];
        let got = titles(client, upstream);
        assert_eq!(got.iter().map(|(t, c, u)| (t.as_str(), *c, *u)).collect::<Vec<_>>(), want);
    }

    #[test]
    fn messages_are_matched_between_answers() {
        let m = |role: &str| json!({"role": role});
        let client = json!({"messages": [m("user"), m("assistant"), m("user")]});
        let upstream = json!({"messages": [m("user"), m("assistant"), m("tool"), m("tool"), m("user")]});
        let got = titles(client, upstream);
        let places: Vec<&str> = got.iter().map(|(t, ..)| t.as_str()).collect();
        assert_eq!(places, ["messages[0]", "messages[1]", "messages[2]"]);
        // Each of three messages with a line that says which.
        assert_eq!((got[2].1, got[2].2), (3, 12));
        let got =
            titles(json!({"messages": [m("assistant")]}), json!({"messages": [m("user"), m("assistant")]}));
        assert_eq!(got, [("messages[0]".to_owned(), 0, 3), ("messages[0]".to_owned(), 3, 3)]);
    }

    #[test]
    fn long_strings_tell_their_length() {
        let text = "é".repeat(1000);
        assert_eq!(
            brief(&json!([{"a": text}])),
            json!([{"a": format!("{}… [1000 characters]", "é".repeat(60))}])
        );
        assert_eq!(brief(&json!("é".repeat(160))), json!("é".repeat(160)));
    }
}
