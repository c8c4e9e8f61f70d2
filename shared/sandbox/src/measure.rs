//! Measures of departures: when each instance that was warned of was cordoned, left its load balancers and was drained,
//! and how few living targets each group had meanwhile.
//!
//! Plain data, noted while it happens. What never happened is absent: an instance that died first was not drained.

use crate::aws::elbv2::Health;
use crate::kubernetes::node::instance_of;
use crate::kubernetes::object::Object;
use crate::kubernetes::store::Change;
use crate::world::{Millis, World};
use std::collections::BTreeMap;

/// One instance on its way out, from EC2's first word on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Departure {
    /// When EC2 first announced its end.
    pub warned_at: Millis,
    /// When its node became unschedulable.
    pub cordoned_at: Option<Millis>,
    /// When the last of its targets was deregistered.
    pub withdrawn_at: Option<Millis>,
    /// When the last of its evictable pods was gone.
    pub drained_at: Option<Millis>,
    /// When its host died.
    pub died_at: Option<Millis>,
}

/// The fewest living targets that a group had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fewest {
    /// How many.
    pub targets: usize,
    /// When it first had so few.
    pub at: Millis,
}

/// How a time is spread over departures, in milliseconds since the warning.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Spread {
    /// For how many it is known.
    pub count: usize,
    /// Half of them were at most so long.
    pub p50: Millis,
    /// Of a hundred, ninety-nine.
    pub p99: Millis,
    /// All of them.
    pub last: Millis,
}

/// All measures.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    /// Departures by instance.
    pub departures: BTreeMap<String, Departure>,
    /// The fewest healthy targets on living hosts, by target group (ARN), since the first warning.
    pub fewest: BTreeMap<String, Fewest>,
}

impl Measures {
    /// How a moment is spread over those departures that had it: `|it| it.cordoned_at`.
    pub fn spread(&self, moment: impl Fn(&Departure) -> Option<Millis>) -> Option<Spread> {
        let since = |it: &Departure| Some(moment(it)? - it.warned_at);
        let mut all: Vec<Millis> = self.departures.values().filter_map(since).collect();
        all.sort_unstable();
        let of_hundred =
            |part: usize| all.get((all.len() * part).div_ceil(100).max(1) - 1).copied();
        Some(Spread {
            count: all.len(),
            p50: of_hundred(50)?,
            p99: of_hundred(99)?,
            last: *all.last()?,
        })
    }
}

/// EC2 announces the end of an instance.
pub(crate) fn warned(world: &mut World, instance: &str) {
    let now = world.now;
    if world.measures.departures.is_empty() {
        for arn in world.aws.elb.groups.keys().cloned().collect::<Vec<_>>() {
            count_targets(world, &arn);
        }
    }
    let departure = Departure { warned_at: now, ..Departure::default() };
    world.measures.departures.entry(instance.to_owned()).or_insert(departure);
    count_targets_of(world, instance);
}

/// The host of an instance is gone.
pub(crate) fn died(world: &mut World, instance: &str) {
    let now = world.now;
    if let Some(departure) = world.measures.departures.get_mut(instance) {
        departure.died_at.get_or_insert(now);
    }
    count_targets_of(world, instance);
}

/// A node changed.
pub(crate) fn hear_node(world: &mut World, change: &Change) {
    if world.measures.departures.is_empty() {
        return;
    }
    let Some(node) = change.after.as_ref().filter(|node| node.spec["unschedulable"] == true) else {
        return;
    };
    let (now, instance) = (world.now, instance_of(node));
    if let Some(departure) = world.measures.departures.get_mut(instance)
        && departure.cordoned_at.is_none()
    {
        departure.cordoned_at = Some(now);
        look_for_pods(world, &node.meta.name);
    }
}

/// A pod changed: its node may be drained by that.
pub(crate) fn hear_pod(world: &mut World, change: &Change) {
    if world.measures.departures.is_empty() {
        return;
    }
    let ended =
        |pod: &Object| pod.status["phase"] == "Succeeded" || pod.status["phase"] == "Failed";
    let was = change.before.as_ref().is_some_and(|pod| ended(pod));
    if was || change.after.as_ref().is_some_and(|pod| !ended(pod)) {
        return;
    }
    let node = change.object().and_then(|pod| pod.node().cloned());
    if let Some(node) = node {
        look_for_pods(world, &node);
    }
}

/// Notes that a departing node, cordoned and alive, has no evictable pod left.
fn look_for_pods(world: &mut World, node: &str) {
    let Some(object) = world.kubernetes.node(node) else { return };
    let instance = instance_of(object).to_owned();
    let Some(departure) = world.measures.departures.get(&instance) else { return };
    let open = departure.cordoned_at.is_some()
        && departure.drained_at.is_none()
        && departure.died_at.is_none();
    if open && world.kubernetes.evictable_on(node) == 0 {
        let now = world.now;
        if let Some(departure) = world.measures.departures.get_mut(&instance) {
            departure.drained_at = Some(now);
        }
    }
}

/// A target of a group changed.
pub(crate) fn target_changed(world: &mut World, arn: &str, instance: &str) {
    if world.measures.departures.is_empty() {
        return;
    }
    count_targets(world, arn);
    let Some(departure) = world.measures.departures.get(instance) else { return };
    if departure.withdrawn_at.is_some() || departure.died_at.is_some() {
        return;
    }
    let range = (instance.to_owned(), 0)..=(instance.to_owned(), u16::MAX);
    let in_group = world.aws.elb.groups.values().any(|group| {
        let mut targets = group.targets.range(range.clone());
        targets.any(|(_, target)| {
            !matches!(target.health, Health::Draining { .. } | Health::Unused(_))
        })
    });
    if !in_group {
        let now = world.now;
        if let Some(departure) = world.measures.departures.get_mut(instance) {
            departure.withdrawn_at = Some(now);
        }
    }
}

fn count_targets_of(world: &mut World, instance: &str) {
    if world.measures.departures.is_empty() {
        return;
    }
    let range = (instance.to_owned(), 0)..=(instance.to_owned(), u16::MAX);
    let groups = world.aws.elb.groups.values();
    let arns: Vec<String> = groups
        .filter(|group| group.targets.range(range.clone()).next().is_some())
        .map(|group| group.arn.clone())
        .collect();
    for arn in arns {
        count_targets(world, &arn);
    }
}

fn count_targets(world: &mut World, arn: &str) {
    let Some(group) = world.aws.elb.groups.get(arn) else { return };
    let (targets, at) = (group.living(), world.now);
    let fewest = world.measures.fewest.entry(arn.to_owned()).or_insert(Fewest { targets, at });
    if targets < fewest.targets {
        *fewest = Fewest { targets, at };
    }
}
