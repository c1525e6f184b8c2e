//! Checks of `providers[]` and their models.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::code::Code;
use super::expand::Env;
use super::fallbacks::Fallbacks;
use super::file;
use super::finding::{Findings, Severity, Spot};
use super::keys::Key;
use super::read::{At, Entries};
use super::suggest::did_you_mean;
use super::url::{self, Base};
use super::{Api, Model, Price, Provider, Proxy, Roots, Secret, native, network, options, proxy};
use crate::convert::{ModelSpec, Profile, WebTools};

/// The models read so far, over all providers.
#[derive(Default)]
pub(super) struct Models {
    usable: Vec<Model>,
    /// Every id, also of models that cannot be used: what names them is no error.
    ids: Vec<String>,
    /// Where each id was first used.
    first: HashMap<String, String>,
    /// The name of each provider, and where it came from.
    names: HashMap<String, Named>,
    /// Every upstream's key.
    pub(super) keys: Vec<Key>,
    /// Every model's fallbacks.
    pub(super) fallbacks: Fallbacks,
    /// Images are described for models that see none.
    pub(super) has_describer: bool,
}

/// What a model takes from its provider.
struct Place<'a> {
    /// None: it cannot be used.
    provider: Option<(&'a Arc<Provider>, &'a Base)>,
    api: Api,
    /// None: the model's name tells.
    profile: Option<&'static Profile>,
}

/// Where a provider got its name.
struct Named {
    path: String,
    /// From its own `name`, not from the host of `base_url`.
    written: bool,
}

impl Models {
    /// Every id in the file.
    pub(super) fn ids(&self) -> Vec<String> {
        self.ids.clone()
    }

    /// What can be used so far.
    pub(super) fn usable(&self) -> &[Model] {
        &self.usable
    }

    /// What can be used, with the web tools that the proxy carries out.
    pub(super) fn into_inner(mut self, web: WebTools) -> Vec<Model> {
        for model in &mut self.usable {
            model.spec.web = web;
        }
        self.usable
    }

    /// Checks one provider and takes its models.
    ///
    /// Relative paths of files begin at `dir`; `env` may name proxies.
    pub(super) fn add(
        &mut self,
        provider: At<file::Provider>,
        dir: &Path,
        env: Env<'_>,
        findings: &mut Findings,
    ) {
        let At { value: mut file, span, path } = provider;
        let api = native::api(file.api.as_ref(), findings);
        let roots = file.ca_file.as_ref().and_then(|at| roots(at, dir, findings));
        let base = file.base_url.as_ref().and_then(|at| base(at, api, findings));
        let completions = completions_path(&file, base.as_ref(), api, findings);
        let profile = file.profile.as_ref().and_then(|at| profile(at, findings));
        if api == Api::Anthropic {
            native::check_provider(&file, findings);
        }
        if file.api_key.is_none() && file.api_keys.is_none() && !findings.mention(&format!("{path}.api_key"))
        {
            let message = format!("missing key `api_key` in {path}");
            let spot = (&(span.start..span.start + 1), &*format!("{path}.api_key"));
            findings.add(Code::MissingKey, spot, message, "\"\" if the upstream needs none");
        }
        let keys = self.keys(&file, findings);
        if let Some(at) = &file.name {
            check_name(at, findings);
        }
        self.name(&file, base.as_ref(), findings);
        let proxy = proxy(&file, base.as_ref(), env, findings);
        if let Some(at) = file.proxy_url.as_ref().filter(|at| at.value.contains('@')) {
            self.keys.push(Key::new(at));
        }
        let headers = file.headers.take().map(|h| headers(h.value, findings)).unwrap_or_default();
        let models = file.models.take();
        if let Some(at) = models.as_ref().filter(|m| m.value.is_empty()) {
            let message = format!("`{}` is empty: this provider is never used", at.path);
            findings.add(Code::NoModels, at.spot(), message, "add a model, or remove the provider");
        }
        let provider = base.as_ref().map(|base| {
            Arc::new(Provider {
                name: file.name.map_or_else(|| base.host.clone(), |n| n.value),
                base_url: base.url.clone(),
                api,
                completions_url: format!("{}{completions}", base.url),
                models_url: base.models_url(&completions),
                keys,
                headers,
                roots,
                proxy,
            })
        });
        for model in models.map(|m| m.value).unwrap_or_default() {
            let place = Place { provider: provider.as_ref().zip(base.as_ref()), api, profile };
            self.model(model, &place, findings);
        }
    }

