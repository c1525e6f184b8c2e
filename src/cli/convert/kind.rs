//! What an input is, told by its first bytes or by its keys.

use crate::cli::args::From as Kind;
use crate::wire::json::{Cursor, JsonError, without_bom};

/// What the first bytes of an input tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON document.
    Json,
    /// Server-sent events.
    Sse,
    /// Neither.
    Other,
}

/// The form of an input that begins with `head`; none: more bytes are needed.
pub(super) fn form(head: &[u8], at_end: bool) -> Option<Form> {
    let head = without_bom(head).trim_ascii_start();
    let Some(first) = head.first() else { return at_end.then_some(Form::Other) };
    if matches!(first, b'{' | b'[') {
        return Some(Form::Json);
    }
    let fields: [&[u8]; 5] = [b":", b"data:", b"event:", b"id:", b"retry:"];
    if fields.iter().any(|f| head.starts_with(f)) {
        return Some(Form::Sse);
    }
    let undecided = !at_end && fields.iter().any(|f| f.starts_with(head));
    (!undecided).then_some(Form::Other)
}

/// What a JSON document is, or why it is nothing that can be converted.
pub(super) fn of_json(text: &str) -> Result<Result<Kind, &'static str>, JsonError> {
    let mut keys = Keys::default();
    let mut cursor = Cursor::lenient(text);
    if cursor.peek() == Some(b'[') {
        // Gemini wraps its error into a list.
        cursor.array(
            |_, item| if item.peek() == Some(b'{') { keys.read(item) } else { item.raw().map(drop) },
        )?;
        keys.messages = false;
        keys.choices = false;
    } else {
        keys.read(&mut cursor)?;
    }
    cursor.end()?;
    Ok(keys.kind())
}

/// Which telling keys are at the top.
#[derive(Default)]
struct Keys {
    messages: bool,
    choices: bool,
    error: bool,
    complaint: bool,
    anthropic_message: bool,
    chunk: bool,
}

impl Keys {
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        cursor.object(|key, value| {
            let first = value.peek();
            let raw = value.raw()?;
            let text = |word: &str| raw.text().trim_matches('"') == word;
            match key.decode().as_ref() {
                "messages" => self.messages |= first == Some(b'['),
                "choices" => self.choices |= first == Some(b'['),
                "error" => self.error |= !raw.is_null(),
                "base_resp" | "detail" | "message" | "msg" | "status_msg" => self.complaint = true,
                "object" => {
                    self.error |= text("error");
                    self.chunk |= text("chat.completion.chunk");
                }
                "type" => self.anthropic_message |= text("message"),
                _ => {}
            }
            Ok(())
        })
    }

    fn kind(&self) -> Result<Kind, &'static str> {
        if self.chunk {
            return Err("this is one chunk of a streamed answer; a capture has `data: ` before each chunk");
        }
        if self.choices {
            return Ok(Kind::OpenaiResponse);
        }
        if self.messages {
            return Ok(Kind::AnthropicRequest);
        }
        if self.anthropic_message {
            return Err("this is an Anthropic message already");
        }
        if self.error || self.complaint {
            return Ok(Kind::OpenaiError);
        }
        Err(
            "cannot tell what this is: it has neither `messages` (an Anthropic request) nor `choices` (an OpenAI \
             response) nor `error`; --from says it",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_by_first_bytes() {
        assert_eq!(form(b"", false), None);
        assert_eq!(form(b"", true), Some(Form::Other));
        assert_eq!(form(b" \r\n", false), None);
        assert_eq!(form(b"\xEF\xBB\xBF {", false), Some(Form::Json));
        assert_eq!(form(b"[", false), Some(Form::Json));
        assert_eq!(form(b"da", false), None);
        assert_eq!(form(b"da", true), Some(Form::Other));
        for sse in ["data: x", "data:", "\r\nevent: x", ": hi", "id: 1", "retry: 3"] {
            assert_eq!(form(sse.as_bytes(), false), Some(Form::Sse), "{sse}");
        }
        assert_eq!(form(b"<html>", false), Some(Form::Other));
        assert_eq!(form(b"HTTP/1.1 200 OK", false), Some(Form::Other));
    }

    #[test]
    fn json_by_its_keys() {
        let kind = |text| of_json(text).unwrap().ok();
        assert_eq!(kind(r#"{"model":"m","messages":[]}"#), Some(Kind::AnthropicRequest));
        assert_eq!(kind(r#"{"choices":[],"object":"chat.completion"}"#), Some(Kind::OpenaiResponse));
        assert_eq!(kind(r#"{"choices":[],"error":null}"#), Some(Kind::OpenaiResponse));
        assert_eq!(kind(r#"{"error":{"message":"x"}}"#), Some(Kind::OpenaiError));
        assert_eq!(kind(r#"{"error":"x"}"#), Some(Kind::OpenaiError));
        assert_eq!(kind(r#"[{"error":{"code":400}}]"#), Some(Kind::OpenaiError));
        assert_eq!(kind(r#"{"base_resp":{"status_code":1002}}"#), Some(Kind::OpenaiError));
        assert_eq!(kind(r#"{"object":"error","message":"x"}"#), Some(Kind::OpenaiError));
        assert_eq!(kind(r#"{"detail":[]}"#), Some(Kind::OpenaiError));
        assert_eq!(kind(r#"{"type":"message","content":[]}"#), None);
        assert_eq!(kind(r#"{"object":"chat.completion.chunk","choices":[]}"#), None);
        assert_eq!(kind("[]"), None);
        assert_eq!(kind("{}"), None);
        assert!(of_json("{\"messages\":[").is_err());
    }
}
