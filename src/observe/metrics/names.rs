//! The names of all metrics: what docs/metrics.md and dashboards rely on.
//!
//! A label's values are bounded by the configuration or by this program: what clients or
//! upstreams write never becomes one.

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// As in `# TYPE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// A counter's without its `_total`.
    pub base: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// Its labels, in order.
    pub labels: &'static [&'static str],
    /// What it counts, without a dot at its end.
    pub help: &'static str,
}

impl Name {
    /// As it is exposed; a histogram's series have `_bucket`, `_sum` and `_count` behind it.
    pub fn exposed(&self) -> String {
        let suffix = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{suffix}", self.base)
    }
}

macro_rules! names {
    ($($constant:ident: $kind:ident $base:literal $labels:expr, $help:literal;)*) => {
        $(#[doc = $help]
        pub const $constant: Name =
            Name { base: concat!("claude_proxy_", $base), kind: Kind::$kind, labels: &$labels, help: $help };)*

        /// Every metric, in the order of the exposition.
        pub const ALL: &[Name] = &[$($constant),*];
    };
}

names! {
    REQUESTS: Counter "requests" ["model", "provider", "status", "outcome", "stop_reason"],
        "Requests to /v1/messages that have ended, by the model that answered or was asked last";
    REQUESTS_IN_FLIGHT: Gauge "requests_in_flight" [],
        "Requests that hold a place of max_concurrent_requests, count_tokens included";
    REQUESTS_LIMIT: Gauge "requests_limit" [],
        "Most requests that may be in flight: max_concurrent_requests";
    STREAMS_IN_FLIGHT: Gauge "streams_in_flight" ["model", "provider"],
        "Streamed answers that have begun and have not ended";
    FIRST_BYTE: Histogram "first_byte_seconds" ["model", "provider"],
        "From the request's head until the first byte of its answer was ready";
    FIRST_TOKEN: Histogram "first_token_seconds" ["model", "provider"],
        "From the request's head until the first content of a streamed answer was ready";
    DURATION: Histogram "request_duration_seconds" ["model", "provider", "outcome"],
        "From the request's head until its answer was passed on whole, or its end";
    OWN: Histogram "own_seconds" ["model", "provider", "part"],
        "Time that the proxy itself took of a request, without waiting for upstream or client";
    TOKENS: Counter "tokens" ["model", "provider", "kind"],
        "Tokens as the upstream counted them; input is without what was read from its cache";
    COST: Counter "cost" ["model", "provider"],
        "What answers cost by the prices of the configuration, in its currency; the proxy's own questions included";
    KEY_COST: Counter "key_cost" ["key"],
        "The same by the client's key";
    KEY_REQUESTS: Counter "key_requests" ["key"],
        "Requests to /v1/messages that have ended, by the client's key";
    BUDGET_REFUSALS: Counter "budget_refusals" ["key"],
        "Requests that were refused since the key's budget for the day was used up";
    REQUEST_BYTES: Counter "request_body_bytes" ["model", "provider"],
        "Bytes of request bodies from clients";
    RESPONSE_BYTES: Counter "response_body_bytes" ["model", "provider"],
        "Bytes of answers to clients, events and errors included, without HTTP's framing";
    LOSSES: Counter "conversion_losses" ["loss"],
        "Requests of which something could not be carried over, as in x-claude-proxy-warnings";
    ATTEMPTS: Counter "upstream_attempts" ["provider", "result"],
        "Requests to upstreams, each attempt, by what came back";
    FAULTS: Counter "upstream_faults" ["provider", "stage"],
        "Answers that upstreams failed to give, by how far the exchange had come";
    RETRIES: Counter "retries" ["model", "provider"],
        "Second attempts at the same model with the same key";
    ROTATIONS: Counter "key_rotations" ["model", "provider"],
        "Attempts with another key, since one was refused";
    FALLBACKS: Counter "fallbacks" ["model", "provider"],
        "Requests that this model passed on to its fallback";
    SIDE_REQUESTS: Counter "side_requests" ["purpose", "outcome"],
        "Questions of the proxy's own to a model (safeguards_model, vision_model), by how they ended";
    SIDE_TOKENS: Counter "side_tokens" ["purpose", "kind"],
        "Tokens of those questions, which are in no other count";
    VERDICTS: Counter "verdicts" ["verdict"],
        "Tool calls that safeguards_model was to judge, by what was found";
    WEB_REQUESTS: Counter "web_requests" ["tool", "outcome"],
        "Calls of web_search and web_fetch that models made and the proxy carried out";
    THREAD_TURNS: Counter "thread_turns" ["turn"],
        "Turns of conversations that the proxy keeps (threads), by what became of them";
    RESTING: Gauge "upstream_resting" ["provider"],
        "1 while a provider rests after faults in a row, else 0";
    RESTS: Counter "upstream_rests" ["provider", "scope"],
        "Rests that began: of a provider that kept failing, or of a key that was refused";
    HTTP_RESPONSES: Counter "http_responses" ["endpoint", "status"],
        "Answers of every endpoint, refused requests included";
    PANICS: Counter "panics" [],
        "Panics: each cost one request, and is a bug worth a report";
    RELOADS: Counter "config_reloads" ["result"],
        "Configurations that were read again";
    GENERATION: Gauge "config_generation" [],
        "The number of the configuration that counts: 1 at the start, one more for each reload";
    BUILD: Gauge "build_info" ["version"],
        "Always 1; the version is in its label";
}

