//! Input that is late, wrong, or about somebody who is gone: each has an outcome that was thought of.

use super::{
    CORDON, DEPARTING, DEREGISTER, RECORD, capacity_reservation, check, interrupted, leaving,
    marked, recorded, seen, shown, spot, two_minutes, usual,
};
use crate::story::story;
use crate::world::{
    SENT, absent, act, after, answer, arn, cordoned, ec2, healthy, id, millis, node, node_mut,
    patch, pod, policy, secs, service, steps, view_mut, web, withdrawn, written,
};
use decision::annotation::Departure;
use decision::decide::decide;
use decision::limits::{LATE_FOR, ORDER_SETTLES, REMOVALS_AT_ONCE_MAX};
use decision::signal::{Due, Interruption, SignalKind, SpotAction};
use decision::snapshot::Snapshot;
use decision::snapshot::aws::{Instance, InstanceState, TargetGroup};
use decision::snapshot::cluster::{Pod, TrafficPolicy};
use decision::time::Timestamp;

/// A capacity reservation whose `instance-termination-time` was this long before the event.
fn overdue(ago: u64) -> Interruption {
    Interruption { due: Due::At(SENT - secs(ago)), ..capacity_reservation() }
}

// ---- Times that can't be -------------------------------------------------------------------------

#[test]
fn a_termination_time_in_the_past_leaves_a_minute() {
    for ago in [1, 61, 86_400] {
        let mut snapshot = interrupted(overdue(ago));
        let local = service("web", TrafficPolicy::Local, &[("web-1", 1), ("web-2", 2)]);
        view_mut(&mut snapshot).services = Ok(vec![local]);
        view_mut(&mut snapshot).pods = Ok(vec![pod("web-1"), pod("api-1")]);
        let delay = TargetGroup { deregistration_delay: secs(60), ..web(healthy(1..=4)) };
        snapshot.aws.target_groups = Ok(vec![delay]);
        let told = story(snapshot, &act(), Snapshot::clone);
        let expected = "  2 s  cordon node ip-10-0-3-1.ec2.internal
  2 s  Event Departing
  2 s  delete shop/api-1 with grace 30 s
  6 s  record node ip-10-0-3-1.ec2.internal
  6 s  deregister web: i-00000000000000001:30080
 27 s  delete shop/web-1 with grace 30 s
 29 s  done: drained: pods, registrations and volumes are gone";
        assert_eq!(told, expected, "{ago} s ago: what nobody is sent to at once, then the target");
    }
}

#[test]
fn a_full_node_is_emptied_though_its_time_was_over_before() {
    let mut snapshot = leaving(overdue(600));
    marked(&mut snapshot, &Departure { since: after(8), ..recorded(&overdue(600)) });
    let pods = (0..REMOVALS_AT_ONCE_MAX + 2).map(|number| pod(&format!("web-{number}")));
    view_mut(&mut snapshot).pods = Ok(pods.collect());
    let decision = decide(&snapshot, &act());
    assert_eq!(decision.steps.len(), REMOVALS_AT_ONCE_MAX);
    assert_eq!(answer(&decision, snapshot.now), "at once", "the others come next");
}

#[test]
fn a_clock_that_is_a_minute_behind_gives_away_time_and_nothing_else() {
    let early = SENT - secs(60);
    let mut snapshot = interrupted(two_minutes());
    snapshot.now = early;
    check("before it was sent", &snapshot, &act(), (&[CORDON, DEPARTING], "at once"));
    assert_eq!(written(patch(&decide(&snapshot, &act()))).hard(), Some(after(120)));
    let own = Departure { since: early, ranked_at: early, ..recorded(&two_minutes()) };
    marked(&mut snapshot, &own);
    snapshot.now = early + ORDER_SETTLES;
    view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
    check("pods leave at once", &snapshot, &act(), (&["evict shop/web-1"], &usual(snapshot.now)));
    snapshot.aws.target_groups = Ok(vec![web(healthy(1..=4))]);
    check("and so does its target", &snapshot, &act(), (&[RECORD], "at once"));
}

#[test]
fn a_clock_that_is_a_minute_ahead_is_in_a_hurry_and_nothing_else() {
    let mut snapshot = interrupted(two_minutes());
    snapshot.now = after(62);
    check("a minute is over", &snapshot, &act(), (&[CORDON, DEPARTING], "at once"));
    let mut own = recorded(&two_minutes());
    (own.since, own.ranked_at) = (after(62), after(62));
    marked(&mut snapshot, &own);
    snapshot.now = after(66);
    view_mut(&mut snapshot).pods = Ok(vec![Pod { grace: secs(60), ..pod("web-1") }]);
    let delete = "delete shop/web-1 with grace 39 s";
    assert_eq!(steps(&decide(&snapshot, &act())), [delete], "what fits of its grace");
    snapshot.aws.target_groups = Ok(vec![web(healthy([1, 2]))]);
    let whole = policy(&[("WITHDRAW_FLOOR", "100")]);
    snapshot.now = after(80);
    assert_eq!(steps(&decide(&snapshot, &whole)), [RECORD], "at the last moment");
}

