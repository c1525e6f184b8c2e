//! The environment that points Claude Code at the proxy: `serve` tells it, `env` prints it,
//! `run` sets it.

use std::net::IpAddr;

use super::args::EnvShell;
use super::exit::UsageError;
use crate::config::route::matches;
use crate::config::{Config, Digest, Identity, InboundKey, Secret, authority};

/// The variable that carries the key.
pub(super) const TOKEN: &str = "ANTHROPIC_AUTH_TOKEN";
/// The file of certificates that Claude Code trusts beside the system's.
const EXTRA_ROOTS: &str = "NODE_EXTRA_CA_CERTS";
/// Most tokens of an answer.
const OUTPUT: &str = "CLAUDE_CODE_MAX_OUTPUT_TOKENS";
/// Stands for a key that is not shown.
pub(super) const PLACEHOLDER: &str = "<the value of `ak`>";
/// Claude Code takes models that it does not know to have so many tokens.
const ASSUMED_WINDOW: u64 = 1_000_000;
/// It asks such a model for so many tokens, and keeps them, 20,000 at most, and 13,000 more free
/// of history: it compacts when they are touched.
const ASSUMED_OUTPUT: u64 = 32_000;
/// What it keeps free beside an answer.
const KEPT_FREE: u64 = 13_000;
/// Below this window hardly anything is left beside its own prompt and what it keeps free.
const NARROW: u64 = 40_000;
/// Below this window that leaves a session too little: the answer gets an eighth of it.
const ROOMY: u64 = 100_000;
/// The names that Claude Code asks for by itself, and how it is told others.
const FAMILIES: [(&str, &str); 3] = [
    ("ANTHROPIC_DEFAULT_OPUS_MODEL", "claude-opus-4-8"),
    ("ANTHROPIC_DEFAULT_SONNET_MODEL", "claude-sonnet-4-8"),
    ("ANTHROPIC_DEFAULT_HAIKU_MODEL", "claude-haiku-4-8"),
];

/// Stands for one of several.
pub(super) const PLACEHOLDERS: &str = "<one of `keys`>";
/// Holds a key of `keys` of which the file has only the digest.
pub(super) const KEY_VARIABLE: &str = "CLAUDE_PROXY_KEY";

/// A variable and its value.
pub(super) type Var = (&'static str, String);

/// Where clients reach a proxy that listens on `host` and `port`. With TLS it is a name that the
/// certificate has, if it does not have the host itself.
pub(super) fn base_url(tls: Option<&Identity>, host: &str, port: u16) -> String {
    let host = match host.parse::<IpAddr>() {
        // "Any address" is none that a client can ask.
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => "127.0.0.1",
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => "::1",
        _ => host,
    };
    let Some(identity) = tls else { return format!("http://{}", authority(host, port)) };
    let asked = || identity.names.iter().find(|name| !name.starts_with('*'));
    let host = if identity.is_for(host) { host } else { asked().map_or(host, String::as_str) };
    format!("https://{}", authority(host, port))
}

/// Every variable, [`TOKEN`] with `token` as its value. A session begins with `model`, or with
/// the configuration's default or first; Claude Code's own names go where the aliases lead them.
pub(super) fn variables(
    config: &Config,
    base_url: String,
    token: String,
    model: Option<&str>,
) -> Result<Vec<Var>, UsageError> {
    let mut vars = vec![("ANTHROPIC_BASE_URL", base_url), (TOKEN, token)];
    if let Some(root) = config.tls.as_ref().and_then(|identity| identity.private_root.as_ref())
        && std::env::var_os(EXTRA_ROOTS).is_none_or(|set| set.is_empty())
    {
        vars.push((EXTRA_ROOTS, root.display().to_string()));
    }
    let Some(main) = main_model(config, model)? else { return Ok(vars) };
    vars.push(("ANTHROPIC_MODEL", main.to_owned()));
    for (variable, name) in FAMILIES {
        vars.push((variable, caught(config, name).unwrap_or(main).to_owned()));
    }
    if let Some(model) = config.route(main) {
        vars.extend(size(model.spec.context_window, model.spec.max_output_tokens));
    }
    Ok(vars)
}

/// The key that a client would send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ClientKey<'c> {
    /// None is asked for.
    None,
    /// It stands in the file, where the pointer (RFC 6901) says.
    Written(&'c Secret, String),
    /// It is in [`KEY_VARIABLE`]; the file has its digest.
    Variable,
    /// Only digests are known, or keys that may not use the model.
    Unknown,
}

/// `ak`, else the first of `keys` that may use the model that a session begins with. `variable` is
/// the value of [`KEY_VARIABLE`].
pub(super) fn client_key<'c>(
    config: &'c Config,
    asked: Option<&str>,
    variable: Option<&str>,
) -> ClientKey<'c> {
    if let Some(ak) = &config.ak {
        return ClientKey::Written(ak, "/ak".to_owned());
    }
    if config.keys.is_empty() {
        return ClientKey::None;
    }
    let model = main_model(config, asked).ok().flatten().and_then(|main| config.route(main));
    let fits = |key: &InboundKey| model.is_none_or(|model| key.models.has(&model.id));
    let written = config.keys.iter().enumerate().filter(|(_, key)| fits(key));
    let mut written = written.filter_map(|(n, key)| Some((key.key.as_ref()?, format!("/keys/{n}/key"))));
    if let Some((key, place)) = written.next() {
        return ClientKey::Written(key, place);
    }
    let digest = variable.map(|key| Digest::of(key.as_bytes()));
    let known = config.keys.iter().any(|key| Some(key.digest) == digest && fits(key));
    if known { ClientKey::Variable } else { ClientKey::Unknown }
}

