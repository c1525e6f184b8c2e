//! From the name in a request to the model that serves it.

use std::sync::Arc;

use super::finding::Findings;
use super::read::Entry;
use super::suggest::did_you_mean;
use super::{Config, Model};

impl Config {
    /// The model that serves `name`: by id, then without a `[1m]` at its end, then by the first
    /// alias that matches either spelling, then the default.
    ///
    /// Claude Code writes `[1m]` behind a name to ask for the long context window.
    pub fn route(&self, name: &str) -> Option<&Arc<Model>> {
        let plain = name.strip_suffix("[1m]").or_else(|| name.strip_suffix("[1M]")).unwrap_or(name);
        let by_id = |id: &str| self.models.iter().find(|m| m.id == id);
        by_id(name)
            .or_else(|| by_id(plain))
            .or_else(|| {
                let alias = self.aliases.iter().find(|(p, _)| matches(p, name) || matches(p, plain));
                alias.and_then(|(_, id)| by_id(id))
            })
            .or_else(|| self.default_model.as_deref().and_then(by_id))
    }
}

/// Whether `pattern` fits all of `name`; `*` stands for any run of characters, also none.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| name.strip_prefix(head)) else { return false };
    let mut last = None;
    for part in parts {
        // What came before is taken as early as possible; only the last part is bound to the end.
        if let Some(part) = last.replace(part) {
            let Some((_, after)) = rest.split_once(part) else { return false };
            rest = after;
        }
    }
    last.map_or(rest.is_empty(), |part| rest.ends_with(part))
}

/// Aliases that lead nowhere (errors) and those that can never be reached (warnings).
pub(super) fn check_aliases(aliases: &[Entry<String>], ids: &[String], findings: &mut Findings) {
    for (n, alias) in aliases.iter().enumerate() {
        let (pattern, target) = (alias.key.escape_debug(), &alias.at.value);
        let (span, path) = (&alias.at.span, alias.at.path.as_str());
        if !ids.contains(target) {
            let shown = target.escape_debug();
            if let Some(through) = loops(aliases, n) {
                let message = format!("alias `{pattern}` is a loop ({through}): name a model id");
                findings.error("alias-loop", span, path, message);
            } else if aliases.iter().any(|a| matches(&a.key, target)) {
                let message = format!(
                    "alias `{pattern}` points to another alias, `{shown}`: name a model id, one step is all"
                );
                findings.error("unknown-model", span, path, message);
            } else {
                let hint = did_you_mean(target, ids.iter().map(String::as_str));
                let message = format!("alias `{pattern}` points to an unknown model id `{shown}`{hint}");
                findings.error("unknown-model", span, path, message);
            }
        }
        if ids.contains(&alias.key) {
            let message = format!("alias `{pattern}` is never used: a model has this id");
            findings.warning("alias-shadowed", &alias.key_span, path, message);
        } else if let Some(earlier) = aliases.iter().take(n).find(|e| matches(&e.key, &alias.key)) {
            let message = format!(
                "alias `{pattern}` is never used: `{}` before it matches everything that it does",
                earlier.key.escape_debug()
            );
            findings.warning("alias-shadowed", &alias.key_span, path, message);
        }
    }
}

/// The way from alias `start` back to itself, if following aliases leads there.
fn loops(aliases: &[Entry<String>], start: usize) -> Option<String> {
    let first = aliases.get(start)?;
    let mut way = vec![first.key.escape_debug().to_string()];
    let mut target = &first.at.value;
    for _ in aliases {
        way.push(target.escape_debug().to_string());
        let next = aliases.iter().position(|a| matches(&a.key, target))?;
        if next == start {
            return Some(way.join(" -> "));
        }
        target = &aliases.get(next)?.at.value;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_is_any_run() {
        for (pattern, name) in [
            ("a", "a"),
            ("*", ""),
            ("*", "abc"),
            ("a*", "a"),
            ("*c", "abc"),
            ("a*c", "abcbc"),
            ("a*b*c", "a-b-bc"),
            ("claude-*haiku*", "claude-3-5-haiku-latest"),
            ("**", "x"),
            ("a*é*", "aéé"),
            ("*ab", "aab"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "a"),
            ("a", "A"),
            ("a*", "ba"),
            ("*c", "cb"),
            ("a*a", "a"),
            ("a*b*b", "ab"),
            ("a.c", "abc"),
            ("claude-*haiku*", "claude-sonnet"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
