//! An OpenAI-compatible upstream that needs no model: for a first look, and for tests.
//!
//! It streams text word by word, shows reasoning when it is asked to, calls a tool that was
//! offered when the prompt wants it, and answers after the tool's result.

mod script;
mod server;

pub use server::{Demo, Seen};
