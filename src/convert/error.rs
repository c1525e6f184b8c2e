//! Upstream errors in Anthropic's words.
//!
//! The upstream's own words stay; only what clients act on is re-worded: overflow of the
//! context (Claude Code compacts on it) and a refused key.

use serde_json::Value;

use super::overflow;
use super::reply::ReplyContext;
use crate::wire::anthropic::{ApiError, ErrorKind};

/// Longest message taken from an upstream that sends plain text, in characters.
const MAX_PLAIN: usize = 500;
/// Longest message at all, in characters.
const MAX_MESSAGE: usize = 4000;

/// What an upstream's error answer becomes for the client. Total: any bytes give an error.
///
/// `provider` names the upstream in the message of a refused key. `context` sharpens an
/// overflow without numbers.
pub fn error(status: u16, body: &[u8], provider: &str, context: Option<&ReplyContext>) -> ApiError {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    // An error that was sent as the first event of a stream.
    let text = text.strip_prefix("data:").map_or(text, |t| t.lines().next().unwrap_or_default().trim());
    let value: Option<Value> = serde_json::from_str(text).ok();
    let message = value.as_ref().and_then(message_of).unwrap_or_else(|| plain(status, text, value.is_some()));
    let status = match status {
        200..=299 => value.as_ref().and_then(in_band_status).unwrap_or(502),
        other => other,
    };
    let code = value.as_ref().map(code_of).unwrap_or_default();
    if matches!(status, 400 | 413 | 422)
        && let Some(message) = overflow::reword(&message, &code, value.as_ref(), context)
    {
        return ApiError::invalid_request(message);
    }
    let (status, kind) = mapped(status);
    let mut error = ApiError::new(status, kind, message);
    if status == 401 {
        // Clients take "x-api-key" for a word about their own key.
        let words = error.message.replace("x-api-key", "API key").replace("X-API-Key", "API key");
        error.message = format!("the key of provider `{provider}` was refused by the upstream: {words}");
    }
    if code == "insufficient_quota" {
        // Waiting does not help: the account is empty.
        error.should_retry = Some(false);
    }
    error
}

/// An error inside an answer that began with HTTP status 200.
pub(super) fn in_band(body: &[u8], context: &ReplyContext) -> ApiError {
    error(200, body, &context.provider, Some(context))
}

/// The client's status and type for an upstream's status.
fn mapped(status: u16) -> (u16, ErrorKind) {
    let status = match status {
        400 | 422 => 400,
        408 | 504 | 524 => 504,
        500 | 501 => 500,
        503 | 529 => 529,
        401..=499 => status,
        _ => 502,
    };
    (status, ErrorKind::of_status(status))
}

fn plain(status: u16, text: &str, is_json: bool) -> String {
    if text.is_empty() || text.starts_with('<') || is_json {
        let what = if is_json && !text.is_empty() { "an error without a message" } else { "a non-JSON body" };
        return format!("upstream returned HTTP {status} with {what}");
    }
    text.chars().take(MAX_PLAIN).collect()
}

/// The object that tells of the error: `error` of the body, of a choice, or the body itself.
fn error_object(value: &Value) -> &Value {
    // Gemini wraps the body in a list.
    let value = value.as_array().and_then(|list| list.first()).unwrap_or(value);
    let in_choice = || {
        value["choices"]
            .as_array()
            .and_then(|choices| choices.iter().map(|c| &c["error"]).find(|e| !e.is_null()))
    };
    match &value["error"] {
        Value::Null => in_choice().unwrap_or(value),
        error => error,
    }
}

fn message_of(value: &Value) -> Option<String> {
    let outer = value.as_array().and_then(|list| list.first()).unwrap_or(value);
    let error = error_object(value);
    let text = |v: &Value| v.as_str().map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned);
    let message = text(error)
        .or_else(|| text(&error["message"]))
        .or_else(|| text(at(outer, "/base_resp/status_msg")))
        .or_else(|| text(&outer["message"]))
        .or_else(|| text(&outer["msg"]))
        .or_else(|| detail(&outer["detail"]))?;
    let message = match raw_cause(at(error, "/metadata/raw")) {
        Some(cause) if !message.contains(&cause) => format!("{message}: {cause}"),
        _ => message,
    };
    Some(message.chars().take(MAX_MESSAGE).collect())
}

