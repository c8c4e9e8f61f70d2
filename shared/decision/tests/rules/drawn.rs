//! Snapshots and policies of every kind, however odd: what the properties are checked against.

use crate::world::{
    SENT, after, arn, asg, budget, cordoned, ec2, hook_of, id, instance, key, labels, node, owner,
    peer, pod, policy, record, seen, service, sibling, state_of, taint, target, target_id,
    terminate_hook, token, uid, view, withdrawn,
};
use decision::annotation::{Contributor, DEPARTURE, Departure, EXCLUDE, OUT_OF_SERVICE};
use decision::policy::Policy;
use decision::signal::HookRoute::{Normal, RootVolume, WarmPoolEnd, WarmPoolIn, WarmPoolOut};
use decision::signal::Transition::{Launching, Terminating};
use decision::signal::{
    Cause, Due, Interruption, Maintenance, Signal, SignalKind, SpotAction, Urgency,
};
use decision::snapshot::aws::{
    Asg, AwsView, Balancer, Hook, Instance, InstanceState, LifecycleState, Membership,
    RegistrationOwner, TargetGroup, TargetState,
};
use decision::snapshot::cluster::{
    Budget, ClusterView, Deletion, Node, NodeView, Phase, Pod, Service, Sibling, Toleration,
    TrafficPolicy,
};
use decision::snapshot::{Attempts, HookState, Memory, Read, Seen, Snapshot, Unread};
use decision::time::Timestamp;
use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any};
use proptest::sample::select;
use proptest::{option, prop_oneof};
use std::time::Duration;

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

/// What AWS says besides lifecycle hooks.
fn any_interruption() -> impl Strategy<Value = Interruption> {
    let due = || {
        prop_oneof![
            3 => Just(Due::After(Duration::from_secs(120))),
            1 => Just(Due::After(Duration::ZERO)),
            2 => instant().prop_map(Due::At),
            1 => Just(Due::Unknown),
        ]
    };
    let actions = vec![
        SpotAction::Terminate,
        SpotAction::Stop,
        SpotAction::Hibernate,
        SpotAction::Unknown("evaporate".to_owned()),
    ];
    let states = vec![
        InstanceState::Running,
        InstanceState::Stopping,
        InstanceState::Stopped,
        InstanceState::ShuttingDown,
        InstanceState::Terminated,
    ];
    let urgency = select(vec![Urgency::AtOnce, Urgency::AtStart, Urgency::AtStart]);
    let change = (select(vec!["a", "b"]), urgency, weighted(0.3));
    let maintenance = change.prop_map(|(event, urgency, closed)| Maintenance {
        arn: format!("arn:aws:health:eu-central-1::event/EC2/x/{event}"),
        code: "AWS_EC2_INSTANCE_REBOOT_FLEXIBLE_MAINTENANCE_SCHEDULED".to_owned(),
        urgency,
        closed,
    });
    let cause = prop_oneof![
        4 => select(actions).prop_map(Cause::Spot),
        2 => Just(Cause::Rebalance),
        1 => Just(Cause::CapacityReservation),
        1 => Just(Cause::CapacityBlock),
        4 => maintenance.prop_map(Cause::Maintenance),
        4 => select(states).prop_map(Cause::State),
    ];
    (cause, due()).prop_map(|(cause, due)| match cause {
        Cause::Rebalance | Cause::State(InstanceState::Running) => {
            Interruption { cause, due: Due::Unknown }
        }
        cause => Interruption { cause, due },
    })
}

pub(crate) fn any_warning() -> impl Strategy<Value = Seen> {
    let sent_at = prop_oneof![3 => Just(SENT), 2 => instant()];
    (any_interruption(), sent_at, select(vec![1_u32, 2, 900])).prop_map(
        |(said, sent_at, receives)| {
            let seen = seen(Terminating, Normal);
            let kind = SignalKind::Interruption(said);
            let signal = Signal { sent_at: Some(sent_at), kind, ..seen.signal };
            Seen { signal, receives, sent_at, hook: Ok(None), ..seen }
        },
    )
}

fn any_signal() -> impl Strategy<Value = Seen> {
    prop_oneof![3 => any_hook().boxed(), 2 => any_warning().boxed()]
}

