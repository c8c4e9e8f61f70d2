//! What a scenario puts in place, and what others do to the cluster meanwhile.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::{self, Key, Object, Owner, Part};
use crate::kubernetes::store::{draw, suffix, uid};
use crate::kubernetes::workload::{Strategy, Workload, WorkloadKind};
use crate::kubernetes::{
    Kubernetes, KubernetesEvent, daemon, kubelet, news, owner, pod, scheduler, taint,
};
use crate::world::{Event, Millis, World};
use serde_json::json;
use std::sync::Arc;

/// Another controller that writes to nodes, so that their versions move under a client's hands.
#[derive(Clone, Debug)]
pub struct OtherParty {
    /// How long between two writes, at least and at most.
    pub every_ms: (Millis, Millis),
    /// The taint that it adds and removes, with the effect `PreferNoSchedule`.
    pub key: String,
}

impl Kubernetes {
    /// Adds an owner with its pods, spread over the nodes and Ready, and its budget. Returns the
    /// names of the pods.
    pub fn add_workload(world: &mut World, work: Workload) -> Vec<String> {
        Self::add_workload_on(world, work, &[])
    }

    /// The same with its pods on these nodes, in this order, whatever the scheduler would say; those for which none is
    /// named go where it says.
    pub fn add_workload_on(world: &mut World, work: Workload, nodes: &[&str]) -> Vec<String> {
        let work = Arc::new(work);
        let id = add_owner(world, &work);
        let keys = first_pods(world, &id, &work);
        for (index, key) in keys.iter().enumerate() {
            place(world, key, nodes.get(index).map(|node| Arc::from(*node)));
        }
        owner::reconcile(world, &id);
        news::settle(world);
        if let Some(budget) = work.pdb {
            Self::add_budget(world, &work.namespace, &work.name, &work.labels, budget);
        }
        let name = |key: &Key| key.rsplit('/').next().unwrap_or_default().to_owned();
        keys.iter().map(name).collect()
    }

    /// From now on another controller writes to nodes now and then.
    pub fn set_other_party(world: &mut World, party: OtherParty) {
        let first = draw(&mut world.rng, party.every_ms);
        world.kubernetes.other = Some(party);
        world.after(first, Event::Kubernetes(KubernetesEvent::Other));
    }

    /// A pod's readiness probe begins to fail, or passes again.
    pub fn set_ready(world: &mut World, namespace: &str, pod: &str, probe: Probe) {
        kubelet::probe(world, &object::key(namespace, pod), probe);
        news::spread(world);
    }

    /// New pods of a workload never turn Ready from now on: a bad image, a missing secret.
    pub fn break_workload(world: &mut World, namespace: &str, name: &str) {
        for state in world.kubernetes.workloads.values_mut() {
            if state.work.namespace == namespace && state.work.name == name {
                state.broken = true;
            }
        }
    }

    /// The workload is mended: its pods that run turn Ready.
    pub fn mend_workload(world: &mut World, namespace: &str, name: &str) {
        let mut pods: Vec<Arc<str>> = Vec::new();
        for (id, state) in &mut world.kubernetes.workloads {
            if state.work.namespace == namespace && state.work.name == name {
                state.broken = false;
                pods.extend(
                    world
                        .kubernetes
                        .store
                        .pods_of(id)
                        .filter(|(_, pod)| !pod.is_ready())
                        .map(|(_, pod)| pod.meta.uid.clone()),
                );
            }
        }
        for pod in pods {
            kubelet::hear(world, &pod, kubelet::Act::Ready);
        }
    }

    /// Puts any object there, as it is written, with a uid and a version of its own: a
    /// TargetGroupBinding, a NetworkPolicy.
    pub fn add_object(world: &mut World, kind: Kind, value: &serde_json::Value) {
        let text = |name: &str| value["metadata"][name].as_str().unwrap_or_default();
        let mut new = Object::new(kind, text("namespace"), text("name")).with(value);
        new.meta.uid = uid(&mut world.rng);
        new.meta.created = world.now;
        world.kubernetes.store.put(new);
        news::settle(world);
    }
}

/// What a readiness probe says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Probe {
    /// The pod is Ready.
    Passes,
    /// It is not.
    Fails,
}

/// The other party adds its taint to some node, or takes it off.
pub(super) fn other_party(world: &mut World) {
    let Some(party) = world.kubernetes.other.clone() else { return };
    let nodes: Vec<Key> =
        world.kubernetes.store.all(Kind::Node).map(|(key, _)| key.clone()).collect();
    if let Some(key) = world.rng.choice(&nodes).cloned() {
        world.kubernetes.store.update(Kind::Node, &key, |node| {
            if taint::has(node, &party.key) {
                taint::remove(node, &party.key);
            } else {
                taint::add(node, json!({"key": party.key, "effect": "PreferNoSchedule"}));
            }
        });
    }
    let next = draw(&mut world.rng, party.every_ms);
    world.after(next.max(1), Event::Kubernetes(KubernetesEvent::Other));
}

