//! config.json, checked and immutable.

pub mod secret;

use std::sync::Arc;
use std::time::Duration;

pub use secret::Secret;

use crate::convert::{ModelSpec, Profile};

/// A configuration that passed all checks.
#[derive(Debug, Clone)]
pub struct Config {
    /// Key for inbound requests; none: everybody may come in.
    pub ak: Option<Secret>,
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0: any free one.
    pub port: u16,
    /// Whole answers: how long in total. Streams: how long until their first byte.
    pub upstream_timeout: Duration,
    /// Longest silence between two upstream body bytes. Comments count as bytes.
    pub stream_idle_timeout: Duration,
    /// Resolve, TCP and TLS together.
    pub connect_timeout: Duration,
    /// An `event: ping` after that much silence towards the client; zero: none.
    pub ping_interval: Duration,
    /// Largest inbound body, in bytes.
    pub max_body_bytes: usize,
    /// More requests at once than this get 529.
    pub max_concurrent_requests: usize,
    /// How long running streams may go on after SIGTERM.
    pub shutdown_grace: Duration,
    /// Worker threads.
    pub workers: usize,
    /// Longest body text in a log line, in characters; 0 logs none.
    pub log_body_max_chars: usize,
    /// Longest preview of a streamed answer in the log, in characters; 0 logs none.
    pub log_stream_text_preview_chars: usize,
    /// Model id for an unknown name.
    pub default_model: Option<String>,
    /// Pattern (`*` matches any run) to model id; the first match wins.
    pub aliases: Vec<(String, String)>,
    /// In the order of the file.
    pub models: Vec<Arc<Model>>,
}

/// One upstream.
#[derive(Debug)]
pub struct Provider {
    /// For logs, metrics and errors.
    pub name: String,
    /// Where Chat Completions requests go: scheme, host, port and path, whole.
    pub completions_url: String,
    /// Where the upstream's model list is.
    pub models_url: String,
    /// Sent as `Authorization: Bearer`; empty: no header.
    pub api_key: Secret,
    /// Extra request headers.
    pub headers: Vec<(String, Secret)>,
}

/// One model, as clients name it.
#[derive(Debug)]
pub struct Model {
    /// The name that clients use.
    pub id: String,
    /// For people.
    pub display_name: String,
    /// Who serves it.
    pub provider: Arc<Provider>,
    /// How that upstream deviates.
    pub profile: &'static Profile,
    /// What the configuration says of it.
    pub spec: ModelSpec,
}

impl Config {
    /// The model that serves `name`: by id, then without a `[1m]` at its end, then by alias,
    /// then the default.
    pub fn route(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.iter().find(|m| m.id == name)
    }
}
