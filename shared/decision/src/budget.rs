//! How many pods may leave at once: the cluster's PodDisruptionBudgets, and an implicit budget of ours.
//!
//! The implicit budget holds while time allows and where no PDB speaks: never the last Ready pod of a Service, never
//! more than half of an owner's pods. Like the withdrawals, it is computed alike by all processes: of the pods on departing
//! nodes, ordered by their node's place, the first that fit may go. A pod without siblings is not held: nothing
//! would ever come to replace it while it stays.

use crate::id::{InstanceId, NodeName, PodKey, Uid};
use crate::matching::{selects, serves};
use crate::snapshot::cluster::{Budget, NodeView, Phase, Pod, Service, Sibling};
use crate::snapshot::departing::Peers;
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// The order of the departing nodes: the most urgent first, ties by instance.
pub type NodeOrder = BTreeMap<NodeName, (Timestamp, InstanceId)>;

/// The order as the peers' records say; a peer whose record can't be read comes last.
pub fn node_order(peers: &Peers) -> NodeOrder {
    peers
        .iter()
        .map(|peer| {
            let hard = peers.records().get(&peer.instance).and_then(|record| record.hard());
            let rank = hard.unwrap_or(Timestamp::from_millis(i64::MAX));
            (peer.node.clone(), (rank, peer.instance.clone()))
        })
        .collect()
}

/// What the PodDisruptionBudgets say of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// No budget stands in the way.
    Free,
    /// This budget allows one if fewer than `allowed` of its pods leave in this turn.
    Of {
        /// The budget.
        budget: PodKey,
        /// How many it allows now.
        allowed: usize,
    },
    /// It allows none.
    Exhausted(PodKey),
    /// More than one budget guards the pod: the eviction API answers 500.
    Several(Vec<PodKey>),
}

/// Whether a PodDisruptionBudget keeps at least half of the pods that it guards, and one: then the implicit budget has
/// nothing to add, and the pod's siblings need not be read.
pub fn keeps_half(pod: &Pod, budgets: &[Budget]) -> bool {
    pod.phase == Phase::Running
        && guards(pod, budgets).any(|budget| {
            budget.desired >= 1 && budget.desired.saturating_mul(2) >= budget.expected
        })
}

fn guards<'a>(pod: &'a Pod, budgets: &'a [Budget]) -> impl Iterator<Item = &'a Budget> {
    budgets.iter().filter(|budget| {
        budget.key.namespace == pod.key.namespace && selects(&budget.selector, &pod.labels)
    })
}

/// The budget whose count the API server lowers when `pod` is evicted, as far as one was read.
pub fn charged(pod: &Pod, budgets: &[Budget]) -> Option<PodKey> {
    match allowance(pod, budgets) {
        Allowance::Of { budget, .. } | Allowance::Exhausted(budget) => Some(budget),
        Allowance::Free | Allowance::Several(_) => None,
    }
}

/// What the budgets say of `pod`. Pods that are not running yet or have finished are not guarded (the API server's rule).
pub fn allowance(pod: &Pod, budgets: &[Budget]) -> Allowance {
    if pod.phase != Phase::Running {
        return Allowance::Free;
    }
    let guards: Vec<&Budget> = guards(pod, budgets).collect();
    match guards.as_slice() {
        [] => Allowance::Free,
        [budget] => one(pod, budget),
        several => Allowance::Several(several.iter().map(|budget| budget.key.clone()).collect()),
    }
}

fn one(pod: &Pod, budget: &Budget) -> Allowance {
    let unguarded =
        budget.unhealthy_always || budget.healthy >= budget.desired && budget.desired > 0;
    if !pod.ready && unguarded {
        return Allowance::Free;
    }
    match usize::try_from(budget.allowed) {
        Ok(allowed) if allowed > 0 => Allowance::Of { budget: budget.key.clone(), allowed },
        _ => Allowance::Exhausted(budget.key.clone()),
    }
}

/// Why the implicit budget holds `pod`, if it does.
pub fn implicit(
    pod: &Pod,
    view: &NodeView,
    services: &[Service],
    siblings: &[Sibling],
    order: &NodeOrder,
) -> Option<String> {
    if !pod.ready || pod.owner.as_ref().is_none_or(|owner| owner.kind == "Job") {
        return None;
    }
    let owner = &pod.owner.as_ref()?.uid;
    let family: Vec<&Sibling> = siblings.iter().filter(|sibling| sibling.owner == *owner).collect();
    if family.iter().all(|sibling| sibling.uid == pod.uid) {
        return None;
    }
    half_of_owner(pod, &family, order).or_else(|| last_of_service(pod, view, services, order))
}

fn half_of_owner(pod: &Pod, family: &[&Sibling], order: &NodeOrder) -> Option<String> {
    let ready: Vec<&&Sibling> =
        family.iter().filter(|sibling| sibling.ready && !sibling.leaving).collect();
    let free = ready.len().saturating_sub(family.len().div_ceil(2));
    let going = ready.iter().filter_map(|sibling| {
        let node = sibling.node.as_ref()?;
        Some((order.get(node)?, &sibling.key, &sibling.uid))
    });
    if is_among_first(going, &pod.uid, free) {
        return None;
    }
    let owner = pod.owner.as_ref()?;
    Some(format!(
        "{} of {} pods of {} {} are Ready, half must stay",
        ready.len(),
        family.len(),
        owner.kind,
        owner.name
    ))
}

fn last_of_service(
    pod: &Pod,
    view: &NodeView,
    services: &[Service],
    order: &NodeOrder,
) -> Option<String> {
    let mine = services.iter().filter(|service| serves(service, pod));
    for service in mine {
        if !service.ready.iter().any(|endpoint| endpoint.pod == pod.uid) {
            continue;
        }
        let going = service.ready.iter().filter_map(|endpoint| {
            let node = endpoint.node.as_ref().unwrap_or(&view.node.name);
            Some((order.get(node)?, &endpoint.pod, &endpoint.pod))
        });
        if !is_among_first(going, &pod.uid, service.ready.len().saturating_sub(1)) {
            return Some(format!("the last Ready pod of Service {} must stay", service.key));
        }
    }
    None
}

/// Whether `uid` is among the first `free` of `going`, in the order of their nodes.
fn is_among_first<'a, K: Ord>(
    going: impl Iterator<Item = (&'a (Timestamp, InstanceId), K, &'a Uid)>,
    uid: &Uid,
    free: usize,
) -> bool {
    let mut going: Vec<_> = going.collect();
    going.sort();
    going.iter().take(free).any(|(_, _, candidate)| *candidate == uid)
}
