//! Who hears of a write: kubelets, controllers and the scheduler, each with a lag of its own.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::kubelet::{self, Act};
use crate::kubernetes::object::{Key, Object};
use crate::kubernetes::selector::Selector;
use crate::kubernetes::store::Change;
use crate::kubernetes::{Task, budget, perform, plan};
use crate::world::World;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Spreads what was written since the last time.
pub(super) fn spread(world: &mut World) {
    while let Some(change) = world.kubernetes.store.take_news() {
        for task in hear(world, &change) {
            let delay = delay(world, &task);
            plan(world, delay, task);
        }
        if change.kind == Kind::Pod {
            tell_kubelet(world, &change);
        }
    }
}

/// The same for a scenario's own hand: everybody has long heard of what it puts in place.
pub(super) fn settle(world: &mut World) {
    let mut tasks = BTreeSet::new();
    while let Some(change) = world.kubernetes.store.take_news() {
        tasks.extend(hear(world, &change));
    }
    for task in tasks {
        perform(world, &task);
    }
    spread(world);
}

fn delay(world: &mut World, task: &Task) -> i64 {
    match task {
        Task::Workload(_) => world.lag(|lags| lags.owner),
        Task::Service(_) => world.lag(|lags| lags.endpoint_slice),
        Task::Budget(_) | Task::GiveUp(_) => world.lag(|lags| lags.budget),
        Task::Schedule => world.lag(|lags| lags.scheduler),
        Task::Taints(_) => world.lag(|lags| lags.taint),
    }
}

fn hear(world: &mut World, change: &Change) -> Vec<Task> {
    match change.kind {
        Kind::Node => hear_node(world, change),
        Kind::Pod => hear_pod(world, change),
        Kind::PodDisruptionBudget => hear_budget(world, change),
        _ => Vec::new(),
    }
}

fn hear_node(world: &World, change: &Change) -> Vec<Task> {
    let Some(node) = change.object() else { return Vec::new() };
    let mut tasks = vec![Task::Taints(node.meta.name.clone())];
    if !world.kubernetes.pending.is_empty() {
        tasks.push(Task::Schedule);
    }
    let daemons = world
        .kubernetes
        .workloads
        .iter()
        .filter(|(_, state)| state.work.kind == crate::kubernetes::WorkloadKind::DaemonSet);
    tasks.extend(daemons.map(|(id, _)| Task::Workload(id.clone())));
    tasks
}

fn hear_pod(world: &mut World, change: &Change) -> Vec<Task> {
    let Some(pod) = change.object() else { return Vec::new() };
    let (key, namespace) = (pod.key(), pod.meta.namespace.clone());
    let versions = [change.before.as_deref(), change.after.as_deref()];
    let chosen = |selector: &Selector| {
        versions.iter().flatten().any(|pod| selector.matches(&pod.meta.labels))
    };
    let mut tasks = Vec::new();
    let owners = versions.iter().flatten().filter_map(|pod| pod.controller());
    tasks.extend(owners.map(|owner| Task::Workload(owner.uid.clone())));
    if change.after.as_ref().is_some_and(|pod| pod.controller().is_none()) {
        let all = world.kubernetes.workloads.iter();
        let fits = all.filter(|(_, state)| {
            *state.work.namespace == *namespace && state.owner.is_some() && chosen(&state.selector)
        });
        tasks.extend(fits.map(|(id, _)| Task::Workload(id.clone())));
    }
    for (service, state) in &mut world.kubernetes.services {
        if *state.spec.namespace == *namespace && chosen(&state.selector) {
            state.pending.insert(key.clone());
            tasks.push(Task::Service(service.clone()));
        }
    }
    for (name, state) in &mut world.kubernetes.budgets {
        if is_within(name, &namespace) && chosen(&state.selector) {
            let after = change.after.as_deref();
            if after.is_some_and(|pod| state.selector.matches(&pod.meta.labels)) {
                state.members.insert(key.clone());
            } else {
                state.members.remove(&key);
            }
            tasks.push(Task::Budget(name.clone()));
        }
    }
    let frees = change.after.is_none() && !world.kubernetes.pending.is_empty();
    if frees || world.kubernetes.pending.contains(&key) && change.before.is_none() {
        tasks.push(Task::Schedule);
    }
    tasks
}

fn hear_budget(world: &mut World, change: &Change) -> Vec<Task> {
    let Some(object) = change.object() else { return Vec::new() };
    let key = object.key();
    if change.after.is_none() {
        world.kubernetes.budgets.remove(&key);
        return Vec::new();
    }
    let same = |old: &Arc<Object>| *old.spec == *object.spec;
    if change.before.as_ref().is_some_and(same) {
        return Vec::new();
    }
    let selector = Selector::from_object(&object.spec["selector"]);
    let pods = world.kubernetes.store.within(Kind::Pod, &object.meta.namespace);
    let members = pods
        .filter(|(_, pod)| selector.matches(&pod.meta.labels))
        .map(|(key, _)| key.clone())
        .collect();
    world.kubernetes.budgets.insert(key.clone(), budget::State { selector, members });
    vec![Task::Budget(key)]
}

/// The kubelet hears of a pod that is bound, is to go (sooner), or is no more.
fn tell_kubelet(world: &mut World, change: &Change) {
    let Some(pod) = change.object() else { return };
    let uid = &pod.meta.uid;
    let Some(after) = &change.after else {
        world.kubernetes.pending.remove(&pod.key());
        return kubelet::outlive(world, uid);
    };
    let before = change.before.as_deref();
    let bound = |pod: &Object| pod.spec["nodeName"].is_string();
    let grace = |pod: &Object| pod.meta.deletion.map(|deletion| deletion.grace);
    if !bound(after) {
        return;
    }
    let waits =
        world.kubernetes.pods.get(uid).is_some_and(|run| run.stage == kubelet::Stage::Waiting);
    if !before.is_some_and(bound) && waits && grace(after).is_none() {
        kubelet::hear(world, uid, Act::Start);
    }
    if let Some(seconds) = grace(after)
        && before.and_then(grace) != Some(seconds)
    {
        kubelet::hear(world, uid, Act::Terminate(seconds));
    }
}

fn is_within(key: &Key, namespace: &str) -> bool {
    key.strip_prefix(namespace).is_some_and(|rest| rest.starts_with('/'))
}
