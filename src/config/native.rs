//! Providers that speak the Messages API themselves: which keys mean something there.

use super::code::Code;
use super::file;
use super::finding::{Findings, Severity};
use super::read::At;
use super::url::{self, Base};
use super::{Api, Model, options};
use crate::convert::Profile;
use crate::convert::native::History;

/// Reads `api`.
pub(super) fn api(at: Option<&At<String>>, findings: &mut Findings) -> Api {
    let Some(At { value, span, path }) = at else { return Api::default() };
    match value.as_str() {
        "openai" => Api::OpenAi,
        "anthropic" => Api::Anthropic,
        other => {
            let shown = other.escape_debug();
            let message = format!("`{path}` should be \"openai\" or \"anthropic\", found \"{shown}\"");
            findings.add(Code::BadValue, (span, path), message, "");
            Api::default()
        }
    }
}

/// Keys of a provider.
pub(super) fn check_provider(provider: &file::Provider, findings: &mut Findings) {
    if let Some(at) = provider.profile.as_ref().filter(|at| at.value != "auto") {
        useless(
            at,
            "how an upstream deviates from OpenAI's API is not asked where requests pass through",
            findings,
        );
    }
}

/// Keys of a model. `has_describer`: images are described for those that see none.
pub(super) fn check_model(
    model: &file::Model,
    base: Option<&Base>,
    has_describer: bool,
    findings: &mut Findings,
) {
    const SAME: &str = "requests pass through as they are";
    options::window(model, findings);
    let vision = model.vision.as_ref().filter(|at| at.value || !has_describer);
    for at in [vision, model.tools.as_ref()].into_iter().flatten() {
        useless(at, SAME, findings);
    }
    match &model.reasoning {
        Some(at) if !at.value => useless(at, SAME, findings),
        Some(at) if base.is_some_and(|base| is_vendor(&base.host)) => {
            let why = "only another claude-proxy reads what this one writes into a conversation, and that host is none";
            useless(at, why, findings);
        }
        _ => {}
    }
    if let Some(at) = model.extra_body.as_ref().filter(|at| !at.value.is_empty()) {
        useless(at, SAME, findings);
    }
    if let Some(at) = model.drop_params.as_ref().filter(|at| !at.value.is_empty()) {
        useless(at, SAME, findings);
    }
    if let Some(at) = &model.max_output_tokens {
        let message =
            format!("`{}` is only told to clients that ask for the list of models: {SAME}", at.path);
        findings.add_as(Severity::Note, Code::NoEffect, at.spot(), message, "");
    }
}

fn useless<T>(at: &At<T>, why: &str, findings: &mut Findings) {
    let message = format!("`{}` has no effect with `\"api\": \"anthropic\"`: {why}", at.path);
    findings.add(Code::NoEffect, at.spot(), message, "remove it");
}

impl Model {
    /// What becomes of thinking that this proxy put into a history, on its way to a native upstream.
    pub fn history(&self) -> History {
        let host = url::base(&self.provider.base_url).map(|base| base.host).unwrap_or_default();
        match self.spec.reasoning {
            Some(true) if !is_vendor(&host) => History::Kept,
            _ => History::Cleaned,
        }
    }
}

/// Whether somebody else's API is known to be there.
fn is_vendor(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "anthropic.com"
        || host.ends_with(".anthropic.com")
        || Profile::detect(&host, None, "").is_some_and(|profile| profile.name != "generic")
}

#[cfg(test)]
mod tests {
    use super::is_vendor;

    #[test]
    fn vendors_are_known_by_their_hosts() {
        for host in ["api.anthropic.com", "API.DeepSeek.com", "api.z.ai", "api.moonshot.ai", "openrouter.ai"]
        {
            assert!(is_vendor(host), "{host}");
        }
        for host in ["127.0.0.1", "proxy.example", "notanthropic.com", "localhost"] {
            assert!(!is_vendor(host), "{host}");
        }
    }
}
