//! The judge of Claude Code's auto mode: what it is asked about a tool call, and what its answer
//! is worth.
//!
//! A request with `safeguards` wants a verdict on each tool call of its answer. Everything that
//! somebody other than the user may have written reaches the judge as data on lines of their own
//! (see [`fence`]), and an answer that is not exactly a verdict is none: nothing is ever called
//! harmless because something went wrong.

mod case;
mod fence;
mod question;
mod talk;
mod verdict;
mod words;

pub use case::Case;
pub use question::{MAX_INPUT, Manner};
pub use verdict::{Reason, Verdict, results};

#[cfg(test)]
mod tests;
