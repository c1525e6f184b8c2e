//! What a new configuration changes.

use std::fmt;
use std::path::Path;

use super::{Budgets, Config, Extras, Model, Provider};
use crate::convert::ModelSpec;

/// Most names in a list.
const MOST: usize = 8;

/// What two configurations differ in, by name; never a value, so never a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Models that were not there.
    pub models_added: Vec<String>,
    /// Models that are gone.
    pub models_removed: Vec<String>,
    /// Models that are not what they were; their providers are named in `providers`.
    pub models_changed: Vec<String>,
    /// Providers that are new, gone or not what they were.
    pub providers: Vec<String>,
    /// Keys of the top level.
    pub settings: Vec<&'static str>,
    /// `tls` came or went; another certificate alone is not that much.
    pub tls_switched: bool,
    /// What was spent is noted in another file, or nowhere; other amounts are not that much.
    pub budgets_moved: bool,
}

impl Changes {
    /// From `old` to `new`.
    pub fn between(old: &Config, new: &Config) -> Self {
        let names = |config: &Config| config.models.iter().map(|m| m.id.clone()).collect::<Vec<_>>();
        let (before, after) = (names(old), names(new));
        let without = |a: &[String], b: &[String]| a.iter().filter(|id| !b.contains(id)).cloned().collect();
        let changed = new.models.iter().filter(|model| {
            old.models.iter().find(|m| m.id == model.id).is_some_and(|m| !is_same_model(m, model))
        });
        Self {
            models_added: without(&after, &before),
            models_removed: without(&before, &after),
            models_changed: changed.map(|m| m.id.clone()).collect(),
            providers: providers_changed(old, new),
            settings: settings_changed(old, new),
            budgets_moved: file_of(old) != file_of(new),
            tls_switched: old.tls.is_some() != new.tls.is_some(),
        }
    }

    /// Nothing is different.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The settings among them that a running server cannot change.
    pub fn needs_restart(&self) -> Vec<&'static str> {
        const FIXED: [&str; 4] = ["host", "port", "workers", "threads"];
        let fixed = |s: &&str| {
            FIXED.contains(s) || (*s == "tls" && self.tls_switched) || (*s == "budgets" && self.budgets_moved)
        };
        self.settings.iter().copied().filter(fixed).collect()
    }
}

impl fmt::Display for Changes {
    /// `models added: a, b; providers changed: up`, or `nothing`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing");
        }
        let settings: Vec<String> = self.settings.iter().map(ToString::to_string).collect();
        let mut first = true;
        for (what, names) in [
            ("models added", &self.models_added),
            ("models removed", &self.models_removed),
            ("models changed", &self.models_changed),
            ("providers changed", &self.providers),
            ("settings changed", &settings),
        ] {
            if names.is_empty() {
                continue;
            }
            let some: Vec<String> = names.iter().take(MOST).map(|n| n.escape_debug().to_string()).collect();
            write!(f, "{}{what}: {}", if first { "" } else { "; " }, some.join(", "))?;
            if names.len() > MOST {
                write!(f, " and {} more", names.len() - MOST)?;
            }
            first = false;
        }
        Ok(())
    }
}

fn file_of(config: &Config) -> Option<&Path> {
    config.budgets.as_ref().map(|budgets: &Budgets| budgets.path.as_path())
}

/// The same apart from what its provider is like, which is told of the provider.
fn is_same_model(a: &Model, b: &Model) -> bool {
    a.provider.name == b.provider.name
        && a.display_name == b.display_name
        && a.profile == b.profile
        // Web tools are told of as the settings that they are.
        && a.spec == ModelSpec { web: a.spec.web, ..b.spec.clone() }
        && a.price == b.price
        && a.fallbacks == b.fallbacks
}

