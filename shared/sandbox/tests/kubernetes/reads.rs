//! GET, LIST, and what a server says to those who may not or ask for what is not there.

use crate::{add_web, call, get, in_cluster, web};
use sandbox::World;
use sandbox::kubernetes::{Budget, Kubernetes, Toleration, Workload, WorkloadKind};
use serde_json::{Value, json};

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("a list");
    items.iter().map(|one| one["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

fn chosen(world: &mut World, path: &str) -> usize {
    names(&get(world, path)).len()
}

#[test]
fn selectors_choose() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(4));
        let node = crate::node_of(world, &pods[0]);
        let here = pods.iter().filter(|pod| crate::node_of(world, pod) == node).count();
        for (path, count) in [
            ("/api/v1/pods".to_owned(), 4),
            ("/api/v1/namespaces/shop/pods".to_owned(), 4),
            ("/api/v1/namespaces/other/pods".to_owned(), 0),
            (format!("/api/v1/pods?fieldSelector=spec.nodeName={node}"), here),
            (format!("/api/v1/pods?fieldSelector=spec.nodeName!={node}"), 4 - here),
            ("/api/v1/pods?fieldSelector=status.phase=Running".to_owned(), 4),
            ("/api/v1/pods?fieldSelector=status.phase=Running,metadata.namespace=x".to_owned(), 0),
            (format!("/api/v1/pods?fieldSelector=metadata.name={}", pods[0]), 1),
            ("/api/v1/pods?labelSelector=app=web".to_owned(), 4),
            ("/api/v1/pods?labelSelector=app!=web".to_owned(), 0),
            ("/api/v1/pods?labelSelector=app in (web,db),!gone".to_owned(), 4),
            ("/api/v1/nodes?fieldSelector=spec.unschedulable=false".to_owned(), 3),
            ("/api/v1/nodes?fieldSelector=spec.unschedulable=true".to_owned(), 0),
            ("/api/v1/nodes?fieldSelector=metadata.name=ip-10-0-1-2".to_owned(), 1),
        ] {
            assert_eq!(chosen(world, &path), count, "{path}");
        }
    });
}

#[test]
fn fields_without_an_index_are_refused() {
    in_cluster(1, |world| {
        for (path, message) in [
            (
                "/api/v1/nodes?fieldSelector=spec.providerID=x",
                "field label not supported: spec.providerID",
            ),
            (
                "/api/v1/pods?fieldSelector=spec.priority=0",
                "field label not supported: spec.priority",
            ),
            (
                "/apis/policy/v1/poddisruptionbudgets?fieldSelector=spec.x=y",
                "\"spec.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            ),
        ] {
            let (status, body) = call(world, "GET", path, &Value::Null);
            assert_eq!(
                (status, &body["reason"], &body["message"]),
                (400, &json!("BadRequest"), &json!(message))
            );
        }
    });
}

#[test]
fn a_list_comes_in_pages() {
    in_cluster(1, |world| {
        let mut pods = add_web(world, web(5));
        pods.sort();
        let first = get(world, "/api/v1/pods?limit=2");
        assert_eq!(first["kind"], "PodList");
        assert_eq!(first["metadata"]["remainingItemCount"], 3);
        assert_eq!(first["items"][0]["kind"], Value::Null, "items of built-in kinds go without");
        let mut seen = names(&first);
        let mut token = first["metadata"]["continue"].clone();
        while let Some(text) = token.as_str() {
            let page = get(world, &format!("/api/v1/pods?limit=2&continue={text}"));
            seen.extend(names(&page));
            token = page["metadata"]["continue"].clone();
        }
        assert_eq!(seen, pods);
        let old = first["metadata"]["continue"].as_str().expect("a token").to_owned();
        crate::cordon(world, "ip-10-0-1-1");
        world.kubernetes.store.compact();
        let (status, body) =
            call(world, "GET", &format!("/api/v1/pods?continue={old}"), &Value::Null);
        assert_eq!((status, &body["reason"]), (410, &json!("Expired")));
    });
}

#[test]
fn an_object_is_shown_as_the_real_server_shows_it() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(1));
        let pod = get(world, &crate::pod_path(&pods[0]));
        assert_eq!((&pod["kind"], &pod["apiVersion"]), (&json!("Pod"), &json!("v1")));
        let meta = &pod["metadata"];
        assert_eq!(meta["creationTimestamp"], "2026-11-22T12:00:00Z");
        let owner = &meta["ownerReferences"][0];
        assert_eq!((&owner["kind"], &owner["controller"]), (&json!("ReplicaSet"), &json!(true)));
        assert!(meta["labels"]["pod-template-hash"].is_string());
        assert_eq!(pod["status"]["phase"], "Running");
        assert!(pod["status"]["podIP"].is_string());
        let set = format!(
            "/apis/apps/v1/namespaces/shop/replicasets/{}",
            owner["name"].as_str().expect("a name")
        );
        let set = get(world, &set);
        assert_eq!(set["metadata"]["ownerReferences"][0]["name"], "web");
        assert_eq!(set["status"]["readyReplicas"], 1);
        let node = get(world, "/api/v1/nodes/ip-10-0-1-1");
        assert_eq!(node["spec"]["providerID"], "aws:///eu-west-1a/i-1");
        assert_eq!(node["status"]["addresses"][0]["address"], "10.0.1.1");
        assert!(node["status"]["nodeInfo"]["bootID"].is_string());
    });
}

