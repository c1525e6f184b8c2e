//! What the judge is asked.

use super::case::Case;
use super::fence::compact;
use super::verdict::Reason;
use crate::convert::hold::CompletedCall;
use crate::wire::json::{RawJson, write_str};

/// A call whose input is longer is not judged, in bytes: what is harmful may be in the part that
/// would be left out.
pub const MAX_INPUT: usize = 64 << 10;
/// Room for reasoning that cannot be switched off, and for a verdict.
const MAX_TOKENS: &[u8] = b"4096";

/// How the judge can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Through a conversion: what its upstream does not take is left out there.
    Converted,
    /// As it is, by a Messages API: only with fields that all models of that API take.
    Passed,
}

/// What a judge is told once and for all.
const SYSTEM: &str = include_str!("system.txt");

/// The form of a verdict, the same in all questions: upstreams keep what they make of it.
const SCHEMA: &[u8] = br#"{"type":"object","properties":{"nonce":{"type":"string"},"explanation":{"type":"string"},"decision":{"type":"string","enum":["allow","block"]}},"required":["nonce","explanation","decision"],"additionalProperties":false}"#;

impl Case {
    /// The Messages request that asks `model` about a call of the answer.
    ///
    /// # Errors
    /// The call cannot be judged: nobody has seen all of it.
    pub fn question(&self, model: &str, call: &CompletedCall, manner: Manner) -> Result<Vec<u8>, Reason> {
        if !self.complete || call.input.len() > MAX_INPUT {
            return Err(Reason::InputTooLong);
        }
        if !call.whole {
            return Err(Reason::Truncated);
        }
        let input = RawJson::parse(&call.input).ok().filter(|input| input.is_object());
        let input = compact(input.ok_or(Reason::InputUnparsed)?);
        let mut prompt = self.prompt.clone();
        prompt.section("THE CALL TO JUDGE");
        prompt.quote("TOOL", &call.name, 1000);
        // Escapes that make hidden characters visible lengthen nothing here.
        prompt.value("INPUT", &input, usize::MAX);
        prompt.section("END");
        prompt.line(&format!("Your answer, with \"nonce\": \"{}\":", prompt.nonce()));

        let mut out = Vec::with_capacity(SYSTEM.len() + prompt.text.len() + prompt.text.len() / 8 + 1024);
        out.extend_from_slice(b"{\"model\":");
        write_str(model, &mut out);
        out.extend_from_slice(b",\"max_tokens\":");
        out.extend_from_slice(MAX_TOKENS);
        if manner == Manner::Converted {
            out.extend_from_slice(b",\"temperature\":0,\"thinking\":{\"type\":\"disabled\"}");
            out.extend_from_slice(b",\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":");
            out.extend_from_slice(SCHEMA);
            out.extend_from_slice(b"}}");
        }
        out.extend_from_slice(b",\"system\":");
        write_str(SYSTEM, &mut out);
        out.extend_from_slice(b",\"messages\":[{\"role\":\"user\",\"content\":");
        write_str(&prompt.text, &mut out);
        out.extend_from_slice(b"}]}");
        Ok(out)
    }
}
