//! The demo's world: a cluster with a shop in it, made around the names that the event speaks of.
//!
//! ```text
//!   ALB ─> target group web, attached to the ASG ────────────┐   ┌─> Deployment web ┐
//!                                                            ├─> ASG's nodes        ├ on every node
//!   ALB ─> target group api, only named in TARGET_GROUPS ────┘   └─> Deployment api ┘
//!                                            StatefulSet db with volumes, two DaemonSets
//! ```
//! The column without Ebbtide is the same world from the same seed, with no hook of ours on the group and no function.

use crate::args::TrafficPolicy;
use crate::demo::act::{Act, Part, cast};
use crate::demo::cue::Script;
use crate::stage::{Deployment, REGION};
use decision::id::ClusterName;
use decision::policy::{Mode, Overrides, Policy};
use decision::signal::{HookSignal, Transition};
use sandbox::aws::autoscaling::{self, AsgSpec, Autoscaling, HookSpec, Verdict};
use sandbox::aws::eks::Eks;
use sandbox::aws::elbv2::{Elb, TargetGroupSpec};
use sandbox::aws::sqs::{QueueSpec, Sqs};
use sandbox::kubernetes::{
    self, Budget, Kubernetes, Manners, NodeSpec, ServiceSpec, Workload, WorkloadKind,
};
use sandbox::scenario::{Registrar, Who};
use sandbox::traffic::{Entry, Route, Traffic};
use sandbox::{Millis, Sandbox, World};
use serde_json::Value;
use std::collections::BTreeSet;

/// The function's queue.
pub(crate) const QUEUE: &str = "ebbtide-lifecycle";
/// Its dead-letter queue.
pub(crate) const DEAD_LETTER: &str = "ebbtide-lifecycle-dead-letter";
/// The target groups, and the node ports of their Services: the first is attached to the group.
pub(crate) const GROUPS: [(&str, u16); 2] = [("web", 30_080), ("api", 30_081)];
/// New requests per second through each target group.
pub(crate) const RATE_PER_SECOND: u16 = 100;
/// The target groups' deregistration delay.
pub(crate) const DEREGISTRATION_DELAY_SECONDS: i64 = 60;
/// How long a pod serves on after SIGTERM, if it has good manners.
pub(crate) const SERVES_ON_SECONDS: i64 = 5;

/// 2026-11-22T09:29:00Z: a minute before the sample events, so that an older message in a batch is old.
const START: Millis = 1_795_339_740_000;
const ACCOUNT: &str = "111122223333";
/// The namespace of all but the DaemonSets.
pub(crate) const NAMESPACE: &str = "shop";
const CLUSTER: &str = "shop";
const ZONES: [&str; 3] = ["eu-west-1a", "eu-west-1b", "eu-west-1c"];
/// Each request takes so long.
const REQUEST_MS: Millis = 200;
/// The least number of nodes in service, and of those that stay.
const NODES_MIN: usize = 4;
const STAY_MIN: usize = 2;
/// The hooks' heartbeat timeout: long enough for every act, short enough to wait for where nobody answers.
const HEARTBEAT_SECONDS: i64 = 300;

/// Which column of the comparison a world is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Column {
    /// The ASG's own behaviour.
    Without,
    /// With the function behind its queue.
    With,
}

/// What pods do about SIGTERM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Behaviour {
    /// They serve on for [`SERVES_ON_SECONDS`].
    ServesOn,
    /// They stop listening at once.
    StopsAtOnce,
}

/// All that the demo's worlds have in common.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// The event.
    pub(crate) script: Script,
    /// Who plays.
    pub(crate) parts: Vec<Part>,
    /// The seed.
    pub(crate) seed: u64,
    /// `externalTrafficPolicy`.
    pub(crate) policy: TrafficPolicy,
}

/// A world that was made.
#[derive(Debug)]
pub(crate) struct Place {
    /// The world.
    pub(crate) sandbox: Sandbox,
    /// How the function is deployed on it.
    pub(crate) deployment: Deployment,
    /// The target groups' ARNs, in the order of [`GROUPS`].
    pub(crate) groups: Vec<String>,
}

impl Scene {
    /// The scene that plays this event.
    pub(crate) fn new(script: Script, seed: u64, policy: TrafficPolicy) -> Self {
        let parts = cast(&script);
        Self { script, parts, seed, policy }
    }

    /// Makes the world. Call it inside a tokio runtime.
    pub(crate) fn build(&self, column: Column, behaviour: Behaviour) -> Place {
        let sandbox = Sandbox::new(self.seed, START);
        let mut guard = sandbox.world();
        let world = &mut *guard;
        REGION.clone_into(&mut world.aws.region);
        ACCOUNT.clone_into(&mut world.aws.account);
        let groups = add_target_groups(world);
        self.add_queues(world);
        for asg in self.asgs() {
            self.add_group(world, &asg, &groups, column);
        }
        self.add_workloads(world, behaviour);
        for ((name, port), arn) in GROUPS.iter().zip(&groups) {
            self.open(world, (name, *port), arn);
        }
        // Whoever owns the second group registers new nodes in it, once. It knows those that are there by now.
        if let (Some(arn), (_, port)) = (groups.last(), GROUPS[1]) {
            Registrar::start(world, arn, port, Who::Script);
        }
        for part in self.parts.iter().filter(|part| !part.act.is_from_service()) {
            add_newcomer(world, part);
        }
        drop(guard);
        let deployment = self.deployment(&groups);
        Place { sandbox, deployment, groups }
    }

