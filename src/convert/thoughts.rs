//! Reasoning of one thinking block, and the signature that carries it back.

use serde_json::Value;

use super::profile::{Echo, Profile};
use super::reply::ThinkingMode;
use super::signature::seal;
use super::text::Fragment;

/// What the open thinking block has gathered.
#[derive(Debug, Default)]
pub(super) struct Thoughts {
    /// The text that is not shown, decoded. Only with [`ThinkingMode::Omit`].
    hidden: String,
    /// `reasoning_details`, fragments of one detail joined.
    details: Vec<Value>,
    /// Bytes in `details` and `told`, about: it only grows.
    details_bytes: usize,
    /// Gemini's signatures for tool calls: (tool_use id, signature).
    pub(super) gemini: Vec<(String, String)>,
    /// Type, index and text of details in blocks that are over: snapshots begin with them.
    told: Vec<(Option<Value>, Option<Value>, String)>,
}

impl Thoughts {
    /// Bytes held.
    pub(super) fn retained(&self) -> usize {
        self.hidden.len()
            + self.details_bytes
            + self.gemini.iter().map(|(a, b)| a.len() + b.len()).sum::<usize>()
            + self.told.len() * 64
    }

    pub(super) fn hide(&mut self, text: Fragment<'_>) {
        text.decode_some(usize::MAX, &mut self.hidden);
    }

    /// Takes `reasoning_details` of one chunk. Returns the text that is new in them, and whether
    /// there is something for the signature to carry.
    ///
    /// Fragments of one detail (same type and index) are joined. A text that begins with all
    /// that came before is a snapshot (MiniMax documents these): only what is new counts.
    /// `whole`: they are complete, and stay as they are.
    pub(super) fn details(&mut self, raw: &str, profile: &Profile, whole: bool) -> (String, bool) {
        let Ok(list) = serde_json::from_str::<Vec<Value>>(raw) else { return (String::new(), false) };
        let (mut fresh, before) = (String::new(), self.details_bytes);
        for detail in list {
            let Value::Object(mut detail) = detail else { continue };
            let own = field(&detail);
            let text = own.and_then(|f| detail.get(f)).and_then(Value::as_str).unwrap_or_default();
            if whole {
                fresh.push_str(text);
                self.keep(detail);
                continue;
            }
            let same = |d: &&mut Detail| {
                d.get("type") == detail.get("type")
                    && d.get("index") == detail.get("index")
                    && mergeable(d)
                    && mergeable(&detail)
            };
            let Some(known) = self.details.iter_mut().filter_map(Value::as_object_mut).rev().find(same)
            else {
                // A block before this one may have told the beginning.
                let told = self.told.iter().rev().find(|(kind, index, so_far)| {
                    detail.get("type") == kind.as_ref()
                        && detail.get("index") == index.as_ref()
                        && text.starts_with(so_far)
                });
                let suffix = text.get(told.map_or(0, |t| t.2.len())..).unwrap_or(text).to_owned();
                if told.is_some() && suffix.is_empty() {
                    continue;
                }
                fresh.push_str(&suffix);
                if let Some(own) = own.filter(|_| told.is_some()) {
                    detail.insert(own.to_owned(), suffix.into());
                }
                self.keep(detail);
                continue;
            };
            let name = field(known).or(own).unwrap_or("text");
            let so_far = known.get(name).and_then(Value::as_str).unwrap_or_default();
            let suffix = text.strip_prefix(so_far).filter(|_| !so_far.is_empty()).unwrap_or(text);
            fresh.push_str(suffix);
            // The text so far is taken, not copied: long reasoning comes in thousands of fragments.
            let mut joined = match known.get_mut(name).map(Value::take) {
                Some(Value::String(so_far)) => so_far,
                _ => String::new(),
            };
            joined.push_str(suffix);
            self.details_bytes += suffix.len();
            for (key, value) in detail.iter().filter(|(key, v)| *key != name && !v.is_null()) {
                if known.get(key) != Some(value) {
                    self.details_bytes += 1;
                    known.insert(key.clone(), value.clone());
                }
            }
            known.insert(name.to_owned(), joined.into());
        }
        (fresh, profile.echo == Echo::ReasoningDetails && self.details_bytes > before)
    }

    fn keep(&mut self, detail: Detail) {
        self.details_bytes += detail.values().map(|v| v.as_str().map_or(8, str::len) + 16).sum::<usize>();
        self.details.push(Value::Object(detail));
    }

    /// The signature of the block, which is over.
    pub(super) fn seal(&mut self, mode: ThinkingMode, profile: &Profile) -> String {
        let hidden = std::mem::take(&mut self.hidden);
        let details = std::mem::take(&mut self.details);
        for detail in details.iter().filter_map(Value::as_object) {
            let text = field(detail).and_then(|f| detail.get(f)).and_then(Value::as_str).unwrap_or_default();
            if !text.is_empty() {
                let value = |name: &str| detail.get(name).cloned();
                self.told.push((value("type"), value("index"), text.to_owned()));
            }
        }
        let hidden = (mode == ThinkingMode::Omit).then_some(hidden.as_str());
        let details = if profile.echo == Echo::ReasoningDetails { details } else { Vec::new() };
        seal(&profile.family, hidden, details, std::mem::take(&mut self.gemini))
    }
}

type Detail = serde_json::Map<String, Value>;

/// Where the text of a detail stands.
fn field(detail: &Detail) -> Option<&'static str> {
    ["summary", "text"].into_iter().find(|name| detail.contains_key(*name))
}

/// Details that come in fragments; the last may have a signature and no text.
fn mergeable(detail: &Detail) -> bool {
    field(detail).is_some()
        || matches!(detail.get("type").and_then(Value::as_str), Some("reasoning.text" | "reasoning.summary"))
}
