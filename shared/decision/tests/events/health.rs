//! What AWS Health says, rule by rule.

use decision::event::{Parsed, parse_value};
use decision::signal::Urgency::{AtOnce, AtStart};
use decision::signal::{Cause, Due, Interruption, Maintenance, Signal, SignalKind, Urgency};
use serde_json::{Value, json};

use crate::{bridge, reason, refused, set, set_detail, sns, told};

const REBOOT: &str = "AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED";
const ARN: &str = "arn:aws:health:eu-west-1::event/EC2/REBOOT/1";

/// A scheduled reboot of one instance.
fn event() -> Value {
    let detail = json!({
        "eventArn": ARN,
        "service": "EC2",
        "eventTypeCode": REBOOT,
        "eventTypeCategory": "scheduledChange",
        "eventScopeCode": "ACCOUNT_SPECIFIC",
        "communicationId": "1234abc01232a4012345678-1",
        "startTime": "Sun, 06 Dec 2026 09:30:00 GMT",
        "statusCode": "upcoming",
        "eventRegion": "eu-west-1",
        "affectedEntities": [entity("i-1")],
        "page": "1",
        "totalPages": "1",
        "backupEvent": "false",
    });
    set(bridge("aws.health", "AWS Health Event", &detail), "resources", Value::Null)
}

/// One of `affectedEntities`.
pub(crate) fn entity(value: &str) -> Value {
    json!({"entityValue": value, "lastUpdatedTime": "Thu, 26 Jan 2026 19:01:55 GMT"})
}

/// The event with one field of `detail` set, or taken out by null.
pub(crate) fn with(key: &str, value: Value) -> Value {
    set_detail(event(), key, value)
}

#[track_caller]
fn signals(event: &Value) -> Vec<Signal> {
    match parse_value(event) {
        Ok(Parsed::Signals(signals)) => signals,
        other => panic!("no signals: {other:?}"),
    }
}

#[track_caller]
fn instances(event: &Value) -> Vec<String> {
    signals(event).iter().map(|signal| signal.instance.to_string()).collect()
}

