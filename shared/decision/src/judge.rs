//! The verdicts on all pods of a node: small rules in the order in which a reader would ask.
//!
//! ```text
//!   stays anyway? ─ is going? ─ must go now? ─ asked to be left? ─ still serving? ─ budgets? ─ room? ─ evict
//! ```
//! A deadline comes before every courtesy; a courtesy before the eviction.

use crate::annotation::TAINT;
use crate::budget::{Allowance, NodeOrder, allowance, implicit, keeps_half};
use crate::limits::{
    ANSWER_MARGIN, EVICTION_RETRY, FORCE_MARGIN, LATE_FOR, SERVING_GRACE_MAX, STUCK_AFTER,
};
use crate::matching::{serves, tolerates};
use crate::policy::{AtLongestDrain, Policy, ProtectedPods};
use crate::snapshot::cluster::{Budget, NodeView, Phase, Pod, Service, TrafficPolicy};
use crate::snapshot::{Memory, Unread};
use crate::time::Timestamp;
use crate::verdict::{Forced, Held, Judged, Stays, Verdict};
use crate::withdraw::Standing;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Pods of this priority and above are critical (`system-cluster-critical` is 2,000,000,000).
const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// Annotations that ask for a pod to be left alone, with the value that says so.
const PROTECTIONS: [(&str, &str); 2] = [
    ("karpenter.sh/do-not-disrupt", "true"),
    ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
];

/// A way by which requests reach this node: a target group and the ports it sends to.
#[derive(Clone, Debug)]
pub struct Path {
    /// The ports; `None` when they are no longer known, which counts as any.
    pub ports: Option<BTreeSet<u16>>,
    /// Where the node stands with the group.
    pub standing: Standing,
}

/// Everything that the rules look at.
#[derive(Clone, Debug)]
pub struct Bench<'a> {
    /// The present.
    pub now: Timestamp,
    /// The policy of this departure.
    pub policy: &'a Policy,
    /// The node and what is on it.
    pub view: &'a NodeView,
    /// When our record was begun: the implicit budget's time counts from here.
    pub begun: Timestamp,
    /// Its earliest hard deadline.
    pub hard: Option<Timestamp>,
    /// Its soft deadline.
    pub soft: Timestamp,
    /// A person's order to remove what is left.
    pub forced: Option<Forced>,
    /// How requests reach the node, as far as that could be read.
    pub paths: Result<&'a [Path], &'a Unread>,
    /// The order of the departing nodes.
    pub order: &'a NodeOrder,
    /// What earlier turns learned.
    pub memory: &'a Memory,
    /// When to look again at what no event will tell.
    pub look: Timestamp,
}

/// The verdicts on `pods`, in the order in which they leave: Jobs first, then by priority, critical last.
pub fn judge<'a>(pods: &'a [Pod], bench: &Bench<'_>) -> Vec<Judged<'a>> {
    let mut ordered: Vec<&Pod> = pods.iter().collect();
    ordered.sort_by_key(|pod| (!is_job(pod), pod.priority, &pod.key));
    let mut judged: Vec<Judged<'a>> = Vec::new();
    let mut spent: BTreeMap<String, usize> = BTreeMap::new();
    for pod in ordered {
        let verdict = rule(pod, bench)
            .or_else(|| after_others(pod, bench, &judged))
            .or_else(|| refused(pod, bench))
            .unwrap_or_else(|| budgets(pod, bench, &mut spent));
        judged.push(Judged { pod, verdict });
    }
    judged
}

fn is_job(pod: &Pod) -> bool {
    pod.owner.as_ref().is_some_and(|owner| owner.kind == "Job")
}

fn is_critical(pod: &Pod) -> bool {
    pod.priority >= CRITICAL_PRIORITY
}

