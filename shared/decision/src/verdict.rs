//! What is to happen to one pod now, and why: a list of small rules, the first that applies decides.

use crate::id::PodKey;
use crate::snapshot::cluster::Pod;
use crate::time::{Timestamp, human};
use std::fmt;
use std::time::Duration;

/// The verdict on one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, and nobody waits for it.
    Leave(Stays),
    /// It stays for now; look again at the instant.
    Hold(Timestamp, Held),
    /// It is evicted now.
    Evict,
    /// Its ReplicaSet makes a replacement first (opt-in; not decided yet by any rule).
    StepAside,
    /// It is deleted now with this grace, budgets or not.
    Force(Duration, Forced),
    /// Its containers have stopped.
    Gone,
}

/// Why a pod may stay on a node that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stays {
    /// A DaemonSet would put it straight back.
    DaemonSet,
    /// A static pod: the kubelet's own.
    Static,
    /// It has run to its end.
    Finished,
    /// It tolerates our taint and `node.kubernetes.io/unschedulable`: its owner could put it straight back here.
    WouldComeBack,
    /// Its grace ended a minute ago and no kubelet says that it stopped.
    Stuck,
}

/// Why a pod is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is being deleted; its grace ends at the instant.
    Terminating,
    /// An annotation asks for it to be left alone.
    Protected(&'static str),
    /// Requests still arrive for it through this node.
    Serving,
    /// A target of this node that leads to it can't leave its group yet.
    StillRegistered,
    /// It is critical and leaves after all the others.
    AfterOthers,
    /// The implicit budget: it is the last Ready pod of a Service, or too many of its owner's have left.
    ImplicitBudget(String),
    /// A PodDisruptionBudget allows none.
    Budget(PodKey),
    /// Several budgets guard it, which the eviction API refuses.
    TwoBudgets(Vec<PodKey>),
    /// A sibling finds no room, so its replacement would not either.
    NoRoom(PodKey),
    /// An eviction was refused lately.
    Refused(String),
    /// What it depends on could not be read.
    Unread(String),
}

/// Why a pod is deleted although it could not be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forced {
    /// The infrastructure acts at this instant, with or without us.
    HardDeadline(Timestamp),
    /// The longest drain is over and the policy says force.
    LongestDrain,
    /// A person said so on the node.
    Person,
}

impl fmt::Display for Stays {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::DaemonSet => "a DaemonSet's pod, ends with the node",
            Self::Static => "a static pod, ends with the node",
            Self::Finished => "finished",
            Self::WouldComeBack => "tolerates the cordon and would come straight back",
            Self::Stuck => "its grace is over and no kubelet says that it stopped",
        })
    }
}

impl fmt::Display for Held {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminating => write!(out, "it is terminating"),
            Self::Protected(annotation) => write!(out, "annotation {annotation}"),
            Self::Serving => write!(out, "requests still arrive for it through this node"),
            Self::StillRegistered => write!(out, "this node is still a target that leads to it"),
            Self::AfterOthers => write!(out, "critical, leaves after the others"),
            Self::ImplicitBudget(why) => write!(out, "{why}"),
            Self::Budget(budget) => write!(out, "PDB {budget} allows no disruption"),
            Self::TwoBudgets(budgets) => {
                write!(out, "more than one PDB guards it, which the eviction API refuses:")?;
                budgets.iter().try_for_each(|budget| write!(out, " {budget}"))
            }
            Self::NoRoom(pod) => write!(out, "no room for its replacement: {pod} is unschedulable"),
            Self::Refused(why) => write!(out, "eviction refused: {why}"),
            Self::Unread(why) => write!(out, "not known: {why}"),
        }
    }
}

impl fmt::Display for Forced {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HardDeadline(at) => write!(out, "the hard deadline at {at}"),
            Self::LongestDrain => write!(out, "the longest drain is over, policy force"),
            Self::Person => write!(out, "a person's order on the node"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leave(why) => write!(out, "left: {why}"),
            Self::Hold(_, why) => write!(out, "held: {why}"),
            Self::Evict => write!(out, "evict"),
            Self::StepAside => write!(out, "step aside"),
            Self::Force(grace, why) => write!(out, "delete with grace {}: {why}", human(*grace)),
            Self::Gone => write!(out, "gone"),
        }
    }
}

/// A pod and its verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What is to happen to it.
    pub verdict: Verdict,
}

impl Judged<'_> {
    /// Whether this turn tries to remove the pod.
    pub fn is_removed(&self) -> bool {
        matches!(self.verdict, Verdict::Evict | Verdict::Force(..))
    }

    /// Whether the departure still waits for this pod.
    pub fn is_waited_for(&self) -> bool {
        !matches!(self.verdict, Verdict::Leave(_) | Verdict::Gone)
    }
}