/// `status` of a request that got no answer, since its client had left.
pub const NO_STATUS: &str = "none";
/// `model` and `provider` of a request that was not routed: its model is unknown, its body
/// cannot be read, or there was no place for it.
pub const UNKNOWN: &str = "unknown";
/// `stop_reason` of [`REQUESTS`]: as the API has it, `other` what is newer, and for a request that
/// came to none [`NO_STOP_REASON`].
pub const STOP_REASONS: [&str; 10] = [
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
    "compaction",
    "other",
    NO_STOP_REASON,
];
/// The ends of requests that are there for each model from the start, at 0: what grows from 0 to 1
/// shows in a rate, and what begins at 1 does not. Status, outcome, stop reason.
pub(super) const USUAL: [(u16, &str, &str); 8] = [
    (200, "done", "end_turn"),
    (200, "done", "max_tokens"),
    (200, "done", "tool_use"),
    (200, "failed", NO_STOP_REASON),
    (200, "client_gone", NO_STOP_REASON),
    (0, "client_gone", NO_STOP_REASON),
    (429, "refused", NO_STOP_REASON),
    (502, "refused", NO_STOP_REASON),
];
/// The request came to no end that has a reason.
pub const NO_STOP_REASON: &str = "none";
/// `part` of [`OWN`].
pub const OWN_PARTS: [&str; 2] = ["request", "answer"];
/// `scope` of [`RESTS`].
pub const REST_SCOPES: [&str; 2] = ["provider", "key"];
/// `outcome` of [`REQUESTS`] and [`DURATION`].
pub const OUTCOMES: [&str; 5] = ["done", "refused", "failed", "client_gone", "panicked"];
/// `purpose` of [`SIDE_REQUESTS`] and [`SIDE_TOKENS`].
pub const PURPOSES: [&str; 2] = ["safeguards", "vision"];
/// `verdict` of [`VERDICTS`].
pub const VERDICT_KINDS: [&str; 3] = ["not_flagged", "flagged", "unavailable"];
/// `turn` of [`THREAD_TURNS`].
pub const TURNS: [&str; 3] = ["kept", "failed", "not_found"];
/// `tool` of [`WEB_REQUESTS`].
pub const WEB_TOOLS: [&str; 2] = ["web_search", "web_fetch"];
/// `outcome` of [`WEB_REQUESTS`] where nothing went wrong; else it is the error's code.
pub const WEB_OK: &str = "ok";
/// `kind` of [`TOKENS`] and [`SIDE_TOKENS`].
pub const TOKEN_KINDS: [&str; 3] = ["input", "output", "cache_read"];
/// `result` of [`ATTEMPTS`].
pub const RESULTS: [&str; 6] = ["ok", "http_4xx", "http_429", "http_5xx", "fault", "cancelled"];
/// `stage` of [`FAULTS`].
pub const STAGES: [&str; 4] = ["connect", "send", "head", "body"];
/// `result` of [`RELOADS`].
pub const RELOAD_RESULTS: [&str; 2] = ["ok", "refused"];
/// `endpoint` of [`HTTP_RESPONSES`].
pub const ENDPOINTS: [&str; 8] =
    ["messages", "count_tokens", "models", "health", "ready", "metrics", "dashboard", "other"];

