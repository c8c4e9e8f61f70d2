//! What message bodies are read as: our own sample events, AWS's samples, bad input, any input.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use decision::event::{EventError, Parsed, parse, parse_value};
use decision::id::{
    AsgName, BootId, ClusterName, HookName, HookToken, InstanceId, NodeName, PodKey,
    TargetGroupArn, Uid,
};
use decision::signal::HookRoute::{Normal, RootVolume, WarmPoolEnd, WarmPoolIn, WarmPoolOut};
use decision::signal::Transition::{Launching, Terminating};
use decision::signal::{HookRoute, HookSignal, Signal, SignalKind, Transition};
use decision::time::Timestamp;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::Config;
use proptest::{collection, prop_assert, prop_assert_eq, proptest};
use serde_json::{Value, json};

/// What a body is to be read as.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    Hook(Transition, HookRoute),
    /// Acknowledged; the label of the reason.
    Ignored(&'static str),
    /// An error that begins so: the path of the field.
    Fails(&'static str),
    /// No event at all (request samples, schemas, whole batches): an error about the body itself.
    NotAnEvent,
}

use Expect::{Fails, Hook, Ignored, NotAnEvent};

const OTHER_TYPE: Expect = Ignored("other_detail_type");
const OTHER_SOURCE: Expect = Ignored("other_source");
const TEST: Expect = Ignored("test_notification");

#[track_caller]
fn check(name: &str, outcome: &Result<Parsed, EventError>, expect: Expect) {
    match (outcome, expect) {
        (Ok(Parsed::Signal(signal)), Hook(transition, route)) => {
            let SignalKind::Hook(hook) = &signal.kind;
            assert_eq!((hook.transition, hook.route), (transition, route), "{name}");
        }
        (Ok(Parsed::Ignored(event)), Ignored(label)) => {
            assert_eq!(event.reason.label(), label, "{name}");
        }
        (Err(error), Fails(start)) => {
            assert!(error.to_string().starts_with(start), "{name}: {error}");
        }
        (Err(error), NotAnEvent) => {
            assert!(error.to_string().starts_with("body: "), "{name}: {error}");
        }
        _ => panic!("{name}: {outcome:?}, expected {expect:?}"),
    }
}

// ---- Sample files --------------------------------------------------------------------------------

/// Each file of events/ with what its body, or the body of each of its records, is read as.
const OURS: &[(&str, &[Expect])] = &[
    ("autoscaling.launch-from-warm-pool.json", &[Hook(Launching, WarmPoolOut)]),
    ("autoscaling.launch-into-warm-pool.json", &[Hook(Launching, WarmPoolIn)]),
    ("autoscaling.launch-replace-root-volume.json", &[Hook(Launching, RootVolume)]),
    ("autoscaling.launch.json", &[Hook(Launching, Normal)]),
    ("autoscaling.terminate-in-warm-pool.json", &[Hook(Terminating, WarmPoolEnd)]),
    ("autoscaling.terminate-replace-root-volume.json", &[Hook(Terminating, RootVolume)]),
    ("autoscaling.terminate-warm-pool.json", &[Hook(Terminating, WarmPoolIn)]),
    ("autoscaling.terminate.json", &[Hook(Terminating, Normal)]),
    ("sqs.autoscaling-direct.json", &[Hook(Terminating, Normal)]),
    ("sqs.autoscaling-terminate.json", &[Hook(Terminating, Normal)]),
    (
        "sqs.batch.json",
        &[
            Hook(Terminating, Normal),
            Hook(Terminating, Normal),
            Hook(Launching, Normal),
            Fails("body: not JSON at byte 200: EOF while parsing a string"),
            OTHER_SOURCE,
            TEST,
        ],
    ),
    ("sqs.sns-wrapped.json", &[Hook(Terminating, Normal)]),
    ("sqs.test-notification.json", &[TEST]),
];

/// AWS's own samples and those of other projects, as collected beside the repository.
const THEIRS: &[(&str, Expect)] = &[
    ("_schemas-from-aws-service-spec.json", NotAnEvent),
    ("asg-hook-sqs-message.json", Hook(Launching, Normal)),
    ("asg-hook-sqs-test-notification.json", TEST),
    ("asg-instance-refresh-cancelled.json", OTHER_TYPE),
    ("asg-instance-refresh-checkpoint.json", OTHER_TYPE),
    ("asg-instance-refresh-failed.json", OTHER_TYPE),
    ("asg-instance-refresh-started.json", OTHER_TYPE),
    ("asg-instance-refresh-succeeded.json", OTHER_TYPE),
    ("asg-launch-lifecycle-action.json", Hook(Launching, Normal)),
    ("asg-launch-lifecycle-ec2-to-asg.json", Hook(Launching, Normal)),
    ("asg-launch-lifecycle-ec2-to-warmpool.json", Hook(Launching, WarmPoolIn)),
    ("asg-launch-lifecycle-replace-root-volume.json", Hook(Launching, RootVolume)),
    ("asg-launch-lifecycle-warmpool-to-asg.json", Hook(Launching, WarmPoolOut)),
    ("asg-launch-successful.json", OTHER_TYPE),
    ("asg-launch-unsuccessful.json", OTHER_TYPE),
    ("asg-terminate-lifecycle-action.json", Hook(Terminating, Normal)),
    ("asg-terminate-lifecycle-asg-to-warmpool.json", Hook(Terminating, WarmPoolIn)),
    ("asg-terminate-lifecycle-replace-root-volume.json", Hook(Terminating, RootVolume)),
    ("asg-terminate-successful.json", OTHER_TYPE),
    ("asg-terminate-unsuccessful.json", OTHER_TYPE),
    ("botocore-autoscaling-CompleteLifecycleAction-examples.json", NotAnEvent),
    ("botocore-autoscaling-DescribeLifecycleHooks-examples.json", NotAnEvent),
    ("botocore-autoscaling-PutLifecycleHook-examples.json", NotAnEvent),
    ("botocore-autoscaling-RecordLifecycleActionHeartbeat-examples.json", NotAnEvent),
    ("botocore-elbv2-DeregisterTargets-examples.json", NotAnEvent),
    ("botocore-elbv2-DescribeTargetGroupAttributes-examples.json", NotAnEvent),
    ("botocore-elbv2-DescribeTargetHealth-examples.json", NotAnEvent),
    ("botocore-elbv2-RegisterTargets-examples.json", NotAnEvent),
    ("cloudwatch-alarm-state-change-anomaly-detection.json", OTHER_SOURCE),
    ("cloudwatch-alarm-state-change-composite-suppressed.json", OTHER_SOURCE),
    ("cloudwatch-alarm-state-change-metric-math.json", OTHER_SOURCE),
    ("cloudwatch-alarm-state-change-single-metric.json", OTHER_SOURCE),
    ("crate-example-autoscaling-event-launch-successful.json", OTHER_TYPE),
    ("crate-example-autoscaling-event-launch-unsuccessful.json", OTHER_TYPE),
    ("crate-example-autoscaling-event-lifecycle-action.json", Hook(Launching, Normal)),
    ("crate-example-autoscaling-event-terminate-action.json", Hook(Terminating, Normal)),
    ("crate-example-autoscaling-event-terminate-successful.json", OTHER_TYPE),
    ("crate-example-autoscaling-event-terminate-unsuccessful.json", OTHER_TYPE),
    ("crate-example-cloudwatch-alarm-composite-with-suppressor-alarm.json", OTHER_SOURCE),
    ("crate-example-cloudwatch-alarm-composite.json", OTHER_SOURCE),
    ("crate-example-cloudwatch-alarm-metric.json", OTHER_SOURCE),
    ("crate-example-cloudwatch-alarm-sns-payload-multiple-metrics.json", NotAnEvent),
    ("crate-example-cloudwatch-alarm-sns-payload-single-metric.json", NotAnEvent),
    ("crate-example-eventbridge-event-obj.json", OTHER_SOURCE),
    ("crate-example-eventbridge-schedule.json", OTHER_SOURCE),
    ("crate-example-sqs-api-event-obj.json", NotAnEvent),
    ("crate-example-sqs-batch-response.json", NotAnEvent),
    ("crate-example-sqs-event-obj.json", NotAnEvent),
    ("crate-example-sqs-event.json", NotAnEvent),
    ("ec2-capacity-block-delivered.json", OTHER_SOURCE),
    ("ec2-capacity-block-expiration-warning.json", OTHER_SOURCE),
    ("ec2-capacity-block-instance-interruption-warning.json", OTHER_SOURCE),
    ("ec2-instance-state-change.json", OTHER_SOURCE),
    ("ec2-interruptible-cr-interruption-warning.json", OTHER_SOURCE),
    ("ec2-interruptible-cr-reclamation-completed.json", OTHER_SOURCE),
    ("ec2-rebalance-recommendation.json", OTHER_SOURCE),
    ("ec2-spot-interruption-warning.json", OTHER_SOURCE),
    ("health-ec2-drive-degraded-backup-event.json", OTHER_SOURCE),
    ("health-ec2-instance-retirement-scheduled.json", OTHER_SOURCE),
    ("health-elb-api-issue.json", OTHER_SOURCE),
    ("nth-asg-direct-to-sqs-body.json", Hook(Terminating, Normal)),
    ("nth-asg-launch-lifecycle.json", Hook(Launching, Normal)),
    ("nth-asg-terminate-lifecycle.json", Hook(Terminating, Normal)),
    ("nth-asg-test-notification-via-eventbridge-shape.json", TEST),
    ("nth-ec2-rebalance-recommendation.json", OTHER_SOURCE),
    ("nth-ec2-spot-interruption.json", OTHER_SOURCE),
    ("nth-ec2-state-change.json", OTHER_SOURCE),
    ("nth-health-scheduled-change.json", OTHER_SOURCE),
];

fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[expect(clippy::disallowed_methods, reason = "the tests read files; the crate does not")]
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// The JSON files of a folder by name; `None` if there is no such folder.
fn json_files(folder: &Path) -> Option<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).ok()? {
        let path = entry.expect("a folder entry").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_name().expect("a file name").to_string_lossy().into_owned();
            files.insert(name, read(&path));
        }
    }
    Some(files)
}

