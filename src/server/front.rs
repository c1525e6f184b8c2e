//! actix-web on our own connections, over TCP or TLS.

use std::future::{Future, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use actix_http::HttpService;
use actix_rt::net::TcpStream;
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_tls::accept::TlsError;
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::AppConfig;
use actix_web::error::DispatchError;
use actix_web::web::{self, Payload};
use actix_web::{App, HttpRequest, HttpResponse};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Connection;
use super::ids::Ids;
use super::talk::IDLE;
use super::tls::{self, Certificate};

/// Connections at once, for each worker.
pub(super) const MAX_CONNECTIONS: usize = 100_000;
/// In seconds: ours is the deadline that counts. It tells the clients, and a reload can move it.
const NO_DEADLINE: u64 = u32::MAX as u64;

/// Answers on `listener` until it is told to stop. `handler` is called once for each worker, on
/// its own thread, and gives what answers the requests.
///
/// # Errors
/// The listener cannot be used, or the certificate.
pub(super) fn serve<H, F, R>(
    listener: TcpListener,
    workers: usize,
    certificate: Option<&Certificate>,
    handler: F,
) -> io::Result<Server>
where
    F: Fn() -> H + Send + Clone + 'static,
    H: Fn(HttpRequest, Payload) -> R + Clone + 'static,
    R: Future<Output = HttpResponse> + 'static,
{
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(MAX_CONNECTIONS)
        .shutdown_timeout(NO_DEADLINE)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let builder = if let Some(certificate) = certificate {
        let acceptor = tls::acceptor(certificate)?;
        builder.listen("https", listener, move || {
            fn_service(tls::encrypted)
                .and_then(acceptor.clone().map_err(TlsError::into_service_error))
                .and_then(|stream: TlsStream<TcpStream>| {
                    let peer = set_up(stream.get_ref().0);
                    ready(Ok((stream, peer)))
                })
                .and_then(http(handler(), stopping.clone()).map_err(TlsError::Service))
        })?
    } else {
        builder.listen("http", listener, move || {
            fn_service(|stream: TcpStream| {
                let peer = set_up(&stream);
                ready(Ok::<_, DispatchError>((stream, peer)))
            })
            .and_then(http(handler(), stopping.clone()))
        })?
    };
    Ok(builder.run())
}

/// Sets the options of a connection; who it is.
fn set_up(stream: &TcpStream) -> Option<SocketAddr> {
    // Accepted sockets do not have it: an event would wait 43 ms for an acknowledgement.
    let _ = stream.set_nodelay(true);
    stream.peer_addr().ok()
}

/// HTTP/1.1 on one connection.
fn http<T, H, R>(
    handler: H,
    stopping: GracefulShutdownSignal,
) -> impl ServiceFactory<(T, Option<SocketAddr>), Config = (), Response = (), Error = DispatchError, InitError = ()>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Fn(HttpRequest, Payload) -> R + Clone + 'static,
    R: Future<Output = HttpResponse> + 'static,
{
    let app = App::new().default_service(web::to(handler));
    let http = HttpService::build()
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        .keep_alive(IDLE)
        // The connection has clocks of its own, also for later heads.
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(Duration::from_secs(1))
        // With half-closed connections a client that left is not noticed until its stream ends.
        .h1_allow_half_closed(false)
        .on_connect_ext(|connection: &Connection<T>, data| {
            data.insert(connection.talk());
        })
        .h1(map_config(app, |()| AppConfig::default()));
    let ids = Rc::new(Ids::default());
    fn_service(move |(stream, peer): (T, Option<SocketAddr>)| {
        ready(Ok::<_, DispatchError>((Connection::new(stream, peer, Rc::clone(&ids)), peer)))
    })
    .and_then(http)
}
