//! WATCH.

use crate::{add_web, cordon, evict, in_cluster, pass, web};
use sandbox::World;
use sandbox::kubernetes::{Request, watch_since};
use serde_json::{Value, json};

fn watch(
    world: &mut World,
    path: &str,
    query: &[(&str, &str)],
    since: u64,
) -> Vec<(String, Value)> {
    let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let request = Request {
        method: "GET".to_owned(),
        path: path.to_owned(),
        query: query.chain([("watch".to_owned(), "1".to_owned())]).collect(),
        ..Request::default()
    };
    let lines = watch_since(world, &request, since).expect("new enough");
    let event = |line: Vec<u8>| {
        assert_eq!(line.last(), Some(&b'\n'));
        let event: Value = serde_json::from_slice(&line).expect("JSON");
        (event["type"].as_str().expect("a type").to_owned(), event["object"].clone())
    };
    lines.into_iter().map(event).collect()
}

#[test]
fn a_watch_tells_what_happened_since() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(1));
        let since = world.kubernetes.resource_version();
        assert!(watch(world, "/api/v1/pods", &[], since).is_empty());
        evict(world, &pods[0], &json!({}));
        pass(world, 20_000);
        let events = watch(world, "/api/v1/pods", &[], since);
        let of = |name: &str| -> Vec<&str> {
            let mine = events.iter().filter(|(_, pod)| pod["metadata"]["name"] == name);
            mine.map(|(kind, _)| kind.as_str()).collect()
        };
        let old = of(&pods[0]);
        assert_eq!(old.first().copied(), Some("MODIFIED"));
        assert_eq!(old.last().copied(), Some("DELETED"));
        let new = &crate::ready_pods(world)[0];
        assert_eq!(of(new).first().copied(), Some("ADDED"));
        let versions: Vec<u64> = events
            .iter()
            .map(|(_, pod)| {
                pod["metadata"]["resourceVersion"]
                    .as_str()
                    .expect("text")
                    .parse()
                    .expect("a number")
            })
            .collect();
        assert!(versions.is_sorted());
        assert!(versions.iter().all(|version| *version > since));
        assert_eq!(events[0].1["kind"], "Pod");
        // Each line shows the object as it was then, not as it is now.
        assert!(events[0].1["metadata"]["deletionTimestamp"].is_null());
        assert!(events[1].1["metadata"]["deletionTimestamp"].is_string());
    });
}

#[test]
fn a_watch_from_nowhere_begins_with_all_there_is() {
    in_cluster(1, |world| {
        let events = watch(world, "/api/v1/nodes", &[], 0);
        assert_eq!(events.len(), 3);
        assert!(events.iter().all(|(kind, _)| kind == "ADDED"));
    });
}

#[test]
fn a_selector_turns_changes_into_comings_and_goings() {
    in_cluster(1, |world| {
        let query = [("fieldSelector", "spec.unschedulable=true")];
        let since = world.kubernetes.resource_version();
        cordon(world, "ip-10-0-1-1");
        let events = watch(world, "/api/v1/nodes", &query, since);
        assert_eq!(events.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), ["ADDED"]);
        pass(world, 1_000);
        let since = world.kubernetes.resource_version();
        let body = json!({"spec": {"unschedulable": null}});
        crate::call_as(world, "PATCH", "/api/v1/nodes/ip-10-0-1-1", (crate::MERGE, &body));
        let events = watch(world, "/api/v1/nodes", &query, since);
        assert_eq!(events.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), ["DELETED"]);
    });
}

#[test]
fn a_watch_from_too_long_ago_is_gone() {
    in_cluster(1, |world| {
        let since = world.kubernetes.resource_version();
        cordon(world, "ip-10-0-1-1");
        world.kubernetes.store.compact();
        let request = Request { path: "/api/v1/nodes".to_owned(), ..Request::default() };
        let refusal = watch_since(world, &request, since).expect_err("too old");
        let body: Value = serde_json::from_slice(&refusal.body).expect("JSON");
        assert_eq!((refusal.status, &body["reason"]), (410, &json!("Expired")));
        let now = world.kubernetes.resource_version();
        assert_eq!(body["message"], format!("too old resource version: {since} ({now})"));
        assert!(watch_since(world, &request, now).is_ok());
    });
}
