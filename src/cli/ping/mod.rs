//! `ping-upstream`: a small real request to the upstream of each model.

mod ask;
mod hint;
mod once;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use super::args::{GlobalArgs, PingUpstreamArgs};
use super::exit::UsageError;
use super::output::{BOLD, CYAN, GREEN, RED};
use super::{Exit, Printer, progress};
use crate::config::{self, Config, Model};
use crate::upstream::{Client, Limits};

pub(in crate::cli) use once::{client, whole};

/// How one upstream did.
#[derive(Debug, Serialize)]
struct Ping {
    model: String,
    provider: String,
    remote_id: String,
    ok: bool,
    /// HTTP status of the upstream; none: it did not answer.
    status: Option<u16>,
    connect_ms: Option<f64>,
    first_byte_ms: Option<f64>,
    total_ms: f64,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    error: Option<String>,
    hint: Option<String>,
}

/// Runs the command.
pub(super) fn run(
    args: &PingUpstreamArgs,
    global: &GlobalArgs,
    printer: &mut Printer,
) -> anyhow::Result<Exit> {
    let config = config::load(&config::locate(global.config.as_deref()))?.config;
    let models = chosen(&config, &args.models)?;
    let bar = progress::steps(printer, models.len() as u64);
    let limits = Limits { connect: config.connect_timeout.min(args.timeout), answer: args.timeout };
    let pings: Vec<Ping> = actix_web::rt::System::new().block_on(async {
        let client = client(models.iter().map(|m| &**m), limits)?;
        let mut pings = Vec::new();
        for model in models {
            bar.set_message(model.id.clone());
            pings.push(ping(&client, &model, limits).await);
            bar.inc(1);
        }
        anyhow::Ok(pings)
    })?;
    bar.finish_and_clear();
    if args.json {
        serde_json::to_writer_pretty(printer.data(), &serde_json::json!({ "pings": pings }))?;
        writeln!(printer.data())?;
    } else {
        for ping in &pings {
            show(ping, printer)?;
        }
    }
    Ok(if pings.iter().all(|p| p.ok) { Exit::Success } else { Exit::Failure })
}

fn chosen(config: &Config, names: &[String]) -> anyhow::Result<Vec<Arc<Model>>> {
    if names.is_empty() {
        return Ok(config.models.clone());
    }
    let known = || config.models.iter().map(|m| m.id.as_str()).collect::<Vec<_>>().join(", ");
    names
        .iter()
        .map(|name| {
            let model = config.route(name).cloned();
            model.ok_or_else(|| {
                UsageError(format!("model `{name}` is not configured; known: {}", known())).into()
            })
        })
        .collect()
}

async fn ping(client: &Client, model: &Model, limits: Limits) -> Ping {
    let once = whole(client, model, limits).await;
    let times = once.times;
    Ping {
        model: model.id.clone(),
        provider: model.provider.name.clone(),
        remote_id: model.spec.remote_id.clone(),
        ok: once.failure.is_none(),
        status: once.status,
        connect_ms: times.and_then(|t| t.connect).map(ms),
        first_byte_ms: times.map(|t| ms(t.first_byte)),
        total_ms: times.map_or(0.0, |t| ms(t.total)),
        input_tokens: once.tokens.map(|t| t.input),
        output_tokens: once.tokens.map(|t| t.output),
        hint: once.failure.as_ref().and_then(|f| f.hint.clone()).map(|h| h.text),
        error: once.failure.map(|f| f.message),
    }
}

fn ms(d: Duration) -> f64 {
    (d.as_secs_f64() * 10_000.0).round() / 10.0
}

fn show(ping: &Ping, printer: &mut Printer) -> anyhow::Result<()> {
    let out = printer.text();
    let (style, word) = if ping.ok { (GREEN, "ok  ") } else { (RED, "fail") };
    write!(
        out,
        "{style}{word}{style:#} {BOLD}{}{BOLD:#} ({} at {})",
        ping.model, ping.remote_id, ping.provider
    )?;
    if let Some(status) = ping.status {
        write!(out, "  HTTP {status}")?;
    }
    for (name, value) in [("connect", ping.connect_ms), ("first byte", ping.first_byte_ms)] {
        if let Some(value) = value {
            write!(out, "  {name} {value} ms")?;
        }
    }
    write!(out, "  total {} ms", ping.total_ms)?;
    if let (Some(input), Some(output)) = (ping.input_tokens, ping.output_tokens) {
        write!(out, "  tokens {input} in, {output} out")?;
    }
    writeln!(out)?;
    if let Some(error) = &ping.error {
        writeln!(out, "     {error}")?;
    }
    if let Some(hint) = &ping.hint {
        writeln!(out, "     {CYAN}hint:{CYAN:#} {hint}")?;
    }
    out.flush().context("standard output")
}
