//! Ready-made worlds: a small one for the demo and the tests, and one from a seed with everything varied.
//!
//! ```text
//!   ALB ─> target group web (attached to the ASG) ─┐                    ┌─> Deployment web
//!                                                  ├─> ASG workers ─────┼─> Deployment api
//!   ALB ─> target group api (somebody else's) ─────┘   cluster demo     └─> DaemonSet, StatefulSet, …
//!   EventBridge ─> queue ebbtide-lifecycle, queue ebbtide-interruption ─> dead-letter queues
//! ```

mod incident;
#[cfg(test)]
mod naive;
mod random;
mod registrar;
mod storm;
#[cfg(test)]
mod tests;

pub use incident::{Incident, Planned};
pub use registrar::{Registrar, Who};
pub use storm::{SPOT_TAINT, STEADY_GROUP, Storm, Warning};

use crate::aws::autoscaling::{AsgSpec, Autoscaling, HookSpec, Transition, Verdict};
use crate::aws::eks::Eks;
use crate::aws::elbv2::{Elb, TargetGroupSpec};
use crate::aws::events::{BlockTitle, Delivery, EventBridge};
use crate::aws::sqs::{QueueSpec, Sqs};
use crate::fault::Faults;
use crate::kubernetes::{
    Budget, Kind, Kubernetes, NodeSpec, OtherParty, Policy, ServiceSpec, Taint, Workload,
    WorkloadKind,
};
use crate::lambda::{Environment, Function, Mapping, Trigger};
use crate::traffic::{Entry, Route, Traffic};
use crate::world::{Event, Millis, Sandbox, World};
use serde_json::json;

/// The cluster's name.
pub const CLUSTER: &str = "demo";
/// The Auto Scaling group's name.
pub const GROUP: &str = "workers";
/// The queue of lifecycle actions.
pub const LIFECYCLE_QUEUE: &str = "ebbtide-lifecycle";
/// The queue of EC2's events.
pub const INTERRUPTION_QUEUE: &str = "ebbtide-interruption";
/// Every world begins on 2026-11-22 at 10:00 UTC.
pub const START: Millis = 1_795_341_600_000;

const REGION: &str = "eu-west-1";
const NAMESPACE: &str = "default";
/// The functions' timeout.
const TIMEOUT_MS: Millis = 15_000;
/// The visibility timeout of the queues: six times that, as AWS recommends.
const VISIBILITY_SECONDS: i64 = 90;

/// What happens by itself because a scenario says so.
#[derive(Clone, Debug)]
pub enum ScenarioEvent {
    /// Something befalls an instance.
    Incident(Planned),
    /// Somebody who registers targets looks again.
    Registrar(usize),
    /// One instance of a storm is warned.
    Warning(Warning),
}

impl ScenarioEvent {
    pub(crate) fn happen(world: &mut World, event: Self) {
        match event {
            Self::Incident(planned) => planned.happen(world),
            Self::Registrar(index) => Registrar::tick(world, index),
            Self::Warning(warning) => warning.happen(world),
        }
    }
}

/// A node of the world to be.
#[derive(Clone, Debug)]
pub struct Host {
    /// The Availability Zone.
    pub zone: String,
    /// Taints of others.
    pub taints: Vec<Taint>,
    /// Whether somebody cordoned it before.
    pub cordoned: bool,
}

/// Who registers the instances in a target group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// The Auto Scaling group that it is attached to.
    Asg,
    /// A script on each instance, once, when its node is Ready.
    Script,
    /// The AWS Load Balancer Controller, by a TargetGroupBinding.
    Controller,
}

/// A target group with the Service behind it and the requests that come in.
#[derive(Clone, Debug)]
pub struct Front {
    /// The target group; its name is the Service's and the workload's.
    pub target_group: TargetGroupSpec,
    /// Who registers the instances.
    pub owner: Owner,
    /// How a request goes on from the node.
    pub entry: Entry,
    /// New requests per second.
    pub rate_per_second: f64,
    /// How long each takes.
    pub request_ms: Millis,
}

