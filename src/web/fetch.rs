//! Fetching a page: GET, and nothing that could change anything there.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::domains::Domains;
use super::error::{Code, WebError};
use super::lookup::{Resolver, route, system};
use super::page::{Body, Kind, MAX_PAGE, Page};
use super::target::{Listed, Target};
use super::{FetchOptions, charset};
use crate::config::Proxies;
use crate::upstream::{Answer, Limits, Visitor};

/// Most redirects that are followed.
const REDIRECTS: usize = 10;
/// Longest that a fetch takes, redirects and waiting for others included.
const WITHIN: Duration = Duration::from_secs(30);
/// What is asked for, the best for a model first.
const ACCEPT: &str = "text/markdown, text/html;q=0.9, application/xhtml+xml;q=0.9, text/plain;q=0.8, application/pdf;q=0.7, */*;q=0.5";

/// Fetches pages for one worker.
pub(super) struct Fetcher {
    pub(super) visitor: Visitor,
    pub(super) connect: Duration,
    pub(super) within: Duration,
    pub(super) listed: Listed,
    pub(super) proxies: Proxies,
    pub(super) resolver: Resolver,
    /// Fetches that may run, in the whole process.
    pub(super) slots: Arc<Semaphore>,
    /// Pages that may be made text at the same time.
    pub(super) readers: Arc<Semaphore>,
}

impl Fetcher {
    pub(super) fn new(
        visitor: Visitor,
        connect: Duration,
        listed: Listed,
        proxies: Proxies,
        slots: Arc<Semaphore>,
        readers: Arc<Semaphore>,
    ) -> Self {
        Self { visitor, connect, within: WITHIN, listed, proxies, resolver: system(), slots, readers }
    }

    pub(super) async fn fetch(&self, url: &str, asked: &FetchOptions) -> Result<Page, WebError> {
        let domains = Domains::read(&asked.allowed_domains, &asked.blocked_domains)?;
        let target = Target::read(url, &self.listed, &domains)?;
        let until = Instant::now() + self.within;
        let page = async {
            let _slot = self.slots.acquire().await;
            let (target, answer) = self.arrive(target, &domains).await?;
            self.page(target, answer, asked).await
        };
        timeout_at(until, page).await.unwrap_or_else(|_| {
            let detail = format!("it did not come within {} s", self.within.as_secs_f64());
            Err(WebError::new(Code::UrlNotAccessible, detail))
        })
    }

    /// The answer that is no redirect, and where it was.
    async fn arrive(&self, mut target: Target, domains: &Domains) -> Result<(Target, Answer), WebError> {
        for _ in 0..=REDIRECTS {
            let route = route(&target, &self.resolver, &self.proxies).await?;
            // The whole is bounded by the caller.
            let limits = Limits { connect: self.connect, answer: self.within };
            let answer = self.visitor.get(target.asked().as_str(), route, ACCEPT, limits).await;
            let answer = answer.map_err(|fault| WebError::unreached(&fault))?;
            tracing::debug!(host = target.host, port = target.port, status = answer.status, "fetched");
            let location = matches!(answer.status, 301 | 302 | 303 | 307 | 308).then(|| answer.location());
            match location.flatten() {
                Some(location) => target = target.follow(location, &self.listed, domains)?,
                None => return Ok((target, answer)),
            }
        }
        Err(WebError::new(Code::UrlNotAccessible, format!("it redirects more than {REDIRECTS} times")))
    }

    async fn page(&self, target: Target, mut answer: Answer, asked: &FetchOptions) -> Result<Page, WebError> {
        check_status(&answer)?;
        let media_type = answer.media_type().map(str::to_owned);
        let kind = Kind::of(media_type.as_deref())?;
        let (bytes, cut) = body(&mut answer).await?;
        let body = Body {
            bytes,
            cut,
            encoding: answer.body.encoding(),
            kind,
            charset: media_type.as_deref().and_then(charset::charset).map(str::to_owned),
            base: target.url.clone(),
            tokens: asked.max_content_tokens,
        };
        drop(answer);
        let permit = Arc::clone(&self.readers).acquire_owned().await;
        let read = tokio::task::spawn_blocking(move || {
            // It goes on when nobody waits any more, and counts for as long.
            let _permit = permit;
            body.read()
        });
        let read = read.await.map_err(|_| WebError::new(Code::Unavailable, "reading the page failed"));
        let (title, content) = read??;
        let retrieved_at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Ok(Page { url: target.url.into(), title, content, retrieved_at })
    }
}

fn check_status(answer: &Answer) -> Result<(), WebError> {
    let status = answer.status;
    match status {
        200..=203 | 206 => Ok(()),
        204 | 205 => Err(WebError::new(Code::UrlNotAccessible, "there is an empty page")),
        429 => {
            let wait = answer.wait().map(|d| format!(" for {} s", d.as_secs())).unwrap_or_default();
            Err(WebError::new(Code::TooManyRequests, format!("its server asks to wait{wait} (HTTP 429)")))
        }
        _ => Err(WebError::new(Code::UrlNotAccessible, format!("its server answers HTTP {status}"))),
    }
}

/// The body, and whether there is more of it than is kept.
async fn body(answer: &mut Answer) -> Result<(Bytes, bool), WebError> {
    let mut all = BytesMut::new();
    while let Some(chunk) = answer.body.chunk().await {
        let chunk = chunk.map_err(|fault| WebError::unreached(&fault))?;
        let room = MAX_PAGE - all.len();
        if let Some((fits, _)) = chunk.split_at_checked(room).filter(|(_, rest)| !rest.is_empty()) {
            all.extend_from_slice(fits);
            return Ok((all.freeze(), true));
        }
        all.extend_from_slice(&chunk);
    }
    Ok((all.freeze(), false))
}
