//! Configurations without a file.

use std::sync::Arc;
use std::time::Duration;

use claude_proxy::config::{Api, Config, Extras, Model, Provider, Secret};
use claude_proxy::convert::{ModelSpec, Profile};

use super::tls::Authority;

pub const UPSTREAM_KEY: &str = "sk-upstream-7f3a";

/// One model `m` at `base`, generous clocks, one worker.
pub fn config(base: &str) -> Config {
    let mut config = Config {
        ak: None,
        keys: Vec::new(),
        budgets: None,
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
        dashboard: true,
        dashboard_content: false,
        default_model: None,
        aliases: Vec::new(),
        extras: Extras::default(),
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
        price: None,
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
            roots: None,
            proxy: None,
        }),
        profile: Profile::named(profile).unwrap(),
        spec: ModelSpec { remote_id: format!("remote-{id}"), ..ModelSpec::default() },
        fallbacks: Vec::new(),
    }));
}

/// Model `m` at the first upstream, and one more model at each of the others, which stand in for
/// it in this order: `f1`, `f2`, ... The provider of each has its name.
pub fn chain(upstreams: &[(&str, &str)]) -> Config {
    let ids: Vec<String> = (1..upstreams.len()).map(|n| format!("f{n}")).collect();
    let mut config = config("http://unused");
    config.models.clear();
    for (id, (base, profile)) in std::iter::once("m").chain(ids.iter().map(String::as_str)).zip(upstreams) {
        add_model(&mut config, id, base, profile);
        change_last(&mut config, |model, provider| {
            id.clone_into(&mut provider.name);
            if id == "m" {
                model.fallbacks.clone_from(&ids);
            }
        });
    }
    config
}

/// Gives the provider of the last model these keys.
pub fn keys(config: &mut Config, keys: &[&str]) {
    change_last(config, |_, provider| provider.keys = keys.iter().map(|k| Secret::new(*k)).collect());
}

fn change_last(config: &mut Config, change: impl FnOnce(&mut Model, &mut Provider)) {
    let model = Arc::get_mut(config.models.last_mut().unwrap()).unwrap();
    let mut provider = Provider::clone(&model.provider);
    change(model, &mut provider);
    model.provider = Arc::new(provider);
}

/// Gives the provider of the last model another name.
pub fn rename(config: &mut Config, name: &str) {
    change_last(config, |_, provider| name.clone_into(&mut provider.name));
}
