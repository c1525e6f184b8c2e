//! Every route on one screen.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::http::{ConnectionType, Method};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::FutureExt;

use super::admit::Gate;
use super::auth::{Failures, Inbound, Keys};
use super::count_tokens::{self, Counting};
use super::current::Current;
use super::dashboard::{self, Desk};
use super::drain::Drain;
use super::ids::Ids;
use super::intake::Unfinished;
use super::media::Media;
use super::meters::Meters;
use super::pump::Scratch;
use super::reply::{REQUEST_ID, Refusal, json};
use super::talk::Talk;
use super::tls::Certificate;
use super::upstreams::Upstreams;
use super::{messages, models, probe};
use crate::config::{Config, Finding};
use crate::observe::activity::{Live, PREVIEW};
use crate::observe::{Capture, Metrics};
use crate::store::spent::Spent;
use crate::store::threads::Threads;
use crate::upstream::health::Health;
use crate::upstream::retry::Budget;
use crate::upstream::{TlsError, Transports};
use crate::web::{self, Web};
use crate::wire::anthropic::{ApiError, ErrorKind, KnownTools};

/// What workers are made of: all that a configuration brings, and what all threads share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) config: Arc<Config>,
    pub(super) transports: Transports,
    /// For `web_search` and `web_fetch`; none: neither is configured.
    pub(super) web: Option<web::Setup>,
    /// What clients are shown; none: they speak plain HTTP. The same in all generations.
    pub(super) certificate: Option<Certificate>,
    /// Who may come in.
    pub(super) keys: Keys,
    pub(super) failures: Arc<Failures>,
    pub(super) gate: Gate,
    pub(super) unfinished: Unfinished,
    pub(super) drain: Drain,
    pub(super) counting: Arc<Counting>,
    pub(super) media: Arc<Media>,
    pub(super) capture: Option<Arc<Capture>>,
    pub(super) metrics: Arc<Metrics>,
    /// How providers and keys fare; a reload takes it along.
    pub(super) health: Arc<Health>,
    pub(super) budget: Budget,
    /// What the dashboard has of its own. The same in all generations.
    pub(super) desk: Arc<Desk>,
    /// What there is to say of the configuration.
    pub(super) findings: Arc<[Finding]>,
    /// What keys have spent, if there are budgets. The same in all generations.
    pub(super) spent: Option<Spent>,
    /// Conversations that are kept. The same in all generations.
    pub(super) threads: Option<Threads>,
}

impl Shared {
    /// What a new configuration makes of it.
    pub(super) fn reloaded(&self, config: Arc<Config>, findings: Arc<[Finding]>) -> Result<Self, TlsError> {
        let transports = Transports::new(config.providers(), Some(&self.transports))?;
        let web = web::Setup::new(&config, &transports, self.web.as_ref())?;
        if let (Some(certificate), Some(identity)) = (&self.certificate, &config.tls) {
            certificate.replace(identity);
        }
        self.desk.heed(&config);
        Ok(Self {
            findings,
            transports,
            web,
            keys: Keys::new(&config, &self.metrics, self.spent.as_ref()),
            gate: self.gate.with_limit(config.max_concurrent_requests),
            config,
            ..self.clone()
        })
    }
}

/// What one thread has of one configuration: awc is not `Send`, so each has connections of its
/// own.
pub(super) struct Worker {
    shared: Shared,
    pub(super) meters: Meters,
    /// The number of its configuration.
    pub(super) generation: u64,
    /// Where the newest is found.
    pub(super) current: Current,
    pub(super) ids: Ids,
    pub(super) scratch: RefCell<Scratch>,
    pub(super) known: RefCell<KnownTools>,
    pub(super) upstreams: Upstreams,
    /// Carries out web tools; none: they are not configured.
    pub(super) web: Option<Web>,
}

/// What all threads share is read as the worker's own.
impl Deref for Worker {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Worker {
    /// Requests may have to be changed before they are converted.
    pub(super) fn adapts(&self) -> bool {
        let extras = &self.config.extras;
        extras.vision_model.is_some() || extras.pdf_text
    }

