//! One instance's way out of service: record and cordon, withdraw, pods, volumes, answer.
//!
//! Each turn moves the world one step from what it sees; nothing is remembered but what the node carries. Where a turn
//! writes the node, it does nothing else that relies on it: the next turn, a moment later, looks again.
//!
//! ```text
//!   proven? ─> cordon ─> record ─> deregister ─┐
//!                          └─> evict ──────────┴─> volumes ─> settled, drained ─> CONTINUE
//! ```

mod node;
pub(crate) mod record;
pub(crate) mod withdrawal;

use crate::admit::{Admitted, is_proven};
use crate::decision::{Course, End};
use crate::id::InstanceId;
use crate::limits::{
    ANSWER_MARGIN, HEALTH_FRESH, LATE_FOR, REGISTERS_WITHIN, SHARED_LOOK, SHARED_LOOKS,
};
use crate::pace::{crowded, longest_wait, look};
use crate::policy::{Mode, Policy, Reaction};
use crate::report::{Report, Stage};
use crate::snapshot::Snapshot;
use crate::snapshot::aws::{InstanceState, TargetGroup};
use crate::snapshot::cluster::{ClusterView, NodeLookup};
use crate::step::{Deregister, HookResult, Step, TargetChange};
use crate::time::{Timestamp, human};
use crate::withdraw::{May, Order, Records, Standing, is_last_living, standing};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a departure is decided from.
#[derive(Clone, Debug)]
pub(crate) struct Case<'a> {
    /// What was seen.
    pub(crate) snapshot: &'a Snapshot,
    /// The signals that ask for it.
    pub(crate) signals: &'a [Admitted<'a>],
    /// The policy with the hooks' overrides.
    pub(crate) policy: &'a Policy,
    /// When it began, as far as the signals say.
    pub(crate) since: Timestamp,
    /// The earliest hard deadline of the signals.
    pub(crate) hard: Option<Timestamp>,
    /// The shortest heartbeat of the hooks; `None` when no hook waits.
    pub(crate) heartbeat: Option<Duration>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        signals: &'a [Admitted<'a>],
        policy: &'a Policy,
    ) -> Self {
        let since = signals.iter().map(|signal| signal.seen.sent_at).min().unwrap_or(snapshot.now);
        let hard = signals.iter().filter_map(Admitted::hard).min();
        let heartbeat = signals.iter().filter_map(Admitted::heartbeat).min();
        Self { snapshot, signals, policy, since, hard, heartbeat }
    }

    /// Whether a hook waits for this departure's end.
    pub(crate) fn is_held(&self) -> bool {
        self.signals.iter().any(|signal| signal.hook().is_some())
    }

    /// How much of a departure is asked for.
    pub(crate) fn reaction(&self) -> Reaction {
        self.signals.iter().map(Admitted::reaction).max().unwrap_or(Reaction::Ignore)
    }

    /// When the recommendations lapse that are all that asks for this departure.
    pub(crate) fn lapses_at(&self) -> Option<Timestamp> {
        let each = self.signals.iter().map(|signal| signal.lapses_at(self.policy));
        each.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Whether its load balancers are to be left: more than a cordon is asked for, and by more than a recommendation.
    fn drains(&self) -> bool {
        self.reaction() == Reaction::Drain && self.lapses_at().is_none()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.snapshot.now
    }

    /// When to look again if no earlier instant matters. In a storm rarely, so that all have their turn.
    pub(crate) fn look(&self) -> Timestamp {
        let now = self.now();
        let receives = self.signals.first().map_or(1, |signal| signal.seen.receives);
        let shared = if self.more_urgent().is_some() { SHARED_LOOK } else { Duration::ZERO };
        let crowd = self.snapshot.memory.crowd * if shared.is_zero() { 1 } else { SHARED_LOOKS };
        let crowded = crowded(now, self.instance(), receives, crowd).max(now + shared);
        look(now, self.since, self.heartbeat).max(crowded.min(self.in_time()))
    }

    /// The deadline of another signal on the node's record that is earlier than ours, and ahead: whoever hears that one does
    /// the work in the meantime.
    pub(crate) fn more_urgent(&self) -> Option<Timestamp> {
        let ClusterView::Reached { node: NodeLookup::Found(view), .. } = &self.snapshot.cluster
        else {
            return None;
        };
        let record = record::current(self, &view.node)?;
        let own: Vec<String> =
            self.signals.iter().map(|signal| signal.contributor().token).collect();
        let others = record.because.iter().filter(|part| !own.contains(&part.token));
        let earlier =
            |hard: &Timestamp| *hard > self.now() && self.hard.is_none_or(|own| *hard < own);
        others.filter_map(|part| part.hard).filter(earlier).min()
    }

    /// The longest wait that the hooks' heartbeats leave.
    pub(crate) fn in_time(&self) -> Timestamp {
        self.now() + self.heartbeat.map_or(Duration::from_secs(60), longest_wait)
    }

    /// Whether AWS has accepted a heartbeat for each signal, or nothing will be written anyway.
    pub(crate) fn is_proven(&self) -> bool {
        self.policy.mode == Mode::Observe
            || self.signals.iter().all(|signal| is_proven(signal, self.snapshot))
    }

    pub(crate) fn again(&self, steps: Vec<Step>, report: Report, at: Timestamp) -> Course {
        Course { steps, end: End::Again(at), report }
    }

    pub(crate) fn done(&self, steps: Vec<Step>, report: Report, why: String) -> Course {
        Course { steps, end: End::Done(HookResult::Continue, why), report }
    }

    fn instance(&self) -> &'a InstanceId {
        &self.snapshot.instance
    }
}

