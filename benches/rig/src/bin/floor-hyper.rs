//! hyper server + hyper-util client, bodies streamed through untouched.
//! floor-hyper LISTEN UPSTREAM [THREADS]   (THREADS 0: current-thread runtime)
use http_body_util::{BodyExt, Either, Empty};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::net::SocketAddr;

type Body = Either<Incoming, Empty<hyper::body::Bytes>>;

async fn pass(
    client: Client<HttpConnector, Incoming>,
    up: String,
    mut req: Request<Incoming>,
) -> Result<Response<Body>, std::convert::Infallible> {
    let path = req.uri().path_and_query().map_or("/", |p| p.as_str());
    *req.uri_mut() = format!("http://{up}{path}").parse::<Uri>().unwrap();
    req.headers_mut().remove(HOST);
    req.headers_mut().remove(CONNECTION);
    Ok(match client.request(req).await {
        Ok(mut r) => {
            r.headers_mut().remove(CONNECTION);
            r.headers_mut().remove(TRANSFER_ENCODING);
            r.map(Either::Left)
        }
        Err(_) => {
            let mut r = Response::new(Either::Right(Empty::new()));
            *r.status_mut() = StatusCode::BAD_GATEWAY;
            r
        }
    })
}

fn main() -> std::io::Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let listen: SocketAddr = a[1].parse().expect("listen");
    let up: SocketAddr = a[2].parse().expect("upstream");
    assert!(listen.ip().is_loopback() && up.ip().is_loopback());
    let threads: usize = a.get(3).map_or(0, |t| t.parse().expect("threads"));
    let rt = if threads == 0 {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?
    } else {
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?
    };
    rt.block_on(async move {
        let mut conn = HttpConnector::new();
        conn.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(conn);
        let l = tokio::net::TcpListener::bind(listen).await?;
        loop {
            let (s, _) = l.accept().await?;
            s.set_nodelay(true)?;
            let (client, up) = (client.clone(), up.to_string());
            tokio::spawn(async move {
                let svc = service_fn(move |r| pass(client.clone(), up.clone(), r));
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(s), svc).await;
            });
        }
        #[allow(unreachable_code)]
        {
            let _ = |b: Incoming| b.boxed();
            Ok(())
        }
    })
}
