//! The real binary over the real Runtime API, on loopback: every interruption there is, batches of them, and what is not
//! ours.
//!
//! What it decides is tested elsewhere, on virtual time. Here is what only the process shows: settings from the
//! environment, the wire of Lambda and of the AWS services, log lines. A release binary is tested in place of the debug
//! one when `INTERRUPTION_BINARY` names it at build time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod bare;
mod batch;
mod scope;
mod start;

use std::path::Path;
use tests::aws::Account;
use tests::environment::Ended;
use tests::event::{actions, sample};
use tests::invocation::{IN_2100, Seen, account_of, invoke};

fn binary() -> &'static Path {
    Path::new(option_env!("INTERRUPTION_BINARY").unwrap_or(env!("CARGO_BIN_EXE_interruption")))
}

/// A sample of a scheduled change in a hundred years, so that it is announced whatever the clock says.
fn announced(name: &str) -> String {
    replaced(&sample(name), "Sun, 06 Dec 2026", "Fri, 06 Dec 2126")
}

/// The same when it is due.
fn due(name: &str) -> String {
    replaced(&sample(name), "Sun, 06 Dec 2026", "Sun, 06 Dec 2020")
}

/// A sample that was sent years ago, whatever the clock says.
fn long_ago(name: &str) -> String {
    replaced(&sample(name), "\"2026-11-2", "\"2020-11-2")
}

#[track_caller]
fn replaced(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "`{old}` is not in {text}");
    text.replace(old, new)
}

/// An AWS in which the event is true, and in which a terminate hook of ours waits too: it is not this function's to
/// answer.
fn with_hook(event: &str) -> Account {
    let terminate = serde_json::from_str(&sample("autoscaling.terminate.json")).unwrap();
    Account { actions: actions(&terminate), ..account_of(event) }
}

/// Invokes a fresh environment once with an event as text.
#[track_caller]
fn hear(account: Account, settings: &[(&str, &str)], event: &str) -> Seen {
    let seen = invoke(binary(), account, settings, (event, IN_2100));
    no_hook_answered(&seen.operations());
    no_secret_logged(&seen.ended);
    seen
}

#[track_caller]
fn no_hook_answered(calls: &[&str]) {
    for call in ["CompleteLifecycleAction", "RecordLifecycleActionHeartbeat"] {
        assert!(!calls.contains(&call), "{calls:?}");
    }
}

/// Neither the credentials nor the token of the hook that waits.
#[track_caller]
fn no_secret_logged(ended: &Ended) {
    let hook = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
    for secret in [hook, "an-example", "wJalrXUtnFEMI", "k8s-aws-v1."] {
        for log in [&ended.stdout, &ended.stderr] {
            assert!(!log.contains(secret), "`{secret}` is logged:\n{log}");
        }
    }
}
