//! What a slice says at its end: one closing line for the batch, one departure record for each instance that is done.

use crate::app::App;
use crate::caught::caught;
use crate::execute::Done;
use crate::message::Inbox;
use crate::metric::{self, Dimensions, Metric, Values};
use crate::news::{Chapter, News};
use crate::telemetry::{self, Closing, Trigger};
use crate::turn::Turn;
use decision::decision::{Decision, Ending};
use decision::id::InstanceId;
use decision::policy::Policy;
use decision::report::Stage;
use decision::step::{Class, HookResult, Outcome};
use decision::time::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How a message left the slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its hook was answered.
    Answered(HookResult, String),
    /// Not ours, or nothing to do.
    Ignored(String),
    /// No longer true.
    Over(String),
    /// Done, with nobody to answer.
    Done(String),
    /// Acknowledged, though due then: the sweep raises it again.
    Later(Timestamp),
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
            Ending::Foreign(why) => Self::Ignored(why.to_string()),
            Ending::Ignored(why) => Self::Ignored(why.clone()),
            Ending::Done(why) => Self::Done(why.clone()),
            Ending::Later(at) => Self::Later(*at),
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
            Self::Done(_) => "done",
            Self::Later(_) => "later",
            Self::Observed => "observed",
            Self::CameBack(_) => "came_back",
            Self::DeadLettered(_) => "dead_lettered",
        }
    }

    fn value(&self) -> Value {
        match self {
            Self::Answered(result, why) => {
                json!({"fate": self.label(), "result": result.wire(), "why": why})
            }
            Self::Ignored(why) | Self::Over(why) | Self::Done(why) | Self::DeadLettered(why) => {
                json!({"fate": self.label(), "why": why})
            }
            Self::CameBack(at) | Self::Later(at) => json!({"fate": self.label(), "at": at}),
            Self::Observed => json!({"fate": self.label()}),
        }
    }
}

/// What happened in a slice, on its way to the closing line, the departure records and the metrics.
#[derive(Debug)]
pub(crate) struct Ledger {
    closing: Closing,
    failed: Vec<Done>,
    /// Steps that were done, by instance and kind.
    done: BTreeMap<InstanceId, BTreeMap<&'static str, u32>>,
    /// When each message was sent.
    sent: BTreeMap<String, Timestamp>,
    /// What became of each message.
    fates: BTreeMap<String, Fate>,
    /// Instances whose departure or arrival is over.
    over: BTreeSet<InstanceId>,
    /// Instances whose node was cordoned.
    begun: BTreeSet<InstanceId>,
    /// Pages about departures that do not move.
    blocked: BTreeMap<InstanceId, String>,
    values: Values,
}

impl Ledger {
    pub(crate) fn open(app: &App, inbox: &Inbox) -> Self {
        let trigger = if inbox.queued { Trigger::Queue } else { Trigger::Bare };
        let messages = inbox.messages();
        let sent = inbox.arrived.iter().map(|arrived| (arrived.message.clone(), arrived.sent_at));
        let mut values = Values::default();
        values.add(Metric::SignalsReceived, count(messages));
        Self {
            closing: Closing::new(trigger, app.policy.mode, messages),
            failed: Vec::new(),
            done: BTreeMap::new(),
            sent: sent.collect(),
            fates: BTreeMap::new(),
            over: BTreeSet::new(),
            begun: BTreeSet::new(),
            blocked: BTreeMap::new(),
            values,
        }
    }

    pub(crate) fn turns(&self) -> usize {
        self.closing.turns
    }

    /// A message left, or the part of it that is about one instance did. What comes back outweighs what is done.
    pub(crate) fn end(&mut self, message: &str, instance: Option<&InstanceId>, fate: Fate) {
        let is_over = matches!(
            fate,
            Fate::Answered(..)
                | Fate::Done(_)
                | Fate::Later(_)
                | Fate::DeadLettered(_)
                | Fate::Observed
        );
        self.over.extend(instance.filter(|_| is_over).cloned());
        self.fates.insert(message.to_owned(), fate);
    }

    pub(crate) fn turn(&mut self, turn: &Turn, policy: &Policy, now: Timestamp) {
        self.closing.turns += 1;
        self.closing.held =
            turn.decisions.iter().map(|decision| decision.report.remaining.len()).sum();
        for decision in turn.decisions.iter().filter(|decision| decision.report.tell_blocked) {
            tracing::debug!(instance = %decision.instance, "blocked");
            self.values.add(Metric::DeparturesBlocked, 1);
            let page = caught(|| decision.report.page(now, policy)).unwrap_or_default();
            self.blocked.insert(decision.instance.clone(), page);
        }
        for done in &turn.outcomes.steps {
            self.step(done, &turn.decisions, now);
        }
    }

    fn step(&mut self, done: &Done, decisions: &[Decision], now: Timestamp) {
        match &done.outcome {
            Outcome::Skipped(_) => self.closing.steps_skipped += 1,
            Outcome::Failed { class, why } => {
                self.closing.steps_failed += 1;
                self.values.add(Metric::StepsFailed, 1);
                if matches!(class, Class::Throttled(_)) {
                    self.values.add(Metric::CallsThrottled, 1);
                }
                tracing::debug!(instance = %done.instance, step = done.kind, subject = done.subject, error = why, "step failed");
                self.failed.push(done.clone());
            }
            Outcome::Done => {
                self.closing.steps_done += 1;
                self.values.add(Metric::StepsDone, 1);
                let since = decisions
                    .iter()
                    .find(|decision| decision.instance == done.instance)
                    .and_then(|decision| decision.report.since);
                let age_ms = since.map(|since| millis(now.since(since)));
                if done.kind == "cordon" {
                    self.begun.insert(done.instance.clone());
                }
                match (done.kind, age_ms) {
                    ("cordon", Some(age)) => self.values.add(Metric::SignalToCordon, age),
                    ("deregister", Some(age)) => self.values.add(Metric::SignalToWithdrawn, age),
                    ("evict", _) => self.values.add(Metric::PodsEvicted, 1),
                    ("delete", _) => self.values.add(Metric::PodsForced, 1),
                    _ => {}
                }
                *self
                    .done
                    .entry(done.instance.clone())
                    .or_default()
                    .entry(done.kind)
                    .or_default() += 1;
            }
        }
    }

