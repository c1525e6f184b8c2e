//! `env`: the lines of a shell that point Claude Code at `serve`.

use std::io::Write as _;

use super::args::{EnvArgs, EnvShell, GlobalArgs};
use super::environment::{self, ClientKey, KEY_VARIABLE, PLACEHOLDER, PLACEHOLDERS, TOKEN};
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
    let set = std::env::var(KEY_VARIABLE).ok();
    let model = args.model.as_deref();
    let (key, variable, written) = match environment::client_key(&config, model, set.as_deref()) {
        ClientKey::None => ("none", None, false),
        ClientKey::Written(key, place) => (key.expose(), config::load::reference(&path, &place), true),
        ClientKey::Variable => ("", Some(KEY_VARIABLE.to_owned()), true),
        ClientKey::Unknown => ("", None, true),
    };
    let vars = environment::variables(&config, url, key.to_owned(), model)?;
    if written && key.is_empty() && variable.is_none() {
        anyhow::bail!(
            "which key? Of those in `keys` that may use the model the file has only digests: put yours into {KEY_VARIABLE}"
        );
    }
    let hidden = written && variable.is_none() && printer.is_terminal() && !args.show_key;
    let placeholder = if config.ak.is_some() { PLACEHOLDER } else { PLACEHOLDERS };
    for (name, value) in vars {
        let line = match &variable {
            Some(variable) if name == TOKEN => shell.copy(TOKEN, variable),
            None if name == TOKEN && hidden => shell.assign(TOKEN, placeholder),
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