fn our(name: &str) -> String {
    read(&workspace_root().join("events").join(name))
}

/// The bodies in a file: those of its records, or else the file itself.
fn bodies(text: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(text).expect("a sample is JSON");
    match value["Records"].as_array() {
        Some(records) => records
            .iter()
            .map(|record| record["body"].as_str().expect("a record has a body").to_owned())
            .collect(),
        None => vec![text.to_owned()],
    }
}

fn signal(body: &str) -> Signal {
    match parse(body) {
        Ok(Parsed::Signal(signal)) => signal,
        other => panic!("no signal: {other:?}"),
    }
}

fn hook(signal: &Signal) -> &HookSignal {
    let SignalKind::Hook(hook) = &signal.kind;
    hook
}

#[test]
fn every_file_in_events_is_read_as_its_name_says() {
    let files = json_files(&workspace_root().join("events")).expect("the folder events/");
    let listed: Vec<&str> = OURS.iter().map(|(name, _)| *name).collect();
    assert_eq!(files.keys().collect::<Vec<_>>(), listed, "events/ and this table differ");
    for (name, expected) in OURS {
        let bodies = bodies(&files[*name]);
        assert_eq!(bodies.len(), expected.len(), "{name}");
        for (index, (body, expect)) in bodies.iter().zip(*expected).enumerate() {
            check(&format!("{name}, body {index}"), &parse(body), *expect);
        }
    }
}

