//! From the file's fields to a [`Config`]: defaults, and what fields say of each other.

use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;

use super::code::Code;
use super::expand::Env;
use super::file::{File, Tls};
use super::finding::{Finding, Findings, Severity};
use super::hide::hide;
use super::identity::{Identity, IdentityError};
use super::keys::{self, Key};
use super::provider::Models;
use super::read::{At, Read as _, Reader};
use super::{Config, Secret, access, default, extras, limits, load, media, network, route, syntax};

/// A text that was checked.
#[derive(Debug)]
pub struct Checked {
    /// The configuration, if there are no errors.
    pub config: Option<Config>,
    /// Everything there is to say, in the order of the file.
    pub findings: Vec<Finding>,
}

/// Checks the text of a config.json. `env` tells environment variables; relative paths in the
/// file begin in the working directory.
pub fn check(text: &str, env: Env<'_>) -> Checked {
    check_in(text, env, Path::new(""), |_| None)
}

/// Checks the text of a file in directory `dir`. `exposed` is told where the first key stands
/// that is written out, and says who else can read it.
pub(super) fn check_in(
    text: &str,
    env: Env<'_>,
    dir: &Path,
    exposed: impl FnOnce(&Range<usize>) -> Option<(String, String)>,
) -> Checked {
    let mut reader = Reader { env, findings: Findings::default(), used: Vec::new() };
    let root = syntax::parse(text, &mut reader.findings);
    let file = root.and_then(|root| File::read(&root, "", &mut reader));
    let mut findings = reader.findings;
    let config = file.map(|file| {
        let (config, written) = config(file, text, dir, env, &mut findings);
        if let Some(span) = written
            && let Some((message, help)) = exposed(&span)
        {
            findings.add(Code::ReadableByOthers, (&span, ""), message, help);
        }
        config
    });
    let mut findings = findings.finish(text);
    hide(reader.used, &mut findings);
    let failed = findings.iter().any(|f| f.severity == Severity::Error);
    Checked { config: config.filter(|_| !failed), findings }
}

