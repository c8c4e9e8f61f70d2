//! Target groups: registration, draining, health, and the load balancer's own lagging view.

use super::{Answered, START, after, call, with_nodes};
use sandbox::aws::ec2::Ec2;
use sandbox::aws::elbv2::{Elb, Health, Kind, Reason, TargetGroupSpec};
use sandbox::{Sandbox, World};

const ELB: &str = "elasticloadbalancing";

fn deregister(world: &mut World, arn: &str, id: &str) -> Answered {
    let form = [("TargetGroupArn", arn), ("Targets.member.1.Id", id)];
    call(world, ELB, "DeregisterTargets", &form)
}

fn register(world: &mut World, arn: &str, id: &str) -> Answered {
    let form = [("TargetGroupArn", arn), ("Targets.member.1.Id", id)];
    call(world, ELB, "RegisterTargets", &form)
}

fn health(world: &World, arn: &str, id: &str, port: u16) -> Option<Health> {
    Some(world.aws.elb.groups[arn].targets.get(&(id.to_owned(), port))?.health)
}

/// How many seconds pass until the load balancer sends requests to a target.
#[track_caller]
fn reached_after(world: &mut World, arn: &str, id: &str) -> i64 {
    seconds_until(world, |world| {
        world.aws.elb.routes(arn, world.now).iter().any(|(target, _)| target == id)
    })
}

/// How many seconds pass until it sends none any more.
#[track_caller]
fn left_after(world: &mut World, arn: &str, id: &str) -> i64 {
    seconds_until(world, |world| {
        world.aws.elb.routes(arn, world.now).iter().all(|(target, _)| target != id)
    })
}

#[track_caller]
fn seconds_until(world: &mut World, holds: impl Fn(&World) -> bool) -> i64 {
    for passed in 0..400 {
        if holds(world) {
            return passed;
        }
        after(world, 1);
    }
    panic!("it stays as it was");
}

#[test]
fn draining_lasts_for_the_whole_delay_although_requests_stop_before() {
    with_nodes(Vec::new(), |world, arn| {
        assert_eq!(deregister(world, arn, "i-1").status, 200);
        let until = world.now + 300_000;
        assert_eq!(health(world, arn, "i-1", 30_080), Some(Health::Draining { until }));
        let passed = left_after(world, arn, "i-1");
        assert!((10..=25).contains(&passed), "an ALB lets go after 10 to 25 s, not {passed}");
        world.advance(until - 1);
        assert_eq!(health(world, arn, "i-1", 30_080), Some(Health::Draining { until }));
        world.advance(until);
        assert_eq!(health(world, arn, "i-1", 30_080), None);
        let form = [("TargetGroupArn", arn), ("Targets.member.1.Id", "i-1")];
        let described = call(world, ELB, "DescribeTargetHealth", &form);
        assert_eq!(described.all("State")[0], "unused");
        assert_eq!(described.all("Reason")[0], "Target.NotRegistered");
    });
}

#[test]
fn requests_come_on_after_a_delay_that_is_too_short() {
    with_nodes(Vec::new(), |world, arn| {
        let group = world.aws.elb.groups.get_mut(arn).expect("the group");
        group.spec.deregistration_delay_seconds = 0;
        deregister(world, arn, "i-1");
        after(world, 5);
        assert_eq!(health(world, arn, "i-1", 30_080), None);
        let passed = 5 + left_after(world, arn, "i-1");
        assert!(
            (10..=26).contains(&passed),
            "gone from the group, not from the balancer: {passed}"
        );
    });
}

#[test]
fn the_port_must_match_and_an_unknown_target_is_no_error() {
    with_nodes(Vec::new(), |world, arn| {
        Elb::add_healthy(world, arn, "i-1", 8_080);
        assert_eq!(deregister(world, arn, "i-9").status, 200);
        deregister(world, arn, "i-1");
        assert_eq!(health(world, arn, "i-1", 8_080), Some(Health::Healthy));
        assert!(matches!(health(world, arn, "i-1", 30_080), Some(Health::Draining { .. })));
        let form = [
            ("TargetGroupArn", arn),
            ("Targets.member.1.Id", "i-1"),
            ("Targets.member.1.Port", "8080"),
        ];
        call(world, ELB, "DeregisterTargets", &form);
        assert!(matches!(health(world, arn, "i-1", 8_080), Some(Health::Draining { .. })));
    });
}

