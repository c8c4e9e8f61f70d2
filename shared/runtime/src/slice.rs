//! A slice: the turns that one invocation makes for its batch, and how each message leaves it.
//!
//! ```text
//!   read ─┬─> hide shortly ──────────────────────────┬─> hide until due, report as failed | deleted | dead-letter queue
//!         └─> turn ─ due soon? ─> wait ─> turn … ────┘
//! ```
//! A message that is given back costs nothing while it waits. What was received is hidden for a short time at once, so that
//! a crash costs that time and not the queue's long visibility timeout. A cordon does not wait for that; what gives a message
//! back does, since the later of two such calls counts.

use crate::app::{App, CROWD_LASTS};
use crate::execute::Answered;
use crate::gather::For;
use crate::message::{Arrived, BARE, Inbox, Receipt, Reserved, Unreadable, read};
use crate::news;
use crate::record::{Fate, Ledger};
use crate::retry::{self, Classed as _};
use crate::turn::{self, Turn};
use cloud::sqs::Hide;
use cluster::ClusterError;
use decision::decision::{Decision, Ending, Next};
use decision::id::{ClusterName, InstanceId, NodeName, PodKey};
use decision::limits::{EVICTION_TAKES, HIDE_MAX, STORM_SPREAD};
use decision::looks::MAKES_WAY_BEFORE;
use decision::pace::jitter;
use decision::report::Watch;
use decision::scope::Foreign;
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

/// An invocation stands still only while fewer nodes than this depart: five batches, which is what an event source mapping
/// starts with. Half: evictions of a few nodes wait for another receive. Twice: a hundred nodes wait for those that stand still.
const STANDS_STILL_BELOW: usize = 50;

/// So long, and up to twice as long, waits in a storm what says that an instance has started. Half: replacements are looked
/// up while withdrawals use up what AWS grants. Twice: a node that was stopped and started stays cordoned for a minute more.
const STARTS_WAIT: Duration = Duration::from_secs(30);

/// Namespaces whose budgets are watched during one wait, in all clusters. Twice: a batch that is held everywhere opens
/// as many more streams every two seconds. Half: with so many, some budgets open unseen until the timer.
const BUDGET_WATCHES_MAX: usize = 8;

/// So many first receives in one batch are part of a storm too: more wait behind them. It is the default batch size of an
/// event source mapping. Half: five lone departures at once take one more receive each. Twice: never.
const STORM_BATCH: usize = 10;

/// How long the instances of capacity reservations are looked up before the first turn. Twice: an EC2 that is slow holds up the
/// cordons of a whole batch for four seconds. Half: a second try has no time left.
const EXPAND_MAX: Duration = Duration::from_secs(2);

/// Turns in a slice: 13 s of gaps of 20 ms would be 650; more than this many means that something is wrong.
const TURNS_MAX: usize = 100;

/// Handles one invocation of a function: `payload` is an SQS batch or a bare event, `deadline` when Lambda ends it.
/// Returns the batch response, or for a bare event the reports.
pub async fn handle(app: &App, payload: Value, deadline: Timestamp) -> Value {
    let began = app.clock.now();
    let until = slice_end(began, deadline);
    let inbox = read(&payload, began);
    app.kept.denied.forget();
    let mut slice = Slice::new(app, inbox, began);
    let hides = slice.hides_shortly();
    // A cordon does not wait for the queue's answer.
    let work = async {
        slice.dead_letter_unreadable().await;
        slice.expand(until).await;
        slice.turns(until).await;
    };
    futures_util::join!(hide_all(app, hides), work);
    slice.give_back().await;
    slice.close().await
}

/// Hides messages, each for its time. What can't be hidden comes back when its present visibility timeout ends: late, but not
/// lost.
async fn hide_all(app: &App, hides: BTreeMap<String, Hide>) {
    let Some(queues) = &app.queues else { return };
    let hides: Vec<Hide> = hides.into_values().collect();
    if hides.is_empty() {
        return;
    }
    for (message, outcome) in cloud::sqs::hide(&app.aws.sqs, queues.source.as_str(), &hides).await {
        if let Err(error) = outcome {
            tracing::warn!(message_id = message, error = error.why(), "visibility not changed");
        }
    }
}

