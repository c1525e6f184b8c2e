//! From the tree to typed fields: each value keeps its place, each mistake becomes a finding.

use std::ops::Range;
use std::time::Duration;

use serde_json::{Map, Number};

use super::code::Code;
use super::expand::{Env, expand};
use super::finding::{Findings, Spot};
use super::suggest::did_you_mean;
use super::tree::{Member, Node, Value};

/// A value and where it stood.
#[derive(Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
    pub(super) path: String,
}

impl<T> At<T> {
    /// Its place, for findings.
    pub(super) fn spot(&self) -> Spot<'_> {
        (&self.span, &self.path)
    }
}

/// What reading needs and collects.
pub(super) struct Reader<'a> {
    pub(super) env: Env<'a>,
    pub(super) findings: Findings,
    /// Variables that the file names, and what they hold.
    pub(super) used: Vec<(String, String)>,
}

/// A type that can be read from the tree.
pub(super) trait Read: Sized {
    /// What belongs here, as errors say it: "a string".
    const EXPECTED: &'static str;

    /// The value, or none after a finding was added.
    fn read(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Self>;
}

impl Reader<'_> {
    /// Says that a value is of the wrong type.
    pub(super) fn wrong_type<T>(&mut self, node: &Node, path: &str, expected: &str) -> Option<T> {
        let message = format!("`{path}` should be {expected}, found {}", node.value.kind());
        self.findings.add(Code::WrongType, (&node.span, path), message, "");
        None
    }

    /// The members of an object, without `$schema` at the top, after complaints about keys that
    /// are unknown or repeated. Of repeated keys the last one counts.
    pub(super) fn members<'n>(
        &mut self,
        node: &'n Node,
        path: &str,
        known: &[&str],
    ) -> Option<Vec<&'n Member>> {
        let Value::Object(members) = &node.value else {
            return self.wrong_type(node, if path.is_empty() { "the file" } else { path }, "an object");
        };
        self.repeated(members, path);
        for member in members {
            let key = member.key.as_str();
            let schema = path.is_empty() && key == "$schema";
            if !schema && !known.contains(&key) {
                let hint = did_you_mean(key, known.iter().copied());
                let message = format!("unknown key `{}` in {}{hint}", shown(key), place(path));
                let spot = (&member.key_span, &*join(path, key));
                self.findings.add(Code::UnknownKey, spot, message, "");
            }
        }
        Some(members.iter().collect())
    }

    /// Warns of keys that come twice.
    pub(super) fn repeated(&mut self, members: &[Member], path: &str) {
        for (n, member) in members.iter().enumerate() {
            if members.iter().take(n).any(|m| m.key == member.key) {
                let message = format!(
                    "key `{}` comes twice in {}: the last one counts",
                    shown(&member.key),
                    place(path)
                );
                let spot = (&member.key_span, &*join(path, &member.key));
                self.findings.add(Code::DuplicateKey, spot, message, "remove one of them");
            }
        }
    }

    /// Reads one field of an object. `null` is the same as leaving it out, unless it is required.
    pub(super) fn field<T: Read>(
        &mut self,
        object: &Node,
        members: &[&Member],
        path: &str,
        key: &str,
        required: bool,
    ) -> Option<At<T>> {
        let path_here = join(path, key);
        let Some(member) = members.iter().rev().find(|m| m.key == key) else {
            if required {
                let message = format!("missing key `{key}` in {}", place(path));
                let start = object.span.start;
                self.findings.add(Code::MissingKey, (&(start..start + 1), &path_here), message, "");
            }
            return None;
        };
        if member.node.value == Value::Null && !required {
            return None;
        }
        At::read(&member.node, &path_here, self)
    }

    /// A string with its variables replaced.
    fn text(&mut self, text: &str, span: &Range<usize>, path: &str) -> Option<String> {
        match expand(text, self.env) {
            Ok(expanded) => {
                if let Some(name) = expanded.empty {
                    let message =
                        format!("`{path}` uses environment variable `{name}`, which is set but empty");
                    self.findings.add(Code::EmptyVariable, (span, path), message, "");
                }
                self.used.extend(expanded.used);
                Some(expanded.text)
            }
            Err(e) => {
                self.findings.add(e.code(), (span, path), format!("`{path}`: {e}"), e.help());
                None
            }
        }
    }
}

impl<T: Read> Read for At<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, path, reader).map(|value| Self {
            value,
            span: node.span.clone(),
            path: path.to_owned(),
        })
    }
}

impl Read for String {
    const EXPECTED: &'static str = "a string";

    fn read(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(text) => reader.text(text, &node.span, path),
            _ => reader.wrong_type(node, path, Self::EXPECTED),
        }
    }
}

impl Read for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Bool(b) => Some(*b),
            _ => reader.wrong_type(node, path, Self::EXPECTED),
        }
    }
}

