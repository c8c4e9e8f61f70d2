//! Pods whose grace does not fit into what is left: each is told by its own name, with what it is given.

use crate::flow::{Flow, HOUR, SECOND};
use crate::past::Past;
use crate::strange::given_by_hand;
use sandbox::kubernetes::{Budget, How, Manners, Workload, WorkloadKind};
use sandbox::scenario::{Incident, START};
use sandbox::world::Millis;
use serde_json::Value;

const REPLICAS: u32 = 3;

/// One host with three pods of one Deployment, of which one may be evicted at a time. Each asks for this grace, and
/// uses all of it.
fn slow(grace_seconds: i64) -> Flow {
    Flow::without_fronts()
        .with_interruptions()
        .with(|scenario| {
            scenario.hosts.truncate(1);
            let slow = Workload::new(WorkloadKind::Deployment, "default", "slow", REPLICAS);
            let pdb = Some(Budget::max_unavailable(1));
            let manners = Manners::Ignores;
            scenario.workloads = vec![Workload { grace_seconds, pdb, manners, ..slow }];
        })
        .befalls(0, SECOND, Incident::Spot)
}

/// The verdicts on the pods that are left, by pod, as the report tells them so long after the start.
async fn verdicts(flow: Flow, at: Millis) -> (Past, Vec<(String, String)>) {
    let past = flow.for_at_most(at).run().await;
    let report = given_by_hand(&past, "EC2 Spot Instance Interruption Warning").await;
    let remaining = report["reports"][0]["remaining"].as_array().cloned().unwrap_or_default();
    let text = |pod: &Value, key: &str| pod[key].as_str().unwrap().to_owned();
    let told = remaining.iter().map(|pod| (text(pod, "pod"), text(pod, "verdict"))).collect();
    (past, told)
}

#[tokio::test(start_paused = true)]
async fn each_pod_is_told_with_what_is_left_of_its_grace() {
    let (past, told) = verdicts(slow(600).setting("MODE", "observe"), 20 * SECOND).await;
    let mut pods: Vec<&String> = told.iter().map(|(pod, _)| pod).collect();
    pods.sort();
    let mut expected: Vec<&String> = past.pods_at_start(0).iter().collect();
    expected.sort();
    assert_eq!(pods, expected);
    for (pod, verdict) in &told {
        // 120 s less the margins, less what has gone by: not the ten minutes that it asks for.
        assert!(
            verdict.contains("grace 1 min 26 s") || verdict.contains("grace 1 min 25 s"),
            "{pod} {verdict}"
        );
        assert!(verdict.contains("deadline"), "{pod} {verdict}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_was_evicted_and_those_that_a_budget_holds_are_told_apart() {
    let (_, told) = verdicts(slow(60), 20 * SECOND).await;
    let ending = told.iter().filter(|(_, verdict)| verdict.contains("terminating")).count();
    let held = told.iter().filter(|(_, verdict)| verdict.contains("PDB")).count();
    assert_eq!((ending, held), (1, 2), "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_clamped_pod_by_pod_and_never_to_nothing() {
    let past = slow(60).for_at_most(HOUR).run().await;
    past.all_pods_were_removed(0);
    past.no_pod_left_twice();
    let removals = past.removals(0);
    let evicted: Vec<_> = removals.iter().filter(|it| it.how == How::Evicted).collect();
    assert_eq!(evicted.len(), 1, "{removals:#?}");
    for removal in removals.iter().filter(|it| it.how != How::Evicted) {
        let How::Deleted(grace) = removal.how else { unreachable!() };
        assert!((55..=60).contains(&grace), "{removals:#?}");
        assert!(removal.at > START + 40 * SECOND, "only near the end: {removals:#?}");
    }
    past.no_message_is_left();
}
