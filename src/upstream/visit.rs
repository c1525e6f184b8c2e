//! Pages of strangers: nobody is asked but whom the caller decided on, and nothing is sent that
//! could tell one visit from another.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use awc::http::header::{ACCEPT, ACCEPT_ENCODING, HOST, LOCATION, USER_AGENT};
use awc::http::{Method, Uri};
use tokio::time::Instant;

use super::attempt::{answered, attempt, is_final};
use super::client::{AGENT, awc, host, plain};
use super::dial::{Progress, Route};
use super::fault::{Cause, Fault, Stage};
use super::{Answer, Limits, Transports};
use crate::config::is_https;

/// Asks anybody. Each visit has a connection of its own, and no provider's.
#[derive(Clone)]
pub struct Visitor {
    plain: Option<awc::Client>,
    encrypted: Option<awc::Client>,
}

impl std::fmt::Debug for Visitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Visitor")
    }
}

impl Visitor {
    /// With the ways of [`Transports::to_anybody`]. `connect` bounds TCP, a proxy's tunnel and TLS
    /// together.
    pub fn new(transports: &Transports, connect: Duration) -> Self {
        let of = |encrypted| {
            let way = transports.iter().find(|way| way.routed && way.tls.is_some() == encrypted);
            way.map(|way| awc(way, connect))
        };
        Self { plain: of(false), encrypted: of(true) }
    }

    /// GETs a page and waits for the head of the answer, whatever its status is. Redirects are not
    /// followed, and a compressed body stays so.
    ///
    /// The host of the URL is what the server is told and what its certificate has to be for;
    /// where the connection leads, `route` says alone.
    ///
    /// # Errors
    /// Whatever keeps the head from coming.
    pub async fn get(
        &self,
        url: &str,
        route: Route,
        accept: &'static str,
        limits: Limits,
    ) -> Result<Answer, Fault> {
        let bad = || Fault::new(Stage::Connect, Cause::Config("its URL cannot be asked for".to_owned()));
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let awc = if is_https(url) { &self.encrypted } else { &self.plain };
        let awc = awc.as_ref().ok_or_else(bad)?;
        let host = host(&uri).ok_or_else(bad)?;
        let request = awc
            .request(Method::GET, plain(uri).ok_or_else(bad)?)
            .no_decompress()
            .insert_header((HOST, host))
            .insert_header((USER_AGENT, AGENT))
            .insert_header((ACCEPT, accept))
            .insert_header((ACCEPT_ENCODING, "identity"))
            // It is not put into the pool: the next visit is decided on anew.
            .force_close();
        let request = request.freeze().map_err(|_| bad())?;
        let began = Instant::now();
        let progress = Rc::new(Progress { route: Cell::new(Some(route)), ..Progress::default() });
        let response = attempt(&request, None, &progress, began, limits).await?;
        is_final(answered(response, &progress, began, false))
    }
}

impl Answer {
    /// Where a redirect leads, as the server wrote it.
    pub fn location(&self) -> Option<&str> {
        std::str::from_utf8(self.body.header(&LOCATION)?.as_bytes()).ok()
    }

    /// `content-type` with its parameters.
    pub fn media_type(&self) -> Option<&str> {
        self.body.header(&awc::http::header::CONTENT_TYPE)?.to_str().ok()
    }
}
