//! A departure that nobody holds: its deadline, its order, and what is done in the two minutes that it mostly has.

use super::{
    CORDON, DEPARTING, DEREGISTER, KINDS, RECORD, check, interrupted, leaving, marked, part,
    recorded, shown, two_minutes, unread, usual,
};
use crate::story::{read_as_asked, story};
use crate::world::{
    SENT, absent, act, after, answer, arn, budget, daemon, healthy, millis, patch, pod, policy,
    record, secs, service, steps, target, unreachable, view_mut, web, withdrawn, written,
};
use decision::annotation::Departure;
use decision::decide::decide;
use decision::decision::Next;
use decision::limits::{
    ANSWER_MARGIN, FORCE_MARGIN, LATE_FOR, ORDER_SETTLES, SERVING_GRACE_MAX, WITHDRAW_MARGIN,
};
use decision::looks;
use decision::report::Stage;
use decision::signal::Interruption;
use decision::snapshot::Snapshot;
use decision::snapshot::aws::{Balancer, InstanceState, TargetGroup, TargetState};
use decision::snapshot::cluster::{ClusterView, Pod, TrafficPolicy};
use decision::step::Step;
use decision::time::Timestamp;
use std::time::Duration;

/// When EC2 acts on a Spot warning.
const HARD: Timestamp = Timestamp::from_millis(SENT.millis() + 120_000);
/// When the last container must have stopped before that.
const STOP_BY: Timestamp = Timestamp::from_millis(SENT.millis() + 105_000);

#[test]
fn two_minutes_leave_so_much_for_the_pods() {
    assert_eq!(HARD - ANSWER_MARGIN - FORCE_MARGIN, STOP_BY);
}

#[test]
fn each_kind_has_its_hard_deadline_and_writes_it_down() {
    for kind in KINDS {
        let said: Interruption = (kind.said)();
        let snapshot = interrupted(said.clone());
        let decision = decide(&snapshot, &act());
        let hard = kind.hard.map(after);
        assert_eq!(decision.report.hard, hard, "{}", kind.name);
        let begun = written(patch(&decision));
        assert_eq!(begun.because, [part(&said)], "{}", kind.name);
        assert_eq!(begun.because[0].hard, hard, "{}", kind.name);
        assert_eq!((begun.since, begun.boot), (snapshot.now, record(1).boot), "{}", kind.name);
    }
}

#[test]
fn the_first_turn_cordons_and_names_the_cause() {
    let rows = [
        (0, "Spot warning, terminate; at the latest at 2026-11-22T09:32:00Z"),
        (1, "Spot warning, stop; at the latest at 2026-11-22T09:32:00Z"),
        (2, "Spot warning, hibernate; at the latest at 2026-11-22T09:30:00Z"),
        (3, "Spot warning, unknown action `evaporate`; at the latest at 2026-11-22T09:32:00Z"),
        (4, "rebalance recommendation; no hard deadline"),
        (5, "capacity reservation interrupted; at the latest at 2026-11-22T09:31:30Z"),
        (6, "capacity block expires; at the latest at 2026-11-22T09:40:00Z"),
        (7, "maintenance AWS_EC2_INSTANCE_STOP_SCHEDULED; at the latest at 2026-11-23T09:30:00Z"),
        (10, "instance stopping; at the latest at 2026-11-22T09:30:00Z"),
    ];
    for (kind, text) in rows {
        let snapshot = interrupted((KINDS[kind].said)());
        check(KINDS[kind].name, &snapshot, &act(), (&[CORDON, DEPARTING], "at once"));
        let decision = decide(&snapshot, &act());
        let Some(Step::Note(note)) = decision.steps.last() else { panic!("an Event") };
        assert_eq!(note.text, format!("i-00000000000000001 leaves service for {text}"));
    }
}

// ---- Two minutes ---------------------------------------------------------------------------------

