//! Why an upstream refuses, and what to do: some of it only the upstream itself can tell.

use futures_util::future::join_all;
use serde_json::Value;

use super::ask::{Reply, post};
use super::once::{Prompt, Refused, request};
use crate::cli::remote::{self, Listing, any_of};
use crate::config::{Model, Provider};
use crate::upstream::{Cause, Client, Limits, ProxyFault, TlsFault, Transports};

/// What to look at.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Hint {
    /// One sentence.
    pub text: String,
    /// Keys of the provider that would mend it.
    pub set: Vec<(&'static str, String)>,
    /// How many requests to Chat Completions paths it took to find out.
    pub requests: u64,
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self { text, set: Vec::new(), requests: 0 }
    }
}

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// Finds out. Asks for the model list and at other paths where that may tell.
pub(super) async fn find(client: &Client, model: &Model, limits: Limits, refused: &Refused) -> Option<Hint> {
    let provider = &model.provider;
    if let Some(fault) = &refused.fault {
        return of_fault(provider, limits, &fault.cause).await;
    }
    let reply = refused.reply.as_ref()?;
    let words = String::from_utf8_lossy(&reply.body).to_lowercase();
    match reply.status {
        // nginx and others say so in HTML.
        400 | 426 if words.contains("https port") || words.contains("plain http") => {
            Some("it wants TLS: begin base_url with https://".into())
        }
        401 | 403 => Some(key(provider)),
        400 if words.contains("api key") || words.contains("api_key") => Some(key(provider)),
        400 if words.contains("max_completion_tokens") => Some(
            "it takes `max_completion_tokens` alone: set `\"profile\": \"openai\"` in the provider (`openai_reasoning` for a model that reasons)".into(),
        ),
        402 => Some("the provider's account has no credit".into()),
        429 => Some("the provider limits this key: wait, or use another one".into()),
        200..=299 | 404 | 405 => {
            if let Some(hint) = unknown_model(client, model, limits).await {
                return Some(hint);
            }
            Some(other_path(client, model, limits, reply.status).await)
        }
        400 | 422 if words.contains("model") => unknown_model(client, model, limits).await,
        503 if words.contains("loading") => Some("wait until the model is loaded".into()),
        500.. => Some("the upstream itself is in trouble: its log may tell more".into()),
        _ => None,
    }
}

fn key(provider: &Provider) -> Hint {
    if provider.first_key().is_empty() {
        "the provider wants a key: `api_key` is empty".into()
    } else {
        "the provider refuses the key: check `api_key`".into()
    }
}

async fn of_fault(provider: &Provider, limits: Limits, cause: &Cause) -> Option<Hint> {
    let at = authority(&provider.completions_url);
    let host = at.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(at, |(host, _)| host);
    Some(match cause {
        Cause::Resolve => {
            format!("is `{host}` in base_url spelled right, and the network up?").into()
        }
        Cause::Connect(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
            format!("nothing listens at {at}: is the server up, and the port in base_url right?").into()
        }
        Cause::Connect(_) => "is base_url right, and the server up?".into(),
        Cause::ConnectTimeout(_) => {
            format!("nothing answers at {at}: is base_url right? A firewall may be in between").into()
        }
        Cause::Tls(TlsFault::NotTls | TlsFault::Closed) => "begin base_url with http://, or use the port that speaks TLS".into(),
        Cause::Tls(TlsFault::UnknownIssuer { ca_file: false }) => {
            "or add it to the system's store (SSL_CERT_FILE can name another one)".into()
        }
        Cause::Tls(TlsFault::UnknownIssuer { ca_file: true }) => {
            "is it the right `ca_file`, and base_url the right server?".into()
        }
        Cause::Tls(TlsFault::TooOld) => "the server, or a proxy before it, has to be brought up to date".into(),
        Cause::Tls(TlsFault::WrongName(_)) => {
            format!("base_url has to name the host as its certificate does, not `{host}`").into()
        }
        Cause::Tls(_) => "is base_url right? The server's certificate has to be in order".into(),
        Cause::Proxy { fault: ProxyFault::Resolve | ProxyFault::Connect(_) | ProxyFault::Silent(_), .. } => {
            "is the proxy's URL right? `\"proxy_url\": \"\"` in the provider, or NO_PROXY, does without it".into()
        }
        // It says what to do by itself.
        Cause::Proxy { fault: ProxyFault::NoPassword | ProxyFault::WrongPassword(_) | ProxyFault::OtherScheme(_), .. } => return None,
        Cause::Proxy { .. } => {
            format!("the proxy's log may tell more; where {host} can be reached without it, `\"proxy_url\": \"\"` in the provider does so").into()
        }
        Cause::Timeout(_) => {
            "it is connected but slow: a model that is being loaded, a long queue? --timeout waits longer".into()
        }
        Cause::NotHttp(_) | Cause::ClosedUnanswered if speaks_tls(provider, limits).await => {
            "it speaks TLS there: begin base_url with https://".into()
        }
        Cause::NotHttp(_) | Cause::ClosedUnanswered => {
            format!("is {at} an HTTP server? See its log").into()
        }
        _ => return None,
    })
}

