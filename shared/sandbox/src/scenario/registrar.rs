//! Who registers instances in target groups that are not attached to the Auto Scaling group.
//!
//! A script on the instance does it once. The AWS Load Balancer Controller does it again and again: it
//! takes a node out for its label or for two taints, and puts back what others took out.

use super::ScenarioEvent;
use crate::aws::elbv2::{Elb, Health};
use crate::kubernetes::Kind;
use crate::kubernetes::node::instance_of;
use crate::kubernetes::object::Object;
use crate::kubernetes::rule::EXCLUDE;
use crate::world::{Event, Millis, World};
use std::collections::BTreeSet;

/// How often one looks: the controller takes a second or two from a node's change to the call.
const EVERY_MS: std::ops::RangeInclusive<Millis> = 1_000..=4_000;

/// Taints for which the controller takes a node out: the key, and the effect if it matters.
const TAINTS: [(&str, Option<&str>); 2] =
    [("ToBeDeletedByClusterAutoscaler", None), ("karpenter.sh/disrupted", Some("NoSchedule"))];

/// How somebody registers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Who {
    /// Once per instance, when its node is Ready.
    Script,
    /// For as long as a node suits, as the AWS Load Balancer Controller does.
    Controller,
}

/// Somebody who registers instances in one target group.
#[derive(Clone, Debug)]
pub struct Registrar {
    group: String,
    port: u16,
    who: Who,
    /// Instances that the script has seen to.
    known: BTreeSet<String>,
    /// What it saw last: the versions of the cluster and of the load balancers.
    seen: (u64, u64),
}

impl Registrar {
    /// Starts one for `group` (by ARN), whose first targets are registered already.
    pub fn start(world: &mut World, group: &str, port: u16, who: Who) {
        let known = world.aws.ec2.instances.keys().cloned().collect();
        let registrar = Self { group: group.to_owned(), port, who, known, seen: (0, 0) };
        world.registrars.push(registrar);
        Self::plan(world, world.registrars.len() - 1);
    }

    pub(super) fn tick(world: &mut World, index: usize) {
        Self::plan(world, index);
        let seen = (world.kubernetes.resource_version(), world.aws.elb.version);
        let Some(known) = world.registrars.get_mut(index).filter(|known| known.seen != seen) else {
            return;
        };
        known.seen = seen;
        let mut registrar =
            Self { group: known.group.clone(), known: std::mem::take(&mut known.known), ..*known };
        match registrar.who {
            Who::Script => registrar.register_new(world),
            Who::Controller => registrar.reconcile(world),
        }
        world.registrars[index] = registrar;
    }

    fn plan(world: &mut World, index: usize) {
        let delay = world.rng.i64(EVERY_MS);
        world.after(delay, Event::Scenario(ScenarioEvent::Registrar(index)));
    }

    fn register_new(&mut self, world: &mut World) {
        let new = |node: &Object| !self.known.contains(instance_of(node)) && node.is_ready();
        let ready: Vec<String> = nodes(world, new);
        for instance in ready {
            if world.aws.ec2.is_up(&instance) && self.known.insert(instance.clone()) {
                world.remember_aws();
                Elb::register(world, &self.group, &instance, self.port);
            }
        }
    }

    fn reconcile(&self, world: &mut World) {
        let suitable: BTreeSet<String> = nodes(world, suits).into_iter().collect();
        let Some(group) = world.aws.elb.groups.get(&self.group) else { return };
        let registered: BTreeSet<String> = group
            .targets
            .iter()
            .filter(|(_, target)| !matches!(target.health, Health::Draining { .. }))
            .map(|((instance, _), _)| instance.clone())
            .collect();
        if registered != suitable {
            world.remember_aws();
        }
        for instance in registered.difference(&suitable) {
            Elb::deregister(world, &self.group, instance, self.port);
        }
        for instance in suitable.difference(&registered) {
            // ELB refuses an instance that does not run.
            if world.aws.ec2.is_up(instance) {
                Elb::register(world, &self.group, instance, self.port);
            }
        }
    }
}

/// The instances of the nodes that `wanted` admits.
fn nodes(world: &World, wanted: impl Fn(&Object) -> bool) -> Vec<String> {
    let nodes = world.kubernetes.store.all(Kind::Node).filter(|(_, node)| wanted(node));
    nodes
        .map(|(_, node)| instance_of(node).to_owned())
        .filter(|instance| !instance.is_empty())
        .collect()
}

fn suits(node: &Object) -> bool {
    let taints = node.spec["taints"].as_array().map(Vec::as_slice).unwrap_or_default();
    let disrupted = taints.iter().any(|taint| {
        TAINTS.iter().any(|(key, effect)| {
            taint["key"] == *key && effect.is_none_or(|effect| taint["effect"] == effect)
        })
    });
    node.label(EXCLUDE).is_none() && !disrupted
}