/// The configuration (with errors in `findings` it is of no use), and where the first key
/// stands that is written out.
fn config(
    mut file: File,
    text: &str,
    dir: &Path,
    env: Env<'_>,
    findings: &mut Findings,
) -> (Config, Option<Range<usize>>) {
    let host = host(file.host.as_ref(), findings);
    let own_key = file.ak.as_ref().map(Key::new);
    let ak = ak(file.ak.as_ref(), findings);
    let tls = file.tls.as_ref().and_then(|at| tls(&at.value, dir, findings));
    limits::check(&file, findings);
    let mut models = Models::default();
    models.has_describer = file.vision_model.is_some();
    if let Some(providers) = file.providers.take() {
        if providers.value.is_empty() {
            let message = "`providers` is empty: at least one upstream is needed";
            findings.add(Code::NoProviders, providers.spot(), message, "");
        }
        for provider in providers.value {
            models.add(provider, dir, env, findings);
        }
    }
    let ids = models.ids();
    let extras = extras::read(&file, &ids, dir, env, &mut models.keys, findings);
    let access = access::read(&file, &ids, models.usable(), extras.threads.as_ref(), dir, findings);
    let own: Vec<Key> = own_key.into_iter().chain(access.written).collect();
    let digests: Vec<_> = access.keys.iter().map(|key| key.digest).collect();
    let written = keys::check(&own, &digests, &models.keys, text, findings);
    models.fallbacks.check(&ids, findings);
    media::check(&file, models.usable(), findings);
    if let Some(default) = &file.default_model {
        route::check_id(default, &ids, findings);
    }
    let (dashboard, dashboard_content) = dashboard(&file, findings);
    let content = file.dashboard_content.as_ref().map(|at| (at.span.clone(), at.path.clone()));
    let aliases = file.aliases.map(|a| a.value.0).unwrap_or_default();
    route::check_aliases(&aliases, &ids, findings);
    let config = Config {
        ak,
        keys: access.keys,
        budgets: access.budgets,
        host,
        port: or(file.port, default::PORT),
        upstream_timeout: or(file.upstream_timeout_seconds, Duration::from_secs(default::UPSTREAM_TIMEOUT)),
        stream_idle_timeout: or(
            file.stream_idle_timeout_seconds,
            Duration::from_secs(default::STREAM_IDLE_TIMEOUT),
        ),
        connect_timeout: or(file.connect_timeout_seconds, Duration::from_secs(default::CONNECT_TIMEOUT)),
        ping_interval: or(file.ping_interval_seconds, Duration::from_secs(default::PING_INTERVAL)),
        max_body_bytes: or(file.max_body_bytes, default::MAX_BODY_BYTES),
        max_concurrent_requests: or(file.max_concurrent_requests, default::MAX_CONCURRENT_REQUESTS),
        client_body_timeout: Duration::from_secs(default::CLIENT_BODY_TIMEOUT),
        shutdown_grace: or(file.shutdown_grace_seconds, Duration::from_secs(default::SHUTDOWN_GRACE)),
        workers: file
            .workers
            .map(|w| w.value)
            .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
            .unwrap_or(1),
        tls: tls.map(Arc::new),
        log_body_max_chars: or(file.log_body_max_chars, default::LOG_BODY_MAX_CHARS),
        log_stream_text_preview_chars: or(
            file.log_stream_text_preview_chars,
            default::LOG_STREAM_TEXT_PREVIEW_CHARS,
        ),
        dashboard,
        dashboard_content,
        default_model: file.default_model.map(|m| m.value),
        aliases: aliases.into_iter().map(|e| (e.key, e.at.value)).collect(),
        models: models.into_inner(extras.web_tools()).into_iter().map(Arc::new).collect(),
        extras,
    };
    if config.is_exposed() {
        let spot = file.host.as_ref().map_or((&(0..1), "host"), At::spot);
        findings.add(EXPOSED, spot, exposed(&config.host), EXPOSED_HELP);
    }
    if config.is_exposed() && config.dashboard_content {
        let spot = content.as_ref().map_or((&(0..1), CONTENT), |(span, path)| (span, path.as_str()));
        let message =
            "`dashboard_content` shows the beginnings of conversations to everybody who can reach the page";
        findings.add(Code::OpenWithoutKey, spot, message, EXPOSED_HELP);
    }
    if config.tls.is_none() && config.host.parse::<IpAddr>().is_ok() && network::is_public(&config.host) {
        let message = format!(
            "`host` {} may be on the internet, and without `tls` keys can be read on the way",
            config.host
        );
        let spot = file.host.as_ref().map_or((&(0..1), "host"), At::spot);
        findings.add_as(
            Severity::Note,
            Code::PlainHttp,
            spot,
            message,
            "set `tls`, or put a proxy with TLS in front",
        );
    }
    (config, written)
}

/// The certificate and key of `tls`. Relative paths begin at `dir`.
fn tls(file: &Tls, dir: &Path, findings: &mut Findings) -> Option<Identity> {
    let (cert, key) = (file.cert.as_ref()?, file.key.as_ref()?);
    let key_path = dir.join(&key.value);
    let identity = match Identity::read(&dir.join(&cert.value), &key_path) {
        Ok(identity) => identity,
        Err(e) => {
            let (at, why) = match e {
                IdentityError::Cert(why) => (cert, why),
                IdentityError::Key(why) => (key, why),
            };
            findings.add(Code::BadTls, at.spot(), format!("`{}`: {why}", at.path), "");
            return None;
        }
    };
    if let Some(why) = identity.untimely(UnixTime::now()) {
        let message = format!("`{}`: the certificate {why}", cert.path);
        findings.add_as(Severity::Warning, Code::BadTls, cert.spot(), message, "renew it");
    }
    if identity.names.is_empty() {
        let message =
            format!("`{}`: the certificate is for no host name or address: clients refuse it", cert.path);
        let help = "make one with subjectAltName (openssl: `-addext subjectAltName=DNS:HOST`)";
        findings.add_as(Severity::Warning, Code::BadTls, cert.spot(), message, help);
    }
    if let Some(mode) = load::others_mode(&key_path) {
        let message = format!(
            "the private key can be read by every user of this machine (the file's mode is {mode:04o})"
        );
        findings.add(
            Code::ReadableByOthers,
            key.spot(),
            message,
            format!("chmod 600 {}", key_path.display()),
        );
    }
    Some(identity)
}

