//! The timeline: what a change of an instance means, in words.
//!
//! Two samples that differ make one row for each thing that happened between them, and nothing that did not show in the
//! world: who took a target out is read from the calls, why a pod may go from where requests still come.

use crate::args::TrafficPolicy;
use crate::demo::act::Act;
use crate::demo::cast::Part;
use crate::demo::sample::{NodeState, Sample, removals};
use crate::demo::world::{GROUPS, NAMESPACE};
use sandbox::aws::autoscaling::{Ended, LifecycleState};
use sandbox::aws::elbv2::Health;
use sandbox::kubernetes::How;
use sandbox::{Millis, World};

/// How long before now a call counts as the cause of a change: the way through the wire.
const CALL_MS: Millis = 1_000;

/// One line of the timeline.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// When.
    pub(crate) at: Millis,
    /// `Ready`, `cordoned`, …
    pub(crate) node: &'static str,
    /// `healthy`, `draining`, … in the order of [`GROUPS`].
    pub(crate) targets: Vec<&'static str>,
    /// Pods on the node; `None` without a node.
    pub(crate) pods: Option<usize>,
    /// What happened.
    pub(crate) text: String,
}

/// What happened between two samples, in words.
pub(crate) struct Change<'a> {
    /// The moment before.
    pub(crate) before: &'a Sample,
    /// This moment.
    pub(crate) after: &'a Sample,
    /// The world at this moment.
    pub(crate) world: &'a World,
    /// Whom it is about.
    pub(crate) part: &'a Part,
    /// Its node's name.
    pub(crate) node: &'a str,
    /// The node that has just come in its place.
    pub(crate) replacement: Option<&'a str>,
    /// The target groups' ARNs.
    pub(crate) groups: &'a [String],
    /// `externalTrafficPolicy`.
    pub(crate) policy: TrafficPolicy,
}

