//! DELETE of pods, and what their kubelets make of it.

use crate::{abrupt, add_web, call, in_cluster, pass, pod_path, uid, web};
use sandbox::World;
use sandbox::kubernetes::Kubernetes;
use sandbox::kubernetes::{Manners, Workload, WorkloadKind};
use serde_json::{Value, json};

fn delete(world: &mut World, name: &str, options: &Value) -> (u16, Value) {
    call(world, "DELETE", &pod_path(name), options)
}

fn with_manners(manners: Manners) -> Workload {
    let mut work = Workload::new(WorkloadKind::Bare, "shop", "web", 1);
    work.manners = manners;
    work
}

#[test]
fn a_deleted_pod_terminates_within_its_grace_and_then_is_gone() {
    in_cluster(1, |world| {
        let pods = add_web(world, abrupt(web(1)));
        let (status, pod) = delete(world, &pods[0], &Value::Null);
        assert_eq!(status, 200);
        assert_eq!(pod["kind"], "Pod");
        assert_eq!(pod["metadata"]["deletionTimestamp"], "2026-11-22T12:00:30Z");
        assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 30);
        pass(world, 1_000);
        assert_eq!(call(world, "GET", &pod_path(&pods[0]), &Value::Null).0, 404);
        assert_eq!(delete(world, &pods[0], &Value::Null).0, 404);
    });
}

#[test]
fn manners_decide_for_how_long_a_pod_serves_after_sigterm() {
    // The kubelet hears within 50 ms; the object is gone within 300 ms of the containers.
    for (manners, serves_at, silent_at, gone_at) in [
        (Manners::StopsAtOnce { exit_ms: 2_000 }, 0, 60, 2_400),
        (Manners::ServesOn { ms: 5_000 }, 4_990, 5_060, 5_400),
        (Manners::ServesOn { ms: 50_000 }, 29_990, 30_060, 30_400),
        (Manners::Ignores, 29_990, 30_060, 30_400),
    ] {
        in_cluster(1, |world| {
            add_web(world, with_manners(manners));
            let pod = uid(world, "web");
            assert!(world.kubernetes.pod_serving(&pod));
            delete(world, "web", &Value::Null);
            pass(world, serves_at);
            assert!(world.kubernetes.pod_serving(&pod), "{manners:?} at {serves_at}");
            pass(world, silent_at - serves_at);
            assert!(!world.kubernetes.pod_serving(&pod), "{manners:?} at {silent_at}");
            assert!(world.kubernetes.pod("shop", "web").is_some(), "{manners:?} at {silent_at}");
            pass(world, gone_at - silent_at);
            assert!(world.kubernetes.pod("shop", "web").is_none(), "{manners:?} at {gone_at}");
        });
    }
}

#[test]
fn a_second_delete_may_only_shorten_the_grace() {
    in_cluster(1, |world| {
        add_web(world, with_manners(Manners::Ignores));
        let pod = uid(world, "web");
        delete(world, "web", &json!({"gracePeriodSeconds": 60}));
        pass(world, 10_000);
        let (_, longer) = delete(world, "web", &json!({"gracePeriodSeconds": 90}));
        assert_eq!(longer["metadata"]["deletionGracePeriodSeconds"], 60);
        let (_, same) = delete(world, "web", &Value::Null);
        assert_eq!(same["metadata"]["deletionTimestamp"], "2026-11-22T12:01:00Z");
        let (_, shorter) = delete(world, "web", &json!({"gracePeriodSeconds": 5}));
        assert_eq!(shorter["metadata"]["deletionTimestamp"], "2026-11-22T12:00:05Z");
        pass(world, 4_990);
        assert!(world.kubernetes.pod_serving(&pod));
        pass(world, 100);
        assert!(!world.kubernetes.pod_serving(&pod));
    });
}

#[test]
fn grace_zero_removes_the_object_while_the_containers_run_on() {
    in_cluster(1, |world| {
        add_web(world, with_manners(Manners::ServesOn { ms: 5_000 }));
        let pod = uid(world, "web");
        assert_eq!(delete(world, "web", &json!({"gracePeriodSeconds": 0})).0, 200);
        assert!(world.kubernetes.pod("shop", "web").is_none());
        pass(world, 4_900);
        assert!(world.kubernetes.pod_serving(&pod));
        pass(world, 200);
        assert!(!world.kubernetes.pod_running(&pod));
    });
}

#[test]
fn a_wrong_uid_is_a_conflict() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(1));
        let (status, body) = delete(world, &pods[0], &json!({"preconditions": {"uid": "another"}}));
        assert_eq!((status, &body["reason"]), (409, &json!("Conflict")));
        assert!(world.kubernetes.pod("shop", &pods[0]).expect("still").meta.deletion.is_none());
    });
}

