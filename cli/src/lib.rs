//! The `ebbtide` program's parts: the stage that puts the real functions onto the sandbox, and the demo on it.
//!
//! The stage is what the whole-flow tests use too, so that demo and tests run the same code.

pub mod args;
pub mod demo;
pub mod stage;
