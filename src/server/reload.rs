//! Another configuration while the server runs.

use std::sync::Arc;

use super::current::Current;
use crate::config::{Changes, Config, Finding};
use crate::upstream::TlsError;

/// Replaces the configuration of a server, whole or not at all.
#[derive(Clone)]
pub struct Reload {
    /// What it began with: some of it stays until the end.
    first: Arc<Config>,
    current: Current,
    findings: Arc<[Finding]>,
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reload").field("generation", &self.current.generation()).finish_non_exhaustive()
    }
}

/// What a reload did.
#[derive(Debug)]
pub struct Reloaded {
    /// The number of the new configuration; the first was 1.
    pub generation: u64,
    /// What is not as before.
    pub changes: Changes,
    /// Keys of the configuration whose change counts only after a restart.
    pub needs_restart: Vec<&'static str>,
    /// The address that it listens on, if other machines can reach it and no key is asked for.
    pub exposed: Option<String>,
}

/// Why the old configuration stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Who is on the way out begins nothing.
    #[error("the server is shutting down")]
    Draining,
    /// A provider's URL is `https`, and TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Reload {
    /// For a server that began with `first`.
    pub(super) fn new(first: Arc<Config>, current: Current) -> Self {
        Self { first, current, findings: Arc::new([]) }
    }

    /// With what there is to say of the next configuration, for the dashboard.
    #[must_use]
    pub fn with_findings(&self, findings: Vec<Finding>) -> Self {
        Self { findings: findings.into(), ..self.clone() }
    }

    /// From now on requests are answered as `config` says; those that run keep the one that
    /// they began with.
    ///
    /// # Errors
    /// Nothing has changed.
    pub fn apply(&self, config: Config) -> Result<Reloaded, ReloadError> {
        let taken = self.replace(config);
        // Who is on the way out was not asked.
        if !matches!(taken, Err(ReloadError::Draining)) {
            self.current.get().1.metrics.reloaded(taken.is_ok());
        }
        taken
    }

    /// Counts a configuration that has errors and could not be applied.
    pub fn refused(&self) {
        self.current.get().1.metrics.reloaded(false);
    }

    fn replace(&self, config: Config) -> Result<Reloaded, ReloadError> {
        let config = Arc::new(config);
        let needs_restart = Changes::between(&self.first, &config).needs_restart();
        let mut changes = Changes::default();
        let generation = self.current.replace(|shared| {
            if shared.drain.is_draining() {
                return Err(ReloadError::Draining);
            }
            changes = Changes::between(&shared.config, &config);
            if let Some(capture) = &shared.capture {
                capture.conceal(config.secrets().map(|s| s.expose().to_owned()));
            }
            Ok(shared.reloaded(Arc::clone(&config), Arc::clone(&self.findings))?)
        })?;
        let listening = Config { host: self.first.host.clone(), ..Config::clone(&config) };
        let exposed = listening.is_exposed().then_some(listening.host);
        Ok(Reloaded { generation, changes, needs_restart, exposed })
    }

    /// The number of the configuration that counts.
    pub fn generation(&self) -> u64 {
        self.current.generation()
    }
}
