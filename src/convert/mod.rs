//! Anthropic to OpenAI and back: the product. Pure, synchronous, deterministic.
//!
//! Ids, times and randomness are passed in; nothing here opens a file or a socket.

mod arguments;
mod body;
mod calls;
pub mod count;
pub mod error;
pub mod feed;
mod fields;
pub mod flow;
pub mod fold;
pub mod form;
mod history;
pub mod hold;
mod ids;
pub mod loss;
mod machine;
mod media;
mod messages;
pub mod native;
mod output_limit;
pub mod overflow;
pub mod profile;
mod reasoning;
pub mod recorded;
pub mod reply;
pub mod request;
pub mod response;
mod room;
pub mod safeguards;
mod schema;
mod signature;
mod sink;
pub mod stand_in;
mod stop;
pub mod stream;
mod text;
mod think;
mod thoughts;
mod tools;
mod turns;
mod usage;
pub mod web;

pub use feed::Feed;
pub use flow::Flow;
pub use fold::Fold;
pub use form::Form;
pub use hold::{CompletedCall, HeldEnd, Holds};
pub use loss::{Loss, Losses};
pub use profile::Profile;
pub use recorded::{Recorded, Resumed};
pub use reply::{ReplyContext, ThinkingMode, Usage};
pub use request::{Converted, ModelSpec, request};
pub use response::{WholeAnswer, WholeTranslator, response, response_held, response_into};
pub use stream::{StreamTranslator, Summary, UpstreamEnd};
pub use web::{WebTools, continued};
