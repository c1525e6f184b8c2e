//! Opening a connection.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use actix_rt::net::TcpStream;
use actix_service::{Service, fn_service};
use actix_tls::connect::tcp::TcpConnector;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection, Resolver};
use awc::http::Uri;
use tokio::time::Instant;

use super::framing::Framing;

/// How far an attempt has come. awc tells neither whether it took a connection from its pool
/// nor when the connection was ready, so the dialler and the body note it here.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// A new connection was opened: nothing of its own history can have closed it.
    pub(super) dialled: Cell<bool>,
    /// The host name was resolved. None: the connection came from the pool.
    pub(super) resolved: Cell<Option<Instant>>,
    /// TCP was connected. None: the connection came from the pool.
    pub(super) opened: Cell<Option<Instant>>,
    /// The request is being written: resolve, TCP and TLS are behind us.
    pub(super) connected: Cell<Option<Instant>>,
    /// Set what is in it, and the connection that the request went out on is not used again.
    pub(super) connection: RefCell<Rc<Cell<bool>>>,
}

tokio::task_local! {
    /// The attempt that the current poll belongs to.
    pub(super) static PROGRESS: Rc<Progress>;
}

/// awc's TCP connector, with TCP_NODELAY and readable framing.
///
/// awc does not set it: a request that leaves in more than one write then waits for the
/// peer's delayed acknowledgement (p99 46 ms instead of 5 for 2 MB).
pub(super) fn dialler()
-> impl Service<ConnectInfo<Uri>, Response = Connection<Uri, Framing>, Error = ConnectError> + Clone + 'static
{
    let resolver = Resolver::default().service();
    let tcp = TcpConnector::default().service();
    fn_service(move |info: ConnectInfo<Uri>| {
        let resolving = resolver.call(info);
        async move {
            // awc panics when it converts `InvalidInput`.
            let told = |e| match e {
                ConnectError::InvalidInput => ConnectError::Unresolved,
                e => e,
            };
            let _ = PROGRESS.try_with(|p| p.dialled.set(true));
            let info = resolving.await.map_err(told)?;
            let _ = PROGRESS.try_with(|p| p.resolved.set(Some(Instant::now())));
            let connection: Connection<Uri, TcpStream> = tcp.call(info).await.map_err(told)?;
            let _ = PROGRESS.try_with(|p| p.opened.set(Some(Instant::now())));
            let _ = connection.io_ref().set_nodelay(true);
            let plain = connection.request().scheme_str() != Some("https");
            let (stream, connection) = connection.replace_io(());
            let ((), connection) = connection.replace_io(Framing::new(stream, plain));
            Ok::<_, ConnectError>(connection)
        }
    })
}
