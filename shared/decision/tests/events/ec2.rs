//! What EC2 says about its instances, rule by rule.

use std::time::Duration;

use decision::event::{Parsed, parse_value};
use decision::signal::{Cause, Due, Interruption, SignalKind, SpotAction};
use decision::time::Timestamp;
use serde_json::{Value, json};

use crate::{INSTANCE_FORM, bridge, from_value, reason, refused, set, set_detail, sns, told};

const SPOT: &str = "EC2 Spot Instance Interruption Warning";
const REBALANCE: &str = "EC2 Instance Rebalance Recommendation";
const CAPACITY: &str = "EC2 Capacity Reservation Instance Interruption Warning";
const STATE: &str = "EC2 Instance State-change Notification";
const BLOCK: &str = "Capacity Block Expiration Warning";
const BLOCK_TOO: &str = "Capacity Block Reservation Expiration Warning";

/// Every detail-type of EC2 that says something to us.
pub(crate) const EVENTS: [&str; 6] = [SPOT, REBALANCE, CAPACITY, STATE, BLOCK, BLOCK_TOO];

/// An event of this detail-type.
pub(crate) fn of(detail_type: &str) -> Value {
    let detail = match detail_type {
        SPOT => json!({"instance-id": "i-1", "instance-action": "terminate"}),
        CAPACITY => json!({
            "instance-id": "i-1",
            "instance-action": "terminate",
            "instance-termination-time": "2026-11-22T09:31:30Z",
            "azId": "euw1-az1",
        }),
        STATE => json!({"instance-id": "i-1", "state": "stopping"}),
        BLOCK | BLOCK_TOO => {
            json!({"capacity-reservation-id": "cr-1", "end-date": "2026-11-22T10:10:00Z"})
        }
        _ => json!({"instance-id": "i-1"}),
    };
    bridge("aws.ec2", detail_type, &detail)
}

/// What the event says with one field of `detail` set, or taken out by null.
#[track_caller]
fn says(detail_type: &str, key: &str, value: Value) -> String {
    let parsed = parse_value(&set_detail(of(detail_type), key, value));
    match parsed.as_ref().map(told).as_deref() {
        Ok([text]) => text.clone(),
        other => panic!("{other:?}"),
    }
}

fn interruption(event: &Value) -> Interruption {
    match from_value(event).kind {
        SignalKind::Interruption(interruption) => interruption,
        SignalKind::Hook(hook) => panic!("a hook: {hook:?}"),
    }
}

#[test]
fn a_spot_warning_gives_two_minutes_except_to_hibernate() {
    let long = "a".repeat(70);
    let shortened = format!("i-1: Spot warning, unknown action `{}…`, after 2 min", "a".repeat(60));
    let rows = [
        (json!("terminate"), "i-1: Spot warning, terminate, after 2 min"),
        (json!("stop"), "i-1: Spot warning, stop, after 2 min"),
        (json!("hibernate"), "i-1: Spot warning, hibernate, after 0 s"),
        (json!("Terminate"), "i-1: Spot warning, unknown action `Terminate`, after 2 min"),
        (json!("explode"), "i-1: Spot warning, unknown action `explode`, after 2 min"),
        (json!(long), shortened.as_str()),
        (json!(""), "i-1: Spot warning, unknown action `missing`, after 2 min"),
        (Value::Null, "i-1: Spot warning, unknown action `missing`, after 2 min"),
        (json!(7), "i-1: Spot warning, unknown action `no text`, after 2 min"),
        (json!(["stop"]), "i-1: Spot warning, unknown action `no text`, after 2 min"),
    ];
    for (action, text) in rows {
        assert_eq!(says(SPOT, "instance-action", action.clone()), text, "{action}");
    }
    let cause = interruption(&set_detail(of(SPOT), "instance-action", json!("x"))).cause;
    assert_eq!(cause, Cause::Spot(SpotAction::Unknown("x".to_owned())));
}

#[test]
fn a_rebalance_recommendation_says_nothing_of_when() {
    let expected = Interruption { cause: Cause::Rebalance, due: Due::Unknown };
    assert_eq!(interruption(&of(REBALANCE)), expected);
}

