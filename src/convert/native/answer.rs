//! A whole answer of an upstream that speaks the Messages API itself.

use super::error::error;
use super::usage;
use crate::convert;
use crate::convert::form::Form;
use crate::convert::stream::Summary;
use crate::wire::anthropic::ApiError;
use crate::wire::json::{Cursor, JsonError, without_bom};

/// Looks at a whole answer, which passes as it is: what the log says of it.
///
/// # Errors
/// It is no message that came to its end: 502, or the error that it is.
pub fn answer(body: &[u8], provider: &str) -> Result<Summary, ApiError> {
    let Ok(text) = std::str::from_utf8(without_bom(body)) else {
        return Err(bad(provider, "its answer is not UTF-8"));
    };
    if text.trim().is_empty() {
        return Err(bad(provider, "its answer is empty"));
    }
    let mut seen = Seen::default();
    // Lenient: the client reads what others would call broken strings, as it always has.
    let mut cursor = Cursor::lenient(text);
    if let Err(e) = seen.read(&mut cursor).and_then(|()| cursor.end()) {
        if !text.trim_start().starts_with('{') {
            return Err(convert::error::error(200, body, provider, None));
        }
        return Err(bad(provider, &format!("its answer is cut off or no JSON (byte {}: {e})", e.at)));
    }
    if seen.is_message {
        return Ok(seen.summary);
    }
    if seen.is_error {
        return Err(error(200, body, provider));
    }
    Err(bad(provider, "its answer is no Anthropic message: does it speak the Messages API at that address?"))
}

/// A stream was asked for, and this came: what is wrong with that.
pub(super) fn instead_of_stream(body: &[u8], provider: &str) -> ApiError {
    match answer(body, provider) {
        Ok(_) => bad(provider, "it sent a whole message although a stream was asked for"),
        Err(error) => error,
    }
}

/// Whether what came fits a request that wanted no stream.
///
/// # Errors
/// 502: it is a stream.
pub fn check_form(form: Form, provider: &str) -> Result<(), ApiError> {
    match form {
        Form::Whole => Ok(()),
        Form::Events => Err(bad(provider, "it sent a stream although none was asked for")),
    }
}

fn bad(provider: &str, what: &str) -> ApiError {
    ApiError::bad_gateway(format!("upstream {provider}: {what}"))
}

#[derive(Default)]
struct Seen {
    is_message: bool,
    is_error: bool,
    summary: Summary,
}

impl Seen {
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        cursor.object(|key, value| -> Result<(), JsonError> {
            let is_text = value.peek() == Some(b'"');
            match key.raw() {
                "type" if is_text => self.is_message = value.string()?.is("message"),
                "error" => self.is_error = !value.raw()?.is_null(),
                "usage" => usage::read(value, &mut self.summary.usage)?,
                "stop_reason" if is_text => {
                    self.summary.stop_reason = Some(usage::stop_reason(&value.string()?.decode()));
                }
                _ => drop(value.raw()?),
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = r#" {"id":"msg_1","type":"message","content":[{"type":"text","text":"\ud83d"}],"stop_reason":"end_turn",
 "usage":{"input_tokens":3,"cache_read_input_tokens":5,"cache_creation_input_tokens":null,"output_tokens":7,"new":{}}}"#;

    #[test]
    fn tokens_and_stop_reason_are_read() {
        let summary = answer(MESSAGE.as_bytes(), "p").unwrap();
        assert_eq!(summary.stop_reason, Some("end_turn"));
        let usage = summary.usage;
        assert_eq!((usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens), (3, 5, 7));
        let newer = answer(MESSAGE.replace("end_turn", "tired").as_bytes(), "p").unwrap();
        assert_eq!(newer.stop_reason, Some("other"));
    }

    #[test]
    fn a_cut_message_is_none() {
        let end = MESSAGE.trim_end().len();
        for cut in 0..end {
            let error = answer(&MESSAGE.as_bytes()[..cut], "p").unwrap_err();
            assert_eq!(error.status, 502, "{cut}");
        }
    }

    #[test]
    fn what_is_no_message_is_told() {
        let told = |body: &str| {
            let error = answer(body.as_bytes(), "p").unwrap_err();
            (error.status, error.message)
        };
        assert_eq!(
            told("<html>x</html>"),
            (502, "upstream returned HTTP 200 with a non-JSON body".to_owned())
        );
        assert_eq!(told("busy").0, 502);
        assert!(told(r#"{"object":"chat.completion","choices":[]}"#).1.contains("no Anthropic message"));
        assert_eq!(
            told(r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#),
            (529, "m".to_owned())
        );
        assert_eq!(told(r#"{"error":{"message":"m","code":429}}"#), (429, "m".to_owned()));
        assert!(
            instead_of_stream(MESSAGE.as_bytes(), "p").message.contains("although a stream was asked for")
        );
    }
}
