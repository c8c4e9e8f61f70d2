//! Auto Scaling groups: their instances, their hooks, and every lifecycle action with the way it ended.
//!
//! ```text
//!   Pending ─> Pending:Wait ─> Pending:Proceed ─> (registered) ─> InService
//!   InService ─> Terminating (attached groups drain) ─> Terminating:Wait ─> Terminating:Proceed ─> gone
//!             ├> ReplacingRootVolume ─> :Wait ─> :Proceed ─> reboot ─> :Wait ─> RootVolumeReplaced ─> InService
//!             └> Warmed:Pending ─> Warmed:Pending:Wait ─> Warmed:Pending:Proceed ─> Warmed:Stopped
//! ```
//! Each hook of a transition has an action of its own; the instance waits for all of them.

pub mod api;
mod hook;
mod lifecycle;
mod rebalance;
mod state;

pub use state::{LifecycleState, Way};

use super::ec2::{Ec2, Purchase};
use crate::world::{Millis, World};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// The transition that a hook holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transition {
    /// On the way into service.
    Launching,
    /// On the way out.
    Terminating,
}

impl Transition {
    /// Auto Scaling's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Launching => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Self::Terminating => "autoscaling:EC2_INSTANCE_TERMINATING",
        }
    }
}

/// How a lifecycle action is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// `CONTINUE`
    Continue,
    /// `ABANDON`
    Abandon,
}

impl Verdict {
    /// Auto Scaling's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Continue => "CONTINUE",
            Self::Abandon => "ABANDON",
        }
    }
}

/// How a hook's notification is sent, besides the event that EventBridge always gets.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Notification {
    /// No target of its own: the event alone.
    #[default]
    EventBridge,
    /// The flat JSON, to this queue.
    Queue(String),
    /// The flat JSON in an SNS envelope, to this queue.
    Topic(String),
}

/// A hook.
#[derive(Clone, Debug)]
pub struct HookSpec {
    /// Its name.
    pub name: String,
    /// The transition that it holds.
    pub transition: Transition,
    /// Time without a heartbeat after which the default result holds: 30 to 7200.
    pub heartbeat_seconds: i64,
    /// What holds after a timeout.
    pub default_result: Verdict,
    /// NotificationMetadata.
    pub metadata: Option<String>,
    /// Whether the processes under test may answer it.
    pub ours: bool,
    /// Where its notifications go.
    pub notification: Notification,
}

impl Default for HookSpec {
    fn default() -> Self {
        Self {
            name: "ebbtide".to_owned(),
            transition: Transition::Terminating,
            heartbeat_seconds: 3_600,
            default_result: Verdict::Abandon,
            metadata: None,
            ours: true,
            notification: Notification::EventBridge,
        }
    }
}

impl HookSpec {
    /// How long it can hold an instance in all: 48 hours, or 100 heartbeats if that is less.
    pub fn global_timeout_seconds(&self) -> i64 {
        (100 * self.heartbeat_seconds).min(172_800)
    }
}

/// What becomes of an instance whose terminate hook was abandoned.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Retention {
    /// It is terminated.
    #[default]
    Terminate,
    /// It is kept, in `Terminating:Retained`.
    Retain,
}

/// What a new Auto Scaling group is like.
#[derive(Clone, Debug, Default)]
pub struct AsgSpec {
    /// Its name.
    pub name: String,
    /// How many instances it keeps in service.
    pub desired: usize,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Attached target groups, by ARN.
    pub target_groups: Vec<String>,
    /// Its hooks.
    pub hooks: Vec<HookSpec>,
    /// RetentionTriggers.TerminateHookAbandon.
    pub retention: Retention,
    /// The zones of its launches; none means that of the instance that is replaced.
    pub zones: Vec<String>,
    /// How it buys its instances.
    pub purchase: Purchase,
    /// CapacityRebalance: a Spot warning or a rebalance recommendation makes it replace the instance.
    pub capacity_rebalance: bool,
    /// Whether its health checks and replacements are suspended, so that an instance may stop and start again.
    pub suspended: bool,
}

