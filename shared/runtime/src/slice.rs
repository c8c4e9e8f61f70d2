//! A slice: the turns that one invocation makes for its batch, and how each message leaves it.
//!
//! ```text
//!   read ─> hide shortly ─> turn ─ due soon? ─┬─> wait ─> turn …
//!                                             └─> hide until due, report as failed | deleted | dead-letter queue
//! ```
//! A message that is given back costs nothing while it waits. What was received is hidden for a short time first, so that
//! a crash costs that time and not the queue's long visibility timeout.

use crate::app::App;
use crate::execute::Answered;
use crate::message::{Arrived, BARE, Inbox, Unreadable, read};
use crate::record::{Fate, Ledger};
use crate::turn::{self, Turn};
use cloud::sqs::Hide;
use decision::decision::{Decision, Next};
use decision::id::{ClusterName, InstanceId, NodeName};
use decision::limits::HIDE_MAX;
use decision::time::Timestamp;
use futures_util::future::{FutureExt as _, join_all, select_all};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What is kept of the invocation's time for giving messages back and for the closing line. Twice: a slice has two
/// seconds less for turns. Half: one call that takes its whole timeout lets Lambda cut the invocation off.
const CLOSE_RESERVE: Duration = Duration::from_millis(3_500);

/// The least time in which a turn is worth beginning. Twice: the last seconds of each slice are wasted. Half: turns
/// that read and then have no time to act.
const TURN_MIN: Duration = Duration::from_millis(4_500);

/// The longest slice, whatever the invocation's timeout: a bare event may come with a deadline of minutes.
const SLICE_MAX: Duration = Duration::from_secs(13);

/// The deadline of an invocation that names none, or one in the past (cargo-lambda sends 1970).
const UNKNOWN_DEADLINE: Duration = Duration::from_secs(13);

/// What is due within this time is waited for in the invocation. Twice: invocations are paid for while they wait.
/// Half: each eviction costs a receive.
const STAY_FOR: Duration = Duration::from_millis(2_500);

/// The least pause between two turns. Twice: a departure of five turns takes a tenth of a second longer. Half: an
/// object that somebody else writes all the time is read and patched in a tight loop.
const TURN_GAP: Duration = Duration::from_millis(20);

/// How long received messages are hidden while the slice works on them: longer than any slice, so that no second one
/// starts meanwhile, and short, since a crash costs as much.
const CRASH_COSTS: Duration = Duration::from_secs(20);

/// A message that waited in the queue for longer than this at its first receive is part of a storm: the slice makes one
/// turn, in which it is cordoned, and makes room for the next batch.
const STORM_AFTER: Duration = Duration::from_secs(1);

/// When a failed answer or a failed dead letter is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Turns in a slice: 13 s of gaps of 20 ms would be 650; more than this many means that something is wrong.
const TURNS_MAX: usize = 100;

/// Handles one invocation of a function: `payload` is an SQS batch or a bare event, `deadline` when Lambda ends it.
/// Returns the batch response, or for a bare event the reports.
pub async fn handle(app: &App, payload: Value, deadline: Timestamp) -> Value {
    let began = app.clock.now();
    let until = slice_end(began, deadline);
    let inbox = read(&payload, began);
    let mut slice = Slice::new(app, inbox, began);
    slice.hide_shortly().await;
    slice.dead_letter_unreadable().await;
    slice.turns(until).await;
    slice.give_back().await;
    slice.close()
}

/// When the last turn must be over.
fn slice_end(began: Timestamp, deadline: Timestamp) -> Timestamp {
    let deadline = if deadline <= began { began + UNKNOWN_DEADLINE } else { deadline };
    (deadline - CLOSE_RESERVE).min(began + SLICE_MAX)
}

struct Slice<'a> {
    app: &'a App,
    began: Timestamp,
    queued: bool,
    /// Messages that are still worked on.
    open: Vec<Arrived>,
    /// When each open message is due.
    due: BTreeMap<String, Timestamp>,
    /// Messages that must come back although no turn can help them: a dead letter that failed.
    failed: BTreeSet<String>,
    unreadable: Vec<Unreadable>,
    /// The last decision about each instance.
    decisions: BTreeMap<InstanceId, Decision>,
    ledger: Ledger,
}

impl<'a> Slice<'a> {
    fn new(app: &'a App, inbox: Inbox, began: Timestamp) -> Self {
        let mut ledger = Ledger::open(app, &inbox);
        for (message, reason) in &inbox.ignored {
            ledger.end(message, Fate::Ignored(reason.clone()));
        }
        Self {
            app,
            began,
            queued: inbox.queued,
            open: inbox.arrived,
            due: BTreeMap::new(),
            failed: BTreeSet::new(),
            unreadable: inbox.unreadable,
            decisions: BTreeMap::new(),
            ledger,
        }
    }