/// The rules that look at nothing but the pod and the node; `None` when none of them applies.
fn rule(pod: &Pod, bench: &Bench<'_>) -> Option<Verdict> {
    stays(pod)
        .or_else(|| going(pod, bench))
        .or_else(|| forced(pod, bench))
        .or_else(|| outdated(bench))
        .or_else(|| protected(pod, bench))
        .or_else(|| serving(pod, bench))
}

/// A critical pod waits for those that are not and that were judged before it.
fn after_others(pod: &Pod, bench: &Bench<'_>, judged: &[Judged<'_>]) -> Option<Verdict> {
    let others = judged.iter().any(|other| other.is_waited_for() && !is_critical(other.pod));
    (others && is_critical(pod)).then(|| hold(bench, Held::AfterOthers))
}

/// Whether a departure waits for this pod at all, and it has not been told to go yet.
pub(crate) fn must_go(pod: &Pod) -> bool {
    stays(pod).is_none() && pod.deletion.is_none()
}

/// Whether a departure waits for this pod at all.
pub(crate) fn is_waited_for(pod: &Pod, now: Timestamp) -> bool {
    let gone = pod.deletion.is_some() && pod.containers_stopped;
    stays(pod).is_none() && !gone && !is_stuck(pod, now)
}

/// Whether its grace ended long ago, and no kubelet says that it stopped: the kubelet is lost, or can't end it. Nothing
/// that we could still do would help it.
fn is_stuck(pod: &Pod, now: Timestamp) -> bool {
    pod.deletion.is_some_and(|deletion| now >= deletion.ends_at + STUCK_AFTER)
}

/// A pod that is evicted from a node that somebody uncordoned could come right back.
fn outdated(bench: &Bench<'_>) -> Option<Verdict> {
    let why = bench.view.outdated.as_ref()?;
    Some(hold(bench, Held::Unread(format!("the node could not be read again: {why}"))))
}

fn hold(bench: &Bench<'_>, why: Held) -> Verdict {
    Verdict::Hold(bench.look, why)
}

fn stays(pod: &Pod) -> Option<Verdict> {
    let owner = pod.owner.as_ref().map(|owner| owner.kind.as_str());
    let comes_back = owner.is_some()
        && tolerates(&pod.tolerations, TAINT)
        && tolerates(&pod.tolerations, "node.kubernetes.io/unschedulable");
    if matches!(pod.phase, Phase::Succeeded | Phase::Failed) {
        Some(Verdict::Leave(Stays::Finished))
    } else if pod.mirror || owner == Some("Node") {
        Some(Verdict::Leave(Stays::Static))
    } else if owner == Some("DaemonSet") {
        Some(Verdict::Leave(Stays::DaemonSet))
    } else if comes_back && pod.deletion.is_none() {
        Some(Verdict::Leave(Stays::WouldComeBack))
    } else {
        None
    }
}

/// A pod that is being deleted: gone once its containers stopped, whatever finalizers keep the object.
fn going(pod: &Pod, bench: &Bench<'_>) -> Option<Verdict> {
    let deletion = pod.deletion?;
    if pod.containers_stopped {
        return Some(Verdict::Gone);
    }
    if is_stuck(pod, bench.now) {
        return Some(Verdict::Leave(Stays::Stuck));
    }
    // A long grace would outlast the deadline: the second deletion below may shorten it.
    let ends_too_late = bench.hard.is_some_and(|hard| deletion.ends_at > hard - ANSWER_MARGIN);
    match forced(pod, bench) {
        Some(Verdict::Force(grace, why @ Forced::HardDeadline(_)))
            if ends_too_late && bench.now + grace < deletion.ends_at =>
        {
            Some(Verdict::Force(grace, why))
        }
        _ => {
            let ends = [deletion.ends_at, deletion.ends_at + STUCK_AFTER];
            let next = ends.into_iter().find(|at| *at > bench.now).unwrap_or(bench.look);
            Some(Verdict::Hold(next, Held::Terminating))
        }
    }
}

