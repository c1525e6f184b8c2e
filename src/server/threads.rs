//! Conversations that are kept here (`threads`): what a request with `thread` stands for, and the
//! turn that is kept before its answer is told to be whole.
//!
//! Only for models whose requests are converted: an upstream that speaks the Messages API has
//! threads of its own. What a fallback of that kind answers is not kept; the next continue is told
//! so, and its client sends the whole conversation. Anthropic's API does the same with what
//! fallback models write.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::http::header::HeaderMap;
use actix_web::web;
use bytes::Bytes;

use super::app::Worker;
use super::auth::Inbound;
use super::models;
use super::work::{Turn, Work};
use crate::config::Api;
use crate::convert::Recorded;
use crate::observe::Metrics;
use crate::store::Written;
use crate::store::threads::{At, History, Inherited, Missing, NewTurn, Owner, Threads};
use crate::wire::anthropic::thread::{BETA, Known, Thread, Threaded};
use crate::wire::anthropic::{ApiError, ErrorKind};

/// A disk that takes longer than this to write a turn is as good as none.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is to be kept of a request once it is answered.
#[derive(Debug)]
pub(super) struct Keeping {
    threads: Threads,
    metrics: Arc<Metrics>,
    request_id: Arc<str>,
    /// Without the answer.
    turn: NewTurn,
}

/// The request with its whole conversation, if it has `thread` and it is for us to keep it.
///
/// # Errors
/// As the API has it: see [`crate::wire::anthropic::thread`].
pub(super) async fn unfold(
    worker: &Worker,
    threads: &Threads,
    bytes: &Bytes,
    request_id: &str,
    inbound: &Inbound,
) -> Result<Option<(Bytes, Keeping)>, ApiError> {
    let previous = {
        let Some(threaded) = Threaded::read(bytes)? else { return Ok(None) };
        let name = &*threaded.model;
        let model =
            worker.config.route(name).ok_or_else(|| models::unknown(&worker.config, inbound, name))?;
        if model.provider.api == Api::Anthropic {
            return Ok(None);
        }
        match threaded.thread {
            Thread::Create => None,
            Thread::Continue(id) => Some(id.into_owned()),
        }
    };
    if threads.is_failing() {
        return Err(unsupported("the database of this proxy cannot be written now"));
    }
    let owner = threads.owner(inbound.digest.as_ref().map(|digest| digest.0.as_slice()));
    let max = worker.config.max_body_bytes;
    let (reading, bytes) = (threads.clone(), bytes.clone());
    let request_id: Arc<str> = request_id.into();
    let id = Arc::clone(&request_id);
    let unfolded = web::block(move || read(&reading, owner, previous.as_deref(), &bytes, (max, &id))).await;
    let unfolded = unfolded.map_err(|_| {
        ApiError::new(500, ErrorKind::Api, "internal error while reading a thread: please report it")
    })?;
    let (whole, turn) = unfolded.inspect_err(|error| {
        if error.kind == ErrorKind::NotFound {
            worker.metrics.thread("not_found");
        }
    })?;
    let (threads, metrics) = (threads.clone(), Arc::clone(&worker.metrics));
    Ok(Some((whole, Keeping { threads, metrics, request_id, turn })))
}

/// The threads that are kept, if the request may be about one.
pub(super) fn asked<'w>(worker: &'w Worker, headers: &HeaderMap) -> Option<&'w Threads> {
    worker.threads.as_ref().filter(|_| has_beta(headers))
}

fn has_beta(headers: &HeaderMap) -> bool {
    headers.get_all("anthropic-beta").any(|value| value.to_str().is_ok_and(|betas| betas.contains(BETA)))
}

