//! Anthropic's Messages API: requests, errors and their words.

mod block;
mod complaint;
pub mod error;
mod known;
pub mod outline;
pub mod request;
pub mod thread;
mod tool;

pub use block::{Block, BlockKind, Place, Source, ToolChange};
pub use error::{ApiError, ErrorKind};
pub use known::KnownTools;
pub use outline::Outline;
pub use request::{Display, Message, Request, Role, SystemBlock, Thinking, ThinkingKind, Unsupported};
pub use tool::{InputSchema, Tool, ToolChoice, ToolChoiceKind};
