//! The real SDK clients parse what the account answers, over the wire of the sandbox.

use super::{START, launch_hook, terminate_hook};
use aws_credential_types::Credentials;
use aws_sdk_autoscaling::types::LifecycleState;
use aws_sdk_elasticloadbalancingv2::types::{TargetDescription, TargetHealthStateEnum};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use sandbox::Sandbox;
use sandbox::aws::autoscaling::{AsgSpec, Autoscaling, Capacity};
use sandbox::aws::elbv2::{Elb, TargetGroupSpec};
use sandbox::aws::sqs::{QueueSpec, Sqs};
use std::collections::BTreeMap;
use std::fmt;

/// The configuration of one client, with the sandbox as its HTTP client.
macro_rules! client {
    ($sdk:ident, $sandbox:expr) => {
        $sdk::Client::from_conf(
            $sdk::Config::builder()
                .behavior_version($sdk::config::BehaviorVersion::latest())
                .region($sdk::config::Region::new("eu-central-1"))
                .credentials_provider(Credentials::new("AKID", "SECRET", None, None, "test"))
                .retry_config($sdk::config::retry::RetryConfig::disabled())
                .timeout_config($sdk::config::timeout::TimeoutConfig::disabled())
                .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
                .http_client($sandbox.aws(1))
                .build(),
        )
    };
}

/// A world with one node of three, attached to a group, that is on its way out.
fn sandbox() -> (Sandbox, String) {
    let sandbox = Sandbox::new(5, START);
    let arn = {
        let world = &mut *sandbox.world();
        let web = TargetGroupSpec {
            name: "web".to_owned(),
            deregistration_delay_seconds: 10,
            ..TargetGroupSpec::default()
        };
        let arn = Elb::add_target_group(world, web);
        let spec = AsgSpec {
            name: "nodes".to_owned(),
            tags: BTreeMap::from([("ebbtide.dev/managed".to_owned(), "a & b".to_owned())]),
            target_groups: vec![arn.clone()],
            hooks: vec![terminate_hook(), launch_hook()],
            ..AsgSpec::default()
        };
        Autoscaling::add_group(world, spec);
        for id in ["i-1", "i-2", "i-3"] {
            Autoscaling::add_instance(world, "nodes", id, "eu-central-1a");
            Elb::add_healthy(world, &arn, id, 30_080);
        }
        Autoscaling::terminate(world, "i-1", Capacity::Decrement);
        arn
    };
    (sandbox, arn)
}

/// The code and message of a service's refusal.
#[track_caller]
fn refusal<E: ProvideErrorMetadata + fmt::Debug, R>(error: &SdkError<E, R>) -> (String, String) {
    let error = error.as_service_error().expect("the service refused");
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    (text(error.code()), text(error.message()))
}

#[tokio::test(start_paused = true)]
async fn auto_scaling() {
    let (sandbox, arn) = sandbox();
    let client = client!(aws_sdk_autoscaling, sandbox);
    let ask = client.describe_auto_scaling_instances().instance_ids("i-1").instance_ids("i-9");
    let found = ask.send().await.expect("described");
    let found = found.auto_scaling_instances();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].instance_id(), Some("i-1"));
    assert_eq!(found[0].lifecycle_state(), Some("Terminating"));

    let groups = client.describe_auto_scaling_groups().auto_scaling_group_names("nodes");
    let groups = groups.send().await.expect("described");
    let group = &groups.auto_scaling_groups()[0];
    assert_eq!(group.target_group_arns(), [arn]);
    assert_eq!(group.tags()[0].value(), Some("a & b"));
    let states: Vec<_> =
        group.instances().iter().filter_map(|instance| instance.lifecycle_state()).collect();
    let in_service = &LifecycleState::InService;
    assert_eq!(states, [&LifecycleState::Terminating, in_service, in_service]);
    assert_eq!(group.created_time().map(|time| time.secs()), Some(START / 1_000));

    let hooks = client.describe_lifecycle_hooks().auto_scaling_group_name("nodes");
    let hooks = hooks.send().await.expect("described");
    assert_eq!(hooks.lifecycle_hooks()[0].global_timeout(), Some(172_800));

    sandbox.run_until(START + 11_000).await;
    let token = sandbox.world().aws.autoscaling.actions[0].token.clone();
    let beat = client.record_lifecycle_action_heartbeat().lifecycle_hook_name("bye");
    let beat = beat.auto_scaling_group_name("nodes").lifecycle_action_token(&token);
    beat.send().await.expect("still active");
    let complete = client.complete_lifecycle_action().lifecycle_hook_name("bye");
    let complete = complete.auto_scaling_group_name("nodes").lifecycle_action_token(&token);
    let complete = complete.lifecycle_action_result("CONTINUE");
    complete.clone().send().await.expect("active");
    let error = complete.send().await.expect_err("answered already");
    let message = format!("No active Lifecycle Action found with token {token}");
    assert_eq!(refusal(&error), ("ValidationError".to_owned(), message));
}

