//! Who may come in, to what, and for how much: `keys`, `price` and `budgets`.

use std::collections::HashMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::code::Code;
use super::file::{self, File};
use super::finding::Findings;
use super::keys::Key;
use super::read::At;
use super::suggest::did_you_mean;
use super::{Model, Secret, Threads, provider, route};

/// What the key of `ak` is called in logs, metrics and budgets.
pub const AK: &str = "ak";
/// What is called so where no key is asked for.
pub const ANONYMOUS: &str = "anonymous";

/// Picos in one of the currency that prices and budgets are in.
pub const PICOS: f64 = 1e12;
/// A price is for so many tokens.
const PER_TOKENS: f64 = 1e6;

/// What a model's tokens cost, in 10^-12 of the currency for each: a price with up to six decimals
/// per million tokens is a whole number of them, so that sums are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// A token of the prompt that was not read from a cache; one that was written to it, too.
    pub input: u64,
    /// A token of the answer.
    pub output: u64,
    /// A token of the prompt that was read from a cache.
    pub cached: u64,
}

impl Price {
    /// Per million tokens, as the file has it: input, output, cached.
    pub fn per_million(&self) -> [f64; 3] {
        [self.input, self.output, self.cached].map(|picos| picos as f64 / PICOS * PER_TOKENS)
    }

    /// Of a model of the file; none if something is missing.
    pub(super) fn read(file: &file::Price) -> Option<Self> {
        let picos = |at: &At<f64>| (at.value / PER_TOKENS * PICOS).round() as u64;
        let input = picos(file.input.as_ref()?);
        Some(Self {
            input,
            output: picos(file.output.as_ref()?),
            cached: file.cached.as_ref().map_or(input, picos),
        })
    }
}

/// The SHA-256 of a key's bytes. Its `Debug` does not show it: a short key can be found by trying.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of a key.
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Of its 64 hexadecimal digits.
    fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        for (n, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[digest]")
    }
}

/// A key that clients may send beside `ak`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundKey {
    /// Unique; for logs, metrics and budgets.
    pub name: Arc<str>,
    /// The key itself; none: the file has only its digest.
    pub key: Option<Secret>,
    /// Its digest.
    pub digest: Digest,
    /// What it may use.
    pub models: Allowed,
    /// Its own budget for a day, in picos; none: that of all.
    pub budget: Option<u128>,
}

/// The models that a key may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed(Option<Vec<String>>);

impl Allowed {
    /// Whether the model of this id is one of them.
    pub fn has(&self, id: &str) -> bool {
        self.0.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| route::matches(pattern, id)))
    }

    /// All there are.
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }
}

/// What may be spent in a day, and where it is noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets {
    /// For each key that has none of its own, `ak` and those who need no key included, in picos;
    /// none: they may spend what they like.
    pub per_day: Option<u128>,
    /// The file of the database; where it is that of `threads`, it is the same path.
    pub path: PathBuf,
}

/// What this part of the file says.
#[derive(Default)]
pub(super) struct Access {
    pub(super) keys: Vec<InboundKey>,
    pub(super) budgets: Option<Budgets>,
    /// The keys that are written out, or come from variables.
    pub(super) written: Vec<Key>,
}

/// Reads `keys` and `budgets`. `ids` are those of all models, `models` those that can be used.
pub(super) fn read(
    file: &File,
    ids: &[String],
    models: &[Model],
    threads: Option<&Threads>,
    dir: &Path,
    findings: &mut Findings,
) -> Access {
    let mut access = Access::default();
    if let Some(list) = &file.keys {
        keys(list, file.ak.as_ref(), ids, &mut access, findings);
    }
    access.budgets = budgets(file, threads, dir, findings);
    prices(file, models, findings);
    access
}

