//! Lifecycle actions, and what every body has in common: shapes, wrapping, JSON.

use decision::event::{parse, parse_value};
use decision::signal::HookRoute::{Normal, RootVolume, WarmPoolEnd, WarmPoolIn, WarmPoolOut};
use decision::signal::Transition::{Launching, Terminating};
use decision::signal::{HookRoute, Signal};
use serde_json::{Value, json};

use crate::Expect::Hook;
use crate::{
    INSTANCE_FORM, bridge, check, from_value, hook_of, put, reason, refused, set, set_detail, sns,
};

pub(crate) const TOKEN: &str = "87654321-4321-4321-4321-210987654321";

/// A terminate event as EventBridge delivers it, to be bent by the tests.
pub(crate) fn event() -> Value {
    let detail = json!({
        "LifecycleActionToken": TOKEN,
        "AutoScalingGroupName": "workers",
        "LifecycleHookName": "ebbtide-terminate",
        "EC2InstanceId": "i-0a1b2c3d4e5f60718",
        "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
    });
    bridge("aws.autoscaling", "EC2 Instance-terminate Lifecycle Action", &detail)
}

/// The event with one field of `detail` set, or taken out by null.
pub(crate) fn with_detail(key: &str, value: Value) -> Value {
    set_detail(event(), key, value)
}

/// The event with one field of the envelope set, or taken out by null.
fn with(key: &str, value: Value) -> Value {
    set(event(), key, value)
}