/// Decides the departure's next step.
pub(crate) fn decide(case: &Case<'_>) -> Course {
    let mut report = Report::new(case.instance().clone(), Stage::Looking);
    report.begin(case.since, case.hard);
    report.signals(case.signals, &case.snapshot.memory);
    if !case.is_proven() {
        report.stage = Stage::Proving;
        return case.again(Vec::new(), report, case.now());
    }
    if is_gone(case.snapshot) {
        return ended(case, report);
    }
    if !is_scheduled(case) {
        report.warnings.push("EC2 does not show (yet) what was announced as scheduled".into());
        return case.again(Vec::new(), report, case.look());
    }
    match &case.snapshot.cluster {
        ClusterView::NotAsked => case.again(Vec::new(), report, case.look()),
        ClusterView::Unnamed => {
            let why = "no tag, hook or setting names a cluster for the instance";
            report.warnings.push(format!("nothing is drained: {why}"));
            without_node(case, report, why)
        }
        ClusterView::Deleted(cluster) => {
            // Nothing can be drained there any more, and nothing will come to replace its targets.
            let steps = withdraw_blind(case, Records::NoNode, &mut report).0;
            report.stage = Stage::Ended;
            let why = format!("EKS knows no cluster {cluster}");
            report.warnings.push(format!("nothing is drained: {why}"));
            case.done(steps, report, why)
        }
        ClusterView::Unreachable { cluster, why } => {
            unreachable(case, report, cluster.as_str(), why)
        }
        ClusterView::Reached { node: NodeLookup::Absent, .. } => absent(case, report),
        ClusterView::Reached { node: NodeLookup::Found(view), .. } => {
            node::decide(case, view, report)
        }
    }
}

