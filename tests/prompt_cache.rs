//! Upstream prompt caches keep hitting: each request of a session begins with the one before it.
//!
//! A session of 20 turns as Claude Code makes them: reminders, `cache_control` on whatever is
//! newest, a plain string where the turn before had a list, tools that are found late, words of
//! the system in between, parallel calls, results with images, thinking sent back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

use claude_proxy::convert::{self, ModelSpec, Profile};
use claude_proxy::wire::anthropic::Request;
use serde_json::{Value, json};

const TURNS: usize = 20;

/// The session so far: what stays, and what the next request adds as its last turn.
#[derive(Default)]
struct Session {
    messages: Vec<Value>,
    tools: Vec<Value>,
}

fn tool(name: &str, deferred: bool) -> Value {
    let mut tool = json!({"name": name, "description": format!("The tool {name}"),
        "input_schema": {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "integer"}}}});
    if deferred {
        tool["defer_loading"] = true.into();
    }
    tool
}

impl Session {
    fn new() -> Self {
        let tools =
            [tool("Read", false), tool("zeta_late", true), tool("alpha_late", true), tool("Bash", false)];
        Self { tools: tools.to_vec(), ..Self::default() }
    }

    /// The user's side of turn `n`, as the newest: with a breakpoint, and as a list.
    fn user(&mut self, n: usize) {
        let mut content = Vec::new();
        if n > 0 {
            for call in 0..calls(n - 1) {
                let text = json!({"type": "text", "text": format!("result {call} of turn {n}")});
                let mut inner = vec![text];
                if n % 7 == 3 {
                    inner.push(json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}));
                }
                if n == 5 {
                    inner = vec![json!({"type": "tool_reference", "tool_name": "zeta_late"})];
                }
                if n == 9 {
                    inner = vec![json!({"type": "tool_reference", "tool_name": "alpha_late"})];
                }
                let id = format!("toolu_{:02}_{call}_abcdefghijklmnopqrstuvwxyz0123456789", n - 1);
                content.push(json!({"type": "tool_result", "tool_use_id": id, "content": inner, "is_error": n % 5 == 4}));
            }
        }
        if calls(n.wrapping_sub(1)) == 0 || n.is_multiple_of(3) {
            content.push(
                json!({"type": "text", "text": format!("<system-reminder>turn {n}</system-reminder>")}),
            );
            content.push(json!({"type": "text", "text": format!("Question {n} — ünïcode")}));
        }
        content.last_mut().unwrap()["cache_control"] = json!({"type": "ephemeral"});
        self.messages.push(json!({"role": "user", "content": content}));
        if n % 6 == 2 {
            self.messages.push(json!({"role": "system", "content": format!("The user is in room {n}.")}));
        }
    }

    /// What the next request no longer has: breakpoints move on, single texts become strings.
    fn settle(&mut self) {
        for message in &mut self.messages {
            let Some(content) = message["content"].as_array_mut() else { continue };
            for block in content.iter_mut() {
                block.as_object_mut().unwrap().remove("cache_control");
            }
            if let [one] = &content[..]
                && one["type"] == "text"
            {
                message["content"] = one["text"].clone();
            }
        }
    }

    fn assistant(&mut self, n: usize) {
        let mut content = Vec::new();
        if n.is_multiple_of(2) {
            content
                .push(json!({"type": "thinking", "thinking": format!("I think of {n}."), "signature": ""}));
        }
        if n % 4 != 1 || calls(n) == 0 {
            content.push(json!({"type": "text", "text": format!("Answer {n}")}));
        }
        for call in 0..calls(n) {
            let id = format!("toolu_{n:02}_{call}_abcdefghijklmnopqrstuvwxyz0123456789");
            let name = if n > 5 && call == 1 { "zeta_late" } else { "Read" };
            content.push(json!({"type": "tool_use", "id": id, "name": name, "input": {"z": "é", "a": n}}));
        }
        self.messages.push(json!({"role": "assistant", "content": content}));
    }

    fn request(&self) -> String {
        json!({"model": "m", "max_tokens": 32000, "stream": true, "thinking": {"type": "adaptive"},
            "system": [{"type": "text", "text": "x-anthropic-billing-header: cc_version=1; cch=00000"},
                {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}}],
            "tools": self.tools, "messages": self.messages})
        .to_string()
    }
}

