//! What one turn saw of one instance: AWS's side, the cluster's side, and what we did before.
//!
//! `gather` fills it, `decide` reads it and nothing else. A read that failed is `Err(Unread)`, never
//! an empty list: not knowing must not look like knowing that there is nothing.
//!
//! ```text
//!   Snapshot ─┬─ signals   what was said, with each hook's facts
//!             ├─ aws       ASG membership, EC2 state, target groups
//!             ├─ cluster   node, pods, budgets, services, peers
//!             └─ memory    what this process did about it in earlier turns
//! ```

pub mod aws;
pub mod cluster;
pub mod departing;

use crate::id::{InstanceId, Uid};
use crate::signal::Signal;
use crate::time::Timestamp;
use aws::{AwsView, Hook};
use cluster::ClusterView;
use std::collections::BTreeMap;

/// A read that could not be made or failed; the turn comes back and looks again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// What was asked and what went wrong, for people.
    pub why: String,
}

impl Unread {
    /// A failed read with its reason.
    pub fn because(why: impl std::fmt::Display) -> Self {
        Self { why: why.to_string() }
    }
}

/// The outcome of a read: the value, or why there is none.
pub type Read<T> = Result<T, Unread>;

/// Everything that one turn knows about one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// When the turn began; every rule measures from here.
    pub now: Timestamp,
    /// The instance that all the signals are about.
    pub instance: InstanceId,
    /// What was said about it, one entry a message, in the batch's order.
    pub signals: Vec<Seen>,
    /// AWS's side.
    pub aws: AwsView,
    /// Kubernetes' side.
    pub cluster: ClusterView,
    /// What this process remembers; empty after a cold start, which must be harmless.
    pub memory: Memory,
}

/// One signal as it arrived, with what was looked up about its hook.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The message's id, or `bare` for an event without a queue.
    pub message: String,
    /// What was said.
    pub signal: Signal,
    /// How often the queue has delivered it (`ApproximateReceiveCount`, from 1).
    pub receives: u32,
    /// When it was sent, as far as queue or event say.
    pub sent_at: Timestamp,
    /// The hook that it names; `Ok(None)` when the ASG no longer has one of that name, or the signal names none.
    pub hook: Read<Option<Hook>>,
}

/// What earlier turns of this process learned by acting. Never needed for safety, only for economy and reports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// By hook token fingerprint: when the last heartbeat was accepted, or that no action is active.
    pub hooks: BTreeMap<String, HookState>,
    /// By pod uid: how evictions went.
    pub evictions: BTreeMap<Uid, Attempts>,
    /// When this process last wrote that the departure is blocked.
    pub blocked_reported_at: Option<Timestamp>,
    /// How many nodes of the cluster were departing when this process last looked.
    pub crowd: usize,
}

/// What AWS last said of a lifecycle action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookState {
    /// A heartbeat was accepted then.
    Active(Timestamp),
    /// "No active Lifecycle Action found": answered already, or expired.
    Inactive,
}

/// Evictions of one pod so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// How many were sent.
    pub count: u32,
    /// When the last one was.
    pub last_at: Timestamp,
    /// The API server's words for its refusal, if the last one was refused.
    pub refused: Option<String>,
}