impl Front {
    /// An ALB's target group of 100 requests a second, of 200 ms each, through a node port.
    pub fn new(name: &str, port: u16, owner: Owner) -> Self {
        let target_group = TargetGroupSpec {
            name: name.to_owned(),
            port,
            health_check_interval_seconds: 10,
            healthy_threshold: 2,
            ..TargetGroupSpec::default()
        };
        let (entry, rate_per_second, request_ms) = (Entry::Cluster, 100.0, 200);
        Self { target_group, owner, entry, rate_per_second, request_ms }
    }
}

/// A world to be. Start from [`Scenario::small`] or [`Scenario::random`] and change what matters.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where the world's chances come from.
    pub seed: u64,
    /// The nodes.
    pub hosts: Vec<Host>,
    /// Owners with their pods; those named like a front are behind it.
    pub workloads: Vec<Workload>,
    /// The ways in.
    pub fronts: Vec<Front>,
    /// The hooks of the group.
    pub hooks: Vec<HookSpec>,
    /// How events arrive.
    pub delivery: Delivery,
    /// Another controller that writes to nodes.
    pub other_party: Option<OtherParty>,
    /// What goes wrong on the way.
    pub faults: Faults,
    /// What befalls which host (its index), and how long after the start.
    pub incidents: Vec<(Millis, usize, Incident)>,
    /// Messages in one invocation, at most.
    pub batch: usize,
    /// Invocations at once, at most.
    pub concurrency_max: usize,
}

/// A node that was there from the start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Machine {
    /// Its instance.
    pub instance: String,
    /// Its node.
    pub node: String,
    /// Its zone.
    pub zone: String,
}

/// A world that was made.
#[derive(Clone, Debug)]
pub struct Place {
    /// The world.
    pub sandbox: Sandbox,
    /// Its nodes.
    pub machines: Vec<Machine>,
    /// The fronts' target group ARNs, in their order.
    pub groups: Vec<String>,
}

impl Scenario {
    /// Four nodes over three zones, `web` behind an attached group, `api` behind one that is not, and
    /// one of each other kind of owner. Nothing goes wrong and nothing befalls anybody.
    pub fn small(seed: u64) -> Self {
        let web = Workload { pdb: Some(Budget::max_unavailable(1)), ..deployment("web", 4) };
        let agent = Workload::new(WorkloadKind::DaemonSet, "kube-system", "agent", 0);
        let db = Workload {
            volume: Some("gp3".to_owned()),
            pdb: Some(Budget::max_unavailable(1)),
            ..Workload::new(WorkloadKind::StatefulSet, NAMESPACE, "db", 2)
        };
        Self {
            seed,
            hosts: ["a", "b", "c", "a"].map(Host::in_zone).into(),
            workloads: vec![web, deployment("api", 3), agent, db],
            fronts: vec![
                Front::new("web", 30_080, Owner::Asg),
                Front::new("api", 30_081, Owner::Script),
            ],
            hooks: hooks(300).into(),
            delivery: Delivery::default(),
            other_party: None,
            faults: Faults::default(),
            incidents: Vec::new(),
            batch: 10,
            concurrency_max: 20,
        }
    }

