//! Terminate and launch hooks: waits, answers, heartbeats, timeouts.

use super::{after, call, complete, launch_hook, terminate_hook, token, until, with_nodes};
use sandbox::aws::autoscaling::{
    Autoscaling, Capacity, Ended, HookSpec, LifecycleState, Retention, Verdict,
};
use sandbox::aws::ec2::State;

#[test]
fn attached_groups_drain_before_the_hook_fires() {
    with_nodes(vec![terminate_hook()], |world, arn| {
        Autoscaling::terminate(world, "i-1", Capacity::Keep);
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::Terminating));
        let health = call(
            world,
            "elasticloadbalancing",
            "DescribeTargetHealth",
            &[("TargetGroupArn", arn), ("Targets.member.1.Id", "i-1")],
        );
        assert_eq!(health.all("State")[0], "draining");
        after(world, 299);
        assert_eq!(world.aws.autoscaling.actions.len(), 0, "no hook while it drains");
        after(world, 1);
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::TerminatingWait));
        assert_eq!(world.aws.autoscaling.actions.len(), 1);
    });
}

#[test]
fn a_group_without_hooks_goes_straight_on() {
    with_nodes(Vec::new(), |world, _| {
        Autoscaling::terminate(world, "i-1", Capacity::Decrement);
        after(world, 300);
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::TerminatingProceed));
        assert_eq!(world.aws.ec2.state("i-1"), Some(State::ShuttingDown));
        after(world, 2);
        assert!(!world.aws.ec2.is_up("i-1"), "the host is dead long before EC2 says so");
        after(world, 62);
        assert_eq!(world.aws.ec2.state("i-1"), Some(State::Terminated));
        assert_eq!(world.aws.autoscaling.state("i-1"), None);
        assert_eq!(world.aws.autoscaling.groups["nodes"].members.len(), 2);
    });
}

#[test]
fn continue_ends_the_wait_once() {
    with_nodes(vec![terminate_hook()], |world, _| {
        Autoscaling::terminate(world, "i-1", Capacity::Keep);
        until(world, "i-1", LifecycleState::TerminatingWait);
        let token = token(world, "i-1");
        assert_eq!(complete(world, "bye", &token, "CONTINUE").status, 200);
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::TerminatingProceed));
        let message = format!("No active Lifecycle Action found with token {token}");
        complete(world, "bye", &token, "CONTINUE").refused(400, "ValidationError", &message);
        let accepted: Vec<bool> =
            world.aws.autoscaling.answers.iter().map(|answer| answer.accepted).collect();
        assert_eq!(accepted, [true, false]);
        let ended = world.aws.autoscaling.actions[0].ended.map(|(_, ended)| ended);
        assert_eq!(ended, Some(Ended::Answered(Verdict::Continue)));
    });
}

#[test]
fn an_instance_id_answers_where_no_token_is_at_hand() {
    with_nodes(vec![terminate_hook()], |world, _| {
        let form = [
            ("LifecycleHookName", "bye"),
            ("AutoScalingGroupName", "nodes"),
            ("InstanceId", "i-1"),
            ("LifecycleActionResult", "CONTINUE"),
        ];
        let message = "No active Lifecycle Action found with instance ID i-1";
        call(world, "autoscaling", "CompleteLifecycleAction", &form).refused(
            400,
            "ValidationError",
            message,
        );
        Autoscaling::terminate(world, "i-1", Capacity::Keep);
        until(world, "i-1", LifecycleState::TerminatingWait);
        assert_eq!(call(world, "autoscaling", "CompleteLifecycleAction", &form).status, 200);
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::TerminatingProceed));
    });
}

#[test]
fn the_instance_waits_for_all_hooks() {
    let other = HookSpec { name: "other".to_owned(), ..terminate_hook() };
    with_nodes(vec![terminate_hook(), other], |world, _| {
        Autoscaling::terminate(world, "i-1", Capacity::Keep);
        until(world, "i-1", LifecycleState::TerminatingWait);
        let tokens: Vec<_> =
            world.aws.autoscaling.actions.iter().map(|a| a.token.clone()).collect();
        assert_ne!(tokens[0], tokens[1], "each hook has a token of its own");
        let crossed = complete(world, "other", &tokens[0], "CONTINUE");
        assert_eq!(crossed.status, 400, "a token belongs to its hook");
        complete(world, "bye", &tokens[0], "CONTINUE");
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::TerminatingWait));
        complete(world, "other", &tokens[1], "CONTINUE");
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::TerminatingProceed));
    });
}

