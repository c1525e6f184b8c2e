//! A provider with several keys: each has to work.

use std::sync::Arc;

use serde::Serialize;

use super::once::{Prompt, Tokens, exchange};
use crate::config::{Model, Provider};
use crate::upstream::Limits;

/// How one key fares.
#[derive(Debug, Serialize)]
pub(super) struct Tried {
    /// Its place in `api_keys`, from 1. The key itself is not shown, not even in part.
    pub(super) key: usize,
    pub(super) ok: bool,
    /// In the upstream's own words.
    pub(super) error: Option<String>,
}

/// What the keys of a provider are worth.
pub(super) struct Keys {
    pub(super) tried: Vec<Tried>,
    /// What each request cost, as far as the upstream told.
    pub(super) costs: Vec<Option<Tokens>>,
    /// The model, with the first key that works and no other.
    pub(super) model: Model,
}

/// Asks with each key; none if there is only one, or if no key is to blame.
pub(super) async fn each(model: &Model, limits: Limits) -> anyhow::Result<Option<Keys>> {
    const PROMPT: Prompt = Prompt { text: "Reply with one word: pong", max_tokens: 16, stream: false };
    let provider = &model.provider;
    if provider.keys.len() < 2 {
        return Ok(None);
    }
    let (mut tried, mut costs, mut first) = (Vec::new(), Vec::new(), None);
    for (n, key) in provider.keys.iter().enumerate() {
        let alone = Provider { keys: vec![key.clone()], ..Provider::clone(provider) };
        let alone = Model { provider: Arc::new(alone), ..model.clone() };
        let client = super::client([&alone], limits)?;
        let error = match exchange(&client, &alone, limits, &PROMPT).await {
            Ok((_, tokens)) => {
                costs.push(tokens);
                None
            }
            // Nobody is there to say anything of a key.
            Err(refused) if refused.reply.is_none() => return Ok(None),
            Err(mut refused) => {
                provider.blot(&mut refused.message);
                costs.push(None);
                let status = refused.reply.map(|reply| format!("HTTP {}: ", reply.status));
                Some(format!("{}{}", status.unwrap_or_default(), refused.message))
            }
        };
        // The first that works; if none does, the first.
        if first.is_none() || (error.is_none() && tried.iter().all(|t: &Tried| !t.ok)) {
            first = Some(alone);
        }
        tried.push(Tried { key: n + 1, ok: error.is_none(), error });
    }
    Ok(first.map(|model| Keys { tried, costs, model }))
}
