//! Anthropic's Messages API: requests, errors and their words.

mod block;
mod complaint;
pub mod error;
mod fetched;
mod known;
pub mod metadata;
pub mod outline;
pub mod request;
pub mod thread;
mod tool;
mod web;

pub use block::{Block, BlockKind, Found, Place, Source, ToolChange};
pub use error::{ApiError, ErrorKind};
pub use fetched::Fetched;
pub use known::KnownTools;
pub use outline::Outline;
pub use request::{Display, Message, Request, Role, SystemBlock, Thinking, ThinkingKind, Unsupported};
pub use tool::{InputSchema, Tool, ToolChoice, ToolChoiceKind, WebTool};
pub use web::WebSettings;