/// Reads a list as a real client's types do, and says how many objects it has.
fn typed<T>(world: &mut World, path: &str) -> usize
where
    T: k8s_openapi::ListableResource + serde::de::DeserializeOwned,
{
    let list = get(world, path);
    let list: k8s_openapi::List<T> = serde_json::from_value(list).expect(path);
    list.items.len()
}

#[test]
fn real_clients_can_read_every_kind() {
    use k8s_openapi::api::{apps::v1 as apps, batch::v1 as batch, core::v1 as core};
    use k8s_openapi::api::{discovery, policy, storage};
    in_cluster(1, |world| {
        let mut work = web(2);
        work.pdb = Some(Budget::max_unavailable(1));
        work.volume = Some("gp3".to_owned());
        work.tolerations = vec![Toleration::everything()];
        add_web(world, work);
        for kind in [WorkloadKind::StatefulSet, WorkloadKind::DaemonSet] {
            Kubernetes::add_workload(world, Workload::new(kind, "shop", "more", 1));
        }
        let job = Workload::new(WorkloadKind::Job { run_ms: 1_000 }, "shop", "job", 1);
        Kubernetes::add_workload(world, job);
        let world = &mut *world;
        assert_eq!(typed::<core::Node>(world, "/api/v1/nodes"), 3);
        assert_eq!(typed::<core::Pod>(world, "/api/v1/pods"), 7);
        assert_eq!(typed::<core::Service>(world, "/api/v1/services"), 1);
        assert_eq!(typed::<core::PersistentVolume>(world, "/api/v1/persistentvolumes"), 1);
        let claims = "/api/v1/persistentvolumeclaims";
        assert_eq!(typed::<core::PersistentVolumeClaim>(world, claims), 1);
        assert_eq!(typed::<apps::Deployment>(world, "/apis/apps/v1/deployments"), 1);
        assert_eq!(typed::<apps::ReplicaSet>(world, "/apis/apps/v1/replicasets"), 1);
        assert_eq!(typed::<apps::StatefulSet>(world, "/apis/apps/v1/statefulsets"), 1);
        assert_eq!(typed::<apps::DaemonSet>(world, "/apis/apps/v1/daemonsets"), 1);
        assert_eq!(typed::<batch::Job>(world, "/apis/batch/v1/jobs"), 1);
        let slices = "/apis/discovery.k8s.io/v1/endpointslices";
        assert_eq!(typed::<discovery::v1::EndpointSlice>(world, slices), 1);
        let budgets = "/apis/policy/v1/poddisruptionbudgets";
        assert_eq!(typed::<policy::v1::PodDisruptionBudget>(world, budgets), 1);
        let attachments = "/apis/storage.k8s.io/v1/volumeattachments";
        assert_eq!(typed::<storage::v1::VolumeAttachment>(world, attachments), 1);
    });
}

#[test]
fn what_is_not_there_is_not_found() {
    in_cluster(1, |world| {
        for (path, message) in [
            ("/api/v1/nodes/none", "nodes \"none\" not found"),
            (
                "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/none",
                "poddisruptionbudgets.policy \"none\" not found",
            ),
            ("/api/v1/things", "the server could not find the requested resource"),
        ] {
            let (status, body) = call(world, "GET", path, &Value::Null);
            assert_eq!((status, &body["message"]), (404, &json!(message)));
        }
        for method in ["PUT", "DELETE", "POST"] {
            let (status, body) = call(world, method, "/api/v1/pods", &Value::Null);
            assert_eq!((status, &body["reason"]), (405, &json!("MethodNotAllowed")), "{method}");
        }
    });
}

#[test]
fn what_was_denied_is_forbidden_and_says_so_beforehand() {
    in_cluster(1, |world| {
        world.kubernetes.denied.insert(("patch".to_owned(), "nodes".to_owned()));
        let body = json!({"spec": {"unschedulable": true}});
        let (status, refusal) =
            crate::call_as(world, "PATCH", "/api/v1/nodes/ip-10-0-1-1", (crate::MERGE, &body));
        assert_eq!((status, &refusal["reason"]), (403, &json!("Forbidden")));
        assert_eq!(
            refusal["message"],
            "nodes \"ip-10-0-1-1\" is forbidden: User \"ebbtide\" cannot patch resource \"nodes\" in API group \"\" at the cluster scope"
        );
        for (verb, allowed) in [("patch", false), ("get", true)] {
            let review =
                json!({"spec": {"resourceAttributes": {"verb": verb, "resource": "nodes"}}});
            let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
            let (status, answer) = call(world, "POST", path, &review);
            assert_eq!((status, &answer["status"]["allowed"]), (201, &json!(allowed)));
        }
    });
}

