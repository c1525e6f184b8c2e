//! `ping-upstream`: a small real request to the upstream of each model.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use super::args::{GlobalArgs, PingUpstreamArgs};
use super::exit::UsageError;
use super::output::{BOLD, CYAN, GREEN, RED};
use super::{Exit, Printer, progress};
use crate::config::{self, Config, Model};
use crate::convert::{self, ReplyContext};
use crate::upstream::{Cause, Client, Fault, Limits, Stage, tls_config};
use crate::wire::anthropic::{ApiError, Request};

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

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
    hint: Option<&'static str>,
}

/// Runs the command.
pub(super) fn run(
    args: &PingUpstreamArgs,
    global: &GlobalArgs,
    printer: &mut Printer,
) -> anyhow::Result<Exit> {
    let config = config::load(&config::locate(global.config.as_deref()))?.config;
    let models = chosen(&config, &args.models)?;
    let https = models.iter().any(|m| m.provider.completions_url.starts_with("https:"));
    let tls = if https { Some(tls_config()?) } else { None };
    let bar = progress::steps(printer, models.len() as u64);
    let pings: Vec<Ping> = actix_web::rt::System::new().block_on(async {
        let client = Client::new(tls, config.connect_timeout);
        let limits = Limits { connect: config.connect_timeout.min(args.timeout), answer: args.timeout };
        let mut pings = Vec::new();
        for model in models {
            bar.set_message(model.id.clone());
            pings.push(ping(&client, &model, limits).await);
            bar.inc(1);
        }
        pings
    });
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
    let began = Instant::now();
    let mut ping = Ping {
        model: model.id.clone(),
        provider: model.provider.name.clone(),
        remote_id: model.spec.remote_id.clone(),
        ok: false,
        status: None,
        connect_ms: None,
        first_byte_ms: None,
        total_ms: 0.0,
        input_tokens: None,
        output_tokens: None,
        error: None,
        hint: None,
    };
    if let Err(error) = exchange(client, model, limits, began, &mut ping).await {
        ping.hint = ping.hint.or_else(|| hint(ping.status.unwrap_or(error.status)));
        ping.error = Some(error.message);
    } else {
        ping.ok = true;
    }
    ping.total_ms = ms(began.elapsed());
    ping
}

async fn exchange(
    client: &Client,
    model: &Model,
    limits: Limits,
    began: Instant,
    ping: &mut Ping,
) -> Result<(), ApiError> {
    let body = serde_json::json!({
        "model": model.id,
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "Reply with one word: pong"}],
    })
    .to_string();
    let converted = convert::request(&Request::parse(body.as_bytes())?, model.profile, &model.spec)?;
    let mut context = converted.reply;
    context.provider.clone_from(&model.provider.name);
    let told = |fault: Fault| fault.api_error(&model.provider.name);
    let endpoint = client.endpoint(&model.provider).map_err(told)?;
    let asked = endpoint.send(converted.body.into(), converted.upstream_streams, limits).await;
    let mut answer = asked.map_err(|fault| {
        ping.hint = match fault.cause {
            Cause::Tls(_) => {
                Some("is base_url right? A certificate of your own has to be in the system's store")
            }
            _ if fault.stage == Stage::Connect => Some("is base_url right, and the server up?"),
            _ => None,
        };
        told(fault)
    })?;
    ping.status = Some(answer.status);
    ping.connect_ms = answer.connected.map(|at| ms(at.duration_since(answer.began)));
    ping.first_byte_ms = Some(ms(began.elapsed()));
    let until = answer.began + limits.answer;
    let body = answer.body.rest(bytes::Bytes::new(), MAX_ANSWER, until, limits.answer).await.map_err(told)?;
    if answer.status >= 400 {
        return Err(convert::error::error(answer.status, &body, &model.provider.name, Some(&context)));
    }
    let usage = read(&body, context)?;
    ping.input_tokens =
        Some(usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens);
    ping.output_tokens = Some(usage.output_tokens);
    Ok(())
}

/// The usage of an answer, whole or a stream of events.
fn read(body: &[u8], context: ReplyContext) -> Result<convert::Usage, ApiError> {
    if body.trim_ascii_start().starts_with(b"{") {
        return Ok(convert::response(body, context)?.summary.usage);
    }
    let mut fold = convert::WholeTranslator::new(context);
    let mut decoder = crate::wire::sse::SseDecoder::new(MAX_ANSWER);
    decoder.push(body);
    while let Some(Ok(event)) = decoder.last_event() {
        if event.data.trim_ascii() == b"[DONE]" {
            break;
        }
        fold.push(event.name, event.data)?;
    }
    Ok(fold.finish(convert::UpstreamEnd::Eof)?.summary.usage)
}

/// What to look at for a status.
fn hint(status: u16) -> Option<&'static str> {
    Some(match status {
        401 | 403 => "the provider refuses the key: check api_key",
        402 => "the provider's account has no credit",
        404 | 405 => {
            "check remote_id (the model's name upstream) and base_url / completions_path (the URL's path)"
        }
        429 => "the provider limits this key: wait, or use another one",
        502 | 504 => "is base_url right, and the server up?",
        _ => return None,
    })
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
    if let Some(hint) = ping.hint {
        writeln!(out, "     {CYAN}hint:{CYAN:#} {hint}")?;
    }
    out.flush().context("standard output")
}
