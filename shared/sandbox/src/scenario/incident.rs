//! What befalls an instance, or the application on it, at its time.

use super::{GROUP, Machine};
use crate::aws::autoscaling::{Autoscaling, Capacity};
use crate::aws::ec2::Ec2;
use crate::aws::events::EventBridge;
use crate::kubernetes::Kubernetes;
use crate::kubernetes::node::Cordon;
use crate::world::World;

/// From a Spot interruption warning to the end.
const SPOT_LEAD_MS: i64 = 120_000;

/// Something that befalls one instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Incident {
    /// Scaled in: the group wants one less.
    ScaleIn,
    /// Replaced: an instance refresh, the longest lifetime, a zone's balance.
    Replace,
    /// Taken back by Spot after two minutes' notice.
    Spot,
    /// Recommended for replacement; often nothing follows.
    Rebalance,
    /// Rebooted onto a new root volume by an instance refresh.
    ReplaceRootVolume,
    /// The host dies without a word.
    Crash,
    /// The kubelet falls silent, the containers serve on.
    LoseKubelet,
    /// Somebody else cordons the node.
    Cordon,
    /// One more instance, in the same zone.
    ScaleOut,
    /// New pods of this workload never turn Ready from now on.
    Break(String),
    /// They do again.
    Mend(String),
}

/// An incident and whom it befalls.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What.
    pub incident: Incident,
    /// Whom.
    pub machine: Machine,
}

impl Planned {
    pub(super) fn happen(self, world: &mut World) {
        let Self { incident, machine: Machine { instance, node, zone } } = self;
        world.remember_aws();
        world.tell(format!("{incident:?} {instance} ({node})"));
        match incident {
            Incident::ScaleIn => Autoscaling::terminate(world, &instance, Capacity::Decrement),
            Incident::Replace => Autoscaling::terminate(world, &instance, Capacity::Keep),
            Incident::Spot => Ec2::interrupt(world, &instance, SPOT_LEAD_MS),
            Incident::Rebalance => EventBridge::rebalance(world, &instance),
            Incident::ReplaceRootVolume => Autoscaling::replace_root_volume(world, &instance),
            Incident::Crash => Ec2::crash(world, &instance),
            Incident::LoseKubelet => Kubernetes::lose_kubelet(world, &node),
            Incident::Cordon => Kubernetes::cordon(world, &node, Cordon::On),
            Incident::ScaleOut => drop(Autoscaling::launch(world, GROUP, &zone)),
            Incident::Break(name) => Kubernetes::break_workload(world, super::NAMESPACE, &name),
            Incident::Mend(name) => Kubernetes::mend_workload(world, super::NAMESPACE, &name),
        }
    }
}
