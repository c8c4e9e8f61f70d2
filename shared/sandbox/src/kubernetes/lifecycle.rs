//! What happens to a node by itself: it registers, turns Ready, falls silent and goes.
//!
//! ```text
//!   instance runs ─join─> registered, not Ready ─ready─> Ready
//!        host gone ─────> silent ─40 s─> Unknown, unreachable taints ─5 min─> its pods are deleted
//!                              └──────── terminated: node and pods removed by the cloud controller
//! ```

use crate::kubernetes::kind::Kind;
use crate::kubernetes::node::{Stop, Taint, boot_id, register, template_of};
use crate::kubernetes::object::{self, Object};
use crate::kubernetes::{KubernetesEvent, delete, kubelet, pod, taint, volume};
use crate::world::{Event, Millis, World};
use serde_json::json;
use std::sync::Arc;

/// What happens to a node next.
#[derive(Clone, Debug)]
pub enum Act {
    /// Its kubelet registers, or reports again after a boot.
    Join,
    /// It is Ready.
    Ready,
    /// A startup taint's reason is gone.
    Untaint(String),
    /// It has not been heard of for too long.
    Silent,
    /// Its pods have tolerated that long enough.
    Expel,
    /// The cloud controller removes it.
    Gone,
}

/// Does what was planned, unless the node's beat is another one by now.
pub(super) fn act(world: &mut World, name: &Arc<str>, beat: u32, act: Act) {
    if world.kubernetes.nodes.get(name).is_none_or(|state| state.beat != beat) {
        return;
    }
    match act {
        Act::Join => join(world, name),
        Act::Ready => {
            report_ready(world, name);
            world.tell(format!("{name} is Ready"));
        }
        Act::Untaint(key) => {
            let node = object::key("", name);
            world.kubernetes.store.update(Kind::Node, &node, |node| taint::remove(node, &key));
        }
        Act::Silent => silent(world, name),
        Act::Expel => expel(world, name),
        Act::Gone => gone(world, name),
    }
}

/// Plans what happens to a node in its present beat.
pub(super) fn after(world: &mut World, name: &Arc<str>, delay: Millis, act: Act) {
    let Some(state) = world.kubernetes.nodes.get(name) else { return };
    let event = KubernetesEvent::Node { name: name.clone(), beat: state.beat, act };
    world.after(delay, Event::Kubernetes(event));
}

/// What a kubelet says before its network is up.
pub(super) fn not_ready(node: &mut Object, now: Millis) {
    let why = ("KubeletNotReady", "container runtime network not ready");
    node.set_condition(now, "Ready", "False", why);
    taint::add(node, json!({"key": taint::NOT_READY, "effect": "NoSchedule"}));
}

/// The kubelet registers its node, or reports after a boot that it is not Ready yet.
fn join(world: &mut World, name: &Arc<str>) {
    let now = world.now;
    let key = object::key("", name);
    let instance = world.kubernetes.nodes.get(name).map(|state| state.spec.instance.clone());
    let template = template_of(world, &instance.unwrap_or_default()).clone();
    if let Some(state) = world.kubernetes.nodes.get_mut(name) {
        state.alive = true;
        // Whatever was planned for a silent node is void.
        state.beat += 1;
    }
    if world.kubernetes.store.get(Kind::Node, &key).is_none() {
        let startup: Vec<Taint> =
            template.startup_taints.iter().map(|(taint, _)| taint.clone()).collect();
        register(world, name, &startup);
        for (taint, stays) in template.startup_taints {
            after(world, name, stays, Act::Untaint(taint.key));
        }
    } else if let Some(state) = world.kubernetes.nodes.get(name) {
        let boot = boot_id(state);
        world.kubernetes.store.update(Kind::Node, &key, |node| {
            node.status.edit()["nodeInfo"]["bootID"] = boot.into();
            for key in [taint::UNREACHABLE, taint::SHUTDOWN] {
                taint::remove(node, key);
            }
            not_ready(node, now);
        });
        kubelet::resume(world, name);
    }
    after(world, name, template.ready_ms, Act::Ready);
}

