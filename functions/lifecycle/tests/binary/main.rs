//! The real binary over the real Runtime API, on loopback: its start, its answers, its end.
//!
//! What it decides is tested elsewhere, on virtual time. Here is what only the process shows: settings from the
//! environment, the wire of Lambda and of the AWS services, exit codes, log lines. A release binary is tested
//! in place of the debug one when `LIFECYCLE_BINARY` names it at build time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod bare;
mod batch;
mod start;

use serde_json::Value;
use std::path::{Path, PathBuf};
use tests::aws::{Account, Call};
use tests::environment::{Ended, Environment, QUEUES};
use tests::event::actions;

/// What Lambda would send; also what `cargo lambda` does, for which every deadline is in 1970.
const IN_1970: i64 = 600_000;
/// 2100-01-01: far enough for any clock that this runs on.
const IN_2100: i64 = 4_102_444_800_000;

fn binary() -> &'static Path {
    Path::new(option_env!("LIFECYCLE_BINARY").unwrap_or(env!("CARGO_BIN_EXE_lifecycle")))
}

fn events() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events")
}

/// The event as text.
fn event(name: &str) -> String {
    std::fs::read_to_string(events().join(name)).unwrap()
}

/// An AWS in which the event is true.
fn account_of(event: &str) -> Account {
    Account { actions: actions(&serde_json::from_str(event).unwrap()), ..Account::default() }
}

/// What one invocation of a fresh environment led to.
struct Seen {
    answer: Value,
    calls: Vec<Call>,
    ended: Ended,
}

impl Seen {
    fn operations(&self) -> Vec<&str> {
        self.calls.iter().map(|call| call.operation.as_str()).collect()
    }

    /// The bodies of the calls of one operation.
    fn bodies(&self, operation: &str) -> Vec<&str> {
        let calls = self.calls.iter().filter(|call| call.operation == operation);
        calls.map(|call| call.body.as_str()).collect()
    }

    /// The log's lines with this message.
    fn lines(&self, message: &str) -> Vec<Value> {
        let lines = self.ended.stdout.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.filter(|line: &Value| line["fields"]["message"] == message).collect()
    }
}

/// Starts the function, with queues, in mode `act` unless the settings say otherwise, and invokes it once.
#[track_caller]
fn invoke(account: Account, settings: &[(&str, &str)], payload: &str, deadline_ms: i64) -> Seen {
    let mut all: Vec<(&str, &str)> = QUEUES.to_vec();
    // The whole of AWS's budgets: waiting for our share of them is tested on virtual time.
    all.extend([("MODE", "act"), ("MAXIMUM_CONCURRENCY", "2")]);
    all.extend(settings);
    let mut function = Environment::start(binary(), account, &all).unwrap();
    let answer = function.invoke(payload, deadline_ms);
    let calls = function.aws.calls();
    let ended = function.end().unwrap();
    let answer =
        answer.unwrap_or_else(|failure| panic!("{failure:?}\n{}{}", ended.stdout, ended.stderr));
    Seen { answer, calls, ended }
}
