//! A storm: all Spot nodes of a group are warned within a second.
//!
//! ```text
//!   ALB ─> web, api, shop (instance targets: all nodes) ─┬─> ASG workers: N Spot nodes, ten pods on each, warned at once
//!                                                        └─> ASG steady: N/4 on-demand nodes with room
//! ```
//! Each Deployment has a few hundred pods and a budget of 10 %. The group replaces its nodes (capacity rebalancing),
//! and the replacements are Ready after 40 to 65 s and healthy in the target groups some seconds later. Nobody but a
//! script on each new node registers it, so nothing deregisters a departing node for the functions.

use super::{CLUSTER, Front, GROUP, Machine, NAMESPACE, Owner, Place, REGION, START, add_queues};
use crate::aws::autoscaling::{AsgSpec, Autoscaling, HookSpec};
use crate::aws::ec2::{Ec2, Purchase, SpotAction};
use crate::aws::eks::Eks;
use crate::aws::events::Delivery;
use crate::fault::Faults;
use crate::kubernetes::{
    Budget, Kubernetes, Limit, Manners, NodeSpec, NodeTemplate, ServiceKind, ServiceSpec, Taint,
    UnhealthyPods, Workload, WorkloadKind,
};
use crate::scenario::ScenarioEvent;
use crate::world::{Event, Latency, Millis, Sandbox, World};

/// The Auto Scaling group of the on-demand nodes.
pub const STEADY_GROUP: &str = "steady";

/// The taint of the Spot nodes, if they have one.
pub const SPOT_TAINT: &str = "example.com/spot";

/// From the warning to the end.
const LEAD_MS: Millis = 120_000;

/// A storm to be. Start from [`Storm::new`] and change what matters.
#[derive(Clone, Debug)]
pub struct Storm {
    /// Where the world's chances come from.
    pub seed: u64,
    /// How many Spot nodes there are, all of which are warned.
    pub spot: usize,
    /// How many on-demand nodes there are beside them.
    pub on_demand: usize,
    /// How many pods of Deployments are on each Spot node.
    pub pods_per_node: usize,
    /// Among how many Deployments they are shared.
    pub deployments: usize,
    /// `maxUnavailable` of each Deployment's budget, in percent.
    pub unavailable_percent: i64,
    /// A taint of the Spot nodes and of their replacements: `PreferNoSchedule`, so that pods go elsewhere while they can.
    pub taint: Option<Taint>,
    /// The ways in; each leads to the Deployment of its name.
    pub fronts: Vec<Front>,
    /// The hooks of both groups.
    pub hooks: Vec<HookSpec>,
    /// Whether the Spot group replaces what is warned, or only what is gone.
    pub capacity_rebalance: bool,
    /// When the first is warned, after the start.
    pub warned_after: Millis,
    /// Within how long all are warned.
    pub within_ms: Millis,
    /// What Spot does with them.
    pub action: SpotAction,
    /// What pods do about SIGTERM.
    pub manners: Manners,
    /// How events arrive.
    pub delivery: Delivery,
    /// How long calls take.
    pub latency: Latency,
    /// What goes wrong on the way.
    pub faults: Faults,
}

impl Storm {
    /// A storm over `spot` nodes as the module says, with a taint, a terminate hook, and the latencies that users
    /// measure. Nothing goes wrong beside it.
    pub fn new(seed: u64, spot: usize) -> Self {
        let front = |name: &str, port| {
            let mut front = Front::new(name, port, Owner::Script);
            front.target_group.deregistration_delay_seconds = 60;
            front
        };
        let [terminate, ..] = super::hooks(300);
        Self {
            seed,
            spot,
            on_demand: spot.div_ceil(4).max(1),
            pods_per_node: 10,
            deployments: (spot / 33).clamp(3, 50),
            unavailable_percent: 10,
            taint: Some(Taint::new(SPOT_TAINT, "PreferNoSchedule")),
            fronts: vec![front("web", 30_080), front("api", 30_081), front("shop", 30_082)],
            hooks: vec![terminate],
            capacity_rebalance: true,
            warned_after: 10_000,
            within_ms: 1_000,
            action: SpotAction::Terminate,
            manners: Manners::ServesOn { ms: 5_000 },
            delivery: Delivery::default(),
            latency: Latency::measured(),
            faults: Faults::default(),
        }
    }

