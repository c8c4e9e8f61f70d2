//! What was seen of hosts, nodes and target groups while a flow went on: each change, and when.

use sandbox::aws::ec2::State;
use sandbox::aws::elbv2::Health;
use sandbox::scenario::{Machine, Place, START};
use sandbox::world::{Millis, World};
use std::collections::BTreeMap;

/// How a node looked from some instant on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Mark {
    /// `spec.unschedulable`
    pub(crate) cordoned: bool,
    /// Its taints' keys.
    pub(crate) taints: Vec<String>,
    /// What EC2 said of its instance.
    pub(crate) state: Option<State>,
    /// Whether there was a node at all.
    pub(crate) exists: bool,
}

/// Each change, and when it was seen: since the world's start.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    hosts: Vec<(String, String)>,
    /// What of all this was last looked at: versions of the cluster and of the groups, and what EC2 says of the hosts.
    looked: (u64, u64, Vec<(Option<State>, bool)>),
    /// When each host that was there at the start first went down, by instance.
    pub(crate) died: BTreeMap<String, Millis>,
    /// How each node that was there at the start looked, by name.
    pub(crate) marks: BTreeMap<String, Vec<(Millis, Mark)>>,
    /// How many targets each group had in: healthy, on hosts that run.
    pub(crate) healthy: BTreeMap<String, Vec<(Millis, usize)>>,
    /// The same of targets that were not told to leave, healthy or not.
    pub(crate) registered: BTreeMap<String, Vec<(Millis, usize)>>,
}

impl Sight {
    pub(crate) fn begin(place: &Place) -> Self {
        let host = |Machine { instance, node, .. }: &Machine| (instance.clone(), node.clone());
        Self { hosts: place.machines.iter().map(host).collect(), ..Self::default() }
    }

    /// Takes note of what is new.
    pub(crate) fn look(&mut self, world: &World) {
        let ec2 = &world.aws.ec2;
        let host = |(id, _): &(String, String)| (ec2.state(id), ec2.is_up(id));
        let versions = (world.kubernetes.resource_version(), world.aws.elb.version);
        let looked = (versions.0, versions.1, self.hosts.iter().map(host).collect());
        if looked == self.looked {
            return;
        }
        self.looked = looked;
        let now = world.now - START;
        for (instance, node) in &self.hosts {
            if !world.aws.ec2.is_up(instance) {
                self.died.entry(instance.clone()).or_insert(now);
            }
            let marks = self.marks.entry(node.clone()).or_default();
            change(marks, now, mark(world, instance, node));
        }
        for (arn, group) in &world.aws.elb.groups {
            let up = || group.targets.iter().filter(|((id, _), _)| world.aws.ec2.is_up(id));
            let healthy = up().filter(|(_, target)| matches!(target.health, Health::Healthy));
            change(self.healthy.entry(arn.clone()).or_default(), now, healthy.count());
            let leaves = |health| matches!(health, Health::Draining { .. } | Health::Unused(_));
            let registered = up().filter(|(_, target)| !leaves(target.health));
            change(self.registered.entry(arn.clone()).or_default(), now, registered.count());
        }
    }
}

/// The least of what was seen from one time on until another.
pub(crate) fn least(seen: &[(Millis, usize)], (from, to): (Millis, Millis)) -> usize {
    let lasts_until = |index: usize| seen.get(index + 1).map_or(Millis::MAX, |(at, _)| *at);
    let within = seen.iter().enumerate();
    let within = within.filter(|(index, (at, _))| *at < to && lasts_until(*index) > from);
    within.map(|(_, (_, count))| *count).min().unwrap()
}

fn change<T: PartialEq>(seen: &mut Vec<(Millis, T)>, now: Millis, next: T) {
    if seen.last().is_none_or(|(_, last)| *last != next) {
        seen.push((now, next));
    }
}

fn mark(world: &World, instance: &str, node: &str) -> Mark {
    let state = world.aws.ec2.state(instance);
    let Some(node) = world.kubernetes.node(node) else { return Mark { state, ..Mark::default() } };
    let taints = node.spec["taints"].as_array();
    let key = |taint: &serde_json::Value| taint["key"].as_str().unwrap_or_default().to_owned();
    let cordoned = node.spec["unschedulable"] == true;
    let taints = taints.into_iter().flatten().map(key).collect();
    Mark { cordoned, taints, state, exists: true }
}
