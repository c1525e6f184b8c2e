//! The client's request with what the model has said since.

use crate::wire::json::{Cursor, JsonError, utf8};

/// `request` with one more assistant message, whose content is `content`, a list of blocks.
/// Every other byte stays. None: it is no request.
pub fn continued(request: &[u8], content: &[u8]) -> Option<Vec<u8>> {
    let text = utf8(request).ok()?;
    let mut end = None;
    let mut cursor = Cursor::new(text);
    cursor
        .object(|key, cur| -> Result<(), JsonError> {
            if key.raw() == "messages" {
                cur.raw()?;
                end = cur.at().checked_sub(1);
            } else {
                cur.raw()?;
            }
            Ok(())
        })
        .ok()?;
    let (before, after) = request.split_at_checked(end?)?;
    let mut out = Vec::with_capacity(request.len() + content.len() + 48);
    out.extend_from_slice(before);
    out.extend_from_slice(b",{\"role\":\"assistant\",\"content\":");
    out.extend_from_slice(content);
    out.push(b'}');
    out.extend_from_slice(after);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::continued;

    #[test]
    fn the_message_goes_last() {
        let request = br#" {"a":[1], "messages" : [ {"role":"user","content":"messages ]"} ] ,"b":{}}"#;
        let out = continued(request, br#"[{"type":"text","text":"x"}]"#).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#" {"a":[1], "messages" : [ {"role":"user","content":"messages ]"} ,{"role":"assistant","content":[{"type":"text","text":"x"}]}] ,"b":{}}"#
        );
        for broken in ["", "[]", "{}", "{\"messages\":", "\u{feff}"] {
            assert!(continued(broken.as_bytes(), b"[]").is_none(), "{broken}");
        }
    }
}
