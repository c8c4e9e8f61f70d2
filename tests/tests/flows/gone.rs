//! Interruptions that leave no time, and what comes after an end: ghosts go, the taint that frees volumes comes when it is
//! safe, and what came back is put back.

use crate::flow::{DELIVERY, Flow, HOUR, MINUTE, SECOND};
use crate::past::Past;
use crate::sight::{Mark, least};
use decision::annotation::{DEPARTURE, OUT_OF_SERVICE, TAINT};
use sandbox::aws::ec2::State;
use sandbox::scenario::{Incident, Owner, START};
use serde_json::json;

/// The group of this index in the small world that nobody but us looks after.
const NAMED: usize = 1;

/// What befalls host 0 without a warning in time.
const LATE: [Incident; 3] = [Incident::SpotHibernate, Incident::Stop, Incident::Terminate];

/// The small world without the Auto Scaling group's own health checks, so that only we look after what ends.
fn left_alone() -> Flow {
    Flow::interrupted().group(|group| group.suspended = true)
}

async fn late(kind: Incident, mode: &str) -> Past {
    left_alone()
        .setting("MODE", mode)
        .befalls(0, SECOND, kind)
        .for_at_most(HOUR)
        .goes_on_for(5 * MINUTE)
        .run()
        .await
}

#[tokio::test(start_paused = true)]
async fn without_time_the_targets_go_first_and_fewer_requests_are_dropped() {
    for kind in LATE {
        let (with, without) =
            (late(kind.clone(), "act").await, late(kind.clone(), "observe").await);
        let (saved, lost) = (with.world().traffic.dropped(), without.world().traffic.dropped());
        assert!(saved < lost, "{kind:?}: {saved} of {lost}\n{}", with.transcript());
        let out = with.calls("DeregisterTargets");
        let out = out.iter().find(|call| call.subject == with.place.groups[NAMED]);
        let at =
            out.unwrap_or_else(|| panic!("{kind:?}: it left\n{}", with.transcript())).at - START;
        assert!(at < SECOND + DELIVERY + 8 * SECOND, "{kind:?} {at}\n{}", with.transcript());
        assert!(with.was_cordoned(0), "{kind:?}");
        with.no_message_is_left();
        without.no_message_is_left();
    }
}

#[tokio::test(start_paused = true)]
async fn after_its_end_no_ghost_of_an_instance_is_left_in_a_group() {
    for kind in [Incident::Spot, Incident::Stop, Incident::Terminate] {
        let past = late(kind.clone(), "act").await;
        assert!(!past.is_target(0, NAMED) && !past.is_target(0, 0), "{kind:?}");
        past.no_message_is_left();
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_living_target_is_never_taken_out_not_even_as_a_ghost() {
    let past = left_alone()
        .with(|scenario| {
            scenario.hosts.truncate(2);
            scenario.fronts.retain(|front| front.owner == Owner::Script);
        })
        .befalls(0, SECOND, Incident::Spot)
        .befalls(1, SECOND, Incident::Spot)
        .for_at_most(HOUR)
        .run()
        .await;
    let both_end = past.died_at(0).min(past.died_at(1));
    let fewest = least(&past.seen.sight.registered[&past.place.groups[0]], (0, both_end));
    assert!(fewest >= 1, "{}", past.transcript());
    let out = past.calls("DeregisterTargets");
    assert_eq!(out.len(), 1, "{out:#?}");
    let world = past.world();
    assert_eq!(world.aws.elb.groups[&past.place.groups[0]].targets.len(), 1);
    drop(world);
    past.no_message_is_left();
}

/// A host of the small world that Spot stops and that starts again after five minutes, with another's taint on its node.
fn stopped_and_started() -> Flow {
    left_alone()
        .at(0, |world, place| {
            let node = sandbox::kubernetes::object::key("", &place.machines[0].node);
            let changed =
                world.kubernetes.store.update(sandbox::kubernetes::Kind::Node, &node, |node| {
                    let taint =
                        json!({"key": "dedicated", "value": "shop", "effect": "PreferNoSchedule"});
                    node.spec.edit()["taints"] = json!([taint]);
                });
            assert!(changed);
        })
        .befalls(0, SECOND, Incident::SpotStop)
        .befalls(0, 5 * MINUTE, Incident::Start)
        .goes_on_for(10 * MINUTE)
}

/// Asserts that the node of host 0 is as it was before, and serves.
#[track_caller]
fn is_back(past: &Past) {
    let node = past.node(0).expect("it came back");
    assert_ne!(node.spec["unschedulable"], true, "{}", past.transcript());
    let taints = node.spec["taints"].as_array().cloned().unwrap_or_default();
    let keys: Vec<_> = taints.iter().map(|taint| &taint["key"]).collect();
    assert_eq!(keys, ["dedicated"], "{}", past.transcript());
    assert!(!node.meta.annotations.contains_key(DEPARTURE), "{:?}", node.meta.annotations);
    past.no_message_is_left();
}

#[tokio::test(start_paused = true)]
async fn what_spot_stopped_and_what_runs_again_is_put_back_as_it_was() {
    let past = stopped_and_started().run().await;
    assert!(past.marks(0).iter().any(|(_, mark)| mark.taints.iter().any(|key| key == TAINT)));
    is_back(&past);
    assert!(past.is_target(0, NAMED), "registered again\n{}", past.transcript());
    let tainted = |mark: &Mark| mark.taints.iter().any(|key| key == OUT_OF_SERVICE);
    assert!(!past.marks(0).iter().any(|(_, mark)| tainted(mark)), "off by default");
}

#[tokio::test(start_paused = true)]
async fn the_out_of_service_taint_comes_when_it_has_stopped_and_goes_when_it_runs() {
    let past = stopped_and_started().setting("OUT_OF_SERVICE", "on").run().await;
    let marks = past.marks(0);
    let tainted: Vec<_> = marks
        .iter()
        .filter(|(_, mark)| mark.taints.iter().any(|key| key == OUT_OF_SERVICE))
        .collect();
    let (first, mark) = tainted.first().unwrap_or_else(|| panic!("{}", past.transcript()));
    assert_eq!(mark.state, Some(State::Stopped), "at {first}: {marks:#?}");
    is_back(&past);
}

#[tokio::test(start_paused = true)]
async fn no_out_of_service_taint_comes_while_an_instance_shuts_down() {
    for kind in [Incident::Terminate, Incident::Stop, Incident::Spot] {
        let past = left_alone()
            .setting("OUT_OF_SERVICE", "on")
            .befalls(0, SECOND, kind.clone())
            .for_at_most(HOUR)
            .run()
            .await;
        for (at, mark) in past.marks(0) {
            let ended = matches!(mark.state, None | Some(State::Stopped | State::Terminated));
            let tainted = mark.taints.iter().any(|key| key == OUT_OF_SERVICE);
            assert!(ended || !tainted, "{kind:?} at {at}: {mark:?}");
        }
        past.no_message_is_left();
    }
}
