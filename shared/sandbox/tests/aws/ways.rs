//! The ways of one instance id that comes back: warm pool, root volume, Spot.

use super::{after, complete, launch_hook, terminate_hook, token, until, with_nodes};
use sandbox::World;
use sandbox::aws::autoscaling::{Autoscaling, LifecycleState};
use sandbox::aws::ec2::{Ec2, State};
use serde_json::Value;

/// The last lifecycle event that was sent: (detail-type, Origin, Destination, Action).
fn last_event(world: &World) -> [String; 4] {
    let events = world.aws.events.events_log.iter();
    let sent = events.rev().find(|sent| sent.detail_type.ends_with("Lifecycle Action"));
    let body: Value = serde_json::from_str(&sent.expect("an event").body).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let detail = &body["detail"];
    [
        text(&body["detail-type"]),
        text(&detail["Origin"]),
        text(&detail["Destination"]),
        text(&detail["Action"]),
    ]
}

const LAUNCH: &str = "EC2 Instance-launch Lifecycle Action";
const TERMINATE: &str = "EC2 Instance-terminate Lifecycle Action";

#[test]
fn an_instance_goes_to_the_warm_pool_and_back() {
    with_nodes(vec![launch_hook(), terminate_hook()], |world, arn| {
        Autoscaling::to_warm_pool(world, "i-1");
        until(world, "i-1", LifecycleState::WarmedPendingWait);
        assert_eq!(last_event(world), [TERMINATE, "AutoScalingGroup", "WarmPool", ""]);
        let terminating = token(world, "i-1");
        complete(world, "bye", &terminating, "CONTINUE");
        until(world, "i-1", LifecycleState::WarmedStopped);
        assert_eq!(world.aws.ec2.state("i-1"), Some(State::Stopped));
        assert_eq!(world.aws.autoscaling.groups["nodes"].members.len(), 3, "not replaced");

        Autoscaling::from_warm_pool(world, "i-1");
        until(world, "i-1", LifecycleState::PendingWait);
        assert_eq!(last_event(world), [LAUNCH, "WarmPool", "AutoScalingGroup", ""]);
        assert_eq!(world.aws.ec2.instances["i-1"].boot, 2);
        let launching = token(world, "i-1");
        complete(world, "hello", &launching, "CONTINUE");
        until(world, "i-1", LifecycleState::InService);
        assert!(world.aws.elb.groups[arn].targets.contains_key(&("i-1".to_owned(), 30_080)));
    });
}

#[test]
fn a_launch_into_the_warm_pool_waits_and_is_stopped() {
    with_nodes(vec![launch_hook()], |world, arn| {
        let id = Autoscaling::launch_warm(world, "nodes", "eu-central-1b");
        until(world, &id, LifecycleState::WarmedPendingWait);
        assert_eq!(last_event(world), [LAUNCH, "EC2", "WarmPool", ""]);
        let token = token(world, &id);
        complete(world, "hello", &token, "CONTINUE");
        until(world, &id, LifecycleState::WarmedStopped);
        assert!(!world.aws.elb.groups[arn].targets.contains_key(&(id, 30_080)));
    });
}

#[test]
fn a_new_root_volume_is_a_new_boot_of_the_same_instance() {
    with_nodes(vec![launch_hook(), terminate_hook()], |world, arn| {
        Autoscaling::replace_root_volume(world, "i-1");
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::ReplacingRootVolume));
        until(world, "i-1", LifecycleState::ReplacingRootVolumeWait);
        let same = ["AutoScalingGroup", "AutoScalingGroup", "ReplaceRootVolume"];
        assert_eq!(last_event(world), [TERMINATE, same[0], same[1], same[2]]);
        let terminating = token(world, "i-1");
        complete(world, "bye", &terminating, "CONTINUE");
        after(world, 4);
        assert!(!world.aws.ec2.is_up("i-1"));
        assert_eq!(world.aws.ec2.state("i-1"), Some(State::Running), "it only reboots");
        until(world, "i-1", LifecycleState::ReplacingRootVolumeWait);
        assert_eq!(last_event(world), [LAUNCH, same[0], same[1], same[2]]);
        assert_eq!(world.aws.ec2.instances["i-1"].boot, 2);
        assert!(!world.aws.elb.groups[arn].targets.contains_key(&("i-1".to_owned(), 30_080)));
        let launching = token(world, "i-1");
        complete(world, "hello", &launching, "CONTINUE");
        until(world, "i-1", LifecycleState::InService);
        assert!(world.aws.elb.groups[arn].targets.contains_key(&("i-1".to_owned(), 30_080)));
        assert_eq!(world.aws.autoscaling.groups["nodes"].members.len(), 3, "nothing was replaced");
    });
}

#[test]
fn a_reclaimed_spot_instance_reaches_its_hook_after_the_interruption() {
    with_nodes(vec![terminate_hook()], |world, _| {
        Ec2::interrupt(world, "i-1", 120_000);
        let warning = world.aws.events.events_log.last().expect("a warning");
        assert_eq!(warning.detail_type, "EC2 Spot Instance Interruption Warning");
        after(world, 119);
        assert_eq!(world.aws.ec2.state("i-1"), Some(State::Running));
        after(world, 1);
        assert_eq!(world.aws.ec2.state("i-1"), Some(State::ShuttingDown));
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::InService));
        until(world, "i-1", LifecycleState::TerminatingWait);
        assert!(!world.aws.ec2.is_up("i-1"));
        let token = token(world, "i-1");
        complete(world, "bye", &token, "CONTINUE");
        after(world, 3);
        assert_eq!(world.aws.autoscaling.state("i-1"), None);
        assert_eq!(world.aws.autoscaling.groups["nodes"].members.len(), 3, "and was replaced");
    });
}