#[test]
fn a_finalizer_keeps_the_object_of_a_pod_whose_containers_are_gone() {
    in_cluster(1, |world| {
        let mut work = with_manners(Manners::StopsAtOnce { exit_ms: 100 });
        work.finalizers = vec!["example.com/cleanup".to_owned()];
        add_web(world, work);
        delete(world, "web", &Value::Null);
        pass(world, 5_000);
        let pod = crate::get(world, &pod_path("web"));
        assert_eq!(pod["status"]["phase"], "Succeeded");
        let state = &pod["status"]["containerStatuses"][0]["state"];
        assert_eq!(state["terminated"]["exitCode"], 0);
        assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 0);
        let body = json!({"metadata": {"finalizers": null}});
        crate::call_as(world, "PATCH", &pod_path("web"), (crate::MERGE, &body));
        assert!(world.kubernetes.pod("shop", "web").is_none());
    });
}

#[test]
fn a_terminating_pod_is_not_ready_to_its_service_but_serves() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(2));
        let pod = uid(world, &pods[0]);
        delete(world, &pods[0], &Value::Null);
        let ready = |world: &World| {
            let mut all = world.kubernetes.endpoints("shop", "web").iter();
            all.find(|endpoint| endpoint.pod_uid == pod)
                .map(|one| (one.ready, one.serving, one.terminating))
        };
        pass(world, 49);
        assert_eq!(ready(world), Some((true, true, false)), "the controller lags");
        pass(world, 152);
        assert_eq!(ready(world), Some((false, true, true)));
        let slice = crate::get(world, "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices");
        let slice = &slice["items"][0];
        assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "web");
        let endpoints = slice["endpoints"].as_array().expect("a list");
        let one = endpoints.iter().find(|one| one["targetRef"]["uid"] == pod).expect("it is there");
        assert_eq!(
            one["conditions"],
            json!({"ready": false, "serving": true, "terminating": true})
        );
        pass(world, 10_000);
        assert_eq!(ready(world), None);
        assert_eq!(world.kubernetes.endpoints("shop", "web").len(), 2);
    });
}

#[test]
fn the_host_takes_its_containers_with_it_and_the_api_learns_it_late() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(3));
        let here = pods.iter().find(|pod| crate::node_of(world, pod) == "ip-10-0-1-1");
        let here = here.expect("they are spread").clone();
        let pod = uid(world, &here);
        Kubernetes::instance_stopped(world, "i-1", sandbox::kubernetes::Stop::Terminated);
        assert!(!world.kubernetes.pod_serving(&pod));
        pass(world, 39_000);
        assert_eq!(crate::ready_pods(world).len(), 3, "nobody has noticed");
        assert!(world.kubernetes.endpoints("shop", "web").iter().all(|one| one.ready));
        pass(world, 2_000);
        let node = crate::get(world, "/api/v1/nodes/ip-10-0-1-1");
        let ready = node["status"]["conditions"].as_array().expect("conditions");
        let ready = ready.iter().find(|one| one["type"] == "Ready").expect("Ready");
        assert_eq!(
            (&ready["status"], &ready["reason"]),
            (&json!("Unknown"), &json!("NodeStatusUnknown"))
        );
        let taints = node["spec"]["taints"].as_array().expect("taints");
        assert!(taints.iter().all(|taint| taint["key"] == "node.kubernetes.io/unreachable"));
        assert_eq!(taints.len(), 2);
        let lost = world.kubernetes.endpoints("shop", "web").iter().find(|one| one.pod_uid == pod);
        assert!(lost.is_some_and(|one| !one.ready));
        // Nobody on that node hears of a deletion.
        delete(world, &here, &json!({"gracePeriodSeconds": 1}));
        pass(world, 10_000);
        assert!(world.kubernetes.pod("shop", &here).is_some());
        // The cloud controller removes the node, and its pods go with it.
        pass(world, 20_000);
        assert!(world.kubernetes.node("ip-10-0-1-1").is_none());
        assert!(world.kubernetes.pod("shop", &here).is_none());
        assert_eq!(crate::ready_pods(world).len(), 3, "and are replaced");
    });
}

#[test]
fn a_lost_kubelet_is_not_a_lost_dataplane() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(3));
        let node = crate::node_of(world, &pods[0]);
        let pod = uid(world, &pods[0]);
        Kubernetes::lose_kubelet(world, &node);
        pass(world, 60_000);
        assert!(
            world.kubernetes.node(&node).is_some_and(|node| node.condition_is("Ready", "Unknown"))
        );
        assert!(world.kubernetes.pod_serving(&pod));
        assert!(world.kubernetes.host_up(&node));
        Kubernetes::return_kubelet(world, &node);
        pass(world, 1_000);
        let node = world.kubernetes.node(&node).expect("it is back");
        assert!(node.condition_is("Ready", "True"));
        assert!(node.spec["taints"].is_null());
    });
}

#[test]
fn pods_of_an_unreachable_node_are_deleted_after_five_minutes() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(3));
        let node = crate::node_of(world, &pods[0]);
        Kubernetes::lose_kubelet(world, &node);
        pass(world, 339_000);
        assert!(
            world.kubernetes.pod("shop", &pods[0]).is_some_and(|pod| pod.meta.deletion.is_none())
        );
        pass(world, 2_000);
        assert!(
            world.kubernetes.pod("shop", &pods[0]).is_some_and(|pod| pod.meta.deletion.is_some())
        );
    });
}