/// The value at a JSON pointer; `null` where there is none.
fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// OpenRouter hides the provider's own words in `metadata.raw`.
fn raw_cause(raw: &Value) -> Option<String> {
    let raw = raw.as_str()?.trim();
    let inner = serde_json::from_str::<Value>(raw).ok();
    let cause = inner.as_ref().and_then(message_of).unwrap_or_else(|| raw.chars().take(MAX_PLAIN).collect());
    (!cause.is_empty()).then_some(cause)
}

/// FastAPI's `detail`: a string, or a list of what is wrong where.
fn detail(detail: &Value) -> Option<String> {
    if let Some(text) = detail.as_str() {
        return Some(text.to_owned());
    }
    let problems: Vec<String> = detail
        .as_array()?
        .iter()
        .filter_map(|problem| {
            let what = problem["msg"].as_str()?;
            let place: Vec<String> = problem["loc"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned))
                .filter(|step| step != "body")
                .collect();
            Some(if place.is_empty() { what.to_owned() } else { format!("{}: {what}", place.join(".")) })
        })
        .collect();
    (!problems.is_empty()).then(|| problems.join("; "))
}

/// `code` or `type`, as text.
fn code_of(value: &Value) -> String {
    let error = error_object(value);
    [&error["code"], &error["type"]]
        .into_iter()
        .find_map(|v| match v {
            Value::String(s) if !s.is_empty() => Some(s.clone()),
            _ => None,
        })
        .unwrap_or_default()
}

/// The status that an error inside an answer with status 200 stands for.
fn in_band_status(value: &Value) -> Option<u16> {
    let outer = value.as_array().and_then(|list| list.first()).unwrap_or(value);
    if let Some(code) = at(outer, "/base_resp/status_code").as_u64().filter(|c| *c != 0) {
        return Some(minimax(code));
    }
    let error = error_object(value);
    let number = |v: &Value| {
        let n = v.as_u64().or_else(|| v.as_str().and_then(|s| s.parse().ok()))?;
        u16::try_from(n).ok().filter(|n| (400..600).contains(n))
    };
    [&error["code"], &error["status"]].into_iter().find_map(number).or_else(|| {
        [&error["code"], &error["type"], &error["status"]].into_iter().find_map(|v| named(v.as_str()?))
    })
}

/// Sources: OpenAI "Error codes"; Google RPC codes; GLM "Error codes"; Anthropic's own names,
/// which gateways pass on.
fn named(code: &str) -> Option<u16> {
    Some(match code {
        "rate_limit_exceeded"
        | "insufficient_quota"
        | "rate_limit_error"
        | "RESOURCE_EXHAUSTED"
        | "1302"
        | "1303"
        | "1305" => 429,
        "invalid_api_key" | "authentication_error" | "UNAUTHENTICATED" => 401,
        "permission_error" | "PERMISSION_DENIED" => 403,
        "model_not_found" | "not_found_error" | "NOT_FOUND" => 404,
        "context_length_exceeded"
        | "content_filter"
        | "invalid_request_error"
        | "BadRequestError"
        | "INVALID_ARGUMENT"
        | "exceed_context_size_error"
        | "1261"
        | "1301" => 400,
        "server_error" | "InternalServerError" | "INTERNAL" => 500,
        "server_is_overloaded" | "overloaded_error" | "UNAVAILABLE" | "unavailable_error" => 503,
        "timeout_error" | "DEADLINE_EXCEEDED" => 504,
        _ => return None,
    })
}

/// Source: MiniMax API documentation, "Error codes".
fn minimax(code: u64) -> u16 {
    match code {
        1002 | 1039 => 429,
        1004 => 401,
        1008 => 402,
        1000 | 1013 => 500,
        1001 => 504,
        1027 | 2013 => 400,
        _ => 502,
    }
}
