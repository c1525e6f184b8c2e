//! A request that has ended.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::observe::Record;
use crate::observe::cost::Amount;
use crate::observe::log::clip;

/// Longest error or list of warnings that is remembered, in characters.
const WORDS: usize = 1000;

/// A request that has ended, in few and bounded words.
#[derive(Debug, Clone, Serialize)]
pub struct Ended {
    /// Which one it is, counted from 1 in the order in which they end.
    pub number: u64,
    /// Its number while it ran; none: it was refused before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Our `request-id`.
    pub request_id: String,
    /// The model as the client named it.
    pub model: String,
    /// Who was asked last.
    pub provider: String,
    /// The model as the provider names it.
    pub remote: String,
    /// A stream was asked for.
    pub stream: bool,
    /// HTTP status; 0: no answer was sent.
    pub status: u16,
    /// How it ended, as in the log.
    pub outcome: &'static str,
    /// When its head was read, in milliseconds since 1970.
    pub began: u64,
    /// Until the first byte of the answer was ready, in milliseconds.
    pub first_byte: Option<u64>,
    /// Until its end, in milliseconds.
    pub total: u64,
    /// `usage.input_tokens`.
    pub input: u64,
    /// `usage.output_tokens`.
    pub output: u64,
    /// `usage.cache_read_input_tokens`.
    pub cached: u64,
    /// `stop_reason`.
    pub stop_reason: &'static str,
    /// Requests sent upstream.
    pub attempts: u32,
    /// Second attempts at one model with one key.
    pub retries: u32,
    /// How often another key was taken.
    pub rotations: u32,
    /// How often another model was taken.
    pub fallbacks: u32,
    /// Bytes of its body.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// The name of the inbound key; none: none is asked for.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "name")]
    pub key: Option<Arc<str>>,
    /// What it cost, in the currency of the prices; none: no price is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Tokens, as in `x-claude-proxy-warnings`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub warnings: String,
    /// What went wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The beginning of the last thing that the user wrote; empty unless content is kept.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub question: String,
    /// The beginning of the answer's text; empty unless content is kept.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub answer: String,
}

impl Ended {
    pub(super) fn without_texts(&self) -> Self {
        Self { question: String::new(), answer: String::new(), ..self.clone() }
    }

    pub(super) fn new(
        record: &Record,
        id: Option<u64>,
        began: u64,
        question: String,
        answer: String,
    ) -> Self {
        let ms = |d: std::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        Self {
            number: 0,
            id,
            request_id: record.request_id.clone(),
            model: record.model.clone(),
            provider: record.provider.clone(),
            remote: record.remote.clone(),
            stream: record.stream,
            status: record.status,
            outcome: record.outcome.as_str(),
            began,
            first_byte: record.first_byte.map(ms),
            total: ms(record.began.elapsed()),
            input: record.input_tokens,
            output: record.output_tokens,
            cached: record.cached_tokens,
            stop_reason: record.stop_reason,
            attempts: record.attempts,
            retries: record.retries,
            rotations: record.rotations,
            fallbacks: record.fallbacks,
            received: record.received,
            sent: record.sent,
            key: record.key.clone(),
            cost: record.cost().map(Amount::as_f64),
            warnings: clip(record.warnings.as_bytes(), WORDS).into_owned(),
            error: clip(record.error.as_bytes(), WORDS).into_owned(),
            question,
            answer,
        }
    }
}

#[expect(clippy::ref_option, reason = "serde passes it so")]
fn name<S: Serializer>(name: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    name.as_deref().serialize(serializer)
}
