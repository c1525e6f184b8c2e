//! Upstream errors in Anthropic's words.
//!
//! The upstream's own words stay; only what clients act on is re-worded: overflow of the
//! context (Claude Code compacts on it), a `max_tokens` beyond the model (it asks for less) and
//! a refused key.

use serde_json::Value;

use super::output_limit;
use super::overflow;
use super::reply::ReplyContext;
use crate::wire::anthropic::{ApiError, ErrorKind};

/// Longest message taken from an upstream that sends plain text, in characters.
const MAX_PLAIN: usize = 500;
/// Longest error that is read as JSON, in bytes.
const MAX_TREE: usize = 1 << 20;
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
    let text = match text {
        t if t.starts_with("data:") || t.starts_with("event:") || t.starts_with(':') => {
            t.lines().find_map(|line| line.strip_prefix("data:")).unwrap_or(t).trim()
        }
        t => t,
    };
    let value = tree(text);
    let message = value.as_ref().and_then(message_of).unwrap_or_else(|| plain(status, text, value.is_some()));
    let (status, vague) = match status {
        200..=299 => match value.as_ref().and_then(in_band_status) {
            Some(status) => (status, false),
            None => (502, true),
        },
        other => (other, false),
    };
    let codes = value.as_ref().map(codes_of).unwrap_or_default();
    let code = codes.first().map_or("", String::as_str);
    // Where nothing tells the status, the words do.
    if (vague || matches!(status, 400 | 413 | 422))
        && let Some(message) = overflow::reword(&message, code, value.as_ref(), context)
            .or_else(|| output_limit::reword(&message, context))
    {
        let mut error = ApiError::invalid_request(message);
        error.upstream_status = Some(400);
        return error;
    }
    // llama.cpp's server calls it its own fault; clients would send the image again and again.
    let status = if status == 500 && message.contains("image input is not supported") { 400 } else { status };
    let status = if status == 400 && is_about_the_key(&message, &codes) { 401 } else { status };
    let upstream_status = (!vague).then_some(status);
    let (status, kind) = mapped(status);
    let mut error = ApiError::new(status, kind, message);
    error.upstream_status = upstream_status;
    if status == 401 {
        // Clients take "x-api-key" for a word about their own key.
        let words = without_header_name(&error.message);
        error.message = format!("the key of provider `{provider}` was refused by the upstream: {words}");
    }
    if status == 401 || codes.iter().any(|c| c == "insufficient_quota") {
        // Waiting does not help: the key stays wrong, the account empty. Claude Code would try
        // for three minutes before it shows the message.
        error.should_retry = Some(false);
    }
    error
}

/// Google and xAI refuse a wrong key with 400.
fn is_about_the_key(message: &str, codes: &[String]) -> bool {
    let message = message.to_ascii_lowercase();
    codes.iter().any(|code| code == "invalid_api_key")
        || ["api key not valid", "incorrect api key provided", "invalid api key"]
            .iter()
            .any(|words| message.starts_with(words))
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
    if text.len() > MAX_TREE {
        return format!("upstream returned HTTP {status} with an error of {} bytes", text.len());
    }
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

/// `code` and `type`, where they are text.
fn codes_of(value: &Value) -> Vec<String> {
    let error = error_object(value);
    let text = |v: &Value| v.as_str().filter(|s| !s.is_empty()).map(str::to_owned);
    [&error["code"], &error["type"]].into_iter().filter_map(text).collect()
}

/// Takes `x-api-key` out of a message, however it is spelled.
fn without_header_name(message: &str) -> String {
    const NAME: &str = "x-api-key";
    let lower = message.to_ascii_lowercase();
    let (mut out, mut from) = (String::with_capacity(message.len()), 0);
    for (at, _) in lower.match_indices(NAME) {
        out.push_str(message.get(from..at).unwrap_or_default());
        out.push_str("API key");
        from = at + NAME.len();
    }
    out.push_str(message.get(from..).unwrap_or_default());
    out
}

/// A list that holds an error, as Gemini sends it.
pub(super) fn is_error_list(text: &str) -> bool {
    text.trim_start().starts_with('[')
        && tree(text).is_some_and(|v| v.pointer("/0/error").is_some_and(|e| !e.is_null()))
}

/// The JSON, unless it is longer than any error: as a tree it takes many times as much memory.
fn tree(text: &str) -> Option<Value> {
    (text.len() <= MAX_TREE).then(|| serde_json::from_str(text).ok()).flatten()
}

/// The status that an error inside an answer with status 200 stands for.
fn in_band_status(value: &Value) -> Option<u16> {
    let outer = value.as_array().and_then(|list| list.first()).unwrap_or(value);
    if let Some(code) = as_number(at(outer, "/base_resp/status_code")).filter(|c| *c != 0) {
        return Some(minimax(code));
    }
    let error = error_object(value);
    let number = |v: &Value| u16::try_from(as_number(v)?).ok().filter(|n| (400..600).contains(n));
    [&error["code"], &error["status"]].into_iter().find_map(number).or_else(|| {
        [&error["code"], &error["type"], &error["status"]].into_iter().find_map(|v| named(v.as_str()?))
    })
}

fn as_number(v: &Value) -> Option<u64> {
    v.as_u64().or_else(|| v.as_str()?.parse().ok())
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
        | "content_policy_violation"
        | "unsupported_parameter"
        | "unsupported_value"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_key_names_the_provider_and_no_header() {
        for name in ["x-api-key", "X-Api-Key", "X-API-KEY"] {
            let body = format!(r#"{{"error":{{"message":"invalid {name} é"}}}}"#);
            let error = error(401, body.as_bytes(), "zai", None);
            assert_eq!(
                error.message,
                "the key of provider `zai` was refused by the upstream: invalid API key é"
            );
        }
    }

    #[test]
    fn a_key_that_is_refused_with_400_is_401() {
        for body in [
            r#"[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}]"#,
            r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***. See the console."}"#,
            r#"{"error":{"message":"m","code":"invalid_api_key"}}"#,
        ] {
            let error = error(400, body.as_bytes(), "p", None);
            assert_eq!(
                (error.status, error.upstream_status, error.should_retry),
                (401, Some(401), Some(false))
            );
            assert!(error.message.starts_with("the key of provider `p` was refused"), "{}", error.message);
        }
        let other = br#"{"error":{"message":"tool `x`: invalid API key in schema"}}"#;
        assert_eq!(error(400, other, "p", None).status, 400);
    }

    #[test]
    fn an_empty_account_is_not_worth_a_retry() {
        for body in [
            r#"{"error":{"message":"m","code":"insufficient_quota"}}"#,
            r#"{"error":{"message":"m","code":"429","type":"insufficient_quota"}}"#,
        ] {
            for status in [200, 429] {
                let error = error(status, body.as_bytes(), "p", None);
                assert_eq!((error.status, error.should_retry), (429, Some(false)), "{body}");
            }
        }
        let busy = br#"{"error":{"message":"m","code":"rate_limit_exceeded"}}"#;
        assert_eq!(error(429, busy, "p", None).should_retry, None);
    }
}
