//! `POST /v1/messages`.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use tokio::time::Instant;

use super::admit::Permit;
use super::app::Worker;
use super::pump::{Pump, note};
use super::reply::{RETRY_AFTER_MS, Refusal, WARNINGS, json};
use super::{intake, models, whole};
use crate::config::Model;
use crate::convert::{self, Converted, ReplyContext, StreamTranslator, WholeAnswer};
use crate::observe::capture::meta::{Meta, Spec, Upstream};
use crate::observe::{Exchange, Outcome, Record, log};
use crate::upstream::{Answer, Endpoint, Limits};
use crate::wire::anthropic::Request;

/// Longest error body that is read, in bytes.
const MAX_ERROR: usize = 1 << 20;

/// Answers one request; its line is in the log when the answer has been sent, or its client
/// has left.
pub(super) async fn messages(
    worker: &Rc<Worker>,
    request: &HttpRequest,
    payload: Payload,
    request_id: &str,
) -> Result<HttpResponse, Refusal> {
    let mut record = Record::new(request_id.to_owned());
    let noted = |refusal: Refusal, record: &mut Record| {
        refusal.note(record);
        refusal
    };
    worker.gate.has_room().map_err(|r| noted(r, &mut record))?;
    let (permit, model, converted) =
        prepare(worker, request, payload, &mut record).await.map_err(|r| noted(r, &mut record))?;
    if converted.answer_locally {
        return Ok(local(converted, record));
    }
    let Converted { body, reply, client_streams, upstream_streams, .. } = converted;
    let body = Bytes::from(body);
    if let Some(exchange) = &record.capture {
        exchange.upstream_request(&body);
    }
    let warnings = HeaderValue::from_str(&record.warnings).ok().filter(|v| !v.is_empty());
    let endpoint = worker.endpoint(&model.provider).map_err(|e| noted(e.into(), &mut record))?;
    let exchange = record.capture.clone();
    let asked = ask(worker, endpoint, body, upstream_streams, &reply, exchange);
    // What an upstream says of a key may have the key in it.
    let told = |mut refusal: Refusal, record: &mut Record| {
        model.provider.blot(&mut refusal.error.message);
        noted(refusal, record)
    };
    if client_streams {
        let answer = worker
            .drain
            .bound(asked)
            .await
            .unwrap_or_else(|e| Err(e.into()))
            .map_err(|r| told(r, &mut record))?;
        let pump = Pump::new(Rc::clone(worker), Arc::clone(&model), answer, reply, record, permit);
        let pump = pump.open().await?;
        let mut answer = stream_head();
        if let Some(warnings) = warnings {
            answer.insert_header((WARNINGS, warnings));
        }
        return Ok(answer.body(pump));
    }
    let context = reply.clone();
    let work = async {
        let answer = asked.await?;
        whole::read(worker, &model.provider, answer, context, &mut record).await.map_err(Refusal::from)
    };
    let result = worker.drain.bound(work).await.unwrap_or_else(|e| Err(e.into()));
    let answer = result.map_err(|r| told(r, &mut record))?;
    drop(permit);
    Ok(whole_answer(answer, &mut record))
}

/// Reads, admits, checks, routes and converts the request. Its body is gone when this returns.
async fn prepare(
    worker: &Worker,
    request: &HttpRequest,
    payload: Payload,
    record: &mut Record,
) -> Result<(Permit, Arc<Model>, Converted), Refusal> {
    let config = &worker.config;
    let bytes = intake::read(request, payload, config, &worker.unfinished).await?;
    let permit = worker.gate.admit()?;
    if let Some(capture) = &worker.capture {
        record.capture = capture.open(&record.request_id);
    }
    if let Some(exchange) = &record.capture {
        exchange.client_request(&bytes);
    }
    let request = Request::parse(&bytes)?;
    record.model = request.model.chars().take(128).collect();
    record.stream = request.stream;
    let model = config.route(&request.model).ok_or_else(|| models::unknown(config, &request.model))?;
    record.provider.clone_from(&model.provider.name);
    record.remote.clone_from(&model.spec.remote_id);
    let seed = worker.ids.random();
    if let Some(exchange) = &record.capture {
        exchange.describe(|meta| describe(meta, &request, model, seed));
    }
    let mut converted = convert::request(&request, model.profile, &model.spec)?;
    converted.reply.provider.clone_from(&model.provider.name);
    converted.reply.seed = seed;
    converted.reply.preview_chars = config.log_stream_text_preview_chars;
    record.warnings = converted.losses.tokens().join(", ");
    let blot = |text: &mut String| model.provider.blot(text);
    log::body(config.log_body_max_chars, &record.request_id, "upstream request", &converted.body, blot);
    Ok((permit, Arc::clone(model), converted))
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

/// Asks the upstream; its errors in Anthropic's words.
async fn ask(
    worker: &Worker,
    endpoint: &Endpoint,
    body: Bytes,
    stream: bool,
    context: &ReplyContext,
    exchange: Option<Arc<Exchange>>,
) -> Result<Answer, Refusal> {
    let limits = Limits { connect: worker.config.connect_timeout, answer: worker.config.upstream_timeout };
    let mut answer = endpoint.send(body, stream, limits).await.map_err(|f| f.api_error(&endpoint.name))?;
    if let Some(exchange) = exchange {
        exchange.upstream_head(Upstream {
            status: answer.status,
            content_type: answer.content_type(),
            retry_after: answer.retry_after().0.and_then(|v| v.to_str().ok().map(str::to_owned)),
            complete: false,
        });
        answer.body.tap(exchange);
    }
    if answer.status < 400 {
        return Ok(answer);
    }
    let status = answer.status;
    let (retry_after, retry_after_ms) = answer.retry_after();
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
    let error = convert::error::error(status, &text, &endpoint.name, Some(context));
    // Never invented, and only where clients try again: a 408 becomes a 504, and SDKs retry a 409.
    if matches!(status, 408 | 409 | 429) || status >= 500 {
        return Err(Refusal::from(error).with(RETRY_AFTER, retry_after).with(RETRY_AFTER_MS, retry_after_ms));
    }
    Err(error.into())
}

fn stream_head() -> actix_web::HttpResponseBuilder {
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header((CONTENT_TYPE, "text/event-stream; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-cache"));
    answer
}

fn whole_answer(answer: WholeAnswer, record: &mut Record) -> HttpResponse {
    note(record, &answer.summary);
    record.mark_first_byte();
    record.status = 200;
    record.outcome = Outcome::Done;
    if let Some(exchange) = &record.capture {
        exchange.client_piece(&Bytes::copy_from_slice(&answer.body));
    }
    let mut response = json(answer.body);
    if let Ok(warnings) = HeaderValue::from_str(&record.warnings)
        && !warnings.is_empty()
    {
        response.headers_mut().insert(WARNINGS, warnings);
    }
    response
}

/// `max_tokens: 0`: an empty answer of our own.
fn local(converted: Converted, mut record: Record) -> HttpResponse {
    if !converted.client_streams {
        return whole_answer(convert::response::empty(converted.reply), &mut record);
    }
    let mut out = Vec::new();
    let mut translator = StreamTranslator::new(converted.reply);
    translator.finish_empty(&mut out);
    note(&mut record, &translator.summary());
    record.status = 200;
    record.outcome = Outcome::Done;
    let out = Bytes::from(out);
    if let Some(exchange) = &record.capture {
        exchange.client_piece(&out);
    }
    stream_head().body(out)
}
