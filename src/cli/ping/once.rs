//! One real request to a model, as `serve` would send it.

use actix_web::rt::System;

use super::ask::{MAX_ANSWER, Reply, Times, post};
use super::hint::{self, Hint};
use crate::config::{Api, Model};
use crate::convert::{self, ReplyContext, Summary, UpstreamEnd, WholeTranslator};
use crate::upstream::{Client, Fault, Limits, Transports};
use crate::wire::anthropic::{ApiError, Request};
use crate::wire::sse::SseDecoder;

/// How one request went.
#[derive(Debug)]
pub(in crate::cli) struct Once {
    /// HTTP status of the upstream; none: it did not answer.
    pub status: Option<u16>,
    /// None: it did not answer.
    pub times: Option<Times>,
    /// None: it failed, or the upstream told none.
    pub tokens: Option<Tokens>,
    /// What went wrong.
    pub failure: Option<Failure>,
    /// The answer as it came, when it was a good one.
    pub(super) reply: Option<Reply>,
}

/// What an exchange cost.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::cli) struct Tokens {
    /// Prompt, cached or not.
    pub input: u64,
    /// Answer, reasoning included.
    pub output: u64,
}

/// Why there is no answer, and what to do.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Failure {
    /// In the upstream's own words where it had any; without keys.
    pub message: String,
    /// What to look at.
    pub hint: Option<Hint>,
}

/// What was refused, for those who look for the reason.
pub(super) struct Refused {
    pub(super) message: String,
    pub(super) fault: Option<Fault>,
    pub(super) reply: Option<Reply>,
}

/// A client for these models, in the current [`System`].
///
/// # Errors
/// The system's certificate store is unusable, and one of them needs it.
pub(in crate::cli) fn client<'m>(
    models: impl IntoIterator<Item = &'m Model>,
    limits: Limits,
) -> anyhow::Result<Client> {
    debug_assert!(System::is_registered(), "awc needs actix's System");
    let transports = Transports::new(models.into_iter().map(|m| &*m.provider), None)?;
    Ok(Client::new(&transports, limits.connect))
}

/// Sends one small request to the model and reads the whole answer. When it fails, it asks the
/// upstream for its model list, or at other paths, if that may tell why.
pub(in crate::cli) async fn whole(client: &Client, model: &Model, limits: Limits) -> Once {
    once(client, model, limits, &Prompt { text: "Reply with one word: pong", max_tokens: 64, stream: false })
        .await
}

/// What is said to the model.
pub(super) struct Prompt {
    pub(super) text: &'static str,
    pub(super) max_tokens: u32,
    pub(super) stream: bool,
}

impl Prompt {
    /// A request of the Messages API that says it to that model.
    pub(super) fn body(&self, model: &str) -> Vec<u8> {
        serde_json::json!({
            "model": model,
            "max_tokens": self.max_tokens,
            "stream": self.stream,
            "messages": [{"role": "user", "content": self.text}],
        })
        .to_string()
        .into_bytes()
    }
}

impl Refused {
    /// There is no answer.
    pub(super) fn unanswered(fault: Fault, provider: &str) -> Self {
        Self { message: fault.api_error(provider).message, fault: Some(fault), reply: None }
    }
}

/// As [`whole`], with a prompt of one's own.
pub(super) async fn once(client: &Client, model: &Model, limits: Limits, prompt: &Prompt) -> Once {
    match exchange(client, model, limits, prompt).await {
        Ok((reply, tokens)) => Once {
            status: Some(reply.status),
            times: Some(reply.times),
            tokens,
            failure: None,
            reply: Some(reply),
        },
        Err(mut refused) => {
            model.provider.blot(&mut refused.message);
            let hint = hint::find(client, model, limits, &refused).await;
            Once {
                status: refused.reply.as_ref().map(|r| r.status),
                times: refused.reply.as_ref().map(|r| r.times),
                tokens: None,
                failure: Some(Failure { message: refused.message, hint }),
                reply: None,
            }
        }
    }
}

/// The request upstream and what is needed to read its answer.
pub(super) fn request(model: &Model, prompt: &Prompt) -> Result<convert::Converted, ApiError> {
    let body = prompt.body(&model.id);
    let mut converted = convert::request(&Request::parse(&body)?, model.profile, &model.spec)?;
    converted.reply.provider.clone_from(&model.provider.name);
    Ok(converted)
}

/// Sends one request and reads the answer.
pub(super) async fn exchange(
    client: &Client,
    model: &Model,
    limits: Limits,
    prompt: &Prompt,
) -> Result<(Reply, Option<Tokens>), Refused> {
    if model.provider.api == Api::Anthropic {
        return super::native::exchange(client, model, limits, prompt).await;
    }
    let name = &model.provider.name;
    let local = |e: ApiError| Refused { message: e.message, fault: None, reply: None };
    let converted = request(model, prompt).map_err(local)?;
    let asked = post(client, &model.provider, converted.body, converted.upstream_streams, limits).await;
    let reply = asked.map_err(|fault| Refused::unanswered(fault, name))?;
    let read = if reply.status >= 400 {
        Err(convert::error::error(reply.status, &reply.body, name, Some(&converted.reply)))
    } else {
        fold(&reply.body, converted.reply)
    };
    judge(reply, read).map_err(|refused| *refused)
}

/// The answer with its tokens, or why it is none.
pub(super) fn judge(
    reply: Reply,
    read: Result<Summary, ApiError>,
) -> Result<(Reply, Option<Tokens>), Box<Refused>> {
    match read {
        Ok(summary) => {
            let usage = summary.usage;
            let input =
                usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
            let tokens = Tokens { input, output: usage.output_tokens };
            Ok((reply, (!summary.usage_estimated).then_some(tokens)))
        }
        Err(error) => Err(Box::new(Refused { message: error.message, fault: None, reply: Some(reply) })),
    }
}

/// What an answer was, whole or a stream of events, as `serve` would read it.
fn fold(body: &[u8], context: ReplyContext) -> Result<Summary, ApiError> {
    if body.trim_ascii_start().starts_with(b"{") {
        return Ok(convert::response(body, context)?.summary);
    }
    let mut fold = WholeTranslator::new(context);
    let mut decoder = SseDecoder::new(MAX_ANSWER);
    decoder.push(body);
    let mut end = UpstreamEnd::Eof;
    while let Some(event) = decoder.last_event() {
        let event = event.map_err(|e| ApiError::bad_gateway(e.to_string()))?;
        if event.data.trim_ascii() == b"[DONE]" {
            end = UpstreamEnd::DoneMarker;
            break;
        }
        fold.push(event.name, event.data)?;
    }
    Ok(fold.finish(end)?.summary)
}
