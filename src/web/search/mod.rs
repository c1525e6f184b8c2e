//! Asking a search service.

mod brave;
mod exa;
mod refusal;
mod searxng;
mod tavily;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::domains::Domains;
use super::error::{Code, WebError};
use super::target::MAX_URL;
use super::text::snippet;
use crate::config::{Api, Engine, Provider, Secret, WebSearch};
use crate::upstream::{Answer, Client, Endpoint, Fault, Limits, Transports};

/// Longest that a search takes, waiting for others included.
const WITHIN: Duration = Duration::from_secs(20);
/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 4 << 20;
/// Most hits that are given.
const MAX_HITS: usize = 20;
/// Hits that are asked for if the caller does not say.
const HITS: usize = 10;
/// Longest title, text of a hit, and date, in characters.
const TITLE: usize = 300;
const TEXT: usize = 2000;
const AGE: usize = 60;

/// What a search is asked for, besides the query.
#[derive(Debug, Clone, Default)]
pub struct SearchOptions {
    /// Only hits of these are given, unless it is empty.
    pub allowed_domains: Vec<String>,
    /// Hits of these are not.
    pub blocked_domains: Vec<String>,
    /// Most hits; 10 for 0, and 20 at most.
    pub count: usize,
    /// The user's country, in two letters (ISO 3166-1); for services that can make use of it.
    pub country: Option<String>,
}

/// A hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Of the page, on one line.
    pub title: String,
    /// `http` or `https`.
    pub url: String,
    /// When the page was last changed, in the service's words.
    pub page_age: Option<String>,
    /// What it says about the query: a snippet, or an excerpt of the page, on one line.
    pub text: String,
}

/// A query, ready to be asked.
struct Question<'q> {
    query: &'q str,
    domains: &'q Domains,
    count: usize,
    /// In capitals.
    country: Option<String>,
}

/// What is sent.
enum Ask {
    /// GETs this, which comes behind the base URL.
    Get(String),
    /// POSTs this to the one address there is.
    Post(Bytes),
}

impl Ask {
    fn post(body: &impl Serialize) -> Self {
        // Strings and numbers can always be written.
        Self::Post(serde_json::to_vec(body).unwrap_or_default().into())
    }
}

/// A hit as the service has it.
#[derive(Default)]
struct Found {
    title: Option<String>,
    url: Option<String>,
    age: Option<String>,
    text: Option<String>,
}

/// The service, as a provider that is asked like others.
pub(super) fn provider(search: &WebSearch) -> Provider {
    let (path, header) = match search.engine {
        Engine::SearXng | Engine::Tavily => ("/search", None),
        Engine::Brave => ("/res/v1/web/search", Some("X-Subscription-Token")),
        Engine::Exa => ("/search", Some("x-api-key")),
    };
    let key = search.key.clone();
    let (headers, keys) = match header {
        Some(name) => (vec![(name.to_owned(), key)], vec![Secret::default()]),
        None => (Vec::new(), vec![key]),
    };
    let url = format!("{}{path}", search.base_url);
    Provider {
        name: search.engine.as_str().to_owned(),
        base_url: search.base_url.clone(),
        api: Api::OpenAi,
        models_url: url.clone(),
        completions_url: url,
        keys,
        headers,
        roots: None,
        proxy: search.proxy.clone(),
    }
}

/// Asks the service for one worker.
pub(super) struct Searcher {
    engine: Engine,
    provider: Provider,
    client: Client,
    endpoint: Result<Endpoint, Fault>,
    connect: Duration,
    pub(super) within: Duration,
    /// Searches that may run, in the whole process.
    slots: Arc<Semaphore>,
}

impl Searcher {
    pub(super) fn new(
        search: &WebSearch,
        transports: &Transports,
        connect: Duration,
        slots: Arc<Semaphore>,
    ) -> Self {
        let provider = provider(search);
        let client = Client::new(transports, connect);
        let endpoint = client.endpoint(&provider, provider.first_key());
        Self { engine: search.engine, provider, client, endpoint, connect, within: WITHIN, slots }
    }

