//! EventBridge: the signed JSON, each entry's own result, limits of one request.

use crate::fake::{Answer, Wire, json_error};
use cloud::clients::Endpoints;
use cloud::events::{Entry, put};
use decision::step::Class;
use serde_json::{Value, json};

const ARN: &str = "arn:aws:ec2:eu-central-1:123456789012:instance/i-0aaa1111bbb22222c";

pub(crate) fn begun() -> Entry {
    Entry {
        detail_type: "Departure Begun".to_owned(),
        resources: vec![ARN.to_owned()],
        detail: json!({ "instance-id": "i-0aaa1111bbb22222c" }),
    }
}

/// An entry whose texts are so many bytes, with the envelope of 512.
fn of_bytes(bytes: usize) -> Entry {
    let fixed = 512 + "ebbtide".len() + "Departure Begun".len() + ARN.len() + r#"{"x":""}"#.len();
    Entry { detail: json!({ "x": "x".repeat(bytes - fixed) }), ..begun() }
}

fn taken(entries: usize) -> Answer {
    let id = json!({ "EventId": "11710aed-b79e-4468-a20b-bb3c0c3b4860" });
    outcomes(0, &vec![id; entries])
}

fn outcomes(failed: usize, entries: &[Value]) -> Answer {
    Answer::Of(200, json!({ "FailedEntryCount": failed, "Entries": entries }).to_string())
}

fn counts(wire: &Wire) -> Vec<usize> {
    let sent = wire.bodies();
    let count = |body: &String| {
        let body: Value = serde_json::from_str(body).unwrap();
        body["Entries"].as_array().unwrap().len()
    };
    sent.iter().map(count).collect()
}

