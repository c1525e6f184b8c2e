//! What the judge's answer is worth.

use super::case::Case;
use crate::wire::json::{JsonError, RawJson, write_str};

/// Longest explanation that is passed on, in characters.
const EXPLANATION: usize = 500;

/// What was found on one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The judge let it pass.
    NotFlagged,
    /// The judge did not, and why.
    Flagged(String),
    /// There is no verdict.
    Unavailable(Reason),
}

impl Verdict {
    /// What kind it is, in one word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotFlagged => "not_flagged",
            Self::Flagged(_) => "flagged",
            Self::Unavailable(_) => "unavailable",
        }
    }
}

/// Why there is no verdict; Claude Code knows these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The judge took too long.
    Timeout,
    /// The judge cannot be asked, or its answer is no verdict.
    Error,
    /// The judge refused to answer.
    Refused,
    /// The call or its context is larger than is judged.
    InputTooLong,
    /// The call's input is no JSON object.
    InputUnparsed,
    /// The call was cut off by the token limit.
    Truncated,
}

impl Reason {
    /// As it is told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Error => "error",
            Self::Refused => "refused",
            Self::InputTooLong => "input_too_long",
            Self::InputUnparsed => "input_unparsed",
            Self::Truncated => "truncated",
        }
    }
}

impl Case {
    /// Reads the judge's answer, which is a verdict only if it ended by itself and is exactly
    /// one object with these keys, once each: `nonce`, the one of this case, so that no verdict
    /// that was only repeated counts; `decision`, `allow` or `block`; and `explanation`.
    pub fn verdict(&self, text: &str, stop_reason: &str) -> Verdict {
        match stop_reason {
            "end_turn" | "stop_sequence" => self.read(text).unwrap_or(Verdict::Unavailable(Reason::Error)),
            "refusal" => Verdict::Unavailable(Reason::Refused),
            "model_context_window_exceeded" => Verdict::Unavailable(Reason::InputTooLong),
            _ => Verdict::Unavailable(Reason::Error),
        }
    }

    fn read(&self, text: &str) -> Option<Verdict> {
        let object = RawJson::parse(unwrapped(text)).ok().filter(|value| value.is_object())?;
        let (mut nonce, mut decision, mut explanation) = (None, None, None);
        let mut odd = false;
        let read = object.cursor().object(|key, cur| {
            let place = match key.raw() {
                "nonce" => &mut nonce,
                "decision" => &mut decision,
                "explanation" => &mut explanation,
                _ => {
                    odd = true;
                    cur.raw()?;
                    return Ok(());
                }
            };
            odd |= place.replace(cur.string()?.decode()).is_some();
            Ok::<_, JsonError>(())
        });
        if read.is_err() || odd || nonce? != self.prompt.nonce() {
            return None;
        }
        match (decision?.as_ref(), explanation?) {
            ("allow", _) => Some(Verdict::NotFlagged),
            ("block", why) => Some(Verdict::Flagged(tidy(&why))),
            _ => None,
        }
    }
}

/// The text without the code fence that models like to put around JSON.
fn unwrapped(text: &str) -> &str {
    let text = text.trim();
    let inside = text.strip_prefix("```json").or_else(|| text.strip_prefix("```"));
    inside.and_then(|inside| inside.strip_suffix("```")).map_or(text, str::trim)
}

/// One line of bounded length.
fn tidy(explanation: &str) -> String {
    let mut out = String::new();
    let words = explanation.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty());
    for word in words {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    if out.chars().count() > EXPLANATION {
        out = out.chars().take(EXPLANATION).chain(['…']).collect();
    }
    if out.is_empty() {
        out.push_str("the judge gave no reason");
    }
    out
}

/// The value of `safeguard_results`: the verdict on each call, by its id.
pub fn results<'v>(verdicts: impl IntoIterator<Item = (&'v str, &'v Verdict)>) -> String {
    let mut out = Vec::new();
    out.extend_from_slice(br#"[{"type":"dangerous_tool_use","status":{"type":"available","tool_uses":{"#);
    for (n, (id, verdict)) in verdicts.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_str(id, &mut out);
        match verdict {
            Verdict::NotFlagged => out.extend_from_slice(br#":{"type":"evaluated","outcome":"not_flagged"}"#),
            Verdict::Flagged(why) => {
                out.extend_from_slice(br#":{"type":"evaluated","outcome":"flagged","explanation":"#);
                write_str(why, &mut out);
                out.push(b'}');
            }
            Verdict::Unavailable(reason) => {
                out.extend_from_slice(br#":{"type":"unavailable","reason":"#);
                write_str(reason.as_str(), &mut out);
                out.push(b'}');
            }
        }
    }
    out.extend_from_slice(b"}}}]");
    String::from_utf8_lossy(&out).into_owned()
}