    /// The hooks that the event speaks of, with their groups.
    fn hooks(&self) -> impl Iterator<Item = &HookSignal> {
        self.script.messages.iter().filter_map(|message| message.hook()).map(|(_, hook)| hook)
    }

    /// The Auto Scaling groups that the event speaks of; one in any case.
    fn asgs(&self) -> Vec<String> {
        let mut asgs: Vec<String> = Vec::new();
        for part in &self.parts {
            if !asgs.contains(&part.asg) {
                asgs.push(part.asg.clone());
            }
        }
        if asgs.is_empty() { vec!["workers".to_owned()] } else { asgs }
    }

    /// The clusters that hooks' metadata names.
    fn clusters(&self) -> BTreeSet<ClusterName> {
        let named = self.hooks().filter_map(|hook| {
            let metadata = hook.metadata.as_deref().map(without_target_groups);
            let overrides = Overrides::parse(metadata.as_deref()).ok()??;
            Policy::default().overridden(&overrides).cluster
        });
        named.collect()
    }

    fn add_queues(&self, world: &mut World) {
        for cluster in self.clusters().iter().map(ClusterName::as_str).chain([CLUSTER]) {
            Eks::add(world, cluster, "https://shop.eks.example.com", "LS0tLS1CRUdJTi0tLS0tCg==");
        }
        Sqs::add_queue(world, QueueSpec { name: DEAD_LETTER.to_owned(), ..QueueSpec::default() });
        let queue = QueueSpec {
            name: QUEUE.to_owned(),
            visibility_seconds: 90,
            dead_letter: Some(DEAD_LETTER.to_owned()),
            ..QueueSpec::default()
        };
        Sqs::add_queue(world, queue);
    }

    fn add_group(&self, world: &mut World, asg: &str, groups: &[String], column: Column) {
        let clusters = self.clusters();
        let cluster = clusters.first().map_or(CLUSTER, ClusterName::as_str);
        let tags = [
            ("ebbtide.dev/managed".to_owned(), "true".to_owned()),
            (format!("kubernetes.io/cluster/{cluster}"), "owned".to_owned()),
        ];
        let spec = AsgSpec {
            name: asg.to_owned(),
            tags: tags.into(),
            target_groups: groups.iter().take(1).cloned().collect(),
            hooks: if column == Column::With { self.hook_specs(asg) } else { Vec::new() },
            zones: ZONES.map(str::to_owned).into(),
            ..AsgSpec::default()
        };
        Autoscaling::add_group(world, spec);
        let leaving =
            self.parts.iter().filter(|part| part.act.is_from_service() && part.asg == asg);
        let mut ids: Vec<String> = leaving.map(|part| part.instance.clone()).collect();
        let wanted = NODES_MIN.max(ids.len() + STAY_MIN);
        let known = world.aws.ec2.instances.len();
        ids.extend((ids.len()..wanted).map(|index| format!("i-0f{:015x}", known + index)));
        for (id, zone) in ids.iter().zip(ZONES.iter().cycle()) {
            add_node(world, asg, (id, zone), groups);
        }
    }

    /// The hooks that the event names, and where an instance comes back from a new root volume the other one too.
    fn hook_specs(&self, asg: &str) -> Vec<HookSpec> {
        let mut specs: Vec<HookSpec> = Vec::new();
        let named = self.hooks().filter(|hook| hook.asg.as_str() == asg);
        for hook in named {
            let spec = hook_spec(hook.hook.as_str(), hook.transition, hook.metadata.as_deref());
            if !specs.iter().any(|known| known.name == spec.name) {
                specs.push(spec);
            }
        }
        let comes_back = |part: &Part| part.asg == asg && part.act == Act::ReplaceRootVolume;
        if self.parts.iter().any(comes_back) {
            let both = [
                ("ebbtide-terminate", Transition::Terminating),
                ("ebbtide-launch", Transition::Launching),
            ];
            for (name, transition) in both {
                let spec = hook_spec(name, transition, None);
                if !specs.iter().any(|known| known.transition == spec.transition) {
                    specs.push(spec);
                }
            }
        }
        specs
    }

