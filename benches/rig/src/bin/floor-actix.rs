//! actix-web server + awc client, converting nothing: the request body is collected (as a
//! converting proxy must do), the response is streamed through.
//! floor-actix LISTEN UPSTREAM [WORKERS] [nagle]
//! Neither side sets TCP_NODELAY unless told; `nagle` leaves it so, to show what that costs.
use actix_service::{Service as _, fn_service};
use actix_tls::connect::{ConnectError, ConnectInfo, Connection, Connector as TcpConnector};
use actix_web::http::Uri;
use actix_web::http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING};
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use std::net::SocketAddr;
use std::time::Duration;

struct Up {
    client: awc::Client,
    base: String,
}

fn hop(h: &HeaderName) -> bool {
    *h == CONNECTION || *h == TRANSFER_ENCODING || *h == CONTENT_LENGTH || *h == HOST
}

async fn pass(
    req: HttpRequest,
    body: web::Bytes,
    up: web::Data<Up>,
) -> Result<HttpResponse, actix_web::Error> {
    let path = req.uri().path_and_query().map_or("/", |p| p.as_str());
    let mut r = up.client.request(req.method().clone(), format!("{}{path}", up.base)).no_decompress();
    for (k, v) in req.headers().iter().filter(|(k, _)| !hop(k)) {
        r = r.insert_header((k.clone(), v.clone()));
    }
    let res = r.send_body(body).await.map_err(actix_web::error::ErrorBadGateway)?;
    let mut out = HttpResponse::build(res.status());
    for (k, v) in res.headers().iter().filter(|(k, _)| !hop(k)) {
        out.insert_header((k.clone(), v.clone()));
    }
    if let Some(n) = res.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok()) {
        out.no_chunking(n);
    }
    Ok(out.streaming(res))
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let listen: SocketAddr = a[1].parse().expect("listen");
    let up: SocketAddr = a[2].parse().expect("upstream");
    assert!(listen.ip().is_loopback() && up.ip().is_loopback());
    let workers: usize = a.get(3).map_or(1, |t| t.parse().expect("workers"));
    let mode = a.get(4).cloned().unwrap_or_default();
    let nodelay = mode != "nagle";
    let server = HttpServer::new(move || {
        let tcp = std::rc::Rc::new(TcpConnector::default().service());
        let connect = fn_service(move |info: ConnectInfo<Uri>| {
            let tcp = tcp.clone();
            async move {
                let c: Connection<Uri, TcpStream> = tcp.call(info).await?;
                let _ = c.io_ref().set_nodelay(nodelay);
                Ok::<_, ConnectError>(c)
            }
        });
        let client = awc::Client::builder()
            .disable_redirects()
            .timeout(Duration::from_secs(600)) // awc's default: 5 s until the response head
            .connector(
                awc::Connector::new()
                    .connector(connect)
                    .limit(0) // default: 100 connections per worker, further requests queue
                    .timeout(Duration::from_secs(5))
                    .conn_keep_alive(Duration::from_secs(60))
                    .conn_lifetime(Duration::from_secs(3600)),
            )
            .finish();
        App::new()
            .app_data(web::Data::new(Up { client, base: format!("http://{up}") }))
            .app_data(web::PayloadConfig::new(64 << 20)) // default: 256 KiB for Bytes
            .default_service(web::to(pass))
    })
    .workers(workers)
    .backlog(8192)
    .max_connections(100_000);
    let server = if nodelay { server.tcp_nodelay(true) } else { server };
    server.bind(listen)?.run().await
}
