//! What the operator wants: modes, scope, floors and times, each with a default that has a reason.
//!
//! Every setting is one row of [`SETTINGS`]: its environment variable, its key in a hook's
//! NotificationMetadata, its default, its form, and why the default is what it is. The policy of a
//! process is the defaults with the environment over them; the policy of one departure has its hook's
//! overrides over that. README.md's table is tested against the rows.

mod parse;
mod settings;

pub use parse::{SettingError, Span};
pub use settings::{SETTINGS, Setting};

use crate::id::{AsgName, ClusterName, HookName, TargetGroupArn};
use crate::signal::Cause;
use std::collections::BTreeSet;
use std::time::Duration;

/// The operator's choices, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What we may do at all.
    pub mode: Mode,
    /// What becomes of our hooks while the mode is `paused`.
    pub paused_hooks: PausedHooks,
    /// Auto Scaling groups that are ours by name; others are by the tag `ebbtide.dev/managed`.
    pub asgs: BTreeSet<AsgName>,
    /// Hooks that are ours by name; others are by their NotificationMetadata.
    pub hooks: BTreeSet<HookName>,
    /// The cluster of instances whose tags and hooks name none.
    pub cluster: Option<ClusterName>,
    /// Target groups to withdraw from besides those that the ASG is attached to.
    pub target_groups: BTreeSet<TargetGroupArn>,
    /// Share of a group's healthy targets that stays in while others leave, in percent.
    pub floor_percent: u8,
    /// How long a withdrawal waits for the floor when no hard deadline ends the wait earlier.
    pub withdraw_hold: Duration,
    /// How long an Application Load Balancer may go on sending new requests to a deregistered target.
    pub settle_application: Duration,
    /// The same for a Network Load Balancer.
    pub settle_network: Duration,
    /// The soft deadline: after this long a drain is overdue.
    pub longest_drain: Duration,
    /// What then happens.
    pub at_longest_drain: AtLongestDrain,
    /// Whether annotations that ask for a pod to be left alone are honoured until a hard deadline.
    pub protected_pods: ProtectedPods,
    /// How long the implicit budget (not the last Ready pod, not half of an owner's) may hold a pod.
    pub implicit_hold: Duration,
    /// How long a terminating instance without a node is given to register.
    pub registration_wait: Duration,
    /// How long a launching instance is given to become ready.
    pub longest_launch: Duration,
    /// What a launch hook is answered with when its deadline comes and the node is not ready.
    pub launch_deadline: LaunchDeadline,
    /// Taint keys that must be gone before a node counts as ready, besides the known ones.
    pub startup_taints: BTreeSet<String>,
    /// What a Spot warning leads to.
    pub spot: Reaction,
    /// What a rebalance recommendation leads to.
    pub rebalance: Reaction,
    /// How long what a recommendation led to lasts when nothing follows.
    pub rebalance_hold: Duration,
    /// What the end of a capacity reservation or block leads to.
    pub capacity: Reaction,
    /// What a scheduled change leads to.
    pub maintenance: Reaction,
    /// How long before its start time a scheduled change is acted on.
    pub maintenance_lead: Duration,
    /// What an instance that stops or has stopped leads to.
    pub state_change: Reaction,
    /// Whether the node of an instance that EC2 says is stopped or terminated gets the out-of-service taint.
    pub out_of_service: bool,
}

/// What an interruption leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reaction {
    /// Nothing: the signal is acknowledged.
    Ignore,
    /// Nothing new comes to the node; what is there stays.
    Cordon,
    /// The whole departure.
    Drain,
}

/// What we may do at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Looks and reports, writes nothing to cluster, load balancers or hooks.
    Observe,
    /// Does its work.
    Act,
    /// Stands still; see [`PausedHooks`].
    Paused,
}

/// What becomes of our hooks while paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PausedHooks {
    /// They wait: for the end of the pause, or for their own timeout.
    Leave,
    /// They are answered CONTINUE at once, so that AWS goes on as if there were no hook.
    Continue,
}

/// What happens at the soft deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtLongestDrain {
    /// Nothing is deleted; it is reported again and goes on.
    GoOn,
    /// Pods that are left are deleted with their own grace, budgets or not.
    Force,
}

/// Whether `karpenter.sh/do-not-disrupt` and `cluster-autoscaler.kubernetes.io/safe-to-evict: "false"` hold a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtectedPods {
    /// They do, until a hard deadline.
    Honour,
    /// They do not.
    Evict,
}

/// What a launch hook is answered with at its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchDeadline {
    /// The instance goes into service as it is.
    Continue,
    /// The instance is terminated and replaced.
    Abandon,
}

