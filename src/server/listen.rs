//! Binding, running, ending.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

#[cfg(target_os = "linux")]
use socket2::SockRef;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;

use super::admit::{Gate, Load};
use super::app::{Shared, answer};
use super::auth::Keys;
use super::budgets::Standing;
use super::closing::{Door, LAST_COMERS};
use super::current::{Current, Newest};
use super::dashboard::Setup;
use super::drain::Drain;
use super::front;
use super::intake::Unfinished;
use super::reload::Reload;
use super::tls::Certificate;
use crate::config::{self, Config, Finding};
use crate::observe::Capture;
use crate::store::spent::Spent;
use crate::store::threads::{Limits, Threads};
use crate::store::{OpenError, Store, StoreError};
use crate::upstream::health::Health;
use crate::upstream::retry::Budget;
use crate::upstream::{TlsError, Transports};
use crate::web;

/// `/ready` says no for this long before the listener closes: load balancers that probe
/// every second have looked away by then.
const LAME_DUCK: Duration = Duration::from_secs(1);
/// What is still there this long after the deadline is cut off: its client does not read.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Bytes that a client does not acknowledge for this long cut it off.
#[cfg(target_os = "linux")]
const CLIENT_WRITE: Duration = Duration::from_secs(60);

/// Tells a server to stop: the first message starts the way out, a second one ends it.
pub type Stop = mpsc::UnboundedReceiver<()>;