    /// The keys of `api_key` or `api_keys`, checked; one that is empty if there are none.
    fn keys(&mut self, file: &file::Provider, findings: &mut Findings) -> Vec<Secret> {
        let mut keys: Vec<Secret> = Vec::new();
        if let Some(at) = &file.api_key {
            check_header_value(&at.value, &format!("`{}`", at.path), at.spot(), findings);
            self.keys.push(Key::new(at));
            keys.push(Secret::new(at.value.clone()));
        }
        let Some(several) = &file.api_keys else {
            return if keys.is_empty() { vec![Secret::default()] } else { keys };
        };
        let path = &several.path;
        if file.api_key.is_some() {
            let message = format!("`{path}` and `api_key` are both given");
            findings.add(
                Code::BadValue,
                several.spot(),
                message,
                "put all keys into `api_keys`, and remove `api_key`",
            );
        }
        if several.value.is_empty() {
            let message = format!("`{path}` is empty");
            findings.add(
                Code::BadValue,
                several.spot(),
                message,
                "if the upstream needs no key: `\"api_key\": \"\"`",
            );
        }
        for at in &several.value {
            if at.value.is_empty() {
                let message = format!("`{}` is empty", at.path);
                findings.add(Code::BadValue, at.spot(), message, "put a key there, or remove it");
            }
            check_header_value(&at.value, &format!("`{}`", at.path), at.spot(), findings);
            self.keys.push(Key::new(at));
            let key = Secret::new(at.value.clone());
            match keys.iter().position(|k| *k == key) {
                Some(first) if file.api_key.is_none() => {
                    let message = format!("`{}` is the same key as `{path}[{first}]`", at.path);
                    findings.add(Code::RepeatedKey, at.spot(), message, "remove it: it counts once");
                }
                Some(_) => {}
                None => keys.push(key),
            }
        }
        keys
    }

    /// Notes the provider's name, and whether another has it.
    fn name(&mut self, file: &file::Provider, base: Option<&Base>, findings: &mut Findings) {
        let written = file.name.is_some();
        let (name, at) = match (&file.name, &file.base_url, base) {
            (Some(at), _, _) => (&at.value, at),
            (None, Some(at), Some(base)) => (&base.host, at),
            _ => return,
        };
        let Some(first) = self.names.get(name) else {
            self.names.insert(name.clone(), Named { path: at.path.clone(), written });
            return;
        };
        let (shown, path) = (name.escape_debug(), &first.path);
        if written || first.written {
            let message = format!("provider name `{shown}` is already used by `{path}`");
            findings.add(
                Code::DuplicateName,
                at.spot(),
                message,
                "give each its own `name`: logs tell them apart by it",
            );
        } else {
            // Several keys or paths of one host: fine, and so the original has it.
            let message = format!("this provider is called `{shown}` like that of `{path}`");
            let help = "give each a `name`: logs tell them apart by it";
            findings.add_as(Severity::Note, Code::DuplicateName, at.spot(), message, help);
        }
    }

