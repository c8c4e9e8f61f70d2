//! Owners replace what they lose, each in its way.

use crate::{
    NODES, add_web, call_as, cordon, evict, in_cluster, node_of, pass, pod_path, ready_pods,
};
use crate::{uid, web};
use sandbox::kubernetes::scenario::Probe;
use sandbox::kubernetes::{Kubernetes, NodeSpec, Taint, Toleration, Workload, WorkloadKind};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn replicas_are_spread_and_replaced_at_once_elsewhere() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(3));
        let nodes: BTreeSet<String> = pods.iter().map(|pod| node_of(world, pod)).collect();
        assert_eq!(nodes.len(), 3);
        let node = node_of(world, &pods[0]);
        cordon(world, &node);
        evict(world, &pods[0], &json!({}));
        pass(world, 31);
        let all = crate::get(world, "/api/v1/namespaces/shop/pods");
        assert_eq!(all["items"].as_array().map(Vec::len), Some(4), "the old one still terminates");
        pass(world, 10_000);
        let ready = ready_pods(world);
        assert_eq!(ready.len(), 3);
        assert!(ready.iter().all(|pod| node_of(world, pod) != node));
        assert!(world.violations.is_empty(), "{:?}", world.violations);
    });
}

#[test]
fn without_room_a_replacement_is_pending_and_says_why() {
    in_cluster(1, |world| {
        let mut small = NodeSpec::new("ip-10-0-1-2", "i-2", "eu-west-1a");
        small.max_pods = 1;
        Kubernetes::add_node(world, small);
        let pods = add_web(world, web(3));
        let mut tainted = NodeSpec::new("ip-10-0-1-3", "i-3", "eu-west-1a");
        tainted.taints = vec![Taint::new("dedicated", "NoSchedule")];
        Kubernetes::add_node(world, tainted);
        let leaving = pods.iter().find(|pod| node_of(world, pod) == "ip-10-0-1-1").expect("one");
        cordon(world, "ip-10-0-1-1");
        evict(world, leaving, &json!({}));
        pass(world, 10_000);
        let all = crate::get(world, "/api/v1/pods?fieldSelector=status.phase=Pending");
        let pod = &all["items"][0];
        let conditions = pod["status"]["conditions"].as_array().expect("conditions");
        let placed = conditions.iter().find(|one| one["type"] == "PodScheduled").expect("one");
        assert_eq!(
            (&placed["status"], &placed["reason"]),
            (&json!("False"), &json!("Unschedulable"))
        );
        assert_eq!(
            placed["message"],
            "0/3 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint {dedicated: }, 1 node(s) were unschedulable."
        );
        Kubernetes::cordon(world, "ip-10-0-1-1", sandbox::kubernetes::node::Cordon::Off);
        pass(world, 10_000);
        assert_eq!(ready_pods(world).len(), 3);
    });
}

#[test]
fn a_pod_is_let_go_of_and_taken_back_by_its_labels() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(1));
        let hash =
            crate::get(world, &pod_path(&pods[0]))["metadata"]["labels"]["pod-template-hash"]
                .clone();
        let patch = |hash: &Value| {
            json!({"metadata": {"labels": {"pod-template-hash": hash},
            "annotations": {"ebbtide.dev/labels": "{}"}}})
        };
        call_as(world, "PATCH", &pod_path(&pods[0]), (crate::MERGE, &patch(&Value::Null)));
        pass(world, 5_000);
        assert_eq!(ready_pods(world).len(), 2);
        assert_eq!(world.kubernetes.endpoints("shop", "web").len(), 2, "it goes on serving");
        call_as(world, "PATCH", &pod_path(&pods[0]), (crate::MERGE, &patch(&hash)));
        pass(world, 10_000);
        let left = ready_pods(world);
        assert_eq!(left.len(), 1, "one too many goes");
        assert!(world.violations.is_empty(), "{:?}", world.violations);
    });
}

#[test]
fn a_statefulset_gives_a_name_again_only_when_its_object_is_gone() {
    in_cluster(1, |world| {
        let work = Workload::new(WorkloadKind::StatefulSet, "shop", "db", 3);
        let pods = Kubernetes::add_workload(world, work);
        assert_eq!(pods, ["db-0", "db-1", "db-2"]);
        let before = uid(world, "db-1");
        evict(world, "db-1", &json!({}));
        pass(world, 4_900);
        assert_eq!(uid(world, "db-1"), before, "it still terminates");
        pass(world, 6_000);
        assert_ne!(uid(world, "db-1"), before);
        assert_eq!(ready_pods(world).len(), 3);
        let pod = crate::get(world, &pod_path("db-1"));
        assert_eq!(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "1");
    });
}

#[test]
fn a_later_pod_of_a_statefulset_waits_for_the_earlier_ones() {
    in_cluster(1, |world| {
        let work = Workload::new(WorkloadKind::StatefulSet, "shop", "db", 2);
        Kubernetes::add_workload(world, work);
        Kubernetes::set_ready(world, "shop", "db-0", Probe::Fails);
        evict(world, "db-1", &json!({}));
        pass(world, 60_000);
        assert!(world.kubernetes.pod("shop", "db-1").is_none());
        Kubernetes::set_ready(world, "shop", "db-0", Probe::Passes);
        pass(world, 10_000);
        assert_eq!(ready_pods(world).len(), 2);
    });
}