#[test]
fn abandon_ends_the_other_hooks_at_once() {
    let other = HookSpec { name: "other".to_owned(), ..terminate_hook() };
    with_nodes(vec![terminate_hook(), other], |world, _| {
        Autoscaling::terminate(world, "i-1", Capacity::Keep);
        until(world, "i-1", LifecycleState::TerminatingWait);
        let token = world.aws.autoscaling.actions[1].token.clone();
        complete(world, "other", &token, "ABANDON");
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::TerminatingProceed));
        let ended = world.aws.autoscaling.actions[0].ended.map(|(_, ended)| ended);
        assert_eq!(ended, Some(Ended::Abandoned));
        after(world, 3);
        assert_eq!(world.aws.ec2.state("i-1"), Some(State::ShuttingDown), "it ends all the same");
    });
}

#[test]
fn a_heartbeat_timeout_ends_with_the_default_result() {
    let hook =
        HookSpec { heartbeat_seconds: 60, default_result: Verdict::Continue, ..terminate_hook() };
    with_nodes(vec![hook], |world, _| {
        Autoscaling::terminate(world, "i-1", Capacity::Keep);
        until(world, "i-1", LifecycleState::TerminatingWait);
        let began = world.aws.autoscaling.actions[0].began_at;
        world.advance(began + 59_999);
        assert_eq!(world.aws.autoscaling.actions[0].ended, None);
        world.advance(began + 60_000);
        let ended = Some((began + 60_000, Ended::HeartbeatTimeout(Verdict::Continue)));
        assert_eq!(world.aws.autoscaling.actions[0].ended, ended);
        let token = world.aws.autoscaling.actions[0].token.clone();
        assert_eq!(complete(world, "bye", &token, "CONTINUE").status, 400);
    });
}

#[test]
fn a_heartbeat_restarts_the_period_but_not_beyond_the_global_timeout() {
    let hook = HookSpec { heartbeat_seconds: 60, ..terminate_hook() };
    with_nodes(vec![hook], |world, _| {
        Autoscaling::terminate(world, "i-1", Capacity::Keep);
        until(world, "i-1", LifecycleState::TerminatingWait);
        let token = token(world, "i-1");
        let form = [
            ("LifecycleHookName", "bye"),
            ("AutoScalingGroupName", "nodes"),
            ("LifecycleActionToken", &token),
        ];
        let began = world.aws.autoscaling.actions[0].began_at;
        for beat in 1..150 {
            world.advance(began + beat * 45_000);
            call(world, "autoscaling", "RecordLifecycleActionHeartbeat", &form);
        }
        let ended = Some((began + 6_000_000, Ended::GlobalTimeout(Verdict::Abandon)));
        assert_eq!(world.aws.autoscaling.actions[0].ended, ended, "100 heartbeats in all");
        let late = call(world, "autoscaling", "RecordLifecycleActionHeartbeat", &form);
        let message = format!("No active Lifecycle Action found with token {token}");
        late.refused(400, "ValidationError", &message);
    });
}

#[test]
fn an_abandoned_terminate_hook_may_retain_the_instance() {
    with_nodes(vec![terminate_hook()], |world, _| {
        let group = world.aws.autoscaling.groups.get_mut("nodes").expect("the group");
        group.spec.retention = Retention::Retain;
        Autoscaling::terminate(world, "i-1", Capacity::Keep);
        until(world, "i-1", LifecycleState::TerminatingWait);
        let token = token(world, "i-1");
        complete(world, "bye", &token, "ABANDON");
        after(world, 600);
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::TerminatingRetained));
        assert!(world.aws.ec2.is_up("i-1"));
        Autoscaling::terminate(world, "i-1", Capacity::Keep);
        after(world, 65);
        assert_eq!(world.aws.autoscaling.state("i-1"), None);
    });
}

