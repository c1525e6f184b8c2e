//! Why an answer ended.

use super::reply::ReplyContext;
use crate::wire::anthropic::{ApiError, ErrorKind};

/// The part of `finish_reason` that decides, the strongest seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Finish {
    /// `stop`, and whatever is not known.
    Stop,
    /// `model_context_window_exceeded` (GLM).
    Window,
    /// `length`, `max_tokens`.
    Length,
    /// `content_filter`, `sensitive` (GLM).
    Filter,
    /// `tool_calls`, `function_call`: answers that come in several choices give a reason for each.
    Tools,
}

impl Finish {
    /// Reads a `finish_reason`.
    ///
    /// # Errors
    /// The upstream gave up: `error` (OpenRouter), `network_error` (GLM), `abort` (SGLang),
    /// `insufficient_system_resource` (DeepSeek).
    pub(super) fn read(reason: &str) -> Result<Self, ApiError> {
        Ok(match reason {
            "tool_calls" | "function_call" => Self::Tools,
            "length" | "max_tokens" => Self::Length,
            "content_filter" | "sensitive" => Self::Filter,
            "model_context_window_exceeded" => Self::Window,
            "error" | "network_error" | "abort" => {
                return Err(ApiError::bad_gateway(format!(
                    "upstream ended the answer with finish_reason `{reason}`"
                )));
            }
            "insufficient_system_resource" => {
                return Err(ApiError::new(
                    529,
                    ErrorKind::Overloaded,
                    "upstream ended the answer with finish_reason `insufficient_system_resource`",
                ));
            }
            _ => Self::Stop,
        })
    }
}

/// `stop_reason` and `stop_sequence`.
///
/// `calls`: the answer has tool calls. They count as `tool_use` even with `finish_reason: "stop"`,
/// which several servers send.
pub(super) fn reason<'m>(
    finish: Option<Finish>,
    calls: bool,
    refused: bool,
    matched: Option<&'m str>,
    context: &ReplyContext,
) -> (&'static str, Option<&'m str>) {
    match finish {
        Some(Finish::Filter) => ("refusal", None),
        Some(Finish::Length) => ("max_tokens", None),
        Some(Finish::Window) => ("model_context_window_exceeded", None),
        _ if calls => ("tool_use", None),
        _ if refused => ("refusal", None),
        _ => match matched.filter(|m| context.stop_sequences.iter().any(|s| s == m)) {
            Some(matched) => ("stop_sequence", Some(matched)),
            None => ("end_turn", None),
        },
    }
}
