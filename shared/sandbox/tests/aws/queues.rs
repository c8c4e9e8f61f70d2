//! Queues: visibility, receipt handles, receive counts, dead letters.

use super::{Answered, START, after, call_sqs};
use sandbox::aws::sqs::{QueueSpec, Sqs, Unchanged};
use sandbox::{Sandbox, World};
use serde_json::{Value, json};

fn with_queue<R>(test: impl FnOnce(&mut World) -> R) -> R {
    let sandbox = Sandbox::new(1, START);
    let world = &mut *sandbox.world();
    let dead = QueueSpec { name: "dead".to_owned(), ..QueueSpec::default() };
    Sqs::add_queue(world, dead);
    let queue = QueueSpec {
        name: "signals".to_owned(),
        visibility_seconds: 90,
        max_receives: 3,
        dead_letter: Some("dead".to_owned()),
        ..QueueSpec::default()
    };
    Sqs::add_queue(world, queue);
    Sqs::send(world, "signals", "one");
    test(world)
}

fn change(world: &mut World, receipt: &str, seconds: i64) -> Answered {
    let url = Sqs::url(world, "signals");
    let body = json!({ "QueueUrl": url, "ReceiptHandle": receipt, "VisibilityTimeout": seconds });
    call_sqs(world, "ChangeMessageVisibility", &body)
}

#[track_caller]
fn refused(answer: &Answered, code: &str, reason: &str) {
    assert_eq!(answer.status, 400, "{}", answer.body);
    let (_, header) =
        answer.headers.iter().find(|(name, _)| *name == "x-amzn-query-error").expect("the header");
    assert_eq!(*header, format!("{code};Sender"));
    let body: Value = serde_json::from_str(&answer.body).expect("JSON");
    let message = body["message"].as_str().expect("a message");
    assert!(message.ends_with(reason), "{message}");
}

#[test]
fn a_message_is_back_when_its_visibility_timeout_ends() {
    with_queue(|world| {
        let first = Sqs::receive(world, "signals", 10).remove(0);
        assert_eq!((first.receive_count, first.sent_at), (1, START));
        world.advance(START + 89_999);
        assert!(Sqs::receive(world, "signals", 10).is_empty());
        assert_eq!(world.aws.sqs.next_visible_at("signals"), Some(START + 90_000));
        world.advance(START + 90_000);
        let second = Sqs::receive(world, "signals", 10).remove(0);
        assert_eq!((second.receive_count, second.first_received_at), (2, START));
        assert_eq!(second.id, first.id);
        assert_ne!(second.receipt, first.receipt);
    });
}

#[test]
fn visibility_is_counted_from_the_change() {
    with_queue(|world| {
        let message = Sqs::receive(world, "signals", 10).remove(0);
        after(world, 5);
        assert_eq!(change(world, &message.receipt, 7).status, 200);
        assert_eq!(world.aws.sqs.next_visible_at("signals"), Some(START + 12_000));
        after(world, 7);
        assert_eq!(Sqs::receive(world, "signals", 10).len(), 1);
    });
}

#[test]
fn an_old_handle_changes_nothing() {
    with_queue(|world| {
        let first = Sqs::receive(world, "signals", 10).remove(0);
        after(world, 90);
        let stale = "Message does not exist or is not available for visibility timeout change.";
        let answer = change(world, &first.receipt, 10);
        refused(&answer, "AWS.SimpleQueueService.MessageNotInflight", stale);
        let second = Sqs::receive(world, "signals", 10).remove(0);
        let answer = change(world, &first.receipt, 10);
        refused(&answer, "InvalidParameterValue", stale);
        assert!(!Sqs::delete(world, "signals", &first.receipt), "no effect");
        assert!(Sqs::delete(world, "signals", &second.receipt));
        let answer = change(world, &second.receipt, 10);
        refused(&answer, "InvalidParameterValue", stale);
        let answer = change(world, "nonsense", 10);
        refused(&answer, "ReceiptHandleIsInvalid", "is not a valid receipt handle.");
    });
}

