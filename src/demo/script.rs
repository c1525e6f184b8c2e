//! What the demo model says.

use serde_json::{Map, Value, json};

/// What it answers to one request.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Script {
    /// Shown when thinking is on.
    pub(super) reasoning: String,
    /// May be empty next to a call.
    pub(super) text: String,
    /// Names and arguments.
    pub(super) calls: Vec<(String, String)>,
    /// The limit of tokens ended the text.
    pub(super) cut: bool,
}

/// The command that the demo wants to have run.
const COMMAND: &str = "echo \"Hello from the demo upstream\"";

/// Reads a Chat Completions request and decides.
pub(super) fn decide(request: &Value) -> Script {
    let messages = request["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let thinks = at(request, "/chat_template_kwargs/enable_thinking") == true;
    let mut script = answer(request, messages);
    if !thinks {
        script.reasoning.clear();
    }
    script.end(request);
    script
}

/// Words with the space before them, so that joined they are the text again.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest.char_indices().skip(1).find(|(_, c)| *c == ' ').map_or(rest.len(), |(i, _)| i);
        let (word, tail) = rest.split_at_checked(end)?;
        rest = tail;
        (!word.is_empty()).then_some(word)
    })
}

impl Script {
    /// Stop sequences and the limit of tokens end the text; a call is never cut.
    fn end(&mut self, request: &Value) {
        let stops = match &request["stop"] {
            Value::Array(stops) => stops.as_slice(),
            stop => std::slice::from_ref(stop),
        };
        let stops = stops.iter().filter_map(Value::as_str).filter(|s| !s.is_empty());
        if let Some(at) = stops.filter_map(|s| self.text.find(s)).min() {
            self.text.truncate(at);
        }
        let limit = ["max_completion_tokens", "max_tokens"].iter().find_map(|key| request[*key].as_u64());
        let left = limit.unwrap_or(u64::MAX).saturating_sub(words(&self.reasoning).count() as u64);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        if words(&self.text).count() > left {
            self.text = words(&self.text).take(left).collect();
            self.cut = true;
        }
    }
}

fn answer(request: &Value, messages: &[Value]) -> Script {
    if let Some(schema) = schema_of(&request["response_format"]) {
        let value = fill(schema, "", 0).unwrap_or(Value::Null);
        return Script { text: value.to_string(), ..Script::default() };
    }
    let last = messages.last().unwrap_or(&Value::Null);
    if last["role"] == "tool" {
        let result = text_of(&last["content"]);
        let line: String = result.lines().next().unwrap_or("").chars().take(200).collect();
        return Script {
            reasoning: "The tool has answered: I report it.".to_owned(),
            text: format!("The tool answered: `{line}`."),
            ..Script::default()
        };
    }
    if last["content"].as_array().is_some_and(|parts| parts.iter().any(|p| p["type"] == "image_url")) {
        return Script { text: "I am a script: I cannot see images.".to_owned(), ..Script::default() };
    }
    let prompt = messages.iter().rev().find(|m| m["role"] == "user").map(|m| text_of(&m["content"]));
    let prompt = without_reminders(&prompt.unwrap_or_default()).to_lowercase();
    if let Some(call) = call(request, &prompt) {
        return Script {
            reasoning: format!("{} can do that.", call.0),
            text: "I will use a tool for that.".to_owned(),
            calls: if twice(request, &prompt) { vec![call.clone(), call] } else { vec![call] },
            cut: false,
        };
    }
    Script {
        reasoning: "Nobody asks for a tool here. A friendly answer will do.".to_owned(),
        text: "Hello! I am the demo model behind claude-proxy: no GPU, no key, just a script. Ask me to run a command and I will call a tool.".to_owned(),
        ..Script::default()
    }
}

/// Whether one call is not enough.
fn twice(request: &Value, prompt: &str) -> bool {
    request["parallel_tool_calls"] != false && prompt.split_whitespace().any(|w| w == "both" || w == "twice")
}

/// The call that the prompt asks for, if such a tool is offered.
fn call(request: &Value, prompt: &str) -> Option<(String, String)> {
    const WANTED: &[&str] = &["run", "tool", "tools", "bash", "command", "execute", "shell", "call"];
    let tools = request["tools"].as_array()?;
    if request["tool_choice"] == "none" {
        return None;
    }
    let words: Vec<&str> = prompt.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let name = |tool: &Value| at(tool, "/function/name").as_str().unwrap_or_default().to_owned();
    let named = tools.iter().find(|t| words.contains(&name(t).to_lowercase().as_str()));
    let forced = request["tool_choice"] == "required" || request["tool_choice"].is_object();
    if named.is_none() && !forced && !words.iter().any(|w| WANTED.contains(w)) {
        return None;
    }
    let chosen = at(request, "/tool_choice/function/name").as_str();
    let bash = || tools.iter().find(|t| name(t) == "Bash");
    let by_choice = || tools.iter().find(|t| Some(name(t).as_str()) == chosen);
    let mut order = by_choice().into_iter().chain(named).chain(bash()).chain(tools);
    order.find_map(|tool| Some((name(tool), arguments(tool)?.to_string())))
}

fn arguments(tool: &Value) -> Option<Value> {
    let function = &tool["function"];
    if function["name"] == "Bash" {
        return Some(if at(function, "/parameters/properties/description").is_object() {
            json!({ "command": COMMAND, "description": "Say hello" })
        } else {
            json!({ "command": COMMAND })
        });
    }
    match &function["parameters"] {
        Value::Object(_) => fill(&function["parameters"], "", 0),
        _ => Some(json!({})),
    }
}

