//! What the conversion of an answer has to know of its request.

use std::sync::Arc;

use super::Profile;
use super::hold::Holds;
use super::recorded::Resumed;
use super::web::{Served, Source};

/// Whether the client gets to see reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkingMode {
    /// Thinking was not asked for: reasoning is discarded.
    Off,
    /// Thinking blocks with text.
    Show,
    /// `display: "omitted"`: thinking blocks without text; it travels in the signature.
    Omit,
}

/// Token counts in Anthropic's terms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens that were neither read from nor written to the cache.
    pub input_tokens: u64,
    /// Generated tokens, thinking included.
    pub output_tokens: u64,
    /// Prompt tokens written to the cache.
    pub cache_creation_input_tokens: u64,
    /// Prompt tokens read from the cache.
    pub cache_read_input_tokens: u64,
    /// Thinking's share of the output; 0: not told.
    pub thinking_tokens: u64,
    /// Web searches that the proxy carried out.
    pub web_search_requests: u64,
    /// Pages that it fetched.
    pub web_fetch_requests: u64,
}

impl Usage {
    /// With what an earlier round of the same exchange took.
    pub(super) fn and(self, earlier: &Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(earlier.input_tokens),
            output_tokens: self.output_tokens.saturating_add(earlier.output_tokens),
            cache_creation_input_tokens: self
                .cache_creation_input_tokens
                .saturating_add(earlier.cache_creation_input_tokens),
            cache_read_input_tokens: self
                .cache_read_input_tokens
                .saturating_add(earlier.cache_read_input_tokens),
            thinking_tokens: self.thinking_tokens.saturating_add(earlier.thinking_tokens),
            web_search_requests: self.web_search_requests + earlier.web_search_requests,
            web_fetch_requests: self.web_fetch_requests + earlier.web_fetch_requests,
        }
    }
}

/// What the conversion of an answer has to know of its request. Small: it lives as long as the stream.
#[derive(Debug, Clone)]
pub struct ReplyContext {
    /// The model's name as the client wrote it; echoed in the answer.
    pub model: String,
    /// The upstream's profile.
    pub profile: &'static Profile,
    /// The upstream's name, for errors about its key; the caller sets it.
    pub provider: String,
    /// Whether the client gets to see reasoning.
    pub thinking: ThinkingMode,
    /// Stop sequences of the request, to recognise the one that an upstream names.
    pub stop_sequences: Vec<String>,
    /// Tool names that had to be changed: (sent upstream, the client's own).
    pub tool_names: Vec<(String, String)>,
    /// Hashes of the tool_use ids in the request's history, sorted.
    pub history_ids: Vec<u64>,
    /// The request has `safeguards`: the answer carries `safeguard_results`.
    pub safeguards: bool,
    /// The web tools that are carried out, and their names upstream.
    pub served: Served,
    /// What web searches have found so far: what the answer can cite.
    pub sources: Vec<Source>,
    /// What the end of the answer waits for; the caller sets it.
    pub holds: Holds,
    /// An earlier round of the same exchange, whose message this answer goes on with.
    pub resumed: Option<Arc<Resumed>>,
    /// Estimate of the prompt in tokens; at least 1.
    pub input_estimate: u64,
    /// `max_tokens` as it was sent upstream, for errors about it; 0: not known.
    pub max_tokens: u64,
    /// The model's context window, for overflow errors without numbers.
    pub context_window: Option<u64>,
    /// Source of ids. Two exchanges must not have the same; set it from a random source.
    pub seed: u64,
    /// The answer is recorded as content blocks: see [`super::Recorded`].
    pub record: bool,
    /// How many characters of the answer's text [`super::Summary::preview`] keeps.
    pub preview_chars: usize,
}
