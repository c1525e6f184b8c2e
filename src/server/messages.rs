//! `POST /v1/messages`.

use std::cell::OnceCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;

use super::adapt;
use super::admit::Permit;
use super::app::Worker;
use super::attempt::{Answered, Asking, Prepared};
use super::auth::Inbound;
use super::pump::{Pump, note};
use super::reading::Reading;
use super::reply::{PROVIDER, Refusal, WARNINGS, json};
use super::upstreams::{Candidate, Candidates};
use super::{dashboard, failover, intake, models, threads};
use crate::convert::{self, Converted, StreamTranslator, WholeAnswer};
use crate::observe::trace::{TRACEPARENT, TRACESTATE};
use crate::observe::{Outcome, Record, Trace};
use crate::upstream::{Crossing, Spare};

/// On the requests of Claude Code's subagents.
const AGENT: &str = "x-claude-code-agent-id";

/// The session of a request of Claude Code.
const SESSION: &str = "x-claude-code-session-id";

/// Answers one request; its line is in the log when the answer has been sent, or its client
/// has left.
pub(super) async fn messages(
    worker: &Rc<Worker>,
    request: &HttpRequest,
    payload: Payload,
    request_id: &str,
    inbound: &Inbound,
) -> Result<HttpResponse, Refusal> {
    let mut record = Record::new(request_id.to_owned());
    record.key.clone_from(&inbound.name);
    record.payer.clone_from(&inbound.payer);
    record.meter = Some(worker.meters.unknown());
    record.live = worker.live();
    let noted = |refusal: Refusal, record: &mut Record| {
        refusal.note(record);
        refusal
    };
    record.trace = trace(worker, request.headers());
    worker.gate.has_room().map_err(|r| noted(r, &mut record))?;
    let crossing = Crossing::of(request.headers(), request.query_string());
    let delegated = worker.config.extras.safeguards_model.is_some() && request.headers().contains_key(AGENT);
    let asking = Asking {
        request_id,
        seed: worker.ids.random(),
        crossing,
        delegated,
        session: worker.upstreams.session(|| request.headers().get(SESSION)),
        keeping: OnceCell::new(),
        further: None,
    };
    let Ready { permit, candidates, candidate, prepared, bytes } =
        prepare(worker, request, payload, inbound, &asking, &mut record)
            .await
            .map_err(|r| noted(r, &mut record))?;
    let call = match prepared {
        Prepared::Call(call) => call,
        Prepared::Local(converted) => {
            if let Some(keeping) = asking.keeping.get() {
                let empty = convert::response::empty(converted.reply.clone());
                Rc::clone(keeping).keep(empty.recorded).await.map_err(|e| noted(e.into(), &mut record))?;
            }
            return Ok(local(worker, converted, record));
        }
    };
    let result = {
        // Pinned here: a future that is handed on lies in memory twice.
        let asked =
            pin!(failover::answer(worker, candidates, (candidate, call), bytes, &asking, &mut record));
        worker.drain.bound(asked).await.unwrap_or_else(|e| Err(e.into()))
    };
    let (answered, upstream) = result.map_err(|r| noted(r, &mut record))?;
    let (mut response, headers) = match answered {
        Answered::Stream(opened, headers) => {
            let warnings = HeaderValue::from_str(&record.warnings).ok().filter(|v| !v.is_empty());
            let mut head = stream_head();
            if let Some(warnings) = warnings {
                head.insert_header((WARNINGS, warnings));
            }
            (head.body(Pump::new(*opened, record, permit)), headers)
        }
        Answered::Held(held, headers) => {
            let finished = Box::pin(held.finish(worker, &mut record));
            let finished = worker.drain.bound(finished).await.unwrap_or_else(Err);
            let answer = finished.map_err(|e| noted(e.into(), &mut record))?;
            drop(permit);
            (whole_answer(worker, answer, &mut record), headers)
        }
        Answered::Whole(answer, headers) => {
            drop(permit);
            (whole_answer(worker, answer, &mut record), headers)
        }
    };
    for (name, value) in headers {
        response.headers_mut().append(name, value);
    }
    if let Some(name) = upstream.shown.clone() {
        response.headers_mut().insert(PROVIDER, name);
    }
    Ok(response)
}

