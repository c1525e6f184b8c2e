//! Anthropic's HTTP surface, on actix-web.

mod admit;
mod app;
mod auth;
mod clocks;
mod connection;
mod count_tokens;
mod current;
mod drain;
mod front;
mod ids;
mod intake;
mod listen;
mod messages;
mod models;
mod probe;
mod pump;
mod reload;
mod reply;
mod talk;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the upstream is a thread of its own")]
mod tests;
mod tls;
mod whole;

pub use admit::Load;
pub use listen::{BindError, Bound, Server, Stop};
pub use reload::{Reload, ReloadError, Reloaded};
