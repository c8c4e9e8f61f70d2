//! What holds for every snapshot, however odd: drawn broadly, decided, and checked against the list in ARCHITECTURE.md.

use crate::drawn::{any_policy, any_snapshot, any_warning};
use crate::world::{
    after, cordoned, departing, healthy, node, node_mut, peer, policy, record, token, view_mut,
    web, withdrawn,
};
use decision::annotation::{DEPARTURE, Departure, EXCLUDE, OUT_OF_SERVICE, TAINT, Withdrawn};
use decision::decide::decide;
use decision::decision::{Decision, Next};
use decision::limits::{ANSWER_MARGIN, REMOVALS_AT_ONCE_MAX};
use decision::plan::join;
use decision::policy::Policy;
use decision::signal::Transition::Launching;
use decision::signal::{Cause, Due, Interruption, SignalKind};
use decision::snapshot::aws::InstanceState;
use decision::snapshot::cluster::{ClusterView, Node, NodeLookup, NodeView, Phase, Taint};
use decision::snapshot::{Seen, Snapshot};
use decision::step::{HookResult, NodePatch, PatchPurpose, Step, TargetId};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::Strategy;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError};
use proptest::{prop_assert, prop_assert_eq, proptest};

// ---- What always holds ---------------------------------------------------------------------------

type Checked = Result<(), TestCaseError>;

fn found(snapshot: &Snapshot) -> Option<&NodeView> {
    match &snapshot.cluster {
        ClusterView::Reached { node: NodeLookup::Found(view), .. } => Some(view),
        _ => None,
    }
}

/// Our record of this instance and boot, on a node that is cordoned as it says.
fn standing_record(snapshot: &Snapshot) -> Option<Departure> {
    let node = &found(snapshot)?.node;
    let record = Departure::parse(node.annotations.get(DEPARTURE)?)?;
    let tainted = node.taints.iter().any(|taint| taint.key == TAINT);
    let current =
        record.instance == snapshot.instance && (record.boot.is_none() || record.boot == node.boot);
    (current && tainted && node.unschedulable).then_some(record)
}

fn one_answer_for_each_signal(snapshot: &Snapshot, decision: &Decision) -> Checked {
    let asked = snapshot.signals.iter().map(|seen| &seen.message);
    let answered = decision.answers.iter().map(|answer| &answer.message);
    prop_assert!(asked.eq(answered), "{:?}", decision.answers);
    for (seen, answer) in snapshot.signals.iter().zip(&decision.answers) {
        let Some(hook) = seen.signal.hook() else {
            let answers =
                matches!(answer.next, Next::Answer { .. } | Next::Reject { answer: Some(_), .. });
            prop_assert!(!answers, "only hooks are answered: {:?}", answer.next);
            continue;
        };
        match &answer.next {
            Next::Answer { call, result, .. } => {
                prop_assert_eq!(
                    (&call.token, &call.hook, &call.asg),
                    (&hook.token, &hook.hook, &hook.asg)
                );
                let may_abandon = hook.transition == Launching;
                prop_assert!(
                    *result == HookResult::Continue || may_abandon,
                    "a departure is never abandoned"
                );
            }
            Next::Reject { answer: Some(call), .. } => prop_assert_eq!(&call.token, &hook.token),
            Next::ComeBack { .. } | Next::Reject { answer: None, .. } | Next::Finished(_) => {}
        }
    }
    Ok(())
}

