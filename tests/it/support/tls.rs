//! Certificates made in the test, and streams over them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use claude_proxy::config::Roots;
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// Signs certificates; nobody trusts it who was not told to.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate, its key, and how a server uses them.
pub struct Issued {
    pub certificate: Certificate,
    pub key: KeyPair,
    pub server: Arc<ServerConfig>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        Self::with(name, &[])
    }

    /// One whose own certificate has host names, as `openssl req -x509` makes them.
    pub fn named(names: &[&str]) -> Self {
        Self::with("Test CA", names)
    }

    fn with(name: &str, names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// What a `ca_file` holds.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// What a provider trusts after it read [`Authority::pem`].
    #[expect(clippy::unnecessary_wraps, reason = "as a provider holds them")]
    pub fn roots(&self) -> Option<Arc<Roots>> {
        Some(Arc::new(Roots::parse(self.pem().as_bytes()).unwrap()))
    }

    /// A server with a good certificate for these names and addresses.
    pub fn server(&self, names: &[&str]) -> Arc<ServerConfig> {
        self.issue(names, |_| {}).server
    }

    /// The authority's own certificate, shown by a server.
    pub fn own(&self) -> Issued {
        let key = KeyPair::from_pem(&self.0.key().serialize_pem()).unwrap();
        let server = server(self.0.der(), &key, None);
        Issued { certificate: self.0.as_ref().clone(), key, server }
    }

    /// A certificate that `change` may spoil.
    pub fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued { server: server(certificate.der(), &key, None), certificate, key }
    }
}

/// Signed by nobody but itself.
pub fn self_signed(names: &[&str]) -> Issued {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    Issued { server: server(certificate.der(), &key, None), certificate, key }
}

/// A server that asks its clients for a certificate of this authority.
pub fn server_with(issued: &Issued, clients: Option<&Authority>) -> Arc<ServerConfig> {
    server(issued.certificate.der(), &issued.key, clients)
}

fn server(
    certificate: &CertificateDer<'static>,
    key: &KeyPair,
    clients: Option<&Authority>,
) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&ring)).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.0.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), ring);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let config = builder.with_single_cert(vec![certificate.clone()], key).unwrap();
    Arc::new(config)
}

/// TCP, or TLS over it.
pub enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// How a client that trusts this authority alone speaks TLS.
pub fn client(authority: &Authority, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

impl Wire {
    /// The server's side of a handshake. The error is what the client did not like.
    pub fn accept(stream: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Self> {
        let connection = ServerConnection::new(Arc::clone(config)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            if let Err(e) = stream.conn.complete_io(&mut stream.sock) {
                // Bytes that were not read would make it a reset, and lose the alert.
                let _ = stream.sock.shutdown(Shutdown::Write);
                let _ = stream.sock.set_read_timeout(Some(super::PATIENCE));
                let _ = io::copy(&mut stream.sock, &mut io::sink());
                return Err(e);
            }
        }
        Ok(Self::Tls(Box::new(stream)))
    }

    /// The client's side of a handshake.
    pub fn connect(stream: TcpStream, config: &Arc<ClientConfig>, name: &str) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self::Client(Box::new(stream)))
    }

    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
            Self::Client(stream) => &stream.sock,
        }
    }

    pub fn into_tcp(self) -> TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.sock,
            Self::Client(stream) => stream.sock,
        }
    }

    /// Says over TLS that nothing more follows; then FIN.
    pub fn close(mut self) {
        match &mut self {
            Self::Plain(_) => {}
            Self::Tls(stream) => stream.conn.send_close_notify(),
            Self::Client(stream) => stream.conn.send_close_notify(),
        }
        let _ = self.flush();
        self.cut();
    }

    /// FIN alone: over TLS, an end that could be anybody's work.
    pub fn cut(self) {
        let _ = self.tcp().shutdown(Shutdown::Both);
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf),
            Self::Tls(stream) => stream.read(buf),
            Self::Client(stream) => stream.read(buf),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buf),
            Self::Tls(stream) => stream.write(buf),
            Self::Client(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
            Self::Client(stream) => stream.flush(),
        }
    }
}
