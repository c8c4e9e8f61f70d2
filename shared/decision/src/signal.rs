//! What AWS said about one instance, after parsing: who, why, by when; of a hook also on which way.
//!
//! A signal is a lifecycle hook that waits for an answer, or an interruption: AWS takes the instance, has taken it, or
//! says that it may. Only a hook is answered.
//!
//! A lifecycle hook's event does not always mean that an instance is born or dies. Where the instance
//! comes from and goes to is the `HookRoute`; read it together with the `Transition`:
//!
//! | Origin → Destination            | launching     | terminating   |
//! |---------------------------------|---------------|---------------|
//! | EC2 → AutoScalingGroup          | `Normal`      |               |
//! | AutoScalingGroup → EC2          |               | `Normal`      |
//! | EC2 → WarmPool                  | `WarmPoolIn`  |               |
//! | AutoScalingGroup → WarmPool     |               | `WarmPoolIn`  |
//! | WarmPool → AutoScalingGroup     | `WarmPoolOut` |               |
//! | WarmPool → EC2                  |               | `WarmPoolEnd` |
//! | Action ReplaceRootVolume        | `RootVolume`  | `RootVolume`  |

use crate::id::{AsgName, HookName, HookToken, InstanceId, ReservationId};
use crate::snapshot::aws::InstanceState;
use crate::time::Timestamp;
use std::fmt;
use std::time::Duration;

/// One event from AWS, parsed. It is trusted for *who* and *by when*; the rest is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The instance it is about.
    pub instance: InstanceId,
    /// When AWS says it was sent; absent where the event has no time or only a placeholder.
    pub sent_at: Option<Timestamp>,
    /// The account, 12 digits; absent in messages that carry none.
    pub account: Option<String>,
    /// The region; absent in messages that an Auto Scaling group sends straight to SQS or SNS.
    pub region: Option<String>,
    /// What was said.
    pub kind: SignalKind,
}

/// What a signal says, with what only this kind carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalKind {
    /// A lifecycle hook waits for an answer.
    Hook(HookSignal),
    /// AWS takes the instance, has taken it, or says that it may.
    Interruption(Interruption),
}

/// One interruption of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interruption {
    /// What happens to the instance, in AWS's words.
    pub cause: Cause,
    /// When AWS acts.
    pub due: Due,
}

/// Why an instance is interrupted: one for each kind of event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `EC2 Spot Instance Interruption Warning`.
    Spot(SpotAction),
    /// `EC2 Instance Rebalance Recommendation`: the risk is high; often nothing follows.
    Rebalance,
    /// `EC2 Capacity Reservation Instance Interruption Warning`.
    CapacityReservation,
    /// `Capacity Block Expiration Warning`.
    CapacityBlock,
    /// `AWS Health Event` about a scheduled change.
    Maintenance(Maintenance),
    /// `EC2 Instance State-change Notification`; never `pending`.
    State(InstanceState),
}

/// `instance-action` of a Spot warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpotAction {
    /// `terminate`
    Terminate,
    /// `stop`: the same instance may start again later.
    Stop,
    /// `hibernate`: begins at once, without the two minutes.
    Hibernate,
    /// Any other, shortened; counts as `terminate`.
    Unknown(String),
}

/// What AWS Health announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// `eventArn`: what tells one announcement from another, through all its pages, repetitions and its end.
    pub arn: String,
    /// `eventTypeCode`
    pub code: String,
    /// What the code asks for.
    pub urgency: Urgency,
    /// `statusCode` is `closed`: it will not take place, or is over.
    pub closed: bool,
}

/// How soon a node must be left for a scheduled change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// The hardware is failing: now, whatever the start time.
    AtOnce,
    /// It is interrupted at the start time, and not before.
    AtStart,
}

/// When AWS acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// So long after the signal was sent; zero when it acts already.
    After(Duration),
    /// At this instant.
    At(Timestamp),
    /// Nobody said; perhaps never.
    Unknown,
}

impl Interruption {
    /// The instant at which AWS acts, for a signal that was sent then.
    pub fn hard(&self, sent_at: Timestamp) -> Option<Timestamp> {
        match self.due {
            Due::After(notice) => Some(sent_at + notice),
            Due::At(at) => Some(at),
            Due::Unknown => None,
        }
    }

    /// What tells this interruption from others of the same instance and generation. Two warnings of one kind are one.
    pub fn key(&self) -> String {
        match &self.cause {
            Cause::Maintenance(maintenance) => {
                format!("{}:{}", self.cause.label(), maintenance.arn)
            }
            cause => cause.label().to_owned(),
        }
    }
}

impl Cause {
    /// The word for scheduled changes.
    pub const MAINTENANCE: &'static str = "maintenance";

    /// One word of a closed set: for metrics, records and policy.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Spot(_) => "spot",
            Self::Rebalance => "rebalance",
            Self::CapacityReservation => "capacity-reservation",
            Self::CapacityBlock => "capacity-block",
            Self::Maintenance(_) => Self::MAINTENANCE,
            Self::State(_) => "state-change",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spot(SpotAction::Terminate) => out.write_str("Spot warning, terminate"),
            Self::Spot(SpotAction::Stop) => out.write_str("Spot warning, stop"),
            Self::Spot(SpotAction::Hibernate) => out.write_str("Spot warning, hibernate"),
            Self::Spot(SpotAction::Unknown(action)) => {
                write!(out, "Spot warning, unknown action `{action}`")
            }
            Self::Rebalance => out.write_str("rebalance recommendation"),
            Self::CapacityReservation => out.write_str("capacity reservation interrupted"),
            Self::CapacityBlock => out.write_str("capacity block expires"),
            Self::Maintenance(maintenance) if maintenance.closed => {
                write!(out, "maintenance {} closed", maintenance.code)
            }
            Self::Maintenance(maintenance) => write!(out, "maintenance {}", maintenance.code),
            Self::State(state) => write!(out, "instance {state}"),
        }
    }
}

