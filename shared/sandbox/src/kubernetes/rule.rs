//! The rules of the world: what nobody should do to a cluster, noticed while it happens.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::Object;
use crate::kubernetes::{budget, taint};
use crate::world::{Millis, World};
use serde_json::Value;
use std::collections::BTreeMap;

/// The label that the AWS Load Balancer Controller looks for, and the one foreign key that is
/// Ebbtide's to set.
pub(crate) const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// How a caller removed a pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum How {
    /// By a granted eviction.
    Evicted,
    /// By a deletion with this grace in seconds, as it was asked for; -1 for the pod's own.
    Deleted(i64),
}

/// One pod that a caller removed.
#[derive(Clone, Debug)]
pub struct Removal {
    /// When.
    pub at: Millis,
    /// By whom.
    pub process: u32,
    /// `{namespace}/{name}`.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// Where it was.
    pub node: String,
    /// How.
    pub how: How,
}

/// One healthy pod that was deleted although its budget had none to give.
#[derive(Clone, Debug)]
pub struct BudgetBreak {
    /// When.
    pub at: Millis,
    /// `{namespace}/{name}`.
    pub pod: String,
    /// Where it was.
    pub node: String,
    /// The grace in seconds, as it was asked for; -1 for the pod's own.
    pub grace: i64,
}

/// Records that somebody broke a rule.
pub(crate) fn broken(world: &mut World, rule: &str, what: &str) {
    let line = format!("{rule}: {what}, at {}", world.now);
    world.violations.push(line);
}

/// Judges a pod's removal by a caller, before it is done.
pub(crate) fn judge_removal(world: &mut World, process: u32, pod: &Object, how: How) {
    let name = format!("{}/{}", pod.meta.namespace, pod.meta.name);
    let node = pod.spec["nodeName"].as_str().unwrap_or_default().to_owned();
    let cordoned =
        world.kubernetes.node(&node).is_none_or(|node| node.spec["unschedulable"] == true);
    if !cordoned {
        broken(world, "evict-before-cordon", &format!("{name} on {node} by {process} {how:?}"));
    }
    if let How::Deleted(grace) = how {
        if grace == 0 {
            broken(world, "grace-zero", &format!("{name} on {node} by {process}"));
        }
        if budget::would_break(world, pod) {
            let (at, pod, node) = (world.now, name.clone(), node.clone());
            world.kubernetes.budget_breaks.push(BudgetBreak { at, pod, node, grace });
        }
    }
    world.tell(match how {
        How::Evicted => format!("{name} evicted from {node}"),
        How::Deleted(grace) if grace < 0 => format!("{name} deleted from {node}"),
        How::Deleted(grace) => format!("{name} deleted from {node} with {grace} s of grace"),
    });
    let uid = (*pod.meta.uid).to_owned();
    let removal = Removal { at: world.now, process, pod: name, uid, node, how };
    world.kubernetes.removals.push(removal);
}

/// Judges a caller's patch of a node or pod.
pub(crate) fn judge_patch(world: &mut World, process: u32, before: &Object, after: &Object) {
    let name = after.meta.name.clone();
    let subject = |key: &str| format!("{name} {key} by {process}");
    for key in lost(&before.meta.annotations, &after.meta.annotations) {
        broken(world, "foreign-annotation", &subject(&key));
    }
    let labels = lost(&before.meta.labels, &after.meta.labels);
    match before.kind {
        Kind::Node => {
            for key in labels {
                broken(world, "foreign-label", &subject(&key));
            }
            judge_node(world, process, before, after);
        }
        // A pod that steps aside loses labels for a while; an annotation of ours must say which.
        Kind::Pod if !after.meta.annotations.keys().any(|key| is_ours(key)) => {
            for key in labels {
                broken(world, "foreign-label", &subject(&key));
            }
        }
        _ => {}
    }
}

fn judge_node(world: &mut World, process: u32, before: &Object, after: &Object) {
    let name = after.meta.name.clone();
    for old in taint::of(before) {
        let key = old["key"].as_str().unwrap_or_default();
        let ours = is_ours(key) || key == taint::OUT_OF_SERVICE;
        if !ours && !taint::of(after).contains(old) {
            broken(world, "foreign-taint", &format!("{name} {key} by {process}"));
        }
    }
    let cordoned = |node: &Object| node.spec["unschedulable"] == true;
    let excluded = |node: &Object| node.meta.labels.contains_key(EXCLUDE);
    match (cordoned(before), cordoned(after)) {
        (false, true) => world.tell(format!("{name} cordoned")),
        (true, false) => world.tell(format!("{name} uncordoned")),
        _ => {}
    }
    match (excluded(before), excluded(after)) {
        (false, true) => world.tell(format!("{name} labelled out of load balancers")),
        (true, false) => world.tell(format!("{name} labelled back into load balancers")),
        _ => {}
    }
    let Some(state) = world.kubernetes.nodes.get(&name) else { return };
    let (foreign_cordon, foreign_exclusion) = (state.foreign_cordon, state.foreign_exclusion);
    if cordoned(before) && !cordoned(after) && foreign_cordon {
        broken(world, "foreign-cordon", &format!("{name} by {process}"));
    }
    if excluded(before) && !excluded(after) && foreign_exclusion {
        broken(world, "foreign-exclusion", &format!("{name} by {process}"));
    }
    if let Some(state) = world.kubernetes.nodes.get_mut(&name) {
        state.foreign_cordon &= cordoned(after);
        state.foreign_exclusion &= excluded(after);
    }
}

/// Keys of others that a patch removed or changed.
fn lost(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let gone = |(key, value): &(&String, &String)| {
        !is_ours(key) && *key != EXCLUDE && after.get(*key) != Some(value)
    };
    before.iter().filter(gone).map(|(key, _)| key.clone()).collect()
}

fn is_ours(key: &str) -> bool {
    key.starts_with("ebbtide.dev/")
}

/// The grace that a deletion asked for, in seconds; -1 for the pod's own.
pub(crate) fn grace(options: &Value) -> i64 {
    options["gracePeriodSeconds"].as_i64().unwrap_or(-1)
}
