//! config.json, checked and immutable.
//!
//! [`load()`] reads a file and gives a [`Config`] or every [`Finding`] in it; [`check()`] does the
//! same for a text. On the way: [`tree`](self) with places, typed fields, checks across fields.

mod access;
pub mod change;
pub mod check;
pub mod code;
mod default;
mod expand;
mod extras;
mod fallbacks;
mod file;
pub mod finding;
mod hide;
mod identity;
mod keys;
mod limits;
pub mod load;
pub mod mask;
mod media;
mod native;
mod network;
mod no_proxy;
mod options;
mod provider;
mod proxy;
mod read;
mod roots;
pub mod route;
pub mod schema;
pub mod secret;
pub mod suggest;
mod syntax;
mod tree;
mod url;

use std::sync::Arc;
use std::time::Duration;

pub use access::{AK, ANONYMOUS, Allowed, Budgets, Digest, InboundKey, PICOS, Price};
pub use change::Changes;
pub use check::{Checked, check};
pub use code::Code;
pub use expand::Env;
pub use extras::{Engine, Extras, Threads, WebSearch};
pub use file::keys;
pub use finding::{Finding, Severity};
pub use identity::{Identity, bare_name};
pub use load::{LoadError, Loaded, load, locate};
pub use network::is_loopback;
pub use proxy::{Proxies, Proxy, authority};
pub use roots::Roots;
pub use secret::Secret;

use crate::convert::{ModelSpec, Profile};

/// A configuration that passed all checks.
#[derive(Debug, Clone)]
pub struct Config {
    /// Key for inbound requests; none: everybody may come in. Never empty.
    pub ak: Option<Secret>,
    /// More keys for inbound requests.
    pub keys: Vec<InboundKey>,
    /// What may be spent; none: no key has a budget.
    pub budgets: Option<Budgets>,
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0: any free one.
    pub port: u16,
    /// Whole answers: how long in total. Streams: how long until their first byte.
    pub upstream_timeout: Duration,
    /// Longest silence between two upstream body bytes. Comments count as bytes.
    pub stream_idle_timeout: Duration,
    /// Resolve, TCP, a proxy's tunnel and TLS together.
    pub connect_timeout: Duration,
    /// An `event: ping` after that much silence towards the client; zero: none.
    pub ping_interval: Duration,
    /// Largest inbound body, in bytes.
    pub max_body_bytes: usize,
    /// More requests at once than this get 529.
    pub max_concurrent_requests: usize,
    /// From the end of a request's head until the last byte of its body. No key of the file.
    pub client_body_timeout: Duration,
    /// How long running streams may go on after SIGTERM.
    pub shutdown_grace: Duration,
    /// Worker threads.
    pub workers: usize,
    /// What clients are shown; none: plain HTTP.
    pub tls: Option<Arc<Identity>>,
    /// Longest body text in a log line, in characters; 0 logs none.
    pub log_body_max_chars: usize,
    /// Longest preview of a streamed answer in the log, in characters; 0 logs none.
    pub log_stream_text_preview_chars: usize,
    /// There is a page at `/dashboard`.
    pub dashboard: bool,
    /// It also shows the beginnings of questions and answers. Never without the page.
    pub dashboard_content: bool,
    /// Model id for an unknown name.
    pub default_model: Option<String>,
    /// Pattern (`*` matches any run) to model id; the first match wins.
    pub aliases: Vec<(String, String)>,
    /// What is done beside the upstreams.
    pub extras: Extras,
    /// In the order of the file.
    pub models: Vec<Arc<Model>>,
}

/// The protocol of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Api {
    /// Chat Completions: requests and answers are converted.
    #[default]
    OpenAi,
    /// Messages: requests and answers pass through.
    Anthropic,
}

