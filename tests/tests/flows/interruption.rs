//! Interruptions that leave time: cordoned at once, out of the load balancers, drained, and nobody drops a request.

use crate::flow::{DELIVERY, Flow, HOUR, MINUTE, SECOND};
use crate::past::Past;
use sandbox::aws::events::BlockTitle;
use sandbox::kubernetes::{Budget, How, Manners, Workload, WorkloadKind};
use sandbox::scenario::Incident;
use sandbox::traffic::Entry;
use sandbox::world::Millis;

const SPOT: &str = "EC2 Spot Instance Interruption Warning";
const RESERVATION: &str = "EC2 Capacity Reservation Instance Interruption Warning";

/// The kinds that leave time, with the event that comes first; `None` where that does not name the instance.
fn kinds() -> Vec<(Incident, Option<&'static str>)> {
    vec![
        (Incident::Spot, Some(SPOT)),
        (Incident::SpotStop, Some(SPOT)),
        (Incident::Reservation, Some(RESERVATION)),
        (Incident::Block, Some(RESERVATION)),
        (Incident::BlockExpires(BlockTitle::Block), None),
        (Incident::BlockExpires(BlockTitle::Reservation), None),
        (
            Incident::RebalanceThenSpot { after_ms: 5 * MINUTE },
            Some("EC2 Instance Rebalance Recommendation"),
        ),
    ]
}

/// Asserts that the host was cordoned as soon as its event arrived, and left empty by eviction before it died.
#[track_caller]
fn left_in_time(past: &Past, title: Option<&str>) {
    let sent_at = title.map_or(SECOND, |title| past.sent_at(0, title));
    let after = past.cordoned_at(0) - sent_at - DELIVERY;
    assert!(after <= 1_500, "cordoned {after} ms after the event's arrival\n{}", past.transcript());
    past.all_pods_were_removed(0);
    past.no_pod_left_twice();
    let (removals, died_at) = (past.removals(0), past.died_at(0));
    assert!(removals.iter().all(|removal| removal.how == How::Evicted), "{removals:#?}");
    let last = past.last_request_through(0);
    assert!(last < died_at - SECOND, "{last} {died_at}\n{}", past.transcript());
    past.nothing_was_dropped();
    past.no_message_is_left();
}

async fn whatever_leaves_time(entry: Entry) {
    for (kind, title) in kinds() {
        let past = Flow::interrupted()
            .with(|scenario| scenario.fronts.iter_mut().for_each(|front| front.entry = entry))
            .befalls(0, SECOND, kind)
            .for_at_most(2 * HOUR)
            .run()
            .await;
        left_in_time(&past, title);
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_leaves_time_costs_no_request_behind_cluster() {
    whatever_leaves_time(Entry::Cluster).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_leaves_time_costs_no_request_behind_local() {
    whatever_leaves_time(Entry::Local).await;
}

/// A host with one pod that never may be evicted and takes this grace to end, and what befalls it. How the pod left,
/// and how long before the host died.
async fn blocked(kind: Incident, grace_seconds: i64) -> (How, Millis) {
    let past = Flow::without_fronts()
        .with_interruptions()
        .with(|scenario| {
            scenario.hosts.truncate(1);
            let manners = Manners::StopsAtOnce { exit_ms: 1_000 };
            let pdb = Some(Budget::max_unavailable(0));
            let lone = Workload::new(WorkloadKind::Deployment, "default", "lone", 1);
            scenario.workloads = vec![Workload { manners, pdb, grace_seconds, ..lone }];
        })
        .befalls(0, SECOND, kind)
        .for_at_most(HOUR)
        .run()
        .await;
    past.all_pods_were_removed(0);
    past.no_message_is_left();
    let removals = past.removals(0);
    (removals[0].how, past.died_at(0) - (removals[0].at - sandbox::scenario::START))
}

#[tokio::test(start_paused = true)]
async fn what_a_budget_holds_is_deleted_near_the_end_with_what_is_left_of_its_grace() {
    for kind in [Incident::Spot, Incident::SpotStop, Incident::Reservation, Incident::Block] {
        let (how, before) = blocked(kind.clone(), 30).await;
        assert!(matches!(how, How::Deleted(28..=30)), "{kind:?} {how:?}");
        assert!((40 * SECOND..60 * SECOND).contains(&before), "{kind:?} {before}");
        // More than there is: at once, and clamped, so that it has all the time that there is.
        let (how, before) = blocked(kind.clone(), 600).await;
        let How::Deleted(grace) = how else { panic!("{kind:?} {how:?}") };
        assert!((95..=106).contains(&grace), "{kind:?} {grace}");
        assert!(before > 110 * SECOND, "{kind:?} {before}");
    }
}
