//! Auto Scaling: forms as sent, XML as answered.

use crate::fake::{Answer, Wire, asg, group, instance, query_error};
use cloud::autoscaling::{Beat, Completed, complete, groups, heartbeat, hooks, memberships};
use decision::id::{HookName, HookToken};
use decision::signal::Transition;
use decision::snapshot::aws::{Asg, Hook, LifecycleState, Membership};
use decision::step::HookResult;
use decision::step::{Class, HookCall};
use std::collections::BTreeMap;
use std::time::Duration;

const TOKEN: &str = "71514b9d-6a40-4b26-8523-05e7ee35fa40";

fn call() -> HookCall {
    HookCall {
        asg: asg("web nodes"),
        hook: HookName::parse("drain").unwrap(),
        token: HookToken::parse(TOKEN).unwrap(),
    }
}

fn done(action: &str) -> Answer {
    Answer::Of(
        200,
        format!(
            "<{action}Response xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
             <{action}Result/><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>\
             </{action}Response>"
        ),
    )
}

fn members(entries: &[(&str, &str)], next: &str) -> Answer {
    let member = |(id, state): &(&str, &str)| {
        format!(
            "<member><InstanceId>{id}</InstanceId><AutoScalingGroupName>web</AutoScalingGroupName>\
             <AvailabilityZone>eu-central-1a</AvailabilityZone><LifecycleState>{state}</LifecycleState>\
             <HealthStatus>HEALTHY</HealthStatus><ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>"
        )
    };
    let entries: String = entries.iter().map(member).collect();
    Answer::Of(
        200,
        format!(
            "<DescribeAutoScalingInstancesResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
             <DescribeAutoScalingInstancesResult><AutoScalingInstances>{entries}</AutoScalingInstances>{next}\
             </DescribeAutoScalingInstancesResult></DescribeAutoScalingInstancesResponse>"
        ),
    )
}

#[tokio::test(start_paused = true)]
async fn memberships_are_read_and_unknown_ids_left_out() {
    let wire = Wire::answering([members(
        &[("i-0aaa1111bbb22222c", "Terminating:Wait"), ("i-0ddd1111bbb22222c", "Standby")],
        "",
    )]);
    let ids = ["i-0aaa1111bbb22222c", "i-0ddd1111bbb22222c", "i-0eee1111bbb22222c"].map(instance);
    let found = memberships(&wire.clients().autoscaling, &ids).await.unwrap();
    let state = |state| Membership { asg: asg("web"), state };
    let expected = BTreeMap::from([
        (ids[0].clone(), state(LifecycleState::TerminatingWait)),
        (ids[1].clone(), state(LifecycleState::Other("Standby".to_owned()))),
    ]);
    assert_eq!(found, expected);
    let sent = wire.sent();
    assert_eq!(sent[0].url, "https://autoscaling.eu-central-1.amazonaws.com/");
    assert_eq!(
        sent[0].body,
        "Action=DescribeAutoScalingInstances&Version=2011-01-01\
         &InstanceIds.member.1=i-0aaa1111bbb22222c&InstanceIds.member.2=i-0ddd1111bbb22222c\
         &InstanceIds.member.3=i-0eee1111bbb22222c"
    );
}

