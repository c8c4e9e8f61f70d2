//! The rules of interruptions, read off a world at its end: cordoned in time, gone in time, and back when nothing of it is
//! true any more.

use crate::check::{CRASHES_MS, LATE_MS, Over};
use crate::rights::held_until;
use crate::sight::{Left, Marks};
use crate::word::{Act, Kind, Word, started_at};
use decision::policy::Reaction;
use sandbox::aws::ec2::State;
use sandbox::fault::Scope;
use sandbox::scenario::{INTERRUPTION_QUEUE, Incident, Owner};
use sandbox::world::{Millis, World};
use std::ops::Range;

/// How old what a turn saw of an instance may be when it writes: what EC2 said is kept for some seconds, and a turn lasts
/// as long.
const STALE_MS: Millis = 15_000;

/// From a warning to the cordon where batches are taken at once: delivery, a cold start, a turn, a conflict or two.
const CORDONED_MS: Millis = 8_000;

/// The same with two batches at once: each may be in a slice of its own before.
const QUEUED_MS: Millis = 40_000;

/// An event that is neither late nor hidden by a crash has been acted upon so long after it was sent.
const HEARD_MS: Millis = 45_000;

/// How long before the end of an instance its warning must come for everything to be in order.
const NOTICE_MS: Millis = 115_000;

/// How long after the last change of a node what is over must be off it, once no message speaks of it any more: some may
/// still be on their way.
const BACK_MS: Millis = LATE_MS;

/// How long a message about something that is over may go on: its own look, the end of an arrival's patience.
const QUEUE_MS: Millis = 480_000;

/// Every rule that was broken.
pub(crate) fn broken(over: &Over<'_>, world: &World, broken: &mut Vec<String>) {
    for word in &over.words {
        for instance in &word.instances {
            cordon(over, word, instance, world, broken);
            message(over, word, instance, world, broken);
        }
    }
    for (instance, times) in &over.sight.left {
        for left in times {
            in_time(over, instance, left, world, broken);
        }
    }
    for (instance, seen) in &over.sight.marks {
        let Some((since, marks)) = seen.last() else { continue };
        kept(over, instance, (*since, *marks), world, broken);
        for pair in seen.windows(2) {
            let ((_, before), (at, after)) = (pair[0], pair[1]);
            if before.tainted && !after.tainted {
                undone(over, instance, at, world, broken);
            }
        }
    }
    broken.extend(over.sight.too_early.iter().map(|it| format!("out-of-service-too-early: {it}")));
    queue(over, world, broken);
}

/// Whether nothing went wrong in this span, and events come at once.
fn is_calm(over: &Over<'_>, span: &Range<Millis>, world: &World) -> bool {
    let faults = &over.scenario.faults;
    let away = faults.windows.iter().any(|it| it.from < span.end && it.to > span.start);
    let struck = world.faults.struck.iter().any(|(at, ..)| span.contains(at));
    let delivery = &over.scenario.delivery;
    faults.kills_per_mille == 0 && delivery.late == 0 && !away && !struck
}

/// Whether EC2 let the instance run all the time.
fn runs(over: &Over<'_>, instance: &str, span: &Range<Millis>, world: &World) -> bool {
    let changes = over.words.iter().any(|word| {
        word.is_of(instance) && matches!(word.kind, Kind::State(_)) && span.contains(&word.at)
    });
    let crashed = over.scenario.incidents.iter().any(|(_, host, what)| {
        matches!(what, Incident::Crash | Incident::LoseKubelet | Incident::ReplaceRootVolume)
            && over.place.machines.get(*host).is_some_and(|it| it.instance == instance)
    });
    !changes && !crashed && world.aws.ec2.instances.contains_key(instance)
}

/// How long the function may take to hear of something, for the batches that it is given at once.
fn heard_within(over: &Over<'_>) -> Millis {
    if over.scenario.concurrency_max >= 5 { CORDONED_MS } else { QUEUED_MS }
}

