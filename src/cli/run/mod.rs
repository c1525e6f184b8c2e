//! `run`: a command with a proxy of its own.
//!
//! The terminal is the command's: from its start to its end nothing is written there.

mod child;
mod logfile;

use std::cell::Cell;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::args::{GlobalArgs, RunArgs};
use super::environment::{self, Var};
use super::output::BOLD;
use super::serve::{configured, upstream};
use super::{Exit, Printer};
use crate::config::{Config, Secret};
use crate::observe::log;
use crate::server::{Load, Server};
use child::{Child, Ended, Signals};

/// What would lead Claude Code elsewhere, or make it ask.
const REMOVED: [&str; 7] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BEDROCK_BASE_URL",
    "ANTHROPIC_SMALL_FAST_MODEL",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_VERTEX",
];

/// Runs the command.
pub(super) fn run(args: &RunArgs, global: &GlobalArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let (mut config, _, demo) = configured(args.demo, global, printer)?;
    "127.0.0.1".clone_into(&mut config.host);
    config.port = 0;
    // Nothing leaves this machine, and the certificate is for other names.
    config.tls = None;
    // Its key is new each time, and several may run beside each other.
    config.extras.threads = None;
    // Nobody but the command knows the key.
    config.dashboard = false;
    config.budgets = None;
    config.keys.clear();
    let key = key()?;
    config.ak = Some(Secret::new(key.as_str()));
    // A model that is not there is told before anything starts.
    environment::variables(&config, String::new(), String::new(), args.model.as_deref())?;
    let (file, path) = logfile::open(args.log_file.as_deref())?;
    log::init_file(&global.log_level, global.log_format.into(), file)?;
    #[cfg(feature = "otel")]
    let _flush = crate::observe::otel::start()?;
    let config = Arc::new(config);
    actix_web::rt::System::new().block_on(async {
        let bound = Server::bind(Arc::clone(&config))?;
        let (addr, load) = (bound.addr(), bound.load());
        let url = environment::base_url(None, &config.host, addr.port());
        let vars = environment::variables(&config, url, key, args.model.as_deref())?;
        printer.note(format_args!(
            "claude-proxy listens on {BOLD}http://{addr}{BOLD:#} for this command; its log: {}",
            path.display()
        ));
        if let Some(note) = environment::note(&config, args.model.as_deref()) {
            printer.note(format_args!("{note}"));
        }
        // Before the command starts: a signal that comes early must not end us alone.
        let mut signals = Signals::listen()?;
        let Some((name, rest)) = args.command.split_first() else { return Ok(Exit::Usage) };
        let (child, ended) = match Child::start(command(name, rest, vars)) {
            Ok(started) => started,
            Err(e) => return Ok(not_started(name, &e, printer)),
        };
        let (stop, stopped) = unbounded_channel();
        let code = Cell::new(None);
        tokio::select! {
            // Without the proxy the command could go on, but not ask anything: it is told to end.
            ended = bound.run(stopped) => {
                if let Some(code) = code.get() {
                    return Ok(Exit::Command(code));
                }
                child.terminate();
                ended?;
                anyhow::bail!("the proxy ended before the command")
            }
            ended = upstream(demo) => {
                child.terminate();
                ended?;
                anyhow::bail!("the demo upstream ended before the command")
            }
            done = async {
                code.set(Some(attend(child, ended, &mut signals).await?));
                drain(&mut signals, &stop, &load, &config, printer).await;
                anyhow::Ok(())
            } => done?,
        }
        Ok(code.get().map_or(Exit::Failure, Exit::Command))
    })
}

/// Until the command has ended: its exit code.
async fn attend(child: Child, mut ended: Ended, signals: &mut Signals) -> anyhow::Result<u8> {
    loop {
        tokio::select! {
            code = &mut ended => {
                let code = code??;
                tracing::info!(code, "the command has ended");
                return Ok(code);
            }
            signal = signals.next() => child.pass(signal),
        }
    }
}

/// What the command left running gets its answers, for a while.
async fn drain(
    signals: &mut Signals,
    stop: &UnboundedSender<()>,
    load: &Load,
    config: &Config,
    printer: &mut Printer,
) {
    if load.running() == 0 {
        return;
    }
    let grace = config.shutdown_grace;
    printer.note(format_args!(
        "claude-proxy: what the command left running has {} s to finish its requests; Ctrl-C ends them",
        grace.as_secs()
    ));
    let _ = stop.send(());
    let idle = async {
        while load.running() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The last bytes are on their way.
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    tokio::select! {
        () = idle => {}
        // At the deadline each stream is told; that takes a moment.
        () = tokio::time::sleep(grace + Duration::from_millis(500)) => {}
        () = signals.end() => {}
    }
}

/// The command, in the environment that points it here.
fn command(name: &OsString, arguments: &[OsString], vars: Vec<Var>) -> Command {
    let mut command = Command::new(name);
    command.args(arguments);
    for name in REMOVED {
        command.env_remove(name);
    }
    command.envs(vars);
    // A proxy between it and this machine's own address would look for us on another machine.
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let proxied = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    if proxied.iter().any(is_set) {
        for name in ["NO_PROXY", "no_proxy"] {
            let others = std::env::var(name).unwrap_or_default();
            let comma = if others.is_empty() { "" } else { "," };
            command.env(name, format!("{others}{comma}127.0.0.1"));
        }
    }
    command
}

/// A key for this run: 256 random bits.
fn key() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("no random numbers for a key: {e}"))?;
    let mut key = String::with_capacity(64);
    for byte in bytes {
        let _ = write!(key, "{byte:02x}");
    }
    Ok(key)
}

/// As shells do: 127 for a command that is not there, 126 for one that cannot be run.
fn not_started(name: &OsString, error: &io::Error, printer: &mut Printer) -> Exit {
    let shown = name.display();
    if error.kind() != io::ErrorKind::NotFound {
        printer.error(format_args!("cannot run `{shown}`: {error}"));
        return Exit::Command(126);
    }
    printer.error(format_args!("command not found: `{shown}`"));
    if name == "claude" {
        printer.note(format_args!("Claude Code is installed by `npm install -g @anthropic-ai/claude-code`"));
    }
    Exit::Command(127)
}
