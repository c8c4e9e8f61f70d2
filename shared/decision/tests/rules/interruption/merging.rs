//! Several signals about one instance, from hooks and interruptions, in any order: one departure, each with its own end.

use super::{
    CORDON, DEPARTING, DEREGISTER, RECORD, check, interrupted, leaving, marked, part, rebalance,
    recorded, seen, shown, state, two_minutes,
};
use crate::world::{
    GLOBAL, SENT, act, after, answers, budget, cordoned, departing, healthy, id, millis, node,
    node_mut, patch, pod, policy, record, secs, signalled_out, steps, target, token, view_mut, web,
    why, withdrawn, written,
};
use decision::annotation::{Contributor, Departure};
use decision::decide::decide;
use decision::decision::{Decision, Next};
use decision::limits::ANSWER_MARGIN;
use decision::plan::join;
use decision::signal::{Due, Interruption};
use decision::snapshot::Snapshot;
use decision::snapshot::aws::{InstanceState, TargetState};
use decision::time::Timestamp;

/// The departure of a hook that may last two days; its record knows of a Spot warning as well.
fn warned_hook() -> Departure {
    let mut own = record(1);
    own.because[0].hard = Some(SENT + secs(172_800));
    own.because.push(part(&two_minutes()));
    own
}

fn hard_of(record: &Departure) -> Vec<Option<Timestamp>> {
    record.because.iter().map(|part| part.hard).collect()
}

/// One batch: the hook's message, then the Spot warning's.
fn both(own: &Departure) -> Snapshot {
    let mut snapshot = departing();
    snapshot.signals.push(seen(two_minutes()));
    crate::world::facts_mut(&mut snapshot).global = secs(172_800);
    snapshot.now = after(20);
    marked(&mut snapshot, own);
    snapshot
}

// ---- By when -------------------------------------------------------------------------------------

#[test]
fn the_earliest_deadline_wins_whoever_knows_of_it() {
    // The hook's own process has not heard of the Spot warning: it reads of it on the node.
    let mut hook = departing();
    crate::world::facts_mut(&mut hook).global = secs(172_800);
    // And the warning's has not heard of a capacity reservation that ends before.
    let ends = Interruption { due: Due::At(after(90)), ..super::capacity_reservation() };
    let mut sooner = recorded(&two_minutes());
    sooner.because.push(part(&ends));
    let rows = [
        ("a hook's turn", hook, warned_hook(), 75),
        ("the warning's turn", leaving(two_minutes()), warned_hook(), 75),
        ("one batch", both(&warned_hook()), warned_hook(), 75),
        ("an earlier one on record", leaving(two_minutes()), sooner, 45),
    ];
    for (name, snapshot, own, from) in rows {
        for (now, expected) in [
            (after(from) - millis(1), None),
            (after(from), Some("delete shop/db-0 with grace 30 s")),
        ] {
            let mut snapshot = snapshot.clone();
            snapshot.now = now;
            snapshot.memory.blocked_reported_at = Some(now);
            marked(&mut snapshot, &own);
            view_mut(&mut snapshot).pods = Ok(vec![pod("db-0")]);
            view_mut(&mut snapshot).budgets = Ok(vec![budget("db", 0)]);
            let expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(steps(&decide(&snapshot, &act())), expected, "{name}, {now}");
        }
    }
}

#[test]
fn the_second_signal_adds_its_part_and_takes_the_nodes_place_in_the_order() {
    let mut hook_only = record(1);
    hook_only.because[0].hard = Some(SENT + secs(172_800));
    let mut snapshot = leaving(two_minutes());
    marked(&mut snapshot, &hook_only);
    check("the warning comes second", &snapshot, &act(), (&[RECORD], "at once"));
    let merged = written(patch(&decide(&snapshot, &act())));
    assert_eq!(hard_of(&merged), [Some(SENT + secs(172_800)), Some(after(120))]);
    assert_eq!((merged.since, merged.ranked_at), (SENT, snapshot.now), "more urgent than before");

    let mut snapshot = departing();
    snapshot.now = after(30);
    marked(&mut snapshot, &recorded(&two_minutes()));
    check("the hook comes second", &snapshot, &act(), (&[RECORD], "at once"));
    let merged = written(patch(&decide(&snapshot, &act())));
    assert_eq!(hard_of(&merged), [Some(after(120)), Some(SENT + GLOBAL)]);
    assert_eq!(merged.ranked_at, SENT, "its place has not changed");
}

