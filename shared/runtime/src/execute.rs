//! Performs a plan, wave by wave, each step once. Branches on outcomes only: what to do about a failure is the next
//! turn's decision.

mod remember;

use crate::app::App;
use crate::limiter::Limits;
use crate::retry::{self, Classed, Failure};
use cloud::autoscaling::{Beat, Completed};
use cluster::ClusterError;
use decision::id::{ClusterName, InstanceId, PodKey};
use decision::limits::{EVICTION_TAKES, EVICTIONS_BEGIN_WITHIN};
use decision::pace::jitter;
use decision::plan::{For, ForMany, Plan, PlannedAnswer, Remove, ends_lane, lanes};
use decision::snapshot::HookState;
use decision::step::{Class, Deregister, HookCall, NodePatch, Note, Outcome, TargetChange};
use decision::time::Timestamp;
use futures_util::StreamExt;
use futures_util::stream;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Calls at once in one wave. A batch is ten messages; ten evictions of each would take a hundred of the API server's
/// seats. Twice: an API server of the smallest size queues. Half: a storm's evictions take twice as long.
const IN_FLIGHT_MAX: usize = 16;

/// What became of a plan.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    /// Each step: for whom, what kind, how it ended.
    pub steps: Vec<Done>,
    /// Each message whose hook was to be answered: how that ended.
    pub answers: BTreeMap<String, Answered>,
    /// Evictions under a shared budget were left for want of time.
    pub(crate) is_cut_short: bool,
}

impl Outcomes {
    /// Instances with a step that failed in a way which an immediate look would not change: no conflict, no budget. Where AWS
    /// is rationed, a call that was not made is such a step too.
    pub(crate) fn stalled(&self, limits: &Limits) -> BTreeSet<InstanceId> {
        let writes = &limits.elbv2_writes;
        let is_rationed = writes.is_crowded() || writes.is_empty() || limits.elbv2_reads.is_empty();
        let stalls = |done: &&Done| match &done.outcome {
            Outcome::Done => false,
            Outcome::Skipped(_) => is_rationed && done.kind == "deregister",
            Outcome::Failed { class, .. } => {
                !matches!(class, Class::Conflict | Class::Blocked | Class::Gone | Class::Mismatch)
            }
        };
        self.steps.iter().filter(stalls).map(|done| done.instance.clone()).collect()
    }
}

/// One step that was tried.
#[derive(Clone, Debug)]
pub struct Done {
    /// For whom.
    pub instance: InstanceId,
    /// `cordon`, `evict`, …
    pub kind: &'static str,
    /// About what.
    pub subject: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// AWS took it.
    Accepted,
    /// "No active Lifecycle Action found": somebody answered before, or it expired.
    NotActive,
    /// Not known, or refused: the message must come back.
    Failed(String),
}

/// A plan's performer: with what, where the nodes are, until when.
#[derive(Clone, Copy)]
pub(crate) struct Act<'a> {
    pub(crate) app: &'a App,
    pub(crate) clusters: &'a BTreeMap<InstanceId, ClusterName>,
    pub(crate) until: Timestamp,
    /// No eviction under a shared budget is waited for after this.
    pub(crate) evictions_until: Timestamp,
}

/// Performs the plan: its waves, then the answers; nothing is begun after `until`.
pub(crate) async fn execute(act: Act<'_>, mut plan: Plan) -> Outcomes {
    let answers = std::mem::take(&mut plan.answers);
    let (at_once, last) = split(&plan, answers);
    // Nothing has to be done before these, so no other instance's cluster makes them wait.
    let at_once = wave(at_once, |answer| act.answer(answer));
    let (answers, mut outcomes) = futures_util::join!(at_once, waves(act, plan));
    let last = wave(last, |answer| act.answer(answer)).await;
    outcomes.answers = answers.into_iter().chain(last).flatten().collect();
    outcomes
}

