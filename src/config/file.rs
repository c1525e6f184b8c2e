//! The shape of config.json: each key, its type, what it is for.

use std::time::Duration;

use serde_json::{Map, Value};

use super::read::{Anything, At, Entries, Read, Reader};
use super::tree::Node;

/// Declares an object of the file: its keys, which of them are required, their types.
macro_rules! shape {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $need:ident $key:ident: $type:ty,)+ }) => {
        $(#[$doc])*
        pub(super) struct $name { $($(#[$fdoc])* pub(super) $key: Option<At<$type>>),+ }

        impl $name {
            /// Every key of this object.
            pub(super) const KEYS: &'static [&'static str] = &[$(stringify!($key)),+];
        }

        impl Read for $name {
            const EXPECTED: &'static str = "an object";

            fn read(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
                let members = reader.members(node, path, Self::KEYS)?;
                Some(Self { $($key: reader.field(node, &members, path, stringify!($key), shape!($need))),+ })
            }
        }
    };
    (required) => { true };
    (optional) => { false };
}

shape! {
    /// The whole file.
    File {
        /// Key for inbound requests, as `Authorization: Bearer` or `x-api-key`.
        optional ak: String,
        /// Address to listen on.
        optional host: String,
        /// Port to listen on.
        optional port: u16,
        /// How long the upstream may take: whole answers in total, streams until their first byte.
        optional upstream_timeout_seconds: Duration,
        /// Longest silence between two upstream chunks of a stream.
        optional stream_idle_timeout_seconds: Duration,
        /// DNS, TCP and TLS together.
        optional connect_timeout_seconds: Duration,
        /// An `event: ping` after that much silence towards the client; 0: none.
        optional ping_interval_seconds: Duration,
        /// Larger inbound bodies get 413.
        optional max_body_bytes: usize,
        /// Beyond it: 529.
        optional max_concurrent_requests: usize,
        /// Running streams may finish that long after SIGTERM.
        optional shutdown_grace_seconds: Duration,
        /// Worker threads; the number of CPUs if not set.
        optional workers: usize,
        /// Longest body text in a log line, in characters; 0 logs none.
        optional log_body_max_chars: usize,
        /// Longest preview of a streamed answer's text in the log, in characters; 0 logs none.
        optional log_stream_text_preview_chars: usize,
        /// Model id for an unknown name.
        optional default_model: String,
        /// Pattern to model id; `*` matches any run, the first match in file order wins.
        optional aliases: Entries<String>,
        /// The upstreams.
        required providers: Vec<At<Provider>>,
    }
}

shape! {
    /// One upstream.
    Provider {
        /// In logs, metrics and errors; the host of `base_url` if not set.
        optional name: String,
        /// Where the upstream's API is; `completions_path` is appended.
        required base_url: String,
        /// Appended to `base_url` for Chat Completions.
        optional completions_path: String,
        /// Sent as `Authorization: Bearer`; "" sends no header.
        optional api_key: String,
        /// Several keys instead of `api_key`.
        optional api_keys: Anything,
        /// Quirks of the upstream; `auto` goes by host name, then by model name.
        optional profile: String,
        /// The protocol that the upstream speaks.
        optional api: String,
        /// Extra request headers.
        optional headers: Entries<String>,
        /// Extra PEM roots.
        optional ca_file: Anything,
        /// HTTP CONNECT proxy.
        optional proxy_url: Anything,
        /// What it serves.
        required models: Vec<At<Model>>,
    }
}

shape! {
    /// One model.
    Model {
        /// The name that clients use; unique over all providers.
        required id: String,
        /// For people; the id if not set.
        optional display_name: String,
        /// The name sent upstream; the id if not set.
        optional remote_id: String,
        /// A larger `max_tokens` is lowered to it.
        optional max_output_tokens: u64,
        /// Reported by `/v1/models` and used in context-overflow errors.
        optional context_window: u64,
        /// False: images become a text placeholder. By profile if not set.
        optional vision: bool,
        /// False: tools are not offered. By profile if not set.
        optional tools: bool,
        /// False: reasoning is neither asked for nor sent back. By profile if not set.
        optional reasoning: bool,
        /// Model ids tried in order when this one fails before its first byte.
        optional fallbacks: Anything,
        /// Merged into the upstream request, last.
        optional extra_body: Map<String, Value>,
        /// Removed from the upstream request, last.
        optional drop_params: Vec<At<String>>,
    }
}

/// Every key of the file: of its top, of a provider, of a model.
pub fn keys() -> [&'static [&'static str]; 3] {
    [File::KEYS, Provider::KEYS, Model::KEYS]
}

/// Which keys hold secrets, wherever they stand.
pub(super) fn is_secret_key(key: &str) -> bool {
    let plain: String =
        key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let named = matches!(
        plain.as_str(),
        "ak" | "key" | "keys" | "token" | "bearer" | "secret" | "auth" | "authorization" | "headers"
    ) || ["apikey", "apikeys", "accesskey", "authtoken", "apitoken", "password", "secret"]
        .iter()
        .any(|end| plain.ends_with(end));
    // A mistyped key still holds what it was meant to hold.
    named
        || super::suggest::suggest(key, Provider::KEYS.iter().chain(File::KEYS).copied())
            .is_some_and(|meant| matches!(meant, "ak" | "api_key" | "api_keys" | "headers"))
}
