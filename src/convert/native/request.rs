//! A request for an upstream that speaks the Messages API itself.

use super::edit::Edits;
use crate::convert::ids::sha256_hex;
use crate::convert::loss::Losses;
use crate::convert::signature::is_envelope;
use crate::wire::anthropic::Outline;
use crate::wire::anthropic::outline::{CallId, Field, Part, Turn};
use crate::wire::json::write_str;

/// What becomes of the parts of a history that only a claude-proxy makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum History {
    /// Thinking whose signature is an envelope is taken out, and tool call ids that Anthropic's
    /// API refuses get others: whoever checks them would refuse the conversation for ever.
    #[default]
    Cleaned,
    /// All of it goes on as it is: the upstream is a claude-proxy too.
    Kept,
}

/// A request as it goes upstream.
#[derive(Debug)]
pub struct Passed {
    /// The body: the client's, but for the model's name, and for what `losses` tell.
    pub body: Vec<u8>,
    /// What was taken out.
    pub losses: Losses,
}

/// Puts the upstream's name of the model in.
pub fn request(outline: &Outline<'_>, remote_id: &str, history: History) -> Passed {
    let mut edits = Edits::default();
    let mut losses = Losses::default();
    if outline.model != remote_id {
        let mut name = Vec::new();
        write_str(remote_id, &mut name);
        edits.replace(outline.model_at.clone(), String::from_utf8(name).unwrap_or_default());
    }
    if history == History::Cleaned {
        clean(outline, &mut edits, &mut losses);
    }
    Passed { body: edits.apply(outline.text), losses }
}

fn clean(outline: &Outline<'_>, edits: &mut Edits<'_>, losses: &mut Losses) {
    let mut emptied = Vec::new();
    // The last of the model's turns that stays: it has a call, and lost its thinking.
    let mut open_call = false;
    for (n, turn) in &outline.turns.marks {
        let gone = ours(turn);
        for block in &gone {
            losses.add(|| format!("messages[{n}].content[{block}]"), "dropped:foreign_thinking");
        }
        if !gone.is_empty() && gone.len() == turn.blocks.ends.len() {
            emptied.push(*n);
            continue;
        }
        if turn.assistant {
            open_call = !gone.is_empty() && needs_thinking(turn);
        }
        edits.remove(outline.text, &turn.blocks, &gone);
        for (_, part) in &turn.blocks.marks {
            if let Part::ToolUse(id) | Part::ToolResult(id) = part {
                rename(id, edits);
            }
        }
    }
    if emptied.len() < outline.turns.ends.len() {
        edits.remove(outline.text, &outline.turns, &emptied);
    }
    // With a budget for thinking, Anthropic's API takes a tool's result only if the turn that
    // called the tool begins with thinking. This one did, but nobody there can check it: the
    // step is made without thinking, and without the edits that are allowed only with it.
    if open_call && outline.thinking_enabled {
        losses.add(|| "thinking".into(), "degraded:thinking");
        if outline.fields.marks.iter().any(|(_, field)| *field == Field::ContextManagement) {
            losses.add(|| "context_management".into(), "dropped:context_management");
        }
        // The members that have edits of their own are others than these.
        let gone: Vec<usize> = outline.fields.marks.iter().map(|(n, _)| *n).collect();
        edits.remove(outline.text, &outline.fields, &gone);
    }
}

/// The blocks of a turn that only a claude-proxy reads, by their indexes.
fn ours(turn: &Turn<'_>) -> Vec<usize> {
    turn.blocks.marks.iter().filter(|(_, part)| is_ours(part)).map(|(n, _)| *n).collect()
}

fn is_ours(part: &Part<'_>) -> bool {
    matches!(part, Part::Thinking { signature } if is_envelope(*signature))
}

/// Whether the turn calls a tool and has no thinking of the upstream's own.
fn needs_thinking(turn: &Turn<'_>) -> bool {
    let parts = || turn.blocks.marks.iter().map(|(_, part)| part);
    let thinks = |part: &Part<'_>| matches!(part, Part::Thinking { .. } | Part::Redacted) && !is_ours(part);
    parts().any(|part| matches!(part, Part::ToolUse(_))) && !parts().any(thinks)
}