#[test]
fn events_are_created_once() {
    in_cluster(1, |world| {
        let path = "/api/v1/namespaces/default/events";
        let event = json!({"metadata": {"name": "e1"}, "reason": "Cordoned", "type": "Normal",
            "involvedObject": {"kind": "Node", "name": "ip-10-0-1-1"}});
        let (status, created) = call(world, "POST", path, &event);
        assert_eq!((status, &created["reason"]), (201, &json!("Cordoned")));
        let (status, again) = call(world, "POST", path, &event);
        assert_eq!((status, &again["reason"]), (409, &json!("AlreadyExists")));
        assert_eq!(
            chosen(world, "/api/v1/events?fieldSelector=involvedObject.name=ip-10-0-1-1"),
            1
        );
        assert_eq!(chosen(world, "/api/v1/events?fieldSelector=involvedObject.name=other"), 0);
    });
}

#[test]
fn every_call_is_recorded() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(1));
        get(world, "/api/v1/pods?limit=1");
        crate::cordon(world, "ip-10-0-1-1");
        crate::evict(world, &pods[0], &json!({}));
        crate::evict(world, "none", &json!({}));
        let calls: Vec<_> = world
            .calls
            .iter()
            .map(|call| (call.operation.as_str(), call.status, call.write))
            .collect();
        assert_eq!(
            calls,
            [
                ("GET pods", 200, false),
                ("PATCH nodes", 200, true),
                ("POST pods/eviction", 201, true),
                ("POST pods/eviction", 404, true),
            ]
        );
    });
}

#[test]
fn a_list_that_is_asked_for_again_shows_what_changed_meanwhile() {
    in_cluster(1, |world| {
        let path = "/api/v1/nodes?fieldSelector=spec.unschedulable=true";
        let first = crate::get(world, path);
        assert_eq!(first["items"], json!([]));
        crate::cordon(world, "ip-10-0-1-2");
        let second = crate::get(world, path);
        assert_eq!(second["items"][0]["metadata"]["name"], "ip-10-0-1-2");
        crate::add_web(world, crate::web(1));
        let third = crate::get(world, path);
        assert_eq!(third["items"], second["items"], "no node changed");
        let version = |list: &Value| {
            list["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok())
        };
        assert!(version(&third) > version(&second), "but the world went on");
        assert_eq!(crate::get(world, "/api/v1/nodes")["items"].as_array().map(Vec::len), Some(3));
    });
}

#[test]
fn a_slice_holds_at_most_a_hundred_endpoints_and_changes_alone() {
    in_cluster(1, |world| {
        for number in 4..=8 {
            let (name, instance) = (format!("ip-10-0-1-{number}"), format!("i-{number}"));
            let node = sandbox::kubernetes::NodeSpec::new(&name, &instance, "eu-west-1a");
            sandbox::kubernetes::Kubernetes::add_node(world, node);
        }
        let pods = crate::add_web(world, crate::web(250));
        let path =
            "/apis/discovery.k8s.io/v1/endpointslices?labelSelector=kubernetes.io/service-name=web";
        let slices = |world: &mut World| -> Vec<(String, usize, bool)> {
            let list = crate::get(world, path);
            let all = list["items"].as_array().expect("slices").iter();
            all.map(|slice| {
                let endpoints = slice["endpoints"].as_array().expect("endpoints");
                let names = endpoints.iter().filter_map(|one| one["targetRef"]["name"].as_str());
                let version = slice["metadata"]["resourceVersion"].as_str().expect("a version");
                (version.to_owned(), endpoints.len(), names.into_iter().any(|name| name == pods[0]))
            })
            .collect()
        };
        let before = slices(world);
        assert_eq!(before.iter().map(|(_, count, _)| *count).sum::<usize>(), 250);
        assert!(before.len() == 3 && before.iter().all(|(_, count, _)| *count <= 100));
        crate::cordon(world, &crate::node_of(world, &pods[0]));
        crate::evict(world, &pods[0], &json!({}));
        crate::pass(world, 400);
        let after = slices(world);
        for (old, new) in before.iter().zip(&after) {
            assert_eq!(old.0 != new.0, old.2, "only the slice of the pod changed");
        }
        crate::pass(world, 60_000);
        let last = slices(world);
        assert_eq!(last.iter().map(|(_, count, _)| *count).sum::<usize>(), 250);
        assert!(last.len() == 3 && last.iter().all(|(_, count, gone)| *count <= 100 && !gone));
    });
}
