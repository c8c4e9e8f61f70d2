//! Who hears of a write: kubelets, controllers and the scheduler, each with a lag of its own.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::kubelet::{self, Act};
use crate::kubernetes::node::instance_of;
use crate::kubernetes::object::{Key, Object};
use crate::kubernetes::selector::Selector;
use crate::kubernetes::store::Change;
use crate::kubernetes::{Task, budget, daemon, owner, perform, plan};
use crate::measure;
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

fn hear_node(world: &mut World, change: &Change) -> Vec<Task> {
    let Some(node) = change.object() else { return Vec::new() };
    let name = node.meta.name.clone();
    world.kubernetes.room.hear_node(&name, change.after.as_deref());
    measure::hear_node(world, change);
    if let (None, Some(new)) = (&change.before, &change.after) {
        world.traffic.node_registered(instance_of(new));
    }
    let mut tasks = vec![Task::Taints(name.clone())];
    if !world.kubernetes.pending.is_empty() {
        tasks.push(Task::Schedule);
    }
    let daemons = world.kubernetes.daemons.clone();
    for id in &daemons {
        daemon::look_at(world, id, &name);
    }
    tasks.extend(daemons.into_iter().map(Task::Workload));
    tasks
}

fn hear_pod(world: &mut World, change: &Change) -> Vec<Task> {
    let Some(pod) = change.object() else { return Vec::new() };
    let (key, namespace) = (pod.key(), pod.meta.namespace.clone());
    let versions = [change.before.as_deref(), change.after.as_deref()];
    let chosen = |selector: &Selector| {
        versions.iter().flatten().any(|pod| selector.matches(&pod.meta.labels))
    };
    world.kubernetes.room.hear_pod(&key, change.after.as_deref());
    measure::hear_pod(world, change);
    let mut tasks = Vec::new();
    let mut heard: Option<&Arc<str>> = None;
    for owner in versions.iter().flatten().filter_map(|pod| pod.controller()) {
        if heard != Some(&owner.uid) {
            owner::hear(world, &owner.uid, &key, change);
        }
        heard = Some(&owner.uid);
        tasks.push(Task::Workload(owner.uid.clone()));
    }
    if change.after.as_ref().is_some_and(|pod| pod.controller().is_none()) {
        let all = world.kubernetes.workloads.iter_mut();
        let fits = all.filter(|(_, state)| {
            *state.work.namespace == *namespace && state.owner.is_some() && chosen(&state.selector)
        });
        tasks.extend(fits.map(|(id, state)| {
            state.claims.insert(key.clone());
            Task::Workload(id.clone())
        }));
    }
    for service in world.kubernetes.services_by_label.candidates(versions) {
        let Some(state) = world.kubernetes.services.get_mut(&service) else { continue };
        if chosen(&state.selector) {
            state.pending.insert(key.clone());
            tasks.push(Task::Service(service));
        }
    }
    for name in world.kubernetes.budgets_by_label.candidates(versions) {
        let Some(state) = world.kubernetes.budgets.get_mut(&name) else { continue };
        if chosen(&state.selector) {
            state.count(&key, change.after.as_deref());
            tasks.push(Task::Budget(name));
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
    let namespace = object.meta.namespace.clone();
    if change.after.is_none() {
        forget_budget(world, &namespace, &key);
        return Vec::new();
    }
    let same = |old: &Arc<Object>| *old.spec == *object.spec;
    if change.before.as_ref().is_some_and(same) {
        return Vec::new();
    }
    forget_budget(world, &namespace, &key);
    let selector = Selector::from_object(&object.spec["selector"]);
    world.kubernetes.budgets_by_label.insert(&namespace, &selector, &key);
    let mut state = budget::State::new(selector);
    for (pod, object) in world.kubernetes.store.within(Kind::Pod, &namespace) {
        state.count(pod, Some(object));
    }
    world.kubernetes.budgets.insert(key.clone(), state);
    vec![Task::Budget(key)]
}

fn forget_budget(world: &mut World, namespace: &str, key: &Key) {
    if let Some(old) = world.kubernetes.budgets.remove(key) {
        world.kubernetes.budgets_by_label.remove(namespace, &old.selector, key);
    }
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
    // A pod without grace is marked and gone in one stroke: its kubelet hears that alone.
    let stays = world.kubernetes.store.get(Kind::Pod, &pod.key()).is_some();
    if let Some(seconds) = grace(after)
        && before.and_then(grace) != Some(seconds)
        && stays
    {
        kubelet::hear(world, uid, Act::Terminate(seconds));
    }
}
