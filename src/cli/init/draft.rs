//! What the file will say.

use serde_json::{Map, Value, json};

use super::known::{self, KNOWN};
use crate::cli::exit::UsageError;
use crate::config::suggest;

/// Where the key is.
#[derive(Clone, Default)]
pub(super) enum Key {
    /// None is sent.
    #[default]
    None,
    /// In an environment variable.
    Variable(String),
    /// In the file.
    Text(String),
}

/// A configuration on its way: one provider, one model.
#[derive(Clone, Default)]
pub(super) struct Draft {
    /// `providers[0].name`.
    pub(super) name: Option<String>,
    pub(super) base_url: String,
    pub(super) profile: Option<String>,
    /// The variable that usually holds the key.
    pub(super) key_env: Option<&'static str>,
    /// One of [`KNOWN`] that needs no key.
    pub(super) keyless: bool,
    pub(super) key: Key,
    pub(super) remote_id: String,
    /// The name that clients use.
    pub(super) id: String,
    pub(super) context_window: Option<u64>,
    pub(super) max_output_tokens: Option<u64>,
}

impl Draft {
    /// A known provider, or a URL.
    pub(super) fn of(name: &str) -> Result<Self, UsageError> {
        if let Some(known) = known::named(name) {
            return Ok(Self {
                name: Some(known.name.to_owned()),
                base_url: known.base_url.to_owned(),
                profile: known.profile.map(str::to_owned),
                key_env: known.key_env,
                keyless: known.key_env.is_none(),
                ..Self::default()
            });
        }
        // A URL may come out of a variable, as everything in the file may.
        if name.contains("://") || name.contains("${") {
            return Ok(Self { base_url: name.to_owned(), ..Self::default() });
        }
        let names = || KNOWN.iter().map(|k| k.name).chain([known::DEMO]);
        let near = suggest::suggest(name, names());
        let near = near.map_or_else(|| "; known".to_owned(), |n| format!(", did you mean `{n}`? Known"));
        let all: Vec<&str> = names().collect();
        Err(UsageError(format!(
            "no provider `{name}`{near}: {}; any other by its URL, such as https://llm.example.com/v1",
            all.join(", ")
        )))
    }

    /// Whether a key makes sense.
    pub(super) fn asks_for_key(&self) -> bool {
        !self.keyless
    }

    /// Whether the model was chosen.
    pub(super) fn is_whole(&self) -> bool {
        self.id != "model" || self.remote_id != "model"
    }

    /// The file's text.
    pub(super) fn text(&self, schema: Option<&str>) -> String {
        let mut model = Map::new();
        model.insert("id".to_owned(), self.id.as_str().into());
        if self.remote_id != self.id {
            model.insert("remote_id".to_owned(), self.remote_id.as_str().into());
        }
        if let Some(window) = self.context_window {
            model.insert("context_window".to_owned(), window.into());
        }
        if let Some(most) = self.max_output_tokens {
            model.insert("max_output_tokens".to_owned(), most.into());
        }
        let mut provider = Map::new();
        if let Some(name) = &self.name {
            provider.insert("name".to_owned(), name.as_str().into());
        }
        provider.insert("base_url".to_owned(), self.base_url.as_str().into());
        let key = match &self.key {
            Key::None => String::new(),
            Key::Variable(name) => format!("${{{name}}}"),
            Key::Text(key) => literal(key),
        };
        provider.insert("api_key".to_owned(), key.into());
        if let Some(profile) = &self.profile {
            provider.insert("profile".to_owned(), profile.as_str().into());
        }
        provider.insert("models".to_owned(), json!([model]));
        let mut file = Map::new();
        if let Some(schema) = schema {
            file.insert("$schema".to_owned(), schema.into());
        }
        file.insert("providers".to_owned(), json!([provider]));
        // Every name that Claude Code asks for by itself.
        file.insert("aliases".to_owned(), json!({ "claude-*": self.id }));
        format!("{:#}\n", Value::Object(file))
    }
}

/// As a string of the configuration that stands for itself.
fn literal(text: &str) -> String {
    text.replace("${", "$${")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Severity, check};

    #[test]
    fn every_provider_gives_a_configuration_without_warnings() {
        for known in KNOWN {
            let mut draft = Draft::of(known.name).unwrap();
            draft.key = known.key_env.map_or(Key::None, |name| Key::Variable(name.to_owned()));
            draft.remote_id = "some-model".to_owned();
            draft.id = "model".to_owned();
            let checked = check(&draft.text(None), &|_| Ok("0123456789abcdef".to_owned()));
            let odd: Vec<_> = checked.findings.iter().filter(|f| f.severity != Severity::Note).collect();
            assert!(odd.is_empty(), "{}: {odd:?}", known.name);
            assert!(checked.config.unwrap().route("claude-opus-4-8").is_some());
        }
    }

    #[test]
    fn keys_stand_for_themselves() {
        let mut draft = Draft::of("https://h.example.com").unwrap();
        draft.key = Key::Text("a${B}c".to_owned());
        draft.remote_id = "m".to_owned();
        draft.id = "m".to_owned();
        let config = check(&draft.text(None), &|_| Err(std::env::VarError::NotPresent)).config.unwrap();
        assert_eq!(config.models[0].provider.first_key().expose(), "a${B}c");
    }

    #[test]
    fn unknown_providers_are_told_with_those_that_there_are() {
        let error = Draft::of("deepsek").err().unwrap().to_string();
        assert!(error.contains("did you mean `deepseek`?") && error.contains("ollama"), "{error}");
    }
}