#[test]
fn the_same_warning_twice_is_one_and_the_earlier_time_counts() {
    let mut again = seen(two_minutes());
    again.message = "warning-2".to_owned();
    again.sent_at = SENT - secs(5);
    let mut snapshot = leaving(two_minutes());
    snapshot.signals.push(again);
    check("it was sent earlier than we knew", &snapshot, &act(), (&[RECORD], "at once"));
    let merged = written(patch(&decide(&snapshot, &act())));
    assert_eq!(hard_of(&merged), [Some(after(115))]);
    marked(&mut snapshot, &merged);
    snapshot.signals.remove(0);
    snapshot.signals[0].sent_at = after(3);
    let decision = decide(&snapshot, &act());
    let writes = steps(&decision).contains(&RECORD.to_owned());
    assert!(!writes, "a later copy changes nothing: {:?}", steps(&decision));
}

// ---- One batch -----------------------------------------------------------------------------------

#[test]
fn a_hook_and_a_warning_in_one_batch_are_one_departure() {
    let mut snapshot = signalled_out();
    snapshot.signals.push(seen(two_minutes()));
    let decision = decide(&snapshot, &act());
    assert_eq!(steps(&decision), [CORDON, DEPARTING], "one cordon");
    let begun = written(patch(&decision));
    assert_eq!(begun.because, [record(1).because.remove(0), part(&two_minutes())]);
    assert_eq!(answers(&decision, snapshot.now), ["at once", "at once"]);
}

#[test]
fn at_the_end_the_hook_gets_its_answer_and_the_warning_is_done_without_one() {
    let own = withdrawn(warned_hook(), "web", after(8));
    let mut snapshot = both(&own);
    snapshot.aws.target_groups = Ok(vec![web(healthy([2, 3]))]);
    snapshot.now = after(40);
    let drained = "drained: pods, registrations and volumes are gone";
    let decision = decide(&snapshot, &act());
    let expected = vec!["continue".to_owned(), format!("done: {drained}")];
    assert_eq!((steps(&decision), answers(&decision, snapshot.now)), (Vec::new(), expected));
    assert_eq!(why(&decision), drained);
    let plan = join(&[decision]);
    assert_eq!(plan.answers.len(), 1, "one call");
    assert_eq!(plan.answers[0].messages, ["message-1"], "and only the hook's message hangs on it");
}

#[test]
fn a_hook_beside_a_warning_keeps_what_only_a_hook_can_hold() {
    let own = withdrawn(warned_hook(), "web", after(8));
    let mut snapshot = both(&own);
    let targets = [target(1, TargetState::Draining)].into_iter().chain(healthy([2])).collect();
    snapshot.aws.target_groups = Ok(vec![web(targets)]);
    let decision = decide(&snapshot, &act());
    let waits = |decision: &Decision| {
        decision.answers.iter().all(|answer| matches!(answer.next, Next::ComeBack { .. }))
    };
    assert!(waits(&decision), "connections: {:?}", decision.answers);
    snapshot.aws.target_groups = Ok(Vec::new());
    view_mut(&mut snapshot).volumes = Ok(vec!["pvc-1".to_owned()]);
    snapshot.now = after(60);
    assert!(waits(&decide(&snapshot, &act())), "volumes");
    shown(&mut snapshot, InstanceState::Terminated);
    let ended = decide(&snapshot, &act());
    let gone = "done: the instance runs no more; nothing on it can be saved";
    assert_eq!(answers(&ended, snapshot.now), ["continue", gone], "until EC2 has taken it");
}

