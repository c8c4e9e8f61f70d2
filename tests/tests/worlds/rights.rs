//! Who may be touched: only what a signal of ours speaks of, only while its action waits, and only in mode `act`.

use crate::check::Over;
use crate::witness::{Look, Moved};
use crate::word::{Act, allow};
use sandbox::aws::autoscaling::{Action, Transition, Verdict};
use sandbox::scenario::Place;
use sandbox::world::{Call, Millis, World};

/// How long after its end an action may still be acted upon: a lifecycle state may be 20 s old, and the turn that saw
/// it in its last moment goes on for a few seconds.
const ENDED_MS: Millis = 25_000;

/// The longest that a turn's calls may come after it began.
pub(crate) const TURN_MS: Millis = 15_000;

/// Nothing is touched whose instance no waiting action of ours speaks of, nor an interruption as far as the policy allows:
/// no node, no pod on it, no target.
pub(crate) fn spoken_of(over: &Over<'_>, world: &World, broken: &mut Vec<String>) {
    let place = over.place;
    let may = |act: Act, instance: &str, at: Millis| is_spoken_of(over, (act, instance), at, world);
    for call in world.calls.iter().filter(|call| call.write && call.operation == "PATCH nodes") {
        let node = call.subject.rsplit('/').next().unwrap_or_default();
        if !may(Act::Patch, instance_of(place, world, node), call.at) {
            broken.push(format!("foreign-node: {call:?}"));
        }
    }
    for removal in &world.kubernetes.removals {
        if !may(Act::Remove, instance_of(place, world, &removal.node), removal.at) {
            broken.push(format!("foreign-pod: {removal:?}"));
        }
    }
    targets(over, world, broken);
}

/// Each target that the function registers or deregisters is one that a signal of ours spoke of, and not only to recommend
/// something; it registers only the instance that it decided about. Each call about targets was decided.
fn targets(over: &Over<'_>, world: &World, broken: &mut Vec<String>) {
    for look in &over.looks {
        let wrong = look.targets.iter().find(|moved| is_wrong(over, look, moved, world));
        if let Some(moved) = wrong {
            broken.push(format!("foreign-target: {moved:?} in {look:?}"));
        }
    }
    let changes = |call: &&Call| {
        ["elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:RegisterTargets"]
            .contains(&call.operation.as_str())
    };
    // A call that was lost on its way says nothing of its group.
    for call in world.calls.iter().filter(changes) {
        let decided = over.looks.iter().any(|look| {
            (look.at..=look.at + TURN_MS).contains(&call.at)
                && look
                    .targets
                    .iter()
                    .any(|moved| call.subject.is_empty() || moved.group == call.subject)
        });
        if !decided {
            broken.push(format!("foreign-target: nobody decided {call:?}"));
        }
    }
}

/// Another instance's target leaves in the same call when its own record says so, which may be read a moment after the turn
/// began.
fn is_wrong(over: &Over<'_>, look: &Look, moved: &Moved, world: &World) -> bool {
    let is_own = moved.instance == look.instance;
    let act = if moved.registered { Act::Register } else { Act::Withdraw };
    let may = |at: Millis| is_spoken_of(over, (act, &moved.instance), at, world);
    !may(look.at) && (is_own || !may(look.at + TURN_MS)) || moved.registered && !is_own
}

/// The instance of a node: EC2 remembers the names of instances that are gone.
pub(crate) fn instance_of<'a>(place: &'a Place, world: &'a World, node: &str) -> &'a str {
    let machine = place.machines.iter().find(|machine| machine.node == node);
    machine.map_or_else(
        || {
            let mut known = world.aws.ec2.instances.iter();
            known.find(|(_, known)| known.private_dns == node).map_or("", |(id, _)| id.as_str())
        },
        |machine| machine.instance.as_str(),
    )
}

/// Whether an action of ours waited for this instance at that time, or had until a moment ago; or an interruption allows it.
fn is_spoken_of(over: &Over<'_>, (act, instance): (Act, &str), at: Millis, world: &World) -> bool {
    let waits = world.aws.autoscaling.actions.iter().any(|action| {
        action.ours
            && action.instance == instance
            && action.began_at <= at
            && held_until(action, world).is_none_or(|ended_at| at <= ended_at + ENDED_MS)
    });
    waits || allow(&over.words, (act, instance), at, &over.policy)
}

/// When nothing held the instance any more. Who leaves its group leaves it for good, also while only another tool's hook of
/// the same transition still waits: a copy of our message that comes then may find it up again, and drains it.
pub(crate) fn held_until(action: &Action, world: &World) -> Option<Millis> {
    let (ended_at, _) = action.ended?;
    if action.way.transition() != Transition::Terminating {
        return Some(ended_at);
    }
    let beside = world.aws.autoscaling.actions.iter().filter(|other| {
        other.instance == action.instance
            && other.way == action.way
            && other.began_at == action.began_at
    });
    beside
        .map(|other| other.ended.map(|(at, _)| at))
        .try_fold(ended_at, |last, at| at.map(|at| at.max(last)))
}

/// `observe`, a pause that leaves hooks, and a function for other hooks write nothing to cluster, load balancers or
/// hooks.
pub(crate) fn none(world: &World, broken: &mut Vec<String>) {
    broken.extend(writes(world).take(3).map(|call| format!("write-without-right: {call:?}")));
}

/// A pause that continues hooks answers them so, and writes nothing else.
pub(crate) fn answers_alone(world: &World, broken: &mut Vec<String>) {
    let others =
        writes(world).filter(|call| call.operation != "autoscaling:CompleteLifecycleAction");
    broken.extend(others.take(3).map(|call| format!("write-without-right: {call:?}")));
    let continues = Verdict::Continue.name();
    let answers = world.aws.autoscaling.answers.iter();
    let others = answers.filter(|answer| answer.result != continues);
    broken.extend(others.take(3).map(|answer| format!("paused-and-abandoned: {answer:?}")));
}

fn writes(world: &World) -> impl Iterator<Item = &Call> {
    world.calls.iter().filter(|call| call.write && !call.operation.starts_with("sqs:"))
}
