//! Sending a request and waiting for the head of its answer.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use actix_web::http::header::HttpDate;
use awc::http::Method;
use awc::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, SERVER};
use awc::{ClientResponse, FrozenClientRequest};
use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::Body;
use super::client::{Client, Endpoint};
use super::crossing::Crossing;
use super::dial::{PROGRESS, Progress};
use super::fault::{Cause, Fault, ProxyFault, Retry, Stage};
use crate::config::{Provider, Secret};
use crate::observe::trace::{Hop, TRACEPARENT, TRACESTATE};

/// `retry-after` in milliseconds.
pub const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// How long an exchange may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Resolve, TCP, a proxy's tunnel and TLS together.
    pub connect: Duration,
    /// From the start until the answer's head, every attempt included.
    pub answer: Duration,
}

/// The head of an answer; its body is still to be read.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The rest.
    pub body: Body,
    /// When the exchange began: clocks that include the waiting start here.
    pub began: Instant,
    /// When the host name was resolved; none for a pooled connection.
    pub resolved: Option<Instant>,
    /// When TCP was connected, through the proxy if there is one; none for a pooled connection.
    pub opened: Option<Instant>,
    /// When the connection was ready and the request left. From [`Answer::opened`] until then
    /// it was TLS. None for a pooled connection and a request without a body.
    pub connected: Option<Instant>,
    /// The connection came from the pool.
    pub reused: bool,
    /// A pooled connection had died and the request was sent a second time.
    pub retried: bool,
}

impl Answer {
    /// `content-type`, lower case, without its parameters.
    pub fn content_type(&self) -> String {
        let value = self.body.header(&CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// `server`: what it says of itself.
    pub fn server(&self) -> Option<&str> {
        self.body.header(&SERVER)?.to_str().ok()
    }

    /// How long the upstream asks to wait: `retry-after-ms`, else `retry-after`, which is a
    /// number of seconds or a date.
    pub fn wait(&self) -> Option<Duration> {
        let (seconds, millis) = self.retry_after();
        wait(seconds.as_ref(), millis.as_ref(), SystemTime::now())
    }

    /// `x-should-retry`, if it is one of the two words.
    pub fn should_retry(&self) -> Option<bool> {
        const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
        self.body.header(&SHOULD_RETRY)?.to_str().ok()?.trim().parse().ok()
    }

    /// `retry-after` and `retry-after-ms`, as the upstream wrote them.
    pub fn retry_after(&self) -> (Option<HeaderValue>, Option<HeaderValue>) {
        let of = |name| self.body.header(name).filter(|v| says_when(v)).cloned();
        (of(&RETRY_AFTER), of(&RETRY_AFTER_MS))
    }
}

/// A wait, read at `now`. A date that has passed is no wait.
fn wait(seconds: Option<&HeaderValue>, millis: Option<&HeaderValue>, now: SystemTime) -> Option<Duration> {
    let text = |value: Option<&HeaderValue>| value?.to_str().ok().map(|v| v.trim().to_owned());
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| *n >= 0.0);
    if let Some(ms) = text(millis).and_then(|t| number(&t)) {
        return Duration::try_from_secs_f64(ms / 1000.0).ok();
    }
    let text = text(seconds)?;
    if let Some(seconds) = number(&text) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date: SystemTime = text.parse::<HttpDate>().ok()?.into();
    Some(date.duration_since(now).unwrap_or_default())
}

/// A number or a date, as RFC 9110, 10.2.3 has it: nothing else of an upstream's reaches a client
/// in a header.
pub(super) fn says_when(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let is_number =
        text.len() <= 20 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    is_number || text.parse::<HttpDate>().is_ok()
}

impl Endpoint {
    /// Sends a Chat Completions request and waits for the head of the answer.
    ///
    /// Dropping the future cancels the exchange: the connection is closed at once. A pooled
    /// connection that was closed unanswered costs one more attempt with the same bytes.
    ///
    /// # Errors
    /// Whatever keeps the head from coming; also redirects and compressed answers.
    pub async fn send(&self, body: Bytes, stream: bool, limits: Limits) -> Result<Answer, Fault> {
        self.send_since(Instant::now(), body, stream, None, limits).await
    }

