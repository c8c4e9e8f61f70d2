//! Nodes that come: a new instance, a reboot, a stop and a start.

use crate::{add_web, in_cluster, node_of, pass, ready_pods, uid, web};
use sandbox::World;
use sandbox::kubernetes::{InstanceBirth, Kubernetes, Stop, Taint, Workload, WorkloadKind};
use serde_json::{Value, json};

fn birth(number: u32, boot: u32) -> InstanceBirth {
    InstanceBirth {
        instance: format!("i-{number}"),
        private_dns: format!("ip-10-0-1-{number}"),
        zone: "eu-west-1a".to_owned(),
        boot,
    }
}

fn boot_id(world: &mut World, node: &str) -> Value {
    crate::get(world, &format!("/api/v1/nodes/{node}"))["status"]["nodeInfo"]["bootID"].clone()
}

#[test]
fn a_new_instance_registers_turns_ready_and_gets_its_daemons() {
    in_cluster(1, |world| {
        let agent = Workload::new(WorkloadKind::DaemonSet, "shop", "agent", 0);
        Kubernetes::add_workload(world, agent);
        world.kubernetes.template.startup_taints =
            vec![(Taint::new("ebs.csi.aws.com/agent-not-ready", "NoExecute"), 15_000)];
        Kubernetes::instance_started(world, &birth(4, 1));
        pass(world, 19_000);
        assert_eq!(world.kubernetes.node_of_instance("i-4"), None);
        pass(world, 2_000);
        assert_eq!(world.kubernetes.node_of_instance("i-4"), Some("ip-10-0-1-4"));
        let node = crate::get(world, "/api/v1/nodes/ip-10-0-1-4");
        let keys: Vec<_> = node["spec"]["taints"]
            .as_array()
            .expect("taints")
            .iter()
            .map(|taint| taint["key"].as_str().expect("a key"))
            .collect();
        assert_eq!(keys, ["ebs.csi.aws.com/agent-not-ready", "node.kubernetes.io/not-ready"]);
        let ready = |world: &World| {
            let node = world.kubernetes.node("ip-10-0-1-4");
            node.is_some_and(|node| node.condition_is("Ready", "True"))
        };
        assert!(!ready(world));
        pass(world, 8_000);
        assert!(ready(world));
        assert_eq!(world.kubernetes.pods_on("ip-10-0-1-4").count(), 0, "a startup taint is left");
        pass(world, 20_000);
        let pods: Vec<_> = world.kubernetes.pods_on("ip-10-0-1-4").collect();
        assert_eq!(pods.len(), 1);
        assert!(pods[0].condition_is("Ready", "True"));
    });
}

#[test]
fn an_instance_that_dies_early_never_registers() {
    in_cluster(1, |world| {
        Kubernetes::instance_started(world, &birth(4, 1));
        pass(world, 10_000);
        Kubernetes::instance_stopped(world, "i-4", Stop::Terminated);
        pass(world, 300_000);
        assert!(world.kubernetes.node("ip-10-0-1-4").is_none());
        assert_eq!(world.kubernetes.node_of_instance("i-4"), None);
    });
}

#[test]
fn a_reboot_keeps_the_node_and_restarts_its_pods() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(3));
        let here =
            pods.iter().find(|pod| node_of(world, pod) == "ip-10-0-1-1").expect("one").clone();
        let (pod, before) = (uid(world, &here), boot_id(world, "ip-10-0-1-1"));
        let node = world.kubernetes.node("ip-10-0-1-1").expect("a node").meta.uid.clone();
        Kubernetes::instance_stopped(world, "i-1", Stop::Rebooted);
        assert!(!world.kubernetes.pod_serving(&pod));
        Kubernetes::instance_started(world, &birth(1, 2));
        pass(world, 60_000);
        assert_ne!(boot_id(world, "ip-10-0-1-1"), before);
        assert_eq!(
            world.kubernetes.node("ip-10-0-1-1").map(|node| node.meta.uid.clone()),
            Some(node)
        );
        assert_eq!(uid(world, &here), pod);
        assert!(world.kubernetes.pod_serving(&pod));
        let shown = crate::get(world, &crate::pod_path(&here));
        assert_eq!(shown["status"]["containerStatuses"][0]["restartCount"], 1);
        assert_eq!(ready_pods(world).len(), 3);
        assert!(
            world.kubernetes.node("ip-10-0-1-1").is_some_and(|node| node.spec["taints"].is_null())
        );
    });
}

