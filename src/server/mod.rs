//! Anthropic's HTTP surface, on actix-web.

mod adapt;
mod admit;
mod app;
mod attempt;
mod auth;
mod budgets;
mod clocks;
mod closing;
mod connection;
mod count_tokens;
mod current;
mod dashboard;
mod drain;
mod failover;
mod front;
#[cfg(feature = "otel")]
mod hop;
mod ids;
mod intake;
mod judge;
mod listen;
mod media;
mod memo;
mod messages;
mod meters;
mod models;
mod probe;
mod pump;
mod reading;
mod reload;
mod reply;
mod rounds;
mod side;
mod source;
mod talk;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the upstream is a thread of its own")]
mod tests;
mod threads;
mod tls;
mod upstreams;
mod vision;
mod whole;
mod window;
mod work;

pub use admit::Load;
pub use dashboard::Setup;
pub use listen::{BindError, Bound, Server, Stop};
pub use reload::{Reload, ReloadError, Reloaded};