    /// For the record of a request that has come; none: there is no dashboard.
    pub(super) fn live(&self) -> Option<Live> {
        self.config.dashboard.then(|| self.desk.activity.begin(self.config.dashboard_content))
    }

    /// How much of an answer's text is kept for the log and the dashboard, in characters.
    pub(super) fn preview_chars(&self) -> usize {
        let log = self.config.log_stream_text_preview_chars;
        if self.config.dashboard_content { log.max(PREVIEW) } else { log }
    }

    /// The newest of `current`. `before`: the worker that this one follows.
    pub(super) fn new(current: Current, before: Option<&Self>) -> Self {
        let (generation, shared) = current.get();
        Self {
            current,
            upstreams: Upstreams::new(&shared, before.map(|b| &b.upstreams)),
            web: shared.web.as_ref().map(Web::new),
            meters: Meters::new(&shared.config, &shared.metrics),
            generation,
            ids: Ids::default(),
            scratch: RefCell::default(),
            known: RefCell::default(),
            shared,
        }
    }
}

/// Answers every request. Whatever happens, the answer has a `request-id`, and a panic costs
/// this request alone: actix would close the connection without a word.
pub(super) async fn answer(worker: Rc<Worker>, request: HttpRequest, payload: Payload) -> HttpResponse {
    let answering = request.conn_data::<Rc<Talk>>().map(|talk| talk.answer(request.headers()));
    let id = worker.ids.request_id();
    let (path, doubled) = tidy(request.uri().path());
    if doubled {
        warn_doubled();
    }
    let routed = AssertUnwindSafe(route(&worker, &request, &path, payload, &id)).catch_unwind().await;
    let mut answer = match routed {
        Ok(Ok(answer)) => answer,
        Ok(Err(refusal)) => refusal.answer(&id),
        Err(_) => {
            worker.metrics.panicked();
            // What it said itself stands before this, without the id.
            tracing::error!(request_id = %id, "the request ended in a panic");
            let error = ApiError::new(500, ErrorKind::Api, "internal error: please report it");
            Refusal::from(error).answer(&id)
        }
    };
    worker.metrics.responded(endpoint(&path), answer.status().as_u16());
    // Its client is to go elsewhere next time.
    if worker.drain.is_draining() {
        answer.head_mut().set_connection_type(ConnectionType::Close);
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        answer.headers_mut().insert(REQUEST_ID, id);
    }
    match answering {
        Some(answering) => answer.map_body(|_, body| answering.through(body)),
        None => answer,
    }
}

async fn route(
    worker: &Rc<Worker>,
    request: &HttpRequest,
    path: &str,
    payload: Payload,
    id: &str,
) -> Result<HttpResponse, Refusal> {
    #[cfg(test)]
    super::tests::trip(request.uri().path().as_bytes());
    let inbound = if path == "/v1" || path.starts_with("/v1/") || path == "/metrics" {
        let checked = worker.keys.check(request.headers());
        checked.inspect_err(|_| worker.failures.note(request.peer_addr()))?
    } else {
        &Inbound::default()
    };
    let method = request.method();
    let get = method == Method::GET || method == Method::HEAD;
    let post = method == Method::POST;
    match path {
        "/v1/messages" if post => messages::messages(worker, request, payload, id, inbound).await,
        "/v1/messages/count_tokens" if post => {
            count_tokens::count(worker, request, payload, id, inbound).await
        }
        "/v1/messages" | "/v1/messages/count_tokens" => Err(not_allowed(method, path, "POST")),
        "/v1/models" if get => {
            let query = request.uri().query().unwrap_or_default();
            Ok(json(models::list(&worker.config, inbound, query)?))
        }
        "/" | "/status" | "/health" | "/api/hello" if get => Ok(probe::health()),
        "/ready" if get => Ok(probe::ready(worker)),
        "/metrics" if get => Ok(probe::metrics(worker)),
        "/dashboard" => dashboard::answer(worker, request, path, payload).await,
        path if path.starts_with("/dashboard/") => dashboard::answer(worker, request, path, payload).await,
        "/v1/models" | "/" | "/status" | "/health" | "/api/hello" | "/ready" | "/metrics" => {
            Err(not_allowed(method, path, "GET, HEAD"))
        }
        other => match other.strip_prefix("/v1/models/") {
            Some(model) if get => Ok(json(models::one(&worker.config, inbound, model)?)),
            Some(_) => Err(not_allowed(method, path, "GET, HEAD")),
            None => Err(not_found(other)),
        },
    }
}

/// What the answer is counted as; one of [`names::ENDPOINTS`].
///
/// [`names::ENDPOINTS`]: crate::observe::metrics::names::ENDPOINTS
fn endpoint(path: &str) -> &'static str {
    match path {
        "/v1/messages" => "messages",
        "/v1/messages/count_tokens" => "count_tokens",
        "/" | "/status" | "/health" | "/api/hello" => "health",
        "/ready" => "ready",
        "/metrics" => "metrics",
        path if path == "/dashboard" || path.starts_with("/dashboard/") => "dashboard",
        path if path == "/v1/models" || path.starts_with("/v1/models/") => "models",
        _ => "other",
    }
}

