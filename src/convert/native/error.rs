//! Errors of an upstream that speaks the Messages API itself: its own words, where they are
//! Anthropic's, and a translation of anything else.

use crate::convert;
use crate::wire::anthropic::{ApiError, ErrorKind};
use crate::wire::json::{Cursor, JsonError, JsonStr, RawJson, without_bom};

/// What an upstream's error answer becomes for the client. Total: any bytes give an error.
///
/// Anthropic's own JSON passes as it is, with its status. What is none (a gateway's page) is
/// told as with any other upstream; so is a 401, because the key that it speaks of is the
/// provider's, and clients would take it for theirs.
pub fn error(status: u16, body: &[u8], provider: &str) -> ApiError {
    match own(body) {
        Some(error) if status >= 400 && status != 401 => {
            // Anthropic's API says so of an empty account, which is no fault of the request.
            let is_broke = status == 400 && error.message.starts_with("Your credit balance is too low");
            let upstream_status = Some(if is_broke { 402 } else { status });
            ApiError { status, upstream_status, ..error }
        }
        // An error that says of itself what it is, in an answer with status 200.
        Some(error) if status < 400 && error.status != 401 => error,
        Some(_) => convert::error::error(401, body, provider, None),
        None => convert::error::error(status, body, provider, None),
    }
}

/// An error in Anthropic's form, with the status that belongs to its type.
pub(super) fn own(body: &[u8]) -> Option<ApiError> {
    let text = std::str::from_utf8(without_bom(body)).ok()?;
    let (mut is_error, mut object) = (false, None);
    let mut cursor = Cursor::new(text);
    let read = cursor.object(|key, value| -> Result<(), JsonError> {
        let is_text = value.peek() == Some(b'"');
        match key.raw() {
            "type" if is_text => is_error = value.string()?.is("error"),
            "error" => object = Some(value.raw()?),
            _ => drop(value.raw()?),
        }
        Ok(())
    });
    read.and_then(|()| cursor.end()).ok()?;
    object.filter(|object| is_error && object.is_object()).and_then(told)
}

fn told(object: RawJson<'_>) -> Option<ApiError> {
    let (mut kind, mut message) = (None, None);
    let text = |value: &mut Cursor<'_>| value.peek() == Some(b'"');
    let read = object.cursor().object(|key, value| -> Result<(), JsonError> {
        match key.raw() {
            "type" if text(value) => kind = Some(value.string()?),
            "message" if text(value) => message = Some(value.string()?),
            _ => drop(value.raw()?),
        }
        Ok(())
    });
    read.ok()?;
    let (kind, message): (JsonStr<'_>, JsonStr<'_>) = (kind?, message?);
    // A type that is newer than this is the upstream's fault as far as we know.
    let kind = ErrorKind::named(&kind.decode()).unwrap_or(ErrorKind::Api);
    let mut compact = Vec::new();
    object.write_compact(&mut compact);
    let mut error = ApiError::new(kind.status(), kind, message.decode());
    error.object = String::from_utf8(compact).ok();
    error.upstream_status = Some(error.status);
    Some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(status: u16, body: &str) -> (u16, String) {
        let error = error(status, body.as_bytes(), "anthropic");
        let mut out = Vec::new();
        error.write("req_ours", &mut out);
        (error.status, String::from_utf8(out).unwrap())
    }

    #[test]
    fn anthropic_s_own_words_pass() {
        let body = r#"{"request_id":"req_theirs","type":"error", "error" : {"message":"é \"x\"", "type":"overloaded_error","details":{"n":1},"new":[1e3]} }"#;
        let want = r#"{"type":"error","error":{"message":"é \"x\"","type":"overloaded_error","details":{"n":1},"new":[1e3]},"request_id":"req_ours"}"#;
        for (status, told) in [(529, 529), (503, 503), (400, 400), (418, 418), (200, 529)] {
            assert_eq!(written(status, body), (told, want.to_owned()));
        }
        let newer = r#"{"type":"error","error":{"type":"quantum_error","message":"m"}}"#;
        assert_eq!(written(200, newer).0, 500);
        assert!(written(422, newer).1.contains("quantum_error"));
    }

    #[test]
    fn anything_else_is_told_as_with_other_upstreams() {
        assert_eq!(
            written(502, "<html>Bad Gateway</html>").1,
            r#"{"type":"error","error":{"type":"api_error","message":"upstream returned HTTP 502 with a non-JSON body"},"request_id":"req_ours"}"#
        );
        let openai = r#"{"error":{"message":"no","type":"invalid_request_error"}}"#;
        assert_eq!(written(422, openai).0, 400);
        for odd in [
            r#"{"type":"error","error":"x"}"#,
            r#"{"type":"error","error":{"type":1,"message":"x"}}"#,
            r#"{"type":"message","error":{"type":"api_error","message":"x"}}"#,
            r#"{"type":"error","error":{"type":"api_error","message":"x"}}}"#,
            "",
        ] {
            assert!(own(odd.as_bytes()).is_none(), "{odd}");
            assert_eq!(error(500, odd.as_bytes(), "p").object, None);
        }
    }

    #[test]
    fn an_empty_account_is_no_fault_of_the_request() {
        let body = |message: &str| {
            format!(r#"{{"type":"error","error":{{"type":"invalid_request_error","message":"{message}"}}}}"#)
        };
        let broke =
            error(400, body("Your credit balance is too low to access the Anthropic API.").as_bytes(), "p");
        assert_eq!((broke.status, broke.upstream_status), (400, Some(402)));
        let other = error(400, body("max_tokens: Field required").as_bytes(), "p");
        assert_eq!((other.status, other.upstream_status), (400, Some(400)));
    }

    #[test]
    fn the_key_that_was_refused_is_ours() {
        let body =
            r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#;
        for status in [401, 200] {
            let error = error(status, body.as_bytes(), "anthropic");
            assert_eq!((error.status, error.should_retry), (401, Some(false)));
            assert_eq!(
                error.message,
                "the key of provider `anthropic` was refused by the upstream: invalid API key"
            );
        }
    }
}
