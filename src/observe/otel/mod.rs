//! OpenTelemetry: spans of requests, sent to a collector by OTLP over HTTP. Only with the feature
//! `otel`, and only where the environment names a collector.
//!
//! Requests are never held up by it: a span that has ended waits in a bounded queue, and a thread of
//! its own sends what waits.

mod call;
mod client;
mod losses;
mod request;
mod settings;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Event, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingDecision, ShouldSample as _, SpanData,
    SpanEvents, SpanExporter, SpanLinks, SpanProcessor as _,
};

pub use call::Call;
pub use settings::OtelError;

use super::Trace;
use super::trace;
use client::Client;
use losses::Losses;
pub(super) use request::request;
use settings::Settings;

/// Longest that the end of the process waits for spans to be sent.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where spans go; none: nowhere.
static TRACES: OnceLock<Traces> = OnceLock::new();

#[derive(Debug)]
struct Traces {
    processor: BatchSpanProcessor,
    sampler: Sampler,
    scope: InstrumentationScope,
    waiting: Arc<AtomicUsize>,
    most: usize,
    losses: Arc<Losses>,
}

/// Sends what still waits when it is dropped, for two seconds at most.
#[derive(Debug)]
pub struct Flush(());

/// Begins to export spans, as the `OTEL_` variables of the environment say. None: they name no
/// collector, or say that it is not wanted.
///
/// # Errors
/// A variable that cannot be followed.
pub fn start() -> Result<Option<Flush>, OtelError> {
    let Some(settings) = Settings::read(&|name| std::env::var(name).ok())? else { return Ok(None) };
    let losses = Arc::new(Losses::default());
    let client = Client::new(&settings, Arc::clone(&losses))?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_endpoint(settings.endpoint.as_str())
        .with_http_client(client)
        .build()
        .map_err(|_| OtelError::Endpoint)?;
    let waiting = Arc::new(AtomicUsize::new(0));
    let exporter = Exporter { inner: exporter, waiting: Arc::clone(&waiting), losses: Arc::clone(&losses) };
    let batches = BatchConfigBuilder::default().with_max_queue_size(settings.queue).build();
    let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    processor.set_resource(&resource(&settings));
    let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION"));
    let (sampler, most) = (settings.sampler, settings.queue);
    let traces = Traces { processor, sampler, scope: scope.build(), waiting, most, losses };
    // A second call in one process changes nothing.
    if TRACES.set(traces).is_err() {
        return Ok(None);
    }
    let endpoint = settings.shown;
    tracing::info!(endpoint, "spans are sent to a collector");
    Ok(Some(Flush(())))
}

/// What the environment says of this process, and what it is.
fn resource(settings: &Settings) -> Resource {
    let known = Resource::builder().build();
    let has = |key: &'static str| known.get(&key.into()).is_some();
    let mut builder = Resource::builder();
    if !settings.names_service {
        builder = builder.with_service_name(env!("CARGO_PKG_NAME"));
    }
    if !has("service.version") {
        builder = builder.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    builder.build()
}

impl Drop for Flush {
    fn drop(&mut self) {
        if let Some(traces) = TRACES.get() {
            if traces.processor.shutdown_with_timeout(FAREWELL).is_err() {
                let waiting = traces.waiting.load(Ordering::Acquire);
                traces.losses.add(waiting, "the process ended before they were sent");
            }
            traces.losses.tell();
        }
    }
}

/// The trace of a request that came with `inbound`, sampled or not as the sampler says; without
/// spans to export it stays as it is.
pub fn sampled(inbound: Option<Trace>, random: impl FnMut() -> u64) -> Option<Trace> {
    let Some(traces) = TRACES.get() else { return inbound };
    let trace = inbound.unwrap_or_else(|| Trace::begin(random));
    let parent = trace.parent().map(|parent| {
        let context = Traces::context(&trace, parent, true);
        Context::new().with_remote_span_context(context)
    });
    let id = TraceId::from_bytes(trace.id().0);
    let result =
        traces.sampler.should_sample(parent.as_ref(), id, request::NAME, &SpanKind::Server, &[], &[]);
    Some(trace.with_sampled(result.decision == SamplingDecision::RecordAndSample))
}

/// A span that has ended.
struct Ended {
    span: trace::SpanId,
    /// None: it begins the trace.
    parent: Option<trace::SpanId>,
    kind: SpanKind,
    name: std::borrow::Cow<'static, str>,
    began: SystemTime,
    attributes: Vec<KeyValue>,
    events: Vec<Event>,
    failed: bool,
}

impl Traces {
    /// Where spans of this trace go; none: nowhere, since it is not sampled.
    fn of(trace: &Trace) -> Option<&'static Self> {
        TRACES.get().filter(|_| trace.is_sampled())
    }

    fn context(trace: &Trace, span: trace::SpanId, is_remote: bool) -> SpanContext {
        let flags = if trace.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let state: TraceState = trace.state().parse().unwrap_or_default();
        SpanContext::new(
            TraceId::from_bytes(trace.id().0),
            SpanId::from_bytes(span.0),
            flags,
            is_remote,
            state,
        )
    }

    /// Queues a span, or counts it as lost.
    fn end(&self, trace: &Trace, ended: Ended) {
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= self.most {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            return self.losses.add(1, "too many wait to be sent");
        }
        let Ended { span, parent, kind, name, began, attributes, events, failed } = ended;
        let mut all = SpanEvents::default();
        all.events = events;
        self.processor.on_end(SpanData {
            span_context: Self::context(trace, span, false),
            parent_span_id: parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.0)),
            parent_span_is_remote: trace.is_inbound() && parent == trace.parent(),
            span_kind: kind,
            name,
            start_time: began,
            end_time: SystemTime::now(),
            attributes,
            dropped_attributes_count: 0,
            events: all,
            links: SpanLinks::default(),
            // Without words: an upstream's may have anything in them.
            status: if failed { Status::error("") } else { Status::Unset },
            instrumentation_scope: self.scope.clone(),
        });
    }
}

/// Counts what comes through, and what does not.
#[derive(Debug)]
struct Exporter {
    inner: opentelemetry_otlp::SpanExporter,
    waiting: Arc<AtomicUsize>,
    losses: Arc<Losses>,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.inner.export(batch).await;
        self.waiting.fetch_sub(spans, Ordering::AcqRel);
        if result.is_err() {
            // In the words of the client: those of the exporter name the URL, which may hold a key.
            self.losses.add_failed(spans);
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
