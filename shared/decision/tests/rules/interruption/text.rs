//! What is said of an interruption to somebody who was woken: its cause, what is left, what happens by itself.

use super::{
    closed, interrupted, leaving, maintenance, marked, part, rebalance, recorded, seen, state,
    two_minutes,
};
use crate::world::{
    SENT, act, after, budget, daemon, deleted, departing, healthy, node_mut, pod, policy, record,
    secs, service, sibling, unreachable, view_mut, web,
};
use decision::annotation::{DEPARTURE, Departure};
use decision::decide::decide;
use decision::policy::Policy;
use decision::signal::{Due, SpotAction, Urgency};
use decision::snapshot::Snapshot;
use decision::snapshot::aws::InstanceState;
use decision::snapshot::cluster::{Pod, Sibling, TrafficPolicy};

fn page(snapshot: &Snapshot, policy: &Policy) -> String {
    let report = decide(snapshot, policy).report;
    format!("{report}\n\n{}", report.page(snapshot.now, policy))
}

/// A budget that allows none, on a Spot node.
fn blocked(now: u64, pods: Vec<Pod>) -> Snapshot {
    let mut snapshot = leaving(two_minutes());
    snapshot.now = after(now);
    snapshot.memory.blocked_reported_at = Some(snapshot.now);
    let view = view_mut(&mut snapshot);
    let sick = Sibling { ready: false, ..sibling("checkout-9zt5k", 9) };
    view.siblings = Ok(vec![sibling("checkout-x2x8q", 1), sick]);
    view.pods = Ok(pods);
    view.budgets = Ok(vec![budget("checkout", 0)]);
    snapshot
}

fn checkout(name: &str, grace: u64) -> Pod {
    Pod { grace: secs(grace), ..pod(&format!("checkout-{name}")) }
}

#[test]
fn a_spot_node_whose_pods_are_blocked() {
    let snapshot = blocked(40, vec![checkout("x2x8q", 30), daemon("agent-1")]);
    insta::assert_snapshot!(page(&snapshot, &act()));
}

#[test]
fn pods_of_one_deployment_whose_graces_do_not_fit_are_told_apart() {
    // One is evicted already and would end too late; one serves behind its target; one asks for a minute, one for less.
    let leaves = Pod { deletion: deleted(after(140)), ..checkout("aaaaa", 60) };
    let serves = Pod { host_ports: vec![30_080], ..checkout("ccccc", 60) };
    let mut snapshot =
        blocked(60, vec![leaves, checkout("bbbbb", 60), serves, checkout("ddddd", 20)]);
    snapshot.aws.target_groups = Ok(vec![web(healthy([1, 2]))]);
    insta::assert_snapshot!(page(
        &snapshot,
        &policy(&[("WITHDRAW_FLOOR", "100"), ("SETTLE_APPLICATION", "20s")])
    ));
}

#[test]
fn in_the_last_seconds_it_is_said_how_little_grace_is_left() {
    let snapshot = blocked(93, vec![checkout("x2x8q", 60)]);
    let told = page(&snapshot, &act());
    let expected = "then      deleted at 2026-11-22T09:31:33Z with 12 s of the 1 min of grace that it asks for";
    assert!(told.contains(expected), "{told}");
}

#[test]
fn behind_local_while_the_target_waits() {
    let mut snapshot = leaving(two_minutes());
    let view = view_mut(&mut snapshot);
    view.services = Ok(vec![service("web", TrafficPolicy::Local, &[("web-1", 1)])]);
    view.pods = Ok(vec![Pod { grace: secs(60), ..pod("web-1") }]);
    snapshot.aws.target_groups = Ok(vec![web(healthy([1, 2]))]);
    insta::assert_snapshot!(page(&snapshot, &policy(&[("WITHDRAW_FLOOR", "100")])));
}

#[test]
fn only_recommended() {
    insta::assert_snapshot!(page(&leaving(rebalance()), &act()));
}

#[test]
fn announced() {
    let snapshot = interrupted(maintenance(Urgency::AtStart, Due::At(after(86_400))));
    insta::assert_snapshot!(page(&snapshot, &act()));
}