#[test]
fn every_origin_and_destination_names_a_way() {
    struct Row {
        name: &'static str,
        fields: [Option<&'static str>; 3],
        launching: HookRoute,
        terminating: HookRoute,
    }
    let row = |name, fields, launching, terminating| Row { name, fields, launching, terminating };
    let (ec2, asg, pool) = (Some("EC2"), Some("AutoScalingGroup"), Some("WarmPool"));
    let (unknown, replace) = (Some("Moon"), Some("ReplaceRootVolume"));
    let rows = [
        row("no field at all", [None, None, None], Normal, Normal),
        row("EC2 to ASG", [ec2, asg, None], Normal, Normal),
        row("ASG to EC2", [asg, ec2, None], Normal, Normal),
        row("EC2 to pool", [ec2, pool, None], WarmPoolIn, WarmPoolIn),
        row("ASG to pool", [asg, pool, None], WarmPoolIn, WarmPoolIn),
        row("pool to ASG", [pool, asg, None], WarmPoolOut, WarmPoolEnd),
        row("pool to EC2", [pool, ec2, None], WarmPoolOut, WarmPoolEnd),
        row("pool to pool", [pool, pool, None], WarmPoolIn, WarmPoolIn),
        row("new root volume", [asg, asg, replace], RootVolume, RootVolume),
        row("new root volume, no way", [None, None, replace], RootVolume, RootVolume),
        row("unknown origin", [unknown, ec2, None], Normal, Normal),
        row("unknown destination", [asg, unknown, None], Normal, Normal),
        row("unknown origin to pool", [unknown, pool, None], WarmPoolIn, WarmPoolIn),
        row("unknown action", [asg, asg, unknown], Normal, Normal),
        row("empty words", [Some(""), Some(""), Some("")], Normal, Normal),
    ];
    for Row { name, fields, launching, terminating } in rows {
        for (transition, route) in [(Launching, launching), (Terminating, terminating)] {
            let mut flat = event()["detail"].clone();
            put(&mut flat, "LifecycleTransition", json!(transition.wire()));
            for (key, value) in ["Origin", "Destination", "Action"].iter().zip(fields) {
                put(&mut flat, key, json!(value));
            }
            check(&format!("{name}, {transition:?}"), &parse_value(&flat), Hook(transition, route));
        }
    }
}

#[test]
fn what_nothing_depends_on_may_vary() {
    let whole = from_value(&event());
    let same = [
        ("resources as text", with("resources", json!("arn"))),
        ("resources missing", with("resources", Value::Null)),
        ("resources of numbers", with("resources", json!([1]))),
        ("an unknown field", with("customer_event_id", json!({"a": [1]}))),
        ("an unknown field in detail", with_detail("Later", json!(true))),
        ("empty metadata", with_detail("NotificationMetadata", json!(""))),
        ("an empty Event", with_detail("Event", json!(""))),
    ];
    for (name, event) in same {
        assert_eq!(from_value(&event), whole, "{name}");
    }
    for time in [json!("yyyy-mm-ddThh:mm:ssZ"), json!("1970-01-01T00:00:00Z"), json!(5), json!("")]
    {
        let signal = from_value(&with("time", time.clone()));
        assert_eq!(signal, Signal { sent_at: None, ..whole.clone() }, "time {time}");
    }
    for account in [json!("<account_number>"), json!("account id"), json!(111_122_223_333_i64)] {
        let signal = from_value(&with("account", account.clone()));
        assert_eq!(signal, Signal { account: None, ..whole.clone() }, "account {account}");
    }
    let signal = from_value(&with("region", json!("[region]")));
    assert_eq!(signal, Signal { region: None, ..whole.clone() }, "a placeholder for the region");
    let mut underscore = with("detail-type", Value::Null);
    underscore["detail_type"] = event()["detail-type"].clone();
    assert_eq!(from_value(&underscore), whole, "detail_type");
}

#[test]
fn sns_may_wrap_either_shape() {
    let whole = from_value(&event());
    assert_eq!(from_value(&sns(&event())), whole, "an event");
    let flat = event()["detail"].clone();
    assert_eq!(hook_of(&from_value(&sns(&flat))), hook_of(&whole), "a flat message");
    let bare = json!({"Message": flat.to_string()});
    assert_eq!(hook_of(&from_value(&bare)), hook_of(&whole), "without Type");
}

#[test]
fn what_asks_nothing_of_us_is_ignored_with_the_reason() {
    let rows = [
        (
            with("detail-type", json!("EC2 Instance Launch Successful")),
            "detail-type `EC2 Instance Launch Successful` announces nothing that we act on",
        ),
        (
            with("source", json!("my.tool")),
            "source `my.tool` is not aws.autoscaling, aws.ec2 or aws.health",
        ),
        (
            with("source", json!("a".repeat(70))),
            "source `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…` is not \
             aws.autoscaling, aws.ec2 or aws.health",
        ),
        (
            json!({"Event": "autoscaling:EC2_INSTANCE_TERMINATE", "Service": "AWS Auto Scaling"}),
            "notification `autoscaling:EC2_INSTANCE_TERMINATE` carries no hook",
        ),
        (
            json!({"Event": "autoscaling:TEST_NOTIFICATION"}),
            "test notification of a lifecycle hook",
        ),
        (
            with_detail("LifecycleTransition", json!("autoscaling:TEST_NOTIFICATION")),
            "test notification of a lifecycle hook",
        ),
        (
            json!({"Type": "SubscriptionConfirmation", "Message": "You have chosen to …"}),
            "subscription message of an SNS topic",
        ),
    ];
    for (body, text) in rows {
        assert_eq!(reason(&body).1, text);
    }
}

const TOKEN_FORM: &str = "a hook token, 36 letters, digits and hyphens";
const TRANSITIONS: &str =
    "autoscaling:EC2_INSTANCE_LAUNCHING or autoscaling:EC2_INSTANCE_TERMINATING";
const SHAPES: &str = "an EventBridge event (`detail-type`) or a lifecycle message \
                      (`LifecycleTransition`)";

/// The flat message with one field set, or taken out by null.
fn flat_with(key: &str, value: Value) -> Value {
    with_detail(key, value)["detail"].clone()
}

#[test]
fn a_body_that_is_no_event_is_named_by_its_shape() {
    refused(&json!([1, 2]), "body: a list", "an object");
    refused(&json!("text"), "body: text", "an object");
    refused(&Value::Null, "body: null", "an object");
    refused(&json!({}), "body: an empty object", SHAPES);
    refused(&json!({"Records": []}), "body: an object with `Records`", SHAPES);
    let many = json!({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1});
    refused(&many, "body: an object with `a`, `b`, `c`, `d`, `e`, …", SHAPES);
    refused(&json!({"Event": "something"}), "body: an object with `Event`", SHAPES);
    refused(&sns(&sns(&event())), "Message: an object with `Message`, `Type`", SHAPES);
    refused(&json!({"Message": 5}), "Message: a number", "the message as text");
    let source = "an event source, such as aws.autoscaling";
    refused(&with("source", Value::Null), "source: missing", source);
    refused(&with("source", json!(7)), "source: a number", source);
    let detail_type = "a detail-type, such as that of a lifecycle action";
    refused(&with("detail-type", Value::Null), "detail-type: missing", detail_type);
    refused(&with("detail", Value::Null), "detail: missing", "an object");
    refused(&with("detail", json!("x")), "detail: text", "an object");
}

#[test]
fn bad_input_is_named_by_field_value_and_form() {
    let instance = |value| with_detail("EC2InstanceId", value);
    refused(&instance(json!("i-xyz!")), "detail.EC2InstanceId: `i-xyz!`", INSTANCE_FORM);
    refused(&instance(json!("")), "detail.EC2InstanceId: ``", INSTANCE_FORM);
    refused(&instance(Value::Null), "detail.EC2InstanceId: missing", INSTANCE_FORM);
    refused(&instance(json!(["i-1"])), "detail.EC2InstanceId: a list", INSTANCE_FORM);
    let shortened = format!("detail.EC2InstanceId: `{}…`", "i-1\\n".repeat(15));
    refused(&instance(json!("i-1\n".repeat(40))), &shortened, INSTANCE_FORM);
    let token = |value| with_detail("LifecycleActionToken", value);
    refused(&token(json!("secret")), "detail.LifecycleActionToken: `6 characters`", TOKEN_FORM);
    refused(&token(json!(12_345_678)), "detail.LifecycleActionToken: a number", TOKEN_FORM);
    refused(&token(Value::Null), "detail.LifecycleActionToken: missing", TOKEN_FORM);
    refused(
        &with_detail("LifecycleHookName", json!("a hook")),
        "detail.LifecycleHookName: `a hook`",
        "a hook name, 1 to 255 letters, digits, hyphens, underscores and slashes",
    );
    refused(
        &with_detail("AutoScalingGroupName", json!("a:b")),
        "detail.AutoScalingGroupName: `a:b`",
        "an Auto Scaling group name, 1 to 255 characters without colons and control characters",
    );
    for key in ["Origin", "Destination", "Action", "NotificationMetadata"] {
        refused(&with_detail(key, json!(5)), &format!("detail.{key}: a number"), "text");
    }
}

#[test]
fn a_transition_is_never_guessed() {
    let resting = json!("autoscaling:EC2_INSTANCE_RESTING");
    refused(
        &flat_with("LifecycleTransition", resting.clone()),
        "LifecycleTransition: `autoscaling:EC2_INSTANCE_RESTING`",
        TRANSITIONS,
    );
    refused(
        &flat_with("LifecycleTransition", Value::Null),
        "LifecycleTransition: missing",
        TRANSITIONS,
    );
    for (detail_type, other) in [
        ("EC2 Instance-launch Lifecycle Action", Terminating),
        ("EC2 Instance-terminate Lifecycle Action", Launching),
    ] {
        let expected = if other == Launching { Terminating } else { Launching };
        let mut event = with_detail("LifecycleTransition", json!(other.wire()));
        event["detail-type"] = json!(detail_type);
        let seen = format!("detail.LifecycleTransition: `{}`", other.wire());
        refused(&event, &seen, expected.wire());
    }
}

#[test]
fn the_path_of_a_field_leads_through_the_wrapping() {
    refused(
        &sns(&flat_with("EC2InstanceId", Value::Null)),
        "Message.EC2InstanceId: missing",
        INSTANCE_FORM,
    );
    refused(
        &sns(&with_detail("EC2InstanceId", json!("x"))),
        "Message.detail.EC2InstanceId: `x`",
        INSTANCE_FORM,
    );
    let error = parse_value(&json!({"Message": "hi"})).unwrap_err();
    assert_eq!(error.to_string(), "Message: not JSON at byte 0: expected value");
}

#[test]
fn what_is_not_json_is_named_by_its_byte() {
    let rows = [
        ("", "empty body, expected an event as JSON"),
        (" \n\t", "empty body, expected an event as JSON"),
        ("hello", "body: not JSON at byte 0: expected value"),
        ("{\"a\": 1,}", "body: not JSON at byte 8: trailing comma"),
        ("{\"a\": 1}\n{\"b\": 2}", "body: not JSON at byte 9: trailing characters"),
        ("{\n  \"ä\": x}", "body: not JSON at byte 10: expected value"),
        ("{\"a\"", "body: not JSON at byte 4: EOF while parsing an object"),
        ("\"abc", "body: not JSON at byte 4: EOF while parsing a string"),
    ];
    for (body, text) in rows {
        assert_eq!(parse(body).unwrap_err().to_string(), text, "{body:?}");
    }
}

#[test]
fn a_token_is_in_no_error_and_in_no_debug_text() {
    assert!(!format!("{:?}", from_value(&event())).contains(TOKEN));
    assert!(format!("{:?}", from_value(&event())).contains("HookToken(36 characters)"));
    let broken = [
        with_detail("EC2InstanceId", json!("x")),
        with_detail("LifecycleActionToken", json!(format!("{TOKEN}x"))),
        with_detail("LifecycleActionToken", json!({"a": TOKEN})),
        with_detail("LifecycleActionToken", json!([TOKEN])),
        json!({"LifecycleActionToken": TOKEN}),
        json!([TOKEN]),
        json!(TOKEN),
    ];
    for body in broken {
        let error = parse_value(&body).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(TOKEN), "{error:?}");
        let cut = body.to_string();
        let cut = cut.get(..cut.len() - 1).unwrap();
        let error = parse(cut).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(TOKEN), "{error:?}");
    }
}
