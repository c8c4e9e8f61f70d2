//! The DaemonSet controller: one pod on each node that matches and whose taints it tolerates,
//! cordoned or not. A pod that was deleted is put back as soon as its object is gone.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::{self, Key, Object};
use crate::kubernetes::workload::{Toleration, Workload};
use crate::kubernetes::{owner, taint};
use crate::world::World;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Creates the pods that are missing on the nodes that changed.
pub(super) fn reconcile(world: &mut World, id: &Arc<str>) {
    let Some(state) = world.kubernetes.workloads.get_mut(id) else { return };
    let look = std::mem::take(&mut state.look);
    if look.is_empty() {
        return;
    }
    let Some(state) = world.kubernetes.workloads.get(id) else { return };
    let tolerations = state.work.all_tolerations();
    let store = &world.kubernetes.store;
    let missing: Vec<Arc<str>> = look
        .into_iter()
        .filter(|name| state.served.get(name).is_none_or(BTreeSet::is_empty))
        .filter(|name| {
            let node = store.get(Kind::Node, &object::key("", name));
            node.is_some_and(|node| belongs(&state.work, &tolerations, node))
        })
        .collect();
    for node in missing {
        owner::one_more(world, id, Some(node));
    }
}

/// A node changed: it may want a pod now.
pub(super) fn look_at(world: &mut World, id: &Arc<str>, node: &Arc<str>) {
    if let Some(state) = world.kubernetes.workloads.get_mut(id) {
        state.look.insert(node.clone());
    }
}

/// A pod is meant for a node.
pub(super) fn meant(state: &mut owner::State, key: &Key, node: &Arc<str>) {
    state.served.entry(node.clone()).or_default().insert(key.clone());
}

/// The object of a pod is gone: its node may want another.
pub(super) fn lost(state: &mut owner::State, key: &Key) {
    let node =
        state.served.iter_mut().find_map(|(node, keys)| keys.remove(key).then(|| node.clone()));
    if let Some(node) = node {
        if state.served.get(&node).is_some_and(BTreeSet::is_empty) {
            state.served.remove(&node);
        }
        state.look.insert(node);
    }
}

/// Whether a node should have such a pod.
pub(super) fn belongs(work: &Workload, tolerations: &[Toleration], node: &Object) -> bool {
    work.node_selector.iter().all(|(key, value)| node.label(key) == Some(value))
        && taint::untolerated(node, tolerations, &["NoSchedule", "NoExecute"]).is_none()
}
