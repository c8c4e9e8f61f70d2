//! The invariants, read off a world at its end.

use crate::world::{Role, Told, is_answered};
use sandbox::aws::autoscaling::Action;
use sandbox::fault::Scope;
use sandbox::scenario::{LIFECYCLE_QUEUE, Place, Scenario};
use sandbox::world::{Millis, World};
use std::collections::BTreeSet;

/// Before a hard deadline, a pod may be deleted past its budget: its grace and this long ahead.
const FORCE_AHEAD_MS: Millis = 20_000;

/// How late an event may come: a minute in the sandbox, and the delivery itself.
const LATE_MS: Millis = 90_000;

/// How long two crashes in a row can hide a message: 90 s each, and the seconds between.
const CRASHES_MS: Millis = 200_000;

/// The numbers of a world.
pub(crate) fn tell(world: &mut World) -> Told {
    let ours: Vec<Action> =
        world.aws.autoscaling.actions.iter().filter(|action| action.ours).cloned().collect();
    let ended = |answered: bool| {
        let with =
            |action: &&Action| action.ended.is_some_and(|(_, how)| is_answered(how) == answered);
        ours.iter().filter(with).count() as u64
    };
    Told {
        broken: Vec::new(),
        actions: ours.len() as u64,
        answered: ended(true),
        timed_out: ended(false),
        calls: std::mem::take(&mut world.calls),
        story: std::mem::take(&mut world.story),
        faults: world.faults.struck.len() as u64,
        kills: world.processes.values().filter(|process| process.killed).count() as u64,
    }
}

/// Every invariant that was broken, in words.
pub(crate) fn broken(scenario: &Scenario, place: &Place, role: Role, world: &World) -> Vec<String> {
    let mut broken = world.violations.clone();
    match role {
        Role::Act => {
            hooks(scenario, world, &mut broken);
            budgets(scenario, place, world, &mut broken);
            nodes(place, world, &mut broken);
        }
        Role::Observe | Role::Foreign => writes(world, &mut broken),
    }
    messages(world, &mut broken);
    broken
}

/// Each hook of ours is answered exactly once, or its timeout is the only other way out.
fn hooks(scenario: &Scenario, world: &World, broken: &mut Vec<String>) {
    for action in world.aws.autoscaling.actions.iter().filter(|action| action.ours) {
        let accepted = world
            .aws
            .autoscaling
            .answers
            .iter()
            .filter(|answer| {
                answer.accepted && answer.token.as_deref() == Some(action.token.as_str())
            })
            .count();
        if accepted > 1 {
            broken.push(format!("answered-twice: {action:?}"));
        }
        // Events may come up to a minute late: before that, nobody can have a message.
        let is_heard = world.now - action.began_at > LATE_MS && was_delivered(action, world);
        let waits = action.ended.is_none() && is_heard;
        if waits && world.aws.sqs.depth(LIFECYCLE_QUEUE) == 0 {
            broken.push(format!("message-lost: nothing in the queue speaks of {action:?}"));
        }
        let timed_out = action.ended.is_some_and(|(_, how)| !is_answered(how));
        if timed_out && was_delivered(action, world) && !is_excused(scenario, action, world) {
            broken.push(format!("hook-forgotten: {action:?}"));
        }
    }
}

/// Whether any copy of the action's event was on its way to the queue.
fn was_delivered(action: &Action, world: &World) -> bool {
    world
        .aws
        .events
        .events_log
        .iter()
        .any(|sent| sent.copies > 0 && sent.body.contains(&action.token))
}

/// A timeout is a way out when AWS itself was away, or when crashes and silence struck so often that the heartbeats
/// stayed out; then the message is still there, and somebody looks at the instance afterwards.
fn is_excused(scenario: &Scenario, action: &Action, world: &World) -> bool {
    let Some((ended_at, _)) = action.ended else { return false };
    let away = scenario.faults.windows.iter().any(|window| {
        window.scope != Scope::Kubernetes && window.from < ended_at && window.to > action.began_at
    });
    let struck =
        world.faults.struck.iter().any(|(at, ..)| (action.began_at..ended_at).contains(at));
    let killed = scenario.faults.kills_per_mille > 0;
    // Somebody was at it before the crashes that it takes for a timeout, or is afterwards.
    let kept_trying = world
        .calls
        .iter()
        .any(|call| call.at > ended_at - CRASHES_MS && call.subject.contains(&action.instance));
    // A world that ends before the message can come back shows nothing.
    let unseen = world.now < ended_at + CRASHES_MS / 2;
    away || (struck || killed) && (kept_trying || unseen)
}

/// A budget is never violated before the margin of a hard deadline.
fn budgets(scenario: &Scenario, place: &Place, world: &World, broken: &mut Vec<String>) {
    for cut in &world.kubernetes.budget_breaks {
        let instance = place.machines.iter().find(|machine| machine.node == cut.node);
        let graces = scenario.workloads.iter().map(|workload| workload.grace_seconds);
        let grace_ms = graces.max().unwrap_or(30) * 1_000;
        let allowed = world.aws.autoscaling.actions.iter().any(|action| {
            action.ours
                && instance.is_some_and(|machine| machine.instance == action.instance)
                && cut.at >= action.global_until - grace_ms - FORCE_AHEAD_MS
        });
        if !allowed {
            broken.push(format!("budget-broken: {cut:?}"));
        }
    }
}

/// No node is touched whose instance no signal of ours spoke of.
fn nodes(place: &Place, world: &World, broken: &mut Vec<String>) {
    let spoken: BTreeSet<(&str, Millis)> = world
        .aws
        .autoscaling
        .actions
        .iter()
        .filter(|action| action.ours)
        .map(|action| (action.instance.as_str(), action.began_at))
        .collect();
    for call in world.calls.iter().filter(|call| call.write && call.operation == "PATCH nodes") {
        let node = call.subject.rsplit('/').next().unwrap_or_default();
        let machine = place.machines.iter().find(|machine| machine.node == node);
        let instance = machine.map_or_else(
            || world.kubernetes.node_of_instance(node).unwrap_or_default(),
            |machine| machine.instance.as_str(),
        );
        if !spoken.iter().any(|(named, began)| *named == instance && *began <= call.at) {
            broken.push(format!("foreign-node: {call:?}"));
        }
    }
}

/// `observe`, and a function configured for other hooks, write nothing to cluster, load balancers or hooks.
fn writes(world: &World, broken: &mut Vec<String>) {
    let writes =
        world.calls.iter().filter(|call| call.write && !call.operation.starts_with("sqs:"));
    broken.extend(writes.take(3).map(|call| format!("write-without-right: {call:?}")));
}

/// No message is lost: what still waits has a message, and none went to the dead-letter queue.
fn messages(world: &World, broken: &mut Vec<String>) {
    let dead = world.aws.sqs.depth(&format!("{LIFECYCLE_QUEUE}-dead-letter"));
    if dead > 0 {
        broken.push(format!("dead-letters: {dead} readable messages"));
    }
}
