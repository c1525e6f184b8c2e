//! `tls`: the certificate that the proxy shows to its clients, and its key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore};

use super::roots::read_file;

/// A certificate with what signed it, and the key that belongs to it.
#[derive(Clone)]
pub struct Identity {
    /// What rustls needs to show it.
    pub certified: Arc<CertifiedKey>,
    /// Host names and addresses in it, as clients ask for them; `*.` begins a wildcard.
    pub names: Vec<String>,
    /// The file that it came from, if that also has the root that clients have to trust: it is
    /// signed by itself or by an authority whose own certificate stands behind it.
    pub private_root: Option<PathBuf>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Which of the two files is wrong, and how.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum IdentityError {
    Cert(String),
    Key(String),
}

impl Identity {
    /// Reads the two files, which may be one.
    pub(super) fn read(cert: &Path, key: &Path) -> Result<Self, IdentityError> {
        let chain = chain(cert).map_err(IdentityError::Cert)?;
        let secret = secret(key).map_err(IdentityError::Key)?;
        let certified = CertifiedKey::from_der(chain, secret, &default_provider()).map_err(|e| match e {
            rustls::Error::InconsistentKeys(_) => IdentityError::Key(format!(
                "{} is not the key of the first certificate in {}",
                key.display(),
                cert.display()
            )),
            e => IdentityError::Key(format!("{} holds a key that cannot be used ({e})", key.display())),
        })?;
        let private_root = certified
            .cert
            .iter()
            .any(signed_by_itself)
            .then(|| std::path::absolute(cert).unwrap_or_else(|_| cert.to_owned()));
        Ok(Self { names: names(&certified), certified: Arc::new(certified), private_root })
    }

    /// What is wrong with its dates, as the rest of a sentence.
    pub(super) fn untimely(&self, now: UnixTime) -> Option<&'static str> {
        let end = self.certified.end_entity_cert().ok().and_then(|c| ParsedCertificate::try_from(c).ok())?;
        let algorithms = default_provider().signature_verification_algorithms.all;
        // Dates are looked at before roots, and there are none.
        match verify_server_cert_signed_by_trust_anchor(&end, &RootCertStore::empty(), &[], now, algorithms) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) => Some("has expired: clients refuse it"),
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            )) => Some("is not valid yet: clients refuse it"),
            _ => None,
        }
    }

    /// A client that asks for this host is content.
    pub fn is_for(&self, host: &str) -> bool {
        let end = self.certified.end_entity_cert().ok().and_then(|c| ParsedCertificate::try_from(c).ok());
        let name = ServerName::try_from(host).ok();
        end.zip(name).is_some_and(|(end, name)| verify_server_name(&end, &name).is_ok())
    }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read_file(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = read.map_err(|e| format!("{} is damaged ({e})", path.display()))?;
    match chain.first() {
        None => Err(format!("{} holds no PEM certificate", path.display())),
        Some(first) => match ParsedCertificate::try_from(first) {
            Ok(_) => Ok(chain),
            Err(e) => Err(format!("{} holds a certificate that cannot be read ({e})", path.display())),
        },
    }
}

fn secret(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = read_file(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|e| {
        let encrypted = memchr::memmem::find(&text, b"ENCRYPTED").is_some();
        let why = match e {
            PemError::NoItemsFound if encrypted => {
                "holds a key with a password, which nobody is there to type: `openssl pkey` writes one without"
            }
            PemError::NoItemsFound => "holds no PEM private key",
            _ => "is damaged",
        };
        format!("{} {why}", path.display())
    })
}

/// The names in the first certificate.
fn names(certified: &CertifiedKey) -> Vec<String> {
    let end = certified.end_entity_cert().ok().and_then(|c| ParsedCertificate::try_from(c).ok());
    // Nobody has this name, and the refusal tells which are there.
    let nobody = ServerName::try_from("nobody.invalid").ok();
    let refused = end.zip(nobody).map(|(end, nobody)| verify_server_name(&end, &nobody));
    match refused {
        Some(Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        }))) => presented.iter().filter_map(|shown| bare_name(shown)).collect(),
        _ => Vec::new(),
    }
}

/// `DnsName("a.example")` and `IpAddress(10.0.0.1)`, as webpki shows names, without the wrapping.
pub fn bare_name(shown: &str) -> Option<String> {
    let (_, inner) = shown.split_once('(')?;
    let name = inner.strip_suffix(')')?.trim_matches('"');
    Some(name.chars().filter(|c| matches!(c, '!'..='~')).take(80).collect())
}

/// Issuer and subject are the same: nobody vouches for it.
fn signed_by_itself(certificate: &CertificateDer<'static>) -> bool {
    let mut store = RootCertStore::empty();
    if store.add(certificate.clone()).is_err() {
        return false;
    }
    let subject = store.roots.first().map(|root| root.subject.as_ref().to_vec()).unwrap_or_default();
    !subject.is_empty() && memchr::memmem::find_iter(certificate.as_ref(), &subject).count() >= 2
}
