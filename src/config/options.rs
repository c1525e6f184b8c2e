//! What a model's options say against its profile, or against each other.

use super::code::Code;
use super::file;
use super::finding::{Findings, Severity};
use super::suggest::suggest;
use crate::convert::Profile;
use crate::convert::profile::{Echo, ReasoningRequest};

/// Fields that are known to Chat Completions: what a mistyped one may have been.
const FIELDS: &[&str] = &[
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "stream_options",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "reasoning",
    "thinking",
    "max_tokens",
    "max_completion_tokens",
    "chat_template_kwargs",
];

/// Checks one model. `profile` is the one that it gets.
pub(super) fn check(model: &file::Model, profile: &Profile, findings: &mut Findings) {
    capabilities(model, profile, findings);
    window(model, findings);
    dropped(model, profile, findings);
    overridden(model, findings);
}

/// Whether an answer leaves room for its prompt.
pub(super) fn window(model: &file::Model, findings: &mut Findings) {
    if let (Some(output), Some(window)) = (&model.max_output_tokens, &model.context_window)
        && output.value >= window.value
        && window.value > 0
    {
        let message = format!(
            "`max_output_tokens` ({}) is not smaller than `context_window` ({}): no room is left for the prompt",
            output.value, window.value
        );
        findings.add(
            Code::WindowTooSmall,
            output.spot(),
            message,
            "the window holds prompt and answer together",
        );
    }
}

fn capabilities(model: &file::Model, profile: &Profile, findings: &mut Findings) {
    let name = &profile.name;
    if let Some(at) = model.vision.as_ref().filter(|v| v.value && !profile.images) {
        let message = format!("`{}` is true, but upstreams of profile `{name}` refuse images", at.path);
        let help = "remove it, or name another `profile` in the provider if this one can see";
        findings.add(Code::ProfileConflict, at.spot(), message, help);
    }
    let asks = profile.reasoning_request != ReasoningRequest::None || profile.echo != Echo::None;
    if let Some(at) = model.reasoning.as_ref().filter(|r| r.value && !asks) {
        let message = format!("`{}` is true, but profile `{name}` has no way to ask for reasoning", at.path);
        let help = "what the upstream sends of its own accord is shown all the same; name its `profile` if there is one";
        findings.add_as(Severity::Note, Code::ProfileConflict, at.spot(), message, help);
    }
}

fn dropped(model: &file::Model, profile: &Profile, findings: &mut Findings) {
    let Some(drop) = &model.drop_params else { return };
    for at in &drop.value {
        let name = at.value.as_str();
        let shown = name.escape_debug();
        let extra = model.extra_body.as_ref().is_some_and(|e| e.value.contains_key(name));
        // Azure has the model in the path.
        let required = matches!(name, "messages" | "stream") || (name == "model" && profile.name != "azure");
        if required {
            let message = format!("`{}` removes `{shown}`, without which no request works", at.path);
            findings.add(Code::DroppedRequired, at.spot(), message, "remove it from `drop_params`");
        } else if extra {
            let message =
                format!("`{}` removes `{shown}`, which `extra_body` adds: it is never sent", at.path);
            findings.add(Code::UnusedExtra, at.spot(), message, "remove it from one of the two");
        } else if !profile.may_send(name) {
            let message =
                format!("`{}` removes `{shown}`, which profile `{}` never sends", at.path, profile.name);
            let sent = FIELDS.iter().copied().filter(|f| profile.may_send(f));
            let help = suggest(name, sent).map_or_else(
                || "remove it from `drop_params`".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            findings.add(Code::UnusedDrop, at.spot(), message, help);
        }
    }
}

fn overridden(model: &file::Model, findings: &mut Findings) {
    let Some(extra) = &model.extra_body else { return };
    for (name, why, help) in [
        ("messages", "every request would be the same conversation", "remove it"),
        ("model", "the upstream gets this name and not `remote_id`", "use `remote_id` instead"),
        ("stream", "the answer would not come in the form that is waited for", "remove it"),
        ("tools", "the client's own tools are never offered", "remove it"),
    ] {
        if extra.value.contains_key(name) {
            let message = format!("`{}` replaces `{name}`: {why}", extra.path);
            findings.add(Code::OverriddenField, extra.spot(), message, help);
        }
    }
}