#[test]
fn only_cordoned_by_policy() {
    let snapshot = leaving(two_minutes());
    insta::assert_snapshot!(page(&snapshot, &policy(&[("SPOT_WARNING", "cordon")])));
}

#[test]
fn its_cluster_is_unreachable() {
    let mut snapshot = interrupted(two_minutes());
    snapshot.now = after(30);
    snapshot.cluster = unreachable();
    snapshot.aws.target_groups = Ok(vec![web(healthy(1..=3))]);
    insta::assert_snapshot!(page(&snapshot, &act()));
}

#[test]
fn each_stage_has_its_line() {
    let mut lapsed = leaving(rebalance());
    lapsed.now = after(3_600);
    let mut stopped = interrupted(state(InstanceState::Stopped));
    super::shown(&mut stopped, InstanceState::Stopped);
    let mut off = interrupted(closed());
    marked(&mut off, &recorded(&closed()));
    let rows = [
        (
            "lapsed",
            lapsed,
            "LAPSED  ip-10-0-3-1.ec2.internal (i-00000000000000001, rebalance recommendation)   1 h",
        ),
        (
            "stopped",
            stopped,
            "DEPARTED  ip-10-0-3-1.ec2.internal (i-00000000000000001, instance stopped)   2 s",
        ),
        (
            "called off",
            off,
            "ARRIVING  ip-10-0-3-1.ec2.internal (i-00000000000000001, maintenance AWS_EC2_INSTANCE_STOP_SCHEDULED closed)   2 s",
        ),
        (
            "hibernates",
            interrupted(super::spot(SpotAction::Hibernate)),
            "DEPARTING  ip-10-0-3-1.ec2.internal (i-00000000000000001, Spot warning, hibernate)   2 s",
        ),
    ];
    for (name, snapshot, line) in rows {
        let told = decide(&snapshot, &policy(&[("OUT_OF_SERVICE", "on")])).report;
        let told = told.page(snapshot.now, &act());
        assert_eq!(told.lines().next(), Some(line), "{name}");
    }
}

// ---- Whose deadline it is ------------------------------------------------------------------------

#[track_caller]
fn check_hard(name: &str, snapshot: &Snapshot, expected: &str) {
    let told = page(snapshot, &act());
    let line = told.lines().find(|line| line.contains(expected));
    assert!(line.is_some(), "{name}: no `{expected}` in\n{told}");
}

#[test]
fn the_deadline_is_said_to_be_whose_it_is() {
    let with_pod = |mut snapshot: Snapshot| {
        view_mut(&mut snapshot).pods = Ok(vec![pod("db-0")]);
        view_mut(&mut snapshot).budgets = Ok(vec![budget("db", 0)]);
        snapshot
    };
    let pods = "pods that are left are deleted before it";
    let spot = format!("2026-11-22T09:32:00Z  Spot warning, terminate: {pods}");
    check_hard("a warning", &with_pod(leaving(two_minutes())), &spot);

    let mut both = with_pod(departing());
    both.now = after(30);
    both.signals.push(seen(rebalance()));
    let mut own = record(1);
    own.because.push(part(&rebalance()));
    marked(&mut both, &own);
    let global = format!("2026-11-22T11:30:00Z  the hook's global timeout: {pods}");
    check_hard("a hook, beside a recommendation", &both, &global);

    both.signals.push(seen(two_minutes()));
    own.because.push(part(&two_minutes()));
    marked(&mut both, &own);
    check_hard("a hook, beside a warning", &both, &spot);

    let mut told = with_pod(departing());
    told.now = after(30);
    let because = [record(1).because, vec![part(&two_minutes())]].concat();
    marked(&mut told, &Departure { because, ..record(1) });
    let on_record = format!("2026-11-22T09:32:00Z  spot, on record: {pods}");
    check_hard("a hook, whose node was warned", &told, &on_record);
    assert!(node_mut(&mut told).annotations[DEPARTURE].contains("spot"));
    assert!(told.signals[0].sent_at == SENT);
}

#[test]
fn no_page_promises_an_answer_that_nobody_waits_for() {
    for kind in super::KINDS {
        for snapshot in [interrupted((kind.said)()), leaving((kind.said)())] {
            let told = page(&snapshot, &act());
            assert!(!told.contains("hook"), "{}: {told}", kind.name);
        }
    }
}