    pub(crate) fn fates(&self) -> Value {
        self.fates.iter().map(|(message, fate)| (message.clone(), fate.value())).collect()
    }

    pub(crate) fn reports(&self, decisions: &BTreeMap<InstanceId, Decision>) -> Value {
        decisions.values().map(|decision| self.departure(decision)).collect()
    }

    /// What the slice has to tell the world.
    pub(crate) fn news(&self, decisions: &BTreeMap<InstanceId, Decision>) -> Vec<News> {
        let mut news = Vec::new();
        for (instance, decision) in decisions {
            let mut tell = |chapter, page: Option<&String>| {
                let mut detail = self.departure(decision);
                if let Some(page) = page {
                    detail["page"] = page.as_str().into();
                }
                news.push((chapter, detail));
            };
            if self.begun.contains(instance) {
                tell(Chapter::Begun, None);
            }
            if let Some(page) = self.blocked.get(instance) {
                tell(Chapter::Blocked, Some(page));
            }
            if self.is_over(decision) {
                tell(Chapter::Ended, None);
            }
        }
        news
    }

    /// The departure record: everything that is known of one instance at the end of its slice.
    fn departure(&self, decision: &Decision) -> Value {
        let report = &decision.report;
        let remaining: Vec<Value> = report
            .remaining
            .iter()
            .map(|pod| json!({"pod": pod.pod.to_string(), "owner": pod.owner, "verdict": pod.verdict}))
            .collect();
        json!({
            "instance": decision.instance,
            "node": report.node,
            "stage": report.stage.to_string(),
            "since": report.since,
            "deadline": report.hard,
            "steps": self.done.get(&decision.instance),
            "registrations": report.registrations,
            "remaining": remaining,
            "warnings": report.warnings,
            "would": report.would,
            "text": caught(|| report.to_string()).unwrap_or_else(|panic| format!("no report: {panic}")),
        })
    }

    /// Writes what the slice has to say, and prints its metrics.
    pub(crate) fn close(
        mut self,
        app: &App,
        began: Timestamp,
        decisions: &BTreeMap<InstanceId, Decision>,
    ) {
        for decision in decisions.values().filter(|decision| self.is_over(decision)) {
            telemetry::departure(&decision.instance, &self.departure(decision));
        }
        for decision in decisions.values() {
            if let Stage::Unreachable { cluster, why } = &decision.report.stage {
                tracing::warn!(instance = %decision.instance, cluster, error = why, "its node could not be read");
            }
        }
        for (message, fate) in &self.fates {
            if let Fate::Over(why) = fate {
                tracing::info!(message_id = message, reason = why, "over without a step");
            }
        }
        for done in &self.failed {
            if let Outcome::Failed { class: Class::Denied, why } = &done.outcome {
                tracing::error!(instance = %done.instance, step = done.kind, subject = done.subject, error = why, "a right is missing");
            }
        }
        self.count_fates(app.clock.now());
        self.closing.took = app.clock.now().since(began);
        self.values.add(Metric::SliceTime, millis(self.closing.took));
        self.closing.log();
        if let Some(function) = app.metrics {
            let dimensions = Dimensions { function, mode: app.policy.mode, group: None };
            metric::print(&self.values.line(&dimensions, app.clock.now()));
        }
    }

    fn is_over(&self, decision: &Decision) -> bool {
        let dead = |message: &str| matches!(self.fates.get(message), Some(Fate::DeadLettered(_)));
        self.over.contains(&decision.instance)
            || decision.answers.iter().any(|answer| dead(&answer.message))
    }

    fn count_fates(&mut self, now: Timestamp) {
        for (message, fate) in &self.fates {
            match fate {
                Fate::Answered(..) => {
                    self.closing.answered += 1;
                    self.values.add(Metric::HooksAnswered, 1);
                    self.values.add(Metric::DeparturesFinished, 1);
                    if let Some(sent) = self.sent.get(message) {
                        self.values.add(Metric::DepartureTime, millis(now.since(*sent)));
                    }
                }
                Fate::Ignored(why) => {
                    *self.closing.ignored_by_reason.entry(why.clone()).or_default() += 1;
                    self.values.add(Metric::SignalsIgnored, 1);
                }
                Fate::Done(_) => {
                    self.closing.finished += 1;
                    self.values.add(Metric::DeparturesFinished, 1);
                    if let Some(sent) = self.sent.get(message) {
                        self.values.add(Metric::DepartureTime, millis(now.since(*sent)));
                    }
                }
                Fate::Over(_) | Fate::Later(_) | Fate::Observed => self.closing.finished += 1,
                Fate::CameBack(at) => {
                    self.closing.came_back += 1;
                    let next = self.closing.next_at.map_or(*at, |other| other.min(*at));
                    self.closing.next_at = Some(next);
                }
                Fate::DeadLettered(_) => {
                    self.closing.dead_lettered += 1;
                    self.values.add(Metric::MessagesDeadLettered, 1);
                }
            }
        }
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
