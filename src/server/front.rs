//! actix-web on our own connections.

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

use actix_http::HttpService;
use actix_rt::net::TcpStream;
use actix_server::Server;
use actix_service::{ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::error::DispatchError;
use actix_web::web::{self, Payload};
use actix_web::{App, HttpRequest, HttpResponse};

use super::connection::Connection;
use super::ids::Ids;
use super::talk::IDLE;

/// Answers on `listener` until it is told to stop. `handler` is called once for each worker, on
/// its own thread, and gives what answers the requests.
///
/// # Errors
/// The listener cannot be used.
pub(super) fn serve<H, F, R>(
    listener: TcpListener,
    workers: usize,
    shutdown: Duration,
    handler: F,
) -> io::Result<Server>
where
    F: Fn() -> H + Send + Clone + 'static,
    H: Fn(HttpRequest, Payload) -> R + Clone + 'static,
    R: Future<Output = HttpResponse> + 'static,
{
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(100_000)
        .shutdown_timeout(shutdown.as_secs())
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let builder = builder.listen("clients", listener, move || {
        let app = App::new().default_service(web::to(handler()));
        let stopping = stopping.clone();
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
            .on_connect_ext(|connection: &Connection<TcpStream>, data| {
                data.insert(connection.talk());
            })
            .h1(map_config(app, |()| AppConfig::default()));
        let ids = Rc::new(Ids::default());
        fn_service(move |stream: TcpStream| {
            // Accepted sockets do not have it: an event would wait 43 ms for an acknowledgement.
            let _ = stream.set_nodelay(true);
            let peer = stream.peer_addr().ok();
            let connection = Connection::new(stream, peer, Rc::clone(&ids));
            async move { Ok::<_, DispatchError>((connection, peer)) }
        })
        .and_then(http)
    })?;
    Ok(builder.run())
}
