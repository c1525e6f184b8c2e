//! Configurations without a file.

use std::sync::Arc;
use std::time::Duration;

use claude_proxy::config::{Config, Model, Provider, Secret};
use claude_proxy::convert::{ModelSpec, Profile};

use super::tls::Authority;

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
        client_body_timeout: Duration::from_secs(30),
        shutdown_grace: Duration::from_secs(30),
        workers: 1,
        tls: None,
        log_body_max_chars: 0,
        log_stream_text_preview_chars: 0,
        default_model: None,
        aliases: Vec::new(),
        models: Vec::new(),
    };
    add_model(&mut config, "m", base, "generic");
    config
}

/// As [`config()`], with an upstream whose certificates this authority signs.
pub fn trusting(base: &str, authority: &Authority) -> Config {
    let mut config = config(base);
    change(&mut config, |provider| provider.roots = authority.roots());
    config
}

/// Changes every provider.
pub fn change(config: &mut Config, change: impl Fn(&mut Provider)) {
    for model in &mut config.models {
        change(Arc::get_mut(&mut Arc::get_mut(model).unwrap().provider).unwrap());
    }
}

/// One more model, with a provider of its own.
pub fn add_model(config: &mut Config, id: &str, base: &str, profile: &str) {
    config.models.push(Arc::new(Model {
        id: id.to_owned(),
        display_name: format!("Model {id}"),
        provider: Arc::new(Provider {
            name: "up.example".to_owned(),
            base_url: base.to_owned(),
            completions_url: format!("{base}/v1/chat/completions"),
            models_url: format!("{base}/v1/models"),
            api_key: Secret::new(UPSTREAM_KEY),
            headers: Vec::new(),
            roots: None,
            proxy: None,
        }),
        profile: Profile::named(profile).unwrap(),
        spec: ModelSpec { remote_id: format!("remote-{id}"), ..ModelSpec::default() },
    }));
}
