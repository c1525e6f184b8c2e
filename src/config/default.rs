//! What holds for a key that the file does not have: for the program and for the schema. Times
//! are in seconds.

/// `port`.
pub(super) const PORT: u16 = 8888;
/// `upstream_timeout_seconds`.
pub(super) const UPSTREAM_TIMEOUT: u64 = 300;
/// `stream_idle_timeout_seconds`.
pub(super) const STREAM_IDLE_TIMEOUT: u64 = 120;
/// `connect_timeout_seconds`.
pub(super) const CONNECT_TIMEOUT: u64 = 10;
/// `ping_interval_seconds`.
pub(super) const PING_INTERVAL: u64 = 15;
/// `max_body_bytes`: 32 MiB.
pub(super) const MAX_BODY_BYTES: usize = 32 << 20;
/// `max_concurrent_requests`.
pub(super) const MAX_CONCURRENT_REQUESTS: usize = 1024;
/// No key: the client's body.
pub(super) const CLIENT_BODY_TIMEOUT: u64 = 30;
/// `shutdown_grace_seconds`.
pub(super) const SHUTDOWN_GRACE: u64 = 30;
/// `log_body_max_chars`.
pub(super) const LOG_BODY_MAX_CHARS: usize = 4096;
/// `log_stream_text_preview_chars`.
pub(super) const LOG_STREAM_TEXT_PREVIEW_CHARS: usize = 256;
/// `threads.max_bytes`: 1 GiB.
pub(super) const THREADS_MAX_BYTES: u64 = 1 << 30;
/// `threads.max_age_days`.
pub(super) const THREADS_MAX_AGE_DAYS: u64 = 30;
