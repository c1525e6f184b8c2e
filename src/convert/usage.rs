//! Token counts in Anthropic's terms.

use super::reply::Usage;
use crate::wire::json::write_u64;
use crate::wire::openai;

/// Anthropic counts cached prompt tokens apart; OpenAI counts them within the prompt.
///
/// `timings_cache`: llama.cpp's `timings.cache_n`.
pub(super) fn anthropic(usage: &openai::Usage, timings_cache: u64) -> Usage {
    let mut read = if usage.cached > 0 { usage.cached } else { timings_cache.min(usage.prompt_tokens) };
    let mut write = usage.cache_write;
    // Less than nothing left: this provider excludes them already.
    let mut input =
        usage.prompt_tokens.checked_sub(read.saturating_add(write)).unwrap_or(usage.prompt_tokens);
    if input == 0 && usage.prompt_tokens > 0 {
        // Claude Code ignores a 0 and would add its first estimate to the cached tokens.
        input = 1;
        if read > 0 {
            read -= 1;
        } else {
            write = write.saturating_sub(1);
        }
    }
    let think = usage.reasoning;
    // xAI leaves reasoning out of completion_tokens; its total gives that away.
    let apart = think > 0
        && usage.total_tokens
            == usage.prompt_tokens.saturating_add(usage.completion_tokens).saturating_add(think);
    let output = usage.completion_tokens.saturating_add(if apart { think } else { 0 });
    Usage {
        input_tokens: input,
        output_tokens: output,
        cache_creation_input_tokens: write,
        cache_read_input_tokens: read,
        thinking_tokens: think.min(output),
        ..Usage::default()
    }
}

/// Appends the `usage` object.
pub(super) fn write(usage: &Usage, out: &mut Vec<u8>) {
    for (name, n) in [
        ("{\"input_tokens\":", usage.input_tokens),
        (",\"output_tokens\":", usage.output_tokens),
        (",\"cache_creation_input_tokens\":", usage.cache_creation_input_tokens),
        (",\"cache_read_input_tokens\":", usage.cache_read_input_tokens),
    ] {
        out.extend_from_slice(name.as_bytes());
        write_u64(n, out);
    }
    if usage.thinking_tokens > 0 {
        out.extend_from_slice(b",\"output_tokens_details\":{\"thinking_tokens\":");
        write_u64(usage.thinking_tokens, out);
        out.push(b'}');
    }
    if usage.web_search_requests + usage.web_fetch_requests > 0 {
        out.extend_from_slice(b",\"server_tool_use\":{\"web_search_requests\":");
        write_u64(usage.web_search_requests, out);
        out.extend_from_slice(b",\"web_fetch_requests\":");
        write_u64(usage.web_fetch_requests, out);
        out.push(b'}');
    }
    out.push(b'}');
}
