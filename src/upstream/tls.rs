//! TLS towards providers: the platform's trust store, HTTP/1.1 only.

use std::io;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use actix_rt::net::TcpStream;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig};
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fault::{Cause, TlsFault};
use crate::config::{Roots, bare_name};

/// The platform's certificate verifier is unusable.
#[derive(Debug, thiserror::Error)]
#[error("the system's certificate store cannot be used: {0}")]
pub struct TlsError(#[from] rustls::Error);

/// One configuration for all workers, so that they share its session cache. `extra` roots are
/// trusted beside those of the platform.
///
/// The crypto provider is passed explicitly: a process-wide default that nobody installed is
/// rustls's classic panic. ALPN offers `http/1.1` alone, because awc is spoken to as if there
/// were no TLS.
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

/// The client's side of a handshake. `ca_file`: the provider has roots of its own.
pub(super) async fn handshake(
    config: &Arc<ClientConfig>,
    ca_file: bool,
    host: &str,
    tcp: TcpStream,
) -> Result<Box<TlsStream<TcpStream>>, Cause> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Cause::Config("the host of its base_url is no name for TLS".to_owned()))?;
    let done = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await;
    done.map(Box::new).map_err(|e| cause(e, ca_file))
}

fn cause(error: io::Error, ca_file: bool) -> Cause {
    let Some(inner) = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted => Cause::Tls(TlsFault::Closed),
            _ => Cause::Connect(error),
        };
    };
    Cause::Tls(match inner {
        _ if wants_certificate(&error) => TlsFault::ClientCertificate,
        rustls::Error::InvalidCertificate(e) => refused(e, ca_file),
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => TlsFault::NotTls,
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity,
        ) => TlsFault::TooOld,
        e => TlsFault::Other(e.to_string()),
    })
}

/// The peer refuses us for want of a certificate. In TLS 1.3 it says so after the handshake.
pub(super) fn wants_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)))
}

/// Why a certificate was refused.
fn refused(error: &CertificateError, ca_file: bool) -> TlsFault {
    use CertificateError as E;
    match error {
        E::UnknownIssuer => TlsFault::UnknownIssuer { ca_file },
        E::Expired => TlsFault::Expired(None),
        E::ExpiredContext { time, not_after } => TlsFault::Expired(Some(since(*not_after, *time))),
        E::NotValidYet => TlsFault::NotValidYet(None),
        E::NotValidYetContext { not_before, .. } => TlsFault::NotValidYet(Some(date(*not_before))),
        E::NotValidForName => TlsFault::WrongName(Vec::new()),
        E::NotValidForNameContext { presented, .. } => {
            TlsFault::WrongName(presented.iter().filter_map(|name| bare_name(name)).collect())
        }
        E::Revoked => TlsFault::Revoked,
        // webpki's word for it; its type is not rustls's.
        E::Other(e) if e.to_string().contains("CaUsedAsEndEntity") => TlsFault::AuthorityItself,
        e => TlsFault::Other(format!("its certificate was refused ({e})")),
    }
}

/// `2026-11-20T08:00:00Z`.
fn date(at: UnixTime) -> String {
    // What humantime can write ends with the year 9999.
    let seconds = at.as_secs().min(253_402_300_799);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// `2026-11-20T08:00:00Z, 6 days ago`.
fn since(at: UnixTime, now: UnixTime) -> String {
    let ago = now.as_secs().saturating_sub(at.as_secs());
    let (n, unit) = match ago {
        0..120 => (ago, "second"),
        120..7_200 => (ago / 60, "minute"),
        7_200..172_800 => (ago / 3_600, "hour"),
        _ => (ago / 86_400, "day"),
    };
    format!("{}, {n} {unit}{} ago", date(at), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_dates() {
        let at = |s| UnixTime::since_unix_epoch(Duration::from_secs(s));
        for (then, now, said) in [
            (0, 1, "1970-01-01T00:00:00Z, 1 second ago"),
            (86_400, 86_400 + 7_199, "1970-01-02T00:00:00Z, 119 minutes ago"),
            (0, 86_400, "1970-01-01T00:00:00Z, 24 hours ago"),
            (0, 6 * 86_400 + 5, "1970-01-01T00:00:00Z, 6 days ago"),
            (5, 1, "1970-01-01T00:00:05Z, 0 seconds ago"),
        ] {
            assert_eq!(since(at(then), at(now)), said);
        }
        assert_eq!(date(at(u64::MAX)), "9999-12-31T23:59:59Z");
        assert_eq!(bare_name("DnsName(\"*.a.example\")").as_deref(), Some("*.a.example"));
        assert_eq!(bare_name("IpAddress(127.0.0.1)").as_deref(), Some("127.0.0.1"));
        assert_eq!(bare_name("Unsupported"), None);
    }
}