fn providers_changed(old: &Config, new: &Config) -> Vec<String> {
    let unlike =
        |provider: &Provider, config: &Config| !config.models.iter().any(|m| *m.provider == *provider);
    let gone = old.models.iter().filter(|m| unlike(&m.provider, new));
    let mut names: Vec<String> = gone
        .chain(new.models.iter().filter(|m| unlike(&m.provider, old)))
        .map(|m| m.provider.name.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Written out, so that a new field cannot be forgotten: it does not compile without its line.
fn settings_changed(old: &Config, new: &Config) -> Vec<&'static str> {
    let Config {
        ak,
        keys,
        budgets,
        host,
        port,
        upstream_timeout,
        stream_idle_timeout,
        connect_timeout,
        ping_interval,
        max_body_bytes,
        max_concurrent_requests,
        shutdown_grace,
        workers,
        tls,
        log_body_max_chars,
        log_stream_text_preview_chars,
        dashboard,
        dashboard_content,
        default_model,
        aliases,
        extras,
        client_body_timeout: _,
        models: _,
    } = old;
    let differ = [
        ("ak", *ak != new.ak),
        ("keys", *keys != new.keys),
        ("budgets", *budgets != new.budgets),
        ("host", *host != new.host),
        ("port", *port != new.port),
        ("upstream_timeout_seconds", *upstream_timeout != new.upstream_timeout),
        ("stream_idle_timeout_seconds", *stream_idle_timeout != new.stream_idle_timeout),
        ("connect_timeout_seconds", *connect_timeout != new.connect_timeout),
        ("ping_interval_seconds", *ping_interval != new.ping_interval),
        ("max_body_bytes", *max_body_bytes != new.max_body_bytes),
        ("max_concurrent_requests", *max_concurrent_requests != new.max_concurrent_requests),
        ("shutdown_grace_seconds", *shutdown_grace != new.shutdown_grace),
        ("workers", *workers != new.workers),
        ("tls", *tls != new.tls),
        ("log_body_max_chars", *log_body_max_chars != new.log_body_max_chars),
        (
            "log_stream_text_preview_chars",
            *log_stream_text_preview_chars != new.log_stream_text_preview_chars,
        ),
        ("dashboard", *dashboard != new.dashboard),
        ("dashboard_content", *dashboard_content != new.dashboard_content),
        ("default_model", *default_model != new.default_model),
        ("aliases", *aliases != new.aliases),
    ];
    let Extras {
        safeguards_model,
        vision_model,
        pdf_text,
        web_search,
        web_fetch,
        web_fetch_private_hosts,
        web_fetch_proxies: _,
        threads,
    } = extras;
    let new = &new.extras;
    let extras = [
        ("safeguards_model", *safeguards_model != new.safeguards_model),
        ("vision_model", *vision_model != new.vision_model),
        ("pdf_text", *pdf_text != new.pdf_text),
        ("web_search", *web_search != new.web_search),
        ("web_fetch", *web_fetch != new.web_fetch),
        ("web_fetch_private_hosts", *web_fetch_private_hosts != new.web_fetch_private_hosts),
        ("threads", *threads != new.threads),
    ];
    differ.into_iter().chain(extras).filter_map(|(name, differs)| differs.then_some(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(top: &str, key: &str, models: &str) -> Config {
        let text = format!(
            r#"{{{top} "providers": [{{"name": "up", "base_url": "http://127.0.0.1:1", "api_key": "{key}",
                "models": [{models}]}}]}}"#
        );
        super::super::check(&text, &|_| Err(std::env::VarError::NotPresent)).config.unwrap()
    }

    #[test]
    fn says_what_is_different_and_never_a_key() {
        let one = config("", "sk-0123456789", r#"{"id": "a"}, {"id": "b"}"#);
        assert_eq!(Changes::between(&one, &one.clone()).to_string(), "nothing");
        let same = config("", "sk-0123456789", r#"{"id": "a"}, {"id": "b"}"#);
        assert!(Changes::between(&one, &same).is_empty());

        let two = config(
            r#""port": 1, "ak": "sesame-sesame","#,
            "sk-9876543210",
            r#"{"id": "b", "vision": false}, {"id": "c"}"#,
        );
        let changes = Changes::between(&one, &two);
        assert_eq!(
            changes.to_string(),
            "models added: c; models removed: a; models changed: b; providers changed: up; \
             settings changed: ak, port"
        );
        assert_eq!(changes.needs_restart(), ["port"]);

        let many: Vec<String> = (0..12).map(|n| format!(r#"{{"id": "m{n:02}"}}"#)).collect();
        let many = config("", "sk-0123456789", &many.join(","));
        assert_eq!(
            Changes::between(&one, &many).to_string(),
            "models added: m00, m01, m02, m03, m04, m05, m06, m07 and 4 more; models removed: a, b"
        );
    }
}
