//! Lists and reads: selectors, pages, and what is in them.

use crate::make::{Is, refusal};
use crate::side::{Case, MERGE, On, Side};
use serde_json::{Value, json};

pub(crate) const CASES: &[Case] = &[
    Case { name: "one_object", on: On::Both, run: |side| Box::pin(one_object(side)) },
    Case { name: "field_selectors", on: On::Both, run: |side| Box::pin(fields(side)) },
    Case {
        name: "field_selectors_refused",
        on: On::Both,
        run: |side| Box::pin(fields_refused(side)),
    },
    Case { name: "label_selectors", on: On::Both, run: |side| Box::pin(labels(side)) },
    Case {
        name: "label_selectors_refused",
        on: On::Both,
        run: |side| Box::pin(labels_refused(side)),
    },
    Case { name: "pages", on: On::Both, run: |side| Box::pin(pages(side)) },
    Case { name: "pages_refused", on: On::Both, run: |side| Box::pin(pages_refused(side)) },
    Case { name: "pages_expired", on: On::Alone, run: |side| Box::pin(pages_expired(side)) },
];

/// The names in a list.
fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

async fn one_object(side: &Side<'_>) {
    side.make_node(1, &json!({"unschedulable": true})).await;
    let node = side.get(&side.node_path(1)).await;
    assert_eq!(
        (node.status, &node.body["kind"], &node.body["apiVersion"]),
        (200, &json!("Node"), &json!("v1"))
    );
    assert_eq!(node.body["metadata"]["name"], "NS-1");
    assert_eq!(node.body["metadata"]["uid"], "UID");
    assert!(node.body["metadata"]["resourceVersion"].is_string());
    assert_eq!(node.body["metadata"]["labels"], json!({"case": "NS"}));
    assert_eq!(node.body["spec"]["providerID"], "aws:///eu-west-1a/i-00000000000000001");
    assert_eq!(node.body["spec"]["unschedulable"], true);
    let taints = node.body["spec"]["taints"].as_array().expect("a new node is not ready");
    assert!(
        taints.contains(&json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}))
    );
    let answer = side.get(&side.node_path(9)).await;
    let details = json!({"name": "NS-9", "kind": "nodes"});
    assert_eq!(
        (answer.status, answer.body),
        (404, refusal(404, "NotFound", "nodes \"NS-9\" not found", &details))
    );
    side.make_pod("web-1", Is::Ready).await;
    let pod = side.get(&side.path("pods", "web-1")).await.body;
    assert_eq!(
        (&pod["metadata"]["namespace"], &pod["spec"]["nodeName"]),
        (&json!("NS"), &json!("NS-1"))
    );
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 30);
    assert_eq!(pod["spec"]["priority"], 0);
    assert_eq!(pod["status"]["phase"], "Running");
    // Admission lets each pod stay for five minutes on a node that is lost.
    let tolerates = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    let lost =
        [tolerates("node.kubernetes.io/not-ready"), tolerates("node.kubernetes.io/unreachable")];
    assert_eq!(pod["spec"]["tolerations"], json!(lost));
    side.make_budget("web", &json!({"maxUnavailable": "10%"})).await;
    let budget = side.get(&side.path("poddisruptionbudgets", "web")).await.body;
    assert_eq!(
        (&budget["kind"], &budget["apiVersion"]),
        (&json!("PodDisruptionBudget"), &json!("policy/v1"))
    );
    assert_eq!(
        budget["spec"],
        json!({"maxUnavailable": "10%", "selector": {"matchLabels": {"app": "web"}}})
    );
    assert_eq!(
        budget["status"],
        json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
    );
    side.count("web", crate::make::Count { allowed: 2, healthy: 3, desired: 1 }).await;
    let budget = side.get(&side.path("poddisruptionbudgets", "web")).await.body;
    assert_eq!(budget["status"]["disruptionsAllowed"], 2);
}

