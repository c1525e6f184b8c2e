//! Opening a connection: resolve, TCP, perhaps a tunnel through a proxy, perhaps TLS.
//!
//! All of it happens here, TLS too: awc is told that every provider is plain `http` and takes
//! what it is given. Its own TLS knows neither IPv6 addresses in URLs nor who was at fault.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use actix_rt::net::TcpStream;
use actix_service::{Service, fn_service};
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use bytes::Bytes;
use tokio::time::Instant;

use super::aside::Line;
use super::fault::{Cause, Fault, ProxyFault, Stage};
use super::framing::Framing;
use super::stream::Stream;
use super::tls;
use super::transport::Transport;
use super::tunnel::open;
use crate::config::{Proxy, authority};

/// How far an attempt has come. awc tells neither whether it took a connection from its pool
/// nor when the connection was ready, so the dialler and the body note it here.
#[derive(Default)]
pub(super) struct Progress {
    /// A new connection was opened: nothing of its own history can have closed it.
    pub(super) dialled: Cell<bool>,
    /// The proxy that has not opened its tunnel yet.
    pub(super) asked: RefCell<Option<Arc<Proxy>>>,
    /// The host name was resolved. None: the connection came from the pool.
    pub(super) resolved: Cell<Option<Instant>>,
    /// TCP was connected, through the proxy if there is one. None: the connection came from the
    /// pool.
    pub(super) opened: Cell<Option<Instant>>,
    /// The request is being written, or can be: resolve, TCP and TLS are behind us.
    pub(super) connected: Cell<Option<Instant>>,
    /// The body of the request, until its connection takes it.
    pub(super) body: Cell<Bytes>,
    /// Where the answer's body is laid down; none: awc has it.
    pub(super) line: Cell<Option<Rc<Line>>>,
    /// Where the connection is to lead, until it is opened; for ways that lead to anybody.
    pub(super) route: Cell<Option<Route>>,
}

/// Where a connection leads, decided on before: nothing is resolved again.
#[derive(Debug, Clone)]
pub enum Route {
    /// To the first of these addresses that answers.
    Direct(Vec<SocketAddr>),
    /// Through a tunnel that the proxy opens to this host and port, as URLs have them.
    Tunnel(Arc<Proxy>, String),
}

tokio::task_local! {
    /// The attempt that the current poll belongs to.
    pub(super) static PROGRESS: Rc<Progress>;
}

fn note(what: impl FnOnce(&Progress)) {
    let _ = PROGRESS.try_with(|progress| what(progress));
}

/// The body of the request whose head is being written, once; none: it has none.
pub(super) fn outgoing() -> Option<Bytes> {
    let take = |progress: &Rc<Progress>| {
        let body = Some(progress.body.take()).filter(|body| !body.is_empty())?;
        if progress.connected.get().is_none() {
            progress.connected.set(Some(Instant::now()));
        }
        Some(body)
    };
    PROGRESS.try_with(take).ok().flatten()
}

/// What awc calls for a connection. Its errors hold a [`Fault`].
pub(super) fn dialler(
    way: Transport,
) -> impl Service<ConnectInfo<Uri>, Response = Connection<Uri, Framing>, Error = ConnectError> + Clone + 'static
{
    fn_service(move |info: ConnectInfo<Uri>| {
        let way = way.clone();
        async move {
            note(|p| p.dialled.set(true));
            let uri = info.request().clone();
            match dial(&uri, &way).await {
                Ok(stream) => Ok(Connection::new(uri, Framing::new(stream))),
                Err(cause) => Err(ConnectError::Io(io::Error::other(Fault::new(Stage::Connect, cause)))),
            }
        }
    })
}

async fn dial(uri: &Uri, way: &Transport) -> Result<Stream, Cause> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(80);
    let tcp = match &way.proxy {
        _ if way.routed => match PROGRESS.try_with(|progress| progress.route.take()).ok().flatten() {
            Some(Route::Direct(addresses)) => connect(&addresses).await.map_err(Cause::Connect)?,
            Some(Route::Tunnel(proxy, target)) => tunnel(&proxy, &target).await?,
            None => return Err(Cause::Config("nobody decided on its address".to_owned())),
        },
        None => {
            let addresses = resolve(host, port).await.ok_or(Cause::Resolve)?;
            connect(&addresses).await.map_err(Cause::Connect)?
        }
        Some(proxy) => tunnel(proxy, &authority(host, port)).await?,
    };
    note(|p| p.opened.set(Some(Instant::now())));
    let stream = match &way.tls {
        Some(config) => Stream::Tls(tls::handshake(config, way.roots.is_some(), host, tcp).await?),
        None => Stream::Plain(tcp),
    };
    note(|p| p.connected.set(Some(Instant::now())));
    Ok(stream)
}

async fn tunnel(proxy: &Arc<Proxy>, target: &str) -> Result<TcpStream, Cause> {
    note(|p| drop(p.asked.replace(Some(Arc::clone(proxy)))));
    let tcp = through(proxy, target).await;
    let tcp = tcp.map_err(|fault| Cause::Proxy { proxy: proxy.to_string(), fault })?;
    note(|p| drop(p.asked.take()));
    Ok(tcp)
}

/// The proxy resolves the host of `target`; we may not even be able to.
async fn through(proxy: &Proxy, target: &str) -> Result<TcpStream, ProxyFault> {
    let addresses = resolve(&proxy.host, proxy.port).await.ok_or(ProxyFault::Resolve)?;
    let mut tcp = connect(&addresses).await.map_err(ProxyFault::Connect)?;
    open(&mut tcp, proxy, target).await?;
    tracing::debug!(%proxy, target, "a tunnel is open");
    Ok(tcp)
}

async fn resolve(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((host, port)).await.ok()?;
    note(|p| p.resolved.set(Some(Instant::now())));
    Some(found.collect()).filter(|all: &Vec<_>| !all.is_empty())
}

/// Connects to the first address that answers.
async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::other("no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(tcp) => {
                // Otherwise a request that leaves in more than one write waits for the peer's
                // delayed acknowledgement (p99 46 ms instead of 5 for 2 MB).
                let _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}
