//! Checks of `providers[]` and their models.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::file;
use super::finding::Findings;
use super::read::{At, Entries};
use super::suggest::did_you_mean;
use super::url::{self, Base};
use super::{Model, Provider, Secret};
use crate::convert::{ModelSpec, Profile};

/// The models read so far, over all providers.
#[derive(Default)]
pub(super) struct Models {
    usable: Vec<Model>,
    /// Every id, also of models that cannot be used: what names them is no error.
    ids: Vec<String>,
    /// Where each id was first used.
    first: HashMap<String, String>,
}

impl Models {
    /// Every id in the file.
    pub(super) fn ids(&self) -> Vec<String> {
        self.ids.clone()
    }

    /// What can be used.
    pub(super) fn into_inner(self) -> Vec<Model> {
        self.usable
    }

    /// Checks one provider and takes its models.
    pub(super) fn add(&mut self, provider: At<file::Provider>, findings: &mut Findings) {
        let At { value: mut file, span, path } = provider;
        refuse_unbuilt(&file, findings);
        let base = file.base_url.as_ref().and_then(|at| base(at, findings));
        let completions = completions_path(&file, base.as_ref(), findings);
        let profile = file.profile.as_ref().and_then(|at| profile(at, findings));
        if file.api_key.is_none() && file.api_keys.is_none() && !findings.mention(&format!("{path}.api_key"))
        {
            let message = format!("missing key `api_key` in {path} (\"\" if the upstream needs none)");
            findings.error("missing-key", &(span.start..span.start + 1), &format!("{path}.api_key"), message);
        }
        if let Some(At { value, span, path }) = &file.api_key {
            check_header_value(value, &format!("`{path}`"), span, path, findings);
        }
        if let Some(At { value, span, path }) = &file.name {
            check_name(value, span, path, findings);
        }
        let headers = file.headers.take().map(|h| headers(h.value, findings)).unwrap_or_default();
        let models = file.models.take();
        if let Some(At { value, span, path }) = &models
            && value.is_empty()
        {
            findings.warning(
                "no-models",
                span,
                path,
                format!("`{path}` is empty: this provider is never used"),
            );
        }
        let provider = base.as_ref().map(|base| {
            Arc::new(Provider {
                name: file.name.map_or_else(|| base.host.clone(), |n| n.value),
                base_url: base.url.clone(),
                completions_url: format!("{}{completions}", base.url),
                models_url: base.models_url(&completions),
                api_key: Secret::new(file.api_key.map(|k| k.value).unwrap_or_default()),
                headers,
            })
        });
        for model in models.map(|m| m.value).unwrap_or_default() {
            self.model(model, provider.as_ref().zip(base.as_ref()), profile, findings);
        }
    }

    fn model(
        &mut self,
        model: At<file::Model>,
        provider: Option<(&Arc<Provider>, &Base)>,
        named: Option<&'static Profile>,
        findings: &mut Findings,
    ) {
        let file = model.value;
        if let Some(At { value: fallbacks, span, path }) = &file.fallbacks
            && !fallbacks.empty
        {
            unsupported(path, span, "", findings);
        }
        for limit in [&file.max_output_tokens, &file.context_window].into_iter().flatten() {
            if limit.value == 0 {
                findings.error(
                    "out-of-range",
                    &limit.span,
                    &limit.path,
                    format!("`{}` has to be 1 or more", limit.path),
                );
            }
        }
        for text in [&file.id, &file.display_name, &file.remote_id].into_iter().flatten() {
            check_name(&text.value, &text.span, &text.path, findings);
        }
        let Some(At { value: id, span, path }) = file.id else { return };
        if let Some(first) = self.first.get(&id) {
            let message = format!("model id `{}` is already used by `{first}`", id.escape_debug());
            findings.error("duplicate-model", &span, &path, message);
        }
        self.ids.push(id.clone());
        self.first.entry(id.clone()).or_insert(path);
        let Some((provider, base)) = provider else { return };
        let remote_id = file.remote_id.map_or_else(|| id.clone(), |r| r.value);
        let detected = || Profile::detect(&base.host, base.port, &remote_id);
        let Some(profile) = named.or_else(detected) else { return };
        self.usable.push(Model {
            display_name: file.display_name.map_or_else(|| id.clone(), |d| d.value),
            id,
            provider: Arc::clone(provider),
            profile,
            spec: ModelSpec {
                remote_id,
                max_output_tokens: file.max_output_tokens.map(|n| n.value),
                context_window: file.context_window.map(|n| n.value),
                vision: file.vision.map(|b| b.value),
                tools: file.tools.map(|b| b.value),
                reasoning: file.reasoning.map(|b| b.value),
                extra_body: file.extra_body.map(|m| m.value).unwrap_or_default(),
                drop_params: file.drop_params.into_iter().flat_map(|d| d.value).map(|d| d.value).collect(),
            },
        });
    }
}