impl Api {
    /// As the file has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}

/// Whether a URL asks for TLS.
pub fn is_https(url: &str) -> bool {
    url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
}

/// One upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    /// For logs, metrics and errors.
    pub name: String,
    /// `base_url` without a `/` at its end.
    pub base_url: String,
    /// The protocol that it speaks.
    pub api: Api,
    /// Where requests go: scheme, host, port and path, whole.
    pub completions_url: String,
    /// Where the upstream's model list is.
    pub models_url: String,
    /// Sent as `Authorization: Bearer`, in turn. Never empty: an upstream that asks for none has
    /// one empty key, for which no header is sent.
    pub keys: Vec<Secret>,
    /// Extra request headers.
    pub headers: Vec<(String, Secret)>,
    /// Trusted beside the system's certificates.
    pub roots: Option<Arc<Roots>>,
    /// Who is asked for a tunnel to it; none: it is asked directly.
    pub proxy: Option<Arc<Proxy>>,
}

impl Provider {
    /// The first of its keys; an empty one if there is none.
    pub fn first_key(&self) -> &Secret {
        self.keys.first().unwrap_or(&secret::NONE)
    }

    /// Its URL is `https`.
    pub fn encrypted(&self) -> bool {
        is_https(&self.base_url)
    }

    /// Whether there is something in a text that [`Provider::blot`] takes out.
    pub fn is_repeated_in(&self, words: &str) -> bool {
        let mut blotted = words.to_owned();
        self.blot(&mut blotted);
        blotted != words
    }

    /// Blots the keys and the values of the headers out of the provider's own words.
    pub fn blot(&self, words: &mut String) {
        for key in &self.keys {
            key.blot(words);
        }
        for (_, value) in &self.headers {
            value.blot(words);
        }
        if let Some(proxy) = &self.proxy {
            proxy.blot(words);
        }
    }
}

/// One model, as clients name it.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The name that clients use.
    pub id: String,
    /// For people.
    pub display_name: String,
    /// Who serves it.
    pub provider: Arc<Provider>,
    /// How that upstream deviates.
    pub profile: &'static Profile,
    /// What the configuration says of it.
    pub spec: ModelSpec,
    /// What its tokens cost; none: that is not known.
    pub price: Option<Price>,
    /// Ids of the models that are asked when this one fails before its first byte.
    pub fallbacks: Vec<String>,
}

impl Config {
    /// The model of this id.
    pub fn model(&self, id: &str) -> Option<&Arc<Model>> {
        self.models.iter().find(|m| m.id == id)
    }

    /// The provider of each model.
    pub fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.models.iter().map(|m| &*m.provider)
    }

    /// Every key: what must not be written anywhere.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        const TELLING: [&str; 5] = ["key", "token", "auth", "secret", "cookie"];
        let is_key = |name: &str| {
            let name = name.to_ascii_lowercase();
            TELLING.iter().any(|word| name.contains(word))
        };
        let theirs = self.models.iter().flat_map(move |m| {
            let headers = m.provider.headers.iter().filter(move |(name, _)| is_key(name));
            let proxy = m.provider.proxy.iter().flat_map(|proxy| proxy.secrets());
            headers.map(|(_, value)| value).chain(&m.provider.keys).chain(proxy)
        });
        let search = self.extras.web_search.iter();
        let search = search.flat_map(|s| s.proxy.iter().flat_map(|p| p.secrets()).chain([&s.key]));
        let fetch = self.extras.web_fetch_proxies.secrets();
        let inbound = self.keys.iter().filter_map(|key| key.key.as_ref());
        self.ak.iter().chain(inbound).chain(search).chain(fetch).chain(theirs)
    }

    /// Clients have to send a key.
    pub fn asks_for_key(&self) -> bool {
        self.ak.is_some() || !self.keys.is_empty()
    }

    /// Other machines can reach the proxy and no key is asked for: worth a warning at start.
    pub fn is_exposed(&self) -> bool {
        !self.asks_for_key() && !is_loopback(&self.host)
    }
}
