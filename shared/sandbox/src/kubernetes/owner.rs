//! Owners of pods, and the controller of ReplicaSets and Jobs: as many pods as were asked for.
//!
//! A pod that terminates no longer counts, so its replacement is made at once. A pod whose labels no
//! longer match is let go of, and replaced; one that matches and has no owner is adopted.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::{Key, Labels, Object, Owner, Part};
use crate::kubernetes::selector::Selector;
use crate::kubernetes::store::{Change, suffix};
use crate::kubernetes::workload::{Workload, WorkloadKind};
use crate::kubernetes::{daemon, delete, pod, stateful};
use crate::world::World;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What keeps a finished pod of a Job until the Job has counted it.
pub(super) const JOB_TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// A workload that runs.
#[derive(Debug)]
pub(super) struct State {
    pub(super) work: Arc<Workload>,
    /// What its pods name as their owner.
    pub(super) owner: Option<Owner>,
    /// The owner's kind and key.
    pub(super) object: Option<(Kind, Key)>,
    pub(super) selector: Selector,
    pub(super) template: Part,
    pub(super) labels: Labels,
    pub(super) generate_name: Arc<str>,
    /// How many pods are wanted; for a Job, how many have yet to succeed.
    pub(super) replicas: u32,
    /// Its new pods never turn Ready.
    pub(super) broken: bool,
    /// Its pods that count (not terminating, not ended), and whether each is Ready.
    active: BTreeMap<Key, bool>,
    /// How many of those are Ready.
    ready: usize,
    /// Pods to let go of, or to adopt, perhaps.
    pub(super) claims: BTreeSet<Key>,
    /// What its status says: how many, and how many Ready.
    told: Option<(usize, usize)>,
    /// For a DaemonSet: the pods meant for each node.
    pub(super) served: BTreeMap<Arc<str>, BTreeSet<Key>>,
    /// For a DaemonSet: the nodes to look at.
    pub(super) look: BTreeSet<Arc<str>>,
}

impl State {
    /// A workload without pods.
    pub(super) fn new(
        work: Arc<Workload>,
        (owner, object): (Option<Owner>, Option<(Kind, Key)>),
        labels: BTreeMap<String, String>,
        name: &str,
    ) -> Self {
        let (replicas, template) = (work.replicas, Part::new(pod::template(&work)));
        Self {
            work,
            owner,
            object,
            selector: Selector::of(&labels),
            template,
            labels: Arc::new(labels),
            generate_name: format!("{name}-").into(),
            replicas,
            broken: false,
            active: BTreeMap::new(),
            ready: 0,
            claims: BTreeSet::new(),
            told: None,
            served: BTreeMap::new(),
            look: BTreeSet::new(),
        }
    }

    /// Counts a pod as it is now.
    fn count(&mut self, key: &Key, pod: Option<bool>) {
        let before = match pod {
            Some(ready) => self.active.insert(key.clone(), ready),
            None => self.active.remove(key),
        };
        self.ready += usize::from(pod == Some(true));
        self.ready -= usize::from(before == Some(true));
    }
}

/// An owner hears of one of its pods, or of one that it had.
pub(super) fn hear(world: &mut World, id: &Arc<str>, key: &Key, change: &Change) {
    note(world, id, key);
    let Some(state) = world.kubernetes.workloads.get_mut(id) else { return };
    if let Some(pod) = &change.after
        && !state.selector.matches(&pod.meta.labels)
    {
        state.claims.insert(key.clone());
    }
    if state.work.kind == WorkloadKind::DaemonSet && change.after.is_none() {
        daemon::lost(state, key);
    }
}

/// Counts one pod of an owner as it is now.
pub(super) fn note(world: &mut World, id: &Arc<str>, key: &Key) {
    let pod = world.kubernetes.store.get(Kind::Pod, key);
    let counts = pod.filter(|pod| {
        pod.controller().is_some_and(|owner| owner.uid == *id)
            && pod.meta.deletion.is_none()
            && !pod::is_terminal(pod)
    });
    let ready = counts.map(|pod| pod.is_ready());
    if let Some(state) = world.kubernetes.workloads.get_mut(id) {
        state.count(key, ready);
    }
}