    /// As [`Endpoint::send`]; the time until the answer is counted from `began`. `hop`: as part of
    /// a trace.
    ///
    /// # Errors
    /// As [`Endpoint::send`].
    pub async fn send_since(
        &self,
        began: Instant,
        body: Bytes,
        stream: bool,
        hop: Option<&Hop>,
        limits: Limits,
    ) -> Result<Answer, Fault> {
        let (first, again) =
            if stream { (&self.stream, &self.stream_again) } else { (&self.whole, &self.whole_again) };
        let headers = hop.map(|hop| trace(hop, HeaderMap::new()));
        exchange([first, again], headers.as_ref(), &self.name, body, began, limits).await
    }

    /// Sends a Messages request that passes through, with what else crosses of the client's; else
    /// as [`Endpoint::send_since`].
    ///
    /// # Errors
    /// As [`Endpoint::send`].
    pub async fn pass(
        &self,
        began: Instant,
        body: Bytes,
        stream: bool,
        crossing: &Crossing,
        hop: Option<&Hop>,
        limits: Limits,
    ) -> Result<Answer, Fault> {
        let ready = self.beta.as_deref().filter(|_| crossing.beta).unwrap_or(self);
        let (first, again) =
            if stream { (&ready.stream, &ready.stream_again) } else { (&ready.whole, &ready.whole_again) };
        let mut headers = crossing.over(first, self.own_version);
        if let Some(hop) = hop {
            headers = trace(hop, headers);
        }
        exchange([first, again], Some(&headers), &self.name, body, began, limits).await
    }
}

/// With what tells the upstream which trace the request belongs to.
fn trace(hop: &Hop, mut headers: HeaderMap) -> HeaderMap {
    const PARENT: HeaderName = HeaderName::from_static(TRACEPARENT);
    const STATE: HeaderName = HeaderName::from_static(TRACESTATE);
    if let Ok(parent) = HeaderValue::try_from(hop.traceparent()) {
        headers.insert(PARENT, parent);
        if let Some(state) = HeaderValue::from_str(hop.tracestate()).ok().filter(|state| !state.is_empty()) {
            headers.insert(STATE, state);
        }
    }
    headers
}

impl Client {
    /// GETs `url` with the provider's first key and its headers and waits for the head of the answer.
    ///
    /// # Errors
    /// As [`Endpoint::send`].
    pub async fn get(&self, provider: &Provider, url: &str, limits: Limits) -> Result<Answer, Fault> {
        self.get_with(provider, provider.first_key(), url, limits).await
    }

