//! One attempt: a converted request to one provider with one key.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::http::header::{HeaderValue, RETRY_AFTER};
use bytes::Bytes;
use tokio::time::Instant;

use super::app::Worker;
use super::reply::{PROVIDER, RETRY_AFTER_MS, Refusal};
use super::source::{Opened, Source};
use super::whole;
use crate::config::Model;
use crate::convert::{self, Converted, ReplyContext, WholeAnswer};
use crate::observe::capture::meta::{Meta, Spec, Upstream};
use crate::observe::metrics::{Attempt, FaultStage};
use crate::observe::{Record, log};
use crate::upstream::retry::{Sign, What};
use crate::upstream::{Answer, Endpoint, Limits, Stage};
use crate::wire::anthropic::{ApiError, Request};

/// Longest error body that is read, in bytes.
const MAX_ERROR: usize = 1 << 20;

/// A request as one model gets it: made once, asked as often as keys and second attempts allow.
pub(super) struct Call {
    pub(super) model: Arc<Model>,
    body: Bytes,
    reply: ReplyContext,
    upstream_streams: bool,
    client_streams: bool,
}

/// What a converted request leads to.
pub(super) enum Prepared {
    /// An upstream is asked.
    Call(Call),
    /// `max_tokens: 0`: nobody is.
    Local(Converted),
}

/// What the client asked for can be answered: from here on nothing is tried again.
pub(super) enum Answered {
    /// All of it.
    Whole(WholeAnswer),
    /// Its first events.
    Stream(Box<Opened>),
}

/// An attempt that failed before anything went to the client.
pub(super) struct Failure {
    /// What the client is told if nothing else helps. Keys are blotted out.
    pub(super) refusal: Refusal,
    /// What it says of the provider, the key and the request.
    pub(super) sign: Sign,
    /// Who was asked.
    pub(super) model: Arc<Model>,
    /// Which attempt at the request it was.
    pub(super) attempt: u32,
}

/// What is the same for every attempt at a request.
pub(super) struct Asking<'r> {
    pub(super) request_id: &'r str,
    /// Source of the ids in the answer.
    pub(super) seed: u64,
}

impl Call {
    /// Converts the request for `model`, and notes in the record that it is its turn.
    pub(super) fn prepare(
        worker: &Worker,
        asking: &Asking<'_>,
        request: &Request<'_>,
        model: &Arc<Model>,
        record: &mut Record,
    ) -> Result<Prepared, ApiError> {
        record.meter = Some(worker.meters.of(model));
        record.provider.clone_from(&model.provider.name);
        record.remote.clone_from(&model.spec.remote_id);
        if let Some(exchange) = &record.capture {
            exchange.describe(|meta| describe(meta, request, model, asking.seed));
        }
        let mut converted = convert::request(request, model.profile, &model.spec)?;
        converted.reply.provider.clone_from(&model.provider.name);
        converted.reply.seed = asking.seed;
        converted.reply.preview_chars = worker.config.log_stream_text_preview_chars;
        record.warnings = converted.losses.tokens().join(", ");
        let max = worker.config.log_body_max_chars;
        let blot = |text: &mut String| model.provider.blot(text);
        log::body(max, asking.request_id, "upstream request", &converted.body, blot);
        if converted.answer_locally {
            return Ok(Prepared::Local(converted));
        }
        let Converted { body, reply, client_streams, upstream_streams, .. } = converted;
        Ok(Prepared::Call(Self {
            model: Arc::clone(model),
            body: body.into(),
            reply,
            upstream_streams,
            client_streams,
        }))
    }
}

/// Asks once, and waits until it is certain that there is an answer: its first event, or all of
/// it. The time for that is counted from `began`.
pub(super) async fn attempt(
    worker: &Rc<Worker>,
    call: &Call,
    endpoint: &Endpoint,
    began: Instant,
    record: &mut Record,
) -> Result<Answered, Failure> {
    if let Some(exchange) = &record.capture {
        exchange.upstream_request(&call.body);
    }
    let failed = |error: ApiError| Failure::new(error, &call.model);
    let answer = ask(worker, call, endpoint, began, record).await?;
    if call.client_streams {
        let provider = &call.model.provider;
        let source = Source::new(worker, provider, &record.request_id, answer, call.reply.clone());
        return source.open().await.map(|opened| Answered::Stream(Box::new(opened))).map_err(failed);
    }
    let whole = whole::read(worker, &call.model.provider, answer, call.reply.clone(), record).await;
    let whole = whole.inspect_err(|_| worker.meters.fault(&call.model.provider, FaultStage::Body));
    whole.map(Answered::Whole).map_err(failed)
}

