//! What an answer says of itself: its tokens and why it stopped.

use crate::convert::reply::Usage;
use crate::wire::json::{Cursor, JsonError};

/// `stop_reason` as the log has it; a newer one is `other`.
///
/// Source: Anthropic API documentation, "Handling stop reasons".
pub(super) fn stop_reason(name: &str) -> &'static str {
    [
        "end_turn",
        "max_tokens",
        "stop_sequence",
        "tool_use",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
        "compaction",
    ]
    .into_iter()
    .find(|known| *known == name)
    .unwrap_or("other")
}

/// Reads a `usage` object over what is known so far: an event names only what it counts.
pub(super) fn read(cursor: &mut Cursor<'_>, usage: &mut Usage) -> Result<(), JsonError> {
    if cursor.peek() != Some(b'{') {
        return cursor.raw().map(drop);
    }
    cursor.object(|key, value| {
        let place = match key.raw() {
            "input_tokens" => &mut usage.input_tokens,
            "output_tokens" => &mut usage.output_tokens,
            "cache_read_input_tokens" => &mut usage.cache_read_input_tokens,
            "cache_creation_input_tokens" => &mut usage.cache_creation_input_tokens,
            _ => return value.raw().map(drop),
        };
        // No number, or one that is no count: what was known stays.
        if let Ok(count) = value.raw()?.text().parse() {
            *place = count;
        }
        Ok(())
    })
}
