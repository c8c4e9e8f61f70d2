//! ELB: forms as sent, XML as answered.

use crate::fake::{Answer, Wire, group, query_error};
use cloud::elbv2::{
    GroupFacts, TargetType, deregister, deregistration_delay, describe, health, register,
};
use decision::snapshot::aws::{Balancer, Target, TargetState};
use decision::step::{Class, TargetChange, TargetId};
use std::collections::BTreeMap;
use std::time::Duration;

const ARN: &str = "arn%3Aaws%3Aelasticloadbalancing%3Aeu-central-1%3A123456789012%3Atargetgroup%2F\
                   web%2F73e2d6bc24d8a067";

fn answer(action: &str, result: &str) -> Answer {
    Answer::Of(
        200,
        format!(
            "<{action}Response xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\
             <{action}Result>{result}</{action}Result></{action}Response>"
        ),
    )
}

fn member(target: &str, state: &str) -> String {
    format!(
        "<member><HealthCheckPort>80</HealthCheckPort><Target>{target}</Target><TargetHealth>\
         <State>{state}</State><Reason>Target.NotInUse</Reason></TargetHealth></member>"
    )
}

fn descriptions(members: &str) -> Answer {
    let list = format!("<TargetHealthDescriptions>{members}</TargetHealthDescriptions>");
    answer("DescribeTargetHealth", &list)
}

