//! Taints: reading and writing `spec.taints`, and the node controller that ties some of them to the
//! node's state.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::{self, Object};
use crate::kubernetes::workload::Toleration;
use crate::kubernetes::{delete, kubelet, rule, volume};
use crate::world::World;
use serde_json::{Value, json};
use std::sync::Arc;

/// Tied to `spec.unschedulable`.
pub(crate) const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// While the node says that it is not Ready.
pub(crate) const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// While the node says nothing.
pub(crate) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// While the cloud says that the instance is stopped.
pub(crate) const SHUTDOWN: &str = "node.cloudprovider.kubernetes.io/shutdown";
/// Set by a person (or us): the node is down for sure, its volumes may move.
pub(crate) const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// The node's taints.
pub(crate) fn of(node: &Object) -> &[Value] {
    node.spec["taints"].as_array().map_or(&[], Vec::as_slice)
}

/// Whether there is a taint of this key.
pub(crate) fn has(node: &Object, key: &str) -> bool {
    of(node).iter().any(|taint| taint["key"] == key)
}

/// Adds a taint, unless there is one of this key and effect.
pub(crate) fn add(node: &mut Object, taint: Value) {
    let (key, effect) = (&taint["key"], &taint["effect"]);
    if of(node).iter().any(|one| one["key"] == *key && one["effect"] == *effect) {
        return;
    }
    let taints = &mut node.spec.edit()["taints"];
    match taints {
        Value::Array(all) => all.push(taint),
        _ => *taints = json!([taint]),
    }
}

/// Removes all taints of a key.
pub(crate) fn remove(node: &mut Object, key: &str) {
    if !has(node, key) {
        return;
    }
    let spec = node.spec.edit();
    if let Some(all) = spec["taints"].as_array_mut() {
        all.retain(|taint| taint["key"] != key);
        if all.is_empty()
            && let Some(spec) = spec.as_object_mut()
        {
            spec.remove("taints");
        }
    }
}

/// The first taint with one of these effects that nothing tolerates.
pub(crate) fn untolerated<'a>(
    node: &'a Object,
    tolerations: &[Toleration],
    effects: &[&str],
) -> Option<&'a Value> {
    first_untolerated(of(node), tolerations, effects)
}

/// The same for the taints alone.
pub(super) fn first_untolerated<'a>(
    taints: &'a [Value],
    tolerations: &[Toleration],
    effects: &[&str],
) -> Option<&'a Value> {
    taints.iter().find(|taint| {
        let effect = taint["effect"].as_str().unwrap_or_default();
        effects.contains(&effect) && !tolerations.iter().any(|one| one.covers(taint))
    })
}

/// The node controller looks at one node: the taint of `spec.unschedulable`, and pods that do not
/// tolerate a NoExecute taint. Those of a lost node have minutes, which the node's own acts count.
pub(super) fn reconcile(world: &mut World, name: &Arc<str>) {
    let key = object::key("", name);
    let now = object::time(world.now);
    world.kubernetes.store.update(Kind::Node, &key, |node| {
        if node.spec["unschedulable"] == true {
            add(node, json!({"key": UNSCHEDULABLE, "effect": "NoSchedule", "timeAdded": now}));
        } else {
            remove(node, UNSCHEDULABLE);
        }
    });
    let Some(node) = world.kubernetes.store.get(Kind::Node, &key).cloned() else { return };
    let leaving: Vec<_> = world
        .kubernetes
        .store
        .pods_on(name)
        .filter(|key| !kubelet::tolerates_execution(world, key, &node))
        .cloned()
        .collect();
    for pod in leaving {
        delete::delete_pod(world, &pod, None);
    }
    if has(&node, OUT_OF_SERVICE) {
        put_out_of_service(world, &node);
    }
}

/// Terminating pods of a node that is out of service and not Ready are removed by force, and its
/// volumes are detached without asking. If its host still writes to them, they are corrupted.
fn put_out_of_service(world: &mut World, node: &Object) {
    if node.condition_is("Ready", "True") {
        return;
    }
    let name = &*node.meta.name;
    if world.kubernetes.host_up(name) {
        rule::broken(world, "out-of-service-too-early", &format!("{name} is still up"));
    }
    let pods: Vec<_> = world.kubernetes.store.pods_on(name).cloned().collect();
    for key in pods {
        let pod = world.kubernetes.store.get(Kind::Pod, &key);
        if pod.is_some_and(|pod| pod.meta.deletion.is_some()) {
            delete::delete_pod(world, &key, Some(0));
        }
    }
    volume::drop_all_of(world, name);
}
