//! Upstreams that speak the Messages API themselves: bytes pass through, and are looked at.
//!
//! The name of the model is put in, and what only claude-proxy can read is taken out of a
//! history that another upstream helped to write; all else stays as it came.

mod answer;
pub(super) mod edit;
mod error;
mod relay;
mod request;
mod seen;
mod usage;

pub use answer::{answer, check_form};
pub use error::error;
pub use relay::Relay;
pub use request::{History, Passed, request};
