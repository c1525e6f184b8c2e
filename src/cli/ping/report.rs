//! What was found, for people and for programs.

use std::io::Write as _;

use serde::Serialize;
use serde_json::{Map, Value};

use super::examine::Examined;
use super::fit::{Fit, Lines};
use super::keys::Tried;
use super::probe::{Finding, NAMES, Verdict};
use super::prober::Cost;
use super::spread::{Shown, Spread};
use crate::cli::Printer;
use crate::cli::output::{BOLD, CYAN, GREEN, RED, YELLOW};
use crate::config::Model;

/// One entry of `pings` in `--json`. Stable: keys are added, never changed.
#[derive(Debug, Serialize)]
pub(super) struct Ping<'m> {
    model: &'m str,
    provider: &'m str,
    remote_id: &'m str,
    profile: &'static str,
    /// Where it is and who named it; none: the upstream is asked directly.
    proxy: Option<String>,
    ok: bool,
    /// HTTP status of the upstream; none: it did not answer.
    status: Option<u16>,
    error: Option<String>,
    hint: Option<String>,
    timings: Shown,
    tokens: Option<Tokens>,
    probes: Vec<Finding>,
    fits: Option<Fit>,
    suggest: Lines,
    cost: Cost,
    keys: Vec<Tried>,
    #[serde(skip)]
    fragment: Value,
}

#[derive(Debug, Serialize)]
struct Tokens {
    input: u64,
    output: u64,
}

impl<'m> Ping<'m> {
    pub(super) fn new(model: &'m Model, examined: Examined) -> Self {
        Self {
            model: &model.id,
            provider: &model.provider.name,
            remote_id: &model.spec.remote_id,
            profile: &model.profile.name,
            proxy: model.provider.proxy.as_ref().map(ToString::to_string),
            ok: examined.ok(),
            status: examined.status,
            hint: examined.failure.as_ref().and_then(|f| f.hint.as_ref()).map(|h| h.text.clone()),
            error: examined.failure.map(|f| f.message),
            timings: examined.timings.shown(),
            tokens: examined.tokens.map(|t| Tokens { input: t.input, output: t.output }),
            probes: examined.findings,
            fits: examined.fit,
            fragment: examined.lines.fragment(model),
            suggest: examined.lines,
            cost: examined.cost,
            keys: examined.keys,
        }
    }

    pub(super) fn ok(&self) -> bool {
        self.ok
    }

    /// Everything, for people.
    pub(super) fn show(&self, printer: &mut Printer) -> anyhow::Result<()> {
        let out = printer.text();
        let (style, word) = if self.ok { (GREEN, "ok  ") } else { (RED, "fail") };
        let Self { model, remote_id, provider, profile, .. } = self;
        writeln!(
            out,
            "{style}{word}{style:#}  {BOLD}{model}{BOLD:#} ({remote_id} at {provider}, profile {profile})"
        )?;
        if let Some(proxy) = &self.proxy {
            writeln!(out, "      {:<23} {proxy}", "through the proxy")?;
        }
        if let Some(error) = &self.error {
            let status = self.status.map(|s| format!("HTTP {s}: ")).unwrap_or_default();
            writeln!(out, "      {RED}error:{RED:#} {status}{error}")?;
        }
        if let Some(hint) = &self.hint {
            writeln!(out, "      {CYAN}hint:{CYAN:#} {hint}")?;
        }
        for Tried { key, error, .. } in &self.keys {
            let label = format!("key {key} of {}", self.keys.len());
            match error {
                None => writeln!(out, "      {label:<23} {GREEN}ok{GREEN:#}")?,
                Some(error) => writeln!(out, "      {label:<23} {RED}fails{RED:#}: {error}")?,
            }
        }
        for (name, spread, unit) in self.times() {
            if let Some(spread) = spread {
                writeln!(out, "      {name:<23} {}", shown(spread, unit))?;
            }
        }
        if !self.probes.is_empty() {
            writeln!(out)?;
        }
        for finding in &self.probes {
            let label = NAMES.iter().find(|(n, _)| *n == finding.probe).map_or(finding.probe, |(_, l)| l);
            let (style, word) = match finding.result {
                Verdict::Yes => (GREEN, "yes"),
                Verdict::No => (RED, "no"),
                Verdict::Odd => (YELLOW, "odd"),
                Verdict::Unknown => (CYAN, "unknown"),
            };
            write!(out, "      {label:<23} {style}{word}{style:#}")?;
            match &finding.detail {
                Some(detail) => writeln!(out, ": {detail}")?,
                None => writeln!(out)?,
            }
        }
        if let Some(fit) = &self.fits {
            writeln!(out, "\n      {:<23} {}: {}", "profile that fits", fit.profile, fit.why)?;
        }
        for (place, lines) in [("provider", &self.suggest.provider), ("model", &self.suggest.model)] {
            if !lines.is_empty() {
                writeln!(out, "      {:<23} {}", format!("set in the {place}"), in_one_line(lines))?;
            }
        }
        if self.ok && self.fits.is_some() && self.suggest.is_empty() {
            writeln!(out, "      {:<23} nothing to change", "configuration")?;
        }
        let Cost { requests, input_tokens, output_tokens } = self.cost;
        let plural = if requests == 1 { "" } else { "s" };
        writeln!(
            out,
            "      {:<23} {requests} request{plural}, {input_tokens} tokens in, {output_tokens} out",
            "cost"
        )?;
        Ok(())
    }

    fn times(&self) -> [(&'static str, Option<Spread>, &'static str); 8] {
        let t = &self.timings;
        [
            ("resolve", t.resolve_ms, "ms"),
            ("connect", t.connect_ms, "ms"),
            ("TLS", t.tls_ms, "ms"),
            ("first byte", t.first_byte_ms, "ms"),
            ("first token", t.first_token_ms, "ms"),
            ("total, streamed", t.total_ms, "ms"),
            ("total, whole", t.whole_ms, "ms"),
            ("speed", t.tokens_per_second, "tokens/s"),
        ]
    }

    /// Only the lines to set, on stdout; that there are none, on stderr.
    pub(super) fn suggest(&self, printer: &mut Printer) -> anyhow::Result<()> {
        if let Some(error) = &self.error {
            printer.error(format_args!("model `{}`: {error}", self.model));
            if let Some(hint) = &self.hint {
                printer.say(format_args!("{CYAN}hint:{CYAN:#} {hint}"));
            }
        }
        for Tried { key, error, .. } in &self.keys {
            if let Some(error) = error {
                printer
                    .error(format_args!("model `{}`: key {key} of the provider fails: {error}", self.model));
            }
        }
        if !self.suggest.is_empty() {
            serde_json::to_writer_pretty(printer.data(), &self.fragment)?;
            writeln!(printer.data())?;
        } else if self.ok {
            printer.note(format_args!("model `{}`: nothing to change", self.model));
        }
        Ok(())
    }

    /// `--suggest` has something to say, or nothing has to be said.
    pub(super) fn has_advice(&self) -> bool {
        self.ok || !self.suggest.is_empty()
    }
}

fn shown(spread: Spread, unit: &str) -> String {
    let Spread { min, median, max } = spread;
    if (min - max).abs() < f64::EPSILON {
        format!("{median:>9.1} {unit}")
    } else {
        format!("{median:>9.1} {unit}  ({min:.1} to {max:.1})")
    }
}

fn in_one_line(lines: &Map<String, Value>) -> String {
    lines.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect::<Vec<_>>().join(", ")
}
