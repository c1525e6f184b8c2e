//! The command line: one file per command.
//!
//! Each command has its options in [`args`] and a `run(args, global, printer)` in its own file
//! that returns how it ended. Only [`run()`] turns errors into messages.

pub mod args;
mod check_config;
pub mod completions;
mod convert;
mod demo;
mod env;
mod environment;
pub mod exit;
mod init;
pub mod man;
mod models;
pub mod output;
mod percent;
mod ping;
mod progress;
mod reload;
mod remote;
mod run;
mod serve;
mod service;
mod tidy;
mod watch;

use std::ffi::OsString;
use std::io::Write as _;

use clap::{CommandFactory as _, FromArgMatches as _};

pub use exit::Exit;
pub use output::Printer;

use args::{BRIEF, Cli, Command};
use exit::UsageError;

use crate::observe::log;
use crate::pdf;

/// Runs the program with these arguments (the first is its name).
pub fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let args: Vec<OsString> = args.into_iter().collect();
    if pdf::is_child(&args) {
        return pdf::child().map_or(Exit::Failure, |()| Exit::Success);
    }
    if completions::answer(&args) {
        return Exit::Success;
    }
    if args.len() < 2 {
        // Whoever wrote this into a script has forgotten something.
        let _ = write!(anstream::stderr(), "{BRIEF}");
        return Exit::Usage;
    }
    let command = Cli::command().color(args::help_color(&args));
    let parsed = command.try_get_matches_from(args).and_then(|m| Cli::from_arg_matches(&m));
    let cli = match parsed {
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
        Command::Init(args) => init::run(args, global, printer),
        Command::Man(args) => man::run(args, printer),
        Command::Run(args) => run::run(args, global, printer),
        Command::Env(args) => env::run(args, global, printer),
        Command::Serve(args) => serve::run(args, global, printer),
        Command::Demo(args) => demo::run(args, global, printer),
        Command::Convert(args) => convert::run(args, global, printer),
        Command::CheckConfig(args) => check_config::run(args, global, printer),
        Command::Models(args) => models::run(args, global, printer),
        Command::PingUpstream(args) => ping::run(args, global, printer),
        Command::Completions(args) => completions::run(args, printer),
    };
    log::flush();
    let done = done.and_then(|exit| {
        printer.flush()?;
        Ok(exit)
    });
    match done {
        Ok(exit) => exit,
        Err(_) if printer.is_closed() => Exit::Success,
        Err(e) => {
            printer.error(format_args!("{}", in_one_line(&e)));
            if e.is::<UsageError>() { Exit::Usage } else { Exit::Failure }
        }
    }
}

/// The error and its causes, without those that an error before them has told already.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !line.contains(&cause) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&cause);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    #[test]
    fn causes_are_told_once() {
        let inner = std::io::Error::other("port taken");
        let error = anyhow::Error::new(inner).context("cannot listen: port taken").context("serve");
        assert_eq!(super::in_one_line(&error), "serve: cannot listen: port taken");
        let error = anyhow::anyhow!("no such file").context("cannot read x");
        assert_eq!(super::in_one_line(&error), "cannot read x: no such file");
    }
}