/// A value that fits the schema; none if it is beyond us.
fn fill(schema: &Value, name: &str, depth: usize) -> Option<Value> {
    if depth > 8 {
        return None;
    }
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
        return Some(first.clone());
    }
    if let Some(only) = schema.get("const") {
        return Some(only.clone());
    }
    for alternatives in ["anyOf", "oneOf"] {
        if let Some(all) = schema[alternatives].as_array() {
            return all.iter().find_map(|s| fill(s, name, depth + 1));
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str),
        kind => kind.as_str(),
    };
    match kind {
        Some("string") => Some(if name == "command" { COMMAND } else { "demo" }.into()),
        Some("integer" | "number") => {
            Some(schema.get("minimum").filter(|m| m.is_number()).cloned().unwrap_or_else(|| 1.into()))
        }
        Some("boolean") => Some(true.into()),
        Some("null") => Some(Value::Null),
        Some("array") => {
            let least = schema["minItems"].as_u64().unwrap_or(0).min(8);
            (0..least)
                .map(|_| fill(&schema["items"], name, depth + 1))
                .collect::<Option<_>>()
                .map(Value::Array)
        }
        Some("object") | None if schema["properties"].is_object() || kind.is_some() => {
            let properties = at(schema, "/properties");
            let mut object = Map::new();
            let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
            for key in required.iter().filter_map(Value::as_str) {
                object.insert(
                    key.to_owned(),
                    fill(properties.get(key).unwrap_or(&Value::Null), key, depth + 1)?,
                );
            }
            Some(Value::Object(object))
        }
        _ => None,
    }
}

fn schema_of(format: &Value) -> Option<&Value> {
    match format["type"].as_str()? {
        "json_schema" => format.pointer("/json_schema/schema"),
        _ => None,
    }
}

/// What stands at a JSON pointer; null if nothing does.
fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// The text of a message, whether it is one string or parts.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

/// Clients put notes to the model into the user's turn; they are not the prompt.
fn without_reminders(text: &str) -> String {
    const OPEN: &str = "<system-reminder>";
    const CLOSE: &str = "</system-reminder>";
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        out.push_str(before);
        rest = after.split_once(CLOSE).map_or("", |(_, tail)| tail);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, parameters: &Value) -> Value {
        json!({"type": "function", "function": {"name": name, "parameters": parameters}})
    }

    fn asked(prompt: &str, tools: &[Value]) -> Script {
        decide(&json!({"messages": [{"role": "user", "content": prompt}], "tools": tools}))
    }

    #[test]
    fn calls_the_tool_that_fits() {
        let read = tool(
            "Read",
            &json!({"type": "object", "required": ["file_path"], "properties": {"file_path": {"type": "string"}}}),
        );
        let bash = tool("Bash", &json!({"type": "object", "properties": {"command": {"type": "string"}}}));
        let both = [read, bash];
        let name = |s: Script| s.calls.into_iter().next().map(|c| c.0);
        assert_eq!(name(asked("Please run a command.", &both)).as_deref(), Some("Bash"));
        assert_eq!(name(asked("Read the file.", &both)).as_deref(), Some("Read"));
        assert_eq!(name(asked("Hello there", &both)), None);
        assert_eq!(name(asked("Hi <system-reminder>run bash</system-reminder>", &both)), None);
        assert_eq!(name(asked("run it", &both[..1])).as_deref(), Some("Read"));
        assert_eq!(name(asked("run it", &[])), None);
    }

    #[test]
    fn ends_where_it_is_told_to() {
        let ended = |more: Value| {
            let mut request = json!({"messages": [{"role": "user", "content": "hi"}]});
            request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let script = decide(&request);
            (script.text, script.cut)
        };
        assert_eq!(ended(json!({"stop": "I"})), ("Hello! ".to_owned(), false));
        assert_eq!(ended(json!({"stop": ["zzz", "am", "I"]})), ("Hello! ".to_owned(), false));
        assert_eq!(ended(json!({"max_tokens": 2})), ("Hello! I".to_owned(), true));
        assert!(!ended(json!({"max_completion_tokens": 4096})).1);
    }

    #[test]
    fn calls_twice_when_told_to() {
        let bash = tool("Bash", &json!({"type": "object", "properties": {"command": {"type": "string"}}}));
        assert_eq!(asked("run it twice", std::slice::from_ref(&bash)).calls.len(), 2);
        assert_eq!(asked("run it", &[bash]).calls.len(), 1);
    }

    #[test]
    fn thinks_only_when_told_to() {
        let mut request = json!({"messages": [{"role": "user", "content": "hi"}]});
        assert_eq!(decide(&request).reasoning, "");
        request["chat_template_kwargs"] = json!({"enable_thinking": true});
        assert_ne!(decide(&request).reasoning, "");
    }

    #[test]
    fn structured_output_fits_its_schema() {
        let schema =
            json!({"type": "object", "required": ["title"], "properties": {"title": {"type": "string"}}});
        let script = decide(&json!({"messages": [{"role": "user", "content": "hi"}],
            "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}));
        assert_eq!(script.text, r#"{"title":"demo"}"#);
    }

    #[test]
    fn words_join_to_the_text() {
        for text in ["", "one", "a few  words ", " \u{e9}\u{20ac} x"] {
            assert_eq!(words(text).collect::<String>(), text);
        }
        assert_eq!(words("a b").count(), 2);
    }
}
