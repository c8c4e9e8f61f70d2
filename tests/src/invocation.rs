//! One invocation of a fresh environment, and what it led to: how most tests of a function's binary look at it.

use crate::aws::{Account, Call};
use crate::environment::{Ended, Environment, QUEUES};
use crate::event::sample;
use serde_json::Value;
use std::path::Path;

/// What `cargo lambda` sends, for which every deadline is in 1970.
pub const IN_1970: i64 = 600_000;
/// 2100-01-01: far enough for any clock that this runs on.
pub const IN_2100: i64 = 4_102_444_800_000;

/// An AWS in which the event is true.
#[track_caller]
pub fn account_of(event: &str) -> Account {
    Account::of(&serde_json::from_str(event).unwrap_or_else(|error| panic!("{error}: {event}")))
}

/// What one invocation led to.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What the function answered.
    pub answer: Value,
    /// Its calls to AWS, in order.
    pub calls: Vec<Call>,
    /// What is left of its process.
    pub ended: Ended,
}

impl Seen {
    /// The calls by name, in order.
    pub fn operations(&self) -> Vec<&str> {
        self.calls.iter().map(|call| call.operation.as_str()).collect()
    }

    /// The bodies of the calls of one operation.
    pub fn bodies(&self, operation: &str) -> Vec<&str> {
        let calls = self.calls.iter().filter(|call| call.operation == operation);
        calls.map(|call| call.body.as_str()).collect()
    }

    /// The log's lines with this message.
    pub fn lines(&self, message: &str) -> Vec<Value> {
        self.ended.lines(message)
    }

    /// What became of a bare event.
    pub fn fate(&self) -> &Value {
        &self.answer["fates"]["bare"]
    }
}

impl Ended {
    /// The log's lines with this message.
    pub fn lines(&self, message: &str) -> Vec<Value> {
        let lines = self.stdout.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.filter(|line: &Value| line["fields"]["message"] == message).collect()
    }
}

/// Starts the function, with queues, in mode `act` unless the settings say otherwise.
#[track_caller]
pub fn start(binary: &Path, account: Account, settings: &[(&str, &str)]) -> Environment {
    let mut all: Vec<(&str, &str)> = QUEUES.to_vec();
    // The whole of AWS's budgets: waiting for our share of them is tested on virtual time.
    all.extend([("MODE", "act"), ("MAXIMUM_CONCURRENCY", "2")]);
    all.extend(settings);
    Environment::start(binary, account, &all).unwrap_or_else(|error| panic!("{error}"))
}

/// Starts the function and invokes it once.
#[track_caller]
pub fn invoke(
    binary: &Path,
    account: Account,
    settings: &[(&str, &str)],
    (payload, deadline_ms): (&str, i64),
) -> Seen {
    let mut function = start(binary, account, settings);
    let answer = function.invoke(payload, deadline_ms);
    let calls = function.aws.calls();
    let ended = function.end().unwrap_or_else(|error| panic!("{error}"));
    let answer =
        answer.unwrap_or_else(|failure| panic!("{failure:?}\n{}{}", ended.stdout, ended.stderr));
    Seen { answer, calls, ended }
}

/// Invokes the function with a sample, in an AWS in which that is true.
#[track_caller]
pub fn invoke_sample(binary: &Path, name: &str, settings: &[(&str, &str)]) -> Seen {
    let text = sample(name);
    invoke(binary, account_of(&text), settings, (&text, IN_2100))
}

/// Starts the function with nothing but these settings and waits for its end; asserts that it ended in failure.
#[track_caller]
pub fn last_words(binary: &Path, settings: &[(&str, &str)]) -> String {
    let function = Environment::start(binary, Account::default(), settings);
    let ended = function.and_then(Environment::wait).unwrap_or_else(|error| panic!("{error}"));
    assert!(!ended.status.success(), "it must not start:\n{}{}", ended.stdout, ended.stderr);
    ended.stderr
}

/// Asserts that a function which is given these wrong settings names all of them, each with its value and the form
/// expected.
#[track_caller]
pub fn assert_mistakes_named(binary: &Path, mistakes: &[(&str, &str, &str)]) {
    let settings: Vec<(&str, &str)> =
        mistakes.iter().map(|(variable, value, _)| (*variable, *value)).collect();
    let words = last_words(binary, &settings);
    for (variable, value, form) in mistakes {
        for part in [variable, value, form] {
            assert!(words.contains(part), "{variable}: `{part}` is not in:\n{words}");
        }
    }
}