/// The instant from which `pod` is deleted rather than evicted, so that its grace fits before the hard deadline.
pub(crate) fn forced_from(pod: &Pod, hard: Timestamp) -> Timestamp {
    stop_by(hard) - pod.grace
}

/// The same for a pod that still serves what arrives at this node: it gives a part of its grace for that, since what
/// the load balancer sends meanwhile would find nobody.
pub(crate) fn must_end_from(pod: &Pod, bench: &Bench<'_>, hard: Timestamp) -> Timestamp {
    let from = forced_from(pod, hard);
    // What began after its deadline lives on by luck: the target first.
    let until = if bench.begun >= hard { bench.begun + LATE_FOR } else { hard };
    let least = stop_by(until) - pod.grace.min(SERVING_GRACE_MAX);
    match serving(pod, bench) {
        Some(Verdict::Hold(settled, Held::Serving)) => settled.min(least).max(from),
        Some(Verdict::Hold(_, Held::StillRegistered)) => least.max(from),
        _ => from,
    }
}

/// When the last container must have stopped.
fn stop_by(hard: Timestamp) -> Timestamp {
    hard - ANSWER_MARGIN - FORCE_MARGIN
}

fn forced(pod: &Pod, bench: &Bench<'_>) -> Option<Verdict> {
    if let Some(hard) = bench.hard
        && bench.now >= must_end_from(pod, bench, hard)
    {
        let grace = grace_before(pod, bench.now, hard);
        return Some(Verdict::Force(grace, Forced::HardDeadline(hard)));
    }
    let overdue = bench.now >= bench.soft && bench.policy.at_longest_drain == AtLongestDrain::Force;
    let why = bench.forced.or(overdue.then_some(Forced::LongestDrain))?;
    Some(Verdict::Force(clamped(pod.grace, pod.grace), why))
}

/// The grace of a pod that is deleted at this instant, before a hard deadline. Past the deadline the host lives on by
/// luck: a pod then has its own grace, as far as that luck goes.
pub(crate) fn grace_before(pod: &Pod, at: Timestamp, hard: Timestamp) -> Duration {
    let left = if at < hard { at.until(stop_by(hard)) } else { pod.grace };
    clamped(pod.grace, left)
}

/// A grace of at least one second: 0 would remove the object while its containers still run.
fn clamped(grace: Duration, left: Duration) -> Duration {
    Duration::from_secs(grace.min(left).as_secs().max(1))
}

fn protected(pod: &Pod, bench: &Bench<'_>) -> Option<Verdict> {
    if bench.policy.protected_pods == ProtectedPods::Evict {
        return None;
    }
    let (name, _) = PROTECTIONS
        .iter()
        .find(|(name, value)| pod.annotations.get(*name).map(String::as_str) == Some(*value))?;
    Some(hold(bench, Held::Protected(name)))
}

/// Holds a pod that serves what arrives at this node: behind `Local`, or on a host port.
fn serving(pod: &Pod, bench: &Bench<'_>) -> Option<Verdict> {
    let services = match &bench.view.services {
        Ok(services) => services.as_slice(),
        Err(unread) => return Some(hold(bench, Held::Unread(unread.why.clone()))),
    };
    let ports = ports_served(pod, services);
    let paths = match bench.paths {
        Ok(paths) => paths,
        Err(_) if ports.is_empty() => return None,
        Err(unread) => return Some(hold(bench, Held::Unread(unread.why.clone()))),
    };
    let mut held = None;
    for path in paths.iter().filter(|path| leads_to(path.ports.as_ref(), &ports)) {
        match path.standing {
            Standing::Registered { may: crate::withdraw::May::LastLiving, .. }
            | Standing::Clear => {}
            Standing::Registered { .. } => return Some(hold(bench, Held::StillRegistered)),
            Standing::Leaving { settled, .. } if settled > bench.now => {
                held = held.max(Some(settled));
            }
            Standing::Leaving { .. } => {}
        }
    }
    held.map(|settled| Verdict::Hold(settled, Held::Serving))
}

