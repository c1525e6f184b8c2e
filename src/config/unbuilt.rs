//! Keys that are documented but not built: an error and never silence. What they hold is
//! checked all the same, so that a file is right on the day they work.

use std::collections::HashMap;
use std::path::Path;

use super::code::Code;
use super::file;
use super::finding::{Findings, Spot};
use super::read::At;
use super::route::known;
use super::suggest::did_you_mean;
use super::url;

/// Checks the keys of a provider. Relative paths of files begin at `dir`.
pub(super) fn check(provider: &file::Provider, dir: &Path, findings: &mut Findings) {
    if let Some(at) = &provider.api_keys {
        unsupported(at.spot(), "remove it, and give one key in `api_key`", findings);
    }
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

/// The fallbacks of every model, in the order of the file.
#[derive(Default)]
pub(super) struct Fallbacks(Vec<(String, Vec<At<String>>)>);

impl Fallbacks {
    /// Takes those of one model.
    pub(super) fn add(&mut self, id: &str, fallbacks: At<Vec<At<String>>>, findings: &mut Findings) {
        if fallbacks.value.is_empty() {
            return;
        }
        unsupported(fallbacks.spot(), "remove it", findings);
        self.0.push((id.to_owned(), fallbacks.value));
    }

    /// Says which lead nowhere or back to where they began.
    pub(super) fn check(&self, ids: &[String], findings: &mut Findings) {
        for (id, fallbacks) in &self.0 {
            for at in fallbacks {
                let shown = at.value.escape_debug();
                if !ids.contains(&at.value) {
                    let hint = did_you_mean(&at.value, ids.iter().map(String::as_str));
                    let message = format!("`{}` names no model: `{shown}`{hint}", at.path);
                    findings.add(Code::UnknownModel, at.spot(), message, known(ids));
                } else if let Some(way) = self.way(&at.value, id) {
                    let message = format!(
                        "fallbacks of `{}` are a loop ({} -> {way})",
                        id.escape_debug(),
                        id.escape_debug()
                    );
                    findings.add(
                        Code::FallbackLoop,
                        at.spot(),
                        message,
                        "end the chain at a model without fallbacks",
                    );
                }
            }
        }
    }

    /// The shortest way from model `from` to model `to` along fallbacks, if there is one.
    fn way(&self, from: &str, to: &str) -> Option<String> {
        let mut parent: HashMap<&str, &str> = HashMap::new();
        let mut queue = std::collections::VecDeque::from([from]);
        while let Some(here) = queue.pop_front() {
            if here == to {
                let mut way = vec![here];
                while let Some(before) = way.last().and_then(|last| parent.get(last)) {
                    way.push(before);
                }
                let way: Vec<String> = way.iter().rev().map(|id| id.escape_debug().to_string()).collect();
                return Some(way.join(" -> "));
            }
            let own = self.0.iter().filter(|(id, _)| id == here).flat_map(|(_, next)| next);
            for next in own.map(|at| at.value.as_str()) {
                if next != from && !parent.contains_key(next) {
                    parent.insert(next, here);
                    queue.push_back(next);
                }
            }
        }
        None
    }
}
