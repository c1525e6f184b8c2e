//! `ping-upstream`: small real requests to the upstream of each model, and what they tell.
//!
//! [`whole`] sends one; [`examine()`] measures several and asks the probes of [`probe`], on which
//! [`judge`] decides; [`fit`] draws conclusions, [`report`] prints them, [`hint`] looks for the
//! reason of a failure.

mod ask;
mod examine;
mod fit;
mod hint;
mod judge;
mod keys;
mod native;
mod once;
mod probe;
mod prober;
mod report;
mod said;
mod search;
mod spread;

use std::io::Write as _;
use std::sync::Arc;

use super::args::{GlobalArgs, PingUpstreamArgs};
use super::exit::UsageError;
use super::{Exit, Printer, progress};
use crate::config::{self, Config, Model};
use crate::upstream::Limits;
use examine::{Plan, examine};
use report::Ping;

pub(in crate::cli) use once::{client, whole};

/// Runs the command.
pub(super) fn run(
    args: &PingUpstreamArgs,
    global: &GlobalArgs,
    printer: &mut Printer,
) -> anyhow::Result<Exit> {
    let config = config::load(&config::locate(global.config.as_deref()))?.config;
    if let Some(query) = &args.search {
        return search::run(&config, query, args, printer);
    }
    let models = chosen(&config, &args.models)?;
    let limits = Limits { connect: config.connect_timeout.min(args.timeout), answer: args.timeout };
    let plan = Plan { count: args.count, quick: args.quick, limits };
    let bar = progress::steps(printer, plan.steps() * models.len() as u64);
    let mut pings = Vec::new();
    actix_web::rt::System::new().block_on(async {
        for (n, model) in models.iter().enumerate() {
            bar.set_message(model.id.clone());
            let ping = Ping::new(model, examine(model, plan, &bar).await?);
            bar.set_position(plan.steps() * (n as u64 + 1));
            if !args.json {
                bar.suspend(|| {
                    if args.suggest {
                        return ping.suggest(printer);
                    }
                    if n > 0 {
                        writeln!(printer.text())?;
                    }
                    ping.show(printer)
                })?;
            }
            pings.push(ping);
        }
        anyhow::Ok(())
    })?;
    bar.finish_and_clear();
    if args.json {
        serde_json::to_writer_pretty(printer.data(), &serde_json::json!({ "pings": pings }))?;
        writeln!(printer.data())?;
    }
    let good = if args.suggest { Ping::has_advice } else { Ping::ok };
    Ok(if pings.iter().all(good) { Exit::Success } else { Exit::Failure })
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
