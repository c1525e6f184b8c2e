//! OpenAI's Chat Completions: chunks, whole completions, usage. Deviations of real servers
//! are read, not judged: what has the wrong type counts as absent.

mod chunk;
mod mould;
mod usage;

pub use chunk::{Arguments, Choice, Chunk, Content, Delta, MAX_ENTRIES, ToolDelta};
pub use mould::{Mould, Spot};
pub use usage::Usage;
