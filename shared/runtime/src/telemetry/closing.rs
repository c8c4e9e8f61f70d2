//! The closing line of a slice: its whole outcome, once, whatever happened in it.

use super::field;
use crate::metric::mode_name;
use decision::policy::Mode;
use decision::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::info;

/// What an invocation began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// A batch of the queue's messages.
    Queue,
    /// An event by itself: a manual invoke, a test, the demo.
    Bare,
    /// The schedule.
    Schedule,
}

impl Trigger {
    /// What this payload is, as far as logs tell it; what is to be done with it is read elsewhere.
    pub fn of(payload: &Value) -> Self {
        let text = |key: &str| payload.get(key).and_then(Value::as_str);
        if payload.get("Records").is_some_and(Value::is_array) {
            Self::Queue
        } else if text("detail-type") == Some("Scheduled Event") {
            Self::Schedule
        } else {
            Self::Bare
        }
    }

    /// Its name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Bare => "bare",
            Self::Schedule => "schedule",
        }
    }
}

/// The outcome of one slice. Each message is counted in exactly one of `answered`, `came_back`,
/// `finished`, `dead_lettered` and `ignored_by_reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// What it began with.
    pub trigger: Trigger,
    /// The mode it ran in.
    pub mode: Mode,
    /// Messages received.
    pub messages: usize,
    /// Turns made.
    pub turns: usize,
    /// Steps that were done.
    pub steps_done: usize,
    /// Steps that were not tried: mode `observe`, too old, no time left.
    pub steps_skipped: usize,
    /// Steps that failed.
    pub steps_failed: usize,
    /// Verdicts and withdrawals that wait for something, in the last turn.
    pub held: usize,
    /// Messages whose hook was answered.
    pub answered: usize,
    /// Messages that were given back.
    pub came_back: usize,
    /// Messages with nothing left to do: no longer true, or only observed.
    pub finished: usize,
    /// Messages that went to the dead-letter queue.
    pub dead_lettered: usize,
    /// Messages that are not ours, by why they are not. Reasons are few and fixed.
    pub ignored_by_reason: BTreeMap<String, usize>,
    /// The earliest instant at which a message comes back.
    pub next_at: Option<Timestamp>,
    /// From the first byte to this line.
    pub took: Duration,
}

impl Closing {
    /// The line's message.
    pub const MESSAGE: &'static str = "slice closed";

    /// A closing with nothing in it yet.
    pub fn new(trigger: Trigger, mode: Mode, messages: usize) -> Self {
        Self {
            trigger,
            mode,
            messages,
            turns: 0,
            steps_done: 0,
            steps_skipped: 0,
            steps_failed: 0,
            held: 0,
            answered: 0,
            came_back: 0,
            finished: 0,
            dead_lettered: 0,
            ignored_by_reason: BTreeMap::new(),
            next_at: None,
            took: Duration::ZERO,
        }
    }

    /// Messages that are not ours.
    pub fn ignored(&self) -> usize {
        self.ignored_by_reason.values().sum()
    }

    /// Writes the line.
    pub fn log(&self) {
        let took_ms = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        info!(
            { field::TRIGGER } = self.trigger.name(),
            { field::MODE } = mode_name(self.mode),
            { field::MESSAGES } = self.messages,
            { field::TURNS } = self.turns,
            { field::STEPS_DONE } = self.steps_done,
            { field::STEPS_SKIPPED } = self.steps_skipped,
            { field::STEPS_FAILED } = self.steps_failed,
            { field::HELD } = self.held,
            { field::ANSWERED } = self.answered,
            { field::CAME_BACK } = self.came_back,
            { field::FINISHED } = self.finished,
            { field::DEAD_LETTERED } = self.dead_lettered,
            { field::IGNORED } = self.ignored(),
            { field::IGNORED_BY_REASON } = self.reasons(),
            { field::NEXT_AT } = self.next_at.map(tracing::field::display),
            { field::TOOK_MS } = took_ms,
            "slice closed"
        );
    }

    /// `reason: 3; other reason: 1`; `None` when there is none, so that the field is left out.
    fn reasons(&self) -> Option<String> {
        let told: Vec<String> =
            self.ignored_by_reason.iter().map(|(why, count)| format!("{why}: {count}")).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}
