//! The model list of a provider.

mod size;

pub(super) use size::{Server, Size, size};

use serde_json::Value;
use tokio::time::Instant;

use crate::config::{Api, Provider, Secret};
use crate::upstream::{Client, Fault, Limits};

/// Longest list that is read, in bytes: OpenRouter's has more than 500 kB.
const MAX_LIST: usize = 16 << 20;

/// What a provider said when it was asked for its models.
#[derive(Debug)]
pub(super) enum Listing {
    /// Its list.
    Known(Vec<Listed>),
    /// It has none, or one that says nothing of what can be asked: why.
    None(String),
    /// It could not be had: why, without keys.
    Failed(String),
}

/// One entry of a list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Listed {
    /// The name to ask for.
    pub(super) id: String,
    /// `owned_by`; empty when it is not told.
    pub(super) owner: String,
    /// Where the list tells it.
    pub(super) size: Size,
}

/// Asks the provider for its list, with the first of its keys that is not refused.
pub(super) async fn list(client: &Client, provider: &Provider, limits: Limits) -> Listing {
    let host = provider.base_url.to_ascii_lowercase();
    if host.contains(".azure.com") {
        return Listing::None("Azure lists models, not deployments".to_owned());
    }
    let mut list = Listing::Failed(String::new());
    for key in &provider.keys {
        let (status, found) = list_with(client, provider, key, limits).await;
        list = found;
        if !matches!(status, Some(401..=403 | 429)) {
            break;
        }
    }
    list
}

/// Asks with one key; also tells the status of the answer.
async fn list_with(
    client: &Client,
    provider: &Provider,
    key: &Secret,
    limits: Limits,
) -> (Option<u16>, Listing) {
    let told = |fault: &Fault| (None, Listing::Failed(fault.to_string()));
    let url = match provider.api {
        Api::OpenAi => provider.models_url.clone(),
        // A page of Anthropic's has 20, unless more are asked for.
        Api::Anthropic => {
            let sign = if provider.models_url.contains('?') { '&' } else { '?' };
            format!("{}{sign}limit=1000", provider.models_url)
        }
    };
    let mut answer = match client.get_with(provider, key, &url, limits).await {
        Ok(answer) => answer,
        Err(fault) => return told(&fault),
    };
    let until = Instant::now() + limits.answer;
    let body = match answer.body.rest(bytes::Bytes::new(), MAX_LIST, until, limits.answer).await {
        Ok(body) => body,
        Err(fault) => return told(&fault),
    };
    let list = match answer.status {
        200..=299 => match serde_json::from_slice(&body).ok().as_ref().and_then(read) {
            Some(list) => Listing::Known(list),
            None => Listing::None("what it answered is no list of models".to_owned()),
        },
        404 | 405 | 501 => Listing::None(format!("it has no list of models (HTTP {})", answer.status)),
        status => {
            let mut words = crate::convert::error::error(status, &body, &provider.name, None).message;
            provider.blot(&mut words);
            Listing::Failed(format!("HTTP {status}: {words}"))
        }
    };
    (Some(answer.status), list)
}

/// Every spelling of a list: OpenAI's, a bare array (Together), `models` (Ollama, Gemini).
fn read(body: &Value) -> Option<Vec<Listed>> {
    let entries = [body.get("data"), body.get("models"), Some(body)];
    let entries = entries.into_iter().flatten().find_map(Value::as_array)?;
    Some(entries.iter().filter_map(entry).collect())
}

fn entry(entry: &Value) -> Option<Listed> {
    let id = ["id", "model", "name"].iter().find_map(|key| entry.get(key)?.as_str())?;
    let owner = entry.get("owned_by").and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Listed { id: id.to_owned(), owner, size: size::listed(entry) })
}

/// The entry that a remote id means. Gemini's ids stand behind `models/`, Ollama adds `:latest`.
pub(super) fn find<'l>(list: &'l [Listed], remote_id: &str) -> Option<&'l Listed> {
    list.iter().find(|l| l.id == remote_id).or_else(|| list.iter().find(|l| same(&l.id, remote_id)))
}

fn same(id: &str, remote_id: &str) -> bool {
    id == remote_id
        || id.strip_prefix("models/") == Some(remote_id)
        || remote_id.strip_prefix("models/") == Some(id)
        || id.strip_suffix(":latest") == Some(remote_id)
}

/// Names of the list that look like `remote_id`, the likeliest first.
pub(super) fn near(list: &[Listed], remote_id: &str) -> Vec<String> {
    let names = list.iter().map(|l| l.id.as_str());
    crate::config::suggest::nearest(remote_id, names, 3).into_iter().map(str::to_owned).collect()
}

/// `a`, `b` or `c`, in backticks.
pub(super) fn any_of(names: &[String]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_spelling() {
        let one = |text: &str| read(&serde_json::from_str(text).unwrap()).unwrap();
        let listed = |id: &str, owner: &str, context_window| Listed {
            id: id.to_owned(),
            owner: owner.to_owned(),
            size: Size { context_window, max_output_tokens: None },
        };
        assert_eq!(
            one(r#"{"object":"list","data":[{"id":"a","owned_by":"vllm","max_model_len":4096}]}"#),
            [listed("a", "vllm", Some(4096))]
        );
        assert_eq!(one(r#"[{"id":"a/b","context_length":8}]"#), [listed("a/b", "", Some(8))]);
        assert_eq!(one(r#"{"models":[{"name":"models/g"}]}"#), [listed("models/g", "", None)]);
        assert_eq!(
            one(r#"{"data":[{"id":"t","owned_by":"llamacpp","meta":{"n_ctx":32768,"n_ctx_train":65536}}]}"#),
            [listed("t", "llamacpp", Some(32768))]
        );
        assert_eq!(one(r#"{"data":[]}"#), []);
        assert_eq!(read(&serde_json::json!({"error": "no"})), None);
        let list = [listed("qwen3:latest", "", None), listed("models/g", "", None)];
        assert!(find(&list, "qwen3").is_some() && find(&list, "g").is_some() && find(&list, "q").is_none());
    }
}
