//! What the proxy does itself where the upstream cannot: each is off unless configured.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::code::Code;
use super::expand::Env;
use super::file::{self, File};
use super::finding::Findings;
use super::keys::Key;
use super::proxy::{self, Proxies, Proxy};
use super::read::At;
use super::suggest::did_you_mean;
use super::{Secret, default, network, provider, route, url};
use crate::convert::WebTools;

/// What is done beside the upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// Id of the model that judges tool calls where a request has `safeguards`.
    pub safeguards_model: Option<String>,
    /// Id of the model that describes images for models that see none.
    pub vision_model: Option<String>,
    /// PDF documents become their text where the upstream takes none.
    pub pdf_text: bool,
    /// Who is asked for `web_search`.
    pub web_search: Option<WebSearch>,
    /// `web_fetch` is carried out.
    pub web_fetch: bool,
    /// Hosts that `web_fetch` may reach at private addresses, in lower case, with a port if only
    /// that one is meant.
    pub web_fetch_private_hosts: Vec<String>,
    /// Who is asked for tunnels to what `web_fetch` fetches.
    pub web_fetch_proxies: Proxies,
    /// Conversations of the `thread` field are kept.
    pub threads: Option<Threads>,
}

impl Extras {
    /// The web tools that are carried out.
    pub fn web_tools(&self) -> WebTools {
        WebTools { search: self.web_search.is_some(), fetch: self.web_fetch, ..WebTools::default() }
    }
}

/// A search service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSearch {
    /// Whose API it is.
    pub engine: Engine,
    /// Empty: none is sent.
    pub key: Secret,
    /// Without a `/` at its end.
    pub base_url: String,
    /// Who is asked for a tunnel to it; none: it is asked directly.
    pub proxy: Option<Arc<Proxy>>,
}

/// The APIs of search services that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// SearXNG, with its `json` format switched on.
    SearXng,
    /// Brave Search API.
    Brave,
    /// Tavily.
    Tavily,
    /// Exa.
    Exa,
}

impl Engine {
    const ALL: [Self; 4] = [Self::SearXng, Self::Brave, Self::Tavily, Self::Exa];

    /// As the file has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SearXng => "searxng",
            Self::Brave => "brave",
            Self::Tavily => "tavily",
            Self::Exa => "exa",
        }
    }

    /// Where it is, unless the file says otherwise.
    fn home(self) -> Option<&'static str> {
        match self {
            Self::SearXng => None,
            Self::Brave => Some("https://api.search.brave.com"),
            Self::Tavily => Some("https://api.tavily.com"),
            Self::Exa => Some("https://api.exa.ai"),
        }
    }
}

/// Where conversations are kept, and how much of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threads {
    /// The file of the database.
    pub path: PathBuf,
    /// Beyond it the oldest go, in bytes of what they hold.
    pub max_bytes: u64,
    /// What nobody has gone on with for that long goes.
    pub max_age: Duration,
}

/// Reads the keys. `ids` are those of all models; keys of services are added to `keys`.
pub(super) fn read(
    file: &File,
    ids: &[String],
    dir: &Path,
    env: Env<'_>,
    keys: &mut Vec<Key>,
    findings: &mut Findings,
) -> Extras {
    let model = |at: &Option<At<String>>, findings: &mut Findings| {
        let at = at.as_ref()?;
        route::check_id(at, ids, findings);
        Some(at.value.clone())
    };
    let web_fetch = file.web_fetch.as_ref().is_some_and(|at| at.value);
    let private = file.web_fetch_private_hosts.as_ref();
    if let Some(at) = private.filter(|at| !web_fetch && !at.value.is_empty()) {
        let message = "`web_fetch_private_hosts` has no effect: `web_fetch` is not on";
        findings.add(Code::NoEffect, at.spot(), message, "set `web_fetch` to true, or remove it");
    }
    let private = private.map(|at| at.value.iter());
    let proxies = file.web_fetch.as_ref().filter(|_| web_fetch).map(|at| {
        Proxies::from_environment(env).unwrap_or_else(|(name, why)| {
            let message = format!("environment variable `{name}`, the proxy for `{}`, {why}", at.path);
            findings.add(Code::BadUrl, at.spot(), message, "");
            Proxies::default()
        })
    });
    Extras {
        safeguards_model: model(&file.safeguards_model, findings),
        vision_model: model(&file.vision_model, findings),
        pdf_text: file.pdf_text.as_ref().is_some_and(|at| at.value),
        web_search: file.web_search.as_ref().and_then(|at| web_search(at, env, keys, findings)),
        web_fetch,
        web_fetch_private_hosts: private.into_iter().flatten().filter_map(|at| host(at, findings)).collect(),
        web_fetch_proxies: proxies.unwrap_or_default(),
        threads: file.threads.as_ref().and_then(|at| threads(&at.value, dir, findings)),
    }
}

