//! `serve`: the configuration, read again on SIGHUP and, with `--watch`, when its file changes.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use tokio::sync::mpsc::UnboundedSender;

use super::args::ServeArgs;
use super::service::{self, Tell};
use super::watch::{self, Print, Settling};
use crate::config::{self, Config, Finding, LoadError, Severity};
use crate::server::{Reload, ReloadError, Reloaded};

/// Where the configuration came from.
#[derive(Debug)]
pub(super) struct Source {
    /// None: it is built in.
    path: Option<PathBuf>,
    watched: bool,
    settling: Settling,
    /// Of the command line: these stay as they are.
    host: Option<String>,
    port: Option<u16>,
}

impl Source {
    /// Made before the file is read for the first time: a change in between counts.
    pub(super) fn new(path: Option<PathBuf>, args: &ServeArgs) -> Self {
        let print: Print = path.as_deref().filter(|_| args.watch).and_then(watch::print);
        let (host, port) = (args.host.clone(), args.port);
        Self { path, watched: args.watch, settling: Settling::new(print), host, port }
    }

    /// Reads the file again whenever that is asked for, from now on; never ends. `stop` is told if
    /// a SIGHUP means that the terminal is gone, and a service manager the `status` after each
    /// reading.
    pub(super) fn follow(
        self,
        reload: Reload,
        stop: UnboundedSender<()>,
        status: String,
    ) -> std::io::Result<impl Future<Output = ()>> {
        let hangups = Hangups::listen()?;
        Ok(self.follow_all(hangups, reload, stop, status))
    }

    async fn follow_all(
        mut self,
        mut hangups: Hangups,
        reload: Reload,
        stop: UnboundedSender<()>,
        status: String,
    ) {
        // A log on a terminal is a person's; that of a service is somewhere else.
        let on_terminal = std::io::stderr().is_terminal();
        loop {
            let changed = async {
                match &self.path {
                    Some(path) if self.watched => watch::changed(path, &mut self.settling).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = hangups.next() => {
                    if on_terminal && !std::io::stderr().is_terminal() {
                        let _ = stop.send(());
                        continue;
                    }
                    tracing::info!("SIGHUP: reading the configuration again");
                }
                () = changed => tracing::info!("the configuration file has changed: reading it again"),
            }
            service::tell(Tell::Reloading);
            self.again(&reload).await;
            service::tell(Tell::Ready(&status));
        }
    }

    async fn again(&mut self, reload: &Reload) {
        let Some(path) = self.path.clone() else {
            tracing::warn!("there is no configuration file to read again: the model is built in");
            return;
        };
        if path.as_os_str() == "-" {
            tracing::warn!("the configuration came from standard input and cannot be read again");
            return;
        }
        let read = actix_web::web::block(move || {
            let print = watch::print(&path);
            (print, config::load(&path), path)
        });
        let Ok((print, loaded, path)) = read.await else { return };
        self.settling.know(print);
        let file = path.display();
        let refused = match loaded {
            Ok(loaded) => {
                tell(&file, loaded.findings.iter().filter(|f| f.code != config::check::EXPOSED));
                let config = self.with_options(loaded.config);
                let findings = config::check::findings_for(&config, loaded.findings);
                apply(&reload.with_findings(findings), config)
            }
            Err(LoadError::Invalid { findings, .. }) => {
                tell(&file, findings.iter());
                reload.refused();
                Some(format!("{file} has errors"))
            }
            Err(e) => {
                reload.refused();
                Some(e.to_string())
            }
        };
        if let Some(why) = refused {
            let generation = reload.generation();
            tracing::error!(generation, "{why}: the configuration stays as it is");
        }
    }

    /// What the command line says goes before what the file says.
    fn with_options(&self, mut config: Config) -> Config {
        if let Some(host) = &self.host {
            config.host.clone_from(host);
        }
        config.port = self.port.unwrap_or(config.port);
        config
    }
}

/// Why not, if not.
fn apply(reload: &Reload, config: Config) -> Option<String> {
    match reload.apply(config) {
        Ok(Reloaded { generation, changes, needs_restart, exposed }) => {
            tracing::info!(generation, %changes, "the configuration was reloaded");
            if !needs_restart.is_empty() {
                let keys = needs_restart.join(", ");
                tracing::warn!(keys, "these settings change only with a restart");
            }
            if let Some(host) = exposed {
                tracing::warn!("{}; {}", config::check::exposed(&host), config::check::EXPOSED_HELP);
            }
            None
        }
        Err(ReloadError::Draining) => {
            tracing::info!("shutting down: the configuration is not read again");
            None
        }
        Err(e) => Some(e.to_string()),
    }
}

/// The findings of a file as log lines.
fn tell<'a>(file: &dyn std::fmt::Display, findings: impl Iterator<Item = &'a Finding>) {
    for finding in findings {
        let Finding { line, column, code, severity, .. } = finding;
        let told = format!("{file}:{line}:{column}: {}", finding.sentence());
        match severity {
            Severity::Note => tracing::info!(%code, "{told}"),
            Severity::Warning => tracing::warn!(%code, "{told}"),
            Severity::Error => tracing::error!(%code, "{told}"),
        }
    }
}

/// SIGHUP, where there is one.
struct Hangups {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

impl Hangups {
    #[cfg_attr(not(unix), expect(clippy::unnecessary_wraps, reason = "the same signature as on Unix"))]
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if self.signal.recv().await.is_some() {
            return;
        }
        std::future::pending::<()>().await;
    }
}