    /// Makes the world: its machines are the Spot nodes first. Call it inside a tokio runtime.
    pub fn build(&self) -> Place {
        let sandbox = Sandbox::new(self.seed, START);
        let mut guard = sandbox.world();
        let world = &mut *guard;
        world.aws.region = REGION.to_owned();
        world.aws.events.delivery = self.delivery.clone();
        world.latency = self.latency.clone();
        Eks::add(world, CLUSTER, "https://demo.eks.example.com", "LS0tLS1CRUdJTi0tLS0tCg==");
        add_queues(world);
        self.add_group(world, GROUP);
        self.add_group(world, STEADY_GROUP);
        let mut machines = self.add_machines(world, GROUP);
        let spot: Vec<String> = machines.iter().map(|machine| machine.node.clone()).collect();
        machines.extend(self.add_machines(world, STEADY_GROUP));
        self.add_workloads(world, &spot);
        let groups =
            self.fronts.iter().map(|front| super::add_front(world, front, &machines)).collect();
        self.warn(world, &machines);
        world.faults = self.faults.clone();
        drop(guard);
        Place { sandbox, machines, groups }
    }

    fn add_group(&self, world: &mut World, name: &str) {
        let spot = name == GROUP;
        let tags = [
            ("ebbtide.dev/managed", "true"),
            ("kubernetes.io/cluster/demo", "owned"),
            ("Name", name),
        ];
        let spec = AsgSpec {
            name: name.to_owned(),
            tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            hooks: self.hooks.clone(),
            zones: ["a", "b", "c"].map(|letter| format!("{REGION}{letter}")).into(),
            purchase: if spot { Purchase::Spot } else { Purchase::OnDemand },
            capacity_rebalance: spot && self.capacity_rebalance,
            ..AsgSpec::default()
        };
        Autoscaling::add_group(world, spec);
        let taints = self.taint.iter().filter(|_| spot).cloned().collect();
        let template = NodeTemplate { taints, ..NodeTemplate::default() };
        world.kubernetes.templates.insert(name.to_owned(), template);
    }

    fn add_machines(&self, world: &mut World, group: &str) -> Vec<Machine> {
        let spot = group == GROUP;
        let taints: Vec<Taint> = self.taint.iter().filter(|_| spot).cloned().collect();
        let count = if spot { self.spot } else { self.on_demand };
        let mut machines = Vec::with_capacity(count);
        for index in 0..count {
            let zone = format!("{REGION}{}", ["a", "b", "c"][index % 3]);
            let instance = format!("i-0{:016x}", world.rng.u64(..));
            Autoscaling::add_instance(world, group, &instance, &zone);
            let known = world.aws.ec2.instances.get(&instance);
            let node = known.map(|known| known.private_dns.clone()).unwrap_or_default();
            let taints = taints.clone();
            Kubernetes::add_node(
                world,
                NodeSpec { taints, ..NodeSpec::new(&node, &instance, &zone) },
            );
            machines.push(Machine { instance, node, zone });
        }
        machines
    }

    /// The Deployments, each spread evenly over the Spot nodes, and an agent on every node.
    fn add_workloads(&self, world: &mut World, spot: &[String]) {
        let agent = Workload::new(WorkloadKind::DaemonSet, "kube-system", "agent", 0);
        Kubernetes::add_workload(world, agent);
        let all = self.spot * self.pods_per_node;
        let mut placed = 0;
        for index in 0..self.deployments {
            let name = self
                .fronts
                .get(index)
                .map_or_else(|| format!("app-{index:02}"), |front| front.target_group.name.clone());
            let count = all / self.deployments + usize::from(index < all % self.deployments);
            let limit =
                Limit::MaxUnavailable(crate::kubernetes::Amount::Percent(self.unavailable_percent));
            let budget = Budget { limit, unhealthy: UnhealthyPods::default() };
            let replicas = u32::try_from(count).unwrap_or(u32::MAX);
            let work = Workload {
                pdb: Some(budget),
                manners: self.manners,
                ..Workload::new(WorkloadKind::Deployment, NAMESPACE, &name, replicas)
            };
            let nodes: Vec<&str> =
                (0..count).map(|pod| spot[(placed + pod) % spot.len()].as_str()).collect();
            Kubernetes::add_workload_on(world, work, &nodes);
            placed += count;
            let front = self.fronts.get(index);
            let mut service = ServiceSpec::new(NAMESPACE, &name, 0);
            service.node_port = front.map(|front| front.target_group.port);
            if front.is_none() {
                service.kind = ServiceKind::ClusterIp;
            }
            Kubernetes::add_service(world, service);
        }
    }

    fn warn(&self, world: &mut World, machines: &[Machine]) {
        for machine in machines.iter().take(self.spot) {
            let after = self.warned_after + world.rng.i64(0..self.within_ms.max(1));
            let warning = Warning { instance: machine.instance.clone(), action: self.action };
            world.after(after, Event::Scenario(ScenarioEvent::Warning(warning)));
        }
    }
}

/// One instance is warned; no line of the story tells it, since there are a thousand.
#[derive(Clone, Debug)]
pub struct Warning {
    instance: String,
    action: SpotAction,
}

impl Warning {
    pub(super) fn happen(self, world: &mut World) {
        world.remember_aws();
        Ec2::interrupt_with(world, &self.instance, self.action, LEAD_MS);
    }
}