#[test]
fn a_new_target_is_initial_until_its_check_passes_and_used_a_moment_later() {
    with_nodes(Vec::new(), |world, arn| {
        Ec2::add(world, "i-4", "eu-central-1a");
        assert_eq!(register(world, arn, "i-4").status, 200);
        let reason = Reason::RegistrationInProgress;
        assert_eq!(health(world, arn, "i-4", 30_080), Some(Health::Initial(reason)));
        let passed = reached_after(world, arn, "i-4");
        assert!((2..=11).contains(&passed), "{passed}");
        assert_eq!(health(world, arn, "i-4", 30_080), Some(Health::Healthy));
    });
}

#[test]
fn a_network_load_balancer_checks_longer_and_lets_go_later() {
    let sandbox = Sandbox::new(3, START);
    let world = &mut *sandbox.world();
    let spec = TargetGroupSpec {
        name: "tcp".to_owned(),
        kind: Kind::Nlb,
        healthy_threshold: 3,
        health_check_interval_seconds: 10,
        ..TargetGroupSpec::default()
    };
    let arn = Elb::add_target_group(world, spec);
    for id in ["i-1", "i-2"] {
        Ec2::add(world, id, "eu-central-1a");
    }
    Elb::add_healthy(world, &arn, "i-1", 30_080);
    register(world, &arn, "i-2");
    let passed = reached_after(world, &arn, "i-2");
    assert!((22..=31).contains(&passed), "three checks, ten seconds apart: {passed}");
    deregister(world, &arn, "i-2");
    let passed = left_after(world, &arn, "i-2");
    assert!((20..=120).contains(&passed), "{passed}");
}

#[test]
fn a_dead_host_keeps_its_share_until_checks_have_failed() {
    with_nodes(Vec::new(), |world, arn| {
        after(world, 100);
        Ec2::crash(world, "i-1");
        let passed = left_after(world, arn, "i-1");
        assert!((30..=62).contains(&passed), "{passed}");
        assert_eq!(health(world, arn, "i-1", 30_080), Some(Health::Unhealthy(Reason::Timeout)));
    });
}

#[test]
fn a_terminated_instance_is_unused_and_a_ghost_until_it_is_deregistered() {
    with_nodes(Vec::new(), |world, arn| {
        let detached = TargetGroupSpec { name: "own".to_owned(), ..TargetGroupSpec::default() };
        let own = Elb::add_target_group(world, detached);
        Elb::add_healthy(world, &own, "i-1", 30_080);
        assert_ne!(own, arn);
        Ec2::terminate(world, "i-1", "Client.UserInitiatedShutdown");
        after(world, 70);
        assert_eq!(health(world, &own, "i-1", 30_080), Some(Health::Unused(Reason::Terminated)));
        deregister(world, &own, "i-1");
        assert_eq!(health(world, &own, "i-1", 30_080), None, "nothing to drain");
    });
}

#[test]
fn a_group_without_listener_has_unused_targets() {
    let sandbox = Sandbox::new(1, START);
    let world = &mut *sandbox.world();
    Ec2::add(world, "i-1", "eu-central-1a");
    let spec = TargetGroupSpec {
        name: "idle".to_owned(),
        listener: false,
        targets: vec!["i-1".to_owned()],
        ..TargetGroupSpec::default()
    };
    let arn = Elb::add_target_group(world, spec);
    after(world, 60);
    assert_eq!(health(world, &arn, "i-1", 30_080), Some(Health::Unused(Reason::NotInUse)));
    assert!(world.aws.elb.routes(&arn, world.now).is_empty());
}

#[test]
fn without_a_healthy_target_the_load_balancer_fails_open() {
    with_nodes(Vec::new(), |world, arn| {
        world.aws.elb.probe = |_, _, _| false;
        after(world, 120);
        for id in ["i-1", "i-2", "i-3"] {
            assert!(matches!(health(world, arn, id, 30_080), Some(Health::Unhealthy(_))), "{id}");
        }
        assert_eq!(world.aws.elb.routes(arn, world.now).len(), 3);
    });
}

#[test]
fn a_target_that_comes_back_while_it_drains_is_new_again() {
    with_nodes(Vec::new(), |world, arn| {
        deregister(world, arn, "i-1");
        after(world, 100);
        register(world, arn, "i-1");
        assert!(matches!(health(world, arn, "i-1", 30_080), Some(Health::Initial(_))));
        after(world, 300);
        assert_eq!(health(world, arn, "i-1", 30_080), Some(Health::Healthy));
        assert!(world.aws.elb.routes(arn, world.now).contains(&("i-1".to_owned(), 30_080)));
    });
}

