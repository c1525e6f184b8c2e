//! Configurations without a file.

use std::sync::Arc;
use std::time::Duration;

use claude_proxy::config::{Api, Config, Model, Provider, Secret};
use claude_proxy::convert::{ModelSpec, Profile};

pub const UPSTREAM_KEY: &str = "sk-upstream-7f3a";

/// One model `m` at `base`, generous clocks, one worker.
pub fn config(base: &str) -> Config {
    let mut config = Config {
        ak: None,
        host: "127.0.0.1".to_owned(),
        port: 0,
        upstream_timeout: Duration::from_secs(30),
        stream_idle_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(5),
        ping_interval: Duration::from_secs(15),
        max_body_bytes: 32 << 20,
        max_concurrent_requests: 1024,
        shutdown_grace: Duration::from_secs(30),
        workers: 1,
        log_body_max_chars: 0,
        log_stream_text_preview_chars: 0,
        default_model: None,
        aliases: Vec::new(),
        models: Vec::new(),
    };
    add_model(&mut config, "m", base, "generic");
    config
}

/// One more model, with a provider of its own.
pub fn add_model(config: &mut Config, id: &str, base: &str, profile: &str) {
    config.models.push(Arc::new(Model {
        id: id.to_owned(),
        display_name: format!("Model {id}"),
        provider: Arc::new(Provider {
            name: "up.example".to_owned(),
            base_url: base.to_owned(),
            api: Api::OpenAi,
            completions_url: format!("{base}/v1/chat/completions"),
            models_url: format!("{base}/v1/models"),
            keys: vec![Secret::new(UPSTREAM_KEY)],
            headers: Vec::new(),
        }),
        profile: Profile::named(profile).unwrap(),
        spec: ModelSpec { remote_id: format!("remote-{id}"), ..ModelSpec::default() },
        fallbacks: Vec::new(),
    }));
}

/// A configuration whose one model `m` is served by an upstream that speaks the Messages API.
pub fn native(base: &str) -> Config {
    let mut config = config(base);
    config.models.clear();
    add_native(&mut config, "m", base);
    config
}

/// One more model of that kind, with a provider of its own.
pub fn add_native(config: &mut Config, id: &str, base: &str) {
    config.models.push(Arc::new(Model {
        id: id.to_owned(),
        display_name: format!("Model {id}"),
        provider: Arc::new(Provider {
            name: "messages.example".to_owned(),
            base_url: base.to_owned(),
            api: Api::Anthropic,
            completions_url: format!("{base}/v1/messages"),
            models_url: format!("{base}/v1/models"),
            keys: vec![Secret::new(UPSTREAM_KEY)],
            headers: Vec::new(),
        }),
        profile: Profile::named("generic").unwrap(),
        spec: ModelSpec { remote_id: format!("remote-{id}"), ..ModelSpec::default() },
        fallbacks: Vec::new(),
    }));
}