#[test]
fn twelve_hours_are_the_limit_from_the_receive_on() {
    with_queue(|world| {
        let message = Sqs::receive(world, "signals", 10).remove(0);
        let reason = "Must be between 0 and 43200, if provided.";
        refused(&change(world, &message.receipt, 43_201), "InvalidParameterValue", reason);
        assert_eq!(change(world, &message.receipt, 43_200).status, 200);
        after(world, 1);
        let reason = "is beyond the limit [43200 seconds]";
        refused(&change(world, &message.receipt, 43_200), "InvalidParameterValue", reason);
        assert_eq!(change(world, &message.receipt, 43_199).status, 200);
    });
}

#[test]
fn a_message_received_too_often_goes_to_the_dead_letter_queue() {
    with_queue(|world| {
        for count in 1..=3 {
            let message = Sqs::receive(world, "signals", 10).remove(0);
            assert_eq!(message.receive_count, count);
            Sqs::release(world, "signals", &message.receipt).expect("it is in flight");
        }
        assert!(Sqs::receive(world, "signals", 10).is_empty());
        let dead = Sqs::receive(world, "dead", 10).remove(0);
        assert_eq!((dead.body.as_str(), dead.sent_at), ("one", START));
        assert_eq!(world.aws.sqs.queues["signals"].dead_lettered, 1);
    });
}

#[test]
fn a_batch_reports_each_entry() {
    with_queue(|world| {
        let message = Sqs::receive(world, "signals", 10).remove(0);
        let url = Sqs::url(world, "signals");
        let entry = |id: &str, receipt: &str| json!({ "Id": id, "ReceiptHandle": receipt, "VisibilityTimeout": 20 });
        let entries = [entry("good", &message.receipt), entry("bad", "AQEBff.1.0")];
        let body = json!({ "QueueUrl": url, "Entries": entries });
        let answer = call_sqs(world, "ChangeMessageVisibilityBatch", &body);
        let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(answer["Successful"], json!([{ "Id": "good" }]));
        assert_eq!(answer["Failed"][0]["Id"], "bad");
        assert_eq!(answer["Failed"][0]["Code"], "InvalidParameterValue");
        let twice = json!({ "QueueUrl": url, "Entries": [entries[0], entries[0]] });
        let answer = call_sqs(world, "ChangeMessageVisibilityBatch", &twice);
        let code = "AWS.SimpleQueueService.BatchEntryIdsNotDistinct";
        refused(&answer, code, "repeated.");
    });
}

#[test]
fn messages_are_sent_with_their_attributes() {
    with_queue(|world| {
        let url = Sqs::url(world, "dead");
        let attributes = json!({ "reason": { "DataType": "String", "StringValue": "unreadable" } });
        let body = json!({ "QueueUrl": url, "MessageBody": "{", "MessageAttributes": attributes });
        assert_eq!(call_sqs(world, "SendMessage", &body).status, 200);
        let message = Sqs::receive(world, "dead", 1).remove(0);
        assert_eq!(message.attributes["reason"].1, "unreadable");
        let missing = json!({ "QueueName": "none" });
        let answer = call_sqs(world, "GetQueueUrl", &missing);
        let code = "AWS.SimpleQueueService.NonExistentQueue";
        refused(&answer, code, "The specified queue does not exist.");
    });
}

#[test]
fn retention_counts_from_the_sending() {
    with_queue(|world| {
        after(world, 1_209_599);
        let message = Sqs::receive(world, "signals", 1).remove(0);
        assert_eq!(Sqs::release(world, "signals", &message.receipt), Ok(()));
        after(world, 1);
        assert!(Sqs::receive(world, "signals", 1).is_empty());
        assert_eq!(world.aws.sqs.depth("signals"), 0);
        let gone = Sqs::release(world, "signals", &message.receipt);
        assert_eq!(gone, Err(Unchanged::Stale));
    });
}
