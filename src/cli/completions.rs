//! `completions`: the scripts under completions/.

use std::io::Write as _;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::{Cli, CompletionsArgs};
use super::{Exit, Printer};

/// The completion script for one shell.
pub fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "claude-proxy", &mut script);
    script
}

/// Runs the command.
pub(super) fn run(args: &CompletionsArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    printer.data().write_all(&script(args.shell))?;
    Ok(Exit::Success)
}
