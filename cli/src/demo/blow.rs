//! What befalls an instance without its group's doing, and how AWS does it.
//!
//! ```text
//!   announced ─> so much time ─> taken · stopped · rebooted        (Spot, capacity, scheduled changes)
//!   announced ─> nothing                                          (recommendations, failing hardware, what is far ahead)
//!   stopped before ─> runs again        scheduled before ─> called off
//! ```

use crate::demo::cast::Part;
use decision::signal::{Cause, Due, Interruption, SpotAction, Urgency};
use decision::snapshot::aws::InstanceState;
use decision::time::{Timestamp, human};
use sandbox::aws::ec2::{self, Ec2};
use sandbox::aws::events::{BlockTitle, ReservationShape};
use sandbox::aws::health::{Change, Health, Maintenance};
use sandbox::scenario::{Incident, Machine, Planned, ScenarioEvent};
use sandbox::world::Event;
use sandbox::{Millis, World};
use std::time::Duration;

/// From a Spot warning to the instance's end.
const SPOT_LEAD_MS: Millis = 120_000;
/// What is further ahead is not waited for: a message is kept in its queue for no longer than that.
pub(crate) const FAR_MS: Millis = 11 * 3_600_000;
/// When what is far ahead happens after all, if the function does not wait for it: its part is long over by then, and
/// nothing else would happen meanwhile.
pub(crate) const BROUGHT_FORWARD_MS: Millis = 600_000;
/// How far ahead the change was that is called off: within the lead in which a node is drained for it.
const CALLED_OFF_LEAD_MS: Millis = 1_800_000;
/// When it is called off: the node is empty by then.
const CALLED_OFF_AFTER_MS: Millis = 180_000;
/// When a stopped instance starts again.
const STARTS_AFTER_MS: Millis = 300_000;

/// What befalls an instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Blow {
    /// Spot takes it back.
    Spot(ec2::SpotAction),
    /// It is recommended for replacement; nothing follows.
    Recommended,
    /// Its capacity reservation is taken back.
    Reclaimed {
        /// From the warning to the end.
        lead_ms: Millis,
    },
    /// The capacity block that it runs in ends.
    BlockEnds,
    /// A change is scheduled.
    Scheduled {
        /// What is to happen.
        kind: Maintenance,
        /// From the announcement to the change.
        lead_ms: Millis,
        /// When it happens in the demo, if it does.
        in_ms: Option<Millis>,
    },
    /// A change was scheduled, and will not take place.
    CalledOff,
    /// Its hardware fails; nobody says when it will be gone.
    Failing,
    /// Somebody stops it.
    Stopped(Heard),
    /// Somebody terminates it.
    Terminated(Heard),
    /// Spot had stopped it, and it starts again.
    Started,
}

/// Which of the two state-changes of an end arrives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    /// `stopping` or `shutting-down`.
    First,
    /// Only `stopped` or `terminated`: events are best effort.
    Last,
}

impl Blow {
    /// What must happen for an interruption to be true, told then.
    pub(crate) fn of(interruption: &Interruption, told: Timestamp) -> Self {
        match &interruption.cause {
            Cause::Spot(SpotAction::Stop) => Self::Spot(ec2::SpotAction::Stop),
            Cause::Spot(SpotAction::Hibernate) => Self::Spot(ec2::SpotAction::Hibernate),
            Cause::Spot(SpotAction::Terminate | SpotAction::Unknown(_)) => {
                Self::Spot(ec2::SpotAction::Terminate)
            }
            Cause::Rebalance => Self::Recommended,
            Cause::CapacityReservation => {
                Self::Reclaimed { lead_ms: lead(interruption, told).unwrap_or(SPOT_LEAD_MS) }
            }
            Cause::CapacityBlock => Self::BlockEnds,
            Cause::Maintenance(maintenance) if maintenance.closed => Self::CalledOff,
            Cause::Maintenance(maintenance) => match interruption.due {
                Due::At(_) | Due::After(_) => {
                    let lead_ms = lead(interruption, told).unwrap_or_default();
                    let brought =
                        (maintenance.urgency == Urgency::AtOnce).then_some(BROUGHT_FORWARD_MS);
                    let in_ms = if lead_ms > FAR_MS { brought } else { Some(lead_ms) };
                    Self::Scheduled { kind: kind(&maintenance.code), lead_ms, in_ms }
                }
                Due::Unknown => Self::Failing,
            },
            Cause::State(InstanceState::Stopping) => Self::Stopped(Heard::First),
            Cause::State(InstanceState::Stopped) => Self::Stopped(Heard::Last),
            Cause::State(InstanceState::ShuttingDown) => Self::Terminated(Heard::First),
            Cause::State(InstanceState::Terminated) => Self::Terminated(Heard::Last),
            Cause::State(InstanceState::Running | InstanceState::Pending) => Self::Started,
        }
    }