#[test]
fn only_a_running_instance_can_be_registered() {
    with_nodes(Vec::new(), |world, arn| {
        Ec2::stop(world, "i-2", "Client.UserInitiatedShutdown");
        let message =
            "The following targets are not in a running state and cannot be registered: 'i-2'";
        // XML escapes the quotes.
        let escaped = message.replace('\'', "&apos;");
        register(world, arn, "i-2").refused(400, "InvalidTarget", &escaped);
        register(world, arn, "i-9").refused(
            400,
            "InvalidTarget",
            "Instance ID &apos;i-9&apos; is not valid",
        );
        register(world, "arn:none", "i-1").refused(
            400,
            "TargetGroupNotFound",
            "One or more target groups not found",
        );
    });
}

#[test]
fn to_empty_a_living_group_is_a_violation() {
    with_nodes(Vec::new(), |world, arn| {
        deregister(world, arn, "i-1");
        Ec2::crash(world, "i-3");
        deregister(world, arn, "i-2");
        assert!(world.violations.is_empty(), "nobody can know yet that i-3 is dead");
        deregister(world, arn, "i-3");
        assert_eq!(
            world.violations,
            ["group-emptied: web has no living target after DeregisterTargets of i-3:30080"]
        );
    });
}

#[test]
fn groups_and_attributes_are_described() {
    with_nodes(Vec::new(), |world, arn| {
        let group = call(world, ELB, "DescribeTargetGroups", &[("Names.member.1", "web")]);
        assert_eq!(group.one("TargetGroupArn"), arn);
        assert_eq!(group.one("TargetType"), "instance");
        let form = [("TargetGroupArn", arn)];
        let attributes = call(world, ELB, "DescribeTargetGroupAttributes", &form);
        let keys = attributes.all("Key");
        let index = keys.iter().position(|key| *key == "deregistration_delay.timeout_seconds");
        assert_eq!(attributes.all("Value")[index.expect("the attribute")], "300");
    });
}

#[test]
fn a_dead_target_that_is_deregistered_is_left_as_soon_as_its_checks_fail() {
    for delay_seconds in [300, 1] {
        with_nodes(Vec::new(), |world, arn| {
            let group = world.aws.elb.groups.get_mut(arn).expect("the group");
            group.spec.health_check_interval_seconds = 5;
            group.spec.deregistration_delay_seconds = delay_seconds;
            world.aws.elb.lag.alb_out_ms = 100_000..=100_000;
            after(world, 100);
            Ec2::crash(world, "i-1");
            deregister(world, arn, "i-1");
            deregister(world, arn, "i-2");
            let passed = left_after(world, arn, "i-1");
            assert!((5..=12).contains(&passed), "two checks, not the whole lag: {passed}");
            let shown = matches!(health(world, arn, "i-1", 30_080), Some(Health::Draining { .. }));
            assert_eq!(shown, delay_seconds == 300, "what is shown does not change");
            let passed = passed + left_after(world, arn, "i-2");
            assert!((99..=101).contains(&passed), "a living one has the whole lag: {passed}");
        });
    }
}

#[test]
fn a_deregistered_target_of_an_instance_that_is_terminated_is_left_as_soon_as_one_that_was_not() {
    for deregisters in [false, true] {
        with_nodes(Vec::new(), |world, arn| {
            world.aws.elb.lag.alb_out_ms = 100_000..=100_000;
            after(world, 100);
            Ec2::terminate_by_hand(world, "i-1");
            if deregisters {
                deregister(world, arn, "i-1");
            }
            let dies = seconds_until(world, |world| {
                world.aws.ec2.state("i-1") == Some(sandbox::aws::ec2::State::Terminated)
            });
            let passed = left_after(world, arn, "i-1");
            assert!(
                passed <= 7,
                "deregistered: {deregisters}, terminated after {dies} s: {passed}"
            );
        });
    }
}

#[test]
fn what_is_registered_again_is_checked_for_itself() {
    with_nodes(Vec::new(), |world, arn| {
        world.aws.elb.lag.alb_out_ms = 100_000..=100_000;
        after(world, 100);
        deregister(world, arn, "i-1");
        after(world, 2);
        register(world, arn, "i-1");
        Ec2::crash(world, "i-1");
        let passed = left_after(world, arn, "i-1");
        assert!((30..=40).contains(&passed), "by two checks of its new registration: {passed}");
    });
}
