//! The pure layers, compiled without the rest of the program.

#[path = "../../../src/convert/mod.rs"]
pub mod convert;
#[path = "../../../src/wire/mod.rs"]
pub mod wire;
