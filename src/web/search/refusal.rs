//! What a service says instead of hits, and what to do about it.

use std::time::Duration;

use serde_json::Value;

use super::Searcher;
use crate::config::Engine;
use crate::web::error::{Code, WebError};
use crate::web::text::snippet;

/// Longest of the service's own words, in characters.
const WORDS: usize = 200;

impl Searcher {
    /// Of an answer with that status.
    pub(super) fn refusal(&self, status: u16, wait: Option<Duration>, kind: &str, body: &[u8]) -> WebError {
        let engine = self.engine;
        let (code, what) = match status {
            401 if engine == Engine::SearXng => (
                Code::Unavailable,
                "what stands before it asks for a login; `api_key` is sent as a bearer token".to_owned(),
            ),
            401 => (Code::Unavailable, "it refuses the key: is `web_search.api_key` right?".to_owned()),
            403 if engine == Engine::SearXng => (
                Code::Unavailable,
                "its `json` format is not switched on: add `json` to `search.formats` in its settings.yml"
                    .to_owned(),
            ),
            403 => {
                (Code::Unavailable, "the key may not do this: does its plan include web search?".to_owned())
            }
            402 | 432 | 433 => (Code::Unavailable, "the credit of the key's plan is used up".to_owned()),
            404 | 405 => {
                (Code::Unavailable, "there is no such service: is `web_search.base_url` right?".to_owned())
            }
            429 => {
                let wait = wait.map(|wait| format!(" for {} s", wait.as_secs())).unwrap_or_default();
                let limiter = if engine == Engine::SearXng {
                    ": its limiter takes us for a bot; add this machine's address to `pass_ip` in its limiter.toml, or set `server.limiter` to false"
                } else {
                    ""
                };
                (Code::TooManyRequests, format!("it asks to wait{wait}{limiter}"))
            }
            400 | 422 if words(body).is_some_and(|words| words.to_lowercase().contains("too long")) => {
                (Code::QueryTooLong, "the query is too long for it".to_owned())
            }
            400 | 422 => (Code::InvalidToolInput, "it does not take the request".to_owned()),
            413 | 414 => (Code::RequestTooLarge, "the request is too large for it".to_owned()),
            _ => (Code::Unavailable, "it cannot search at the moment".to_owned()),
        };
        let mut detail = format!("{what} (HTTP {status}");
        if let Some(mut words) = words(body).filter(|_| kind.contains("json")) {
            self.provider.blot(&mut words);
            detail = format!("{detail}: {words}");
        }
        detail.push(')');
        self.error(code, detail)
    }
}

/// What an error says in words, wherever the four have it.
fn words(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let places = ["/detail/error", "/error/detail", "/error/message", "/error", "/detail", "/message"];
    let found = places.iter().find_map(|place| body.pointer(place)?.as_str());
    found.map(|words| snippet(words, WORDS)).filter(|words| !words.is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::config::{Secret, WebSearch};
    use crate::upstream::Transports;
    use crate::web::search::provider;

    #[test]
    fn every_status_says_what_to_do() {
        let key = "sk-0123456789abcdef";
        let told = |engine, status, wait: Option<u64>, body: &str| {
            let search = WebSearch {
                engine,
                key: Secret::new(key),
                base_url: "http://127.0.0.1:1".to_owned(),
                proxy: None,
            };
            let system = actix_rt::System::new();
            system.block_on(async {
                let transports = Transports::new(&[provider(&search)], None).unwrap();
                let searcher =
                    Searcher::new(&search, &transports, Duration::from_secs(1), Arc::new(Semaphore::new(1)));
                let kind = if body.starts_with('{') { "application/json" } else { "text/html" };
                let error = searcher.refusal(status, wait.map(Duration::from_secs), kind, body.as_bytes());
                (error.code, error.detail)
            })
        };
        for (engine, status, wait, body, code, says) in [
            (Engine::SearXng, 403, None, "<html>", Code::Unavailable, "search.formats"),
            (Engine::SearXng, 429, None, "Too Many", Code::TooManyRequests, "limiter.toml"),
            (Engine::SearXng, 401, None, "", Code::Unavailable, "login"),
            (
                Engine::Brave,
                401,
                None,
                r#"{"error":{"detail":"no token"}}"#,
                Code::Unavailable,
                "(HTTP 401: no token)",
            ),
            (Engine::Brave, 429, Some(7), "", Code::TooManyRequests, "asks to wait for 7 s"),
            (
                Engine::Brave,
                422,
                None,
                r#"{"error":{"code":"VALIDATION","detail":"bad"}}"#,
                Code::InvalidToolInput,
                "bad",
            ),
            (
                Engine::Tavily,
                400,
                None,
                r#"{"detail":{"error":"Query is too long. Max"}}"#,
                Code::QueryTooLong,
                "too long",
            ),
            (
                Engine::Tavily,
                432,
                None,
                r#"{"detail":{"error":"exceeds your plan's limit"}}"#,
                Code::Unavailable,
                "credit",
            ),
            (Engine::Exa, 402, None, "{}", Code::Unavailable, "credit"),
            (Engine::Exa, 403, None, r#"{"error":"no <b>access</b>"}"#, Code::Unavailable, "no access)"),
            (Engine::Exa, 404, None, "", Code::Unavailable, "base_url"),
            (Engine::Exa, 414, None, "", Code::RequestTooLarge, "too large"),
            (Engine::Exa, 503, None, "<html>", Code::Unavailable, "(HTTP 503)"),
        ] {
            let (found, detail) = told(engine, status, wait, body);
            assert!(found == code && detail.contains(says), "{engine:?} {status}: {detail}");
            assert!(detail.starts_with("search service "), "{detail}");
        }
        for engine in [Engine::Tavily, Engine::Exa, Engine::Brave] {
            let (_, detail) = told(engine, 401, None, &format!(r#"{{"error":"bad key {key}"}}"#));
            assert!(detail.contains("bad key [key]") && !detail.contains(key), "{detail}");
        }
    }
}