#[test]
fn each_hook_of_a_batch_gets_its_own_answer_beside_a_warning() {
    let mut snapshot = both(&warned_hook());
    let mut second = snapshot.signals[0].clone();
    second.message = "message-2".to_owned();
    let hook = crate::world::hook_of(&mut second);
    (hook.hook, hook.token) = (id("ebbtide-launch"), token(2));
    snapshot.signals.push(second);
    let mut own = warned_hook();
    let launch = "ebbtide-launch".to_owned();
    let hard = Some(SENT + secs(172_800));
    own.because.push(Contributor { by: launch, token: token(2).fingerprint(), hard });
    marked(&mut snapshot, &own);
    let decision = decide(&snapshot, &act());
    let done = "done: drained: pods, registrations and volumes are gone";
    assert_eq!(answers(&decision, snapshot.now), ["continue", done, "continue"]);
    let calls: Vec<_> =
        join(&[decision]).answers.into_iter().map(|answer| answer.call.token).collect();
    assert_eq!(calls, [token(1), token(2)]);
}

#[test]
fn a_hook_that_must_be_answered_ends_its_own_wait_only() {
    let mut snapshot = both(&warned_hook());
    crate::world::facts_mut(&mut snapshot).global = secs(100);
    let mut own = warned_hook();
    own.because[0].hard = Some(after(100));
    marked(&mut snapshot, &own);
    view_mut(&mut snapshot).pods = Ok(vec![decision::snapshot::cluster::Pod {
        deletion: crate::world::deleted(after(110)),
        ..pod("db-0")
    }]);
    snapshot.now = after(100) - ANSWER_MARGIN;
    let decision = decide(&snapshot, &act());
    let left = "done: the deadline; left: shop/db-0";
    assert_eq!(answers(&decision, snapshot.now), ["continue", left]);
}

#[test]
fn a_hook_that_is_not_ours_leaves_the_warning_its_course() {
    let mut snapshot = both(&recorded(&two_minutes()));
    crate::world::hook_mut(&mut snapshot).hook = id("another-tools");
    snapshot.aws.target_groups = Ok(vec![web(healthy(1..=4))]);
    let decision = decide(&snapshot, &act());
    assert_eq!(steps(&decision), [RECORD]);
    assert_eq!(
        answers(&decision, snapshot.now),
        ["ignored: its hook is neither in HOOKS nor marked in its NotificationMetadata", "at once"]
    );
}

#[test]
fn a_warning_that_is_ignored_leaves_the_hook_its_course() {
    let mut snapshot = signalled_out();
    snapshot.signals.push(seen(two_minutes()));
    let decision = decide(&snapshot, &policy(&[("SPOT_WARNING", "ignore")]));
    assert_eq!(written(patch(&decision)).because, record(1).because);
    assert_eq!(
        answers(&decision, snapshot.now),
        ["at once", "ignored: spot: the policy ignores it"]
    );
}

// ---- Recommendations beside others ---------------------------------------------------------------

#[test]
fn a_recommendation_beside_something_stronger_has_its_own_time() {
    let mut own = recorded(&two_minutes());
    own.because.push(part(&rebalance()));
    let mut snapshot = leaving(two_minutes());
    snapshot.signals.push(seen(rebalance()));
    marked(&mut snapshot, &own);
    snapshot.aws.target_groups = Ok(vec![web(healthy(1..=4))]);
    let decision = decide(&snapshot, &act());
    assert_eq!(steps(&decision), [RECORD], "the warning's course");
    assert_eq!(answers(&decision, snapshot.now), ["at once", "again in 3590000 ms"]);
    // The end of the one is not the end of the other: its part of the record goes with it.
    snapshot.aws.target_groups = Ok(Vec::new());
    let drained = "done: drained: pods, registrations and volumes are gone";
    let decision = decide(&snapshot, &act());
    assert_eq!(answers(&decision, snapshot.now), [drained, "again in 3590000 ms"]);
}

#[test]
fn a_warning_after_a_recommendation_goes_the_whole_way() {
    let mut snapshot = leaving(two_minutes());
    marked(&mut snapshot, &recorded(&rebalance()));
    check("its part first", &snapshot, &act(), (&[RECORD], "at once"));
    let merged = written(patch(&decide(&snapshot, &act())));
    assert_eq!(merged.because, [part(&rebalance()), part(&two_minutes())]);
    assert_eq!(merged.ranked_at, snapshot.now);
    let settled = Departure { ranked_at: SENT, ..merged };
    let own = withdrawn(settled, "web", snapshot.now);
    marked(&mut snapshot, &own);
    snapshot.aws.target_groups = Ok(vec![web(healthy(1..=4))]);
    assert_eq!(steps(&decide(&snapshot, &act())), [DEREGISTER]);
}

