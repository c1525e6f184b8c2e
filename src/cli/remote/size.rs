//! How many tokens a model takes and writes, as its server tells it.

use serde_json::Value;
use tokio::time::Instant;

use super::{Listed, same};
use crate::cli::percent::encoded;
use crate::config::Provider;
use crate::upstream::{Client, Limits};

/// Tokens; none: not told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::cli) struct Size {
    /// Prompt and answer together.
    pub(in crate::cli) context_window: Option<u64>,
    /// The longest answer.
    pub(in crate::cli) max_output_tokens: Option<u64>,
}

/// Claude Code never asks for a longer answer: a limit from here on changes nothing.
const MOST_ASKED: u64 = 128_000;

impl Size {
    /// `max_output_tokens` that is worth a line in the configuration of a model with this window.
    pub(in crate::cli) fn limit(self, window: Option<u64>) -> Option<u64> {
        let smaller = |n: &u64| *n < MOST_ASKED && window.is_none_or(|window| *n < window);
        self.max_output_tokens.filter(smaller)
    }
}

/// Where entries of lists tell it: vLLM and SGLang; OpenRouter, Together, Moonshot, Fireworks; Groq
/// and Vercel; Mistral; Anthropic; Novita; DeepInfra; GitHub Copilot; Gemini; llama.cpp, for one
/// conversation. OpenRouter's second is that of the provider which is asked first.
const WINDOW: [&str; 11] = [
    "/max_model_len",
    "/context_length",
    "/top_provider/context_length",
    "/context_window",
    "/max_context_length",
    "/max_input_tokens",
    "/context_size",
    "/metadata/context_length",
    "/capabilities/limits/max_context_window_tokens",
    "/inputTokenLimit",
    "/meta/n_ctx",
];
const OUTPUT: [&str; 6] = [
    "/top_provider/max_completion_tokens",
    "/max_completion_tokens",
    "/max_output_tokens",
    "/metadata/max_tokens",
    "/capabilities/limits/max_output_tokens",
    "/outputTokenLimit",
];

/// What an entry of a list of models tells.
pub(super) fn listed(entry: &Value) -> Size {
    let least = |pointers: &[&str]| {
        pointers.iter().filter_map(|p| entry.pointer(p)?.as_u64()).filter(|n| *n > 0).min()
    };
    Size { context_window: least(&WINDOW), max_output_tokens: least(&OUTPUT) }
}

/// A server that knows more than its list of models says: a model runs with less than it was
/// trained for, as there is memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Server {
    LlamaCpp,
    Ollama,
    LmStudio,
}

impl Server {
    /// By the owner that its list names, or the profile that fits, or by its port.
    pub(in crate::cli) fn of(owner: &str, profile: &str, base_url: &str) -> Option<Self> {
        let port = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
        let port = port.split('/').next().and_then(|authority| authority.rsplit_once(':'));
        match (owner, profile, port) {
            ("llamacpp", ..) | (_, "llamacpp", _) => Some(Self::LlamaCpp),
            ("library", ..) | (_, "ollama", _) => Some(Self::Ollama),
            ("organization_owner", ..) | (_, _, Some((_, "1234"))) => Some(Self::LmStudio),
            _ => None,
        }
    }
}

/// What a model takes; asks the server's own addresses beside its list of models. What is not
/// loaded tells nothing there: ask the model something first.
pub(in crate::cli) async fn size(
    client: &Client,
    provider: &Provider,
    server: Option<Server>,
    (remote_id, listed): (&str, Option<&Listed>),
    limits: Limits,
) -> Size {
    let listed = listed.map(|l| l.size).unwrap_or_default();
    let Some(server) = server else { return listed };
    let root = provider.base_url.trim_end_matches('/').trim_end_matches("/v1");
    let get = async |path: &str| get(client, provider, &format!("{root}{path}"), limits).await;
    let own = match server {
        Server::LlamaCpp => {
            // A server of several models tells each one's by its name, others do not mind.
            let name = encoded(remote_id);
            get(&format!("/props?model={name}")).await.and_then(|props| slot(&props))
        }
        Server::Ollama => get("/api/ps").await.and_then(|running| loaded(&running, remote_id)),
        Server::LmStudio => match get("/api/v0/models").await.and_then(|all| loaded(&all, remote_id)) {
            None => get("/api/v1/models").await.and_then(|all| loaded(&all, remote_id)),
            told => told,
        },
    };
    match server {
        Server::LmStudio if own.is_none() => listed,
        // What their lists tell is what the model was trained for.
        _ => Size { context_window: own, ..listed },
    }
}

/// llama.cpp: tokens of one slot. A router that has not loaded the model says 0.
fn slot(props: &Value) -> Option<u64> {
    props.pointer("/default_generation_settings/n_ctx")?.as_u64().filter(|n| *n > 0)
}

