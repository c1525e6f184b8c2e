//! Keys that are documented but not built: an error and never silence. What they hold is
//! checked all the same, so that a file is right on the day they work.

use std::path::Path;

use super::code::Code;
use super::file;
use super::finding::{Findings, Spot};
use super::url;

/// Checks the keys of a provider. Relative paths of files begin at `dir`.
pub(super) fn check(provider: &file::Provider, dir: &Path, findings: &mut Findings) {
    if let Some(at) = &provider.ca_file {
        unsupported(at.spot(), "remove it", findings);
        if let Some(why) = not_pem(&dir.join(&at.value)) {
            let message = format!("`{}`: {why}", at.path);
            findings.add(
                Code::BadCaFile,
                at.spot(),
                message,
                "name a file of `-----BEGIN CERTIFICATE-----` blocks",
            );
        }
    }
    if let Some(at) = &provider.proxy_url {
        unsupported(at.spot(), "remove it", findings);
        if let Some(why) = url::proxy_error(&at.value) {
            findings.add(Code::BadUrl, at.spot(), format!("`{}` {why}", at.path), "");
        }
    }
}

fn unsupported(spot: Spot<'_>, help: &str, findings: &mut Findings) {
    findings.add(Code::NotSupported, spot, format!("`{}` is not supported yet", spot.1), help);
}

/// Why a file is no list of PEM certificates.
fn not_pem(path: &Path) -> Option<String> {
    /// The roots of a whole system are a quarter of this.
    const MOST: u64 = 1 << 20;
    let read = || {
        let file = std::fs::File::open(path)?;
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, MOST), &mut text)?;
        Ok(text)
    };
    match read() {
        Err(e) => {
            let e: std::io::Error = e;
            Some(format!("cannot read {}: {e}", path.display()))
        }
        Ok(text) if memchr::memmem::find(&text, b"-----BEGIN CERTIFICATE-----").is_none() => {
            Some(format!("{} holds no PEM certificate", path.display()))
        }
        Ok(_) => None,
    }
}