/// A Spot node with its target in a group of four, and what is on it.
fn spot_node(pods: Vec<Pod>) -> Snapshot {
    let mut snapshot = interrupted(two_minutes());
    let local = service("web", TrafficPolicy::Local, &[("web-1", 1), ("web-2", 2)]);
    let cluster = service("api", TrafficPolicy::Cluster, &[("api-1", 1), ("api-2", 2)]);
    let view = view_mut(&mut snapshot);
    view.services = Ok(vec![local, cluster]);
    view.pods = Ok(pods);
    snapshot.aws.target_groups =
        Ok(vec![TargetGroup { deregistration_delay: secs(60), ..web(healthy(1..=4)) }]);
    snapshot
}

#[test]
fn from_the_warning_to_the_end() {
    let policy = policy(&[("TARGET_GROUPS", arn("web").as_str())]);
    let pods =
        vec![pod("web-1"), pod("api-1"), Pod { grace: secs(60), ..pod("db-0") }, daemon("agent-1")];
    let mut snapshot = spot_node(pods);
    view_mut(&mut snapshot).budgets = Ok(vec![budget("db", 0)]);
    let all = story(snapshot.clone(), &policy, Snapshot::clone);
    let asked = story(snapshot, &policy, |world| read_as_asked(world, &policy));
    insta::assert_snapshot!(asked);
    assert_eq!(asked, all, "what is not asked for is not missed");
}

/// A departure of our node ten seconds after its warning, at this instant, with these pods that no budget lets go.
fn blocked(now: Timestamp, grace: u64) -> Snapshot {
    let mut snapshot = leaving(two_minutes());
    snapshot.now = now;
    snapshot.memory.blocked_reported_at = Some(now);
    view_mut(&mut snapshot).pods = Ok(vec![Pod { grace: secs(grace), ..pod("db-0") }]);
    view_mut(&mut snapshot).budgets = Ok(vec![budget("db", 0)]);
    snapshot
}

