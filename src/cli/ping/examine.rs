//! Everything that is found out about one model.

use std::time::Duration;

use indicatif::ProgressBar;

use super::fit::{self, Fit, Lines};
use super::judge;
use super::keys::{self, Tried};
use super::once::{self, Once, Prompt, once};
use super::probe::{self, Finding, Verdict};
use super::prober::{self, Cost, Prober};
use super::said::Said;
use super::spread::Timings;
use crate::config::{Api, Model};
use crate::upstream::Limits;

/// What to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Samples of the times.
    pub(super) count: u32,
    /// No probes.
    pub(super) quick: bool,
    pub(super) limits: Limits,
}

impl Plan {
    /// Steps of the progress bar for one model.
    pub(super) fn steps(&self) -> u64 {
        // Reasoning is one more.
        let probes = if self.quick { 0 } else { probe::all().len() as u64 + 1 };
        u64::from(self.count) * 2 + probes
    }
}

/// What was found.
pub(super) struct Examined {
    /// HTTP status of the first answer; none: there was none.
    pub(super) status: Option<u16>,
    pub(super) failure: Option<once::Failure>,
    pub(super) timings: Timings,
    /// Of the first whole answer.
    pub(super) tokens: Option<once::Tokens>,
    /// None without probes.
    pub(super) findings: Vec<Finding>,
    pub(super) fit: Option<Fit>,
    pub(super) lines: Lines,
    pub(super) cost: Cost,
    /// Of a provider that has several; else none.
    pub(super) keys: Vec<Tried>,
}

/// Long enough for a rate; every model can do it.
const STREAM: Prompt =
    Prompt { text: "Count from 1 to 50, separated by spaces.", max_tokens: 64, stream: true };

/// Asks the model's upstream.
pub(super) async fn examine(model: &Model, plan: Plan, bar: &ProgressBar) -> anyhow::Result<Examined> {
    // The probes ask what a conversion has to know of an upstream: nothing is converted there.
    let quick = plan.quick || model.provider.api == Api::Anthropic;
    let plan = Plan { quick, ..plan };
    let mut examined = Examined {
        status: None,
        failure: None,
        timings: Timings::default(),
        tokens: None,
        findings: Vec::new(),
        fit: None,
        lines: Lines::default(),
        cost: Cost::default(),
        keys: Vec::new(),
    };
    let keys = keys::each(model, plan.limits).await?;
    let model = match &keys {
        Some(keys) => {
            keys.costs.iter().for_each(|tokens| examined.cost.add(*tokens));
            &keys.model
        }
        None => model,
    };
    examine_with(model, plan, bar, &mut examined).await?;
    let hint = examined.failure.as_mut().and_then(|f| f.hint.as_mut());
    if let Some(hint) = hint.filter(|_| keys.is_some()) {
        hint.text = hint.text.replace("`api_key`", "`api_keys`");
    }
    examined.keys = keys.map(|keys| keys.tried).unwrap_or_default();
    Ok(examined)
}

/// Asks with the provider's first key.
async fn examine_with(
    model: &Model,
    plan: Plan,
    bar: &ProgressBar,
    examined: &mut Examined,
) -> anyhow::Result<()> {
    let mut good = None;
    for n in 0..plan.count {
        // A client of its own: each sample opens a connection, and its stream uses it again.
        let client = super::client([model], plan.limits)?;
        let mut whole = super::whole(&client, model, plan.limits).await;
        bar.inc(1);
        examined.cost.add(whole.tokens);
        if n == 0 {
            examined.status = whole.status;
            examined.tokens = whole.tokens;
        }
        if examined.failed(&whole) {
            let hint = whole.failure.and_then(|f| f.hint);
            examined.cost.requests += hint.as_ref().map_or(0, |h| h.requests);
            for (key, value) in hint.into_iter().flat_map(|h| h.set) {
                examined.lines.provider.insert(key.to_owned(), value.into());
            }
            return Ok(());
        }
        let mut stream = once(&client, model, plan.limits, &STREAM).await;
        bar.inc(1);
        examined.cost.add(stream.tokens);
        let said = stream.reply.as_ref().and_then(|r| Said::read(r).ok());
        let told = said.as_ref().map_or(stream.tokens, |said| said.tokens);
        examined.timings.add(whole.times, stream.times, told);
        let failed = examined.failed(&stream);
        if n == 0 {
            if !plan.quick {
                examined.findings.extend(first(&whole, &stream, said.as_ref()));
            }
            good = whole.reply.take().or_else(|| stream.reply.take()).map(|reply| (client, reply));
        }
        if failed {
            break;
        }
    }
    let Some((client, reply)) = good.filter(|_| !plan.quick) else { return Ok(()) };
    let prober = Prober::new(&client, model, plan.limits);
    let probed = prober.run(&|| bar.inc(1)).await;
    examined.cost.requests += probed.cost.requests;
    examined.cost.input_tokens += probed.cost.input_tokens;
    examined.cost.output_tokens += probed.cost.output_tokens;
    examined.findings.extend(probed.findings);
    let place = |f: &Finding| probe::NAMES.iter().position(|(name, _)| *name == f.probe);
    examined.findings.sort_by_key(place);
    let (owner, size) = fit::told(&client, model, plan.limits, &reply).await;
    let fit = fit::fit(model, &reply, &owner, &examined.findings, probed.way);
    examined.lines = fit::lines(model, &fit, &examined.findings, size);
    examined.fit = Some(fit);
    Ok(())
}

/// The findings of the requests that every ping sends.
fn first(whole: &Once, stream: &Once, said: Option<&Said>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(said) = whole.reply.as_ref().and_then(|r| Said::read(r).ok()) {
        findings.push(prober::whole(&said));
    }
    let judged = match (&stream.failure, said) {
        (Some(failure), _) if stream.status.is_some() => judge::no(failure.message.clone()),
        (Some(failure), _) => judge::unknown(failure.message.clone()),
        (None, Some(said)) => judge::stream(said, STREAM.max_tokens),
        (None, None) => (Verdict::Yes, None),
    };
    findings
        .push(Finding { refused: stream.status.is_some_and(|s| s >= 400), ..Finding::new("stream", judged) });
    findings
}

impl Examined {
    /// Notes a failure, the first one.
    fn failed(&mut self, once: &Once) -> bool {
        if let (Some(failure), None) = (&once.failure, &self.failure) {
            self.failure = Some(failure.clone());
            self.status = once.status;
        }
        once.failure.is_some()
    }

    /// All requests were answered well, with every key.
    pub(super) fn ok(&self) -> bool {
        self.failure.is_none() && self.keys.iter().all(|key| key.ok)
    }
}

/// Milliseconds, to a tenth.
pub(super) fn ms(d: Duration) -> f64 {
    (d.as_secs_f64() * 10_000.0).round() / 10.0
}
