//! What is worth reading next: `gather` asks before each round of reads, so that a turn costs no more than it needs.
//!
//! ```text
//!   memberships, groups, hooks ─> EC2 instance? ─> cluster, node? ─> health, peers? ─> pods? ─> budgets … or volumes?
//! ```
//! What is not read stays `Unread`, so that a rule that wants it after all holds instead of guessing.

use crate::admit::{Admission, Admitted, Way, admit, in_charge};
use crate::annotation::{DEPARTURE, Departure};
use crate::budget::{Allowance, allowance};
use crate::departure::record::{Noted, current, is_cordoned, noted};
use crate::departure::withdrawal::follows;
use crate::departure::{Case, is_gone, is_scheduled, wants_taint};
use crate::id::{AsgName, ClusterName, TargetGroupArn};
use crate::judge::{is_left_to_us, is_waited_for, must_go};
use crate::limits::{STORM_NODES, WITHDRAW_MARGIN};
use crate::policy::{Mode, Policy, Reaction};
use crate::scope;
use crate::signal::{Cause, HookRoute, Interruption, SignalKind};
use crate::snapshot::aws::{Asg, Instance, InstanceState, RegistrationOwner, TargetGroup};
use crate::snapshot::cluster::{ClusterView, NodeLookup, NodeView, Pod};
use crate::snapshot::{Read, Snapshot};
use crate::time::Timestamp;
use crate::withdraw::{Known, May, Order, Records, Standing, fresh_for, standing};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

/// The tag of an instance that belongs to a cluster: `kubernetes.io/cluster/<name>`.
const CLUSTER_TAG: &str = "kubernetes.io/cluster/";

/// A person needs so long to hear of a budget that blocks, and to mend it. Half: a storm of Spot warnings reads siblings for
/// a report that nobody can use. Twice: the last ten minutes before a deadline are reported without siblings.
const PERSON_ACTS: Duration = Duration::from_secs(300);

/// Who has less time than this makes way for nobody: half of a Spot notice. Half: a withdrawal's last moment may fall into a
/// turn that only cordons. Twice: in a storm of Spot warnings nobody makes way.
pub const MAKES_WAY_BEFORE: Duration = Duration::from_secs(60);

/// Where an instance's cluster is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterLook {
    /// Nowhere: no signal is ours, or none needs the node.
    No,
    /// Nothing names a cluster.
    Unnamed,
    /// This one.
    Ask(ClusterName),
}

/// The Auto Scaling group of an instance: its hook's event names it, or its own tag does.
pub fn asg(snapshot: &Snapshot) -> Option<AsgName> {
    let named = snapshot.signals.iter().find_map(|seen| seen.signal.hook());
    named.map(|hook| hook.asg.clone()).or_else(|| {
        snapshot.aws.instance.as_ref().ok().and_then(Option::as_ref).and_then(Instance::asg)
    })
}

/// Whether the hooks of a group are worth reading: it may be ours.
pub fn wants_hooks(group: Option<&Read<Option<Asg>>>, policy: &Policy) -> bool {
    match group {
        Some(Ok(Some(group))) => scope::group(group, policy).is_ok(),
        Some(Ok(None)) => false,
        Some(Err(_)) | None => true,
    }
}

/// Whether EC2's present word on the instance is worth a call although it was asked a moment ago: something is about to be
/// taken back (a recommendation lapses, a change is called off, the host runs again), and nothing is from a host that is going.
pub fn wants_present_state(snapshot: &Snapshot, policy: &Policy) -> bool {
    snapshot.signals.iter().any(|seen| match &seen.signal.kind {
        SignalKind::Interruption(Interruption { cause, .. }) => match cause {
            Cause::Rebalance => snapshot.now >= seen.sent_at + policy.rebalance_hold,
            Cause::Maintenance(maintenance) => maintenance.closed,
            Cause::State(state) => {
                matches!(state, InstanceState::Pending | InstanceState::Running)
            }
            Cause::Spot(_) | Cause::CapacityReservation | Cause::CapacityBlock => false,
        },
        SignalKind::Hook(_) => false,
    })
}

/// Whether this turn may take something of ours off the instance's node, whose host was up when EC2 was asked last.
pub fn takes_back(snapshot: &Snapshot, policy: &Policy) -> bool {
    let ClusterView::Reached { node: NodeLookup::Found(view), .. } = &snapshot.cluster else {
        return false;
    };
    let is_up = || snapshot.aws.instance.iter().flatten().any(|instance| instance.state.is_up());
    if !view.node.annotations.contains_key(DEPARTURE) || !is_up() {
        return false;
    }
    let arriving = arriving(snapshot, policy);
    !arriving.is_empty() && overridden(policy, &arriving).mode == Mode::Act
}