    /// The words for people: what becomes of the instance.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Spot(ec2::SpotAction::Terminate) => "is taken back by Spot",
            Self::Spot(ec2::SpotAction::Stop) => "is stopped by Spot",
            Self::Spot(ec2::SpotAction::Hibernate) => "is hibernated by Spot at once",
            Self::Recommended => "is recommended for replacement, and nothing follows",
            Self::Reclaimed { .. } => "loses its capacity reservation",
            Self::BlockEnds => "runs in a capacity block that ends",
            Self::Scheduled { in_ms: None, .. } => "has a change announced that is far ahead",
            Self::Scheduled { kind, .. } => match kind {
                Maintenance::InstanceReboot
                | Maintenance::SystemReboot
                | Maintenance::SystemMaintenance => "is to be rebooted",
                Maintenance::Stop | Maintenance::PersistentRetirement => "is to be stopped",
                Maintenance::Retirement => "is to be retired",
            },
            Self::CalledOff => "was to be rebooted, and is not",
            Self::Failing => "runs on hardware that fails",
            Self::Stopped(_) => "is stopped by somebody",
            Self::Terminated(_) => "is terminated by somebody",
            Self::Started => "was stopped by Spot, and starts again",
        }
    }

    /// The words for the moment at which its host goes down.
    pub(crate) fn down(self) -> &'static str {
        match self {
            Self::Spot(ec2::SpotAction::Hibernate) => "EC2 hibernated the instance",
            Self::Scheduled { kind, .. } => match kind {
                Maintenance::InstanceReboot
                | Maintenance::SystemReboot
                | Maintenance::SystemMaintenance => "EC2 reboots the host",
                Maintenance::Stop | Maintenance::PersistentRetirement => "EC2 stopped the instance",
                Maintenance::Retirement => "EC2 took the instance",
            },
            Self::Spot(ec2::SpotAction::Stop) | Self::Started => "EC2 stopped the instance",
            Self::Stopped(_) => "the host is down",
            _ => "EC2 took the instance",
        }
    }

    /// Why nothing happened to its host, where nothing did.
    pub(crate) fn spared(self) -> &'static str {
        match self {
            Self::Recommended => "nothing followed the recommendation",
            Self::Scheduled { in_ms: None, .. } => "what is announced is further ahead than this",
            Self::CalledOff => "the change was called off",
            Self::Failing => "its host still runs; nobody says until when",
            _ => "its host stayed",
        }
    }

    /// A line for the head: what the demo does about what is far ahead.
    pub(crate) fn far(self) -> Option<String> {
        let Self::Scheduled { lead_ms, in_ms, .. } = self else { return None };
        let lead = human(Duration::from_millis(u64::try_from(lead_ms).unwrap_or(0)));
        match in_ms {
            Some(at) if at == lead_ms => None,
            Some(at) => Some(format!(
                "AWS acts in {lead}; here after {} s, since nothing else would happen until then",
                at / 1_000
            )),
            None => Some(format!("AWS acts in {lead}; this ends long before")),
        }
    }

    /// Whether it is further ahead than the demo goes.
    pub(crate) fn is_far(self) -> bool {
        matches!(self, Self::Scheduled { in_ms: None, .. })
    }

    /// Whether the signal comes before the host begins to go.
    pub(crate) fn leaves_time(self) -> bool {
        !matches!(
            self,
            Self::Spot(ec2::SpotAction::Hibernate) | Self::Stopped(_) | Self::Terminated(_)
        )
    }

    /// Whether the host goes and its group replaces it.
    pub(crate) fn takes(self) -> bool {
        match self {
            Self::Spot(_)
            | Self::Reclaimed { .. }
            | Self::BlockEnds
            | Self::Stopped(_)
            | Self::Terminated(_) => true,
            Self::Scheduled { in_ms: Some(_), .. } => !self.reboots(),
            Self::Recommended
            | Self::Scheduled { in_ms: None, .. }
            | Self::CalledOff
            | Self::Failing
            | Self::Started => false,
        }
    }

    /// Whether the host goes and comes back.
    pub(crate) fn reboots(self) -> bool {
        match self {
            Self::Scheduled { kind, in_ms: Some(_), .. } => match kind {
                Maintenance::InstanceReboot
                | Maintenance::SystemReboot
                | Maintenance::SystemMaintenance => true,
                Maintenance::Stop | Maintenance::PersistentRetirement | Maintenance::Retirement => {
                    false
                }
            },
            Self::Started => true,
            _ => false,
        }
    }

    /// The name of the group whose instances it befalls.
    pub(crate) fn group(self) -> &'static str {
        match self {
            Self::Reclaimed { .. } | Self::BlockEnds => "reserved",
            _ => "spot",
        }
    }

    /// Lets it happen.
    pub(crate) fn begin(self, world: &mut World, part: &Part) {
        let instance = part.instance.as_str();
        match self {
            Self::Spot(action) => Ec2::interrupt_with(world, instance, action, SPOT_LEAD_MS),
            Self::Recommended => Ec2::recommend_rebalance(world, instance),
            Self::Reclaimed { lead_ms } => {
                let shape = ReservationShape::Interruptible;
                Ec2::reclaim_reservation(world, instance, shape, lead_ms);
            }
            Self::BlockEnds => {
                if let Some(reservation) = &part.reservation {
                    Ec2::expire_block(world, reservation, BlockTitle::Block);
                }
            }
            Self::Scheduled { kind, lead_ms, in_ms } => {
                let at = world.now + in_ms.unwrap_or(lead_ms);
                drop(Health::schedule(world, Change::new(kind, instance, at)));
            }
            Self::CalledOff => {
                let at = world.now + CALLED_OFF_LEAD_MS;
                drop(Health::schedule(
                    world,
                    Change::new(Maintenance::InstanceReboot, instance, at),
                ));
                later(world, part, CALLED_OFF_AFTER_MS, Incident::MaintenanceCancelled);
            }
            Self::Failing => {}
            Self::Stopped(_) => Ec2::stop_by_hand(world, instance),
            Self::Terminated(_) => Ec2::terminate_by_hand(world, instance),
            Self::Started => {
                Ec2::interrupt_with(world, instance, ec2::SpotAction::Stop, SPOT_LEAD_MS);
                later(world, part, STARTS_AFTER_MS, Incident::Start);
            }
        }
    }

    /// Whether the instance is where it was going, after it began.
    pub(crate) fn is_over(self, world: &World, instance: &str) -> bool {
        if self.reboots() {
            let booted = world.aws.ec2.instances.get(instance).is_some_and(|known| known.boot > 1);
            return booted && world.aws.ec2.is_up(instance);
        }
        !self.takes() || !world.aws.ec2.is_up(instance)
    }
}