/// Keys that are documented but not built: an error and never silence.
fn refuse_unbuilt(file: &file::Provider, findings: &mut Findings) {
    if let Some(at) = &file.api_keys {
        unsupported(&at.path, &at.span, " and give one key in `api_key`", findings);
    }
    for at in [&file.ca_file, &file.proxy_url].into_iter().flatten() {
        unsupported(&at.path, &at.span, "", findings);
    }
    match &file.api {
        Some(At { value, span, path }) if value == "anthropic" => {
            let message = format!(
                "`{path}`: \"anthropic\" is not supported yet: remove it, and use an OpenAI-compatible upstream"
            );
            findings.error("not-supported", span, path, message);
        }
        Some(At { value, span, path }) if value != "openai" => {
            let message = format!("`{path}` should be \"openai\", found \"{}\"", value.escape_debug());
            findings.error("bad-value", span, path, message);
        }
        _ => {}
    }
}

fn unsupported(path: &str, span: &Range<usize>, more: &str, findings: &mut Findings) {
    findings.error("not-supported", span, path, format!("`{path}` is not supported yet: remove it{more}"));
}

fn base(at: &At<String>, findings: &mut Findings) -> Option<Base> {
    let At { value, span, path } = at;
    match url::base(value) {
        Ok(base) => {
            if base.whole_endpoint {
                let message =
                    format!("`{path}` ends in `/chat/completions`: leave that to `completions_path`");
                findings.warning("base-url-path", span, path, message);
            }
            Some(base)
        }
        Err(what) => {
            findings.error("bad-url", span, path, format!("`{path}` {what}"));
            None
        }
    }
}

fn completions_path(file: &file::Provider, base: Option<&Base>, findings: &mut Findings) -> String {
    if let Some(At { value, span, path }) = &file.completions_path {
        if let Some(what) = url::path_error(value) {
            findings.error("bad-url", span, path, format!("`{path}` {what}"));
        }
        return value.clone();
    }
    let Some(base) = base else { return String::new() };
    if let (true, Some(at)) = (base.versioned, &file.base_url) {
        let path = base.default_path();
        let message = format!(
            "`{}` ends in a version, so only `{path}` is appended: requests go to {}{path} \
             (`completions_path` changes that)",
            at.path, base.url
        );
        findings.note("default-path", &at.span, &at.path, message);
    }
    base.default_path().to_owned()
}

fn profile(at: &At<String>, findings: &mut Findings) -> Option<&'static Profile> {
    let At { value, span, path } = at;
    if value == "auto" {
        return None;
    }
    let found = Profile::named(value);
    if found.is_none() {
        let names: Vec<&str> =
            std::iter::once("auto").chain(Profile::all().iter().map(|p| p.name.as_str())).collect();
        let hint = did_you_mean(value, names.iter().copied());
        let message = format!(
            "`{path}`: unknown profile `{}`{hint} (known: {})",
            value.escape_debug(),
            names.join(", ")
        );
        findings.error("unknown-profile", span, path, message);
    }
    found
}

fn headers(entries: Entries<String>, findings: &mut Findings) -> Vec<(String, Secret)> {
    let mut out: Vec<(String, Secret)> = Vec::new();
    for entry in entries.0 {
        let (name, At { value, span, path }) = (entry.key, entry.at);
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            let message = format!("`{path}`: not a valid header name");
            findings.error("bad-header", &entry.key_span, &path, message);
        }
        let ours =
            ["host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding"];
        if ours.iter().any(|o| name.eq_ignore_ascii_case(o)) {
            let message = format!("`{path}`: this header is set by claude-proxy itself: remove it");
            findings.error("bad-header", &entry.key_span, &path, message);
        }
        if out.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
            let message = format!("`{path}`: this header is there already (case does not matter)");
            findings.error("bad-header", &entry.key_span, &path, message);
        }
        check_header_value(&value, &format!("`{path}`"), &span, &path, findings);
        out.push((name, Secret::new(value)));
    }
    out
}

/// A key or a header has to fit into one header line. The value is not shown.
pub(super) fn check_header_value(
    value: &str,
    what: &str,
    span: &Range<usize>,
    path: &str,
    findings: &mut Findings,
) {
    let problem = if value.trim() != value {
        "begins or ends with white space (a line end from a file?)"
    } else if value.chars().any(char::is_control) {
        "has a control character in it"
    } else if !value.is_ascii() {
        "has a character that is not ASCII"
    } else {
        return;
    };
    findings.error("bad-header", span, path, format!("{what} {problem}: it cannot be sent as a header"));
}

/// Names end up in log lines, tables and headers.
fn check_name(value: &str, span: &Range<usize>, path: &str, findings: &mut Findings) {
    if value.is_empty() {
        findings.error("bad-value", span, path, format!("`{path}` is empty"));
    } else if value.chars().any(char::is_control) {
        findings.error("bad-value", span, path, format!("`{path}` has a control character in it"));
    }
}
