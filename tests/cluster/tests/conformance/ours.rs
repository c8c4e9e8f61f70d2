//! The product's own reads and writes, by the functions that it uses: equal outcomes and equal classes of failure.

use crate::make::{Count, Is, created};
use crate::side::{Case, MERGE, Of, On, PROCESS, STRATEGIC, Side};
use decision::id::{InstanceId, NodeName, PodKey, Uid};
use decision::snapshot::cluster::{Node, Phase, Taint, TrafficPolicy};
use decision::step::{Class, NodePatch, Note, NoteSubject, PatchPurpose, Removal};
use decision::time::Timestamp;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    Case { name: "nodes", on: On::Both, run: |side| Box::pin(nodes(side)) },
    Case { name: "departing_nodes", on: On::Both, run: |side| Box::pin(departing(side)) },
    Case { name: "patches_of_nodes", on: On::Both, run: |side| Box::pin(patches(side)) },
    Case { name: "pods", on: On::Both, run: |side| Box::pin(pods(side)) },
    Case { name: "budgets", on: On::Both, run: |side| Box::pin(budgets(side)) },
    Case { name: "evictions", on: On::Both, run: |side| Box::pin(evictions(side)) },
    Case { name: "deletions", on: On::Both, run: |side| Box::pin(deletions(side)) },
    Case { name: "notes", on: On::Both, run: |side| Box::pin(notes(side)) },
    Case { name: "watches_wake", on: On::Both, run: |side| Box::pin(watches(side)) },
    Case {
        name: "services_and_volumes",
        on: On::Both,
        run: |side| Box::pin(services_and_volumes(side)),
    },
    Case { name: "siblings", on: On::Both, run: |side| Box::pin(siblings(side)) },
];

/// The product's client, with its limit on every request; on a real server with a token, as on EKS.
fn ours(side: &Side<'_>) -> kube::Client {
    match &side.of {
        Of::Sandbox(sandbox) => cluster::wrap(sandbox.kubernetes(PROCESS)),
        Of::Real(control, _) => {
            let endpoint =
                cluster::Endpoint { url: control.url(), ca_pem: control.ca_pem().into() };
            let token = http::HeaderValue::from_static(crate::BEARER);
            let header = Arc::new(move || Ok(token.clone()));
            let bearer = cluster::Bearer { header, refused: Arc::new(|_| {}) };
            cluster::dial(&endpoint, bearer).expect("it is https")
        }
    }
}

fn name(side: &Side<'_>, number: u32) -> NodeName {
    NodeName::parse(&side.node_name(number)).expect("a node's name")
}

fn key(side: &Side<'_>, pod: &str) -> PodKey {
    PodKey { namespace: side.namespace.clone(), name: pod.to_owned() }
}

async fn removal(side: &Side<'_>, pod: &str) -> Removal {
    let uid = Uid::parse(&side.uid("pods", pod).await).expect("a uid");
    Removal { pod: key(side, pod), uid }
}

fn another() -> Uid {
    Uid::parse("3f8b3f0e-0000-4000-a000-000000000000").expect("a uid")
}

async fn read(side: &Side<'_>, number: u32) -> Node {
    cluster::node(&ours(side), &name(side, number)).await.expect("it answers").expect("it is there")
}

async fn nodes(side: &Side<'_>) {
    let client = ours(side);
    // An instance of the case's own, since all cases share the nodes.
    let instance = InstanceId::parse("i-0abcdef0123456789").expect("an instance's id");
    let names = async || cluster::node_names(&client).await.expect("it answers");
    assert_eq!(names().await.get(&instance), None);
    side.make_node(
        1,
        &json!({"providerID": format!("aws:///eu-west-1a/{instance}"),
        "taints": [{"key": "team", "value": "shop", "effect": "NoSchedule"}]}),
    )
    .await;
    assert_eq!(names().await[&instance], name(side, 1));
    let found = read(side, 1).await;
    assert_eq!((found.name, found.unschedulable, found.ready), (name(side, 1), false, None));
    assert_eq!(found.provider_id, "aws:///eu-west-1a/i-0abcdef0123456789");
    assert_eq!((found.boot, found.created_at.is_some()), (None, true));
    assert_eq!(found.labels["case"], side.namespace);
    let keys: Vec<&str> = found.taints.iter().map(|taint| taint.key.as_str()).collect();
    assert_eq!(keys, ["team", "node.kubernetes.io/not-ready"]);
    let status = json!({"status": {"nodeInfo": {"bootID": "2f6a3b9f-0000-4d14-8e1c-6c1ad8b98a0e"},
        "conditions": [{"type": "Ready", "status": "Unknown"}]}});
    let path = format!("{}/status", side.node_path(1));
    assert_eq!(side.patch(&path, STRATEGIC, &status).await.status, 200);
    let found = read(side, 1).await;
    assert_eq!((found.ready, found.boot.is_some()), (Some(false), true));
    assert_eq!(cluster::node(&client, &name(side, 9)).await.expect("it answers"), None);
}

