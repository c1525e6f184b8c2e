//! Which profile fits an upstream, and the lines of the configuration that say so.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::ask::Reply;
use super::probe::{ALOUD, Finding, Verdict};
use super::prober::Way;
use super::said::documents;
use crate::cli::remote::{self, Listing, Server, Size};
use crate::config::Model;
use crate::convert::Profile;
use crate::convert::profile::ReasoningRequest;
use crate::upstream::{Client, Limits};

/// The profile that fits and how that is known.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Fit {
    pub(super) profile: &'static str,
    pub(super) why: String,
}

/// What to set.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Lines {
    /// Keys of `providers[]`.
    pub(super) provider: Map<String, Value>,
    /// Keys of `providers[].models[]`.
    pub(super) model: Map<String, Value>,
}

impl Lines {
    pub(super) fn is_empty(&self) -> bool {
        self.provider.is_empty() && self.model.is_empty()
    }

    /// An entry of `providers[]` with only what is to be set.
    pub(super) fn fragment(&self, model: &Model) -> Value {
        let mut provider = json!({"name": model.provider.name});
        let mut entry = json!({"id": model.id});
        if let (Some(provider), Some(entry)) = (provider.as_object_mut(), entry.as_object_mut()) {
            provider.extend(self.provider.clone());
            entry.extend(self.model.clone());
            provider.insert("models".to_owned(), json!([entry]));
        }
        provider
    }
}

/// By what answers at the address, then by how it answers, then by the model's name.
pub(super) fn fit(model: &Model, reply: &Reply, owner: &str, findings: &[Finding], way: Option<Way>) -> Fit {
    let (host, port) = host_and_port(&model.provider.base_url);
    let remote_id = &model.spec.remote_id;
    let by = |host: &str, port, remote_id: &str| {
        Profile::detect(host, port, remote_id).map_or("generic", |p| p.name.as_str())
    };
    let fit = |profile: &'static str, why: &str| Fit { profile, why: why.to_owned() };
    if by(host, None, "") != "generic" {
        return fit(by(host, port, remote_id), "its host name");
    }
    if let Some((profile, why)) = by_owner(owner).or_else(|| by_answer(reply)) {
        return fit(profile, why);
    }
    if by(host, port, "") != "generic" {
        return fit(by(host, port, remote_id), "its port");
    }
    let named = by(host, port, remote_id);
    let template = |p: &Profile| p.reasoning_request == ReasoningRequest::Template;
    let configured = model.profile;
    // A way of asking that works is better than a guess from the name.
    if way == Some(Way::Profile) && configured.reasoning_request != ReasoningRequest::None {
        return fit(&configured.name, "its way of asking for reasoning works");
    }
    if way == Some(Way::Template) && !Profile::named(named).is_some_and(template) {
        let reasoning = findings.iter().find(|f| f.probe == "reasoning").and_then(|f| f.detail.as_deref());
        return if reasoning.is_some_and(|d| d.starts_with("`reasoning_content`")) {
            fit("sglang", "`chat_template_kwargs` works, and reasoning is in `reasoning_content`")
        } else {
            fit("vllm", "`chat_template_kwargs` works")
        };
    }
    if named != "generic" {
        return fit(named, "the model's name");
    }
    if configured.name == "generic" {
        return fit("generic", "nothing tells it from others");
    }
    fit(&configured.name, "it is configured, and nothing speaks against it")
}

fn by_owner(owner: &str) -> Option<(&'static str, &'static str)> {
    Some(match owner {
        "vllm" => ("vllm", "its list says `owned_by: vllm`"),
        "sglang" => ("sglang", "its list says `owned_by: sglang`"),
        "llamacpp" => ("llamacpp", "its list says `owned_by: llamacpp`"),
        "library" => ("ollama", "its list says `owned_by: library`, as Ollama does"),
        _ => return None,
    })
}

