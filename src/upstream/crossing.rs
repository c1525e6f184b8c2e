//! Which headers cross where requests and answers pass through: these, and no others.

use awc::FrozenClientRequest;
use awc::http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use super::Answer;
use super::attempt::{RETRY_AFTER_MS, says_when};
use crate::config::{Api, Provider, Secret};

/// The protocol's version.
pub(super) const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// The version that is asked for where the client names none.
pub(super) const OLDEST: HeaderValue = HeaderValue::from_static("2023-06-01");
/// Names of features that are switched on.
pub(super) const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
/// A key, in Anthropic's way.
pub(super) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What crosses of a client's request besides its body.
#[derive(Debug, Clone, Default)]
pub struct Crossing {
    version: Option<HeaderValue>,
    betas: Vec<HeaderValue>,
    /// The query says `beta=true`, as that of the SDKs' beta methods.
    pub(super) beta: bool,
}

impl Crossing {
    /// Of a request with these headers and this query.
    pub fn of(headers: &HeaderMap, query: &str) -> Self {
        Self {
            version: headers.get(VERSION).cloned(),
            betas: headers.get_all(BETA).cloned().collect(),
            beta: query.split('&').any(|pair| pair == "beta=true"),
        }
    }

    /// Headers that are added to a request. What the configuration says of the provider stays.
    pub(super) fn over(&self, request: &FrozenClientRequest, own_version: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(version) = self.version.as_ref().filter(|_| !own_version) {
            headers.insert(VERSION, version.clone());
        }
        if !self.betas.is_empty() {
            for value in request.headers().get_all(BETA).chain(&self.betas) {
                headers.append(BETA, value.clone());
            }
        }
        headers
    }
}

impl Answer {
    /// The upstream's own name of the exchange, if it is no longer than such names are.
    pub fn request_id(&self) -> Option<&str> {
        const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
        let id = self.body.header(&REQUEST_ID)?.to_str().ok()?;
        (id.len() <= 128).then_some(id)
    }

    /// The headers of an answer that cross to the client: how long to wait, and how much is left.
    ///
    /// `x-should-retry` does too, as [`Answer::should_retry`].
    pub fn crossing(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        const LIMITS: &str = "anthropic-ratelimit-";
        /// Longer than any number, date or word there.
        const MOST: usize = 64;
        let crosses = |name: &HeaderName, value: &HeaderValue| {
            if *name == RETRY_AFTER || *name == RETRY_AFTER_MS {
                return says_when(value);
            }
            name.as_str().starts_with(LIMITS) && value.len() <= MOST && value.to_str().is_ok()
        };
        self.body.headers().iter().filter(move |(name, value)| crosses(name, value))
    }
}

/// The headers in which a key goes: (`Authorization: Bearer`, `x-api-key`).
///
/// Anthropic's own API takes keys in `x-api-key` and refuses them as bearer tokens, but for
/// those that are bearer tokens (`sk-ant-oat`). Of the others that speak its protocol each takes
/// one or the other, and some only one: DeepSeek and Kimi Code name `x-api-key`, Z.ai, Moonshot
/// and MiniMax a bearer token. They get both, as from clients that are given a key by a helper.
///
/// Sources: DeepSeek API Docs, "Using the Anthropic API"; Z.AI, Moonshot and MiniMax pages on
/// Claude Code (`ANTHROPIC_AUTH_TOKEN`); Kimi Code, "Other coding agents"; Microsoft Learn,
/// "Claude in Foundry" (a bearer token there is one of Entra ID).
pub(super) fn places(provider: &Provider, key: &Secret) -> (bool, bool) {
    const BEARER: (bool, bool) = (true, false);
    const OWN: (bool, bool) = (false, true);
    let key = key.expose();
    let host = provider.base_url.to_ascii_lowercase();
    let host = host.split_once("://").map_or("", |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or_default();
    let within =
        |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    match provider.api {
        Api::OpenAi => BEARER,
        Api::Anthropic if key.starts_with("sk-ant-oat") => BEARER,
        Api::Anthropic if key.starts_with("sk-ant-") || within("anthropic.com") || within("azure.com") => OWN,
        Api::Anthropic => (true, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vendor_gets_the_key_where_it_looks_for_it() {
        let of = |api, base_url: &str, key: &str| {
            let provider = Provider {
                name: String::new(),
                base_url: base_url.to_owned(),
                api,
                completions_url: String::new(),
                models_url: String::new(),
                keys: Vec::new(),
                headers: Vec::new(),
                roots: None,
                proxy: None,
            };
            places(&provider, &Secret::new(key))
        };
        let native = |base_url, key| of(Api::Anthropic, base_url, key);
        assert_eq!(of(Api::OpenAi, "https://api.anthropic.com", "sk-ant-api03-x"), (true, false));
        assert_eq!(native("https://api.anthropic.com", "sk-ant-api03-x"), (false, true));
        assert_eq!(native("https://API.Anthropic.com/", "k"), (false, true));
        assert_eq!(native("https://api.anthropic.com", "sk-ant-oat01-x"), (true, false));
        assert_eq!(native("https://gateway.example/x", "sk-ant-api03-x"), (false, true));
        assert_eq!(native("https://r.services.ai.azure.com/anthropic", "k"), (false, true));
        for other in
            ["https://api.deepseek.com/anthropic", "http://127.0.0.1:8888", "https://notanthropic.com"]
        {
            assert_eq!(native(other, "sk-1"), (true, true), "{other}");
        }
    }

    #[expect(clippy::disallowed_methods, reason = "nothing is sent")]
    #[test]
    fn of_a_request_three_things_cross() {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_static;
        headers.insert(VERSION, value("2026-10-21"));
        headers.append(BETA, value("a,b"));
        headers.append(BETA, value("c"));
        headers.insert(API_KEY, value("secret"));
        let crossing = Crossing::of(&headers, "x=1&beta=true");
        assert!(crossing.beta && !Crossing::of(&headers, "beta=false&xbeta=true").beta);
        let request = awc::Client::new().post("http://h").insert_header((BETA, "z")).freeze().unwrap();
        let over = |crossing: &Crossing, own| {
            let headers = crossing.over(&request, own);
            let mut all: Vec<String> =
                headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
            all.sort();
            all
        };
        let betas = ["anthropic-beta: a,b", "anthropic-beta: c", "anthropic-beta: z"];
        assert_eq!(over(&crossing, true), betas);
        assert_eq!(over(&crossing, false), [&betas[..], &["anthropic-version: 2026-10-21"]].concat());
        assert!(over(&Crossing::default(), false).is_empty());
    }
}
