//! The span of a request of a client's, or of a question of our own.
//!
//! Source of names: OpenTelemetry semantic conventions, "HTTP spans" and "Generative AI spans" (the
//! latter still in development).

use std::time::SystemTime;

use opentelemetry::trace::{Event, SpanKind};
use opentelemetry::{Array, KeyValue, StringValue, Value};

use super::{Ended, Traces};
use crate::observe::{Outcome, Record};

/// Of a request's span.
pub(super) const NAME: &str = "POST /v1/messages";

/// Ends the span of a request, if its trace is sampled.
pub(in crate::observe) fn request(record: &Record) {
    let Some(trace) = &record.trace else { return };
    let Some(traces) = Traces::of(trace) else { return };
    let began = SystemTime::now().checked_sub(record.began.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
    let first_byte = record.first_byte.and_then(|after| began.checked_add(after));
    let events = first_byte.map(|at| Event::new("first_byte", at, Vec::new(), 0));
    let (kind, name) = match &record.side {
        None => (SpanKind::Server, NAME.into()),
        Some(side) => (SpanKind::Internal, format!("side request {}", side.purpose.as_str()).into()),
    };
    let error = error(record);
    // A client that left, or asked for what cannot be, is no error of a server.
    let failed = match record.outcome {
        Outcome::Failed | Outcome::Panicked => true,
        Outcome::Refused => record.status >= 500 || record.side.is_some(),
        Outcome::Done | Outcome::ClientGone => false,
    };
    traces.end(
        trace,
        Ended {
            span: trace.span(),
            parent: trace.parent(),
            kind,
            name,
            began,
            attributes: attributes(record, error),
            events: events.into_iter().collect(),
            failed,
        },
    );
}

/// Few words, of which there are not many.
fn error(record: &Record) -> Option<String> {
    match record.outcome {
        Outcome::Done => None,
        Outcome::Refused if record.status > 0 => Some(record.status.to_string()),
        outcome => Some(outcome.as_str().to_owned()),
    }
}

/// Never a text of a conversation, a header, or a message of an upstream's.
fn attributes(record: &Record, error: Option<String>) -> Vec<KeyValue> {
    let number = |n: u64| Value::I64(i64::try_from(n).unwrap_or(i64::MAX));
    let mut all: Vec<KeyValue> = Vec::with_capacity(24);
    let mut add = |key: &'static str, value: Value| all.push(KeyValue::new(key, value));
    match &record.side {
        None => {
            add("http.request.method", "POST".into());
            add("http.route", "/v1/messages".into());
            if record.status > 0 {
                add("http.response.status_code", i64::from(record.status).into());
            }
        }
        Some(side) => add("claude_proxy.purpose", side.purpose.as_str().into()),
    }
    if let Some(error) = error {
        add("error.type", error.into());
    }
    add("claude_proxy.request_id", record.request_id.clone().into());
    add("claude_proxy.outcome", record.outcome.as_str().into());
    add("claude_proxy.attempts", i64::from(record.attempts).into());
    add("claude_proxy.retries", i64::from(record.retries).into());
    add("claude_proxy.rotations", i64::from(record.rotations).into());
    add("claude_proxy.fallbacks", i64::from(record.fallbacks).into());
    add("claude_proxy.stream", record.stream.into());
    if !record.warnings.is_empty() {
        add("claude_proxy.warnings", record.warnings.clone().into());
    }
    add("gen_ai.operation.name", "chat".into());
    if !record.model.is_empty() {
        add("gen_ai.request.model", record.model.clone().into());
    }
    if !record.provider.is_empty() {
        add("gen_ai.provider.name", record.provider.clone().into());
    }
    if record.outcome == Outcome::Done {
        add("gen_ai.response.model", record.remote.clone().into());
    }
    if record.input_tokens + record.cached_tokens + record.output_tokens > 0 {
        // With what was read from a cache, as the conventions have it.
        add("gen_ai.usage.input_tokens", number(record.input_tokens.saturating_add(record.cached_tokens)));
        add("gen_ai.usage.cache_read.input_tokens", number(record.cached_tokens));
        add("gen_ai.usage.output_tokens", number(record.output_tokens));
    }
    if !record.stop_reason.is_empty() {
        let reasons = vec![StringValue::from(record.stop_reason)];
        add("gen_ai.response.finish_reasons", Value::Array(Array::String(reasons)));
    }
    all
}
