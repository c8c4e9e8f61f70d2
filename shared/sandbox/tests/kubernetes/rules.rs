//! The rules of the world are noticed, and only when they are broken.

use crate::{MERGE, add_web, call, call_as, cordon, evict, in_cluster, node_of, pass, web};
use sandbox::World;
use sandbox::kubernetes::node::Cordon;
use sandbox::kubernetes::{Budget, How, Kubernetes, NodeSpec, OtherParty};
use serde_json::{Value, json};

const NODE: &str = "/api/v1/nodes/ip-10-0-1-1";

fn slugs(world: &World) -> Vec<&str> {
    world.violations.iter().filter_map(|one| one.split(':').next()).collect()
}

#[test]
fn a_pod_is_removed_only_from_a_cordoned_node() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(2));
        evict(world, &pods[0], &json!({}));
        assert_eq!(slugs(world), ["evict-before-cordon"]);
        cordon(world, &node_of(world, &pods[1]));
        let path = crate::pod_path(&pods[1]);
        call(world, "DELETE", &path, &json!({"gracePeriodSeconds": 3}));
        assert_eq!(slugs(world), ["evict-before-cordon"]);
        let hows: Vec<How> = world.kubernetes.removals.iter().map(|one| one.how).collect();
        assert_eq!(hows, [How::Evicted, How::Deleted(3)]);
        assert_eq!(world.kubernetes.removals[0].process, 7);
    });
}

#[test]
fn grace_zero_is_never_right() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(1));
        cordon(world, &node_of(world, &pods[0]));
        call(world, "DELETE", &crate::pod_path(&pods[0]), &json!({"gracePeriodSeconds": 0}));
        assert_eq!(slugs(world), ["grace-zero"]);
    });
}

#[test]
fn a_deletion_past_a_budget_is_kept_for_the_test_to_judge() {
    in_cluster(1, |world| {
        let mut work = web(3);
        work.pdb = Some(Budget::min_available(2));
        let pods = add_web(world, work);
        for node in crate::NODES {
            cordon(world, node);
        }
        for pod in pods.iter().take(2) {
            call(world, "DELETE", &crate::pod_path(pod), &json!({"gracePeriodSeconds": 5}));
        }
        let breaks = &world.kubernetes.budget_breaks;
        assert_eq!(breaks.len(), 1, "the first had one to give");
        assert_eq!((breaks[0].grace, breaks[0].pod.clone()), (5, format!("shop/{}", pods[1])));
        assert!(slugs(world).is_empty());
    });
}

#[test]
fn keys_of_others_are_theirs() {
    in_cluster(1, |world| {
        let mut spec = NodeSpec::new("ip-10-0-1-1", "i-1", "eu-west-1a");
        spec.labels.insert("team".to_owned(), "a".to_owned());
        Kubernetes::add_node(world, spec);
        let exclude = "node.kubernetes.io/exclude-from-external-load-balancers";
        let fine = json!({"metadata": {"labels": {exclude: "true", "ebbtide.dev/x": "1"},
            "annotations": {"ebbtide.dev/departure": "{}"}}});
        call_as(world, "PATCH", NODE, (MERGE, &fine));
        let undone = json!({"metadata": {"labels": {exclude: null, "ebbtide.dev/x": null},
            "annotations": {"ebbtide.dev/departure": null}}});
        call_as(world, "PATCH", NODE, (MERGE, &undone));
        assert!(slugs(world).is_empty(), "{:?}", world.violations);
        call_as(world, "PATCH", NODE, (MERGE, &json!({"metadata": {"labels": {"team": "b"}}})));
        assert_eq!(slugs(world), ["foreign-label"]);
        Kubernetes::exclude(world, "ip-10-0-1-1");
        call_as(world, "PATCH", NODE, (MERGE, &undone));
        assert_eq!(slugs(world), ["foreign-label", "foreign-exclusion"]);
    });
}

#[test]
fn a_cordon_of_somebody_else_stays() {
    in_cluster(1, |world| {
        let off = json!({"spec": {"unschedulable": false}});
        cordon(world, "ip-10-0-1-1");
        call_as(world, "PATCH", NODE, (MERGE, &off));
        assert!(slugs(world).is_empty());
        Kubernetes::cordon(world, "ip-10-0-1-1", Cordon::On);
        cordon(world, "ip-10-0-1-1");
        call_as(world, "PATCH", NODE, (MERGE, &off));
        assert_eq!(slugs(world), ["foreign-cordon"]);
    });
}

#[test]
fn a_pod_loses_labels_only_with_a_note_of_which() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(2));
        let bare = json!({"metadata": {"labels": {"pod-template-hash": null}}});
        call_as(world, "PATCH", &crate::pod_path(&pods[0]), (MERGE, &bare));
        assert_eq!(slugs(world), ["foreign-label"]);
        let noted = json!({"metadata": {"labels": {"pod-template-hash": null},
            "annotations": {"ebbtide.dev/labels": "{}"}}});
        call_as(world, "PATCH", &crate::pod_path(&pods[1]), (MERGE, &noted));
        assert_eq!(slugs(world), ["foreign-label"]);
    });
}

#[test]
fn another_controller_moves_versions_now_and_then() {
    in_cluster(1, |world| {
        let before = world.kubernetes.resource_version();
        let every_ms = (500, 1_000);
        Kubernetes::set_other_party(
            world,
            OtherParty { every_ms, key: "example.com/busy".to_owned() },
        );
        pass(world, 10_000);
        let writes = world.kubernetes.resource_version() - before;
        assert!((10..=20).contains(&writes), "{writes}");
        assert!(slugs(world).is_empty());
        let nodes = crate::get(world, "/api/v1/nodes");
        assert_ne!(nodes["items"], Value::Null);
    });
}
