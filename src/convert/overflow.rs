//! A prompt that does not fit: recognised in every upstream's words, told in Anthropic's.
//!
//! Claude Code compacts its history on `prompt is too long`, and asks for fewer tokens on
//! ``input length and `max_tokens` exceed context limit``.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::reply::ReplyContext;

/// Codes that mean overflow whatever the text says. `1261` is GLM's.
const CODES: &[&str] =
    &["context_length_exceeded", "exceed_context_size_error", "ContextWindowExceededError", "1261"];

/// Phrases that mean overflow, in lower case.
const PHRASES: &[&str] = &[
    "context_length_exceeded",
    "exceed_context_size_error",
    "maximum context length",
    "exceeds the available context size",
    "exceeds the context window",
    "context window exceeds limit",
    "greater than the context length",
    "longer than the model's context length",
    "context length is only",
    "exceed context window of",
    "exceeded model token limit",
    "maximum prompt length is",
    "exceeds the maximum number of tokens",
    "prompt exceeds max length",
    "range of input length",
    "prompt is too long",
    "reduce the length of the messages",
    "contextwindowexceedederror",
    "context the overflows",
    "input is too long for requested model",
];

/// Where the size of the context stands in an upstream's message.
const LIMIT: &[&str] = &[
    r"maximum context length (?:is|of) (\d+)",
    r"available context size \((\d+)",
    r"model token limit: (\d+)",
    r"maximum number of tokens allowed \((\d+)",
    r"maximum prompt length is (\d+)",
    r"exceeds the limit of (\d+)",
    r"with (\d+) maximum context length",
    r"input length should be \[\d+, ?(\d+)\]",
    r"maximum context length: (\d+)",
    r"model's context length \((\d+)",
    r"context length is only (\d+)",
    r"context window of (\d+)",
    r"while limit is (\d+)",
];
/// Where the size of the prompt stands.
const PROMPT: &[&str] = &[
    r"resulted in (\d+) tokens",
    r"\((\d+) in the messages",
    r"(\d+) tokens from the input messages",
    r"prompt contains at least (\d+)",
    r"request has (\d+) input tokens",
    r"request \((\d+) tokens\)",
    r"\(requested: (\d+)",
    r"input token count \(?(\d+)",
    r"request contains (\d+) tokens",
    r"prompt token count of (\d+)",
    r"\((\d+) of text input",
    r"prompt contains (\d+) tokens",
    r"prompt is too long: (\d+)",
    r"the input \((\d+) tokens\) is longer",
    r"passed (\d+) input tokens",
    r"requested tokens \((\d+)\) exceed",
];
/// Where the size of the wanted answer stands.
const OUTPUT: &[&str] = &[
    r"(\d+) in the completion",
    r"(\d+) tokens for the completion",
    r"requested (\d+) output tokens",
    r"is too large: (\d+)",
    r"(\d+) in the output",
];
/// Where the sum of both stands.
const TOTAL: &[&str] =
    &[r"requested (?:about )?(\d+) tokens", r"total of (\d+) tokens", r"current length is (\d+)"];

static PATTERNS: LazyLock<[Vec<Regex>; 4]> = LazyLock::new(|| {
    // Patterns that do not compile would be missing: a test of this module looks.
    [LIMIT, PROMPT, OUTPUT, TOTAL]
        .map(|list| list.iter().filter_map(|p| Regex::new(&format!("(?i){p}")).ok()).collect())
});

/// The words on which Claude Code compacts. It cuts by the difference where it has to compact more
/// than once.
pub fn too_long(prompt: u64, window: u64) -> String {
    format!("prompt is too long: {prompt} tokens > {window} maximum")
}

/// The message for the client, if the error is an overflow.
pub(super) fn reword(
    message: &str,
    code: &str,
    body: Option<&Value>,
    context: Option<&ReplyContext>,
) -> Option<String> {
    let lower = message.to_lowercase();
    let prompt_count = lower.contains("prompt token count of") && lower.contains("exceeds the limit of");
    let input_count = lower.contains("input token count") && lower.contains("exceeds the maximum");
    let mistral = lower.contains("too large for model with") && lower.contains("maximum context length");
    if !(CODES.contains(&code)
        || prompt_count
        || input_count
        || mistral
        || PHRASES.iter().any(|p| lower.contains(p)))
    {
        return None;
    }
    // Already in Anthropic's words: an upstream that speaks both protocols.
    if lower.contains("input length and `max_tokens` exceed context limit")
        || Regex::new(r"(?i)^prompt is too long: \d+ tokens > \d+").is_ok_and(|r| r.is_match(message))
    {
        return Some(message.to_owned());
    }
    if let Some((prompt, limit)) = structured(body) {
        return Some(too_long(prompt, limit));
    }
    let [limit, prompt, output, total] = &*PATTERNS;
    let number = |patterns: &[Regex]| {
        patterns.iter().find_map(|p| p.captures(message)?.get(1)?.as_str().parse::<u64>().ok())
    };
    let (limit, prompt, output, total) = (number(limit), number(prompt), number(output), number(total));
    match (limit, prompt.or(total)) {
        (Some(limit), Some(size)) if size > limit && prompt.is_some() => Some(too_long(size, limit)),
        (Some(limit), _) if prompt.is_some_and(|p| p <= limit) && output.is_some() => {
            let (prompt, output) = (prompt.unwrap_or_default(), output.unwrap_or_default());
            Some(format!(
                "input length and `max_tokens` exceed context limit: {prompt} + {output} > {limit}, decrease input length or `max_tokens` and try again"
            ))
        }
        (Some(limit), Some(size)) if size > limit => Some(too_long(size, limit)),
        _ => Some(without_numbers(message, limit, context)),
    }
}

