//! One attempt: a request, converted or as it is, to one provider with one key.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use bytes::Bytes;
use tokio::time::Instant;

use super::app::Worker;
#[cfg(feature = "otel")]
use super::hop;
use super::judge::{self, Judge};
use super::reading::Reading;
use super::reply::{PROVIDER, Refusal};
use super::rounds::Rounds;
use super::source::{Opened, Source};
use super::threads::{Commit, Keeping};
use super::whole::{self, Held, Read};
use super::work::{Work, Works};
use crate::config::{Api, Model, Price, Provider};
use crate::convert::native::{self, History, Relay};
use crate::convert::safeguards::Case;
use crate::convert::web::Round;
use crate::convert::{self, Converted, Feed, Flow, ModelSpec, ReplyContext, Resumed, WebTools, WholeAnswer};
use crate::observe::capture::meta::{Meta, Spec, Upstream};
use crate::observe::metrics::{Attempt, FaultStage};
use crate::observe::{Record, cost, log};
use crate::upstream::retry::{Sign, What};
use crate::upstream::{Answer, Crossing, Endpoint, Limits, RETRY_AFTER_MS, Session, Stage};
use crate::wire::anthropic::ApiError;

/// Longest error body that is read, in bytes.
const MAX_ERROR: usize = 1 << 20;

/// A request as one model gets it: made once, asked as often as keys and second attempts allow.
pub(super) struct Call {
    pub(super) model: Arc<Model>,
    pub(super) body: Bytes,
    way: Way,
    /// Where the answer may call web tools.
    origin: Option<Origin>,
    upstream_streams: bool,
    client_streams: bool,
    /// For the judge of its answer's tool calls.
    case: Option<Rc<Case>>,
    keeping: Option<Rc<Keeping>>,
    /// It stays with one of the provider's keys, if there are several.
    pub(super) session: Option<Session>,
}

/// How the answer goes to the client.
enum Way {
    /// Converted.
    Converted(ReplyContext),
    /// As it is; this went upstream besides the body.
    Passed(Crossing),
}

/// What a request leads to.
pub(super) enum Prepared {
    /// An upstream is asked.
    Call(Call),
    /// `max_tokens: 0`: nobody is.
    Local(Converted),
}

/// What the client asked for can be answered: from here on nothing is tried again.
pub(super) enum Answered {
    /// All of it.
    Whole(WholeAnswer, Headers),
    /// All of it, but for an end that waits for work of ours.
    Held(Box<Held>, Headers),
    /// Its first events.
    Stream(Box<Opened>, Headers),
}

/// Headers of the upstream's answer that cross to the client.
pub(super) type Headers = Vec<(HeaderName, HeaderValue)>;

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
    /// What crosses besides the body, where requests pass through.
    pub(super) crossing: Crossing,
    /// It is a subagent's: the user has written none of it. Told only where somebody judges.
    pub(super) delegated: bool,
    /// The session that its headers name; none, too, where nobody needs to know it.
    pub(super) session: Option<Session>,
    /// Of a conversation that is kept: what is to be kept of this turn.
    pub(super) keeping: OnceCell<Rc<Keeping>>,
    /// It is a further round of an exchange.
    pub(super) further: Option<Further>,
}

/// A further round of an exchange: see [`super::rounds`].
pub(super) struct Further {
    /// What the answer goes on with.
    pub(super) resumed: Arc<Resumed>,
    pub(super) round: Round,
}

/// What further rounds of an exchange begin with.
#[derive(Clone)]
pub(super) struct Origin {
    /// The client's request.
    pub(super) request: Bytes,
    pub(super) seed: u64,
    pub(super) delegated: bool,
    pub(super) session: Option<Session>,
    /// Of a conversation that is kept.
    pub(super) keeping: Option<Rc<Keeping>>,
}

impl Origin {
    fn of(request: &Bytes, asking: &Asking<'_>) -> Self {
        let keeping = asking.keeping.get().cloned();
        let Asking { seed, delegated, session, .. } = *asking;
        Self { request: request.clone(), seed, delegated, session, keeping }
    }
}

