//! The grammar of Anthropic's event streams.
//!
//! `message_start`, then blocks (start, deltas that fit, stop; indexes 0, 1, 2, ..., one open
//! at a time), then exactly one `message_delta` and `message_stop`; or, instead of the rest,
//! one `error`. Nothing follows the end. Pings may stand anywhere.

use serde_json::Value;

/// Reads SSE bytes of ours. Strict: each event is `event: NAME`, `data: JSON`, a blank line.
pub fn events(bytes: &[u8]) -> Result<Vec<Value>, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| format!("not UTF-8: {e}"))?;
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (event, tail) = rest.split_once("\n\n").ok_or_else(|| format!("unfinished event: {rest:?}"))?;
        rest = tail;
        let (name, data) = event.split_once('\n').ok_or_else(|| format!("one line only: {event:?}"))?;
        let name = name.strip_prefix("event: ").ok_or_else(|| format!("no event line: {event:?}"))?;
        let data = data.strip_prefix("data: ").ok_or_else(|| format!("no data line: {event:?}"))?;
        let value: Value = serde_json::from_str(data).map_err(|e| format!("{e}: {data}"))?;
        if value["type"] != name {
            return Err(format!("event name {name} differs from type {}", value["type"]));
        }
        out.push(value);
    }
    Ok(out)
}

/// How a stream that keeps to the grammar came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `message_stop`.
    Complete,
    /// `error`.
    Error,
    /// Cut: a valid beginning.
    Open,
}

#[derive(Default)]
struct Block {
    kind: String,
    open: bool,
    json: String,
    signed: bool,
    /// The call whose result it is.
    answers: Value,
}

