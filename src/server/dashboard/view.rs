//! What one guest is told: everything at first, and then what is not as it was.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::door::Guest;
use crate::config::{Finding, Provider};
use crate::observe::activity::{self, Activity, Ended, Running};
use crate::observe::cost::Amount;
use crate::server::app::{Shared, Worker};
use crate::server::budgets::Standing;
use crate::server::current::Current;
use crate::upstream::health::ProviderHealth;

/// Most running requests that are told; the page says how many more there are.
const MOST_RUNNING: usize = 200;

/// Whether the guest may go on looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Welcome {
    /// Yes.
    Yes,
    /// The server is on its way out.
    Draining,
    /// The session has ended, the key is another one, or there is no dashboard any more.
    No,
}

/// One guest's view.
pub(super) struct View {
    current: Current,
    guest: Guest,
    /// The address by which the page was asked for.
    origin: Option<String>,
    generation: u64,
    shared: Shared,
    providers: Vec<Upstream>,
    eyes: Eyes,
    sent: Sent,
}

/// What the guest may see.
#[derive(Default)]
struct Eyes {
    /// The name of their key.
    name: Option<Arc<str>>,
    /// What is others', too.
    all: bool,
    /// Texts are shown at all.
    content: bool,
}

impl Eyes {
    /// Whether what belongs to this key is for them.
    fn may_see(&self, key: Option<&str>) -> bool {
        self.all || (key.is_some() && key == self.name.as_deref())
    }

    /// Whether they may read the texts of this key's requests.
    fn may_read(&self, key: Option<&str>) -> bool {
        self.content && self.may_see(key)
    }
}

/// A provider, the ids of its models, and how it fares.
struct Upstream {
    provider: Arc<Provider>,
    models: Vec<String>,
    health: ProviderHealth,
}

/// What the guest knows.
#[derive(Default)]
struct Sent {
    /// Of each running request what may change: told again if it did.
    running: HashMap<u64, (u64, Option<u64>, String)>,
    /// [`Ended::number`] of the last one.
    ended: u64,
    /// Start of the last bucket.
    point: u64,
    /// Parts that are told as a whole.
    parts: HashMap<&'static str, String>,
}

impl View {
    pub(super) fn new(worker: &Worker, guest: Guest, origin: Option<String>) -> Self {
        let current = worker.current.clone();
        let (generation, shared) = current.get();
        let providers = upstreams(&shared);
        let (eyes, sent) = (Eyes::default(), Sent::default());
        let mut view = Self { current, guest, origin, generation, shared, providers, eyes, sent };
        // Looks at who the guest is.
        view.welcome();
        view
    }

    /// Whether the guest may go on looking, now.
    pub(super) fn welcome(&mut self) -> Welcome {
        if self.current.generation() != self.generation {
            (self.generation, self.shared) = self.current.get();
            self.providers = upstreams(&self.shared);
        }
        let Shared { config, drain, keys, desk, .. } = &self.shared;
        let Some(inbound) = self.guest.among(keys, &desk.sessions).filter(|_| config.dashboard) else {
            return Welcome::No;
        };
        self.eyes =
            Eyes { name: inbound.name.clone(), all: inbound.sees_all(), content: config.dashboard_content };
        if drain.is_draining() { Welcome::Draining } else { Welcome::Yes }
    }

    /// What is new, as JSON; none: nothing.
    pub(super) fn look(&mut self) -> Option<String> {
        let now = Instant::now();
        let desk = Arc::clone(&self.shared.desk);
        let activity = &*desk.activity;
        let mut out = String::with_capacity(256);
        let mut tell = |name: &str, value: &str| {
            let comma = if out.is_empty() { "{" } else { "," };
            let _ = write!(out, "{comma}\"{name}\":{value}");
        };
        for (name, value) in [
            ("server", self.server(activity)),
            ("providers", self.states(activity, now)),
            ("findings", self.shared.findings.iter().map(finding).collect()),
            ("setup", self.setup()),
            ("budgets", self.budgets()),
        ] {
            let text = value.to_string();
            if self.sent.parts.get(name) != Some(&text) {
                tell(name, &text);
                self.sent.parts.insert(name, text);
            }
        }
        // In this order: one that ends in between is told as ended, and not as gone.
        let (running, all) = activity.running(MOST_RUNNING);
        let (changed, gone) = self.sent.changes(activity, &running, &self.eyes);
        let ended = activity.ended(self.sent.ended);
        if !changed.is_empty() {
            tell("running", &Value::Array(changed).to_string());
        }
        if !gone.is_empty() {
            tell("gone", &json!(gone).to_string());
        }
        let more = (all - running.len()).to_string();
        if self.sent.parts.get("more") != Some(&more) {
            tell("more", &more);
            self.sent.parts.insert("more", more);
        }
        if let Some(last) = ended.last() {
            self.sent.ended = last.number;
            let ended: Vec<Value> = ended.iter().map(|ended| past(ended, &self.eyes)).collect();
            tell("ended", &Value::Array(ended).to_string());
        }
        // The last bucket, and those that came after it.
        let points = activity.points(self.sent.point);
        if let Some(last) = points.last() {
            self.sent.point = last.t;
            let text = serde_json::to_string(&points).unwrap_or_default();
            if self.sent.parts.get("points") != Some(&text) {
                tell("points", &text);
                self.sent.parts.insert("points", text);
            }
        }
        if out.is_empty() {
            return None;
        }
        let _ = write!(out, ",\"now\":{}}}", activity.epoch_ms(now));
        Some(out)
    }

