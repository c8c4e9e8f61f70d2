//! What AWS says: the Auto Scaling group, its hooks, the instance, and the target groups.

use super::Read;
use crate::id::{AsgName, HookName, InstanceId, TargetGroupArn};
use crate::signal::Transition;
use crate::step::TargetId;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// AWS's side of one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct AwsView {
    /// DescribeAutoScalingInstances: which group it is in; `Ok(None)` when in none.
    pub membership: Read<Option<Membership>>,
    /// DescribeAutoScalingGroups; `Ok(None)` when the group is gone.
    pub group: Read<Option<Asg>>,
    /// DescribeLifecycleHooks: all hooks of the group.
    pub hooks: Read<Vec<Hook>>,
    /// DescribeInstances; `Ok(None)` when EC2 no longer knows it.
    pub instance: Read<Option<Instance>>,
    /// DescribeInstanceStatus: whether EC2 still has something scheduled for the instance. Read only before a
    /// scheduled change is acted on.
    pub is_scheduled: Read<bool>,
    /// Target groups that the ASG is attached to or the configuration names, with their health.
    /// Empty when this turn had no need to look.
    pub target_groups: Read<Vec<TargetGroup>>,
}

/// An instance's place in its Auto Scaling group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The group.
    pub asg: AsgName,
    /// Its `LifecycleState`.
    pub state: LifecycleState,
}

/// `LifecycleState` of an instance in an Auto Scaling group, as far as we tell states apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifecycleState {
    /// `Pending:Wait`: a launch hook waits.
    PendingWait,
    /// `InService`.
    InService,
    /// `Terminating`: the ASG drains its own target groups; hooks come next.
    Terminating,
    /// `Terminating:Wait`: a terminate hook waits.
    TerminatingWait,
    /// `Warmed:Pending:Wait`: on its way into the warm pool, a hook waits.
    WarmedPendingWait,
    /// `Warmed:Terminating:Wait`: leaves the warm pool for good, a hook waits.
    WarmedTerminatingWait,
    /// `ReplacingRootVolume:Wait`: a hook waits before or after the reboot.
    ReplacingRootVolumeWait,
    /// `Terminating:Proceed`, `Terminated` and the like: no hook can be answered any more.
    Ending(String),
    /// Any other state, verbatim: nobody waits for an answer.
    Other(String),
}

impl LifecycleState {
    /// Reads the API's text; an unknown one becomes [`Self::Other`].
    pub fn parse(text: &str) -> Self {
        match text {
            "Pending:Wait" => Self::PendingWait,
            "InService" => Self::InService,
            "Terminating" => Self::Terminating,
            "Terminating:Wait" => Self::TerminatingWait,
            "Warmed:Pending:Wait" => Self::WarmedPendingWait,
            "Warmed:Terminating:Wait" => Self::WarmedTerminatingWait,
            "ReplacingRootVolume:Wait" => Self::ReplacingRootVolumeWait,
            "Terminating:Proceed"
            | "Terminated"
            | "Terminating:Retained"
            | "Warmed:Terminating:Proceed"
            | "Warmed:Terminated" => Self::Ending(text.to_owned()),
            other => Self::Other(other.to_owned()),
        }
    }
}

/// An Auto Scaling group, as far as scope and registrations need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asg {
    /// Its name.
    pub name: AsgName,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// `TargetGroupARNs`: the groups that it registers and drains by itself.
    pub target_groups: Vec<TargetGroupArn>,
}

/// A lifecycle hook as DescribeLifecycleHooks gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its name.
    pub name: HookName,
    /// Which way it guards.
    pub transition: Transition,
    /// `HeartbeatTimeout`, 30–7,200 s.
    pub heartbeat: Duration,
    /// `GlobalTimeout`: min(48 h, 100 heartbeats).
    pub global: Duration,
    /// `NotificationMetadata`, verbatim.
    pub metadata: Option<String>,
}

/// An EC2 instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its state.
    pub state: InstanceState,
    /// `PrivateDnsName`; empty once it is terminated.
    pub private_dns: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// `launchTime`: the last start, so a stopped and started instance has a new one.
    pub launched_at: Option<Timestamp>,
}

impl Instance {
    /// The Auto Scaling group that it is in, by the tag that only AWS can set (`aws:autoscaling:groupName`): it is there
    /// from the launch on, until after the instance's end.
    pub fn asg(&self) -> Option<AsgName> {
        self.tags.get(ASG_TAG).and_then(|name| AsgName::parse(name).ok())
    }
}

/// The system tag that names an instance's Auto Scaling group.
const ASG_TAG: &str = "aws:autoscaling:groupName";

/// `InstanceState.Name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// `pending`
    Pending,
    /// `running`
    Running,
    /// `stopping`
    Stopping,
    /// `stopped`
    Stopped,
    /// `shutting-down`
    ShuttingDown,
    /// `terminated`
    Terminated,
}

impl fmt::Display for InstanceState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        })
    }
}

impl InstanceState {
    /// Whether its host still runs, so that its targets and pods may still serve.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Pending | Self::Running)
    }
}

/// One target group with the health of all its targets, read at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroup {
    /// Its ARN.
    pub arn: TargetGroupArn,
    /// Who registers its targets.
    pub owner: RegistrationOwner,
    /// Which kind of load balancer sends to it.
    pub balancer: Balancer,
    /// `deregistration_delay.timeout_seconds`: how long `draining` lasts, whatever happens.
    pub deregistration_delay: Duration,
    /// All its targets.
    pub targets: Targets,
    /// When DescribeTargetHealth was answered.
    pub read_at: Timestamp,
}

