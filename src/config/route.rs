//! From the name in a request to the model that serves it.

use std::sync::Arc;

use super::code::Code;
use super::finding::Findings;
use super::read::{At, Entry};
use super::suggest::did_you_mean;
use super::{Config, Model};

impl Config {
    /// The model that serves `name`: by id, then without a `[1m]` at its end, then by the first
    /// alias that matches either spelling, then the default.
    ///
    /// Claude Code writes `[1m]` behind a name to ask for the long context window.
    pub fn route(&self, name: &str) -> Option<&Arc<Model>> {
        let plain = plain(name).unwrap_or(name);
        let by_id = |id: &str| self.model(id);
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

/// Whether every name that `later` fits is one that `earlier` fits: then `later` is never asked.
///
/// Exact, because a `*` of `later`, taken as a character, is fit by nothing but a `*` of
/// `earlier`, and that fits all that the other one may stand for.
fn covers(earlier: &str, later: &str) -> bool {
    // A name with `[1m]` behind it is looked for both ways.
    matches(earlier, later) || plain(later).is_some_and(|plain| matches(earlier, plain))
}

/// The name without a `[1m]` at its end, if it has one.
fn plain(name: &str) -> Option<&str> {
    name.strip_suffix("[1m]").or_else(|| name.strip_suffix("[1M]"))
}

/// Aliases that lead nowhere (errors) and those that can never be reached (warnings).
pub(super) fn check_aliases(aliases: &[Entry<String>], ids: &[String], findings: &mut Findings) {
    for (n, alias) in aliases.iter().enumerate() {
        let (pattern, target) = (alias.key.escape_debug(), &alias.at.value);
        let spot = alias.at.spot();
        if !ids.contains(target) {
            let shown = target.escape_debug();
            if let Some(through) = loops(aliases, n) {
                let message = format!("alias `{pattern}` is a loop ({through})");
                findings.add(Code::AliasLoop, spot, message, "name a model id");
            } else if aliases.iter().any(|a| a.key == *target || a.key != "*" && matches(&a.key, target)) {
                let message = format!("alias `{pattern}` points to another alias, `{shown}`");
                findings.add(Code::UnknownModel, spot, message, "name a model id: one step is all");
            } else {
                let hint = did_you_mean(target, ids.iter().map(String::as_str));
                let message = format!("alias `{pattern}` points to an unknown model id `{shown}`{hint}");
                findings.add(Code::UnknownModel, spot, message, known(ids));
            }
        }
        let spot = (&alias.key_span, alias.at.path.as_str());
        let is_id = |name: &str| ids.iter().any(|id| id == name);
        if is_id(&alias.key) || plain(&alias.key).is_some_and(is_id) {
            let message = format!("alias `{pattern}` is never used: a model has this id, and ids come first");
            findings.add(Code::AliasShadowed, spot, message, "remove it, or rename the model");
        } else if let Some(earlier) = aliases.iter().take(n).find(|e| covers(&e.key, &alias.key)) {
            let earlier = earlier.key.escape_debug();
            let message = format!(
                "alias `{pattern}` is never used: `{earlier}` before it matches everything that it does"
            );
            findings.add(
                Code::AliasShadowed,
                spot,
                message,
                format!("move it before `{earlier}`, or remove it"),
            );
        }
    }
}

/// Whether a value is the id of a model; a finding if not.
pub(super) fn check_id(at: &At<String>, ids: &[String], findings: &mut Findings) -> bool {
    let is_id = ids.contains(&at.value);
    if !is_id {
        let hint = did_you_mean(&at.value, ids.iter().map(String::as_str));
        let message = format!("`{}` names no model: `{}`{hint}", at.path, at.value.escape_debug());
        findings.add(Code::UnknownModel, at.spot(), message, known(ids));
    }
    is_id
}

/// Help that names the models there are.
pub(super) fn known(ids: &[String]) -> String {
    const MOST: usize = 12;
    if ids.is_empty() {
        return String::new();
    }
    let mut named: Vec<String> = Vec::new();
    for id in ids.iter().map(|id| id.escape_debug().to_string()) {
        if named.len() == MOST {
            break;
        }
        if !named.contains(&id) {
            named.push(id);
        }
    }
    let more = if ids.len() > MOST { ", ..." } else { "" };
    format!("known: {}{more}", named.join(", "))
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
    fn what_an_earlier_pattern_takes() {
        for (earlier, later) in [
            ("*", "a*"),
            ("a*", "a*b"),
            ("*a*", "*ba*"),
            ("*a*", "a"),
            ("a**", "a*"),
            ("a*c", "a*b*c"),
            ("x", "x[1m]"),
            ("a*b", "a*b[1M]"),
            ("**", "*"),
        ] {
            assert!(covers(earlier, later), "{earlier} {later}");
        }
        for (earlier, later) in [
            ("a*b", "a*"),
            ("a*", "*"),
            ("*a*", "*"),
            ("a", "a*"),
            ("a*b*c", "a*c"),
            ("x[1m]", "x"),
            ("ab*", "a*b*"),
        ] {
            assert!(!covers(earlier, later), "{earlier} {later}");
        }
    }

    proptest::proptest! {
        #[test]
        fn covers_is_true_of_every_name(earlier in "[ab*]{0,5}", later in "[ab*]{0,5}", name in "[abc]{0,7}") {
            if covers(&earlier, &later) && matches(&later, &name) {
                proptest::prop_assert!(matches(&earlier, &name));
            }
            // A letter that neither has, in place of each star, is a name that only `*` fits.
            if !covers(&earlier, &later) {
                let odd = later.replace('*', "z");
                proptest::prop_assert!(matches(&later, &odd) && !matches(&earlier, &odd));
            }
        }
    }

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