#[test]
fn a_daemonset_comes_back_where_its_pods_tolerate_the_taints() {
    for (tolerates, comes_back) in [(false, false), (true, true)] {
        in_cluster(1, |world| {
            let mut work = Workload::new(WorkloadKind::DaemonSet, "shop", "agent", 0);
            if tolerates {
                work.tolerations = vec![Toleration::everything()];
            }
            let pods = Kubernetes::add_workload(world, work);
            assert_eq!(pods.len(), 3);
            let pod =
                pods.iter().find(|pod| node_of(world, pod) == NODES[0]).expect("one per node");
            let body = json!({"spec": {"unschedulable": true,
                "taints": [{"key": "ebbtide.dev/departing", "effect": "NoSchedule"}]}});
            call_as(world, "PATCH", "/api/v1/nodes/ip-10-0-1-1", (crate::STRATEGIC, &body));
            evict(world, pod, &json!({}));
            pass(world, 20_000);
            let here = world.kubernetes.pods_on(NODES[0]).count();
            assert_eq!(here, usize::from(comes_back), "tolerates everything: {tolerates}");
        });
    }
}

#[test]
fn a_cordon_alone_does_not_keep_a_daemonset_away() {
    in_cluster(1, |world| {
        let work = Workload::new(WorkloadKind::DaemonSet, "shop", "agent", 0);
        let pods = Kubernetes::add_workload(world, work);
        let pod = pods.iter().find(|pod| node_of(world, pod) == NODES[0]).expect("one per node");
        cordon(world, NODES[0]);
        evict(world, pod, &json!({}));
        pass(world, 20_000);
        let back: Vec<_> = world.kubernetes.pods_on(NODES[0]).collect();
        assert_eq!(back.len(), 1);
        assert_ne!(*back[0].meta.name, **pod);
    });
}

#[test]
fn a_job_makes_up_for_a_pod_that_was_evicted_and_then_is_done() {
    in_cluster(1, |world| {
        let work = Workload::new(WorkloadKind::Job { run_ms: 60_000 }, "shop", "job", 2);
        let pods = Kubernetes::add_workload(world, work);
        evict(world, &pods[0], &json!({}));
        pass(world, 20_000);
        assert!(world.kubernetes.pod("shop", &pods[0]).is_none());
        assert_eq!(ready_pods(world).len(), 2);
        pass(world, 120_000);
        let done = crate::get(world, "/api/v1/pods?fieldSelector=status.phase=Succeeded");
        assert_eq!(done["items"].as_array().map(Vec::len), Some(2));
        let name = done["items"][0]["metadata"]["name"].as_str().expect("a name").to_owned();
        evict(world, &name, &json!({}));
        pass(world, 20_000);
        let all = crate::get(world, "/api/v1/pods");
        assert_eq!(all["items"].as_array().map(Vec::len), Some(1), "done is done");
    });
}

#[test]
fn nobody_replaces_an_unmanaged_pod() {
    in_cluster(1, |world| {
        let pods =
            Kubernetes::add_workload(world, Workload::new(WorkloadKind::Bare, "shop", "one", 1));
        assert_eq!(pods, ["one"]);
        evict(world, "one", &json!({}));
        pass(world, 60_000);
        assert!(world.kubernetes.pod("shop", "one").is_none());
        assert!(ready_pods(world).is_empty());
    });
}

#[test]
fn a_broken_workload_holds_its_new_pods_back_until_it_is_mended() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(2));
        Kubernetes::break_workload(world, "shop", "web");
        evict(world, &pods[0], &json!({}));
        pass(world, 60_000);
        assert_eq!(ready_pods(world).len(), 1);
        Kubernetes::mend_workload(world, "shop", "web");
        pass(world, 1_000);
        assert_eq!(ready_pods(world).len(), 2);
    });
}

#[test]
fn host_ports_keep_two_pods_apart() {
    in_cluster(1, |world| {
        let mut work = web(4);
        work.host_port = Some(8443);
        add_web(world, work);
        assert_eq!(ready_pods(world).len(), 3);
        let waiting = crate::get(world, "/api/v1/pods?fieldSelector=status.phase=Pending");
        let conditions = waiting["items"][0]["status"]["conditions"].as_array().expect("some");
        assert_eq!(
            conditions[0]["message"],
            "0/3 nodes are available: 3 node(s) didn't have free ports for the requested pod ports."
        );
    });
}

#[test]
fn the_same_seed_makes_the_same_world() {
    let run = |seed: u64| {
        in_cluster(seed, |world| {
            let pods = add_web(world, web(3));
            evict(world, &pods[0], &json!({}));
            pass(world, 60_000);
            crate::get(world, "/api/v1/pods").to_string()
        })
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
