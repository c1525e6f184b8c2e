//! A `max_tokens` beyond what the model may write: recognised in the upstreams' words, told in
//! Anthropic's, with the upstream's words behind them.
//!
//! Claude Code asks for 32000 tokens of any model that it does not know, and asks for fewer only
//! on `max_tokens: A > B, which is the maximum allowed number of output tokens for M`.

use std::sync::LazyLock;

use regex::Regex;

use super::reply::ReplyContext;

/// Where an upstream's message names the most that the model may write. OpenAI and Azure; OpenAI's
/// checks of parameters, which Volcano Engine has too; DeepSeek; DashScope; Groq.
const LIMIT: &[&str] = &[
    r"max_(?:completion_)?tokens is too large: \d+\. this model supports at most (\d+) completion tokens",
    r"max_(?:completion_|output_)?tokens\b.* above maximum value.* a value <= (\d+)",
    r"valid range of max_(?:completion_)?tokens is \[\d+, ?(\d+)\]",
    r"range of max_(?:completion_)?tokens should be \[\d+, ?(\d+)\]",
    r"max_(?:completion_)?tokens\b.* must be less than or equal to `?(\d+)",
];

static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    // Patterns that do not compile would be missing: a test of this module looks.
    LIMIT.iter().filter_map(|p| Regex::new(&format!("(?is){p}")).ok()).collect()
});

/// The message for the client, if the upstream refuses the size of the wanted answer.
pub(super) fn reword(message: &str, context: Option<&ReplyContext>) -> Option<String> {
    let context = context?;
    let limit: u64 = PATTERNS.iter().find_map(|p| p.captures(message)?.get(1)?.as_str().parse().ok())?;
    let (asked, model) = (context.max_tokens, &context.model);
    // One line: clients match the whole of it.
    let words = message.split_whitespace().collect::<Vec<_>>().join(" ");
    (asked > limit).then(|| {
        format!(
            "max_tokens: {asked} > {limit}, which is the maximum allowed number of output tokens for {model} (the upstream says: {words})"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::{ModelSpec, Profile, request};
    use super::*;
    use crate::wire::anthropic::Request;

    fn context() -> ReplyContext {
        let body = br#"{"model":"m","max_tokens":32000,"messages":[{"role":"user","content":"q"}]}"#;
        let profile = Profile::named("generic").unwrap();
        request(&Request::parse(body).unwrap(), profile, &ModelSpec::default()).unwrap().reply
    }

    #[test]
    fn all_patterns_compile() {
        assert_eq!(PATTERNS.len(), LIMIT.len());
    }

    #[test]
    fn every_wording_is_understood() {
        for (message, limit) in [
            (
                "max_tokens is too large: 32000. This model supports at most 16384 completion tokens, whereas you provided 32000.",
                16384,
            ),
            (
                "Invalid 'max_tokens': integer above maximum value. Expected a value <= 16384, but got 32000 instead.",
                16384,
            ),
            (
                "The parameter `max_completion_tokens` specified in the request are not valid: integer above maximum value, expected a value <= 12288, but got 32000 instead.",
                12288,
            ),
            ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 8192),
            ("<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]", 8192),
            (
                "`max_completion_tokens` must be less than or equal to `40960`,\nthe maximum value for `max_completion_tokens` is less than the `context_window` for this model",
                0,
            ),
            ("max_tokens for `llama-3.1-8b-instant` must be less than or equal to 8000", 8000),
        ] {
            let told = reword(message, Some(&context()));
            // A limit above what was asked for is no reason to ask for less.
            let start = (limit > 0).then(|| {
                format!(
                    "max_tokens: 32000 > {limit}, which is the maximum allowed number of output tokens for m (the upstream says: {message})"
                )
            });
            assert_eq!(told, start, "{message}");
        }
    }

    #[test]
    fn other_words_stay() {
        for message in [
            "max_tokens must be at least 1",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "temperature must be less than or equal to 2",
            "max_tokens: 32000 > 8192, which is the maximum allowed number of output tokens for m",
        ] {
            assert_eq!(reword(message, Some(&context())), None, "{message}");
        }
        assert_eq!(reword("the valid range of max_tokens is [1, 8192]", None), None);
    }

    #[test]
    fn several_lines_become_one() {
        let told = reword(
            "Invalid max_tokens value,\n the valid range of max_tokens is [1, 8192]",
            Some(&context()),
        );
        assert!(told.is_some_and(|t| !t.contains('\n')));
    }
}
