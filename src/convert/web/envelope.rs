//! What travels through a client's history for us alone: `encrypted_content` and
//! `encrypted_index`.
//!
//! `cp1.` and base64url (no padding). It is no secret and is not encrypted: the text of a result,
//! so that a later turn can give it to the model once more. Clients send it back as they got it;
//! what arrives here is untrusted all the same.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::wire::json::JsonStr;

const PREFIX: &str = "cp1.";

/// Longer ones are not ours. Bytes.
const MAX_BYTES: usize = 1 << 20;

/// Puts a text into the envelope.
pub(super) fn seal(text: &str) -> String {
    let mut out = String::with_capacity(PREFIX.len() + text.len() * 4 / 3 + 4);
    out.push_str(PREFIX);
    URL_SAFE_NO_PAD.encode_string(text, &mut out);
    out
}

/// The text of an envelope of ours; none for anybody else's, and for a broken one.
pub(super) fn open(envelope: JsonStr<'_>) -> Option<String> {
    if envelope.len_hint() > MAX_BYTES || !envelope.starts_with(PREFIX) {
        return None;
    }
    let envelope = envelope.decode();
    let bytes = URL_SAFE_NO_PAD.decode(envelope.strip_prefix(PREFIX)?).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::Cursor;

    fn opened(envelope: &str) -> Option<String> {
        let json = serde_json::Value::from(envelope).to_string();
        open(Cursor::new(&json).string().unwrap())
    }

    #[test]
    fn seals_and_opens() {
        for text in ["", "a", "Zürich \"2026\"\n"] {
            assert_eq!(opened(&seal(text)).as_deref(), Some(text));
        }
        for foreign in ["", "EqgfCioIARgB", "cp1.!", "cp1._w", "cp2.YQ"] {
            assert_eq!(opened(foreign), None, "{foreign}");
        }
        assert_eq!(opened(&seal(&"x".repeat(MAX_BYTES))), None);
    }
}
