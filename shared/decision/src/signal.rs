//! What AWS said about one instance, after parsing: who, by which hook, on which way.
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

use crate::id::{AsgName, HookName, HookToken, InstanceId};
use crate::time::Timestamp;

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