#[test]
fn two_recommendations_last_as_long_as_the_later() {
    let mut later = seen(rebalance());
    later.message = "warning-2".to_owned();
    later.sent_at = after(600);
    let mut snapshot = leaving(rebalance());
    snapshot.signals.push(later);
    snapshot.now = after(3_600);
    check("the first has lapsed", &snapshot, &act(), (&[], "again in 600000 ms"));
    snapshot.now = after(4_200);
    check("the second has", &snapshot, &act(), (&[super::UNDO], "at once"));
}

// ---- Generations ---------------------------------------------------------------------------------

#[test]
fn what_an_earlier_boot_was_asked_for_is_dropped() {
    let mut own = warned_hook();
    own.boot = Some(id("boot-0"));
    let mut snapshot = leaving(rebalance());
    *node_mut(&mut snapshot) = cordoned(node(), &withdrawn(own, "web", after(1)));
    check("a new record", &snapshot, &act(), (&[CORDON, DEPARTING], "at once"));
    let begun = written(patch(&decide(&snapshot, &act())));
    assert_eq!(begun.because, [part(&rebalance())]);
    assert!(begun.withdrawn.is_empty(), "nor is what was taken out then");
    assert!(begun.cordoned && begun.tainted, "what was changed is still ours to undo");
}

#[test]
fn a_late_hook_of_a_dead_spot_instance_is_answered_at_once() {
    // Without capacity rebalancing, the hook comes after the interruption.
    let mut snapshot = departing();
    marked(&mut snapshot, &withdrawn(recorded(&two_minutes()), "web", after(8)));
    snapshot.now = after(300);
    snapshot.signals[0].sent_at = after(290);
    shown(&mut snapshot, InstanceState::Terminated);
    check("terminated", &snapshot, &act(), (&[], "continue"));
    snapshot.aws.instance = Ok(None);
    check("forgotten by EC2", &snapshot, &act(), (&[], "continue"));
}

#[test]
fn a_running_notice_beside_a_departure_undoes_nothing() {
    let mut snapshot = both(&warned_hook());
    snapshot.signals.push(seen(state(InstanceState::Running)));
    snapshot.signals[2].message = "warning-2".to_owned();
    view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
    let decision = decide(&snapshot, &act());
    assert_eq!(steps(&decision), ["evict shop/web-1"]);
    assert_eq!(decision.answers.len(), 3);
    let waits = decision.answers.iter().all(|answer| matches!(answer.next, Next::ComeBack { .. }));
    assert!(waits, "{:?}", decision.answers);
}

#[test]
fn several_kinds_at_once_make_one_record() {
    let mut snapshot = interrupted(two_minutes());
    for (number, kind) in super::KINDS.iter().enumerate().skip(4) {
        let mut message = seen((kind.said)());
        message.message = format!("warning-{number}");
        snapshot.signals.push(message);
    }
    shown(&mut snapshot, InstanceState::ShuttingDown);
    let decision = decide(&snapshot, &act());
    assert_eq!(steps(&decision), [CORDON, DEPARTING]);
    let begun = written(patch(&decision));
    let mut tokens: Vec<_> = begun.because.iter().map(|part| part.token.as_str()).collect();
    tokens.sort_unstable();
    let maintenance = format!("maintenance:{}", super::EVENT);
    let expected = [
        "capacity-block",
        "capacity-reservation",
        &maintenance,
        "rebalance",
        "spot",
        "state-change",
    ];
    assert_eq!(tokens, expected);
    assert_eq!(begun.hard(), Some(SENT), "it shuts down already");
    let scheduled = begun.because.iter().find(|part| part.by == "maintenance");
    let start = scheduled.and_then(|part| part.hard);
    assert_eq!(start, Some(after(1_800)), "of one event's pages, the earliest start");
}
