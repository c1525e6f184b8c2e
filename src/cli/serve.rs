//! `serve`.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::args::{GlobalArgs, LogFormat, ServeArgs};
use super::output::{BOLD, CYAN};
use super::{Exit, Printer};
use crate::config::{self, Config, Finding, Severity};
use crate::demo::Demo;
use crate::observe::{self, Capture, log};
use crate::server::{Bound, Server};

/// Between two words of the demo model: fast enough to watch, slow enough to see it stream.
const PACE: Duration = Duration::from_millis(25);

/// Runs the command.
pub(super) fn run(args: &ServeArgs, global: &GlobalArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let format = match global.log_format {
        LogFormat::Text => observe::LogFormat::Text,
        LogFormat::Json => observe::LogFormat::Json,
    };
    log::init(&global.log_level, format, global.ansi())?;
    let demo =
        if args.demo { Some(Demo::bind(PACE).context("the demo upstream cannot listen")?) } else { None };
    let mut config = if let Some(demo) = &demo {
        demo_config(demo)?
    } else {
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
        loaded.config
    };
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
        let mut bound = Server::bind(Arc::clone(&config))?;
        let capture = args.capture.as_deref().map(|dir| start_capture(dir, args.capture_max_mb, &config));
        let capture = capture.transpose()?.map(Arc::new);
        if let Some(capture) = &capture {
            let dir = capture.dir().display();
            printer.note(format_args!("Every exchange is written to {dir}, texts included, keys removed"));
            bound.capture(Arc::clone(capture));
        }
        announce(&config, bound.addr(), printer);
        let demo = async {
            match demo {
                Some(demo) => demo.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = until_signalled(bound) => ended?,
            ended = demo => ended?,
        }
        if let Some(capture) = capture {
            capture.finish();
        }
        Ok(Exit::Success)
    })
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

/// Serves until SIGTERM or SIGINT, twice for at once.
async fn until_signalled(bound: Bound) -> anyhow::Result<()> {
    let (stop, stopped) = unbounded_channel();
    let signals = forward_signals(stop)?;
    tokio::select! {
        ended = bound.run(stopped) => Ok(ended?),
        () = signals => Ok(()),
    }
}

/// Passes each signal on; never ends.
#[cfg(unix)]
fn forward_signals(stop: UnboundedSender<()>) -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: no new requests, running ones may finish"),
                _ = interrupt.recv() => tracing::info!("SIGINT: no new requests, running ones may finish"),
            }
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
    printer.note(format_args!("claude-proxy listens on {BOLD}http://{addr}{BOLD:#} with {count} {noun}"));
    printer.note(format_args!("Point Claude Code at it:"));
    for line in environment(config, addr) {
        printer.note(format_args!("  {CYAN}{line}{CYAN:#}"));
    }
}

/// The lines of a shell that point Claude Code here.
fn environment(config: &Config, addr: SocketAddr) -> Vec<String> {
    // "Any address" is none that a client can ask.
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let mut lines = vec![format!("export ANTHROPIC_BASE_URL=http://{}", SocketAddr::new(ip, addr.port()))];
    lines.push(match config.ak {
        Some(_) => "export ANTHROPIC_AUTH_TOKEN=<the value of `ak`>".to_owned(),
        None => "export ANTHROPIC_AUTH_TOKEN=none".to_owned(),
    });
    let Some(first) =
        config.default_model.as_deref().or_else(|| config.models.first().map(|m| m.id.as_str()))
    else {
        return lines;
    };
    lines.push(format!("export ANTHROPIC_MODEL={}", quoted(first)));
    // Claude Code asks for these by itself; where its own names lead nowhere, it has to be told.
    for (family, name) in
        [("OPUS", "claude-opus-4-8"), ("SONNET", "claude-sonnet-4-8"), ("HAIKU", "claude-haiku-4-8")]
    {
        if config.route(name).is_none() {
            lines.push(format!("export ANTHROPIC_DEFAULT_{family}_MODEL={}", quoted(first)));
        }
    }
    // It takes unknown models for ones with a window of a million tokens.
    if let Some(window) = config.route(first).and_then(|m| m.spec.context_window) {
        lines.push(format!("export CLAUDE_CODE_AUTO_COMPACT_WINDOW={window}"));
    }
    lines
}

/// As a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Config {
        config::check(json, &|_| Err(std::env::VarError::NotPresent)).config.unwrap()
    }

    const ONE: &str = r#"{"ak": "sesame", "providers": [{"base_url": "http://localhost:1", "api_key": "k",
        "models": [{"id": "org/glm 5", "context_window": 128000}]}]}"#;

    #[test]
    fn the_lines_never_show_the_key() {
        let lines = environment(&config(ONE), "0.0.0.0:8888".parse().unwrap()).join("\n");
        assert_eq!(
            lines,
            "export ANTHROPIC_BASE_URL=http://127.0.0.1:8888\n\
             export ANTHROPIC_AUTH_TOKEN=<the value of `ak`>\n\
             export ANTHROPIC_MODEL='org/glm 5'\n\
             export ANTHROPIC_DEFAULT_OPUS_MODEL='org/glm 5'\n\
             export ANTHROPIC_DEFAULT_SONNET_MODEL='org/glm 5'\n\
             export ANTHROPIC_DEFAULT_HAIKU_MODEL='org/glm 5'\n\
             export CLAUDE_CODE_AUTO_COMPACT_WINDOW=128000"
        );
    }

    #[test]
    fn the_demo_serves_every_name() {
        let demo = Demo::bind(PACE).unwrap();
        let config = demo_config(&demo).unwrap();
        assert_eq!(config.route("claude-opus-4-8").unwrap().id, "demo");
        let lines = environment(&config, "[::1]:1".parse().unwrap());
        assert_eq!(lines[0], "export ANTHROPIC_BASE_URL=http://[::1]:1");
        assert_eq!(lines[2..], ["export ANTHROPIC_MODEL=demo"]);
    }
}
