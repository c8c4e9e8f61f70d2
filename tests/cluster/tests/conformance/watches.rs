//! Watches: what they say of a change, with which they begin, and how they end.

use crate::make::Is;
use crate::side::{Case, MERGE, On, Side};
use serde_json::{Value, json};

pub(crate) const CASES: &[Case] = &[
    Case { name: "changes_since_a_version", on: On::Both, run: |side| Box::pin(since(side)) },
    Case { name: "changes_under_way", on: On::Both, run: |side| Box::pin(under_way(side)) },
    Case { name: "without_a_version", on: On::Both, run: |side| Box::pin(without(side)) },
    Case { name: "bookmarks", on: On::Both, run: |side| Box::pin(bookmarks(side)) },
    Case { name: "expired", on: On::Alone, run: |side| Box::pin(expired(side)) },
    Case { name: "refused", on: On::Both, run: |side| Box::pin(refused(side)) },
];

/// Type and name of each event.
fn told(events: &[(String, Value)]) -> Vec<(&str, &str)> {
    events
        .iter()
        .map(|(kind, object)| {
            (kind.as_str(), object["metadata"]["name"].as_str().unwrap_or_default())
        })
        .collect()
}

async fn version(side: &Side<'_>, path: &str) -> String {
    let list = side.raw(&format!("{path}?limit=1")).await;
    list["metadata"]["resourceVersion"].as_str().expect("a list has one").to_owned()
}

async fn since(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("before", Is::Ready).await;
    let path = side.path("pods", "");
    let from = version(side, &path).await;
    side.make_pod("web-1", Is::Pending).await;
    side.report("web-1", Is::Ready).await;
    let at_once = json!({"gracePeriodSeconds": 0});
    assert_eq!(side.delete(&side.path("pods", "web-1"), &at_once).await.status, 200);
    let events =
        side.watch(&format!("{path}?watch=true&resourceVersion={from}&timeoutSeconds=2")).await;
    // A deletion without grace marks the pod before it removes it.
    let changes = ["ADDED", "MODIFIED", "MODIFIED", "DELETED"].map(|kind| (kind, "web-1"));
    assert_eq!(told(&events), changes);
    assert_eq!(events[1].1["kind"], "Pod");
    assert_eq!(events[1].1["status"]["phase"], "Running");
    assert_eq!(events[2].1["metadata"]["deletionGracePeriodSeconds"], 0);
    // The version in the last event is that of the deletion: whoever goes on from there sees it not again.
    let from = events[3].1["metadata"]["resourceVersion"].as_str().expect("it has one").to_owned();
    let events =
        side.watch(&format!("{path}?watch=true&resourceVersion={from}&timeoutSeconds=2")).await;
    assert_eq!(told(&events), []);
}

/// A selector makes a change look different: what begins to match is added, what ceases to is deleted.
async fn under_way(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod_with("web-1", Is::Ready, &json!({"app": "db"})).await;
    let path = side.path("pods", "");
    let from = version(side, &path).await;
    let url = format!(
        "{path}?watch=true&resourceVersion={from}&timeoutSeconds=5&labelSelector=app%3Dweb"
    );
    let changes = async {
        for app in ["web", "web2", "web"] {
            let patch = json!({"metadata": {"labels": {"app": app}}});
            assert_eq!(side.patch(&side.path("pods", "web-1"), MERGE, &patch).await.status, 200);
        }
        let patch = json!({"metadata": {"annotations": {"a": "b"}}});
        assert_eq!(side.patch(&side.path("pods", "web-1"), MERGE, &patch).await.status, 200);
    };
    let (events, ()) = futures_util::future::join(side.watch(&url), changes).await;
    assert_eq!(
        told(&events),
        [("ADDED", "web-1"), ("DELETED", "web-1"), ("ADDED", "web-1"), ("MODIFIED", "web-1")]
    );
    let url = format!(
        "/api/v1/pods?watch=true&resourceVersion={from}&timeoutSeconds=2&fieldSelector=spec.nodeName%3D{}",
        side.node_name(1)
    );
    assert_eq!(told(&side.watch(&url).await).len(), 4, "by node");
}

/// It begins with what is there.
async fn without(side: &Side<'_>) {
    for name in ["db", "web"] {
        side.make_budget(name, &json!({"maxUnavailable": 1})).await;
    }
    let path = side.path("poddisruptionbudgets", "");
    for version in ["", "&resourceVersion=0"] {
        let events = side.watch(&format!("{path}?watch=true&timeoutSeconds=2{version}")).await;
        let mut told = told(&events);
        told.sort_unstable();
        assert_eq!(told, [("ADDED", "db"), ("ADDED", "web")], "{version}");
    }
    let events = side
        .watch(&format!("{path}?watch=1&timeoutSeconds=2&fieldSelector=metadata.name%3Dweb"))
        .await;
    assert_eq!(told(&events), [("ADDED", "web")]);
}

/// Whoever asks for bookmarks may get some: of a type of their own, without a name, with a version to go on from.
async fn bookmarks(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    let path = side.path("pods", "");
    let from = version(side, &path).await;
    side.make_pod("web-1", Is::Pending).await;
    let url = format!(
        "{path}?watch=true&resourceVersion={from}&timeoutSeconds=2&allowWatchBookmarks=true"
    );
    let events = side.watch(&url).await;
    let changes: Vec<_> = events.into_iter().filter(|(kind, _)| kind != "BOOKMARK").collect();
    assert_eq!(told(&changes), [("ADDED", "web-1")]);
    // Otherwise they come when they like; at the end of what is there at once, but not from old servers.
    if side.is_old() || side.is_sandbox() {
        return;
    }
    let url = format!(
        "{path}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=2"
    );
    let events = side.watch(&url).await;
    assert_eq!(told(&events), [("ADDED", "web-1"), ("BOOKMARK", "")]);
    let bookmark = &events[1].1;
    assert_eq!(bookmark["kind"], "Pod");
    assert!(bookmark["metadata"]["resourceVersion"].is_string(), "{bookmark}");
}

/// A version that is no longer known ends the watch with an event, not with a status.
async fn expired(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    side.forget_history().await;
    let events = side
        .watch(&format!("{}?watch=true&resourceVersion=1&timeoutSeconds=5", side.path("pods", "")))
        .await;
    let [(kind, status)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(kind, "ERROR");
    assert_eq!(
        (&status["kind"], &status["reason"], &status["code"]),
        (&json!("Status"), &json!("Expired"), &json!(410))
    );
    assert!(
        status["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("too old resource version: 1 (")),
        "{status}"
    );
}

async fn refused(side: &Side<'_>) {
    let answer = side
        .get("/api/v1/nodes?watch=true&timeoutSeconds=2&fieldSelector=spec.providerID%3Dx")
        .await;
    assert_eq!(
        (answer.status, answer.body["reason"].as_str()),
        (400, Some("BadRequest")),
        "{answer:?}"
    );
}