impl Call {
    /// Makes the request for `model`, and notes in the record that it is its turn.
    pub(super) fn prepare(
        worker: &Worker,
        asking: &Asking<'_>,
        reading: &mut Reading<'_>,
        model: &Arc<Model>,
        record: &mut Record,
    ) -> Result<Prepared, ApiError> {
        record.meter = Some(worker.meters.of(model));
        record.price =
            model.price.map(|Price { input, output, cached }| cost::Price { input, cached, output });
        record.ask(&model.provider.name, &model.spec.remote_id);
        if let Some(exchange) = &record.capture {
            let (name, stream) = (record.model.as_str(), record.stream);
            exchange.describe(|meta| describe(meta, (name, stream), model, asking.seed));
        }
        let max = worker.config.log_body_max_chars;
        let blot = |text: &mut String| model.provider.blot(text);
        if model.provider.api == Api::Anthropic {
            let outline = reading.outline()?;
            let passed = native::request(outline, &model.spec.remote_id, model.history());
            record.warnings = passed.losses.tokens().join(", ");
            log::body(max, asking.request_id, "upstream request", &passed.body, blot);
            return Ok(Prepared::Call(Self {
                model: Arc::clone(model),
                body: passed.body.into(),
                way: Way::Passed(asking.crossing.clone()),
                origin: None,
                upstream_streams: outline.stream,
                client_streams: outline.stream,
                case: None,
                keeping: None,
                session: session(asking, reading, model),
            }));
        }
        let request = reading.request()?;
        let spec = match &asking.further {
            Some(Further { round, .. }) => {
                let web = WebTools { round: *round, ..model.spec.web };
                Cow::Owned(ModelSpec { web, ..model.spec.clone() })
            }
            None => Cow::Borrowed(&model.spec),
        };
        let mut converted = convert::request(request, model.profile, &spec)?;
        converted.reply.provider.clone_from(&model.provider.name);
        converted.reply.seed = asking.seed;
        if asking.keeping.get().is_some() {
            (converted.reply.record, converted.reply.holds.commit) = (true, true);
        }
        converted.reply.preview_chars = worker.preview_chars();
        record.warnings = converted.losses.tokens().join(", ");
        log::body(max, asking.request_id, "upstream request", &converted.body, blot);
        if converted.answer_locally {
            return Ok(Prepared::Local(converted));
        }
        let case = judge::case(worker, asking, request, record);
        let Converted { body, mut reply, client_streams, upstream_streams, .. } = converted;
        reply.holds.verdicts = case.is_some();
        let origin = (!reply.served.is_empty()).then(|| Origin::of(reading.bytes(), asking));
        if origin.is_some() {
            reply.holds.rounds = true;
            reply.record = true;
            reply.resumed = asking.further.as_ref().map(|further| Arc::clone(&further.resumed));
        }
        Ok(Prepared::Call(Self {
            model: Arc::clone(model),
            body: body.into(),
            way: Way::Converted(reply),
            origin,
            upstream_streams,
            client_streams,
            case,
            keeping: asking.keeping.get().cloned(),
            session: session(asking, reading, model),
        }))
    }

    /// The window of a model whose upstream cuts what does not fit, if it is configured.
    pub(super) fn cut_at(&self) -> Option<u64> {
        match &self.way {
            Way::Converted(reply) if reply.profile.cuts_prompts => reply.context_window,
            _ => None,
        }
    }

    /// What the end of an answer to it waits for, in that order.
    fn works(&self, worker: &Rc<Worker>, record: &Record) -> Option<Box<Works>> {
        let mut works: Vec<Box<dyn Work>> = Vec::new();
        if let Some(judge) = self.case.as_ref().and_then(|case| Judge::new(worker, case, record.cause())) {
            works.push(Box::new(judge));
        }
        if let Some(keeping) = &self.keeping {
            works.push(Box::new(Commit::new(keeping)));
        }
        (!works.is_empty()).then(|| Box::new(Works::new(works)))
    }

    /// The further rounds that an answer to it may lead to.
    fn rounds(&self, worker: &Rc<Worker>, request_id: &str) -> Option<Box<Rounds>> {
        let origin = self.origin.as_ref()?;
        Some(Box::new(Rounds::new(worker, &self.model, request_id, origin.clone())))
    }

    /// The way of a streamed answer to the client.
    fn flow(&self, worker: &Worker, content_type: String) -> Flow {
        match &self.way {
            Way::Converted(reply) => Feed::new(content_type, reply.clone()).into(),
            Way::Passed(_) => {
                Relay::new(content_type, self.model.provider.name.clone(), worker.preview_chars()).into()
            }
        }
    }
}

