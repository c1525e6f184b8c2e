//! Keys that are none: placeholders, the proxy's own key sent upstream, keys in a file that all read.

use std::ops::Range;

use super::access::Digest;
use super::code::Code;
use super::finding::Findings;
use super::read::At;

/// A key of the file: `ak`, one of `keys`, or an upstream's.
pub(super) struct Key {
    value: String,
    span: Range<usize>,
    path: String,
}

impl Key {
    pub(super) fn new(at: &At<String>) -> Self {
        Self { value: at.value.clone(), span: at.span.clone(), path: at.path.clone() }
    }
}

/// Says which keys cannot be meant. `own` are those of the proxy's clients, `digests` those of
/// `keys`. Gives the place of the first key that stands in the file itself and not in a variable.
pub(super) fn check(
    own: &[Key],
    digests: &[Digest],
    upstream: &[Key],
    text: &str,
    findings: &mut Findings,
) -> Option<Range<usize>> {
    for key in own.iter().chain(upstream) {
        let Some(why) = placeholder(&key.value) else { continue };
        let path = &key.path;
        let message = format!("`{path}` {why}");
        let help = "put the real key there, or name the environment variable that holds it: `${NAME}`";
        findings.add(Code::PlaceholderKey, (&key.span, path), message, help);
    }
    for key in upstream.iter().filter(|key| !key.value.is_empty()) {
        let path = &key.path;
        let same = own.iter().find(|own| own.value == key.value);
        let message = match same {
            Some(own) if own.path == "ak" => {
                format!("`{path}` is the same as `ak`: every client of the proxy has the upstream's key")
            }
            Some(own) => format!("`{path}` is the same as `{}`: a client has the upstream's key", own.path),
            None if digests.contains(&Digest::of(key.value.as_bytes())) => {
                format!("`{path}` is also one of `keys`: a client has the upstream's key")
            }
            None => continue,
        };
        let own =
            same.map_or("that of `keys`", |own| if own.path == "ak" { "`ak`" } else { "that of `keys`" });
        let help = format!("make up a key of its own for {own}");
        findings.add(Code::ReusedKey, (&key.span, path), message, help);
    }
    let written = |key: &&Key| {
        !key.value.is_empty() && text.get(key.span.clone()).is_some_and(|source| !source.contains("${"))
    };
    own.iter().chain(upstream).filter(written).map(|k| k.span.clone()).min_by_key(|s| s.start)
}

/// Why a key is a placeholder, as the end of "`api_key` ..". Keys that local servers take for
/// anything (`none`, `EMPTY`, `not-needed`) are none.
fn placeholder(key: &str) -> Option<&'static str> {
    const SHOWN: &str = "looks like a placeholder, not like a key";
    let key = key.trim();
    if key.strip_prefix('$').is_some_and(|name| {
        name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
            && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    }) {
        return Some("looks like the name of an environment variable without its braces");
    }
    let bracketed = [('<', '>'), ('{', '}'), ('[', ']')];
    if key.contains("...")
        || key.contains('…')
        || bracketed.iter().any(|(open, close)| key.starts_with(*open) && key.ends_with(*close))
    {
        return Some(SHOWN);
    }
    let last = key.rsplit(['-', '_']).next().unwrap_or_default();
    if last.len() >= 3 && last.chars().all(|c| matches!(c, 'x' | 'X' | '*' | '.')) {
        return Some(SHOWN);
    }
    let plain: String =
        key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let words =
        ["changeme", "replaceme", "fixme", "todo", "tbd", "placeholder", "apikey", "secretkey", "key"];
    let asks = plain
        .find("your")
        .and_then(|at| plain.get(at..))
        .is_some_and(|rest| ["key", "token", "secret"].iter().any(|word| rest.contains(word)));
    let hint =
        ["keyhere", "tokenhere", "insertkey", "inserttoken", "changethis", "replacethis", "replacewith"];
    // A real key is long and has no words: what follows `sk-your-` may be anything.
    let fits = words.contains(&plain.as_str())
        || words.iter().any(|w| plain.strip_prefix("sk") == Some(w))
        || hint.iter().any(|h| plain.contains(h))
        || asks;
    fits.then_some(SHOWN)
}

#[cfg(test)]
mod tests {
    use super::placeholder;

    #[test]
    fn placeholders_are_told_from_keys() {
        for key in [
            "sk-...",
            "sk-…",
            "<key>",
            "<your api key>",
            "YOUR_KEY",
            "your-api-key-here",
            "sk-your-key",
            "changeme",
            "CHANGE_ME",
            "xxx",
            "sk-xxxxxxxx",
            "sk-or-v1-XXXX",
            "****",
            "$OPENAI_API_KEY",
            "{API_KEY}",
            "API_KEY",
            "todo",
            "insert-key-here",
            "YOUR_OPENROUTER_TOKEN",
        ] {
            assert!(placeholder(key).is_some(), "{key}");
        }
        for key in [
            "",
            "k",
            "x",
            "sesam",
            "none",
            "EMPTY",
            "not-needed",
            "dummy",
            "sk-1",
            "sk-proj-aXk3xxYour99",
            "0123456789abcdef.XyZxxx9",
            "any-secret-word",
            "$ecret",
            "ollama",
            "lm-studio",
            "Bearer",
        ] {
            assert!(placeholder(key).is_none(), "{key}");
        }
    }
}
