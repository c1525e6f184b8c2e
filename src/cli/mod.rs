//! The command line: one file per command.
//!
//! Each command has its options in [`args`] and a `run(args, global, printer)` in its own file
//! that returns how it ended. Only [`run()`] turns errors into messages.

pub mod args;
mod check_config;
pub mod completions;
mod convert;
mod demo;
pub mod exit;
mod models;
pub mod output;
mod ping_upstream;
mod progress;
mod serve;

use std::ffi::OsString;

use clap::Parser as _;

pub use exit::Exit;
pub use output::Printer;

use args::{Cli, Command};
use exit::UsageError;

/// Runs the program with these arguments (the first is its name).
pub fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and the version come this way too; a closed pipe is no failure.
            let _ = e.print();
            return if e.use_stderr() { Exit::Usage } else { Exit::Success };
        }
    };
    let global = &cli.global;
    let mut printer = Printer::new(global);
    let printer = &mut printer;
    let done = match &cli.command {
        Command::Serve(args) => serve::run(args, global, printer),
        Command::Demo(args) => demo::run(args, global, printer),
        Command::Convert(args) => convert::run(args, global, printer),
        Command::CheckConfig(args) => check_config::run(args, global, printer),
        Command::Models(args) => models::run(args, global, printer),
        Command::PingUpstream(args) => ping_upstream::run(args, global, printer),
        Command::Completions(args) => completions::run(args, printer),
    };
    let done = done.and_then(|exit| {
        printer.flush()?;
        Ok(exit)
    });
    match done {
        Ok(exit) => exit,
        Err(_) if printer.is_closed() => Exit::Success,
        Err(e) => {
            printer.error(format_args!("{e:#}"));
            if e.is::<UsageError>() { Exit::Usage } else { Exit::Failure }
        }
    }
}
