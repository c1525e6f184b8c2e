//! One HTTP exchange with a provider.
//!
//! awc 3.11 is kept on a short leash here; every setting that is not its default has its
//! reason beside it, because each of them cost somebody days (see [`client`] and [`body`]).
//!
//! awc is not `Send` and panics outside a `LocalSet`: whoever uses this layer runs inside
//! `actix_rt::System`, with one [`Client`] per worker.

mod affinity;
mod aside;
pub mod attempt;
pub mod body;
pub mod breaker;
mod chunks;
pub mod client;
mod crossing;
mod dial;
pub mod fault;
mod framing;
pub mod health;
pub mod retry;
mod spare;
mod stream;
mod tls;
mod transport;
mod tunnel;
mod visit;

pub use affinity::Session;
pub use attempt::{Answer, Limits, RETRY_AFTER_MS};
pub use body::Body;
pub use client::{Client, Endpoint};
pub use crossing::Crossing;
pub use dial::Route;
pub use fault::{Cause, Fault, ProxyFault, Retry, Stage, TlsFault};
pub use spare::Spare;
pub use tls::TlsError;
pub use transport::Transports;
pub use visit::Visitor;
