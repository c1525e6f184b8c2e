//! Token counts under all the names that are in use.

use crate::wire::json::{Cursor, JsonError};

/// `usage` of a chunk or a completion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// `prompt_tokens`; with most providers cached ones included.
    pub prompt_tokens: u64,
    /// `completion_tokens`; with most providers reasoning included.
    pub completion_tokens: u64,
    /// `total_tokens`.
    pub total_tokens: u64,
    /// Prompt tokens read from a cache: the first of `prompt_tokens_details.cached_tokens`,
    /// `prompt_cache_hit_tokens` (DeepSeek), `cached_tokens` (Kimi), `num_cached_tokens`
    /// (Mistral), `cache_read_input_tokens` that is not 0.
    pub cached: u64,
    /// Prompt tokens written to a cache: `cache_write_tokens` (OpenAI, OpenRouter),
    /// `cache_creation_input_tokens` (DashScope), `cache_creation_tokens`.
    pub cache_write: u64,
    /// `completion_tokens_details.reasoning_tokens`, or `reasoning_tokens` (SGLang).
    pub reasoning: u64,
}

impl Usage {
    pub(super) fn read(cur: &mut Cursor<'_>) -> Result<Option<Self>, JsonError> {
        if cur.peek() != Some(b'{') {
            cur.raw()?;
            return Ok(None);
        }
        let mut usage = Self::default();
        // Rank of the source that `cached` came from: a better one replaces it.
        let mut cached_rank = u8::MAX;
        let mut cached = |n: u64, rank: u8, usage: &mut Self| {
            if n > 0 && rank < cached_rank {
                cached_rank = rank;
                usage.cached = n;
            }
        };
        cur.object(|key, cur| -> Result<(), JsonError> {
            match key.raw() {
                "prompt_tokens" => usage.prompt_tokens = count(cur)?,
                "completion_tokens" => usage.completion_tokens = count(cur)?,
                "total_tokens" => usage.total_tokens = count(cur)?,
                "prompt_cache_hit_tokens" => cached(count(cur)?, 1, &mut usage),
                "cached_tokens" => cached(count(cur)?, 2, &mut usage),
                "num_cached_tokens" => cached(count(cur)?, 3, &mut usage),
                "cache_read_input_tokens" => cached(count(cur)?, 4, &mut usage),
                "reasoning_tokens" => usage.reasoning = usage.reasoning.max(count(cur)?),
                "prompt_tokens_details" | "prompt_token_details" => details(cur, |name, n| match name {
                    "cached_tokens" => cached(n, 0, &mut usage),
                    "cache_write_tokens" | "cache_creation_input_tokens" | "cache_creation_tokens" => {
                        usage.cache_write = usage.cache_write.max(n);
                    }
                    _ => {}
                })?,
                "completion_tokens_details" => details(cur, |name, n| {
                    if name == "reasoning_tokens" {
                        usage.reasoning = usage.reasoning.max(n);
                    }
                })?,
                _ => drop(cur.raw()?),
            }
            Ok(())
        })?;
        Ok(Some(usage))
    }
}

fn details(cur: &mut Cursor<'_>, mut each: impl FnMut(&str, u64)) -> Result<(), JsonError> {
    if cur.peek() != Some(b'{') {
        return cur.raw().map(drop);
    }
    cur.object(|key, cur| {
        each(key.raw(), count(cur)?);
        Ok(())
    })
}

/// A count; whatever is none counts as 0.
pub(super) fn count(cur: &mut Cursor<'_>) -> Result<u64, JsonError> {
    let text = cur.raw()?.text();
    Ok(text.parse().ok().or_else(|| text.parse::<f64>().ok().map(|n| n.max(0.0) as u64)).unwrap_or(0))
}