fn web_search(
    at: &At<file::WebSearch>,
    env: Env<'_>,
    keys: &mut Vec<Key>,
    findings: &mut Findings,
) -> Option<WebSearch> {
    let search = &at.value;
    let name = search.provider.as_ref()?;
    let engine = Engine::ALL.into_iter().find(|e| e.as_str() == name.value);
    let Some(engine) = engine else {
        let all = Engine::ALL.map(Engine::as_str);
        let hint = did_you_mean(&name.value, all);
        let shown = name.value.escape_debug();
        let message = format!("`{}` names no search service that is known: `{shown}`{hint}", name.path);
        findings.add(Code::BadValue, name.spot(), message, format!("known: {}", all.join(", ")));
        return None;
    };
    if let Some(key) = &search.api_key {
        keys.push(Key::new(key));
        provider::check_header_value(&key.value, &format!("`{}`", key.path), key.spot(), findings);
    }
    let key = search.api_key.as_ref().map(|at| Secret::new(at.value.clone())).unwrap_or_default();
    let written = search.base_url.as_ref();
    let Some(base_url) = written.map(|at| at.value.as_str()).or(engine.home()) else {
        let message = format!("missing key `base_url` in {}: a SearXNG has no common address", at.path);
        findings.add(Code::MissingKey, at.spot(), message, "");
        return None;
    };
    let (spot, path) = written.map_or((at.spot(), &at.path), |base| (base.spot(), &base.path));
    let base = match url::base(base_url) {
        Ok(base) => base,
        Err((why, help)) => {
            findings.add(Code::BadUrl, spot, format!("`{path}` {why}"), help);
            return None;
        }
    };
    if !base.encrypted && network::is_public(&base.host) && search.api_key.is_some() {
        let message = format!("`{path}` is plain http to a public host: the key can be read on the way");
        findings.add(Code::PlainHttp, spot, message, "use https");
    }
    if engine != Engine::SearXng && search.api_key.as_ref().is_none_or(|at| at.value.is_empty()) {
        let message = format!("missing key `api_key` in {}: {} wants one", at.path, engine.as_str());
        findings.add(Code::MissingKey, at.spot(), message, "");
        return None;
    }
    let proxy = match proxy::from_environment(&base, env) {
        Ok(proxy) => proxy.map(Arc::new),
        Err((name, why)) => {
            let message = format!("environment variable `{name}`, the proxy for `{path}`, {why}");
            findings.add(Code::BadUrl, spot, message, "");
            return None;
        }
    };
    Some(WebSearch { engine, key, base_url: base.url, proxy })
}

/// `HOST` or `HOST:PORT`.
fn host(at: &At<String>, findings: &mut Findings) -> Option<String> {
    let found = url::base(&format!("http://{}", at.value));
    let is_host = found.as_ref().is_ok_and(|base| base.url.len() == "http://".len() + at.value.len())
        && !at.value.contains('/');
    if !is_host {
        let message = format!("`{}` should be a host name or address, perhaps with a port", at.path);
        findings.add(Code::BadValue, at.spot(), message, "such as `wiki.example.com` or `10.0.0.5:8080`");
        return None;
    }
    Some(at.value.to_ascii_lowercase())
}

fn threads(threads: &file::Threads, dir: &Path, findings: &mut Findings) -> Option<Threads> {
    for at in [&threads.max_bytes, &threads.max_age_days].into_iter().flatten().filter(|at| at.value == 0) {
        findings.add(Code::OutOfRange, at.spot(), format!("`{}` has to be 1 or more", at.path), "");
    }
    let path = dir.join(&threads.path.as_ref()?.value);
    let days = threads.max_age_days.as_ref().map_or(default::THREADS_MAX_AGE_DAYS, |at| at.value);
    Some(Threads {
        path,
        max_bytes: threads.max_bytes.as_ref().map_or(default::THREADS_MAX_BYTES, |at| at.value),
        // No thread lives for ever: a thousand years would not fit into every clock.
        max_age: Duration::from_secs(days.min(36_500) * 24 * 3600),
    })
}
