//! The `claude-proxy` program: see [`claude_proxy::cli`].

use std::process::ExitCode;

/// With musl's own allocator a request of 120 KB costs 3.5 times as much CPU; with glibc's this one
/// is not worth its memory. Figures: docs/performance.md, "The static build".
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    claude_proxy::cli::run(std::env::args_os()).into()
}
