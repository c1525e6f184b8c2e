//! Anthropic's Messages API: requests, errors and the names of its stream events.

pub mod error;
pub mod request;

pub use error::{ApiError, ErrorKind};
pub use request::Request;