/// The kubelet says that all is well, and the taints that said otherwise go.
pub(super) fn report_ready(world: &mut World, name: &Arc<str>) {
    let now = world.now;
    let key = object::key("", name);
    world.kubernetes.store.update(Kind::Node, &key, |node| {
        let why = ("KubeletReady", "kubelet is posting ready status");
        node.set_condition(now, "Ready", "True", why);
        for kind in ["MemoryPressure", "DiskPressure", "PIDPressure"] {
            node.set_condition(now, kind, "False", ("KubeletHasSufficient", ""));
        }
        for key in [taint::NOT_READY, taint::UNREACHABLE, taint::SHUTDOWN] {
            taint::remove(node, key);
        }
    });
}

/// The node controller has not heard of the node for 40 s: Unknown, the taints, its pods not Ready.
fn silent(world: &mut World, name: &Arc<str>) {
    let now = world.now;
    let key = object::key("", name);
    let stopped =
        world.kubernetes.nodes.get(name).is_some_and(|state| state.stop == Some(Stop::Stopped));
    let known = world.kubernetes.store.update(Kind::Node, &key, |node| {
        for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
            let why = ("NodeStatusUnknown", "Kubelet stopped posting node status.");
            node.set_condition(now, kind, "Unknown", why);
        }
        taint::remove(node, taint::NOT_READY);
        for effect in ["NoSchedule", "NoExecute"] {
            let since = object::time(now);
            taint::add(
                node,
                json!({"key": taint::UNREACHABLE, "effect": effect, "timeAdded": since}),
            );
        }
        if stopped {
            taint::add(node, json!({"key": taint::SHUTDOWN, "effect": "NoSchedule"}));
        }
    });
    if !known {
        return;
    }
    world.tell(format!("{name} has not been heard of for too long"));
    let pods: Vec<_> = world.kubernetes.store.pods_on(name).cloned().collect();
    for key in pods {
        world.kubernetes.store.update(Kind::Pod, &key, |pod| {
            if pod::is_ready(pod) {
                pod.set_condition(now, "Ready", "False", ("", ""));
            }
        });
    }
    let patience = world.kubernetes.lags.no_execute;
    after(world, name, patience, Act::Expel);
}

/// The taint of an unreachable node has been tolerated for five minutes: its pods are deleted, which
/// nobody on the node hears.
fn expel(world: &mut World, name: &Arc<str>) {
    let key = object::key("", name);
    let Some(node) = world.kubernetes.store.get(Kind::Node, &key).cloned() else { return };
    let leaving: Vec<_> = world
        .kubernetes
        .store
        .pods_on(name)
        .filter(|key| {
            let pod = world.kubernetes.store.get(Kind::Pod, key);
            let run = pod.and_then(|pod| world.kubernetes.pods.get(&pod.meta.uid));
            run.is_some_and(|run| {
                let mut forever = run.work.all_tolerations();
                forever.retain(|one| one.seconds.is_none());
                taint::untolerated(&node, &forever, &["NoExecute"]).is_some()
            })
        })
        .cloned()
        .collect();
    for pod in leaving {
        delete::delete_pod(world, &pod, None);
    }
}

/// The cloud controller removes the node of a terminated instance, and its pods go with it.
fn gone(world: &mut World, name: &Arc<str>) {
    if world.kubernetes.store.remove(Kind::Node, &object::key("", name)).is_some() {
        world.tell(format!("{name} removed from the cluster"));
    }
    let pods: Vec<_> = world.kubernetes.store.pods_on(name).cloned().collect();
    for key in pods {
        delete::delete_pod(world, &key, Some(0));
    }
    if let Some(state) = world.kubernetes.nodes.remove(name) {
        world.kubernetes.instances.remove(&state.spec.instance);
        volume::forget_node(world, name);
    }
}
