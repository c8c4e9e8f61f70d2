//! PATCH of nodes and pods.

use crate::{MERGE, NODES, STRATEGIC, add_web, call_as, cordon, in_cluster, pass, pod_path, web};
use sandbox::World;
use sandbox::kubernetes::{Kubernetes, NodeSpec, Taint};
use serde_json::{Value, json};

const NODE: &str = "/api/v1/nodes/ip-10-0-1-1";

fn patch(world: &mut World, path: &str, body: &Value) -> (u16, Value) {
    call_as(world, "PATCH", path, (MERGE, body))
}

#[test]
fn a_patch_with_one_taint_deletes_all_others() {
    for media in [MERGE, STRATEGIC] {
        in_cluster(1, |world| {
            let mut spec = NodeSpec::new("ip-10-0-1-9", "i-9", "eu-west-1a");
            spec.taints = vec![
                Taint::new("ToBeDeletedByClusterAutoscaler", "NoSchedule"),
                Taint::new("ebs.csi.aws.com/agent-not-ready", "NoExecute"),
            ];
            Kubernetes::add_node(world, spec);
            let body = json!({"spec": {"taints": [{"key": "ebbtide.dev/departing",
                "effect": "NoSchedule"}]}});
            let (status, node) =
                call_as(world, "PATCH", "/api/v1/nodes/ip-10-0-1-9", (media, &body));
            assert_eq!(status, 200, "{media}");
            assert_eq!(node["spec"]["taints"], body["spec"]["taints"], "{media}");
            assert_eq!(world.violations.len(), 2, "{:?}", world.violations);
            assert!(world.violations.iter().all(|one| one.starts_with("foreign-taint:")));
        });
    }
}

#[test]
fn a_wrong_uid_is_invalid_and_a_stale_version_a_conflict() {
    in_cluster(1, |world| {
        let node = crate::get(world, NODE);
        let version = node["metadata"]["resourceVersion"].clone();
        let body = json!({"metadata": {"uid": "another", "labels": {"a": "b"}}});
        let (status, refusal) = patch(world, NODE, &body);
        assert_eq!((status, &refusal["reason"]), (422, &json!("Invalid")));
        assert_eq!(
            refusal["message"],
            "Node \"ip-10-0-1-1\" is invalid: metadata.uid: Invalid value: \"another\": field is immutable"
        );
        assert_eq!(refusal["details"]["causes"][0]["field"], "metadata.uid");

        let body = json!({"metadata": {"uid": node["metadata"]["uid"], "resourceVersion": version,
            "annotations": {"ebbtide.dev/departure": "{}"}}});
        let (status, patched) = patch(world, NODE, &body);
        assert_eq!(status, 200);
        assert_ne!(patched["metadata"]["resourceVersion"], version);
        let again = json!({"metadata": {"resourceVersion": version,
            "annotations": {"ebbtide.dev/departure": "{1}"}}});
        let (status, refusal) = patch(world, NODE, &again);
        assert_eq!((status, &refusal["reason"]), (409, &json!("Conflict")));
        assert_eq!(
            refusal["message"],
            "Operation cannot be fulfilled on nodes \"ip-10-0-1-1\": the object has been modified; please apply your changes to the latest version and try again"
        );
    });
}

#[test]
fn a_patch_that_changes_nothing_writes_nothing() {
    in_cluster(1, |world| {
        let body = json!({"spec": {"unschedulable": true}});
        let (_, first) = patch(world, NODE, &body);
        pass(world, 1_000);
        let before = world.kubernetes.resource_version();
        let (status, second) = patch(world, NODE, &body);
        assert_eq!(status, 200);
        assert_eq!(world.kubernetes.resource_version(), before);
        assert_ne!(first["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
    });
}

#[test]
fn the_node_controller_ties_a_taint_to_the_cordon() {
    in_cluster(1, |world| {
        cordon(world, NODES[0]);
        assert!(world.kubernetes.node(NODES[0]).is_some_and(|node| node.spec["taints"].is_null()));
        pass(world, 200);
        let node = crate::get(world, NODE);
        assert_eq!(node["spec"]["taints"][0]["key"], "node.kubernetes.io/unschedulable");
        patch(world, NODE, &json!({"spec": {"unschedulable": null}}));
        pass(world, 200);
        let node = crate::get(world, NODE);
        assert_eq!(node["spec"]["taints"], Value::Null);
        assert!(world.violations.is_empty(), "{:?}", world.violations);
    });
}

#[test]
fn an_object_and_its_status_are_patched_apart() {
    in_cluster(1, |world| {
        let body = json!({"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Lost"}});
        let (_, node) = patch(world, NODE, &body);
        assert_eq!(
            (&node["metadata"]["labels"]["a"], &node["status"]["phase"]),
            (&json!("b"), &Value::Null)
        );
        let body = json!({"metadata": {"labels": {"a": "c"}}, "status": {"phase": "Lost"}});
        let (_, node) = patch(world, &format!("{NODE}/status"), &body);
        assert_eq!(
            (&node["metadata"]["labels"]["a"], &node["status"]["phase"]),
            (&json!("b"), &json!("Lost"))
        );
    });
}

#[test]
fn validation_refuses_what_the_real_one_refuses() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(1));
        let image = json!({"spec": {"nodeName": "ip-10-0-1-9"}});
        let taint = json!({"key": "ebbtide.dev/departing", "effect": "NoSchedule"});
        for (path, body) in [
            (NODE.to_owned(), json!({"metadata": {"labels": {"a": "not a label"}}})),
            (NODE.to_owned(), json!({"metadata": {"labels": {"a": "x".repeat(64)}}})),
            (NODE.to_owned(), json!({"metadata": {"annotations": {"a": "x".repeat(262_144)}}})),
            (NODE.to_owned(), json!({"spec": {"taints": [{"key": "a", "effect": "Never"}]}})),
            (NODE.to_owned(), json!({"spec": {"taints": [taint, taint]}})),
            (NODE.to_owned(), json!({"spec": {"providerID": "aws:///eu-west-1a/i-9"}})),
            (pod_path(&pods[0]), image),
        ] {
            let (status, refusal) = patch(world, &path, &body);
            assert_eq!((status, &refusal["reason"]), (422, &json!("Invalid")), "{path}");
        }
        let (status, _) = call_as(world, "PATCH", NODE, ("application/json", &json!({})));
        assert_eq!(status, 415);
        assert_eq!(patch(world, "/api/v1/nodes/none", &json!({})).0, 404);
        assert_eq!(patch(world, "/api/v1/nodes", &json!({})).0, 405);
    });
}

#[test]
fn a_dry_run_patch_shows_and_keeps_nothing() {
    in_cluster(1, |world| {
        let before = world.kubernetes.resource_version();
        let body = json!({"metadata": {"labels": {"a": "b"}}});
        let (status, node) = patch(world, &format!("{NODE}?dryRun=All"), &body);
        assert_eq!((status, &node["metadata"]["labels"]["a"]), (200, &json!("b")));
        assert_eq!(world.kubernetes.resource_version(), before);
    });
}
