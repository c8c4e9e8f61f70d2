//! The invariants, read off a world at its end.

use crate::sight::Sight;
use crate::witness::Look;
use crate::word::{Word, started_at};
use crate::world::{Role, Told, is_answered};
use crate::{course, rights};
use decision::policy::{Policy, Reaction};
use sandbox::aws::autoscaling::{Action, Ended, Transition};
use sandbox::fault::Scope;
use sandbox::scenario::{INTERRUPTION_QUEUE, LIFECYCLE_QUEUE, Place, Scenario};
use sandbox::world::{Millis, World};

/// Before a hard deadline, a pod may be deleted past its budget: its grace and this long ahead.
const FORCE_AHEAD_MS: Millis = 20_000;

/// How late an event may come: a minute in the sandbox, and the delivery itself.
pub(crate) const LATE_MS: Millis = 90_000;

/// How long two crashes in a row can hide a message: 90 s each, and the seconds between.
pub(crate) const CRASHES_MS: Millis = 200_000;

/// How long a paused hook may wait for its CONTINUE: its event comes late, two crashes in a row, an outage.
const CONTINUED_MS: Millis = LATE_MS + CRASHES_MS + 180_000;

/// How long a departure may last at most where nothing holds it but what is implicit: the floor and the implicit budget
/// give up after 5 minutes, a lost kubelet's pods count as stuck 2 minutes later, volumes and the slowest load balancer
/// take minutes; the rest is for faults.
pub(crate) const DEPARTS_MS: Millis = 25 * 60_000;

/// A world that is over, and what is known of it besides.
pub(crate) struct Over<'a> {
    /// What it was made from.
    pub(crate) scenario: &'a Scenario,
    /// What was made.
    pub(crate) place: &'a Place,
    /// How the function was deployed.
    pub(crate) role: Role,
    /// Whether target groups were deleted, and nothing else holds a departure.
    pub(crate) ungrouped: bool,
    /// What the functions decided.
    pub(crate) looks: Vec<Look>,
    /// Their policy.
    pub(crate) policy: Policy,
    /// Whether the interruption function is there, too.
    pub(crate) interrupted: bool,
    /// What it is told.
    pub(crate) words: Vec<Word>,
    /// What was seen of the nodes meanwhile.
    pub(crate) sight: Sight,
}

/// The numbers of a world.
pub(crate) fn tell(over: &Over<'_>, world: &mut World) -> Told {
    let ours: Vec<Action> =
        world.aws.autoscaling.actions.iter().filter(|action| action.ours).cloned().collect();
    let ended = |answered: bool| {
        let with =
            |action: &&Action| action.ended.is_some_and(|(_, how)| is_answered(how) == answered);
        ours.iter().filter(with).count() as u64
    };
    let onlookers = world.aws.autoscaling.actions.iter();
    let onlookers = onlookers.filter(|action| !action.ours && is_marked(over.scenario, action));
    let departed = ours.iter().filter(|action| {
        action.way.transition() == Transition::Terminating
            && action.ended.is_some_and(|(_, how)| is_answered(how))
    });
    let only_if = |applies: bool, count: u64| if applies { count } else { 0 };
    Told {
        broken: Vec::new(),
        actions: ours.len() as u64,
        answered: ended(true),
        timed_out: ended(false),
        onlookers: onlookers.count() as u64,
        left: only_if(over.role == Role::PausedLeave, ours.len() as u64),
        continued: only_if(over.role == Role::PausedContinue, ended(true)),
        ungrouped: only_if(over.ungrouped, departed.count() as u64),
        calls: std::mem::take(&mut world.calls),
        story: std::mem::take(&mut world.story),
        said: over.looks.iter().map(|look| (look.at, look.said.clone())).collect(),
        faults: world.faults.struck.len() as u64,
        kills: world.processes.values().filter(|process| process.killed).count() as u64,
    }
}

/// Whether the hook of an action has a word for us in its metadata.
fn is_marked(scenario: &Scenario, action: &Action) -> bool {
    scenario.hooks.iter().any(|hook| hook.name == action.hook && hook.metadata.is_some())
}

/// Every invariant that was broken, in words.
pub(crate) fn broken(over: &Over<'_>, world: &World) -> Vec<String> {
    // Of a host that was down when it got the taint and is starting again, the world can't tell that its pods write no more.
    // What EC2 said when the taint came is judged with the interruptions.
    let is_judged =
        |line: &&String| !over.interrupted || !line.starts_with("out-of-service-too-early");
    let mut broken: Vec<String> = world.violations.iter().filter(is_judged).cloned().collect();
    match over.role {
        Role::Act => {
            hooks(over, world, &mut broken);
            budgets(over, world, &mut broken);
            rights::spoken_of(over, world, &mut broken);
            if over.interrupted {
                course::broken(over, world, &mut broken);
            }
        }
        Role::PausedContinue => {
            hooks(over, world, &mut broken);
            rights::answers_alone(world, &mut broken);
        }
        Role::Observe | Role::Foreign | Role::PausedLeave => rights::none(world, &mut broken),
    }
    messages(over, world, &mut broken);
    let unsteady = over.looks.iter().filter(|look| look.unsteady);
    broken.extend(unsteady.map(|look| format!("unsteady: {look:?}")));
    broken
}