#[test]
fn a_capacity_reservation_says_when_or_gives_two_minutes() {
    let at = "i-1: capacity reservation interrupted, at 2026-11-22T09:31:30Z";
    let after = "i-1: capacity reservation interrupted, after 2 min";
    let rows = [
        (json!("2026-11-22T09:31:30Z"), at),
        (json!("2026-11-22T10:31:30+01:00"), at),
        (json!("Sun, 22 Nov 2026 09:31:30 GMT"), at),
        // In the past: taken at its word, whoever decides has no time left.
        (
            json!("2020-01-01T00:00:00Z"),
            "i-1: capacity reservation interrupted, at 2020-01-01T00:00:00Z",
        ),
        (json!("yyyy-mm-ddThh:mm:ssZ"), after),
        (json!("[Current time]"), after),
        (json!("1970-01-01T00:00:00Z"), after),
        (json!(""), after),
        (json!(1_795_339_890), after),
        (Value::Null, after),
    ];
    for (time, text) in rows {
        let key = "instance-termination-time";
        assert_eq!(says(CAPACITY, key, time.clone()), text, "{time}");
    }
    let mut block = of(CAPACITY);
    block["detail"]["instance-lifecycle"] = json!("capacity-block");
    block["detail"]["availability-zone-id"] = json!("euw1-az1");
    let block = set_detail(block, "azId", Value::Null);
    assert_eq!(from_value(&block), from_value(&of(CAPACITY)), "the other variant");
}

#[test]
fn a_capacity_block_begins_to_end_half_an_hour_before_its_end() {
    let rows = [
        (json!("2026-11-22T10:10:00Z"), "cr-1: capacity block, at 2026-11-22T09:40:00Z"),
        (json!("2026-11-22T10:10:00.000Z"), "cr-1: capacity block, at 2026-11-22T09:40:00Z"),
        (json!("[ODCR End Date]"), "cr-1: capacity block, after 10 min"),
        (json!("2026-11-22"), "cr-1: capacity block, after 10 min"),
        (json!({}), "cr-1: capacity block, after 10 min"),
        (Value::Null, "cr-1: capacity block, after 10 min"),
    ];
    for (end, text) in rows {
        for name in [BLOCK, BLOCK_TOO] {
            assert_eq!(says(name, "end-date", end.clone()), text, "{name}, {end}");
        }
    }
}

#[test]
fn a_reservation_gives_its_instances_the_signal_that_it_was() {
    let Ok(Parsed::Reservation(block)) = parse_value(&of(BLOCK)) else { panic!("no reservation") };
    assert_eq!(block.sent_at.map(|at| at.to_string()).as_deref(), Some("2026-11-22T09:30:00Z"));
    let mut expected = from_value(&of(REBALANCE));
    let due = Due::At("2026-11-22T09:40:00Z".parse().unwrap());
    expected.kind = SignalKind::Interruption(Interruption { cause: Cause::CapacityBlock, due });
    assert_eq!(block.signal("i-1".parse().unwrap()), expected);
}

#[test]
fn a_state_change_is_late_except_to_run_again() {
    let rows = [
        ("running", "i-1: instance running"),
        ("stopping", "i-1: instance stopping, after 0 s"),
        ("stopped", "i-1: instance stopped, after 0 s"),
        ("shutting-down", "i-1: instance shutting-down, after 0 s"),
        ("terminated", "i-1: instance terminated, after 0 s"),
    ];
    for (state, text) in rows {
        assert_eq!(says(STATE, "state", json!(state)), text);
    }
    let pending = set_detail(of(STATE), "state", json!("pending"));
    assert_eq!(reason(&pending), ("starting", "instance is pending: it starts".to_owned()));
}

#[test]
fn when_it_is_due_counts_from_when_it_was_sent() {
    let sent = Timestamp::from_seconds(1000);
    let hard = |due| Interruption { cause: Cause::Rebalance, due }.hard(sent);
    assert_eq!(hard(Due::After(Duration::from_secs(120))), Some(Timestamp::from_seconds(1120)));
    assert_eq!(hard(Due::After(Duration::ZERO)), Some(sent));
    assert_eq!(hard(Due::At(Timestamp::from_seconds(5))), Some(Timestamp::from_seconds(5)));
    assert_eq!(hard(Due::Unknown), None);
}