/// When the last turn must be over.
fn slice_end(began: Timestamp, deadline: Timestamp) -> Timestamp {
    let deadline = if deadline <= began { began + UNKNOWN_DEADLINE } else { deadline };
    (deadline - CLOSE_RESERVE).min(began + SLICE_MAX)
}

/// Nodes to watch, each with its cluster.
type Nodes = Vec<(ClusterName, NodeName)>;

/// Names of budgets to watch, by cluster and namespace.
type Budgets = BTreeMap<(ClusterName, String), BTreeSet<String>>;

/// A message, and one of the instances that it speaks of.
type Part = (String, InstanceId);

fn part(arrived: &Arrived) -> Part {
    (arrived.message.clone(), arrived.instance().clone())
}

struct Slice<'a> {
    app: &'a App,
    began: Timestamp,
    queued: bool,
    /// Messages that are still worked on, once for each instance that they speak of.
    open: Vec<Arrived>,
    /// Messages whose instances are to be looked up.
    reserved: Vec<Reserved>,
    /// When each open part of a message is due.
    due: BTreeMap<Part, Timestamp>,
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
            ledger.end(message, None, Fate::Ignored(reason.clone()));
        }
        let mut open = Vec::new();
        for arrived in inbox.arrived {
            // What is known not to be ours costs no look.
            let foreign = app.kept.foreign.get(arrived.instance(), began);
            match foreign.filter(|_| arrived.signal.hook().is_none()) {
                Some(foreign) => {
                    let fate = Fate::Ignored(foreign.to_string());
                    ledger.end(&arrived.message, Some(arrived.instance()), fate);
                }
                None => open.push(arrived),
            }
        }
        Self {
            app,
            began,
            queued: inbox.queued,
            open,
            reserved: inbox.reserved,
            due: BTreeMap::new(),
            failed: BTreeSet::new(),
            unreadable: inbox.unreadable,
            decisions: BTreeMap::new(),
            ledger,
        }
    }

    /// What hides all that was received for a short time instead of the queue's long one.
    fn hides_shortly(&self) -> BTreeMap<String, Hide> {
        let open = self.open.iter().map(|arrived| (&arrived.message, &arrived.receipt));
        let reserved = self.reserved.iter().map(|it| (&it.envelope.message, &it.envelope.receipt));
        open.chain(reserved)
            .filter_map(|(message, receipt)| Some(hide(message, receipt.as_ref()?, CRASH_COSTS)))
            .collect()
    }

    /// Looks up the instances of capacity reservations. A message whose instances can't be read comes back.
    async fn expand(&mut self, until: Timestamp) {
        let (app, reserved) = (self.app, std::mem::take(&mut self.reserved));
        let until = until.min(app.clock.now() + EXPAND_MAX);
        let look = async |reserved: &Reserved| {
            let look = async || cloud::ec2::reserved(&app.aws.ec2, &reserved.reservation.id).await;
            retry::read(until, &app.clock, Some(&app.limits.ec2_reads), look).await
        };
        let found = join_all(reserved.iter().map(look)).await;
        for (reserved, found) in reserved.into_iter().zip(found) {
            let Reserved { envelope, reservation } = reserved;
            let (message, id) = (envelope.message.clone(), &reservation.id);
            match found {
                Ok(instances) if instances.is_empty() => {
                    let why = format!("no instance runs in capacity reservation {id}");
                    self.ledger.end(&message, None, Fate::Ignored(why));
                }
                Ok(instances) => {
                    let parts = instances.into_iter().map(|it| reservation.signal(it.id));
                    self.open.extend(parts.map(|signal| envelope.arrived(signal)));
                }
                Err(error) => {
                    let error = error.why();
                    tracing::warn!(message_id = message, reservation = %id, error, "instances not looked up");
                    self.ledger.end(&message, None, Fate::CameBack(self.began + CRASH_COSTS));
                    self.failed.insert(message);
                }
            }
        }
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
                tracing::error!(message_id = message, reason, "dead letter");
                self.ledger.end(message, None, Fate::DeadLettered(reason));
            }
            Err(error) => {
                tracing::error!(
                    message_id = message,
                    error,
                    "dead letter not sent, the message stays"
                );
                self.failed.insert(message.to_owned());
            }
        }
    }

    async fn turns(&mut self, until: Timestamp) {
        let storm = self.is_storm();
        let mut put_off = Vec::new();
        if storm {
            self.app.limits.crowd();
            put_off = self.put_off_starts();
        }
        let next = if storm { turn::Next::Later } else { turn::Next::Follows };
        self.turns_for_open(until, next).await;
        self.open.append(&mut put_off);
    }

    async fn turns_for_open(&mut self, until: Timestamp, next: turn::Next) {
        while !self.open.is_empty() && self.ledger.turns() < TURNS_MAX {
            if self.app.clock.now() + TURN_MIN > until {
                return;
            }
            let whom = if self.ledger.turns() == 0 { For::CordonsFirst } else { For::All };
            let turn = turn::turn(self.app, &self.open, until, (whom, next)).await;
            self.ledger.turn(&turn, &self.app.policy, self.app.clock.now());
            self.apply(&turn).await;
            if next == turn::Next::Later {
                self.spread(&turn);
            }
            for decision in turn.decisions {
                self.decisions.insert(decision.instance.clone(), decision);
            }
            // What is left of the slice would be spent on looks: whoever takes the messages next has time to evict.
            let is_late = self.app.clock.now() + EVICTION_TAKES > until;
            if is_late && turn.outcomes.is_cut_short {
                return;
            }
            if next == turn::Next::Later || !self.wait(&turn.clusters, until).await {
                return;
            }
        }
    }

    /// Takes out whom nobody waits for: that an instance runs is said of each replacement, too, while others are still to be
    /// cordoned.
    fn put_off_starts(&mut self) -> Vec<Arrived> {
        let now = self.app.clock.now();
        // One that waited alone in its queue is no sign of others.
        if self.open.len() < STORM_BATCH && self.open.iter().all(|it| it.signal.is_start()) {
            return Vec::new();
        }
        let starts = |it: &mut Arrived| it.receives == 1 && it.signal.is_start();
        let put_off: Vec<Arrived> = self.open.extract_if(.., starts).collect();
        for arrived in &put_off {
            let at = now + STARTS_WAIT + jitter(arrived.instance(), 1, STARTS_WAIT);
            self.due.insert(part(arrived), at);
        }
        put_off
    }

    /// Whether more messages wait than this function's environments can take at once.
    fn is_storm(&self) -> bool {
        let first = || self.open.iter().filter(|arrived| arrived.receives == 1);
        let waited = |arrived: &Arrived| {
            arrived.queued_at.is_some_and(|at| self.began.since(at) > STORM_AFTER)
        };
        let queued: BTreeSet<&str> = first().map(|arrived| arrived.message.as_str()).collect();
        first().any(waited) || self.queued && queued.len() >= STORM_BATCH
    }

    /// In a storm, what was just looked at for the first time makes way for those that nobody has looked at yet. Whose node
    /// was not reached (a throttled look-up) still waits for its cordon.
    fn spread(&mut self, turn: &Turn) {
        let now = self.app.clock.now();
        let is_seen = |arrived: &&Arrived| turn.clusters.contains_key(arrived.instance());
        // Who has little time left makes way for nobody.
        let is_late = |arrived: &&Arrived| {
            let mut decisions = turn.decisions.iter();
            let decision = decisions.find(|decision| decision.instance == *arrived.instance());
            let hard = decision.and_then(|decision| decision.report.hard);
            hard.is_some_and(|hard| hard < now + MAKES_WAY_BEFORE)
        };
        for arrived in self.open.iter().filter(is_seen).filter(|arrived| !is_late(arrived)) {
            let Some(due) = self.due.get_mut(&part(arrived)) else { continue };
            let wait = if arrived.receives == 1 {
                STORM_SPREAD / 2 + jitter(arrived.instance(), 1, STORM_SPREAD)
            } else {
                // Made way for others' cordons: not at once into the next batch of the same storm.
                RETRY_AFTER / 2
            };
            *due = (*due).max(now + wait);
        }
    }

    /// Takes what the turn said of each message.
    async fn apply(&mut self, turn: &Turn) {
        let answers = turn.decisions.iter().flat_map(|decision| {
            decision.answers.iter().map(move |answer| (&decision.instance, answer))
        });
        let stalled = turn.outcomes.stalled(&self.app.limits);
        let retry_at = self.app.clock.now() + RETRY_AFTER;
        let mut rejected = Vec::new();
        for (instance, answer) in answers {
            let message = &answer.message;
            let part = (message.clone(), instance.clone());
            let answered = turn.outcomes.answers.get(message);
            match (&answer.next, answered) {
                (Next::ComeBack { at }, _) => {
                    let at = if stalled.contains(instance) { (*at).max(retry_at) } else { *at };
                    self.due.insert(part, at);
                }
                (Next::Finished(ending), _) => {
                    // Somebody else's hook says nothing of the instance: it may be ours.
                    if let Ending::Foreign(foreign) = ending
                        && *foreign != Foreign::Hook
                    {
                        let now = self.app.clock.now();
                        self.app.kept.foreign.put(instance.clone(), *foreign, now);
                    }
                    self.finish(&part, Fate::of(ending));
                }
                (Next::Answer { result, why, .. }, Some(Answered::Accepted)) => {
                    self.finish(&part, Fate::Answered(*result, why.clone()));
                }
                (Next::Answer { .. }, Some(Answered::NotActive)) => {
                    let why = "the lifecycle action was answered already".into();
                    self.finish(&part, Fate::Over(why));
                }
                (Next::Reject { why, .. }, Some(Answered::Accepted | Answered::NotActive))
                | (Next::Reject { answer: None, why }, None) => {
                    rejected.push((part, why.clone()));
                }
                (Next::Answer { .. } | Next::Reject { .. }, Some(Answered::Failed(why))) => {
                    tracing::warn!(
                        message_id = message,
                        error = why,
                        "hook not answered, tried again"
                    );
                    self.due.insert(part, self.app.clock.now() + RETRY_AFTER);
                }
                (Next::Answer { .. } | Next::Reject { .. }, None) => {
                    self.due.insert(part, self.app.clock.now() + RETRY_AFTER);
                }
            }
        }
        // One letter, however many of its instances a message was rejected for.
        let letters: BTreeMap<&String, &String> =
            rejected.iter().map(|((message, _), why)| (message, why)).collect();
        let sends = letters.into_iter().map(async |(message, why)| {
            let mine = |arrived: &&Arrived| arrived.message == *message;
            let receipt = self.open.iter().find(mine).and_then(|arrived| arrived.receipt.as_ref());
            let body = receipt.map(|receipt| receipt.body.as_str());
            (message.clone(), self.send_dead_letter(body, why.clone()).await)
        });
        let sent = join_all(sends).await;
        for (message, sent) in sent {
            self.dead_lettered(&message, sent);
        }
        for (part, _) in &rejected {
            self.close_part(part);
        }
    }

    fn finish(&mut self, part: &Part, fate: Fate) {
        self.close_part(part);
        self.ledger.end(&part.0, Some(&part.1), fate);
    }

    fn close_part(&mut self, (message, instance): &Part) {
        self.open.retain(|it| !(it.message == *message && it.instance() == instance));
        self.due.remove(&(message.clone(), instance.clone()));
    }

    /// Waits for what is due soon, or until something happens to what is waited for. False when nothing is due
    /// within the time that the slice has.
    async fn wait(&self, clusters: &BTreeMap<InstanceId, ClusterName>, until: Timestamp) -> bool {
        let now = self.app.clock.now();
        let Some(next) = self.open.iter().map(|arrived| self.due_at(arrived, now)).min() else {
            return false;
        };
        if next > now + self.stay_for(clusters) || next.max(now) + TURN_MIN > until {
            return false;
        }
        let wake = next.max(now + TURN_GAP);
        let (nodes, budgets) = self.watched(clusters);
        let timer = self.app.clock.sleep_until(wake).boxed_local();
        let pods = nodes.iter().map(|(cluster, node)| {
            let changed =
                async |client, left| cluster::pods_changed(&client, node, None, left).await;
            self.event(cluster, wake, changed).boxed_local()
        });
        let opened =
            budgets.iter().take(BUDGET_WATCHES_MAX).map(|((cluster, namespace), names)| {
                let opened = async |client, left| {
                    cluster::budget_opened(&client, namespace, names, left).await
                };
                self.event(cluster, wake, opened).boxed_local()
            });
        let ((), _, _) = select_all(pods.chain(opened).chain([timer])).await;
        self.app.clock.sleep_until(now + TURN_GAP).await;
        true
    }

    /// For how long this invocation may stand still. In a storm others need its place: it goes on only with what is due.
    fn stay_for(&self, clusters: &BTreeMap<InstanceId, ClusterName>) -> Duration {
        let (kept, now) = (&self.app.kept.peers, self.app.clock.now());
        let peers = |cluster| kept.within(cluster, now, CROWD_LASTS).map_or(0, |peers| peers.len());
        let is_crowd = clusters.values().any(|cluster| peers(cluster) >= STANDS_STILL_BELOW);
        if is_crowd { Duration::ZERO } else { STAY_FOR }
    }

    /// What the last decisions want watched: the pods of nodes, and budgets by cluster and namespace.
    fn watched(&self, clusters: &BTreeMap<InstanceId, ClusterName>) -> (Nodes, Budgets) {
        let (mut nodes, mut budgets) = (Nodes::new(), Budgets::new());
        for decision in self.decisions.values() {
            let Some(cluster) = clusters.get(&decision.instance) else { continue };
            for watch in decision.report.watches() {
                match watch {
                    Watch::Pods(node) => nodes.push((cluster.clone(), node)),
                    Watch::Budget(PodKey { namespace, name }) => {
                        budgets.entry((cluster.clone(), namespace)).or_default().insert(name);
                    }
                }
            }
        }
        (nodes, budgets)
    }

    /// Ends with a watch on the cluster; not before `wake` if it can't be reached or may not be watched.
    async fn event(
        &self,
        cluster: &ClusterName,
        wake: Timestamp,
        watch: impl AsyncFnOnce(kube::Client, Duration) -> Result<(), ClusterError>,
    ) {
        if let Ok(Some(client)) = self.app.client(cluster, wake).await {
            match watch(client, self.app.clock.now().until(wake)).await {
                Ok(()) => return,
                Err(denied) => self.app.kept.denied.watch(cluster, &denied),
            }
        }
        self.app.clock.sleep_until(wake).await;
    }

    fn due_at(&self, arrived: &Arrived, now: Timestamp) -> Timestamp {
        self.due.get(&part(arrived)).copied().unwrap_or(now)
    }

    /// Gives back what is open: hidden until the first of its parts is due.
    async fn give_back(&mut self) {
        let now = self.app.clock.now();
        let mut waits: BTreeMap<String, (Duration, Option<&Receipt>)> = BTreeMap::new();
        for arrived in &self.open {
            let wait = now.until(self.due_at(arrived, now));
            let receipt = arrived.receipt.as_ref();
            let known = waits.entry(arrived.message.clone()).or_insert((wait, receipt));
            known.0 = known.0.min(wait);
        }
        let hides = waits
            .iter()
            .filter_map(|(message, (wait, receipt))| Some(hide(message, (*receipt)?, *wait)))
            .collect();
        hide_all(self.app, hides).await;
        let came_back: Vec<(String, Timestamp)> =
            waits.into_iter().map(|(message, (wait, _))| (message, now + wait)).collect();
        for (message, at) in came_back {
            self.ledger.end(&message, None, Fate::CameBack(at));
        }
    }

    async fn close(self) -> Value {
        let Self { app, began, queued, open, failed, decisions, ledger, .. } = self;
        news::send(app, ledger.news(&decisions)).await;
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

/// The entry that hides a message for so long, under its id.
fn hide(message: &str, receipt: &Receipt, time: Duration) -> (String, Hide) {
    let seconds = time.min(HIDE_MAX).as_millis().div_ceil(1000);
    let hide = Hide {
        message_id: message.to_owned(),
        receipt_handle: receipt.handle.clone(),
        seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
    };
    (message.to_owned(), hide)
}
