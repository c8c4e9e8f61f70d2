//! The demo's world: a cluster with a shop in it, made around the names that the event speaks of.
//!
//! ```text
//!   ALB ─> target group web, attached to the ASG ────────────┐   ┌─> Deployment web ┐
//!                                                            ├─> ASG's nodes        ├ on every node
//!   ALB ─> target group api, only named in TARGET_GROUPS ────┘   └─> Deployment api ┘
//!                                            StatefulSet db with volumes, two DaemonSets
//! ```
//! Where AWS interrupts instances, these are nodes of a group of their own, tainted so that pods rather go elsewhere,
//! beside a group on demand. The column without Ebbtide is the same world from the same seed, with no hook of ours on the
//! groups and no function.

use crate::args::TrafficPolicy;
use crate::demo::cast::{Part, cast};
use crate::demo::cue::Script;
use crate::demo::group;
use crate::stage::{Deployment, REGION};
use decision::id::ClusterName;
use decision::policy::{Mode, Overrides, Policy};
use decision::signal::HookSignal;
use sandbox::aws::eks::Eks;
use sandbox::aws::elbv2::{Elb, TargetGroupSpec};
use sandbox::aws::sqs::{QueueSpec, Sqs};
use sandbox::kubernetes::{
    self, Budget, Kind, Kubernetes, Manners, ServiceSpec, Workload, WorkloadKind,
};
use sandbox::scenario::{Registrar, Who};
use sandbox::traffic::{Entry, Route, Traffic};
use sandbox::{Millis, Sandbox, World};
use std::collections::BTreeSet;

/// The queue of lifecycle actions.
pub(crate) const QUEUE: &str = "ebbtide-lifecycle";
/// The queue of EC2's and Health's events.
pub(crate) const INTERRUPTION_QUEUE: &str = "ebbtide-interruption";
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
pub(crate) const CLUSTER: &str = "shop";
/// The least number of pods of a Deployment.
const REPLICAS_MIN: u32 = 6;
/// Invocations at once where several messages about one instance come together: as many as a mapping begins with.
const CONCURRENCY_STRUCK: u16 = 5;
/// Each request takes so long.
const REQUEST_MS: Millis = 200;
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
    /// The functions on it, by name.
    pub(crate) deployments: Vec<(&'static str, Deployment)>,
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
        group::add(world, self, (&groups, column));
        self.add_workloads(world, behaviour);
        for ((name, port), arn) in GROUPS.iter().zip(&groups) {
            self.open(world, (name, *port), arn);
        }
        // Whoever owns the second group registers new nodes in it, once. It knows those that are there by now.
        if let (Some(arn), (_, port)) = (groups.last(), GROUPS[1]) {
            Registrar::start(world, arn, port, Who::Script);
        }
        group::settle(world, self);
        drop(guard);
        let deployments = self.deployments(&groups);
        Place { sandbox, deployments, groups }
    }

    /// Whether AWS interrupts instances, rather than a group that sends them away.
    pub(crate) fn is_struck(&self) -> bool {
        self.parts.iter().any(|part| part.act.blow().is_some())
    }

    /// The hooks that the event speaks of, with their groups.
    pub(crate) fn hooks(&self) -> impl Iterator<Item = &HookSignal> {
        self.script.messages.iter().filter_map(|message| message.hook()).map(|(_, hook)| hook)
    }

    /// The clusters that hooks' metadata names.
    pub(crate) fn clusters(&self) -> BTreeSet<ClusterName> {
        let named = self.hooks().filter_map(|hook| {
            let metadata = hook.metadata.as_deref().map(group::without_target_groups);
            let overrides = Overrides::parse(metadata.as_deref()).ok()??;
            Policy::default().overridden(&overrides).cluster
        });
        named.collect()
    }

    fn add_queues(&self, world: &mut World) {
        for cluster in self.clusters().iter().map(ClusterName::as_str).chain([CLUSTER]) {
            Eks::add(world, cluster, "https://shop.eks.example.com", "LS0tLS1CRUdJTi0tLS0tCg==");
        }
        for queue in self.queues() {
            let dead_letter = dead_letter(queue);
            Sqs::add_queue(world, QueueSpec { name: dead_letter.clone(), ..QueueSpec::default() });
            let spec = QueueSpec {
                name: queue.to_owned(),
                visibility_seconds: 90,
                dead_letter: Some(dead_letter),
                ..QueueSpec::default()
            };
            Sqs::add_queue(world, spec);
        }
    }

    /// The queues of the functions that are deployed.
    pub(crate) fn queues(&self) -> impl Iterator<Item = &'static str> {
        let other = self.is_struck().then_some(INTERRUPTION_QUEUE);
        [QUEUE].into_iter().chain(other)
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
        // Behind Local a node without a pod gets no request: one for each, so that all serve.
        let nodes = world.kubernetes.store.count(Kind::Node);
        let replicas = u32::try_from(nodes).unwrap_or(u32::MAX).max(REPLICAS_MIN);
        for (name, _) in GROUPS {
            let owner = owner(WorkloadKind::Deployment, NAMESPACE, name, replicas);
            Kubernetes::add_workload(world, guarded(owner));
        }
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

    /// The functions' settings: they act, answer the event's hooks, and know of the group that is attached to nothing.
    fn deployments(&self, groups: &[String]) -> Vec<(&'static str, Deployment)> {
        let mut policy = Policy { mode: Mode::Act, ..Policy::default() };
        policy.hooks.extend(self.hooks().map(|hook| hook.hook.clone()));
        policy.target_groups.extend(groups.iter().skip(1).filter_map(|arn| arn.parse().ok()));
        let deployed = |queue: &'static str| {
            let deployment = Deployment {
                policy: policy.clone(),
                queue: queue.to_owned(),
                dead_letter: dead_letter(queue),
                batch: 10,
                concurrency: if self.is_struck() { CONCURRENCY_STRUCK } else { 2 },
            };
            (if queue == QUEUE { "lifecycle" } else { "interruption" }, deployment)
        };
        self.queues().map(deployed).collect()
    }
}

/// The dead-letter queue of a queue.
pub(crate) fn dead_letter(queue: &str) -> String {
    format!("{queue}-dead-letter")
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