/// Waits for the head of an answer; its errors in Anthropic's words.
async fn ask(
    worker: &Worker,
    call: &Call,
    endpoint: &Endpoint,
    began: Instant,
    record: &mut Record,
) -> Result<Answer, Failure> {
    let limits = Limits { connect: worker.config.connect_timeout, answer: worker.config.upstream_timeout };
    let asking = worker.meters.asking(&call.model.provider);
    let sent = endpoint.send_since(began, call.body.clone(), call.upstream_streams, limits).await;
    let resent = sent.as_ref().map_or_else(|fault| fault.resent, |answer| answer.retried);
    if resent {
        record.attempts += 1;
        record.retry();
        // The one that was lost on a dead connection.
        worker.meters.asking(&call.model.provider).done(Attempt::Fault(FaultStage::Head));
    }
    asking.done(match &sent {
        Ok(answer) => Attempt::Answered(answer.status),
        Err(fault) => Attempt::Fault(stage(fault.stage)),
    });
    let mut answer = sent.map_err(|fault| {
        let sign = Sign::of_fault(&fault);
        Failure { sign, ..Failure::new(fault.api_error(&endpoint.name), &call.model) }
    })?;
    if let Some(exchange) = &record.capture {
        exchange.upstream_head(Upstream {
            status: answer.status,
            content_type: answer.content_type(),
            retry_after: answer.retry_after().0.and_then(|v| v.to_str().ok().map(str::to_owned)),
            complete: false,
        });
        answer.body.tap(Arc::clone(exchange));
    }
    if answer.status < 400 {
        return Ok(answer);
    }
    Err(refused(answer, call, endpoint, limits).await)
}

fn stage(stage: Stage) -> FaultStage {
    match stage {
        Stage::Connect => FaultStage::Connect,
        Stage::Send => FaultStage::Send,
        Stage::Head => FaultStage::Head,
        Stage::Body => FaultStage::Body,
    }
}

/// Reads an error answer.
async fn refused(answer: Answer, call: &Call, endpoint: &Endpoint, limits: Limits) -> Failure {
    let status = answer.status;
    let (retry_after, retry_after_ms) = answer.retry_after();
    let wait = answer.wait();
    let should_retry = answer.should_retry();
    let until = answer.began + limits.answer;
    let mut body = answer.body;
    let text = if let Some(encoding) = body.encoding() {
        // Its status and its retry-after are still to be told.
        Bytes::from(format!(
            "upstream returned HTTP {status} with a compressed body (content-encoding: {encoding}), which was not asked for"
        ))
    } else {
        let text = body.rest(Bytes::new(), MAX_ERROR, until.max(Instant::now()), limits.answer).await;
        text.unwrap_or_default()
    };
    let mut error = convert::error::error(status, &text, &endpoint.name, Some(&call.reply));
    if should_retry == Some(false) {
        error.should_retry = Some(false);
    }
    let mut failure = Failure::new(error, &call.model);
    failure.sign.retry_after = wait;
    // Never invented, and only where clients try again: a 408 becomes a 504, and SDKs retry a 409.
    if matches!(status, 408 | 409 | 429) || status >= 500 {
        failure.refusal = failure.refusal.with(RETRY_AFTER, retry_after).with(RETRY_AFTER_MS, retry_after_ms);
    }
    failure
}

impl Failure {
    /// What an upstream says of a key may have the key in it.
    pub(super) fn new(mut error: ApiError, model: &Arc<Model>) -> Self {
        model.provider.blot(&mut error.message);
        let sign = Sign::of_error(&error);
        Self { sign, refusal: error.into(), model: Arc::clone(model), attempt: 0 }
    }

    /// The configuration makes a request that cannot be sent.
    pub(super) fn unsendable(error: ApiError, model: &Arc<Model>) -> Self {
        let failure = Self::new(error, model);
        Self { sign: Sign { what: What::Unsendable, ..failure.sign }, ..failure }
    }

    /// With what the loop knows of it: the name of the provider, and which attempt it was.
    pub(super) fn known_as(mut self, name: Option<HeaderValue>, attempt: u32) -> Self {
        self.attempt = attempt;
        self.refusal = self.refusal.with(PROVIDER, name);
        self
    }
}

/// For the capture: who is asked, and with which settings.
fn describe(meta: &mut Meta, request: &Request<'_>, model: &Model, seed: u64) {
    let spec = &model.spec;
    meta.model = request.model.chars().take(128).collect();
    meta.model_id = Some(model.id.clone());
    meta.provider.clone_from(&model.provider.name);
    // A query may hold a key.
    model.provider.completions_url.split('?').next().unwrap_or_default().clone_into(&mut meta.url);
    meta.profile.clone_from(&model.profile.name);
    meta.spec = Spec {
        remote_id: spec.remote_id.clone(),
        max_output_tokens: spec.max_output_tokens,
        context_window: spec.context_window,
        vision: spec.vision,
        tools: spec.tools,
        reasoning: spec.reasoning,
        extra_body: spec.extra_body.clone(),
        drop_params: spec.drop_params.clone(),
    };
    meta.seed = seed;
    meta.stream = request.stream;
}
