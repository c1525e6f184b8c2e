//! Configurations with upstreams that speak the Messages API.

use std::sync::Arc;

use claude_proxy::config::{Api, Config, Model, Provider, Secret};
use claude_proxy::convert::{ModelSpec, Profile};

use super::config::{UPSTREAM_KEY, config};

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
        price: None,
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
            roots: None,
            proxy: None,
        }),
        profile: Profile::named("generic").unwrap(),
        spec: ModelSpec { remote_id: format!("remote-{id}"), ..ModelSpec::default() },
        fallbacks: Vec::new(),
    }));
}