/// Who puts targets into a group and may put back what we take out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationOwner {
    /// The Auto Scaling group is attached to it: it deregisters before its terminate hook fires.
    Asg,
    /// Nobody but us: the configuration names it.
    Named,
    /// The AWS Load Balancer Controller, through a TargetGroupBinding: it registers again what we deregister,
    /// unless the node carries the exclusion label.
    Controller,
}

/// The kind of load balancer, which decides how long it goes on sending (FACTS section 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balancer {
    /// HTTP, HTTPS: new requests reach a deregistered target for 10–25 s.
    Application,
    /// TCP, TLS, UDP, QUIC: new connections for up to 120 s.
    Network,
    /// GENEVE, or a group without a load balancer.
    Other,
}

/// One registration: a target of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// `i-…` for instance targets, an address for ip targets.
    pub id: String,
    /// The port it was registered with; deregistering must name it again.
    pub port: u16,
    /// `AvailabilityZone`, where it was given at registration.
    pub zone: Option<String>,
    /// Its health.
    pub state: TargetState,
}

/// The targets of a group, sorted by what is asked of them: many instances look at the same answer, so it is shared.
#[derive(Clone, Debug, Default)]
pub struct Targets(Arc<Sorted>);

#[derive(Debug, Default)]
struct Sorted {
    /// By id.
    all: Vec<Target>,
    living: BTreeSet<String>,
    rising: BTreeSet<String>,
    draining: BTreeSet<String>,
}

impl Targets {
    /// Whether both are one answer of AWS.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The targets of one id: an instance has one for each of its ports.
    pub fn of(&self, id: &str) -> &[Target] {
        let all = &self.0.all;
        let first = all.partition_point(|target| target.id.as_str() < id);
        let found = all.get(first..).unwrap_or_default();
        let count = found.iter().take_while(|target| target.id == id).count();
        found.get(..count).unwrap_or_default()
    }

    /// The ids that the group counts on: its healthy targets, or all registered ones when none is healthy, since a load
    /// balancer then sends to all (fail-open).
    pub fn living(&self) -> &BTreeSet<String> {
        &self.0.living
    }

    /// The ids of those that may turn healthy next where none is: of all that a group then sends to, the unhealthy ones have
    /// shown that they fail. Empty where some target is healthy.
    pub fn rising(&self) -> &BTreeSet<String> {
        &self.0.rising
    }

    /// The same after these were deregistered: they drain.
    #[must_use]
    pub fn leaving(&self, left: &[TargetId]) -> Self {
        let left: BTreeSet<(&str, u16)> = left.iter().map(|it| (it.id.as_str(), it.port)).collect();
        let leaves = |target: &Target| left.contains(&(target.id.as_str(), target.port));
        self.iter()
            .map(|target| {
                let state = if leaves(target) { TargetState::Draining } else { target.state };
                Target { state, ..target.clone() }
            })
            .collect()
    }

    /// The ids of those that are draining.
    pub fn draining(&self) -> &BTreeSet<String> {
        &self.0.draining
    }
}

impl FromIterator<Target> for Targets {
    fn from_iter<I: IntoIterator<Item = Target>>(targets: I) -> Self {
        let mut all: Vec<Target> = targets.into_iter().collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        let ids = |holds: fn(TargetState) -> bool| -> BTreeSet<String> {
            all.iter().filter(|it| holds(it.state)).map(|it| it.id.clone()).collect()
        };
        let healthy = ids(TargetState::is_living);
        let (living, rising) = if healthy.is_empty() {
            (ids(TargetState::is_registered), ids(|state| state == TargetState::Initial))
        } else {
            (healthy, BTreeSet::new())
        };
        let draining = ids(|state| state == TargetState::Draining);
        Self(Arc::new(Sorted { all, living, rising, draining }))
    }
}

impl From<Vec<Target>> for Targets {
    fn from(targets: Vec<Target>) -> Self {
        targets.into_iter().collect()
    }
}

impl Deref for Targets {
    type Target = [Target];

    fn deref(&self) -> &[Target] {
        &self.0.all
    }
}

impl PartialEq for Targets {
    fn eq(&self, other: &Self) -> bool {
        self.0.all == other.0.all
    }
}

impl Eq for Targets {}

/// `TargetHealth.State`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TargetState {
    /// `initial`: registered, not yet checked; load balancers may send to it when nothing else is healthy.
    Initial,
    /// `healthy`
    Healthy,
    /// `unhealthy`, `unhealthy.draining`
    Unhealthy,
    /// `draining`: deregistered; ends after the group's delay even when idle.
    Draining,
    /// `unused`: no listener, zone not enabled, or not registered; carries no traffic.
    Unused,
    /// `unavailable`: health checks are off; it carries traffic.
    Unavailable,
}

impl TargetState {
    /// Whether the group counts on this target now: it serves, as far as the load balancer knows.
    pub fn is_living(self) -> bool {
        matches!(self, Self::Healthy | Self::Unavailable)
    }

    /// Whether it is registered, so that requests may be sent to it sooner or later.
    pub fn is_registered(self) -> bool {
        matches!(self, Self::Initial | Self::Healthy | Self::Unhealthy | Self::Unavailable)
    }
}
