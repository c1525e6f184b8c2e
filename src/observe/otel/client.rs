//! Sends batches: HTTP/1.1 on the thread of the exporter, with the TLS of the rest of the program.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::losses::Losses;
use super::settings::{OtelError, Settings};

/// Longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 << 10;

#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    losses: Arc<Losses>,
}

impl Client {
    pub(super) fn new(settings: &Settings, losses: Arc<Losses>) -> Result<Self, OtelError> {
        let roots = match &settings.certificate {
            None => RootCerts::PlatformVerifier,
            Some(path) => {
                let bad = |why: String| OtelError::Certificate { path: path.clone(), why };
                let pem = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
                let all: Vec<Certificate<'static>> = parse_pem(&pem)
                    .filter_map(|item| match item {
                        Ok(PemItem::Certificate(certificate)) => Some(certificate),
                        _ => None,
                    })
                    .collect();
                if all.is_empty() {
                    return Err(bad("there is no certificate in it".to_owned()));
                }
                RootCerts::new_with_certs(&all)
            }
        };
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(settings.timeout))
            .timeout_connect(Some(settings.timeout.min(Duration::from_secs(5))))
            .http_status_as_error(false)
            // The headers may hold a key for this collector alone.
            .max_redirects(0)
            .user_agent(concat!("claude-proxy/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, losses })
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (head, body) = request.into_parts();
        let answer = self.agent.run(Request::from_parts(head, body.to_vec()))?;
        let (head, mut body) = answer.into_parts();
        let body = body.with_config().limit(MAX_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(head, body.into()))
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.send(request);
        match &sent {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => {
                self.losses.note(format!("the collector answered with HTTP {}", answer.status().as_u16()));
            }
            Err(error) => self.losses.note(format!("the collector cannot be reached: {error}")),
        }
        sent.map_err(Into::into)
    }
}