fn any_hook() -> impl Strategy<Value = Seen> {
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
                let facts = seen.hook.ok().flatten().map(|facts| Hook {
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

/// What interruptions have a part in a record.
fn any_parts() -> impl Strategy<Value = Vec<Contributor>> {
    let part = (any_interruption(), instant()).prop_map(|(said, sent_at)| Contributor {
        by: said.cause.label().to_owned(),
        token: said.key(),
        hard: said.hard(sent_at),
    });
    vec(part, 0..3)
}

fn any_record() -> impl Strategy<Value = Departure> {
    let claims = vec((select(vec!["web", "api"]), instant(), weighted(0.8)), 0..3);
    let number = prop_oneof![8 => Just(1_usize), 1 => Just(2_usize)];
    (
        number,
        instant(),
        instant(),
        (any::<bool>(), any::<bool>(), weighted(0.2), weighted(0.6)),
        claims,
        select(vec!["boot-1", "boot-1", "boot-0"]),
        any_parts(),
    )
        .prop_map(|(number, since, ranked_at, flags, claims, boot, parts)| {
            let (cordoned, labelled, out_of_service, because) = flags;
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
            drawn.because.extend(parts);
            let boot = Some(id(boot));
            Departure { since, ranked_at, cordoned, labelled, out_of_service, boot, ..drawn }
        })
}

fn any_node() -> impl Strategy<Value = Node> {
    let taints = vec(
        select(vec![
            "dedicated",
            "node.kubernetes.io/not-ready",
            "ebs.csi.aws.com/agent-not-ready",
            "example.com/x",
            OUT_OF_SERVICE,
        ]),
        0..3,
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

pub(crate) fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let instance_states = select(vec![
        InstanceState::Running,
        InstanceState::Running,
        InstanceState::Running,
        InstanceState::Running,
        InstanceState::ShuttingDown,
        InstanceState::Stopping,
        InstanceState::Stopped,
        InstanceState::Terminated,
    ]);
    let ec2s = (instance_states, option::of(instant())).prop_map(|(state, launched_at)| Instance {
        state,
        launched_at,
        ..ec2()
    });
    let managed = prop_oneof![9 => Just(asg()), 1 => Just(Asg { tags: labels(&[]), ..asg() })];
    let state = prop_oneof![4 => Just(None), 1 => any_state().prop_map(Some)];
    let metadata = select(vec![
        None,
        None,
        None,
        Some(r#"{"ebbtide":{"mode":"observe"}}"#),
        Some(r#"{"ebbtide":{"rebalance":"drain","rebalance_hold":"5m"}}"#),
        Some(r#"{"ebbtide":{"spot_warning":"none"}}"#),
    ]);
    let hooks = metadata.prop_map(|metadata| {
        vec![Hook { metadata: metadata.map(str::to_owned), ..terminate_hook() }]
    });
    let aws = (
        read(option::weighted(0.95, managed)),
        read(hooks),
        read(weighted(0.7)),
        read(option::weighted(0.9, ec2s)),
        read(vec(any_group(), 0..3).prop_map(groups_told_apart)),
    );
    (vec(any_signal(), 1..4), instant(), state, aws, any_cluster(), any_memory()).prop_map(
        |(mut signals, now, state, aws, cluster, memory)| {
            let (group, hooks, is_scheduled, ec2, target_groups) = aws;
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
            let aws =
                AwsView { membership, group, hooks, instance: ec2, is_scheduled, target_groups };
            Snapshot { now, instance: instance(1), signals, aws, cluster, memory }
        },
    )
}

pub(crate) fn any_policy() -> impl Strategy<Value = Policy> {
    let mode = select(vec!["act", "act", "act", "observe", "paused"]);
    let floor = select(vec!["0", "50", "100"]);
    let at_longest = select(vec!["go-on", "force"]);
    let protected = select(vec!["honour", "evict"]);
    let reactions = vec(select(vec!["drain", "drain", "cordon", "ignore"]), 5);
    let times = (select(vec!["0s", "5m", "1h"]), select(vec!["0s", "1h", "11h"]));
    let interruptions = (reactions, times, select(vec!["on", "off"]));
    (mode, floor, at_longest, protected, select(vec!["leave", "continue"]), interruptions).prop_map(
        |(mode, floor, at_longest, protected, paused, (reactions, (hold, lead), out))| {
            policy(&[
                ("MODE", mode),
                ("WITHDRAW_FLOOR", floor),
                ("AT_LONGEST_DRAIN", at_longest),
                ("PROTECTED_PODS", protected),
                ("PAUSED_HOOKS", paused),
                ("HOOKS", "ebbtide-launch,ebbtide-terminate,drain"),
                ("SPOT_WARNING", reactions[0]),
                ("REBALANCE", reactions[1]),
                ("REBALANCE_HOLD", hold),
                ("CAPACITY_RESERVATION", reactions[2]),
                ("MAINTENANCE", reactions[3]),
                ("MAINTENANCE_LEAD", lead),
                ("STATE_CHANGE", reactions[4]),
                ("OUT_OF_SERVICE", out),
            ])
        },
    )
}