/// An instance of a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// The Availability Zone.
    pub zone: String,
    /// Its lifecycle state.
    pub state: LifecycleState,
    /// Whether Auto Scaling takes it for healthy.
    pub healthy: bool,
    /// Where it is going, or went last.
    pub way: Way,
    /// Counts its ways, so that what was planned for an earlier one is void.
    cycle: u32,
}

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    /// What it is like now: desired capacity and hooks may be changed.
    pub spec: AsgSpec,
    /// Its ARN.
    pub arn: String,
    /// When it was made.
    pub created_at: Millis,
    /// Instances by id.
    pub members: BTreeMap<String, Member>,
    /// Instances in service that are being replaced before they go.
    doomed: BTreeSet<String>,
    /// Launches that are planned and not yet begun.
    launches: usize,
    /// Launches abandoned in a row, which slows further launches down.
    abandoned: u32,
}

/// How a lifecycle action ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// By an answer.
    Answered(Verdict),
    /// The heartbeat timeout ended: the hook's default result.
    HeartbeatTimeout(Verdict),
    /// The global timeout ended: the hook's default result.
    GlobalTimeout(Verdict),
    /// Another hook of the same transition was abandoned.
    Abandoned,
}

impl Ended {
    /// What it means for the instance.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Answered(verdict)
            | Self::HeartbeatTimeout(verdict)
            | Self::GlobalTimeout(verdict) => verdict,
            Self::Abandoned => Verdict::Abandon,
        }
    }
}

/// One lifecycle action: one hook, one instance, one time.
#[derive(Clone, Debug)]
pub struct Action {
    /// Its token.
    pub token: String,
    /// The group.
    pub group: String,
    /// The hook.
    pub hook: String,
    /// The instance.
    pub instance: String,
    /// Where the instance is going.
    pub way: Way,
    /// Whether the hook is one of those under test.
    pub ours: bool,
    /// When it began.
    pub began_at: Millis,
    /// When its heartbeat period ends, if no heartbeat comes.
    pub heartbeat_until: Millis,
    /// When it ends whatever comes.
    pub global_until: Millis,
    /// Heartbeats so far.
    pub heartbeats: u32,
    /// When and how it ended.
    pub ended: Option<(Millis, Ended)>,
}

/// One CompleteLifecycleAction, accepted or not.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When.
    pub at: Millis,
    /// The hook that it named.
    pub hook: String,
    /// The instance: as named, or as the token tells.
    pub instance: String,
    /// The token that it named.
    pub token: Option<String>,
    /// The result that it named.
    pub result: String,
    /// Whether there was such an action, still waiting.
    pub accepted: bool,
    /// Which process said it.
    pub process: u32,
}

/// How long Auto Scaling itself takes.
#[derive(Clone, Debug)]
pub struct Pace {
    /// From a missing instance to a launch.
    pub launch_ms: RangeInclusive<Millis>,
    /// From the last answer to the next act.
    pub proceed_ms: RangeInclusive<Millis>,
    /// From the end of an instance to the health check that notices it.
    pub notice_ms: RangeInclusive<Millis>,
    /// From the loss of a host whose instance still runs to the health check that notices it.
    pub impaired_ms: RangeInclusive<Millis>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            launch_ms: 3_000..=15_000,
            proceed_ms: 500..=3_000,
            notice_ms: 10_000..=60_000,
            impaired_ms: 120_000..=300_000,
        }
    }
}

/// Whether a termination leaves a gap to be filled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Capacity {
    /// The desired capacity is kept, so a replacement is launched.
    Keep,
    /// It is decremented: a scale-in.
    Decrement,
}

/// All Auto Scaling groups.
#[derive(Clone, Debug, Default)]
pub struct Autoscaling {
    /// Groups by name.
    pub groups: BTreeMap<String, Group>,
    /// Every lifecycle action there was, in order.
    pub actions: Vec<Action>,
    /// Every CompleteLifecycleAction there was, in order.
    pub answers: Vec<Answer>,
    /// How long Auto Scaling itself takes.
    pub pace: Pace,
    group_of: BTreeMap<String, String>,
    /// Indices of the actions that still wait, by token.
    waiting: BTreeMap<String, usize>,
    /// The same by instance, in the order of their tokens.
    waiting_of: BTreeMap<String, BTreeMap<String, usize>>,
}

