//! Searches and fetches against scripted services and servers, on real sockets. Nothing of it
//! leaves this machine: what is public is reached through a tunnel that a test opens.

mod fetch;
mod near;
mod program;
mod search;

use std::collections::HashMap;
use std::env::VarError;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use claude_proxy::config::{Config, Proxies};
use claude_proxy::upstream::Transports;
use claude_proxy::web::{Code, Content, FetchOptions, Page, Setup, Web, WebError};

use crate::support::upstream::Conn;
use crate::support::*;

/// Runs this with what a worker has.
fn with<T>(config: &Config, change: impl FnOnce(Web) -> Web, ask: impl AsyncFnOnce(&Web) -> T) -> T {
    actix_rt::System::new().block_on(async {
        let setup = Setup::new(config, &Transports::default(), None).unwrap().unwrap();
        let web = change(Web::new(&setup));
        ask(&web).await
    })
}

/// `web_fetch`, and these of `web_fetch_private_hosts`.
fn fetching(listed: &[&str]) -> Config {
    let mut config = config("http://127.0.0.1:1");
    config.extras.web_fetch = true;
    config.extras.web_fetch_private_hosts = listed.iter().map(|host| (*host).to_owned()).collect();
    config
}

/// One fetch.
fn fetch(config: &Config, url: &str) -> Result<Page, WebError> {
    with(config, |web| web, async |web| web.fetch(url, &FetchOptions::default()).await)
}

/// One fetch from a server that is listed.
fn fetched(up: &Upstream, path: &str) -> Result<Page, WebError> {
    fetch(&fetching(&[&up.addr.to_string()]), &format!("{}{path}", up.base()))
}

fn text(page: &Page) -> &str {
    match &page.content {
        Content::Text(text) => text,
        Content::Pdf(_) => panic!("a PDF"),
    }
}

/// Public hosts, behind a proxy: what it is asked for a tunnel to, and what it answers.
struct Internet {
    proxy: Upstream,
    names: Arc<Mutex<HashMap<String, Vec<Vec<IpAddr>>>>>,
}

impl Internet {
    /// `script` is every server; it sees what the tunnel leads to.
    fn start(script: impl Fn(&str, Conn) + Send + Sync + 'static) -> Self {
        let proxy = Upstream::start(move |mut conn| {
            let Some(seen) = conn.request() else { return };
            let target = seen.head.split(' ').nth(1).unwrap_or_default().to_owned();
            conn.write("HTTP/1.1 200 OK\r\n\r\n");
            script(&target, conn);
        });
        Self { proxy, names: Arc::default() }
    }

    /// The name has these addresses; when it is asked for again, the next ones.
    fn name(self, name: &str, addresses: &[&[&str]]) -> Self {
        let read = |list: &&[&str]| list.iter().map(|a| a.parse().unwrap()).collect();
        let answers = addresses.iter().rev().map(read).collect();
        self.names.lock().unwrap().insert(name.to_owned(), answers);
        self
    }

    fn fetch(&self, url: &str, listed: &[&str]) -> Result<Page, WebError> {
        let mut config = fetching(listed);
        let base = self.proxy.base();
        let env = |name: &str| match name {
            "all_proxy" => Ok(base.clone()),
            _ => Err(VarError::NotPresent),
        };
        config.extras.web_fetch_proxies = Proxies::from_environment(&env).unwrap();
        let names = Arc::clone(&self.names);
        let resolver = move |web: Web| web.resolving(resolver(names));
        with(&config, resolver, async |web| web.fetch(url, &FetchOptions::default()).await)
    }

    /// What tunnels were asked for.
    fn tunnels(&self) -> Vec<String> {
        let heads = self.proxy.seen().into_iter().map(|seen| seen.head);
        heads.filter_map(|head| head.strip_prefix("CONNECT ")?.split(' ').next().map(str::to_owned)).collect()
    }
}

/// Gives the last answer of a name until there is none any more.
fn resolver(names: Arc<Mutex<HashMap<String, Vec<Vec<IpAddr>>>>>) -> claude_proxy::web::Resolver {
    Rc::new(move |host: String| {
        let found = names.lock().unwrap().get_mut(&host).and_then(Vec::pop);
        Box::pin(async move { found.ok_or_else(|| io::Error::other("no such name")) })
    })
}
