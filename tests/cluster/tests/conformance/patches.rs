//! Patches of nodes: what they merge, what they require, and what validation refuses.

use crate::make::refusal;
use crate::side::{Case, MERGE, On, STRATEGIC, Side};
use serde_json::{Value, json};

pub(crate) const CASES: &[Case] = &[
    Case { name: "merges", on: On::Both, run: |side| Box::pin(merges(side)) },
    Case { name: "wrong_uid", on: On::Both, run: |side| Box::pin(wrong_uid(side)) },
    Case { name: "stale_version", on: On::Both, run: |side| Box::pin(stale_version(side)) },
    Case {
        name: "version_before_uid",
        on: On::Both,
        run: |side| Box::pin(version_before_uid(side)),
    },
    Case { name: "taints_are_one_value", on: On::Both, run: |side| Box::pin(taints(side)) },
    Case { name: "taints_refused", on: On::Both, run: |side| Box::pin(taints_refused(side)) },
    Case { name: "labels_refused", on: On::Both, run: |side| Box::pin(labels_refused(side)) },
    Case { name: "unchanged", on: On::Both, run: |side| Box::pin(unchanged(side)) },
    Case { name: "malformed", on: On::Both, run: |side| Box::pin(malformed(side)) },
    Case { name: "pods_step_aside", on: On::Both, run: |side| Box::pin(pods(side)) },
];

/// What a new node is tainted with until somebody finds it Ready.
const NEW: &str = "node.kubernetes.io/not-ready";

/// The node's taints but the one of a new node, as `key=value:effect`.
fn taints_of(node: &Value) -> Vec<String> {
    let text = |taint: &Value, field: &str| taint[field].as_str().unwrap_or_default().to_owned();
    let all = node["spec"]["taints"].as_array().into_iter().flatten();
    let ours = all.filter(|taint| taint["key"] != NEW);
    ours.map(|taint| {
        format!("{}={}:{}", text(taint, "key"), text(taint, "value"), text(taint, "effect"))
    })
    .collect()
}

async fn merges(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    let path = side.node_path(1);
    let node = side.raw(&path).await;
    let mut patch = json!({"metadata": {"uid": node["metadata"]["uid"],
        "resourceVersion": node["metadata"]["resourceVersion"],
        "labels": {"a": "1", "case": null}, "annotations": {"ebbtide.dev/departure": "x y"}},
        "spec": {"unschedulable": true}});
    let answer = side.patch(&format!("{path}?fieldValidation=Strict"), MERGE, &patch).await;
    assert_eq!((answer.status, answer.body["kind"].as_str()), (200, Some("Node")));
    assert_eq!(answer.body["apiVersion"], "v1");
    assert_eq!(answer.body["metadata"]["labels"], json!({"a": "1"}));
    assert_eq!(answer.body["metadata"]["annotations"]["ebbtide.dev/departure"], "x y");
    assert_eq!(answer.body["spec"]["unschedulable"], true);
    assert_ne!(answer.body["metadata"]["resourceVersion"], node["metadata"]["resourceVersion"]);
    assert_eq!(side.raw(&path).await["spec"]["unschedulable"], true);
    // The version of before is stale now; `false` takes the cordon off.
    assert_eq!(side.patch(&path, MERGE, &patch).await.status, 409);
    patch = json!({"spec": {"unschedulable": false}, "metadata": {"annotations": {"ebbtide.dev/departure": null}}});
    let answer = side.patch(&path, MERGE, &patch).await;
    assert_eq!(answer.status, 200);
    assert_ne!(answer.body["spec"]["unschedulable"], true);
    assert_eq!(answer.body["metadata"]["annotations"].get("ebbtide.dev/departure"), None);
}

fn invalid_uid(side: &Side<'_>) -> Value {
    let (name, why) = (side.node_name(1), "Invalid value: \"UID\": field is immutable");
    let name = name.replace(&side.namespace, "NS");
    let message = format!("Node \"{name}\" is invalid: metadata.uid: {why}");
    let cause = json!({"reason": "FieldValueInvalid", "message": why, "field": "metadata.uid"});
    refusal(422, "Invalid", &message, &json!({"name": name, "kind": "Node", "causes": [cause]}))
}