#[tokio::test(start_paused = true)]
async fn load_balancing() {
    let (sandbox, arn) = sandbox();
    let client = client!(aws_sdk_elasticloadbalancingv2, sandbox);
    let health = client.describe_target_health().target_group_arn(&arn);
    let described = health.clone().send().await.expect("described");
    let states: Vec<_> = described
        .target_health_descriptions()
        .iter()
        .filter_map(|target| target.target_health()?.state())
        .collect();
    let healthy = &TargetHealthStateEnum::Healthy;
    assert_eq!(states, [&TargetHealthStateEnum::Draining, healthy, healthy]);

    let target = TargetDescription::builder().id("i-2").port(30_080).build();
    let deregister = client.deregister_targets().target_group_arn(&arn).targets(target.clone());
    deregister.send().await.expect("deregistered");
    let described = health.targets(target.clone()).send().await.expect("described");
    let described = described.target_health_descriptions();
    assert_eq!(described.len(), 1);
    let why = described[0].target_health().and_then(|health| health.reason());
    assert_eq!(why.map(|why| why.as_str()), Some("Target.DeregistrationInProgress"));
    let register = client.register_targets().target_group_arn(&arn).targets(target);
    register.send().await.expect("registered");

    let attributes = client.describe_target_group_attributes().target_group_arn(&arn);
    let attributes = attributes.send().await.expect("described");
    let delay = attributes
        .attributes()
        .iter()
        .find(|attribute| attribute.key() == Some("deregistration_delay.timeout_seconds"));
    assert_eq!(delay.and_then(|delay| delay.value()), Some("10"));
    let groups = client.describe_target_groups().send().await.expect("described");
    assert_eq!(groups.target_groups()[0].health_check_interval_seconds(), Some(30));

    let unknown = client.describe_target_health().target_group_arn("arn:none").send().await;
    let error = unknown.expect_err("there is none");
    assert!(error.as_service_error().is_some_and(|e| e.is_target_group_not_found_exception()));
}

#[tokio::test(start_paused = true)]
async fn queues() {
    let (sandbox, _) = sandbox();
    let (url, receipt) = {
        let world = &mut *sandbox.world();
        Sqs::add_queue(world, QueueSpec { name: "q".to_owned(), ..QueueSpec::default() });
        Sqs::send(world, "q", "body");
        (Sqs::url(world, "q"), Sqs::receive(world, "q", 1).remove(0).receipt)
    };
    let client = client!(aws_sdk_sqs, sandbox);
    let found = client.get_queue_url().queue_name("q").send().await.expect("found");
    assert_eq!(found.queue_url(), Some(url.as_str()));
    let sent = client.send_message().queue_url(&url).message_body("another").send().await;
    assert!(sent.expect("sent").message_id().is_some());
    let change = client.change_message_visibility().queue_url(&url).receipt_handle(&receipt);
    change.clone().visibility_timeout(3).send().await.expect("in flight");
    sandbox.run_until(START + 4_000).await;
    let error = change.visibility_timeout(3).send().await.expect_err("visible again");
    assert!(error.as_service_error().is_some_and(|e| e.is_message_not_inflight()), "{error:?}");
    let received = client.receive_message().queue_url(&url).max_number_of_messages(10);
    let received = received.send().await.expect("received");
    assert_eq!(received.messages().len(), 2);
    let missing = client.get_queue_url().queue_name("none").send().await.expect_err("missing");
    assert!(missing.as_service_error().is_some_and(|e| e.is_queue_does_not_exist()));
}
