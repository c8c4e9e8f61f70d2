//! Budgets and rights of the account.

use super::{START, answered, call, with_nodes};
use sandbox::aws::Request;

const ELB: &str = "elasticloadbalancing";

#[test]
fn target_writes_are_limited_to_a_burst_of_20_and_4_a_second() {
    with_nodes(Vec::new(), |world, arn| {
        let form = [("TargetGroupArn", arn), ("Targets.member.1.Id", "i-9")];
        for _ in 0..20 {
            assert_eq!(call(world, ELB, "DeregisterTargets", &form).status, 200);
        }
        let throttled = call(world, ELB, "DeregisterTargets", &form);
        throttled.refused(400, "ThrottlingException", "Rate exceeded");
        assert_eq!(world.aws.budgets.throttled[ELB], 1);
        world.advance(START + 249);
        assert_eq!(call(world, ELB, "DeregisterTargets", &form).status, 400);
        world.advance(START + 250);
        assert_eq!(call(world, ELB, "DeregisterTargets", &form).status, 200);
        let health = [("TargetGroupArn", arn)];
        assert_eq!(call(world, ELB, "DescribeTargetHealth", &health).status, 200);
    });
}

#[test]
fn all_calls_of_a_service_share_its_budget() {
    with_nodes(Vec::new(), |world, arn| {
        let form = [("TargetGroupArn", arn)];
        let answered: Vec<u16> =
            (0..41).map(|_| call(world, ELB, "DescribeTargetHealth", &form).status).collect();
        assert_eq!(answered.iter().filter(|status| **status == 200).count(), 40);
        let write = call(world, ELB, "DeregisterTargets", &form);
        write.refused(400, "ThrottlingException", "Rate exceeded");
    });
}

#[test]
fn each_service_throttles_in_its_own_words() {
    with_nodes(Vec::new(), |world, _| {
        let drain = |world: &mut sandbox::World, service: &str, action: &str| {
            let mut last = call(world, service, action, &[]);
            while last.status == 200 {
                last = call(world, service, action, &[]);
            }
            last
        };
        drain(world, "ec2", "DescribeInstances").refused(
            503,
            "RequestLimitExceeded",
            "Request limit exceeded.",
        );
        drain(world, "autoscaling", "DescribeAutoScalingInstances").refused(
            400,
            "Throttling",
            "Rate exceeded",
        );
    });
}

#[test]
fn a_right_that_is_missing_is_refused_in_the_services_words() {
    with_nodes(Vec::new(), |world, _| {
        let denied = ["ec2:DescribeInstances", "autoscaling:DescribeAutoScalingInstances"];
        world.aws.budgets.denied = denied.iter().map(|name| (*name).to_owned()).collect();
        let ec2 = call(world, "ec2", "DescribeInstances", &[]);
        assert_eq!((ec2.status, ec2.one("Code")), (403, "UnauthorizedOperation"));
        let groups = call(world, "autoscaling", "DescribeAutoScalingInstances", &[]);
        assert_eq!((groups.status, groups.one("Code")), (403, "AccessDenied"));
        assert!(groups.one("Message").contains("autoscaling:DescribeAutoScalingInstances"));
        let unknown = call(world, "autoscaling", "DeleteAutoScalingGroup", &[]);
        assert_eq!((unknown.status, unknown.one("Code")), (400, "InvalidAction"));
    });
}

#[test]
fn the_service_is_known_from_the_signature_where_the_host_says_nothing() {
    with_nodes(Vec::new(), |world, _| {
        let scope = "Credential=AKID/20261122/eu-central-1/ec2/aws4_request, SignedHeaders=host";
        let mut request = Request {
            host: "127.0.0.1:4566".to_owned(),
            body: b"Action=DescribeInstances".to_vec(),
            ..Request::default()
        };
        let authorization = format!("AWS4-HMAC-SHA256 {scope}");
        request.headers.insert("authorization".to_owned(), authorization);
        assert_eq!(answered(world, &request).all("instanceId").len(), 3);
        let call = world.calls.last().expect("recorded");
        assert_eq!((call.operation.as_str(), call.write), ("ec2:DescribeInstances", false));
    });
}
