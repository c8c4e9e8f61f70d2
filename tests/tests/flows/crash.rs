//! Processes that are killed: nothing is lost, and it costs about twenty seconds.

use crate::flow::{Flow, SECOND};
use crate::past::{Past, TERMINATE};
use sandbox::world::Millis;

/// The first departure with its first invocation killed at this wait.
async fn killed_at(wait: u32) -> Past {
    Flow::new()
        .with(|scenario| {
            // So that the first invocation is that of our departure.
            scenario.hooks.retain(|hook| hook.name == TERMINATE);
            scenario.faults.kills = vec![(1, wait)];
        })
        .replaces([0])
        .run()
        .await
}

/// How long after the last call of the killed process the next one began.
fn cost(past: &Past) -> Millis {
    let calls = past.calls("");
    let killed =
        past.world().processes.iter().find(|(_, process)| process.killed).map(|(id, _)| *id);
    let killed = killed.expect("the first invocation was killed");
    let last = calls.iter().rfind(|call| call.process == killed).map(|call| call.at);
    let next = calls.iter().find(|call| call.process != killed).map(|call| call.at);
    next.expect("somebody went on") - last.expect("it had begun")
}

#[tokio::test(start_paused = true)]
async fn a_process_killed_at_any_of_its_waits_loses_nothing() {
    for wait in [1, 2, 3, 5, 8, 12, 16, 20, 25, 30, 40, 50, 60, 80, 100] {
        let past = killed_at(wait).await;
        past.all_pods_were_removed(0);
        past.drained(0);
    }
}

#[tokio::test(start_paused = true)]
async fn every_invocation_of_the_first_minute_killed_half_way_loses_nothing() {
    let past = Flow::new()
        .with(|scenario| {
            let kills = (1..=8_u32).map(|number| (u64::from(number), 9 * number));
            scenario.faults.kills = kills.collect();
        })
        .replaces([0])
        .run()
        .await;
    past.all_pods_were_removed(0);
    past.drained(0);
}

#[tokio::test(start_paused = true)]
async fn a_crash_costs_about_twenty_seconds() {
    for wait in [10, 20, 40] {
        let past = killed_at(wait).await;
        let cost = cost(&past);
        assert!((15 * SECOND..=22 * SECOND).contains(&cost), "killed at wait {wait}: {cost} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_message_was_hidden_costs_the_queues_own_timeout_at_most() {
    let past = killed_at(1).await;
    let killed = past.world().processes.values().filter(|process| process.killed).count();
    assert_eq!(killed, 1);
    let ending = past.drained(0);
    let first = past.calls("").first().map(|call| call.at).unwrap();
    assert!(first - ending.action.began_at <= 95 * SECOND, "{ending:?}");
}