#[test]
fn what_a_clock_is_behind_by_moves_all_that_a_signal_says() {
    let rows = [
        ("a notice", two_minutes(), Some(after(110))),
        ("an instant", capacity_reservation(), Some(after(80))),
        ("nobody said", super::rebalance(), None),
    ];
    for (name, said, hard) in rows {
        let moved = seen(said).signal.moved_back(secs(10));
        assert_eq!(moved.sent_at, Some(SENT), "{name}: by AWS's own clock");
        let SignalKind::Interruption(said) = &moved.kind else { panic!("{name}: it is none") };
        assert_eq!(said.hard(SENT - secs(10)), hard, "{name}");
    }
    let hook = crate::world::signalled_out().signals.remove(0).signal;
    assert_eq!(hook.clone().moved_back(secs(0)), hook);
}

#[test]
fn a_message_that_comes_after_its_deadline_is_still_carried_out() {
    // The queue was stopped for ten minutes, and the instance lives on.
    let mut snapshot = interrupted(two_minutes());
    snapshot.now = after(600);
    check("the cordon", &snapshot, &act(), (&[CORDON, DEPARTING], "at once"));
    let begun = Departure { since: after(600), ranked_at: after(600), ..recorded(&two_minutes()) };
    marked(&mut snapshot, &begun);
    snapshot.aws.target_groups =
        Ok(vec![TargetGroup { read_at: after(604), ..web(healthy(1..=4)) }]);
    snapshot.now = after(604);
    check("its target", &snapshot, &act(), (&[RECORD], "at once"));
    marked(&mut snapshot, &withdrawn(begun, "web", after(604)));
    assert_eq!(steps(&decide(&snapshot, &act())), [DEREGISTER]);
    view_mut(&mut snapshot).pods = Ok(vec![pod("db-0")]);
    let ends = |now| {
        let snapshot = Snapshot { now, ..snapshot.clone() };
        answer(&decide(&snapshot, &act()), now) == "done: the deadline; left: shop/db-0"
    };
    let late = after(600) + LATE_FOR;
    assert!(!ends(late - millis(1)), "it has a minute from its record");
    assert!(ends(late));
}

// ---- Words that nobody knows ---------------------------------------------------------------------

#[test]
fn an_unknown_action_is_taken_for_the_worst_and_told() {
    let known = [SpotAction::Terminate, SpotAction::Stop, SpotAction::Hibernate];
    for action in known {
        let decision = decide(&interrupted(spot(action)), &act());
        assert_eq!(decision.report.warnings, [""; 0]);
    }
    let unknown = interrupted(spot(SpotAction::Unknown("evaporate".to_owned())));
    let decision = decide(&unknown, &act());
    assert_eq!(
        decision.report.warnings,
        ["instance-action `evaporate` is not known; taken for terminate"]
    );
    assert_eq!(decision.report.hard, Some(after(120)));
}

// ---- Instances that are gone ---------------------------------------------------------------------

#[test]
fn a_warning_for_an_instance_that_is_gone_leaves_no_ghost() {
    for gone in [InstanceState::Terminated, InstanceState::Stopped] {
        let mut snapshot = interrupted(two_minutes());
        shown(&mut snapshot, gone);
        snapshot.aws.target_groups = Ok(vec![web(healthy(1..=3))]);
        check("its target is out at once", &snapshot, &act(), (&[DEREGISTER], "at once"));
        snapshot.aws.target_groups = Ok(vec![web(healthy(2..=3))]);
        let done = "done: the instance runs no more; nothing on it can be saved";
        check("and then it is over", &snapshot, &act(), (&[], done));
    }
}

#[test]
fn a_warning_for_an_instance_that_is_back_changes_nothing_of_its_new_life() {
    let mut snapshot = leaving(two_minutes());
    snapshot.now = after(400);
    snapshot.aws.instance = Ok(Some(Instance { launched_at: Some(after(300)), ..ec2() }));
    *node_mut(&mut snapshot) = cordoned(node(), &recorded(&two_minutes()));
    node_mut(&mut snapshot).boot = Some(id("boot-2"));
    view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
    snapshot.aws.target_groups = Ok(vec![web(healthy(1..=3))]);
    let over = "over: it was sent before the instance last started";
    check("nothing", &snapshot, &act(), (&[], over));
}

#[test]
fn a_node_that_is_gone_before_its_instance_needs_only_its_targets() {
    let policy = policy(&[("TARGET_GROUPS", arn("web").as_str())]);
    let mut snapshot = interrupted(two_minutes());
    snapshot.cluster = absent();
    check("no node, no target", &snapshot, &policy, (&[], "done: its node is gone already"));
    let launched_at = Some(SENT - secs(30));
    snapshot.aws.instance = Ok(Some(Instance { launched_at, ..ec2() }));
    check("it may still register", &snapshot, &policy, (&[], &usual(snapshot.now)));
    snapshot.now = after(120);
    let never = "done: no node registered within 2 min";
    check("it did not", &snapshot, &policy, (&[], never));
}

#[test]
fn times_at_the_ends_of_time_do_no_harm() {
    let ends =
        [Timestamp::from_millis(i64::MIN), Timestamp::EPOCH, Timestamp::from_millis(i64::MAX)];
    for at in ends {
        let said = Interruption { due: Due::At(at), ..capacity_reservation() };
        let snapshot = interrupted(said);
        check("the cordon", &snapshot, &act(), (&[CORDON, DEPARTING], "at once"));
        let mut message = seen(two_minutes());
        message.sent_at = at;
        let snapshot = Snapshot { signals: vec![message], ..interrupted(two_minutes()) };
        assert_eq!(decide(&snapshot, &act()).answers.len(), 1);
    }
}
