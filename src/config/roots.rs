//! `ca_file`: root certificates beyond those of the system.

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Longest file that is read, in bytes: the roots of a whole system are a quarter of this.
const MOST: u64 = 1 << 20;

/// Certificates that a provider's own certificate may be signed by. At least one; each can be
/// used.
#[derive(Clone, PartialEq, Eq)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.0.len())
    }
}

/// A file of certificates or keys. The error is a whole sentence.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let read = || {
        let file = std::fs::File::open(path)?;
        let mut text = Vec::new();
        file.take(MOST + 1).read_to_end(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    let text = read().map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    if text.len() as u64 > MOST {
        return Err(format!("{} is larger than 1 MiB", path.display()));
    }
    Ok(text)
}

impl Roots {
    /// Reads a file of PEM certificates. The error says what is wrong with it, and names it.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        Self::parse(&read_file(path)?).map_err(|why| format!("{} {why}", path.display()))
    }

    /// Reads PEM text; what is not a certificate in it is passed over.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence: no certificate, or which of them is bad.
    pub fn parse(pem: &[u8]) -> Result<Self, String> {
        let mut certificates = Vec::new();
        for (n, read) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let bad =
                |why: String| format!("holds a certificate that cannot be read (number {}: {why})", n + 1);
            let certificate = read.map_err(|e| bad(e.to_string()))?;
            RootCertStore::empty().add(certificate.clone()).map_err(|e| bad(e.to_string()))?;
            certificates.push(certificate);
        }
        if certificates.is_empty() {
            return Err("holds no PEM certificate".to_owned());
        }
        Ok(Self(certificates))
    }

    /// Each of them, DER-encoded.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }
}
