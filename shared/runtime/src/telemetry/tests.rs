use super::*;
use decision::policy::Mode;
use decision::time::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a subscriber wrote.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that `log` writes, under a subscriber like Lambda's with its format set to JSON.
fn lines(log: impl FnOnce()) -> Vec<Value> {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_target(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, log);
    let bytes = written.0.lock().unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn instance() -> InstanceId {
    "i-0123456789abcdef0".parse().unwrap()
}

fn closing() -> Closing {
    Closing {
        turns: 2,
        steps_done: 9,
        steps_skipped: 5,
        steps_failed: 1,
        held: 3,
        answered: 1,
        came_back: 4,
        finished: 2,
        ignored_by_reason: BTreeMap::from([
            ("the group is not in scope".to_owned(), 2),
            ("another tool's hook".to_owned(), 1),
        ]),
        next_at: Some(Timestamp::from_seconds(1_795_339_812)),
        took: Duration::from_micros(812_900),
        ..Closing::new(Trigger::Queue, Mode::Act, 10)
    }
}

#[test]
fn the_closing_line_holds_the_whole_outcome() {
    let expected = json!({
        "level": "INFO",
        "fields": {
            "message": "slice closed",
            "trigger": "queue",
            "mode": "act",
            "messages": 10,
            "turns": 2,
            "steps_done": 9,
            "steps_skipped": 5,
            "steps_failed": 1,
            "held": 3,
            "answered": 1,
            "came_back": 4,
            "finished": 2,
            "dead_lettered": 0,
            "ignored": 3,
            "ignored_by_reason": "another tool's hook: 1; the group is not in scope: 2",
            "next_at": "2026-11-22T09:30:12Z",
            "took_ms": 812,
        },
    });
    assert_eq!(lines(|| closing().log()), [expected]);
}

#[test]
fn what_is_not_there_is_not_in_the_line() {
    let written = lines(|| Closing::new(Trigger::Bare, Mode::Observe, 1).log());
    let fields = written[0]["fields"].as_object().unwrap();
    assert!(!fields.contains_key("next_at"), "{written:?}");
    assert!(!fields.contains_key("ignored_by_reason"), "{written:?}");
    assert_eq!(fields["ignored"], 0);
    assert_eq!(fields["mode"], "observe");
}

#[test]
fn a_line_within_an_invocation_carries_its_fields() {
    let written = lines(|| {
        let span = invocation("8f5a2e1c", Start::Cold, Trigger::Queue);
        span.in_scope(|| departure(&instance(), &json!({ "stage": "over", "forced": 0 })));
    });
    let span = json!({
        "name": "invocation",
        "request_id": "8f5a2e1c",
        "cold_start": true,
        "trigger": "queue",
    });
    let expected = json!({
        "level": "INFO",
        "fields": {
            "message": DEPARTURE_RECORD,
            "instance": "i-0123456789abcdef0",
            "record": r#"{"forced":0,"stage":"over"}"#,
        },
        "span": span,
        "spans": [span],
    });
    assert_eq!(written, [expected]);
}

#[test]
fn what_woke_us_is_told_by_the_payloads_form() {
    let rows = [
        (json!({ "Records": [] }), "queue"),
        (json!({ "source": "aws.events", "detail-type": "Scheduled Event" }), "schedule"),
        (
            json!({ "source": "aws.ec2", "detail-type": "EC2 Spot Instance Interruption Warning" }),
            "bare",
        ),
        (json!({ "Records": "none" }), "bare"),
        (json!(["Records"]), "bare"),
        (Value::Null, "bare"),
    ];
    for (payload, name) in rows {
        assert_eq!(Trigger::of(&payload).name(), name, "{payload}");
    }
}

#[test]
fn the_messages_are_the_constants() {
    let written = lines(|| {
        closing().log();
        departure(&instance(), &Value::Null);
    });
    assert_eq!(written[0]["fields"]["message"], Closing::MESSAGE);
    assert_eq!(written[1]["fields"]["message"], DEPARTURE_RECORD);
}

#[test]
fn field_names_have_the_houses_form_and_stand_in_order() {
    let form = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    for name in field::ALL {
        assert!(form(name), "{name}");
    }
    let written = lines(|| closing().log());
    for name in written[0]["fields"].as_object().unwrap().keys() {
        assert!(name == "message" || field::ALL.contains(&name.as_str()), "{name}");
    }
    assert!(field::ALL.is_sorted(), "{:?}", field::ALL);
}