/// Whether AWS is worth asking about this instance at all: with its group and hooks known, some signal may be ours.
pub fn wants_membership(snapshot: &Snapshot, policy: &Policy) -> bool {
    snapshot.signals.iter().any(|seen| {
        !matches!(admit(seen, snapshot, policy), Admission::Out(crate::decision::Next::Finished(_)))
    })
}

/// Whether the EC2 instance is worth reading: a signal is ours and waits.
pub fn wants_instance(snapshot: &Snapshot, policy: &Policy) -> bool {
    !admitted(snapshot, policy).is_empty()
}

/// Which cluster to ask for the node: the hook's metadata, then the tags, then the configuration.
pub fn cluster(snapshot: &Snapshot, policy: &Policy) -> ClusterLook {
    let admitted = admitted(snapshot, policy);
    let needs_none = |signal: &Admitted<'_>| match signal.way(snapshot, policy) {
        Way::Arrival => signal.hook().is_some_and(|hook| hook.route == HookRoute::WarmPoolIn),
        // What is announced is told on the node once.
        Way::Later(_) => signal.seen.receives > 1,
        // Only its load balancers are left to look after.
        Way::Departure => is_gone(snapshot) && !wants_taint(snapshot, policy),
        Way::Return => is_gone(snapshot),
    };
    if admitted.iter().all(needs_none) {
        return ClusterLook::No;
    }
    let overridden = overridden(policy, &admitted);
    let by_hook = overridden.cluster.clone().filter(|_| overridden.cluster != policy.cluster);
    match by_hook.or_else(|| by_tags(snapshot)).or(overridden.cluster) {
        Some(name) => ClusterLook::Ask(name),
        // Its tags could not be read: that they name no cluster is not known.
        None if snapshot.aws.instance.is_err() => ClusterLook::No,
        None => ClusterLook::Unnamed,
    }
}

fn by_tags(snapshot: &Snapshot) -> Option<ClusterName> {
    let instance = snapshot.aws.instance.iter().flatten().map(|instance| &instance.tags);
    let group = snapshot.aws.group.iter().flatten().map(|group| &group.tags);
    instance.chain(group).find_map(|tags| {
        let owned = tags.keys().find_map(|key| key.strip_prefix(CLUSTER_TAG));
        let named = tags.get("eks:cluster-name").map(String::as_str);
        owned.or(named).and_then(|name| name.parse().ok())
    })
}

/// Whether all that is said is that the instance starts: only a node with our record is of interest, and those that are
/// cordoned are listed.
pub fn only_starts(snapshot: &Snapshot) -> bool {
    !snapshot.signals.is_empty() && snapshot.signals.iter().all(|seen| seen.signal.is_start())
}

/// Whether nobody wants this instance's node drained: what is to be done about it can wait for the next list of all nodes.
pub fn only_arrives(snapshot: &Snapshot, policy: &Policy) -> bool {
    departing(snapshot, policy).is_empty()
}

/// Target groups whose health this turn needs, and who owns the registrations in them.
pub fn target_groups(
    snapshot: &Snapshot,
    policy: &Policy,
) -> BTreeMap<TargetGroupArn, RegistrationOwner> {
    let (departing, arriving) = (departing(snapshot, policy), arriving(snapshot, policy));
    let node = match &snapshot.cluster {
        ClusterView::Reached { node: NodeLookup::Found(view), .. } => Some(view),
        _ => None,
    };
    let came_back = || {
        let record = node.and_then(|view| Departure::parse(view.node.annotations.get(DEPARTURE)?));
        record.is_some_and(|record| !record.withdrawn.is_empty())
    };
    let wanted = if departing.is_empty() {
        !arriving.is_empty() && came_back()
    } else if is_gone(snapshot) {
        asks_to_drain(snapshot, &departing, policy)
    } else {
        snapshot.cluster != ClusterView::NotAsked
            && asks_to_drain(snapshot, &departing, policy)
            && node.is_none_or(|view| is_ready_to_drain(snapshot, &departing, view, policy))
    };
    if !wanted {
        return BTreeMap::new();
    }
    registrations(snapshot, &departing.into_iter().chain(arriving).collect::<Vec<_>>(), policy)
}

