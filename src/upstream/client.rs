//! awc, set up as a proxy needs it.

use std::rc::Rc;
use std::time::Duration;

use awc::FrozenClientRequest;
use awc::http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT,
};
use awc::http::{Method, Uri};

use super::crossing::{API_KEY, OLDEST, VERSION, places};
use super::dial::dialler;
use super::fault::{Cause, Fault, Stage};
use super::transport::{Transport, Transports};
use crate::config::{Api, Provider, Secret, is_https};

/// How we introduce ourselves.
pub(super) const AGENT: &str = concat!("claude-proxy/", env!("CARGO_PKG_VERSION"));

/// Connections to providers, opened in certain ways.
#[derive(Clone)]
pub struct Client {
    ways: Rc<[Way]>,
    connect: Duration,
}

/// One way, with connections of its own.
struct Way {
    transport: Transport,
    pooled: awc::Client,
    /// Every request opens a connection of its own: for a second attempt, which must not find
    /// the next dead connection in the pool.
    fresh: awc::Client,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// `connect` bounds resolve, TCP, a proxy's tunnel and TLS together.
    /// Only providers that `transports` was made for can be asked.
    pub fn new(transports: &Transports, connect: Duration) -> Self {
        let ways = transports.iter().map(|transport| Way {
            transport: transport.clone(),
            pooled: awc(transport, connect),
            fresh: awc(transport, connect),
        });
        Self { ways: ways.collect(), connect }
    }

    /// Whether [`Client::new`] with these would open connections in the same way.
    pub fn connects_like(&self, transports: &Transports, connect: Duration) -> bool {
        self.connect == connect && self.ways.iter().map(|way| &way.transport).eq(transports.iter())
    }

    /// Everything of a request to this provider with this key that is always the same, made once.
    ///
    /// # Errors
    /// A URL or header that cannot be sent.
    pub fn endpoint(&self, provider: &Provider, key: &Secret) -> Result<Endpoint, Fault> {
        let url = &provider.completions_url;
        let mut endpoint = self.endpoint_at(url, provider, key)?;
        if provider.api == Api::Anthropic {
            let sign = if url.contains('?') { '&' } else { '?' };
            let beta = self.endpoint_at(&format!("{url}{sign}beta=true"), provider, key)?;
            endpoint.beta = Some(Box::new(beta));
        }
        Ok(endpoint)
    }

    fn endpoint_at(&self, url: &str, provider: &Provider, key: &Secret) -> Result<Endpoint, Fault> {
        let way = self.way(provider, url)?;
        let ready = |awc, accept, close| freeze(awc, provider, key, Method::POST, url, accept, close);
        let own_version =
            provider.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(VERSION.as_str()));
        Ok(Endpoint {
            name: provider.name.clone(),
            own_version,
            beta: None,
            whole: ready(&way.pooled, "application/json", false)?,
            stream: ready(&way.pooled, "text/event-stream", false)?,
            whole_again: ready(&way.fresh, "application/json", true)?,
            stream_again: ready(&way.fresh, "text/event-stream", true)?,
        })
    }

    pub(super) fn freeze(
        &self,
        provider: &Provider,
        key: &Secret,
        method: Method,
        url: &str,
        accept: &'static str,
    ) -> Result<FrozenClientRequest, Fault> {
        let way = self.way(provider, url)?;
        freeze(&way.pooled, provider, key, method, url, accept, false)
    }

    /// The way to this provider; what is meant for TLS never goes without.
    fn way(&self, provider: &Provider, url: &str) -> Result<&Way, Fault> {
        let way = self.ways.iter().find(|way| way.transport.leads_to(provider));
        way.filter(|way| way.transport.tls.is_some() == is_https(url))
            .ok_or_else(|| bad("no way to it was set up"))
    }
}

fn bad(what: impl Into<String>) -> Fault {
    Fault::new(Stage::Connect, Cause::Config(what.into()))
}

