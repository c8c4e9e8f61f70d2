//! The shell around the decisions: gather, decide, execute; slices; the Lambda entry.
//!
//! ```text
//!   Lambda ─> entry ─> slice::handle ─> turn: gather ─ decide ─ join ─ execute ─┐
//!                          ^                                                    │
//!                          └───────────── due soon? ────────────────────────────┘
//! ```
//! One place reads the environment (config), one the wall clock (clock), one installs the log subscriber (telemetry).

pub mod app;
pub mod breaker;
pub mod cache;
mod caught;
pub mod clock;
pub mod config;
pub mod connect;
mod denied;
pub mod entry;
pub mod execute;
pub mod gather;
pub mod limiter;
pub mod message;
pub mod metric;
mod news;
mod once;
mod record;
pub mod retry;
pub mod slice;
pub mod telemetry;
pub mod turn;