/// What a group does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// A launch that the desired capacity asks for.
    Launch {
        /// The group.
        group: String,
        /// The zone.
        zone: String,
    },
    /// The attached target groups have drained.
    Drained {
        /// The instance.
        instance: String,
        /// Its way.
        cycle: u32,
    },
    /// A timeout of an action may have ended.
    Timeout {
        /// Its index in [`Autoscaling::actions`].
        action: usize,
    },
    /// All hooks are answered.
    Proceed {
        /// The instance.
        instance: String,
        /// Its way.
        cycle: u32,
        /// What they said together.
        verdict: Verdict,
    },
    /// A health check sees that the host is gone.
    Noticed {
        /// The instance.
        instance: String,
        /// Its way.
        cycle: u32,
    },
}

impl Autoscaling {
    /// Adds a group, without instances.
    pub fn add_group(world: &mut World, spec: AsgSpec) {
        let (region, account) = (&world.aws.region, &world.aws.account);
        let arn = format!(
            "arn:aws:autoscaling:{region}:{account}:autoScalingGroup:042cba90-ad2f-431c-9b4d-6d9055bcc9fb:autoScalingGroupName/{}",
            spec.name
        );
        let name = spec.name.clone();
        let group = Group {
            spec,
            arn,
            created_at: world.now,
            members: BTreeMap::new(),
            doomed: BTreeSet::new(),
            launches: 0,
            abandoned: 0,
        };
        world.aws.autoscaling.groups.insert(name, group);
    }

    /// Adds an instance that is in service from the start. Its node, and its targets, are for the scenario to add.
    pub fn add_instance(world: &mut World, group: &str, id: &str, zone: &str) {
        Ec2::add(world, id, zone);
        Self::adopt(world, group, id, zone, (LifecycleState::InService, Way::Launch));
        if let Some(group) = world.aws.autoscaling.groups.get_mut(group) {
            group.spec.desired = group.spec.desired.max(group.members.len());
        }
    }

    /// The group of an instance.
    pub fn group_of(&self, instance: &str) -> Option<&Group> {
        self.groups.get(self.group_of.get(instance)?)
    }

    /// An instance of any group.
    pub fn member(&self, instance: &str) -> Option<&Member> {
        self.group_of(instance)?.members.get(instance)
    }

    /// The lifecycle state of an instance.
    pub fn state(&self, instance: &str) -> Option<LifecycleState> {
        self.member(instance).map(|member| member.state)
    }

    /// The actions that still wait for an answer, about this instance.
    pub fn waiting<'a>(&'a self, instance: &'a str) -> impl Iterator<Item = &'a Action> {
        let indices = self.waiting_of.get(instance).into_iter().flat_map(BTreeMap::values);
        indices.filter_map(|index| self.actions.get(*index))
    }

    /// Says that an action waits.
    fn await_answer(&mut self, index: usize) {
        let Some(action) = self.actions.get(index) else { return };
        self.waiting.insert(action.token.clone(), index);
        let of = self.waiting_of.entry(action.instance.clone()).or_default();
        of.insert(action.token.clone(), index);
    }

    /// Says that an action waits no more.
    fn await_no_more(&mut self, token: &str) -> Option<usize> {
        let index = self.waiting.remove(token)?;
        let instance = &self.actions.get(index)?.instance;
        if let Some(of) = self.waiting_of.get_mut(instance) {
            of.remove(token);
            if of.is_empty() {
                self.waiting_of.remove(instance);
            }
        }
        Some(index)
    }

    fn member_mut(&mut self, instance: &str) -> Option<&mut Member> {
        let group = self.groups.get_mut(self.group_of.get(instance)?)?;
        group.members.get_mut(instance)
    }

    fn adopt(
        world: &mut World,
        group: &str,
        id: &str,
        zone: &str,
        (state, way): (LifecycleState, Way),
    ) {
        let autoscaling = &mut world.aws.autoscaling;
        let Some(known) = autoscaling.groups.get_mut(group) else { return };
        let member = Member { zone: zone.to_owned(), state, healthy: true, way, cycle: 0 };
        known.members.insert(id.to_owned(), member);
        autoscaling.group_of.insert(id.to_owned(), group.to_owned());
        let (mut tags, purchase) = (known.spec.tags.clone(), known.spec.purchase);
        tags.insert("aws:autoscaling:groupName".to_owned(), group.to_owned());
        if let Some(instance) = world.aws.ec2.instances.get_mut(id) {
            instance.tags = tags;
            instance.purchase = purchase;
        }
    }
}
