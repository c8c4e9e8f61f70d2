//! Batches of a queue: signals about the same instances, and a body that was cut off.

use crate::{hear, replaced, with_hook};
use serde_json::{Value, json};
use tests::aws::Account;
use tests::event::{body_of, sample};

/// The message of `sqs.interruptions.json` whose body was cut off.
const CUT_OFF: &str = "c8f0c3d2-11e4-4b5a-9c6d-7e8f90a1b2c3";
/// The one about a capacity block.
const CAPACITY_BLOCK: &str = "c7f0c3d2-11e4-4b5a-9c6d-7e8f90a1b2c3";

/// The batch as it came in 2020, with the reboot that it announces in a hundred years.
fn batch() -> String {
    let text = sample("sqs.interruptions.json");
    DATES.into_iter().fold(text, |text, (old, new)| replaced(&text, old, new))
}

/// Days in the sample's bodies and in its `SentTimestamp`s, and those that no clock here has.
const DATES: [(&str, &str); 3] = [
    ("\\\"2026-11-22T", "\\\"2020-11-22T"),
    ("17953398", "16060374"),
    ("Sun, 06 Dec 2026", "Fri, 06 Dec 2126"),
];

#[test]
fn signals_about_the_same_instances_share_their_looks_and_all_come_to_an_end() {
    let text = batch();
    let seen = hear(with_hook(&text), &[], &text);
    assert_eq!(seen.answer, json!({ "batchItemFailures": [] }));
    let count = |call: &str| seen.bodies(call).len();
    assert_eq!(count("DescribeInstances"), 2, "one for the block, one for all: {seen:?}");
    for once in ["DescribeAutoScalingGroups", "DescribeLifecycleHooks", "SendMessage"] {
        assert_eq!(count(once), 1, "{once}: {:?}", seen.operations());
    }
    assert_eq!(count("DescribeInstanceStatus"), 0, "the reboot is not due");
    let closing = seen.lines("slice closed");
    let counts = ["messages", "finished", "ignored", "dead_lettered", "came_back"];
    let counts = counts.map(|name| &closing[0]["fields"][name]);
    assert_eq!(counts, [9, 7, 1, 1, 0], "{}", closing[0]);
    let records = seen.lines("departure record");
    let mut instances: Vec<&str> =
        records.iter().filter_map(|line| line["fields"]["instance"].as_str()).collect();
    instances.sort_unstable();
    let expected = [
        "i-0a1b2c3d4e5f60718",
        "i-0b2c3d4e5f6071829",
        "i-0c3d4e5f607182930",
        "i-0d4e5f60718293041",
    ];
    assert_eq!(instances, expected, "one record for each, however many signals it had");
}

#[test]
fn a_body_that_cannot_be_read_is_a_dead_letter_with_its_reason() {
    let text = batch();
    let seen = hear(with_hook(&text), &[], &text);
    let letter: Value = serde_json::from_str(seen.bodies("SendMessage")[0]).unwrap();
    let cut_off = body_of(&text, CUT_OFF);
    assert!(letter["MessageBody"] == cut_off && !cut_off.is_empty(), "as it came: {letter}");
    let reason = letter["MessageAttributes"]["reason"]["StringValue"].as_str().unwrap();
    assert!(reason.contains("JSON"), "{reason}");
}

/// Every message but the two that need no look at an instance comes back, and nothing is a dead letter that was read.
#[test]
fn what_ec2_does_not_answer_for_comes_back() {
    let text = batch();
    let account = Account { broken: ["DescribeInstances"].into(), ..with_hook(&text) };
    let seen = hear(account, &[], &text);
    let failures = seen.answer["batchItemFailures"].as_array().unwrap();
    let ids: Vec<&str> =
        failures.iter().filter_map(|failure| failure["itemIdentifier"].as_str()).collect();
    assert_eq!(ids.len(), 7, "{ids:?}");
    assert!(ids.contains(&CAPACITY_BLOCK) && !ids.contains(&CUT_OFF), "{ids:?}");
    assert_eq!(seen.bodies("SendMessage").len(), 1, "the one that was cut off");
    assert_eq!(seen.operations().last(), Some(&"ChangeMessageVisibilityBatch"), "given back last");
}