/// A capacity block that ends: a signal for each instance in it, once these are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The capacity reservation.
    pub id: ReservationId,
    /// When AWS says the event was sent.
    pub sent_at: Option<Timestamp>,
    /// The account, 12 digits.
    pub account: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// When its instances begin to be terminated.
    pub due: Due,
}

impl Reservation {
    /// The signal for one instance of the reservation.
    pub fn signal(&self, instance: InstanceId) -> Signal {
        let interruption = Interruption { cause: Cause::CapacityBlock, due: self.due };
        Signal {
            instance,
            sent_at: self.sent_at,
            account: self.account.clone(),
            region: self.region.clone(),
            kind: SignalKind::Interruption(interruption),
        }
    }
}

impl Signal {
    /// The same signal by a clock that is so far behind: what is due in it is that much earlier. When it was sent stays AWS's
    /// own time, since it is compared with others of AWS's.
    #[must_use]
    pub fn moved_back(mut self, by: Duration) -> Self {
        if let SignalKind::Interruption(Interruption { due: Due::At(at), .. }) = &mut self.kind {
            *at = *at - by;
        }
        self
    }

    /// The hook that waits, if one does.
    pub const fn hook(&self) -> Option<&HookSignal> {
        match &self.kind {
            SignalKind::Hook(hook) => Some(hook),
            SignalKind::Interruption(_) => None,
        }
    }

    /// Whether it says that the instance starts or runs: nobody waits for it, and most speak of new instances.
    pub const fn is_start(&self) -> bool {
        use InstanceState::{Pending, Running};
        let SignalKind::Interruption(interruption) = &self.kind else { return false };
        matches!(interruption.cause, Cause::State(Pending | Running))
    }
}

/// One lifecycle action: the hook that holds the instance, and the token that answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSignal {
    /// Whether the instance is on its way in or out.
    pub transition: Transition,
    /// The Auto Scaling group that holds the instance.
    pub asg: AsgName,
    /// The hook's name; other tools may have hooks on the same group.
    pub hook: HookName,
    /// The token of this one lifecycle action. Each hook of a transition has its own.
    pub token: HookToken,
    /// The hook's `NotificationMetadata`, as it was set on the hook.
    pub metadata: Option<String>,
    /// Where the instance comes from and goes to.
    pub route: HookRoute,
}

/// `LifecycleTransition` of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transition {
    /// `autoscaling:EC2_INSTANCE_LAUNCHING`: an arrival.
    Launching,
    /// `autoscaling:EC2_INSTANCE_TERMINATING`: a departure.
    Terminating,
}

impl Transition {
    /// The value of `LifecycleTransition` in events and in the Auto Scaling API.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Launching => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Self::Terminating => "autoscaling:EC2_INSTANCE_TERMINATING",
        }
    }
}

/// The way an instance is on, from the event's `Origin`, `Destination` and `Action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookRoute {
    /// EC2 → AutoScalingGroup, or AutoScalingGroup → EC2: the instance enters service for the first
    /// time, or leaves it for good. Also what an event means that names no way, or one that we do
    /// not know: draining what a terminate hook holds, and waiting for what a launch hook holds, is
    /// right in every case, and the instance's lifecycle state is looked up before the first write.
    Normal,
    /// → WarmPool. Launching: a new instance is prepared and then stopped, so its node is not waited
    /// for. Terminating: a serving instance goes back to the pool; drain it, it will return with
    /// the same id.
    WarmPoolIn,
    /// WarmPool → AutoScalingGroup, launching only: a prepared instance enters service. Its id, and
    /// perhaps its node object with our marks on it, were there before.
    WarmPoolOut,
    /// WarmPool → EC2, terminating only: a prepared instance dies in the pool. It served nothing,
    /// and most often has no running node: there is a hook to answer, rarely something to drain.
    WarmPoolEnd,
    /// Action ReplaceRootVolume, AutoScalingGroup → AutoScalingGroup. Terminating: the instance
    /// leaves service, its disk is replaced. Launching: the same instance id comes back with a new
    /// boot, and what we changed for the departure must be taken back.
    RootVolume,
}

impl HookRoute {
    /// Whether the same instance id is to be expected in service again after this departure.
    pub const fn comes_back(self) -> bool {
        matches!(self, Self::WarmPoolIn | Self::RootVolume)
    }

    /// Reads the way from the event's fields. Action and Destination say what happens next, so they
    /// come first; Origin matters only for what leaves the pool.
    pub(crate) fn read(
        transition: Transition,
        origin: Option<&str>,
        destination: Option<&str>,
        action: Option<&str>,
    ) -> Self {
        match (action, origin, destination) {
            (Some("ReplaceRootVolume"), _, _) => Self::RootVolume,
            (_, _, Some("WarmPool")) => Self::WarmPoolIn,
            (_, Some("WarmPool"), _) => match transition {
                Transition::Launching => Self::WarmPoolOut,
                Transition::Terminating => Self::WarmPoolEnd,
            },
            _ => Self::Normal,
        }
    }
}
