//! Names become addresses here, once, and only addresses that may be reached go on.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;

use super::address::is_public;
use super::error::{Code, WebError};
use super::target::Target;
use crate::config::{Proxies, authority};
use crate::upstream::Route;

/// Most addresses of a name that are tried.
const TRIED: usize = 8;

/// Tells the addresses of a host name.
pub type Resolver = Rc<dyn Fn(String) -> LocalBoxFuture<'static, io::Result<Vec<IpAddr>>>>;

/// The system's.
pub(super) fn system() -> Resolver {
    Rc::new(|host| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// Where a connection to the target leads.
///
/// A name is resolved once. Every address of it has to be public, or none is used: what one
/// resolver says now and another one later makes no difference, as the connection goes to an
/// address that was looked at. A proxy is given the address, too, so that it has nothing to
/// resolve. Only listed hosts may have any address, and a proxy is given their names.
///
/// # Errors
/// `url_not_allowed`: an address is not public. `url_not_accessible`: the name has none.
pub(super) async fn route(
    target: &Target,
    resolver: &Resolver,
    proxies: &Proxies,
) -> Result<Route, WebError> {
    let proxy = proxies.to(target.encrypted, &target.host, target.port);
    if let Some(proxy) = proxy.filter(|_| target.listed) {
        return Ok(Route::Tunnel(Arc::clone(proxy), authority(&target.host, target.port)));
    }
    let addresses = match target.address {
        Some(address) => vec![address],
        None => resolver(target.host.clone()).await.unwrap_or_default(),
    };
    if addresses.is_empty() {
        let hint = proxy.map_or("", |_| {
            "; also behind a proxy this machine has to resolve it, unless `web_fetch_private_hosts` lists the host"
        });
        let detail = format!("{} could not be resolved{hint}", target.host);
        return Err(WebError::new(Code::UrlNotAccessible, detail));
    }
    if !target.listed && !addresses.iter().copied().all(is_public) {
        let detail = format!(
            "{} is not on the public internet; `web_fetch_private_hosts` can list it",
            authority(&target.host, target.port)
        );
        return Err(WebError::new(Code::UrlNotAllowed, detail));
    }
    if let Some(proxy) = proxy {
        let v4 = addresses.iter().find(|address| address.is_ipv4());
        let address = v4.or(addresses.first()).map(ToString::to_string).unwrap_or_default();
        return Ok(Route::Tunnel(Arc::clone(proxy), authority(&address, target.port)));
    }
    let socket = |ip| SocketAddr::new(ip, target.port);
    Ok(Route::Direct(addresses.into_iter().take(TRIED).map(socket).collect()))
}