fn pods_leave_only_a_node_that_is_ours_and_cordoned(
    snapshot: &Snapshot,
    decision: &Decision,
) -> Checked {
    let mut removed = 0;
    for step in &decision.steps {
        let removal = match step {
            Step::Evict { pod, .. } => pod,
            Step::Delete { pod, grace_seconds } => {
                prop_assert!(*grace_seconds >= 1, "grace 0");
                pod
            }
            Step::PatchNode(_)
            | Step::Deregister(_)
            | Step::Register(_)
            | Step::Heartbeat(_)
            | Step::Note(_) => continue,
        };
        removed += 1;
        prop_assert!(standing_record(snapshot).is_some(), "{step} without a cordon of ours");
        let pods = found(snapshot).and_then(|view| view.pods.as_ref().ok());
        let known =
            pods.into_iter().flatten().find(|pod| pod.key == removal.pod && pod.uid == removal.uid);
        let Some(pod) = known else {
            return Err(TestCaseError::fail(format!("{step}: a pod that was not seen")));
        };
        let kind = pod.owner.as_ref().map(|owner| owner.kind.as_str());
        let stays = pod.mirror
            || pod.phase == Phase::Succeeded
            || matches!(kind, Some("DaemonSet" | "Node"));
        prop_assert!(!stays, "{step}: it stays");
    }
    prop_assert!(removed <= REMOVALS_AT_ONCE_MAX, "{removed} pods at once");
    Ok(())
}

/// The host runs no more, as EC2 says: only ghosts are left of it.
fn is_gone(snapshot: &Snapshot) -> bool {
    match &snapshot.aws.instance {
        Ok(Some(instance)) => {
            matches!(instance.state, InstanceState::Stopped | InstanceState::Terminated)
        }
        Ok(None) => true,
        Err(_) => false,
    }
}

fn targets_leave_only_on_record(snapshot: &Snapshot, decision: &Decision) -> Checked {
    for step in &decision.steps {
        let Step::Deregister(call) = step else { continue };
        let group = &call.change.group;
        let own = snapshot.instance.as_str();
        let (mine, others): (Vec<_>, Vec<_>) =
            call.change.targets.iter().cloned().partition(|target| target.id == own);
        let peers = found(snapshot).and_then(|view| view.peers.as_ref().ok());
        let claims: Vec<Withdrawn> = peers
            .into_iter()
            .flat_map(|peers| peers.records().values())
            .filter_map(|record| record.withdrawn_from(group).cloned())
            .collect();
        let claimed = |target: &TargetId| claims.iter().any(|claim| claim.targets.contains(target));
        prop_assert!(others.iter().all(claimed), "{step}: somebody else's target");
        // Without a node there is nothing to carry a record.
        if found(snapshot).is_some() && !is_gone(snapshot) {
            let record = standing_record(snapshot);
            let noted = record.as_ref().and_then(|record| record.withdrawn_from(group));
            prop_assert!(
                noted.is_some_and(|noted| noted.targets == mine),
                "{step} without a record"
            );
        }
    }
    Ok(())
}

/// A group with a living target is never emptied: somebody who lives and is not in the call stays in.
fn no_group_is_emptied(snapshot: &Snapshot, decision: &Decision) -> Checked {
    for step in &decision.steps {
        let Step::Deregister(call) = step else { continue };
        let groups = snapshot.aws.target_groups.iter().flatten();
        for group in groups.filter(|group| group.arn == call.change.group) {
            let living = group.targets.iter().filter(|target| target.state.is_living());
            let (leave, stay): (Vec<_>, Vec<_>) = living.partition(|target| {
                call.change.targets.iter().any(|out| out.id == target.id && out.port == target.port)
            });
            prop_assert!(leave.is_empty() || !stay.is_empty(), "{step}: the last living target");
        }
    }
    Ok(())
}

/// What only recommendations ask for leaves every load balancer alone.
fn a_recommendation_touches_no_load_balancer(snapshot: &Snapshot, decision: &Decision) -> Checked {
    let is_recommendation = |seen: &Seen| match &seen.signal.kind {
        SignalKind::Interruption(said) => said.cause == Cause::Rebalance,
        SignalKind::Hook(_) => false,
    };
    if snapshot.signals.iter().all(is_recommendation) {
        let touches = |step: &Step| matches!(step, Step::Deregister(_) | Step::Register(_));
        let touching = decision.steps.iter().find(|step| touches(step));
        prop_assert!(touching.is_none(), "{touching:?}");
    }
    Ok(())
}