/// Whether EC2 says that the host runs no more: its pods can't be saved, its targets are ghosts.
pub(crate) fn is_gone(snapshot: &Snapshot) -> bool {
    match &snapshot.aws.instance {
        Ok(Some(instance)) => !instance.state.is_up() && !is_dying(instance.state),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Whether EC2 takes the instance down just now, or has done so: nothing is taken back from its node.
pub(crate) fn is_going(snapshot: &Snapshot) -> bool {
    let instance = snapshot.aws.instance.as_ref().ok().and_then(Option::as_ref);
    instance.is_some_and(|instance| !instance.state.is_up())
}

/// Whether the host is on its way down: for some seconds, pods on it may still end in order.
fn is_dying(state: InstanceState) -> bool {
    matches!(state, InstanceState::Stopping | InstanceState::ShuttingDown)
}

/// Whether EC2 confirms what was announced, where announcements are all that asks for this departure. What can't be asked
/// for a while (a right that is missing) is taken at its word: the change comes all the same.
pub(crate) fn is_scheduled(case: &Case<'_>) -> bool {
    let wants = |signal: &Admitted<'_>| signal.wants_schedule(case.snapshot, case.policy);
    if !case.signals.iter().all(wants) {
        return true;
    }
    match case.snapshot.aws.is_scheduled {
        Ok(is_scheduled) => is_scheduled,
        Err(_) => case.signals.iter().all(|signal| case.now() >= signal.trusted_from(case.policy)),
    }
}

/// The instance runs no more: ghosts out, and by policy the taint that frees what its pods held.
fn ended(case: &Case<'_>, mut report: Report) -> Course {
    report.stage = Stage::Ended;
    if !case.drains() {
        return case.done(Vec::new(), report, "the instance runs no more".into());
    }
    let mut steps = Vec::new();
    for group in case.snapshot.aws.target_groups.iter().flatten() {
        let standing = standing(group, &order(case), case.policy);
        if let Standing::Registered { targets, .. } = standing
            && !is_last_living(group, case.instance())
        {
            steps.push(deregister(group, targets));
        }
    }
    let unread = match &case.snapshot.aws.target_groups {
        Err(unread) if !case.is_held() && !is_last_moment(case) => Some(&unread.why),
        Ok(_) | Err(_) => None,
    };
    if let ClusterView::Reached { node: NodeLookup::Found(view), .. } = &case.snapshot.cluster {
        report.node = Some(view.node.name.clone());
        if wants_taint(case.snapshot, case.policy) {
            steps.extend(record::out_of_service(case, &view.node).map(Step::PatchNode));
        }
    }
    if let Some(why) = unread {
        report.unread(why);
        return case.again(steps, report, case.look());
    }
    // Without a hook to answer, the next look sees whether the calls had their effect.
    if !steps.is_empty() && !case.is_held() && !is_last_moment(case) {
        return case.again(steps, report, case.now());
    }
    case.done(steps, report, "the instance runs no more; nothing on it can be saved".into())
}

/// Whether the node of an instance that runs no more gets the out-of-service taint. Never while it is shutting down: its
/// pods may still write to their volumes.
pub(crate) fn wants_taint(snapshot: &Snapshot, policy: &Policy) -> bool {
    let state = snapshot.aws.instance.as_ref().ok().and_then(Option::as_ref).map(|it| it.state);
    policy.out_of_service
        && matches!(state, Some(InstanceState::Stopped | InstanceState::Terminated))
}

/// In scope, but without a node: give a young instance time to register, then go on.
fn absent(case: &Case<'_>, report: Report) -> Course {
    let launched = match &case.snapshot.aws.instance {
        Ok(Some(instance)) => instance.launched_at,
        Ok(None) => None,
        Err(_) if is_last_moment(case) => None,
        Err(unread) => {
            // Neither its name nor its tags are known: it was looked for in what may be the wrong place.
            let mut report = report;
            report.unread(&unread.why);
            let steps = withdraw_blind(case, Records::NoNode, &mut report).0;
            return case.again(steps, report, case.look());
        }
    };
    let is_young = launched.is_none_or(|at| case.now() < at + REGISTERS_WITHIN);
    let registers_by = case.since + case.policy.registration_wait;
    if is_young && case.now() < registers_by {
        let mut report = report;
        report.stage = Stage::Registering(registers_by);
        let steps = withdraw_blind(case, Records::NoNode, &mut report).0;
        return case.again(steps, report, case.look().min(registers_by));
    }
    let why = if is_young {
        format!("no node registered within {}", human(case.policy.registration_wait))
    } else {
        "its node is gone already".to_owned()
    };
    without_node(case, report, &why)
}

/// No node to drain: the load balancers still, then the answer.
fn without_node(case: &Case<'_>, mut report: Report, why: &str) -> Course {
    let (steps, waiting) = withdraw_blind(case, Records::NoNode, &mut report);
    match waiting {
        Some(at) if !is_last_moment(case) => {
            report.stage = Stage::Withdrawing;
            case.again(steps, report, at.min(case.look()))
        }
        Some(_) | None => {
            report.stage = Stage::Ended;
            case.done(steps, report, why.to_owned())
        }
    }
}

/// The API server is away: AWS's half goes on, the hook is kept, and nobody is abandoned.
fn unreachable(case: &Case<'_>, mut report: Report, cluster: &str, why: &str) -> Course {
    report.stage = Stage::Unreachable { cluster: cluster.to_owned(), why: why.to_owned() };
    let (steps, wait) = withdraw_blind(case, Records::Unreachable, &mut report);
    if is_last_moment(case) {
        let why = format!("the deadline, with cluster {cluster} unreachable to the end");
        return case.done(steps, report, why);
    }
    // The last moment for a target must not pass between two looks: a turn that finds the API server away is slow.
    let at = wait.map_or_else(|| case.look(), |at| at.min(case.look()));
    case.again(steps, report, at)
}

/// Whether it must end now, whatever is left: a hook is answered before AWS ends its wait; without one, AWS has acted.
pub(crate) fn is_last_moment(case: &Case<'_>) -> bool {
    let hooks = case.signals.iter().filter(|signal| signal.hook().is_some());
    if case.is_held() {
        let hard = hooks.filter_map(Admitted::hard).min();
        return hard.is_some_and(|hard| case.now() >= hard - ANSWER_MARGIN);
    }
    // What begins after its deadline gets as long: its targets still have to leave.
    let begun = match &case.snapshot.cluster {
        ClusterView::Reached { node: NodeLookup::Found(view), .. } => {
            record::current(case, &view.node).map(|record| record.since)
        }
        _ => None,
    };
    let until = |hard: Timestamp| begun.map_or(hard, |begun| hard.max(begun)) + LATE_FOR;
    case.hard.is_some_and(|hard| case.now() >= until(hard))
}

pub(crate) fn order<'a>(case: &Case<'a>) -> Order<'a> {
    Order {
        now: case.now(),
        me: case.instance(),
        since: case.since,
        begun: case.since,
        hard: case.hard,
        records: Records::NoNode,
        after_hook: case.is_held(),
        reserves: BTreeMap::new(),
    }
}