/// Whether, in a storm, another signal of the same instance has an earlier deadline and looks after its load balancers: AWS
/// rations those looks. A pod that one of them leads to is held meanwhile. Soon after the last moment for a withdrawal nobody
/// relies on the other any more, whose message may be lost or its function without a right.
pub fn leaves_groups_to_other(snapshot: &Snapshot, policy: &Policy) -> bool {
    let departing = departing(snapshot, policy);
    let policy = overridden(policy, &departing);
    let case = Case::new(snapshot, &departing, &policy);
    let is_early =
        |hard: Timestamp| snapshot.now + policy.settle_application + WITHDRAW_MARGIN / 2 < hard;
    !departing.is_empty()
        && snapshot.memory.crowd >= STORM_NODES
        && case.more_urgent().is_some_and(is_early)
}

/// Whether more than a cordon is asked for, and nothing of it has lapsed.
fn asks_to_drain(snapshot: &Snapshot, departing: &[Admitted<'_>], policy: &Policy) -> bool {
    let policy = overridden(policy, departing);
    let case = Case::new(snapshot, departing, &policy);
    case.reaction() == Reaction::Drain && case.lapses_at().is_none_or(|at| snapshot.now < at)
}

/// Whether EC2 is to be asked if what was announced is still scheduled.
pub fn wants_schedule(snapshot: &Snapshot, policy: &Policy) -> bool {
    admitted(snapshot, policy).iter().any(|signal| signal.wants_schedule(snapshot, policy))
}

/// Whether this turn can do no more than cordon: what the next one wants may be read ahead meanwhile.
pub fn begins(snapshot: &Snapshot, policy: &Policy) -> bool {
    let departing = departing(snapshot, policy);
    match &snapshot.cluster {
        ClusterView::Reached { node: NodeLookup::Found(view), .. } => {
            asks_to_drain(snapshot, &departing, policy)
                && !is_ready_to_drain(snapshot, &departing, view, policy)
        }
        _ => false,
    }
}

/// Whether a cordon is all that this turn can give the node, and it is owed.
pub fn owes_cordon(snapshot: &Snapshot, policy: &Policy) -> bool {
    let departing = departing(snapshot, policy);
    let ClusterView::Reached { node: NodeLookup::Found(view), .. } = &snapshot.cluster else {
        return false;
    };
    if departing.is_empty() {
        return false;
    }
    let policy = overridden(policy, &departing);
    let case = Case::new(snapshot, &departing, &policy);
    let is_cordoned = current(&case, &view.node).is_some() && is_cordoned(&view.node);
    policy.mode == Mode::Act
        && case.is_proven()
        && is_scheduled(&case)
        && !is_cordoned
        && case.lapses_at().is_none_or(|at| snapshot.now < at)
}

/// Whether more than its node is worth reading, and that can wait for another turn: no deadline is near.
pub fn can_make_way(snapshot: &Snapshot, policy: &Policy) -> bool {
    let (departing, arriving) = (departing(snapshot, policy), arriving(snapshot, policy));
    let mut deadlines: Vec<Timestamp> =
        departing.iter().chain(&arriving).filter_map(Admitted::hard).collect();
    if let ClusterView::Reached { node: NodeLookup::Found(view), .. } = &snapshot.cluster {
        let record = view.node.annotations.get(DEPARTURE).and_then(|text| Departure::parse(text));
        deadlines.extend(record.and_then(|record| record.hard()));
    }
    let is_near = |deadline: &Timestamp| *deadline < snapshot.now + MAKES_WAY_BEFORE;
    let has_more = !departing.is_empty() || !arriving.is_empty();
    has_more && !deadlines.iter().any(is_near)
}

/// Target groups whose health the next turn needs, if this one can do no more than cordon.
pub fn target_groups_ahead(
    snapshot: &Snapshot,
    policy: &Policy,
) -> BTreeMap<TargetGroupArn, RegistrationOwner> {
    if begins(snapshot, policy) {
        registrations(snapshot, &departing(snapshot, policy), policy)
    } else {
        BTreeMap::new()
    }
}

/// The target groups in which an instance with these signals may be.
fn registrations(
    snapshot: &Snapshot,
    signals: &[Admitted<'_>],
    policy: &Policy,
) -> BTreeMap<TargetGroupArn, RegistrationOwner> {
    let policy = overridden(policy, signals);
    let named = policy.target_groups.iter().map(|arn| (arn.clone(), RegistrationOwner::Named));
    let attached = snapshot.aws.group.iter().flatten().flat_map(|group| &group.target_groups);
    named.chain(attached.map(|arn| (arn.clone(), RegistrationOwner::Asg))).collect()
}

/// Whether the list of departing nodes is worth reading: a target may want to leave.
pub fn peers(snapshot: &Snapshot, view: &NodeView, policy: &Policy) -> bool {
    let me = snapshot.instance.as_str();
    let is_in = |group: &TargetGroup| {
        group.targets.of(me).iter().any(|target| target.state.is_registered())
    };
    let may_leave = match &snapshot.aws.target_groups {
        Ok(groups) => groups.iter().any(is_in),
        Err(_) => true,
    };
    drains(snapshot, view, policy) && may_leave
}

/// What calls would now take targets out, going by what was read some seconds ago. What is only written down is looked at
/// again before its call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Whether there are any: they need a fresh list of the departing nodes.
    pub any: bool,
    /// The groups whose health is too old for them.
    pub stale: BTreeSet<TargetGroupArn>,
}

/// Which calls would follow.
pub fn calls(snapshot: &Snapshot, view: &NodeView, policy: &Policy) -> Calls {
    let mut calls = Calls::default();
    let _whole: ControlFlow<()> =
        each_group(snapshot, view, policy, |record, (group, order), standing| {
            if let Standing::Registered { may: May::Now, targets } = standing
                && noted(record, group, targets, snapshot.now) != Noted::Not
                && follows(group, order, record).is_none_or(|at| at <= snapshot.now)
            {
                calls.any = true;
                // Half of it, so that it lasts until the call is made.
                if snapshot.now.since(group.read_at) >= fresh_for(group, order, policy) / 2 {
                    calls.stale.insert(group.arn.clone());
                }
            }
            ControlFlow::Continue(())
        });
    calls
}

/// Whether the node's pods are worth reading: a departure first lets its targets go, which needs no pods.
pub fn pods(snapshot: &Snapshot, view: &NodeView, policy: &Policy) -> bool {
    if !arriving(snapshot, policy).is_empty() {
        return true;
    }
    drains(snapshot, view, policy) && !withdraws_now(snapshot, view, policy)
}

/// Whether budgets and Services are worth reading: some pod has not been told to go.
pub fn budgets(snapshot: &Snapshot, view: &NodeView, policy: &Policy) -> bool {
    drains(snapshot, view, policy) && view.pods.iter().flatten().any(must_go)
}

/// The pods whose siblings and endpoints are worth reading, with the budgets read: those that the implicit budget guards,
/// and, where a person has the time to mend it, those that a budget blocks.
pub fn family(snapshot: &Snapshot, view: &NodeView, policy: &Policy) -> Vec<Pod> {
    let departing = departing(snapshot, policy);
    let policy = overridden(policy, &departing);
    let case = Case::new(snapshot, &departing, &policy);
    let budgets = view.budgets.as_deref().unwrap_or_default();
    let record = current(&case, &view.node);
    let begun = record.as_ref().map_or(case.since, |record| record.since);
    let hard = record.as_ref().and_then(Departure::hard).into_iter().chain(case.hard).min();
    let is_mended = case.is_held() && hard.is_none_or(|hard| snapshot.now + PERSON_ACTS < hard);
    let wanted = |pod: &&Pod| {
        let blocked = is_mended
            && matches!(allowance(pod, budgets), Allowance::Exhausted(_) | Allowance::Several(_));
        must_go(pod) && (blocked || is_left_to_us(pod, budgets, snapshot.now, (begun, &policy)))
    };
    view.pods.iter().flatten().filter(wanted).cloned().collect()
}

/// Whether volumes are worth reading: no pod is waited for any more, and no load balancer.
pub fn volumes(snapshot: &Snapshot, view: &NodeView, policy: &Policy) -> bool {
    let is_held = departing(snapshot, policy).iter().any(|signal| signal.hook().is_some());
    let is_empty = view
        .pods
        .as_ref()
        .is_ok_and(|pods| !pods.iter().any(|pod| is_waited_for(pod, snapshot.now)));
    is_held
        && is_empty
        && drains(snapshot, view, policy)
        && snapshot.aws.target_groups.is_ok()
        && !any_group(snapshot, view, policy, |_, _, standing| match standing {
            Standing::Leaving { .. }
            | Standing::Registered { may: May::Now | May::Later { .. }, .. } => true,
            Standing::Clear | Standing::Registered { may: May::LastLiving, .. } => false,
        })
}

fn admitted<'a>(snapshot: &'a Snapshot, policy: &Policy) -> Vec<Admitted<'a>> {
    let admitted = snapshot
        .signals
        .iter()
        .filter_map(|seen| match admit(seen, snapshot, policy) {
            Admission::In(admitted) => Some(admitted),
            Admission::Out(_) => None,
        })
        .collect();
    in_charge(admitted, policy)
}