/// Fields that only one kind of server sends.
fn by_answer(reply: &Reply) -> Option<(&'static str, &'static str)> {
    if reply.server.as_deref() == Some("llama.cpp") {
        return Some(("llamacpp", "it says `server: llama.cpp`"));
    }
    documents(&reply.body).0.iter().find_map(|document| {
        let has = |pointer: &str| document.pointer(pointer).is_some();
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if has("/timings/predicted_n") {
            Some(("llamacpp", "its answers have llama.cpp's `timings`"))
        } else if text("/system_fingerprint") == "fp_ollama" {
            Some(("ollama", "its answers say `fp_ollama`"))
        } else if has("/x_groq") {
            Some(("groq", "its answers have `x_groq`"))
        } else if has("/base_resp") {
            Some(("minimax", "its answers have MiniMax's `base_resp`"))
        } else if has("/choices/0/matched_stop") {
            Some(("sglang", "its answers have SGLang's `matched_stop`"))
        } else if has("/prompt_logprobs") || has("/kv_transfer_params") {
            Some(("vllm", "its answers have vLLM's `prompt_logprobs`"))
        } else if has("/prompt_filter_results") || has("/choices/0/content_filter_results") {
            Some(("azure", "its answers have Azure's filter results"))
        } else if text("/id").starts_with("gen-") && has("/provider") {
            Some(("openrouter", "its answers have OpenRouter's `provider`"))
        } else {
            None
        }
    })
}

/// What differs from the configuration and should not.
pub(super) fn lines(model: &Model, fit: &Fit, findings: &[Finding], size: Size) -> Lines {
    let mut lines = Lines::default();
    if fit.profile != model.profile.name {
        lines.provider.insert("profile".to_owned(), fit.profile.into());
    }
    let Some(profile) = Profile::named(fit.profile) else { return lines };
    let spec = &model.spec;
    let find = |name: &str| findings.iter().find(|f| f.probe == name);
    let refused = |name: &str| find(name).is_some_and(|f| f.refused);
    let is = |name: &str, verdict| find(name).is_some_and(|f| f.result == verdict);
    let mut set = |key: &str, value: Value| lines.model.insert(key.to_owned(), value);
    let sees = spec.vision.unwrap_or(profile.images);
    if sees && (is("image", Verdict::No) || is("image", Verdict::Odd)) {
        set("vision", false.into());
    } else if !sees && is("image", Verdict::Yes) {
        set("vision", true.into());
    }
    let tools = spec.tools.unwrap_or(true);
    if tools && refused("tools") && refused("tool_choice_required") {
        set("tools", false.into());
    } else if !tools && is("tools", Verdict::Yes) {
        set("tools", true.into());
    }
    // A model that does not think about this question may about others: only a refusal counts.
    if spec.reasoning != Some(false)
        && profile.reasoning_request != ReasoningRequest::None
        && refused("reasoning")
    {
        set("reasoning", false.into());
    }
    if let Some(window) = size.context_window
        && spec.context_window.is_none_or(|told| told > window)
    {
        set("context_window", window.into());
    }
    if let Some(most) = size.limit(size.context_window.or(spec.context_window))
        && spec.max_output_tokens.is_none_or(|told| told > most)
    {
        set("max_output_tokens", most.into());
    }
    let aloud = find("parallel_tools").is_some_and(|f| f.detail.as_deref() == Some(ALOUD));
    if aloud && !spec.extra_body.contains_key("parallel_tool_calls") {
        let mut extra = spec.extra_body.clone();
        extra.insert("parallel_tool_calls".to_owned(), true.into());
        set("extra_body", extra.into());
    }
    let mut drop = spec.drop_params.clone();
    for (probe, field, sent) in
        [("stop", "stop", profile.stop_max > 0), ("usage_in_stream", "stream_options", profile.stream_usage)]
    {
        if sent && refused(probe) && !drop.iter().any(|d| d == field) {
            drop.push(field.to_owned());
        }
    }
    if drop != spec.drop_params {
        set("drop_params", drop.into());
    }
    lines
}

/// The owner and the size of the model, as far as the upstream tells them.
pub(super) async fn told(client: &Client, model: &Model, limits: Limits, reply: &Reply) -> (String, Size) {
    let Model { provider, spec, .. } = model;
    let listing = remote::list(client, provider, limits).await;
    let entry = match &listing {
        Listing::Known(list) => remote::find(list, &spec.remote_id),
        _ => None,
    };
    // llama.cpp serves whatever name it is asked for, and lists one.
    let only = match &listing {
        Listing::Known(list) => list.first().filter(|_| list.len() == 1),
        _ => None,
    };
    let owner = entry.or(only).map(|l| l.owner.clone()).unwrap_or_default();
    let profile = by_owner(&owner).or_else(|| by_answer(reply));
    let profile = profile.map_or(model.profile.name.as_str(), |(profile, _)| profile);
    let server = Server::of(&owner, profile, &provider.base_url);
    let size = remote::size(client, provider, server, (&spec.remote_id, entry), limits).await;
    (owner, size)
}

fn host_and_port(base_url: &str) -> (&str, Option<u16>) {
    let rest = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}
