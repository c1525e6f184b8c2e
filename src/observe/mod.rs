//! What the operator sees: log lines, metrics, captures. A leaf: imports no other layer.

pub mod activity;
pub mod capture;
mod lines;
pub mod log;
pub mod metrics;
mod plain;
pub mod record;
mod request_line;
pub mod side;

pub use activity::Activity;
pub use capture::{Capture, Exchange};
pub use log::{LogFormat, clip};
pub use metrics::Metrics;
pub use record::{Outcome, Record};
