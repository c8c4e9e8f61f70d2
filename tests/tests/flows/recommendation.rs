//! Rebalance recommendations: most lead to nothing, so they cost no capacity, and are taken back.

use crate::flow::{Flow, HOUR, MINUTE, SECOND};
use crate::past::Past;
use decision::annotation::DEPARTURE;
use sandbox::scenario::{Incident, START};

/// Host 0 is recommended for replacement, in a group that makes nothing of it.
fn recommended() -> Flow {
    Flow::interrupted().befalls(0, SECOND, Incident::Rebalance).for_at_most(3 * HOUR)
}

/// Asserts that nothing of ours is on the node of host 0 any more.
#[track_caller]
fn is_undone(past: &Past) {
    let node = past.node(0).expect("it is there");
    assert_ne!(node.spec["unschedulable"], true, "{}", past.transcript());
    let taints = node.spec["taints"].as_array().cloned().unwrap_or_default();
    assert!(taints.is_empty(), "{taints:?}");
    assert!(!node.meta.annotations.contains_key(DEPARTURE), "{:?}", node.meta.annotations);
    past.no_message_is_left();
}

/// Asserts that no load balancer was even asked.
#[track_caller]
fn no_balancer_was_asked(past: &Past) {
    let asked = past.calls("elasticloadbalancing");
    assert!(asked.is_empty(), "{asked:#?}");
    assert!(!past.calls("DescribeInstances").is_empty(), "calls are told by service and name");
}

#[tokio::test(start_paused = true)]
async fn a_recommendation_only_cordons_and_is_undone_after_its_time() {
    let past = recommended().run().await;
    let cordoned_at = past.cordoned_at(0);
    assert!(cordoned_at < 3 * SECOND, "{cordoned_at}");
    assert!(past.removals(0).is_empty(), "{:?}", past.removals(0));
    no_balancer_was_asked(&past);
    let back = past.marks(0).iter().find(|(at, mark)| *at > cordoned_at && !mark.cordoned);
    let (back_at, _) = back.expect("it was taken back");
    assert!((HOUR..HOUR + MINUTE).contains(back_at), "{back_at}");
    is_undone(&past);
    past.nothing_was_dropped();
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_recommendation_is_a_setting() {
    let past = recommended().setting("REBALANCE_HOLD", "10m").run().await;
    let back = past.marks(0).iter().rfind(|(_, mark)| !mark.cordoned).expect("it was taken back");
    assert!((10 * MINUTE..11 * MINUTE).contains(&back.0), "{back:?}");
    is_undone(&past);
}

#[tokio::test(start_paused = true)]
async fn a_warning_that_follows_keeps_the_cordon_past_the_recommendations_time() {
    let past = Flow::interrupted()
        .setting("REBALANCE_HOLD", "10m")
        .befalls(0, SECOND, Incident::RebalanceThenSpot { after_ms: 9 * MINUTE + 20 * SECOND })
        .for_at_most(HOUR)
        .run()
        .await;
    let (cordoned_at, died_at) = (past.cordoned_at(0), past.died_at(0));
    assert!(died_at > 11 * MINUTE, "{died_at}");
    let mut open = past.marks(0).iter().filter(|(at, mark)| *at > cordoned_at && !mark.cordoned);
    let early = open.find(|(at, _)| *at < died_at);
    assert_eq!(early, None, "{}", past.transcript());
    past.all_pods_were_removed(0);
    past.no_pod_left_twice();
    past.nothing_was_dropped();
    past.no_message_is_left();
}

#[tokio::test(start_paused = true)]
async fn by_policy_a_recommendation_is_ignored() {
    let past = recommended().setting("REBALANCE", "ignore").run().await;
    let writes = past.writes();
    assert!(writes.is_empty(), "{writes:#?}");
    past.no_message_is_left();
}

#[tokio::test(start_paused = true)]
async fn by_policy_a_recommendation_drains_the_pods_and_still_asks_no_balancer() {
    let past = recommended().setting("REBALANCE", "drain").run().await;
    past.all_pods_were_removed(0);
    let last = past.removals(0).iter().map(|removal| removal.at).max().unwrap();
    assert!(last < START + 10 * MINUTE, "{}", past.transcript());
    let out = past.calls("DeregisterTargets");
    assert!(out.is_empty(), "{out:#?}");
    past.nothing_was_dropped();
    is_undone(&past);
}
