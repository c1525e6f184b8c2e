//! The beginnings of questions and answers, where the configuration wants them shown.

use crate::config::Config;
use crate::observe::Record;
use crate::wire::anthropic::{BlockKind, Request, Role};

/// What Claude Code adds to what the user wrote.
const REMINDER: &str = "<system-reminder>";

/// The last text that the user wrote in a conversation, whole.
pub(in crate::server) fn question(config: &Config, body: &[u8]) -> Option<String> {
    let request = Request::parse(body).ok()?;
    let users = request.messages.iter().rev().filter(|message| message.role == Role::User);
    let mut texts =
        users.flat_map(|message| message.content.iter().rev()).filter_map(|block| match block.kind {
            BlockKind::Text(text) if !text.is_blank() => Some(text.decode()),
            _ => None,
        });
    let mut text = texts.find(|text| !text.trim_start().starts_with(REMINDER))?.into_owned();
    blot(config, &mut text);
    Some(text)
}

/// Keeps the beginning of an answer, if the configuration wants it shown.
pub(in crate::server) fn answered(config: &Config, record: &mut Record, text: impl FnOnce() -> String) {
    if let Some(live) = record.live.as_mut().filter(|live| live.keeps_content()) {
        let mut text = text();
        blot(config, &mut text);
        live.answered(&text);
    }
}

/// The text of a whole answer.
pub(in crate::server) fn text_of(body: &[u8]) -> String {
    let message: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let blocks = message.get("content").and_then(|content| content.as_array());
    let texts = blocks.into_iter().flatten().filter_map(|block| block.get("text")?.as_str());
    texts.collect::<Vec<_>>().join(" ")
}

fn blot(config: &Config, text: &mut String) {
    for secret in config.secrets() {
        secret.blot(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_what_the_user_wrote_last() {
        let json = r#"{"ak": "sesame-sesame", "providers": [{"base_url": "http://localhost:1", "api_key": "k",
            "models": [{"id": "m"}]}]}"#;
        let config = crate::config::check(json, &|_| Err(std::env::VarError::NotPresent)).config.unwrap();
        let asked = |messages: &str| {
            question(&config, format!(r#"{{"model":"m","max_tokens":1,"messages":[{messages}]}}"#).as_bytes())
        };
        assert_eq!(asked(r#"{"role":"user","content":"my key: sesame-sesame"}"#).unwrap(), "my key: [key]");
        let turns = r#"{"role":"user","content":[{"type":"text","text":"fix it"},
                {"type":"text","text":"<system-reminder>today</system-reminder>"}]},
            {"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n","input":{}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"a file"}]}"#;
        assert_eq!(asked(turns).unwrap(), "fix it");
        assert_eq!(asked(r#"{"role":"assistant","content":"prefill"}"#), None);
        assert_eq!(question(&config, b"{"), None);
    }

    #[test]
    fn texts_of_a_whole_answer_are_joined() {
        let body = br#"{"content":[{"type":"thinking","thinking":"x"},{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#;
        assert_eq!(text_of(body), "a b");
        assert_eq!(text_of(b"nonsense"), "");
    }
}
