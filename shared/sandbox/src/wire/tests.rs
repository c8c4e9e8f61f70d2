//! The real clients against the faults of both wires.

use super::client::{PATIENCE, autoscaling, elb, sqs};
use crate::aws::elbv2::{Elb, TargetGroupSpec};
use crate::aws::sqs::{QueueSpec, Sqs};
use crate::fault::{Fault, Scope, Script, Window};
use crate::world::{Millis, Sandbox};
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, WatchEvent, WatchParams};

const QUEUE: &str = "lifecycle";

fn sandbox(script: Option<(&str, Fault)>) -> Sandbox {
    let sandbox = Sandbox::new(5, 1_000_000_000_000);
    let mut world = sandbox.world();
    Sqs::add_queue(&mut world, QueueSpec { name: QUEUE.to_owned(), ..QueueSpec::default() });
    world.faults.scripts = script
        .into_iter()
        .map(|(part, fault)| Script::new(Scope::operation(part), 1, fault))
        .collect();
    drop(world);
    sandbox
}

async fn send(
    sandbox: &Sandbox,
) -> Result<(), SdkError<aws_sdk_sqs::operation::send_message::SendMessageError>> {
    let url = Sqs::url(&sandbox.world(), QUEUE);
    sqs(sandbox, 7).send_message().queue_url(url).message_body("hello").send().await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn each_fault_falls_on_its_side_of_the_effect() {
    let rows = [
        (None, true, 200, true),
        (Some(Fault::Slow), true, 200, true),
        (Some(Fault::Stale), true, 200, true),
        (Some(Fault::Throttled), false, 400, false),
        (Some(Fault::ServerError), false, 500, false),
        (Some(Fault::TimedOutBefore), false, 0, false),
        (Some(Fault::ResetBefore), false, 0, false),
        (Some(Fault::TimedOutAfter), false, 0, true),
        (Some(Fault::ResetAfter), false, 0, true),
    ];
    for (fault, answered, status, effect) in rows {
        let sandbox = sandbox(fault.map(|fault| ("SendMessage", fault)));
        let outcome = send(&sandbox).await;
        let slow = fault == Some(Fault::Slow);
        assert!(outcome.is_ok() == answered || slow, "{fault:?}: {outcome:?}");
        assert_eq!(sandbox.world().aws.sqs.depth(QUEUE) == 1, effect, "{fault:?}");
        let calls = sandbox.calls_of(7);
        assert_eq!(calls.len(), 1, "{fault:?}: {calls:?}");
        assert!(calls[0].status == status || slow, "{fault:?}: {calls:?}");
        assert_eq!((&*calls[0].operation, calls[0].write), ("sqs:SendMessage", true), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_ends_with_the_clients_own_timeout() {
    let sandbox = sandbox(Some(("SendMessage", Fault::TimedOutAfter)));
    let started = sandbox.now();
    let error = send(&sandbox).await.unwrap_err();
    assert!(matches!(error, SdkError::TimeoutError(_)), "{error:?}");
    assert_eq!(sandbox.now() - started, Millis::try_from(PATIENCE.as_millis()).unwrap());
}

#[tokio::test(start_paused = true)]
async fn each_service_throttles_with_its_own_code() {
    let sandbox = sandbox(None);
    sandbox.world().faults.chances =
        vec![crate::fault::Chance { scope: Scope::Aws, fault: Fault::Throttled, per_mille: 1_000 }];
    let scaling = autoscaling(&sandbox, 1).describe_auto_scaling_groups().send().await.unwrap_err();
    assert_eq!(scaling.code(), Some("Throttling"));
    let elb = elb(&sandbox, 1).describe_target_groups().send().await.unwrap_err();
    assert_eq!(elb.code(), Some("ThrottlingException"));
    let sqs = send(&sandbox).await.unwrap_err();
    assert_eq!(sqs.code(), Some("RequestThrottled"));
    assert_eq!(sandbox.world().aws.sqs.depth(QUEUE), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_shows_what_was_true_up_to_a_second_ago() {
    let sandbox = sandbox(Some(("DescribeTargetHealth", Fault::Stale)));
    let arn = {
        let mut world = sandbox.world();
        crate::aws::ec2::Ec2::add(&mut world, "i-1", "eu-central-1a");
        let targets = vec!["i-1".to_owned()];
        let spec =
            TargetGroupSpec { name: "web".to_owned(), targets, ..TargetGroupSpec::default() };
        Elb::add_target_group(&mut world, spec)
    };
    let client = elb(&sandbox, 1);
    sandbox.run_until(sandbox.now() + 5_000).await;
    let target =
        aws_sdk_elasticloadbalancingv2::types::TargetDescription::builder().id("i-1").build();
    client.deregister_targets().target_group_arn(&arn).targets(target).send().await.unwrap();
    let mut states = Vec::new();
    for _ in 0..2 {
        let health = client.describe_target_health().target_group_arn(&arn).send().await.unwrap();
        let health = health.target_health_descriptions()[0].target_health().unwrap();
        states.push(health.state().unwrap().as_str().to_owned());
    }
    assert_eq!(states, ["healthy", "draining"]);
}

fn client(sandbox: &Sandbox) -> kube::Client {
    kube::Client::new(sandbox.kubernetes(3), "default")
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_api_server_refuses_in_plain_text_and_a_failing_one_with_a_status() {
    let sandbox = sandbox(Some(("nodes", Fault::Throttled)));
    let nodes: Api<Node> = Api::all(client(&sandbox));
    let kube::Error::Api(status) = nodes.get("n").await.unwrap_err() else { panic!("no status") };
    assert_eq!((status.code, status.details.is_none()), (429, true), "{status:?}");

    sandbox.world().faults.scripts = vec![Script::new(Scope::Kubernetes, 1, Fault::ServerError)];
    let kube::Error::Api(status) = nodes.get("n").await.unwrap_err() else { panic!("no status") };
    assert_eq!((status.code, &*status.reason), (500, "InternalError"));
    let statuses: Vec<u16> = sandbox.calls_of(3).iter().map(|call| call.status).collect();
    assert_eq!(statuses, [429, 500]);
    assert!(sandbox.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_api_server_resets_open_watches_too() {
    let sandbox = sandbox(None);
    let start = sandbox.now();
    let window = |from, to| Window {
        scope: Scope::Kubernetes,
        from: start + from,
        to: start + to,
        fault: Fault::ResetBefore,
    };
    sandbox.world().faults.windows = vec![window(5_000, 9_000)];
    let nodes: Api<Node> = Api::all(client(&sandbox));
    let watch = nodes.watch(&WatchParams::default().timeout(60), "0").await.unwrap();
    let events: Vec<Result<WatchEvent<Node>, kube::Error>> =
        futures_util::StreamExt::collect(watch).await;
    assert!(events.last().unwrap().is_err(), "{events:?}");
    assert!((4_900..5_200).contains(&(sandbox.now() - start)), "{}", sandbox.now() - start);
    assert!(nodes.get("n").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_ends_at_its_timeout() {
    let sandbox = sandbox(None);
    let start = sandbox.now();
    let nodes: Api<Node> = Api::all(client(&sandbox));
    let watch = nodes.watch(&WatchParams::default().timeout(10), "0").await.unwrap();
    let events: Vec<_> = futures_util::StreamExt::collect(watch).await;
    assert!(events.is_empty(), "{events:?}");
    assert!((10_000..10_100).contains(&(sandbox.now() - start)));
}
