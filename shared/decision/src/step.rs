//! What a decision wants done, and what became of it: effects as data.
//!
//! A [`Step`] holds every argument it needs, so that whoever performs it chooses nothing. Each step may be done
//! twice without harm: patches carry uid and resourceVersion, evictions and deletions the pod's uid, and AWS's calls
//! are idempotent by themselves.

use crate::id::{AsgName, HookName, HookToken, NodeName, PodKey, TargetGroupArn, Uid};
use crate::snapshot::aws::Targets;
use crate::snapshot::cluster::Taint;
use crate::time::Timestamp;
use std::fmt;
use std::time::Duration;

/// One effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// One PATCH of the node: cordon, record, or undo.
    PatchNode(NodePatch),
    /// DeregisterTargets.
    Deregister(Deregister),
    /// RegisterTargets: puts back what our own record says that we took out.
    Register(TargetChange),
    /// POST pods/eviction with the uid as precondition.
    Evict {
        /// Which pod.
        pod: Removal,
        /// The PodDisruptionBudget whose count the API server lowers for it.
        budget: Option<PodKey>,
    },
    /// DELETE pod with a clamped grace (never 0) and the uid as precondition.
    Delete {
        /// Which pod.
        pod: Removal,
        /// Seconds it is given, at least 1.
        grace_seconds: u32,
    },
    /// RecordLifecycleActionHeartbeat.
    Heartbeat(HookCall),
    /// A Kubernetes Event on the node or a pod.
    Note(Note),
}

/// A PATCH of a node with preconditions. Fields that are `None` are left as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePatch {
    /// Which node.
    pub node: NodeName,
    /// Precondition: 422 when it is another node of that name by now.
    pub uid: Uid,
    /// Precondition: 409 when somebody else wrote meanwhile.
    pub resource_version: String,
    /// `spec.unschedulable`
    pub unschedulable: Option<bool>,
    /// The whole of `spec.taints`, merged into what was read, since the list is atomic.
    pub taints: Option<Vec<Taint>>,
    /// Labels to set, or to take off (`None`).
    pub labels: Vec<(String, Option<String>)>,
    /// Annotations to set, or to take off (`None`).
    pub annotations: Vec<(String, Option<String>)>,
    /// What it is for.
    pub purpose: PatchPurpose,
}

/// Why a node is patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PatchPurpose {
    /// Unschedulable, our taint, our annotation.
    Cordon,
    /// Our annotation alone: what we are about to take out, or a new deadline.
    Record,
    /// The taint for a node whose host runs no more.
    OutOfService,
    /// Everything that the annotation says we changed, put back.
    Undo,
}

/// Targets of one group, as they were registered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetChange {
    /// The group.
    pub group: TargetGroupArn,
    /// Exact targets: id, port, zone.
    pub targets: Vec<TargetId>,
}

/// What names a target: DeregisterTargets must repeat the port it was registered with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct TargetId {
    /// `i-…` or an address.
    pub id: String,
    /// The port.
    pub port: u16,
    /// `AvailabilityZone`, where it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// Targets to take out of one group, decided on a health that ages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deregister {
    /// What to take out.
    pub change: TargetChange,
    /// The group's health that it was decided on: joined with others', the call must leave a living target in.
    pub health: Targets,
    /// Not after this: the health that allowed it is too old then (the step is skipped, the next turn looks again).
    pub fresh_until: Timestamp,
}

/// A pod to remove.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Removal {
    /// Namespace and name.
    pub pod: PodKey,
    /// Precondition: the pod that was judged, not its successor of the same name.
    pub uid: Uid,
}

/// Names one waiting lifecycle action.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HookCall {
    /// The group.
    pub asg: AsgName,
    /// The hook.
    pub hook: HookName,
    /// Its token.
    pub token: HookToken,
}

/// `LifecycleActionResult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookResult {
    /// `CONTINUE`: AWS goes on with what it was about to do, and other hooks keep their say.
    Continue,
    /// `ABANDON`: a launching instance is terminated and replaced; a terminating one may even be retained.
    Abandon,
}

impl HookResult {
    /// The value on the wire.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Continue => "CONTINUE",
            Self::Abandon => "ABANDON",
        }
    }
}

/// A Kubernetes Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The node, or a pod on it.
    pub about: NoteSubject,
    /// `Normal`, or `Warning` when somebody should look.
    pub warning: bool,
    /// A CamelCase reason, at most 128 characters.
    pub reason: &'static str,
    /// The text, at most 1,024 bytes (the API's limit for `note`).
    pub text: String,
}

/// What an Event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoteSubject {
    /// A node.
    Node {
        /// Its name.
        name: NodeName,
        /// Its uid.
        uid: Uid,
    },
    /// A pod.
    Pod {
        /// Namespace and name.
        pod: PodKey,
        /// Its uid.
        uid: Uid,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PatchNode(patch) => write!(out, "{} node {}", patch.purpose, patch.node),
            Self::Deregister(step) => write!(out, "deregister {}", step.change),
            Self::Register(change) => write!(out, "register {change}"),
            Self::Evict { pod, .. } => write!(out, "evict {}", pod.pod),
            Self::Delete { pod, grace_seconds } => {
                write!(out, "delete {} with grace {grace_seconds} s", pod.pod)
            }
            Self::Heartbeat(call) => write!(out, "heartbeat of hook {}", call.hook),
            Self::Note(note) => write!(out, "Event {}", note.reason),
        }
    }
}

impl fmt::Display for PatchPurpose {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Cordon => "cordon",
            Self::Record => "record",
            Self::OutOfService => "out-of-service",
            Self::Undo => "undo",
        })
    }
}

impl fmt::Display for TargetChange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.group.as_str().split('/').nth(1).unwrap_or(self.group.as_str());
        write!(out, "{name}:")?;
        self.targets.iter().try_for_each(|target| write!(out, " {}:{}", target.id, target.port))
    }
}

/// How a call failed, as far as it matters for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Passing: another try may work (timeouts, resets, 5xx). For a write the effect is unknown.
    Again,
    /// The service said to slow down; with its own `Retry-After` where it gave one.
    Throttled(Option<Duration>),
    /// What it was about is not there (404, a target or token that is no more).
    Gone,
    /// Somebody else wrote first (409).
    Conflict,
    /// It is another object by now (422 on a uid; 409 on an eviction's uid).
    Mismatch,
    /// A budget refused an eviction (429 with cause `DisruptionBudget`, or the 500 for two budgets).
    Blocked,
    /// We may not (401, 403, AccessDenied).
    Denied,
    /// It can never work as it is.
    Final,
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, or was so already.
    Done,
    /// It was not tried, with the reason: mode `observe`, too old, no time left.
    Skipped(String),
    /// It failed.
    Failed {
        /// How.
        class: Class,
        /// In words.
        why: String,
    },
}
