//! Disruption budgets: how many pods may be missing, as the controller last counted.
//!
//! Evictions look at the status alone and take from it at once; the controller follows with a lag.
//! A pod with a granted eviction is in `disruptedPods` until the controller sees it terminate.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::{self, Key, Object, Part};
use crate::kubernetes::selector::Selector;
use crate::kubernetes::store::uid;
use crate::kubernetes::workload::{Amount, Budget, Limit, UnhealthyPods};
use crate::kubernetes::{Kubernetes, Task, news, plan};
use crate::world::{Millis, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long a granted eviction may take until the controller believes that it will not happen.
const DISRUPTED_MS: Millis = 120_000;

/// What a budget watches, counted as it changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) selector: Selector,
    members: BTreeMap<Key, Member>,
    /// How many of them are healthy.
    healthy: i64,
    /// How many of them each owner has.
    owners: BTreeMap<Arc<str>, u32>,
}

/// One pod that a budget counts.
#[derive(Clone, Debug)]
struct Member {
    healthy: bool,
    owner: Option<Arc<str>>,
}

impl State {
    /// A budget without pods yet.
    pub(super) fn new(selector: Selector) -> Self {
        Self { selector, members: BTreeMap::new(), healthy: 0, owners: BTreeMap::new() }
    }

    /// Counts a pod as it is now; nothing, or another label, takes it out.
    pub(super) fn count(&mut self, key: &Key, pod: Option<&Object>) {
        let pod = pod.filter(|pod| self.selector.matches(&pod.meta.labels));
        let now = pod.map(|pod| Member {
            healthy: pod.meta.deletion.is_none() && pod.is_ready(),
            owner: pod.controller().map(|owner| owner.uid.clone()),
        });
        let before = match &now {
            Some(member) => self.members.insert(key.clone(), member.clone()),
            None => self.members.remove(key),
        };
        self.healthy -= i64::from(before.as_ref().is_some_and(|member| member.healthy));
        self.healthy += i64::from(now.as_ref().is_some_and(|member| member.healthy));
        if let Some(owner) = now.and_then(|member| member.owner) {
            *self.owners.entry(owner).or_default() += 1;
        }
        if let Some(owner) = before.and_then(|member| member.owner)
            && let Some(count) = self.owners.get_mut(&owner)
        {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(&owner);
            }
        }
    }
}

/// A budget's count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Count {
    healthy: i64,
    desired: i64,
    expected: i64,
    /// Why it can't be counted, if it can't.
    failed: bool,
}

impl Count {
    fn allowed(self) -> i64 {
        if self.failed || self.expected <= 0 { 0 } else { (self.healthy - self.desired).max(0) }
    }
}

impl Kubernetes {
    /// Adds a PodDisruptionBudget, counted at once.
    pub fn add_budget(
        world: &mut World,
        namespace: &str,
        name: &str,
        labels: &BTreeMap<String, String>,
        budget: Budget,
    ) {
        let mut object = Object::new(Kind::PodDisruptionBudget, namespace, name);
        object.meta.uid = uid(&mut world.rng);
        object.meta.created = world.now;
        let mut spec = json!({"selector": {"matchLabels": labels}});
        let (field, amount) = match budget.limit {
            Limit::MinAvailable(amount) => ("minAvailable", amount),
            Limit::MaxUnavailable(amount) => ("maxUnavailable", amount),
        };
        spec[field] = match amount {
            Amount::Count(count) => count.into(),
            Amount::Percent(percent) => format!("{percent}%").into(),
        };
        if budget.unhealthy == UnhealthyPods::AlwaysAllow {
            spec["unhealthyPodEvictionPolicy"] = "AlwaysAllow".into();
        }
        object.spec = Part::new(spec);
        world.kubernetes.store.put(object);
        news::settle(world);
    }
}

/// The budgets that select a pod.
pub(super) fn of_pod(world: &World, pod: &Object) -> Vec<Arc<Object>> {
    let cluster = &world.kubernetes;
    let selects = |key: &Key| {
        let state = cluster.budgets.get(key);
        state.is_some_and(|state| state.selector.matches(&pod.meta.labels))
    };
    let keys = cluster.budgets_by_label.candidates([Some(pod), None]);
    let found = keys.iter().filter(|key| selects(key));
    found.filter_map(|key| cluster.store.get(Kind::PodDisruptionBudget, key).cloned()).collect()
}

/// Whether the loss of this pod now would break a budget, by a fresh count.
pub(super) fn would_break(world: &World, pod: &Object) -> bool {
    let counts = pod.is_ready() && pod.meta.deletion.is_none();
    counts && of_pod(world, pod).iter().any(|budget| count(world, budget, &[]).allowed() < 1)
}

