//! What befalls an instance, or the application on it, at its time.

use super::{GROUP, Machine, ScenarioEvent};
use crate::aws::autoscaling::{Autoscaling, Capacity};
use crate::aws::ec2::{Ec2, SpotAction};
use crate::aws::events::{BlockTitle, ReservationShape};
use crate::aws::health::{Change, Entities, Health, Maintenance};
use crate::kubernetes::Kubernetes;
use crate::kubernetes::node::Cordon;
use crate::world::{Event, Millis, World};

/// From a Spot interruption warning, or that of a capacity reservation, to the end.
const SPOT_LEAD_MS: Millis = 120_000;

/// The Region that sends copies of this one's Health events.
const BACKUP_REGION: &str = "us-west-2";

/// Something that befalls one instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Incident {
    /// Scaled in: the group wants one less.
    ScaleIn,
    /// Replaced: an instance refresh, the longest lifetime, a zone's balance.
    Replace,
    /// Taken back by Spot after two minutes' notice.
    Spot,
    /// Stopped by Spot after two minutes' notice; it may be started again.
    SpotStop,
    /// Hibernated by Spot, which begins with the notice.
    SpotHibernate,
    /// Recommended for replacement; often nothing follows.
    Rebalance,
    /// Recommended for replacement, and taken back by Spot some time after.
    RebalanceThenSpot {
        /// From the recommendation to the warning.
        after_ms: Millis,
    },
    /// Its interruptible capacity reservation is taken back in two minutes.
    Reservation,
    /// It is taken out of its capacity block in two minutes.
    Block,
    /// The capacity block that it runs in ends in 40 minutes.
    BlockExpires(BlockTitle),
    /// Health announces a scheduled change of it.
    Maintenance {
        /// What is to happen.
        kind: Maintenance,
        /// From the announcement to the change.
        in_ms: Millis,
    },
    /// The scheduled change of it is called off.
    MaintenanceCancelled,
    /// Somebody stops it by hand.
    Stop,
    /// Somebody terminates it by hand.
    Terminate,
    /// Somebody starts it, if it is stopped.
    Start,
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
            Incident::SpotStop => {
                Ec2::interrupt_with(world, &instance, SpotAction::Stop, SPOT_LEAD_MS);
            }
            Incident::SpotHibernate => {
                Ec2::interrupt_with(world, &instance, SpotAction::Hibernate, 0);
            }
            Incident::Rebalance => Ec2::recommend_rebalance(world, &instance),
            Incident::RebalanceThenSpot { after_ms } => {
                Ec2::recommend_rebalance(world, &instance);
                let machine = Machine { instance, node, zone };
                let next = Self { incident: Incident::Spot, machine };
                world.after(after_ms, Event::Scenario(ScenarioEvent::Incident(next)));
            }
            Incident::Reservation => {
                let shape = ReservationShape::Interruptible;
                Ec2::reclaim_reservation(world, &instance, shape, SPOT_LEAD_MS);
            }
            Incident::Block => {
                let shape = ReservationShape::CapacityBlock;
                Ec2::reclaim_reservation(world, &instance, shape, SPOT_LEAD_MS);
            }
            Incident::BlockExpires(title) => expire_block(world, &instance, title),
            Incident::Maintenance { kind, in_ms } => maintain(world, &instance, (kind, in_ms)),
            Incident::MaintenanceCancelled => {
                let event = world.aws.health.of_instance(&instance).map(str::to_owned);
                if let Some(event) = event {
                    Health::cancel(world, &event);
                }
            }
            Incident::Stop => Ec2::stop_by_hand(world, &instance),
            Incident::Terminate => Ec2::terminate_by_hand(world, &instance),
            Incident::Start => Ec2::start(world, &instance),
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

/// The block of an instance ends; one that runs in none is put into one, since only its id will be told.
fn expire_block(world: &mut World, instance: &str, title: BlockTitle) {
    let made = format!("cr-{:017x}", world.rng.u64(..) >> 4);
    let Some(known) = world.aws.ec2.instances.get_mut(instance) else { return };
    let reservation = known.capacity_reservation.get_or_insert(made).clone();
    Ec2::expire_block(world, &reservation, title);
}

/// Health announces a change, in one of the ways in which it names its instances, and sometimes from a backup
/// Region as well.
fn maintain(world: &mut World, instance: &str, (kind, in_ms): (Maintenance, Millis)) {
    let entities = if world.rng.bool() { Entities::Bare } else { Entities::Arn };
    let backup = (world.rng.u32(0..4) == 0).then(|| BACKUP_REGION.to_owned());
    let change = Change::new(kind, instance, world.now + in_ms);
    Health::schedule(world, Change { entities, backup, ..change });
}