#[test]
fn every_file_in_events_is_described_in_its_readme() {
    let readme = read(&workspace_root().join("events/README.md"));
    for (name, _) in OURS {
        assert_eq!(readme.matches(&format!("| `{name}` |")).count(), 1, "{name}");
    }
}

/// A checkout without the collection has nothing to compare with; everything else is checked above.
#[test]
fn every_sample_of_aws_is_read_or_refused_as_listed() {
    let Some(files) = json_files(&workspace_root().join("../shared/events")) else { return };
    let listed: Vec<&str> = THEIRS.iter().map(|(name, _)| *name).collect();
    assert_eq!(files.keys().collect::<Vec<_>>(), listed, "the samples and this table differ");
    for (name, expect) in THEIRS {
        check(name, &parse(&files[*name]), *expect);
    }
}

#[test]
fn a_terminate_event_is_read_whole() {
    let signal = signal(&our("autoscaling.terminate.json"));
    assert_eq!(signal.instance.as_str(), "i-0a1b2c3d4e5f60718");
    assert_eq!(signal.sent_at.unwrap().to_string(), "2026-11-22T09:30:00Z");
    assert_eq!(signal.account.as_deref(), Some("111122223333"));
    assert_eq!(signal.region.as_deref(), Some("eu-west-1"));
    let hook = hook(&signal);
    assert_eq!(hook.asg.as_str(), "workers");
    assert_eq!(hook.hook.as_str(), "ebbtide-terminate");
    assert_eq!(hook.token.expose(), "3f2504e0-4f89-41d3-9a0c-0305e82c3301");
    assert_eq!(hook.metadata.as_deref(), Some(r#"{"ebbtide":{"cluster":"shop"}}"#));
}

#[test]
fn every_transport_carries_the_same_departure() {
    for name in
        ["sqs.autoscaling-terminate.json", "sqs.autoscaling-direct.json", "sqs.sns-wrapped.json"]
    {
        let signal = signal(&bodies(&our(name))[0]);
        assert_eq!(signal.instance.as_str(), "i-0a1b2c3d4e5f60718", "{name}");
        assert_eq!(signal.account.as_deref(), Some("111122223333"), "{name}");
        assert_eq!(signal.sent_at.map(|at| at.millis() / 1000), Some(1_795_339_800), "{name}");
        let (hook, from_bus) = (hook(&signal), name == "sqs.autoscaling-terminate.json");
        assert_eq!(hook.hook.as_str(), "ebbtide-terminate", "{name}");
        assert_eq!(hook.metadata.as_deref(), Some(r#"{"ebbtide":{"cluster":"shop"}}"#), "{name}");
        assert_eq!(signal.region.is_some(), from_bus, "{name}: flat messages name no region");
    }
}

// ---- Bodies made here ----------------------------------------------------------------------------

const TOKEN: &str = "87654321-4321-4321-4321-210987654321";

/// A terminate event as EventBridge delivers it, to be bent by the tests.
fn event() -> Value {
    json!({
        "version": "0",
        "id": "12345678-1234-1234-1234-123456789012",
        "detail-type": "EC2 Instance-terminate Lifecycle Action",
        "source": "aws.autoscaling",
        "account": "111122223333",
        "time": "2026-11-22T09:30:00Z",
        "region": "eu-west-1",
        "resources": ["arn"],
        "detail": {
            "LifecycleActionToken": TOKEN,
            "AutoScalingGroupName": "workers",
            "LifecycleHookName": "ebbtide-terminate",
            "EC2InstanceId": "i-0a1b2c3d4e5f60718",
            "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
        },
    })
}

/// The event with one field of `detail` set, or taken out by null.
fn with_detail(key: &str, value: Value) -> Value {
    let mut event = event();
    put(&mut event["detail"], key, value);
    event
}

/// The event with one field of the envelope set, or taken out by null.
fn with(key: &str, value: Value) -> Value {
    let mut event = event();
    put(&mut event, key, value);
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

fn from_value(value: &Value) -> Signal {
    match parse_value(value) {
        Ok(Parsed::Signal(signal)) => signal,
        other => panic!("no signal: {other:?}"),
    }
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
    assert_eq!(hook(&from_value(&sns(&flat))), hook(&whole), "a flat message");
    let bare = json!({"Message": flat.to_string()});
    assert_eq!(hook(&from_value(&bare)), hook(&whole), "without Type");
}

#[test]
fn what_asks_nothing_of_us_is_ignored_with_the_reason() {
    let rows = [
        (
            with("detail-type", json!("EC2 Instance Launch Successful")),
            "detail-type `EC2 Instance Launch Successful` is no lifecycle action",
        ),
        (with("source", json!("aws.ec2")), "source `aws.ec2` is not aws.autoscaling"),
        (with("source", json!("my.tool")), "source `my.tool` is not aws.autoscaling"),
        (
            with("source", json!("a".repeat(70))),
            "source `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…` is not \
             aws.autoscaling",
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
        match parse_value(&body) {
            Ok(Parsed::Ignored(event)) => assert_eq!(event.reason.to_string(), text),
            other => panic!("{text}: {other:?}"),
        }
    }
}

const INSTANCE_FORM: &str = "an instance id, i- and 8 or 17 hexadecimal digits";
const TOKEN_FORM: &str = "a hook token, 36 letters, digits and hyphens";
const TRANSITIONS: &str =
    "autoscaling:EC2_INSTANCE_LAUNCHING or autoscaling:EC2_INSTANCE_TERMINATING";
const SHAPES: &str = "an EventBridge event (`detail-type`) or a lifecycle message \
                      (`LifecycleTransition`)";

/// The flat message with one field set, or taken out by null.
fn flat_with(key: &str, value: Value) -> Value {
    with_detail(key, value)["detail"].clone()
}

fn sns(message: &Value) -> Value {
    json!({"Type": "Notification", "Message": message.to_string()})
}

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

// ---- Ids -----------------------------------------------------------------------------------------

fn a(length: usize) -> String {
    "a".repeat(length)
}

#[track_caller]
fn limits<T, E>(parse: fn(&str) -> Result<T, E>, accepted: &[&str], refused: &[&str]) {
    for text in accepted {
        assert!(parse(text).is_ok(), "refuses {text:?}");
    }
    for text in refused {
        assert!(parse(text).is_err(), "accepts {text:?}");
    }
}

#[test]
fn ids_of_aws_are_accepted_and_refused_at_their_limits() {
    let (longest, longer) = (format!("i-{}", a(32)), format!("i-{}", a(33)));
    limits(
        InstanceId::parse,
        &["i-12345678", "i-abcd1111", "i-0a1b2c3d4e5f60718", &longest],
        &["", "i-", "x-12345678", "I-12345678", "i-1234 678", &longer],
    );
    limits(AsgName::parse, &["a b/ü", &a(255)], &["", "a:b", "a\nb", &a(256)]);
    limits(HookName::parse, &["a-b_c/D9", &a(255)], &["", "a b", "ü", &a(256)]);
    limits(
        HookToken::parse,
        &[TOKEN, "71514b9d-6a40-4b26-8523-05e7eEXAMPLE"],
        &["", &a(35), &a(37), &format!("{} ", a(35))],
    );
    limits(ClusterName::parse, &["shop", "9_a-B", &a(100)], &["", "-shop", "a.b", &a(101)]);
    let arn =
        "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/0123456789abcdef";
    limits(
        TargetGroupArn::parse,
        &[arn, &arn.replace("arn:aws:", "arn:aws-us-gov:")],
        &[
            "web",
            &arn.replace("targetgroup", "loadbalancer"),
            &arn.replace("111122223333", "1111"),
            &arn.replace("elasticloadbalancing", "ec2"),
            &format!("{arn}/more"),
        ],
    );
}

#[test]
fn ids_of_kubernetes_are_accepted_and_refused_at_their_limits() {
    limits(
        NodeName::parse,
        &["ip-10-0-3-41.eu-west-1.compute.internal", "9", &a(253)],
        &["", "A", "a..b", "-a", "a-.b", "a_b", &a(254)],
    );
    limits(Uid::parse, &["4a1f", &a(128)], &["", "a b", &a(129)]);
    limits(BootId::parse, &["4a1f", &a(128)], &["", "a\u{7f}", &a(129)]);
    limits(
        |text| text.parse::<PodKey>(),
        &["shop/web-0"],
        &["", "web-0", "/web-0", "shop/", "a/b/c"],
    );
}

#[test]
fn an_id_error_names_what_was_seen_and_what_was_expected() {
    let text = |error: decision::id::IdError| error.to_string();
    assert_eq!(
        text(InstanceId::parse("x").unwrap_err()),
        "instance id `x`: expected i- and 8 or 17 hexadecimal digits"
    );
    assert_eq!(
        text(HookToken::parse("secret").unwrap_err()),
        "hook token `6 characters`: expected 36 letters, digits and hyphens"
    );
    assert_eq!(text("web".parse::<PodKey>().unwrap_err()), "pod `web`: expected namespace/name");
}

#[test]
fn ids_go_through_their_parser_when_deserialized() {
    assert_eq!(serde_json::to_string(&InstanceId::parse("i-1").unwrap()).unwrap(), "\"i-1\"");
    assert!(serde_json::from_str::<InstanceId>("\"i-1\"").is_ok());
    let error = serde_json::from_str::<InstanceId>("\"web\"").unwrap_err().to_string();
    assert!(error.starts_with("instance id `web`: expected i- and 8"), "{error}");
}

#[test]
fn a_fingerprint_tells_tokens_apart_and_stays_the_same() {
    let fingerprint = |token: &str| HookToken::parse(token).unwrap().fingerprint();
    // FNV-1a, 64 bits, of these 36 bytes: a release must recognise what an older one wrote.
    assert_eq!(fingerprint("3f2504e0-4f89-41d3-9a0c-0305e82c3301"), FINGERPRINT);
    assert_ne!(fingerprint("3f2504e0-4f89-41d3-9a0c-0305e82c3302"), FINGERPRINT);
}

const FINGERPRINT: &str = "3fde1cd4be7e9771";

// ---- Any input -----------------------------------------------------------------------------------

/// Keys and values that the parser looks for.
const KEYS: &[&str] = &[
    "detail-type",
    "detail_type",
    "source",
    "detail",
    "Message",
    "Type",
    "Event",
    "LifecycleTransition",
    "LifecycleActionToken",
    "AutoScalingGroupName",
    "LifecycleHookName",
    "EC2InstanceId",
    "NotificationMetadata",
    "Origin",
    "time",
];
const WORDS: &[&str] = &[
    "aws.autoscaling",
    "EC2 Instance-terminate Lifecycle Action",
    "EC2 Instance-launch Lifecycle Action",
    "autoscaling:EC2_INSTANCE_TERMINATING",
    "autoscaling:TEST_NOTIFICATION",
    "WarmPool",
    "i-0a1b2c3d4e5f60718",
    TOKEN,
    "2026-11-22T09:30:00Z",
    "{\"EC2InstanceId\":\"i-1\"}",
];

/// JSON of any shape, rich in those keys and values.
fn any_json() -> impl Strategy<Value = Value> {
    let word = proptest::sample::select(WORDS).prop_map(Value::from);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        word,
    ];
    let key = prop_oneof![3 => proptest::sample::select(KEYS).prop_map(str::to_owned), 1 => ".*"];
    leaf.prop_recursive(3, 64, 12, move |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            collection::btree_map(key.clone(), inner, 0..12)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// No files of past failures: what fails becomes a row in a table above.
fn config() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in ".*") {
        let outcome = parse(&text);
        prop_assert!(!matches!(outcome, Ok(Parsed::Signal(_))), "{:?}", outcome);
    }

    #[test]
    fn any_json_is_read_the_same_as_text_and_as_value(value in any_json()) {
        prop_assert_eq!(parse(&value.to_string()), parse_value(&value));
    }

    #[test]
    fn a_cut_event_is_refused_wherever_it_is_cut(at in 0_usize..600) {
        let whole = event().to_string();
        let cut: String = whole.chars().take(at.min(whole.len() - 1)).collect();
        let refused = matches!(parse(&cut), Err(EventError::NotJson { .. } | EventError::Empty));
        prop_assert!(refused, "{}", cut);
    }

    #[test]
    fn an_event_with_one_field_replaced_never_panics(
        key in proptest::sample::select(&[
            "EC2InstanceId", "LifecycleActionToken", "LifecycleHookName", "AutoScalingGroupName",
            "LifecycleTransition", "NotificationMetadata", "Origin", "Destination", "Action",
        ][..]),
        value in any_json(),
    ) {
        let event = with_detail(key, value.clone());
        match parse_value(&event) {
            Err(error) => {
                let error = error.to_string();
                prop_assert!(error.starts_with(&format!("detail.{key}: ")), "{}", error);
            }
            Ok(_) => prop_assert!(value.is_string() || value.is_null(), "{}", value),
        }
    }

    #[test]
    fn ids_are_the_same_after_display_and_parse(
        instance in "i-[0-9a-f]{8}([0-9a-f]{9})?",
        asg in "[ -9;-~]{1,255}",
        hook in "[A-Za-z0-9_/-]{1,255}",
        cluster in "[0-9A-Za-z][A-Za-z0-9_-]{0,99}",
        node in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z0-9]{1,20}){0,3}",
        uid in "[!-~]{1,128}",
        pod in "[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}",
    ) {
        prop_assert_eq!(InstanceId::parse(&instance).unwrap().to_string(), instance);
        prop_assert_eq!(AsgName::parse(&asg).unwrap().to_string(), asg);
        prop_assert_eq!(HookName::parse(&hook).unwrap().to_string(), hook);
        prop_assert_eq!(ClusterName::parse(&cluster).unwrap().to_string(), cluster);
        prop_assert_eq!(NodeName::parse(&node).unwrap().to_string(), node);
        prop_assert_eq!(Uid::parse(&uid).unwrap().to_string(), uid.clone());
        prop_assert_eq!(BootId::parse(&uid).unwrap().to_string(), uid);
        prop_assert_eq!(pod.parse::<PodKey>().unwrap().to_string(), pod);
    }

    #[test]
    fn tokens_are_the_same_after_parse_and_expose(token in "[0-9A-Za-z-]{36}") {
        let parsed = HookToken::parse(&token).unwrap();
        prop_assert_eq!(parsed.expose(), &token);
        prop_assert_eq!(parsed.fingerprint().len(), 16);
        prop_assert_eq!(format!("{parsed:?}"), "HookToken(36 characters)");
    }

    #[test]
    fn timestamps_are_the_same_after_display_and_parse(millis in any::<i64>()) {
        let time = Timestamp::from_millis(millis);
        prop_assert_eq!(time.to_string().parse::<Timestamp>(), Ok(time), "{}", time);
        let json = serde_json::to_string(&time).unwrap();
        prop_assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), time);
    }

    #[test]
    fn any_text_is_a_time_or_an_error(text in ".*") {
        if let Ok(time) = Timestamp::parse_rfc3339(&text) {
            prop_assert_eq!(Timestamp::parse_rfc3339(&time.to_string()), Ok(time));
        }
        if let Ok(time) = Timestamp::parse_rfc2822(&text) {
            prop_assert_eq!(Timestamp::parse_rfc3339(&time.to_string()), Ok(time));
        }
    }
}