/// What tells Claude Code the size of a model, and of its answers.
fn size(window: Option<u64>, most: Option<u64>) -> Vec<Var> {
    let mut vars = Vec::new();
    let window = window.filter(|w| *w < ASSUMED_WINDOW);
    if let Some(window) = window {
        vars.push(("CLAUDE_CODE_MAX_CONTEXT_TOKENS", window.to_string()));
        // Else its default model counts as one of 1,000,000, whatever the other says.
        vars.push(("CLAUDE_CODE_DISABLE_1M_CONTEXT", "1".to_owned()));
        // For versions before 2.1.331, which do not heed the first.
        vars.push(("CLAUDE_CODE_AUTO_COMPACT_WINDOW", window.to_string()));
    }
    let fitting = window.filter(|w| *w < ROOMY).map(|w| (w / 8).max(1));
    let output = [most, fitting].into_iter().flatten().min().filter(|n| *n < ASSUMED_OUTPUT);
    // Whoever has chosen one may keep it.
    if let Some(output) = output
        && std::env::var_os(OUTPUT).is_none_or(|set| set.is_empty())
    {
        vars.push((OUTPUT, output.to_string()));
    }
    vars
}

/// What to say of the model that a session begins with, if anything.
pub(super) fn note(config: &Config, asked: Option<&str>) -> Option<String> {
    let main = main_model(config, asked).ok()??;
    narrow(config.route(main)?.spec.context_window?)
}

/// Said of a window in which Claude Code hardly has room to work.
pub(super) fn narrow(window: u64) -> Option<String> {
    (window < NARROW).then(|| {
        format!(
            "A context window of {window} tokens is small for Claude Code: its own prompt and tools are some 12,000, and it keeps {} free, so that it compacts often; `--tools Bash,Edit,Read` makes its prompt smaller",
            KEPT_FREE + window / 8
        )
    })
}

/// The model id that a name leads to by itself or by an alias, not by default.
fn caught<'a>(config: &'a Config, name: &str) -> Option<&'a str> {
    let itself = config.models.iter().map(|m| m.id.as_str()).find(|id| *id == name);
    let alias = || config.aliases.iter().find(|(pattern, _)| matches(pattern, name));
    itself.or_else(|| alias().map(|(_, id)| id.as_str()))
}

fn main_model<'a>(config: &'a Config, asked: Option<&'a str>) -> Result<Option<&'a str>, UsageError> {
    let Some(asked) = asked else {
        let first = || config.models.first().map(|m| m.id.as_str());
        return Ok(config.default_model.as_deref().or_else(first));
    };
    if config.route(asked).is_some() {
        return Ok(Some(asked));
    }
    let known: Vec<&str> = config.models.iter().map(|m| m.id.as_str()).collect();
    Err(UsageError(format!("model `{asked}` is not configured; known: {}", known.join(", "))))
}

impl EnvShell {
    /// As `$SHELL` says; without it, the system's habit.
    pub(super) fn detect() -> Self {
        let shell = std::env::var("SHELL").unwrap_or_default();
        let name = shell.rsplit(['/', '\\']).next().unwrap_or_default();
        match name.trim_end_matches(".exe") {
            "fish" => Self::Fish,
            "pwsh" | "powershell" => Self::Powershell,
            "" if cfg!(windows) => Self::Powershell,
            _ => Self::Bash,
        }
    }

