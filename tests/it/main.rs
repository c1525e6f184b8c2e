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
    clippy::print_stderr,
    clippy::needless_pass_by_value,
    reason = "tests fail by panicking, wait on threads of their own, and tell figures"
)]

#[path = "../support/grammar.rs"]
#[allow(dead_code, reason = "shared with other test binaries")]
mod grammar;
mod support;

mod auth;
mod capture;
mod connect;
mod endpoints;
mod faults;
mod headers;
mod https;
mod limits;
mod overload;
mod pool;
mod program;
mod r01_truncation;
mod r02_end_markers;
mod r09_client_gone;
mod r10_slow_readers;
mod r11_stopped_readers;
mod r12_memory;
mod r16_drain;
mod r24_tls;
mod r25_compressed;
mod r27_lies;
mod r28_utf8;
mod r29_no_crosstalk;
mod r30_reload;
mod same_code;
mod stream;
mod timeouts;