/// The taint that frees what a dead host's pods hold needs the policy and EC2's word, and goes only if it is ours.
fn the_out_of_service_taint_is_rare(
    snapshot: &Snapshot,
    policy: &Policy,
    decision: &Decision,
) -> Checked {
    let Some(view) = found(snapshot) else { return Ok(()) };
    let has = |taints: &[Taint]| taints.iter().any(|taint| taint.key == OUT_OF_SERVICE);
    let before = has(&view.node.taints);
    for step in &decision.steps {
        let Step::PatchNode(patch) = step else { continue };
        let Some(taints) = &patch.taints else { continue };
        match (before, has(taints)) {
            (false, true) => {
                prop_assert!(policy.out_of_service && is_gone(snapshot), "{step}");
                prop_assert!(matches!(snapshot.aws.instance, Ok(Some(_))), "{step}: EC2 says so");
            }
            (true, false) => {
                let record = view.node.annotations.get(DEPARTURE);
                let record = record.and_then(|text| Departure::parse(text));
                let ours = record.is_some_and(|record| record.out_of_service);
                let forgets = || crate::world::written(patch);
                let undoes = patch.purpose == PatchPurpose::Undo || !forgets().out_of_service;
                prop_assert!(ours && undoes, "{step}");
            }
            (false, false) | (true, true) => {}
        }
    }
    Ok(())
}

/// Nothing is written for a group that is not ours. A hook that we kept alive while it was ours is kept until its answer.
fn foreign_groups_are_left_alone(snapshot: &Snapshot, decision: &Decision) -> Checked {
    if matches!(&snapshot.aws.group, Ok(Some(group)) if group.tags.is_empty()) {
        let beats = |step: &Step| matches!(step, Step::Heartbeat(_));
        prop_assert!(decision.steps.iter().all(beats), "{:?}", decision.steps);
    }
    Ok(())
}

fn patches_are_careful(snapshot: &Snapshot, decision: &Decision) -> Checked {
    for step in &decision.steps {
        let Step::PatchNode(patch) = step else { continue };
        let Some(view) = found(snapshot) else {
            return Err(TestCaseError::fail("a PATCH without a node"));
        };
        careful(patch, &view.node)?;
    }
    Ok(())
}

fn careful(patch: &NodePatch, node: &Node) -> Checked {
    prop_assert_eq!((&patch.node, &patch.uid), (&node.name, &node.uid));
    prop_assert_eq!(&patch.resource_version, &node.resource_version);
    let foreign = |taints: &[Taint]| -> Vec<_> {
        let own = [TAINT, OUT_OF_SERVICE];
        taints.iter().filter(|taint| !own.contains(&taint.key.as_str())).cloned().collect()
    };
    if let Some(taints) = &patch.taints {
        prop_assert_eq!(foreign(taints), foreign(&node.taints), "others' taints");
    }
    let undo = patch.purpose == PatchPurpose::Undo;
    prop_assert_eq!(
        patch.unschedulable,
        patch.unschedulable.map(|_| !undo),
        "it cordons, or takes that back"
    );
    prop_assert!(patch.labels.iter().all(|(key, value)| key == EXCLUDE && value.is_none() && undo));
    let [(key, value)] = patch.annotations.as_slice() else {
        return Err(TestCaseError::fail(format!(
            "our annotation and no other: {:?}",
            patch.annotations
        )));
    };
    prop_assert_eq!((key.as_str(), value.is_none()), (DEPARTURE, undo));
    if let Some(text) = value {
        prop_assert_eq!(
            Departure::parse(text).map(|record| record.text()),
            Some(text.clone()),
            "it reads back"
        );
    }
    Ok(())
}