#[tokio::test(start_paused = true)]
async fn fifty_ids_go_into_one_request_and_the_next_into_another() {
    let wire = Wire::answering([members(&[], ""), members(&[], "")]);
    let ids: Vec<_> = (0..51).map(|n| instance(&format!("i-0aaa1111bbb22{n:04}"))).collect();
    assert_eq!(memberships(&wire.clients().autoscaling, &ids).await.unwrap(), BTreeMap::new());
    let counts: Vec<usize> =
        wire.bodies().iter().map(|body| body.matches("InstanceIds.member.").count()).collect();
    assert_eq!(counts, [50, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_list_goes_on_for_five_pages_at_most() {
    let page = || members(&[("i-0aaa1111bbb22222c", "InService")], "<NextToken>more=</NextToken>");
    let wire = Wire::answering([page(), page(), page(), page(), page()]);
    let ids = [instance("i-0aaa1111bbb22222c")];
    let error = memberships(&wire.clients().autoscaling, &ids).await.unwrap_err();
    assert_eq!(
        error.why(),
        "describe Auto Scaling instances i-0aaa1111bbb22222c: the list has more than 5 pages"
    );
    assert!(wire.bodies()[1].ends_with("&NextToken=more%3D"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_about_nobody() {
    let wire = Wire::answering([]);
    let client = wire.clients().autoscaling;
    assert!(memberships(&client, &[]).await.unwrap().is_empty());
    assert!(groups(&client, &[]).await.unwrap().is_empty());
    assert_eq!(wire.sent().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn groups_come_with_tags_and_target_groups_but_without_instances() {
    let arn = group("web");
    let wire = Wire::answering([Answer::Of(
        200,
        format!(
            "<DescribeAutoScalingGroupsResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
             <DescribeAutoScalingGroupsResult><AutoScalingGroups><member>\
             <AutoScalingGroupName>web</AutoScalingGroupName>\
             <AutoScalingGroupARN>arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:x:autoScalingGroupName/web</AutoScalingGroupARN>\
             <MinSize>1</MinSize><MaxSize>9</MaxSize><DesiredCapacity>3</DesiredCapacity><DefaultCooldown>300</DefaultCooldown>\
             <AvailabilityZones><member>eu-central-1a</member></AvailabilityZones><HealthCheckType>EC2</HealthCheckType>\
             <CreatedTime>2026-11-01T00:00:00.000Z</CreatedTime>\
             <TargetGroupARNs><member>{arn}</member></TargetGroupARNs>\
             <Tags><member><ResourceId>web</ResourceId><ResourceType>auto-scaling-group</ResourceType>\
             <Key>ebbtide</Key><Value>managed &amp; drained</Value><PropagateAtLaunch>true</PropagateAtLaunch></member>\
             <member><Key>empty</Key></member></Tags>\
             </member></AutoScalingGroups></DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>"
        ),
    )]);
    let found = groups(&wire.clients().autoscaling, &[asg("web"), asg("gone")]).await.unwrap();
    let tags = [("ebbtide", "managed & drained"), ("empty", "")];
    let expected = Asg {
        name: asg("web"),
        tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        target_groups: vec![arn],
    };
    assert_eq!(found, BTreeMap::from([(asg("web"), expected)]));
    assert_eq!(
        wire.bodies(),
        ["Action=DescribeAutoScalingGroups&Version=2011-01-01\
          &AutoScalingGroupNames.member.1=web&AutoScalingGroupNames.member.2=gone\
          &IncludeInstances=false"]
    );
}

#[tokio::test(start_paused = true)]
async fn hooks_come_with_their_times_and_metadata() {
    let wire = Wire::answering([Answer::Of(
        200,
        "<DescribeLifecycleHooksResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
         <DescribeLifecycleHooksResult><LifecycleHooks><member>\
         <LifecycleHookName>drain</LifecycleHookName><AutoScalingGroupName>web</AutoScalingGroupName>\
         <LifecycleTransition>autoscaling:EC2_INSTANCE_TERMINATING</LifecycleTransition>\
         <NotificationMetadata>{&quot;drain&quot;:&quot;5m&quot;}</NotificationMetadata>\
         <HeartbeatTimeout>3600</HeartbeatTimeout><GlobalTimeout>172800</GlobalTimeout>\
         <DefaultResult>CONTINUE</DefaultResult></member><member>\
         <LifecycleHookName>arrive</LifecycleHookName><AutoScalingGroupName>web</AutoScalingGroupName>\
         <LifecycleTransition>autoscaling:EC2_INSTANCE_LAUNCHING</LifecycleTransition>\
         <HeartbeatTimeout>30</HeartbeatTimeout><GlobalTimeout>3000</GlobalTimeout>\
         <DefaultResult>ABANDON</DefaultResult></member></LifecycleHooks>\
         </DescribeLifecycleHooksResult></DescribeLifecycleHooksResponse>"
            .to_owned(),
    )]);
    let found = hooks(&wire.clients().autoscaling, &asg("web")).await.unwrap();
    let expected = [
        Hook {
            name: HookName::parse("drain").unwrap(),
            transition: Transition::Terminating,
            heartbeat: Duration::from_secs(3600),
            global: Duration::from_secs(172_800),
            metadata: Some("{\"drain\":\"5m\"}".to_owned()),
        },
        Hook {
            name: HookName::parse("arrive").unwrap(),
            transition: Transition::Launching,
            heartbeat: Duration::from_secs(30),
            global: Duration::from_secs(3000),
            metadata: None,
        },
    ];
    assert_eq!(found, expected);
    let body = "Action=DescribeLifecycleHooks&Version=2011-01-01&AutoScalingGroupName=web";
    assert_eq!(wire.bodies(), [body]);
}

#[tokio::test(start_paused = true)]
async fn hooks_of_a_group_that_is_no_more_are_gone() {
    let message = "AutoScalingGroup name not found - AutoScalingGroup 'web' not found";
    let wire = Wire::answering([query_error(400, "ValidationError", message)]);
    let error = hooks(&wire.clients().autoscaling, &asg("web")).await.unwrap_err();
    assert_eq!(error.class(), Class::Gone);
    let why = format!("describe lifecycle hooks of web: ValidationError: {message} (HTTP 400)");
    assert_eq!(error.why(), why);
    assert_eq!(wire.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hook_is_answered_with_its_token_and_result() {
    let wire = Wire::answering([done("CompleteLifecycleAction"), done("CompleteLifecycleAction")]);
    let client = wire.clients().autoscaling;
    for result in [HookResult::Continue, HookResult::Abandon] {
        assert_eq!(complete(&client, &call(), result).await.unwrap(), Completed::Accepted);
    }
    let body = "Action=CompleteLifecycleAction&Version=2011-01-01&LifecycleHookName=drain\
                &AutoScalingGroupName=web%20nodes&LifecycleActionToken=";
    let bodies = ["CONTINUE", "ABANDON"]
        .map(|result| format!("{body}{TOKEN}&LifecycleActionResult={result}"));
    assert_eq!(wire.bodies(), bodies);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_carries_the_token() {
    let wire = Wire::answering([done("RecordLifecycleActionHeartbeat")]);
    let beat = heartbeat(&wire.clients().autoscaling, &call()).await.unwrap();
    assert_eq!(beat, Beat::Accepted);
    let body = "Action=RecordLifecycleActionHeartbeat&Version=2011-01-01&LifecycleHookName=drain\
                &AutoScalingGroupName=web%20nodes&LifecycleActionToken=";
    assert_eq!(wire.bodies(), [format!("{body}{TOKEN}")]);
}

#[tokio::test(start_paused = true)]
async fn an_action_that_is_no_longer_active_is_an_answer_in_either_letter_case() {
    let messages = [
        format!("No active Lifecycle Action found with token {TOKEN}"),
        format!("no active lifecycle action found with token {TOKEN}"),
        "No active Lifecycle Action found with instance ID i-0aaa1111bbb22222c".to_owned(),
    ];
    for message in messages {
        let refused = || query_error(400, "ValidationError", &message);
        let wire = Wire::answering([refused(), refused()]);
        let client = wire.clients().autoscaling;
        let completed = complete(&client, &call(), HookResult::Continue).await.unwrap();
        assert_eq!(completed, Completed::NotActive, "{message}");
        assert_eq!(heartbeat(&client, &call()).await.unwrap(), Beat::NotActive, "{message}");
        assert_eq!(wire.sent().len(), 2, "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_refusals_of_an_answer_are_errors_and_do_not_show_the_token() {
    let rows = [
        (
            400,
            "ValidationError",
            format!("Value '{TOKEN}' failed to satisfy constraint"),
            Class::Final,
        ),
        (400, "Throttling", "Rate exceeded".to_owned(), Class::Throttled(None)),
        (500, "ResourceContention", "You already have a pending update".to_owned(), Class::Again),
        (403, "AccessDenied", "User: arn:aws:sts::1:x is not authorized".to_owned(), Class::Denied),
        (403, "ExpiredToken", "The security token is expired".to_owned(), Class::Denied),
        (400, "Nonsense", "No active Lifecycle Action found".to_owned(), Class::Final),
    ];
    for (status, code, message, class) in rows {
        let wire = Wire::answering([query_error(status, code, &message)]);
        let client = wire.clients().autoscaling;
        let error = complete(&client, &call(), HookResult::Continue).await.unwrap_err();
        assert_eq!(error.class(), class, "{code}");
        let refusal = error.refusal().unwrap();
        assert_eq!((refusal.status, refusal.code.as_str()), (status, code));
        let why = error.why();
        assert!(why.starts_with("complete lifecycle action of web nodes hook drain: "), "{why}");
        assert!(!why.contains(TOKEN) && !format!("{error:?}").contains(TOKEN), "{why}");
        assert_eq!(wire.sent().len(), 1, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_as_documented_is_an_error() {
    let hook = |transition: &str| {
        format!(
            "<DescribeLifecycleHooksResponse><DescribeLifecycleHooksResult><LifecycleHooks><member>\
             <LifecycleHookName>drain</LifecycleHookName>{transition}</member></LifecycleHooks>\
             </DescribeLifecycleHooksResult></DescribeLifecycleHooksResponse>"
        )
    };
    let unknown = "<LifecycleTransition>autoscaling:EC2_INSTANCE_DREAMING</LifecycleTransition>";
    let rows = [
        (hook(""), "the answer has no LifecycleTransition"),
        (hook(unknown), "unknown LifecycleTransition `autoscaling:EC2_INSTANCE_DREAMING`"),
        ("<html>a proxy's page".to_owned(), "the answer does not parse"),
    ];
    for (body, words) in rows {
        let wire = Wire::answering([Answer::Of(200, body)]);
        let error = hooks(&wire.clients().autoscaling, &asg("web")).await.unwrap_err();
        assert!(error.why().contains(words), "{}", error.why());
        assert_eq!(error.class(), Class::Final, "{words}");
        assert_eq!(wire.sent().len(), 1, "{words}");
    }
}
