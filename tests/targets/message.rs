//! A Message, whole or put together from its events.

use serde_json::{Value, json};

/// What a client puts together from the events of a stream that came to its end.
pub fn assemble(events: &[Value]) -> Value {
    let mut message = Value::Null;
    let mut json_text = String::new();
    for event in events {
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                json_text.clear();
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let open = message["content"].as_array_mut().unwrap().last_mut().unwrap();
                let delta = &event["delta"];
                for key in ["text", "thinking", "signature"] {
                    if let Some(more) = delta[key].as_str() {
                        open[key] = format!("{}{more}", open[key].as_str().unwrap()).into();
                    }
                }
                json_text.push_str(delta["partial_json"].as_str().unwrap_or_default());
            }
            "content_block_stop" => {
                let open = message["content"].as_array_mut().unwrap().last_mut().unwrap();
                if open["type"] == "tool_use" {
                    open["input"] = serde_json::from_str(&json_text).unwrap_or(json!("cut"));
                }
            }
            "message_delta" => {
                for (key, value) in event["delta"].as_object().unwrap() {
                    message[key] = value.clone();
                }
                message["usage"] = event["usage"].clone();
            }
            _ => {}
        }
    }
    message
}

/// What clients rely on in a whole Message.
pub fn check(message: &Value) {
    assert_eq!(message["type"], "message");
    assert_eq!(message["role"], "assistant");
    assert!(message["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(message["model"], "m");
    let stop = message["stop_reason"].as_str().unwrap();
    let known = [
        "end_turn",
        "max_tokens",
        "stop_sequence",
        "tool_use",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
    ];
    assert!(known.contains(&stop), "{stop}");
    assert_eq!(message["stop_sequence"].is_string(), stop == "stop_sequence", "{message}");
    for key in ["input_tokens", "output_tokens"] {
        assert!(message["usage"][key].is_u64(), "{message}");
    }
    let mut calls = 0;
    for block in message["content"].as_array().unwrap() {
        match block["type"].as_str().unwrap() {
            "text" => assert!(block["text"].as_str().is_some_and(|t| !t.is_empty()), "{block}"),
            "thinking" => assert!(block["thinking"].is_string() && block["signature"].is_string(), "{block}"),
            "tool_use" => {
                calls += 1;
                assert!(block["id"].as_str().is_some_and(|t| !t.is_empty()), "{block}");
                assert!(block["name"].as_str().is_some_and(|t| !t.is_empty()), "{block}");
                assert!(block["input"].is_object() || stop == "max_tokens", "{block}");
            }
            other => panic!("a block of type {other}"),
        }
    }
    assert!(calls > 0 || stop != "tool_use", "tool_use without a call: {message}");
}

/// Whole and streamed, it is the same answer.
pub fn same(whole: &Value, streamed: &Value) {
    let cut = |m: &Value| m["content"].as_array().unwrap().iter().any(|b| b["input"] == "cut");
    if cut(streamed) {
        return;
    }
    for key in ["id", "content", "stop_reason", "stop_sequence"] {
        assert_eq!(whole[key], streamed[key], "{key}");
    }
    for key in ["input_tokens", "output_tokens", "cache_read_input_tokens"] {
        assert_eq!(whole["usage"][key], streamed["usage"][key], "{key}");
    }
}
