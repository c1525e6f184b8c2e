//! Which fields a converted request can have at its top.

use super::Profile;
use super::profile::{ReasoningRequest, ToolChoiceSupport};

impl Profile {
    /// Whether a request to such an upstream can have a top-level field of this name, apart from
    /// what `extra_body` adds.
    pub fn may_send(&self, field: &str) -> bool {
        match field {
            "model" | "messages" | "stream" | "tools" | "response_format" => true,
            "max_tokens" | "max_completion_tokens" => self.max_tokens_field.as_str() == field,
            "stream_options" => self.stream_usage,
            "temperature" | "top_p" => self.sampling,
            "top_k" => self.top_k,
            "stop" => self.stop_max > 0,
            "tool_choice" => self.tool_choice != ToolChoiceSupport::Drop,
            "parallel_tool_calls" => self.parallel_flag,
            "cache_control" => self.cache_control,
            "continue_final_message" | "add_generation_prompt" => self.family == "vllm",
            _ => self.extra.contains_key(field) || self.asks_with(field),
        }
    }

    /// Whether the field is one that asks for reasoning.
    fn asks_with(&self, field: &str) -> bool {
        let fields: &[&str] = match self.reasoning_request {
            ReasoningRequest::None => &[],
            ReasoningRequest::Effort => &["reasoning_effort"],
            ReasoningRequest::Openrouter => &["reasoning"],
            ReasoningRequest::Deepseek => &["thinking", "reasoning_effort"],
            ReasoningRequest::Thinking | ReasoningRequest::Kimi | ReasoningRequest::Minimax => &["thinking"],
            ReasoningRequest::Qwen => &["enable_thinking", "thinking_budget"],
            ReasoningRequest::Template => &["chat_template_kwargs"],
        };
        fields.contains(&field)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{ModelSpec, Profile, request};
    use crate::wire::anthropic::request::Request;

    /// Requests that between them have everything that becomes a field of its own.
    const REQUESTS: &[&str] = &[
        r#"{"model": "m", "max_tokens": 5000, "stream": true, "temperature": 0.5, "top_p": 0.9, "top_k": 4,
            "stop_sequences": ["x"], "messages": [{"role": "user", "content": "hi"}],
            "cache_control": {"type": "ephemeral"},
            "tools": [{"name": "t", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
            "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
            "thinking": {"type": "enabled", "budget_tokens": 2000}}"#,
        r#"{"model": "m", "max_tokens": 5, "thinking": {"type": "disabled"}, "tool_choice": {"type": "any"},
            "tools": [{"name": "t", "input_schema": {"type": "object"}}],
            "messages": [{"role": "user", "content": "hi"}]}"#,
        r#"{"model": "m", "max_tokens": 5,
            "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well"}]}"#,
    ];

    #[test]
    fn what_is_sent_was_foretold() {
        let mut never: BTreeSet<&str> = BTreeSet::new();
        for profile in Profile::all() {
            let mut sent = BTreeSet::new();
            for text in REQUESTS {
                let parsed = Request::parse(text.as_bytes()).unwrap();
                let body = request(&parsed, profile, &ModelSpec::default()).unwrap().body;
                let body: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&body).unwrap();
                sent.extend(body.into_iter().map(|(key, _)| key));
            }
            for field in &sent {
                assert!(profile.may_send(field), "{}: {field}", profile.name);
            }
            for field in ["top_k", "stop", "stream_options", "tool_choice", "parallel_tool_calls", "thinking"]
            {
                assert_eq!(profile.may_send(field), sent.contains(field), "{}: {field}", profile.name);
            }
            never.extend(["n", "logprobs", "temprature"].iter().filter(|f| profile.may_send(f)));
        }
        assert!(never.is_empty(), "{never:?}");
    }
}
