//! Events of events.k8s.io as they are written, and as people look for them.

use crate::make::created;
use crate::side::{Case, On, Side};
use serde_json::{Value, json};

pub(crate) const CASES: &[Case] = &[
    Case { name: "written", on: On::Both, run: |side| Box::pin(written(side)) },
    Case { name: "refused", on: On::Both, run: |side| Box::pin(refused(side)) },
];

fn event(side: &Side<'_>, name: &str) -> Value {
    json!({"apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": name, "namespace": side.namespace},
        "eventTime": "2026-11-22T12:00:00.000000Z", "reportingController": "ebbtide.dev",
        "reportingInstance": "ebbtide.dev", "action": "Evicted", "reason": "Evicted",
        "regarding": {"apiVersion": "v1", "kind": "Pod", "name": "web-1", "namespace": side.namespace,
            "uid": "3f8b3f0e-0000-4000-a000-000000000000"},
        "note": "evicted for departure", "type": "Normal"})
}

async fn written(side: &Side<'_>) {
    let path = side.path("events", "");
    let answer = side.post(&format!("{path}?fieldValidation=Strict"), &event(side, "one")).await;
    created(&answer);
    assert_eq!(
        (&answer.body["kind"], &answer.body["apiVersion"]),
        (&json!("Event"), &json!("events.k8s.io/v1"))
    );
    assert_eq!(
        (&answer.body["note"], &answer.body["regarding"]["name"]),
        (&json!("evicted for departure"), &json!("web-1"))
    );
    let again = side.post(&path, &event(side, "one")).await;
    assert_eq!(
        (again.status, again.body["reason"].as_str()),
        (409, Some("AlreadyExists")),
        "{again:?}"
    );
    // `kubectl describe` looks in the old group, where the fields have other names.
    let old = format!(
        "/api/v1/namespaces/{}/events?fieldSelector=involvedObject.name%3Dweb-1",
        side.namespace
    );
    let list = side.get(&old).await.body;
    assert_eq!(list["items"][0]["message"], "evicted for departure", "{list}");
    assert_eq!(list["items"][0]["involvedObject"]["kind"], "Pod");
    assert_eq!(list["items"][0]["reportingComponent"], "ebbtide.dev");
}

async fn refused(side: &Side<'_>) {
    let path = side.path("events", "");
    for (field, value, status, reason) in [
        ("note", json!("x".repeat(1_025)), 422, "Invalid"),
        ("action", json!(""), 422, "Invalid"),
        ("reportingController", json!(""), 422, "Invalid"),
        ("type", json!("Strange"), 422, "Invalid"),
        ("eventTime", json!("2026-11-22T12:00:00Z"), 400, "BadRequest"),
    ] {
        let mut event = event(side, "two");
        event[field] = value;
        let answer = side.post(&path, &event).await;
        assert_eq!(
            (answer.status, answer.body["reason"].as_str()),
            (status, Some(reason)),
            "{field}: {answer:?}"
        );
    }
    let mut longest = event(side, "three");
    longest["note"] = "x".repeat(1_024).into();
    created(&side.post(&path, &longest).await);
}
