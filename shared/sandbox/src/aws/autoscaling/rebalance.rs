//! Capacity rebalancing: the group acts on what EC2 announces for its Spot instances.
//!
//! A recommendation makes it launch a replacement, and terminate the instance once that is in service. A Spot warning
//! makes it do both at once, so that the terminate hook comes with the warning. Without capacity rebalancing the group
//! notices only that the instance ended, and the hook comes when there is nothing left to drain.

use super::{Autoscaling, LifecycleState, Transition, Way};
use crate::world::World;

impl Autoscaling {
    /// EC2 warns that it takes a Spot instance back.
    pub(crate) fn warned(world: &mut World, instance: &str) {
        let Some(name) = Self::doom(world, instance) else { return };
        let group = world.aws.autoscaling.groups.get(&name);
        let held = group.is_some_and(|group| {
            group.spec.hooks.iter().any(|hook| hook.transition == Transition::Terminating)
        });
        // Nothing would hold a termination up without a hook, so it is left to EC2 and its two minutes.
        if held {
            Self::leave(world, instance, Way::Terminate);
        }
    }

    /// EC2 recommends to replace a Spot instance.
    pub(crate) fn recommended(world: &mut World, instance: &str) {
        Self::doom(world, instance);
    }

    /// A replacement is in service: one instance that it was launched for may go.
    pub(super) fn replaced(world: &mut World, name: &str) {
        let group = world.aws.autoscaling.groups.get(name);
        let next = group.and_then(|group| {
            let serves = |id: &&String| {
                let member = group.members.get(*id);
                member.is_some_and(|member| member.state == LifecycleState::InService)
            };
            group.doomed.iter().find(serves).cloned()
        });
        if let Some(instance) = next {
            Self::leave(world, &instance, Way::Terminate);
        }
    }

    /// Counts an instance no longer, so that a replacement is launched for it, and returns its group.
    fn doom(world: &mut World, instance: &str) -> Option<String> {
        let autoscaling = &mut world.aws.autoscaling;
        let name = autoscaling.group_of.get(instance)?.clone();
        let group = autoscaling.groups.get_mut(&name)?;
        let serves = group.members.get(instance)?.state == LifecycleState::InService;
        if !group.spec.capacity_rebalance || !serves {
            return None;
        }
        group.doomed.insert(instance.to_owned());
        Self::balance(world, &name);
        Some(name)
    }
}
