//! TLS towards clients: the certificate that they are shown, and that a reload may exchange.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use actix_rt::net::TcpStream;
use actix_tls::accept::rustls_0_23::Acceptor;
use actix_tls::accept::{TlsError, max_concurrent_tls_connect};
use actix_web::error::DispatchError;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::front::MAX_CONNECTIONS;
use super::ids::Ids;
use crate::config::Identity;
use crate::wire::anthropic::ApiError;

/// Longest handshake. It holds a connection, not a worker.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What a client without TLS is told.
const PLAIN: &str = "this port speaks TLS: begin the base URL with https://";
/// Most that is read of its request, in bytes.
const MAX_UNREAD: u64 = 1 << 20;

/// The certificate of new connections.
#[derive(Debug, Clone)]
pub(super) struct Certificate(Arc<Shown>);

#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Certificate {
    pub(super) fn new(identity: &Identity) -> Self {
        Self(Arc::new(Shown(RwLock::new(Arc::clone(&identity.certified)))))
    }

    /// Shows another one from now on. Connections that are open stay as they are.
    pub(super) fn replace(&self, identity: &Identity) {
        *self.0.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&identity.certified);
    }

    /// TLS 1.2 and 1.3, HTTP/1.1.
    fn config(&self) -> Result<ServerConfig, rustls::Error> {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let resolver: Arc<dyn ResolvesServerCert> = self.0.clone();
        let mut config = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Whoever begins to speak HTTP without TLS is told so: it is the `s` of `https` that is missing.
pub(super) async fn encrypted(mut tcp: TcpStream) -> Result<TcpStream, TlsError<io::Error, DispatchError>> {
    let mut first = [0];
    let peeked = timeout(HANDSHAKE, tcp.peek(&mut first)).await.map_err(|_| TlsError::Timeout)?;
    peeked.map_err(TlsError::Tls)?;
    if !first.iter().all(u8::is_ascii_uppercase) {
        return Ok(tcp);
    }
    let answer = plain_answer();
    // What is not read would make a reset of the end, and the client would lose the answer.
    let tell = async {
        tcp.write_all(&answer).await?;
        tcp.shutdown().await?;
        tokio::io::copy(&mut tcp.take(MAX_UNREAD), &mut tokio::io::sink()).await
    };
    let _ = timeout(Duration::from_secs(1), tell).await;
    Err(TlsError::Tls(io::Error::other(PLAIN)))
}

fn plain_answer() -> Vec<u8> {
    let id = Ids::default().request_id();
    let mut body = Vec::new();
    ApiError::invalid_request(PLAIN).write(&id, &mut body);
    let mut answer = format!(
        "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/json\r\n\
         request-id: {id}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.append(&mut body);
    answer
}

/// Makes TLS of TCP.
///
/// # Errors
/// rustls refuses the certificate.
pub(super) fn acceptor(certificate: &Certificate) -> io::Result<Acceptor> {
    // 256 by default: so many slow handshakes would keep everybody else out.
    max_concurrent_tls_connect(MAX_CONNECTIONS);
    let mut acceptor = Acceptor::new(certificate.config().map_err(io::Error::other)?);
    acceptor.set_handshake_timeout(HANDSHAKE);
    Ok(acceptor)
}