#[test]
fn a_pod_that_could_not_leave_is_deleted_near_the_end_with_what_is_left_of_its_grace() {
    // The grace that it asks for, the instant, the grace that it is given.
    let rows: &[(&str, u64, Timestamp, Option<u64>)] = &[
        ("one millisecond before", 30, after(75) - millis(1), None),
        ("at", 30, after(75), Some(30)),
        ("one millisecond after", 30, after(75) + millis(1), Some(29)),
        ("late", 30, after(95), Some(10)),
        ("the last second", 30, after(104), Some(1)),
        ("too late for a whole second", 30, STOP_BY - millis(1), Some(1)),
        ("no time is left, and never 0", 30, STOP_BY, Some(1)),
        ("one millisecond before the end", 30, HARD - millis(1), Some(1)),
        ("it lives on by luck", 30, HARD, Some(30)),
        ("no grace at all", 0, STOP_BY - millis(1), None),
        ("no grace at all, at", 0, STOP_BY, Some(1)),
        ("longer than two minutes", 600, after(2), Some(103)),
        ("longer than what is left", 60, after(93), Some(12)),
    ];
    for (name, grace, now, given) in rows {
        let decision = decide(&blocked(*now, *grace), &act());
        let delete = given.map(|given| format!("delete shop/db-0 with grace {given} s"));
        assert_eq!(steps(&decision), delete.into_iter().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn the_next_look_is_the_moment_from_which_it_is_deleted() {
    let snapshot = blocked(after(74), 30);
    assert_eq!(answer(&decide(&snapshot, &act()), snapshot.now), "again in 1000 ms");
}

/// Behind `Local`, in a group of two of which none may leave before its last moment.
fn serving(now: Timestamp, own: &Departure, grace: u64) -> Snapshot {
    let mut snapshot = leaving(two_minutes());
    marked(&mut snapshot, own);
    snapshot.now = now;
    let view = view_mut(&mut snapshot);
    view.services = Ok(vec![service("web", TrafficPolicy::Local, &[("web-1", 1)])]);
    view.pods = Ok(vec![Pod { grace: secs(grace), ..pod("web-1") }]);
    snapshot.aws.target_groups = Ok(vec![TargetGroup { read_at: now, ..web(healthy([1, 2])) }]);
    snapshot
}

#[test]
fn the_target_leaves_so_early_that_settling_and_a_part_of_the_grace_still_fit() {
    let whole = policy(&[("WITHDRAW_FLOOR", "100")]);
    let settle = secs(30);
    for (grace, reserve) in [(1, 1), (10, 10), (20, 20), (21, 20), (600, 20)] {
        assert_eq!(secs(reserve), secs(grace).min(SERVING_GRACE_MAX));
        let last = HARD - settle - WITHDRAW_MARGIN - secs(reserve);
        let own = recorded(&two_minutes());
        for (now, expected) in [(last - millis(1), None), (last, Some(RECORD))] {
            let decision = decide(&serving(now, &own, grace), &whole);
            let expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(steps(&decision), expected, "grace {grace} s, at {now}");
        }
    }
}

#[test]
fn who_reads_sees_as_early_as_who_decides_that_the_target_must_leave() {
    let whole = policy(&[("WITHDRAW_FLOOR", "100")]);
    let last = HARD - secs(30) - WITHDRAW_MARGIN - SERVING_GRACE_MAX;
    let claimed = written(patch(&decide(&serving(last, &recorded(&two_minutes()), 20), &whole)));
    let mut snapshot = serving(last + ORDER_SETTLES, &claimed, 20);
    assert_eq!(steps(&decide(&snapshot, &whole)), [RECORD, DEREGISTER]);
    let calls = |snapshot: &mut Snapshot| {
        let view = view_mut(snapshot).clone();
        looks::calls(snapshot, &view, &whole).any
    };
    assert!(calls(&mut snapshot));
    // Before its pods are read, nothing says that it must leave so early.
    view_mut(&mut snapshot).pods = Err(unread());
    assert!(!calls(&mut snapshot));
}

#[test]
fn a_pod_behind_local_serves_until_settled_or_until_the_least_of_its_grace_is_left() {
    let whole = policy(&[("WITHDRAW_FLOOR", "100")]);
    let registered = recorded(&two_minutes());
    let left_at = |seconds| withdrawn(recorded(&two_minutes()), "web", after(seconds));
    let out = |now, own: &Departure, grace| {
        let mut snapshot = serving(now, own, grace);
        let targets = [target(1, TargetState::Draining)].into_iter().chain(healthy([2])).collect();
        snapshot.aws.target_groups = Ok(vec![TargetGroup { read_at: now, ..web(targets) }]);
        snapshot
    };
    let rows = [
        // Out at 20 s, settled at 50 s: evicted then, long before it must be deleted.
        ("not settled", out(after(50) - millis(1), &left_at(20), 60), None),
        (
            "settled, and its whole grace does not fit",
            out(after(50), &left_at(20), 60),
            Some("delete shop/web-1 with grace 55 s"),
        ),
        (
            "settled, and its whole grace fits",
            out(after(50), &left_at(20), 30),
            Some("evict shop/web-1"),
        ),
        // Out at 60 s, settled at 90 s; 20 s of its grace must fit before 105 s.
        ("the least of its grace, just before", out(after(85) - millis(1), &left_at(60), 60), None),
        (
            "the least of its grace",
            out(after(85), &left_at(60), 60),
            Some("delete shop/web-1 with grace 20 s"),
        ),
        ("a short grace, just before", out(after(90) - millis(1), &left_at(60), 10), None),
        ("a short grace, settled", out(after(90), &left_at(60), 10), Some("evict shop/web-1")),
        // It could never leave: nobody came to replace it.
        ("still registered, just before", serving(after(50), &registered, 60), None),
    ];
    for (name, snapshot, expected) in rows {
        let decision = decide(&snapshot, &whole);
        let expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(steps(&decision), expected, "{name}");
    }
    let mut unlisted = serving(after(85), &registered, 60);
    view_mut(&mut unlisted).peers = Err(unread());
    let delete = steps(&decide(&unlisted, &whole));
    assert_eq!(delete, ["delete shop/web-1 with grace 20 s"], "though its target is still in");
}

#[test]
fn a_settle_time_that_does_not_fit_into_two_minutes_is_not_waited_with() {
    // A Network Load Balancer settles in 120 s: the last moment has passed before the warning comes.
    let mut snapshot = leaving(two_minutes());
    let network = TargetGroup { balancer: Balancer::Network, ..web(healthy([1, 2])) };
    snapshot.aws.target_groups = Ok(vec![network.clone()]);
    let whole = policy(&[("WITHDRAW_FLOOR", "100")]);
    check("whatever the floor says", &snapshot, &whole, (&[RECORD], "at once"));
    snapshot.aws.target_groups = Ok(vec![TargetGroup { targets: healthy([1]).into(), ..network }]);
    check("but never the last living", &snapshot, &whole, (&[], &usual(snapshot.now)));
}

#[test]
fn the_last_living_target_is_looked_at_until_the_instance_is_gone() {
    let mut snapshot = leaving(two_minutes());
    snapshot.now = after(90);
    snapshot.aws.target_groups = Ok(vec![web(healthy([1]))]);
    check("nothing replaced it", &snapshot, &act(), (&[], &usual(snapshot.now)));
    snapshot.aws.target_groups = Ok(vec![web(healthy([1, 9]))]);
    check("a replacement came", &snapshot, &act(), (&[RECORD], "at once"));
}

// ---- The end -------------------------------------------------------------------------------------

#[test]
fn nothing_is_waited_for_that_only_a_hook_could_hold() {
    let own = withdrawn(recorded(&two_minutes()), "web", after(8));
    let mut snapshot = leaving(two_minutes());
    marked(&mut snapshot, &own);
    view_mut(&mut snapshot).pods = Ok(vec![daemon("agent-1")]);
    view_mut(&mut snapshot).volumes = Ok(vec!["pvc-1".to_owned()]);
    let targets = [target(1, TargetState::Draining)].into_iter().chain(healthy([2])).collect();
    snapshot.aws.target_groups = Ok(vec![web(targets)]);
    let done = "done: drained: pods, registrations and volumes are gone";
    check("connections and volumes", &snapshot, &act(), (&[], done));
    view_mut(&mut snapshot).pods =
        Ok(vec![Pod { deletion: crate::world::deleted(after(30)), ..pod("db-0") }]);
    let decision = decide(&snapshot, &act());
    assert!(matches!(decision.answers[0].next, Next::ComeBack { .. }), "but its pods are");
}

#[test]
fn who_is_late_is_looked_after_for_a_minute() {
    let late = HARD + LATE_FOR;
    let delete = "delete shop/db-0 with grace 30 s";
    for (now, next) in
        [(late - millis(1), None), (late, Some("done: the deadline; left: shop/db-0"))]
    {
        let decision = decide(&blocked(now, 30), &act());
        assert_eq!(steps(&decision), [delete], "it is still there at {now}");
        let over = answer(&decision, now);
        assert_eq!(Some(over.as_str()).filter(|text| text.starts_with("done")), next, "{now}");
    }
    // Past the deadline nobody waits for the end of what has been told to go.
    let ending = |now, ends| {
        let mut snapshot = blocked(now, 30);
        let deletion = crate::world::deleted(ends);
        view_mut(&mut snapshot).pods = Ok(vec![Pod { deletion, ..pod("db-0") }]);
        decide(&snapshot, &act()).report.stage
    };
    assert_eq!(
        ending(HARD - millis(1), HARD + secs(1)),
        Stage::Draining,
        "the last second is ours"
    );
    assert_eq!(ending(HARD, HARD + secs(20)), Stage::Drained);
}

#[test]
fn an_instance_that_went_meanwhile_ends_it() {
    let mut snapshot = blocked(after(100), 30);
    shown(&mut snapshot, InstanceState::Terminated);
    let done = "done: the instance runs no more; nothing on it can be saved";
    check("terminated", &snapshot, &act(), (&[], done));
    shown(&mut snapshot, InstanceState::ShuttingDown);
    let decision = decide(&snapshot, &act());
    assert_eq!(steps(&decision), ["delete shop/db-0 with grace 5 s"], "its pods may still end");
}

// ---- Without a node, or without an API server ----------------------------------------------------

/// The control plane is away; the instance's group has these living targets besides.
fn away(now: Timestamp, others: &[usize]) -> Snapshot {
    let mut snapshot = interrupted(two_minutes());
    snapshot.now = now;
    snapshot.cluster = unreachable();
    let targets = healthy([1].into_iter().chain(others.iter().copied()));
    snapshot.aws.target_groups = Ok(vec![TargetGroup { read_at: now, ..web(targets) }]);
    snapshot
}

#[test]
fn with_the_control_plane_away_the_target_leaves_at_the_last_moment() {
    let last = HARD - secs(30) - WITHDRAW_MARGIN;
    let before = away(last - millis(1), &[2, 3]);
    check("one millisecond before", &before, &act(), (&[], "again in 1 ms"));
    check("at", &away(last, &[2, 3]), &act(), (&[DEREGISTER], "at once"));
    check("not the greatest id", &away(last, &[0, 2]), &act(), (&[DEREGISTER], "at once"));
    let greatest = away(last, &[0]);
    check("the greatest id stays", &greatest, &act(), (&[], &usual(last)));
    let told = decide(&greatest, &act()).report.registrations;
    assert_eq!(told, ["web: stays in: the last living target, and nothing replaced it in time"]);
    let mut ending = away(HARD + LATE_FOR - millis(1), &[0]);
    assert!(matches!(decide(&ending, &act()).answers[0].next, Next::ComeBack { .. }));
    ending.now = HARD + LATE_FOR;
    let over = "done: the deadline, with cluster prod unreachable to the end";
    check("it ends", &ending, &act(), (&[], over));
}

#[test]
fn the_control_planes_absence_takes_nothing_out_for_a_cordon() {
    for (name, settings, said) in [
        ("a recommendation", ("REBALANCE", "drain"), super::rebalance()),
        ("policy cordon", ("SPOT_WARNING", "cordon"), two_minutes()),
    ] {
        let mut snapshot = away(after(119), &[2, 3]);
        snapshot.signals = vec![super::seen(said)];
        let decision = decide(&snapshot, &policy(&[settings]));
        assert_eq!(steps(&decision), [""; 0], "{name}");
    }
}

#[test]
fn without_a_node_its_target_still_leaves() {
    let mut snapshot = away(after(79), &[2, 3]);
    snapshot.cluster = absent();
    check(
        "its node is gone: nobody is waited for in vain",
        &snapshot,
        &act(),
        (&[], "again in 1000 ms"),
    );
    snapshot.now = after(80);
    check("at the last moment", &snapshot, &act(), (&[DEREGISTER], "at once"));
    snapshot.aws.target_groups = Ok(vec![web(healthy([2, 3]))]);
    check("it is out", &snapshot, &act(), (&[], "done: its node is gone already"));
    snapshot.cluster = ClusterView::Unnamed;
    let unnamed = "done: no tag, hook or setting names a cluster for the instance";
    check("no cluster", &snapshot, &act(), (&[], unnamed));
    snapshot.cluster = ClusterView::Deleted(crate::world::id("prod"));
    check("a deleted one", &snapshot, &act(), (&[], "done: EKS knows no cluster prod"));
}

#[test]
fn a_place_in_the_order_settles_first() {
    let mut snapshot = leaving(two_minutes());
    let ranked_at = snapshot.now - ORDER_SETTLES + millis(1);
    marked(&mut snapshot, &Departure { ranked_at, ..recorded(&two_minutes()) });
    snapshot.aws.target_groups = Ok(vec![web(healthy(1..=4))]);
    check("one millisecond before", &snapshot, &act(), (&[], "again in 1 ms"));
    snapshot.now = snapshot.now + millis(1);
    check("at", &snapshot, &act(), (&[RECORD], "at once"));
}

#[test]
fn looks_are_frequent_while_seconds_count() {
    for (age, wait) in [(10, 2_000), (29, 2_000), (30, 5_000), (60, 5_000)] {
        let snapshot = blocked(after(age), 1);
        let decision = decide(&snapshot, &act());
        let wait: Duration = millis(wait);
        assert_eq!(decision.answers[0].next, Next::ComeBack { at: snapshot.now + wait }, "{age} s");
    }
}