/// Ollama's running models, and both of LM Studio's lists.
fn loaded(list: &Value, remote_id: &str) -> Option<u64> {
    let entries = ["data", "models"].into_iter().find_map(|key| list.get(key)?.as_array())?;
    let text = |entry: &Value, key: &str| {
        entry.get(key).and_then(Value::as_str).is_some_and(|name| same(name, remote_id))
    };
    let instances = |entry: &Value| entry.get("loaded_instances").and_then(Value::as_array).cloned();
    entries.iter().find_map(|entry| {
        let named = ["id", "key", "model", "name"].iter().any(|key| text(entry, key));
        let instance = instances(entry).unwrap_or_default();
        let mut instance = instance.iter().filter(|i| named || text(i, "id"));
        // Two copies of a model: the smaller one may be the one that answers.
        let instance = instance.by_ref().filter_map(|i| i.pointer("/config/context_length")?.as_u64()).min();
        let own = ["loaded_context_length", "context_length"];
        let own = || own.iter().find_map(|key| entry.get(key)?.as_u64()).filter(|_| named);
        instance.or_else(own).filter(|n| *n > 0)
    })
}

async fn get(client: &Client, provider: &Provider, url: &str, limits: Limits) -> Option<Value> {
    const MOST: usize = 4 << 20;
    let mut answer = client.get(provider, url, limits).await.ok()?;
    let until = Instant::now() + limits.answer;
    let body = answer.body.rest(bytes::Bytes::new(), MOST, until, limits.answer).await.ok()?;
    serde_json::from_slice(&body).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_tell_their_size() {
        let size = |entry: Value| (listed(&entry).context_window, listed(&entry).max_output_tokens);
        for (entry, window, output) in [
            (json!({"id": "a"}), None, None),
            (json!({"max_model_len": 4096}), Some(4096), None),
            // OpenRouter: the provider that it asks first has less than the model could.
            (
                json!({"context_length": 262_144, "top_provider": {"context_length": 131_072, "max_completion_tokens": 32_768}}),
                Some(131_072),
                Some(32_768),
            ),
            (
                json!({"context_length": 262_144, "top_provider": {"context_length": null, "max_completion_tokens": null}}),
                Some(262_144),
                None,
            ),
            (json!({"context_window": 131_072, "max_completion_tokens": 8192}), Some(131_072), Some(8192)),
            (json!({"max_context_length": 32_768}), Some(32_768), None),
            (json!({"max_input_tokens": 200_000, "max_tokens": 64_000}), Some(200_000), None),
            (json!({"context_size": 65_536, "max_output_tokens": 4096}), Some(65_536), Some(4096)),
            (
                json!({"capabilities": {"limits": {"max_context_window_tokens": 128_000, "max_output_tokens": 16_384}}}),
                Some(128_000),
                Some(16_384),
            ),
            (
                json!({"inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}),
                Some(1_048_576),
                Some(65_536),
            ),
            (json!({"meta": {"n_ctx": 32_768, "n_ctx_train": 65_536}}), Some(32_768), None),
            (json!({"context_length": 0}), None, None),
        ] {
            assert_eq!(size(entry.clone()), (window, output), "{entry}");
        }
    }

    #[test]
    fn what_is_loaded_counts() {
        let ps = json!({"models": [
            {"name": "other:latest", "model": "other:latest", "context_length": 1024},
            {"name": "qwen3:latest", "model": "qwen3:latest", "size_vram": 1, "context_length": 4096}]});
        assert_eq!(loaded(&ps, "qwen3"), Some(4096));
        assert_eq!(loaded(&ps, "qwen"), None);
        let v0 = json!({"object": "list", "data": [
            {"id": "gemma", "state": "not-loaded", "max_context_length": 262_144},
            {"id": "qwen", "state": "loaded", "max_context_length": 262_144, "loaded_context_length": 122_880}]});
        assert_eq!((loaded(&v0, "qwen"), loaded(&v0, "gemma")), (Some(122_880), None));
        let v1 = json!({"models": [
            {"type": "llm", "key": "gemma", "loaded_instances": [], "max_context_length": 262_144},
            {"type": "llm", "key": "qwen", "max_context_length": 262_144, "loaded_instances": [
                {"id": "qwen", "config": {"context_length": 65_536}},
                {"id": "qwen:2", "config": {"context_length": 8192}}]}]});
        assert_eq!(loaded(&v1, "qwen"), Some(8192));
        assert_eq!(loaded(&v1, "qwen:2"), Some(8192));
        assert_eq!(loaded(&v1, "gemma"), None);
        assert_eq!(slot(&json!({"default_generation_settings": {"n_ctx": 2048}})), Some(2048));
        assert_eq!(slot(&json!({"default_generation_settings": {"n_ctx": 0}})), None);
    }

    #[test]
    fn servers_are_told_apart() {
        for (owner, profile, url, server) in [
            ("llamacpp", "generic", "http://h:8080/v1", Some(Server::LlamaCpp)),
            ("", "llamacpp", "http://h", Some(Server::LlamaCpp)),
            ("library", "", "http://h:11434", Some(Server::Ollama)),
            ("organization_owner", "generic", "http://h:4000/v1", Some(Server::LmStudio)),
            ("", "generic", "http://127.0.0.1:1234/v1", Some(Server::LmStudio)),
            ("vllm", "vllm", "http://h:8000/v1", None),
            ("", "generic", "https://api.example.com", None),
        ] {
            assert_eq!(Server::of(owner, profile, url), server, "{owner} {profile} {url}");
        }
        assert_eq!(encoded("org/model:q4 &x"), "org%2Fmodel%3Aq4%20%26x");
    }
}
