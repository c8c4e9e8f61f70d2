//! A departure of which only AWS's half is left: no node, no API server, no cluster, no host.

use crate::departure::{DEREGISTER, at, check, unread, usual, with_web};
use crate::world::{
    GLOBAL, HEARTBEAT, SENT, absent, act, after, answer, departing, ec2, healthy, id, millis, pod,
    proven, record, secs, signalled_out, steps, target, unreachable, view_mut, web, why,
};
use decision::decide::decide;
use decision::limits::{ANSWER_MARGIN, REGISTERS_WITHIN, SETTLING_LOOK, WITHDRAW_MARGIN};
use decision::pace::look;
use decision::report::Stage;
use decision::snapshot::Snapshot;
use decision::snapshot::aws::{Instance, InstanceState, TargetState};
use decision::snapshot::cluster::ClusterView;
use decision::time::Timestamp;

fn launched(ago: std::time::Duration, now: Timestamp) -> Snapshot {
    let mut snapshot = signalled_out();
    snapshot.now = now;
    snapshot.cluster = absent();
    snapshot.aws.instance = Ok(Some(Instance { launched_at: Some(now - ago), ..ec2() }));
    snapshot
}

#[test]
fn a_young_instance_is_given_time_to_register_and_an_old_one_has_lost_its_node() {
    let young = secs(30);
    let rows = [
        ("young", launched(young, after(60)), None),
        (
            "young, one millisecond before the wait ends",
            launched(young, after(120) - millis(1)),
            None,
        ),
        (
            "young, the wait is over",
            launched(young, after(120)),
            Some("no node registered within 2 min"),
        ),
        ("old by one millisecond less", launched(REGISTERS_WITHIN - millis(1), after(60)), None),
        ("old", launched(REGISTERS_WITHIN, after(60)), Some("its node is gone already")),
    ];
    for (name, snapshot, answered) in rows {
        let decision = decide(&snapshot, &act());
        match answered {
            Some(reason) => assert_eq!(why(&decision), reason, "{name}"),
            None => {
                assert_eq!(decision.report.stage, Stage::Registering(after(120)), "{name}");
                assert!(at(&decision) <= after(120), "{name}");
            }
        }
    }
}

#[test]
fn a_node_that_is_absent_for_an_instance_that_could_not_be_read_is_looked_for_again() {
    let mut snapshot = launched(secs(86_400), after(600));
    snapshot.aws.instance = Err(unread());
    check("its name is not known either", &snapshot, &act(), (&[], &usual(snapshot.now)));
}

#[test]
fn without_a_node_the_target_leaves_at_the_last_moment_and_is_waited_for() {
    let mut snapshot = launched(secs(86_400), after(60));
    snapshot.aws.target_groups = Ok(vec![web(healthy(1..=3))]);
    check("before", &snapshot, &act(), (&[], &usual(snapshot.now)));
    snapshot.now = after(300);
    check("at the longest hold", &snapshot, &act(), (&[DEREGISTER], "at once"));
    let draining = [target(1, TargetState::Draining)].into_iter().chain(healthy([2, 3])).collect();
    snapshot.aws.target_groups = Ok(vec![web(draining)]);
    snapshot.now = after(301);
    let decision = decide(&snapshot, &act());
    assert!(at(&decision) > snapshot.now, "it drains, in no hurry: {decision:?}");
    snapshot.aws.target_groups = Ok(vec![web(healthy([2, 3]))]);
    check("it is out", &snapshot, &act(), (&[], "continue"));
}

#[test]
fn an_api_server_that_is_away_keeps_the_hook_to_its_last_moment() {
    let mut snapshot = signalled_out();
    snapshot.cluster = unreachable();
    snapshot.now = after(1_000);
    check("away", &snapshot, &act(), (&[], &usual(snapshot.now)));
    snapshot.now = after(1_200);
    check(
        "the hook is kept",
        &snapshot,
        &act(),
        (&["heartbeat of hook ebbtide-terminate"], &usual(snapshot.now)),
    );
    // AWS's half goes on, but nobody leaves blindly before the last moment: an outage may last.
    snapshot.aws.target_groups = Ok(vec![web(healthy(1..=3))]);
    let last = SENT + GLOBAL - secs(30) - WITHDRAW_MARGIN;
    for (now, expected) in [(last - millis(1), vec![]), (last, vec![DEREGISTER.to_owned()])] {
        snapshot.now = now;
        proven(&mut snapshot);
        assert_eq!(steps(&decide(&snapshot, &act())), expected, "at {now}");
    }
    snapshot.now = SENT + GLOBAL - ANSWER_MARGIN;
    proven(&mut snapshot);
    let decision = decide(&snapshot, &act());
    assert_eq!(why(&decision), "the deadline, with cluster prod unreachable to the end");
}

#[test]
fn an_instance_that_runs_no_more_needs_no_drain() {
    use InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
    let rows = [
        (Pending, false),
        (Running, false),
        // Its pods may still end in order.
        (Stopping, false),
        (ShuttingDown, false),
        (Stopped, true),
        (Terminated, true),
    ];
    for (state, ended) in rows {
        let mut snapshot = with_web(&record(1));
        snapshot.aws.instance = Ok(Some(Instance { state, ..ec2() }));
        let decision = decide(&snapshot, &act());
        assert_eq!(decision.report.stage == Stage::Ended, ended, "{state:?}");
        if ended {
            assert_eq!(steps(&decision), [DEREGISTER], "{state:?}: no ghost stays");
            assert_eq!(answer(&decision, snapshot.now), "continue");
        }
    }
    let mut last = with_web(&record(1));
    last.aws.instance = Ok(None);
    last.aws.target_groups = Ok(vec![web(healthy([1]))]);
    check("even a ghost stays when the group counts on it alone", &last, &act(), (&[], "continue"));

    let mut unknown = departing();
    unknown.aws.instance = Ok(None);
    check("EC2 knows it no more", &unknown, &act(), (&[], "continue"));
    unknown.aws.instance = Err(unread());
    view_mut(&mut unknown).pods = Ok(vec![pod("web-1")]);
    check("EC2 could not be asked", &unknown, &act(), (&["evict shop/web-1"], &at_text(&unknown)));
}

fn at_text(snapshot: &Snapshot) -> String {
    let usual = look(snapshot.now, SENT, Some(HEARTBEAT)).min(snapshot.now + SETTLING_LOOK);
    format!("again in {} ms", usual.since(snapshot.now).as_millis())
}

#[test]
fn a_deleted_cluster_holds_nothing_but_its_targets() {
    let mut snapshot = signalled_out();
    snapshot.cluster = ClusterView::Deleted(id("prod"));
    let decision = decide(&snapshot, &act());
    assert_eq!(why(&decision), "EKS knows no cluster prod");
    snapshot.cluster = ClusterView::NotAsked;
    check("not asked is not deleted", &snapshot, &act(), (&[], &usual(snapshot.now)));
}