macro_rules! integer {
    ($type:ty, $expected:literal) => {
        impl Read for $type {
            const EXPECTED: &'static str = $expected;

            fn read(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
                let Value::Number(text) = &node.value else {
                    return reader.wrong_type(node, path, Self::EXPECTED);
                };
                let number = text.parse().ok();
                if number.is_none() {
                    let message = format!("`{path}` should be {}, found {text}", Self::EXPECTED);
                    reader.findings.add(Code::OutOfRange, (&node.span, path), message, "");
                }
                number
            }
        }
    };
}
integer!(u16, "a whole number from 0 to 65535");
integer!(u64, "a whole number, 0 or more");
integer!(usize, "a whole number, 0 or more");

/// A hundred years: longer than any wait, short enough to be added to a clock.
pub(super) const MOST_SECONDS: f64 = 3_155_760_000.0;

impl Read for Duration {
    const EXPECTED: &'static str = "a number of seconds, 0 or more";

    fn read(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Number(text) = &node.value else {
            return reader.wrong_type(node, path, Self::EXPECTED);
        };
        let seconds = text.parse::<f64>().ok().filter(|s| (0.0..=MOST_SECONDS).contains(s));
        if seconds.is_none() {
            let message = format!("`{path}` should be {}, found {text}", Self::EXPECTED);
            reader.findings.add(Code::OutOfRange, (&node.span, path), message, "");
        }
        seconds.map(Self::from_secs_f64)
    }
}

/// More than any price or budget.
pub(super) const MOST_MONEY: f64 = 1e9;

impl Read for f64 {
    const EXPECTED: &'static str = "a number from 0 to 1000000000";

    fn read(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Number(text) = &node.value else {
            return reader.wrong_type(node, path, Self::EXPECTED);
        };
        let number = text.parse::<Self>().ok().filter(|n| (0.0..=MOST_MONEY).contains(n));
        if number.is_none() {
            let message = format!("`{path}` should be {}, found {text}", Self::EXPECTED);
            reader.findings.add(Code::OutOfRange, (&node.span, path), message, "");
        }
        number
    }
}

impl<T: Read> Read for Vec<At<T>> {
    const EXPECTED: &'static str = "a list";

    fn read(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            return reader.wrong_type(node, path, Self::EXPECTED);
        };
        // A broken item is left out after its finding: the rest is still checked.
        let read = |(n, item)| At::read(item, &format!("{path}[{n}]"), reader);
        Some(items.iter().enumerate().filter_map(read).collect())
    }
}

/// An object whose keys the user chooses, in the order of the file.
pub(super) struct Entries<T>(pub(super) Vec<Entry<T>>);

/// One entry of [`Entries`].
pub(super) struct Entry<T> {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) at: At<T>,
}

impl<T: Read> Read for Entries<T> {
    const EXPECTED: &'static str = "an object";

    fn read(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Object(members) = &node.value else {
            return reader.wrong_type(node, path, Self::EXPECTED);
        };
        reader.repeated(members, path);
        let mut entries: Vec<Entry<T>> = Vec::new();
        for member in members {
            let Some(at) = At::read(&member.node, &join(path, &member.key), reader) else { continue };
            if let Some(entry) = entries.iter_mut().find(|e| e.key == member.key) {
                entry.at = at;
            } else {
                entries.push(Entry { key: member.key.clone(), key_span: member.key_span.clone(), at });
            }
        }
        Some(Self(entries))
    }
}

impl Read for serde_json::Value {
    const EXPECTED: &'static str = "a JSON value";

    fn read(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        Some(match &node.value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Number(text) => Self::Number(text.parse::<Number>().ok()?),
            Value::Text(text) => Self::String(reader.text(text, &node.span, path)?),
            Value::List(items) => {
                let read = |(n, item)| Self::read(item, &format!("{path}[{n}]"), reader);
                Self::Array(items.iter().enumerate().filter_map(read).collect())
            }
            Value::Object(_) => Self::Object(Map::read(node, path, reader)?),
        })
    }
}

impl Read for Map<String, serde_json::Value> {
    const EXPECTED: &'static str = "an object";

    fn read(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        let entries = Entries::<serde_json::Value>::read(node, path, reader)?;
        Some(entries.0.into_iter().map(|e| (e.key, e.at.value)).collect())
    }
}

/// `providers[0]` and `name` give `providers[0].name`.
fn join(path: &str, key: &str) -> String {
    if path.is_empty() { shown(key) } else { format!("{path}.{}", shown(key)) }
}

/// A key from the file, fit for a line of text.
fn shown(key: &str) -> String {
    let mut out: String = key.chars().take(64).flat_map(char::escape_debug).collect();
    if key.chars().count() > 64 {
        out.push('…');
    }
    out
}

fn place(path: &str) -> &str {
    if path.is_empty() { "the top level" } else { path }
}
