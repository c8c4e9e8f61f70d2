//! Our record on the node: what we changed, when, and for whom; all that survives a process.
//!
//! The annotation `ebbtide.dev/departure` is written before what it records is done, so that a crash leaves
//! a record without an effect, never an effect without a record. Undo reverts exactly what it says. Fields that
//! this release does not know are kept, so that a newer and an older one can finish each other's work.

use crate::id::{BootId, InstanceId, TargetGroupArn};
use crate::step::TargetId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The annotation with our record.
pub const DEPARTURE: &str = "ebbtide.dev/departure";
/// Our taint's key; its effect is `NoSchedule`.
pub const TAINT: &str = "ebbtide.dev/departing";
/// The key of Kubernetes' own taint for a node whose host is known to run no more: its pods are deleted by force and
/// their volumes detached. Its effect is `NoExecute`.
pub const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// The label that takes a node out of what the AWS Load Balancer Controller registers.
pub const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// A person's order: `now` removes what is left, budgets or not.
pub const FORCE: &str = "ebbtide.dev/force";
/// A person's order: the soft deadline moves to this instant (`15:30Z` or RFC 3339).
pub const HOLD_UNTIL: &str = "ebbtide.dev/hold-until";
/// The version of the record that this release writes.
pub const VERSION: u32 = 1;

/// The record of one departure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// Version of this schema.
    pub v: u32,
    /// The instance, so that a copied annotation is noticed.
    pub instance: InstanceId,
    /// The boot that was to be drained: after a reboot the record is about an earlier generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootId>,
    /// When the departure began.
    pub since: Timestamp,
    /// When its place among the departing nodes last changed.
    pub ranked_at: Timestamp,
    /// We set `spec.unschedulable`.
    #[serde(default)]
    pub cordoned: bool,
    /// We added the taint.
    #[serde(default)]
    pub tainted: bool,
    /// We added the exclusion label.
    #[serde(default)]
    pub labelled: bool,
    /// We added the out-of-service taint, since EC2 said that the instance runs no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out_of_service: bool,
    /// Who asked for it, and by when.
    #[serde(default)]
    pub because: Vec<Contributor>,
    /// What we took, or were about to take, out of target groups.
    #[serde(default)]
    pub withdrawn: Vec<Withdrawn>,
    /// What a newer release wrote besides.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

/// One signal's part in a departure, with its generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contributor {
    /// The name of the hook, or the kind of interruption: `spot`, `rebalance`, ….
    pub by: String,
    /// What tells it from others by the same: the fingerprint of a hook's token, the key of an interruption.
    pub token: String,
    /// Its hard deadline; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard: Option<Timestamp>,
}

/// Targets taken out of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// The group.
    pub group: TargetGroupArn,
    /// When it was decided; the call follows within seconds, or this is written again.
    pub at: Timestamp,
    /// Exactly what was registered.
    pub targets: Vec<TargetId>,
}

impl Contributor {
    /// Whether it is an interruption: its token begins with its kind, and a hook's is the fingerprint of a secret.
    pub fn is_interruption(&self) -> bool {
        self.token.split(':').next() == Some(&self.by)
    }
}

impl Departure {
    /// Reads the annotation; `None` when it is not one of ours or can't be read.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The annotation's text.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The earliest hard deadline among its contributors.
    pub fn hard(&self) -> Option<Timestamp> {
        self.because.iter().filter_map(|contributor| contributor.hard).min()
    }

    /// The record about one group.
    pub fn withdrawn_from(&self, group: &TargetGroupArn) -> Option<&Withdrawn> {
        self.withdrawn.iter().find(|withdrawn| withdrawn.group == *group)
    }
}
