//! The scheduler: a pod goes to the node that may take it and has the fewest of its kind.
//!
//! Room is counted in pods per node, which is enough to make replacements Pending.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::kubelet::Run;
use crate::kubernetes::object::{self, Key, Object};
use crate::kubernetes::room::{self, Class};
use crate::kubernetes::workload::{Toleration, WorkloadKind};
use crate::kubernetes::{pod, taint};
use crate::world::{Millis, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// With more pods than this in one queue, they are told at most once in [`TELL_MS`] that there is no room. The real
/// scheduler backs off as well, each pod for itself.
const TOLD_EACH_TIME_MAX: usize = 20;

/// See [`TOLD_EACH_TIME_MAX`].
const TELL_MS: Millis = 1_000;

/// How a node is liked, the least first: has it a soft taint, how many of the same workload, how many at all, its name.
type Score = (usize, usize, usize, Arc<str>);

/// Finds room for every pod that has none, the most important first.
pub(super) fn schedule(world: &mut World) {
    for place in world.kubernetes.pending.places() {
        let Some(queue) = world.kubernetes.pending.queue(&place) else { continue };
        // In the order of their names: mostly nobody was told yet, or everybody.
        let mut waiting: Vec<Key> = queue.told.iter().chain(&queue.fresh).cloned().collect();
        if !queue.told.is_empty() && !queue.fresh.is_empty() {
            waiting.sort();
        }
        for key in waiting {
            if run_of(world, &key).is_none() {
                continue;
            }
            match choose(world, &key) {
                Ok(node) => pod::bind(world, &key, &node),
                Err(message) => {
                    let alike = run_of(world, &key).is_none_or(|run| run.pin.is_none());
                    if alike {
                        // What holds for one holds for all that follow.
                        refuse_all(world, &place, &message);
                        break;
                    }
                    refuse(world, &key, &message);
                }
            }
        }
    }
}

/// The node for a pod, or why there is none.
pub(super) fn choose(world: &World, key: &Key) -> Result<Arc<str>, String> {
    let run = run_of(world, key).ok_or("the pod is gone")?;
    let tolerations = run.work.all_tolerations();
    let picky = run.work.host_port.is_some() || !run.work.node_selector.is_empty();
    match &run.pin {
        Some(pin) => choose_pinned(world, run, &tolerations, pin),
        None if picky => choose_one_by_one(world, run, &tolerations),
        None => choose_by_class(world, run, &tolerations),
    }
}

/// What the scheduler says when a node is not meant.
const ELSEWHERE: &str = "node(s) didn't match Pod's node affinity/selector";

fn choose_pinned(
    world: &World,
    run: &Run,
    tolerations: &[Toleration],
    pin: &Arc<str>,
) -> Result<Arc<str>, String> {
    let count = world.kubernetes.room.nodes();
    let mut why = BTreeMap::new();
    let node = world.kubernetes.store.get(Kind::Node, &object::key("", pin));
    match node.map(|node| score(world, run, tolerations, node)) {
        Some(Ok(_)) => return Ok(pin.clone()),
        Some(Err(reason)) => {
            why.insert(reason, 1);
            if count > 1 {
                *why.entry(ELSEWHERE.to_owned()).or_default() += count - 1;
            }
        }
        None if count > 0 => drop(why.insert(ELSEWHERE.to_owned(), count)),
        None => {}
    }
    Err(none_of(count, &why))
}

/// For pods that mind more than taints: every node is looked at.
fn choose_one_by_one(
    world: &World,
    run: &Run,
    tolerations: &[Toleration],
) -> Result<Arc<str>, String> {
    let mut why = BTreeMap::new();
    let mut best: Option<Score> = None;
    for (_, node) in world.kubernetes.store.all(Kind::Node) {
        match score(world, run, tolerations, node) {
            Ok(score) if best.as_ref().is_none_or(|least| score < *least) => best = Some(score),
            Ok(_) => {}
            Err(reason) => *why.entry(reason).or_default() += 1,
        }
    }
    best.map(|(.., name)| name).ok_or_else(|| none_of(world.kubernetes.room.nodes(), &why))
}

/// For all others: nodes of one class differ only in what is on them.
fn choose_by_class(
    world: &World,
    run: &Run,
    tolerations: &[Toleration],
) -> Result<Arc<str>, String> {
    let room = &world.kubernetes.room;
    let mut why = BTreeMap::new();
    let mut best: Option<Score> = None;
    for class in room.classes() {
        match verdict(run, tolerations, (class.unschedulable, &class.taints)) {
            Ok(soft) => {
                if !class.full.is_empty() {
                    *why.entry(FULL.to_owned()).or_default() += class.full.len();
                }
                let Some((same, all, name)) = emptiest(world, class, &run.workload) else {
                    continue;
                };
                let score = (usize::from(soft), same, all, name);
                if best.as_ref().is_none_or(|least| score < *least) {
                    best = Some(score);
                }
            }
            Err(reason) => {
                *why.entry(reason).or_default() += class.open.len() + class.full.len();
            }
        }
    }
    best.map(|(.., name)| name).ok_or_else(|| none_of(room.nodes(), &why))
}

/// The node of a class with the fewest pods of a workload, and then of all.
fn emptiest(world: &World, class: &Class, workload: &str) -> Option<(usize, usize, Arc<str>)> {
    let mut best: Option<(usize, usize, Arc<str>)> = None;
    for (all, name) in &class.open {
        let same = world.kubernetes.room.same(name, workload);
        if best.as_ref().is_none_or(|least| same < least.0) {
            best = Some((same, *all, name.clone()));
        }
        // The others have no fewer of the workload and no fewer at all.
        if same == 0 {
            break;
        }
    }
    best
}

/// What the scheduler says of a node without room.
const FULL: &str = "Too many pods";

fn none_of(count: usize, why: &BTreeMap<String, usize>) -> String {
    let reasons: Vec<String> =
        why.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    if reasons.is_empty() {
        return "no nodes available to schedule pods".to_owned();
    }
    format!("0/{count} nodes are available: {}.", reasons.join(", "))
}

fn run_of<'a>(world: &'a World, key: &Key) -> Option<&'a Run> {
    let pod = world.kubernetes.store.get(Kind::Pod, key)?;
    world.kubernetes.pods.get(&pod.meta.uid)
}

