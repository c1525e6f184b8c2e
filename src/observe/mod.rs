//! What the operator sees: log lines and their field names. A leaf: imports no other layer.

pub mod capture;
pub mod log;
mod plain;
pub mod record;

pub use capture::{Capture, Exchange};
pub use log::{LogFormat, clip};
pub use record::{Outcome, Record};