/// The signature was computed with botocore's SigV4Auth for the same request, key and time.
#[tokio::test(start_paused = true)]
async fn events_are_sent_as_signed_json() {
    let wire = Wire::answering([taken(2)]);
    let ended = Entry {
        detail_type: "Departure Ended".to_owned(),
        resources: Vec::new(),
        detail: json!({ "says": "\"ü\"" }),
    };
    put(&wire.clients().events, "ops", &[begun(), ended]).await.unwrap();
    let [sent] = &wire.sent()[..] else { panic!("one request") };
    assert_eq!(sent.url, "https://events.eu-central-1.amazonaws.com/");
    assert_eq!(
        sent.body,
        r#"{"Entries":[{"Source":"ebbtide","DetailType":"Departure Begun","Resources":["arn:aws:ec2:eu-central-1:123456789012:instance/i-0aaa1111bbb22222c"],"Detail":"{\"instance-id\":\"i-0aaa1111bbb22222c\"}","EventBusName":"ops"},{"Source":"ebbtide","DetailType":"Departure Ended","Resources":[],"Detail":"{\"says\":\"\\\"ü\\\"\"}","EventBusName":"ops"}]}"#
    );
    assert_eq!(sent.header("content-type"), Some("application/x-amz-json-1.1"));
    assert_eq!(sent.header("x-amz-target"), Some("AWSEvents.PutEvents"));
    assert_eq!(sent.header("x-amz-date"), Some("20261122T093000Z"));
    assert_eq!(sent.header("x-amz-security-token"), Some("IQoJb3JpZ2luX2VjE+/=token"));
    assert_eq!(
        sent.header("authorization"),
        Some(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/eu-central-1/events/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, \
             Signature=c13e035a23159f6d98be44d883d33276bb4d492424cf900da1a28091021acb53"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_is_the_partitions_or_the_one_given() {
    let given = Endpoints {
        events: Some("http://127.0.0.1:4566/".to_owned()),
        ..Endpoints::all("http://127.0.0.1:1")
    };
    let rows = [
        ("cn-north-1", Endpoints::default(), "https://events.cn-north-1.amazonaws.com.cn/"),
        ("us-gov-west-1", Endpoints::default(), "https://events.us-gov-west-1.amazonaws.com/"),
        ("eu-central-1", given, "http://127.0.0.1:4566/"),
    ];
    for (region, endpoints, url) in rows {
        let wire = Wire::answering([taken(1)]);
        put(&wire.clients_in(region, endpoints).events, "default", &[begun()]).await.unwrap();
        assert_eq!(wire.sent()[0].url, url);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_entries_go_into_one_request_and_none_into_no_request() {
    let wire = Wire::answering([taken(10), taken(10), taken(1)]);
    put(&wire.clients().events, "default", &vec![begun(); 21]).await.unwrap();
    assert_eq!(counts(&wire), [10, 10, 1]);

    let wire = Wire::answering([]);
    put(&wire.clients().events, "default", &[]).await.unwrap();
    assert_eq!(wire.sent().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_holds_less_than_256_kib() {
    let rows = [
        ("just fits", vec![of_bytes(262_143)], vec![1]),
        ("two that fit", vec![of_bytes(131_071), of_bytes(131_072)], vec![2]),
        ("two that do not", vec![of_bytes(131_072), of_bytes(131_072)], vec![1, 1]),
        ("counted anew", vec![of_bytes(200_000), of_bytes(200_000), of_bytes(60_000)], vec![1, 2]),
    ];
    for (name, entries, expected) in rows {
        let wire = if expected.len() == 1 {
            Wire::answering([taken(expected[0])])
        } else {
            Wire::answering([taken(expected[0]), taken(expected[1])])
        };
        put(&wire.clients().events, "default", &entries).await.unwrap();
        assert_eq!(counts(&wire), expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_too_large_is_named_and_the_others_are_sent() {
    let wire = Wire::answering([taken(2)]);
    let entries = [begun(), of_bytes(262_144), begun()];
    let error = put(&wire.clients().events, "default", &entries).await.unwrap_err();
    let why = format!(
        "put event `Departure Begun` about {ARN} to default: an event of 262144 bytes, where fewer \
         than 262144 are taken"
    );
    assert_eq!(error.why(), why);
    assert_eq!(error.class(), Class::Final);
    assert_eq!(counts(&wire), [2]);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_refused_is_an_error_with_its_own_code() {
    let rows = [
        ("ThrottlingException", "Rate exceeded", 400, Class::Throttled(None)),
        ("InternalFailure", "Unexpected.", 500, Class::Again),
        ("InternalException", "Unexpected.", 500, Class::Again),
        ("MalformedDetail", "Detail is malformed.", 400, Class::Final),
        ("InvalidArgument", "Source is not valid.", 400, Class::Final),
        ("AccessDeniedException", "No permission", 400, Class::Denied),
        ("NotAuthorizedForSourceException", "Not authorized for the source.", 400, Class::Denied),
        ("NotAuthorizedForDetailTypeException", "No permission", 400, Class::Denied),
    ];
    for (code, message, status, class) in rows {
        let failed = json!({ "ErrorCode": code, "ErrorMessage": message });
        let wire = Wire::answering([outcomes(1, &[json!({ "EventId": "1" }), failed]), taken(1)]);
        let second = Entry { detail_type: "Departure Blocked".to_owned(), ..begun() };
        let mut entries = vec![begun(), second];
        // The second request is sent all the same.
        entries.push(of_bytes(262_000));
        let error = put(&wire.clients().events, "ops", &entries).await.unwrap_err();
        assert_eq!(error.class(), class, "{code}");
        let why = format!(
            "put event `Departure Blocked` about {ARN} to ops: {code}: {message} (HTTP {status})"
        );
        assert_eq!(error.why(), why);
        assert_eq!(counts(&wire), [2, 1], "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_ends_it() {
    let rows = [
        (400, "ThrottlingException", Class::Throttled(None)),
        (400, "AccessDeniedException", Class::Denied),
        (400, "com.amazonaws.events#ResourceNotFoundException", Class::Gone),
        (400, "ValidationException", Class::Final),
        (400, "ExpiredTokenException:http://internal.amazon.com/coral/", Class::Denied),
        (500, "com.amazonaws.events#InternalException", Class::Again),
    ];
    for (status, code, class) in rows {
        let body = json!({ "__type": code, "Message": "because" }).to_string();
        // The code stands in the header, the body or both.
        for answer in [json_error(status, code, "because"), Answer::Of(status, body)] {
            let wire = Wire::answering([answer]);
            let error = put(&wire.clients().events, "ops", &vec![begun(); 11]).await.unwrap_err();
            assert_eq!(error.class(), class, "{code}");
            let bare = code.trim_start_matches("com.amazonaws.events#").split(':').next().unwrap();
            let why = format!("put events to ops: {bare}: because (HTTP {status})");
            assert_eq!(error.why(), why);
            assert_eq!(wire.sent().len(), 1, "{code}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_understood_is_an_error() {
    let rows = [
        (Answer::Of(200, String::new()), "the answer does not parse"),
        (Answer::Of(200, "<html/>".to_owned()), "the answer does not parse"),
        (Answer::Of(200, "{}".to_owned()), "the answer has no FailedEntryCount"),
        (outcomes(1, &[json!({ "EventId": "1" })]), "the answer has no ErrorCode of an entry"),
        (outcomes(1, &[]), "the answer has no ErrorCode of an entry"),
    ];
    for (answer, words) in rows {
        let wire = Wire::answering([answer]);
        let error = put(&wire.clients().events, "ops", &[begun()]).await.unwrap_err();
        assert!(error.why().starts_with("put events to ops: "), "{}", error.why());
        assert!(error.why().contains(words), "{}", error.why());
        assert_eq!(error.class(), Class::Final, "{words}");
        assert_eq!(wire.sent().len(), 1);
    }
}
