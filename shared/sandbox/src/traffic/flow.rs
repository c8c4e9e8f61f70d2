//! Shares: how the requests of one route spread over targets and pods, and what becomes of each share.
//!
//! Pure. The load balancer gives each target the same share, a kube-proxy each of its endpoints.

use super::Entry;
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

/// A target as a request finds it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) instance: Arc<str>,
    pub(super) up: bool,
    /// Whether a kube-proxy runs here (or none is needed).
    pub(super) forwards: bool,
    /// Where the node sends a request on to.
    pub(super) hops: Vec<Hop>,
}

/// A pod as a request finds it.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    pub(super) pod: Arc<str>,
    /// It listens now.
    pub(super) alive: bool,
    /// Its instance, if that was ever known.
    pub(super) host: Option<Arc<str>>,
    pub(super) host_up: bool,
}

/// A share of a route's requests that all fare the same.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flow {
    /// The target; empty when there is none.
    pub(super) instance: Arc<str>,
    pub(super) pod: Option<Arc<str>>,
    /// The pod's instance.
    pub(super) host: Option<Arc<str>>,
    /// Of all requests of the route.
    pub(super) share: f64,
    /// Why they are dropped, if they are.
    pub(super) cause: Option<Cause>,
}

/// Spreads one request over all ways it can go.
#[expect(clippy::cast_precision_loss, reason = "counts of targets and pods are far below 2^52")]
pub(super) fn flows(targets: &[Target], entry: Entry) -> Vec<Flow> {
    if targets.is_empty() {
        return vec![dropped("".into(), 1.0, Cause::NoTarget)];
    }
    let share = 1.0 / targets.len() as f64;
    let mut flows = Vec::with_capacity(targets.len());
    for target in targets {
        let cause = match (target.up, target.forwards, target.hops.is_empty(), entry) {
            (false, _, _, _) => Cause::TargetGone,
            (true, false, _, _) => Cause::NotForwarding,
            (true, true, true, Entry::Cluster) => Cause::NoReadyPod,
            (true, true, true, Entry::Local) => Cause::NoLocalPod,
            (true, true, true, Entry::HostPort) => Cause::NoHostPod,
            (true, true, false, _) => {
                let each = share / target.hops.len() as f64;
                flows.extend(target.hops.iter().map(|hop| onward(target, hop, each)));
                continue;
            }
        };
        flows.push(dropped(target.instance.clone(), share, cause));
    }
    flows
}

fn onward(target: &Target, hop: &Hop, share: f64) -> Flow {
    let cause = match (hop.alive, hop.host_up) {
        (true, _) => None,
        (false, true) => Some(Cause::PodNotListening),
        (false, false) => Some(Cause::PodNodeGone),
    };
    Flow {
        instance: target.instance.clone(),
        pod: Some(hop.pod.clone()),
        host: hop.host.clone(),
        share,
        cause,
    }
}

fn dropped(instance: Arc<str>, share: f64, cause: Cause) -> Flow {
    Flow { instance, pod: None, host: None, share, cause: Some(cause) }
}
