//! TLS towards providers: the platform's trust store, HTTP/1.1 only.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls_platform_verifier::Verifier;

use crate::config::Roots;

/// The platform's certificate verifier is unusable.
#[derive(Debug, thiserror::Error)]
#[error("the system's certificate store cannot be used: {0}")]
pub struct TlsError(#[from] rustls::Error);

/// One configuration for all workers, so that they share its session cache. `extra` roots are
/// trusted beside those of the platform.
///
/// The crypto provider is passed explicitly: a process-wide default that nobody installed is
/// rustls's classic panic. ALPN offers `http/1.1` alone, because awc's HTTP/2 sends a stray
/// `GET /` when an aged connection drops. `Connector::max_http_version` is not the way to
/// say so: it throws this configuration away.
pub(super) fn tls_config(extra: Option<&Roots>) -> Result<Arc<ClientConfig>, TlsError> {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let extra = extra.map(Roots::certificates).unwrap_or_default().iter().cloned();
    let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&ring))?;
    let mut config = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
