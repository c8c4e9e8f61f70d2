//! Defects that were found in another handler while reading it: each is a case that this one must get right.

use crate::flow::{Flow, MINUTE, SECOND};
use crate::past::{LAUNCH, Past};
use decision::annotation::{DEPARTURE, TAINT};
use sandbox::aws::sqs::Sqs;
use sandbox::kubernetes::Kind;
use sandbox::kubernetes::object::{Object, key};
use sandbox::scenario::{Incident, LIFECYCLE_QUEUE, Place};
use sandbox::world::World;
use serde_json::{Value, json};

/// Changes the node of a host behind everybody's back.
fn edit(world: &mut World, place: &Place, host: usize, change: impl FnOnce(&mut Object)) {
    let node = key("", &place.machines[host].node);
    assert!(world.kubernetes.store.update(Kind::Node, &node, change), "the node changed");
}

/// The first host's instance has another private DNS name than its node.
fn renamed(world: &mut World, place: &Place) {
    let instance = world.aws.ec2.instances.get_mut(&place.machines[0].instance).unwrap();
    instance.private_dns = "ip-10-9-9-9.eu-west-1.compute.internal".to_owned();
}

#[tokio::test(start_paused = true)]
async fn a_pods_leave_and_only_then_the_hook_is_answered_although_events_are_refused() {
    let past = Flow::new()
        .at(0, |world, _| {
            for group in ["events", "events.k8s.io/events"] {
                world.kubernetes.denied.insert(("create".to_owned(), group.to_owned()));
            }
        })
        .replaces([0])
        .run()
        .await;
    let refused = past.calls("POST events");
    assert!(!refused.is_empty() && refused.iter().all(|call| call.status == 403), "{refused:?}");
    past.all_pods_were_removed(0);
    past.drained(0);
}

#[tokio::test(start_paused = true)]
async fn b_after_a_new_root_volume_exactly_what_was_changed_is_taken_back() {
    let past = Flow::new()
        .at(0, |world, place| {
            edit(world, place, 0, |node| {
                node.spec.edit()["taints"] =
                    json!([{"key": "dedicated", "value": "shop", "effect": "PreferNoSchedule"}]);
                node.labels_mut().insert("team".to_owned(), "shop".to_owned());
                let annotations = std::sync::Arc::make_mut(&mut node.meta.annotations);
                annotations.insert("team".to_owned(), "shop".to_owned());
            });
        })
        .befalls(0, SECOND, Incident::ReplaceRootVolume)
        // The other tool's hook holds the instance a little longer.
        .goes_on_for(10 * MINUTE)
        .run()
        .await;
    past.all_pods_were_removed(0);
    past.drained(0);
    past.check_continued(&past.ending_of(&past.machine(0).instance, LAUNCH));
    assert!(past.was_cordoned(0));
    let node = past.node(0).expect("it is still there");
    assert_ne!(node.spec["unschedulable"], true);
    let taints = node.spec["taints"].as_array().cloned().unwrap_or_default();
    let keys: Vec<&Value> = taints.iter().map(|taint| &taint["key"]).collect();
    assert_eq!(keys, ["dedicated"], "of {TAINT} and others");
    assert!(!node.meta.annotations.contains_key(DEPARTURE), "{:?}", node.meta.annotations);
    assert_eq!(node.meta.annotations.get("team").map(String::as_str), Some("shop"));
    assert_eq!(node.label("team"), Some("shop"));
    let target = (past.machine(0).instance.clone(), 30_081);
    let world = past.world();
    let group = &world.aws.elb.groups[&past.place.groups[1]];
    assert!(group.targets.contains_key(&target), "{:?}", group.targets);
}

#[tokio::test(start_paused = true)]
async fn b_a_cordon_of_somebody_else_outlives_a_new_root_volume() {
    let past = Flow::new()
        .with(|scenario| scenario.hosts[0].cordoned = true)
        .befalls(0, SECOND, Incident::ReplaceRootVolume)
        // The other tool's hook holds the instance a little longer.
        .goes_on_for(10 * MINUTE)
        .run()
        .await;
    past.drained(0);
    let node = past.node(0).expect("it is still there");
    assert_eq!(node.spec["unschedulable"], true);
    let taints = node.spec["taints"].to_string();
    let ours = taints.contains(TAINT);
    assert!(!ours && taints.contains("unschedulable"), "{taints}\n{}", past.transcript());
}

#[tokio::test(start_paused = true)]
async fn c_a_node_with_another_name_than_the_private_dns_name_is_found_by_its_provider_id() {
    let past = Flow::new().at(0, renamed).replaces([0]).run().await;
    assert!(past.was_cordoned(0));
    past.all_pods_were_removed(0);
    past.drained(0);
}