/// Code of the warning about a proxy that serves the whole network without a key.
pub const EXPOSED: Code = Code::OpenWithoutKey;

/// What to do about that.
pub const EXPOSED_HELP: &str = "set `ak`, or listen on 127.0.0.1";

/// The key whose warning of that code is about the texts on the dashboard.
const CONTENT: &str = "dashboard_content";

/// Text of that warning.
pub fn exposed(host: &str) -> String {
    format!(
        "host `{host}` is reachable from other machines and `ak` is not set: anyone there can use your API keys"
    )
}

/// The findings of a file for a proxy that runs with this configuration: its address may be another
/// than the file's.
pub fn findings_for(config: &Config, findings: Vec<Finding>) -> Vec<Finding> {
    let (of_the_host, mut rest): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|f| f.code == EXPOSED && f.path != CONTENT);
    if !config.is_exposed() {
        rest.retain(|f| f.code != EXPOSED);
        return rest;
    }
    let place = of_the_host.into_iter().next();
    let (line, column, span) = place.map_or((1, 1, 0..0), |f| (f.line, f.column, f.span));
    rest.push(Finding {
        severity: EXPOSED.severity(),
        code: EXPOSED,
        path: "host".to_owned(),
        message: exposed(&config.host),
        help: EXPOSED_HELP.to_owned(),
        span,
        line,
        column,
    });
    rest
}

/// `dashboard` and `dashboard_content`.
fn dashboard(file: &File, findings: &mut Findings) -> (bool, bool) {
    let on = file.dashboard.as_ref().is_none_or(|at| at.value);
    let content = file.dashboard_content.as_ref().filter(|at| at.value);
    if let Some(at) = content.filter(|_| !on) {
        let message = "`dashboard_content` has no effect: `dashboard` is false";
        findings.add(Code::NoEffect, at.spot(), message, "remove one of the two");
    }
    (on, on && content.is_some())
}

fn or<T>(field: Option<At<T>>, default: T) -> T {
    field.map_or(default, |at| at.value)
}

fn ak(field: Option<&At<String>>, findings: &mut Findings) -> Option<Secret> {
    let at = field?;
    if at.value.is_empty() {
        // As the original has it: an empty key is no key. From a variable that is an accident.
        if at.span.len() > 2 {
            let message = "`ak` is empty: anyone may come in";
            findings.add(Code::EmptyKey, at.spot(), message, "set the variable, or remove `ak`");
        }
        return None;
    }
    super::provider::check_header_value(&at.value, "`ak`", at.spot(), findings);
    Some(Secret::new(at.value.clone()))
}

fn host(field: Option<&At<String>>, findings: &mut Findings) -> String {
    let Some(at) = field else { return "127.0.0.1".to_owned() };
    let value = &at.value;
    let bare = value.strip_prefix('[').and_then(|v| v.strip_suffix(']')).unwrap_or(value);
    let is_name =
        !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if bare.parse::<IpAddr>().is_err() && !is_name {
        let help = if value.contains(':') { "the port goes into `port`" } else { "" };
        findings.add(Code::BadHost, at.spot(), "`host` should be an IP address or a host name", help);
    }
    bare.to_owned()
}
