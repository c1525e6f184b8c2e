//! Anthropic's HTTP surface, on actix-web.

mod admit;
mod app;
mod auth;
mod clocks;
mod count_tokens;
mod drain;
mod form;
mod ids;
mod intake;
mod listen;
mod messages;
mod models;
mod probe;
mod pump;
mod reply;
mod whole;

pub use listen::{BindError, Bound, Server, Stop};