/// Withdraws without a node to record it on; returns the steps and until when something is waited for.
fn withdraw_blind(
    case: &Case<'_>,
    records: Records<'_>,
    report: &mut Report,
) -> (Vec<Step>, Option<Timestamp>) {
    if !case.drains() {
        return (Vec::new(), None);
    }
    let order = Order { records, ..order(case) };
    let Ok(groups) = &case.snapshot.aws.target_groups else {
        return (Vec::new(), Some(case.look()));
    };
    let (mut steps, mut wait) = (Vec::new(), None::<Timestamp>);
    let mut wait_for = |at: Timestamp| wait = Some(wait.map_or(at, |other| other.min(at)));
    for group in groups {
        let standing = standing(group, &order, case.policy);
        match &standing {
            Standing::Clear | Standing::Registered { may: May::LastLiving, .. } => {}
            Standing::Leaving { .. } if !case.is_held() => {}
            Standing::Leaving { drained, .. } if *drained > case.now() => wait_for(*drained),
            // AWS takes a moment longer than its own delay.
            Standing::Leaving { .. } => wait_for(case.look()),
            Standing::Registered { may: May::Later { at, .. }, .. } => wait_for(*at),
            Standing::Registered { targets, may: May::Now } => {
                steps.push(deregister(group, targets.clone()));
                wait_for(case.now());
            }
        }
        report.registration(group, &standing);
    }
    (steps, wait)
}

/// The call that takes `targets` out, valid as long as the health that allowed it is fresh.
pub(crate) fn deregister(group: &TargetGroup, targets: Vec<crate::step::TargetId>) -> Step {
    deregister_within(group, targets, HEALTH_FRESH)
}

/// The same with a health that is fresh for so long.
fn deregister_within(
    group: &TargetGroup,
    targets: Vec<crate::step::TargetId>,
    fresh_for: Duration,
) -> Step {
    let change = TargetChange { group: group.arn.clone(), targets };
    let health = group.targets.clone();
    Step::Deregister(Deregister { change, health, fresh_until: group.read_at + fresh_for })
}