    fn add_workloads(&self, world: &mut World, behaviour: Behaviour) {
        let manners = match behaviour {
            Behaviour::ServesOn => Manners::ServesOn { ms: SERVES_ON_SECONDS * 1_000 },
            Behaviour::StopsAtOnce => Manners::StopsAtOnce { exit_ms: 1_000 },
        };
        let owner = |kind, namespace, name, replicas| Workload {
            manners,
            ..Workload::new(kind, namespace, name, replicas)
        };
        let guarded = |workload| Workload { pdb: Some(Budget::max_unavailable(1)), ..workload };
        for name in ["aws-node", "kube-proxy"] {
            Kubernetes::add_workload(world, owner(WorkloadKind::DaemonSet, "kube-system", name, 0));
        }
        let db = guarded(owner(WorkloadKind::StatefulSet, NAMESPACE, "db", 2));
        Kubernetes::add_workload(world, Workload { volume: Some("gp3".to_owned()), ..db });
        Kubernetes::add_workload(
            world,
            guarded(owner(WorkloadKind::Deployment, NAMESPACE, "web", 6)),
        );
        Kubernetes::add_workload(
            world,
            guarded(owner(WorkloadKind::Deployment, NAMESPACE, "api", 6)),
        );
        let policy = match self.policy {
            TrafficPolicy::Cluster => kubernetes::Policy::Cluster,
            TrafficPolicy::Local => kubernetes::Policy::Local,
        };
        for (name, port) in GROUPS {
            let spec = ServiceSpec { policy, ..ServiceSpec::new(NAMESPACE, name, port) };
            Kubernetes::add_service(world, spec);
        }
    }

    fn open(&self, world: &mut World, (name, port): (&str, u16), arn: &str) {
        let entry = match self.policy {
            TrafficPolicy::Cluster => Entry::Cluster,
            TrafficPolicy::Local => Entry::Local,
        };
        let route = Route {
            group: arn.to_owned(),
            rate_per_second: f64::from(RATE_PER_SECOND),
            namespace: NAMESPACE.to_owned(),
            service: name.to_owned(),
            entry,
            port,
            request_ms: REQUEST_MS,
        };
        Traffic::open(world, route);
    }

    /// The function's settings: it acts, answers the event's hooks, and knows of the group that is attached to nothing.
    fn deployment(&self, groups: &[String]) -> Deployment {
        let mut policy = Policy { mode: Mode::Act, ..Policy::default() };
        policy.hooks.extend(self.hooks().map(|hook| hook.hook.clone()));
        policy.target_groups.extend(groups.iter().skip(1).filter_map(|arn| arn.parse().ok()));
        Deployment {
            policy,
            queue: QUEUE.to_owned(),
            dead_letter: DEAD_LETTER.to_owned(),
            batch: 10,
            concurrency: 2,
        }
    }
}

fn add_target_groups(world: &mut World) -> Vec<String> {
    let spec = |(name, port): &(&str, u16)| TargetGroupSpec {
        name: (*name).to_owned(),
        port: *port,
        deregistration_delay_seconds: DEREGISTRATION_DELAY_SECONDS,
        ..TargetGroupSpec::default()
    };
    GROUPS.iter().map(|group| Elb::add_target_group(world, spec(group))).collect()
}

/// A node in service: healthy in both target groups.
fn add_node(world: &mut World, asg: &str, (id, zone): (&str, &str), groups: &[String]) {
    Autoscaling::add_instance(world, asg, id, zone);
    let host = world.aws.ec2.instances.get(id);
    let name = host.map(|host| host.private_dns.clone()).unwrap_or_default();
    Kubernetes::add_node(world, NodeSpec::new(&name, id, zone));
    for ((_, port), arn) in GROUPS.iter().zip(groups) {
        Elb::add_healthy(world, arn, id, *port);
    }
}

/// An instance that is new, or in the warm pool: no node, no targets, and wanted only if it is to serve.
fn add_newcomer(world: &mut World, part: &Part) {
    let desired = |world: &World| {
        world.aws.autoscaling.groups.get(&part.asg).map_or(0, |group| group.spec.desired)
    };
    let before = desired(world);
    Autoscaling::add_instance(world, &part.asg, &part.instance, ZONES[0]);
    part.act.prepare(world, &part.instance);
    if let Some(group) = world.aws.autoscaling.groups.get_mut(&part.asg) {
        group.spec.desired = before + usize::from(part.act == Act::Launch);
    }
}

fn hook_spec(name: &str, transition: Transition, metadata: Option<&str>) -> HookSpec {
    HookSpec {
        name: name.to_owned(),
        transition: match transition {
            Transition::Launching => autoscaling::Transition::Launching,
            Transition::Terminating => autoscaling::Transition::Terminating,
        },
        heartbeat_seconds: HEARTBEAT_SECONDS,
        default_result: Verdict::Abandon,
        metadata: metadata.map(without_target_groups),
        ..HookSpec::default()
    }
}

/// The hook's metadata as the event has it, but for target groups: those of the file are not in this world.
fn without_target_groups(metadata: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(metadata) else { return metadata.to_owned() };
    let settings = value.get_mut("ebbtide").and_then(Value::as_object_mut);
    let removed = settings.and_then(|settings| settings.remove("target_groups"));
    if removed.is_some() { value.to_string() } else { metadata.to_owned() }
}
