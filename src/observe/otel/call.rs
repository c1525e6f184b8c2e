//! The span of one request upstream.

use std::time::SystemTime;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Event, SpanKind};
use url::Url;

use super::{Ended, Traces};
use crate::observe::Trace;
use crate::observe::trace::Hop;

/// What is known of it so far.
#[derive(Debug)]
pub struct Call {
    began: SystemTime,
    name: String,
    attributes: Vec<KeyValue>,
    events: Vec<Event>,
    /// There was a head, or a fault.
    told: bool,
    failed: bool,
}

impl Call {
    /// None: the trace is not sampled.
    pub(in crate::observe) fn of(trace: &Trace) -> Option<Self> {
        Traces::of(trace).map(|_| Self {
            began: SystemTime::now(),
            name: "chat".to_owned(),
            attributes: Vec::with_capacity(12),
            events: Vec::new(),
            told: false,
            failed: false,
        })
    }

    fn add(&mut self, key: &'static str, value: impl Into<opentelemetry::Value>) {
        self.attributes.push(KeyValue::new(key, value));
    }

    fn fail(&mut self, error: String) {
        self.failed = true;
        self.add("error.type", error);
    }
}

impl Hop {
    /// Who is asked for what. Of `url` only host and port are told; `attempt` counts from 1.
    pub fn describe(&mut self, url: &str, provider: &str, model: &str, attempt: u32) {
        let Some(call) = &mut self.call else { return };
        call.name = format!("chat {model}");
        call.add("http.request.method", "POST");
        if let Ok(url) = Url::parse(url) {
            call.add("server.address", url.host_str().unwrap_or_default().to_owned());
            call.add("server.port", i64::from(url.port_or_known_default().unwrap_or_default()));
        }
        call.add("gen_ai.operation.name", "chat");
        call.add("gen_ai.provider.name", provider.to_owned());
        call.add("gen_ai.request.model", model.to_owned());
        call.add("claude_proxy.attempt", i64::from(attempt));
        if attempt > 1 {
            call.add("http.request.resend_count", i64::from(attempt - 1));
        }
    }

    /// It went out a second time: the pooled connection had closed.
    pub fn resent(&mut self) {
        if let Some(call) = &mut self.call {
            call.events.push(Event::new("resent on a new connection", SystemTime::now(), Vec::new(), 0));
        }
    }

    /// There is a head of an answer.
    pub fn answered(&mut self, status: u16) {
        let Some(call) = &mut self.call else { return };
        call.told = true;
        call.add("http.response.status_code", i64::from(status));
        if status >= 400 {
            call.fail(status.to_string());
        }
    }

    /// A piece of the answer's body has come.
    pub fn hears(&mut self) {
        if let Some(call) = &mut self.call
            && !call.events.iter().any(|event| event.name == FIRST_BYTE)
        {
            call.events.push(Event::new(FIRST_BYTE, SystemTime::now(), Vec::new(), 0));
        }
    }

    /// There is no answer, or it broke: as far as the exchange had come.
    pub fn failed(&mut self, stage: &'static str) {
        let Some(call) = &mut self.call else { return };
        call.told = true;
        if !call.failed {
            call.add("claude_proxy.fault.stage", stage);
            call.fail(format!("fault_{stage}"));
        }
    }
}

const FIRST_BYTE: &str = "first_byte";

impl Drop for Hop {
    fn drop(&mut self) {
        let Some(mut call) = self.call.take() else { return };
        let Some(traces) = Traces::of(&self.trace) else { return };
        if !call.told {
            // Nobody waited for it any more, which is no error.
            call.add("error.type", "cancelled");
        }
        let Call { began, name, attributes, events, failed, .. } = call;
        let parent = Some(self.trace.span());
        let (kind, name, span) = (SpanKind::Client, name.into(), self.span);
        traces.end(&self.trace, Ended { span, parent, kind, name, began, attributes, events, failed });
    }
}