/// Where a request with these headers stands in a trace.
fn trace(worker: &Worker, headers: &HeaderMap) -> Option<Arc<Trace>> {
    let all = |name| headers.get_all(name).map(HeaderValue::as_bytes);
    let trace = Trace::inbound(all(TRACEPARENT), all(TRACESTATE), worker.ids.random());
    #[cfg(feature = "otel")]
    let trace = crate::observe::otel::sampled(trace, || worker.ids.random());
    trace.map(Arc::new)
}

/// A request that was read, admitted, checked and routed, and converted for the first candidate.
struct Ready<'w> {
    permit: Permit,
    candidates: Candidates<'w>,
    candidate: Candidate<'w>,
    prepared: Prepared,
    /// The request as it came, if another candidate may need it.
    bytes: Option<Bytes>,
}

async fn prepare<'w>(
    worker: &'w Rc<Worker>,
    request: &HttpRequest,
    payload: Payload,
    inbound: &Inbound,
    asking: &Asking<'_>,
    record: &mut Record,
) -> Result<Ready<'w>, Refusal> {
    let config = &worker.config;
    let bytes = intake::read(request, payload, config, &worker.unfinished).await?;
    record.own.arrives();
    let permit = worker.gate.admit()?;
    record.received = bytes.len() as u64;
    if let Some(capture) = &worker.capture {
        record.capture = capture.open(&record.request_id);
    }
    if let Some(exchange) = &record.capture {
        exchange.client_request(&bytes);
    }
    let unfolded = match threads::asked(worker, request.headers()) {
        // Rare, and large.
        Some(threads) => {
            Box::pin(threads::unfold(worker, threads, &bytes, asking.request_id, inbound)).await?
        }
        None => None,
    };
    let bytes = match unfolded {
        Some((whole, keeping)) => {
            // Empty until now.
            drop(asking.keeping.set(Rc::new(keeping)));
            whole
        }
        None => bytes,
    };
    let mut reading = Reading::of(&bytes, worker);
    let (name, stream) = reading.names(config)?;
    record.model = name.chars().take(128).collect();
    record.stream = stream;
    let model = config.route(name).ok_or_else(|| models::unknown(config, inbound, name))?;
    inbound.check(model, name)?;
    inbound.check_budget()?;
    record.admit(|| dashboard::question(config, &bytes));
    let mut candidates = Candidates::new(&worker.upstreams, config.chain(model));
    let candidate =
        candidates.next(Instant::now()).ok_or_else(|| models::unknown(config, inbound, name))??;
    if candidate.stands_in {
        // Its provider rests.
        record.meter = Some(worker.meters.of(model));
        record.fall_back();
    }
    let prepared = adapt::prepare(worker, asking, &mut reading, &candidate.model, record).await?;
    let bytes = candidates.has_more().then_some(bytes);
    Ok(Ready { permit, candidates, candidate, prepared, bytes })
}

fn stream_head() -> actix_web::HttpResponseBuilder {
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header((CONTENT_TYPE, "text/event-stream; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-cache"));
    answer
}

fn whole_answer(worker: &Worker, answer: WholeAnswer, record: &mut Record) -> HttpResponse {
    note(record, &answer.summary);
    record.mark_first_byte();
    record.status = 200;
    record.outcome = Outcome::Done;
    record.sent = answer.body.len() as u64;
    dashboard::answered(&worker.config, record, || dashboard::text_of(&answer.body));
    if let Some(exchange) = &record.capture {
        exchange.client_piece(&Bytes::copy_from_slice(&answer.body));
    }
    let mut response = json(Bytes::from(Spare::from(answer.body)));
    if let Ok(warnings) = HeaderValue::from_str(&record.warnings)
        && !warnings.is_empty()
    {
        response.headers_mut().insert(WARNINGS, warnings);
    }
    response
}

/// `max_tokens: 0`: an empty answer of our own.
fn local(worker: &Worker, converted: Converted, mut record: Record) -> HttpResponse {
    if !converted.client_streams {
        return whole_answer(worker, convert::response::empty(converted.reply), &mut record);
    }
    let mut out = Vec::new();
    let mut translator = StreamTranslator::new(converted.reply);
    translator.finish_empty(&mut out);
    note(&mut record, &translator.summary());
    record.status = 200;
    record.outcome = Outcome::Done;
    record.sent = out.len() as u64;
    let out = Bytes::from(out);
    if let Some(exchange) = &record.capture {
        exchange.client_piece(&out);
    }
    stream_head().body(out)
}