    fn model(&mut self, model: At<file::Model>, place: &Place<'_>, findings: &mut Findings) {
        let Place { provider, api, profile: named } = *place;
        let file = model.value;
        for limit in [&file.max_output_tokens, &file.context_window].into_iter().flatten() {
            if limit.value == 0 {
                let message = format!("`{}` has to be 1 or more", limit.path);
                findings.add(Code::OutOfRange, limit.spot(), message, "");
            }
        }
        for text in [&file.id, &file.display_name, &file.remote_id].into_iter().flatten() {
            check_name(text, findings);
        }
        let remote = file.remote_id.as_ref().or(file.id.as_ref()).map(|r| r.value.as_str());
        let detected =
            |(_, base): (_, &Base)| Profile::detect(&base.host, base.port, remote.unwrap_or_default());
        let profile = named.or_else(|| provider.and_then(detected));
        match (profile, api) {
            (_, Api::Anthropic) => {
                native::check_model(&file, provider.map(|(_, base)| base), self.has_describer, findings);
            }
            (Some(profile), Api::OpenAi) => options::check(&file, profile, findings),
            (None, Api::OpenAi) => {}
        }
        let id = file.id.as_ref().map(|id| id.value.clone()).unwrap_or_default();
        if let Some(fallbacks) = &file.fallbacks {
            self.fallbacks.add(&id, fallbacks);
        }
        let Some(At { value: id, span, path }) = file.id else { return };
        if let Some(first) = self.first.get(&id) {
            let message = format!("model id `{}` is already used by `{first}`", id.escape_debug());
            findings.add(Code::DuplicateModel, (&span, &path), message, "ids are unique over all providers");
        }
        self.ids.push(id.clone());
        self.first.entry(id.clone()).or_insert(path);
        let (Some((provider, _)), Some(profile)) = (provider, profile) else { return };
        let remote_id = file.remote_id.map_or_else(|| id.clone(), |r| r.value);
        self.usable.push(Model {
            display_name: file.display_name.map_or_else(|| id.clone(), |d| d.value),
            id,
            provider: Arc::clone(provider),
            profile,
            price: file.price.as_ref().and_then(|at| Price::read(&at.value)),
            spec: ModelSpec {
                remote_id,
                max_output_tokens: file.max_output_tokens.map(|n| n.value),
                context_window: file.context_window.map(|n| n.value),
                vision: file.vision.map(|b| b.value),
                tools: file.tools.map(|b| b.value),
                reasoning: file.reasoning.map(|b| b.value),
                extra_body: file.extra_body.map(|m| m.value).unwrap_or_default(),
                drop_params: file.drop_params.into_iter().flat_map(|d| d.value).map(|d| d.value).collect(),
                // Known when the whole file is read: `into_inner`.
                web: WebTools::default(),
            },
            fallbacks: file.fallbacks.into_iter().flat_map(|f| f.value).map(|f| f.value).collect(),
        });
    }
}

fn base(at: &At<String>, api: Api, findings: &mut Findings) -> Option<Base> {
    let path = &at.path;
    match url::base(&at.value) {
        Ok(base) => {
            if let Some((end, help)) = base.misplaced(api) {
                findings.add(Code::BaseUrlPath, at.spot(), format!("`{path}` ends in `{end}`"), help);
            }
            if !base.encrypted && network::is_public(&base.host) {
                let message = format!(
                    "`{path}` is plain http to a public host: keys and conversations can be read on the way"
                );
                findings.add(Code::PlainHttp, at.spot(), message, "write `https://`");
            }
            Some(base)
        }
        Err((what, help)) => {
            findings.add(Code::BadUrl, at.spot(), format!("`{path}` {what}"), help);
            None
        }
    }
}

/// The certificates of a `ca_file`. Relative paths begin at `dir`.
fn roots(at: &At<String>, dir: &Path, findings: &mut Findings) -> Option<Arc<Roots>> {
    match Roots::read(&dir.join(&at.value)) {
        Ok(roots) => Some(Arc::new(roots)),
        Err(why) => {
            let help = "name a file of `-----BEGIN CERTIFICATE-----` blocks";
            findings.add(Code::BadCaFile, at.spot(), format!("`{}`: {why}", at.path), help);
            None
        }
    }
}

/// The proxy of `proxy_url`, or of the environment. An empty URL is none.
fn proxy(
    file: &file::Provider,
    base: Option<&Base>,
    env: Env<'_>,
    findings: &mut Findings,
) -> Option<Arc<Proxy>> {
    let found = if let Some(at) = &file.proxy_url {
        if at.value.is_empty() {
            return None;
        }
        Proxy::parse(&at.value, "proxy_url").map(Some).map_err(|why| {
            findings.add(Code::BadUrl, at.spot(), format!("`{}` {why}", at.path), "");
        })
    } else {
        let (base, at) = (base?, file.base_url.as_ref()?);
        proxy::from_environment(base, env).map_err(|(name, why)| {
            let message = format!("environment variable `{name}`, the proxy for `{}`, {why}", at.path);
            let help = "set `proxy_url` in the provider to another one, or to \"\" for none";
            findings.add(Code::BadUrl, at.spot(), message, help);
        })
    };
    found.ok().flatten().map(Arc::new)
}