async fn fields(side: &Side<'_>) {
    let label = format!("labelSelector=case%3D{}", side.namespace);
    side.make_node(1, &json!({"unschedulable": true})).await;
    side.make_node(2, &json!({})).await;
    let nodes = |field: &str| format!("/api/v1/nodes?{label}&fieldSelector={field}");
    for (field, found) in [
        ("spec.unschedulable%3Dtrue", vec!["NS-1"]),
        ("spec.unschedulable%3Dfalse", vec!["NS-2"]),
        ("spec.unschedulable!%3Dtrue", vec!["NS-2"]),
        ("spec.unschedulable%3D%3Dtrue", vec!["NS-1"]),
        ("", vec!["NS-1", "NS-2"]),
    ] {
        let answer = side.get(&nodes(field)).await;
        assert_eq!((answer.status, names(&answer.body)), (200, found), "{field}");
    }
    let one = format!("metadata.name%3D{}", side.node_name(2));
    assert_eq!(names(&side.get(&nodes(&one)).await.body), ["NS-2"]);
    for (pod, is) in [("a", Is::Ready), ("b", Is::Pending)] {
        side.make_pod(pod, is).await;
    }
    let here = side.node_name(1);
    for (field, found) in [
        (format!("spec.nodeName%3D{here}"), vec!["a", "b"]),
        (format!("spec.nodeName%3D{here},status.phase%3DRunning"), vec!["a"]),
        (format!("spec.nodeName%3D{here},status.phase!%3DRunning"), vec!["b"]),
        (format!("spec.nodeName%3D{here},metadata.name%3Db"), vec!["b"]),
        (format!("spec.nodeName%3D{here},metadata.namespace!%3D{}", side.namespace), vec![]),
    ] {
        let answer = side.get(&format!("/api/v1/pods?fieldSelector={field}")).await;
        assert_eq!((answer.status, names(&answer.body)), (200, found), "{field}");
    }
    side.make_budget("web", &json!({"maxUnavailable": 1})).await;
    side.make_budget("db", &json!({"maxUnavailable": 1})).await;
    let answer = side
        .get(&format!("{}?fieldSelector=metadata.name%3Ddb", side.path("poddisruptionbudgets", "")))
        .await;
    assert_eq!(names(&answer.body), ["db"]);
}

