//! What is to be seen of one instance at one moment.
//!
//! A sample is taken whenever the world may have changed; two that differ are a change for the timeline, and all of them
//! together are what explains the numbers at the end.

use crate::demo::act::is_routed;
use crate::demo::blow::Blow;
use crate::demo::cast::Part;
use crate::demo::timeline::Row;
use sandbox::aws::autoscaling::LifecycleState;
use sandbox::aws::elbv2::Health;
use sandbox::kubernetes::object::Object;
use sandbox::kubernetes::{Kind, Removal};
use sandbox::{Millis, World};
use std::collections::BTreeSet;

/// What the API server says of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NodeState {
    /// There is no such node.
    Absent,
    /// It is there, and not Ready.
    NotReady,
    /// It is Ready.
    Ready,
}

/// A target as it is seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TargetState {
    /// What DescribeTargetHealth says; `None` where it is not registered.
    pub(crate) health: Option<Health>,
    /// Whether the load balancer sends new requests to it.
    pub(crate) routed: bool,
}

/// One moment of one instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sample {
    /// Its state in its group.
    pub(crate) lifecycle: Option<LifecycleState>,
    /// Its node.
    pub(crate) node: NodeState,
    /// Whether the node is cordoned.
    pub(crate) cordoned: bool,
    /// Whether its host runs.
    pub(crate) up: bool,
    /// Its targets, in the order of [`GROUPS`].
    pub(crate) targets: Vec<TargetState>,
    /// Pods on the node that have not been told to go, without those of DaemonSets.
    pub(crate) pods: usize,
    /// Those that have, and are not gone yet.
    pub(crate) going: usize,
    /// Volumes that are attached to the node.
    pub(crate) volumes: usize,
    /// Pods that the function removed from the node so far.
    pub(crate) removed: usize,
    /// Evictions from the node that a budget refused so far.
    pub(crate) refused: usize,
    /// Actions of this instance that began, and that ended.
    pub(crate) actions: (usize, usize),
    /// Whether an Event on its node announces what is far ahead.
    pub(crate) announced: bool,
    /// The other nodes that are Ready.
    pub(crate) others: BTreeSet<String>,
}

impl Sample {
    /// Looks at an instance.
    pub(crate) fn of(world: &World, part: &Part, (node, groups): (&str, &[String])) -> Self {
        let instance = part.instance.as_str();
        let autoscaling = &world.aws.autoscaling;
        let object = world.kubernetes.node(node);
        let actions = || autoscaling.actions.iter().filter(|action| action.instance == instance);
        let refused =
            world.calls.iter().filter(|call| call.status == 429 && is_eviction(&call.operation));
        let (pods, going) = pods(world, node);
        Self {
            lifecycle: autoscaling.state(instance),
            node: match object {
                None => NodeState::Absent,
                Some(node) if node.condition_is("Ready", "True") => NodeState::Ready,
                Some(_) => NodeState::NotReady,
            },
            cordoned: object.is_some_and(|node| node.spec["unschedulable"] == true),
            up: world.aws.ec2.is_up(instance),
            targets: groups.iter().map(|arn| target(world, arn, instance)).collect(),
            pods,
            going,
            volumes: volumes(world, node),
            removed: removals(world, node).count(),
            refused: refused.filter(|call| names_pod_on(world, &call.subject, node)).count(),
            actions: (actions().count(), actions().filter(|action| action.ended.is_some()).count()),
            announced: is_announced(world, part, node),
            others: others(world, node),
        }
    }

    /// A row that shows this moment.
    pub(crate) fn row(&self, at: Millis, text: String) -> Row {
        let node = match (self.node, self.up, self.cordoned) {
            (_, false, _) if self.lifecycle == Some(LifecycleState::WarmedStopped) => "stopped",
            (NodeState::Absent, true, _) => "no node",
            (NodeState::Absent, false, _) => "–",
            (_, false, _) => "gone",
            (NodeState::Ready | NodeState::NotReady, true, true) => "cordoned",
            (NodeState::Ready, true, false) => "Ready",
            (NodeState::NotReady, true, false) => "not Ready",
        };
        let shown =
            |target: &TargetState| target.health.map_or("–", |health| health.describe().0);
        let pods = (self.node != NodeState::Absent && self.up).then_some(self.pods);
        Row { at, node, targets: self.targets.iter().map(shown).collect(), pods, text }
    }

    /// Whether any load balancer sends new requests to it.
    pub(crate) fn is_routed(&self) -> bool {
        self.targets.iter().any(|target| target.routed)
    }

    /// Whether any of its targets drains.
    pub(crate) fn is_draining(&self) -> bool {
        self.targets.iter().any(|target| matches!(target.health, Some(Health::Draining { .. })))
    }
}

fn target(world: &World, arn: &str, instance: &str) -> TargetState {
    let group = world.aws.elb.groups.get(arn);
    let mut targets = group.into_iter().flat_map(|group| &group.targets);
    let health = targets.find(|((id, _), _)| id == instance).map(|(_, target)| target.health);
    TargetState { health, routed: is_routed(world, arn, instance) }
}

/// Pods that stay, and pods that go; DaemonSets' do neither.
fn pods(world: &World, node: &str) -> (usize, usize) {
    let stays = |kind: &str| kind == "DaemonSet" || kind == "Node";
    let pods = world.kubernetes.pods_on(node);
    let pods = pods.filter(|pod| !pod.meta.owners.iter().any(|owner| stays(&owner.kind)));
    let (going, staying): (Vec<_>, Vec<_>) = pods.partition(|pod| pod.meta.deletion.is_some());
    (staying.len(), going.len())
}

/// Whether the function has told on the node of what is far ahead; nobody asks for other parts.
fn is_announced(world: &World, part: &Part, node: &str) -> bool {
    let about = |event: &Object| {
        event.rest["reason"] == "DepartureAnnounced" && event.rest["involvedObject"]["name"] == node
    };
    part.act.blow().is_some_and(Blow::is_far)
        && world.kubernetes.store.all(Kind::Event).any(|(_, event)| about(event))
}

fn others(world: &World, node: &str) -> BTreeSet<String> {
    let nodes = world.kubernetes.store.all(Kind::Node).map(|(_, object)| object);
    let ready = nodes.filter(|object| object.condition_is("Ready", "True"));
    ready.map(|object| object.meta.name.to_string()).filter(|name| name != node).collect()
}

fn volumes(world: &World, node: &str) -> usize {
    let all = world.kubernetes.store.all(Kind::VolumeAttachment);
    all.filter(|(_, attachment)| attachment.spec["nodeName"] == node).count()
}

/// The pods that the function removed from a node, in their order.
pub(crate) fn removals<'a>(world: &'a World, node: &'a str) -> impl Iterator<Item = &'a Removal> {
    world.kubernetes.removals.iter().filter(move |removal| removal.node == node)
}

/// Whether a call of this name asks for an eviction.
pub(crate) fn is_eviction(operation: &str) -> bool {
    operation == "POST pods/eviction"
}

fn names_pod_on(world: &World, path: &str, node: &str) -> bool {
    world.kubernetes.pods_on(node).any(|pod| path.contains(&format!("/pods/{}/", pod.meta.name)))
}
