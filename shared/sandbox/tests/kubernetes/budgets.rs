//! What the budget controller counts.

use crate::{add_web, get, in_cluster, pass, web};
use sandbox::World;
use sandbox::kubernetes::{Amount, Budget, Kubernetes, Limit, UnhealthyPods, Workload};
use sandbox::kubernetes::{WorkloadKind, scenario::Probe};
use serde_json::{Value, json};

const PATH: &str = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/web";

fn status(world: &mut World) -> [i64; 4] {
    let budget = get(world, PATH);
    ["currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed"]
        .map(|field| budget["status"][field].as_i64().expect(field))
}

#[test]
fn numbers_and_percentages_are_counted_as_the_real_controller_counts_them() {
    use Amount::{Count, Percent};
    use Limit::{MaxUnavailable, MinAvailable};
    for (limit, replicas, expected) in [
        (MinAvailable(Count(2)), 3, [3, 2, 3, 1]),
        (MinAvailable(Count(3)), 3, [3, 3, 3, 0]),
        (MinAvailable(Percent(50)), 3, [3, 2, 3, 1]),
        (MinAvailable(Percent(100)), 3, [3, 3, 3, 0]),
        (MaxUnavailable(Count(1)), 3, [3, 2, 3, 1]),
        (MaxUnavailable(Count(5)), 3, [3, 0, 3, 3]),
        (MaxUnavailable(Percent(10)), 3, [3, 2, 3, 1]),
        (MaxUnavailable(Percent(30)), 10, [10, 7, 10, 3]),
    ] {
        in_cluster(1, |world| {
            let mut work = web(replicas);
            work.pdb = Some(Budget { limit, unhealthy: UnhealthyPods::default() });
            add_web(world, work);
            assert_eq!(status(world), expected, "{limit:?} of {replicas}");
        });
    }
}

#[test]
fn the_controller_follows_with_a_lag() {
    in_cluster(1, |world| {
        let mut work = web(3);
        work.pdb = Some(Budget::max_unavailable(1));
        let pods = add_web(world, work);
        Kubernetes::set_ready(world, "shop", &pods[0], Probe::Fails);
        pass(world, 49);
        assert_eq!(status(world), [3, 2, 3, 1]);
        pass(world, 2);
        assert_eq!(status(world), [2, 2, 3, 0]);
        let budget = get(world, PATH);
        let condition = &budget["status"]["conditions"][0];
        assert_eq!(
            (&condition["type"], &condition["status"], &condition["reason"]),
            (&json!("DisruptionAllowed"), &json!("False"), &json!("InsufficientPods"))
        );
    });
}

#[test]
fn pods_without_an_owner_have_no_scale() {
    in_cluster(1, |world| {
        let mut work = Workload::new(WorkloadKind::Bare, "shop", "web", 2);
        work.pdb = Some(Budget::max_unavailable(1));
        Kubernetes::add_workload(world, work);
        assert_eq!(status(world), [2, 0, 0, 0]);
    });
}

#[test]
fn a_pod_that_steps_aside_opens_a_budget_of_nothing() {
    in_cluster(1, |world| {
        let mut work = web(1);
        work.pdb = Some(Budget::max_unavailable(0));
        let pods = add_web(world, work);
        assert_eq!(crate::evict(world, &pods[0], &json!({})).0, 429);
        let body = json!({"metadata": {"labels": {"pod-template-hash": null},
            "annotations": {"ebbtide.dev/labels": "{}"}}});
        let (code, pod) =
            crate::call_as(world, "PATCH", &crate::pod_path(&pods[0]), (crate::STRATEGIC, &body));
        assert_eq!(code, 200);
        assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "ReplicaSet");
        pass(world, 5_000);
        let pod = get(world, &crate::pod_path(&pods[0]));
        assert_eq!(pod["metadata"]["ownerReferences"], Value::Null, "its owner let go of it");
        assert_eq!(status(world), [2, 1, 1, 1]);
        assert_eq!(crate::evict(world, &pods[0], &json!({})).0, 201);
        pass(world, 10_000);
        assert_eq!(status(world), [1, 1, 1, 0]);
        assert!(world.violations.iter().all(|one| one.starts_with("evict-before-cordon")));
    });
}
