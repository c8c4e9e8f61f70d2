//! The account does what AWS does: one world, no wire, no runtime.

mod budgets;
mod changes;
mod events;
mod hooks;
mod instances;
mod interruptions;
mod put_events;
mod queues;
mod rebalancing;
mod sdk;
mod targets;
mod ways;

use sandbox::aws::autoscaling::{AsgSpec, Autoscaling, HookSpec, LifecycleState, Transition};
use sandbox::aws::elbv2::{Elb, TargetGroupSpec};
use sandbox::aws::events::EventBridge;
use sandbox::aws::sqs::{QueueSpec, Sqs};
use sandbox::aws::{Request, serve};
use sandbox::{Millis, Sandbox, World};
use serde_json::Value;

/// 2026-11-22T12:00:00Z
const START: Millis = 1_795_348_800_000;

/// What a call was answered with.
#[derive(Debug)]
struct Answered {
    status: u16,
    body: String,
    headers: Vec<(&'static str, String)>,
}

impl Answered {
    /// The texts of all elements of this name.
    fn all(&self, tag: &str) -> Vec<&str> {
        let open = format!("<{tag}>");
        self.body
            .split(&open)
            .skip(1)
            .filter_map(|rest| rest.split(&format!("</{tag}>")).next())
            .collect()
    }

    fn one(&self, tag: &str) -> &str {
        let all = self.all(tag);
        assert_eq!(all.len(), 1, "one <{tag}> in {}", self.body);
        all[0]
    }

    #[track_caller]
    fn refused(&self, status: u16, code: &str, message: &str) {
        assert_eq!((self.status, self.one("Code"), self.one("Message")), (status, code, message));
    }
}

/// A call with a form: to Auto Scaling, ELBv2 or EC2.
fn call(world: &mut World, service: &str, action: &str, form: &[(&str, &str)]) -> Answered {
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.append_pair("Action", action).extend_pairs(form);
    let request = Request {
        host: format!("{service}.eu-central-1.amazonaws.com"),
        path: "/".to_owned(),
        method: "POST".to_owned(),
        body: body.finish().into_bytes(),
        ..Request::default()
    };
    answered(world, &request)
}

/// A call with JSON, to SQS.
fn call_sqs(world: &mut World, action: &str, body: &Value) -> Answered {
    let mut request = Request {
        host: "sqs.eu-central-1.amazonaws.com".to_owned(),
        body: body.to_string().into_bytes(),
        ..Request::default()
    };
    request.headers.insert("x-amz-target".to_owned(), format!("AmazonSQS.{action}"));
    answered(world, &request)
}

/// All bodies that reached the queue, which is empty then.
fn bodies(world: &mut World) -> Vec<Value> {
    let messages = Sqs::receive(world, "signals", 100);
    for message in &messages {
        assert!(Sqs::delete(world, "signals", &message.receipt));
    }
    messages.iter().map(|message| serde_json::from_str(&message.body).expect("JSON")).collect()
}

fn answered(world: &mut World, request: &Request) -> Answered {
    let response = serve(world, 7, request);
    let body = String::from_utf8(response.body).expect("text");
    Answered { status: response.status, body, headers: response.headers }
}

/// A world with the group `nodes` of three instances, all targets of an attached group, and one queue.
fn with_nodes<R>(hooks: Vec<HookSpec>, test: impl FnOnce(&mut World, &str) -> R) -> R {
    let sandbox = Sandbox::new(1, START);
    let mut world = sandbox.world();
    let world = &mut *world;
    Sqs::add_queue(world, QueueSpec { name: "signals".to_owned(), ..QueueSpec::default() });
    EventBridge::add_rule(world, "signals", &[]);
    let web = TargetGroupSpec { name: "web".to_owned(), ..TargetGroupSpec::default() };
    let arn = Elb::add_target_group(world, web);
    let spec = AsgSpec {
        name: "nodes".to_owned(),
        desired: 3,
        target_groups: vec![arn.clone()],
        hooks,
        ..AsgSpec::default()
    };
    Autoscaling::add_group(world, spec);
    for id in ["i-1", "i-2", "i-3"] {
        Autoscaling::add_instance(world, "nodes", id, "eu-central-1a");
        Elb::add_healthy(world, &arn, id, 30_080);
    }
    test(world, &arn)
}

fn terminate_hook() -> HookSpec {
    HookSpec { name: "bye".to_owned(), ..HookSpec::default() }
}

fn launch_hook() -> HookSpec {
    HookSpec { name: "hello".to_owned(), transition: Transition::Launching, ..HookSpec::default() }
}

fn after(world: &mut World, seconds: i64) {
    let to = world.now + seconds * 1_000;
    world.advance(to);
}

/// Lets time pass until an instance is in a state, for at most an hour.
#[track_caller]
fn until(world: &mut World, instance: &str, state: LifecycleState) {
    for _ in 0..3_600 {
        if world.aws.autoscaling.state(instance) == Some(state) {
            return;
        }
        after(world, 1);
    }
    panic!("{instance} is {:?}, not {state:?}", world.aws.autoscaling.state(instance));
}

/// The token of the one action that waits for an instance.
#[track_caller]
fn token(world: &World, instance: &str) -> String {
    let waiting: Vec<_> = world.aws.autoscaling.waiting(instance).collect();
    assert_eq!(waiting.len(), 1, "one action waits");
    waiting[0].token.clone()
}

/// Completes by token.
fn complete(world: &mut World, hook: &str, token: &str, result: &str) -> Answered {
    let form = [
        ("LifecycleHookName", hook),
        ("AutoScalingGroupName", "nodes"),
        ("LifecycleActionToken", token),
        ("LifecycleActionResult", result),
    ];
    call(world, "autoscaling", "CompleteLifecycleAction", &form)
}
