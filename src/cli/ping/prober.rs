//! Asks the probes of one model, a few at a time.

use std::cell::Cell;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::ask::{Reply, post};
use super::judge::{self, Judged, no, odd, unknown};
use super::once::Tokens;
use super::probe::{self, Finding, Probe, ROOM, Verdict};
use super::said::Said;
use crate::config::Model;
use crate::convert;
use crate::convert::profile::{MaxTokensField, ReasoningRequest};
use crate::upstream::{Client, Limits};
use crate::wire::anthropic::Request;

/// How many probes are under way at once: most providers and local servers bear that many.
const AT_ONCE: usize = 3;

/// The longest `retry-after` that is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was spent.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Cost {
    /// Requests sent to the Chat Completions path.
    pub(super) requests: u64,
    /// Prompt tokens, as far as the upstream told.
    pub(super) input_tokens: u64,
    /// Tokens of answers, as far as the upstream told.
    pub(super) output_tokens: u64,
}

impl Cost {
    /// One more request.
    pub(super) fn add(&mut self, tokens: Option<Tokens>) {
        let Tokens { input, output } = tokens.unwrap_or_default();
        self.requests += 1;
        self.input_tokens += input;
        self.output_tokens += output;
    }
}

/// Everything that the probes of one model share.
pub(super) struct Prober<'m> {
    pub(super) client: &'m Client,
    pub(super) model: &'m Model,
    pub(super) limits: Limits,
    cost: Cell<Cost>,
    /// The name of the output limit that the upstream knows.
    limit_field: Cell<&'static str>,
}

/// No answer to a probe.
enum Missing {
    /// The upstream says no.
    Refused(String),
    /// Something else came in between.
    Unknown(String),
}

impl Missing {
    fn finding(self, probe: &'static str) -> Finding {
        match self {
            Self::Refused(why) => Finding { refused: true, ..Finding::new(probe, no(why)) },
            Self::Unknown(why) => Finding::new(probe, unknown(why)),
        }
    }
}

/// A way to ask for reasoning that worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The one of the model's profile.
    Profile,
    /// `chat_template_kwargs.enable_thinking`.
    Template,
    /// `reasoning_effort`.
    Effort,
}

/// What the probes found.
pub(super) struct Probed {
    pub(super) findings: Vec<Finding>,
    pub(super) way: Option<Way>,
    pub(super) cost: Cost,
}

impl<'m> Prober<'m> {
    pub(super) fn new(client: &'m Client, model: &'m Model, limits: Limits) -> Self {
        let limit_field = Cell::new(model.profile.max_tokens_field.as_str());
        Self { client, model, limits, cost: Cell::default(), limit_field }
    }

    /// Asks all probes but those of the whole answer and of the stream, which the caller has
    /// sent. `done` is called after each.
    pub(super) async fn run(&self, done: &dyn Fn()) -> Probed {
        type Asked<'a> = Pin<Box<dyn Future<Output = (Finding, Option<Way>)> + 'a>>;
        let mut asked: Vec<Asked<'_>> = Vec::new();
        for probe in probe::all() {
            asked.push(Box::pin(async move { (self.ask(probe).await, None) }));
        }
        asked.push(Box::pin(self.reasoning()));
        let asked = asked.into_iter().map(|probe| async move {
            let found = probe.await;
            done();
            found
        });
        let found: Vec<_> = futures_util::stream::iter(asked).buffered(AT_ONCE).collect().await;
        let way = found.iter().find_map(|(_, way)| *way);
        let mut findings: Vec<Finding> = Vec::new();
        for (finding, _) in found {
            match findings.iter_mut().find(|f| f.probe == finding.probe) {
                Some(known) if known.result == Verdict::Yes => *known = finding,
                Some(_) => {}
                None => findings.push(finding),
            }
        }
        let alone = |f: &&mut Finding| f.probe == "parallel_tools" && f.result == Verdict::No && !f.refused;
        if let Some(finding) = findings.iter_mut().find(alone)
            && self.ask(probe::parallel_aloud()).await.result == Verdict::Yes
        {
            *finding = Finding::new("parallel_tools", odd(probe::ALOUD));
        }
        let unclear = |f: &&mut Finding| {
            f.probe == "stop" && f.detail.as_deref().is_some_and(|d| d.starts_with("it said"))
        };
        if let Some(finding) = findings.iter_mut().find(unclear) {
            *finding = self.ask(probe::not_to_stop()).await;
        }
        Probed { findings, way, cost: self.cost.get() }
    }

