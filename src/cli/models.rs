//! `models`: what the configuration offers.

use std::io::Write as _;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::args::{GlobalArgs, ModelsArgs};
use super::output::BOLD;
use super::{Exit, Printer};
use crate::config;

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    display_name: &'a str,
    provider: &'a str,
    remote_id: &'a str,
    profile: &'a str,
}

/// Runs the command.
pub(super) fn run(args: &ModelsArgs, global: &GlobalArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let config = config::load(&config::locate(global.config.as_deref()))?.config;
    let rows: Vec<Row<'_>> = config
        .models
        .iter()
        .map(|m| Row {
            id: &m.id,
            display_name: &m.display_name,
            provider: &m.provider.name,
            remote_id: &m.spec.remote_id,
            profile: &m.profile.name,
        })
        .collect();
    if args.json {
        serde_json::to_writer_pretty(printer.data(), &serde_json::json!({ "models": rows }))?;
        writeln!(printer.data())?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let head = ["ID", "NAME", "PROVIDER", "REMOTE ID", "PROFILE"];
    table.set_header(head);
    for row in &rows {
        table.add_row([row.id, row.display_name, row.provider, row.remote_id, row.profile]);
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
    Ok(Exit::Success)
}
