//! The `claude-proxy` program: see [`claude_proxy::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    claude_proxy::cli::run(std::env::args_os()).into()
}