    /// Hides what was received for a short time instead of the queue's long one.
    async fn hide_shortly(&mut self) {
        let all: Vec<(String, Duration)> =
            self.open.iter().map(|arrived| (arrived.message.clone(), CRASH_COSTS)).collect();
        self.hide(&all).await;
    }

    async fn hide(&self, messages: &[(String, Duration)]) {
        let Some(queues) = &self.app.queues else { return };
        let hides: Vec<Hide> =
            messages.iter().filter_map(|(message, time)| self.hide_of(message, *time)).collect();
        if hides.is_empty() {
            return;
        }
        for (message, outcome) in
            cloud::sqs::hide(&self.app.aws.sqs, queues.source.as_str(), &hides).await
        {
            if let Err(error) = outcome {
                // It comes back when its present visibility timeout ends: late, but not lost.
                tracing::warn!(message, error = error.why(), "visibility not changed");
            }
        }
    }

    fn hide_of(&self, message: &str, time: Duration) -> Option<Hide> {
        let arrived = self.open.iter().find(|arrived| arrived.message == message)?;
        let receipt = arrived.receipt.as_ref()?;
        let seconds = time.min(HIDE_MAX).as_millis().div_ceil(1000);
        Some(Hide {
            message_id: message.to_owned(),
            receipt_handle: receipt.handle.clone(),
            seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
        })
    }

    async fn dead_letter_unreadable(&mut self) {
        let unreadable = std::mem::take(&mut self.unreadable);
        // All at once: one after the other, a slow queue would use up the time of the others' turns.
        let sends = unreadable.iter().map(|unreadable| {
            let body = unreadable.receipt.as_ref().map(|receipt| receipt.body.as_str());
            self.send_dead_letter(body, unreadable.error.to_string())
        });
        let sent = join_all(sends).await;
        for (unreadable, sent) in unreadable.iter().zip(sent) {
            self.dead_lettered(&unreadable.message, sent);
        }
    }

    /// Sends one message to the dead-letter queue with the reason; gives the reason back, or what went wrong.
    async fn send_dead_letter(&self, body: Option<&str>, why: String) -> Result<String, String> {
        let (Some(queues), Some(body)) = (&self.app.queues, body) else {
            // A bare event has nobody who would send it again; a queue's message must not vanish.
            let reason = || format!("no dead-letter queue to send it to: {why}");
            return if self.queued { Err(reason()) } else { Ok(why) };
        };
        let (sqs, queue) = (&self.app.aws.sqs, queues.dead_letter.as_str());
        let sent = cloud::sqs::dead_letter(sqs, queue, body, &why).await;
        sent.map(|()| why).map_err(|error| error.why())
    }

    /// Takes note of a dead letter; its message comes back if that failed.
    fn dead_lettered(&mut self, message: &str, sent: Result<String, String>) {
        match sent {
            Ok(reason) => {
                tracing::error!(message, reason, "dead letter");
                self.ledger.end(message, Fate::DeadLettered(reason));
            }
            Err(error) => {
                tracing::error!(message, error, "dead letter not sent, the message stays");
                self.failed.insert(message.to_owned());
            }
        }
    }

    async fn turns(&mut self, until: Timestamp) {
        let storm = self.is_storm();
        while !self.open.is_empty() && self.ledger.turns() < TURNS_MAX {
            if self.app.clock.now() + TURN_MIN > until {
                return;
            }
            let next = if storm { turn::Next::Later } else { turn::Next::Follows };
            let turn = turn::turn(self.app, &self.open, until, next).await;
            self.ledger.turn(&turn, self.app.clock.now());
            self.apply(&turn).await;
            for decision in turn.decisions {
                self.decisions.insert(decision.instance.clone(), decision);
            }
            if storm || !self.wait(&turn.clusters, until).await {
                return;
            }
        }
    }

    /// Whether more messages wait than this function's environments can take at once.
    fn is_storm(&self) -> bool {
        self.open.iter().any(|arrived| {
            arrived.receives == 1
                && arrived.queued_at.is_some_and(|at| self.began.since(at) > STORM_AFTER)
        })
    }

