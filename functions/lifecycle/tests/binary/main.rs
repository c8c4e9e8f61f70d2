//! The real binary over the real Runtime API, on loopback: its start, its answers, its end.
//!
//! What it decides is tested elsewhere, on virtual time. Here is what only the process shows: settings from the
//! environment, the wire of Lambda and of the AWS services, exit codes, log lines. A release binary is tested
//! in place of the debug one when `LIFECYCLE_BINARY` names it at build time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod bare;
mod batch;
mod queue;
mod start;

use std::path::Path;
use tests::aws::Account;
use tests::invocation::{self, Seen};

fn binary() -> &'static Path {
    Path::new(option_env!("LIFECYCLE_BINARY").unwrap_or(env!("CARGO_BIN_EXE_lifecycle")))
}

/// Invokes a fresh environment once.
#[track_caller]
fn invoke(account: Account, settings: &[(&str, &str)], payload: &str, deadline_ms: i64) -> Seen {
    invocation::invoke(binary(), account, settings, (payload, deadline_ms))
}
