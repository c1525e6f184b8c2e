//! What the bytes say: JSON kept as it came, server-sent events, and the shapes of both
//! protocols. No policy: nothing here decides what a field means on the other side.

pub mod anthropic;
pub mod json;
pub mod openai;
pub mod sse;