#[test]
fn a_replacement_waits_for_the_launch_hook_and_is_registered_after_it() {
    with_nodes(vec![launch_hook()], |world, arn| {
        Autoscaling::terminate(world, "i-1", Capacity::Keep);
        after(world, 40);
        let group = &world.aws.autoscaling.groups["nodes"];
        let new = group.members.keys().find(|id| id.len() > 3).expect("a replacement").clone();
        assert_eq!(world.aws.autoscaling.state(&new), Some(LifecycleState::PendingWait));
        let key = (new.clone(), 30_080);
        assert!(!world.aws.elb.groups[arn].targets.contains_key(&key));
        let token = token(world, &new);
        complete(world, "hello", &token, "CONTINUE");
        until(world, &new, LifecycleState::InService);
        assert!(world.aws.elb.groups[arn].targets.contains_key(&key));
    });
}

#[test]
fn an_abandoned_launch_is_terminated_and_replaced() {
    with_nodes(vec![launch_hook(), terminate_hook()], |world, _| {
        let first = Autoscaling::launch(world, "nodes", "eu-central-1a");
        until(world, &first, LifecycleState::PendingWait);
        let token = token(world, &first);
        complete(world, "hello", &token, "ABANDON");
        after(world, 120);
        assert_eq!(world.aws.ec2.state(&first), Some(State::Terminated));
        assert_eq!(world.aws.autoscaling.state(&first), None);
        assert_eq!(world.aws.autoscaling.groups["nodes"].members.len(), 4, "there is another");
    });
}

#[test]
fn an_answer_to_a_foreign_hook_is_a_violation() {
    let theirs = HookSpec { name: "theirs".to_owned(), ours: false, ..terminate_hook() };
    with_nodes(vec![theirs], |world, _| {
        Autoscaling::terminate(world, "i-1", Capacity::Keep);
        until(world, "i-1", LifecycleState::TerminatingWait);
        assert!(world.violations.is_empty());
        let token = token(world, "i-1");
        complete(world, "theirs", &token, "CONTINUE");
        let expected = "foreign-hook: CompleteLifecycleAction of theirs on nodes by process 7";
        assert_eq!(world.violations, [expected]);
    });
}

#[test]
fn hooks_and_instances_are_described() {
    with_nodes(vec![terminate_hook()], |world, arn| {
        let named = [("AutoScalingGroupName", "nodes")];
        let hooks = call(world, "autoscaling", "DescribeLifecycleHooks", &named);
        assert_eq!(hooks.one("HeartbeatTimeout"), "3600");
        assert_eq!(hooks.one("GlobalTimeout"), "172800");
        assert_eq!(hooks.one("DefaultResult"), "ABANDON");

        let ids = [("InstanceIds.member.1", "i-9"), ("InstanceIds.member.2", "i-2")];
        let instances = call(world, "autoscaling", "DescribeAutoScalingInstances", &ids);
        assert_eq!(instances.one("InstanceId"), "i-2", "an unknown id is left out");
        assert_eq!(instances.one("LifecycleState"), "InService");
        let many: Vec<_> = (1..=51).map(|n| format!("InstanceIds.member.{n}")).collect();
        let many: Vec<_> = many.iter().map(|key| (key.as_str(), "i-1")).collect();
        assert_eq!(call(world, "autoscaling", "DescribeAutoScalingInstances", &many).status, 400);
        let fifty = call(world, "autoscaling", "DescribeAutoScalingInstances", &many[..50]);
        assert_eq!(fifty.status, 200);

        let groups = call(
            world,
            "autoscaling",
            "DescribeAutoScalingGroups",
            &[("AutoScalingGroupNames.member.1", "nodes"), ("IncludeInstances", "false")],
        );
        assert_eq!(groups.all("InstanceId").len(), 0);
        assert_eq!(groups.one("TargetGroupARNs"), format!("<member>{arn}</member>"));
        let groups = call(world, "autoscaling", "DescribeAutoScalingGroups", &[]);
        assert_eq!(groups.all("InstanceId"), ["i-1", "i-2", "i-3"]);
    });
}