/// Creates the owner (and a Deployment above it), and what its pods have in common.
fn add_owner(world: &mut World, work: &Arc<Workload>) -> Arc<str> {
    let hash = matches!(work.kind, WorkloadKind::Deployment)
        .then(|| format!("{}{}", suffix(&mut world.rng), suffix(&mut world.rng)));
    let labels = owner::pod_labels(work, hash.as_deref());
    let name = match &hash {
        Some(hash) => format!("{}-{hash}", work.name),
        None => work.name.clone(),
    };
    let above = hash.is_some().then(|| put_owner(world, Kind::Deployment, work, &work.name, None));
    let own = work.owner_kind().map(|kind| (kind, put_owner(world, kind, work, &name, above)));
    let id = match &own {
        Some((_, owner)) => owner.uid.clone(),
        None => format!("nobody-{}", uid(&mut world.rng)).into(),
    };
    let object =
        own.as_ref().map(|(kind, owner)| (*kind, object::key(&work.namespace, &owner.name)));
    let owner = own.map(|(_, owner)| owner);
    let state = owner::State::new(work.clone(), (owner, object), labels, &name);
    if work.kind == WorkloadKind::DaemonSet {
        world.kubernetes.daemons.insert(id.clone());
    }
    world.kubernetes.workloads.insert(id.clone(), state);
    id
}

fn put_owner(
    world: &mut World,
    kind: Kind,
    work: &Workload,
    name: &str,
    above: Option<Owner>,
) -> Owner {
    let mut object = Object::new(kind, &work.namespace, name);
    object.meta.uid = uid(&mut world.rng);
    object.meta.created = world.now;
    object.meta.labels = Arc::new(work.labels.clone());
    object.meta.owners = Arc::new(above.into_iter().collect());
    let mut spec = json!({"selector": {"matchLabels": work.labels},
        "template": {"metadata": {"labels": work.labels}, "spec": pod::template(work)}});
    let strategy = match work.strategy {
        Strategy::RollingUpdate => "RollingUpdate",
        Strategy::Recreate => "Recreate",
    };
    match kind {
        Kind::Deployment => spec["strategy"] = json!({"type": strategy}),
        Kind::StatefulSet | Kind::DaemonSet => {
            spec["updateStrategy"] = json!({"type": "RollingUpdate"});
        }
        Kind::Job => spec["completions"] = work.replicas.into(),
        _ => {}
    }
    if matches!(kind, Kind::Deployment | Kind::ReplicaSet | Kind::StatefulSet) {
        spec["replicas"] = work.replicas.into();
    }
    object.spec = Part::new(spec);
    let owner = Owner {
        api_version: kind.api_version().to_owned(),
        kind: kind.resource().kind.to_owned(),
        name: name.to_owned(),
        uid: object.meta.uid.clone(),
        controller: true,
    };
    world.kubernetes.store.put(object);
    owner
}

/// Creates the pods that a workload has in a cluster that has run for a while.
fn first_pods(world: &mut World, id: &Arc<str>, work: &Workload) -> Vec<Key> {
    let nodes = |world: &World| -> Vec<Arc<Object>> {
        world.kubernetes.store.all(Kind::Node).map(|(_, node)| node.clone()).collect()
    };
    match work.kind {
        WorkloadKind::DaemonSet => {
            let tolerations = work.all_tolerations();
            let all = nodes(world);
            let on = all.iter().filter(|node| daemon::belongs(work, &tolerations, node));
            on.map(|node| owner::one_more(world, id, Some(node.meta.name.clone()))).collect()
        }
        WorkloadKind::Static => {
            let on = nodes(world);
            let name = |node: &Object| format!("{}-{}", work.name, node.meta.name);
            on.iter()
                .map(|node| pod::create(world, id, &name(node), Some(node.meta.name.clone())))
                .collect()
        }
        WorkloadKind::StatefulSet | WorkloadKind::Bare => (0..work.replicas)
            .map(|ordinal| {
                let alone = work.kind == WorkloadKind::Bare && work.replicas == 1;
                let numbered = format!("{}-{ordinal}", work.name);
                pod::create(world, id, if alone { &work.name } else { &numbered }, None)
            })
            .collect(),
        _ => (0..work.replicas).map(|_| owner::one_more(world, id, None)).collect(),
    }
}

/// Binds a pod and lets it run, if there is room.
fn place(world: &mut World, key: &Key, on: Option<Arc<str>>) {
    let Some(uid) = world.kubernetes.store.get(Kind::Pod, key).map(|pod| pod.meta.uid.clone())
    else {
        return;
    };
    let pinned =
        world.kubernetes.pods.get(&uid).and_then(|run| {
            (run.work.kind == WorkloadKind::Static).then(|| run.pin.clone()).flatten()
        });
    let node = on.or(pinned).map_or_else(|| scheduler::choose(world, key), Ok);
    if let Ok(node) = node {
        pod::bind(world, key, &node);
        kubelet::in_place(world, &uid);
    }
}
