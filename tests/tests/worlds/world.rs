//! One world: a scenario from a seed, the real lifecycle function on it, and what is told of it afterwards.

use crate::check::{self, Over};
use crate::sight::Sight;
use crate::trouble::{self, Trouble};
use crate::{variation, witness, word};
use decision::policy::Policy;
use ebbtide::stage::{Deployment, function_with};
use runtime::app::Decide;
use sandbox::aws::autoscaling::Ended;
use sandbox::lambda::Lambda;
use sandbox::scenario::{INTERRUPTION_QUEUE, LIFECYCLE_QUEUE, Owner, Place, Scenario};
use sandbox::world::{Call, Millis, World};
use std::cell::RefCell;

/// How long a world is watched at most after the last thing befell it: long enough for every wait of ours that is not
/// somebody else's budget.
const WATCHED_MS: Millis = 150_000;

/// The same where the function is paused: past a few of its looks and the shorter timeouts.
const PAUSED_WATCHED_MS: Millis = 700_000;

/// One world in so many is watched for hours, past the longest drain and several hard deadlines.
const LONG_WORLDS: u64 = 200;

/// How long: past the shortest global timeout, 100 heartbeats of 120 s.
const LONG_WATCHED_MS: Millis = 4 * 3_600_000;

/// The same where hosts are interrupted, after the last of it was due: past every patience with an instance that starts.
const INTERRUPTED_WATCHED_MS: Millis = 900_000;

/// A world is over this long after nothing waits any more.
const QUIET_MS: Millis = 60_000;

/// What is done with the world.
#[derive(Clone, Copy)]
pub(crate) enum Play {
    /// The function as it is.
    Whole,
    /// The function with another decision.
    Broken(Decide),
}

/// How the function is deployed in this world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// In charge.
    Act,
    /// Only looking.
    Observe,
    /// Configured for other hooks than those of this world.
    Foreign,
    /// Paused, hooks are left to their timeouts.
    PausedLeave,
    /// Paused, hooks are answered so that AWS goes on.
    PausedContinue,
}

/// What is told of a world.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Invariants that were broken.
    pub(crate) broken: Vec<String>,
    /// Lifecycle actions of ours.
    pub(crate) actions: u64,
    /// Answered by us.
    pub(crate) answered: u64,
    /// Ended by a timeout.
    pub(crate) timed_out: u64,
    /// Lifecycle actions of hooks that only look on.
    pub(crate) onlookers: u64,
    /// Actions that a pause left alone.
    pub(crate) left: u64,
    /// Actions that a pause answered.
    pub(crate) continued: u64,
    /// Actions that were answered although a target group was deleted.
    pub(crate) ungrouped: u64,
    /// All calls.
    pub(crate) calls: Vec<Call>,
    /// What happened.
    pub(crate) story: Vec<(Millis, String)>,
    /// What was decided.
    pub(crate) said: Vec<(Millis, String)>,
    /// Faults that struck.
    pub(crate) faults: u64,
    /// Processes that were killed.
    pub(crate) kills: u64,
}

impl Told {
    /// Story and calls in order, for reading.
    pub(crate) fn transcript(&self) -> String {
        let start = self.story.first().map_or(0, |(at, _)| *at);
        let mut lines: Vec<(Millis, String)> = self.story.clone();
        lines.extend(self.calls.iter().map(|call| {
            (
                call.at,
                format!("  p{} {} {} {}", call.process, call.status, call.operation, call.subject),
            )
        }));
        lines.extend(self.said.iter().map(|(at, line)| (*at, format!("    {line}"))));
        lines.sort_by_key(|(at, _)| *at);
        lines.iter().map(|(at, line)| format!("{:>9} {line}\n", at - start)).collect()
    }
}

/// Runs the world of a seed to its end and checks it.
pub(crate) fn run(seed: u64, play: Play) -> Told {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(live(seed, play))
}

fn role(seed: u64) -> Role {
    match seed % 16 {
        3 => Role::Observe,
        5 => Role::Foreign,
        7 if seed % 32 == 7 => Role::PausedLeave,
        9 if seed % 32 == 9 => Role::PausedContinue,
        _ => Role::Act,
    }
}

fn policy(scenario: &Scenario, place: &Place, role: Role, trouble: Option<&Trouble>) -> Policy {
    let named: Vec<&str> = scenario
        .fronts
        .iter()
        .zip(&place.groups)
        .filter(|(front, _)| front.owner == Owner::Script)
        .map(|(_, arn)| arn.as_str())
        .collect();
    let named = named.join(",");
    let lookup = |variable: &str| match variable {
        "MODE" => Some(
            match role {
                Role::Observe => "observe",
                Role::Act | Role::Foreign => "act",
                Role::PausedLeave | Role::PausedContinue => "paused",
            }
            .to_owned(),
        ),
        "PAUSED_HOOKS" if role == Role::PausedLeave => Some("leave".to_owned()),
        "PAUSED_HOOKS" if role == Role::PausedContinue => Some("continue".to_owned()),
        "HOOKS" if role == Role::Foreign => Some("somebody-elses".to_owned()),
        "TARGET_GROUPS" => Some(named.clone()),
        _ => trouble.and_then(|trouble| trouble.setting(variable)),
    };
    Policy::parse(lookup).unwrap()
}

/// How long a world without interruptions is watched after the last thing befell it.
fn watched<D>(seed: u64, role: Role, deletion: Option<&D>) -> Millis {
    match role {
        _ if seed.is_multiple_of(LONG_WORLDS) => LONG_WATCHED_MS,
        _ if deletion.is_some() => check::DEPARTS_MS + check::CRASHES_MS,
        Role::PausedLeave | Role::PausedContinue => PAUSED_WATCHED_MS,
        Role::Act | Role::Observe | Role::Foreign => WATCHED_MS,
    }
}

