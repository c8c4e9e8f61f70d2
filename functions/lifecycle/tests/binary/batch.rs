//! Batches of a queue: what is told to Lambda, to the queue and to the dead-letter queue.

use crate::invoke;
use serde_json::{Value, json};
use tests::aws::Account;
use tests::event::{body_of, sample};
use tests::invocation::{IN_1970, IN_2100, Seen, account_of};

/// Ids of `sqs.batch.json` whose body was cut off.
const CUT_OFF: &str = "b4f0c3d2-11e4-4b5a-9c6d-7e8f90a1b2c3";

/// A sample at its second receive. What waited long before its first is part of a storm and gets one turn alone, and how
/// long the samples have waited is the clock's to say.
fn received_again(name: &str) -> String {
    sample(name).replace(r#""ApproximateReceiveCount": "1""#, r#""ApproximateReceiveCount": "2""#)
}

/// The instance of `sqs.batch.json` that is shutting down.
const SHUTTING_DOWN: &str = "i-0c3d4e5f607182930";

/// Asserts that nothing is given back, and that exactly this many hooks were answered.
#[track_caller]
fn all_done(seen: &Seen, hooks: usize) {
    assert_eq!(seen.answer, json!({ "batchItemFailures": [] }));
    assert_eq!(seen.bodies("CompleteLifecycleAction").len(), hooks, "{:?}", seen.operations());
}

#[test]
fn each_transport_brings_its_departure_to_the_end() {
    for name in
        ["sqs.autoscaling-terminate.json", "sqs.autoscaling-direct.json", "sqs.sns-wrapped.json"]
    {
        let text = received_again(name);
        let seen = invoke(account_of(&text), &[], &text, IN_1970);
        all_done(&seen, 1);
        let hidden = seen.bodies("ChangeMessageVisibilityBatch");
        assert_eq!(hidden.len(), 1, "{name}: hidden once: {hidden:?}");
        let hidden: Value = serde_json::from_str(hidden[0]).unwrap();
        assert_eq!(hidden["Entries"][0]["VisibilityTimeout"], 20, "{name}: {hidden}");
        let at = |call| seen.operations().iter().position(|it| *it == call);
        let (hides, answers) = (at("ChangeMessageVisibilityBatch"), at("CompleteLifecycleAction"));
        assert!(hides < answers, "{name}: beside the first looks: {:?}", seen.operations());
    }
}

#[test]
fn a_test_notification_is_acknowledged_without_a_call() {
    let text = sample("sqs.test-notification.json");
    let seen = invoke(account_of(&text), &[], &text, IN_2100);
    all_done(&seen, 0);
    assert_eq!(seen.operations(), [""; 0]);
    let closing = seen.lines("slice closed");
    assert_eq!(closing[0]["fields"]["ignored"], 1, "{closing:?}");
}

#[test]
fn a_body_that_cannot_be_read_is_a_dead_letter_and_harms_nobody_else() {
    let text = received_again("sqs.batch.json");
    let seen = invoke(account_of(&text), &[], &text, IN_2100);
    let letters = seen.bodies("SendMessage");
    assert_eq!(letters.len(), 1, "{letters:?}");
    let letter: Value = serde_json::from_str(letters[0]).unwrap();
    assert_eq!(letter["MessageBody"], body_of(&text, CUT_OFF), "the body as it came");
    assert!(
        letter["QueueUrl"].as_str().is_some_and(|url| url.ends_with("/ebbtide-dead")),
        "{letter}"
    );
    let reason = letter["MessageAttributes"]["reason"]["StringValue"].as_str().unwrap();
    assert!(reason.contains("JSON"), "{reason}");
    let failures = seen.answer["batchItemFailures"].as_array().unwrap();
    assert!(failures.iter().all(|failure| failure["itemIdentifier"] != CUT_OFF), "{failures:?}");
    let closing = seen.lines("slice closed");
    assert_eq!(closing.len(), 1);
    let counts = ["messages", "dead_lettered", "ignored"].map(|name| &closing[0]["fields"][name]);
    assert_eq!(counts, [6, 1, 1], "{}", closing[0]);
    assert!(seen.bodies("CompleteLifecycleAction").len() >= 2, "{:?}", seen.operations());
}

/// Which function hears of it makes no difference.
#[test]
fn an_interruption_among_hooks_is_seen_to_its_end_too() {
    let text = received_again("sqs.batch.json");
    let seen = invoke(account_of(&text), &[], &text, IN_2100);
    let records = seen.lines("departure record");
    let is_of = |line: &&Value| line["fields"]["instance"] == SHUTTING_DOWN;
    let of_it: Vec<&Value> = records.iter().filter(is_of).collect();
    assert_eq!(of_it.len(), 1, "{records:?}");
    assert!(of_it[0].to_string().contains("nothing left to drain"), "{}", of_it[0]);
    let answers = seen.bodies("CompleteLifecycleAction");
    assert!(
        answers.iter().all(|body| !body.contains(SHUTTING_DOWN)),
        "no hook holds it: {answers:?}"
    );
}

#[test]
fn a_dead_letter_that_cannot_be_sent_keeps_its_message() {
    let text = received_again("sqs.batch.json");
    let mut account = account_of(&text);
    account.broken.insert("SendMessage");
    let seen = invoke(account, &[], &text, IN_2100);
    let failures = seen.answer["batchItemFailures"].as_array().unwrap();
    assert!(failures.contains(&json!({ "itemIdentifier": CUT_OFF })), "{failures:?}");
}

#[test]
fn a_hook_that_is_not_ours_is_left_alone() {
    let text = received_again("sqs.autoscaling-terminate.json");
    let mut account = account_of(&text);
    for action in &mut account.actions {
        action.metadata = "another tool's".to_owned();
    }
    let seen = invoke(account, &[("HOOKS", "some-other-hook")], &text, IN_2100);
    all_done(&seen, 0);
    let asked = seen.operations();
    for call in ["RecordLifecycleActionHeartbeat", "DescribeInstances", "DescribeCluster"] {
        assert!(!asked.contains(&call), "{asked:?}");
    }
    let closing = seen.lines("slice closed");
    let why = closing[0]["fields"]["ignored_by_reason"].as_str().unwrap();
    assert!(why.contains("hook"), "{why}");
}

#[test]
fn what_aws_does_not_answer_for_comes_back() {
    let text = received_again("sqs.autoscaling-terminate.json");
    let account = Account { broken: ["CompleteLifecycleAction"].into(), ..account_of(&text) };
    let seen = invoke(account, &[], &text, IN_2100);
    let message = "a1f0c3d2-11e4-4b5a-9c6d-7e8f90a1b2c3";
    let expected = json!({ "batchItemFailures": [{ "itemIdentifier": message }] });
    assert_eq!(seen.answer, expected);
    let last = seen.operations().into_iter().next_back();
    assert_eq!(last, Some("ChangeMessageVisibilityBatch"), "given back at the very end");
    assert!(!seen.bodies("CompleteLifecycleAction").is_empty(), "{:?}", seen.operations());
}
