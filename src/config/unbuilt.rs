//! Keys that are documented but not built: an error and never silence. What they hold is
//! checked all the same, so that a file is right on the day they work.

use super::code::Code;
use super::file;
use super::finding::Findings;
use super::read::At;

/// Checks the keys of a provider.
pub(super) fn check(provider: &file::Provider, findings: &mut Findings) {
    match &provider.api {
        Some(at) if at.value == "anthropic" => {
            let message = format!("`{}`: \"anthropic\" is not supported yet", at.path);
            findings.add(
                Code::NotSupported,
                at.spot(),
                message,
                "remove it, and use an OpenAI-compatible upstream",
            );
        }
        Some(At { value, span, path }) if value != "openai" => {
            let message = format!("`{path}` should be \"openai\", found \"{}\"", value.escape_debug());
            findings.add(Code::BadValue, (span, path), message, "");
        }
        _ => {}
    }
}
