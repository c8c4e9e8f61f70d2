//! Scheduled changes: the failing host is left at once, the others in time before they are due, and called off is undone.

use crate::flow::{Flow, HOUR, MINUTE, SECOND};
use crate::past::Past;
use decision::annotation::DEPARTURE;
use sandbox::aws::health::{Change, Entities, Health, Maintenance};
use sandbox::scenario::{Incident, START};
use sandbox::world::Millis;

const DAY: Millis = 24 * HOUR;

/// Host 0 is told of a change in so long.
fn announced(kind: Maintenance, in_ms: Millis) -> Flow {
    let longest = in_ms.min(12 * HOUR);
    Flow::interrupted()
        .befalls(0, SECOND, Incident::Maintenance { kind, in_ms })
        .for_at_most(longest)
}

/// Asserts that nothing of ours is on the node of host 0 any more, and that its targets are in again.
#[track_caller]
fn is_undone(past: &Past) {
    let node = past.node(0).expect("it is there");
    assert_ne!(node.spec["unschedulable"], true, "{}", past.transcript());
    assert!(!node.meta.annotations.contains_key(DEPARTURE), "{:?}", node.meta.annotations);
    assert!(past.is_target(0, 1), "registered again\n{}", past.transcript());
    past.no_message_is_left();
}

/// Asserts that nothing was done to host 0.
#[track_caller]
fn nothing_was_done(past: &Past) {
    assert!(!past.was_cordoned(0), "{}", past.transcript());
    let mut writes = past.writes();
    writes.retain(|call| !call.operation.contains("events"));
    assert!(writes.is_empty(), "{writes:#?}");
}

