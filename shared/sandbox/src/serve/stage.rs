//! A small account for clients from outside: a group with hooks, three instances, load balancers, queues, a cluster.
//!
//! One instance is held by its terminate hook (a moment after the world begins to move), one was bought as Spot,
//! one has a retirement scheduled. It is what `sandbox-aws` serves, and what tests of real clients begin with.

use crate::aws::autoscaling::{AsgSpec, Autoscaling, Capacity, HookSpec, Transition, Verdict};
use crate::aws::ec2::Purchase;
use crate::aws::eks::Eks;
use crate::aws::elbv2::{Elb, Kind, TargetGroupSpec};
use crate::aws::events::EventBridge;
use crate::aws::health::{Change, Health, Maintenance};
use crate::aws::sqs::{QueueSpec, Sqs};
use crate::world::World;
use std::collections::BTreeMap;

/// The Auto Scaling group.
pub const GROUP: &str = "workers";
/// The hook that holds instances on their way out.
pub const TERMINATE_HOOK: &str = "ebbtide";
/// The hook that holds instances on their way in.
pub const LAUNCH_HOOK: &str = "ebbtide-launch";
/// The cluster, which is the first one's name in a group's tags.
pub const CLUSTER: &str = "demo";
/// The queue that lifecycle events reach.
pub const QUEUE: &str = "ebbtide-lifecycle";
/// What can never work.
pub const DEAD_LETTER_QUEUE: &str = "ebbtide-dead";
/// The instance that is on its way out.
pub const LEAVING: &str = "i-0a1b2c3d4e5f60001";
/// The one that was bought as Spot.
pub const SPOT: &str = "i-0a1b2c3d4e5f60002";
/// The one whose retirement is scheduled.
pub const RETIRING: &str = "i-0a1b2c3d4e5f60003";
/// Capacity that the Spot instance is said to run in.
pub const RESERVATION: &str = "cr-0a1b2c3d4e5f60001";
/// Where nobody listens: connections are refused at once.
const ENDPOINT: &str = "https://127.0.0.1:9";
/// "a certificate" in base64: enough for whoever only reads it.
const AUTHORITY: &str = "YSBjZXJ0aWZpY2F0ZQ==";
/// In an hour; no session of a test is that long.
const RETIRES_IN_MS: i64 = 3_600_000;

/// What has an ARN or a URL.
#[derive(Clone, Debug)]
pub struct Stage {
    /// An ALB's target group, which is not attached to the group, by ARN.
    pub web: String,
    /// An NLB's, which is attached.
    pub tcp: String,
    /// The queue's URL.
    pub queue_url: String,
    /// The dead-letter queue's URL.
    pub dead_letter_url: String,
}

impl Stage {
    /// Sets the account up in an empty world.
    pub fn set(world: &mut World) -> Self {
        queues(world);
        let group = |name: &str, kind| TargetGroupSpec {
            name: name.to_owned(),
            kind,
            // So that the group's own deregistration holds nobody up.
            deregistration_delay_seconds: 1,
            ..TargetGroupSpec::default()
        };
        let web = Elb::add_target_group(world, group("web", Kind::Alb));
        let tcp = Elb::add_target_group(world, group("tcp", Kind::Nlb));
        let tags = [
            ("ebbtide.dev/managed", "true"),
            ("kubernetes.io/cluster/demo", "owned"),
            ("team", "a & b <c>"),
        ];
        let spec = AsgSpec {
            name: GROUP.to_owned(),
            desired: 3,
            tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            target_groups: vec![tcp.clone()],
            hooks: vec![terminate_hook(), launch_hook()],
            ..AsgSpec::default()
        };
        Autoscaling::add_group(world, spec);
        for (id, zone) in [(LEAVING, "a"), (SPOT, "b"), (RETIRING, "a")] {
            Autoscaling::add_instance(world, GROUP, id, &format!("eu-central-1{zone}"));
            for arn in [&web, &tcp] {
                Elb::add_healthy(world, arn, id, 30_080);
            }
        }
        if let Some(spot) = world.aws.ec2.instances.get_mut(SPOT) {
            spot.purchase = Purchase::Spot;
            spot.capacity_reservation = Some(RESERVATION.to_owned());
            spot.tags = BTreeMap::from([("Name".to_owned(), "\"spot\" & more".to_owned())]);
        }
        let retires_at = world.now + RETIRES_IN_MS;
        Health::schedule(world, Change::new(Maintenance::Retirement, RETIRING, retires_at));
        Eks::add(world, CLUSTER, ENDPOINT, AUTHORITY);
        Autoscaling::terminate(world, LEAVING, Capacity::Decrement);
        let (queue_url, dead_letter_url) =
            (Sqs::url(world, QUEUE), Sqs::url(world, DEAD_LETTER_QUEUE));
        Self { web, tcp, queue_url, dead_letter_url }
    }
}

/// The token of the action that holds an instance, once its load balancers have let go of it.
pub fn token(world: &World, instance: &str) -> Option<String> {
    world.aws.autoscaling.waiting(instance).next().map(|action| action.token.clone())
}

fn queues(world: &mut World) {
    let dead = QueueSpec { name: DEAD_LETTER_QUEUE.to_owned(), ..QueueSpec::default() };
    Sqs::add_queue(world, dead);
    let queue = QueueSpec {
        name: QUEUE.to_owned(),
        visibility_seconds: 90,
        dead_letter: Some(DEAD_LETTER_QUEUE.to_owned()),
        ..QueueSpec::default()
    };
    Sqs::add_queue(world, queue);
    let lifecycle = "EC2 Instance-terminate Lifecycle Action";
    EventBridge::add_rule(world, QUEUE, &[lifecycle]);
}

fn terminate_hook() -> HookSpec {
    HookSpec {
        name: TERMINATE_HOOK.to_owned(),
        metadata: Some(r#"{"ebbtide":{}}"#.to_owned()),
        default_result: Verdict::Continue,
        ..HookSpec::default()
    }
}

fn launch_hook() -> HookSpec {
    HookSpec {
        name: LAUNCH_HOOK.to_owned(),
        transition: Transition::Launching,
        heartbeat_seconds: 600,
        ..HookSpec::default()
    }
}
