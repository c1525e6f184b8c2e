//! The envelope in which reasoning travels through a client's history.
//!
//! `cp1.` and base64url (no padding) of compact JSON with sorted keys: `p` the family that
//! made it, `t` the text when it is not shown, `d` structured details, `g` Gemini's thought
//! signatures by tool_use id. Clients send signatures back as they got them; what arrives
//! here is untrusted all the same.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::wire::json::JsonStr;

const PREFIX: &str = "cp1.";

/// Larger signatures are not ours. Bytes.
const MAX_BYTES: usize = 8 << 20;

/// What a thinking block's signature says.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Envelope {
    /// The family of the profile that made it.
    pub(super) p: String,
    /// The text, when the block does not show it.
    #[serde(default)]
    pub(super) t: Option<String>,
    /// `reasoning_details`: a list, kept as it was.
    #[serde(default)]
    pub(super) d: Option<Vec<Box<RawValue>>>,
    /// Gemini's `thought_signature` by tool_use id.
    #[serde(default)]
    pub(super) g: BTreeMap<String, String>,
}

impl Envelope {
    /// Reads a signature of ours; none for anybody else's, and for a broken one.
    pub(super) fn open(signature: &str) -> Option<Self> {
        let text = signature.strip_prefix(PREFIX).filter(|t| t.len() <= MAX_BYTES)?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    }
}

/// Whether a signature has the form of ours. Nobody else can read one, or would accept it.
pub(super) fn is_envelope(signature: JsonStr<'_>) -> bool {
    signature.starts_with(PREFIX)
}

/// Makes a signature. `omitted` is the text that the block does not show.
pub(super) fn seal(
    family: &str,
    omitted: Option<&str>,
    details: Vec<Value>,
    gemini: Vec<(String, String)>,
) -> String {
    let mut fields = Map::new();
    if !details.is_empty() {
        fields.insert("d".into(), Value::Array(details.into_iter().map(sorted).collect()));
    }
    if !gemini.is_empty() {
        let by_id: BTreeMap<_, _> = gemini.into_iter().collect();
        fields.insert("g".into(), by_id.into_iter().map(|(id, s)| (id, Value::from(s))).collect());
    }
    fields.insert("p".into(), family.into());
    if let Some(text) = omitted.filter(|t| !t.is_empty()) {
        fields.insert("t".into(), text.into());
    }
    let mut out = PREFIX.to_owned();
    URL_SAFE_NO_PAD.encode_string(Value::Object(fields).to_string(), &mut out);
    out
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> = fields.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_and_opens() {
        assert_eq!(
            seal("deepseek", Some("plan"), vec![], vec![]),
            "cp1.eyJwIjoiZGVlcHNlZWsiLCJ0IjoicGxhbiJ9"
        );
        assert_eq!(
            seal("gemini", None, vec![], vec![("call_a".into(), "SIGA".into())]),
            "cp1.eyJnIjp7ImNhbGxfYSI6IlNJR0EifSwicCI6ImdlbWluaSJ9"
        );
        let e = Envelope::open("cp1.eyJwIjoiZGVlcHNlZWsiLCJ0IjoiaGlkZGVuIHBsYW4ifQ").unwrap();
        assert_eq!((e.p.as_str(), e.t.as_deref()), ("deepseek", Some("hidden plan")));
        for foreign in ["", "EqQB", "cp1.", "cp1.!!!", "cp1.e30", "cp2.eyJwIjoiZGVlcHNlZWsifQ"] {
            assert!(Envelope::open(foreign).is_none(), "{foreign}");
        }
    }
}
