//! The DaemonSet controller: one pod on each node that matches and whose taints it tolerates,
//! cordoned or not. A pod that was deleted is put back as soon as its object is gone.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::Object;
use crate::kubernetes::workload::{Toleration, Workload};
use crate::kubernetes::{owner, taint};
use crate::world::World;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Creates the pods that are missing.
pub(super) fn reconcile(world: &mut World, id: &Arc<str>) {
    let Some(state) = world.kubernetes.workloads.get(id) else { return };
    let tolerations = state.work.all_tolerations();
    let mut served: BTreeSet<Arc<str>> = BTreeSet::new();
    for (_, pod) in world.kubernetes.store.pods_of(id) {
        let run = world.kubernetes.pods.get(&pod.meta.uid);
        served.extend(run.and_then(|run| run.pin.clone()));
    }
    let nodes = world.kubernetes.store.all(Kind::Node).map(|(_, node)| node);
    let missing: Vec<Arc<str>> = nodes
        .filter(|node| !served.contains(&node.meta.name))
        .filter(|node| belongs(&state.work, &tolerations, node))
        .map(|node| node.meta.name.clone())
        .collect();
    for node in missing {
        owner::one_more(world, id, Some(node));
    }
}

/// Whether a node should have such a pod.
pub(super) fn belongs(work: &Workload, tolerations: &[Toleration], node: &Object) -> bool {
    work.node_selector.iter().all(|(key, value)| node.label(key) == Some(value))
        && taint::untolerated(node, tolerations, &["NoSchedule", "NoExecute"]).is_none()
}
