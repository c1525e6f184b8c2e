//! Reasoning of one thinking block, and the signature that carries it back.

use serde_json::Value;

use super::profile::{Echo, Profile};
use super::reply::ThinkingMode;
use super::signature::seal;
use super::text::Fragment;
use crate::wire::json::RawJson;

/// What one thinking block has gathered.
#[derive(Debug, Default)]
pub(super) struct Thoughts {
    /// The text that is not shown, decoded. Only with [`ThinkingMode::Omit`].
    hidden: String,
    /// `reasoning_details`, fragments of one detail joined.
    details: Vec<Value>,
    /// Bytes in `details`, about.
    details_bytes: usize,
    /// Gemini's signature for a tool call: (tool_use id, signature).
    pub(super) gemini: Option<(String, String)>,
}

impl Thoughts {
    /// Bytes held.
    pub(super) fn retained(&self) -> usize {
        self.hidden.len() + self.details_bytes + self.gemini.as_ref().map_or(0, |(a, b)| a.len() + b.len())
    }

    pub(super) fn hide(&mut self, text: Fragment<'_>) {
        text.decode_some(usize::MAX, &mut self.hidden);
    }

    /// Takes `reasoning_details` of one chunk and returns the text that is new in them.
    ///
    /// Fragments of one detail (same type and index) are joined. A text that begins with all
    /// that came before is a snapshot (MiniMax documents these): only what is new counts.
    pub(super) fn details(&mut self, raw: RawJson<'_>, profile: &Profile) -> String {
        let Ok(list) = serde_json::from_str::<Vec<Value>>(raw.text()) else { return String::new() };
        let mut fresh = String::new();
        for detail in list {
            let Value::Object(detail) = detail else { continue };
            let key = |d: &serde_json::Map<String, Value>| (d.get("type").cloned(), d.get("index").cloned());
            let field = if detail.contains_key("summary") { "summary" } else { "text" };
            let text = detail.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            let known = self
                .details
                .iter_mut()
                .filter_map(Value::as_object_mut)
                .rev()
                .find(|d| key(d) == key(&detail) && d.contains_key(field) && detail.contains_key(field));
            if let Some(known) = known {
                let so_far = known.get(field).and_then(Value::as_str).unwrap_or_default();
                let suffix = match text.strip_prefix(so_far) {
                    Some(suffix) if !so_far.is_empty() => suffix,
                    _ => &text,
                };
                fresh.push_str(suffix);
                self.details_bytes += suffix.len();
                let joined = format!("{so_far}{suffix}");
                for (name, value) in detail.iter().filter(|(_, v)| !v.is_null()) {
                    known.insert(name.clone(), value.clone());
                }
                known.insert(field.to_owned(), joined.into());
            } else {
                fresh.push_str(&text);
                self.details_bytes +=
                    detail.values().map(|v| v.as_str().map_or(8, str::len) + 16).sum::<usize>();
                self.details.push(Value::Object(detail));
            }
        }
        if profile.echo != Echo::ReasoningDetails {
            // Nobody would take them back. One entry stays, to recognise snapshots.
            self.details.truncate(1);
        }
        fresh
    }

    /// The signature of the block, which is over.
    pub(super) fn seal(self, mode: ThinkingMode, profile: &Profile) -> String {
        let hidden = (mode == ThinkingMode::Omit).then_some(self.hidden.as_str());
        let details = if profile.echo == Echo::ReasoningDetails { self.details } else { Vec::new() };
        let gemini = self.gemini.as_ref().map(|(id, signature)| (id.as_str(), signature.as_str()));
        seal(&profile.family, hidden, details, gemini)
    }
}
