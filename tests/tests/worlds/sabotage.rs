//! A check that can't fail proves nothing: each of these puts one broken rule into the function, and the worlds must
//! notice it by its own name within a few seeds.

use crate::world::{Play, run};
use decision::annotation::TAINT;
use decision::decide::decide;
use decision::decision::{Decision, Ending, Next};
use decision::policy::Policy;
use decision::snapshot::Snapshot;
use decision::snapshot::cluster::{ClusterView, NodeLookup, NodeView};
use decision::step::{Deregister, NodePatch, PatchPurpose, Removal, Step, TargetChange, TargetId};
use runtime::app::Decide;
use std::time::Duration;

/// Seeds that are tried until the sabotage shows.
const SEEDS: std::ops::Range<u64> = 1..200;

#[track_caller]
fn check(rule: &str, broken: Decide) {
    let noticed = SEEDS.into_iter().any(|seed| {
        run(seed, Play::Broken(broken)).broken.iter().any(|line| line.starts_with(rule))
    });
    assert!(noticed, "no world noticed the broken rule {rule}");
}

fn node(snapshot: &Snapshot) -> Option<&NodeView> {
    match &snapshot.cluster {
        ClusterView::Reached { node: NodeLookup::Found(view), .. } => Some(view),
        _ => None,
    }
}

#[test]
fn an_eviction_from_a_node_that_is_not_cordoned_is_noticed() {
    fn uncordons_and_evicts(snapshot: &Snapshot, policy: &Policy) -> Decision {
        let mut decision = decide(snapshot, policy);
        if let Some(view) = node(snapshot) {
            let pods = view.pods.as_deref().unwrap_or_default();
            if let Some(pod) = pods.iter().find(|pod| pod.deletion.is_none()) {
                let patch = NodePatch {
                    node: view.node.name.clone(),
                    uid: view.node.uid.clone(),
                    resource_version: view.node.resource_version.clone(),
                    unschedulable: Some(false),
                    taints: None,
                    labels: Vec::new(),
                    annotations: Vec::new(),
                    purpose: PatchPurpose::Undo,
                };
                let removal = Removal { pod: pod.key.clone(), uid: pod.uid.clone() };
                decision.steps = vec![Step::PatchNode(patch), Step::Evict(removal)];
            }
        }
        decision
    }
    check("evict-before-cordon", uncordons_and_evicts);
}

#[test]
fn an_emptied_group_is_noticed() {
    fn empties(snapshot: &Snapshot, policy: &Policy) -> Decision {
        let mut decision = decide(snapshot, policy);
        for group in snapshot.aws.target_groups.iter().flatten() {
            let targets: Vec<TargetId> = group
                .targets
                .iter()
                .map(|target| TargetId { id: target.id.clone(), port: target.port, zone: None })
                .collect();
            let change = TargetChange { group: group.arn.clone(), targets };
            let fresh_until = snapshot.now + Duration::from_secs(5);
            decision.steps.push(Step::Deregister(Deregister { change, fresh_until }));
        }
        decision
    }
    check("group-emptied", empties);
}

#[test]
fn a_dropped_taint_is_noticed() {
    fn drops_taints(snapshot: &Snapshot, policy: &Policy) -> Decision {
        let mut decision = decide(snapshot, policy);
        for step in &mut decision.steps {
            if let Step::PatchNode(NodePatch { taints: Some(taints), .. }) = step {
                taints.retain(|taint| taint.key == TAINT);
            }
        }
        decision
    }
    check("foreign-taint", drops_taints);
}

#[test]
fn a_forgotten_hook_is_noticed() {
    fn forgets(snapshot: &Snapshot, policy: &Policy) -> Decision {
        let mut decision = decide(snapshot, policy);
        for answer in &mut decision.answers {
            if matches!(answer.next, Next::Answer { .. }) {
                answer.next = Next::Finished(Ending::Over("forgotten".into()));
            }
        }
        decision
    }
    check("hook-forgotten", forgets);
}

#[test]
fn a_budget_broken_without_need_is_noticed() {
    fn deletes(snapshot: &Snapshot, policy: &Policy) -> Decision {
        let mut decision = decide(snapshot, policy);
        for step in &mut decision.steps {
            if let Step::Evict(pod) = step {
                *step = Step::Delete { pod: pod.clone(), grace_seconds: 5 };
            }
        }
        let pods = node(snapshot).and_then(|view| view.pods.as_deref().ok()).unwrap_or_default();
        decision.steps.extend(pods.iter().filter(|pod| pod.deletion.is_none()).map(|pod| {
            let pod = Removal { pod: pod.key.clone(), uid: pod.uid.clone() };
            Step::Delete { pod, grace_seconds: 5 }
        }));
        decision
    }
    check("budget-broken", deletes);
}