#[test]
fn what_ec2_says_of_other_things_is_ignored_by_its_name() {
    for name in [
        "Capacity Block Reservation Delivered",
        "EC2 Interruptible Capacity Reservation Allocation Reclamation Completed",
        "EBS Volume Notification",
        "EC2 Instance-terminate Lifecycle Action",
        "AWS Health Event",
    ] {
        let other = set(of(SPOT), "detail-type", json!(name));
        let text = match name.char_indices().nth(60) {
            Some((end, _)) => format!("{}…", name.split_at(end).0),
            None => name.to_owned(),
        };
        let text = format!("detail-type `{text}` announces nothing that we act on");
        assert_eq!(reason(&other), ("other_detail_type", text));
    }
}

#[test]
fn only_ec2_itself_is_believed() {
    for source in ["my.tool", "aws.ec2.fake", "AWS.EC2", "ec2"] {
        assert_eq!(reason(&set(of(SPOT), "source", json!(source))).0, "other_source", "{source}");
    }
    for source in ["aws.autoscaling", "aws.health"] {
        let label = reason(&set(of(SPOT), "source", json!(source))).0;
        assert_eq!(label, "other_detail_type", "{source}");
    }
}

#[test]
fn bad_input_is_named_by_field_value_and_form() {
    for name in [SPOT, REBALANCE, CAPACITY, STATE] {
        let with = |value| set_detail(of(name), "instance-id", value);
        refused(
            &with(json!("[instance-id]")),
            "detail.instance-id: `[instance-id]`",
            INSTANCE_FORM,
        );
        refused(&with(json!("")), "detail.instance-id: ``", INSTANCE_FORM);
        refused(&with(json!(["i-1"])), "detail.instance-id: a list", INSTANCE_FORM);
        refused(&with(Value::Null), "detail.instance-id: missing", INSTANCE_FORM);
    }
    for name in EVENTS {
        refused(&set(of(name), "detail", Value::Null), "detail: missing", "an object");
        refused(&set(of(name), "detail", json!([])), "detail: a list", "an object");
    }
    let states = "pending, running, stopping, stopped, shutting-down or terminated";
    let state = |value| set_detail(of(STATE), "state", value);
    refused(&state(json!("rebooting")), "detail.state: `rebooting`", states);
    refused(&state(json!("Stopping")), "detail.state: `Stopping`", states);
    refused(&state(json!(80)), "detail.state: a number", states);
    refused(&state(Value::Null), "detail.state: missing", states);
    let reservation = "a capacity reservation id, cr- and hexadecimal digits";
    let block = |value| set_detail(of(BLOCK), "capacity-reservation-id", value);
    refused(&block(json!("[ODCR ID]")), "detail.capacity-reservation-id: `[ODCR ID]`", reservation);
    refused(&block(Value::Null), "detail.capacity-reservation-id: missing", reservation);
}

#[test]
fn what_nothing_depends_on_may_vary() {
    for name in EVENTS {
        let whole = of(name);
        let read = parse_value(&whole);
        assert!(read.is_ok(), "{name}");
        let mut underscore = set(whole.clone(), "detail-type", Value::Null);
        underscore["detail_type"] = json!(name);
        let same = [
            ("resources as text", set(whole.clone(), "resources", json!("[instance arn]"))),
            ("resources missing", set(whole.clone(), "resources", Value::Null)),
            ("an unknown field", set_detail(whole.clone(), "later", json!({"a": [1]}))),
            ("detail_type", underscore),
            ("wrapped by SNS", sns(&whole)),
        ];
        for (what, event) in same {
            assert_eq!(parse_value(&event), read, "{name}: {what}");
        }
    }
    for time in ["yyyy-mm-ddThh:mm:ssZ", "1970-01-01T00:00:00Z", "[Current time]"] {
        let mut expected = from_value(&of(SPOT));
        expected.sent_at = None;
        assert_eq!(from_value(&set(of(SPOT), "time", json!(time))), expected, "{time}");
    }
    refused(
        &sns(&set_detail(of(SPOT), "instance-id", Value::Null)),
        "Message.detail.instance-id: missing",
        INSTANCE_FORM,
    );
}
