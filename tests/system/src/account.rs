//! The account: groups of Spot instances with hooks, a queue for each function, rules that feed them, and who may into
//! the cluster.

use crate::binary::FUNCTIONS;
use cluster_tests::FakeNode;
use sandbox::World;
use sandbox::aws::autoscaling::{
    AsgSpec, Autoscaling, HookSpec, Notification, Transition, Verdict,
};
use sandbox::aws::ec2::Purchase;
use sandbox::aws::eks::Eks;
use sandbox::aws::elbv2::{Elb, Kind, TargetGroupSpec};
use sandbox::aws::events::EventBridge;
use sandbox::aws::sqs::{QueueSpec, Sqs};

/// The cluster's name.
pub const CLUSTER: &str = "shop";
/// The hook of every group on the way out.
pub const TERMINATE_HOOK: &str = "ebbtide-terminate";
/// The hook of every group on the way in.
pub const LAUNCH_HOOK: &str = "ebbtide-launch";
/// What can never work.
pub const DEAD_LETTER_QUEUE: &str = "ebbtide-dead";
/// The queues of the functions, in the order of their names.
pub const QUEUES: [&str; 2] = ["ebbtide-interruption", "ebbtide-lifecycle"];

/// Where nodes are.
pub const ZONE: &str = "eu-central-1a";
/// The port behind which nodes are targets.
pub(crate) const NODE_PORT: u16 = 30_080;
/// How long instances have been running.
const RUNNING_MS: i64 = 3_600_000;
/// Six times the functions' timeout, as AWS recommends.
const VISIBILITY_SECONDS: i64 = 90;

const INTERRUPTIONS: [&str; 7] = [
    "AWS Health Event",
    "Capacity Block Expiration Warning",
    "Capacity Block Reservation Expiration Warning",
    "EC2 Capacity Reservation Instance Interruption Warning",
    "EC2 Instance Rebalance Recommendation",
    "EC2 Instance State-change Notification",
    "EC2 Spot Instance Interruption Warning",
];
const LIFECYCLE: [&str; 2] =
    ["EC2 Instance-launch Lifecycle Action", "EC2 Instance-terminate Lifecycle Action"];

/// An instance and its node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Machine {
    /// `i-0123456789abcdef0`
    pub instance: String,
    /// The node's name: the instance's private DNS name.
    pub node: String,
    /// The value of the node's label `pool`: its Auto Scaling group.
    pub group: String,
}

impl Machine {
    /// As the control plane's fakes know it, with so many images.
    pub(crate) fn fake(&self, images: usize) -> FakeNode {
        let (name, instance, pool) = (&self.node, &self.instance, &self.group);
        FakeNode {
            name: name.clone(),
            instance: instance.clone(),
            zone: ZONE.to_owned(),
            pool: pool.clone(),
            images,
        }
    }
}

/// Who may act for a group's instances.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Care {
    /// All functions: it has the tag that says so.
    Tagged,
    /// Those functions that name it.
    Named,
}

/// Who registers a group's instances in its target group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Registered {
    /// Auto Scaling, which also takes them out before their hook begins.
    Attached,
    /// Nobody: it is named in a function's settings.
    Named,
}

/// An Auto Scaling group with a target group of the same name.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Who acts for it.
    pub care: Care,
    /// Who registers its instances.
    pub registered: Registered,
    /// Where its hooks' notifications go, besides EventBridge.
    pub notification: Notification,
    /// How many images its nodes say they have.
    pub images: usize,
}

impl Group {
    /// As all functions expect it.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            care: Care::Tagged,
            registered: Registered::Attached,
            notification: Notification::EventBridge,
            images: 0,
        }
    }
}

/// Queues of both functions, and the rules that feed them.
pub(crate) fn set(world: &mut World) {
    add_queue(world, DEAD_LETTER_QUEUE, None);
    for (queue, titles) in QUEUES.into_iter().zip([&INTERRUPTIONS[..], &LIFECYCLE[..]]) {
        add_queue(world, queue, Some(DEAD_LETTER_QUEUE));
        EventBridge::add_rule(world, queue, titles);
    }
    // Nobody serves at the nodes' ports here; who looks is told that somebody does.
    world.aws.elb.probe = |_, _, _| true;
}

/// Adds a queue, behind which what fails for ever goes into another one.
pub(crate) fn add_queue(world: &mut World, name: &str, dead_letter: Option<&str>) {
    let (name, dead_letter) = (name.to_owned(), dead_letter.map(str::to_owned));
    let visibility_seconds = VISIBILITY_SECONDS;
    Sqs::add_queue(
        world,
        QueueSpec { name, visibility_seconds, dead_letter, ..QueueSpec::default() },
    );
}

/// Adds an empty group, and returns the ARN of its target group.
pub(crate) fn add_group(world: &mut World, group: &Group) -> String {
    let Group { name, care, registered, notification, .. } = group;
    let targets = TargetGroupSpec {
        name: name.clone(),
        kind: Kind::Alb,
        port: NODE_PORT,
        // So that the group's own deregistration holds nobody up.
        deregistration_delay_seconds: 1,
        ..TargetGroupSpec::default()
    };
    let arn = Elb::add_target_group(world, targets);
    let mut tags = vec![("kubernetes.io/cluster/shop", "owned")];
    if *care == Care::Tagged {
        tags.push(("ebbtide.dev/managed", "true"));
    }
    let hook = |name: &str, transition: Transition| HookSpec {
        name: name.to_owned(),
        transition,
        heartbeat_seconds: 300,
        default_result: Verdict::Continue,
        notification: notification.clone(),
        ..HookSpec::default()
    };
    let hooks = vec![
        hook(TERMINATE_HOOK, Transition::Terminating),
        hook(LAUNCH_HOOK, Transition::Launching),
    ];
    let spec = AsgSpec {
        name: name.clone(),
        tags: tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        target_groups: (*registered == Registered::Attached)
            .then(|| arn.clone())
            .into_iter()
            .collect(),
        hooks,
        purchase: Purchase::Spot,
        // A replacement would have no node in the real cluster.
        suspended: true,
        ..AsgSpec::default()
    };
    Autoscaling::add_group(world, spec);
    arn
}

/// Tells EKS where the cluster is.
pub(crate) fn set_cluster(world: &mut World, endpoint: &str, authority: &str) {
    Eks::add(world, CLUSTER, endpoint, authority);
}

/// Lets the roles of both functions into the cluster, as one group there.
pub(crate) fn let_in(world: &mut World, kubernetes_group: &str) {
    for role in FUNCTIONS {
        Eks::add_access_entry(world, CLUSTER, role, &[kubernetes_group]);
    }
}

/// Adds instances of these numbers to a group, which are healthy targets of its target group.
pub(crate) fn add_machines(
    world: &mut World,
    numbers: std::ops::Range<u32>,
    group: &str,
) -> Vec<Machine> {
    let mut machines = Vec::new();
    let arn = Elb::arn(world, group);
    for number in numbers {
        let instance = format!("i-{number:017x}");
        Autoscaling::add_instance(world, group, &instance, ZONE);
        let Some(known) = world.aws.ec2.instances.get_mut(&instance) else { continue };
        known.purchase = Purchase::Spot;
        // What is said of an instance in the second of its launch is about an earlier one.
        known.launched_at -= RUNNING_MS;
        let node = known.private_dns.clone();
        Elb::add_healthy(world, &arn, &instance, NODE_PORT);
        machines.push(Machine { instance, node, group: group.to_owned() });
    }
    machines
}
