//! Events: written in their own group, kept and listed in the core one, where some fields have other names.

use crate::kubernetes::Response;
use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::Object;
use crate::kubernetes::status::{self, Cause};
use serde_json::{Map, Value};

/// How the fields are named in events.k8s.io and in the core group.
const NAMES: [(&str, &str); 7] = [
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// How long a note may be, in bytes.
const NOTE_BYTES_MAX: usize = 1_024;

/// What events.k8s.io wants filled in.
const REQUIRED: [&str; 4] = ["reportingController", "reportingInstance", "action", "reason"];

/// Whether the path is that of Events in their own group.
pub(super) fn is_own_group(path: &str) -> bool {
    path.starts_with("/apis/events.k8s.io/") && path.ends_with("/events")
}

/// An Event of events.k8s.io as the core group has it, or why it may not be one.
pub(super) fn read(value: &Value) -> Result<Value, Response> {
    check(value)?;
    Ok(renamed(value, |name| {
        NAMES.iter().find(|(own, _)| *own == name).map_or(name, |(_, core)| core)
    }))
}

/// An Event of the core group as events.k8s.io shows it.
pub(super) fn write(event: &Object) -> Value {
    let mut value = renamed(&event.to_value(), |name| {
        NAMES.iter().find(|(_, core)| *core == name).map_or(name, |(own, _)| own)
    });
    value["apiVersion"] = "events.k8s.io/v1".into();
    value
}

fn renamed<'a>(value: &'a Value, name: impl Fn(&'a str) -> &'a str) -> Value {
    let fields = value.as_object().into_iter().flatten();
    let fields = fields.map(|(own, value)| (name(own).to_owned(), value.clone()));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn check(value: &Value) -> Result<(), Response> {
    let text = |name: &str| value[name].as_str().unwrap_or_default();
    // A time with anything but six digits of a second is none.
    let fraction = text("eventTime").split_once('.').map(|(_, fraction)| fraction);
    if fraction.is_none_or(|fraction| fraction.len() != "000000Z".len()) {
        let message = format!(
            "Event in version \"v1\" cannot be handled as a Event: parsing time \"{}\" as \"2006-01-02T15:04:05.000000Z07:00\"",
            text("eventTime")
        );
        return Err(status::bad_request(&message));
    }
    let refused = |field: &str, message: &str| {
        let cause = Cause {
            reason: "FieldValueInvalid",
            message: message.to_owned(),
            field: field.to_owned(),
        };
        let name = value["metadata"]["name"].as_str().unwrap_or_default();
        Err(status::invalid(Kind::Event, name, &[cause]))
    };
    if let Some(field) = REQUIRED.into_iter().find(|field| text(field).is_empty()) {
        return refused(field, "Required value");
    }
    if text("note").len() > NOTE_BYTES_MAX {
        return refused("message", "Invalid value: \"\": can have at most 1024 bytes");
    }
    if !["Normal", "Warning"].contains(&text("type")) {
        return refused("type", "Invalid value: \"\": has invalid value");
    }
    Ok(())
}
