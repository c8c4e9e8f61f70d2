//! One world: a scenario from a seed, the real lifecycle function on it, and what is told of it afterwards.

use crate::check;
use decision::policy::Policy;
use ebbtide::stage::{Deployment, function_with};
use runtime::app::Decide;
use sandbox::aws::autoscaling::Ended;
use sandbox::lambda::Lambda;
use sandbox::scenario::{LIFECYCLE_QUEUE, Owner, Place, Scenario};
use sandbox::world::{Call, Millis, World};

/// How long a world is watched at most after the last thing befell it: long enough for every wait of ours that is not
/// somebody else's budget.
const WATCHED_MS: Millis = 150_000;

/// One world in so many is watched for hours, past the longest drain and several hard deadlines.
const LONG_WORLDS: u64 = 200;

/// How long: past the shortest global timeout, 100 heartbeats of 120 s.
const LONG_WATCHED_MS: Millis = 4 * 3_600_000;

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
    /// All calls.
    pub(crate) calls: Vec<Call>,
    /// What happened.
    pub(crate) story: Vec<(Millis, String)>,
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
        _ => Role::Act,
    }
}

fn policy(scenario: &Scenario, place: &Place, role: Role) -> Policy {
    let named: Vec<&str> = scenario
        .fronts
        .iter()
        .zip(&place.groups)
        .filter(|(front, _)| front.owner == Owner::Script)
        .map(|(_, arn)| arn.as_str())
        .collect();
    let named = named.join(",");
    let lookup = |variable: &str| match variable {
        "MODE" => Some(if role == Role::Observe { "observe" } else { "act" }.to_owned()),
        "HOOKS" if role == Role::Foreign => Some("somebody-elses".to_owned()),
        "TARGET_GROUPS" => Some(named.clone()),
        _ => None,
    };
    Policy::parse(lookup).unwrap()
}

async fn live(seed: u64, play: Play) -> Told {
    let mut scenario = Scenario::random(seed);
    if seed.is_multiple_of(2) {
        // Two processes at once, a message each.
        (scenario.batch, scenario.concurrency_max) = (1, 2);
    }
    let place = scenario.build();
    let role = role(seed);
    let deployment = Deployment {
        policy: policy(&scenario, &place, role),
        queue: LIFECYCLE_QUEUE.to_owned(),
        dead_letter: format!("{LIFECYCLE_QUEUE}-dead-letter"),
        batch: scenario.batch,
        concurrency: u16::try_from(scenario.concurrency_max).unwrap(),
    };
    let decide = match play {
        Play::Whole => decision::decide::decide,
        Play::Broken(decide) => decide,
    };
    let functions = [function_with(&place.sandbox, "lifecycle", &deployment, decide)];
    let mut lambda = Lambda::new(&place.sandbox, &functions);
    let (start, last) =
        (place.sandbox.now(), scenario.incidents.iter().map(|(at, ..)| *at).max().unwrap_or(0));
    let watched = if seed.is_multiple_of(LONG_WORLDS) { LONG_WATCHED_MS } else { WATCHED_MS };
    let until = start + last + watched;
    while place.sandbox.now() < until {
        let quiet = move |world: &World| world.now > start + last && is_quiet(world);
        lambda.drive(until, quiet).await;
        // Once it is quiet, whatever still comes has a minute.
        let pause = (place.sandbox.now() + QUIET_MS).min(until);
        lambda.drive(pause, |_| false).await;
        if is_quiet(&place.sandbox.world()) {
            break;
        }
    }
    drop(lambda);
    let mut world = place.sandbox.world();
    let broken = check::broken(&scenario, &place, role, &world);
    Told { broken, ..check::tell(&mut world) }
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
