//! A Lambda for real binaries: an event source mapping that feeds processes from a queue of the sandbox.
//!
//! Each process is one environment, with a Runtime API of its own on loopback and AWS's variables, and nothing
//! else of the machine's. The mapping polls, scales, retries and times out by the rules that the in-process
//! `sandbox::lambda` has too; here a cold start is a process start, and a kill is SIGKILL.
//!
//! ```text
//!   sandbox's SQS ─> Poller ─> batch ─> idle or new process ── GET next, POST response ─> delete, or visible later
//!                                          kill, freeze, thaw: signals
//! ```

mod fleet;
mod mapping;
mod proc;
mod runtime_api;

pub use fleet::{Process, State};
pub use mapping::{Function, Mapping};
