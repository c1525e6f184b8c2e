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
#[path = "../support/sources.rs"]
mod sources;
mod support;

#[path = "../../src/pdf/samples.rs"]
#[allow(dead_code, reason = "shared with the library's own tests")]
mod samples;

mod auto_mode;
mod budgets;
mod capture;
mod connect;
mod dashboard;
mod endpoints;
mod faults;
mod https;
mod keys;
mod logs;
mod native;
mod pdf;
mod pool;
mod program;
mod r01_truncation;
mod r02_end_markers;
mod r03_fallbacks;
mod r03_retry;
mod r04_retry_budget;
mod r05_retry_after;
mod r06_dead_pool;
mod r07_keep_alive_race;
mod r08_rest;
mod r09_client_gone;
mod r10_slow_readers;
mod r11_stopped_readers;
mod r12_memory;
mod r13_limits;
mod r14_slowloris;
mod r15_overload;
mod r16_drain;
mod r18_headers;
mod r19_injection;
mod r20_smuggling;
mod r21_secrets;
mod r22_auth;
mod r23_ssrf;
mod r24_tls;
mod r25_compressed;
mod r26_json;
mod r27_lies;
mod r28_utf8;
mod r29_no_crosstalk;
mod r30_reload;
mod r33_metrics;
mod r34_surroundings;
mod r36_affinity;
mod same_code;
mod stream;
mod threads;
mod threads_kill;
mod timeouts;
mod trace;
mod vision;
mod web;
mod web_tools;
mod window;
