//! The text of PDF documents.
//!
//! A PDF comes from anywhere, and reading one means unpacking, nesting and following what its
//! author wished. So each is read by a process of its own, this very program started once more:
//! it can be given a limit of memory and be killed at a deadline, and whatever happens in it
//! happens to it alone. [`Reader`] starts it, [`child`] is what it does.

mod child;
mod extract;
mod reader;
#[cfg(test)]
#[allow(dead_code, unreachable_pub, reason = "tests/it has them too")]
mod samples;

pub use child::{child, is_child};
pub use reader::{Reader, Unread};

/// Pages beyond it are left out: what Anthropic's API takes of a document.
///
/// Source: Anthropic documentation, "PDF support".
pub const MAX_PAGES: usize = 100;
/// Text beyond it is left out, in characters: 75,000 tokens, about.
pub const MAX_CHARS: usize = 300_000;