#[track_caller]
fn interruption(event: &Value) -> Interruption {
    match &signals(event)[..] {
        [Signal { kind: SignalKind::Interruption(interruption), .. }] => interruption.clone(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn maintenance(event: &Value) -> Maintenance {
    match interruption(event).cause {
        Cause::Maintenance(maintenance) => maintenance,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_scheduled_reboot_is_read_whole() {
    let signal = signals(&event()).remove(0);
    assert_eq!(signal.instance.as_str(), "i-1");
    assert_eq!(signal.account.as_deref(), Some("111122223333"));
    assert_eq!(signal.region.as_deref(), Some("eu-west-1"));
    assert_eq!(signal.sent_at.map(|at| at.to_string()).as_deref(), Some("2026-11-22T09:30:00Z"));
    let (arn, code) = (ARN.to_owned(), REBOOT.to_owned());
    let cause = Cause::Maintenance(Maintenance { arn, code, urgency: AtStart, closed: false });
    let due = Due::At("2026-12-06T09:30:00Z".parse().unwrap());
    assert_eq!(signal.kind, SignalKind::Interruption(Interruption { cause, due }));
}

#[test]
fn a_code_is_sorted_by_its_words() {
    let rows: [(&str, Option<Urgency>, Option<Urgency>); 25] = [
        // code, as a scheduledChange, as an issue
        ("AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED", Some(AtOnce), Some(AtOnce)),
        ("AWS_EC2_INSTANCE_RETIREMENT_EXPEDITED", Some(AtOnce), Some(AtOnce)),
        ("AWS_EC2_PERSISTENT_INSTANCE_RETIREMENT_SCHEDULED", Some(AtOnce), Some(AtOnce)),
        ("AWS_EC2_PERSISTENT_INSTANCE_RETIREMENT_EXPEDITED", Some(AtOnce), Some(AtOnce)),
        ("AWS_EC2_DEDICATED_HOST_RETIREMENT_SCHEDULED", Some(AtOnce), Some(AtOnce)),
        ("AWS_EC2_DEDICATED_HOST_ACCESSREVOKED_RETIREMENT_SCHEDULED", Some(AtOnce), Some(AtOnce)),
        ("AWS_EC2_INSTANCE_STORE_DRIVE_PERFORMANCE_DEGRADED", Some(AtOnce), Some(AtOnce)),
        ("AWS_EC2_INSTANCE_DEGRADATION", Some(AtOnce), Some(AtOnce)),
        ("AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED", Some(AtStart), None),
        ("AWS_EC2_INSTANCE_REBOOT_FLEXIBLE_MAINTENANCE_SCHEDULED", Some(AtStart), None),
        ("AWS_EC2_SYSTEM_REBOOT_MAINTENANCE_SCHEDULED", Some(AtStart), None),
        ("AWS_EC2_SYSTEM_MAINTENANCE_EVENT", Some(AtStart), None),
        ("AWS_EC2_INSTANCE_STOP_SCHEDULED", Some(AtStart), None),
        ("AWS_EC2_INSTANCE_TERMINATION_SCHEDULED", Some(AtStart), None),
        ("AWS_EC2_INSTANCE_NETWORK_MAINTENANCE_SCHEDULED", Some(AtStart), None),
        ("AWS_EC2_INSTANCE_POWER_MAINTENANCE_SCHEDULED", Some(AtStart), None),
        ("AWS_EC2_PERSISTENT_INSTANCE_POWER_MAINTENANCE_SCHEDULED", Some(AtStart), None),
        ("AWS_EC2_MAINTENANCE_SCHEDULED", Some(AtStart), None),
        ("AWS_EC2_DEDICATED_HOST_NETWORK_MAINTENANCE_SCHEDULED", Some(AtStart), None),
        ("AWS_EC2_DEDICATED_HOST_POWER_MAINTENANCE_SCHEDULED", Some(AtStart), None),
        ("AWS_EC2_SOMETHING_NEW_SCHEDULED", Some(AtStart), None),
        ("AWS_EC2_NETWORK_CONNECTIVITY_ISSUE", Some(AtStart), None),
        ("AWS_EC2_OPERATIONAL_ISSUE", Some(AtStart), None),
        ("AWS_EC2_PLANNED_LIFECYCLE_EVENT", None, None),
        ("AWS_EC2_ULTRASERVER_MAINTENANCE_COMPLETED", None, None),
    ];
    for (code, scheduled, issue) in rows {
        for (category, expected) in [
            ("scheduledChange", scheduled),
            ("issue", issue),
            ("accountNotification", None),
            ("investigation", None),
            ("SomethingNew", None),
        ] {
            let event = set_detail(
                with("eventTypeCode", json!(code)),
                "eventTypeCategory",
                json!(category),
            );
            let Some(urgency) = expected else {
                let text = format!("Health event {code} takes no instance away by itself");
                assert_eq!(reason(&event), ("informational", text), "{category}");
                continue;
            };
            let seen = maintenance(&event);
            assert_eq!((seen.urgency, seen.code.as_str()), (urgency, code), "{category}");
        }
    }
}

#[test]
fn a_start_time_is_read_in_either_form_or_is_unknown() {
    let at = |text: &str| Due::At(text.parse().unwrap());
    let rows = [
        (json!("Sun, 06 Dec 2026 09:30:00 GMT"), at("2026-12-06T09:30:00Z")),
        (json!("Fri, 3 Jun 2022 05:01:10 GMT"), at("2022-06-03T05:01:10Z")),
        // That was a Sunday.
        (json!("Sat, 05 Jun 2016 15:10:09 GMT"), at("2016-06-05T15:10:09Z")),
        (json!("2026-12-06T09:30:00Z"), at("2026-12-06T09:30:00Z")),
        (json!("soon"), Due::Unknown),
        (json!("Thu, 01 Jan 1970 00:00:00 GMT"), Due::Unknown),
        (json!(""), Due::Unknown),
        (json!(1_795_339_800), Due::Unknown),
        (Value::Null, Due::Unknown),
    ];
    for (time, due) in rows {
        assert_eq!(interruption(&with("startTime", time.clone())).due, due, "{time}");
    }
    let mut issue = with("eventTypeCategory", json!("issue"));
    issue["detail"]["eventTypeCode"] = json!("AWS_EC2_INSTANCE_STORE_DRIVE_PERFORMANCE_DEGRADED");
    assert_eq!(interruption(&issue).due, Due::Unknown, "an issue began at its start time");
}

#[test]
fn closed_is_said_of_an_event_or_of_one_of_its_instances() {
    for (status, closed) in [
        (json!("closed"), true),
        (json!("open"), false),
        (json!("upcoming"), false),
        (json!("Closed"), false),
        (json!(5), false),
        (Value::Null, false),
    ] {
        assert_eq!(maintenance(&with("statusCode", status.clone())).closed, closed, "{status}");
    }
    for (status, closed) in [
        ("PENDING", false),
        ("IMPAIRED", false),
        ("UNKNOWN", false),
        ("RESOLVED", true),
        ("UNIMPAIRED", true),
    ] {
        let mut event = event();
        event["detail"]["affectedEntities"][0]["status"] = json!(status);
        assert_eq!(maintenance(&event).closed, closed, "{status}");
    }
    let mut two = with("affectedEntities", json!([entity("i-1"), entity("i-2")]));
    two["detail"]["affectedEntities"][1]["status"] = json!("RESOLVED");
    assert_eq!(
        told(&parse_value(&two).unwrap()),
        [
            format!("i-1: maintenance {REBOOT}, at 2026-12-06T09:30:00Z, AtStart"),
            format!("i-2: maintenance {REBOOT} closed, at 2026-12-06T09:30:00Z, AtStart"),
        ]
    );
    let mut informational = with("eventTypeCode", json!("AWS_EC2_PLANNED_LIFECYCLE_EVENT"));
    informational["detail"]["statusCode"] = json!("closed");
    assert_eq!(reason(&informational).0, "informational");
}

#[test]
fn each_instance_is_found_once_however_it_is_written() {
    let arn = |id: &str| format!("arn:aws:ec2:eu-west-1:111122223333:instance/{id}");
    let mixed = json!([
        entity("vol-0a1b2c3d"),
        entity(&arn("i-2")),
        entity("i-1"),
        entity("UNKNOWN"),
        entity("i-2"),
        entity(&arn("i-1").replace("arn:aws:", "arn:aws-us-gov:")),
        entity("h-0a1b2c3d"),
        entity("arn:aws:ec2:eu-west-1:111122223333:dedicated-host/h-1"),
        entity("arn:aws:rds:eu-west-1:111122223333:instance/i-9"),
        entity("arn:aws:ec2:eu-west-1:111122223333:instance/"),
        // As printed in another project's sample: without the account.
        entity("arn:aws:ec2:us-east-1b:instance/i-3"),
        json!("i-8"),
        json!({"entityValue": 7}),
        json!({"status": "PENDING"}),
        Value::Null,
    ]);
    assert_eq!(instances(&with("affectedEntities", mixed)), ["i-2", "i-1", "i-3"]);
}

#[test]
fn resources_stand_in_where_no_entity_is_an_instance() {
    let arn = "arn:aws:ec2:eu-west-1:111122223333:instance/i-5";
    for entities in [Value::Null, json!([]), json!([entity("UNKNOWN"), entity("vol-1")])] {
        let event =
            |resources| set(with("affectedEntities", entities.clone()), "resources", resources);
        assert_eq!(instances(&event(json!("i-4"))), ["i-4"]);
        assert_eq!(instances(&event(json!([arn, "i-4", 7, "vol-1", "i-5"]))), ["i-5", "i-4"]);
        for none in [Value::Null, json!([]), json!(["vol-1"]), json!(""), json!(5), json!({})] {
            let text = format!("Health event {REBOOT} names no instance");
            assert_eq!(reason(&event(none.clone())), ("no_instance", text), "{none}");
        }
    }
    let both = set(event(), "resources", json!(["i-4"]));
    assert_eq!(instances(&both), ["i-1"], "entities come first");
}

#[test]
fn pages_of_one_event_share_its_name_and_nothing_else() {
    let page = |number: &str, ids: &[&str]| {
        let entities: Vec<Value> = ids.iter().map(|id| entity(id)).collect();
        let mut event = with("affectedEntities", Value::from(entities));
        event["detail"]["page"] = json!(number);
        event["detail"]["totalPages"] = json!("2");
        signals(&event)
    };
    let (first, second) = (page("1", &["i-1", "i-2"]), page("2", &["i-3"]));
    assert_eq!((first.len(), second.len()), (2, 1));
    let key = |signal: &Signal| match &signal.kind {
        SignalKind::Interruption(interruption) => interruption.key(),
        SignalKind::Hook(hook) => panic!("{hook:?}"),
    };
    let keys: Vec<String> = first.iter().chain(&second).map(key).collect();
    assert_eq!(keys, vec![format!("maintenance:{ARN}"); 3]);
}

#[test]
fn a_copy_for_the_backup_region_is_left_to_the_region_itself() {
    let copy = |region, about, backup| {
        let event = set_detail(event(), "eventRegion", about);
        set(set_detail(event, "backupEvent", backup), "region", region)
    };
    let (here, there) = (json!("eu-west-1"), json!("us-west-2"));
    let rows = [
        // delivered to, about, backupEvent, which region is named
        (there.clone(), here.clone(), json!("true"), "eu-west-1"),
        (there.clone(), here.clone(), json!("false"), "eu-west-1"),
        (there.clone(), here.clone(), Value::Null, "eu-west-1"),
        (here.clone(), json!("global"), json!("false"), "global"),
        (here.clone(), Value::Null, json!("true"), "unknown"),
    ];
    for (region, about, backup, named) in rows {
        let text = format!("Health event about region `{named}`, delivered to another one");
        assert_eq!(reason(&copy(region, about, backup)), ("other_region", text));
    }
    for (region, about, backup) in [
        (here.clone(), here.clone(), json!("true")),
        (here.clone(), Value::Null, json!("false")),
        (here.clone(), Value::Null, Value::Null),
        (here.clone(), json!("[region]"), Value::Null),
        (Value::Null, here.clone(), json!("true")),
    ] {
        assert_eq!(instances(&copy(region, about, backup)), ["i-1"]);
    }
}

#[test]
fn the_account_is_the_one_that_is_affected() {
    let account = |value| signals(&with("affectedAccount", value)).remove(0).account;
    assert_eq!(account(json!("444455556666")).as_deref(), Some("444455556666"));
    assert_eq!(account(json!("account id")).as_deref(), Some("111122223333"));
    assert_eq!(account(Value::Null).as_deref(), Some("111122223333"));
}

#[test]
fn what_is_not_about_instances_is_ignored_with_the_reason() {
    let text = "Health event of service `RDS`, not EC2".to_owned();
    assert_eq!(reason(&with("service", json!("RDS"))), ("other_service", text));
    assert_eq!(reason(&with("service", json!("ec2"))).0, "other_service");
    let abuse = set(event(), "detail-type", json!("AWS Health Abuse Event"));
    let text = "detail-type `AWS Health Abuse Event` announces nothing that we act on".to_owned();
    assert_eq!(reason(&abuse), ("other_detail_type", text));
    for source in ["my.health", "aws.ec2", "aws.autoscaling"] {
        let label = reason(&set(event(), "source", json!(source))).0;
        assert!(["other_source", "other_detail_type"].contains(&label), "{source}: {label}");
    }
}

#[test]
fn wrapping_and_spelling_change_nothing() {
    let whole = parse_value(&event());
    assert_eq!(parse_value(&sns(&event())), whole);
    let mut underscore = set(event(), "detail-type", Value::Null);
    underscore["detail_type"] = json!("AWS Health Event");
    assert_eq!(parse_value(&underscore), whole);
    assert_eq!(parse_value(&with("eventMetadata", json!({"truncated": "true"}))), whole);
}

#[test]
fn bad_input_is_named_by_field_value_and_form() {
    let service = "a service, such as EC2";
    refused(&with("service", Value::Null), "detail.service: missing", service);
    refused(&with("service", json!(2)), "detail.service: a number", service);
    let category = "a category, such as scheduledChange";
    refused(&with("eventTypeCategory", Value::Null), "detail.eventTypeCategory: missing", category);
    let code = "3 to 100 letters, digits, underscores and hyphens";
    for (seen, shown) in [
        (json!("A B"), "`A B`".to_owned()),
        (json!("AB"), "`AB`".to_owned()),
        (json!("A".repeat(101)), format!("`{}…`", "A".repeat(60))),
        (json!(["A"]), "a list".to_owned()),
        (Value::Null, "missing".to_owned()),
    ] {
        refused(&with("eventTypeCode", seen), &format!("detail.eventTypeCode: {shown}"), code);
    }
    let arn = "an ARN of at most 1600 printable characters, such as arn:aws:health:…";
    refused(&with("eventArn", Value::Null), "detail.eventArn: missing", arn);
    refused(&with("eventArn", json!("event/1")), "detail.eventArn: `event/1`", arn);
    refused(&with("eventArn", json!("arn:a b")), "detail.eventArn: `arn:a b`", arn);
    let long = format!("arn:{}", "a".repeat(1597));
    refused(
        &with("eventArn", json!(long)),
        &format!("detail.eventArn: `arn:{}…`", "a".repeat(56)),
        arn,
    );
    assert_eq!(instances(&with("eventArn", json!(format!("arn:{}", "a".repeat(1596))))), ["i-1"]);
    let entities = "detail.affectedEntities";
    refused(&with("affectedEntities", json!("i-1")), &format!("{entities}: `i-1`"), "a list");
    refused(&with("affectedEntities", json!({})), &format!("{entities}: an object"), "a list");
    refused(&set(event(), "detail", Value::Null), "detail: missing", "an object");
}