    async fn ask(&self, probe: Probe) -> Finding {
        match self.say(probe.fields, probe.max_tokens).await {
            Ok(said) => Finding::new(probe.name, (probe.judge)(&said)),
            Err(missing) => missing.finding(probe.name),
        }
    }

    /// Sends these fields, with the model's name and a limit of tokens.
    async fn say(&self, fields: Value, max_tokens: u32) -> Result<Said, Missing> {
        let stream = fields.get("stream").is_some_and(|s| *s == true);
        let field = self.limit_field.get();
        let sent = self.send(self.body(&fields, field, max_tokens), stream).await;
        let other = match field {
            "max_tokens" => MaxTokensField::MaxCompletionTokens,
            _ => MaxTokensField::MaxTokens,
        };
        match sent {
            // `max_tokens` is the newer name's beginning in no language but OpenAI's.
            Err(Missing::Refused(why)) if why.contains(other.as_str()) && why.contains(field) => {
                self.limit_field.set(other.as_str());
                self.send(self.body(&fields, other.as_str(), max_tokens), stream).await
            }
            sent => sent,
        }
    }

    fn body(&self, fields: &Value, limit_field: &str, max_tokens: u32) -> Vec<u8> {
        let spec = &self.model.spec;
        let max_tokens = spec.max_output_tokens.map_or(u64::from(max_tokens), |m| m.min(max_tokens.into()));
        let mut body = Map::new();
        body.insert("model".to_owned(), spec.remote_id.clone().into());
        body.insert(limit_field.to_owned(), max_tokens.into());
        body.extend(fields.as_object().cloned().unwrap_or_default());
        // What the configuration adds is needed to reach the model, like OpenRouter's `provider`.
        // What it drops is asked for all the same: perhaps that is no longer needed.
        body.extend(spec.extra_body.clone());
        Value::Object(body).to_string().into_bytes()
    }

    /// One request; a second one if the first was one too many.
    async fn send(&self, body: Vec<u8>, stream: bool) -> Result<Said, Missing> {
        let mut reply = self.post(body.clone(), stream).await?;
        if reply.status == 429 {
            let wait = reply.retry_after.unwrap_or(Duration::from_secs(2));
            if wait > PATIENCE {
                return Err(Missing::Unknown(format!("rate limited for {} s", wait.as_secs())));
            }
            tokio::time::sleep(wait).await;
            reply = self.post(body, stream).await?;
        }
        match reply.status {
            429 => return Err(Missing::Unknown("rate limited".to_owned())),
            400.. => {
                let status = reply.status;
                let name = &self.model.provider.name;
                let words = self.own(convert::error::error(status, &reply.body, name, None).message);
                let words = format!("HTTP {status}: {words}");
                // A 500 is how servers answer what their template cannot render.
                return Err(match status {
                    401..=403 | 408 | 502.. => Missing::Unknown(words),
                    _ => Missing::Refused(words),
                });
            }
            _ => {}
        }
        let said = Said::read(&reply).map_err(|words| Missing::Refused(self.own(words)))?;
        let mut cost = self.cost.get();
        cost.requests -= 1;
        cost.add(said.tokens);
        self.cost.set(cost);
        Ok(said)
    }

