//! Deletions of pods: grace, a second request, preconditions.

use crate::make::{Is, refusal};
use crate::side::{Case, On, Side};
use serde_json::{Value, json};

pub(crate) const CASES: &[Case] = &[
    Case { name: "grace", on: On::Both, run: |side| Box::pin(grace(side)) },
    Case { name: "a_second_one_only_shortens", on: On::Both, run: |side| Box::pin(second(side)) },
    Case { name: "nothing_runs", on: On::Both, run: |side| Box::pin(nothing_runs(side)) },
    Case { name: "finalizers", on: On::Both, run: |side| Box::pin(finalizers(side)) },
    Case { name: "preconditions", on: On::Both, run: |side| Box::pin(preconditions(side)) },
    Case { name: "dry_run", on: On::Both, run: |side| Box::pin(dry_run(side)) },
    Case { name: "missing", on: On::Both, run: |side| Box::pin(missing(side)) },
];

fn terminating(grace: u32) -> Value {
    json!({"grace": grace, "terminating": true, "why": null})
}

/// Seconds between two times of an object.
fn seconds_between(object: &Value, from: &str, to: &str) -> f64 {
    let at = |field: &str| {
        let text = object["metadata"][field].as_str().expect(field);
        decision::time::Timestamp::parse_rfc3339(text).expect(field)
    };
    at(to).since(at(from)).as_secs_f64()
}

async fn grace(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    for (pod, options, grace) in [
        ("own", Value::Null, 30),
        ("shorter", json!({"gracePeriodSeconds": 5}), 5),
        ("longer", json!({"gracePeriodSeconds": 300}), 300),
    ] {
        side.make_pod(pod, Is::Ready).await;
        let answer = side.delete(&side.path("pods", pod), &options).await;
        assert_eq!((answer.status, answer.body["kind"].as_str()), (200, Some("Pod")), "{pod}");
        assert_eq!(answer.body["metadata"]["deletionGracePeriodSeconds"], grace, "{pod}");
        assert_eq!(side.deletion(pod).await, terminating(grace), "{pod}");
        // The time is when it ends, not when it was asked for.
        let found = side.raw(&side.path("pods", pod)).await;
        let ends_in = seconds_between(&found, "creationTimestamp", "deletionTimestamp");
        assert!((ends_in - f64::from(grace)).abs() <= 5.0, "{pod}: {ends_in}");
    }
    side.make_pod("at-once", Is::Ready).await;
    let answer =
        side.delete(&side.path("pods", "at-once"), &json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(side.deletion("at-once").await, json!("gone"));
}

async fn second(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    let path = side.path("pods", "web-1");
    for (asked, left) in [(20, 20), (60, 20), (20, 20), (5, 5)] {
        let answer = side.delete(&path, &json!({"gracePeriodSeconds": asked})).await;
        assert_eq!(answer.status, 200, "{asked}");
        assert_eq!(side.deletion("web-1").await, terminating(left), "{asked}");
    }
    assert_eq!(side.delete(&path, &Value::Null).await.status, 200);
    assert_eq!(side.deletion("web-1").await, terminating(5), "no grace asked for");
}

/// A pod that has ended waits for no kubelet.
async fn nothing_runs(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("done", Is::Succeeded).await;
    let answer = side.delete(&side.path("pods", "done"), &json!({"gracePeriodSeconds": 20})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(side.deletion("done").await, json!("gone"));
}

async fn finalizers(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("kept", Is::Ready).await;
    let path = side.path("pods", "kept");
    let held = json!({"metadata": {"finalizers": ["test.dev/hold"]}});
    assert_eq!(side.patch(&path, crate::side::MERGE, &held).await.status, 200);
    assert_eq!(side.delete(&path, &json!({"gracePeriodSeconds": 0})).await.status, 200);
    assert_eq!(side.deletion("kept").await, terminating(0));
    let free = json!({"metadata": {"finalizers": null}});
    assert_eq!(side.patch(&path, crate::side::MERGE, &free).await.status, 200);
    assert_eq!(side.deletion("kept").await, json!("gone"));
}

async fn preconditions(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    let path = side.path("pods", "web-1");
    let another = json!({"preconditions": {"uid": "3f8b3f0e-0000-4000-a000-000000000000"}});
    let answer = side.delete(&path, &another).await;
    let message = "Operation cannot be fulfilled on Pod \"web-1\": the UID in the precondition (UID) does not match the UID in record (UID). The object might have been deleted and then recreated";
    let details = json!({"name": "web-1", "kind": "Pod"});
    assert_eq!((answer.status, answer.body), (409, refusal(409, "Conflict", message, &details)));
    let found = side.raw(&path).await;
    let version = found["metadata"]["resourceVersion"].as_str().expect("it has one").to_owned();
    let answer = side.delete(&path, &json!({"preconditions": {"resourceVersion": "1"}})).await;
    let message = format!(
        "Operation cannot be fulfilled on Pod \"web-1\": the ResourceVersion in the precondition (1) does not match the ResourceVersion in record ({version}). The object might have been modified"
    );
    assert_eq!((answer.status, answer.body), (409, refusal(409, "Conflict", &message, &details)));
    assert_eq!(side.deletion("web-1").await["terminating"], false);
    let uid = side.uid("pods", "web-1").await;
    let right =
        json!({"gracePeriodSeconds": 7, "preconditions": {"uid": uid, "resourceVersion": version}});
    assert_eq!(side.delete(&path, &right).await.status, 200);
    assert_eq!(side.deletion("web-1").await, terminating(7));
}

async fn dry_run(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    let path = format!("{}?dryRun=All", side.path("pods", "web-1"));
    assert_eq!(side.delete(&path, &Value::Null).await.status, 200);
    assert_eq!(side.deletion("web-1").await["terminating"], false);
}

async fn missing(side: &Side<'_>) {
    let answer = side.delete(&side.path("pods", "web-9"), &Value::Null).await;
    let details = json!({"name": "web-9", "kind": "pods"});
    let body = refusal(404, "NotFound", "pods \"web-9\" not found", &details);
    assert_eq!((answer.status, answer.body), (404, body));
}
