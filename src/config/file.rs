//! The shape of config.json: each key, its type, what it is for.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::default;
use super::provider::profile_names;
use super::read::{At, Entries, Read, Reader};
use super::schema::{Object, Shape};
use super::tree::Node;

/// Declares an object of the file: its keys, which of them are required, their types, their
/// defaults, and what else JSON Schema can say of them.
///
/// Of those that are `either`, one has to be there; this type does not look after that.
macro_rules! shape {
    ($(#[doc = $doc:literal])* $name:ident { $(
        $(#[doc = $fdoc:literal])*
        $need:ident $key:ident: $type:ty $(= $default:expr)? $(=> $more:tt)?,
    )+ }) => {
        $(#[doc = $doc])*
        pub(super) struct $name { $($(#[doc = $fdoc])* pub(super) $key: Option<At<$type>>),+ }

        impl $name {
            /// Every key of this object.
            pub(super) const KEYS: &'static [&'static str] = &[$(stringify!($key)),+];
        }

        impl Read for $name {
            const EXPECTED: &'static str = "an object";

            fn read(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
                let members = reader.members(node, path, Self::KEYS)?;
                Some(Self { $($key: reader.field(node, &members, path, stringify!($key), shape!(required $need))),+ })
            }
        }

        impl Shape for $name {
            fn shape(generator: &mut SchemaGenerator) -> Schema {
                generator.subschema_for::<Self>()
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let mut object = Object::new(stringify!($name), concat!($($doc, "\n"),*));
                $(object.key(
                    stringify!($key),
                    concat!($($fdoc, "\n"),*),
                    <$type>::shape(generator),
                    shape!(asked $need),
                    json!({ $("default": $default)? }),
                    shape!(more $($more)?),
                );
                shape!(either $need object stringify!($key));)+
                object.into_schema()
            }
        }
    };
    (required required) => { true };
    (required $need:ident) => { false };
    (asked optional) => { false };
    (asked either) => { false };
    (asked $need:ident) => { true };
    (either either $object:ident $key:expr) => { $object.either($key) };
    (either $need:ident $object:ident $key:expr) => {};
    (more) => { json!({}) };
    (more $more:tt) => { json!($more) };
}

shape! {
    /// The configuration of claude-proxy. Any string may hold `${NAME}`, which is replaced by that environment
    /// variable; `$${` is a literal `${`.
    File {
        /// Key that clients must send, as `Authorization: Bearer` or `x-api-key`. Without it everybody may come in.
        optional ak: String => {"examples": ["${CLAUDE_PROXY_KEY}"]},
        /// More keys that clients may send, each with a name, and perhaps with models and a budget of its own.
        optional keys: Vec<At<InboundKey>> => {"minItems": 1},
        /// What each key may spend in a day (UTC), by the prices of the models.
        optional budgets: Budgets,
        /// Address to listen on. With another than loopback set `ak`.
        optional host: String = "127.0.0.1" => {"minLength": 1},
        /// Port to listen on; 0: any free one.
        optional port: u16 = default::PORT,
        /// The certificate that clients are shown. Without it they speak plain HTTP.
        optional tls: Tls,
        /// How long the upstream may take, in seconds: whole answers in total, streams until their first byte.
        optional upstream_timeout_seconds: Duration = default::UPSTREAM_TIMEOUT => {"exclusiveMinimum": 0},
        /// Longest silence between two upstream chunks of a stream, in seconds.
        optional stream_idle_timeout_seconds: Duration = default::STREAM_IDLE_TIMEOUT => {"exclusiveMinimum": 0},
        /// How long DNS, TCP, a proxy's tunnel and TLS may take together, in seconds.
        optional connect_timeout_seconds: Duration = default::CONNECT_TIMEOUT => {"exclusiveMinimum": 0},
        /// After that many seconds of silence the client gets a `ping` event; 0: none.
        optional ping_interval_seconds: Duration = default::PING_INTERVAL,
        /// Larger requests get 413.
        optional max_body_bytes: usize = default::MAX_BODY_BYTES => {"minimum": 1},
        /// With more requests at once than this, the next ones get 529 right away.
        optional max_concurrent_requests: usize = default::MAX_CONCURRENT_REQUESTS => {"minimum": 1},
        /// How long running streams may go on after SIGTERM, in seconds.
        optional shutdown_grace_seconds: Duration = default::SHUTDOWN_GRACE,
        /// Worker threads; the number of CPUs if not set.
        optional workers: usize => {"minimum": 1},
        /// Longest body text in a log line, in characters; 0 logs none.
        optional log_body_max_chars: usize = default::LOG_BODY_MAX_CHARS,
        /// Longest preview of a streamed answer's text in the log, in characters; 0 logs none.
        optional log_stream_text_preview_chars: usize = default::LOG_STREAM_TEXT_PREVIEW_CHARS,
        /// The page at /dashboard, which shows what runs and what ran. It needs the key if there is one.
        optional dashboard: bool = true,
        /// True: that page also shows the beginnings of questions and answers.
        optional dashboard_content: bool = false,
        /// Id of the model that serves names which nothing else matches; without it they get 404.
        optional default_model: String,
        /// Pattern to model id. `*` matches any run of characters; the first match in the order of the file wins.
        optional aliases: Entries<String> = json!({}) => {"examples": [{"claude-*haiku*": "small", "claude-*": "big"}]},
        /// Id of the model that judges tool calls for Claude Code's auto mode. Without it the answer is that judging
        /// is not supported.
        optional safeguards_model: String,
        /// Id of a model that sees: it describes images for models that do not.
        optional vision_model: String,
        /// True: PDF documents become their text where the upstream takes no PDF.
        optional pdf_text: bool = false,
        /// The service behind the server tool `web_search`, which the proxy then carries out.
        optional web_search: WebSearch,
        /// True: the proxy carries out the server tool `web_fetch`.
        optional web_fetch: bool = false,
        /// Hosts, with or without a port, that `web_fetch` may reach although their addresses are private.
        optional web_fetch_private_hosts: Vec<At<String>> = json!([]) => {"examples": [["wiki.example.com", "10.0.0.5:8080"]]},
        /// Keeps the conversations of clients that send only what is new (`thread`).
        optional threads: Threads,
        /// The upstreams.
        required providers: Vec<At<Provider>> => {"minItems": 1},
    }
}

shape! {
    /// A certificate and its key. A relative path begins at the directory of this file.
    Tls {
        /// A PEM file: the certificate, and behind it those that signed it.
        required cert: String => {"minLength": 1, "examples": ["cert.pem"]},
        /// A PEM file: the private key of the certificate, without a password.
        required key: String => {"minLength": 1, "examples": ["key.pem"]},
    }
}

shape! {
    /// A key that clients may send.
    InboundKey {
        /// Its name in logs, metrics and messages; `ak` and `anonymous` are taken.
        required name: String => {"minLength": 1, "maxLength": 64, "examples": ["alice"]},
        /// The key.
        either key: String => {"minLength": 1, "examples": ["${ALICE_KEY}"]},
        /// Instead of the key its SHA-256, in hexadecimal digits, as `printf %s KEY | sha256sum` prints it.
        either key_sha256: String => {"pattern": "^[0-9a-fA-F]{64}$|\\$\\{"},
        /// Ids or patterns of the models that it may use; all if not set. `*` matches any run of characters.
        optional models: Vec<At<String>> => {"minItems": 1, "examples": [["glm*", "small"]]},
        /// What it may spend in a day, instead of `per_day` of `budgets`.
        optional budget: f64 => {"examples": [20.0]},
    }
}

shape! {
    /// What may be spent in a day, which begins at midnight UTC.
    Budgets {
        /// For each key without a `budget` of its own, `ak` and clients that need no key included. In the currency of
        /// the prices.
        optional per_day: f64 => {"examples": [20.0]},
        /// The file of the database that notes what was spent; it is made if it is not there. A relative path begins
        /// at the directory of this file. If not set, it is that of `threads`.
        optional path: String => {"minLength": 1, "examples": ["spent.redb"]},
    }
}

shape! {
    /// What a million tokens cost, in any currency, the same for all models.
    Price {
        /// Of the prompt, tokens that are written to a cache included.
        required input: f64,
        /// Of the answer, thinking included.
        required output: f64,
        /// Of the prompt, if read from a cache; as `input` if not set.
        optional cached: f64,
    }
}

shape! {
    /// A search service.
    WebSearch {
        /// Whose API it has.
        required provider: String => {"anyOf": [{"enum": ["searxng", "brave", "tavily", "exa"]}, {"pattern": "\\$\\{"}]},
        /// The service's key. All but searxng need one.
        optional api_key: String => {"examples": ["${SEARCH_KEY}"]},
        /// Where the service is, if not at its usual address. searxng needs it.
        optional base_url: String => {
            "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^?#@]+$|\\$\\{",
            "examples": ["http://127.0.0.1:8080"],
        },
    }
}

shape! {
    /// Where conversations are kept, and how much of them.
    Threads {
        /// The file of the database; it is made if it is not there. A relative path begins at the directory of this
        /// file.
        required path: String => {"minLength": 1, "examples": ["threads.redb"]},
        /// Most that all of them together hold, in bytes; beyond it the oldest go.
        optional max_bytes: u64 = default::THREADS_MAX_BYTES => {"minimum": 1},
        /// A conversation that nobody has gone on with for that many days goes.
        optional max_age_days: u64 = default::THREADS_MAX_AGE_DAYS => {"minimum": 1},
    }
}

shape! {
    /// One upstream.
    Provider {
        /// Its name in logs, metrics and errors; the host of `base_url` if not set.
        optional name: String => {"minLength": 1},
        /// Where the upstream's API is; `completions_path` is appended. A `/` at its end does not matter.
        required base_url: String => {
            "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^?#@]+$|\\$\\{",
            "examples": ["https://api.openai.com", "http://127.0.0.1:11434"],
        },
        /// Appended to `base_url`. `/chat/completions` is the default if that ends in a version such as `/v1`. With
        /// `"api": "anthropic"` the defaults are `/v1/messages` and `/messages`.
        optional completions_path: String = "/v1/chat/completions" => {"pattern": "^/[^#]*$|\\$\\{"},
        /// Sent as `Authorization: Bearer`, with `"api": "anthropic"` as `x-api-key` too; "" sends no header (local
        /// servers). Several go into `api_keys` instead.
        either api_key: String => {"examples": ["${API_KEY}"]},
        /// Several keys instead of `api_key`, used in turn. One that the upstream refuses rests, and another is used.
        either api_keys: Vec<At<String>> => {"minItems": 1, "items": {"type": "string", "minLength": 1}, "examples": [["${API_KEY_1}", "${API_KEY_2}"]]},
        /// How the upstream deviates from OpenAI's API. `auto` goes by host name, then by model name, and falls
        /// back to `generic`.
        optional profile: String = "auto" => {"anyOf": [{"enum": (profile_names())}, {"pattern": "\\$\\{"}]},
        /// The protocol that the upstream speaks. With `anthropic` requests and answers pass through as they are, but
        /// for key and model name: options of a model that change requests have no effect.
        optional api: String = "openai" => {"anyOf": [{"enum": ["openai", "anthropic"]}, {"pattern": "\\$\\{"}]},
        /// Extra request headers.
        optional headers: Entries<String> = json!({}),
        /// A file of root certificates in PEM form that are trusted beside the system's. A relative path begins at
        /// the directory of this file.
        optional ca_file: String => {"minLength": 1, "examples": ["company-ca.pem"]},
        /// An HTTP proxy that opens a tunnel to the upstream by CONNECT: `http://NAME:PASSWORD@HOST:PORT`. "" is
        /// none. If not set, HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY of the environment count.
        optional proxy_url: String => {
            "pattern": "^([Hh][Tt][Tt][Pp]://[^/?#]+/?)?$|\\$\\{",
            "examples": ["http://proxy.example.com:3128", ""],
        },
        /// The models that it serves.
        required models: Vec<At<Model>>,
    }
}

shape! {
    /// One model.
    Model {
        /// The name that clients use; unique over all providers.
        required id: String => {"minLength": 1},
        /// Its name for people; the id if not set.
        optional display_name: String => {"minLength": 1},
        /// The name sent upstream; the id if not set.
        optional remote_id: String => {"minLength": 1},
        /// A larger `max_tokens` is lowered to it.
        optional max_output_tokens: u64 => {"minimum": 1},
        /// In tokens, prompt and answer together. `max_tokens` is lowered to what the prompt leaves of it. Told to Claude Code by `run` and `env`, reported by `/v1/models`, used in errors about overflow.
        optional context_window: u64 => {"minimum": 1},
        /// False: images become a text placeholder. By profile if not set.
        optional vision: bool,
        /// False: tools are not offered. By profile if not set.
        optional tools: bool,
        /// False: reasoning is neither asked for nor sent back. By profile if not set. With `"api": "anthropic"`, true
        /// says that the upstream is another claude-proxy, which reads what this one writes into a conversation.
        optional reasoning: bool,
        /// What its tokens cost, for the log, the metrics and `budgets`.
        optional price: Price => {"examples": [{"input": 0.6, "output": 2.2, "cached": 0.11}]},
        /// Model ids tried in order when this one fails before its first byte.
        optional fallbacks: Vec<At<String>> = json!([]),
        /// Merged into the upstream request, last.
        optional extra_body: Map<String, Value> = json!({}),
        /// Names of fields that are removed from the upstream request, last.
        optional drop_params: Vec<At<String>> = json!([]),
    }
}

/// Every key of the file: of its top, of a provider, of a model, of `web_search`, of `threads`, of
/// `keys`, of `price`, of `budgets`.
pub fn keys() -> [&'static [&'static str]; 8] {
    [
        File::KEYS,
        Provider::KEYS,
        Model::KEYS,
        WebSearch::KEYS,
        Threads::KEYS,
        InboundKey::KEYS,
        Price::KEYS,
        Budgets::KEYS,
    ]
}

/// Which keys hold secrets, wherever they stand.
pub(super) fn is_secret_key(key: &str) -> bool {
    let plain: String =
        key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let named = matches!(
        plain.as_str(),
        "ak" | "key"
            | "keys"
            | "keysha256"
            | "token"
            | "bearer"
            | "secret"
            | "auth"
            | "authorization"
            | "headers"
    ) || ["apikey", "apikeys", "accesskey", "authtoken", "apitoken", "password", "secret"]
        .iter()
        .any(|end| plain.ends_with(end));
    // A mistyped key still holds what it was meant to hold.
    named
        || super::suggest::suggest(key, Provider::KEYS.iter().chain(File::KEYS).copied())
            .is_some_and(|meant| matches!(meant, "ak" | "api_key" | "api_keys" | "headers"))
}
