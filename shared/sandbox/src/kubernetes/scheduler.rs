//! The scheduler: a pod goes to the node that may take it and has the fewest of its kind.
//!
//! Room is counted in pods per node, which is enough to make replacements Pending.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::{Key, Object};
use crate::kubernetes::workload::{Toleration, WorkloadKind};
use crate::kubernetes::{pod, taint};
use crate::world::World;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Finds room for every pod that has none, the most important first.
pub(super) fn schedule(world: &mut World) {
    let mut waiting: Vec<(i32, Key)> = world
        .kubernetes
        .pending
        .iter()
        .filter_map(|key| Some((-run_of(world, key)?.work.priority, key.clone())))
        .collect();
    waiting.sort();
    for (_, key) in waiting {
        match choose(world, &key) {
            Ok(node) => pod::bind(world, &key, &node),
            Err(message) => refuse(world, &key, &message),
        }
    }
}

/// The node for a pod, or why there is none.
pub(super) fn choose(world: &World, key: &Key) -> Result<Arc<str>, String> {
    let run = run_of(world, key).ok_or("the pod is gone")?;
    let tolerations = run.work.all_tolerations();
    let mut why: BTreeMap<String, u32> = BTreeMap::new();
    let mut best: Option<((usize, usize, usize), Arc<str>)> = None;
    let mut count = 0;
    for (_, node) in world.kubernetes.store.all(Kind::Node) {
        count += 1;
        match score(world, run, &tolerations, node) {
            Ok(score) if best.as_ref().is_none_or(|(least, _)| score < *least) => {
                best = Some((score, node.meta.name.clone()));
            }
            Ok(_) => {}
            Err(reason) => *why.entry(reason).or_default() += 1,
        }
    }
    best.map(|(_, name)| name).ok_or_else(|| {
        let reasons: Vec<String> =
            why.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        if reasons.is_empty() {
            return "no nodes available to schedule pods".to_owned();
        }
        format!("0/{count} nodes are available: {}.", reasons.join(", "))
    })
}

fn run_of<'a>(world: &'a World, key: &Key) -> Option<&'a super::kubelet::Run> {
    let pod = world.kubernetes.store.get(Kind::Pod, key)?;
    world.kubernetes.pods.get(&pod.meta.uid)
}

/// How little a node is liked (less is better), or why it is out of the question, in the
/// scheduler's words.
fn score(
    world: &World,
    run: &super::kubelet::Run,
    tolerations: &[Toleration],
    node: &Object,
) -> Result<(usize, usize, usize), String> {
    let elsewhere = || Err("node(s) didn't match Pod's node affinity/selector".to_owned());
    if run.pin.as_ref().is_some_and(|pin| *pin != node.meta.name) {
        return elsewhere();
    }
    let daemon = matches!(run.work.kind, WorkloadKind::DaemonSet);
    let unschedulable = taint::untolerated(node, tolerations, &["NoSchedule", "NoExecute"]);
    let named = unschedulable.is_some_and(|taint| taint["key"] == taint::UNSCHEDULABLE);
    let tolerated = tolerations.iter().any(|one| {
        one.covers(&serde_json::json!({"key": taint::UNSCHEDULABLE, "effect": "NoSchedule"}))
    });
    if named || (node.spec["unschedulable"] == true && !daemon && !tolerated) {
        return Err("node(s) were unschedulable".to_owned());
    }
    if let Some(taint) = unschedulable {
        let (key, value) = (taint["key"].as_str(), taint["value"].as_str());
        let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
        return Err(format!("node(s) had untolerated taint {{{key}: {value}}}"));
    }
    let selector = &run.work.node_selector;
    if selector.iter().any(|(key, value)| node.label(key) != Some(value)) {
        return elsewhere();
    }
    let mut same = 0;
    let mut all = 0;
    for other in world.kubernetes.pods_on(&node.meta.name) {
        if pod::is_terminal(other) {
            continue;
        }
        all += 1;
        let Some(neighbour) = world.kubernetes.pods.get(&other.meta.uid) else { continue };
        same += usize::from(neighbour.workload == run.workload);
        if run.work.host_port.is_some() && neighbour.work.host_port == run.work.host_port {
            return Err("node(s) didn't have free ports for the requested pod ports".to_owned());
        }
    }
    let room = node.status["allocatable"]["pods"].as_str().and_then(|pods| pods.parse().ok());
    if all >= room.unwrap_or(usize::MAX) {
        return Err("Too many pods".to_owned());
    }
    let soft = taint::untolerated(node, tolerations, &["PreferNoSchedule"]);
    Ok((usize::from(soft.is_some()), same, all))
}

fn refuse(world: &mut World, key: &Key, message: &str) {
    let now = world.now;
    world.kubernetes.store.update(Kind::Pod, key, |pod| {
        pod.set_condition(now, "PodScheduled", "False", ("Unschedulable", message));
    });
}
