//! Ways to providers: whose certificates are trusted on it. Connections are shared by
//! providers on the same way, and by no others: a connection that one provider's extra roots
//! vouched for is not another's.

use std::sync::Arc;

use rustls::ClientConfig;

use super::tls::{TlsError, tls_config};
use crate::config::{Provider, Roots};

/// The ways to some providers. Cheap to clone; workers share their TLS sessions.
#[derive(Clone, Default)]
pub struct Transports(Arc<[Transport]>);

/// One way.
#[derive(Clone)]
pub(super) struct Transport {
    roots: Option<Arc<Roots>>,
    /// None: no provider on this way is `https`.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl std::fmt::Debug for Transports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transports({})", self.0.len())
    }
}

impl Transports {
    /// Sets up the ways to these providers.
    ///
    /// The system's certificates cost megabytes and milliseconds: they are read if a provider's
    /// URL is `https`, once for each set of extra roots.
    ///
    /// # Errors
    /// A provider's URL is `https`, and the system's certificates cannot be used.
    pub fn new<'p>(providers: impl IntoIterator<Item = &'p Provider>) -> Result<Self, TlsError> {
        let mut all: Vec<Transport> = Vec::new();
        for provider in providers {
            let at = match all.iter().position(|t| t.leads_to(provider)) {
                Some(at) => at,
                None => {
                    all.push(Transport { roots: provider.roots.clone(), tls: None });
                    all.len() - 1
                }
            };
            let known = all.iter().find(|t| t.roots == provider.roots && t.tls.is_some());
            let known = known.and_then(|t| t.tls.clone());
            if let Some(way) = all.get_mut(at).filter(|t| t.tls.is_none() && provider.encrypted()) {
                way.tls = Some(match known {
                    Some(tls) => tls,
                    None => tls_config(provider.roots.as_deref())?,
                });
            }
        }
        Ok(Self(all.into()))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Transport> {
        self.0.iter()
    }
}

impl Transport {
    pub(super) fn leads_to(&self, provider: &Provider) -> bool {
        self.roots == provider.roots
    }
}
