//! `/dashboard`: what runs and what ran, for a person with a browser.
//!
//! One page without anything from elsewhere, its state as JSON, and the changes of that state as
//! server-sent events. Where the proxy has a key, the page has it too: in a header, or, since
//! browsers set none when they load a page, by a session ([`sessions`]).

mod content;
mod door;
mod events;
mod page;
mod sessions;
mod view;

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};

pub(super) use content::{answered, question, text_of};

use super::app::{Worker, not_allowed, not_found};
use super::reply::Refusal;
use crate::config::Config;
use crate::observe::Activity;
use crate::wire::anthropic::{ApiError, ErrorKind};
use sessions::Sessions;
use view::View;

/// Pages that may follow the events at once: each costs a look at everything every second.
const VIEWERS: usize = 16;

/// The lines that point a client at the proxy, for each shell: given the configuration and the
/// address by which the page was asked for. They never hold a key.
pub type Setup = Box<dyn Fn(&Config, &str) -> Vec<(&'static str, Vec<String>)> + Send + Sync>;

/// What the dashboard has of its own; one for the process.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) activity: Arc<Activity>,
    sessions: Sessions,
    viewers: AtomicUsize,
    setup: OnceLock<Setup>,
}

impl Desk {
    /// From now on the page has these lines.
    pub(super) fn set_up(&self, setup: Setup) {
        // Set once, before the server runs.
        drop(self.setup.set(setup));
    }

    /// Another configuration counts: what it does not want to be known is forgotten.
    pub(super) fn heed(&self, config: &Config) {
        self.activity.keep_content(config.dashboard_content);
        if !config.dashboard {
            self.activity.forget();
        }
    }
}

/// A page that follows the events, until this is dropped.
struct Viewer(Arc<Desk>);

impl Viewer {
    fn enter(desk: &Arc<Desk>) -> Result<Self, Refusal> {
        let before = desk.viewers.fetch_add(1, Ordering::AcqRel);
        let viewer = Self(Arc::clone(desk));
        if before < VIEWERS {
            return Ok(viewer);
        }
        let message = format!("{VIEWERS} dashboards are open already; close one");
        let refusal = Refusal::from(ApiError::new(503, ErrorKind::Overloaded, message));
        Err(refusal.with(RETRY_AFTER, Some(HeaderValue::from_static("10"))))
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.viewers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Answers a request for `/dashboard` or what is below it.
pub(super) async fn answer(
    worker: &Rc<Worker>,
    request: &HttpRequest,
    path: &str,
    payload: Payload,
) -> Result<HttpResponse, Refusal> {
    if !worker.config.dashboard {
        return Err(not_found(path));
    }
    let method = request.method();
    let get = method == Method::GET || method == Method::HEAD;
    let post = method == Method::POST;
    let answer = match path {
        "/dashboard" if get => match door::check(worker, request)? {
            Some(guest) => Ok(page::page(&guest)),
            None => Ok(page::sign_in(false)),
        },
        "/dashboard" if post => door::sign_in(worker, request, payload).await,
        "/dashboard" => Err(not_allowed(method, path, "GET, HEAD, POST")),
        "/dashboard/sign-out" if post => door::sign_out(worker, request),
        "/dashboard/sign-out" => Err(not_allowed(method, path, "POST")),
        "/dashboard/events" if method == Method::GET => {
            let guest = door::admit(worker, request)?;
            let viewer = Viewer::enter(&worker.desk)?;
            let view = View::new(worker, guest, door::origin(worker, request));
            Ok(events::stream(viewer, view))
        }
        "/dashboard/snapshot.json" if get => {
            let guest = door::admit(worker, request)?;
            let mut view = View::new(worker, guest, door::origin(worker, request));
            let state = view.look().unwrap_or_default();
            Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/json")).body(state))
        }
        "/dashboard/events" => Err(not_allowed(method, path, "GET")),
        "/dashboard/snapshot.json" => Err(not_allowed(method, path, "GET, HEAD")),
        _ => Err(not_found(path)),
    };
    answer.map(sealed)
}

/// What every answer of the dashboard says to a browser.
fn sealed(mut answer: HttpResponse) -> HttpResponse {
    let headers = answer.headers_mut();
    for (name, value) in page::HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    answer
}
