//! `env`: the lines of a shell that point Claude Code at `serve`.

use std::io::Write as _;

use super::args::{EnvArgs, EnvShell, GlobalArgs};
use super::environment::{self, PLACEHOLDER, TOKEN};
use super::exit::UsageError;
use super::{Exit, Printer};
use crate::config;

/// Runs the command.
pub(super) fn run(args: &EnvArgs, global: &GlobalArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let path = config::locate(global.config.as_deref());
    let config = config::load(&path)?.config;
    let port = args.port.unwrap_or(config.port);
    if port == 0 {
        let message =
            "port 0 is any free one: say with --port which one `serve` got, or use `claude-proxy run`";
        return Err(UsageError(message.to_owned()).into());
    }
    let shell = args.shell.unwrap_or_else(EnvShell::detect);
    let url =
        environment::base_url(config.tls.as_deref(), args.host.as_deref().unwrap_or(&config.host), port);
    let key = config.ak.as_ref().map_or("none", |ak| ak.expose());
    let vars = environment::variables(&config, url, key.to_owned(), args.model.as_deref())?;
    let variable = config::load::reference(&path, "ak").filter(|_| config.ak.is_some());
    let hidden = config.ak.is_some() && variable.is_none() && printer.is_terminal() && !args.show_key;
    for (name, value) in vars {
        let line = match &variable {
            Some(variable) if name == TOKEN => shell.copy(TOKEN, variable),
            None if name == TOKEN && hidden => shell.assign(TOKEN, PLACEHOLDER),
            _ => shell.set(name, &value),
        };
        writeln!(printer.text(), "{line}")?;
    }
    // Claude Code would ask which of the two it should use.
    if std::env::var_os("ANTHROPIC_API_KEY").is_some_and(|key| !key.is_empty()) {
        writeln!(printer.text(), "{}", shell.unset("ANTHROPIC_API_KEY"))?;
    }
    if printer.is_terminal() {
        printer.note(format_args!("A shell reads these lines by `{}`", shell.usage()));
    }
    if hidden {
        printer.note(format_args!("The key is not shown on a terminal: --show-key"));
    }
    Ok(Exit::Success)
}