    fn server(&self, activity: &Activity) -> Value {
        let Shared { config, gate, .. } = &self.shared;
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "since": activity.since(),
            "generation": self.generation,
            "running": gate.running(),
            "limit": gate.limit(),
            "models": config.models.len(),
            "key": config.asks_for_key(),
            "content": config.dashboard_content,
            "bucket": activity::BUCKET.as_millis() as u64,
            "span": activity::SPAN.as_millis() as u64,
            "remembered": activity::REMEMBERED,
        })
    }

    fn states(&self, activity: &Activity, now: Instant) -> Value {
        let state = |upstream: &Upstream| {
            let told = upstream.health.state(now);
            let until = |until: Option<Instant>| until.map(|at| activity.epoch_ms(at));
            let keys: Vec<Value> = told
                .keys
                .iter()
                .map(|key| json!({"until": until(key.until), "refused": key.refused, "probe": key.probing}))
                .collect();
            json!({
                "name": upstream.provider.name,
                "api": upstream.provider.api.as_str(),
                "models": upstream.models,
                "until": until(told.until),
                "probe": told.probing,
                "usable": upstream.health.is_usable(now),
                "keys": keys,
            })
        };
        self.providers.iter().map(state).collect()
    }

    /// How the keys that the guest may see stand today.
    fn budgets(&self) -> Value {
        let all = self.shared.keys.standings();
        let seen =
            all.iter().filter(|standing| self.eyes.all || Some(&*standing.name) == self.eyes.name.as_deref());
        seen.map(|Standing { name, spent, budget }| {
            json!({"key": **name, "spent": spent.as_f64(), "budget": budget.map(Amount::as_f64)})
        })
        .collect()
    }

    fn setup(&self) -> Value {
        let (Some(setup), Some(origin)) = (self.shared.desk.setup.get(), &self.origin) else {
            return Value::Array(Vec::new());
        };
        let shells = setup(&self.shared.config, origin);
        shells.into_iter().map(|(shell, lines)| json!({"shell": shell, "lines": lines})).collect()
    }
}

impl Sent {
    /// What has changed of the requests that run, and which of those that were told run no more.
    fn changes(
        &mut self,
        activity: &Activity,
        running: &[Arc<Running>],
        eyes: &Eyes,
    ) -> (Vec<Value>, Vec<u64>) {
        let mut changed = Vec::new();
        let mut now = HashMap::with_capacity(running.len());
        for request in running {
            let (tokens, told) = request.tokens();
            let (provider, remote) = request.asked();
            let state = (tokens << 1 | u64::from(told), request.first_byte(), provider);
            let known = self.running.get(&request.id);
            if known != Some(&state) {
                let mut told = json!({
                    "id": request.id,
                    "provider": state.2,
                    "remote": remote,
                    "first_byte": state.1,
                    "tokens": tokens,
                    "told": told,
                });
                if let (None, Some(fields)) = (known, told.as_object_mut()) {
                    fields.extend(always(activity, request, eyes));
                }
                changed.push(told);
            }
            now.insert(request.id, state);
        }
        let gone = self.running.keys().filter(|id| !now.contains_key(id)).copied().collect();
        self.running = now;
        (changed, gone)
    }
}

/// What does not change of a request that runs.
fn always(activity: &Activity, request: &Running, eyes: &Eyes) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut add = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    add("request_id", request.request_id.as_str().into());
    add("model", request.model.as_str().into());
    add("stream", request.stream.into());
    add("began", activity.epoch_ms(request.began).into());
    add("received", request.received.into());
    if let Some(key) = &request.key {
        add("key", (**key).into());
    }
    if eyes.may_read(request.key.as_deref()) && !request.question.is_empty() {
        add("question", request.question.as_str().into());
    }
    fields
}

/// Every provider once, in the order of the configuration.
fn upstreams(shared: &Shared) -> Vec<Upstream> {
    let mut all: Vec<Upstream> = Vec::new();
    for model in &shared.config.models {
        match all.iter_mut().find(|known| Arc::ptr_eq(&known.provider, &model.provider)) {
            Some(known) => known.models.push(model.id.clone()),
            None => all.push(Upstream {
                provider: Arc::clone(&model.provider),
                models: vec![model.id.clone()],
                health: shared.health.of(&model.provider),
            }),
        }
    }
    all
}

fn past(ended: &Ended, eyes: &Eyes) -> Value {
    let mut value = serde_json::to_value(ended).unwrap_or_default();
    if !eyes.may_read(ended.key.as_deref())
        && let Some(fields) = value.as_object_mut()
    {
        fields.remove("question");
        fields.remove("answer");
    }
    value
}

fn finding(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity.as_str(),
        "code": finding.code.as_str(),
        "place": format!("{}:{}", finding.line, finding.column),
        "path": finding.path,
        "message": finding.message,
        "help": finding.help,
    })
}