/// llama.cpp says it in fields.
fn structured(body: Option<&Value>) -> Option<(u64, u64)> {
    let error = &body?["error"];
    Some((error["n_prompt_tokens"].as_u64()?, error["n_ctx"].as_u64()?))
}

/// The upstream or the configuration may know the window, and the request its size.
fn without_numbers(message: &str, limit: Option<u64>, context: Option<&ReplyContext>) -> String {
    if let Some((estimate, window)) =
        context.and_then(|c| Some((c.input_estimate, limit.or(c.context_window)?)))
        && estimate > window
    {
        return too_long(estimate, window);
    }
    if message.to_lowercase().starts_with("prompt is too long") {
        return message.to_owned();
    }
    format!("prompt is too long: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_patterns_compile() {
        let counts: Vec<usize> = PATTERNS.iter().map(Vec::len).collect();
        assert_eq!(counts, [LIMIT.len(), PROMPT.len(), OUTPUT.len(), TOTAL.len()]);
    }

    #[test]
    fn every_wording_is_understood() {
        let long = |a: u64, b: u64| format!("prompt is too long: {a} tokens > {b} maximum");
        let budget = |a, b, c| {
            format!(
                "input length and `max_tokens` exceed context limit: {a} + {b} > {c}, decrease input length or `max_tokens` and try again"
            )
        };
        for (message, want) in [
            (
                "This model's maximum context length is 128000 tokens. However, your messages resulted in 130009 tokens.",
                long(130_009, 128_000),
            ),
            (
                "This model's maximum context length is 131072 tokens. However, you requested 140000 tokens (132000 in the messages, 8000 in the completion).",
                long(132_000, 131_072),
            ),
            (
                "This model's maximum context length is 131072 tokens. However, you requested 140000 tokens (130000 in the messages, 10000 in the completion).",
                budget(130_000, 10_000, 131_072),
            ),
            (
                "Requested token count exceeds the model's maximum context length of 32768 tokens. You requested a total of 40000 tokens: 39000 tokens from the input messages and 1000 tokens for the completion.",
                long(39_000, 32_768),
            ),
            (
                "This endpoint's maximum context length is 262144 tokens. However, you requested about 300000 tokens (299000 of text input, 1000 in the output).",
                long(299_000, 262_144),
            ),
            (
                "Invalid request: Your request exceeded model token limit: 131072 (requested: 140000)",
                long(140_000, 131_072),
            ),
            (
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                long(1_200_000, 1_048_576),
            ),
            (
                "This model's maximum prompt length is 131072 but the request contains 150000 tokens",
                long(150_000, 131_072),
            ),
            ("prompt token count of 90000 exceeds the limit of 64000", long(90_000, 64_000)),
            (
                "Prompt contains 50000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
                long(50_000, 32_768),
            ),
            (
                "This model's maximum context length is 8192 tokens. However, you requested 32000 output tokens and your prompt contains at least 200 input tokens, for a total of at least 32200 tokens.",
                budget(200, 32_000, 8192),
            ),
            (
                "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 8192 tokens and your request has 200 input tokens (32000 > 8192 - 200).",
                budget(200, 32_000, 8192),
            ),
            ("The prompt is too long: 140000, model maximum context length: 131071", long(140_000, 131_071)),
            (
                "The input (40000 tokens) is longer than the model's context length (32768 tokens).",
                long(40_000, 32_768),
            ),
            (
                "You passed 200 input tokens and requested 9000 output tokens. However, the model's context length is only 8192 tokens, resulting in a maximum input length of 0 tokens. Please reduce the length of the input prompt.",
                budget(200, 9000, 8192),
            ),
            ("Requested tokens (5000) exceed context window of 4096", long(5000, 4096)),
            ("Prompt exceeds max length", "prompt is too long: Prompt exceeds max length".to_owned()),
            ("Prompt is too long", "Prompt is too long".to_owned()),
        ] {
            assert_eq!(reword(message, "", None, None), Some(want), "{message}");
        }
        assert_eq!(
            reword(
                "max_tokens: 32000 > 8192, which is the maximum allowed number of output tokens",
                "",
                None,
                None
            ),
            None
        );
        assert_eq!(reword("Invalid schema", "invalid_request_error", None, None), None);
    }

    #[test]
    fn what_the_upstream_leaves_out_is_known_here() {
        let body = br#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"q"}]}"#;
        let request = crate::wire::anthropic::Request::parse(body).unwrap();
        let profile = super::super::Profile::named("generic").unwrap();
        let spec = super::super::ModelSpec { context_window: Some(100_000), ..Default::default() };
        let mut context = super::super::request(&request, profile, &spec).unwrap().reply;
        context.input_estimate = 120_000;
        let told = |message| reword(message, "1261", None, Some(&context)).unwrap();
        assert_eq!(told("Prompt exceeds max length"), too_long(120_000, 100_000));
        assert_eq!(told("Range of input length should be [1, 98304]"), too_long(120_000, 98_304));
        // The estimate says that it fits: it is wrong, and not repeated.
        let larger = "Range of input length should be [1, 129024]";
        assert_eq!(told(larger), format!("prompt is too long: {larger}"));
    }
}