/// The server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// No address for the configured host.
    #[error("host `{0}`: {1}")]
    Host(String, #[source] io::Error),
    /// The port is taken, or not ours to take.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// A provider's URL is `https`, and TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file of the threads cannot be used.
    #[error("threads: {0}")]
    Threads(#[source] OpenError),
    /// The file of what was spent cannot be used.
    #[error("budgets: {0}")]
    Budgets(#[source] OpenError),
}

/// The proxy.
#[derive(Debug)]
pub struct Server;

/// A proxy that listens; nothing is answered until [`Bound::run`].
pub struct Bound {
    config: Arc<Config>,
    listener: TcpListener,
    /// It stays open for somebody else when this server is gone.
    shared: bool,
    addr: SocketAddr,
    current: Current,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Server {
    /// Takes the configured address.
    ///
    /// # Errors
    /// The address is taken or does not exist, or TLS is unusable.
    pub fn bind(config: Arc<Config>) -> Result<Bound, BindError> {
        let host = |e| BindError::Host(config.host.clone(), e);
        let addr = (config.host.as_str(), config.port)
            .to_socket_addrs()
            .map_err(host)?
            // `localhost` is both; clients that know only one know IPv4.
            .min_by_key(SocketAddr::is_ipv6)
            .ok_or_else(|| host(io::Error::other("no such host")))?;
        let listener = listener(addr).map_err(|e| BindError::Listen(addr, e))?;
        let addr = listener.local_addr().map_err(|e| BindError::Listen(addr, e))?;
        Self::over(config, listener, addr, false)
    }

    /// On a socket that somebody else has opened, and keeps: a service manager.
    ///
    /// # Errors
    /// It is no socket that listens, or TLS is unusable.
    pub fn adopt(config: Arc<Config>, listener: TcpListener) -> Result<Bound, BindError> {
        let unknown = SocketAddr::from(([0; 4], 0));
        let addr = listener.local_addr().map_err(|e| BindError::Listen(unknown, e))?;
        #[cfg(target_os = "linux")]
        SockRef::from(&listener)
            .set_tcp_user_timeout(Some(CLIENT_WRITE))
            .map_err(|e| BindError::Listen(addr, e))?;
        Self::over(config, listener, addr, true)
    }

    fn over(
        config: Arc<Config>,
        listener: TcpListener,
        addr: SocketAddr,
        shared_socket: bool,
    ) -> Result<Bound, BindError> {
        let transports = Transports::new(config.providers(), None)?;
        let metrics = Arc::default();
        let (threads, spent) = kept(&config)?;
        let shared = Shared {
            web: web::Setup::new(&config, &transports, None)?,
            transports,
            certificate: config.tls.as_deref().map(Certificate::new),
            keys: Keys::new(&config, &metrics, spent.as_ref()),
            failures: Arc::default(),
            gate: Gate::new(config.max_concurrent_requests),
            unfinished: Unfinished::default(),
            drain: Drain::default(),
            counting: Arc::default(),
            media: Arc::default(),
            capture: None,
            metrics,
            health: Arc::default(),
            budget: Budget::default(),
            desk: Arc::default(),
            findings: Arc::new([]),
            spent,
            threads,
            config: Arc::clone(&config),
        };
        shared.desk.heed(&config);
        Ok(Bound { config, listener, shared: shared_socket, addr, current: Current::new(shared) })
    }
}

/// What outlives the process: in one file, where both name the same.
fn kept(config: &Config) -> Result<(Option<Threads>, Option<Spent>), BindError> {
    let mut store: Option<(&Path, Store)> = None;
    let mut threads = None;
    if let Some(config::Threads { path, max_bytes, max_age }) = &config.extras.threads {
        let limits = Limits { max_bytes: *max_bytes, max_age: *max_age };
        let opened = Store::open(path).map_err(BindError::Threads)?;
        threads = Some(Threads::of(opened.clone(), limits));
        store = Some((path, opened));
    }
    let Some(config::Budgets { path, .. }) = &config.budgets else { return Ok((threads, None)) };
    let store = match store {
        Some((same, store)) if same == path => store,
        _ => Store::open(path).map_err(BindError::Budgets)?,
    };
    let damaged = |e: StoreError| OpenError::Damaged { path: path.clone(), what: e.to_string() };
    let spent = Spent::of(store).map_err(damaged).map_err(BindError::Budgets)?;
    Ok((threads, Some(spent)))
}

fn listener(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // On Windows this option would let two processes share the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it: a reader that stopped reading is cut.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(CLIENT_WRITE))?;
    socket.bind(&addr.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

impl Bound {
    /// Keeps every exchange on disk.
    pub fn capture(&mut self, capture: Arc<Capture>) {
        self.current.amend(|shared| shared.capture = Some(capture));
    }

    /// The dashboard shows these findings of the configuration, and these lines that point a client
    /// here.
    pub fn tell(&mut self, findings: Vec<Finding>, setup: Setup) {
        self.current.amend(|shared| {
            shared.findings = findings.into();
            shared.desk.set_up(setup);
        });
    }

    /// Lets a provider or key that fails rest so long the first time, instead of 30 s.
    pub fn rest(&mut self, first: Duration) {
        self.current.amend(|shared| shared.health = Arc::new(Health::resting_for(first)));
    }

    /// Cuts clients that acknowledge nothing for `limit`, instead of for a minute.
    ///
    /// # Errors
    /// The system refuses it.
    #[cfg(target_os = "linux")]
    pub fn client_write(&self, limit: Duration) -> io::Result<()> {
        SockRef::from(&self.listener).set_tcp_user_timeout(Some(limit))
    }

    /// Tells how many requests run, also while [`Bound::run`] does.
    pub fn load(&self) -> Load {
        let (_, shared) = self.current.get();
        shared.gate.load(&shared.unfinished)
    }

    /// Replaces the configuration, also while [`Bound::run`] does.
    pub fn reload(&self) -> Reload {
        Reload::new(Arc::clone(&self.config), self.current.clone())
    }

    /// Where it listens; the real port if 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until told to stop. Must run inside `actix_rt::System`.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn run(self, mut stop: Stop) -> io::Result<()> {
        let Self { config, listener, shared, current, .. } = self;
        let Shared { drain, certificate, keys, .. } = current.get().1;
        for Standing { name, spent, budget } in keys.standings() {
            let budget = budget.map(tracing::field::display);
            tracing::info!(key = %name, %spent, budget, "spent so far today");
        }
        let factory = current.clone();
        // A queue that somebody else goes on to serve is left to them.
        let door = (!shared).then(|| Door::of(&listener));
        let server = front::serve(listener, config.workers.max(1), certificate.as_ref(), move || {
            let newest = Rc::new(Newest::new(factory.clone()));
            move |request, payload| answer(newest.worker(), request, payload)
        })?;
        let handle = server.handle();
        let way_out = async {
            if stop.recv().await.is_none() {
                // Nobody is left who could say stop.
                std::future::pending::<()>().await;
            }
            drain.begin();
            let grace = current.get().1.config.shutdown_grace;
            let closing = async {
                tokio::time::sleep(LAME_DUCK.min(grace)).await;
                match door {
                    Some(door) => door.turn_away(),
                    None => handle.pause().await,
                }
                tokio::time::sleep(LAST_COMERS).await;
                handle.stop(true).await;
                // Nobody is left, so `server` has ended too.
                std::future::pending::<()>().await;
            };
            let deadline = async {
                tokio::time::sleep(grace).await;
                drain.force();
                tokio::time::sleep(LAST_WORDS).await;
            };
            tokio::select! {
                () = closing => {}
                () = deadline => {}
                Some(()) = stop.recv() => {}
            }
        };
        let ended = tokio::select! {
            ended = server => ended,
            // A server that is dropped ends at once. One that is ending already takes no orders.
            () = way_out => Ok(()),
        };
        if let Some(spent) = current.get().1.spent {
            spent.flush().await;
        }
        ended
    }
}
