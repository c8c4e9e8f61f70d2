//! EC2 and EKS: what the describe calls show.

use super::{START, after, answered, call, with_nodes};
use sandbox::Sandbox;
use sandbox::aws::Request;
use sandbox::aws::ec2::{Ec2, State};
use sandbox::aws::eks::Eks;

#[test]
fn one_unknown_id_fails_the_whole_call_but_not_a_filter() {
    with_nodes(Vec::new(), |world, _| {
        let ids = [("InstanceId.1", "i-1"), ("InstanceId.2", "i-9")];
        let whole = call(world, "ec2", "DescribeInstances", &ids);
        let message = "The instance ID &apos;i-9&apos; does not exist";
        whole.refused(400, "InvalidInstanceID.NotFound", message);
        let filter = [
            ("Filter.1.Name", "instance-id"),
            ("Filter.1.Value.1", "i-1"),
            ("Filter.1.Value.2", "i-9"),
        ];
        let found = call(world, "ec2", "DescribeInstances", &filter);
        assert_eq!(found.one("instanceId"), "i-1");
        assert_eq!(found.one("privateDnsName"), "ip-10-0-0-1.eu-central-1.compute.internal");
        assert_eq!(found.one("availabilityZone"), "eu-central-1a");
        assert_eq!(found.one("launchTime"), "2026-11-22T12:00:00.000Z");
    });
}

#[test]
fn a_tag_filter_finds_what_the_group_launched() {
    with_nodes(Vec::new(), |world, _| {
        Ec2::add(world, "i-4", "eu-central-1a");
        let filter =
            [("Filter.1.Name", "tag:aws:autoscaling:groupName"), ("Filter.1.Value.1", "no*")];
        let found = call(world, "ec2", "DescribeInstances", &filter);
        assert_eq!(found.all("instanceId"), ["i-1", "i-2", "i-3"]);
    });
}

#[test]
fn an_instance_stops_and_starts_with_its_id_and_name() {
    with_nodes(Vec::new(), |world, _| {
        let name = world.aws.ec2.instances["i-1"].private_dns.clone();
        Ec2::stop(world, "i-1", "Client.UserInitiatedShutdown");
        assert_eq!(world.aws.ec2.state("i-1"), Some(State::Stopping));
        after(world, 62);
        assert_eq!(world.aws.ec2.state("i-1"), Some(State::Stopped));
        Ec2::start(world, "i-1");
        assert_eq!(world.aws.ec2.state("i-1"), Some(State::Pending));
        assert!(!world.aws.ec2.is_up("i-1"));
        after(world, 20);
        assert_eq!(world.aws.ec2.state("i-1"), Some(State::Running));
        assert!(world.aws.ec2.is_up("i-1"));
        let instance = &world.aws.ec2.instances["i-1"];
        assert_eq!((instance.boot, &instance.private_dns), (2, &name));
    });
}

#[test]
fn a_lost_host_is_impaired_while_its_instance_runs() {
    with_nodes(Vec::new(), |world, _| {
        Ec2::crash(world, "i-1");
        let ids = [("InstanceId.1", "i-1")];
        let status = call(world, "ec2", "DescribeInstanceStatus", &ids);
        assert_eq!(status.all("status"), ["impaired", "impaired"]);
        assert_eq!(status.one("name"), "running");
    });
}

#[test]
fn a_spot_request_says_that_its_instance_is_marked() {
    with_nodes(Vec::new(), |world, _| {
        Ec2::interrupt(world, "i-1", 120_000);
        let marked =
            [("Filter.1.Name", "status-code"), ("Filter.1.Value.1", "marked-for-termination")];
        let found = call(world, "ec2", "DescribeSpotInstanceRequests", &marked);
        assert_eq!(found.one("instanceId"), "i-1");
        after(world, 120);
        let found = call(world, "ec2", "DescribeSpotInstanceRequests", &marked);
        assert_eq!(found.all("instanceId").len(), 0);
    });
}

#[test]
fn a_filter_holds_at_most_200_values() {
    with_nodes(Vec::new(), |world, _| {
        let keys: Vec<_> = (1..=201).map(|n| format!("Filter.1.Value.{n}")).collect();
        let name = [("Filter.1.Name", "instance-id")];
        let values = keys.iter().map(|key| (key.as_str(), "i-1"));
        let form: Vec<_> = name.into_iter().chain(values).collect();
        assert_eq!(call(world, "ec2", "DescribeInstances", &form[..201]).status, 200);
        let refused = call(world, "ec2", "DescribeInstances", &form);
        assert_eq!((refused.status, refused.one("Code")), (400, "FilterLimitExceeded"));
    });
}

#[test]
fn a_cluster_is_described_or_not_found() {
    let sandbox = Sandbox::new(1, START);
    let world = &mut *sandbox.world();
    Eks::add(world, "prod", "https://prod.eks.test", "Q0E=");
    let get = |name: &str| Request {
        host: "eks.eu-central-1.amazonaws.com".to_owned(),
        path: format!("/clusters/{name}"),
        method: "GET".to_owned(),
        ..Request::default()
    };
    let found = answered(world, &get("prod"));
    assert!(found.body.contains("\"endpoint\":\"https://prod.eks.test\""), "{}", found.body);
    let missing = answered(world, &get("none"));
    assert_eq!(missing.status, 404);
    let header = ("x-amzn-errortype", "ResourceNotFoundException".to_owned());
    assert!(missing.headers.contains(&header));
    assert!(missing.body.contains("No cluster found for name: none."));
    let operations: Vec<&str> = world.calls.iter().map(|call| call.operation.as_str()).collect();
    assert_eq!(operations, ["eks:DescribeCluster", "eks:DescribeCluster"]);
}
