//! Anthropic to OpenAI and back: the product. Pure, synchronous, deterministic.
//!
//! Ids, times and randomness are passed in; nothing here opens a file or a socket.

pub mod count;
pub mod error;
pub mod loss;
pub mod profile;
pub mod reply;
pub mod request;
pub mod response;
pub mod stream;

pub use loss::{Loss, Losses};
pub use profile::Profile;
pub use reply::{ReplyContext, ThinkingMode, Usage};
pub use request::{Converted, ModelSpec, request};
pub use response::{WholeAnswer, WholeTranslator, response};
pub use stream::{StreamTranslator, Summary, UpstreamEnd};