/// The ports of the node at which only this pod, or a pod like it on the same node, answers.
pub(crate) fn ports_served(pod: &Pod, services: &[Service]) -> BTreeSet<u16> {
    services
        .iter()
        .filter(|service| service.policy == TrafficPolicy::Local)
        .filter(|service| serves(service, pod))
        .flat_map(|service| service.node_ports.iter().copied())
        .chain(pod.host_ports.iter().copied())
        .collect()
}

/// Whether a group that sends to `own` ports (`None`: any) reaches one of these.
pub(crate) fn leads_to(own: Option<&BTreeSet<u16>>, ports: &BTreeSet<u16>) -> bool {
    match own {
        None => !ports.is_empty(),
        Some(own) => !own.is_disjoint(ports),
    }
}

/// A refusal that no budget explains is not tried again at once.
fn refused(pod: &Pod, bench: &Bench<'_>) -> Option<Verdict> {
    let attempts = bench.memory.evictions.get(&pod.uid)?;
    let again_at = attempts.last_at + EVICTION_RETRY;
    let why = attempts.refused.clone()?;
    // Not `again_at`: a refusal may last for hours, and each look costs a receive of the message.
    (again_at > bench.now).then(|| hold(bench, Held::Refused(why)))
}

fn budgets(pod: &Pod, bench: &Bench<'_>, spent: &mut BTreeMap<String, usize>) -> Verdict {
    let budgets = match &bench.view.budgets {
        Ok(budgets) => budgets,
        Err(unread) => return hold(bench, Held::Unread(unread.why.clone())),
    };
    if is_left_to_us(pod, budgets, bench.now, (bench.begun, bench.policy))
        && let Some(held) = implicitly(pod, bench)
    {
        return hold(bench, held);
    }
    match allowance(pod, budgets) {
        Allowance::Free => Verdict::Evict,
        Allowance::Exhausted(budget) => hold(bench, Held::Budget(budget)),
        Allowance::Several(budgets) => hold(bench, Held::TwoBudgets(budgets)),
        Allowance::Of { budget, allowed } => {
            let used = spent.entry(budget.to_string()).or_default();
            *used += 1;
            if *used <= allowed { Verdict::Evict } else { hold(bench, Held::Budget(budget)) }
        }
    }
}

/// Whether the implicit budget is asked about this pod: while there is time, and where no PodDisruptionBudget keeps as much
/// as we would. One that does counts a replacement without room as well, so it need not be looked for.
pub(crate) fn is_left_to_us(
    pod: &Pod,
    budgets: &[Budget],
    now: Timestamp,
    (begun, policy): (Timestamp, &Policy),
) -> bool {
    now < begun + policy.implicit_hold && !keeps_half(pod, budgets)
}

/// What the implicit budget holds the pod for.
fn implicitly(pod: &Pod, bench: &Bench<'_>) -> Option<Held> {
    let (services, siblings) = match (&bench.view.services, &bench.view.siblings) {
        (Ok(services), Ok(siblings)) => (services, siblings),
        (Err(unread), _) | (_, Err(unread)) => return Some(Held::Unread(unread.why.clone())),
    };
    if let Some(pod) = without_room(pod, siblings) {
        return Some(Held::NoRoom(pod));
    }
    implicit(pod, bench.view, services, siblings, bench.order).map(Held::ImplicitBudget)
}

/// A sibling that finds no room: this pod's replacement would find none either.
fn without_room(
    pod: &Pod,
    siblings: &[crate::snapshot::cluster::Sibling],
) -> Option<crate::id::PodKey> {
    let owner = &pod.owner.as_ref()?.uid;
    siblings
        .iter()
        .find(|sibling| sibling.owner == *owner && sibling.unschedulable && !sibling.leaving)
        .map(|sibling| sibling.key.clone())
}
