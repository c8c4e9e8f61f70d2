//! What happens to one instance in the world, so that the event is true of it.
//!
//! ```text
//!   event ─> act ─> before: in service, new, or in the warm pool ─> begin ─> … ─> where it was going
//! ```

use crate::demo::blow::Blow;
use crate::demo::cast::Part;
use decision::signal::{HookRoute, HookSignal, Transition};
use sandbox::World;
use sandbox::aws::autoscaling::{Autoscaling, Capacity, LifecycleState, Way};
use sandbox::aws::ec2::{Ec2, State};

/// What happens to an instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Act {
    /// It leaves for good, and is replaced.
    Terminate,
    /// It leaves for the warm pool.
    ToWarmPool,
    /// It ends in the warm pool.
    EndInWarmPool,
    /// It leaves for a new root volume, and comes back.
    ReplaceRootVolume,
    /// It is new.
    Launch,
    /// It is new, and goes to the warm pool.
    LaunchIntoWarmPool,
    /// It comes out of the warm pool.
    LaunchFromWarmPool,
    /// AWS interrupts it, and its group learns of it later.
    Struck(Blow),
}

impl Act {
    /// What must happen for a hook to say this.
    pub(crate) fn of(hook: &HookSignal) -> Self {
        match (hook.transition, hook.route) {
            (_, HookRoute::RootVolume) => Self::ReplaceRootVolume,
            (Transition::Terminating, HookRoute::Normal | HookRoute::WarmPoolOut) => {
                Self::Terminate
            }
            (Transition::Terminating, HookRoute::WarmPoolIn) => Self::ToWarmPool,
            (Transition::Terminating, HookRoute::WarmPoolEnd) => Self::EndInWarmPool,
            (Transition::Launching, HookRoute::Normal | HookRoute::WarmPoolEnd) => Self::Launch,
            (Transition::Launching, HookRoute::WarmPoolIn) => Self::LaunchIntoWarmPool,
            (Transition::Launching, HookRoute::WarmPoolOut) => Self::LaunchFromWarmPool,
        }
    }

    /// Whether the instance is in service before.
    pub(crate) fn is_from_service(self) -> bool {
        matches!(
            self,
            Self::Terminate | Self::ToWarmPool | Self::ReplaceRootVolume | Self::Struck(_)
        )
    }

    /// The words for people: what becomes of the instance.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Terminate => "leaves for good and is replaced",
            Self::ToWarmPool => "goes back to the warm pool",
            Self::EndInWarmPool => "ends in the warm pool",
            Self::ReplaceRootVolume => "gets a new root volume and comes back",
            Self::Launch => "is launched into service",
            Self::LaunchIntoWarmPool => "is launched into the warm pool",
            Self::LaunchFromWarmPool => "comes out of the warm pool into service",
            Self::Struck(blow) => blow.text(),
        }
    }

    /// The words for what the instance is before.
    pub(crate) fn before(self) -> &'static str {
        match self {
            Self::Terminate | Self::ToWarmPool | Self::ReplaceRootVolume | Self::Struck(_) => {
                "in service"
            }
            Self::Launch | Self::LaunchIntoWarmPool => "the instance starts",
            Self::EndInWarmPool | Self::LaunchFromWarmPool => "stopped in the warm pool",
        }
    }

    /// Makes a known instance what it must be before this act, if that is not to be in service.
    pub(crate) fn prepare(self, world: &mut World, instance: &str) {
        let (state, way) = match self {
            Self::Terminate | Self::ToWarmPool | Self::ReplaceRootVolume | Self::Struck(_) => {
                return;
            }
            Self::Launch => (LifecycleState::Pending, Way::Launch),
            Self::LaunchIntoWarmPool => (LifecycleState::WarmedPending, Way::LaunchWarm),
            Self::EndInWarmPool | Self::LaunchFromWarmPool => {
                (LifecycleState::WarmedStopped, Way::LaunchWarm)
            }
        };
        if let Some(host) = world.aws.ec2.instances.get_mut(instance) {
            (host.state, host.up) = (State::Stopped, false);
        }
        for group in world.aws.autoscaling.groups.values_mut() {
            if let Some(member) = group.members.get_mut(instance) {
                (member.state, member.way) = (state, way);
            }
        }
    }

    /// Lets it happen.
    pub(crate) fn begin(self, world: &mut World, part: &Part) {
        let instance = part.instance.as_str();
        match self {
            Self::Terminate | Self::EndInWarmPool => {
                Autoscaling::terminate(world, instance, Capacity::Keep);
            }
            Self::ToWarmPool => Autoscaling::to_warm_pool(world, instance),
            Self::ReplaceRootVolume => Autoscaling::replace_root_volume(world, instance),
            Self::Launch | Self::LaunchIntoWarmPool => Ec2::start(world, instance),
            Self::LaunchFromWarmPool => Autoscaling::from_warm_pool(world, instance),
            Self::Struck(blow) => blow.begin(world, part),
        }
    }

    /// Whether the instance is where it was going, after it began.
    pub(crate) fn is_over(self, world: &World, instance: &str) -> bool {
        let state = world.aws.autoscaling.state(instance);
        match self {
            Self::Terminate => !world.aws.ec2.is_up(instance),
            Self::EndInWarmPool => world.aws.ec2.state(instance) == Some(State::Terminated),
            Self::ToWarmPool | Self::LaunchIntoWarmPool => {
                state == Some(LifecycleState::WarmedStopped)
            }
            Self::Launch | Self::LaunchFromWarmPool | Self::ReplaceRootVolume => {
                state == Some(LifecycleState::InService) && world.aws.ec2.is_up(instance)
            }
            Self::Struck(blow) => blow.is_over(world, instance),
        }
    }

    /// Whether its group launches another one for it.
    pub(crate) fn is_replaced(self) -> bool {
        self == Self::Terminate || self.blow().is_some_and(Blow::takes)
    }

    /// What befalls it, if its group has no part in that.
    pub(crate) fn blow(self) -> Option<Blow> {
        match self {
            Self::Struck(blow) => Some(blow),
            Self::Terminate
            | Self::ToWarmPool
            | Self::EndInWarmPool
            | Self::ReplaceRootVolume
            | Self::Launch
            | Self::LaunchIntoWarmPool
            | Self::LaunchFromWarmPool => None,
        }
    }
}

/// Whether the load balancer of a group sends new requests through an instance now.
pub(crate) fn is_routed(world: &World, arn: &str, instance: &str) -> bool {
    world.aws.elb.routes(arn, world.now).iter().any(|(id, _)| id == instance)
}
