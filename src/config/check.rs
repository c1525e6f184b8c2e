//! From the file's fields to a [`Config`]: defaults, and what fields say of each other.

use std::sync::Arc;
use std::time::Duration;

use super::expand::Env;
use super::file::File;
use super::finding::{Finding, Findings, Severity};
use super::provider::Models;
use super::read::{At, Read, Reader};
use super::suggest::did_you_mean;
use super::tree;
use super::{Config, Secret, route};

/// A text that was checked.
#[derive(Debug)]
pub struct Checked {
    /// The configuration, if there are no errors.
    pub config: Option<Config>,
    /// Everything there is to say, in the order of the file.
    pub findings: Vec<Finding>,
}

/// Checks the text of a config.json. `env` tells environment variables.
pub fn check(text: &str, env: Env<'_>) -> Checked {
    let mut reader = Reader { env, findings: Findings::default() };
    let config = match tree::parse(text) {
        Ok(root) => File::read(&root, "", &mut reader).map(|file| config(file, &mut reader.findings)),
        Err(e) => {
            let hint = syntax_hint(text, e.at);
            reader.findings.error("syntax", &(e.at..e.at + 1), "", format!("{}{hint}", e.what));
            None
        }
    };
    let findings = reader.findings.finish(text);
    let failed = findings.iter().any(|f| f.severity == Severity::Error);
    Checked { config: config.filter(|_| !failed), findings }
}

/// What is probably the matter where JSON cannot be read.
fn syntax_hint(text: &str, at: usize) -> String {
    let (before, rest) = text.split_at_checked(at).unwrap_or((text, ""));
    if rest.starts_with(['/', '#']) {
        return " (JSON has no comments)".to_owned();
    }
    if rest.starts_with(['}', ']']) && before.trim_end().ends_with(',') {
        return " (JSON has no comma after the last entry)".to_owned();
    }
    if !rest.is_empty() {
        return String::new();
    }
    match unclosed(text) {
        Some((bracket, at)) => {
            let (line, column) = crate::wire::json::line_column(text.as_bytes(), at);
            format!(": the `{bracket}` of line {line}, column {column} is not closed")
        }
        None if text.trim().is_empty() => ": the file is empty".to_owned(),
        None => String::new(),
    }
}

/// The innermost bracket that is open at the end.
fn unclosed(text: &str) -> Option<(char, usize)> {
    let mut open = Vec::new();
    let (mut in_string, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => in_string = !in_string,
            '{' | '[' if !in_string => open.push((c, at)),
            '}' | ']' if !in_string => drop(open.pop()),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    open.pop()
}

/// With errors in `findings` the result is of no use.
fn config(file: File, findings: &mut Findings) -> Config {
    let host = host(file.host.as_ref(), findings);
    let ak = ak(file.ak.as_ref(), findings);
    for (limit, name) in [
        (&file.max_body_bytes, "max_body_bytes"),
        (&file.max_concurrent_requests, "max_concurrent_requests"),
        (&file.workers, "workers"),
    ] {
        if let Some(At { value: 0, span, path }) = limit {
            findings.error("out-of-range", span, path, format!("`{name}` has to be 1 or more"));
        }
    }
    for (time, name) in [
        (&file.upstream_timeout_seconds, "upstream_timeout_seconds"),
        (&file.stream_idle_timeout_seconds, "stream_idle_timeout_seconds"),
        (&file.connect_timeout_seconds, "connect_timeout_seconds"),
    ] {
        if let Some(At { value: Duration::ZERO, span, path }) = time {
            let message = format!("`{name}` has to be more than 0: nothing can be answered in no time");
            findings.error("out-of-range", span, path, message);
        }
    }
    let mut models = Models::default();
    if let Some(providers) = file.providers {
        if providers.value.is_empty() {
            let message = "`providers` is empty: at least one upstream is needed".to_owned();
            findings.error("no-providers", &providers.span, &providers.path, message);
        }
        for provider in providers.value {
            models.add(provider, findings);
        }
    }
    let ids = models.ids();
    let known = || ids.iter().map(String::as_str);
    if let Some(default) = &file.default_model
        && !ids.contains(&default.value)
    {
        let hint = did_you_mean(&default.value, known());
        let message = format!("`default_model` names no model: `{}`{hint}", default.value.escape_debug());
        findings.error("unknown-model", &default.span, &default.path, message);
    }
    let aliases = file.aliases.map(|a| a.value.0).unwrap_or_default();
    route::check_aliases(&aliases, &ids, findings);
    let config = Config {
        ak,
        host,
        port: or(file.port, 8888),
        upstream_timeout: or(file.upstream_timeout_seconds, Duration::from_secs(300)),
        stream_idle_timeout: or(file.stream_idle_timeout_seconds, Duration::from_secs(120)),
        connect_timeout: or(file.connect_timeout_seconds, Duration::from_secs(10)),
        ping_interval: or(file.ping_interval_seconds, Duration::from_secs(15)),
        max_body_bytes: or(file.max_body_bytes, 32 << 20),
        max_concurrent_requests: or(file.max_concurrent_requests, 1024),
        shutdown_grace: or(file.shutdown_grace_seconds, Duration::from_secs(30)),
        workers: file
            .workers
            .map(|w| w.value)
            .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
            .unwrap_or(1),
        log_body_max_chars: or(file.log_body_max_chars, 4096),
        log_stream_text_preview_chars: or(file.log_stream_text_preview_chars, 256),
        default_model: file.default_model.map(|m| m.value),
        aliases: aliases.into_iter().map(|e| (e.key, e.at.value)).collect(),
        models: models.into_inner().into_iter().map(Arc::new).collect(),
    };
    if config.is_exposed() {
        let (span, path) = file.host.as_ref().map_or((&(0..1), "host"), |h| (&h.span, h.path.as_str()));
        findings.warning(EXPOSED, span, path, exposed(&config.host));
    }
    config
}

/// Code of the warning about a proxy that serves the whole network without a key.
pub const EXPOSED: &str = "open-without-key";

/// Text of that warning.
pub fn exposed(host: &str) -> String {
    format!(
        "host `{host}` is reachable from other machines and `ak` is not set: anyone there can use your API keys"
    )
}

fn or<T>(field: Option<At<T>>, default: T) -> T {
    field.map_or(default, |at| at.value)
}

fn ak(field: Option<&At<String>>, findings: &mut Findings) -> Option<Secret> {
    let At { value, span, path } = field?;
    if value.is_empty() {
        // As the original has it: an empty key is no key. From a variable that is an accident.
        if span.len() > 2 {
            let message = "`ak` is empty: anyone may come in. Set the variable, or remove `ak`".to_owned();
            findings.error("empty-key", span, path, message);
        }
        return None;
    }
    super::provider::check_header_value(value, "`ak`", span, path, findings);
    Some(Secret::new(value.clone()))
}

fn host(field: Option<&At<String>>, findings: &mut Findings) -> String {
    let Some(At { value, span, path }) = field else { return "127.0.0.1".to_owned() };
    let bare = value.strip_prefix('[').and_then(|v| v.strip_suffix(']')).unwrap_or(value);
    let is_name =
        !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if bare.parse::<std::net::IpAddr>().is_err() && !is_name {
        let hint = if value.contains(':') { ": the port goes into `port`" } else { "" };
        let message = format!("`host` should be an IP address or a host name{hint}");
        findings.error("bad-host", span, path, message);
    }
    bare.to_owned()
}