fn keys(
    list: &At<Vec<At<file::InboundKey>>>,
    ak: Option<&At<String>>,
    ids: &[String],
    access: &mut Access,
    findings: &mut Findings,
) {
    if list.value.is_empty() {
        let message = "`keys` is empty: it lets nobody in, and does not keep anybody out";
        findings.add(Code::BadValue, list.spot(), message, "add a key, or remove `keys`");
    }
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut digests: HashMap<Digest, &str> = HashMap::new();
    if let Some(ak) = ak.filter(|at| !at.value.is_empty()) {
        digests.insert(Digest::of(ak.value.as_bytes()), AK);
    }
    for At { value: key, span, path } in &list.value {
        let start = span.start..span.start + 1;
        if let Some(at) = &key.name {
            name(at, &mut names, findings);
        }
        let models = key.models.as_ref().map_or_else(Allowed::default, |at| allowed(at, ids, findings));
        let (digest, at) = match (&key.key, &key.key_sha256) {
            (Some(at), None) => (plain(at, access, findings), at),
            (None, Some(at)) => (hashed(at, findings), at),
            (Some(_), Some(at)) => {
                let message = format!("`{}` and `key` are both given", at.path);
                findings.add(Code::BadValue, at.spot(), message, "one of them is enough: remove the other");
                continue;
            }
            (None, None) => {
                let (one, other) = (format!("{path}.key"), format!("{path}.key_sha256"));
                if !findings.mention(&one) && !findings.mention(&other) {
                    let message = format!("missing key `key` or `key_sha256` in {path}");
                    findings.add(Code::MissingKey, (&start, &one), message, "");
                }
                continue;
            }
        };
        let Some(digest) = digest else { continue };
        if let Some(first) = digests.get(&digest) {
            let message = format!("`{}` is the same key as `{first}`: requests could be either's", at.path);
            findings.add(Code::SharedKey, at.spot(), message, "give each a key of its own");
        }
        digests.entry(digest).or_insert(&at.path);
        let Some(name) = &key.name else { continue };
        access.keys.push(InboundKey {
            name: name.value.as_str().into(),
            key: key.key.as_ref().map(|at| Secret::new(at.value.clone())),
            digest,
            models,
            budget: key.budget.as_ref().map(|at| picos(at.value)),
        });
    }
}

fn name<'f>(at: &'f At<String>, names: &mut HashMap<&'f str, &'f str>, findings: &mut Findings) {
    const LONGEST: usize = 64;
    provider::check_name(at, findings);
    let shown = at.value.escape_debug();
    if at.value.chars().count() > LONGEST {
        let message = format!("`{}` has more than {LONGEST} characters", at.path);
        findings.add(Code::BadValue, at.spot(), message, "");
    }
    if matches!(at.value.as_str(), AK | ANONYMOUS) {
        let message = format!("`{}` is a name that claude-proxy gives itself: `{shown}`", at.path);
        findings.add(Code::BadValue, at.spot(), message, "take another");
    }
    if let Some(first) = names.get(at.value.as_str()) {
        let message = format!("the name `{shown}` is already used by `{first}`");
        let help = "give each its own: logs, metrics and budgets tell them apart by it";
        findings.add(Code::DuplicateKeyName, at.spot(), message, help);
    }
    names.entry(&at.value).or_insert(&at.path);
}

fn plain(at: &At<String>, access: &mut Access, findings: &mut Findings) -> Option<Digest> {
    if at.value.is_empty() {
        findings.add(Code::EmptyKey, at.spot(), format!("`{}` is empty", at.path), "put a key there");
        return None;
    }
    provider::check_header_value(&at.value, &format!("`{}`", at.path), at.spot(), findings);
    access.written.push(Key::new(at));
    Some(Digest::of(at.value.as_bytes()))
}

fn hashed(at: &At<String>, findings: &mut Findings) -> Option<Digest> {
    const HELP: &str = "it is what `printf %s KEY | sha256sum` prints";
    let Some(digest) = Digest::parse(&at.value) else {
        let message = format!("`{}` should be 64 hexadecimal digits", at.path);
        findings.add(Code::BadValue, at.spot(), message, HELP);
        return None;
    };
    if [&b""[..], b"\n"].iter().any(|nothing| digest == Digest::of(nothing)) {
        findings.add(Code::EmptyKey, at.spot(), format!("`{}` is that of an empty key", at.path), HELP);
        return None;
    }
    Some(digest)
}

fn allowed(list: &At<Vec<At<String>>>, ids: &[String], findings: &mut Findings) -> Allowed {
    if list.value.is_empty() {
        let message = format!("`{}` is empty: the key could be used for nothing", list.path);
        findings.add(Code::BadValue, list.spot(), message, "remove it to allow all models");
    }
    for at in &list.value {
        if at.value.contains('*') && !ids.iter().any(|id| route::matches(&at.value, id)) {
            let message = format!("`{}` fits no model: `{}`", at.path, at.value.escape_debug());
            findings.add(Code::UnknownModel, at.spot(), message, route::known(ids));
        } else if !at.value.contains('*') && !ids.contains(&at.value) {
            let hint = did_you_mean(&at.value, ids.iter().map(String::as_str));
            let message = format!("`{}` names no model: `{}`{hint}", at.path, at.value.escape_debug());
            findings.add(Code::UnknownModel, at.spot(), message, route::known(ids));
        }
    }
    Allowed(Some(list.value.iter().map(|at| at.value.clone()).collect()))
}