/// An instance with a Spot warning is cordoned within seconds.
fn cordon(over: &Over<'_>, word: &Word, instance: &str, world: &World, broken: &mut Vec<String>) {
    let within = heard_within(over);
    let span = word.at - 120_000..word.at + within;
    let hibernates = word.hard.is_none_or(|hard| hard <= word.at + within);
    let due = word.heard
        && word.kind == Kind::Spot
        && !hibernates
        && word.reaction(&over.policy) != Reaction::Ignore
        && world.now > span.end
        && is_calm(over, &(word.at..span.end), world)
        && runs(over, instance, &span, world)
        && over.place.machines.iter().any(|machine| machine.instance == instance);
    if due && !over.sight.was_tainted(instance, word.at..=span.end) {
        broken.push(format!("cordoned-late: {instance} was warned at {}", word.at));
    }
}

/// Each word that was heard is looked at, or is still in the queue.
fn message(over: &Over<'_>, word: &Word, instance: &str, world: &World, broken: &mut Vec<String>) {
    let due = word.heard
        && world.now > word.at + LATE_MS
        && word.kind != Kind::State("pending".to_owned())
        && !matches!(word.kind, Kind::Capacity);
    let looked = || {
        let mut looks = over.looks.iter().filter(|look| look.instance == *instance);
        looks.any(|look| look.at >= word.at && look.causes.contains(&word.label()))
    };
    if due && !looked() && !has_message(instance, world) {
        broken.push(format!("word-lost: nobody looked at {word:?}"));
    }
}

fn has_message(instance: &str, world: &World) -> bool {
    let mut queues = world.aws.sqs.queues.get(INTERRUPTION_QUEUE).into_iter();
    queues.any(|queue| queue.messages.values().any(|stored| stored.body.contains(instance)))
}

/// When an instance that was warned in time begins to go, all that could leave has left: its pods were told to go, its
/// targets are out.
fn in_time(over: &Over<'_>, instance: &str, left: &Left, world: &World, broken: &mut Vec<String>) {
    let span = left.at - NOTICE_MS..left.at;
    let warned = over.words.iter().any(|word| {
        // By EC2 itself, at the time that it named.
        word.is_of(instance)
            && word.heard
            && matches!(word.kind, Kind::Spot | Kind::Capacity)
            && word.hard.is_some_and(|hard| (hard - 2_000..hard + 2_000).contains(&left.at))
            && word.at <= span.start
            && word.reaction(&over.policy) == Reaction::Drain
    });
    let asks = |what: &str| format!("{what}: {instance} at {}", left.at);
    if !warned || !is_calm(over, &span, world) || !runs(over, instance, &span, world) {
        return;
    }
    for (pod, uid) in &left.pods {
        let told = world.kubernetes.removals.iter().any(|removal| removal.uid == *uid);
        if !told {
            broken.push(format!("{}: {pod}", asks("pod-left-to-die")));
        }
    }
    for arn in &left.groups {
        let front = over.place.groups.iter().position(|group| group == arn);
        let front = front.and_then(|index| over.scenario.fronts.get(index));
        if front.is_some_and(|front| front.owner != Owner::Controller) {
            broken.push(format!("{}: {arn}", asks("target-left-to-die")));
        }
    }
}

/// Whether anybody asks for the departure of an instance at `at`, or may still do because it was not heard that he does not.
fn is_asked(over: &Over<'_>, instance: &str, at: Millis, world: &World) -> bool {
    let life = started_at(&over.words, instance, at);
    let closed = |arn: &String| {
        over.words.iter().any(|word| {
            matches!(&word.kind, Kind::Maintenance { arn: other, closed: true, .. } if other == arn)
        })
    };
    let words = over.words.iter().any(|word| {
        let asks = match &word.kind {
            Kind::Maintenance { arn, .. } => !closed(arn),
            Kind::Rebalance => word
                .lapses_at(&over.policy)
                .is_some_and(|lapses| at < lapses + CRASHES_MS + LATE_MS),
            Kind::Spot | Kind::Capacity => true,
            Kind::State(_) => true,
        };
        word.is_of(instance)
            && word.at >= life
            && asks
            && word.allows(
                Act::Patch,
                at.min(word.at + 1).max(word.asks_from(&over.policy)),
                &over.policy,
            )
            && !word.returns()
    });
    // A hook waits on whatever becomes of its instance meanwhile.
    let hooks = world.aws.autoscaling.actions.iter().any(|action| {
        action.ours
            && action.instance == instance
            && held_until(action, world).is_none_or(|ended_at| ended_at >= life)
    });
    words || hooks
}

