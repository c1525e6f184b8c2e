//! Anthropic to OpenAI and back: the product. Pure, synchronous, deterministic.
//!
//! Ids, times and randomness are passed in; nothing here opens a file or a socket.

mod body;
pub mod count;
pub mod error;
mod history;
mod ids;
pub mod loss;
mod media;
mod messages;
pub mod profile;
mod reasoning;
pub mod reply;
pub mod request;
pub mod response;
mod schema;
mod signature;
pub mod stream;
mod text;
mod tools;
mod turns;

pub use loss::{Loss, Losses};
pub use profile::Profile;
pub use reply::{ReplyContext, ThinkingMode, Usage};
pub use request::{Converted, ModelSpec, request};
pub use response::{WholeAnswer, WholeTranslator, response};
pub use stream::{StreamTranslator, Summary, UpstreamEnd};
