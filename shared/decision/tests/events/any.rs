//! Any input: nothing panics, and what is read is read the same in every wrapping.

use decision::event::{EventError, Parsed, parse, parse_value};
use decision::id::{
    AsgName, BootId, ClusterName, HookName, HookToken, InstanceId, NodeName, PodKey, Uid,
};
use decision::time::Timestamp;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use proptest::test_runner::Config;
use proptest::{collection, prop_assert, prop_assert_eq, proptest};
use serde_json::Value;

use crate::hook::{TOKEN, event, with_detail};
use crate::{ec2, health, put, set_detail, sns};

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
    "resources",
    "instance-id",
    "instance-action",
    "instance-termination-time",
    "state",
    "capacity-reservation-id",
    "end-date",
    "service",
    "eventArn",
    "eventTypeCode",
    "eventTypeCategory",
    "startTime",
    "statusCode",
    "affectedEntities",
    "entityValue",
];
const WORDS: &[&str] = &[
    "aws.autoscaling",
    "aws.ec2",
    "aws.health",
    "EC2 Instance-terminate Lifecycle Action",
    "EC2 Instance-launch Lifecycle Action",
    "autoscaling:EC2_INSTANCE_TERMINATING",
    "autoscaling:TEST_NOTIFICATION",
    "WarmPool",
    "EC2 Spot Instance Interruption Warning",
    "EC2 Capacity Reservation Instance Interruption Warning",
    "EC2 Instance State-change Notification",
    "Capacity Block Expiration Warning",
    "AWS Health Event",
    "hibernate",
    "stopping",
    "EC2",
    "scheduledChange",
    "AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED",
    "closed",
    "cr-0a1b2c3d4e5f60718",
    "Sun, 06 Dec 2026 09:30:00 GMT",
    "i-0a1b2c3d4e5f60718",
    TOKEN,
    "2026-11-22T09:30:00Z",
    "{\"EC2InstanceId\":\"i-1\"}",
];

/// JSON of any shape, rich in those keys and values.
fn any_json() -> impl Strategy<Value = Value> {
    let word = select(WORDS).prop_map(Value::from);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        word,
    ];
    let key = prop_oneof![3 => select(KEYS).prop_map(str::to_owned), 1 => ".*"];
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
        prop_assert!(!matches!(outcome, Ok(Parsed::Signals(_) | Parsed::Reservation(_))), "{:?}", outcome);
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
        key in select(&[
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
    fn an_interruption_with_one_field_replaced_is_read_or_names_that_field(
        name in select(&ec2::EVENTS[..]),
        field in any::<Index>(),
        value in any_json(),
    ) {
        let whole = ec2::of(name);
        let fields = whole["detail"].as_object().into_iter().flatten();
        let keys: Vec<String> = fields.map(|(key, _)| key.clone()).collect();
        let key = field.get(&keys);
        match parse_value(&set_detail(whole, key, value)) {
            Err(error) => {
                let error = error.to_string();
                prop_assert!(error.starts_with(&format!("detail.{key}: ")), "{}", error);
                let lenient = ["instance-action", "instance-termination-time", "end-date"];
                prop_assert!(!lenient.contains(&key.as_str()), "{}", error);
            }
            Ok(Parsed::Signals(signals)) => prop_assert_eq!(signals.len(), 1),
            Ok(_) => {}
        }
    }

    #[test]
    fn a_health_event_with_one_field_replaced_is_read_or_names_that_field(
        key in select(&[
            "eventArn", "service", "eventTypeCode", "eventTypeCategory", "startTime", "statusCode",
            "eventRegion", "affectedEntities", "backupEvent", "affectedAccount",
        ][..]),
        value in any_json(),
    ) {
        match parse_value(&health::with(key, value)) {
            Err(error) => {
                let error = error.to_string();
                prop_assert!(error.starts_with(&format!("detail.{key}: ")), "{}", error);
            }
            Ok(Parsed::Signals(signals)) => prop_assert!(!signals.is_empty()),
            Ok(Parsed::Reservation(_)) => prop_assert!(false, "a reservation"),
            Ok(Parsed::Ignored(_)) => {}
        }
    }

    #[test]
    fn each_instance_of_a_health_event_has_one_signal_in_the_events_order(
        entities in collection::vec(("i-[0-9]", any::<bool>(), "(vol-|h-)?[0-9a-z]{0,3}"), 0..12),
    ) {
        let mut expected: Vec<String> = Vec::new();
        let mut listed: Vec<Value> = Vec::new();
        for (instance, as_arn, other) in &entities {
            let arn = format!("arn:aws:ec2:eu-west-1:111122223333:instance/{instance}");
            listed.push(health::entity(if *as_arn { &arn } else { instance }));
            listed.push(health::entity(other));
            if !expected.contains(instance) {
                expected.push(instance.clone());
            }
        }
        match parse_value(&health::with("affectedEntities", Value::from(listed))) {
            Ok(Parsed::Signals(signals)) => {
                let seen = signals.iter().map(|signal| signal.instance.to_string());
                prop_assert_eq!(seen.collect::<Vec<_>>(), expected);
            }
            Ok(Parsed::Ignored(event)) => {
                prop_assert_eq!(event.reason.label(), "no_instance");
                prop_assert!(expected.is_empty());
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn sns_changes_nothing_but_the_path(
        name in select(&ec2::EVENTS[..]),
        key in select(KEYS),
        value in any_json(),
    ) {
        let mut event = ec2::of(name);
        put(&mut event["detail"], key, value);
        match (parse_value(&event), parse_value(&sns(&event))) {
            (Ok(plain), Ok(wrapped)) => prop_assert_eq!(plain, wrapped),
            (Err(plain), Err(wrapped)) => {
                prop_assert_eq!(format!("Message.{plain}"), wrapped.to_string());
            }
            other => prop_assert!(false, "{:?}", other),
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