#[tokio::test(start_paused = true)]
async fn health_has_all_targets_in_all_states() {
    let rows = [
        ("initial", TargetState::Initial),
        ("healthy", TargetState::Healthy),
        ("unhealthy", TargetState::Unhealthy),
        ("unhealthy.draining", TargetState::Unhealthy),
        ("draining", TargetState::Draining),
        ("unused", TargetState::Unused),
        ("unavailable", TargetState::Unavailable),
    ];
    let instance = |port: usize, state| {
        member(&format!("<Id>i-0aaa1111bbb22222c</Id><Port>{port}</Port>"), state)
    };
    let members: String =
        rows.iter().enumerate().map(|(n, (state, _))| instance(30_000 + n, state)).collect();
    let address = "<Id>10.0.1.7</Id><Port>8080</Port><AvailabilityZone>all</AvailabilityZone>";
    let function = "<Id>arn:aws:lambda:eu-central-1:123456789012:function:f</Id>";
    let members = members + &member(address, "healthy") + &member(function, "unavailable");
    let wire = Wire::answering([descriptions(&members)]);

    let targets = health(&wire.clients().elbv2, &group("web")).await.unwrap();
    let mut expected: Vec<Target> = rows
        .iter()
        .zip(30_000..)
        .map(|((_, state), port)| Target {
            id: "i-0aaa1111bbb22222c".to_owned(),
            port,
            zone: None,
            state: *state,
        })
        .collect();
    expected.push(Target {
        id: "10.0.1.7".to_owned(),
        port: 8080,
        zone: Some("all".to_owned()),
        state: TargetState::Healthy,
    });
    assert_eq!(targets, expected);
    let sent = wire.sent();
    assert_eq!(sent[0].url, "https://elasticloadbalancing.eu-central-1.amazonaws.com/");
    let body = format!("Action=DescribeTargetHealth&Version=2015-12-01&TargetGroupArn={ARN}");
    assert_eq!(sent[0].body, body);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_be_understood_is_an_error_and_not_left_out() {
    let known = "<Id>i-0aaa1111bbb22222c</Id><Port>80</Port>";
    let rows = [
        (member(known, "dreaming"), "the answer has an unknown target state `dreaming`"),
        (member("<Id>i-0aaa1111bbb22222c</Id>", "healthy"), "the answer has no Target.Port"),
        (
            member("<Id>x</Id><Port>65536</Port>", "healthy"),
            "the answer has an unknown port `65536`",
        ),
    ];
    for (members, words) in rows {
        let wire = Wire::answering([descriptions(&members)]);
        let error = health(&wire.clients().elbv2, &group("web")).await.unwrap_err();
        assert_eq!(error.why(), format!("describe target health of {}: {words}", group("web")));
    }
}

#[tokio::test(start_paused = true)]
async fn the_protocol_says_which_kind_of_balancer_it_is() {
    let rows = [
        ("HTTP", Balancer::Application),
        ("HTTPS", Balancer::Application),
        ("TCP", Balancer::Network),
        ("TLS", Balancer::Network),
        ("UDP", Balancer::Network),
        ("TCP_UDP", Balancer::Network),
        ("QUIC", Balancer::Network),
        ("TCP_QUIC", Balancer::Network),
        ("GENEVE", Balancer::Other),
    ];
    let types =
        [("instance", TargetType::Instance), ("ip", TargetType::Ip), ("alb", TargetType::Alb)];
    let rows: Vec<_> = rows.into_iter().zip(types.into_iter().cycle()).collect();
    let described = |((protocol, _), (kind, _)): &((&str, Balancer), (&str, TargetType))| {
        format!(
            "<member><TargetGroupArn>{}</TargetGroupArn><Protocol>{protocol}</Protocol><Port>8080</Port>\
             <TargetType>{kind}</TargetType></member>",
            group(protocol)
        )
    };
    let members: String = rows.iter().map(described).collect();
    let function = format!(
        "<member><TargetGroupArn>{}</TargetGroupArn><TargetType>lambda</TargetType></member>",
        group("f")
    );
    let list = format!("<TargetGroups>{members}{function}</TargetGroups>");
    let wire = Wire::answering([answer("DescribeTargetGroups", &list)]);

    let found = describe(&wire.clients().elbv2, &[group("web")]).await.unwrap();
    let mut expected: BTreeMap<_, _> = rows
        .into_iter()
        .map(|((protocol, balancer), (_, target_type))| {
            (group(protocol), GroupFacts { balancer, target_type, default_port: Some(8080) })
        })
        .collect();
    let (balancer, target_type) = (Balancer::Other, TargetType::Lambda);
    expected.insert(group("f"), GroupFacts { balancer, target_type, default_port: None });
    assert_eq!(found, expected);
    let body =
        format!("Action=DescribeTargetGroups&Version=2015-12-01&TargetGroupArns.member.1={ARN}");
    assert_eq!(wire.bodies(), [body]);
}

#[tokio::test(start_paused = true)]
async fn twenty_groups_go_into_one_request_and_pages_are_followed() {
    let list = |next: &str| answer("DescribeTargetGroups", &format!("<TargetGroups/>{next}"));
    let wire = Wire::answering([list("<NextMarker>m2</NextMarker>"), list(""), list("")]);
    let groups: Vec<_> = (0..21).map(|n| group(&format!("web{n}"))).collect();
    assert_eq!(describe(&wire.clients().elbv2, &groups).await.unwrap(), BTreeMap::new());
    let bodies = wire.bodies();
    let asked: Vec<(usize, bool)> = bodies
        .iter()
        .map(|body| (body.matches("TargetGroupArns.member.").count(), body.contains("Marker=m2")))
        .collect();
    assert_eq!(asked, [(20, false), (20, true), (1, false)]);
}

#[tokio::test(start_paused = true)]
async fn the_deregistration_delay_is_one_of_the_attributes() {
    let attributes = |value: &str| {
        let list = format!(
            "<Attributes><member><Key>stickiness.enabled</Key><Value>false</Value></member>{value}\
             </Attributes>"
        );
        answer("DescribeTargetGroupAttributes", &list)
    };
    let delay = |value: &str| {
        format!(
            "<member><Key>deregistration_delay.timeout_seconds</Key><Value>{value}</Value></member>"
        )
    };
    let wire = Wire::answering([
        attributes(&delay("300")),
        attributes(&delay("0")),
        attributes(&delay("soon")),
        attributes(""),
    ]);
    let client = wire.clients().elbv2;
    let group = group("web");
    let read = || deregistration_delay(&client, &group);
    assert_eq!(read().await.unwrap(), Duration::from_secs(300));
    assert_eq!(read().await.unwrap(), Duration::ZERO);
    let unknown = "the answer has an unknown deregistration_delay.timeout_seconds `soon`";
    assert!(read().await.unwrap_err().why().ends_with(unknown));
    let missing = "the answer has no deregistration_delay.timeout_seconds";
    assert!(read().await.unwrap_err().why().ends_with(missing));
    let body =
        format!("Action=DescribeTargetGroupAttributes&Version=2015-12-01&TargetGroupArn={ARN}");
    assert_eq!(wire.bodies()[0], body);
}

fn change(targets: Vec<TargetId>) -> TargetChange {
    TargetChange { group: group("web"), targets }
}

fn target(id: &str, port: u16, zone: Option<&str>) -> TargetId {
    TargetId { id: id.to_owned(), port, zone: zone.map(str::to_owned) }
}

#[tokio::test(start_paused = true)]
async fn writes_name_the_exact_targets() {
    let wire = Wire::answering([answer("DeregisterTargets", ""), answer("RegisterTargets", "")]);
    let client = wire.clients().elbv2;
    let change = change(vec![
        target("i-0aaa1111bbb22222c", 30_080, None),
        target("10.0.1.7", 8080, Some("all")),
    ]);
    deregister(&client, &change).await.unwrap();
    register(&client, &change).await.unwrap();
    let rest = format!(
        "Version=2015-12-01&TargetGroupArn={ARN}\
         &Targets.member.1.Id=i-0aaa1111bbb22222c&Targets.member.1.Port=30080\
         &Targets.member.2.Id=10.0.1.7&Targets.member.2.Port=8080\
         &Targets.member.2.AvailabilityZone=all"
    );
    let bodies =
        ["DeregisterTargets", "RegisterTargets"].map(|action| format!("Action={action}&{rest}"));
    assert_eq!(wire.bodies(), bodies);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_targets_go_into_one_write_and_none_into_none() {
    let wire = Wire::answering([answer("DeregisterTargets", ""), answer("DeregisterTargets", "")]);
    let client = wire.clients().elbv2;
    let targets = (1..=201).map(|port| target("i-0aaa1111bbb22222c", port, None)).collect();
    deregister(&client, &change(targets)).await.unwrap();
    deregister(&client, &change(Vec::new())).await.unwrap();
    let counts: Vec<usize> =
        wire.bodies().iter().map(|body| body.matches(".Port=").count()).collect();
    assert_eq!(counts, [200, 1]);
}

#[tokio::test(start_paused = true)]
async fn refusals_have_their_class_and_name_the_targets() {
    let rows = [
        (400, "ThrottlingException", Class::Throttled(None)),
        (400, "Throttling", Class::Throttled(None)),
        (400, "TargetGroupNotFound", Class::Gone),
        (400, "InvalidTarget", Class::Gone),
        (403, "AccessDenied", Class::Denied),
        (400, "TooManyTargets", Class::Final),
        (503, "ServiceUnavailable", Class::Again),
    ];
    let targets = (1..=5).map(|port| target("i-0aaa1111bbb22222c", port, None)).collect();
    let change = change(targets);
    for (status, code, class) in rows {
        let wire = Wire::answering([query_error(status, code, "Rate exceeded")]);
        let error = register(&wire.clients().elbv2, &change).await.unwrap_err();
        assert_eq!(error.class(), class, "{code}");
        let expected = format!(
            "register targets with {} (i-0aaa1111bbb22222c:1, i-0aaa1111bbb22222c:2, \
             i-0aaa1111bbb22222c:3 and 2 more): {code}: Rate exceeded (HTTP {status})",
            group("web")
        );
        assert_eq!(error.why(), expected);
        assert_eq!(wire.sent().len(), 1, "{code}");
    }
}