    /// The line that sets a variable to a text.
    pub(super) fn set(self, name: &str, value: &str) -> String {
        self.assign(name, &self.quoted(value))
    }

    /// The line that sets a variable to the value of another.
    pub(super) fn copy(self, name: &str, other: &str) -> String {
        self.assign(
            name,
            &match self {
                Self::Bash | Self::Fish => format!("\"${other}\""),
                Self::Powershell => format!("$env:{other}"),
            },
        )
    }

    /// The line that takes a variable away.
    pub(super) fn unset(self, name: &str) -> String {
        match self {
            Self::Bash => format!("unset {name}"),
            Self::Fish => format!("set -e {name}"),
            Self::Powershell => format!("Remove-Item Env:{name} -ErrorAction SilentlyContinue"),
        }
    }

    /// The line that sets a variable to what this shell reads `word` as.
    pub(super) fn assign(self, name: &str, word: &str) -> String {
        match self {
            Self::Bash => format!("export {name}={word}"),
            Self::Fish => format!("set -gx {name} {word}"),
            Self::Powershell => format!("$env:{name} = {word}"),
        }
    }

    /// The command line that reads the lines of `env`.
    pub(super) fn usage(self) -> &'static str {
        match self {
            Self::Bash => "eval \"$(claude-proxy env)\"",
            Self::Fish => "claude-proxy env | source",
            Self::Powershell => "claude-proxy env | Out-String | Invoke-Expression",
        }
    }

    /// As the shell reads it back.
    pub(super) fn quoted(self, word: &str) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+".contains(c);
        let is_plain = !word.is_empty() && word.chars().all(plain);
        match self {
            Self::Bash | Self::Fish if is_plain => word.to_owned(),
            Self::Bash => format!("'{}'", word.replace('\'', r"'\''")),
            Self::Fish => format!("'{}'", word.replace('\\', r"\\").replace('\'', r"\'")),
            Self::Powershell => {
                // It takes typographic quotes for quotes.
                let quote = |c| matches!(c, '\'' | '\u{2018}'..='\u{201b}');
                let mut text = String::from("'");
                for c in word.chars() {
                    text.extend(std::iter::repeat_n(c, if quote(c) { 2 } else { 1 }));
                }
                text.push('\'');
                text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn config(json: &str) -> Config {
        config::check(json, &|_| Err(std::env::VarError::NotPresent)).config.unwrap()
    }

    fn lines(config: &Config, model: Option<&str>) -> Vec<String> {
        let vars = variables(config, base_url(None, "0.0.0.0", 8888), "k".to_owned(), model).unwrap();
        vars.iter().map(|(name, value)| EnvShell::Bash.set(name, value)).collect()
    }

    const ONE: &str = r#"{"ak": "sesame", "providers": [{"base_url": "http://localhost:1", "api_key": "k",
        "models": [{"id": "org/glm 5", "context_window": 128000}]}]}"#;

    #[test]
    fn one_model_serves_every_name() {
        assert_eq!(
            lines(&config(ONE), None),
            [
                "export ANTHROPIC_BASE_URL=http://127.0.0.1:8888",
                "export ANTHROPIC_AUTH_TOKEN=k",
                "export ANTHROPIC_MODEL='org/glm 5'",
                "export ANTHROPIC_DEFAULT_OPUS_MODEL='org/glm 5'",
                "export ANTHROPIC_DEFAULT_SONNET_MODEL='org/glm 5'",
                "export ANTHROPIC_DEFAULT_HAIKU_MODEL='org/glm 5'",
                "export CLAUDE_CODE_MAX_CONTEXT_TOKENS=128000",
                "export CLAUDE_CODE_DISABLE_1M_CONTEXT=1",
                "export CLAUDE_CODE_AUTO_COMPACT_WINDOW=128000",
            ]
        );
    }

    const TWO: &str = r#"{"providers": [{"base_url": "http://localhost:1", "api_key": "", "models": [
        {"id": "big", "context_window": 1000000}, {"id": "small", "context_window": 64000}]}],
        "default_model": "big", "aliases": {"claude-*haiku*": "small"}}"#;

    #[test]
    fn aliases_lead_the_names_that_they_catch() {
        let config = config(TWO);
        let told = lines(&config, None);
        assert_eq!(
            told[2..],
            [
                "export ANTHROPIC_MODEL=big",
                "export ANTHROPIC_DEFAULT_OPUS_MODEL=big",
                "export ANTHROPIC_DEFAULT_SONNET_MODEL=big",
                "export ANTHROPIC_DEFAULT_HAIKU_MODEL=small",
            ]
        );
        let told = lines(&config, Some("small"));
        assert_eq!(told[2..4], ["export ANTHROPIC_MODEL=small", "export ANTHROPIC_DEFAULT_OPUS_MODEL=small"]);
        assert_eq!(
            told[6..],
            [
                "export CLAUDE_CODE_MAX_CONTEXT_TOKENS=64000",
                "export CLAUDE_CODE_DISABLE_1M_CONTEXT=1",
                "export CLAUDE_CODE_AUTO_COMPACT_WINDOW=64000",
                "export CLAUDE_CODE_MAX_OUTPUT_TOKENS=8000",
            ]
        );
    }

    #[test]
    fn answers_are_as_long_as_model_and_window_allow() {
        let output = |window, most| {
            let vars = size(window, most);
            vars.into_iter().find(|(name, _)| *name == OUTPUT).map(|(_, value)| value.parse::<u64>().unwrap())
        };
        assert_eq!(output(Some(32_768), None), Some(4096));
        assert_eq!(output(Some(64_000), Some(4000)), Some(4000));
        assert_eq!(output(Some(200_000), Some(8192)), Some(8192));
        assert_eq!(output(None, Some(8192)), Some(8192));
        assert_eq!((output(Some(200_000), Some(65_536)), output(None, None)), (None, None));
        assert_eq!(size(Some(1_048_576), None), []);
    }

    #[test]
    fn the_key_is_one_that_may_use_the_model() {
        let digest = Digest::of(b"open-c").0.map(|b| format!("{b:02x}")).concat();
        let with = |keys: &str| {
            config(&format!(
                r#"{{{keys} "providers": [{{"base_url": "http://localhost:1", "api_key": "k",
                    "models": [{{"id": "big"}}, {{"id": "small"}}]}}]}}"#
            ))
        };
        let keys = format!(
            r#""keys": [{{"name": "c", "key_sha256": "{digest}"}},
                {{"name": "a", "key": "open-a", "models": ["small"]}}, {{"name": "b", "key": "open-b"}}],"#
        );
        let written = |key: &str, place: &str| (key.to_owned(), place.to_owned());
        let told = |config: &Config, model: Option<&str>| match client_key(config, model, Some("open-c")) {
            ClientKey::Written(key, place) => written(key.expose(), &place),
            other => (format!("{other:?}"), String::new()),
        };
        let several = with(&keys);
        assert_eq!(told(&several, None), written("open-b", "/keys/2/key"));
        assert_eq!(told(&several, Some("small")), written("open-a", "/keys/1/key"));
        assert_eq!(
            told(&with(&format!(r#""ak": "sesame", {keys}"#)), Some("small")),
            written("sesame", "/ak")
        );
        let only =
            with(&format!(r#""keys": [{{"name": "c", "key_sha256": "{digest}", "models": ["big"]}}],"#));
        assert_eq!(told(&only, None).0, "Variable");
        assert_eq!(told(&only, Some("small")).0, "Unknown");
        assert_eq!(client_key(&only, None, None), ClientKey::Unknown);
        assert_eq!(told(&with(""), None).0, "None");
    }

    #[test]
    fn a_model_that_leads_nowhere_is_refused() {
        let config = config(ONE);
        let error = variables(&config, String::new(), String::new(), Some("glm")).unwrap_err();
        assert_eq!(error.to_string(), "model `glm` is not configured; known: org/glm 5");
    }

    #[test]
    fn addresses_can_be_asked() {
        assert_eq!(base_url(None, "::", 1), "http://[::1]:1");
        assert_eq!(base_url(None, "fe80::1", 1), "http://[fe80::1]:1");
        assert_eq!(base_url(None, "localhost", 1), "http://localhost:1");
    }

    #[test]
    fn words_are_quoted_for_their_shell() {
        let word = r"it's \ $HOME";
        assert_eq!(EnvShell::Bash.set("A", word), r"export A='it'\''s \ $HOME'");
        assert_eq!(EnvShell::Fish.set("A", word), r"set -gx A 'it\'s \\ $HOME'");
        assert_eq!(EnvShell::Powershell.set("A", "it’s 'x'"), "$env:A = 'it’’s ''x'''");
        assert_eq!(EnvShell::Powershell.copy("A", "B"), "$env:A = $env:B");
        assert_eq!(EnvShell::Fish.copy("A", "B"), "set -gx A \"$B\"");
        assert_eq!(EnvShell::Bash.set("A", ""), "export A=''");
    }
}
