//! EC2 takes instances away: what it says, and when the host really dies.

use super::{after, bodies, call, until, with_nodes};
use sandbox::World;
use sandbox::aws::autoscaling::{Autoscaling, LifecycleState};
use sandbox::aws::ec2::{Ec2, Purchase, SpotAction, State};
use sandbox::aws::events::{BlockTitle, ReservationShape};
use serde_json::Value;

/// The states that the events of one instance told, in the order of their arrival.
fn told(bodies: &[Value], instance: &str) -> Vec<String> {
    let of = bodies.iter().filter(|body| body["detail"]["instance-id"] == instance);
    of.filter_map(|body| body["detail"]["state"].as_str().map(str::to_owned)).collect()
}

/// The detail of the one event of this title.
#[track_caller]
fn detail(world: &mut World, title: &str) -> Value {
    let all = bodies(world);
    let mut found = all.into_iter().filter(|body| body["detail-type"] == title);
    let first = found.next().unwrap_or_else(|| panic!("{title} arrived"));
    assert_eq!(found.count(), 0, "{title} arrived once");
    assert_eq!(first["source"], "aws.ec2");
    first
}

#[test]
fn each_kind_of_spot_interruption_ends_in_its_own_state() {
    let rows = [
        (SpotAction::Terminate, "terminate", 120, State::ShuttingDown, State::Terminated),
        (SpotAction::Stop, "stop", 120, State::Stopping, State::Stopped),
        (SpotAction::Hibernate, "hibernate", 0, State::Stopping, State::Stopped),
    ];
    for (action, word, lead, first, last) in rows {
        with_nodes(Vec::new(), |world, _| {
            world.aws.autoscaling.groups.get_mut("nodes").expect("it is there").spec.suspended =
                true;
            Ec2::interrupt_with(world, "i-1", action, 120_000);
            after(world, 2);
            let body = detail(world, "EC2 Spot Instance Interruption Warning");
            assert_eq!(body["detail"]["instance-action"], word);
            assert_eq!(
                body["resources"][0], "arn:aws:ec2:eu-central-1:123456789012:instance/i-1",
                "{word}"
            );
            if lead > 0 {
                after(world, lead - 3);
                assert_eq!(world.aws.ec2.state("i-1"), Some(State::Running), "{word}");
                after(world, 1);
            }
            assert_eq!(world.aws.ec2.state("i-1"), Some(first), "{word}");
            after(world, 2);
            assert!(!world.aws.ec2.is_up("i-1"), "{word}");
            after(world, 65);
            assert_eq!(world.aws.ec2.state("i-1"), Some(last), "{word}");
            let log = &world.aws.events.events_log;
            let sent: Vec<Value> =
                log.iter().map(|sent| serde_json::from_str(&sent.body).expect("JSON")).collect();
            assert_eq!(told(&sent, "i-1"), [first.name(), last.name()], "{word}");
        });
    }
}

#[test]
fn what_spot_stopped_may_be_started_again_with_a_new_launch_time() {
    with_nodes(Vec::new(), |world, _| {
        world.aws.autoscaling.groups.get_mut("nodes").expect("it is there").spec.suspended = true;
        Ec2::interrupt_with(world, "i-1", SpotAction::Stop, 120_000);
        after(world, 300);
        let requests = call(world, "ec2", "DescribeSpotInstanceRequests", &[]);
        assert_eq!(requests.all("code"), ["instance-stopped-no-capacity"]);
        let launched = world.aws.ec2.instances["i-1"].launched_at;
        Ec2::start(world, "i-1");
        after(world, 30);
        let instance = &world.aws.ec2.instances["i-1"];
        assert_eq!((instance.state, instance.boot, instance.up), (State::Running, 2, true));
        assert!(instance.launched_at > launched);
        assert_eq!(told(&bodies(world), "i-1"), ["stopping", "stopped", "pending", "running"]);
        after(world, 600);
        assert_eq!(world.aws.ec2.state("i-1"), Some(State::Running), "the old notice is spent");
    });
}

#[test]
fn a_notice_outlives_a_reboot_but_not_a_stop() {
    with_nodes(Vec::new(), |world, _| {
        world.aws.autoscaling.groups.get_mut("nodes").expect("it is there").spec.suspended = true;
        Ec2::interrupt(world, "i-1", 120_000);
        Ec2::interrupt(world, "i-2", 200_000);
        after(world, 10);
        Ec2::reboot(world, "i-1");
        Ec2::stop(world, "i-2", "Client.UserInitiatedShutdown");
        after(world, 70);
        Ec2::start(world, "i-2");
        after(world, 60);
        assert_eq!(world.aws.ec2.state("i-1"), Some(State::ShuttingDown));
        after(world, 120);
        assert_eq!(world.aws.ec2.state("i-2"), Some(State::Running));
    });
}