    /// As [`Client::get`], with a certain key.
    ///
    /// # Errors
    /// As [`Endpoint::send`].
    pub async fn get_with(
        &self,
        provider: &Provider,
        key: &Secret,
        url: &str,
        limits: Limits,
    ) -> Result<Answer, Fault> {
        let request = self.freeze(provider, key, Method::GET, url, "application/json")?;
        exchange([&request, &request], None, &provider.name, Bytes::new(), Instant::now(), limits).await
    }
}

/// `again` is asked when `first` went out on a pooled connection that had closed.
async fn exchange(
    [first, again]: [&FrozenClientRequest; 2],
    extra: Option<&HeaderMap>,
    name: &str,
    body: Bytes,
    began: Instant,
    limits: Limits,
) -> Result<Answer, Fault> {
    let mut retried = false;
    loop {
        let progress = Rc::new(Progress { body: Cell::new(body.clone()), ..Progress::default() });
        let request = if retried { again } else { first };
        match attempt(request, extra, &progress, began, limits).await {
            Ok(response) => return accept(answered(response, &progress, began, retried)),
            Err(fault) if !retried && fault.retry == Retry::IfReused && !progress.dialled.get() => {
                tracing::debug!(provider = %name, %fault, "a pooled connection had closed: sent again");
                retried = true;
            }
            Err(fault) => return Err(Fault { resent: retried, ..fault }),
        }
    }
}

pub(super) fn answered(
    response: ClientResponse,
    progress: &Progress,
    began: Instant,
    retried: bool,
) -> Answer {
    Answer {
        status: response.status().as_u16(),
        body: Body::new(response, progress.line.take()),
        began,
        resolved: progress.resolved.get(),
        opened: progress.opened.get(),
        connected: progress.connected.get(),
        reused: !progress.dialled.get(),
        retried,
    }
}

/// Refuses answers that are none yet.
pub(super) fn is_final(answer: Answer) -> Result<Answer, Fault> {
    if answer.status < 200 {
        return Err(Fault::new(Stage::Head, Cause::NotHttp(format!("an interim status, {}", answer.status))));
    }
    Ok(answer)
}

/// Refuses answers that must not be read.
fn accept(answer: Answer) -> Result<Answer, Fault> {
    let answer = is_final(answer)?;
    if (300..400).contains(&answer.status) {
        return Err(Fault::new(Stage::Head, Cause::Redirect(answer.status)));
    }
    if answer.status < 400
        && let Some(encoding) = answer.body.encoding()
    {
        return Err(Fault::new(Stage::Head, Cause::Encoded(encoding)));
    }
    Ok(answer)
}

pub(super) async fn attempt(
    request: &FrozenClientRequest,
    extra: Option<&HeaderMap>,
    progress: &Rc<Progress>,
    began: Instant,
    limits: Limits,
) -> Result<ClientResponse, Fault> {
    // Without a body, as far as awc knows: see `framing`.
    let none = actix_web::body::None::new();
    let send = match extra {
        Some(headers) => request.extra_headers(headers.clone()).send_body(none),
        None => request.send_body(none),
    };
    // Unconstrained: awc probes pooled sockets by polling them, and takes the `Pending` that
    // tokio's cooperative budget answers after about 128 polls for "alive". With some hundred
    // dead connections in the pool it would hand these out.
    let mut send = pin!(tokio::task::unconstrained(PROGRESS.scope(Rc::clone(progress), send)));
    let connect_by = Instant::now() + limits.connect;
    let answer_by = began + limits.answer;
    let mut clock = pin!(sleep_until(connect_by.min(answer_by)));
    poll_fn(|cx| {
        if let Poll::Ready(result) = send.as_mut().poll(cx) {
            return Poll::Ready(result.map_err(|e| with_limits(Fault::from(e), progress, limits)));
        }
        while clock.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now >= answer_by {
                return Poll::Ready(Err(Fault::new(Stage::Head, Cause::Timeout(limits.answer))));
            }
            if progress.dialled.get() && progress.connected.get().is_none() && now >= connect_by {
                return Poll::Ready(Err(late(progress, limits)));
            }
            clock.as_mut().reset(answer_by);
        }
        Poll::Pending
    })
    .await
}

/// There is no connection yet, and [`Limits::connect`] has passed.
fn late(progress: &Progress, limits: Limits) -> Fault {
    let cause = match &*progress.asked.borrow() {
        Some(proxy) => Cause::Proxy { proxy: proxy.to_string(), fault: ProxyFault::Silent(limits.connect) },
        None => Cause::ConnectTimeout(limits.connect),
    };
    Fault::new(Stage::Connect, cause)
}

/// awc does not say which limit it was that ran out.
fn with_limits(mut fault: Fault, progress: &Progress, limits: Limits) -> Fault {
    match &mut fault.cause {
        Cause::ConnectTimeout(_) => return late(progress, limits),
        Cause::Timeout(d) => *d = limits.answer,
        _ => {}
    }
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_wait_is_a_number_or_a_date() {
        for (value, says) in [
            ("7", true),
            ("0.5", true),
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("", false),
            ("-1", false),
            ("soon", false),
            ("123456789012345678901", false),
            ("7\t", false),
        ] {
            assert_eq!(says_when(&HeaderValue::from_static(value)), says, "{value}");
        }
    }
}