/// What nobody asks for any more is off the node: our taint, our record, our cordon, the out-of-service taint.
fn kept(
    over: &Over<'_>,
    instance: &str,
    (since, marks): (Millis, Marks),
    world: &World,
    broken: &mut Vec<String>,
) {
    let runs =
        world.aws.ec2.state(instance) == Some(State::Running) && world.aws.ec2.is_up(instance);
    let node_stays = world
        .kubernetes
        .node_of_instance(instance)
        .is_some_and(|node| world.kubernetes.node(node).is_some());
    if !runs || !node_stays || !marks.ready || world.now < since + BACK_MS {
        return;
    }
    if has_message(instance, world) || is_asked(over, instance, world.now, world) {
        return;
    }
    let life = started_at(&over.words, instance, world.now);
    // Nobody told that it is back, or the policy does not want to hear it.
    let told = over.words.iter().any(|word| {
        word.is_of(instance)
            && word.returns()
            && word.at >= life
            && word.allows(Act::Register, word.at, &over.policy)
    });
    if life > Millis::MIN && !told {
        return;
    }
    let foreign =
        over.place.machines.iter().position(|it| it.instance == instance).is_some_and(|host| {
            over.scenario.hosts[host].cordoned
                || over
                    .scenario
                    .incidents
                    .iter()
                    .any(|(_, it, what)| *it == host && *what == Incident::Cordon)
        });
    if marks.tainted || marks.recorded || marks.cordoned && !foreign || marks.out_of_service {
        broken.push(format!("cordon-kept: {instance} has {marks:?} since {since}"));
    }
}

/// A cordon is not taken back while somebody still asks for it, nor from a host that goes.
fn undone(over: &Over<'_>, instance: &str, at: Millis, world: &World, broken: &mut Vec<String>) {
    let state = over.words.iter().rev().find_map(|word| match &word.kind {
        Kind::State(state) if word.is_of(instance) && word.at + STALE_MS <= at => Some(state),
        _ => None,
    });
    let goes = state.is_some_and(|state| !["pending", "running"].contains(&state.as_str()));
    let came_back = over.words.iter().any(|word| {
        word.is_of(instance)
            && word.kind == Kind::State("pending".to_owned())
            && (at - STALE_MS..=at).contains(&word.at)
    });
    if goes && !came_back {
        broken.push(format!("undone-while-going: {instance} at {at}, {state:?}"));
    }
    if !is_calm(over, &(START_MS..at), world) {
        return;
    }
    let life = started_at(&over.words, instance, at);
    let asks = over.words.iter().find(|word| {
        word.is_of(instance)
            && word.heard
            && word.at >= life
            && matches!(word.kind, Kind::Spot | Kind::Capacity)
            && word.at + HEARD_MS < at
            && word.hard.is_some_and(|hard| at < hard)
            && word.reaction(&over.policy) != Reaction::Ignore
    });
    if let Some(word) = asks {
        broken.push(format!("undone-too-early: {instance} at {at} although {word:?}"));
    }
}

const START_MS: Millis = 0;

/// The queue is empty a while after the last of it was due.
fn queue(over: &Over<'_>, world: &World, broken: &mut Vec<String>) {
    let Some(queue) = world.aws.sqs.queues.get(INTERRUPTION_QUEUE) else { return };
    let due = |word: &Word| {
        let end = word.hard.into_iter().chain(word.lapses_at(&over.policy)).max();
        end.unwrap_or(word.at).max(word.at)
    };
    let last = over.words.iter().map(due).max().unwrap_or(0);
    if world.now < last + QUEUE_MS + CRASHES_MS {
        return;
    }
    let away = over
        .scenario
        .faults
        .windows
        .iter()
        .any(|window| window.scope != Scope::Kubernetes && window.to > world.now - CRASHES_MS);
    for stored in queue.messages.values().filter(|_| !away).take(3) {
        broken.push(format!("queue-not-empty: {}", stored.body));
    }
}