/// How many tools turn `n` calls.
fn calls(n: usize) -> usize {
    match n {
        usize::MAX => 0,
        n if n % 5 == 2 => 0,
        n => 1 + n % 2,
    }
}

/// The bytes of the lists `messages` and `tools` of a converted request, without the last `]`.
fn lists(profile: &Profile, request: &str) -> (String, String) {
    let profile = Profile::named(&profile.name).unwrap();
    let spec = ModelSpec { remote_id: "m".into(), ..ModelSpec::default() };
    let body = convert::request(&Request::parse(request.as_bytes()).unwrap(), profile, &spec).unwrap().body;
    let raw: std::collections::BTreeMap<String, &serde_json::value::RawValue> =
        serde_json::from_slice(&body).unwrap();
    let list = |name: &str| {
        let text = raw[name].get();
        let text = if profile.cache_control { without_breakpoints(text) } else { text.to_owned() };
        text.strip_suffix(']').unwrap().to_owned()
    };
    (list("messages"), list("tools"))
}

/// As the upstream's prompt is made: a breakpoint is no part of it, and a list of one text is
/// that text.
fn without_breakpoints(list: &str) -> String {
    let mut list: Value = serde_json::from_str(list).unwrap();
    for message in list.as_array_mut().unwrap() {
        let Some(parts) = message["content"].as_array_mut() else { continue };
        for part in parts.iter_mut() {
            part.as_object_mut().unwrap().remove("cache_control");
        }
        if let [one] = &parts[..]
            && one["type"] == "text"
        {
            message["content"] = one["text"].clone();
        }
    }
    list.to_string()
}

#[test]
fn breakpoints_are_kept_where_the_upstream_knows_them() {
    let openrouter = Profile::named("openrouter").unwrap();
    let mut session = Session::new();
    session.user(0);
    session.settle();
    session.assistant(0);
    session.user(1);
    let spec = ModelSpec { remote_id: "m".into(), ..ModelSpec::default() };
    let request = session.request();
    let body =
        convert::request(&Request::parse(request.as_bytes()).unwrap(), openrouter, &spec).unwrap().body;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let last = body["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["role"], &last["content"][0]["cache_control"]["type"]),
        (&json!("tool"), &json!("ephemeral"))
    );
}

#[test]
fn each_request_begins_with_the_one_before() {
    for profile in Profile::all() {
        let mut session = Session::new();
        let mut before: Option<(String, String)> = None;
        for n in 0..TURNS {
            session.user(n);
            let (messages, tools) = lists(profile, &session.request());
            if let Some((earlier, earlier_tools)) = &before {
                let common = earlier.bytes().zip(messages.bytes()).take_while(|(a, b)| a == b).count();
                assert!(
                    messages.starts_with(earlier.as_str()),
                    "{}, turn {n}: after byte {common}\n{}\n{}",
                    profile.name,
                    &earlier[common.saturating_sub(60)..],
                    &messages[common.saturating_sub(60)..]
                );
                assert!(tools.starts_with(earlier_tools.as_str()), "{}, turn {n}: {tools}", profile.name);
            }
            let late = ["zeta_late", "alpha_late"].map(|name| tools.find(name));
            assert_eq!(
                (late[0].is_some(), late[1].is_some()),
                (n >= 5, n >= 9),
                "{}, turn {n}",
                profile.name
            );
            before = Some((messages, tools));
            session.settle();
            session.assistant(n);
        }
    }
}
