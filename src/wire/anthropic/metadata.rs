//! `metadata`: what a client says of who asks.

use std::borrow::Cow;

use crate::wire::json::{Cursor, RawJson};

/// The session that a request belongs to, if its `metadata.user_id` names one.
///
/// Claude Code writes a JSON object into that string, with `session_id` beside the ids of device
/// and account. Older versions wrote `user_<digest>_account_<uuid>_session_<uuid>`.
/// Anything else is somebody's own name of a user, and no session.
pub fn session(metadata: RawJson<'_>) -> Option<String> {
    let id = member(metadata.cursor(), "user_id")?;
    let session = if id.trim_start().starts_with('{') {
        let mut cursor = Cursor::new(&id);
        let object = cursor.raw().ok()?;
        member(object.cursor(), "session_id")?.into_owned()
    } else {
        id.rsplit_once("_session_")?.1.to_owned()
    };
    (!session.is_empty()).then_some(session)
}

/// The text of a member of an object.
fn member<'a>(mut cursor: Cursor<'a>, name: &str) -> Option<Cow<'a, str>> {
    if cursor.peek() != Some(b'{') {
        return None;
    }
    let mut found = None;
    let read = cursor.object(|key, cursor| {
        if key.is(name) && cursor.peek() == Some(b'"') {
            found = Some(cursor.string()?.decode());
            return Ok(());
        }
        cursor.raw().map(drop)
    });
    read.ok()?;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(metadata: &str) -> Option<String> {
        session(RawJson::parse(metadata).unwrap())
    }

    #[test]
    fn a_session_is_found_in_both_forms() {
        let new = r#"{"user_id":"{\"device_id\":\"d\",\"account_uuid\":\"\",\"session_id\":\"0b7c-1\"}"}"#;
        assert_eq!(of(new).as_deref(), Some("0b7c-1"));
        assert_eq!(of(r#"{"user_id":"user_00_account__session_0b7c-1"}"#).as_deref(), Some("0b7c-1"));
        assert_eq!(of(r#"{"a":[1],"user_id":" {\"session_id\":\"\u00e9\"}"}"#).as_deref(), Some("é"));
    }

    #[test]
    fn what_is_no_session_is_none() {
        for metadata in [
            "null",
            "[]",
            "1",
            "{}",
            r#"{"user_id":null}"#,
            r#"{"user_id":7}"#,
            r#"{"user_id":"somebody"}"#,
            r#"{"user_id":"user_0_session_"}"#,
            r#"{"user_id":"{"}"#,
            r#"{"user_id":"{\"session_id\":1}"}"#,
            r#"{"user_id":"{\"session_id\":\"\"}"}"#,
            r#"{"session_id":"x"}"#,
        ] {
            assert_eq!(of(metadata), None, "{metadata}");
        }
    }
}
