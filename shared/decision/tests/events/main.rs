//! What message bodies are read as: our own sample events, AWS's samples, bad input, any input.

mod any;
mod ec2;
mod health;
mod hook;
mod id;
mod samples;

use decision::event::{EventError, Parsed, parse_value};
use decision::signal::{Cause, Due, HookRoute, HookSignal, Signal, SignalKind, Transition};
use decision::time::human;
use serde_json::{Value, json};

/// What a body is to be read as.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    /// One lifecycle action.
    Hook(Transition, HookRoute),
    /// Interruptions, or a reservation, in the words of `told`.
    Says(&'static [&'static str]),
    /// Acknowledged; the label of the reason.
    Ignored(&'static str),
    /// An error that begins so: the path of the field.
    Fails(&'static str),
    /// No event at all (request samples, schemas, whole batches): an error about the body itself.
    NotAnEvent,
}

#[track_caller]
fn check(name: &str, outcome: &Result<Parsed, EventError>, expect: Expect) {
    match (outcome, expect) {
        (Ok(Parsed::Signals(signals)), Expect::Hook(transition, route)) => {
            let [signal] = &signals[..] else { panic!("{name}: {signals:?}") };
            let hook = hook_of(signal);
            assert_eq!((hook.transition, hook.route), (transition, route), "{name}");
        }
        (Ok(parsed @ (Parsed::Signals(_) | Parsed::Reservation(_))), Expect::Says(texts)) => {
            assert_eq!(told(parsed), texts, "{name}");
        }
        (Ok(Parsed::Ignored(event)), Expect::Ignored(label)) => {
            assert_eq!(event.reason.label(), label, "{name}");
        }
        (Err(error), Expect::Fails(start)) => {
            assert!(error.to_string().starts_with(start), "{name}: {error}");
        }
        (Err(error), Expect::NotAnEvent) => {
            assert!(error.to_string().starts_with("body: "), "{name}: {error}");
        }
        _ => panic!("{name}: {outcome:?}, expected {expect:?}"),
    }
}

/// What a body says of each instance: `i-1: Spot warning, stop, after 2 min`.
fn told(parsed: &Parsed) -> Vec<String> {
    match parsed {
        Parsed::Signals(signals) => signals.iter().map(told_of).collect(),
        Parsed::Reservation(block) => {
            vec![format!("{}: capacity block{}", block.id, when(block.due))]
        }
        Parsed::Ignored(event) => vec![event.reason.to_string()],
    }
}

fn told_of(signal: &Signal) -> String {
    match &signal.kind {
        SignalKind::Hook(hook) => format!("{}: {}", signal.instance, hook.transition.wire()),
        SignalKind::Interruption(interruption) => {
            let urgency = match &interruption.cause {
                Cause::Maintenance(maintenance) => format!(", {:?}", maintenance.urgency),
                _ => String::new(),
            };
            let (cause, when) = (&interruption.cause, when(interruption.due));
            format!("{}: {cause}{when}{urgency}", signal.instance)
        }
    }
}

fn when(due: Due) -> String {
    match due {
        Due::After(notice) => format!(", after {}", human(notice)),
        Due::At(at) => format!(", at {at}"),
        Due::Unknown => String::new(),
    }
}

fn hook_of(signal: &Signal) -> &HookSignal {
    signal.hook().unwrap_or_else(|| panic!("no hook: {signal:?}"))
}

/// The one signal that a body is read as.
#[track_caller]
fn only(outcome: Result<Parsed, EventError>) -> Signal {
    match outcome {
        Ok(Parsed::Signals(mut signals)) if signals.len() == 1 => signals.remove(0),
        other => panic!("not one signal: {other:?}"),
    }
}

#[track_caller]
fn from_value(value: &Value) -> Signal {
    only(parse_value(value))
}

/// Why a body is ignored: the label, and the text for people.
#[track_caller]
fn reason(value: &Value) -> (&'static str, String) {
    match parse_value(value) {
        Ok(Parsed::Ignored(event)) => (event.reason.label(), event.reason.to_string()),
        other => panic!("not ignored: {other:?}"),
    }
}

// ---- Bodies --------------------------------------------------------------------------------------

/// An event as EventBridge delivers it.
fn bridge(source: &str, detail_type: &str, detail: &Value) -> Value {
    json!({
        "version": "0",
        "id": "12345678-1234-1234-1234-123456789012",
        "detail-type": detail_type,
        "source": source,
        "account": "111122223333",
        "time": "2026-11-22T09:30:00Z",
        "region": "eu-west-1",
        "resources": ["arn"],
        "detail": detail,
    })
}

/// The event with one field of the envelope set, or taken out by null.
fn set(mut event: Value, key: &str, value: Value) -> Value {
    put(&mut event, key, value);
    event
}

/// The event with one field of `detail` set, or taken out by null.
fn set_detail(mut event: Value, key: &str, value: Value) -> Value {
    put(&mut event["detail"], key, value);
    event
}

fn put(object: &mut Value, key: &str, value: Value) {
    let fields = object.as_object_mut().expect("an object");
    if value.is_null() {
        fields.remove(key);
    } else {
        fields.insert(key.to_owned(), value);
    }
}

fn sns(message: &Value) -> Value {
    json!({"Type": "Notification", "Message": message.to_string()})
}

const INSTANCE_FORM: &str = "an instance id, i- and 8 or 17 hexadecimal digits";

/// The error for `body` is `path` and `seen`, then what was `expected`.
#[track_caller]
fn refused(body: &Value, path_and_seen: &str, expected: &str) {
    match parse_value(body) {
        Err(error) => {
            assert_eq!(error.to_string(), format!("{path_and_seen}, expected {expected}"));
        }
        other => panic!("{path_and_seen}: {other:?}"),
    }
}