    /// Makes the world, in the middle of a quiet day. Call it inside a tokio runtime.
    pub fn build(&self) -> Place {
        let sandbox = Sandbox::new(self.seed, START);
        let mut world = sandbox.world();
        world.aws.region = REGION.to_owned();
        world.aws.events.delivery = self.delivery.clone();
        Eks::add(&mut world, CLUSTER, "https://demo.eks.example.com", "LS0tLS1CRUdJTi0tLS0tCg==");
        add_queues(&mut world);
        self.add_group(&mut world);
        let machines = self.add_machines(&mut world);
        self.add_workloads(&mut world);
        let groups = self.add_fronts(&mut world, &machines);
        for (after, host, incident) in &self.incidents {
            if let Some(machine) = machines.get(*host) {
                let planned = Planned { incident: incident.clone(), machine: machine.clone() };
                world.after(*after, Event::Scenario(ScenarioEvent::Incident(planned)));
            }
        }
        if let Some(party) = self.other_party.clone() {
            Kubernetes::set_other_party(&mut world, party);
        }
        world.faults = self.faults.clone();
        drop(world);
        Place { sandbox, machines, groups }
    }

    /// A function of 15 s that is fed by `queue`, in this scenario's batches.
    pub fn function(
        &self,
        queue: &str,
        environment: impl Fn(u32) -> Environment + 'static,
    ) -> Function {
        let mapping = Mapping {
            batch: self.batch,
            concurrency_max: self.concurrency_max,
            ..Mapping::new(queue)
        };
        Function {
            name: queue.to_owned(),
            trigger: Trigger::Queue(mapping),
            timeout_ms: TIMEOUT_MS,
            environment: Box::new(environment),
        }
    }

    fn add_group(&self, world: &mut World) {
        let attached = self.fronts.iter().filter(|front| front.owner == Owner::Asg);
        let target_groups =
            attached.map(|front| Elb::arn(world, &front.target_group.name)).collect();
        let tags = [
            ("ebbtide.dev/managed", "true"),
            ("kubernetes.io/cluster/demo", "owned"),
            ("Name", "demo-workers"),
        ];
        let mut zones: Vec<String> = self.hosts.iter().map(|host| host.zone.clone()).collect();
        zones.sort();
        zones.dedup();
        let spec = AsgSpec {
            name: GROUP.to_owned(),
            desired: self.hosts.len(),
            tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            target_groups,
            hooks: self.hooks.clone(),
            zones,
            ..AsgSpec::default()
        };
        Autoscaling::add_group(world, spec);
    }

    fn add_machines(&self, world: &mut World) -> Vec<Machine> {
        let mut machines = Vec::new();
        for Host { zone, taints, cordoned } in &self.hosts {
            let instance = format!("i-0{:016x}", world.rng.u64(..));
            Autoscaling::add_instance(world, GROUP, &instance, zone);
            let known = world.aws.ec2.instances.get(&instance);
            let node = known.map(|known| known.private_dns.clone()).unwrap_or_default();
            let spec = NodeSpec {
                taints: taints.clone(),
                unschedulable: *cordoned,
                ..NodeSpec::new(&node, &instance, zone)
            };
            Kubernetes::add_node(world, spec);
            machines.push(Machine { instance, node, zone: zone.clone() });
        }
        machines
    }

    fn add_workloads(&self, world: &mut World) {
        for front in &self.fronts {
            let policy = match front.entry {
                Entry::Local => Policy::Local,
                Entry::Cluster | Entry::HostPort => Policy::Cluster,
            };
            let TargetGroupSpec { name, port, .. } = &front.target_group;
            let mut spec = ServiceSpec { policy, ..ServiceSpec::new(NAMESPACE, name, *port) };
            if front.entry == Entry::HostPort {
                spec.node_port = None;
            }
            Kubernetes::add_service(world, spec);
        }
        for workload in &self.workloads {
            Kubernetes::add_workload(world, workload.clone());
        }
    }

    fn add_fronts(&self, world: &mut World, machines: &[Machine]) -> Vec<String> {
        self.fronts.iter().map(|front| add_front(world, front, machines)).collect()
    }
}