async fn departing(side: &Side<'_>) {
    for (number, unschedulable) in [(1, true), (2, true), (3, false)] {
        side.make_node(number, &json!({"unschedulable": unschedulable})).await;
    }
    let record = r#"{"v":1,"instance":"i-00000000000000002"}"#;
    for number in [2, 3] {
        let patch = json!({"metadata": {"annotations": {"ebbtide.dev/departure": record}}});
        assert_eq!(side.patch(&side.node_path(number), MERGE, &patch).await.status, 200);
    }
    let all = cluster::departing(&ours(side)).await.expect("it answers");
    // Other cases' nodes may be among them.
    let here: Vec<_> =
        all.iter().filter(|peer| peer.node.as_str().starts_with(&side.namespace)).collect();
    let [peer] = here.as_slice() else { panic!("{here:?}") };
    assert_eq!((&peer.node, peer.annotation.as_str()), (&name(side, 2), record));
    assert_eq!(peer.instance.as_str(), "i-00000000000000002");
}

fn cordon(node: &Node) -> NodePatch {
    let ours = Taint {
        key: "ebbtide.dev/departing".to_owned(),
        value: None,
        effect: "NoSchedule".to_owned(),
        time_added: None,
    };
    NodePatch {
        node: node.name.clone(),
        uid: node.uid.clone(),
        resource_version: node.resource_version.clone(),
        unschedulable: Some(true),
        taints: Some(node.taints.iter().cloned().chain([ours]).collect()),
        labels: vec![("a".to_owned(), Some("b".to_owned())), ("case".to_owned(), None)],
        annotations: vec![("ebbtide.dev/departure".to_owned(), Some("mine".to_owned()))],
        purpose: PatchPurpose::Cordon,
    }
}

async fn patches(side: &Side<'_>) {
    let client = ours(side);
    side.make_node(
        1,
        &json!({"taints": [{"key": "team", "value": "shop", "effect": "NoSchedule"}]}),
    )
    .await;
    let before = read(side, 1).await;
    let patch = cordon(&before);
    let after = cluster::patch_node(&client, &patch).await.expect("it is patched");
    assert_eq!(after, read(side, 1).await);
    assert_eq!(
        (after.unschedulable, after.labels.get("case"), after.labels["a"].as_str()),
        (true, None, "b")
    );
    assert_eq!(after.annotations["ebbtide.dev/departure"], "mine");
    assert_eq!(after.taints.len(), before.taints.len() + 1);
    let class = |patch: NodePatch| {
        let client = client.clone();
        async move { cluster::patch_node(&client, &patch).await.expect_err("refused").class() }
    };
    assert_eq!(class(patch).await, Class::Conflict);
    let present = NodePatch { resource_version: after.resource_version.clone(), ..cordon(&after) };
    assert_eq!(class(NodePatch { uid: another(), ..present.clone() }).await, Class::Mismatch);
    assert_eq!(class(NodePatch { node: name(side, 9), ..present.clone() }).await, Class::Gone);
    let twice = present.taints.clone().map(|taints| [taints.clone(), taints].concat());
    assert_eq!(class(NodePatch { taints: twice, ..present }).await, Class::Final);
}