/// Checks the order of events and everything in them that clients rely on.
pub fn check(events: &[Value]) -> Result<End, String> {
    let mut blocks: Vec<Block> = Vec::new();
    // Ids of the calls that we carry out.
    let mut calls: Vec<Value> = Vec::new();
    let (mut started, mut delta, mut end) = (false, false, None);
    let mut stop_reason = String::new();
    for event in events {
        let kind = event["type"].as_str().ok_or("event without type")?;
        if kind == "ping" {
            continue;
        }
        if end.is_some() {
            return Err(format!("{kind} after the end"));
        }
        match kind {
            "error" => {
                for key in ["type", "message"] {
                    event["error"][key]
                        .as_str()
                        .filter(|s| !s.is_empty())
                        .ok_or(format!("error without {key}"))?;
                }
                if delta {
                    return Err("error after message_delta".into());
                }
                end = Some(End::Error);
            }
            "message_start" => {
                if started {
                    return Err("second message_start".into());
                }
                started = true;
                let m = &event["message"];
                let shape = m["type"] == "message"
                    && m["role"] == "assistant"
                    && m["content"] == serde_json::json!([])
                    && m["stop_reason"].is_null()
                    && m.get("stop_sequence").is_some_and(Value::is_null)
                    && m["id"].as_str().is_some_and(|s| s.starts_with("msg_"))
                    && m["model"].is_string();
                if !shape {
                    return Err(format!("message_start is malformed: {m}"));
                }
                usage(&m["usage"])?;
                if m["usage"]["input_tokens"] == 0 {
                    return Err("message_start with input_tokens 0".into());
                }
            }
            _ if !started => return Err(format!("{kind} before message_start")),
            "content_block_start" => {
                if delta {
                    return Err("block after message_delta".into());
                }
                if blocks.last().is_some_and(|b| b.open) {
                    return Err("block started while another is open".into());
                }
                if event["index"] != blocks.len() {
                    return Err(format!("index {} where {} was due", event["index"], blocks.len()));
                }
                let b = &event["content_block"];
                let kind = b["type"].as_str().unwrap_or_default();
                let names = |k: &str| b[k].as_str().is_some_and(|s| !s.is_empty());
                let answers = |id: &Value| {
                    calls.iter().filter(|call| *call == id).count() == 1
                        && blocks.iter().all(|b| b.answers != *id)
                };
                let shape = match kind {
                    "text" => b["text"] == "",
                    "thinking" => b["thinking"] == "" && b["signature"] == "",
                    "tool_use" => {
                        ["id", "name"].iter().all(|k| b[k].as_str().is_some_and(|s| !s.is_empty()))
                            && b["input"] == serde_json::json!({})
                    }
                    "server_tool_use" => {
                        calls.push(b["id"].clone());
                        names("name")
                            && b["id"].as_str().is_some_and(|id| id.starts_with("srvtoolu_"))
                            && b["input"] == serde_json::json!({})
                    }
                    // The whole block, and the call that it answers came before.
                    "web_search_tool_result" => {
                        answers(&b["tool_use_id"])
                            && (is_error(&b["content"], kind)
                                || b["content"].as_array().is_some_and(|hits| hits.iter().all(is_hit)))
                    }
                    "web_fetch_tool_result" => {
                        let page = &b["content"];
                        answers(&b["tool_use_id"])
                            && (is_error(page, kind)
                                || page["type"] == "web_fetch_result"
                                    && page["url"].is_string()
                                    && page["content"]["type"] == "document"
                                    && page["content"]["source"]["data"].is_string())
                    }
                    _ => false,
                };
                if !shape {
                    return Err(format!("malformed block start: {b}"));
                }
                let answers = b["tool_use_id"].clone();
                blocks.push(Block { kind: kind.into(), open: true, answers, ..Block::default() });
            }
            "content_block_delta" | "content_block_stop" => {
                if event["index"] != blocks.len().wrapping_sub(1) {
                    return Err(format!("{kind} for index {}", event["index"]));
                }
                let block = blocks.last_mut().ok_or("no block")?;
                if !block.open {
                    return Err(format!("{kind} for a closed block"));
                }
                if kind == "content_block_stop" {
                    block.open = false;
                    if block.kind == "thinking" && !block.signed {
                        return Err("thinking block without signature_delta".into());
                    }
                    continue;
                }
                let d = &event["delta"];
                if d["type"] == "citations_delta" {
                    if block.kind != "text" || !is_citation(&d["citation"]) {
                        return Err(format!("{d} in a {} block", block.kind));
                    }
                    continue;
                }
                let (belongs, key) = match d["type"].as_str().unwrap_or_default() {
                    "text_delta" => ("text", "text"),
                    "thinking_delta" => ("thinking", "thinking"),
                    "signature_delta" => ("thinking", "signature"),
                    "input_json_delta" => ("tool_use", "partial_json"),
                    other => return Err(format!("unknown delta {other}")),
                };
                if block.kind != belongs && (block.kind.as_str(), belongs) != ("server_tool_use", "tool_use")
                {
                    return Err(format!("{} in a {} block", d["type"], block.kind));
                }
                let text = d[key].as_str().ok_or(format!("delta without {key}"))?;
                match key {
                    "partial_json" => block.json.push_str(text),
                    "signature" if block.signed => return Err("second signature_delta".into()),
                    "signature" => block.signed = true,
                    "thinking" if block.signed => return Err("thinking after its signature".into()),
                    _ if text.is_empty() => return Err("empty delta".into()),
                    _ => {}
                }
            }
            "message_delta" => {
                if delta {
                    return Err("second message_delta".into());
                }
                if blocks.last().is_some_and(|b| b.open) {
                    return Err("message_delta while a block is open".into());
                }
                delta = true;
                stop_reason = event["delta"]["stop_reason"].as_str().ok_or("no stop_reason")?.into();
                if event["delta"].get("stop_sequence").is_none() {
                    return Err("no stop_sequence".into());
                }
                usage(&event["usage"])?;
            }
            "message_stop" => {
                if !delta {
                    return Err("message_stop without message_delta".into());
                }
                end = Some(End::Complete);
            }
            other => return Err(format!("unknown event {other}")),
        }
    }
    for block in blocks.iter().filter(|b| b.kind.ends_with("tool_use") && !b.open) {
        let whole = serde_json::from_str::<Value>(&block.json).is_ok_and(|v| v.is_object());
        if !whole && stop_reason != "max_tokens" {
            return Err(format!("closed tool block with arguments {:?}", block.json));
        }
    }
    Ok(end.unwrap_or(End::Open))
}

fn is_error(content: &Value, block: &str) -> bool {
    content["type"].as_str() == Some(&format!("{block}_error")) && content["error_code"].is_string()
}

fn is_hit(hit: &Value) -> bool {
    hit["type"] == "web_search_result"
        && ["title", "url", "encrypted_content"].iter().all(|key| hit[key].is_string())
        && (hit["page_age"].is_null() || hit["page_age"].is_string())
}

fn is_citation(citation: &Value) -> bool {
    citation["type"] == "web_search_result_location"
        && ["url", "title", "encrypted_index", "cited_text"].iter().all(|key| citation[key].is_string())
}

fn usage(usage: &Value) -> Result<(), String> {
    for key in ["input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"] {
        usage[key].as_u64().ok_or(format!("usage.{key} is {}", usage[key]))?;
    }
    Ok(())
}