fn completions_path(file: &file::Provider, base: Option<&Base>, api: Api, findings: &mut Findings) -> String {
    if let Some(at) = &file.completions_path {
        if let Some(what) = url::path_error(&at.value) {
            findings.add(Code::BadUrl, at.spot(), format!("`{}` {what}", at.path), "");
        }
        if let Some(version) = base.and_then(|b| b.repeated_version(&at.value)) {
            doubled(
                &format!("`base_url` ends in `{version}` and `{}` begins with it", at.path),
                at,
                findings,
            );
        }
        return at.value.clone();
    }
    let (Some(base), Some(at)) = (base, &file.base_url) else { return String::new() };
    let path = base.default_path(api);
    if let Some(version) = base.repeated_version("") {
        doubled(&format!("`{}` ends in `{version}{version}`", at.path), at, findings);
    } else if base.versioned {
        let message = format!(
            "`{}` ends in a version, so only `{path}` is appended: requests go to {}{path}",
            at.path, base.url
        );
        findings.add(Code::DefaultPath, at.spot(), message, "`completions_path` changes that");
    }
    path.to_owned()
}

fn doubled(message: &str, at: &At<String>, findings: &mut Findings) {
    findings.add(Code::DoubledVersion, at.spot(), message, "leave one of them out");
}

fn profile(at: &At<String>, findings: &mut Findings) -> Option<&'static Profile> {
    let At { value, span, path } = at;
    if value == "auto" {
        return None;
    }
    let found = Profile::named(value);
    if found.is_none() {
        let names = profile_names();
        let hint = did_you_mean(value, names.iter().copied());
        let message = format!("`{path}`: unknown profile `{}`{hint}", value.escape_debug());
        findings.add(Code::UnknownProfile, (span, path), message, format!("known: {}", names.join(", ")));
    }
    found
}

/// What `profile` may be.
pub(super) fn profile_names() -> Vec<&'static str> {
    std::iter::once("auto").chain(Profile::all().iter().map(|p| p.name.as_str())).collect()
}

fn headers(entries: Entries<String>, findings: &mut Findings) -> Vec<(String, Secret)> {
    let mut out: Vec<(String, Secret)> = Vec::new();
    for entry in entries.0 {
        let (name, At { value, span, path }) = (entry.key, entry.at);
        let spot = (&entry.key_span, path.as_str());
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            let message = format!("`{path}`: not a valid header name");
            findings.add(Code::BadHeader, spot, message, "names have only letters, digits and `-`");
        }
        let ours =
            ["host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding"];
        if ours.iter().any(|o| name.eq_ignore_ascii_case(o)) {
            let message = format!("`{path}`: this header is set by claude-proxy itself");
            findings.add(Code::BadHeader, spot, message, "remove it");
        }
        if out.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
            let message = format!("`{path}`: this header is there already");
            findings.add(Code::BadHeader, spot, message, "remove one of them: case does not matter");
        }
        check_header_value(&value, &format!("`{path}`"), (&span, &path), findings);
        out.push((name, Secret::new(value)));
    }
    out
}

/// A key or a header has to fit into one header line. The value is not shown.
pub(super) fn check_header_value(value: &str, what: &str, spot: Spot<'_>, findings: &mut Findings) {
    let (problem, help) = if value.trim() != value {
        ("begins or ends with white space", "is it a line end from a file?")
    } else if value.chars().any(char::is_control) {
        ("has a control character in it", "")
    } else if !value.is_ascii() {
        ("has a character that is not ASCII", "")
    } else {
        return;
    };
    findings.add(Code::BadHeader, spot, format!("{what} {problem}: it cannot be sent as a header"), help);
}

/// Names end up in log lines, tables and headers.
pub(super) fn check_name(at: &At<String>, findings: &mut Findings) {
    let path = &at.path;
    if at.value.is_empty() {
        findings.add(Code::BadValue, at.spot(), format!("`{path}` is empty"), "");
    } else if at.value.chars().any(char::is_control) {
        findings.add(Code::BadValue, at.spot(), format!("`{path}` has a control character in it"), "");
    }
}