/// Whether a node's taints are only tolerated half-heartedly, or why they are not at all.
fn verdict(
    run: &Run,
    tolerations: &[Toleration],
    (unschedulable, taints): (bool, &[Value]),
) -> Result<bool, String> {
    let daemon = matches!(run.work.kind, WorkloadKind::DaemonSet);
    let hard = taint::first_untolerated(taints, tolerations, &["NoSchedule", "NoExecute"]);
    let named = hard.is_some_and(|taint| taint["key"] == taint::UNSCHEDULABLE);
    let tolerated = || {
        let taint = json!({"key": taint::UNSCHEDULABLE, "effect": "NoSchedule"});
        tolerations.iter().any(|one| one.covers(&taint))
    };
    if named || (unschedulable && !daemon && !tolerated()) {
        return Err("node(s) were unschedulable".to_owned());
    }
    if let Some(taint) = hard {
        let (key, value) = (taint["key"].as_str(), taint["value"].as_str());
        let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
        return Err(format!("node(s) had untolerated taint {{{key}: {value}}}"));
    }
    Ok(taint::first_untolerated(taints, tolerations, &["PreferNoSchedule"]).is_some())
}

/// How little a node is liked (less is better), or why it is out of the question, in the
/// scheduler's words.
fn score(
    world: &World,
    run: &Run,
    tolerations: &[Toleration],
    node: &Object,
) -> Result<Score, String> {
    let name = &node.meta.name;
    let unschedulable = node.spec["unschedulable"] == true;
    let soft = verdict(run, tolerations, (unschedulable, taint::of(node)))?;
    let selector = &run.work.node_selector;
    if selector.iter().any(|(key, value)| node.label(key) != Some(value)) {
        return Err(ELSEWHERE.to_owned());
    }
    if run.work.host_port.is_some() {
        let mut others = world.kubernetes.pods_on(name).filter(|other| !pod::is_terminal(other));
        let taken = others.any(|other| {
            let neighbour = world.kubernetes.pods.get(&other.meta.uid);
            neighbour.is_some_and(|neighbour| neighbour.work.host_port == run.work.host_port)
        });
        if taken {
            return Err("node(s) didn't have free ports for the requested pod ports".to_owned());
        }
    }
    let all = world.kubernetes.room.usage(name).map_or(0, |usage| usage.all);
    if all >= room::room(node) {
        return Err(FULL.to_owned());
    }
    let same = world.kubernetes.room.same(name, &run.workload);
    Ok((usize::from(soft), same, all, name.clone()))
}

