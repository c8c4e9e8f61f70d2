//! What a slice says at its end: one closing line for the batch, one departure record for each instance that is done.

use crate::app::App;
use crate::execute::Done;
use crate::message::Inbox;
use crate::turn::Turn;
use decision::decision::{Decision, Ending};
use decision::id::InstanceId;
use decision::step::{HookResult, Outcome};
use decision::time::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How a message left the slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its hook was answered.
    Answered(HookResult, String),
    /// Not ours, or nothing to do.
    Ignored(String),
    /// No longer true.
    Over(String),
    /// Mode `observe`.
    Observed,
    /// Given back until then.
    CameBack(Timestamp),
    /// In the dead-letter queue.
    DeadLettered(String),
}

impl Fate {
    pub(crate) fn of(ending: &Ending) -> Self {
        match ending {
            Ending::Ignored(why) => Self::Ignored(why.clone()),
            Ending::Over(why) => Self::Over(why.clone()),
            Ending::Observed => Self::Observed,
        }
    }

    /// Its name in logs and metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Answered(..) => "answered",
            Self::Ignored(_) => "ignored",
            Self::Over(_) => "over",
            Self::Observed => "observed",
            Self::CameBack(_) => "came_back",
            Self::DeadLettered(_) => "dead_lettered",
        }
    }

    fn value(&self) -> Value {
        match self {
            Self::Answered(result, why) => json!({"fate": self.label(), "result": result.wire(), "why": why}),
            Self::Ignored(why) | Self::Over(why) | Self::DeadLettered(why) => {
                json!({"fate": self.label(), "why": why})
            }
            Self::CameBack(at) => json!({"fate": self.label(), "at": at}),
            Self::Observed => json!({"fate": self.label()}),
        }
    }
}

/// What the closing line is made of.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    pub(crate) turns: u32,
    messages: usize,
    steps_done: u32,
    steps_skipped: u32,
    failed: Vec<Done>,
    /// Steps by kind and instance, for the departure records.
    steps: BTreeMap<InstanceId, BTreeMap<&'static str, u32>>,
    fates: BTreeMap<String, Fate>,
}

impl Closing {
    pub(crate) fn begin(inbox: &Inbox) -> Self {
        let messages = inbox.arrived.len() + inbox.ignored.len() + inbox.unreadable.len();
        Self { messages, ..Self::default() }
    }

    pub(crate) fn end(&mut self, message: &str, fate: Fate) {
        self.fates.insert(message.to_owned(), fate);
    }

    pub(crate) fn turn(&mut self, turn: &Turn) {
        self.turns += 1;
        for done in &turn.outcomes.steps {
            match &done.outcome {
                Outcome::Done => {
                    self.steps_done += 1;
                    let kinds = self.steps.entry(done.instance.clone()).or_default();
                    *kinds.entry(done.kind).or_default() += 1;
                }
                Outcome::Skipped(_) => self.steps_skipped += 1,
                Outcome::Failed { class, why } => {
                    tracing::debug!(instance = %done.instance, step = done.kind, subject = done.subject, ?class, error = why, "step failed");
                    self.failed.push(done.clone());
                }
            }
        }
    }

    pub(crate) fn fates(&self) -> Value {
        self.fates.iter().map(|(message, fate)| (message.clone(), fate.value())).collect()
    }

    pub(crate) fn reports(&self, decisions: &BTreeMap<InstanceId, Decision>) -> Value {
        decisions.values().map(|decision| self.departure(decision)).collect()
    }

    /// The departure record: everything that is known of one instance at the end of its slice.
    fn departure(&self, decision: &Decision) -> Value {
        let report = &decision.report;
        json!({
            "instance": decision.instance,
            "node": report.node,
            "stage": report.stage.to_string(),
            "since": report.since,
            "deadline": report.hard,
            "steps": self.steps.get(&decision.instance),
            "registrations": report.registrations,
            "remaining": report.remaining.iter().map(|pod| json!({"pod": pod.pod.to_string(), "owner": pod.owner, "verdict": pod.verdict})).collect::<Vec<_>>(),
            "warnings": report.warnings,
            "would": report.would,
            "text": report.to_string(),
        })
    }

    fn count(&self, label: &str) -> usize {
        self.fates.values().filter(|fate| fate.label() == label).count()
    }

    pub(crate) fn log(&self, app: &App, began: Timestamp, decisions: &BTreeMap<InstanceId, Decision>) {
        let took_ms = u64::try_from(app.clock.now().since(began).as_millis()).unwrap_or(u64::MAX);
        for decision in decisions.values() {
            let is_over = decision.answers.iter().any(|answer| {
                matches!(self.fates.get(&answer.message), Some(Fate::Answered(..) | Fate::DeadLettered(_) | Fate::Observed))
            });
            if is_over {
                let record = self.departure(decision);
                tracing::info!(instance = %decision.instance, record = %record, "departure record");
            }
        }
        for failed in &self.failed {
            if let Outcome::Failed { class: decision::step::Class::Denied, why } = &failed.outcome {
                tracing::error!(instance = %failed.instance, step = failed.kind, subject = failed.subject, error = why, "not allowed: a right is missing");
            }
        }
        tracing::info!(
            messages = self.messages,
            turns = self.turns,
            steps_done = self.steps_done,
            steps_failed = self.failed.len(),
            steps_skipped = self.steps_skipped,
            answered = self.count("answered"),
            ignored = self.count("ignored"),
            over = self.count("over"),
            came_back = self.count("came_back"),
            dead_lettered = self.count("dead_lettered"),
            took_ms,
            "slice"
        );
    }
}