async fn pods(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    for (pod, is) in
        [("done", Is::Succeeded), ("new", Is::Pending), ("sick", Is::Unready), ("web", Is::Ready)]
    {
        side.make_pod(pod, is).await;
    }
    let leaving = json!({"gracePeriodSeconds": 20});
    assert_eq!(side.delete(&side.path("pods", "sick"), &leaving).await.status, 200);
    let found = cluster::pods_on(&ours(side), &name(side, 1)).await.expect("it answers");
    let told: Vec<_> = found
        .iter()
        .map(|pod| (pod.key.name.as_str(), pod.phase, pod.ready, pod.deletion.is_some()))
        .collect();
    assert_eq!(
        told,
        [
            ("done", Phase::Succeeded, false, false),
            ("new", Phase::Pending, false, false),
            ("sick", Phase::Running, false, true),
            ("web", Phase::Running, true, false)
        ]
    );
    let web = &found[3];
    assert_eq!(
        (&web.owner, web.mirror, web.priority, web.grace),
        (&None, false, 0, Duration::from_secs(30))
    );
    assert_eq!(
        (web.labels["app"].as_str(), web.host_network, web.empty_dir),
        ("web", false, false)
    );
    let tolerated: Vec<_> = web.tolerations.iter().filter_map(|one| one.key.as_deref()).collect();
    assert_eq!(tolerated, ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]);
    assert_eq!(web.uid.as_str(), side.uid("pods", "web").await);
}

