//! What a prompt leaves of the model's window for the answer.
//!
//! A model cannot write beyond its window, whatever `max_tokens` says; many servers refuse a request
//! whose prompt and `max_tokens` together are larger (vLLM, SGLang, DeepSeek). With the window
//! configured, such a request asks for what fits instead, and costs no refusal.

use crate::wire::json::write_u64;

/// `max_tokens` in the request that is being written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// The number as it is written.
    pub(super) tokens: u64,
    /// Where its digits end; none: the configuration drops or replaces the field.
    pub(super) end: Option<usize>,
}

impl Asked {
    /// Writes a smaller number in its place, if `prompt` tokens leave no room for it; tells which.
    pub(super) fn fit(self, prompt: u64, window: u64, body: &mut Vec<u8>) -> Option<u64> {
        let room = room(prompt, window);
        let end = self.end.filter(|_| room < self.tokens)?;
        let mut digits = Vec::new();
        write_u64(self.tokens, &mut digits);
        let start = end.checked_sub(digits.len()).filter(|start| body.get(*start..end) == Some(&*digits))?;
        digits.clear();
        write_u64(room, &mut digits);
        body.splice(start..end, digits);
        Some(room)
    }
}

/// The prompt is an estimate, so a sixteenth more is left to it. Never less than a sixteenth of the
/// window: where even that does not fit, the upstream says so, with the size of the prompt.
fn room(prompt: u64, window: u64) -> u64 {
    window.saturating_sub(prompt.saturating_add(prompt / 16)).max(window / 16).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::{ModelSpec, Profile, request};
    use crate::wire::anthropic::Request;

    fn asked(
        window: Option<u64>,
        spec: ModelSpec,
        max_tokens: u64,
        prompt: &str,
    ) -> (String, Vec<String>, u64) {
        let body = format!(
            r#"{{"model":"m","max_tokens":{max_tokens},"messages":[{{"role":"user","content":"{prompt}"}}]}}"#
        );
        let spec = ModelSpec { context_window: window, ..spec };
        let profile = Profile::named("generic").unwrap();
        let converted = request(&Request::parse(body.as_bytes()).unwrap(), profile, &spec).unwrap();
        let sent: serde_json::Value = serde_json::from_slice(&converted.body).unwrap();
        let losses = converted.losses.tokens().into_iter().map(str::to_owned).collect();
        (sent["max_tokens"].to_string(), losses, converted.reply.max_tokens)
    }

    #[test]
    fn an_answer_gets_what_the_prompt_leaves() {
        let prompt = "words ".repeat(4000); // 6,000 tokens as they are estimated
        let plain = ModelSpec::default;
        for (window, max_tokens, want) in [
            (None, 32_000, 32_000),
            (Some(200_000), 32_000, 32_000),
            (Some(16_384), 4096, 4096),
            // What the JSON around it adds is counted too.
            (Some(16_384), 32_000, 16_384 - 6018 - 376),
            (Some(6144), 32_000, 384),
            (Some(8), 32_000, 1),
        ] {
            let (sent, losses, known) = asked(window, plain(), max_tokens, &prompt);
            assert_eq!((sent, known), (want.to_string(), want), "{window:?}");
            assert_eq!(losses.contains(&"degraded:max_tokens".to_owned()), want < max_tokens);
        }
    }

    #[test]
    fn the_configuration_has_the_last_word() {
        let prompt = "words ".repeat(4000);
        let extra = serde_json::json!({"max_tokens": 31_000}).as_object().unwrap().clone();
        let spec = ModelSpec { extra_body: extra, ..ModelSpec::default() };
        assert_eq!(asked(Some(8192), spec, 32_000, &prompt).0, "31000");
        let spec = ModelSpec { drop_params: vec!["max_tokens".to_owned()], ..ModelSpec::default() };
        assert_eq!(asked(Some(8192), spec, 32_000, &prompt).0, "null");
        let spec = ModelSpec { max_output_tokens: Some(1000), ..ModelSpec::default() };
        assert_eq!(asked(Some(8192), spec, 32_000, &prompt).0, "1000");
    }
}
