//! The program as users run it: exit codes, what goes to stdout and what to stderr.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod check_config;
mod codes;
mod config;
mod convert;
mod fixtures;
mod general;
mod keys;
mod memory;
mod ping;
mod run;
mod session;
#[path = "../support/mod.rs"]
mod support;
mod upstream;
