//! A check that can't fail proves nothing: each of these puts one broken rule into the function, and the worlds must
//! notice it by its own name within a few seeds.

use crate::world::{Play, run};
use decision::annotation::{OUT_OF_SERVICE, TAINT};
use decision::decide::decide;
use decision::decision::{Answer, Decision, Ending, Next};
use decision::id::TargetGroupArn;
use decision::policy::Policy;
use decision::signal::{Cause, Due, SignalKind};
use decision::snapshot::Snapshot;
use decision::snapshot::aws::Targets;
use decision::snapshot::cluster::{ClusterView, NodeLookup, NodeView, Taint};
use decision::step::{
    Deregister, HookCall, HookResult, NodePatch, PatchPurpose, Removal, Step, TargetChange,
    TargetId,
};
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
                decision.steps =
                    vec![Step::PatchNode(patch), Step::Evict { pod: removal, budget: None }];
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
            // Without a health, joining the decisions of a batch leaves nobody in either.
            let health = Targets::default();
            decision.steps.push(Step::Deregister(Deregister { change, health, fresh_until }));
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
            if let Step::Evict { pod, .. } = step {
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

#[test]
fn a_hook_that_is_only_looked_at_is_noticed() {
    fn only_begins(snapshot: &Snapshot, policy: &Policy) -> Decision {
        let mut decision = decide(snapshot, policy);
        if snapshot.signals.iter().any(|seen| seen.receives > 3) {
            // It reads on to the end, and does nothing.
            decision.steps.retain(|step| !matches!(step, Step::Heartbeat(_)));
            for answer in &mut decision.answers {
                let is_over = matches!(answer.next, Next::Finished(_));
                if !is_over {
                    answer.next = Next::ComeBack { at: snapshot.now + Duration::from_secs(30) };
                }
            }
        }
        decision
    }
    check("hook-forgotten", only_begins);
}

#[test]
fn an_answer_to_a_hook_that_only_looks_on_is_noticed() {
    fn answers_all(snapshot: &Snapshot, policy: &Policy) -> Decision {
        let mut decision = decide(snapshot, policy);
        for (seen, answer) in snapshot.signals.iter().zip(&mut decision.answers) {
            let SignalKind::Hook(hook) = &seen.signal.kind else { continue };
            if let Answer { next: next @ Next::Finished(Ending::Observed), .. } = answer {
                let (asg, token) = (hook.asg.clone(), hook.token.clone());
                let call = HookCall { asg, hook: hook.hook.clone(), token };
                let why = "for good measure".to_owned();
                *next = Next::Answer { call, result: HookResult::Continue, why };
            }
        }
        decision
    }
    check("foreign-hook", answers_all);
}

#[test]
fn a_departure_that_waits_for_a_deleted_group_is_noticed() {
    fn waits(snapshot: &Snapshot, policy: &Policy) -> Decision {
        let mut decision = decide(snapshot, policy);
        let known = snapshot.aws.target_groups.as_deref().unwrap_or_default();
        let is_known = |arn: &TargetGroupArn| known.iter().any(|group| group.arn == *arn);
        if !policy.target_groups.iter().all(is_known) {
            for answer in &mut decision.answers {
                if matches!(answer.next, Next::Answer { .. }) {
                    answer.next = Next::ComeBack { at: snapshot.now + Duration::from_secs(30) };
                }
            }
        }
        decision
    }
    check("departure-held", waits);
}

#[test]
fn a_target_that_is_somebody_elses_is_noticed() {
    fn registers_others(snapshot: &Snapshot, policy: &Policy) -> Decision {
        let mut decision = decide(snapshot, policy);
        for group in snapshot.aws.target_groups.iter().flatten() {
            let other = group.targets.iter().find(|target| target.id != snapshot.instance.as_str());
            let Some(other) = other else { continue };
            let target = TargetId { id: other.id.clone(), port: other.port, zone: None };
            let change = TargetChange { group: group.arn.clone(), targets: vec![target] };
            decision.steps.push(Step::Register(change));
        }
        decision
    }
    check("foreign-target", registers_others);
}

/// The causes of the snapshot's interruptions; none while a hook waits as well.
fn interruptions(snapshot: &Snapshot) -> Vec<&Cause> {
    let causes = snapshot.signals.iter().map(|seen| match &seen.signal.kind {
        SignalKind::Hook(_) => None,
        SignalKind::Interruption(interruption) => Some(&interruption.cause),
    });
    causes.collect::<Option<_>>().unwrap_or_default()
}

#[test]
fn a_withdrawal_for_a_recommendation_is_noticed() {
    fn withdraws(snapshot: &Snapshot, policy: &Policy) -> Decision {
        let mut decision = decide(snapshot, policy);
        let causes = interruptions(snapshot);
        if !causes.is_empty() && causes.iter().all(|cause| **cause == Cause::Rebalance) {
            let attached = snapshot.aws.group.iter().flatten();
            for group in attached.flat_map(|group| &group.target_groups) {
                let id = snapshot.instance.to_string();
                let target = TargetId { id, port: 30_080, zone: None };
                let change = TargetChange { group: group.clone(), targets: vec![target] };
                let fresh_until = snapshot.now + Duration::from_secs(5);
                let health = Targets::default();
                decision.steps.push(Step::Deregister(Deregister { change, health, fresh_until }));
            }
        }
        decision
    }
    check("foreign-target", withdraws);
}

#[test]
fn a_cordon_that_outlasts_its_recommendation_is_noticed() {
    fn keeps(snapshot: &Snapshot, policy: &Policy) -> Decision {
        let mut decision = decide(snapshot, policy);
        let undoes = |step: &Step| matches!(step, Step::PatchNode(patch) if patch.purpose == PatchPurpose::Undo);
        if !interruptions(snapshot).is_empty() && decision.steps.iter().any(undoes) {
            decision.steps.clear();
            for answer in &mut decision.answers {
                answer.next = Next::Finished(Ending::Done("kept".into()));
            }
        }
        decision
    }
    check("cordon-kept", keeps);
}

#[test]
fn a_warning_whose_deadline_does_not_count_is_noticed() {
    fn has_time(snapshot: &Snapshot, policy: &Policy) -> Decision {
        let mut later = snapshot.clone();
        for seen in &mut later.signals {
            if let SignalKind::Interruption(interruption) = &mut seen.signal.kind {
                interruption.due = Due::Unknown;
            }
        }
        decide(&later, policy)
    }
    check("pod-left-to-die", has_time);
}

#[test]
fn a_warning_that_waits_is_noticed() {
    fn waits(snapshot: &Snapshot, policy: &Policy) -> Decision {
        let mut decision = decide(snapshot, policy);
        let at = snapshot.now + Duration::from_secs(45);
        if snapshot.signals.iter().any(|seen| seen.receives == 1) {
            decision.steps.retain(|step| matches!(step, Step::Heartbeat(_)));
            for answer in &mut decision.answers {
                answer.next = Next::ComeBack { at };
            }
        }
        decision
    }
    check("cordoned-late", waits);
}

#[test]
fn an_interruption_without_an_end_is_noticed() {
    fn goes_on(snapshot: &Snapshot, policy: &Policy) -> Decision {
        let mut decision = decide(snapshot, policy);
        if !interruptions(snapshot).is_empty() {
            for answer in &mut decision.answers {
                answer.next = Next::ComeBack { at: snapshot.now + Duration::from_secs(60) };
            }
        }
        decision
    }
    check("queue-not-empty", goes_on);
}

#[test]
fn a_running_host_that_is_out_of_service_is_noticed() {
    fn cuts_off(snapshot: &Snapshot, policy: &Policy) -> Decision {
        let mut decision = decide(snapshot, policy);
        for step in &mut decision.steps {
            if let Step::PatchNode(NodePatch { taints: Some(taints), .. }) = step {
                let key = OUT_OF_SERVICE.to_owned();
                let effect = "NoExecute".to_owned();
                taints.push(Taint { key, value: None, effect, time_added: None });
            }
        }
        decision
    }
    check("out-of-service-too-early", cuts_off);
}

#[test]
fn a_cordon_that_is_taken_back_from_a_doomed_node_is_noticed() {
    fn uncordons(snapshot: &Snapshot, policy: &Policy) -> Decision {
        let mut decision = decide(snapshot, policy);
        let age = snapshot.signals.iter().map(|seen| snapshot.now.since(seen.sent_at)).max();
        if let (Some(view), true) = (node(snapshot), age >= Some(Duration::from_secs(80)))
            && view.node.taints.iter().any(|taint| taint.key == TAINT)
        {
            let others = view.node.taints.iter().filter(|taint| taint.key != TAINT);
            decision.steps = vec![Step::PatchNode(NodePatch {
                node: view.node.name.clone(),
                uid: view.node.uid.clone(),
                resource_version: view.node.resource_version.clone(),
                unschedulable: None,
                taints: Some(others.cloned().collect()),
                labels: Vec::new(),
                annotations: Vec::new(),
                purpose: PatchPurpose::Undo,
            })];
        }
        decision
    }
    check("undone-too-early", uncordons);
}
