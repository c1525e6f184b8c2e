//! `models`: what the configuration offers, and with `--remote` whether the providers have it.

use std::io::Write as _;
use std::sync::Arc;

use comfy_table::{ContentArrangement, Table, presets};
use futures_util::future::join_all;
use serde::Serialize;

use super::args::{GlobalArgs, ModelsArgs};
use super::output::BOLD;
use super::remote::{self, Listing, any_of};
use super::{Exit, Printer, ping, progress};
use crate::config::{self, Api, Config, Provider};
use crate::upstream::Limits;

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    display_name: &'a str,
    provider: &'a str,
    remote_id: &'a str,
    profile: &'a str,
    /// Only where it is not `openai`.
    #[serde(skip_serializing_if = "Option::is_none")]
    api: Option<&'static str>,
    /// Only where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<PerMillion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<Remote>,
}

/// What a million tokens cost.
#[derive(Clone, Copy, Serialize)]
struct PerMillion {
    input: f64,
    output: f64,
    cached: f64,
}

/// What the provider's own list says of a model.
#[derive(Serialize)]
struct Remote {
    listed: Presence,
    /// Names of the list that look like a missing one, the likeliest first.
    near: Vec<String>,
    /// Why there is no list.
    detail: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Presence {
    /// It is there.
    Yes,
    /// The list has no such name.
    Missing,
    /// The provider has no list.
    Unknown,
    /// The list could not be had.
    Failed,
}

/// Runs the command.
pub(super) fn run(args: &ModelsArgs, global: &GlobalArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let config = config::load(&config::locate(global.config.as_deref()))?.config;
    let lists = if args.remote { lists(&config, args, printer)? } else { Vec::new() };
    let rows: Vec<Row<'_>> = config
        .models
        .iter()
        .map(|m| Row {
            id: &m.id,
            display_name: &m.display_name,
            provider: &m.provider.name,
            remote_id: &m.spec.remote_id,
            profile: &m.profile.name,
            api: Some(m.provider.api).filter(|api| *api != Api::OpenAi).map(Api::as_str),
            price: m.price.map(|price| {
                let [input, output, cached] = price.per_million();
                PerMillion { input, output, cached }
            }),
            remote: lists
                .iter()
                .find(|(provider, _)| Arc::ptr_eq(provider, &m.provider))
                .map(|(_, list)| compare(list, &m.spec.remote_id)),
        })
        .collect();
    if args.json {
        serde_json::to_writer_pretty(printer.data(), &serde_json::json!({ "models": rows }))?;
        writeln!(printer.data())?;
    } else {
        table(&rows, args.remote, printer)?;
    }
    printer.flush()?;
    complain(&lists, &rows, printer);
    let bad = |r: &Row<'_>| {
        r.remote.as_ref().is_some_and(|r| matches!(r.listed, Presence::Missing | Presence::Failed))
    };
    Ok(if rows.iter().any(bad) { Exit::Failure } else { Exit::Success })
}

/// The list of every provider that serves a model, asked side by side.
fn lists(
    config: &Config,
    args: &ModelsArgs,
    printer: &Printer,
) -> anyhow::Result<Vec<(Arc<Provider>, Listing)>> {
    let mut providers: Vec<Arc<Provider>> = Vec::new();
    for model in &config.models {
        if !providers.iter().any(|p| Arc::ptr_eq(p, &model.provider)) {
            providers.push(Arc::clone(&model.provider));
        }
    }
    let limits = Limits { connect: config.connect_timeout.min(args.timeout), answer: args.timeout };
    let bar = progress::steps(printer, providers.len() as u64);
    bar.set_message("asking for model lists");
    let lists = actix_web::rt::System::new().block_on(async {
        let client = ping::client(config.models.iter().map(|m| &**m), limits)?;
        let asked = providers.iter().map(|provider| async {
            let list = remote::list(&client, provider, limits).await;
            bar.inc(1);
            list
        });
        anyhow::Ok(join_all(asked).await)
    })?;
    bar.finish_and_clear();
    Ok(providers.into_iter().zip(lists).collect())
}

fn compare(list: &Listing, remote_id: &str) -> Remote {
    let (listed, near, detail) = match list {
        Listing::Known(list) if remote::find(list, remote_id).is_some() => (Presence::Yes, Vec::new(), None),
        Listing::Known(list) => (Presence::Missing, remote::near(list, remote_id), None),
        Listing::None(why) => (Presence::Unknown, Vec::new(), Some(why.clone())),
        Listing::Failed(why) => (Presence::Failed, Vec::new(), Some(why.clone())),
    };
    Remote { listed, near, detail }
}

/// On stderr: a line for each list that could not be had, for each that does not exist, and for
/// each missing model.
fn complain(lists: &[(Arc<Provider>, Listing)], rows: &[Row<'_>], printer: &mut Printer) {
    for (provider, list) in lists {
        let name = &provider.name;
        match list {
            Listing::Failed(why) => {
                printer.error(format_args!("provider `{name}`: its list of models could not be had: {why}"));
            }
            Listing::None(why) => {
                printer.warning(format_args!("provider `{name}`: {why}: nothing is known of its models"));
            }
            Listing::Known(_) => {}
        }
    }
    for row in rows {
        let Some(Remote { listed: Presence::Missing, near, .. }) = &row.remote else { continue };
        let Row { id, provider, remote_id, .. } = row;
        let hint = match near.as_slice() {
            [] => String::new(),
            near => format!(", did you mean {}?", any_of(near)),
        };
        printer.error(format_args!(
            "model `{id}`: the list of provider `{provider}` has no `{remote_id}`{hint}"
        ));
    }
}

fn table(rows: &[Row<'_>], remote: bool, printer: &mut Printer) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let head = ["ID", "NAME", "PROVIDER", "REMOTE ID", "PROFILE"];
    let priced = rows.iter().any(|row| row.price.is_some());
    let prices = ["IN", "OUT", "CACHED"].into_iter().filter(|_| priced);
    table.set_header(head.into_iter().chain(prices).chain(remote.then_some("REMOTE")));
    for row in rows {
        // Where requests pass through, no profile says what is made of them.
        let profile = if row.api.is_some() { "-" } else { row.profile };
        let cells = [row.id, row.display_name, row.provider, row.remote_id, profile];
        let last = row.remote.as_ref().map(|r| match r.listed {
            Presence::Yes => "listed",
            Presence::Missing => "missing",
            Presence::Unknown => "unknown",
            Presence::Failed => "failed",
        });
        let prices = row.price.map(|p| [p.input, p.output, p.cached].map(|amount| amount.to_string()));
        let prices = prices.unwrap_or_else(|| ["-"; 3].map(str::to_owned)).into_iter().filter(|_| priced);
        let cells = cells.into_iter().map(str::to_owned).chain(prices);
        table.add_row(cells.chain(last.map(str::to_owned)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for (n, line) in table.lines().enumerate() {
        let line = line.trim_end();
        if n == 0 {
            writeln!(printer.text(), "{BOLD}{line}{BOLD:#}")?;
        } else {
            writeln!(printer.text(), "{line}")?;
        }
    }
    Ok(())
}