/// Who waits is looked at again before the hook's last moment and before its heartbeat could be late.
fn no_wait_is_too_long(snapshot: &Snapshot, policy: &Policy, decision: &Decision) -> Checked {
    let paused = policy == &self::paused(policy);
    for (seen, answer) in snapshot.signals.iter().zip(&decision.answers) {
        let (Next::ComeBack { at }, Ok(Some(facts))) = (&answer.next, &seen.hook) else { continue };
        let by_hook = facts.metadata.as_deref().is_some_and(|metadata| metadata.contains("paused"));
        if paused || by_hook {
            continue;
        }
        let wait = at.since(snapshot.now);
        prop_assert!(wait < facts.heartbeat / 2, "{wait:?} of {:?}", facts.heartbeat);
        let last = seen.sent_at + facts.global - ANSWER_MARGIN;
        let known = snapshot.aws.group.is_ok() && snapshot.aws.membership.is_ok();
        prop_assert!(
            !known || snapshot.now >= last || *at <= last.max(snapshot.now + facts.heartbeat / 2)
        );
    }
    Ok(())
}

fn paused(policy: &Policy) -> Policy {
    Policy { mode: decision::policy::Mode::Paused, ..policy.clone() }
}

fn is_plain(snapshot: &Snapshot) -> bool {
    snapshot.signals.iter().all(|seen| {
        let now = seen.hook.as_ref().ok().and_then(|facts| facts.as_ref()?.metadata.as_deref());
        now.is_none() && seen.signal.hook().is_none_or(|hook| hook.metadata.is_none())
    }) && snapshot.aws.hooks.iter().flatten().all(|hook| hook.metadata.is_none())
}

