//! What is asked to find out what an upstream can do, and what its answers mean.
//!
//! Each probe is one small request in OpenAI's own terms, not bent by a profile: the point is
//! what the upstream makes of them.

use serde::Serialize;
use serde_json::{Value, json};

use super::judge::{
    Judged, called, image, middle, named_time, named_weather, not_stopped, parallel, required, schema, stop,
    usage,
};
use super::said::Said;

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// It works.
    Yes,
    /// It does not: refused, or the model says so.
    No,
    /// It is accepted, but what comes is not what was asked for.
    Odd,
    /// It could not be found out.
    Unknown,
}

/// The result of a probe.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    /// Its name: see [`NAMES`].
    pub(super) probe: &'static str,
    pub(super) result: Verdict,
    /// What was odd, or why not.
    pub(super) detail: Option<String>,
    /// The upstream answered the request with an error.
    pub(super) refused: bool,
}

impl Finding {
    pub(super) fn new(probe: &'static str, (result, detail): Judged) -> Self {
        Self { probe, result, detail, refused: false }
    }
}

/// Names of all probes in the order of the report, and what people read.
pub(super) const NAMES: [(&str, &str); 12] = [
    ("whole", "whole answer"),
    ("stream", "stream"),
    ("usage_in_stream", "usage in streams"),
    ("tools", "tools"),
    ("tool_choice_named", "tool choice, named"),
    ("tool_choice_required", "tool choice, required"),
    ("parallel_tools", "parallel tools"),
    ("image", "images"),
    ("reasoning", "reasoning"),
    ("json_schema", "JSON schema"),
    ("stop", "stop sequences"),
    ("system_in_middle", "system in the middle"),
];

/// What [`parallel_aloud`] found out.
pub(super) const ALOUD: &str = "only with `parallel_tool_calls: true`";

/// One request and how its answer is judged.
pub(super) struct Probe {
    pub(super) name: &'static str,
    pub(super) max_tokens: u32,
    /// Fields of the request besides the model and the limit of tokens.
    pub(super) fields: Value,
    pub(super) judge: fn(&Said) -> Judged,
}

/// Room for models that think first; others need a tenth.
pub(super) const ROOM: u32 = 1024;

/// All but reasoning, which may take several requests. Of two with the same name both have to
/// be answered with yes.
pub(super) fn all() -> Vec<Probe> {
    let user = |text: &str| json!([{"role": "user", "content": text}]);
    let paris = "What is the weather in Paris? Use the tool.";
    let probe = |name, fields, judge| Probe { name, max_tokens: ROOM, fields, judge };
    vec![
        Probe {
            name: "usage_in_stream",
            max_tokens: 16,
            fields: json!({"messages": user("Say hello."), "stream": true, "stream_options": {"include_usage": true}}),
            judge: usage,
        },
        probe("tools", json!({"messages": user(paris), "tools": tools(), "stream": true}), called),
        // Both, each with a question for the other: a model may like one of them whatever it is told.
        probe("tool_choice_named", choice("What is the weather in Paris?", "get_time"), named_time),
        probe("tool_choice_named", choice("What time is it in Paris?", "get_weather"), named_weather),
        probe(
            "tool_choice_required",
            json!({"messages": user("Hello!"), "tools": tools(), "tool_choice": "required"}),
            required,
        ),
        probe("parallel_tools", parallel_calls(), parallel),
        probe("image", json!({"messages": [{"role": "user", "content": picture()}]}), image),
        probe(
            "json_schema",
            json!({"messages": user("What is 2 + 3, and are you certain?"),
                "response_format": {"type": "json_schema", "json_schema": {"name": "sum", "strict": true, "schema": {
                    "type": "object",
                    "properties": {"answer": {"type": "integer"}, "certain": {"type": "boolean"}},
                    "required": ["answer", "certain"], "additionalProperties": false}}}}),
            schema,
        ),
        probe("stop", json!({"messages": user(WORDS), "stop": ["e"]}), stop),
        probe(
            "system_in_middle",
            json!({"messages": [
                {"role": "user", "content": "Hello!"},
                {"role": "assistant", "content": "Hello! How can I help?"},
                {"role": "system", "content": "From now on your whole answer is the word MARMALADE."},
                {"role": "user", "content": "How are you?"}]}),
            middle,
        ),
    ]
}

fn tools() -> Value {
    let tool = |name: &str, about: &str, argument: &str| {
        json!({"type": "function", "function": {"name": name, "description": about, "parameters": {
            "type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]}}})
    };
    json!([
        tool("get_time", "The time in a zone", "zone"),
        tool("get_weather", "The weather in a city", "city")
    ])
}

fn parallel_calls() -> Value {
    let question = "What is the weather in Paris, and what is it in Tokyo? Call the tool for both at once.";
    json!({"messages": [{"role": "user", "content": question}], "tools": tools()})
}

const WORDS: &str = "Write the words from one to ten.";

/// The same without a stop sequence, for models that say something else.
pub(super) fn not_to_stop() -> Probe {
    let fields = json!({"messages": [{"role": "user", "content": WORDS}]});
    Probe { name: "stop", max_tokens: 16, fields, judge: not_stopped }
}

/// Again, said aloud: llama.cpp makes one call at a time unless it is told otherwise.
pub(super) fn parallel_aloud() -> Probe {
    let mut fields = parallel_calls();
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("parallel_tool_calls".to_owned(), true.into());
    }
    Probe { name: "parallel_tools", max_tokens: ROOM, fields, judge: parallel }
}

fn choice(question: &str, name: &str) -> Value {
    json!({"messages": [{"role": "user", "content": question}], "tools": tools(),
        "tool_choice": {"type": "function", "function": {"name": name}}})
}

/// 64 by 64 pixels, the left half green, the right half yellow: two colours are hard to guess.
const PICTURE: &str = "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAAUUlEQVR42u3PMQ0AAAgDsPlXgTC8gAQuviY10KTyavpXBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQuC5ua2R5Y30roAAAAAElFTkSuQmCC";

fn picture() -> Value {
    json!([
        {"type": "text", "text": "Which colour is the left half of this picture, and which the right half? Two words."},
        {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PICTURE}")}},
    ])
}