    /// Takes what the turn said of each message.
    async fn apply(&mut self, turn: &Turn) {
        let answers = turn.decisions.iter().flat_map(|decision| {
            decision.answers.iter().map(move |answer| (&decision.instance, answer))
        });
        let stalled = turn.outcomes.stalled();
        let retry_at = self.app.clock.now() + RETRY_AFTER;
        let mut rejected = Vec::new();
        for (instance, answer) in answers {
            let message = &answer.message;
            let answered = turn.outcomes.answers.get(message);
            match (&answer.next, answered) {
                (Next::ComeBack { at }, _) => {
                    let at = if stalled.contains(instance) { (*at).max(retry_at) } else { *at };
                    self.due.insert(message.clone(), at);
                }
                (Next::Finished(ending), _) => self.finish(message, Fate::of(ending)),
                (Next::Answer { result, why, .. }, Some(Answered::Accepted)) => {
                    self.finish(message, Fate::Answered(*result, why.clone()));
                }
                (Next::Answer { .. }, Some(Answered::NotActive)) => {
                    self.finish(
                        message,
                        Fate::Over("the lifecycle action was answered already".into()),
                    );
                }
                (Next::Reject { why, .. }, Some(Answered::Accepted | Answered::NotActive))
                | (Next::Reject { answer: None, why }, None) => {
                    rejected.push((message.clone(), why.clone()));
                }
                (Next::Answer { .. } | Next::Reject { .. }, Some(Answered::Failed(why))) => {
                    tracing::warn!(message, error = why, "hook not answered, tried again");
                    self.due.insert(message.clone(), self.app.clock.now() + RETRY_AFTER);
                }
                (Next::Answer { .. } | Next::Reject { .. }, None) => {
                    self.due.insert(message.clone(), self.app.clock.now() + RETRY_AFTER);
                }
            }
        }
        for (message, why) in rejected {
            let arrived = self.open.iter().find(|arrived| arrived.message == message);
            let receipt = arrived.and_then(|arrived| arrived.receipt.as_ref());
            let sent =
                self.send_dead_letter(receipt.map(|receipt| receipt.body.as_str()), why).await;
            self.dead_lettered(&message, sent);
            self.open.retain(|arrived| arrived.message != message);
        }
    }

    fn finish(&mut self, message: &str, fate: Fate) {
        self.open.retain(|arrived| arrived.message != message);
        self.due.remove(message);
        self.ledger.end(message, fate);
    }

    /// Waits for what is due soon, or until something happens to a pod that is waited for. False when nothing is due
    /// within the time that the slice has.
    async fn wait(&self, clusters: &BTreeMap<InstanceId, ClusterName>, until: Timestamp) -> bool {
        let now = self.app.clock.now();
        let Some(next) = self.open.iter().map(|arrived| self.due_at(arrived, now)).min() else {
            return false;
        };
        if next > now + STAY_FOR || next.max(now) + TURN_MIN > until {
            return false;
        }
        let wake = next.max(now + TURN_GAP);
        let watched = self.decisions.values().filter_map(|decision| {
            Some((clusters.get(&decision.instance)?, decision.report.watches()?))
        });
        let timer = self.app.clock.sleep_until(wake).boxed_local();
        let events =
            watched.map(|(cluster, node)| self.pods_changed(cluster, node, wake).boxed_local());
        let ((), _, _) = select_all(events.chain([timer])).await;
        self.app.clock.sleep_until(now + TURN_GAP).await;
        true
    }

    /// Ends when a pod of the node changes; not before `wake` if it can't be watched.
    async fn pods_changed(&self, cluster: &ClusterName, node: NodeName, wake: Timestamp) {
        let Ok(Some(client)) = self.app.client(cluster, wake).await else {
            return self.app.clock.sleep_until(wake).await;
        };
        let left = self.app.clock.now().until(wake);
        cluster::pods_changed(&client, &node, None, left).await;
    }

    fn due_at(&self, arrived: &Arrived, now: Timestamp) -> Timestamp {
        self.due.get(&arrived.message).copied().unwrap_or(now)
    }

    /// Gives back what is open: hidden until it is due.
    async fn give_back(&mut self) {
        let now = self.app.clock.now();
        let waits: Vec<(String, Duration)> = self
            .open
            .iter()
            .map(|arrived| (arrived.message.clone(), now.until(self.due_at(arrived, now))))
            .collect();
        self.hide(&waits).await;
        for (message, wait) in waits {
            self.ledger.end(&message, Fate::CameBack(now + wait));
        }
    }

    fn close(self) -> Value {
        let Self { app, began, queued, open, failed, decisions, ledger, .. } = self;
        if queued {
            ledger.close(app, began, &decisions);
            let open = open.iter().map(|arrived| arrived.message.as_str());
            let back: BTreeSet<&str> = open.chain(failed.iter().map(String::as_str)).collect();
            let failures: Vec<Value> =
                back.into_iter().map(|message| json!({ "itemIdentifier": message })).collect();
            return json!({ "batchItemFailures": failures });
        }
        let answer = json!({ "event": BARE, "fates": ledger.fates(), "reports": ledger.reports(&decisions) });
        ledger.close(app, began, &decisions);
        answer
    }
}
