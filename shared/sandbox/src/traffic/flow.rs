//! The words of traffic: why requests are dropped, where a target leads, and which pods are behind it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Why a request was dropped.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Cause {
    /// The load balancer knows no target at all.
    NoTarget,
    /// It sent the request to a node that is not there.
    TargetGone,
    /// The node is up, but its kube-proxy has not started yet.
    NotForwarding,
    /// The kube-proxy knows no ready pod.
    NoReadyPod,
    /// Policy Local, and no ready pod on this node.
    NoLocalPod,
    /// Nothing listens on the host port.
    NoHostPod,
    /// The pod's node is not there.
    PodNodeGone,
    /// The pod does not listen any more, or not yet.
    PodNotListening,
    /// The request was being served when its pod or one of its nodes went.
    CutInFlight,
}

impl Cause {
    /// The words for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::NoTarget => "no target in the group",
            Self::TargetGone => "target's node gone",
            Self::NotForwarding => "target's node not forwarding yet",
            Self::NoReadyPod => "no ready pod behind the Service",
            Self::NoLocalPod => "no ready pod behind Local",
            Self::NoHostPod => "nothing listens on the host port",
            Self::PodNodeGone => "pod's node gone",
            Self::PodNotListening => "pod stopped listening",
            Self::CutInFlight => "cut in flight",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Pods among which a node chooses, each as likely as the others.
#[derive(Debug)]
pub(super) struct Pool {
    /// No other pool has it.
    pub(super) number: u64,
    pub(super) pods: BTreeSet<Arc<str>>,
}

/// Where a target leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// It is no target.
    Absent,
    /// Nowhere.
    Dropped(Cause),
    /// Where all nodes of this lane forward to.
    Lane(Arc<str>),
}

/// Where the nodes of a lane forward to.
#[derive(Clone, Debug)]
pub(super) enum Onward {
    /// Nowhere.
    Dropped(Cause),
    /// To any of these pods.
    Pool(Arc<Pool>),
}

/// A pod as a request finds it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Hop {
    /// It accepts connections.
    pub(super) serves: bool,
    /// Its containers run, so that what it has begun goes on.
    pub(super) runs: bool,
    /// Its instance, if that was ever known.
    pub(super) host: Option<Arc<str>>,
    pub(super) host_up: bool,
}

impl Hop {
    /// Why a request that is sent here now is dropped, if it is.
    pub(super) fn cause(&self) -> Option<Cause> {
        match (self.serves, self.host_up) {
            (true, _) => None,
            (false, true) => Some(Cause::PodNotListening),
            (false, false) => Some(Cause::PodNodeGone),
        }
    }
}