/// Counts a workload's pods, and makes or removes some.
pub(super) fn reconcile(world: &mut World, id: &Arc<str>) {
    let Some(state) = world.kubernetes.workloads.get(id) else { return };
    match state.work.kind {
        WorkloadKind::Deployment | WorkloadKind::ReplicaSet => replicas(world, id),
        WorkloadKind::Job { .. } => job(world, id),
        WorkloadKind::StatefulSet => stateful::reconcile(world, id),
        WorkloadKind::DaemonSet => daemon::reconcile(world, id),
        WorkloadKind::Bare | WorkloadKind::Static => {}
    }
    tell_status(world, id);
}

/// Creates one more pod with a generated name.
pub(super) fn one_more(world: &mut World, id: &Arc<str>, pin: Option<Arc<str>>) -> Key {
    let letters = suffix(&mut world.rng);
    let state = world.kubernetes.workloads.get(id);
    let name = state.map_or_else(String::new, |state| format!("{}{letters}", state.generate_name));
    pod::create(world, id, &name, pin)
}

/// The labels and annotations that an owner gives its pods beside the template's.
pub(super) fn adorn(pod: &mut Object, work: &Workload, name: &str) {
    let ordinal = name.rsplit('-').next().unwrap_or_default().to_owned();
    match work.kind {
        WorkloadKind::StatefulSet => {
            let labels = pod.labels_mut();
            labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), name.to_owned());
            labels.insert("apps.kubernetes.io/pod-index".to_owned(), ordinal);
            labels.insert("controller-revision-hash".to_owned(), format!("{}-1", work.name));
        }
        WorkloadKind::DaemonSet => {
            let labels = pod.labels_mut();
            labels.insert("controller-revision-hash".to_owned(), "6b4f9c".to_owned());
            labels.insert("pod-template-generation".to_owned(), "1".to_owned());
        }
        WorkloadKind::Job { .. } => {
            Arc::make_mut(&mut pod.meta.finalizers).push(JOB_TRACKING.to_owned());
            let labels = pod.labels_mut();
            labels.insert("batch.kubernetes.io/job-name".to_owned(), work.name.clone());
            labels.insert("job-name".to_owned(), work.name.clone());
        }
        WorkloadKind::Static => {
            let annotations = Arc::make_mut(&mut pod.meta.annotations);
            for key in ["kubernetes.io/config.mirror", "kubernetes.io/config.hash"] {
                annotations.insert(key.to_owned(), "b1946ac92492d2347c6235b4d2611184".to_owned());
            }
            annotations.insert("kubernetes.io/config.source".to_owned(), "file".to_owned());
        }
        WorkloadKind::Deployment | WorkloadKind::ReplicaSet | WorkloadKind::Bare => {}
    }
}

fn replicas(world: &mut World, id: &Arc<str>) {
    claim(world, id);
    let Some(state) = world.kubernetes.workloads.get(id) else { return };
    let wanted = usize::try_from(state.replicas).unwrap_or(usize::MAX);
    let count = state.active.len();
    for _ in count..wanted {
        one_more(world, id, None);
    }
    if count > wanted {
        let Some(state) = world.kubernetes.workloads.get(id) else { return };
        let store = &world.kubernetes.store;
        let pods = state.active.keys().filter_map(|key| store.get(Kind::Pod, key));
        let mut active: Vec<Arc<Object>> = pods.cloned().collect();
        // Who goes first: not placed, not Ready, then the youngest.
        active.sort_by_key(|pod| {
            let placed = pod.spec["nodeName"].is_string();
            (placed, pod.is_ready(), std::cmp::Reverse(pod.meta.created))
        });
        for pod in active.iter().take(count - wanted) {
            delete::delete_pod(world, &pod.key(), None);
            note(world, id, &pod.key());
        }
    }
}