fn overridden(policy: &Policy, admitted: &[Admitted<'_>]) -> Policy {
    admitted.iter().fold(policy.clone(), |policy, signal| policy.overridden(&signal.overrides))
}

fn arriving<'a>(snapshot: &'a Snapshot, policy: &Policy) -> Vec<Admitted<'a>> {
    let mut admitted = admitted(snapshot, policy);
    admitted.retain(|signal| matches!(signal.way(snapshot, policy), Way::Arrival | Way::Return));
    admitted
}

fn departing<'a>(snapshot: &'a Snapshot, policy: &Policy) -> Vec<Admitted<'a>> {
    let mut admitted = admitted(snapshot, policy);
    admitted.retain(|signal| signal.way(snapshot, policy) == Way::Departure);
    admitted
}

fn drains(snapshot: &Snapshot, view: &NodeView, policy: &Policy) -> bool {
    let departing = departing(snapshot, policy);
    asks_to_drain(snapshot, &departing, policy)
        && is_ready_to_drain(snapshot, &departing, view, policy)
}

/// Proven and cordoned, so that this turn can do more than write the node; or only observed.
fn is_ready_to_drain(
    snapshot: &Snapshot,
    departing: &[Admitted<'_>],
    view: &NodeView,
    policy: &Policy,
) -> bool {
    let policy = overridden(policy, departing);
    let case = Case::new(snapshot, departing, &policy);
    let cordoned = current(&case, &view.node).is_some() && is_cordoned(&view.node);
    policy.mode == Mode::Observe || case.is_proven() && cordoned
}

/// Whether this turn takes targets out for the first time, or writes down that it will. A call that failed is made
/// again beside the rest: a right that is missing there must not stop the whole drain.
fn withdraws_now(snapshot: &Snapshot, view: &NodeView, policy: &Policy) -> bool {
    let is_observed = overridden(policy, &departing(snapshot, policy)).mode == Mode::Observe;
    let spares = {
        let departing = departing(snapshot, policy);
        Case::new(snapshot, &departing, policy).lapses_at().is_some()
    };
    !is_observed
        && !spares
        && any_group(snapshot, view, policy, |record, group, standing| match standing {
            Standing::Registered { may: May::Now, targets } => {
                matches!(noted(record, group, targets, snapshot.now), Noted::Not | Noted::Fresh)
            }
            Standing::Registered { .. } | Standing::Leaving { .. } | Standing::Clear => false,
        })
}

/// Whether this holds of any group that was read, with our record and where the node stands with the group.
fn any_group(
    snapshot: &Snapshot,
    view: &NodeView,
    policy: &Policy,
    holds: impl Fn(&Departure, &TargetGroup, &Standing) -> bool,
) -> bool {
    let holds =
        |record: &Departure, (group, _): (&TargetGroup, &Order<'_>), standing: &Standing| {
            if holds(record, group, standing) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
    each_group(snapshot, view, policy, holds).is_break()
}

/// Each group that was read, with our record, the order, and where the node stands with the group; until one is enough.
fn each_group(
    snapshot: &Snapshot,
    view: &NodeView,
    policy: &Policy,
    mut look: impl FnMut(&Departure, (&TargetGroup, &Order<'_>), &Standing) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let departing = departing(snapshot, policy);
    let policy = overridden(policy, &departing);
    let case = Case::new(snapshot, &departing, &policy);
    let Some(record) = current(&case, &view.node) else { return ControlFlow::Continue(()) };
    let records = view.peers.as_ref().ok().map(|peers| Known::new(peers.records(), &record));
    let order = Order {
        begun: record.since,
        hard: record.hard().or(case.hard),
        records: records.map_or(Records::Unread(&record), Records::Known),
        // As far as pods and Services are read by now.
        reserves: crate::departure::withdrawal::reserves(&case, view, &record),
        ..crate::departure::order(&case)
    };
    for group in snapshot.aws.target_groups.iter().flatten() {
        look(&record, (group, &order), &standing(group, &order, &policy))?;
    }
    ControlFlow::Continue(())
}