fn budgets(file: &File, threads: Option<&Threads>, dir: &Path, findings: &mut Findings) -> Option<Budgets> {
    let first = limits(file).next()?;
    let written = file.budgets.as_ref().and_then(|at| at.value.path.as_ref());
    let path = match (written.map(|at| dir.join(&at.value)), threads) {
        (Some(path), Some(threads)) if is_same_file(&path, &threads.path) => threads.path.clone(),
        (Some(path), _) => path,
        (None, Some(threads)) => threads.path.clone(),
        (None, None) => {
            // Where `threads` is wrong, that was said.
            if file.threads.is_none() && !findings.mention("budgets.path") {
                let message = format!("`{}` needs a file where it is noted what was spent", first.path);
                let help =
                    "set `\"budgets\": {\"path\": \"spent.redb\"}`, or `threads`, whose file serves both";
                findings.add(Code::MissingKey, first.spot(), message, help);
            }
            return None;
        }
    };
    let per_day = file.budgets.as_ref().and_then(|at| at.value.per_day.as_ref());
    Some(Budgets { per_day: per_day.map(|at| picos(at.value)), path })
}

/// Every amount that the file allows for a day.
fn limits(file: &File) -> impl Iterator<Item = &At<f64>> {
    let own = file.keys.iter().flat_map(|list| &list.value).filter_map(|key| key.value.budget.as_ref());
    file.budgets.iter().filter_map(|at| at.value.per_day.as_ref()).chain(own)
}

/// Whether budgets and prices go together.
fn prices(file: &File, models: &[Model], findings: &mut Findings) {
    if let Some(at) = file.budgets.as_ref().filter(|_| limits(file).next().is_none()) {
        let message = "`budgets` has no effect: neither `per_day` nor a key has an amount";
        findings.add(Code::NoEffect, at.spot(), message, "set `per_day`, or remove it");
    }
    let Some(first) = limits(file).next() else { return };
    if models.iter().all(|model| model.price.is_none()) {
        if !models.is_empty() {
            let message = format!("`{}` has no effect: no model has a `price`", first.path);
            findings.add(Code::NoEffect, first.spot(), message, "set `price` in the models");
        }
        return;
    }
    let unpriced: Vec<String> = models
        .iter()
        .filter(|model| model.price.is_none())
        .map(|model| format!("`{}`", model.id.escape_debug()))
        .collect();
    if !unpriced.is_empty() {
        let (shown, more) = unpriced.split_at(unpriced.len().min(8));
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        let message = format!("models without a `price` cost nothing: {}{more}", shown.join(", "));
        let help = "set their `price`; of a model that is free both amounts are 0";
        findings.add(Code::NoPrice, first.spot(), message, help);
    }
}

fn picos(amount: f64) -> u128 {
    (amount * PICOS).round() as u128
}

/// Two ways of writing one file. Links are not followed.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let plain = |path: &Path| -> PathBuf {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut out = PathBuf::new();
        for part in path.components() {
            match part {
                Component::ParentDir => drop(out.pop()),
                part => out.push(part),
            }
        }
        out
    };
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_a_whole_number_of_picos() {
        let at = |value: f64| Some(At { value, span: 0..1, path: String::new() });
        for (written, picos) in [
            (0.0, 0),
            (0.000_001, 1),
            (0.028, 28_000),
            (0.3, 300_000),
            (2.5, 2_500_000),
            (1e9, 10u64.pow(15)),
        ] {
            let price =
                Price::read(&file::Price { input: at(written), output: at(1.0), cached: None }).unwrap();
            assert_eq!((price.input, price.cached, price.output), (picos, picos, 1_000_000), "{written}");
            assert_eq!(price.per_million()[0].to_string(), written.to_string());
        }
        assert_eq!(picos(20.0), 20_000_000_000_000);
        assert_eq!(picos(0.1), 100_000_000_000);
    }

    #[test]
    fn digests_are_read_and_not_shown() {
        let digest = Digest::of(b"sesame");
        let hex = digest.0.map(|b| format!("{b:02x}")).concat();
        assert_eq!(Digest::parse(&hex), Some(digest));
        assert_eq!(Digest::parse(&hex.to_uppercase()), Some(digest));
        for wrong in
            ["", &hex.replacen('1', "", 1), &format!("{hex}0"), &hex.replace('a', "g"), &"é".repeat(32)]
        {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{digest:?}"), "[digest]");
    }

    #[test]
    fn one_file_is_written_in_several_ways() {
        for (one, other, same) in [
            ("a.redb", "./a.redb", true),
            ("a.redb", "x/../a.redb", true),
            ("/a/b", "/a//b", true),
            ("a.redb", "b.redb", false),
        ] {
            assert_eq!(is_same_file(Path::new(one), Path::new(other)), same, "{one} {other}");
        }
    }
}
