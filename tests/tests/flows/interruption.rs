//! Interruptions: whatever takes the instance away, what can still be saved is saved, and nobody drops a request while
//! there is time.

use crate::flow::{Flow, HOUR, MINUTE};
use crate::past::Past;
use sandbox::aws::events::BlockTitle;
use sandbox::fault::{Fault, Scope};
use sandbox::scenario::{Incident, START};
use sandbox::traffic::Entry;

/// Asserts that the host was cordoned within seconds, left empty, and that nothing was dropped or is left.
#[track_caller]
fn left_in_time(past: &Past, host: usize) {
    assert!(past.was_cordoned(host), "{}", past.transcript());
    past.all_pods_were_removed(host);
    let (dropped, reports) = {
        let world = past.world();
        (world.traffic.dropped(), world.traffic.reports())
    };
    assert_eq!(dropped, 0, "{reports:#?}\n{}", past.transcript());
}

#[tokio::test(start_paused = true)]
async fn whatever_gives_two_minutes_costs_no_request() {
    let kinds = [
        Incident::Spot,
        Incident::SpotStop,
        Incident::Reservation,
        Incident::Block,
        Incident::BlockExpires(BlockTitle::Block),
        Incident::RebalanceThenSpot { after_ms: 5 * MINUTE },
    ];
    for kind in kinds {
        for entry in [Entry::Cluster, Entry::Local] {
            let past = Flow::interrupted()
                .with(|scenario| scenario.fronts.iter_mut().for_each(|front| front.entry = entry))
                .befalls(0, 0, kind.clone())
                .for_at_most(2 * HOUR)
                .run()
                .await;
            eprintln!("{kind:?} {entry:?}");
            left_in_time(&past, 0);
            past.no_message_is_left();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_api_server_away_for_the_whole_notice_the_target_leaves_in_time() {
    let past = Flow::interrupted()
        .with(|scenario| scenario.fronts.truncate(2))
        .befalls(0, 0, Incident::Spot)
        .outage(Scope::Kubernetes, (0, 3 * MINUTE), Fault::ResetBefore)
        .run()
        .await;
    let instance = past.machine(0).instance.clone();
    let world = past.world();
    let last = world.traffic.last_request_through(&instance).expect("it served");
    assert!(last < START + 2 * MINUTE, "{last}");
}