async fn live(seed: u64, play: Play) -> Told {
    let mut scenario = Scenario::random(seed);
    let role = role(seed);
    let trouble = trouble::draw(seed, &mut scenario);
    // What a deleted group must not hold up is held up by much else there.
    let deletion = variation::vary(seed, role, &mut scenario).filter(|_| trouble.is_none());
    let place = scenario.build();
    let deployment = Deployment {
        policy: policy(&scenario, &place, role, trouble.as_ref()),
        queue: LIFECYCLE_QUEUE.to_owned(),
        dead_letter: format!("{LIFECYCLE_QUEUE}-dead-letter"),
        batch: scenario.batch,
        concurrency: u16::try_from(scenario.concurrency_max).unwrap(),
    };
    let decide = witness::watching(match play {
        Play::Whole => decision::decide::decide,
        Play::Broken(decide) => decide,
    });
    let mut functions = vec![function_with(&place.sandbox, "lifecycle", &deployment, decide)];
    if let Some(trouble) = &trouble {
        trouble.prepare(&place);
        if role == Role::Foreign {
            Trouble::disown(&place);
        }
        let deployment = Deployment {
            queue: INTERRUPTION_QUEUE.to_owned(),
            dead_letter: format!("{INTERRUPTION_QUEUE}-dead-letter"),
            ..deployment.clone()
        };
        functions.push(function_with(&place.sandbox, "interruption", &deployment, decide));
    }
    let mut watch = Watch {
        lambda: Lambda::new(&place.sandbox, &functions),
        place: &place,
        sight: RefCell::default(),
        interrupted: trouble.is_some(),
    };
    let start = place.sandbox.now();
    let mut last = start + scenario.incidents.iter().map(|(at, ..)| *at).max().unwrap_or(0);
    if let Some(deletion) = &deletion {
        watch.lambda.drive(start + deletion.after, |_| false).await;
        deletion.happen(&place);
        last = last.max(start + deletion.after);
    }
    let mut watched = watched(seed, role, deletion.as_ref());
    if let Some(trouble) = &trouble {
        last = last.max(start + trouble.due_after);
        watched = watched.max(INTERRUPTED_WATCHED_MS);
    }
    watch.watch(last, last + watched, role).await;
    let sight = watch.sight.take();
    drop(watch);
    let looks = witness::told();
    let (ungrouped, interrupted) = (deletion.is_some(), trouble.is_some());
    let mut world = place.sandbox.world();
    let words = if interrupted { word::all(&world) } else { Vec::new() };
    let policy = deployment.policy;
    let over = Over {
        scenario: &scenario,
        place: &place,
        role,
        ungrouped,
        looks,
        policy,
        interrupted,
        words,
        sight,
    };
    let broken = check::broken(&over, &world);
    Told { broken, ..check::tell(&over, &mut world) }
}

/// A world that is watched.
struct Watch<'a> {
    lambda: Lambda<'a>,
    place: &'a Place,
    sight: RefCell<Sight>,
    interrupted: bool,
}

impl Watch<'_> {
    /// Watches until it is quiet after `last`, at most until `until`; and then on past every timeout of ours, until whoever
    /// was kept from it has had the time to come back.
    async fn watch(&mut self, last: Millis, until: Millis, role: Role) {
        let answers = matches!(role, Role::Act | Role::PausedContinue);
        // Somebody else's budget may hold a hook for hours; an interruption has an end of its own.
        let patience = if self.interrupted { last + WATCHED_MS } else { until };
        let interrupted = self.interrupted;
        let is_quiet = |world: &World| {
            let waits = world.now < patience && !is_quiet(world);
            !waits && (!interrupted || world.aws.sqs.depth(INTERRUPTION_QUEUE) == 0)
        };
        while self.place.sandbox.now() < until {
            self.drive(until, |world| world.now > last && is_quiet(world)).await;
            // Once it is quiet, whatever still comes has a minute.
            let pause = (self.place.sandbox.now() + QUIET_MS).min(until);
            self.drive(pause, |_| false).await;
            if is_quiet(&self.place.sandbox.world()) {
                break;
            }
        }
        loop {
            let back_by = back_by(&self.place.sandbox.world());
            let Some(back_by) = back_by.filter(|_| answers) else { return };
            self.drive(back_by, |_| false).await;
        }
    }

    async fn drive(&mut self, until: Millis, stop: impl Fn(&World) -> bool) {
        let Self { lambda, sight, interrupted, .. } = self;
        let look = |world: &World| {
            if *interrupted {
                sight.borrow_mut().look(world);
            }
            stop(world)
        };
        lambda.drive(until, look).await;
    }
}

/// Until when the messages of the hooks that timed out are back, if that is to come.
fn back_by(world: &World) -> Option<Millis> {
    let ours = world.aws.autoscaling.actions.iter().filter(|action| action.ours);
    let back_by = ours.filter_map(check::timed_out_at).max()? + check::CRASHES_MS;
    (world.now < back_by).then_some(back_by)
}

/// Nothing of ours waits, and no message is left.
fn is_quiet(world: &World) -> bool {
    let waits =
        world.aws.autoscaling.actions.iter().any(|action| action.ours && action.ended.is_none());
    !waits && world.aws.sqs.depth(LIFECYCLE_QUEUE) == 0
}

/// Whether an action ended because somebody answered it.
pub(crate) fn is_answered(ended: Ended) -> bool {
    matches!(ended, Ended::Answered(_))
}
