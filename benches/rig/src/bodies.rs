//! Synthetic Anthropic request bodies.

use serde_json::{Value, json};

/// Prose-and-code filler of exactly `n` bytes, with the newlines, quotes, backslashes and
/// the occasional non-ASCII letter that make JSON escaping cost what it costs in real life.
pub fn filler(n: usize, seed: usize) -> String {
    const LINES: [&str; 8] = [
        "    let value = map.get(\"key\").copied().unwrap_or_default();\n",
        "The handler reads the request, checks its size and passes it to the worker pool. ",
        "// TODO: the path \\\\ separator differs on other systems\n",
        "    if (err != nil) { return fmt.Errorf(\"open %s: %w\", name, err) }\n",
        "A retry is made at most three times, with a growing pause between the tries. ",
        "assert_eq!(parse(\"a,b\\tc\"), vec![\"a\", \"b\\tc\"]);\n",
        "Größe, naïve café and 東京 stay as they are in UTF-8. ",
        "for item in items.iter().filter(|i| i.enabled && i.weight > 0) {\n",
    ];
    let mut out = String::with_capacity(n + 96);
    let mut i = seed;
    while out.len() < n {
        out.push_str(LINES[i % LINES.len()]);
        i = i.wrapping_mul(5).wrapping_add(3);
    }
    let mut cut = n;
    while !out.is_char_boundary(cut) {
        cut -= 1;
    }
    out.truncate(cut);
    while out.len() < n {
        out.push('.');
    }
    out
}

const BYTES: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64ish(n: usize, mut seed: u64) -> String {
    let mut s = String::with_capacity(n + 4);
    for _ in 0..n {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        s.push(BYTES[(seed >> 58) as usize & 63] as char);
    }
    while !s.len().is_multiple_of(4) {
        s.push('A');
    }
    s
}

fn tool(i: usize, desc: usize) -> Value {
    json!({
        "name": format!("tool_{i:02}"),
        "description": filler(desc, i),
        "input_schema": {
            "type": "object",
            "properties": {
                "file_path": {"type": "string", "description": "The absolute path of the file to work on"},
                "pattern": {"type": "string", "description": filler(120, i + 1)},
                "offset": {"type": "number", "description": "The line number to start reading from"},
                "limit": {"type": "number", "description": "The number of lines to read"},
                "mode": {"type": "string", "enum": ["content", "files_with_matches", "count"], "description": filler(90, i + 2)},
                "todos": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "content": {"type": "string", "minLength": 1},
                            "status": {"type": "string", "enum": ["pending", "in_progress", "completed"]}
                        },
                        "required": ["content", "status"],
                        "additionalProperties": false
                    }
                }
            },
            "required": ["file_path"],
            "additionalProperties": false,
            "$schema": "http://json-schema.org/draft-07/schema#"
        }
    })
}

/// The shape of a Claude Code request some way into a session: system blocks with
/// cache_control, 25 tools, 40 turns of text + tool_use answered by tool_result.
fn claude(model: &str, spec: &str, stream: bool, result_len: usize) -> Value {
    let mut messages = vec![json!({
        "role": "user",
        "content": [
            {"type": "text", "text": format!("<system-reminder>\n{}\n</system-reminder>", filler(900, 7))},
            {"type": "text", "text": "Please find out why the parser drops the last line, and fix it."}
        ]
    })];
    for t in 0..20 {
        let id = format!("toolu_01bench{t:014}");
        messages.push(json!({
            "role": "assistant",
            "content": [
                {"type": "text", "text": filler(220, t)},
                {"type": "tool_use", "id": id, "name": format!("tool_{:02}", t % 25), "input": {
                    "file_path": format!("/home/user/project/src/module_{t}/parser.rs"),
                    "pattern": "fn\\s+parse_\\w+\\(\"", "offset": t * 100, "limit": 200,
                    "todos": [{"content": filler(60, t), "status": "pending"}]
                }}
            ]
        }));
        let mut result = json!({
            "type": "tool_result", "tool_use_id": id,
            "content": if t % 2 == 0 { json!(filler(result_len, t)) }
                       else { json!([{"type": "text", "text": filler(result_len, t)}]) }
        });
        if t == 19 {
            result["cache_control"] = json!({"type": "ephemeral"});
        }
        messages.push(json!({"role": "user", "content": [result]}));
    }
    let mut tools: Vec<Value> = (0..25).map(|i| tool(i, 900)).collect();
    tools[24]["cache_control"] = json!({"type": "ephemeral"});
    json!({
        "model": model,
        "messages": messages,
        "system": [
            {"type": "text", "text": format!("[{spec}] You are a coding assistant."), "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": filler(12_000, 3), "cache_control": {"type": "ephemeral"}}
        ],
        "tools": tools,
        "metadata": {"user_id": "user_0000_account__session_00000000-0000-0000-0000-000000000000"},
        "max_tokens": 32000,
        "temperature": 1,
        "stream": stream
    })
}