async fn fields_refused(side: &Side<'_>) {
    let budgets = side.path("poddisruptionbudgets", "");
    for (path, message) in [
        (
            "/api/v1/nodes?fieldSelector=spec.providerID%3Dx",
            "field label not supported: spec.providerID",
        ),
        (
            "/api/v1/nodes?fieldSelector=metadata.namespace%3Dx",
            "field label not supported: metadata.namespace",
        ),
        (
            "/api/v1/pods?fieldSelector=spec.priority%3D1",
            "field label not supported: spec.priority",
        ),
        ("/api/v1/pods?fieldSelector=metadata.uid%3Dx", "field label not supported: metadata.uid"),
    ] {
        let answer = side.get(path).await;
        assert_eq!(
            (answer.status, answer.body),
            (400, refusal(400, "BadRequest", message, &Value::Null)),
            "{path}"
        );
    }
    let answer = side.get(&format!("{budgets}?fieldSelector=status.currentHealthy%3D1")).await;
    assert_eq!((answer.status, answer.body["reason"].as_str()), (400, Some("BadRequest")));
    let message = answer.body["message"].as_str().unwrap_or_default();
    assert_eq!(
        message,
        "\"status.currentHealthy\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    );
    let answer = side.get("/api/v1/nodes?fieldSelector=spec.unschedulable").await;
    let message = "invalid selector: 'spec.unschedulable'; can't understand 'spec.unschedulable'";
    assert_eq!((answer.status, answer.body["reason"].as_str()), (400, Some("BadRequest")));
    assert!(
        answer.body["message"].as_str().is_some_and(|text| text.contains(message)),
        "{}",
        answer.body
    );
}

async fn labels(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    for (pod, labels) in [
        ("a", json!({"app": "web", "pod-template-hash": "1"})),
        ("b", json!({"app": "web", "pod-template-hash": "2"})),
        ("c", json!({"app": "db", "controller-revision-hash": "db-1"})),
        ("d", json!({})),
    ] {
        side.make_pod_with(pod, Is::Ready, &labels).await;
    }
    for (selector, found) in [
        ("app%3Dweb", vec!["a", "b"]),
        ("app%3D%3Ddb", vec!["c"]),
        ("app!%3Dweb", vec!["c", "d"]),
        ("pod-template-hash+in+(1,2)", vec!["a", "b"]),
        ("pod-template-hash+in+(2,3)", vec!["b"]),
        ("pod-template-hash+notin+(1)", vec!["b", "c", "d"]),
        ("app", vec!["a", "b", "c"]),
        ("!app", vec!["d"]),
        ("app%3Dweb,pod-template-hash%3D1", vec!["a"]),
        ("", vec!["a", "b", "c", "d"]),
    ] {
        let answer = side.get(&format!("{}?labelSelector={selector}", side.path("pods", ""))).await;
        assert_eq!((answer.status, names(&answer.body)), (200, found), "{selector}");
    }
}

async fn labels_refused(side: &Side<'_>) {
    for selector in ["app+in+web", "a+b", "%3Dx", "app+like+(x)"] {
        let answer = side.get(&format!("{}?labelSelector={selector}", side.path("pods", ""))).await;
        assert_eq!(
            (answer.status, answer.body["reason"].as_str()),
            (400, Some("BadRequest")),
            "{selector}: {answer:?}"
        );
    }
}

async fn pages(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    for number in 0..5 {
        side.make_pod(&format!("web-{number}"), Is::Ready).await;
    }
    let path = side.path("pods", "");
    let whole = side.get(&path).await;
    assert_eq!((&whole.body["kind"], &whole.body["apiVersion"]), (&json!("PodList"), &json!("v1")));
    assert!(whole.body["metadata"]["resourceVersion"].is_string());
    assert_eq!(whole.body["metadata"].get("continue"), None);
    assert_eq!(whole.body["items"][0].get("kind"), None, "an item says not what it is");
    assert_eq!(names(&whole.body).len(), 5);
    let first = side.raw(&format!("{path}?limit=2")).await;
    assert_eq!(names(&first), ["web-0", "web-1"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    let token = first["metadata"]["continue"].as_str().expect("there is more").to_owned();
    // What is made meanwhile is not in the pages that follow.
    side.make_pod("web-9", Is::Ready).await;
    let second = side.raw(&format!("{path}?limit=2&continue={token}")).await;
    assert_eq!(names(&second), ["web-2", "web-3"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().expect("there is more").to_owned();
    let last = side.raw(&format!("{path}?limit=2&continue={token}")).await;
    assert_eq!(names(&last), ["web-4"]);
    assert_eq!(last["metadata"].get("continue"), None);
    assert_eq!(last["metadata"].get("remainingItemCount"), None);
    // With a selector nobody counts what is left.
    let chosen = side.raw(&format!("{path}?limit=2&labelSelector=app%3Dweb")).await;
    assert!(chosen["metadata"]["continue"].is_string());
    assert_eq!(chosen["metadata"].get("remainingItemCount"), None);
    let none = side.get(&format!("{path}?labelSelector=app%3Dnone")).await;
    assert_eq!((none.status, &none.body["items"]), (200, &json!([])));
}

async fn pages_refused(side: &Side<'_>) {
    let answer = side.get(&format!("{}?limit=2&continue=zz.zz", side.path("pods", ""))).await;
    assert_eq!(
        (answer.status, answer.body["reason"].as_str()),
        (400, Some("BadRequest")),
        "{answer:?}"
    );
    let message = answer.body["message"].as_str().unwrap_or_default();
    assert!(message.contains("continue key is not valid: illegal base64 data"), "{message}");
}

/// A token that is older than what etcd remembers: the list begins anew.
async fn pages_expired(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    for number in 0..3 {
        side.make_pod(&format!("web-{number}"), Is::Ready).await;
    }
    let path = side.path("pods", "");
    let first = side.raw(&format!("{path}?limit=2")).await;
    let token = first["metadata"]["continue"].as_str().expect("there is more").to_owned();
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(side.patch(&side.path("pods", "web-2"), MERGE, &patch).await.status, 200);
    side.forget_history().await;
    let answer = side.get(&format!("{path}?limit=2&continue={token}")).await;
    assert_eq!(
        (answer.status, answer.body["reason"].as_str()),
        (410, Some("Expired")),
        "{answer:?}"
    );
    assert_eq!(answer.body["code"], 410);
}