/// Once in the log, not once a request.
fn warn_doubled() {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            "a client asks for /v1/v1/...: its base URL ends in /v1 and should not; answered all the same"
        );
    });
}

/// The path without doubled or trailing slashes, and whether it began with `/v1` twice: the
/// commonest mistake is a base URL that ends in `/v1`.
fn tidy(path: &str) -> (Cow<'_, str>, bool) {
    let mut path = Cow::Borrowed(path);
    if path.contains("//") || (path.len() > 1 && path.ends_with('/')) {
        let mut clean = String::with_capacity(path.len());
        for part in path.split('/').filter(|part| !part.is_empty()) {
            clean.push('/');
            clean.push_str(part);
        }
        if clean.is_empty() {
            clean.push('/');
        }
        path = Cow::Owned(clean);
    }
    let doubled = path.starts_with("/v1/v1/") || path == "/v1/v1";
    while path.starts_with("/v1/v1/") || path == "/v1/v1" {
        path = Cow::Owned(path.chars().skip("/v1".len()).collect());
    }
    (path, doubled)
}

/// There is nothing at this path.
pub(super) fn not_found(path: &str) -> Refusal {
    let path: String = path.chars().take(200).collect();
    ApiError::new(404, ErrorKind::NotFound, format!("there is nothing at {path}")).into()
}

/// The method is not one for this path.
pub(super) fn not_allowed(method: &Method, path: &str, allow: &'static str) -> Refusal {
    let method: String = method.as_str().chars().take(20).collect();
    let path: String = path.chars().take(200).collect();
    let message = format!("{method} is not allowed for {path}; allowed: {allow}");
    Refusal::from(ApiError::new(405, ErrorKind::InvalidRequest, message))
        .with(ALLOW, Some(HeaderValue::from_static(allow)))
}

#[cfg(test)]
mod tests {
    use super::{endpoint, tidy};
    use crate::observe::metrics::names;

    #[test]
    fn paths_from_outside_are_no_labels() {
        for (path, want) in [
            ("/v1/messages", "messages"),
            ("/v1/messages/count_tokens", "count_tokens"),
            ("/v1/models", "models"),
            ("/v1/models/whatever", "models"),
            ("/", "health"),
            ("/ready", "ready"),
            ("/metrics", "metrics"),
            ("/dashboard", "dashboard"),
            ("/dashboard/events", "dashboard"),
            ("/dashboards", "other"),
            ("/v1/modelsx", "other"),
            ("/wp-login.php", "other"),
        ] {
            assert_eq!(endpoint(path), want, "{path}");
            assert!(names::ENDPOINTS.contains(&want));
        }
    }

    #[test]
    fn slashes_and_doubled_versions_do_no_harm() {
        for (path, want, doubled) in [
            ("/v1/messages", "/v1/messages", false),
            ("//v1//messages/", "/v1/messages", false),
            ("/", "/", false),
            ("//", "/", false),
            ("/v1/v1/messages", "/v1/messages", true),
            ("/v1/v1/v1/models/", "/v1/models", true),
            ("/v1/models/a%2Fb", "/v1/models/a%2Fb", false),
        ] {
            assert_eq!(tidy(path), (want.into(), doubled), "{path}");
        }
    }
}
