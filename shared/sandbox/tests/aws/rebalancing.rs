//! What a group does about a Spot interruption, with and without capacity rebalancing.

use super::{after, bodies, complete, terminate_hook, token, until, with_nodes};
use sandbox::World;
use sandbox::aws::autoscaling::{HookSpec, LifecycleState};
use sandbox::aws::ec2::{Ec2, State};
use sandbox::aws::elbv2::Elb;

const PORT: u16 = 30_080;

/// Whether the group has capacity rebalancing.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Rebalance {
    On,
    Off,
}

/// The group of three, with nothing attached, so that the hook comes as soon as it may.
fn with_spot<R>(
    hooks: Vec<HookSpec>,
    rebalance: Rebalance,
    test: impl FnOnce(&mut World) -> R,
) -> R {
    with_nodes(hooks, |world, arn| {
        for id in ["i-1", "i-2", "i-3"] {
            Elb::deregister(world, arn, id, PORT);
        }
        after(world, 301);
        let group = world.aws.autoscaling.groups.get_mut("nodes").expect("it is there");
        group.spec.target_groups.clear();
        group.spec.capacity_rebalance = rebalance == Rebalance::On;
        test(world)
    })
}

fn members(world: &World) -> usize {
    world.aws.autoscaling.groups["nodes"].members.len()
}

#[test]
fn with_rebalancing_the_hook_and_the_replacement_come_with_the_warning() {
    with_spot(vec![terminate_hook()], Rebalance::On, |world| {
        Ec2::interrupt(world, "i-1", 120_000);
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::TerminatingWait));
        after(world, 16);
        assert_eq!(members(world), 4, "the replacement is on its way");
        assert!(world.aws.ec2.is_up("i-1"));
        let token = token(world, "i-1");
        assert_eq!(complete(world, "bye", &token, "CONTINUE").status, 200);
        after(world, 4);
        assert_eq!(world.aws.ec2.state("i-1"), Some(State::ShuttingDown), "the group was faster");
    });
}

#[test]
fn without_rebalancing_the_hook_comes_for_a_dead_instance() {
    with_spot(vec![terminate_hook()], Rebalance::Off, |world| {
        Ec2::interrupt(world, "i-1", 120_000);
        after(world, 119);
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::InService));
        assert_eq!(members(world), 3);
        until(world, "i-1", LifecycleState::TerminatingWait);
        assert!(!world.aws.ec2.is_up("i-1"));
        let title = "EC2 Instance-terminate Lifecycle Action";
        after(world, 2);
        assert!(bodies(world).iter().any(|body| body["detail-type"] == title));
        after(world, 16);
        assert_eq!(members(world), 4, "and only then the replacement");
    });
}

#[test]
fn without_a_hook_the_two_minutes_stay() {
    with_spot(Vec::new(), Rebalance::On, |world| {
        Ec2::interrupt(world, "i-1", 120_000);
        after(world, 40);
        assert_eq!(members(world), 4, "a replacement is there");
        after(world, 79);
        // It may be in service before the two minutes are over: then the group ends the old one itself.
        let gone = world.aws.ec2.state("i-1") != Some(State::Running);
        let replaced = world.aws.autoscaling.groups["nodes"]
            .members
            .values()
            .filter(|member| member.state == LifecycleState::InService)
            .count();
        assert!(gone == (replaced == 3), "{gone} {replaced}");
    });
}

#[test]
fn a_recommendation_is_followed_only_when_the_replacement_serves() {
    with_spot(vec![terminate_hook()], Rebalance::On, |world| {
        Ec2::recommend_rebalance(world, "i-1");
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::InService));
        after(world, 2);
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::InService));
        until(world, "i-1", LifecycleState::TerminatingWait);
        let group = &world.aws.autoscaling.groups["nodes"];
        let serving =
            group.members.values().filter(|member| member.state == LifecycleState::InService);
        assert_eq!(serving.count(), 3);
    });
}

#[test]
fn without_rebalancing_nothing_follows_a_recommendation() {
    with_spot(vec![terminate_hook()], Rebalance::Off, |world| {
        Ec2::recommend_rebalance(world, "i-1");
        after(world, 600);
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::InService));
        assert_eq!(members(world), 3);
        let title = "EC2 Instance Rebalance Recommendation";
        assert!(bodies(world).iter().any(|body| body["detail-type"] == title));
    });
}