/// Lets go of pods that no longer match, and adopts those that do and have no owner.
fn claim(world: &mut World, id: &Arc<str>) {
    let Some(state) = world.kubernetes.workloads.get_mut(id) else { return };
    let claims = std::mem::take(&mut state.claims);
    let Some(owner) = state.owner.clone() else { return };
    let (selector, namespace) = (state.selector.clone(), state.work.namespace.clone());
    for key in claims {
        let Some(pod) = world.kubernetes.store.get(Kind::Pod, &key) else { continue };
        if pod.meta.deletion.is_some() || pod::is_terminal(pod) {
            continue;
        }
        let matches = *pod.meta.namespace == *namespace && selector.matches(&pod.meta.labels);
        match pod.controller() {
            Some(own) if own.uid == *id && !matches => {
                world.kubernetes.store.update(Kind::Pod, &key, |pod| {
                    Arc::make_mut(&mut pod.meta.owners).retain(|one| one.uid != *id);
                });
            }
            None if matches => {
                world.kubernetes.store.update(Kind::Pod, &key, |pod| {
                    Arc::make_mut(&mut pod.meta.owners).push(owner.clone());
                });
            }
            _ => continue,
        }
        note(world, id, &key);
    }
}

/// A Job counts its finished pods, and makes up for those that were taken from it.
fn job(world: &mut World, id: &Arc<str>) {
    let tracked = |pod: &Object| pod.meta.finalizers.iter().any(|one| one == JOB_TRACKING);
    let pods = world.kubernetes.store.pods_of(id);
    let ended: Vec<(Key, bool)> = pods
        .filter(|(_, pod)| pod::is_terminal(pod) && tracked(pod))
        // A pod that was deleted has not succeeded, whatever its containers said at their end.
        .map(|(key, pod)| {
            (key.clone(), pod.status["phase"] == "Succeeded" && pod.meta.deletion.is_none())
        })
        .collect();
    for (key, succeeded) in ended {
        if let Some(state) = world.kubernetes.workloads.get_mut(id) {
            state.replicas -= u32::from(succeeded);
        }
        world.kubernetes.store.update(Kind::Pod, &key, |pod| {
            Arc::make_mut(&mut pod.meta.finalizers).retain(|one| one != JOB_TRACKING);
        });
        delete::remove_if_done(world, &key);
    }
    let Some(state) = world.kubernetes.workloads.get(id) else { return };
    let wanted = usize::try_from(state.replicas).unwrap_or(usize::MAX);
    for _ in state.active.len()..wanted {
        one_more(world, id, None);
    }
}

/// Writes the owner's status: how many pods there are and are Ready.
fn tell_status(world: &mut World, id: &Arc<str>) {
    let Some(state) = world.kubernetes.workloads.get_mut(id) else { return };
    let Some((kind, key)) = state.object.clone() else { return };
    let (count, ready) = (state.active.len(), state.ready);
    if state.told.replace((count, ready)) == Some((count, ready)) {
        return;
    }
    let (name, work) = (state.work.name.clone(), state.work.clone());
    let status = match kind {
        Kind::Job => json!({"active": count, "ready": ready}),
        Kind::DaemonSet => {
            json!({"desiredNumberScheduled": count, "currentNumberScheduled": count,
                "numberReady": ready, "numberAvailable": ready, "numberMisscheduled": 0})
        }
        _ => json!({"replicas": count, "readyReplicas": ready, "availableReplicas": ready,
            "observedGeneration": 1}),
    };
    let write = |object: &mut Object| {
        if *object.status != status {
            object.status = Part::new(status.clone());
        }
    };
    world.kubernetes.store.update(kind, &key, write);
    if work.kind == WorkloadKind::Deployment {
        let deployment = crate::kubernetes::object::key(&work.namespace, &name);
        world.kubernetes.store.update(Kind::Deployment, &deployment, write);
    }
}

/// The labels of a workload's pods, which is more than its selector for some owners.
pub(super) fn pod_labels(work: &Workload, hash: Option<&str>) -> BTreeMap<String, String> {
    let mut labels = work.labels.clone();
    if let Some(hash) = hash {
        labels.insert("pod-template-hash".to_owned(), hash.to_owned());
    }
    labels
}