proptest! {
    #![proptest_config(Config { cases: 600, ..Config::default() })]

    #[test]
    fn every_decision_keeps_the_invariants(snapshot in any_snapshot(), policy in any_policy()) {
        let decision = decide(&snapshot, &policy);
        prop_assert_eq!(&decision, &decide(&snapshot, &policy), "the same snapshot, the same decision");
        one_answer_for_each_signal(&snapshot, &decision)?;
        pods_leave_only_a_node_that_is_ours_and_cordoned(&snapshot, &decision)?;
        targets_leave_only_on_record(&snapshot, &decision)?;
        no_group_is_emptied(&snapshot, &decision)?;
        patches_are_careful(&snapshot, &decision)?;
        no_wait_is_too_long(&snapshot, &policy, &decision)?;
        a_recommendation_touches_no_load_balancer(&snapshot, &decision)?;
        the_out_of_service_taint_is_rare(&snapshot, &policy, &decision)?;
        foreign_groups_are_left_alone(&snapshot, &decision)?;
        let page = decision.report.page(snapshot.now, &policy);
        prop_assert!(page.contains(snapshot.instance.as_str()), "every page says whom it is about");
        prop_assert!(!page.contains(token(1).expose()) && !format!("{decision:?}").contains(token(1).expose()), "a token leaked");
    }

    #[test]
    fn a_recommendation_alone_keeps_them_too(
        snapshot in any_snapshot(),
        warnings in vec(any_warning(), 1..3),
        policy in any_policy(),
    ) {
        let recommend = |mut seen: Seen| {
            let said = Interruption { cause: Cause::Rebalance, due: Due::Unknown };
            seen.signal.kind = SignalKind::Interruption(said);
            seen
        };
        let signals = warnings.into_iter().map(recommend).collect();
        let snapshot = Snapshot { signals, ..snapshot };
        let decision = decide(&snapshot, &policy);
        a_recommendation_touches_no_load_balancer(&snapshot, &decision)?;
        one_answer_for_each_signal(&snapshot, &decision)?;
        patches_are_careful(&snapshot, &decision)?;
    }

    #[test]
    fn who_calls_for_others_keeps_the_floor(
        claims in btree_map(1_usize..8, 0_u64..=60, 0..7),
        own in 0_u64..=60,
        living in btree_set(1_usize..9, 1..9),
        floor in select(vec![0_usize, 50, 100]),
    ) {
        let mut claims = claims;
        claims.insert(1, own);
        let leaving = |(number, at): (&usize, &u64)| withdrawn(record(*number), "web", after(*at));
        let mut snapshot = departing();
        *node_mut(&mut snapshot) = cordoned(node(), &leaving((&1, &own)));
        view_mut(&mut snapshot).peers = Ok(claims.iter().map(leaving).map(|own| peer(&own)).collect());
        snapshot.aws.target_groups = Ok(vec![web(healthy(living.iter().copied()))]);
        let text = floor.to_string();
        let policy = policy(&[("WITHDRAW_FLOOR", &text), ("WITHDRAW_HOLD", "48h")]);
        let decision = decide(&snapshot, &policy);
        let base = living.len() + claims.keys().filter(|number| !living.contains(number)).count();
        let keep = (base * floor).div_ceil(100).max(1);
        let called = decision.steps.iter().find_map(|step| match step {
            Step::Deregister(call) => Some(call.change.targets.len()),
            _ => None,
        });
        prop_assert!(called.is_none_or(|out| living.len() - out >= keep), "{called:?} of {living:?}, keep {keep}");
    }

    #[test]
    fn observe_and_pause_write_nothing(snapshot in any_snapshot(), policy in any_policy()) {
        if is_plain(&snapshot) {
            for mode in [decision::policy::Mode::Observe, decision::policy::Mode::Paused] {
                let silent = Policy { mode, ..policy.clone() };
                let decision = decide(&snapshot, &silent);
                prop_assert!(decision.steps.is_empty(), "{:?}", decision.steps);
                let answers = join(&[decision]).answers;
                let allowed = silent.mode == decision::policy::Mode::Paused;
                prop_assert!(answers.is_empty() || allowed, "{answers:?}");
            }
        }
    }

    #[test]
    fn a_plan_has_every_step_and_answers_each_action_once(batch in vec(any_snapshot(), 1..5), policy in any_policy()) {
        let decisions: Vec<Decision> = batch.iter().map(|snapshot| decide(snapshot, &policy)).collect();
        let plan = join(&decisions);
        let steps = || decisions.iter().flat_map(|decision| &decision.steps);
        let count = |wanted: fn(&Step) -> bool| steps().filter(|step| wanted(step)).count();
        prop_assert_eq!(plan.patches.len(), count(|step| matches!(step, Step::PatchNode(_))));
        prop_assert_eq!(plan.removals.len(), count(|step| matches!(step, Step::Evict { .. } | Step::Delete { .. })));
        prop_assert_eq!(plan.notes.len(), count(|step| matches!(step, Step::Note(_))));
        let called: usize = plan.deregister.iter().map(|call| call.instances.len()).sum();
        prop_assert_eq!(called, count(|step| matches!(step, Step::Deregister(_))));
        let mut actions: Vec<_> = plan.answers.iter().map(|answer| answer.call.clone()).collect();
        let all = actions.len();
        actions.sort();
        actions.dedup();
        prop_assert_eq!(actions.len(), all, "an action is answered once");
    }
}

#[test]
fn the_snapshots_that_are_drawn_reach_every_kind_of_step() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..10_000 {
        let drawn = (any_snapshot(), any_policy());
        let (snapshot, policy) =
            proptest::strategy::ValueTree::current(&drawn.new_tree(&mut runner).expect("drawn"));
        for step in decide(&snapshot, &policy).steps {
            kinds.insert(step.to_string().split(' ').next().unwrap_or_default().to_owned());
        }
    }
    let all = [
        "Event",
        "cordon",
        "delete",
        "deregister",
        "evict",
        "heartbeat",
        "out-of-service",
        "record",
        "register",
        "undo",
    ];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), all);
}
