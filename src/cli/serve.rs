//! `serve`.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::args::{EnvShell, GlobalArgs, ServeArgs};
use super::environment::{self, PLACEHOLDER, PLACEHOLDERS, TOKEN};
use super::output::{BOLD, CYAN};
use super::reload::Source;
use super::service::{self, Tell};
use super::{Exit, Printer};
use crate::config::{self, Config, Finding, Severity};
use crate::demo::Demo;
use crate::observe::{Capture, log};
use crate::server::{Bound, Server};

/// Between two words of the demo model: fast enough to watch, slow enough to see it stream.
const PACE: Duration = Duration::from_millis(25);

/// Runs the command.
pub(super) fn run(args: &ServeArgs, global: &GlobalArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    log::init(&global.log_level, global.log_format.into(), global.ansi())?;
    #[cfg(feature = "otel")]
    let _flush = crate::observe::otel::start()?;
    let path = (!args.demo).then(|| config::locate(global.config.as_deref()));
    let socket = service::socket()?;
    // A socket that is there already goes before all that names another.
    let args = match socket.as_ref().map(TcpListener::local_addr).transpose()? {
        Some(addr) => {
            &ServeArgs { host: Some(addr.ip().to_string()), port: Some(addr.port()), ..args.clone() }
        }
        None => args,
    };
    let source = Source::new(path, args);
    let (mut config, findings, demo) = configured(args.demo, global, printer)?;
    if let Some(host) = &args.host {
        config.host.clone_from(host);
    }
    config.port = args.port.unwrap_or(config.port);
    if config.is_exposed() {
        let (message, help) = (config::check::exposed(&config.host), config::check::EXPOSED_HELP);
        printer.warning(format_args!("{message}; {help}"));
    }
    let config = Arc::new(config);
    actix_web::rt::System::new().block_on(async {
        let mut bound = match socket {
            Some(socket) => Server::adopt(Arc::clone(&config), socket)?,
            None => Server::bind(Arc::clone(&config))?,
        };
        bound.tell(config::check::findings_for(&config, findings), Box::new(all_lines));
        let capture = args.capture.as_deref().map(|dir| start_capture(dir, args.capture_max_mb, &config));
        let capture = capture.transpose()?.map(Arc::new);
        if let Some(capture) = &capture {
            let dir = capture.dir().display();
            printer.note(format_args!("Every exchange is written to {dir}, texts included, keys removed"));
            bound.capture(Arc::clone(capture));
        }
        let addr = bound.addr();
        let status = format!("listening on {addr}");
        let serving = until_signalled(bound, source, status.clone())?;
        announce(&config, addr, printer);
        let (version, models) = (env!("CARGO_PKG_VERSION"), config.models.len());
        tracing::info!(%addr, version, models, "listening");
        service::tell(Tell::Ready(&status));
        tokio::select! {
            ended = serving => ended?,
            ended = upstream(demo) => ended?,
        }
        if let Some(capture) = capture {
            capture.finish();
        }
        Ok(Exit::Success)
    })
}

/// The configuration and its findings, which were told, or that of the demo upstream.
pub(super) fn configured(
    demo: bool,
    global: &GlobalArgs,
    printer: &mut Printer,
) -> anyhow::Result<(Config, Vec<Finding>, Option<Demo>)> {
    if demo {
        let demo = Demo::bind(PACE).context("the demo upstream cannot listen")?;
        return Ok((demo_config(&demo)?, Vec::new(), Some(demo)));
    }
    let path = config::locate(global.config.as_deref());
    let loaded = config::load(&path)?;
    // Whether the proxy is open to others is only known with the options.
    for finding in loaded.findings.iter().filter(|f| f.code != config::check::EXPOSED) {
        let Finding { line, column, .. } = finding;
        let told = format!("{}:{line}:{column}: {}", path.display(), finding.sentence());
        match finding.severity {
            Severity::Note => printer.note(format_args!("{CYAN}note:{CYAN:#} {told}")),
            Severity::Warning | Severity::Error => printer.warning(format_args!("{told}")),
        }
    }
    Ok((loaded.config, loaded.findings, None))
}

/// Runs the demo upstream; without one it never ends.
pub(super) async fn upstream(demo: Option<Demo>) -> std::io::Result<()> {
    match demo {
        Some(demo) => demo.run().await,
        None => std::future::pending().await,
    }
}

/// Begins to keep exchanges in `dir`, at most `max_mb` MiB of them.
fn start_capture(dir: &Path, max_mb: u64, config: &Config) -> anyhow::Result<Capture> {
    let secrets = config.secrets().map(|s| s.expose().to_owned());
    Capture::start(dir, max_mb.saturating_mul(1 << 20), secrets)
        .with_context(|| format!("cannot capture into {}", dir.display()))
}