    async fn post(&self, body: Vec<u8>, stream: bool) -> Result<Reply, Missing> {
        let mut cost = self.cost.get();
        cost.add(None);
        self.cost.set(cost);
        let asked = post(self.client, &self.model.provider, body, stream, self.limits).await;
        asked.map_err(|fault| Missing::Unknown(fault.to_string()))
    }

    /// The upstream's words, without our key and not too many.
    fn own(&self, mut words: String) -> String {
        const MOST: usize = 200;
        self.model.provider.blot(&mut words);
        if let Some((at, _)) = words.char_indices().nth(MOST) {
            words.truncate(at);
            words.push_str("...");
        }
        words
    }

    /// Asks for reasoning as the profile does, then in the ways of others if it knows none.
    async fn reasoning(&self) -> (Finding, Option<Way>) {
        const NAME: &str = "reasoning";
        const RIDDLE: &str = "A bat and a ball cost 1.10 together, the bat 1.00 more than the ball. \
             What does the ball cost? Answer with the number.";
        let plain = json!({"messages": [{"role": "user", "content": RIDDLE}]});
        let with = |key: &str, value: Value| {
            let mut fields = plain.clone();
            if let Some(fields) = fields.as_object_mut() {
                fields.insert(key.to_owned(), value);
            }
            fields
        };
        let mut refused = None;
        let mut judge = |asked: Result<Said, Missing>| -> Result<Option<Judged>, Finding> {
            match asked {
                Ok(said) => Ok(judge::reasoning(&said)),
                Err(Missing::Refused(why)) => {
                    refused.get_or_insert(why);
                    Ok(None)
                }
                Err(missing) => Err(missing.finding(NAME)),
            }
        };
        let asks = self.model.profile.reasoning_request != ReasoningRequest::None;
        let mut ways: Vec<(Way, &str, Value)> = Vec::new();
        if !asks {
            let template = with("chat_template_kwargs", json!({"enable_thinking": true}));
            ways.push((Way::Template, "chat_template_kwargs.enable_thinking", template));
            ways.push((Way::Effort, "reasoning_effort", with("reasoning_effort", "low".into())));
        }
        match judge(self.thinking(RIDDLE).await) {
            Ok(Some(found)) => return (Finding::new(NAME, found), Some(Way::Profile)),
            Ok(None) => {}
            Err(finding) => return (finding, None),
        }
        for (way, name, fields) in ways {
            match judge(self.say(fields, ROOM).await) {
                Ok(Some((verdict, detail))) => {
                    let detail = detail.unwrap_or_default();
                    let found = (verdict, Some(format!("{detail}, asked for with `{name}`")));
                    return (Finding::new(NAME, found), Some(way));
                }
                Ok(None) => {}
                Err(finding) => return (finding, None),
            }
        }
        let finding = match refused.filter(|_| asks) {
            Some(why) => Finding { refused: true, ..Finding::new(NAME, no(why)) },
            None => Finding::new(NAME, no("it shows none")),
        };
        (finding, None)
    }

    /// A request with thinking, as `serve` would send it. Most of what it says is in the answer.
    async fn thinking(&self, prompt: &str) -> Result<Said, Missing> {
        let body = json!({
            "model": self.model.id,
            "max_tokens": ROOM * 2,
            "thinking": {"type": "enabled", "budget_tokens": ROOM},
            "messages": [{"role": "user", "content": prompt}],
        })
        .to_string();
        let converted = Request::parse(body.as_bytes())
            .and_then(|request| convert::request(&request, self.model.profile, &self.model.spec))
            .map_err(|e| Missing::Unknown(e.message))?;
        self.send(converted.body, converted.upstream_streams).await
    }
}

/// The finding on the whole answer, which [`super::once`] could read.
pub(super) fn whole(said: &Said) -> Finding {
    let judged = if said.tokens.is_none() {
        odd("it tells no usage")
    } else if said.finish.is_none() {
        odd("no finish_reason")
    } else {
        (Verdict::Yes, None)
    };
    Finding::new("whole", judged)
}