/// Counts a budget's pods and writes its status.
pub(super) fn reconcile(world: &mut World, key: &Key) {
    let now = world.now;
    let Some(budget) = world.kubernetes.store.get(Kind::PodDisruptionBudget, key).cloned() else {
        return;
    };
    let disrupted = still_disrupted(world, &budget);
    let names: Vec<&str> = disrupted.keys().map(String::as_str).collect();
    let count = count(world, &budget, &names);
    let allowed = count.allowed();
    let said = |field: &str, number: i64| budget.status[field].as_i64() == Some(number);
    let none_disrupted = disrupted.is_empty() && budget.status["disruptedPods"].is_null();
    // Most of what a budget hears changes nothing in its count.
    if none_disrupted
        && !count.failed
        && said("currentHealthy", count.healthy)
        && said("desiredHealthy", count.desired)
        && said("expectedPods", count.expected)
        && said("disruptionsAllowed", allowed)
    {
        return;
    }
    world.kubernetes.store.update(Kind::PodDisruptionBudget, key, |budget| {
        let conditions = budget.status["conditions"].clone();
        let mut status = json!({"currentHealthy": count.healthy, "desiredHealthy": count.desired,
            "expectedPods": count.expected, "disruptionsAllowed": allowed,
            "observedGeneration": 1});
        if !conditions.is_null() {
            status["conditions"] = conditions;
        }
        if !disrupted.is_empty() {
            status["disruptedPods"] = json!(disrupted);
        }
        if *budget.status != status {
            budget.status = Part::new(status);
        }
        let (holds, reason) = match (count.failed, allowed) {
            (true, _) => ("False", "SyncFailed"),
            (false, 0) => ("False", "InsufficientPods"),
            (false, _) => ("True", "SufficientPods"),
        };
        budget.set_condition(now, "DisruptionAllowed", holds, (reason, ""));
    });
}

/// Takes one disruption from a budget for a pod.
pub(super) fn take(world: &mut World, budget: &Object, pod: &str) {
    let now = world.now;
    world.kubernetes.store.update(Kind::PodDisruptionBudget, &budget.key(), |budget| {
        let left = budget.status["disruptionsAllowed"].as_i64().unwrap_or(0) - 1;
        let status = budget.status.edit();
        status["disruptionsAllowed"] = left.into();
        status["disruptedPods"][pod] = object::time(now).into();
        if left == 0 {
            budget.set_condition(now, "DisruptionAllowed", "False", ("InsufficientPods", ""));
        }
    });
    // A second more, since the time of the grant is written in whole seconds.
    plan(world, DISRUPTED_MS + 1_000, Task::GiveUp(budget.key()));
}

/// The pods with a granted eviction that have not begun to terminate.
fn still_disrupted(world: &World, budget: &Object) -> BTreeMap<String, Value> {
    let mut still = BTreeMap::new();
    for (name, since) in budget.status["disruptedPods"].as_object().into_iter().flatten() {
        let key = object::key(&budget.meta.namespace, name);
        let pod = world.kubernetes.store.get(Kind::Pod, &key);
        let waits = pod.is_some_and(|pod| pod.meta.deletion.is_none());
        let at = since.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let fresh = at.is_some_and(|at| world.now - at.as_millisecond() <= DISRUPTED_MS);
        if waits && fresh {
            still.insert(name.clone(), since.clone());
        }
    }
    still
}

fn count(world: &World, budget: &Object, disrupted: &[&str]) -> Count {
    let Some(state) = world.kubernetes.budgets.get(&budget.key()) else {
        return Count { healthy: 0, desired: 0, expected: 0, failed: true };
    };
    let namespace = &budget.meta.namespace;
    let goes = |name: &&&str| {
        state.members.get(&object::key(namespace, name)).is_some_and(|member| member.healthy)
    };
    let healthy = state.healthy - whole(disrupted.iter().filter(goes).count());
    let spec = &budget.spec;
    let (scale, pods) = (scale(world, state), whole(state.members.len()));
    let (desired, expected, known) = match (&spec["minAvailable"], &spec["maxUnavailable"]) {
        (Value::Number(count), _) => (count.as_i64().unwrap_or(0), pods, true),
        (Value::String(share), _) => (percent(share, scale), scale, true),
        (_, Value::Number(count)) => (scale - count.as_i64().unwrap_or(0), scale, true),
        (_, Value::String(share)) => (scale - percent(share, scale), scale, true),
        _ => (0, 0, false),
    };
    Count { healthy, desired: desired.max(0), expected, failed: !known }
}

/// How many pods the owners of these pods are asked to have. Pods without an owner add nothing.
fn scale(world: &World, state: &State) -> i64 {
    let replicas = |owner: &Arc<str>| Some(world.kubernetes.workloads.get(owner)?.replicas);
    state.owners.keys().filter_map(replicas).map(i64::from).sum()
}

/// `30%` of a number, rounded up.
fn percent(share: &str, of: i64) -> i64 {
    let share: i64 = share.trim_end_matches('%').parse().unwrap_or(0);
    (share * of + 99) / 100
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Count, percent};

    #[test]
    fn percentages_are_rounded_up() {
        for (share, of, pods) in [("50%", 3, 2), ("10%", 10, 1), ("10%", 11, 2), ("0%", 5, 0)] {
            assert_eq!(percent(share, of), pods, "{share} of {of}");
        }
    }

    #[test]
    fn nothing_is_allowed_without_pods_to_expect() {
        let count = Count { healthy: 2, desired: 1, expected: 2, failed: false };
        assert_eq!(count.allowed(), 1);
        assert_eq!(Count { expected: 0, ..count }.allowed(), 0);
        assert_eq!(Count { healthy: 0, ..count }.allowed(), 0);
        assert_eq!(Count { failed: true, ..count }.allowed(), 0);
    }
}
