//! All targets of a group at once: it keeps its floor as long as there is time, and is never empty while a target lives.

use crate::flow::{Flow, HOUR, MINUTE, SECOND};
use crate::past::Past;
use crate::sight::least;
use sandbox::aws::ec2::{Purchase, State};
use sandbox::aws::events::EventBridge;
use sandbox::scenario::{Front, Host, INTERRUPTION_QUEUE, Incident, Owner, Place, START};
use sandbox::world::World;
use std::collections::BTreeSet;

const NODES: usize = 12;

#[tokio::test(start_paused = true)]
async fn a_group_whose_targets_are_all_warned_at_once_keeps_its_floor_to_the_last_moment() {
    for owner in [Owner::Asg, Owner::Script] {
        let mut flow = Flow::interrupted()
            .with(|scenario| {
                scenario.hosts =
                    (0..NODES).map(|at| Host::in_zone(["a", "b", "c"][at % 3])).collect();
                scenario.fronts = vec![Front::new("web", 30_080, owner)];
                scenario.fronts[0].target_group.deregistration_delay_seconds = 20;
                let web = scenario.workloads.iter_mut().find(|work| work.name == "web");
                let web = web.unwrap();
                (web.replicas, web.pdb) =
                    (24, Some(sandbox::kubernetes::Budget::max_unavailable(6)));
                scenario.workloads.retain(|work| work.name == "web");
            })
            .group(|group| group.purchase = Purchase::Spot)
            .for_at_most(HOUR);
        for host in 0..NODES {
            flow = flow.befalls(host, SECOND, Incident::Spot).befalls(
                host,
                SECOND,
                Incident::ScaleOut,
            );
        }
        let past = flow.run().await;
        let group = &past.place.groups[0];
        let ends_at = (0..NODES).map(|host| past.died_at(host)).min().unwrap();
        assert!(ends_at >= 2 * MINUTE, "{ends_at}");
        // The settle time, the margin and what the pods need.
        let last_moment = SECOND + 2 * MINUTE - 70 * SECOND;
        let healthy = &past.seen.sight.healthy[group];
        let floor = least(healthy, (0, last_moment));
        assert!(floor >= NODES / 2, "{owner:?} {floor}\n{}", past.transcript());
        let fewest = least(healthy, (0, HOUR));
        assert!(fewest >= 1, "{owner:?}\n{}", past.transcript());
        past.nothing_was_dropped();
        past.no_message_is_left();
    }
}

/// When EC2 was asked about instances by the function that hears of interruptions, since the start.
fn looked_up(past: &Past) -> Vec<sandbox::Millis> {
    let calls = past.place.sandbox.world().calls.clone();
    let hides = calls.iter().filter(|call| call.subject == INTERRUPTION_QUEUE);
    let processes: BTreeSet<u32> = hides.map(|call| call.process).collect();
    let asked = calls.iter().filter(|call| call.operation == "ec2:DescribeInstances");
    let asked = asked.filter(|call| processes.contains(&call.process));
    asked.map(|call| call.at - START).collect()
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_starts_is_looked_up_once_for_each_thing_that_is_said_of_it() {
    let past = Flow::interrupted()
        .befalls(0, SECOND, Incident::ScaleOut)
        .befalls(1, SECOND, Incident::ScaleOut)
        .for_at_most(10 * MINUTE)
        .run()
        .await;
    past.no_message_is_left();
    let looked_up = looked_up(&past);
    assert!((1..=4).contains(&looked_up.len()), "pending and running, of two: {looked_up:?}");
}

#[tokio::test(start_paused = true)]
async fn in_a_storm_what_starts_is_looked_up_when_the_first_cordons_are_done() {
    let starts = |world: &mut World, place: &Place| {
        for host in &place.machines {
            EventBridge::state_change(world, &host.instance, State::Running);
        }
    };
    let past = Flow::interrupted()
        .with(|scenario| {
            scenario.hosts = (0..20).map(|_| Host::in_zone("a")).collect();
            scenario.delivery.delay_ms = SECOND..=SECOND;
        })
        .at(SECOND, starts)
        .for_at_most(10 * MINUTE)
        .run()
        .await;
    past.no_message_is_left();
    let looked_up = looked_up(&past);
    assert!(!looked_up.is_empty(), "and forgotten in no storm");
    assert!(looked_up.iter().all(|at| *at >= 30 * SECOND), "{looked_up:?}");
}
