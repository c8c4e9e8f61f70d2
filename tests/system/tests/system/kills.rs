//! Two hundred SIGKILLs of a function's processes, spread over a storm of a hundred departures: every node is drained, every
//! hook answered, and no message lost.

use crate::apart::{Apart, Wanted};
use crate::stage::{Case, Given, Stage, busy};
use sandbox::aws::autoscaling::{Autoscaling, Capacity, Ended, Verdict};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use system_tests::Options;
use tokio::time::{Instant, sleep};

pub(crate) const CASES: &[Case] =
    &[("two_hundred_in_a_storm", |given| Box::pin(two_hundred_in_a_storm(given)))];

const NAME: &str = "kills";
/// The seed of all chance here.
const SEED: u64 = 7;
const NODES: u32 = 110;
/// The rest has room for all pods.
const LEAVING: usize = 100;
const PODS: usize = 200;
const KILLS: usize = 200;
/// How often it is looked what the processes do: a call to AWS is answered about as fast.
const LOOK: Duration = Duration::from_millis(4);
/// One in so many calls to AWS is its process's last. So many that it is over while most departures are still to be made: whoever
/// is killed among the last few costs 20 s each time.
const CALLS_PER_KILL: u32 = 4;
/// At most so many at other moments.
const BLIND_MAX: usize = KILLS / 2;
/// Between two kills at moments that AWS sees nothing of: amid requests to the API server, between two turns.
const BLIND_MS: std::ops::Range<u64> = 200..1_200;
/// The longest that it may take. It was seen to take two minutes to five: most of it messages of the dead wait for their return,
/// each for 20 s, and whoever is killed late waits the longest.
const WITHIN: Duration = Duration::from_secs(600);

async fn two_hundred_in_a_storm(given: Given) {
    // Of its own: where so many leave at once, nobody stands still for anything, which others want to see.
    let stage = Stage::new(&given, Options::new(NAME)).await;
    let mut wanted = Wanted::new(stage, ("lifecycle", NAME), NODES).await;
    wanted.function.concurrency = 10;
    wanted.stage.work(NAME, NAME, (PODS, json!({"maxUnavailable": "25%"}))).await;
    let apart = wanted.deploy(&given);
    let by = Instant::now() + WITHIN;
    apart.aws(|world| {
        for machine in &apart.machines[..LEAVING] {
            Autoscaling::terminate(world, &machine.instance, Capacity::Decrement);
        }
    });
    let moments = kill(&apart, by).await;
    while !is_over(&apart) {
        assert!(Instant::now() < by, "{}\n{}", left(&apart), apart.system.log_tail(NAME));
        sleep(crate::stage::LOOK).await;
    }
    for machine in &apart.machines[..LEAVING] {
        assert_eq!(apart.pods(machine).await, Vec::<String>::new(), "{}", machine.node);
    }
    assert_eq!(apart.dead_letters(&format!("{NAME}-dead")), Vec::<String>::new());
    assert!(apart.system.refused(NAME).is_empty());
    // Amid requests to both sides, and beside the calls by which messages and hooks are settled.
    assert!(moments.len() > 5, "{moments:?}");
    let at_calls: usize = moments.iter().filter(|(call, _)| !call.is_empty()).map(|it| it.1).sum();
    assert!(at_calls >= KILLS - BLIND_MAX, "{moments:?}");
}

/// Kills processes that work until it is enough, and says how often after which call; empty: at no call's moment.
async fn kill(apart: &Apart, by: Instant) -> BTreeMap<String, usize> {
    let (mut chance, mut moments) = (fastrand::Rng::with_seed(SEED), BTreeMap::new());
    let (mut seen, mut killed) = (apart.aws(|world| world.calls.len()), 0);
    let mut blind_at = Instant::now();
    while killed < KILLS {
        assert!(Instant::now() < by, "{killed} were killed\n{}", left(apart));
        sleep(LOOK).await;
        let busy: Vec<u32> = busy(&apart.mapping).iter().map(|process| process.number).collect();
        let mut marked = calls(apart, &mut seen);
        marked.retain(|(number, _)| busy.contains(number) && chance.u32(..CALLS_PER_KILL) == 0);
        let blind = moments.get("").copied().unwrap_or_default();
        if marked.is_empty() && blind < BLIND_MAX && Instant::now() >= blind_at {
            blind_at = Instant::now() + Duration::from_millis(chance.u64(BLIND_MS));
            marked.extend(chance.choice(busy).map(|number| (number, String::new())));
        }
        for (number, call) in marked.into_iter().take(KILLS - killed) {
            // It may have ended since.
            if apart.mapping.kill(number).is_ok() {
                killed += 1;
                *moments.entry(call).or_default() += 1;
            }
        }
        assert!(killed == KILLS || !is_over(apart), "{killed} were killed before it was over");
    }
    moments
}

/// The calls to AWS since the last look, with their processes.
fn calls(apart: &Apart, seen: &mut usize) -> Vec<(u32, String)> {
    let world = apart.system.sandbox.world();
    let new = world.calls.get(*seen..).unwrap_or_default();
    *seen = world.calls.len();
    new.iter().map(|call| (call.process, call.operation.clone())).collect()
}

/// Whether every hook is answered, and every message acknowledged.
fn is_over(apart: &Apart) -> bool {
    let world = apart.system.sandbox.world();
    let actions = world.aws.autoscaling.actions.iter().filter(|action| action.group == NAME);
    let answered = actions
        .filter(|action| matches!(action.ended, Some((_, Ended::Answered(Verdict::Continue)))));
    answered.count() == LEAVING && world.aws.sqs.depth(NAME) == 0
}

/// What is still to do.
fn left(apart: &Apart) -> String {
    let world = apart.system.sandbox.world();
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for action in world.aws.autoscaling.actions.iter().filter(|action| action.group == NAME) {
        *ends.entry(format!("{:?}", action.ended.map(|(_, ended)| ended))).or_default() += 1;
    }
    format!("hooks: {ends:?}, messages: {}", world.aws.sqs.depth(NAME))
}
