//! claude-proxy lets any Anthropic client talk to any OpenAI-compatible model server.
//!
//! Layers, arrows one way; a module imports its own layer and layers to its right:
//!
//! ```text
//! cli  ->  server  ->  web  ->  upstream  ->  config  ->  convert  ->  wire
//!               observe (leaf: log and metric names; used by server, upstream, cli)
//!               store (leaf: what is kept on disk; used by server)
//! ```
//!
//! | layer | its one question |
//! |---|---|
//! | [`wire`] | what do the bytes say? framing and types of both protocols, no policy |
//! | [`convert`] | what does it mean on the other side? the product: pure, synchronous, no I/O |
//! | [`config`] | what did the user ask for? config.json, checked and immutable |
//! | [`web`] | what does the web say? a search, or a page from anywhere but from near |
//! | [`upstream`] | one HTTP exchange with a provider |
//! | [`server`] | Anthropic's HTTP surface |
//! | [`store`] | what outlives the process? one file; a leaf, used by [`server`] |
//! | [`cli`] | one file per command |
//! | [`demo`] | what does an upstream say that needs no model? a leaf, used by [`cli`] |
//! | [`pdf`] | what does a PDF say? a leaf, used by [`server`] and, as the process that reads, by [`cli`] |
//!
//! `serve` on a socket and `convert` on a file run the same code: `serve` is the pump with a
//! socket on both ends, `convert` is the pump without one. `tests/layers.rs` keeps the arrows.

pub mod cli;
pub mod config;
pub mod convert;
pub mod demo;
pub mod observe;
pub mod pdf;
pub mod server;
pub mod store;
pub mod upstream;
pub mod web;
pub mod wire;