/// The answers about instances for which nothing else is done in this turn, and those that come after their steps.
fn split(plan: &Plan, answers: Vec<PlannedAnswer>) -> (Vec<PlannedAnswer>, Vec<PlannedAnswer>) {
    let busy: BTreeSet<&InstanceId> = plan
        .patches
        .iter()
        .map(|step| &step.instance)
        .chain(plan.heartbeats.iter().map(|step| &step.instance))
        .chain(plan.deregister.iter().flat_map(|call| &call.instances))
        .chain(plan.register.iter().flat_map(|call| &call.instances))
        .chain(plan.removals.iter().map(|step| &step.instance))
        .chain(plan.notes.iter().map(|step| &step.instance))
        .collect();
    answers.into_iter().partition(|answer| !busy.contains(&answer.instance))
}

/// All steps, each wave after the one before.
async fn waves(act: Act<'_>, plan: Plan) -> Outcomes {
    let mut steps = Vec::new();
    let patches = wave(plan.patches, |patch| act.patch(patch));
    let heartbeats = wave(plan.heartbeats, |call| act.heartbeat(call));
    let (patches, heartbeats) = futures_util::join!(patches, heartbeats);
    steps.extend(patches.into_iter().chain(heartbeats));
    steps.extend(wave(plan.deregister, |what| act.deregister(what)).await.into_iter().flatten());
    steps.extend(wave(plan.register, |what| act.register(what)).await.into_iter().flatten());
    let began = act.app.clock.now();
    let removed =
        wave(lanes(plan.removals, act.clusters), |lane| act.remove_each(lane, began)).await;
    let is_cut_short = removed.iter().any(|lane| lane.is_cut_short);
    steps.extend(removed.into_iter().flat_map(|lane| lane.done));
    steps.extend(wave(plan.notes, |what| act.note(what)).await);
    Outcomes { steps, is_cut_short, ..Outcomes::default() }
}

/// What became of the removals of a lane.
#[derive(Debug, Default)]
struct Lane {
    done: Vec<Done>,
    /// Some were left for want of time.
    is_cut_short: bool,
}

/// One wave: everything in it at once, bounded, results in the plan's order.
async fn wave<T, R, F: Future<Output = R>>(items: Vec<T>, perform: impl Fn(T) -> F) -> Vec<R> {
    stream::iter(items.into_iter().map(perform)).buffered(IN_FLIGHT_MAX).collect().await
}

fn outcome<T, E: Classed>(result: Result<T, Failure<E>>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(failure) => Outcome::Failed { class: failure.class(), why: failure.why() },
    }
}

