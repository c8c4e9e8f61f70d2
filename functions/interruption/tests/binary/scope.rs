//! Not ours: an account's whole stream of EC2 events arrives, and all but ours must cost next to nothing.

use crate::{binary, hear, long_ago, no_hook_answered};
use serde_json::{Value, json};
use tests::aws::Account;
use tests::event::{Instance, sample};
use tests::invocation::{IN_2100, account_of, start};

/// Messages in one batch: what an event source mapping hands over.
const MESSAGES: usize = 10;

fn id(number: usize) -> String {
    format!("i-0f{number:015x}")
}

/// A batch of state-changes, each of another instance.
fn foreign_batch() -> String {
    let event = long_ago("ec2.state-stopping.json");
    let mut batch: Value = serde_json::from_str(&sample("sqs.autoscaling-terminate.json")).unwrap();
    let record = batch["Records"][0].clone();
    let records = (0..MESSAGES).map(|number| {
        let mut record = record.clone();
        record["messageId"] = json!(format!("e{number}f0c3d2-11e4-4b5a-9c6d-7e8f90a1b2c3"));
        record["body"] = json!(event.replace("i-0a1b2c3d4e5f60718", &id(number)));
        record
    });
    batch["Records"] = records.collect();
    batch.to_string()
}

/// An AWS in which none of the event's instances is in an Auto Scaling group.
fn ungrouped(event: &str) -> Account {
    let mut account = account_of(event);
    for instance in &mut account.instances {
        instance.asg = None;
    }
    account
}

#[test]
fn an_instance_without_a_group_costs_one_look() {
    for name in ["ec2.spot-terminate.json", "ec2.state-stopping.json", "health.retirement.json"] {
        let text = sample(name);
        let seen = hear(ungrouped(&text), &[], &text);
        assert_eq!(seen.fate()["fate"], "ignored", "{name}: {:#}", seen.answer);
        assert_eq!(seen.fate()["why"], "its instance is in no Auto Scaling group", "{name}");
        assert_eq!(seen.operations(), ["DescribeInstances"], "{name}");
        assert_eq!(seen.lines("departure record"), [Value::Null; 0], "{name}");
    }
}

#[test]
fn foreign_instances_cost_one_look_for_the_batch_and_none_the_next_time() {
    let batch = foreign_batch();
    let account = ungrouped(&batch);
    let asked: Vec<&Instance> = account.instances.iter().collect();
    assert_eq!(asked.len(), MESSAGES);
    let mut function = start(binary(), account, &[]);
    let done = json!({ "batchItemFailures": [] });

    assert_eq!(function.invoke(&batch, IN_2100).unwrap(), done);
    let mut calls = function.aws.calls();
    // Both are sent at once.
    calls.sort_by(|one, other| one.operation.cmp(&other.operation));
    let names: Vec<&str> = calls.iter().map(|call| call.operation.as_str()).collect();
    assert_eq!(names, ["ChangeMessageVisibilityBatch", "DescribeInstances"]);
    for number in 0..MESSAGES {
        assert!(calls[1].body.contains(&id(number)), "{}", calls[1].body);
    }

    assert_eq!(function.invoke(&batch, IN_2100).unwrap(), done);
    assert_eq!(function.aws.calls().len(), calls.len(), "remembered: {:?}", function.aws.calls());

    no_hook_answered(&names);
    let ended = function.end().unwrap();
    let closing = ended.lines("slice closed");
    let counts = |line: &Value| line["fields"]["ignored"].as_u64().unwrap();
    assert_eq!(closing.iter().map(counts).collect::<Vec<_>>(), [10, 10], "{}", ended.stdout);
    for line in &closing {
        let why = line["fields"]["ignored_by_reason"].as_str().unwrap();
        assert!(why.contains("in no Auto Scaling group"), "{why}");
    }
}

/// Its kind alone says so: no call, and nothing to remember.
#[test]
fn an_event_that_names_no_instance_costs_nothing() {
    for name in ["health.no-entities.json", "health.dedicated-host.json"] {
        let text = sample(name);
        let seen = hear(Account::default(), &[], &text);
        assert_eq!(seen.fate()["fate"], "ignored", "{name}: {:#}", seen.answer);
        assert_eq!(seen.operations(), [""; 0], "{name}");
        let closing = seen.lines("slice closed");
        assert_eq!(closing[0]["fields"]["ignored"], 1, "{name}: {closing:?}");
    }
}