fn later(world: &mut World, part: &Part, after_ms: Millis, incident: Incident) {
    let host = world.aws.ec2.instances.get(&part.instance);
    let (node, zone) =
        host.map(|host| (host.private_dns.clone(), host.zone.clone())).unwrap_or_default();
    let machine = Machine { instance: part.instance.clone(), node, zone };
    let planned = Planned { incident, machine };
    world.after(after_ms, Event::Scenario(ScenarioEvent::Incident(planned)));
}

/// From the telling to the act, if anybody says; nothing where it is past.
fn lead(interruption: &Interruption, told: Timestamp) -> Option<Millis> {
    let lead = told.until(interruption.hard(told)?);
    Some(Millis::try_from(lead.as_millis()).unwrap_or(Millis::MAX))
}

/// The change that an `eventTypeCode` speaks of.
fn kind(code: &str) -> Maintenance {
    let has = |word: &str| code.contains(word);
    if has("PERSISTENT") && has("RETIREMENT") {
        Maintenance::PersistentRetirement
    } else if has("RETIREMENT") || has("TERMINATION") {
        Maintenance::Retirement
    } else if has("STOP") {
        Maintenance::Stop
    } else if has("SYSTEM") {
        Maintenance::SystemReboot
    } else if has("POWER") {
        Maintenance::SystemMaintenance
    } else {
        Maintenance::InstanceReboot
    }
}
