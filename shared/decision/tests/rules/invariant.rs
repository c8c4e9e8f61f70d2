//! What holds for every snapshot, however odd: drawn broadly, decided, and checked against the list in ARCHITECTURE.md.

use crate::world::{
    SENT, after, arn, asg, budget, cordoned, ec2, hook_of, id, instance, key, labels, node, owner,
    peer, pod, policy, record, seen, service, sibling, state_of, taint, target, target_id, token,
    uid, view, withdrawn,
};
use decision::annotation::{DEPARTURE, Departure, EXCLUDE, TAINT};
use decision::decide::decide;
use decision::decision::{Decision, Next};
use decision::limits::{ANSWER_MARGIN, REMOVALS_AT_ONCE_MAX};
use decision::plan::join;
use decision::policy::Policy;
use decision::signal::HookRoute::{Normal, RootVolume, WarmPoolEnd, WarmPoolIn, WarmPoolOut};
use decision::signal::Transition::{Launching, Terminating};
use decision::snapshot::aws::{
    Asg, AwsView, Balancer, Instance, InstanceState, LifecycleState, Membership, RegistrationOwner,
    TargetGroup, TargetState,
};
use decision::snapshot::cluster::{
    Budget, ClusterView, Deletion, Node, NodeLookup, NodeView, Phase, Pod, Service, Sibling,
    Toleration, TrafficPolicy,
};
use decision::snapshot::{Attempts, HookState, Memory, Read, Seen, Snapshot, Unread};
use decision::step::{HookResult, NodePatch, PatchPurpose, Step};
use decision::time::Timestamp;
use proptest::collection::vec;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any};
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError};
use proptest::{bool::weighted, option, prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::time::Duration;

// ---- Anything ------------------------------------------------------------------------------------

/// Read, with a read that failed now and then.
fn read<T: std::fmt::Debug + Clone + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Read<T>> {
    prop_oneof![9 => value.prop_map(Ok), 1 => Just(Err(Unread::because("throttled")))].boxed()
}

fn instant() -> impl Strategy<Value = Timestamp> {
    let near = (-3_600_i64..9_000)
        .prop_map(|seconds| Timestamp::from_seconds(SENT.millis() / 1_000 + seconds));
    let limits = select(vec![
        0, 1, 10, 30, 59, 60, 119, 120, 299, 300, 899, 900, 3_599, 3_600, 7_160, 7_185, 7_189,
        7_190,
    ]);
    prop_oneof![
        near,
        (limits, -1_i64..=1)
            .prop_map(|(seconds, off)| Timestamp::from_millis(after(seconds).millis() + off))
    ]
}

fn any_signal() -> impl Strategy<Value = Seen> {
    let route =
        select(vec![Normal, Normal, Normal, WarmPoolIn, WarmPoolOut, WarmPoolEnd, RootVolume]);
    let metadata = select(vec![
        None,
        None,
        None,
        Some(r#"{"ebbtide":{"mode":"observe"}}"#),
        Some(r#"{"ebbtide":{"mode":"act","withdraw_floor":0}}"#),
        Some(r#"{"ebbtide":{"mode":"paused"}}"#),
        Some(r#"{"ebbtide":{"longest_drain":"1d"}}"#),
        Some("not ours"),
    ]);
    let hook = read(weighted(0.95));
    let times =
        (select(vec![30_u64, 60, 120, 3_600, 7_200]), select(vec![3_000_u64, 7_200, 172_800]));
    let name = select(vec!["ebbtide-terminate", "ebbtide-launch", "drain"]);
    (
        weighted(0.7),
        route,
        1_usize..4,
        name,
        metadata,
        hook,
        times,
        select(vec![1_u32, 2, 899, 900, 1_000]),
    )
        .prop_map(
            |(
                terminating,
                route,
                number,
                name,
                metadata,
                exists,
                (heartbeat, global),
                receives,
            )| {
                let mut seen = seen(if terminating { Terminating } else { Launching }, route);
                let hook = hook_of(&mut seen);
                (hook.token, hook.hook) = (token(number), id(name));
                hook.metadata = metadata.map(str::to_owned);
                let facts = seen.hook.ok().flatten().map(|facts| decision::snapshot::aws::Hook {
                    name: id(name),
                    heartbeat: Duration::from_secs(heartbeat),
                    global: Duration::from_secs(global),
                    metadata: metadata.map(str::to_owned),
                    ..facts
                });
                seen.hook = exists.map(|exists| facts.filter(|_| exists));
                Seen { receives, ..seen }
            },
        )
}

fn any_state() -> impl Strategy<Value = LifecycleState> {
    select(vec![
        LifecycleState::InService,
        LifecycleState::PendingWait,
        LifecycleState::TerminatingWait,
        LifecycleState::WarmedPendingWait,
        LifecycleState::ReplacingRootVolumeWait,
        LifecycleState::Ending("Terminating:Proceed".to_owned()),
    ])
}

fn any_group() -> impl Strategy<Value = TargetGroup> {
    let states = vec![
        TargetState::Healthy,
        TargetState::Healthy,
        TargetState::Initial,
        TargetState::Unhealthy,
        TargetState::Draining,
        TargetState::Unused,
        TargetState::Unavailable,
    ];
    let targets = vec((1_usize..6, select(states)), 0..6);
    let owner =
        select(vec![RegistrationOwner::Asg, RegistrationOwner::Named, RegistrationOwner::Named]);
    let balancer = select(vec![Balancer::Application, Balancer::Network, Balancer::Other]);
    (select(vec!["web", "api"]), targets, owner, balancer, select(vec![0_u64, 30, 300]), instant())
        .prop_map(|(name, targets, owner, balancer, delay, read_at)| TargetGroup {
            arn: arn(name),
            owner,
            balancer,
            deregistration_delay: Duration::from_secs(delay),
            targets: targets.into_iter().map(|(number, state)| target(number, state)).collect(),
            read_at,
        })
}

/// DescribeTargetHealth is asked once about each group.
fn groups_told_apart(mut groups: Vec<TargetGroup>) -> Vec<TargetGroup> {
    let mut known = std::collections::BTreeSet::new();
    groups.retain(|group| known.insert(group.arn.clone()));
    groups
}

fn any_record() -> impl Strategy<Value = Departure> {
    let claims = vec((select(vec!["web", "api"]), instant(), weighted(0.8)), 0..3);
    let number = prop_oneof![8 => Just(1_usize), 1 => Just(2_usize)];
    (
        number,
        instant(),
        instant(),
        (any::<bool>(), any::<bool>(), weighted(0.8)),
        claims,
        select(vec!["boot-1", "boot-1", "boot-0"]),
    )
        .prop_map(|(number, since, ranked_at, (cordoned, labelled, because), claims, boot)| {
            let mut drawn = record(number);
            for (group, at, exact) in claims {
                drawn = withdrawn(drawn, group, at);
                if !exact {
                    drawn
                        .withdrawn
                        .last_mut()
                        .expect("just pushed")
                        .targets
                        .push(target_id(&instance(9)));
                }
            }
            if because {
                drawn.because.extend(record(2).because.into_iter().chain(record(3).because));
            } else {
                drawn.because.clear();
            }
            Departure { since, ranked_at, cordoned, labelled, boot: Some(id(boot)), ..drawn }
        })
}

fn any_node() -> impl Strategy<Value = Node> {
    let taints = vec(
        select(vec![
            "dedicated",
            "node.kubernetes.io/not-ready",
            "ebs.csi.aws.com/agent-not-ready",
            "example.com/x",
        ]),
        0..2,
    );
    let orders = option::weighted(
        0.2,
        select(vec![
            ("ebbtide.dev/force", "now"),
            ("ebbtide.dev/hold-until", "10:35Z"),
            ("ebbtide.dev/hold-until", "later"),
        ]),
    );
    // Ready or not, cordoned by us or not, with a record or not.
    let marks = (option::weighted(0.8, weighted(0.8)), weighted(0.8), weighted(0.1), weighted(0.1));
    (option::weighted(0.9, any_record()), marks, taints, orders, weighted(0.05)).prop_map(
        |(record, (ready, cordon, unschedulable, excluded), taints, order, broken)| {
            let mut drawn = Node {
                ready,
                unschedulable,
                taints: taints.into_iter().map(taint).collect(),
                ..node()
            };
            match record {
                Some(record) if cordon => drawn = cordoned(drawn, &record),
                Some(record) => {
                    drawn.annotations.insert(DEPARTURE.to_owned(), record.text());
                }
                None => {}
            }
            if broken {
                drawn.annotations.insert(DEPARTURE.to_owned(), "{".to_owned());
            }
            if excluded {
                drawn.labels.insert(EXCLUDE.to_owned(), "true".to_owned());
            }
            drawn.annotations.extend(order.map(|(key, value)| (key.to_owned(), value.to_owned())));
            drawn
        },
    )
}

fn any_pod() -> impl Strategy<Value = Pod> {
    let kinds =
        select(vec!["ReplicaSet", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "Node", ""]);
    let phase = select(vec![
        Phase::Running,
        Phase::Running,
        Phase::Running,
        Phase::Pending,
        Phase::Succeeded,
    ]);
    let flags = (any::<[bool; 6]>(), select(vec![0_i32, 0, 10, 2_000_001_000]));
    let more = (
        option::weighted(0.2, instant()),
        select(vec![0_u64, 1, 30, 3_600, 100_000]),
        select(vec![80_u16, 30_080]),
    );
    (select(vec!["web", "api", "db"]), 0_usize..5, kinds, phase, flags, more).prop_map(
        |(
            app,
            number,
            kind,
            phase,
            ([ready, stopped, mirror, protect, tolerant, host], priority),
            (ends, grace, port),
        )| {
            let everything = Toleration { key: None, exists: true, value: None, effect: None };
            Pod {
                owner: (!kind.is_empty()).then(|| owner(kind, app)),
                phase,
                mirror: mirror && stopped && protect,
                deletion: ends.map(|ends_at| Deletion { ends_at }),
                containers_stopped: stopped,
                annotations: labels(if protect && mirror {
                    &[("karpenter.sh/do-not-disrupt", "true")]
                } else {
                    &[]
                }),
                ready,
                priority,
                grace: Duration::from_secs(grace),
                tolerations: if tolerant && mirror { vec![everything] } else { Vec::new() },
                host_ports: if host && mirror { vec![port] } else { Vec::new() },
                claims: host,
                ..pod(&format!("{app}-{number}"))
            }
        },
    )
}

/// No two pods of a cluster have the same name or uid.
fn told_apart(mut pods: Vec<Pod>) -> Vec<Pod> {
    let mut known = std::collections::BTreeSet::new();
    pods.retain(|pod| known.insert(pod.uid.clone()));
    pods
}

fn any_sibling() -> impl Strategy<Value = Sibling> {
    (select(vec!["web", "api"]), 0_usize..5, 1_usize..4, any::<[bool; 3]>()).prop_map(
        |(app, number, on, [ready, leaving, unschedulable])| Sibling {
            ready,
            leaving,
            unschedulable: unschedulable && !ready,
            ..sibling(&format!("{app}-{number}"), on)
        },
    )
}

fn any_budget() -> impl Strategy<Value = Budget> {
    (select(vec!["web", "api", "db"]), -1_i32..3, any::<bool>()).prop_map(|(app, allowed, all)| {
        let drawn = budget(app, allowed);
        if all {
            Budget { key: key("shop/all"), selector: Default::default(), ..drawn }
        } else {
            drawn
        }
    })
}

fn any_service() -> impl Strategy<Value = Service> {
    let ready = vec((0_usize..5, 1_usize..4), 0..4);
    (select(vec!["web", "api"]), any::<bool>(), ready).prop_map(|(app, local, ready)| {
        let names: Vec<(String, usize)> =
            ready.into_iter().map(|(number, on)| (format!("{app}-{number}"), on)).collect();
        let ready: Vec<(&str, usize)> =
            names.iter().map(|(name, on)| (name.as_str(), *on)).collect();
        service(app, if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster }, &ready)
    })
}

fn any_view() -> impl Strategy<Value = NodeView> {
    let peers = vec((1_usize..5, any::<bool>()), 0..4).prop_map(|numbers| {
        numbers
            .into_iter()
            .map(|(number, claims)| {
                let plain = record(number);
                peer(&if claims { withdrawn(plain, "web", SENT) } else { plain })
            })
            .collect()
    });
    let volumes = vec(Just("pvc-1".to_owned()), 0..2);
    (
        any_node(),
        read(peers),
        read(vec(any_pod(), 0..14).prop_map(told_apart)),
        read(vec(any_budget(), 0..3)),
        read(vec(any_service(), 0..3)),
        read(vec(any_sibling(), 0..8)),
        read(volumes),
    )
        .prop_map(|(node, peers, pods, budgets, services, siblings, volumes)| NodeView {
            peers,
            pods,
            budgets,
            services,
            siblings,
            volumes,
            ..view(node)
        })
}

fn any_cluster() -> impl Strategy<Value = ClusterView> {
    prop_oneof![
        1 => Just(ClusterView::NotAsked),
        1 => Just(ClusterView::Unnamed),
        1 => Just(ClusterView::Deleted(id("prod"))),
        1 => Just(crate::world::unreachable()),
        1 => Just(crate::world::absent()),
        15 => any_view().prop_map(crate::world::reached),
    ]
}

fn any_memory() -> impl Strategy<Value = Memory> {
    let state =
        prop_oneof![3 => instant().prop_map(HookState::Active), 1 => Just(HookState::Inactive)];
    let hooks = vec((1_usize..4, state), 0..3);
    let evictions = vec((select(vec!["web", "api"]), 0_usize..5, instant(), any::<bool>()), 0..4);
    let crowd = select(vec![0_usize, 1, 20, 1_000]);
    let drawn = (hooks, evictions, option::of(instant()), crowd);
    drawn.prop_map(|(hooks, evictions, blocked_reported_at, crowd)| Memory {
        hooks: hooks
            .into_iter()
            .map(|(number, state)| (token(number).fingerprint(), state))
            .collect(),
        evictions: evictions
            .into_iter()
            .map(|(app, number, last_at, refused)| {
                let refused = refused.then(|| "webhook denied it".to_owned());
                (uid(&format!("uid-{app}-{number}")), Attempts { count: 3, last_at, refused })
            })
            .collect(),
        blocked_reported_at,
        crowd,
    })
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let instance_states = select(vec![
        InstanceState::Running,
        InstanceState::Running,
        InstanceState::Running,
        InstanceState::ShuttingDown,
    ]);
    let ec2s = (instance_states, option::of(instant())).prop_map(|(state, launched_at)| Instance {
        state,
        launched_at,
        ..ec2()
    });
    let managed = prop_oneof![9 => Just(asg()), 1 => Just(Asg { tags: labels(&[]), ..asg() })];
    let state = prop_oneof![4 => Just(None), 1 => any_state().prop_map(Some)];
    let aws = (
        read(option::weighted(0.95, managed)),
        read(option::weighted(0.9, ec2s)),
        read(vec(any_group(), 0..3).prop_map(groups_told_apart)),
    );
    (vec(any_signal(), 1..4), instant(), state, aws, any_cluster(), any_memory()).prop_map(
        |(mut signals, now, state, (group, ec2, target_groups), cluster, memory)| {
            for (index, seen) in signals.iter_mut().enumerate() {
                seen.message = format!("message-{index}");
            }
            // Most often the state that the first hook waits in.
            let waits = signals.iter().find_map(|seen| seen.signal.hook());
            let state = state.unwrap_or_else(|| match waits {
                Some(hook) => state_of(hook.transition, hook.route),
                None => LifecycleState::InService,
            });
            let membership = Ok(Some(Membership { asg: id("workers"), state }));
            let hooks = Ok(Vec::new());
            let is_scheduled = Ok(true);
            let aws =
                AwsView { membership, group, hooks, instance: ec2, is_scheduled, target_groups };
            Snapshot { now, instance: instance(1), signals, aws, cluster, memory }
        },
    )
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let mode = select(vec!["act", "act", "act", "observe", "paused"]);
    let floor = select(vec!["0", "50", "100"]);
    let at_longest = select(vec!["go-on", "force"]);
    let protected = select(vec!["honour", "evict"]);
    (mode, floor, at_longest, protected, select(vec!["leave", "continue"])).prop_map(
        |(mode, floor, at_longest, protected, paused)| {
            policy(&[
                ("MODE", mode),
                ("WITHDRAW_FLOOR", floor),
                ("AT_LONGEST_DRAIN", at_longest),
                ("PROTECTED_PODS", protected),
                ("PAUSED_HOOKS", paused),
                ("HOOKS", "ebbtide-launch,ebbtide-terminate,drain"),
            ])
        },
    )
}

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
            Step::Evict(removal) => removal,
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

fn targets_leave_only_on_record(snapshot: &Snapshot, decision: &Decision) -> Checked {
    let runs = match &snapshot.aws.instance {
        Ok(Some(instance)) => instance.state.is_up(),
        Ok(None) => false,
        Err(_) => true,
    };
    for step in &decision.steps {
        let Step::Deregister(call) = step else { continue };
        let own = snapshot.instance.as_str();
        prop_assert!(
            call.change.targets.iter().all(|target| target.id == own),
            "{step}: somebody else's target"
        );
        // Without a node there is nothing to carry a record; of an instance that is gone only ghosts are left.
        if found(snapshot).is_some() && runs {
            let record = standing_record(snapshot);
            let noted =
                record.as_ref().and_then(|record| record.withdrawn_from(&call.change.group));
            prop_assert!(
                noted.is_some_and(|noted| noted.targets == call.change.targets),
                "{step} without a record"
            );
        }
    }
    Ok(())
}

/// A group with a living target is never emptied: somebody who lives and is not us stays in.
fn no_group_is_emptied(snapshot: &Snapshot, decision: &Decision) -> Checked {
    let runs = matches!(&snapshot.aws.instance, Ok(Some(instance)) if instance.state.is_up());
    for step in &decision.steps {
        let Step::Deregister(call) = step else { continue };
        let groups = snapshot.aws.target_groups.iter().flatten();
        for group in groups.filter(|group| group.arn == call.change.group && runs) {
            let own = snapshot.instance.as_str();
            let lives = |mine: bool| {
                group
                    .targets
                    .iter()
                    .any(|target| (target.id == own) == mine && target.state.is_living())
            };
            prop_assert!(!lives(true) || lives(false), "{step}: the last living target");
        }
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
    let foreign = |taints: &[decision::snapshot::cluster::Taint]| -> Vec<_> {
        taints.iter().filter(|taint| taint.key != TAINT).cloned().collect()
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
    })
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
        let page = decision.report.page(snapshot.now, &policy);
        prop_assert!(page.contains(snapshot.instance.as_str()), "every page says whom it is about");
        prop_assert!(!page.contains(token(1).expose()) && !format!("{decision:?}").contains(token(1).expose()), "a token leaked");
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
        prop_assert_eq!(plan.removals.len(), count(|step| matches!(step, Step::Evict(_) | Step::Delete { .. })));
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
    for _ in 0..3_000 {
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
        "record",
        "register",
        "undo",
    ];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), all);
}