pub(super) fn awc(transport: &Transport, connect: Duration) -> awc::Client {
    let connector = awc::Connector::new()
        .connector(dialler(transport.clone()))
        // 100 by default, streams included: the 101st request would wait. Admission is ours.
        .limit(0)
        .timeout(connect)
        .conn_keep_alive(Duration::from_secs(10))
        .conn_lifetime(Duration::from_secs(300));
    awc::Client::builder()
        .connector(connector)
        // 5 s for the head by default. Our clocks are in `attempt` and in the server's pump.
        .disable_timeout()
        // Up to ten by default, body and `api-key` included.
        .disable_redirects()
        // `date` and `accept-encoding: gzip` by default.
        .no_default_headers()
        .finish()
}

/// The URL as awc is told it, who leaves TLS to [`super::dial`]: `http`, with the port written.
pub(super) fn plain(uri: Uri) -> Option<Uri> {
    if uri.scheme_str() != Some("https") {
        return Some(uri);
    }
    let authority = match uri.port() {
        Some(_) => uri.authority()?.to_string(),
        None => format!("{}:443", uri.host()?),
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Uri::builder().scheme("http").authority(authority).path_and_query(path).build().ok()
}

/// What the `host` header says.
pub(super) fn host(uri: &Uri) -> Option<String> {
    let host = uri.host()?;
    Some(match (uri.port_u16(), uri.scheme_str()) {
        (None, _) | (Some(80), Some("http")) | (Some(443), Some("https")) => host.to_owned(),
        (Some(port), _) => format!("{host}:{port}"),
    })
}

fn freeze(
    awc: &awc::Client,
    provider: &Provider,
    key: &Secret,
    method: Method,
    url: &str,
    accept: &'static str,
    close: bool,
) -> Result<FrozenClientRequest, Fault> {
    let uri: Uri = url.parse().map_err(|_| bad("its base_url is not a URL"))?;
    let host = host(&uri).ok_or_else(|| bad("its base_url has no host"))?;
    let mut request = awc
        .request(method, plain(uri).ok_or_else(|| bad("its base_url is not a URL"))?)
        // A compressed answer would be expanded without a limit: 204 kB became 200 MB.
        .no_decompress()
        .insert_header((HOST, host))
        .insert_header((USER_AGENT, AGENT))
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((ACCEPT, accept))
        .insert_header((ACCEPT_ENCODING, "identity"));
    let secret = |text: &str, what: &str| {
        let mut value = HeaderValue::from_str(text)
            .map_err(|_| bad(format!("{what} holds a character that no header may hold")))?;
        value.set_sensitive(true);
        Ok::<_, Fault>(value)
    };
    if provider.api == Api::Anthropic {
        request = request.insert_header((VERSION, OLDEST));
    }
    let (bearer, own) = places(provider, key);
    if bearer && !key.is_empty() {
        let value = secret(&format!("Bearer {}", key.expose()), "its key")?;
        request = request.insert_header((AUTHORIZATION, value));
    }
    if own && !key.is_empty() {
        request = request.insert_header((API_KEY, secret(key.expose(), "its key")?));
    }
    for (name, value) in &provider.headers {
        let value = secret(value.expose(), &format!("its header `{name}`"))?;
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| bad(format!("`{name}` is not a header name")))?;
        request = request.insert_header((name, value));
    }
    if close {
        // Such a connection is not put back into the pool, so the pool stays empty.
        request = request.force_close();
    }
    request.freeze().map_err(|e| bad(e.to_string()))
}

/// One provider, ready to be asked with one of its keys.
#[derive(Clone)]
pub struct Endpoint {
    /// The provider's name, for errors.
    pub name: String,
    /// The configuration says which version of the Messages API is asked for.
    pub(super) own_version: bool,
    /// The same with `beta=true` in the query, where the upstream speaks the Messages API.
    pub(super) beta: Option<Box<Self>>,
    pub(super) whole: FrozenClientRequest,
    pub(super) stream: FrozenClientRequest,
    /// On a connection of its own.
    pub(super) whole_again: FrozenClientRequest,
    pub(super) stream_again: FrozenClientRequest,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("name", &self.name).finish_non_exhaustive()
    }
}