impl Change<'_> {
    /// A line for each thing that happened, the cause before what follows.
    pub(crate) fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        texts.extend(self.ended_actions());
        texts.extend(self.host());
        texts.extend(self.node().into_iter().map(str::to_owned));
        if self.after.announced && !self.before.announced {
            texts.push("announced by an Event on its node, and left alone until then".to_owned());
        }
        texts.extend(self.lifecycle());
        for index in 0..self.groups.len() {
            texts.extend(self.target(index));
        }
        texts.extend(self.routes().map(str::to_owned));
        texts.extend(self.pods());
        let place = |node: &str| format!("{} is Ready in its place", short(node));
        texts.extend(self.replacement.map(place));
        texts
    }

    fn ended_actions(&self) -> Vec<String> {
        let mine = self.world.aws.autoscaling.actions.iter();
        let ended = mine.filter(|action| action.instance == self.part.instance);
        let ended =
            ended.filter_map(|action| Some((action, action.ended?))).skip(self.before.actions.1);
        ended
            .map(|(action, (_, how))| match how {
                Ended::Answered(verdict) => {
                    format!("hook {} answered: {}", action.hook, verdict.name())
                }
                Ended::HeartbeatTimeout(verdict) | Ended::GlobalTimeout(verdict) => {
                    format!("hook {} timed out: {}", action.hook, verdict.name())
                }
                Ended::Abandoned => format!("hook {} ended with another one", action.hook),
            })
            .collect()
    }

    fn lifecycle(&self) -> Option<String> {
        use LifecycleState as S;
        if self.before.lifecycle == self.after.lifecycle {
            return None;
        }
        let hooks: Vec<&str> = self
            .world
            .aws
            .autoscaling
            .waiting(&self.part.instance)
            .map(|action| action.hook.as_str())
            .collect();
        let hooks = hooks.join(", ");
        let Some(state) = self.after.lifecycle else {
            return (self.part.act == Act::EndInWarmPool)
                .then(|| "the instance is gone".to_owned());
        };
        Some(match state {
            S::Terminating => "the ASG begins to end the instance".to_owned(),
            S::ReplacingRootVolume => "the ASG begins to replace the root volume".to_owned(),
            S::WarmedPending if self.part.act == Act::ToWarmPool => {
                "the ASG begins to return the instance to the warm pool".to_owned()
            }
            S::Pending | S::WarmedPending => "the instance starts".to_owned(),
            S::PendingWait
            | S::TerminatingWait
            | S::ReplacingRootVolumeWait
            | S::WarmedPendingWait => {
                format!("hook {hooks} waits for an answer")
            }
            S::InService => "in service".to_owned(),
            S::WarmedStopped => "stopped in the warm pool".to_owned(),
            S::TerminatingRetained => "the ASG retains the instance".to_owned(),
            S::PendingProceed
            | S::TerminatingProceed
            | S::ReplacingRootVolumeProceed
            | S::RootVolumeReplaced
            | S::WarmedPendingProceed => return None,
        })
    }

    fn host(&self) -> Option<String> {
        let text = match (self.before.up, self.after.up) {
            (true, false) if let Some(blow) = self.part.act.blow() => blow.down(),
            (true, false) if self.part.act == Act::ReplaceRootVolume => "the host reboots",
            (true, false) if self.part.act == Act::Terminate => "EC2 took the instance",
            (true, false) => "the host is stopped",
            (false, true) => "the host runs",
            (true, true) | (false, false) => return None,
        };
        Some(text.to_owned())
    }

    fn node(&self) -> Vec<&'static str> {
        let mut texts = Vec::new();
        match (self.before.node, self.after.node) {
            (NodeState::Absent, NodeState::NotReady) => texts.push("its node registers"),
            (NodeState::Absent | NodeState::NotReady, NodeState::Ready) => {
                texts.push("its node is Ready");
            }
            (NodeState::Ready, NodeState::NotReady) if self.after.up => {
                texts.push("its node is not Ready yet");
            }
            (NodeState::Ready | NodeState::NotReady, NodeState::Absent) => {
                texts.push("its node is removed from the cluster");
            }
            _ => {}
        }
        match (self.before.cordoned, self.after.cordoned) {
            (false, true) => texts.push("cordoned"),
            (true, false) if self.after.node != NodeState::Absent => {
                texts.push("uncordoned: its taint and record are taken off");
            }
            _ => {}
        }
        texts
    }

    fn target(&self, index: usize) -> Option<String> {
        let (before, after) = (self.before.targets.get(index)?, self.after.targets.get(index)?);
        let (arn, (name, _)) = (self.groups.get(index)?, GROUPS.get(index)?);
        let is = |health: Option<Health>| health.map_or("", |health| health.describe().0);
        if is(before.health) == is(after.health) {
            return None;
        }
        let who =
            if self.is_called("DeregisterTargets", arn) { "taken" } else { "the ASG takes it" };
        match (before.health, after.health?) {
            (_, Health::Draining { .. }) => {
                let stay = self.healthy(arn);
                Some(format!("{who} out of {name}, where {stay} healthy targets remain"))
            }
            (None | Some(Health::Draining { .. }), Health::Initial(_)) => {
                let who =
                    if self.is_called("RegisterTargets", arn) { "put back" } else { "registered" };
                Some(format!("{who} in {name}"))
            }
            (_, Health::Healthy) => Some(format!("healthy in {name}")),
            (_, Health::Unhealthy(_)) => {
                let endpoints = self.world.kubernetes.endpoints(NAMESPACE, name);
                let local = self.policy == TrafficPolicy::Local;
                let empty = local && !endpoints.iter().any(|endpoint| endpoint.node == self.node);
                let why = if empty { ": Local, and no pod of it on this node yet" } else { "" };
                Some(format!("fails the health checks of {name}{why}"))
            }
            (_, Health::Unused(_) | Health::Initial(_)) => None,
        }
    }

    /// Whether the function made this call about a target group just now.
    fn is_called(&self, operation: &str, arn: &str) -> bool {
        let since = self.world.now - CALL_MS;
        let recent = self.world.calls.iter().rev().take_while(|call| call.at >= since);
        let operation = format!("elasticloadbalancing:{operation}");
        recent.into_iter().any(|call| call.operation == operation && call.subject.contains(arn))
    }

    fn healthy(&self, arn: &str) -> usize {
        let group = self.world.aws.elb.groups.get(arn);
        let targets = group.into_iter().flat_map(|group| group.targets.values());
        targets.filter(|target| target.health == Health::Healthy).count()
    }

    fn routes(&self) -> Option<&'static str> {
        match (self.before.is_routed(), self.after.is_routed()) {
            (true, false) => Some("last new request through this node"),
            (false, true) => Some("first request through this node"),
            (true, true) | (false, false) => None,
        }
    }

    fn pods(&self) -> Vec<String> {
        let mut texts: Vec<String> = removals(self.world, self.node)
            .enumerate()
            .skip(self.before.removed)
            .map(|(index, removal)| {
                let name = removal.pod.rsplit('/').next().unwrap_or_default();
                let why = self.why_evicted(index);
                match removal.how {
                    How::Evicted => format!("{name} evicted{why}"),
                    How::Deleted(grace) => format!("{name} deleted with {grace} s of grace"),
                }
            })
            .collect();
        if self.after.refused > self.before.refused {
            texts.push("an eviction is refused by a budget, and is tried again".to_owned());
        }
        if self.after.up && self.after.volumes < self.before.volumes {
            texts.push("its volume is detached".to_owned());
        }
        let left = |sample: &Sample| sample.pods + sample.going;
        if self.after.up && left(self.after) == 0 && left(self.before) > 0 {
            let stays = self.after.is_draining() || self.after.is_routed();
            let why = ": it stays for the connections of its targets";
            texts.push(format!("the node is empty{}", if stays { why } else { "" }));
        }
        texts
    }

    /// Why a pod may go: although requests still come through its node (said once, it holds for all that follow), or
    /// since none come any more.
    fn why_evicted(&self, index: usize) -> &'static str {
        match (self.policy, self.after.is_routed()) {
            (TrafficPolicy::Cluster, true) if index == 0 => {
                ": behind Cluster the node's targets do not need it"
            }
            (TrafficPolicy::Local, false) => ": no new request comes to it any more",
            (TrafficPolicy::Cluster | TrafficPolicy::Local, _) => "",
        }
    }
}

/// A node's name without its domain.
pub(crate) fn short(node: &str) -> &str {
    node.split('.').next().unwrap_or(node)
}