/// Opens a way in that leads to all machines, and returns its target group's ARN.
fn add_front(world: &mut World, front: &Front, machines: &[Machine]) -> String {
    let targets = machines.iter().map(|machine| machine.instance.clone()).collect();
    let spec = TargetGroupSpec { targets, ..front.target_group.clone() };
    let (name, port) = (spec.name.clone(), spec.port);
    let arn = Elb::add_target_group(world, spec);
    own(world, (front.owner, &name), (&arn, port));
    let route = Route {
        group: arn.clone(),
        rate_per_second: front.rate_per_second,
        namespace: NAMESPACE.to_owned(),
        service: name,
        entry: front.entry,
        port,
        request_ms: front.request_ms,
    };
    Traffic::open(world, route);
    arn
}

impl Host {
    /// An unremarkable node in zone `a`, `b` or `c`.
    pub fn in_zone(letter: &str) -> Self {
        Self { zone: format!("{REGION}{letter}"), taints: Vec::new(), cordoned: false }
    }
}

/// The hooks of Ebbtide, and a terminate hook of somebody else that ends by its timeout.
fn hooks(heartbeat_seconds: i64) -> [HookSpec; 3] {
    let hook = |name: &str, transition, heartbeat_seconds, default_result| HookSpec {
        name: name.to_owned(),
        transition,
        heartbeat_seconds,
        default_result,
        ..HookSpec::default()
    };
    let (launching, terminating) = (Transition::Launching, Transition::Terminating);
    let foreign = hook("other-tool", terminating, 120, Verdict::Continue);
    [
        hook("ebbtide-terminate", terminating, heartbeat_seconds, Verdict::Continue),
        hook("ebbtide-launch", launching, heartbeat_seconds, Verdict::Abandon),
        HookSpec { ours: false, ..foreign },
    ]
}

fn deployment(name: &str, replicas: u32) -> Workload {
    Workload::new(WorkloadKind::Deployment, NAMESPACE, name, replicas)
}

fn add_queues(world: &mut World) {
    for queue in [LIFECYCLE_QUEUE, INTERRUPTION_QUEUE] {
        let dead_letter = format!("{queue}-dead-letter");
        let spec = QueueSpec { name: dead_letter.clone(), ..QueueSpec::default() };
        Sqs::add_queue(world, spec);
        let spec = QueueSpec {
            name: queue.to_owned(),
            visibility_seconds: VISIBILITY_SECONDS,
            max_receives: 1_000,
            dead_letter: Some(dead_letter),
            ..QueueSpec::default()
        };
        Sqs::add_queue(world, spec);
    }
    let lifecycle =
        ["EC2 Instance-launch Lifecycle Action", "EC2 Instance-terminate Lifecycle Action"];
    EventBridge::add_rule(world, LIFECYCLE_QUEUE, &lifecycle);
    let interruption = [
        "EC2 Spot Instance Interruption Warning",
        "EC2 Instance Rebalance Recommendation",
        "EC2 Instance State-change Notification",
        "EC2 Capacity Reservation Instance Interruption Warning",
        BlockTitle::Block.name(),
        BlockTitle::Reservation.name(),
        "AWS Health Event",
    ];
    EventBridge::add_rule(world, INTERRUPTION_QUEUE, &interruption);
}

/// Somebody registers instances in a group from now on.
fn own(world: &mut World, (owner, service): (Owner, &str), (arn, port): (&str, u16)) {
    match owner {
        Owner::Asg => {}
        Owner::Script => Registrar::start(world, arn, port, Who::Script),
        Owner::Controller => {
            let binding = binding(service, arn, port);
            Kubernetes::add_object(world, Kind::TargetGroupBinding, &binding);
            Registrar::start(world, arn, port, Who::Controller);
        }
    }
}

fn binding(service: &str, arn: &str, port: u16) -> serde_json::Value {
    json!({
        "metadata": {
            "namespace": NAMESPACE,
            "name": format!("k8s-{NAMESPACE}-{service}"),
            "labels": {"service.k8s.aws/stack-name": service},
        },
        "spec": {
            "targetGroupARN": arn,
            "targetType": "instance",
            "serviceRef": {"name": service, "port": port},
        },
    })
}
