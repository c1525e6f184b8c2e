//! What a captured exchange consists of: one folder, these files.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// [`Meta`] as JSON; written last, so that a folder without it is one that was cut off.
pub const META: &str = "meta.json";
/// The client's request, byte for byte.
pub const CLIENT_REQUEST: &str = "client-request.json";
/// The request that went upstream.
pub const UPSTREAM_REQUEST: &str = "upstream-request.json";
/// The body of the upstream's answer as it came. The rest of the name is `.sse`, `.json` or
/// `.txt`, by its first bytes.
pub const UPSTREAM_RESPONSE: &str = "upstream-response";
/// When that body's pieces came: a line of JSON for each, `{"ms": 12.3, "bytes": 456}`. The
/// time counts from the moment the request was sent; the bytes are those in the file.
pub const UPSTREAM_TIMES: &str = "upstream-times.jsonl";
/// The body of the answer that the client got; ends in `.sse` or `.json`.
pub const CLIENT_RESPONSE: &str = "client-response";

/// The number in [`Meta::format`] that this version writes and reads.
pub const FORMAT: u32 = 1;

/// Everything about an exchange that is not a body. Holds no key and no header.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// Version of this form of folder.
    pub format: u32,
    /// Version of claude-proxy that wrote it.
    pub version: String,
    /// Our `request-id`.
    pub request_id: String,
    /// When the request came in, RFC 3339, UTC.
    pub began: String,
    /// From then until the exchange was over.
    pub duration_ms: f64,
    /// The model as the client named it.
    pub model: String,
    /// The id of the configuration that this led to; none: the request never got that far.
    pub model_id: Option<String>,
    /// Name of the provider that was asked.
    pub provider: String,
    /// Where the request went, without query.
    pub url: String,
    /// The protocol of the upstream, as in the configuration; empty: `openai`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api: String,
    /// With `anthropic`: what only claude-proxy writes into a history was sent as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub history_kept: bool,
    /// Name of the provider's profile.
    pub profile: String,
    /// What the configuration says of the model.
    pub spec: Spec,
    /// Source of the ids in the answer.
    pub seed: u64,
    /// The client asked for a stream.
    pub stream: bool,
    /// The answer of the upstream; none: there was none, or nobody asked it.
    pub upstream: Option<Upstream>,
    /// HTTP status that the client got; 0: it left before.
    pub status: u16,
    /// How it ended, as in the log: `done`, `refused`, `failed`, `client_gone`, `panicked`.
    pub outcome: String,
    /// Requests sent upstream for it, all told. What is said of the upstream here, and in the
    /// files, is about the last one.
    #[serde(default)]
    pub attempts: u32,
    /// More than one: rounds in which the proxy carried out web tools for the model. What is said
    /// of the upstream is about the last one; the client's answer is all of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rounds: u32,
    /// Images or documents of the client's request were replaced before it was converted, by what
    /// is only in the upstream's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adapted: bool,
    /// Nobody answered, and the client got the error of an earlier attempt than the last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub earlier_error: bool,
    /// What went wrong, in the words of the answer; empty: nothing.
    pub error: String,
    /// What was lost, as in `x-claude-proxy-warnings`.
    pub warnings: String,
    /// Bytes of the bodies that are not in the files, because the disk was too slow.
    pub missing_bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// The settings of the model, as the conversion used them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the keys of config.json")]
pub struct Spec {
    pub remote_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<bool>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra_body: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop_params: Vec<String>,
    /// `web_search` is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub web_search: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub web_fetch: bool,
}

/// The head of an upstream's answer, and how its body ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Upstream {
    /// HTTP status.
    pub status: u16,
    /// `content-type`, lower case, without parameters.
    pub content_type: String,
    /// `retry-after`, if it was sent.
    pub retry_after: Option<String>,
    /// The body came to its end. False: we stopped reading, or it broke.
    pub complete: bool,
}