/// Tells all pods of a queue that there is no room.
fn refuse_all(world: &mut World, place: &(i32, Arc<str>, Arc<str>), message: &str) {
    let now = world.now;
    let Some(queue) = world.kubernetes.pending.queue(place) else { return };
    let news = std::mem::take(&mut queue.fresh);
    let small = queue.told.len() + news.len() <= TOLD_EACH_TIME_MAX;
    let again = queue.message != message && (small || now - queue.told_at >= TELL_MS);
    let mut hear: Vec<Key> = if again { queue.told.iter().cloned().collect() } else { Vec::new() };
    hear.extend(news.iter().cloned());
    if again {
        message.clone_into(&mut queue.message);
        queue.told_at = now;
    }
    queue.told.extend(news);
    hear.sort();
    for key in hear {
        refuse(world, &key, message);
    }
}

fn refuse(world: &mut World, key: &Key, message: &str) {
    let now = world.now;
    world.kubernetes.store.update(Kind::Pod, key, |pod| {
        pod.set_condition(now, "PodScheduled", "False", ("Unschedulable", message));
    });
}

#[cfg(test)]
mod tests {
    use super::{choose_by_class, choose_one_by_one, run_of};
    use crate::kubernetes::node::Cordon;
    use crate::kubernetes::{Kubernetes, NodeSpec, Taint, Toleration, Workload, WorkloadKind};
    use crate::world::{Sandbox, World};

    fn node(world: &mut World, number: u32) {
        let name = format!("ip-10-0-0-{number}");
        let mut spec = NodeSpec::new(&name, &format!("i-{number}"), "eu-west-1a");
        let taints =
            [("quiet", "PreferNoSchedule"), ("dedicated", "NoSchedule"), ("lost", "NoExecute")];
        for (key, effect) in taints {
            if world.rng.u32(0..4) == 0 {
                spec.taints.push(Taint::new(key, effect));
            }
        }
        spec.max_pods = world.rng.u32(1..6);
        Kubernetes::add_node(world, spec);
        if world.rng.u32(0..6) == 0 {
            Kubernetes::cordon(world, &name, Cordon::On);
        }
    }

    /// The index by classes says of every pod what a walk over all nodes says, whatever happened before.
    #[test]
    fn classes_say_what_a_walk_over_all_nodes_says() {
        for seed in 0..60 {
            let sandbox = Sandbox::new(seed, 0);
            let world = &mut *sandbox.world();
            (0..world.rng.u32(2..12)).for_each(|number| node(world, number));
            for (index, name) in ["web", "api", "shop"].into_iter().enumerate() {
                let replicas = world.rng.u32(1..9);
                let mut work = Workload::new(WorkloadKind::Deployment, "a", name, replicas);
                if index == 1 {
                    work.tolerations = vec![Toleration::of("dedicated", "NoSchedule")];
                }
                Kubernetes::add_workload(world, work);
            }
            for step in 0..20 {
                let pods: Vec<_> = world
                    .kubernetes
                    .store
                    .all(super::Kind::Pod)
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in &pods {
                    let Some(run) = run_of(world, key) else { continue };
                    let tolerations = run.work.all_tolerations();
                    let fast = choose_by_class(world, run, &tolerations);
                    let slow = choose_one_by_one(world, run, &tolerations);
                    assert_eq!(fast, slow, "seed {seed}, step {step}, {key}");
                }
                let victim = world.rng.choice(&pods).cloned();
                match world.rng.u32(0..4) {
                    0 => node(world, 100 + step),
                    1 => {
                        let name = format!("ip-10-0-0-{}", world.rng.u32(0..12));
                        let cordon = if world.rng.bool() { Cordon::On } else { Cordon::Off };
                        Kubernetes::cordon(world, &name, cordon);
                    }
                    _ => {
                        if let Some(key) = victim {
                            crate::kubernetes::delete::delete_pod(world, &key, None);
                        }
                    }
                }
                let to = world.now + 3_000;
                world.advance(to);
            }
        }
    }
}