/// Host and port of a URL, as they are written.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// Whether a server that is asked for plain HTTP speaks TLS.
async fn speaks_tls(provider: &Provider, limits: Limits) -> bool {
    let Some(rest) = provider.models_url.strip_prefix("http://") else { return false };
    let url = format!("https://{rest}");
    let provider = Provider { base_url: url.clone(), ..provider.clone() };
    let Ok(transports) = Transports::new([&provider], None) else { return false };
    let client = Client::new(&transports, limits.connect);
    match client.get(&provider, &url, limits).await {
        Ok(_) => true,
        // A certificate that we do not like is one.
        Err(fault) => {
            matches!(fault.cause, Cause::Tls(ref tls) if !matches!(tls, TlsFault::NotTls | TlsFault::Closed | TlsFault::Other(_)))
        }
    }
}

/// The upstream has a list, and the model is not in it.
async fn unknown_model(client: &Client, model: &Model, limits: Limits) -> Option<Hint> {
    let Listing::Known(list) = remote::list(client, &model.provider, limits).await else { return None };
    let remote_id = &model.spec.remote_id;
    if list.is_empty() || remote::find(&list, remote_id).is_some() {
        return None;
    }
    let near = remote::near(&list, remote_id);
    let hint = format!("its list of models has no `{remote_id}`");
    Some(Hint::from(match near.as_slice() {
        [] if list.len() <= 10 => {
            let names: Vec<String> = list.into_iter().map(|l| l.id).collect();
            format!("{hint}; it has {}: set `remote_id`", any_of(&names))
        }
        [] => format!("{hint} and nothing like it: `claude-proxy models --remote` asks for the list"),
        near => format!("{hint}: did you mean {}? Set `remote_id`", any_of(near)),
    }))
}

/// Paths behind base_url where Chat Completions are found in the wild.
const PATHS: [&str; 6] = [
    "/v1/chat/completions",
    "/chat/completions",
    "/api/v1/chat/completions",
    "/openai/v1/chat/completions",
    "/compatible-mode/v1/chat/completions",
    "/inference/v1/chat/completions",
];

/// Asks at the usual paths, all at once, behind `base_url` and behind its host alone.
async fn other_path(client: &Client, model: &Model, limits: Limits, status: u16) -> Hint {
    let nothing = || {
        Hint::from(
            "check base_url and completions_path (the URL's path), and remote_id (the model's name upstream)",
        )
    };
    let provider = &*model.provider;
    let prompt = Prompt { text: "Reply with one word: pong", max_tokens: 1, stream: false };
    let Ok(converted) = request(model, &prompt) else { return nothing() };
    let base = provider.base_url.as_str();
    let host = base.find("://").and_then(|at| base.get(..at + 3 + authority(base).len())).unwrap_or(base);
    let bases = if host == base { vec![base] } else { vec![base, host] };
    let urls: Vec<(&str, &str)> = bases
        .iter()
        .flat_map(|base| PATHS.map(|path| (*base, path)))
        .filter(|(base, path)| format!("{base}{path}") != provider.completions_url)
        .collect();
    let asked = urls.iter().map(|(base, path)| {
        let other = Provider { completions_url: format!("{base}{path}"), ..provider.clone() };
        let (body, stream) = (converted.body.clone(), converted.upstream_streams);
        async move { post(client, &other, body, stream, limits).await.ok() }
    });
    let replies = join_all(asked).await;
    let requests = replies.len() as u64;
    let answers = |reply: &Reply| {
        reply.status < 300 && (is_completion(&reply.body) || reply.content_type == "text/event-stream")
    };
    // It knows the path, and does not like something else. A 401 says nothing: some ask for the
    // key first.
    let knows = |reply: &Reply| {
        status == 404 && matches!(reply.status, 400 | 402 | 422 | 429) && is_json(&reply.body)
    };
    let first = |good: &dyn Fn(&Reply) -> bool| replies.iter().position(|r| r.as_ref().is_some_and(good));
    let best = first(&answers).or_else(|| first(&knows)).and_then(|best| urls.get(best));
    let Some((found, path)) = best else { return Hint { requests, ..nothing() } };
    let mut set = Vec::new();
    if *found != base {
        set.push(("base_url", (*found).to_owned()));
    }
    if *found == base || *path != "/v1/chat/completions" {
        set.push(("completions_path", (*path).to_owned()));
    }
    let place = if *found == base { (*path).to_owned() } else { format!("{found}{path}") };
    let lines: Vec<String> = set.iter().map(|(key, value)| format!("`\"{key}\": \"{value}\"`")).collect();
    let text = format!("{place} answers: set {} in the provider", lines.join(" and "));
    Hint { text, set, requests }
}

fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|v| v.is_object() || v.is_array())
}

fn is_completion(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|v| v.get("choices").is_some())
}
