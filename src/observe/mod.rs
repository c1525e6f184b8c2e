//! What the operator sees: log lines, metrics, captures. A leaf: imports no other layer.

pub mod activity;
pub mod capture;
pub mod cost;
mod lines;
pub mod log;
pub mod metrics;
#[cfg(feature = "otel")]
pub mod otel;
pub mod own;
mod plain;
pub mod record;
mod request_line;
pub mod side;
pub mod trace;

pub use activity::Activity;
pub use capture::{Capture, Exchange};
pub use log::{LogFormat, clip};
pub use metrics::Metrics;
pub use record::{Cause, Outcome, Record};
pub use trace::Trace;
