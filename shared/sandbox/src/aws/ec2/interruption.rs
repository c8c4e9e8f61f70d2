//! How EC2 takes an instance away: what it announces, and what it does then.
//!
//! | announced | lead | then |
//! |---|---|---|
//! | Spot warning | 120 s; none before a hibernation | terminated, stopped or hibernated |
//! | capacity reservation or block interruption | 120 s | terminated |
//! | capacity block expiration | 10 min | its instances are terminated, one after the other |
//! | scheduled change (in `health`) | days | rebooted, stopped or terminated |

use super::{Ec2, Purchase, State, Step};
use crate::aws::AwsEvent;
use crate::aws::events::{BlockTitle, EventBridge, ReservationShape};
use crate::aws::health::Health;
use crate::measure;
use crate::world::{Event, Millis, World};

/// From a capacity block's expiration warning to the first termination.
const BLOCK_LEAD_MS: Millis = 600_000;

/// From the warning to the end of the block: terminations begin 30 minutes before it.
const BLOCK_END_MS: Millis = 2_400_000;

/// From a block's first termination to its last.
const BLOCK_SPREAD_MS: std::ops::RangeInclusive<Millis> = 0..=60_000;

/// What Spot does with an instance that it takes back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SpotAction {
    /// It is terminated.
    Terminate,
    /// It is stopped, and may be started again.
    Stop,
    /// It is hibernated, which begins with the warning.
    Hibernate,
}

impl SpotAction {
    /// EC2's word, as in `instance-action`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "terminate",
            Self::Stop => "stop",
            Self::Hibernate => "hibernate",
        }
    }
}

/// How an announced end looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// The instance is terminated.
    Terminated,
    /// It is stopped.
    Stopped,
    /// It is rebooted.
    Rebooted,
}

/// Something announced that is due.
#[derive(Clone, Debug)]
pub struct Due {
    instance: String,
    /// The launch that it was announced for: an instance that was stopped and started since is on other hardware.
    launched_at: Millis,
    ended: Ended,
    reason: &'static str,
    /// The Health event that announced it.
    health: Option<String>,
}

impl Ec2 {
    /// Warns of a Spot interruption (best effort), and terminates the instance `lead_ms` later.
    pub fn interrupt(world: &mut World, id: &str, lead_ms: Millis) {
        Self::interrupt_with(world, id, SpotAction::Terminate, lead_ms);
    }

    /// Warns of a Spot interruption (best effort), and carries it out `lead_ms` later; a hibernation begins at once.
    pub fn interrupt_with(world: &mut World, id: &str, action: SpotAction, lead_ms: Millis) {
        let lead_ms = if action == SpotAction::Hibernate { 0 } else { lead_ms };
        let at = world.now + lead_ms;
        let Some(instance) = world.aws.ec2.instances.get_mut(id) else { return };
        instance.purchase = Purchase::Spot;
        instance.reclaimed_at = Some(at);
        instance.spot_action = action;
        EventBridge::spot_warning_of(world, id, action);
        let (ended, reason) = match action {
            SpotAction::Terminate => (Ended::Terminated, "Server.SpotInstanceTermination"),
            SpotAction::Stop | SpotAction::Hibernate => {
                (Ended::Stopped, "Server.SpotInstanceShutdown")
            }
        };
        Self::announced(world, id, (at, ended, reason), None);
        crate::aws::autoscaling::Autoscaling::warned(world, id);
    }

    /// Recommends to replace an instance (best effort). Often nothing follows.
    pub fn recommend_rebalance(world: &mut World, id: &str) {
        EventBridge::rebalance(world, id);
        crate::aws::autoscaling::Autoscaling::recommended(world, id);
    }

    /// Takes back the capacity reservation of an instance: an event, and its termination `lead_ms` later.
    pub fn reclaim_reservation(
        world: &mut World,
        id: &str,
        shape: ReservationShape,
        lead_ms: Millis,
    ) {
        let at = world.now + lead_ms;
        EventBridge::reservation_warning(world, id, (shape, at));
        Self::announced(world, id, (at, Ended::Terminated, "Server.InternalError"), None);
    }

    /// Warns that a capacity block ends in 40 minutes; its instances are terminated from 10 minutes on. Nothing
    /// names them but the reservation's id.
    pub fn expire_block(world: &mut World, reservation: &str, title: BlockTitle) {
        EventBridge::block_expiration(world, reservation, (title, world.now + BLOCK_END_MS));
        let inside = |id: &&String| {
            let instance = world.aws.ec2.instances.get(*id);
            instance.and_then(|it| it.capacity_reservation.as_deref()) == Some(reservation)
        };
        let ids: Vec<String> = world.aws.ec2.instances.keys().filter(inside).cloned().collect();
        for id in ids {
            let at = world.now + BLOCK_LEAD_MS + world.rng.i64(BLOCK_SPREAD_MS);
            Self::announced(world, &id, (at, Ended::Terminated, "Server.InternalError"), None);
        }
    }

    /// Somebody stops an instance by hand: its system shuts down first.
    pub fn stop_by_hand(world: &mut World, id: &str) {
        if let Some(State::Pending | State::Running) = world.aws.ec2.state(id) {
            let shutdown = world.aws.ec2.timing.shutdown_ms.clone();
            Self::end(world, id, (State::Stopping, shutdown), "Client.UserInitiatedShutdown");
        }
    }

    /// Somebody terminates an instance by hand: its system shuts down first.
    pub fn terminate_by_hand(world: &mut World, id: &str) {
        if let Some(State::Pending | State::Running) = world.aws.ec2.state(id) {
            let shutdown = world.aws.ec2.timing.shutdown_ms.clone();
            Self::end(world, id, (State::ShuttingDown, shutdown), "Client.UserInitiatedShutdown");
        }
    }

    /// Plans the end that was announced, and begins to measure the departure.
    pub(crate) fn announced(
        world: &mut World,
        id: &str,
        (at, ended, reason): (Millis, Ended, &'static str),
        health: Option<String>,
    ) {
        // A scheduled change may be days ahead: its time is not a departure's.
        if health.is_none() {
            measure::warned(world, id);
        }
        let Some(instance) = world.aws.ec2.instances.get(id) else { return };
        let launched_at = instance.launched_at;
        let due = Due { instance: id.to_owned(), launched_at, ended, reason, health };
        world.plan(at, Event::Aws(AwsEvent::Ec2(Step::Due(due))));
    }
}

impl Due {
    pub(super) fn happen(&self, world: &mut World) {
        let Some(known) = world.aws.ec2.instances.get(&self.instance) else { return };
        let here = known.launched_at == self.launched_at;
        let runs = matches!(known.state, State::Pending | State::Running);
        if let Some(event) = &self.health
            && !Health::begins(world, event, &self.instance)
        {
            return;
        }
        if !here || !runs {
            return;
        }
        match self.ended {
            Ended::Terminated => Ec2::terminate(world, &self.instance, self.reason),
            Ended::Stopped => Ec2::stop(world, &self.instance, self.reason),
            Ended::Rebooted => Ec2::reboot(world, &self.instance),
        }
    }
}
