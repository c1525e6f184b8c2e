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

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert && self.private_root == other.private_root
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

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

    use super::super::check::check_in;
    use super::super::code::Code;
    use super::super::finding::Severity;
    use super::*;

    /// A directory with an authority's, its leaf's and other files.
    fn files() -> (tempfile::TempDir, CertifiedIssuer<'static, KeyPair>) {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            #[cfg(unix)]
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        };
        let mut params = CertificateParams::new(vec!["ca.example".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let leaf = |name: &str, names: &[&str], years: (i32, i32)| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            let mut params = CertificateParams::new(names).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.not_before = date_time_ymd(years.0, 1, 1);
            params.not_after = date_time_ymd(years.1, 1, 1);
            let key = KeyPair::generate().unwrap();
            let pem = params.signed_by(&key, &authority).unwrap().pem();
            write(&format!("{name}.pem"), &pem);
            write(&format!("{name}.key"), &key.serialize_pem());
            pem
        };
        let good = leaf("good", &["a.example", "*.a.example", "10.0.0.1"], (2020, 4000));
        leaf("old", &["a.example"], (2020, 2021));
        leaf("new", &["a.example"], (3000, 4000));
        leaf("bare", &[], (2020, 4000));
        write("ca.pem", &authority.pem());
        write("ca.key", &authority.key().serialize_pem());
        write("chain.pem", &format!("{good}{}", authority.pem()));
        let key = fs::read_to_string(dir.path().join("good.key")).unwrap();
        write("both.pem", &format!("{good}{key}"));
        write("locked.key", &key.replace("PRIVATE", "ENCRYPTED PRIVATE"));
        write("torn.pem", &good.replace("-----END CERTIFICATE-----", ""));
        write("odd.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        write("odd.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
        (dir, authority)
    }

    #[test]
    fn what_check_config_says() {
        let (dir, _authority) = files();
        let said = |cert: &str, key: &str| {
            let text = format!(
                r#"{{"tls": {{"cert": "{cert}", "key": "{key}"}}, "providers": [
                    {{"base_url": "https://a.example", "api_key": "", "models": [{{"id": "m"}}]}}]}}"#
            );
            let unset = |_: &str| Err(std::env::VarError::NotPresent);
            let checked = check_in(&text, &unset, dir.path(), |_| None);
            let findings = checked.findings.into_iter();
            let said =
                findings.map(|f| (f.severity, f.code, f.path.clone(), f.sentence())).collect::<Vec<_>>();
            assert!(checked.config.is_some() || !said.is_empty());
            said
        };
        for cert in ["good.pem", "chain.pem", "both.pem"] {
            assert_eq!(said(cert, "good.key"), [], "{cert}");
        }
        assert_eq!(said("both.pem", "both.pem"), []);
        for (cert, key, severity, at, words) in [
            ("no.pem", "good.key", Severity::Error, "tls.cert", "cannot read "),
            ("good.pem", "no.key", Severity::Error, "tls.key", "cannot read "),
            ("good.key", "good.pem", Severity::Error, "tls.cert", "good.key holds no PEM certificate"),
            ("torn.pem", "good.key", Severity::Error, "tls.cert", "torn.pem is damaged"),
            ("odd.pem", "good.key", Severity::Error, "tls.cert", "a certificate that cannot be read"),
            ("good.pem", "good.pem", Severity::Error, "tls.key", "good.pem holds no PEM private key"),
            ("good.pem", "odd.key", Severity::Error, "tls.key", "odd.key holds a key that cannot be used"),
            ("good.pem", "locked.key", Severity::Error, "tls.key", "holds a key with a password"),
            (
                "good.pem",
                "ca.key",
                Severity::Error,
                "tls.key",
                "ca.key is not the key of the first certificate",
            ),
            ("old.pem", "old.key", Severity::Warning, "tls.cert", "has expired"),
            ("new.pem", "new.key", Severity::Warning, "tls.cert", "is not valid yet"),
            ("bare.pem", "bare.key", Severity::Warning, "tls.cert", "no host name or address"),
        ] {
            let said = said(cert, key);
            let [(was, code, path, sentence)] = said.as_slice() else { panic!("{cert} {key}: {said:?}") };
            assert_eq!((*was, *code, path.as_str()), (severity, Code::BadTls, at), "{sentence}");
            assert!(sentence.contains(words), "{sentence}");
        }
        #[cfg(unix)]
        {
            let key = dir.path().join("good.key");
            fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
            let said = said("good.pem", "good.key");
            assert_eq!((said[0].1, said[0].2.as_str()), (Code::ReadableByOthers, "tls.key"));
            assert!(said[0].3.contains("0644") && said[0].3.contains("chmod 600"), "{said:?}");
        }
    }

    #[test]
    fn names_and_roots() {
        let (dir, _authority) = files();
        let read =
            |cert: &str, key: &str| Identity::read(&dir.path().join(cert), &dir.path().join(key)).unwrap();
        let good = read("good.pem", "good.key");
        assert_eq!(good.names, ["a.example", "*.a.example", "10.0.0.1"]);
        for (host, fits) in [
            ("a.example", true),
            ("x.a.example", true),
            ("10.0.0.1", true),
            ("127.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(good.is_for(host), fits, "{host}");
        }
        assert_eq!(good.private_root, None);
        assert_eq!(read("chain.pem", "good.key").private_root, Some(dir.path().join("chain.pem")));
        assert_eq!(read("ca.pem", "ca.key").private_root, Some(dir.path().join("ca.pem")));
        assert_eq!(read("bare.pem", "bare.key").names, [""; 0]);
        assert!(!format!("{good:?}").contains("PRIVATE"));
    }
}