    pub(super) async fn search(&self, query: &str, asked: &SearchOptions) -> Result<Vec<Hit>, WebError> {
        let domains = Domains::read(&asked.allowed_domains, &asked.blocked_domains)?;
        let query = query.trim();
        self.check(query)?;
        let count = if asked.count == 0 { HITS } else { asked.count.min(MAX_HITS) };
        let country =
            asked.country.as_deref().filter(|c| c.len() == 2 && c.bytes().all(|b| b.is_ascii_alphabetic()));
        let question =
            Question { query, domains: &domains, count, country: country.map(str::to_ascii_uppercase) };
        let until = Instant::now() + self.within;
        let found = async {
            let _slot = self.slots.acquire().await;
            let answer = self.ask(&question).await.map_err(|fault| self.fault(&fault))?;
            self.read(answer, until).await
        };
        let found = timeout_at(until, found).await.unwrap_or_else(|_| {
            Err(self.error(Code::Unavailable, format!("no answer within {} s", self.within.as_secs_f64())))
        })?;
        Ok(found.into_iter().filter_map(|found| hit(found, &domains)).take(count).collect())
    }

    fn check(&self, query: &str) -> Result<(), WebError> {
        let (chars, words) = match self.engine {
            Engine::SearXng | Engine::Exa => (2000, usize::MAX),
            Engine::Brave => (400, 50),
            Engine::Tavily => (400, usize::MAX),
        };
        if query.is_empty() {
            return Err(self.error(Code::InvalidToolInput, "the query is empty"));
        }
        if query.chars().count() > chars || query.split_whitespace().count() > words {
            let words = if words == usize::MAX { String::new() } else { format!(" or {words} words") };
            let detail = format!("the query is longer than {chars} characters{words}");
            return Err(self.error(Code::QueryTooLong, detail));
        }
        Ok(())
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Answer, Fault> {
        // The whole is bounded by the caller.
        let limits = Limits { connect: self.connect, answer: self.within };
        let ask = match self.engine {
            Engine::SearXng => searxng::ask(question),
            Engine::Brave => brave::ask(question),
            Engine::Tavily => tavily::ask(question),
            Engine::Exa => exa::ask(question),
        };
        match ask {
            Ask::Get(query) => {
                let url = format!("{}?{query}", self.provider.completions_url);
                self.client.get(&self.provider, &url, limits).await
            }
            Ask::Post(body) => match &self.endpoint {
                Ok(endpoint) => endpoint.send(body, false, limits).await,
                Err(fault) => {
                    let cause = crate::upstream::Cause::Config(fault.to_string());
                    Err(Fault::new(fault.stage, cause))
                }
            },
        }
    }

    async fn read(&self, mut answer: Answer, until: Instant) -> Result<Vec<Found>, WebError> {
        let (status, wait, kind) = (answer.status, answer.wait(), answer.content_type());
        let body = answer.body.rest(Bytes::new(), MAX_ANSWER, until, self.within).await;
        tracing::debug!(service = self.engine.as_str(), status, "searched");
        if status >= 300 {
            let body = body.unwrap_or_default();
            return Err(self.refusal(status, wait, &kind, &body));
        }
        let body = body.map_err(|fault| self.fault(&fault))?;
        let read = match self.engine {
            Engine::SearXng => searxng::read(&body),
            Engine::Brave => brave::read(&body),
            Engine::Tavily => tavily::read(&body),
            Engine::Exa => exa::read(&body),
        };
        read.map_err(|unread| match unread {
            Unread::NotJson if kind == "text/html" => {
                let hint =
                    if self.engine == Engine::SearXng { ", and its `json` format switched on" } else { "" };
                let detail =
                    format!("it answers with a web page instead of JSON: is `base_url` right{hint}?");
                self.error(Code::Unavailable, detail)
            }
            Unread::NotJson => self.error(Code::Unavailable, "its answer is not the JSON that was expected"),
            Unread::Down(why) => self.error(Code::Unavailable, why),
        })
    }

    fn fault(&self, fault: &Fault) -> WebError {
        self.error(Code::Unavailable, fault.to_string())
    }

    fn error(&self, code: Code, detail: impl std::fmt::Display) -> WebError {
        WebError::new(code, format!("search service {}: {detail}", self.engine.as_str()))
    }
}

/// Why there is nothing to read in an answer.
#[derive(Debug, PartialEq, Eq)]
enum Unread {
    NotJson,
    /// The service says that it could not search.
    Down(String),
}

fn parse<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Unread> {
    serde_json::from_slice(body).map_err(|_| Unread::NotJson)
}

/// Each of a list that can be read: one odd hit is not the end of the others.
fn each<'b, T: Deserialize<'b>>(list: &[&'b RawValue]) -> impl Iterator<Item = T> {
    list.iter().filter_map(|raw| serde_json::from_str(raw.get()).ok())
}

/// The pairs as the query of a URL.
fn query(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The query with the domains as operators, which most engines know, as long as it stays within
/// `most` characters. What engines make of it is filtered once more.
fn with_sites(question: &Question<'_>, most: usize) -> String {
    /// Beyond it engines give up.
    const SITES: usize = 8;
    let (allowed, blocked) = question.domains.hosts();
    let sites: Vec<String> = match (allowed.len(), blocked.len()) {
        (1..=SITES, _) => {
            let all: Vec<String> = allowed.iter().map(|host| format!("site:{host}")).collect();
            vec![all.join(" OR ")]
        }
        (_, 1..=SITES) => blocked.iter().map(|host| format!("-site:{host}")).collect(),
        _ => Vec::new(),
    };
    let whole = std::iter::once(question.query.to_owned()).chain(sites).collect::<Vec<_>>().join(" ");
    if whole.chars().count() <= most && whole.split_whitespace().count() <= 50 {
        whole
    } else {
        question.query.to_owned()
    }
}

fn hit(found: Found, domains: &Domains) -> Option<Hit> {
    let url = found.url.filter(|url| url.len() <= MAX_URL)?;
    let url = Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    if !domains.admit(&url) || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    let clean = |text: Option<String>, most| text.map(|text| snippet(&text, most)).filter(|t| !t.is_empty());
    Some(Hit {
        title: clean(found.title, TITLE).or_else(|| url.host_str().map(str::to_owned))?,
        page_age: clean(found.age, AGE),
        text: clean(found.text, TEXT).unwrap_or_default(),
        url: url.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_checked() {
        let found = |url: &str| Found { url: Some(url.to_owned()), ..Found::default() };
        let domains = Domains::read(&["example.com".to_owned()], &[]).unwrap();
        assert_eq!(hit(found("https://example.com/x"), &domains).unwrap().title, "example.com");
        for url in [
            "https://evil.example/",
            "javascript:alert(1)",
            "ftp://example.com/",
            "https://user:pass@example.com/",
            "example.com",
            &format!("https://example.com/{}", "x".repeat(MAX_URL)),
        ] {
            assert_eq!(hit(found(url), &domains), None, "{url}");
        }
        let long = Found {
            title: Some("t".repeat(1000)),
            text: Some("<b>x</b>".repeat(3000)),
            ..found("https://example.com")
        };
        let long = hit(long, &domains).unwrap();
        assert_eq!((long.title.len(), long.text.len()), (TITLE, TEXT));
    }

    #[test]
    fn domains_as_operators() {
        let domains = |allowed: &[&str], blocked: &[&str]| {
            let list = |of: &[&str]| of.iter().map(|d| (*d).to_owned()).collect::<Vec<_>>();
            Domains::read(&list(allowed), &list(blocked)).unwrap()
        };
        let ask = |query: &str, domains: &Domains| {
            with_sites(&Question { query, domains, count: 1, country: None }, 60)
        };
        assert_eq!(ask("q", &domains(&[], &[])), "q");
        assert_eq!(ask("q", &domains(&["a.example/x"], &[])), "q site:a.example");
        assert_eq!(
            ask("q", &domains(&["a.example", "b.example"], &[])),
            "q site:a.example OR site:b.example"
        );
        assert_eq!(ask("q", &domains(&[], &["a.example", "b.example/x"])), "q -site:a.example");
        assert_eq!(ask(&"q".repeat(50), &domains(&["a.example"], &[])), "q".repeat(50));
    }
}
