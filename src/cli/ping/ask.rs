//! One POST to an upstream, with the times of its parts.

use std::time::Duration;

use actix_web::http::header::HeaderValue;
use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::config::Provider;
use crate::upstream::{Cause, Client, Fault, Limits, Stage};
use crate::wire::sse::SseDecoder;

/// Longest answer that is read, in bytes.
pub(super) const MAX_ANSWER: usize = 4 << 20;

/// An answer, whole, whatever its status.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: String,
    /// The `server` header.
    pub(super) server: Option<String>,
    /// How long the upstream asks to wait.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
    pub(super) times: Times,
}

/// How long the parts of one exchange took.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::cli) struct Times {
    /// Host name to address; none if a connection was open already.
    pub resolve: Option<Duration>,
    /// TCP.
    pub connect: Option<Duration>,
    /// The TLS handshake; none without TLS.
    pub tls: Option<Duration>,
    /// From the request, sent on a ready connection, to the head of the answer.
    pub first_byte: Duration,
    /// From there to the first text, reasoning or tool call of a stream.
    pub first_token: Option<Duration>,
    /// From there to the end of the answer.
    pub total: Duration,
}

/// Sends `body` to the provider's Chat Completions and reads the answer to its end.
///
/// A stream is over with `[DONE]`: some servers keep the connection open after it.
pub(super) async fn post(
    client: &Client,
    provider: &Provider,
    body: Vec<u8>,
    stream: bool,
    limits: Limits,
) -> Result<Reply, Fault> {
    let mut answer =
        client.endpoint(provider, provider.first_key())?.send(body.into(), stream, limits).await?;
    let head = Instant::now();
    let sent = answer.connected.unwrap_or(answer.began);
    let https = provider.encrypted();
    let mut times = Times {
        resolve: answer.resolved.map(|at| at - answer.began),
        connect: answer.opened.zip(answer.resolved).map(|(opened, resolved)| opened - resolved),
        tls: answer.opened.zip(answer.connected).filter(|_| https).map(|(opened, ready)| ready - opened),
        first_byte: head - sent,
        ..Times::default()
    };
    let content_type = answer.content_type();
    let server = answer.server().map(str::to_owned);
    let retry_after = retry_after(&answer.retry_after());
    let events = content_type == "text/event-stream";
    let until = answer.began + limits.answer;
    let mut decoder = SseDecoder::new(MAX_ANSWER);
    let mut all = BytesMut::new();
    let reading = async {
        while let Some(bytes) = answer.body.chunk().await {
            let bytes = bytes?;
            if all.len() + bytes.len() > MAX_ANSWER {
                return Err(Fault::new(Stage::Body, Cause::TooLarge(MAX_ANSWER)));
            }
            all.extend_from_slice(&bytes);
            decoder.push(if events { &bytes } else { &[] });
            while let Some(Ok(event)) = decoder.next_event() {
                if event.data.trim_ascii() == b"[DONE]" {
                    return Ok(true);
                }
                if times.first_token.is_none() && has_token(event.data) {
                    times.first_token = Some(Instant::now() - sent);
                }
            }
        }
        Ok(false)
    };
    let read = timeout_at(until, reading).await;
    if read.unwrap_or_else(|_| Err(Fault::new(Stage::Body, Cause::Timeout(limits.answer))))? {
        answer.body.linger();
    }
    times.total = Instant::now() - sent;
    let status = answer.status;
    Ok(Reply { status, content_type, server, retry_after, body: all.freeze(), times })
}

/// Something of the answer itself is in this chunk: not only a role.
fn has_token(data: &[u8]) -> bool {
    let Ok(chunk) = serde_json::from_slice::<Value>(data) else { return false };
    let choices = chunk.get("choices").and_then(Value::as_array);
    choices.into_iter().flatten().filter_map(|c| c.get("delta")?.as_object()).any(|delta| {
        delta.iter().any(|(key, value)| match value {
            Value::String(text) => key != "role" && !text.is_empty(),
            Value::Array(parts) => !parts.is_empty(),
            _ => false,
        })
    })
}

/// A whole number of seconds or milliseconds; a date is too long to wait for.
fn retry_after((seconds, millis): &(Option<HeaderValue>, Option<HeaderValue>)) -> Option<Duration> {
    let number = |value: &Option<HeaderValue>| value.as_ref()?.to_str().ok()?.trim().parse::<f64>().ok();
    let millis = number(millis).map(|ms| ms / 1000.0);
    Duration::try_from_secs_f64(millis.or_else(|| number(seconds))?).ok()
}
