//! The proxy against a scripted upstream over raw TCP: one module a promise.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    reason = "tests fail by panicking, and wait on threads of their own"
)]

#[path = "../support/grammar.rs"]
#[allow(dead_code, reason = "shared with other test binaries")]
mod grammar;
mod support;

mod auth;
mod capture;
mod disconnect;
mod endpoints;
mod faults;
mod headers;
mod limits;
mod load;
mod overload;
mod pool;
mod program;
mod r16_drain;
mod r30_reload;
mod same_code;
mod stream;
mod timeouts;