/// Reads the disk and copies the conversation.
fn read(
    threads: &Threads,
    owner: Owner,
    previous: Option<&str>,
    bytes: &[u8],
    (max, request_id): (usize, &str),
) -> Result<(Bytes, NewTurn), ApiError> {
    let gone = || ApiError::new(500, ErrorKind::Api, "internal error: the request has changed");
    let threaded = Threaded::read(bytes)?.ok_or_else(gone)?;
    let mut held = 0;
    let (parent, known): (Option<At>, Option<Known>) = match previous {
        None => (None, None),
        Some(id) => {
            let room = max.saturating_sub(bytes.len());
            let history =
                threads.history(owner, id, room).map_err(|missing| told(&missing, max, request_id))?;
            let History { at, inherited: Inherited { system, tools }, messages, thread_bytes } = history;
            held = thread_bytes;
            (Some(at), Some(Known { system, tools, messages }))
        }
    };
    if held.saturating_add(bytes.len() as u64) > threads.limits().max_bytes {
        return Err(unsupported("it is larger than this proxy keeps (config key `threads.max_bytes`)"));
    }
    let whole = threaded.whole(known.as_ref())?;
    let text = |value: Option<crate::wire::json::RawJson<'_>>| value.map(|value| value.text().to_owned());
    let inherited = match parent {
        None => Inherited { system: text(threaded.system), tools: text(threaded.tools) },
        Some(_) => Inherited::default(),
    };
    let turn = NewTurn {
        owner,
        id: String::new(),
        parent,
        inherited,
        messages: threaded.kept_messages().into_owned(),
        content: Vec::new(),
    };
    Ok((whole.into(), turn))
}

fn told(missing: &Missing, max: usize, request_id: &str) -> ApiError {
    match missing {
        Missing::Unknown => {
            let message = "thread: there is no conversation for `previous_message_id`, or not any more; send the full \
                           conversation with `thread: {\"type\": \"create\"}`";
            let mut error = ApiError::new(404, ErrorKind::NotFound, message);
            error.details = Some(r#"{"error_code":"thread_not_found"}"#.to_owned());
            error
        }
        Missing::TooLong(_) => {
            let message =
                format!("the whole conversation is larger than {max} bytes (config key `max_body_bytes`)");
            ApiError::new(413, ErrorKind::RequestTooLarge, message)
        }
        Missing::Store(error) => {
            tracing::error!(request_id, %error, "a thread could not be read");
            unsupported("the conversation could not be read from this proxy's database")
        }
    }
}

/// The SDKs' tool runners go on without threads.
fn unsupported(why: &str) -> ApiError {
    let mut error =
        ApiError::invalid_request(format!("thread: {why}; send the full conversation without `thread`"));
    error.details =
        Some(r#"{"error_code":"thread_unsupported_request","unsupported":["thread"]}"#.to_owned());
    error
}

impl Keeping {
    /// Keeps the turn with its answer.
    ///
    /// # Errors
    /// It is not known to be on disk: the answer must not be told to be whole.
    pub(super) async fn keep(self: Rc<Self>, answer: Option<Recorded>) -> Result<(), ApiError> {
        let kept = match answer {
            Some(Recorded { id, content }) => {
                let written = self.threads.keep(NewTurn { id, content, ..self.turn.clone() });
                on_disk(written).await
            }
            None => Err("the answer was not recorded".to_owned()),
        };
        self.metrics.thread(if kept.is_ok() { "kept" } else { "failed" });
        kept.map_err(|error| {
            tracing::error!(request_id = &*self.request_id, %error, "a turn of a thread could not be kept");
            let mut error = unsupported("the answer could not be kept");
            // Not the client's fault, and a second attempt would cost a second answer.
            (error.status, error.kind, error.should_retry) = (500, ErrorKind::Api, Some(false));
            error
        })
    }
}

async fn on_disk(written: Written) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, written).await {
        Ok(Ok(written)) => written.map_err(|e| e.to_string()),
        Ok(Err(_)) => Err("the thread that writes is gone".to_owned()),
        Err(_) => Err(format!("it took more than {} s", PATIENCE.as_secs())),
    }
}

type Keep = Pin<Box<dyn Future<Output = Result<(), ApiError>>>>;

/// The last work on an answer: keeps its turn.
pub(super) struct Commit {
    keeping: Rc<Keeping>,
    keep: Option<Keep>,
    kept: bool,
}

impl Commit {
    pub(super) fn new(keeping: &Rc<Keeping>) -> Self {
        Self { keeping: Rc::clone(keeping), keep: None, kept: false }
    }
}

impl Work for Commit {
    fn poll(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Poll<Result<(), ApiError>> {
        if self.kept {
            return Poll::Ready(Ok(()));
        }
        if !turn.closing {
            return Poll::Pending;
        }
        let keep = self
            .keep
            .get_or_insert_with(|| Box::pin(Rc::clone(&self.keeping).keep(turn.end.recorded(turn.out))));
        let kept = std::task::ready!(keep.as_mut().poll(cx));
        (self.keep, self.kept) = (None, kept.is_ok());
        Poll::Ready(kept)
    }
}