/// A user's message of `n` bytes of text.
fn user(n: usize, seed: usize) -> Value {
    json!({"role": "user", "content": filler(n, seed)})
}

/// Messages 400 bytes each; the roles take turns, and the last one is the user's.
fn messages(n: usize) -> Value {
    (0..n).map(|i| json!({"role": if (n - i) % 2 == 1 { "user" } else { "assistant" }, "content": filler(400, i)})).collect()
}

/// A request body, or None for a kind that there is not:
///
/// | kind | |
/// |---|---|
/// | `small` | 300 B |
/// | `claude` | 120 KB: a Claude Code request |
/// | `huge` | 2 MB: four base64 images |
/// | `messages-N` | N messages of 400 B |
/// | `tools-N` | N tools of 1.2 KB |
/// | `bytes-N` | N bytes in all, nearly all of it one text |
///
/// The spec is told twice, in the model name and in the system text, so that proxies that
/// rename the model still lead the mock to the right answer.
pub fn build(kind: &str, model: &str, spec: &str, stream: bool) -> Option<Vec<u8>> {
    let system = format!("[{spec}] You are a helpful assistant. Answer in one short sentence.");
    let simple = |messages: Value| json!({"model": model, "max_tokens": 1024, "system": system, "messages": messages, "temperature": 0.7, "stream": stream});
    let question = "What is the capital of France, and how many people live there today?";
    let small = || simple(json!([{"role": "user", "content": question}]));
    let v = match kind.split_once('-').map_or((kind, None), |(kind, n)| (kind, n.parse::<usize>().ok())) {
        ("small", None) => small(),
        ("claude", None) => claude(model, spec, stream, 2060),
        ("huge", None) => {
            let mut v = claude(model, spec, stream, 600);
            let images: Vec<Value> = (0..4u64)
                .map(|i| {
                    json!({"type": "image", "source": {
                        "type": "base64", "media_type": "image/png", "data": base64ish(480_000, i + 1)}})
                })
                .chain([json!({"type": "text", "text": "What do these screenshots show?"})])
                .collect();
            let list = v["messages"].as_array_mut()?;
            list.push(json!({"role": "assistant", "content": "Show me."}));
            list.push(json!({"role": "user", "content": images}));
            v
        }
        ("messages", Some(n)) => simple(messages(n)),
        ("tools", Some(n)) => {
            let mut v = small();
            if n > 0 {
                v["tools"] = (0..n).map(|i| tool(i, 300)).collect();
            }
            v
        }
        ("bytes", Some(n)) => {
            let frame = simple(json!([user(0, 0)])).to_string().len();
            // What JSON escapes makes the text longer: cut it to where the whole has n bytes.
            let mut text = n.saturating_sub(frame);
            loop {
                let bytes = simple(json!([user(text, 0)])).to_string().len();
                if bytes <= n || text == 0 {
                    break;
                }
                text -= (bytes - n).min(text);
            }
            simple(json!([user(text, 0)]))
        }
        _ => return None,
    };
    serde_json::to_vec(&v).ok()
}
