//! Volumes hold pods up, and a node that is out of service too early corrupts them.

use crate::{call_as, cordon, evict, in_cluster, node_of, pass, uid};
use sandbox::World;
use sandbox::kubernetes::{Kubernetes, Stop, Workload, WorkloadKind};
use serde_json::{Value, json};

fn add_db(world: &mut World) -> String {
    let mut work = Workload::new(WorkloadKind::StatefulSet, "shop", "db", 1);
    work.volume = Some("gp3".to_owned());
    Kubernetes::add_workload(world, work);
    node_of(world, "db-0")
}

fn attached_to(world: &mut World) -> Vec<Value> {
    let list = crate::get(world, "/apis/storage.k8s.io/v1/volumeattachments");
    let items = list["items"].as_array().expect("a list");
    items.iter().map(|one| one["spec"]["nodeName"].clone()).collect()
}

fn out_of_service(world: &mut World, node: &str) {
    let path = format!("/api/v1/nodes/{node}");
    let mut taints =
        crate::get(world, &path)["spec"]["taints"].as_array().cloned().unwrap_or_default();
    taints.push(json!({"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown",
        "effect": "NoExecute"}));
    let body = json!({"spec": {"taints": taints}});
    assert_eq!(call_as(world, "PATCH", &path, (crate::STRATEGIC, &body)).0, 200);
}

#[test]
fn a_volume_follows_its_pod_only_after_it_was_detached() {
    in_cluster(1, |world| {
        let old = add_db(world);
        assert_eq!(attached_to(world), [json!(old)]);
        cordon(world, &old);
        evict(world, "db-0", &json!({}));
        // 5 s until the containers are gone; the volume takes 3 s more.
        pass(world, 7_500);
        assert_eq!(attached_to(world), [json!(old)]);
        let pod = crate::get(world, &crate::pod_path("db-0"));
        assert_eq!(pod["status"]["phase"], "Pending", "the new pod waits for it");
        pass(world, 10_000);
        let new = node_of(world, "db-0");
        assert_ne!(old, new);
        assert_eq!(attached_to(world), [json!(new)]);
        assert!(world.kubernetes.pod_serving(&uid(world, "db-0")));
        let claim = crate::get(world, "/api/v1/namespaces/shop/persistentvolumeclaims/data-db-0");
        assert!(claim["spec"]["volumeName"].is_string());
    });
}

#[test]
fn the_volume_of_a_lost_node_stays_until_it_is_out_of_service() {
    in_cluster(1, |world| {
        let old = add_db(world);
        let instance = format!("i-{}", old.rsplit('-').next().expect("a number"));
        Kubernetes::instance_stopped(world, &instance, Stop::Stopped);
        pass(world, 45_000);
        evict(world, "db-0", &json!({}));
        pass(world, 120_000);
        assert_eq!(attached_to(world), [json!(old)]);
        out_of_service(world, &old);
        pass(world, 10_000);
        let new = node_of(world, "db-0");
        assert_ne!(old, new);
        assert_eq!(attached_to(world), [json!(new)]);
        assert!(!world.violations.iter().any(|one| one.starts_with("out-of-service")));
    });
}

#[test]
fn out_of_service_while_the_host_is_up_breaks_a_rule() {
    in_cluster(1, |world| {
        let old = add_db(world);
        Kubernetes::lose_kubelet(world, &old);
        pass(world, 45_000);
        out_of_service(world, &old);
        pass(world, 1_000);
        assert!(world.violations.iter().any(|one| one.starts_with("out-of-service-too-early:")));
    });
}