async fn budgets(side: &Side<'_>) {
    side.make_counted(
        &json!({"minAvailable": "50%"}),
        Count { allowed: 2, healthy: 4, desired: 2 },
    )
    .await;
    let broad = json!({"maxUnavailable": 0, "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]}});
    side.make_budget("broad", &broad).await;
    let all = cluster::budgets(&ours(side)).await.expect("it answers");
    let here: Vec<_> = all.iter().filter(|budget| budget.key.namespace == side.namespace).collect();
    let [broad, web] = here.as_slice() else { panic!("{here:?}") };
    assert_eq!(
        (web.rule.as_str(), web.allowed, web.healthy, web.desired, web.expected),
        ("minAvailable 50%", 2, 4, 2, 4)
    );
    assert_eq!((web.selector.labels["app"].as_str(), web.unhealthy_always), ("web", false));
    assert_eq!(
        (broad.rule.as_str(), broad.allowed, broad.unhealthy_always),
        ("maxUnavailable 0", 0, true)
    );
    assert_eq!(broad.selector.expressions[0].values, ["db"]);
}

async fn evictions(side: &Side<'_>) {
    let client = ours(side);
    side.make_node(1, &json!({})).await;
    for pod in ["web-1", "web-2"] {
        side.make_pod(pod, Is::Ready).await;
    }
    side.make_counted(&json!({"minAvailable": 1}), Count { allowed: 1, healthy: 2, desired: 1 })
        .await;
    let [one, two] = [removal(side, "web-1").await, removal(side, "web-2").await];
    cluster::evict(&client, &one).await.expect("it is granted");
    let refused = cluster::evict(&client, &two).await.expect_err("there is none left");
    assert_eq!(refused.class(), Class::Blocked);
    side.count("web", Count { allowed: 0, healthy: 1, desired: 1 }).await;
    let refused = cluster::evict(&client, &two).await.expect_err("there is none left");
    let words = "The disruption budget web needs 1 healthy pods and has 1 currently";
    assert_eq!((refused.class(), refused.refusal()), (Class::Blocked, Some(words)));
    side.make_budget("second", &json!({"maxUnavailable": 1})).await;
    let refused = cluster::evict(&client, &two).await.expect_err("it has two budgets");
    let words = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    assert_eq!((refused.class(), refused.refusal()), (Class::Blocked, Some(words)));
    let gone = Removal { pod: key(side, "web-9"), uid: another() };
    assert_eq!(cluster::evict(&client, &gone).await.expect_err("it is gone").class(), Class::Gone);
    let class = |wrong: Removal| {
        let client = client.clone();
        async move { cluster::evict(&client, &wrong).await.expect_err("it is another").class() }
    };
    side.make_pod_with("alone", Is::Ready, &json!({})).await;
    let wrong = Removal { uid: another(), ..removal(side, "alone").await };
    assert_eq!(class(wrong).await, Class::Mismatch);
    // Here the server tries for ten seconds before it says so.
    side.make_pod_with("new", Is::Pending, &json!({})).await;
    let wrong = Removal { uid: another(), ..removal(side, "new").await };
    assert_eq!(class(wrong).await, Class::Mismatch);
    cluster::evict(&client, &removal(side, "alone").await).await.expect("it is granted");
}

async fn deletions(side: &Side<'_>) {
    let client = ours(side);
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    let removal = removal(side, "web-1").await;
    let wrong = Removal { uid: another(), ..removal.clone() };
    assert_eq!(
        cluster::delete(&client, &wrong, 10).await.expect_err("it is another").class(),
        Class::Mismatch
    );
    cluster::delete(&client, &removal, 10).await.expect("it is deleted");
    assert_eq!(side.deletion("web-1").await["grace"], 10);
    cluster::delete(&client, &removal, 3).await.expect("it is sooner");
    assert_eq!(side.deletion("web-1").await["grace"], 3);
    let gone = Removal { pod: key(side, "web-9"), ..removal };
    assert_eq!(
        cluster::delete(&client, &gone, 10).await.expect_err("it is gone").class(),
        Class::Gone
    );
}

async fn notes(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    let (client, now) = (ours(side), Timestamp::from_millis(1_795_348_800_123));
    let about_pod =
        NoteSubject::Pod { pod: key(side, "web-1"), uid: removal(side, "web-1").await.uid };
    let about_node = NoteSubject::Node { name: name(side, 1), uid: read(side, 1).await.uid };
    for (about, warning) in [(about_pod, false), (about_node, true)] {
        let note = Note { about, warning, reason: "Evicted", text: "é".repeat(600) };
        cluster::note(&client, &note, now).await.expect("it is written");
        cluster::note(&client, &note, now).await.expect("the same once more is no error");
    }
    let path = format!("/api/v1/namespaces/{}/events", side.namespace);
    let list = side.get(&path).await.body;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");
    let nodes = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3D";
    let list = side.get(&format!("{nodes}{}", side.node_name(1))).await.body;
    assert_eq!(list["items"][0]["type"], "Warning", "{list}");
}

/// A watch ends at the first change, long before its time is over.
async fn watches(side: &Side<'_>) {
    const LONG: Duration = Duration::from_secs(20);
    let client = ours(side);
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    side.make_counted(&json!({"minAvailable": 1}), Count { allowed: 0, healthy: 1, desired: 1 })
        .await;
    let began = tokio::time::Instant::now();
    let version = side.raw(&side.path("pods", "")).await["metadata"]["resourceVersion"].clone();
    side.report("web-1", Is::Unready).await;
    cluster::pods_changed(&client, &name(side, 1), version.as_str(), LONG)
        .await
        .expect("it may be watched");
    let node = name(side, 1);
    let waits = cluster::pods_changed(&client, &node, None, LONG);
    let writes = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        side.report("web-1", Is::Ready).await;
    };
    futures_util::future::join(waits, writes).await.0.expect("it may be watched");
    side.count("web", Count { allowed: 1, healthy: 2, desired: 1 }).await;
    let names = ["web".to_owned()].into();
    cluster::budget_opened(&client, &side.namespace, &names, LONG)
        .await
        .expect("it may be watched");
    assert!(began.elapsed() < LONG, "each woke by itself");
}

/// Services, their endpoints, and volumes that hang on a node, as their controllers write them.
async fn services_and_volumes(side: &Side<'_>) {
    let (client, here) = (ours(side), name(side, 1));
    assert_eq!(
        cluster::volumes_on(&client, &here).await.expect("it answers"),
        Vec::<String>::new()
    );
    let port = |number: u32| json!({"port": 80, "targetPort": 8080, "nodePort": number});
    for (name, spec) in [
        ("web", json!({"type": "NodePort", "ports": [port(30_080)], "selector": {"app": "web"}})),
        (
            "local",
            json!({"type": "LoadBalancer", "ports": [port(30_081)], "selector": {"app": "web"},
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 30_082}),
        ),
        ("alias", json!({"type": "ExternalName", "externalName": "web.test"})),
        ("own", json!({"ports": [{"port": 80}]})),
    ] {
        let service = json!({"metadata": {"name": name}, "spec": spec});
        created(&side.post(&side.path("services", ""), &service).await);
    }
    let mut found = cluster::services(&client).await.expect("it answers");
    found.retain(|service| service.key.namespace == side.namespace);
    let told: Vec<_> = found
        .iter()
        .map(|one| {
            (one.key.name.as_str(), one.policy, one.node_ports.as_slice(), one.selector.len())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("local", TrafficPolicy::Local, &[30_081, 30_082][..], 1),
            ("web", TrafficPolicy::Cluster, &[30_080][..], 1)
        ]
    );
    let target = |pod: &str| json!({"kind": "Pod", "name": pod, "uid": another().as_str()});
    let full = json!([
        {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "nodeName": here.as_str(), "targetRef": target("a")},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": false}, "nodeName": here.as_str(), "targetRef": target("b")},
        {"addresses": ["10.0.0.3"], "conditions": {}, "targetRef": target("c")}]);
    for (name, service, endpoints) in [("web-1", "web", full), ("local-1", "local", json!([]))] {
        let slice = json!({"metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 8080}]});
        created(&side.post(&side.path("endpointslices", ""), &slice).await);
    }
    let keys = ["local", "web"].map(|service| key(side, service));
    let ready = cluster::endpoints(&client, &keys).await.expect("it answers");
    let nodes = |key| ready[key].iter().map(|one| one.node.clone()).collect::<Vec<_>>();
    assert_eq!((nodes(&keys[0]), nodes(&keys[1])), (vec![], vec![None, Some(here.clone())]));
    for (name, node) in [("one", side.node_name(1)), ("two", side.node_name(2))] {
        let attachment = json!({"metadata": {"name": format!("{}-{name}", side.namespace)},
            "spec": {"attacher": "ebs.csi.aws.com", "nodeName": node,
                "source": {"persistentVolumeName": format!("pv-{name}")}}});
        created(&side.post("/apis/storage.k8s.io/v1/volumeattachments", &attachment).await);
    }
    assert_eq!(cluster::volumes_on(&client, &here).await.expect("it answers"), ["pv-one"]);
}

/// Pods of one owner, found by the hash that the owner puts on them; another owner's may have the same.
async fn siblings(side: &Side<'_>) {
    let client = ours(side);
    let owner = |uid: &str| {
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": uid,
        "controller": true, "blockOwnerDeletion": true}])
    };
    let (ours, other) =
        ("3f8b3f0e-0000-4000-a000-000000000001", "3f8b3f0e-0000-4000-a000-000000000002");
    for (pod, uid, node) in
        [("a", ours, Some(1)), ("b", ours, Some(2)), ("c", ours, None), ("d", other, Some(2))]
    {
        let mut spec = json!({"containers": [{"name": "web", "image": "registry.test/web:1"}],
            "automountServiceAccountToken": false});
        if let Some(number) = node {
            spec["nodeName"] = side.node_name(number).into();
        }
        let pod = json!({"metadata": {"name": pod, "labels": {"pod-template-hash": "5d8f"},
            "ownerReferences": owner(uid)}, "spec": spec});
        created(&side.post(&side.path("pods", ""), &pod).await);
    }
    side.report("b", Is::Ready).await;
    let status = json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": "0/2 nodes are available"}]}});
    let path = format!("{}/status", side.path("pods", "c"));
    assert_eq!(side.patch(&path, MERGE, &status).await.status, 200);
    let pods = cluster::pods_on(&client, &name(side, 1)).await.expect("it answers");
    let [pod] = pods.as_slice() else { panic!("{pods:?}") };
    assert_eq!(pod.owner.as_ref().map(|owner| owner.uid.as_str()), Some(ours));
    let found = cluster::siblings(&client, &pods).await.expect("it answers");
    let told: Vec<_> = found
        .iter()
        .map(|one| {
            (
                one.key.name.as_str(),
                one.node.is_some(),
                one.ready,
                one.unschedulable,
                one.trouble.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("a", true, false, false, None),
            ("b", true, true, false, None),
            ("c", false, false, true, Some("Unschedulable: 0/2 nodes are available"))
        ]
    );
}
