//! Keys that are documented but not built: an error and never silence. What they hold is
//! checked all the same, so that a file is right on the day they work.

use std::collections::HashMap;

use super::code::Code;
use super::file;
use super::finding::{Findings, Spot};
use super::read::At;
use super::route::known;
use super::suggest::did_you_mean;

/// Checks the keys of a provider.
pub(super) fn check(provider: &file::Provider, findings: &mut Findings) {
    if let Some(at) = &provider.api_keys {
        unsupported(at.spot(), "remove it, and give one key in `api_key`", findings);
    }
    match &provider.api {
        Some(at) if at.value == "anthropic" => {
            let message = format!("`{}`: \"anthropic\" is not supported yet", at.path);
            findings.add(
                Code::NotSupported,
                at.spot(),
                message,
                "remove it, and use an OpenAI-compatible upstream",
            );
        }
        Some(At { value, span, path }) if value != "openai" => {
            let message = format!("`{path}` should be \"openai\", found \"{}\"", value.escape_debug());
            findings.add(Code::BadValue, (span, path), message, "");
        }
        _ => {}
    }
}

fn unsupported(spot: Spot<'_>, help: &str, findings: &mut Findings) {
    findings.add(Code::NotSupported, spot, format!("`{}` is not supported yet", spot.1), help);
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