impl Policy {
    /// The defaults with what `lookup` finds by environment variable over them; all mistakes at once.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<SettingError>> {
        let mut policy = Self::bare();
        let mut errors = Vec::new();
        for setting in SETTINGS {
            let given = lookup(setting.variable).filter(|text| !text.trim().is_empty());
            let text = given.as_deref().unwrap_or(setting.default).trim();
            if let Err(expected) = (setting.apply)(&mut policy, text) {
                errors.push(SettingError::new(setting.variable, text, expected));
            }
        }
        if errors.is_empty() { Ok(policy) } else { Err(errors) }
    }

    /// This policy with the overrides of one hook: the object under `ebbtide` in its NotificationMetadata.
    pub fn overridden(&self, overrides: &Overrides) -> Self {
        let mut policy = self.clone();
        if self.mode == Mode::Paused {
            // A pause is for everything: no hook's metadata may undo it.
            return policy;
        }
        for (setting, text) in &overrides.0 {
            // Parsed once when the overrides were read, so it can't fail here.
            let applied = (setting.apply)(&mut policy, text);
            debug_assert!(applied.is_ok(), "overrides are checked when they are read");
        }
        policy
    }

    /// What this policy makes of an interruption.
    pub fn reaction(&self, cause: &Cause) -> Reaction {
        match cause {
            Cause::Spot(_) => self.spot,
            Cause::Rebalance => self.rebalance,
            Cause::CapacityReservation | Cause::CapacityBlock => self.capacity,
            Cause::Maintenance(_) => self.maintenance,
            Cause::State(_) => self.state_change,
        }
    }

    /// How long to wait after a withdrawal until no new request comes through this kind of balancer.
    pub fn settle(&self, balancer: crate::snapshot::aws::Balancer) -> Duration {
        match balancer {
            crate::snapshot::aws::Balancer::Application => self.settle_application,
            crate::snapshot::aws::Balancer::Network | crate::snapshot::aws::Balancer::Other => {
                self.settle_network
            }
        }
    }

    /// A policy before any row was applied; `parse` applies every row.
    fn bare() -> Self {
        Self {
            mode: Mode::Observe,
            paused_hooks: PausedHooks::Leave,
            asgs: BTreeSet::new(),
            hooks: BTreeSet::new(),
            cluster: None,
            target_groups: BTreeSet::new(),
            floor_percent: 100,
            withdraw_hold: Duration::ZERO,
            settle_application: Duration::ZERO,
            settle_network: Duration::ZERO,
            longest_drain: Duration::ZERO,
            at_longest_drain: AtLongestDrain::GoOn,
            protected_pods: ProtectedPods::Honour,
            implicit_hold: Duration::ZERO,
            registration_wait: Duration::ZERO,
            longest_launch: Duration::ZERO,
            launch_deadline: LaunchDeadline::Continue,
            startup_taints: BTreeSet::new(),
            spot: Reaction::Ignore,
            rebalance: Reaction::Ignore,
            rebalance_hold: Duration::ZERO,
            capacity: Reaction::Ignore,
            maintenance: Reaction::Ignore,
            maintenance_lead: Duration::ZERO,
            state_change: Reaction::Ignore,
            out_of_service: false,
        }
    }
}

impl Default for Policy {
    /// The defaults of [`SETTINGS`].
    fn default() -> Self {
        let mut policy = Self::bare();
        for setting in SETTINGS {
            let applied = (setting.apply)(&mut policy, setting.default);
            debug_assert!(applied.is_ok(), "{}: its default does not parse", setting.variable);
        }
        policy
    }
}

/// What one hook's NotificationMetadata changes, checked.
#[derive(Clone, Debug, Default)]
pub struct Overrides(Vec<(&'static Setting, String)>);

impl Overrides {
    /// Reads the object under `ebbtide` in a hook's NotificationMetadata. `Ok(None)`: the metadata does not make the
    /// hook ours (absent, not JSON, without that key, or `false`). Keys are those of [`SETTINGS`]; all mistakes at once.
    pub fn parse(metadata: Option<&str>) -> Result<Option<Self>, Vec<SettingError>> {
        let Some(marked) = metadata.and_then(marked) else { return Ok(None) };
        let entries = match marked {
            serde_json::Value::Object(entries) => entries,
            serde_json::Value::Bool(true) => serde_json::Map::new(),
            serde_json::Value::Bool(false) => return Ok(None),
            other => {
                let expected = "an object of settings, or true";
                return Err(vec![SettingError::new("ebbtide", &other.to_string(), expected)]);
            }
        };
        let (mut read, mut errors) = (Vec::new(), Vec::new());
        for (key, value) in entries {
            match read_override(&key, &value) {
                Ok(entry) => read.push(entry),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Some(Self(read))) } else { Err(errors) }
    }
}

impl Overrides {
    /// What of the metadata can be read when some of it can't: a mistake in one setting must not undo the caution that
    /// another asks for, and a mode that can't be read is `observe`.
    pub fn readable(metadata: Option<&str>) -> Self {
        let Some(serde_json::Value::Object(entries)) = metadata.and_then(marked) else {
            return Self::default();
        };
        let cautious = |key: &str| {
            let mode = SETTINGS.iter().find(|setting| setting.key == Some("mode"));
            mode.filter(|_| key == "mode").map(|setting| (setting, "observe".to_owned()))
        };
        let read = entries
            .iter()
            .filter_map(|(key, value)| read_override(key, value).ok().or_else(|| cautious(key)));
        Self(read.collect())
    }
}

fn marked(metadata: &str) -> Option<serde_json::Value> {
    match serde_json::from_str(metadata) {
        Ok(serde_json::Value::Object(mut object)) => object.remove("ebbtide"),
        _ => None,
    }
}

fn read_override(
    key: &str,
    value: &serde_json::Value,
) -> Result<(&'static Setting, String), SettingError> {
    let Some(setting) = SETTINGS.iter().find(|setting| setting.key == Some(key)) else {
        return Err(SettingError::new(key, &value.to_string(), settings::override_keys()));
    };
    let Some(text) = setting_text(value) else {
        return Err(SettingError::new(key, &value.to_string(), setting.form));
    };
    match (setting.apply)(&mut Policy::bare(), &text) {
        Ok(()) => Ok((setting, text)),
        Err(expected) => Err(SettingError::new(key, &text, expected)),
    }
}

/// A setting in JSON as the text that the environment would have; a list is an array of strings.
fn setting_text(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.trim().to_owned()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(serde_json::Value::as_str).collect();
            items.map(|items| items.join(","))
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Object(_) => None,
    }
}