/// `loss` of [`LOSSES`]: the tokens of the warnings header, those that end in a name from outside
/// without it.
pub const LOSS_TOKENS: [&str; 36] = [
    "degraded:document_pdf",
    "degraded:image",
    "degraded:invalid_utf8",
    "degraded:max_tokens",
    "degraded:prefill",
    "degraded:reasoning_effort",
    "degraded:thinking",
    "degraded:tool_choice",
    "dropped:container",
    "dropped:context_management",
    "dropped:disable_parallel_tool_use",
    "dropped:document_file",
    "dropped:document_pdf",
    "dropped:document_url",
    "dropped:effort",
    "dropped:empty_message",
    "dropped:fallbacks",
    "dropped:foreign_thinking",
    "dropped:image",
    "dropped:image_file",
    "dropped:input_examples",
    "dropped:mcp_servers",
    "dropped:redacted_thinking",
    "dropped:stop_sequences",
    "dropped:strict",
    "dropped:temperature",
    "dropped:thinking",
    "dropped:tools",
    "dropped:top_k",
    "dropped:top_p",
    "dropped:unnamed_tool_call",
    "dropped_block",
    "dropped_tool",
    "orphan_tool_result",
    "synthesized_tool_result",
    OTHER_LOSS,
];
/// The label of a token that is not among [`LOSS_TOKENS`].
pub const OTHER_LOSS: &str = "other";

/// The place of a stop reason in [`STOP_REASONS`].
pub(super) fn stop_reason(reason: &str) -> usize {
    let at = |name: &str| STOP_REASONS.iter().position(|r| *r == name);
    at(if reason.is_empty() { NO_STOP_REASON } else { reason }).unwrap_or(STOP_REASONS.len() - 2)
}

/// The place of a token in [`LOSS_TOKENS`].
pub(super) fn loss(token: &str) -> usize {
    let at = |name: &str| LOSS_TOKENS.iter().position(|t| *t == name);
    let head = token.split(':').next().unwrap_or_default();
    at(token).or_else(|| at(head)).unwrap_or(LOSS_TOKENS.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_from_outside_are_no_labels() {
        for (token, want) in [
            ("dropped:top_k", "dropped:top_k"),
            ("dropped_block:whatever_a_client_says", "dropped_block"),
            ("dropped_tool:web_search_20250305", "dropped_tool"),
            ("orphan_tool_result", "orphan_tool_result"),
            ("dropped:nobody_knows", "other"),
            ("", "other"),
        ] {
            assert_eq!(LOSS_TOKENS[loss(token)], want, "{token}");
        }
    }

    #[test]
    fn a_stop_reason_is_one_of_those_that_are_known() {
        for (reason, want) in
            [("end_turn", "end_turn"), ("tool_use", "tool_use"), ("new_in_2030", "other"), ("", "none")]
        {
            assert_eq!(STOP_REASONS[stop_reason(reason)], want, "{reason}");
        }
    }

    #[test]
    fn every_token_of_the_conversion_has_its_place() {
        fn walk(dir: &std::path::Path, tokens: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, tokens);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    let source = std::fs::read_to_string(path).unwrap();
                    let source = source.split("#[cfg(test)]").next().unwrap();
                    let strings = source.split('"').skip(1).step_by(2);
                    let is = |s: &&str| {
                        ["dropped", "degraded"]
                            .iter()
                            .any(|p| s.strip_prefix(p).is_some_and(|r| r.starts_with([':', '_'])))
                    };
                    tokens.extend(strings.filter(is).filter(|s| !s.ends_with("{name}")).map(str::to_owned));
                }
            }
        }
        let mut tokens = Vec::new();
        walk(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/convert"), &mut tokens);
        assert!(tokens.len() > 20, "{tokens:?}");
        let missing: Vec<_> = tokens.iter().filter(|t| LOSS_TOKENS[loss(t)] == OTHER_LOSS).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
