//! EventBridge: shapes, and how unreliably events arrive.

use super::{after, bodies, terminate_hook, until, with_nodes};
use sandbox::World;
use sandbox::aws::autoscaling::{Autoscaling, Capacity, HookSpec, LifecycleState, Notification};
use sandbox::aws::events::{Delivery, EventBridge, Rule};

#[test]
fn a_terminate_event_has_the_documented_shape() {
    let hook = HookSpec { metadata: Some("{\"cluster\":\"prod\"}".to_owned()), ..terminate_hook() };
    with_nodes(vec![hook], |world, _| {
        world.aws.events.rules = vec![Rule {
            queue: "signals".to_owned(),
            detail_types: vec!["EC2 Instance-terminate Lifecycle Action".to_owned()],
        }];
        Autoscaling::terminate(world, "i-1", Capacity::Keep);
        until(world, "i-1", LifecycleState::TerminatingWait);
        after(world, 2);
        let body = bodies(world).remove(0);
        let detail = &body["detail"];
        assert_eq!(body["source"], "aws.autoscaling");
        assert_eq!(body["time"], "2026-11-22T12:05:00Z");
        assert_eq!(body["resources"][0], world.aws.autoscaling.groups["nodes"].arn.as_str());
        assert_eq!(detail["LifecycleActionToken"], world.aws.autoscaling.actions[0].token.as_str());
        assert_eq!(detail["AutoScalingGroupName"], "nodes");
        assert_eq!(detail["LifecycleHookName"], "bye");
        assert_eq!(detail["EC2InstanceId"], "i-1");
        assert_eq!(detail["LifecycleTransition"], "autoscaling:EC2_INSTANCE_TERMINATING");
        assert_eq!(detail["NotificationMetadata"], "{\"cluster\":\"prod\"}");
        assert_eq!(detail["Origin"], "AutoScalingGroup");
        assert_eq!(detail["Destination"], "EC2");
        assert_eq!(detail.get("Action"), None);
    });
}

#[test]
fn a_hook_may_notify_a_queue_or_a_topic_itself() {
    for topic in [false, true] {
        let queue = "signals".to_owned();
        let notification =
            if topic { Notification::Topic(queue) } else { Notification::Queue(queue) };
        with_nodes(vec![HookSpec { notification, ..terminate_hook() }], |world, _| {
            world.aws.events.rules.clear();
            Autoscaling::terminate(world, "i-1", Capacity::Keep);
            until(world, "i-1", LifecycleState::TerminatingWait);
            after(world, 2);
            let body = bodies(world).remove(0);
            let flat = match body["Message"].as_str() {
                Some(message) => serde_json::from_str(message).expect("JSON"),
                None => body.clone(),
            };
            assert_eq!(body["Type"] == "Notification", topic);
            assert_eq!(flat["Service"], "AWS Auto Scaling");
            assert_eq!(flat["EC2InstanceId"], "i-1");
            assert_eq!(flat.get("detail-type"), None);
        });
    }
}

#[test]
fn events_arrive_late_twice_or_never() {
    with_nodes(Vec::new(), |world, _| {
        let send = |world: &mut World, delivery: Delivery| {
            world.aws.events.delivery = delivery;
            for id in ["i-1", "i-2", "i-3"] {
                EventBridge::rebalance(world, id);
            }
            after(world, 120);
            bodies(world).len()
        };
        let none = Delivery { lost: 1_000, ..Delivery::default() };
        assert_eq!(send(world, none), 0);
        assert_eq!(world.aws.events.events_log.len(), 3, "sent all the same");
        let twice = Delivery { duplicate: 1_000, ..Delivery::default() };
        assert_eq!(send(world, twice), 6);
        let late = Delivery { late: 1_000, late_ms: 60_000..=60_000, ..Delivery::default() };
        world.aws.events.delivery = late;
        EventBridge::rebalance(world, "i-1");
        after(world, 60);
        assert_eq!(bodies(world).len(), 0, "overtaken by whatever comes within this minute");
        after(world, 2);
        assert_eq!(bodies(world).len(), 1);
    });
}