/// Anthropic's API takes ids of letters, digits, `_` and `-`; other upstreams' may have `.` and
/// `:`. The same id always becomes the same, in the call and in its result.
fn rename(id: &CallId<'_>, edits: &mut Edits<'_>) {
    let text = id.text.decode();
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if !text.is_empty() && !text.bytes().all(fits) {
        edits.replace(id.at.clone(), format!("\"toolu_{}\"", sha256_hex(&text, 24)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(body: &str, history: History) -> (String, String) {
        let outline = Outline::read(body.as_bytes()).unwrap();
        let passed = request(&outline, "remote", history);
        (String::from_utf8(passed.body).unwrap(), passed.losses.tokens().join(", "))
    }

    #[test]
    fn nothing_but_the_name_changes() {
        let body = " {\"x\" : 1e400,\t\"n\":12345678901234567890.10,\"model\" :\"a\\u0062\", \"s\":\"\\u00e9\\/\u{1F642}\",\r\n \"messages\":[ {\"role\":\"user\",\"content\":[{\"type\":\"new\",\"model\":\"a\"}]} ]} ";
        // A number beyond what a double holds is no number to strict readers.
        let body = body.replace("1e400", "1e40");
        let (sent, losses) = pass(&body, History::Cleaned);
        assert_eq!(sent, body.replace("\"a\\u0062\"", "\"remote\""));
        assert_eq!(losses, "");
        let same = body.replace("a\\u0062", "remot\\u0065");
        assert_eq!(pass(&same, History::Cleaned).0, same);
    }

    const MIXED: &str = r#"{"model":"m","thinking":{"type":"adaptive"},"messages":[
 {"role":"user","content":"a"},
 {"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"cp1.eyJwIjoieCJ9"}, {"type":"text","text":"b"}]},
 {"role":"user","content":"c"},
 {"role":"assistant","content":[{"type":"thinking","thinking":"own","signature":"EqQB"},{"type":"tool_use","id":"toolu_1","name":"f","input":{}}]},
 {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"d"}]},
 {"role":"assistant","content":[ {"type":"thinking","thinking":"","signature":"cp1.!"} ]},
 {"role":"user","content":"e"}]}"#;

    #[test]
    fn envelopes_are_taken_out_and_nothing_else() {
        let (sent, losses) = pass(MIXED, History::Cleaned);
        let want = MIXED
            .replace(r#"{"type":"thinking","thinking":"t","signature":"cp1.eyJwIjoieCJ9"}, "#, " ")
            .replace(
                r#",
 {"role":"assistant","content":[ {"type":"thinking","thinking":"","signature":"cp1.!"} ]}"#,
                "",
            )
            .replace("\"m\"", "\"remote\"");
        assert_eq!(sent, want);
        assert_eq!(losses, "dropped:foreign_thinking");
        assert_eq!(pass(MIXED, History::Kept).0, MIXED.replace("\"m\"", "\"remote\""));
    }

    #[test]
    fn a_call_without_its_thinking_is_answered_without_thinking() {
        let body = |thinking: &str, signature: &str| {
            format!(
                r#"{{"thinking":{{"type":"{thinking}"}},"model":"m","context_management":{{"edits":[]}},"messages":[{{"role":"user","content":"a"}},{{"role":"assistant","content":[{{"type":"thinking","thinking":"t","signature":"{signature}"}},{{"type":"tool_use","id":"f.g:0","name":"f","input":{{}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"f.g:0"}}]}}],"max_tokens":9}}"#
            )
        };
        let (sent, losses) = pass(&body("enabled", "cp1.x"), History::Cleaned);
        let id = format!("toolu_{}", sha256_hex("f.g:0", 24));
        assert_eq!(
            sent,
            format!(
                r#"{{"model":"remote","messages":[{{"role":"user","content":"a"}},{{"role":"assistant","content":[{{"type":"tool_use","id":"{id}","name":"f","input":{{}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"{id}"}}]}}],"max_tokens":9}}"#
            )
        );
        assert_eq!(losses, "dropped:foreign_thinking, degraded:thinking, dropped:context_management");
        for (thinking, signature) in [("adaptive", "cp1.x"), ("enabled", "EqQB")] {
            let (sent, _) = pass(&body(thinking, signature), History::Cleaned);
            assert!(sent.contains("context_management") && sent.contains(thinking), "{sent}");
        }
        let (sent, losses) = pass(&body("enabled", "cp1.x"), History::Kept);
        assert_eq!((sent, losses), (body("enabled", "cp1.x").replace("\"m\"", "\"remote\""), String::new()));
    }

    #[test]
    fn a_history_of_envelopes_alone_keeps_its_messages() {
        let body = r#"{"model":"remote","messages":[{"role":"assistant","content":[{"type":"thinking","signature":"cp1.x"}]}]}"#;
        assert_eq!(pass(body, History::Cleaned).0, body);
    }

    proptest::proptest! {
        /// However the blocks are mixed, what is sent is JSON with exactly the others in it.
        #[test]
        fn what_is_left_is_json(turns in proptest::collection::vec(
            proptest::collection::vec((0usize..4, "[ \n]{0,2}"), 0..5), 1..6)) {
            const PARTS: [&str; 4] = [
                r#"{"type":"thinking","thinking":"x","signature":"cp1.a"}"#,
                r#"{"signature":"EqQB","type":"thinking","thinking":","}"#,
                r#"{"type":"tool_use","id":"a:b","name":"n","input":{"k":[1,2]}}"#,
                r#"{"type":"text","text":"],["}"#,
            ];
            let content = |blocks: &Vec<(usize, String)>| {
                let blocks: Vec<String> = blocks.iter().map(|(n, space)| format!("{space}{}{space}", PARTS[*n])).collect();
                format!(r#"{{"role":"assistant","content":[{}]}}"#, blocks.join(","))
            };
            let messages: Vec<String> = turns.iter().map(content).collect();
            let body = format!(r#"{{"messages":[{}],"model":"m","thinking":{{"type":"enabled"}}}}"#, messages.join(" ,"));
            let (sent, _) = pass(&body, History::Cleaned);
            let sent: serde_json::Value = serde_json::from_str(&sent).unwrap();
            let emptied = |blocks: &&Vec<(usize, String)>| !blocks.is_empty() && blocks.iter().all(|(n, _)| *n == 0);
            let kept: Vec<_> = turns.iter().filter(|t| !emptied(t)).collect();
            if !kept.is_empty() {
                let messages = sent["messages"].as_array().unwrap();
                proptest::prop_assert_eq!(messages.len(), kept.len());
                for (message, blocks) in messages.iter().zip(kept) {
                    let left = blocks.iter().filter(|(n, _)| *n != 0).count();
                    proptest::prop_assert_eq!(message["content"].as_array().unwrap().len(), left);
                }
            }
        }
    }
}
