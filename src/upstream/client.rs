//! awc, set up as a proxy needs it.

use std::rc::Rc;
use std::time::Duration;

use super::dial::dialler;
use super::fault::{Cause, Fault, Stage};
use super::transport::{Transport, Transports};
use crate::config::Provider;
use awc::FrozenClientRequest;
use awc::http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT,
};
use awc::http::{Method, Uri};

/// How we introduce ourselves.
const AGENT: &str = concat!("claude-proxy/", env!("CARGO_PKG_VERSION"));

/// Connections to providers, opened in certain ways.
#[derive(Clone)]
pub struct Client {
    /// One for each way, with connections of its own.
    ways: Rc<[(Transport, awc::Client)]>,
    connect: Duration,
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
        let ways = transports.iter().map(|way| (way.clone(), Self::way(way, connect)));
        Self { ways: ways.collect(), connect }
    }

    /// Whether [`Client::new`] with these would open connections in the same way.
    pub fn connects_like(&self, transports: &Transports, connect: Duration) -> bool {
        self.connect == connect && self.ways.iter().map(|(way, _)| way).eq(transports.iter())
    }

    fn way(way: &Transport, connect: Duration) -> awc::Client {
        let connector = awc::Connector::new()
            .connector(dialler(way.clone()))
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

    /// Everything of a request to this provider that is always the same, made once.
    ///
    /// # Errors
    /// A URL or header that cannot be sent.
    pub fn endpoint(&self, provider: &Provider) -> Result<Endpoint, Fault> {
        Ok(Endpoint {
            name: provider.name.clone(),
            whole: self.freeze(provider, Method::POST, &provider.completions_url, "application/json")?,
            stream: self.freeze(provider, Method::POST, &provider.completions_url, "text/event-stream")?,
        })
    }

    pub(super) fn freeze(
        &self,
        provider: &Provider,
        method: Method,
        url: &str,
        accept: &'static str,
    ) -> Result<FrozenClientRequest, Fault> {
        let bad = |what: String| Fault::new(Stage::Connect, Cause::Config(what));
        let uri: Uri = url.parse().map_err(|_| bad("its base_url is not a URL".into()))?;
        let host = uri.host().ok_or_else(|| bad("its base_url has no host".into()))?;
        let host = match (uri.port_u16(), uri.scheme_str()) {
            (None, _) | (Some(80), Some("http")) | (Some(443), Some("https")) => host.to_owned(),
            (Some(port), _) => format!("{host}:{port}"),
        };
        let way = self.ways.iter().find(|(way, _)| way.leads_to(provider));
        // What is meant for TLS never goes without.
        let fits =
            |(way, _): &&(Transport, awc::Client)| way.tls.is_some() == (uri.scheme_str() == Some("https"));
        let (_, awc) = way.filter(fits).ok_or_else(|| bad("no way to it was set up".into()))?;
        let mut request = awc
            .request(method, plain(uri).ok_or_else(|| bad("its base_url is not a URL".into()))?)
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
        if !provider.api_key.is_empty() {
            let value = secret(&format!("Bearer {}", provider.api_key.expose()), "its api_key")?;
            request = request.insert_header((AUTHORIZATION, value));
        }
        for (name, value) in &provider.headers {
            let value = secret(value.expose(), &format!("its header `{name}`"))?;
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| bad(format!("`{name}` is not a header name")))?;
            request = request.insert_header((name, value));
        }
        request.freeze().map_err(|e| bad(e.to_string()))
    }
}

/// The URL as awc is told it, who leaves TLS to [`super::dial`]: `http`, with the port written.
fn plain(uri: Uri) -> Option<Uri> {
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

/// One provider, ready to be asked.
#[derive(Clone)]
pub struct Endpoint {
    /// The provider's name, for errors.
    pub name: String,
    pub(super) whole: FrozenClientRequest,
    pub(super) stream: FrozenClientRequest,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("name", &self.name).finish_non_exhaustive()
    }
}
