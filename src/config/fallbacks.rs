//! Which models stand in for which.

use std::collections::HashMap;
use std::sync::Arc;

use super::code::Code;
use super::finding::Findings;
use super::read::At;
use super::route::check_id;
use super::{Config, Model};

/// Most models that one request is offered to, the first included.
const MOST: usize = 8;

impl Config {
    /// Who may serve a request for `model`, in the order in which they are asked: the model
    /// itself, its fallbacks, then theirs. None comes twice; eight at most.
    ///
    /// What stands in the model's own list comes before what its fallbacks add: who writes
    /// `[b, c]` wants `c` after `b`, whatever `b` has.
    pub fn chain(&self, model: &Arc<Model>) -> Vec<Arc<Model>> {
        let mut chain = vec![Arc::clone(model)];
        let mut at = 0;
        while let Some(next) = chain.get(at).cloned() {
            for id in &next.fallbacks {
                let new = chain.len() < MOST && chain.iter().all(|m| m.id != *id);
                if let Some(found) = self.models.iter().find(|m| new && m.id == *id) {
                    chain.push(Arc::clone(found));
                }
            }
            at += 1;
        }
        chain
    }
}

/// The fallbacks of every model, in the order of the file.
#[derive(Default)]
pub(super) struct Fallbacks(Vec<(String, Vec<At<String>>)>);

impl Fallbacks {
    /// Takes those of one model.
    pub(super) fn add(&mut self, id: &str, fallbacks: &At<Vec<At<String>>>) {
        if fallbacks.value.is_empty() {
            return;
        }
        self.0.push((id.to_owned(), fallbacks.value.clone()));
    }

    /// Says which lead nowhere or back to where they began.
    pub(super) fn check(&self, ids: &[String], findings: &mut Findings) {
        for (id, fallbacks) in &self.0 {
            for at in fallbacks {
                if !check_id(at, ids, findings) {
                    continue;
                }
                if let Some(way) = self.way(&at.value, id) {
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

#[cfg(test)]
mod tests {
    use crate::config::check;

    /// The ids of the chain of the first model; `models` is (id, fallbacks).
    fn chain(models: &[(&str, &[&str])]) -> Vec<String> {
        let models: Vec<_> = models
            .iter()
            .map(|(id, fallbacks)| serde_json::json!({"id": id, "fallbacks": fallbacks}))
            .collect();
        let file =
            serde_json::json!({"providers": [{"base_url": "http://h", "api_key": "", "models": models}]});
        let config = check(&file.to_string(), &|_| Err(std::env::VarError::NotPresent)).config.unwrap();
        config.chain(&config.models[0]).iter().map(|m| m.id.clone()).collect()
    }

    #[test]
    fn own_fallbacks_come_before_theirs_and_none_twice() {
        assert_eq!(chain(&[("a", &[])]), ["a"]);
        assert_eq!(chain(&[("a", &["b"]), ("b", &["c"]), ("c", &[])]), ["a", "b", "c"]);
        assert_eq!(chain(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &[]), ("d", &[])]), ["a", "b", "c", "d"]);
        assert_eq!(chain(&[("a", &["b", "b", "a"]), ("b", &["a"])]), ["a", "b"]);
    }

    #[test]
    fn a_chain_has_an_end() {
        let ids: Vec<String> = (0..20).map(|n| format!("m{n}")).collect();
        let all: Vec<&str> = ids.iter().map(String::as_str).collect();
        let models: Vec<(&str, &[&str])> = all.iter().map(|id| (*id, &all[..])).collect();
        assert_eq!(chain(&models), all[..super::MOST]);
    }
}