/// The configuration of `serve --demo`, with every default of a real one.
pub(super) fn demo_config(demo: &Demo) -> anyhow::Result<Config> {
    let checked = config::check(&demo.config_json(), &|name| std::env::var(name));
    checked.config.context("internal error: the demo's configuration is not valid")
}

/// Serves until SIGTERM or SIGINT, twice for at once. From now on signals are heard: before
/// anybody is told that the server is there.
fn until_signalled(
    bound: Bound,
    source: Source,
    status: String,
) -> std::io::Result<impl Future<Output = std::io::Result<()>>> {
    let (stop, stopped) = unbounded_channel();
    let reloads = source.follow(bound.reload(), stop.clone(), status)?;
    let signals = forward_signals(stop)?;
    Ok(async {
        tokio::select! {
            ended = bound.run(stopped) => ended,
            () = reloads => Ok(()),
            () = signals => Ok(()),
        }
    })
}

/// Passes each signal on; never ends.
#[cfg(unix)]
fn forward_signals(stop: UnboundedSender<()>) -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let mut what = "no new requests, running ones may finish";
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!("{name}: {what}");
            service::tell(Tell::Stopping);
            what = "ending now";
            let _ = stop.send(());
        }
    })
}

/// Passes each Ctrl-C on; never ends.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as on Unix")]
fn forward_signals(stop: UnboundedSender<()>) -> std::io::Result<impl Future<Output = ()>> {
    Ok(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            tracing::info!("Ctrl-C: no new requests, running ones may finish");
            let _ = stop.send(());
        }
        std::future::pending::<()>().await;
    })
}

/// Where it listens, and how to point Claude Code at it. Never shows the key.
fn announce(config: &Config, addr: SocketAddr, printer: &mut Printer) {
    let count = config.models.len();
    let noun = if count == 1 { "model" } else { "models" };
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    printer.note(format_args!("claude-proxy listens on {BOLD}{scheme}://{addr}{BOLD:#} with {count} {noun}"));
    printer.note(format_args!("Point Claude Code at it:"));
    for line in lines(config, addr, EnvShell::detect()) {
        printer.note(format_args!("  {CYAN}{line}{CYAN:#}"));
    }
}

/// The lines of a shell that point Claude Code here, with a placeholder for the key.
fn lines(config: &Config, addr: SocketAddr, shell: EnvShell) -> Vec<String> {
    let url = environment::base_url(config.tls.as_deref(), &addr.ip().to_string(), addr.port());
    lines_at(config, url, shell)
}

/// As [`lines`], for each kind of shell and whatever address; for the dashboard.
fn all_lines(config: &Config, url: &str) -> Vec<(&'static str, Vec<String>)> {
    [("bash, zsh", EnvShell::Bash), ("fish", EnvShell::Fish), ("PowerShell", EnvShell::Powershell)]
        .map(|(name, shell)| (name, lines_at(config, url.to_owned(), shell)))
        .into()
}

fn lines_at(config: &Config, url: String, shell: EnvShell) -> Vec<String> {
    let vars = environment::variables(config, url, "none".to_owned(), None).unwrap_or_default();
    let line = |(name, value): environment::Var| match name {
        TOKEN if config.ak.is_some() => shell.assign(TOKEN, PLACEHOLDER),
        TOKEN if !config.keys.is_empty() => shell.assign(TOKEN, PLACEHOLDERS),
        _ => shell.set(name, &value),
    };
    vars.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_never_show_the_key() {
        let json = r#"{"ak": "sesame", "providers": [{"base_url": "http://localhost:1", "api_key": "k",
            "models": [{"id": "glm"}]}]}"#;
        let config = config::check(json, &|_| Err(std::env::VarError::NotPresent)).config.unwrap();
        let lines = lines(&config, "0.0.0.0:8888".parse().unwrap(), EnvShell::Bash);
        assert_eq!(
            lines[..3],
            [
                "export ANTHROPIC_BASE_URL=http://127.0.0.1:8888",
                "export ANTHROPIC_AUTH_TOKEN=<the value of `ak`>",
                "export ANTHROPIC_MODEL=glm",
            ]
        );
    }

    #[test]
    fn the_demo_serves_every_name() {
        let demo = Demo::bind(PACE).unwrap();
        let config = demo_config(&demo).unwrap();
        assert_eq!(config.route("claude-opus-4-8").unwrap().id, "demo");
        let lines = lines(&config, "[::1]:1".parse().unwrap(), EnvShell::Bash);
        assert_eq!(
            lines[..3],
            [
                "export ANTHROPIC_BASE_URL='http://[::1]:1'",
                "export ANTHROPIC_AUTH_TOKEN=none",
                "export ANTHROPIC_MODEL=demo",
            ]
        );
        assert!(lines[3..].iter().all(|line| line.ends_with("_MODEL=demo")), "{lines:?}");
    }
}
