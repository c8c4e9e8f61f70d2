//! EventBridge's PutEvents: what it takes, what it refuses, and whom it throttles.

use super::{Answered, after, answered, bodies, with_nodes};
use sandbox::World;
use sandbox::aws::Request;
use sandbox::aws::budget::Bucket;
use serde_json::{Value, json};

fn put(world: &mut World, body: &Value) -> Answered {
    let mut request = Request {
        host: "events.eu-central-1.amazonaws.com".to_owned(),
        body: body.to_string().into_bytes(),
        ..Request::default()
    };
    request.headers.insert("x-amz-target".to_owned(), "AWSEvents.PutEvents".to_owned());
    answered(world, &request)
}

fn entry(source: &str, title: &str, detail: &str) -> Value {
    json!({"Source": source, "DetailType": title, "Detail": detail, "Resources": ["arn:x"]})
}

#[test]
fn an_entry_is_kept_and_sent_on_by_the_rules() {
    with_nodes(Vec::new(), |world, _| {
        let ask = json!({"Entries": [entry("ebbtide", "Departure Ended", "{\"a\":1}")]});
        let answer = put(world, &ask);
        assert_eq!(answer.status, 200);
        let body: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(body["FailedEntryCount"], 0);
        let put = &world.aws.events.put[0];
        assert_eq!((&*put.source, &*put.bus, put.process), ("ebbtide", "default", 7));
        assert_eq!((&*put.detail, put.refused), ("{\"a\":1}", None));
        assert_eq!(world.calls[0].operation, "events:PutEvents");
        assert!(world.calls[0].write);
        after(world, 2);
        let event = bodies(world).remove(0);
        assert_eq!(event["id"], body["Entries"][0]["EventId"]);
        assert_eq!(event["detail"]["a"], 1);
    });
}

#[test]
fn a_bad_entry_fails_alone() {
    let rows = [
        (entry("", "t", "{}"), "InvalidArgument"),
        (entry("s", "", "{}"), "InvalidArgument"),
        (entry("aws.ec2", "t", "{}"), "NotAuthorizedForSourceException"),
        (entry("s", "t", "no"), "MalformedDetail"),
        (entry("s", "t", "[]"), "MalformedDetail"),
    ];
    for (bad, code) in rows {
        with_nodes(Vec::new(), |world, _| {
            let answer = put(world, &json!({"Entries": [bad, entry("s", "t", "{}")]}));
            let body: Value = serde_json::from_str(&answer.body).expect("JSON");
            assert_eq!((answer.status, &body["FailedEntryCount"]), (200, &1.into()), "{code}");
            assert_eq!(body["Entries"][0]["ErrorCode"], code);
            assert!(body["Entries"][1]["EventId"].is_string(), "{code}");
            assert_eq!(world.aws.events.put[0].refused, Some(code));
        });
    }
}

#[test]
fn too_many_or_too_large_entries_fail_whole() {
    with_nodes(Vec::new(), |world, _| {
        let small = entry("s", "t", "{}");
        let large = entry("s", "t", &json!({"a": "x".repeat(300_000)}).to_string());
        for entries in [vec![], vec![small; 11], vec![large]] {
            let answer = put(world, &json!({"Entries": entries}));
            assert_eq!(answer.status, 400);
            assert!(answer.body.contains("ValidationException"), "{}", answer.body);
        }
        assert_eq!(world.aws.events.put.len(), 0);
    });
}

#[test]
fn the_budget_is_the_accounts_and_throttles_are_counted_by_action() {
    with_nodes(Vec::new(), |world, _| {
        world.aws.budgets.events = Bucket::new(2, 1);
        let ask = json!({"Entries": [entry("s", "t", "{}")]});
        let statuses: Vec<u16> = (0..4).map(|_| put(world, &ask).status).collect();
        assert_eq!(statuses, [200, 200, 400, 400]);
        assert_eq!(world.aws.budgets.throttled_actions["events:PutEvents"], 2);
        after(world, 1);
        assert_eq!(put(world, &ask).status, 200);
    });
}