/// Each hook of ours is answered exactly once, or its timeout is the only other way out.
fn hooks(over: &Over<'_>, world: &World, broken: &mut Vec<String>) {
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
        if is_forgotten(over, action, world) {
            broken.push(format!("hook-forgotten: {action:?}"));
        }
        let age = world.now - action.began_at;
        let waits = action.ended.is_none() && was_delivered(action, world);
        if waits && over.role == Role::PausedContinue && age > CONTINUED_MS {
            broken.push(format!("paused-and-held: {action:?}"));
        }
        if waits && over.ungrouped && age > DEPARTS_MS {
            broken.push(format!("departure-held: {action:?}"));
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

/// When an action ended without an answer.
pub(crate) fn timed_out_at(action: &Action) -> Option<Millis> {
    // One that another hook's ABANDON ends, or another way of the instance, is nobody's omission.
    let timed_out = |how: Ended| !is_answered(how) && how != Ended::Abandoned;
    action.ended.filter(|(_, how)| timed_out(*how)).map(|(at, _)| at)
}

/// A timeout is a way out when AWS itself was away, or when crashes and silence struck so often that the heartbeats
/// stayed out; then somebody tried to the end, or the message is still there and somebody looks at it afterwards.
fn is_forgotten(over: &Over<'_>, action: &Action, world: &World) -> bool {
    let Some(ended_at) = timed_out_at(action) else { return false };
    let Over { scenario, looks, .. } = over;
    let hook = scenario.hooks.iter().find(|hook| hook.name == action.hook);
    // The last heartbeat that AWS accepted, or the beginning.
    let kept_at = hook.map_or(action.began_at, |hook| ended_at - hook.heartbeat_seconds * 1_000);
    let away = scenario.faults.windows.iter().any(|window| {
        window.scope != Scope::Kubernetes && window.from < ended_at && window.to > kept_at
    });
    let struck = world.faults.struck.iter().any(|(at, ..)| (kept_at..ended_at).contains(at));
    let killed = scenario.faults.kills_per_mille > 0;
    let tried = looks.iter().any(|look| {
        look.tried.contains(&action.token)
            && (kept_at.max(ended_at - CRASHES_MS)..ended_at).contains(&look.at)
            && was_sent(look, world)
    });
    let looked = looks.iter().any(|look| look.tokens.contains(&action.token) && look.at > ended_at);
    let excused = away || (struck || killed) && (tried || looked);
    was_delivered(action, world) && !excused
}

/// Whether a heartbeat or an answer left the process in this turn.
fn was_sent(look: &Look, world: &World) -> bool {
    const OPERATIONS: [&str; 2] =
        ["autoscaling:RecordLifecycleActionHeartbeat", "autoscaling:CompleteLifecycleAction"];
    world.calls.iter().any(|call| {
        (look.at..=look.at + rights::TURN_MS).contains(&call.at)
            && OPERATIONS.contains(&call.operation.as_str())
    })
}

/// A budget is never violated before the margin of a hard deadline.
fn budgets(over: &Over<'_>, world: &World, broken: &mut Vec<String>) {
    for cut in &world.kubernetes.budget_breaks {
        let instance = rights::instance_of(over.place, world, &cut.node);
        let graces = over.scenario.workloads.iter().map(|workload| workload.grace_seconds);
        let grace_ms = graces.max().unwrap_or(30) * 1_000;
        let by_hook = world.aws.autoscaling.actions.iter().any(|action| {
            action.ours
                && action.instance == instance
                && cut.at >= action.global_until - grace_ms - FORCE_AHEAD_MS
        });
        let by_word = is_due(over, instance, (cut.at, cut.at + grace_ms + FORCE_AHEAD_MS));
        if !by_hook && !by_word {
            broken.push(format!("budget-broken: {cut:?}"));
        }
    }
}

/// Whether something that was heard by `at` in this life of the instance ends it by `until`.
fn is_due(over: &Over<'_>, instance: &str, (at, until): (Millis, Millis)) -> bool {
    let life = started_at(&over.words, instance, at);
    over.words.iter().any(|word| {
        word.is_of(instance)
            && (life..=at).contains(&word.at)
            && word.heard
            && !word.returns()
            // EC2 keeps its time whatever the policy makes of the warning.
            && word.reaction(&over.policy) != Reaction::Ignore
            && word.hard.is_some_and(|hard| hard <= until)
    })
}

/// No message is lost: what still waits for us has one, and none went to the dead-letter queue.
fn messages(over: &Over<'_>, world: &World, broken: &mut Vec<String>) {
    for queue in [LIFECYCLE_QUEUE, INTERRUPTION_QUEUE] {
        let dead = world.aws.sqs.depth(&format!("{queue}-dead-letter"));
        if dead > 0 {
            broken.push(format!("dead-letters: {dead} readable messages of {queue}"));
        }
    }
    if matches!(over.role, Role::Observe | Role::Foreign) {
        return;
    }
    for action in world.aws.autoscaling.actions.iter().filter(|action| action.ours) {
        // Events may come up to a minute late: before that, nobody can have a message.
        let is_heard = world.now - action.began_at > LATE_MS && was_delivered(action, world);
        if action.ended.is_none() && is_heard && !has_message(action, world) {
            broken.push(format!("message-lost: nothing in the queue speaks of {action:?}"));
        }
    }
}

fn has_message(action: &Action, world: &World) -> bool {
    world.aws.sqs.queues.get(LIFECYCLE_QUEUE).is_some_and(|queue| {
        queue.messages.values().any(|stored| stored.body.contains(&action.token))
    })
}