async fn wrong_uid(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    let patch = json!({"metadata": {"uid": "3f8b3f0e-0000-4000-a000-000000000000"},
        "spec": {"unschedulable": true}});
    for kind in [MERGE, STRATEGIC] {
        let answer = side.patch(&side.node_path(1), kind, &patch).await;
        assert_eq!((answer.status, answer.body), (422, invalid_uid(side)), "{kind}");
    }
    assert_ne!(side.raw(&side.node_path(1)).await["spec"]["unschedulable"], true);
}

fn modified(name: &str) -> Value {
    let message = format!(
        "Operation cannot be fulfilled on nodes \"{name}\": the object has been modified; please apply your changes to the latest version and try again"
    );
    refusal(409, "Conflict", &message, &json!({"name": name, "kind": "nodes"}))
}

async fn stale_version(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    let before = side.raw(&side.node_path(1)).await["metadata"]["resourceVersion"].clone();
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(side.patch(&side.node_path(1), MERGE, &label).await.status, 200);
    let patch = json!({"metadata": {"resourceVersion": before}, "spec": {"unschedulable": true}});
    for kind in [MERGE, STRATEGIC] {
        let answer = side.patch(&side.node_path(1), kind, &patch).await;
        assert_eq!((answer.status, answer.body), (409, modified("NS-1")), "{kind}");
    }
    assert_ne!(side.raw(&side.node_path(1)).await["spec"]["unschedulable"], true);
}

/// A node of the same name that came after the one that was read has another uid and another version.
async fn version_before_uid(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    let before = side.raw(&side.node_path(1)).await;
    assert_eq!(side.delete(&side.node_path(1), &Value::Null).await.status, 200);
    side.make_node(1, &json!({})).await;
    let patch = json!({"metadata": {"uid": before["metadata"]["uid"],
        "resourceVersion": before["metadata"]["resourceVersion"]}, "spec": {"unschedulable": true}});
    let answer = side.patch(&side.node_path(1), MERGE, &patch).await;
    assert_eq!((answer.status, answer.body), (409, modified("NS-1")));
}

/// Two writers who each know of their own taint: the second deletes the first's, unless it names the version it read.
async fn taints(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    let path = side.node_path(1);
    let theirs = json!([{"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"},
        {"key": "ebs.csi.aws.com/agent-not-ready", "effect": "NoExecute"}]);
    let ours = json!([{"key": "ebbtide.dev/departing", "effect": "NoSchedule"}]);
    for kind in [MERGE, STRATEGIC] {
        let before = side.raw(&path).await;
        let answer = side.patch(&path, kind, &json!({"spec": {"taints": theirs}})).await;
        assert_eq!(
            taints_of(&answer.body),
            [
                "ToBeDeletedByClusterAutoscaler=1:NoSchedule",
                "ebs.csi.aws.com/agent-not-ready=:NoExecute"
            ],
            "{kind}"
        );
        let careful = json!({"spec": {"taints": ours},
            "metadata": {"resourceVersion": before["metadata"]["resourceVersion"]}});
        assert_eq!(side.patch(&path, kind, &careful).await.status, 409, "{kind}");
        assert_eq!(taints_of(&side.raw(&path).await).len(), 2, "{kind}");
        let answer = side.patch(&path, kind, &json!({"spec": {"taints": ours}})).await;
        assert_eq!(taints_of(&answer.body), ["ebbtide.dev/departing=:NoSchedule"], "{kind}");
        let answer = side.patch(&path, kind, &json!({"spec": {"taints": null}})).await;
        assert_eq!(answer.body["spec"].get("taints"), None, "{kind}");
    }
}

/// Code, reason, and the causes.
fn invalid(answer: &crate::side::Answer) -> (u16, &str, Value) {
    let causes = answer.body["details"]["causes"].clone();
    (answer.status, answer.body["reason"].as_str().unwrap_or_default(), causes)
}

