//! Which signals are ours: one rule for instances, one for hooks.
//!
//! EC2's events can't be filtered by Auto Scaling group, and other tools put hooks on the same groups, so most
//! of what arrives is not ours. Answering a foreign hook would end its instance early; touching a foreign node
//! would be an outage. Both rules are pure, and every function uses them.

use crate::id::HookName;
use crate::policy::{Overrides, Policy, SettingError};
use crate::signal::Transition;
use crate::snapshot::aws::{Asg, Hook};
use std::fmt;

/// The tag that puts an Auto Scaling group into our care; any value but `false`.
pub const MANAGED_TAG: &str = "ebbtide.dev/managed";

/// Tags that tell that somebody else looks after the nodes of a group.
const OWNED_BY_OTHERS: [(&str, Foreign); 4] = [
    ("eks:nodegroup-name", Foreign::ManagedNodeGroup),
    ("karpenter.sh/nodepool", Foreign::Karpenter),
    ("karpenter.sh/provisioner-name", Foreign::Karpenter),
    ("eks:eks-auto-mode", Foreign::AutoMode),
];

/// Why a signal is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Foreign {
    /// EKS drains its managed node groups itself.
    ManagedNodeGroup,
    /// Karpenter drains its nodes itself.
    Karpenter,
    /// EKS Auto Mode drains its nodes itself.
    AutoMode,
    /// The instance is in no Auto Scaling group.
    NoGroup,
    /// The group is neither named nor tagged.
    Group,
    /// The hook is neither named nor marked.
    Hook,
}

impl fmt::Display for Foreign {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::ManagedNodeGroup => "a managed node group, which EKS drains itself",
            Self::Karpenter => "Karpenter's, which drains it itself",
            Self::AutoMode => "EKS Auto Mode's, which drains it itself",
            Self::NoGroup => "its instance is in no Auto Scaling group",
            Self::Group => {
                "its Auto Scaling group is neither in ASGS nor tagged ebbtide.dev/managed"
            }
            Self::Hook => "its hook is neither in HOOKS nor marked in its NotificationMetadata",
        })
    }
}

/// Whether the instances of a group are ours.
pub fn group(asg: &Asg, policy: &Policy) -> Result<(), Foreign> {
    for (tag, foreign) in OWNED_BY_OTHERS {
        if asg.tags.contains_key(tag) {
            return Err(foreign);
        }
    }
    let tagged = asg.tags.get(MANAGED_TAG).is_some_and(|value| value != "false");
    if tagged || policy.asgs.contains(&asg.name) { Ok(()) } else { Err(Foreign::Group) }
}

/// Whether a hook is ours, and what its metadata overrides. The metadata that the hook has now counts, since the
/// event's copy may be old; the event's is used when the hook could not be read.
pub fn hook(
    name: &HookName,
    metadata: Option<&str>,
    policy: &Policy,
) -> Result<Result<Overrides, Vec<SettingError>>, Foreign> {
    match Overrides::parse(metadata) {
        Ok(Some(overrides)) => Ok(Ok(overrides)),
        Err(mistakes) => Ok(Err(mistakes)),
        Ok(None) if policy.hooks.contains(name) => Ok(Ok(Overrides::default())),
        Ok(None) => Err(Foreign::Hook),
    }
}

/// What the terminate hooks of a group override for its interruptions too: those of the first of ours, by name; and the
/// mistakes in it.
pub fn overrides(hooks: &[Hook], policy: &Policy) -> (Overrides, Vec<SettingError>) {
    let mut leaving: Vec<&Hook> =
        hooks.iter().filter(|hook| hook.transition == Transition::Terminating).collect();
    leaving.sort_by(|one, other| one.name.cmp(&other.name));
    for one in leaving {
        match hook(&one.name, one.metadata.as_deref(), policy) {
            Ok(Ok(overrides)) => return (overrides, Vec::new()),
            Ok(Err(mistakes)) => return (Overrides::readable(one.metadata.as_deref()), mistakes),
            Err(_) => {}
        }
    }
    (Overrides::default(), Vec::new())
}