#[tokio::test(start_paused = true)]
async fn d_a_node_without_a_ready_condition_does_not_let_the_launch_continue() {
    const READY_AT: i64 = 5 * MINUTE;
    let past = Flow::without_fronts()
        .at(0, |world, _| world.kubernetes.template.ready_ms = READY_AT)
        .befalls(0, 0, Incident::ScaleOut)
        .at(MINUTE, |world, place| {
            let joined: Vec<_> =
                world.kubernetes.store.all(Kind::Node).map(|(k, _)| k.clone()).collect();
            let known = |name: &str| place.machines.iter().any(|m| name.ends_with(&m.node));
            let new = joined.iter().find(|key| !known(key)).expect("it joined within a minute");
            world.kubernetes.store.update(Kind::Node, new, |node| {
                let status = node.status.edit();
                let conditions = status["conditions"].as_array_mut().unwrap();
                conditions.retain(|condition| condition["type"] != "Ready");
                node.spec.edit()["taints"] = json!([]);
            });
        })
        .run()
        .await;
    let ending = launched(&past);
    past.check_continued(&ending);
    assert!(ending.at > READY_AT, "{ending:?}");
}

/// How the launch hook of the only new instance ended.
#[track_caller]
fn launched(past: &Past) -> crate::past::Ending {
    let mut actions = past.actions();
    actions.retain(|action| action.hook == LAUNCH);
    assert_eq!(actions.len(), 1, "{actions:#?}");
    past.ending_of(&actions[0].instance, LAUNCH)
}

#[tokio::test(start_paused = true)]
async fn e_the_message_about_a_node_with_another_name_is_finished() {
    let past = Flow::new().at(0, renamed).replaces([0]).goes_on_for(20 * MINUTE).run().await;
    let ending = past.continued(0);
    let late: Vec<_> = past
        .calls("")
        .into_iter()
        .filter(|call| call.at > ending.action.ended.unwrap().0 + SECOND)
        .collect();
    // The replacement's launch hook goes on; about the one that left there is silence.
    let about: Vec<_> = late
        .iter()
        .filter(|call| {
            call.subject.contains(&past.machine(0).instance)
                || call.subject.ends_with(&past.machine(0).node)
        })
        .collect();
    assert!(about.is_empty(), "{about:#?}");
}

#[tokio::test(start_paused = true)]
async fn f_maintenance_that_is_announced_weeks_ahead_drains_nothing() {
    let past = Flow::new()
        .at(0, |world, place| {
            let event = maintenance(world, &place.machines[0].instance);
            Sqs::send(world, LIFECYCLE_QUEUE, &event.to_string());
        })
        .goes_on_for(20 * MINUTE)
        .run()
        .await;
    past.no_message_is_left();
    assert_eq!(past.actions().len(), 0);
    let mut writes = past.writes();
    writes.retain(|call| call.operation != "POST events");
    assert!(writes.is_empty(), "it is told, and no more: {writes:#?}");
}

/// AWS Health's event about an instance that is rebooted in two weeks.
fn maintenance(world: &World, instance: &str) -> Value {
    json!({
        "version": "0",
        "id": "7bf73129-1428-4cd3-a780-95db273d1602",
        "detail-type": "AWS Health Event",
        "source": "aws.health",
        "account": world.aws.account,
        "time": "2026-11-22T10:00:00Z",
        "region": world.aws.region,
        "resources": [instance],
        "detail": {
            "eventArn": "arn:aws:health:eu-west-1::event/EC2/AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED/5f1e",
            "service": "EC2",
            "eventTypeCode": "AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED",
            "eventTypeCategory": "scheduledChange",
            "eventScopeCode": "ACCOUNT_SPECIFIC",
            "startTime": "Sun, 6 Dec 2026 10:00:00 GMT",
            "statusCode": "upcoming",
            "affectedEntities": [{"entityValue": instance, "status": "PENDING"}],
        },
    })
}

#[tokio::test(start_paused = true)]
async fn g_a_node_of_the_same_name_that_belongs_to_another_instance_is_never_touched() {
    let past = Flow::without_fronts()
        .at(0, |world, place| {
            edit(world, place, 0, |node| {
                node.spec.edit()["providerID"] = "aws:///eu-west-1a/i-0ffffffffffffffff".into();
            });
        })
        .replaces([0])
        .run()
        .await;
    past.continued(0);
    assert!(past.removals(0).is_empty(), "{:?}", past.removals(0));
    let name = &past.machine(0).node;
    let touched: Vec<_> =
        past.writes().into_iter().filter(|call| call.subject.ends_with(name.as_str())).collect();
    assert!(touched.is_empty(), "{touched:#?}");
}