impl Act<'_> {
    /// A client for the cluster of this instance, or why nothing can be written there.
    async fn client(&self, instance: &InstanceId) -> Result<(kube::Client, &ClusterName), Outcome> {
        let skipped = |why: &str| Outcome::Skipped(why.to_owned());
        let name =
            self.clusters.get(instance).ok_or_else(|| skipped("its cluster is not known"))?;
        match self.app.client(name, self.until).await {
            Ok(Some(client)) => Ok((client, name)),
            Ok(None) => Err(skipped("its cluster is gone")),
            Err(why) => Err(skipped(&why)),
        }
    }

    /// One write to a cluster.
    async fn written<T>(
        &self,
        name: &ClusterName,
        call: impl AsyncFn() -> Result<T, ClusterError>,
    ) -> Outcome {
        self.written_by(self.until, name, call).await
    }

    /// The same, not waited for after `until`.
    async fn written_by<T>(
        &self,
        until: Timestamp,
        name: &ClusterName,
        call: impl AsyncFn() -> Result<T, ClusterError>,
    ) -> Outcome {
        let noted = async || {
            let answer = call().await;
            self.app.note_reach(name, &answer);
            answer
        };
        outcome(retry::write(until, &self.app.clock, None, noted).await)
    }

    async fn patch(&self, patch: For<NodePatch>) -> Done {
        let For { instance, what } = patch;
        let outcome = match self.client(&instance).await {
            Ok((client, name)) => {
                let outcome = self.written(name, || cluster::patch_node(&client, &what)).await;
                // Who takes a place in the order has seen all who took theirs before: the list is read again.
                self.app.kept.peers.outdate(name);
                outcome
            }
            Err(skipped) => skipped,
        };
        let kind = match what.purpose {
            decision::step::PatchPurpose::Cordon => "cordon",
            decision::step::PatchPurpose::Record => "record",
            decision::step::PatchPurpose::OutOfService => "out-of-service",
            decision::step::PatchPurpose::Undo => "undo",
        };
        Done { instance, kind, subject: what.node.to_string(), outcome }
    }

    async fn heartbeat(&self, call: For<HookCall>) -> Done {
        let For { instance, what } = call;
        let asked_at = self.app.clock.now();
        let send = || cloud::autoscaling::heartbeat(&self.app.aws.autoscaling, &what);
        let bucket = Some(&self.app.limits.autoscaling);
        let beat = retry::write(self.until, &self.app.clock, bucket, send).await;
        match &beat {
            Ok(Beat::Accepted) => self.remember_hook(&instance, &what, HookState::Active(asked_at)),
            Ok(Beat::NotActive) => self.remember_hook(&instance, &what, HookState::Inactive),
            Err(_) => {}
        }
        Done { instance, kind: "heartbeat", subject: what.hook.to_string(), outcome: outcome(beat) }
    }

    async fn deregister(&self, what: ForMany<Deregister>) -> Vec<Done> {
        let ForMany { instances, what } = what;
        let bucket = &self.app.limits.elbv2_writes;
        let until = what.fresh_until.min(self.until);
        let outcome = match bucket.take(1, until, &self.app.clock).await {
            Err(no_time) => {
                let skipped = Outcome::Skipped(no_time.to_string());
                return each(instances, "deregister", &what.change, &skipped);
            }
            Ok(()) => {
                let send = || cloud::elbv2::deregister(&self.app.aws.elbv2, &what.change);
                let sent = retry::write(self.until, &self.app.clock, None, send).await;
                if matches!(&sent, Err(failure) if matches!(failure.class(), decision::step::Class::Throttled(_)))
                {
                    bucket.slow_down();
                }
                outcome(sent)
            }
        };
        let health = &self.app.kept.health;
        if outcome == Outcome::Done {
            // What is known of all the others stays good: in a storm another read may be long in coming.
            health.revise(&what.change.group, |(read_at, targets)| {
                (*read_at, targets.leaving(&what.change.targets))
            });
        } else {
            health.outdate(&what.change.group);
        }
        each(instances, "deregister", &what.change, &outcome)
    }

    async fn register(&self, what: ForMany<TargetChange>) -> Vec<Done> {
        let ForMany { instances, what } = what;
        let send = || cloud::elbv2::register(&self.app.aws.elbv2, &what);
        let bucket = Some(&self.app.limits.elbv2_writes);
        let outcome = outcome(retry::write(self.until, &self.app.clock, bucket, send).await);
        self.app.kept.health.outdate(&what.group);
        each(instances, "register", &what, &outcome)
    }

    /// One after the other, until what became of one speaks for all that follow, or the time is over.
    async fn remove_each(&self, lane: Vec<For<Remove>>, began: Timestamp) -> Lane {
        let last = (began + EVICTIONS_BEGIN_WITHIN).min(self.until - EVICTION_TAKES);
        let (mut done, mut left, mut is_cut_short) = (Vec::new(), None, false);
        for removal in lane {
            let at = self.app.clock.now() + self.pause(&removal);
            if left.is_none() && at > last && (!done.is_empty() || at > self.app.clock.now()) {
                left = Some("others under its budget take the time of this turn");
                is_cut_short = true;
            }
            if self.answers_before(at, &removal) {
                left = Some("a hook is to be answered before its end could be waited for");
            }
            if let Some(why) = left {
                done.push(skipped(removal, why));
                continue;
            }
            self.app.clock.sleep_until(at).await;
            let lane = self.lane(&removal);
            let one = self.remove(removal).await;
            if let Some(lane) = lane {
                self.remember_eviction_took(lane, self.app.clock.now().since(at));
            }
            left = ends_lane(&one.outcome).then_some("another under its budget failed");
            done.push(one);
        }
        Lane { done, is_cut_short }
    }

    /// Whether an eviction that begins at `at` could hold up an answer.
    fn answers_before(&self, at: Timestamp, removal: &For<Remove>) -> bool {
        let is_shared = removal.what.budget().is_some();
        is_shared && self.evictions_until < self.until && at + EVICTION_TAKES > self.evictions_until
    }

    /// The budget under which this removal goes, and where that is.
    fn lane(&self, removal: &For<Remove>) -> Option<(ClusterName, PodKey)> {
        let cluster = self.clusters.get(&removal.instance)?;
        Some((cluster.clone(), removal.what.budget()?.clone()))
    }

    /// How long to wait before this removal, because evictions under its budget collided.
    fn pause(&self, removal: &For<Remove>) -> Duration {
        let now = self.app.clock.now();
        let longest = self.lane(removal).and_then(|lane| self.app.kept.pauses.get(&lane, now));
        // Another one each time: by the millisecond.
        let seed = u32::try_from(now.millis() & i64::from(u32::MAX)).unwrap_or_default();
        longest.map_or(Duration::ZERO, |longest| jitter(&removal.instance, seed, longest))
    }

    async fn remove(&self, removal: For<Remove>) -> Done {
        let For { instance, what } = removal;
        let asked_at = self.app.clock.now();
        let (kind, pod, outcome) = match what {
            Remove::Evict { pod, budget } => {
                let until = if budget.is_some() { self.evictions_until } else { self.until };
                let outcome = match self.client(&instance).await {
                    Ok((client, name)) => {
                        let evict = || cluster::evict(&client, &pod);
                        self.written_by(until, name, evict).await
                    }
                    Err(skipped) => skipped,
                };
                self.remember_eviction(&instance, &pod, &outcome, asked_at);
                ("evict", pod, outcome)
            }
            Remove::Delete { pod, grace_seconds } => {
                let outcome = match self.client(&instance).await {
                    Ok((client, name)) => {
                        self.written(name, || cluster::delete(&client, &pod, grace_seconds)).await
                    }
                    Err(skipped) => skipped,
                };
                ("delete", pod, outcome)
            }
        };
        Done { instance, kind, subject: pod.pod.to_string(), outcome }
    }

    async fn note(&self, note: For<Note>) -> Done {
        let For { instance, what } = note;
        let now = self.app.clock.now();
        let outcome = match self.client(&instance).await {
            Ok((client, name)) => self.written(name, || cluster::note(&client, &what, now)).await,
            Err(skipped) => skipped,
        };
        Done { instance, kind: "note", subject: what.reason.to_owned(), outcome }
    }

    async fn answer(&self, answer: PlannedAnswer) -> Vec<(String, Answered)> {
        let send =
            || cloud::autoscaling::complete(&self.app.aws.autoscaling, &answer.call, answer.result);
        let bucket = Some(&self.app.limits.autoscaling);
        let answered = match retry::write(self.until, &self.app.clock, bucket, send).await {
            Ok(Completed::Accepted) => Answered::Accepted,
            Ok(Completed::NotActive) => Answered::NotActive,
            Err(failure) => Answered::Failed(failure.why()),
        };
        if !matches!(answered, Answered::Failed(_)) {
            self.remember_hook(&answer.instance, &answer.call, HookState::Inactive);
            self.app.kept.memberships.forget(&answer.instance);
        }
        answer.messages.into_iter().map(|message| (message, answered.clone())).collect()
    }
}

/// A removal that was not tried.
fn skipped(removal: For<Remove>, why: &str) -> Done {
    let For { instance, what } = removal;
    let (kind, pod) = match what {
        Remove::Evict { pod, .. } => ("evict", pod),
        Remove::Delete { pod, .. } => ("delete", pod),
    };
    let outcome = Outcome::Skipped(why.to_owned());
    Done { instance, kind, subject: pod.pod.to_string(), outcome }
}

/// One call's outcome for each instance that it was made for.
fn each(
    instances: Vec<InstanceId>,
    kind: &'static str,
    change: &TargetChange,
    outcome: &Outcome,
) -> Vec<Done> {
    instances
        .into_iter()
        .map(|instance| Done {
            instance,
            kind,
            subject: change.group.to_string(),
            outcome: outcome.clone(),
        })
        .collect()
}