#[test]
fn a_slow_reboot_is_noticed_and_forgiven() {
    in_cluster(1, |world| {
        add_web(world, web(3));
        world.kubernetes.template.join_ms = 60_000;
        Kubernetes::instance_stopped(world, "i-1", Stop::Rebooted);
        Kubernetes::instance_started(world, &birth(1, 2));
        pass(world, 50_000);
        let unknown = |world: &World| {
            let node = world.kubernetes.node("ip-10-0-1-1");
            node.is_some_and(|node| node.condition_is("Ready", "Unknown"))
        };
        assert!(unknown(world));
        pass(world, 50_000);
        assert!(!unknown(world));
        assert_eq!(ready_pods(world).len(), 3);
        // The five minutes of its taint are over, and nobody is expelled.
        pass(world, 400_000);
        assert!(world.kubernetes.pods_on("ip-10-0-1-1").all(|pod| pod.meta.deletion.is_none()));
    });
}

#[test]
fn a_kubelet_that_was_away_finds_what_happened_meanwhile() {
    in_cluster(1, |world| {
        let job = Workload::new(WorkloadKind::Job { run_ms: 30_000 }, "shop", "job", 1);
        let job = Kubernetes::add_workload(world, job).remove(0);
        let pods = add_web(world, web(3));
        let node = node_of(world, &job);
        let here =
            pods.iter().find(|pod| node_of(world, pod) == node).expect("one per node").clone();
        Kubernetes::lose_kubelet(world, &node);
        let pod = uid(world, &here);
        crate::evict(world, &here, &json!({}));
        pass(world, 60_000);
        assert!(world.kubernetes.pod_serving(&pod), "nobody told it");
        let phase = |world: &mut World| {
            crate::get(world, &crate::pod_path(&job))["status"]["phase"].clone()
        };
        assert_eq!(phase(world), "Running", "nobody told that it is done");
        Kubernetes::return_kubelet(world, &node);
        pass(world, 10_000);
        assert_eq!(phase(world), "Succeeded");
        assert!(!world.kubernetes.pod_serving(&pod));
        assert!(world.kubernetes.pod("shop", &here).is_none());
    });
}

#[test]
fn a_stopped_instance_keeps_its_node_and_a_terminated_one_loses_it() {
    in_cluster(1, |world| {
        Kubernetes::instance_stopped(world, "i-1", Stop::Stopped);
        Kubernetes::instance_stopped(world, "i-2", Stop::Terminated);
        pass(world, 200_000);
        let node = crate::get(world, "/api/v1/nodes/ip-10-0-1-1");
        let taints = node["spec"]["taints"].as_array().expect("taints");
        assert!(taints.iter().any(|one| one["key"] == "node.cloudprovider.kubernetes.io/shutdown"));
        assert!(world.kubernetes.node("ip-10-0-1-2").is_none());
        Kubernetes::instance_started(world, &birth(1, 2));
        pass(world, 60_000);
        let node = world.kubernetes.node("ip-10-0-1-1").expect("it is back");
        assert!(node.condition_is("Ready", "True"));
        assert_eq!(node.spec["taints"], Value::Null);
    });
}

#[test]
fn a_cordon_outlives_a_reboot() {
    in_cluster(1, |world| {
        crate::cordon(world, "ip-10-0-1-1");
        Kubernetes::instance_stopped(world, "i-1", Stop::Rebooted);
        Kubernetes::instance_started(world, &birth(1, 2));
        pass(world, 60_000);
        let node = crate::get(world, "/api/v1/nodes/ip-10-0-1-1");
        assert_eq!(node["spec"]["unschedulable"], true);
        assert_eq!(
            node["spec"]["taints"]
                .as_array()
                .expect("taints")
                .iter()
                .map(|one| &one["key"])
                .collect::<Vec<_>>(),
            [&json!("node.kubernetes.io/unschedulable")]
        );
    });
}