async fn taints_refused(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    let one = json!({"key": "a", "effect": "NoSchedule"});
    let twice = json!({"spec": {"taints": [one, one]}});
    let answer = side.patch(&side.node_path(1), MERGE, &twice).await;
    let shown = if side.is_old() {
        "core.Taint{Key:\"a\", Value:\"\", Effect:\"NoSchedule\", TimeAdded:<nil>}"
    } else {
        "{\"Key\":\"a\",\"Value\":\"\",\"Effect\":\"NoSchedule\",\"TimeAdded\":null}"
    };
    let message = format!("Duplicate value: {shown}: taints must be unique by key and effect pair");
    let cause =
        json!({"reason": "FieldValueDuplicate", "field": "metadata.taints[1]", "message": message});
    assert_eq!(invalid(&answer), (422, "Invalid", json!([cause])));
    let never = json!({"spec": {"taints": [{"key": "a", "effect": "Never"}]}});
    let answer = side.patch(&side.node_path(1), MERGE, &never).await;
    let message = "Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"";
    let cause = json!({"reason": "FieldValueNotSupported", "field": "metadata.taints[0].effect", "message": message});
    assert_eq!(invalid(&answer), (422, "Invalid", json!([cause])));
}

async fn labels_refused(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    let answer =
        side.patch(&side.node_path(1), MERGE, &json!({"metadata": {"labels": {"a": "-b"}}})).await;
    let why = "Invalid value: \"-b\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    assert_eq!(
        invalid(&answer),
        (
            422,
            "Invalid",
            json!([{"reason": "FieldValueInvalid", "field": "metadata.labels", "message": why}])
        )
    );
    let large = "x".repeat(262_144);
    let answer = side
        .patch(&side.node_path(1), MERGE, &json!({"metadata": {"annotations": {"a": large}}}))
        .await;
    let why = "Too long: may not be more than 262144 bytes";
    assert_eq!(
        invalid(&answer),
        (
            422,
            "Invalid",
            json!([{"reason": "FieldValueTooLong", "field": "metadata.annotations", "message": why}])
        )
    );
    let answer = side
        .patch(&side.node_path(1), MERGE, &json!({"spec": {"providerID": "aws:///eu-west-1a/i-2"}}))
        .await;
    assert_eq!(answer.status, 422, "{answer:?}");
}

/// A patch that changes nothing writes nothing: whoever waits for the node is not woken.
async fn unchanged(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    let before = side.raw(&side.node_path(1)).await;
    let patch = json!({"metadata": {"labels": before["metadata"]["labels"]}});
    let answer = side.patch(&side.node_path(1), MERGE, &patch).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
}

async fn malformed(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    let path = side.node_path(1);
    let strange = json!({"spec": {"taintz": []}});
    let answer = side.patch(&format!("{path}?fieldValidation=Strict"), MERGE, &strange).await;
    let cause = &answer.body["details"]["causes"][0];
    assert_eq!((answer.status, &answer.body["reason"]), (422, &json!("Invalid")), "{answer:?}");
    assert_eq!((&cause["field"], &cause["reason"]), (&json!("patch"), &json!("FieldValueInvalid")));
    let message = cause["message"].as_str().unwrap_or_default();
    assert!(message.ends_with("strict decoding error: unknown field \"spec.taintz\""), "{message}");
    let answer = side.patch(&path, "text/plain", &json!({"spec": {}})).await;
    assert_eq!(
        (answer.status, answer.body["reason"].as_str()),
        (415, Some("UnsupportedMediaType")),
        "{answer:?}"
    );
    let answer = side.patch(&side.node_path(9), MERGE, &json!({"spec": {}})).await;
    let details = json!({"name": "NS-9", "kind": "nodes"});
    let body = refusal(404, "NotFound", "nodes \"NS-9\" not found", &details);
    assert_eq!((answer.status, answer.body), (404, body));
}

/// A pod's labels may be changed while it runs, its containers may not.
async fn pods(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", crate::make::Is::Ready).await;
    let path = side.path("pods", "web-1");
    let found = side.raw(&path).await;
    let patch = json!({"metadata": {"uid": found["metadata"]["uid"], "labels": {"app": null},
        "resourceVersion": found["metadata"]["resourceVersion"], "annotations": {"ebbtide.dev/aside": "app=web"}}});
    let answer = side.patch(&format!("{path}?fieldValidation=Strict"), MERGE, &patch).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["metadata"].get("labels"), None);
    assert_eq!(side.patch(&path, MERGE, &patch).await.status, 409);
    let answer = side.patch(&path, MERGE, &json!({"spec": {"nodeName": "another"}})).await;
    assert_eq!((answer.status, answer.body["reason"].as_str()), (422, Some("Invalid")));
}
