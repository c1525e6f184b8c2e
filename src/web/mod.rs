//! Searching the web and fetching pages, where the configuration lets the proxy do it.
//!
//! A search asks the one service that is configured. A fetch goes to any public host, and that is
//! why this layer is careful: URLs come from models, which may repeat what a hostile page told
//! them. See [`address`](self), which says what is public, and `lookup`, which sees to it that
//! nothing else is reached.

mod address;
mod charset;
mod domains;
mod error;
mod fetch;
mod html;
mod lookup;
mod page;
mod search;
mod target;
mod text;
mod unpack;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub use error::{Code, WebError};
pub use lookup::Resolver;
pub use page::{Content, Page};
pub use search::{Hit, SearchOptions};
pub use target::MAX_URL;

use crate::config::{Config, Extras};
use crate::upstream::{TlsError, Transports, Visitor};
use fetch::Fetcher;
use search::Searcher;
use target::Listed;

/// Fetches at the same time, in the whole process: each may hold 10 MiB, and once more while it
/// is expanded.
const FETCHES: usize = 8;
/// Searches at the same time, in the whole process.
const SEARCHES: usize = 16;
/// Pages that are made text at the same time: each takes a processor.
const READERS: usize = 2;

/// What a fetch is asked for, besides the URL.
#[derive(Debug, Clone, Default)]
pub struct FetchOptions {
    /// Only these may be fetched, unless it is empty; redirects too.
    pub allowed_domains: Vec<String>,
    /// These may not.
    pub blocked_domains: Vec<String>,
    /// Text is cut to about so many tokens; 25,000 if none is given, and 200,000 at most.
    pub max_content_tokens: Option<u64>,
}

/// What all workers share. Cheap to clone.
#[derive(Clone)]
pub struct Setup {
    extras: Arc<Extras>,
    connect: Duration,
    search: Transports,
    fetch: Transports,
    searches: Arc<Semaphore>,
    fetches: Arc<Semaphore>,
    readers: Arc<Semaphore>,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("web::Setup")
    }
}

impl Setup {
    /// For a configuration; none: it has neither `web_search` nor `web_fetch`, and nothing is done.
    ///
    /// TLS that is set up already, for providers or `before`, is used further.
    ///
    /// # Errors
    /// The system's certificates are needed and cannot be used.
    pub fn new(
        config: &Config,
        providers: &Transports,
        before: Option<&Self>,
    ) -> Result<Option<Self>, TlsError> {
        let extras = &config.extras;
        if extras.web_search.is_none() && !extras.web_fetch {
            return Ok(None);
        }
        let mut known = providers.clone();
        if let Some(before) = before {
            known = known.and(&before.search).and(&before.fetch);
        }
        let fetch = if extras.web_fetch { Transports::to_anybody(&known)? } else { Transports::default() };
        let provider = extras.web_search.as_ref().map(search::provider);
        let search = Transports::new(&provider, Some(&known.and(&fetch)))?;
        let slots = |of: fn(&Self) -> &Arc<Semaphore>, most| {
            before.map_or_else(|| Arc::new(Semaphore::new(most)), |before| Arc::clone(of(before)))
        };
        Ok(Some(Self {
            extras: Arc::new(extras.clone()),
            connect: config.connect_timeout,
            search,
            fetch,
            searches: slots(|s| &s.searches, SEARCHES),
            fetches: slots(|s| &s.fetches, FETCHES),
            readers: slots(|s| &s.readers, READERS),
        }))
    }
}

/// Searches and fetches for one worker; dropping what it is asked cancels it.
pub struct Web {
    searcher: Option<Searcher>,
    fetcher: Option<Fetcher>,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (search, fetch) = (self.can_search(), self.can_fetch());
        f.debug_struct("Web").field("search", &search).field("fetch", &fetch).finish()
    }
}

impl Web {
    /// With connections of its own.
    pub fn new(setup: &Setup) -> Self {
        let extras = &setup.extras;
        let searcher = extras
            .web_search
            .as_ref()
            .map(|search| Searcher::new(search, &setup.search, setup.connect, Arc::clone(&setup.searches)));
        let fetcher = extras.web_fetch.then(|| {
            Fetcher::new(
                Visitor::new(&setup.fetch, setup.connect),
                setup.connect,
                Listed::new(&extras.web_fetch_private_hosts),
                extras.web_fetch_proxies.clone(),
                Arc::clone(&setup.fetches),
                Arc::clone(&setup.readers),
            )
        });
        Self { searcher, fetcher }
    }

    /// Asks this for the addresses of names that are fetched from, and not the system.
    #[must_use]
    pub fn resolving(mut self, resolver: Resolver) -> Self {
        if let Some(fetcher) = &mut self.fetcher {
            fetcher.resolver = resolver;
        }
        self
    }

    /// Lets a search or a fetch take so long, and not 20 or 30 s.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        if let Some(fetcher) = &mut self.fetcher {
            fetcher.within = limit;
        }
        if let Some(searcher) = &mut self.searcher {
            searcher.within = limit;
        }
        self
    }

    /// `web_search` is configured.
    pub fn can_search(&self) -> bool {
        self.searcher.is_some()
    }

    /// `web_fetch` is configured.
    pub fn can_fetch(&self) -> bool {
        self.fetcher.is_some()
    }

    /// Searches. Each hit is of the domains that were asked for, and has an `http` or `https` URL.
    ///
    /// # Errors
    /// The service cannot be asked or will not answer; the query or the domains cannot be meant.
    pub async fn search(&self, query: &str, asked: &SearchOptions) -> Result<Vec<Hit>, WebError> {
        let searcher = self.searcher.as_ref();
        let searcher = searcher.ok_or_else(|| WebError::new(Code::Unavailable, "`web_search` is not set"))?;
        let found = searcher.search(query, asked).await;
        if let Err(error) = &found {
            tracing::debug!(%error, "a search failed");
        }
        found
    }

    /// Fetches a page, from the public internet and the hosts that `web_fetch_private_hosts` lists,
    /// through as many as ten redirects.
    ///
    /// # Errors
    /// The URL may not be fetched, there is no page that can be read, or it does not come in time.
    pub async fn fetch(&self, url: &str, asked: &FetchOptions) -> Result<Page, WebError> {
        let fetcher = self.fetcher.as_ref();
        let fetcher = fetcher.ok_or_else(|| WebError::new(Code::Unavailable, "`web_fetch` is not on"))?;
        let page = fetcher.fetch(url, asked).await;
        if let Err(error) = &page {
            tracing::debug!(%error, "a fetch failed");
        }
        page
    }
}
