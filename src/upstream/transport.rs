//! Ways to providers: with TLS or without, whose certificates are trusted, through which proxy. Connections are shared by
//! providers on the same way, and by no others: a connection that one provider's extra roots
//! vouched for is not another's.

use std::sync::Arc;

use rustls::ClientConfig;

use super::tls::{TlsError, tls_config};
use crate::config::{Provider, Proxy, Roots};

/// The ways to some providers. Cheap to clone; workers share their TLS sessions.
#[derive(Clone, Default)]
pub struct Transports(Arc<[Transport]>);

/// One way.
#[derive(Clone)]
pub(super) struct Transport {
    pub(super) roots: Option<Arc<Roots>>,
    pub(super) proxy: Option<Arc<Proxy>>,
    /// None: plain HTTP.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// Leads wherever a [`Route`] says, and nowhere without one.
    ///
    /// [`Route`]: super::Route
    pub(super) routed: bool,
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
    /// URL is `https`, once for each set of extra roots, and not again if those were read
    /// `before`.
    ///
    /// # Errors
    /// A provider's URL is `https`, and the system's certificates cannot be used.
    pub fn new<'p>(
        providers: impl IntoIterator<Item = &'p Provider>,
        before: Option<&Self>,
    ) -> Result<Self, TlsError> {
        let mut all: Vec<Transport> = Vec::new();
        for provider in providers {
            if all.iter().any(|way| way.leads_to(provider)) {
                continue;
            }
            let earlier = before.into_iter().flat_map(Self::iter);
            let known =
                all.iter().chain(earlier).find(|way| way.tls.is_some() && way.roots == provider.roots);
            let tls = match known {
                _ if !provider.encrypted() => None,
                Some(way) => way.tls.clone(),
                None => Some(tls_config(provider.roots.as_deref())?),
            };
            let (roots, proxy) = (provider.roots.clone(), provider.proxy.clone());
            all.push(Transport { roots, proxy, tls, routed: false });
        }
        Ok(Self(all.into()))
    }

    /// Sets up the two ways, plain and by TLS, that lead to anybody. The system's certificates
    /// are read unless they were `before`.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn to_anybody(before: &Self) -> Result<Self, TlsError> {
        let known = before.iter().find(|way| way.tls.is_some() && way.roots.is_none());
        let config = known.and_then(|way| way.tls.clone());
        let config = config.map_or_else(|| tls_config(None), Ok)?;
        let way = |tls| Transport { roots: None, proxy: None, tls, routed: true };
        Ok(Self([way(None), way(Some(config))].into()))
    }

    /// These and more.
    #[must_use]
    pub fn and(&self, more: &Self) -> Self {
        Self(self.iter().chain(more.iter()).cloned().collect())
    }

    /// The way to this provider alone.
    #[must_use]
    pub fn to(&self, provider: &Provider) -> Self {
        Self(self.iter().filter(|way| way.leads_to(provider)).cloned().collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Transport> {
        self.0.iter()
    }
}

/// Connections are opened in the same way, down to the TLS sessions.
impl PartialEq for Transport {
    fn eq(&self, other: &Self) -> bool {
        let tls = match (&self.tls, &other.tls) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        tls && self.roots == other.roots && self.proxy == other.proxy && self.routed == other.routed
    }
}

impl Transport {
    pub(super) fn leads_to(&self, provider: &Provider) -> bool {
        !self.routed
            && self.tls.is_some() == provider.encrypted()
            && self.roots == provider.roots
            && self.proxy == provider.proxy
    }
}