/// The session of a request that goes to a provider with several keys. What its headers say comes
/// before what its body does.
fn session(asking: &Asking<'_>, reading: &Reading<'_>, model: &Model) -> Option<Session> {
    if model.provider.keys.len() < 2 {
        return None;
    }
    asking.session.or_else(|| reading.session())
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
    let headers = match &call.way {
        Way::Converted(_) => Vec::new(),
        Way::Passed(_) => crossing(&answer, &call.model.provider),
    };
    if call.client_streams {
        let provider = &call.model.provider;
        let flow = call.flow(worker, answer.content_type());
        let works = call.works(worker, record);
        let mut source = Source::new(worker, provider, &record.request_id, answer, flow, works);
        source.rounds = call.rounds(worker, &record.request_id);
        let opened = source.open().await.map_err(failed)?;
        return Ok(Answered::Stream(Box::new(opened), headers));
    }
    let provider = &call.model.provider;
    let whole = match &call.way {
        Way::Converted(reply) => whole::read(worker, provider, answer, reply.clone(), record).await,
        Way::Passed(_) => whole::pass(worker, provider, answer, record).await,
    };
    let whole = whole.inspect_err(|_| worker.meters.fault(&call.model.provider, FaultStage::Body));
    match whole.map_err(failed)? {
        Read::Done(whole) => Ok(Answered::Whole(whole, headers)),
        Read::Held(translator) => {
            let works = call.works(worker, record);
            let rounds = call.rounds(worker, &record.request_id);
            let held = Held { translator, works, rounds, provider: Arc::clone(provider) };
            Ok(Answered::Held(Box::new(held), headers))
        }
    }
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
    let (body, stream) = (call.body.clone(), call.upstream_streams);
    let hop = record.trace.as_ref().map(|trace| trace.hop(worker.ids.random()));
    #[cfg(feature = "otel")]
    let hop = hop::begins(hop, &call.model.provider, record);
    let sent = match &call.way {
        Way::Converted(_) => endpoint.send_since(began, body, stream, hop.as_ref(), limits).await,
        Way::Passed(crossing) => endpoint.pass(began, body, stream, crossing, hop.as_ref(), limits).await,
    };
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
    #[cfg(feature = "otel")]
    let sent = hop::ends(sent, hop);
    let mut answer = sent.map_err(|fault| {
        let sign = Sign::of_fault(&fault);
        Failure { sign, ..Failure::new(fault.api_error(&endpoint.name), &call.model) }
    })?;
    record.upstream_request_id.clear();
    if matches!(call.way, Way::Passed(_)) {
        record.upstream_request_id.push_str(answer.request_id().unwrap_or_default());
    }
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
    // Rare, and large.
    Err(Box::pin(refused(answer, call, endpoint, limits)).await)
}

fn stage(stage: Stage) -> FaultStage {
    match stage {
        Stage::Connect => FaultStage::Connect,
        Stage::Send => FaultStage::Send,
        Stage::Head => FaultStage::Head,
        Stage::Body => FaultStage::Body,
    }
}

/// The headers of a passing answer that cross, without those that repeat a key.
fn crossing(answer: &Answer, provider: &Provider) -> Headers {
    let keyless = |value: &HeaderValue| value.to_str().is_ok_and(|text| !provider.is_repeated_in(text));
    let crossing = answer.crossing().filter(|(_, value)| keyless(value));
    crossing.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Reads an error answer.
async fn refused(answer: Answer, call: &Call, endpoint: &Endpoint, limits: Limits) -> Failure {
    let status = answer.status;
    let (retry_after, retry_after_ms) = answer.retry_after();
    let wait = answer.wait();
    let should_retry = answer.should_retry();
    let headers = match &call.way {
        Way::Converted(_) => Vec::new(),
        Way::Passed(_) => crossing(&answer, &call.model.provider),
    };
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
    let reply = match &call.way {
        Way::Converted(reply) => reply,
        Way::Passed(_) => {
            let mut error = native::error(status, &text, &endpoint.name);
            error.should_retry = error.should_retry.or(should_retry);
            let mut failure = Failure::new(error, &call.model);
            failure.sign.retry_after = wait;
            for (name, value) in headers {
                failure.refusal = failure.refusal.with(name, Some(value));
            }
            return failure;
        }
    };
    let mut error = convert::error::error(status, &text, &endpoint.name, Some(reply));
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
        error.each_text(|text| model.provider.blot(text));
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
fn describe(meta: &mut Meta, (name, stream): (&str, bool), model: &Model, seed: u64) {
    let spec = &model.spec;
    name.clone_into(&mut meta.model);
    meta.model_id = Some(model.id.clone());
    meta.provider.clone_from(&model.provider.name);
    // A query may hold a key.
    model.provider.completions_url.split('?').next().unwrap_or_default().clone_into(&mut meta.url);
    (meta.api, meta.history_kept) = match model.provider.api {
        Api::OpenAi => (String::new(), false),
        api @ Api::Anthropic => (api.as_str().to_owned(), model.history() == History::Kept),
    };
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
        web_search: spec.web.search,
        web_fetch: spec.web.fetch,
    };
    meta.seed = seed;
    meta.stream = stream;
}