#[test]
fn a_reservation_says_when_it_ends_in_either_shape() {
    let rows = [
        (ReservationShape::Interruptible, "azId", "availability-zone-id"),
        (ReservationShape::CapacityBlock, "availability-zone-id", "azId"),
    ];
    for (shape, has, lacks) in rows {
        with_nodes(Vec::new(), |world, _| {
            Ec2::reclaim_reservation(world, "i-1", shape, 120_000);
            after(world, 2);
            let title = "EC2 Capacity Reservation Instance Interruption Warning";
            let body = detail(world, title);
            let detail = &body["detail"];
            assert_eq!(detail["instance-termination-time"], "2026-11-22T12:02:00Z");
            assert_eq!(detail["instance-action"], "terminate");
            assert_eq!((&detail[has], &detail[lacks]), (&"euc1-az1".into(), &Value::Null));
            assert_eq!(body["resources"].is_string(), shape == ReservationShape::Interruptible);
            after(world, 118);
            assert_eq!(world.aws.ec2.state("i-1"), Some(State::ShuttingDown));
        });
    }
}

#[test]
fn a_block_names_only_itself_and_ends_ten_minutes_later() {
    for title in [BlockTitle::Block, BlockTitle::Reservation] {
        with_nodes(Vec::new(), |world, _| {
            for id in ["i-1", "i-3"] {
                let instance = world.aws.ec2.instances.get_mut(id).expect("it is there");
                instance.capacity_reservation = Some("cr-1".to_owned());
            }
            Ec2::expire_block(world, "cr-1", title);
            after(world, 2);
            let body = detail(world, title.name());
            assert_eq!(body["detail"]["capacity-reservation-id"], "cr-1");
            assert_eq!(body["detail"]["end-date"], "2026-11-22T12:40:00Z");
            let filter =
                [("Filter.1.Name", "capacity-reservation-id"), ("Filter.1.Value.1", "cr-1")];
            let found = call(world, "ec2", "DescribeInstances", &filter);
            assert_eq!(found.all("instanceId"), ["i-1", "i-3"]);
            assert_eq!(found.all("value"), ["nodes", "nodes"], "the group's tag is there");
            after(world, 597);
            assert_eq!(world.aws.ec2.state("i-1"), Some(State::Running));
            after(world, 62);
            assert_ne!(world.aws.ec2.state("i-1"), Some(State::Running));
            assert_ne!(world.aws.ec2.state("i-3"), Some(State::Running));
            assert_eq!(world.aws.ec2.state("i-2"), Some(State::Running));
        });
    }
}

#[test]
fn a_host_that_is_stopped_by_hand_shuts_down_first() {
    with_nodes(Vec::new(), |world, _| {
        Ec2::stop_by_hand(world, "i-1");
        Ec2::terminate_by_hand(world, "i-2");
        after(world, 2);
        assert!(world.aws.ec2.is_up("i-1") && world.aws.ec2.is_up("i-2"));
        let first = bodies(world);
        assert_eq!(told(&first, "i-1"), ["stopping"]);
        assert_eq!(told(&first, "i-2"), ["shutting-down"]);
        after(world, 11);
        assert!(!world.aws.ec2.is_up("i-1") && !world.aws.ec2.is_up("i-2"));
        after(world, 62);
        let last = bodies(world);
        assert_eq!(told(&last, "i-1"), ["stopped"]);
        assert_eq!(told(&last, "i-2"), ["terminated"]);
    });
}

#[test]
fn a_terminated_instance_is_shown_for_an_hour() {
    with_nodes(Vec::new(), |world, _| {
        Ec2::terminate(world, "i-1", "Client.UserInitiatedShutdown");
        after(world, 120);
        let ids = [("InstanceId.1", "i-1")];
        assert_eq!(call(world, "ec2", "DescribeInstances", &ids).one("privateDnsName"), "");
        after(world, 3_600);
        let gone = call(world, "ec2", "DescribeInstances", &ids);
        assert_eq!(gone.one("Code"), "InvalidInstanceID.NotFound");
    });
}

#[test]
fn a_group_that_is_suspended_lets_an_instance_stop_and_start() {
    with_nodes(Vec::new(), |world, _| {
        let group = world.aws.autoscaling.groups.get_mut("nodes").expect("it is there");
        group.spec.suspended = true;
        group.spec.purchase = Purchase::Spot;
        Ec2::stop_by_hand(world, "i-1");
        after(world, 300);
        assert_eq!(world.aws.autoscaling.state("i-1"), Some(LifecycleState::InService));
        let new = Autoscaling::launch(world, "nodes", "eu-central-1a");
        assert_eq!(world.aws.ec2.instances[&new].purchase, Purchase::Spot);
        until(world, &new, LifecycleState::InService);
    });
}
