//! The sample files: our own in events/, and AWS's where they lie beside the repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use decision::event::parse;
use decision::signal::HookRoute::{Normal, RootVolume, WarmPoolEnd, WarmPoolIn, WarmPoolOut};
use decision::signal::Transition::{Launching, Terminating};
use serde_json::Value;

use crate::Expect::{Fails, Hook, Ignored, NotAnEvent, Says};
use crate::{Expect, check, hook_of, only};

const OTHER_TYPE: Expect = Ignored("other_detail_type");
const OTHER_SOURCE: Expect = Ignored("other_source");
const TEST: Expect = Ignored("test_notification");

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
    (
        "ec2.capacity-block-expiration.json",
        &[Says(&["cr-0a1b2c3d4e5f60718: capacity block, at 2026-11-22T09:40:00Z"])],
    ),
    (
        "ec2.capacity-block-reservation-expiration.json",
        &[Says(&["cr-0a1b2c3d4e5f60718: capacity block, at 2026-11-22T09:40:00Z"])],
    ),
    (
        "ec2.capacity-block.json",
        &[Says(&[
            "i-0a1b2c3d4e5f60718: capacity reservation interrupted, at 2026-11-22T09:32:00Z",
        ])],
    ),
    (
        "ec2.capacity-reservation.json",
        &[Says(&[
            "i-0a1b2c3d4e5f60718: capacity reservation interrupted, at 2026-11-22T09:32:00Z",
        ])],
    ),
    ("ec2.rebalance.json", &[Says(&["i-0a1b2c3d4e5f60718: rebalance recommendation"])]),
    (
        "ec2.spot-hibernate.json",
        &[Says(&["i-0a1b2c3d4e5f60718: Spot warning, hibernate, after 0 s"])],
    ),
    ("ec2.spot-stop.json", &[Says(&["i-0a1b2c3d4e5f60718: Spot warning, stop, after 2 min"])]),
    (
        "ec2.spot-terminate.json",
        &[Says(&["i-0a1b2c3d4e5f60718: Spot warning, terminate, after 2 min"])],
    ),
    ("ec2.state-pending.json", &[Ignored("starting")]),
    ("ec2.state-running.json", &[Says(&["i-0a1b2c3d4e5f60718: instance running"])]),
    (
        "ec2.state-shutting-down.json",
        &[Says(&["i-0a1b2c3d4e5f60718: instance shutting-down, after 0 s"])],
    ),
    ("ec2.state-stopped.json", &[Says(&["i-0a1b2c3d4e5f60718: instance stopped, after 0 s"])]),
    ("ec2.state-stopping.json", &[Says(&["i-0a1b2c3d4e5f60718: instance stopping, after 0 s"])]),
    (
        "ec2.state-terminated.json",
        &[Says(&["i-0a1b2c3d4e5f60718: instance terminated, after 0 s"])],
    ),
    ("health.backup-region.json", &[Ignored("other_region")]),
    (
        "health.closed.json",
        &[Says(&[
            "i-0a1b2c3d4e5f60718: maintenance AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED closed, \
 at 2026-12-06T09:30:00Z, AtStart",
        ])],
    ),
    ("health.dedicated-host.json", &[Ignored("no_instance")]),
    (
        "health.degraded.json",
        &[Says(&[
            "i-0a1b2c3d4e5f60718: maintenance AWS_EC2_INSTANCE_STORE_DRIVE_PERFORMANCE_DEGRADED, \
 AtOnce",
        ])],
    ),
    ("health.no-entities.json", &[Ignored("no_instance")]),
    ("health.planned-lifecycle.json", &[Ignored("informational")]),
    (
        "health.reboot.json",
        &[Says(&[
            "i-0a1b2c3d4e5f60718: maintenance AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED, \
 at 2026-12-06T09:30:00Z, AtStart",
        ])],
    ),
    (
        "health.retirement.json",
        &[Says(&["i-0a1b2c3d4e5f60718: maintenance AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED, \
 at 2026-12-06T09:30:00Z, AtOnce"])],
    ),
    ("sqs.autoscaling-direct.json", &[Hook(Terminating, Normal)]),
    ("sqs.autoscaling-terminate.json", &[Hook(Terminating, Normal)]),
    (
        "sqs.batch.json",
        &[
            Hook(Terminating, Normal),
            Hook(Terminating, Normal),
            Hook(Launching, Normal),
            Fails("body: not JSON at byte 200: EOF while parsing a string"),
            Says(&["i-0c3d4e5f607182930: instance shutting-down, after 0 s"]),
            TEST,
        ],
    ),
    (
        "sqs.interruptions.json",
        &[
            Says(&["i-0a1b2c3d4e5f60718: rebalance recommendation"]),
            Says(&["i-0a1b2c3d4e5f60718: Spot warning, terminate, after 2 min"]),
            Says(&["i-0a1b2c3d4e5f60718: Spot warning, terminate, after 2 min"]),
            Says(&["i-0c3d4e5f607182930: instance stopping, after 0 s"]),
            Says(&[
                "i-0a1b2c3d4e5f60718: maintenance AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED, \
 at 2026-12-06T09:30:00Z, AtStart",
                "i-0b2c3d4e5f6071829: maintenance AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED, \
 at 2026-12-06T09:30:00Z, AtStart",
            ]),
            Says(&[
                "i-0c3d4e5f607182930: maintenance AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED, \
 at 2026-12-06T09:30:00Z, AtStart",
            ]),
            Says(&["cr-0a1b2c3d4e5f60718: capacity block, at 2026-11-22T09:40:00Z"]),
            Fails("body: not JSON at byte 200: EOF while parsing a string"),
            Ignored("starting"),
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
    ("crate-example-eventbridge-event-obj.json", Ignored("starting")),
    ("crate-example-eventbridge-schedule.json", OTHER_SOURCE),
    ("crate-example-sqs-api-event-obj.json", NotAnEvent),
    ("crate-example-sqs-batch-response.json", NotAnEvent),
    ("crate-example-sqs-event-obj.json", NotAnEvent),
    ("crate-example-sqs-event.json", NotAnEvent),
    ("ec2-capacity-block-delivered.json", OTHER_TYPE),
    (
        "ec2-capacity-block-expiration-warning.json",
        Fails("detail.capacity-reservation-id: `[ODCR ID]`, expected a capacity reservation id"),
    ),
    (
        "ec2-capacity-block-instance-interruption-warning.json",
        Fails("detail.instance-id: `[Instance ID]`, expected an instance id"),
    ),
    ("ec2-instance-state-change.json", Ignored("starting")),
    (
        "ec2-interruptible-cr-interruption-warning.json",
        Fails("detail.instance-id: `[instance-id]`, expected an instance id"),
    ),
    ("ec2-interruptible-cr-reclamation-completed.json", OTHER_TYPE),
    ("ec2-rebalance-recommendation.json", Says(&["i-1234567890abcdef0: rebalance recommendation"])),
    (
        "ec2-spot-interruption-warning.json",
        Says(&["i-1234567890abcdef0: Spot warning, unknown action `action`, after 2 min"]),
    ),
    ("health-ec2-drive-degraded-backup-event.json", Ignored("other_region")),
    (
        "health-ec2-instance-retirement-scheduled.json",
        Says(&["i-1234567890abcdef0: maintenance AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED, at \
 2026-08-27T13:19:03Z, AtOnce"]),
    ),
    ("health-elb-api-issue.json", Ignored("other_service")),
    ("nth-asg-direct-to-sqs-body.json", Hook(Terminating, Normal)),
    ("nth-asg-launch-lifecycle.json", Hook(Launching, Normal)),
    ("nth-asg-terminate-lifecycle.json", Hook(Terminating, Normal)),
    ("nth-asg-test-notification-via-eventbridge-shape.json", TEST),
    (
        "nth-ec2-rebalance-recommendation.json",
        Says(&["i-0b662ef9931388ba0: rebalance recommendation"]),
    ),
    (
        "nth-ec2-spot-interruption.json",
        Says(&["i-0b662ef9931388ba0: Spot warning, terminate, after 2 min"]),
    ),
    ("nth-ec2-state-change.json", Ignored("starting")),
    (
        "nth-health-scheduled-change.json",
        Says(&[
            "i-12345678: maintenance AWS_EC2_DEDICATED_HOST_NETWORK_MAINTENANCE_SCHEDULED, at \
 2016-06-05T15:10:09Z, AtStart",
        ]),
    ),
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
    let signal = only(parse(&our("autoscaling.terminate.json")));
    assert_eq!(signal.instance.as_str(), "i-0a1b2c3d4e5f60718");
    assert_eq!(signal.sent_at.unwrap().to_string(), "2026-11-22T09:30:00Z");
    assert_eq!(signal.account.as_deref(), Some("111122223333"));
    assert_eq!(signal.region.as_deref(), Some("eu-west-1"));
    let hook = hook_of(&signal);
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
        let signal = only(parse(&bodies(&our(name))[0]));
        assert_eq!(signal.instance.as_str(), "i-0a1b2c3d4e5f60718", "{name}");
        assert_eq!(signal.account.as_deref(), Some("111122223333"), "{name}");
        assert_eq!(signal.sent_at.map(|at| at.millis() / 1000), Some(1_795_339_800), "{name}");
        let (hook, from_bus) = (hook_of(&signal), name == "sqs.autoscaling-terminate.json");
        assert_eq!(hook.hook.as_str(), "ebbtide-terminate", "{name}");
        assert_eq!(hook.metadata.as_deref(), Some(r#"{"ebbtide":{"cluster":"shop"}}"#), "{name}");
        assert_eq!(signal.region.is_some(), from_bus, "{name}: flat messages name no region");
    }
}
