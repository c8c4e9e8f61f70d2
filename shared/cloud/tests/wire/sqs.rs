//! SQS: JSON as sent, per-entry results as answered.

use crate::fake::{Answer, Wire, json_error};
use cloud::sqs::{HIDE_SECONDS_MAX, Hide, dead_letter, hide};
use decision::step::Class;
use serde_json::{Value, json};

const QUEUE: &str = "https://sqs.eu-central-1.amazonaws.com/123456789012/ebbtide";

fn messages(count: usize) -> Vec<Hide> {
    let message = |n: usize| Hide {
        message_id: format!("m{n}"),
        receipt_handle: format!("AQEB{n}"),
        seconds: 30,
    };
    (0..count).map(message).collect()
}

fn done(ids: std::ops::Range<usize>) -> Answer {
    let successful: Vec<Value> = ids.map(|id| json!({ "Id": id.to_string() })).collect();
    Answer::Of(200, json!({ "Successful": successful, "Failed": [] }).to_string())
}

fn sent_json(wire: &Wire) -> Vec<Value> {
    wire.bodies().iter().map(|body| serde_json::from_str(body).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn messages_are_hidden_with_a_result_each() {
    let failed = json!([
        { "Id": "1", "SenderFault": true, "Code": "InvalidParameterValue", "Message": "Value AQEB1 for \
          parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for \
          visibility timeout change." },
        { "Id": "2", "SenderFault": false, "Code": "InternalError" },
    ]);
    let answer = json!({ "Successful": [{ "Id": "0" }], "Failed": failed }).to_string();
    let wire = Wire::answering([Answer::Of(200, answer)]);
    let mut batch = messages(4);
    batch[1].seconds = HIDE_SECONDS_MAX + 1;
    let outcomes = hide(&wire.clients().sqs, QUEUE, &batch).await;
    let ids: Vec<&str> = outcomes.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["m0", "m1", "m2", "m3"]);
    assert!(outcomes[0].1.is_ok());
    let error = |n: usize| outcomes[n].1.as_ref().unwrap_err();
    assert_eq!(error(1).class(), Class::Gone);
    assert_eq!(error(2).class(), Class::Again);
    assert_eq!(error(2).why(), "change visibility of message m2: InternalError (HTTP 500)");
    assert_eq!(
        error(3).why(),
        "change visibility of message m3: the answer has no result of this entry"
    );

    let entry = |n: u32, seconds: u32| json!({ "Id": n.to_string(), "ReceiptHandle": format!("AQEB{n}"), "VisibilityTimeout": seconds });
    let entries = [entry(0, 30), entry(1, HIDE_SECONDS_MAX), entry(2, 30), entry(3, 30)];
    assert_eq!(sent_json(&wire), [json!({ "QueueUrl": QUEUE, "Entries": entries })]);
    let sent = wire.sent();
    assert_eq!(sent[0].header("x-amz-target"), Some("AmazonSQS.ChangeMessageVisibilityBatch"));
}

#[tokio::test(start_paused = true)]
async fn ten_messages_go_into_one_request_and_a_failed_one_does_not_stop_the_next() {
    let throttled = json_error(403, "RequestThrottled", "Rate exceeded");
    let wire = Wire::answering([throttled, done(0..10), done(0..1)]);
    let outcomes = hide(&wire.clients().sqs, QUEUE, &messages(21)).await;
    let throttled = outcomes.iter().take_while(|(_, outcome)| match outcome {
        Ok(()) => false,
        Err(error) => error.class() == Class::Throttled(None),
    });
    assert_eq!(throttled.count(), 10);
    assert!(outcomes[10..].iter().all(|(_, outcome)| outcome.is_ok()));
    let counts: Vec<usize> =
        sent_json(&wire).iter().map(|sent| sent["Entries"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [10, 10, 1]);
    assert_eq!(outcomes[20].0, "m20");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_for_no_message() {
    let wire = Wire::answering([]);
    assert!(hide(&wire.clients().sqs, QUEUE, &[]).await.is_empty());
    assert_eq!(wire.sent().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_carries_its_reason() {
    let answer = json!({ "MessageId": "1", "MD5OfMessageBody": "x" }).to_string();
    let wire = Wire::answering([Answer::Of(200, answer.clone()), Answer::Of(200, answer)]);
    let client = wire.clients().sqs;
    dead_letter(&client, QUEUE, "{\"a\":1}", "no such\nhook").await.unwrap();
    dead_letter(&client, QUEUE, "{}", " ").await.unwrap();
    let reason = json!({ "DataType": "String", "StringValue": "no such hook" });
    let expected = [
        json!({ "QueueUrl": QUEUE, "MessageBody": "{\"a\":1}", "MessageAttributes": { "reason": reason } }),
        json!({ "QueueUrl": QUEUE, "MessageBody": "{}" }),
    ];
    assert_eq!(sent_json(&wire), expected);
    assert_eq!(wire.sent()[0].header("x-amz-target"), Some("AmazonSQS.SendMessage"));
}

#[tokio::test(start_paused = true)]
async fn refusals_have_their_class() {
    let rows = [
        (400, "com.amazonaws.sqs#RequestThrottled", Class::Throttled(None)),
        (400, "com.amazonaws.sqs#KmsThrottled", Class::Throttled(None)),
        (400, "com.amazonaws.sqs#QueueDoesNotExist", Class::Gone),
        (403, "AccessDeniedException", Class::Denied),
        (400, "InvalidMessageContents", Class::Final),
    ];
    for (status, code, class) in rows {
        let wire = Wire::answering([json_error(status, code, "because")]);
        let error = dead_letter(&wire.clients().sqs, QUEUE, "{}", "why").await.unwrap_err();
        assert_eq!(error.class(), class, "{code}");
        assert!(error.why().starts_with(&format!("send message to {QUEUE}: ")), "{}", error.why());
        assert_eq!(wire.sent().len(), 1, "{code}");
    }
}

/// SQS still names its errors as its former protocol did, in a header that goes first.
#[tokio::test(start_paused = true)]
async fn a_code_of_the_former_protocol_has_its_class_too() {
    let rows = [
        ("AWS.SimpleQueueService.NonExistentQueue;Sender", Class::Gone),
        ("AWS.SimpleQueueService.RequestThrottled;Sender", Class::Throttled(None)),
    ];
    for (header, class) in rows {
        let body = json!({ "__type": "com.amazonaws.sqs#Other", "message": "because" }).to_string();
        let wire = Wire::answering([Answer::With(400, ("x-amzn-query-error", header), body)]);
        let error = dead_letter(&wire.clients().sqs, QUEUE, "{}", "why").await.unwrap_err();
        assert_eq!(error.class(), class, "{}", error.why());
    }
}