#[track_caller]
fn announcements(past: &Past) -> usize {
    past.calls("POST events").len()
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_retired_is_left_at_once() {
    for kind in [Maintenance::Retirement, Maintenance::PersistentRetirement] {
        let past = announced(kind, 14 * DAY).run().await;
        let cordoned_at = past.cordoned_at(0);
        assert!(cordoned_at < 4 * SECOND, "{kind:?} {cordoned_at}");
        past.all_pods_were_removed(0);
        let last = past.removals(0).iter().map(|removal| removal.at).max().unwrap();
        assert!(last < START + 20 * MINUTE, "{kind:?}\n{}", past.transcript());
        assert!(!past.is_target(0, 0) && !past.is_target(0, 1), "{kind:?}\n{}", past.transcript());
        past.nothing_was_dropped();
        past.no_message_is_left();
    }
}

#[tokio::test(start_paused = true)]
async fn a_reboot_in_two_weeks_is_announced_once_and_its_message_is_not_kept() {
    let past = announced(Maintenance::InstanceReboot, 14 * DAY).run().await;
    past.no_message_is_left();
    nothing_was_done(&past);
    assert_eq!(announcements(&past), 1, "{}", past.transcript());
}

#[tokio::test(start_paused = true)]
async fn a_reboot_in_three_hours_drains_the_node_an_hour_before() {
    for kind in [
        Maintenance::InstanceReboot,
        Maintenance::SystemReboot,
        Maintenance::SystemMaintenance,
        Maintenance::Stop,
    ] {
        let past = announced(kind, 3 * HOUR).run().await;
        let cordoned_at = past.cordoned_at(0);
        let lead = 2 * HOUR..2 * HOUR + MINUTE;
        assert!(lead.contains(&cordoned_at), "{kind:?} {cordoned_at}\n{}", past.transcript());
        past.all_pods_were_removed(0);
        let last = past.removals(0).iter().map(|removal| removal.at).max().unwrap();
        assert!(last < START + 3 * HOUR - 30 * MINUTE, "{kind:?}");
        past.nothing_was_dropped();
        past.no_message_is_left();
    }
}

#[tokio::test(start_paused = true)]
async fn the_lead_is_a_setting() {
    let past = announced(Maintenance::InstanceReboot, 3 * HOUR)
        .setting("MAINTENANCE_LEAD", "20m")
        .run()
        .await;
    let cordoned_at = past.cordoned_at(0);
    let lead = 3 * HOUR - 20 * MINUTE..3 * HOUR - 19 * MINUTE;
    assert!(lead.contains(&cordoned_at), "{cordoned_at}");
}

#[tokio::test(start_paused = true)]
async fn what_is_called_off_before_its_time_is_never_begun() {
    let past = announced(Maintenance::InstanceReboot, 3 * HOUR)
        .befalls(0, HOUR, Incident::MaintenanceCancelled)
        .for_at_most(6 * HOUR)
        .run()
        .await;
    nothing_was_done(&past);
    past.no_message_is_left();
}

#[tokio::test(start_paused = true)]
async fn what_is_called_off_after_the_drain_is_undone() {
    let past = announced(Maintenance::InstanceReboot, 3 * HOUR)
        .befalls(0, 2 * HOUR + 30 * MINUTE, Incident::MaintenanceCancelled)
        .for_at_most(6 * HOUR)
        .run()
        .await;
    past.all_pods_were_removed(0);
    is_undone(&past);
    past.nothing_was_dropped();
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_because_another_change_stood_ends_with_that_one() {
    // The message of the stop outlives its end, and EC2 shows then that something is scheduled: the reboot.
    let (kind, in_ms) = (Maintenance::SystemReboot, 3 * HOUR);
    let past = announced(Maintenance::Stop, 3 * HOUR)
        .befalls(0, MINUTE, Incident::MaintenanceCancelled)
        .befalls(0, 2 * MINUTE, Incident::Maintenance { kind, in_ms })
        .befalls(0, 2 * HOUR + 30 * MINUTE, Incident::MaintenanceCancelled)
        .for_at_most(6 * HOUR)
        .run()
        .await;
    let cordoned_at = past.cordoned_at(0);
    let lead = 2 * HOUR..2 * HOUR + MINUTE;
    assert!(lead.contains(&cordoned_at), "for the stop: {cordoned_at}\n{}", past.transcript());
    is_undone(&past);
}

#[tokio::test(start_paused = true)]
async fn what_a_life_before_left_goes_with_a_change_that_is_called_off() {
    // By policy nobody hears of the start. When the change is over, the warning that came before the start is, too.
    let past = announced(Maintenance::Retirement, 3 * HOUR)
        .setting("STATE_CHANGE", "ignore")
        .group(|group| group.suspended = true)
        .befalls(0, 10 * MINUTE, Incident::SpotHibernate)
        .befalls(0, 20 * MINUTE, Incident::Start)
        .befalls(0, 30 * MINUTE, Incident::MaintenanceCancelled)
        .for_at_most(6 * HOUR)
        .run()
        .await;
    past.all_pods_were_removed(0);
    is_undone(&past);
}

#[tokio::test(start_paused = true)]
async fn what_ec2_shows_as_scheduled_no_more_is_not_acted_on() {
    let past = announced(Maintenance::InstanceReboot, 3 * HOUR)
        // Called off, and the event that says so is lost with its Region.
        .at(HOUR, |world, place| {
            let instance = world.aws.ec2.instances.get_mut(&place.machines[0].instance).unwrap();
            instance.scheduled.clear();
        })
        .for_at_most(3 * HOUR - MINUTE)
        .run()
        .await;
    nothing_was_done(&past);
    past.no_message_is_left();
}

#[tokio::test(start_paused = true)]
async fn pages_copies_and_repetitions_of_one_change_are_one_departure_each() {
    let past = Flow::interrupted()
        .with(|scenario| scenario.delivery.duplicate = 1_000)
        .at(SECOND, |world, place| {
            let instances: Vec<String> =
                place.machines[..3].iter().map(|machine| machine.instance.clone()).collect();
            let change = Change {
                instances,
                entities: Entities::Arn,
                pages: 3,
                backup: Some("us-west-2".to_owned()),
                ..Change::new(Maintenance::PersistentRetirement, "", world.now + 14 * DAY)
            };
            Health::schedule(world, change);
        })
        .for_at_most(2 * HOUR)
        .run()
        .await;
    for host in 0..3 {
        assert!(past.was_cordoned(host), "{host}\n{}", past.transcript());
        past.all_pods_were_removed(host);
        let begun = past.calls("POST events");
        let node = &past.machine(host).node;
        let story = past
            .world()
            .story
            .iter()
            .filter(|(_, told)| *told == format!("{node} cordoned"))
            .count();
        assert_eq!(story, 1, "{host} {begun:?}");
    }
    assert!(!past.was_cordoned(3));
    past.no_pod_left_twice();
    past.no_message_is_left();
}
