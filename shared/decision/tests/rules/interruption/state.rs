//! EC2 says that an instance stops, has stopped, or runs again: what can still be saved, ghosts, and coming back.

use super::{
    CORDON, DEPARTING, DEREGISTER, RECORD, UNDO, check, interrupted, leaving, marked, part,
    recorded, shown, state, two_minutes, unread, usual,
};
use crate::world::{
    SENT, absent, act, after, arn, cordoned, daemon, healthy, id, millis, node, node_mut, patch,
    patched, pod, policy, record, service, steps, taint, target, unreachable, view_mut, web,
    withdrawn, written,
};
use decision::annotation::{Contributor, DEPARTURE, Departure, OUT_OF_SERVICE, TAINT};
use decision::decide::decide;
use decision::decision::Next;
use decision::limits::{LATE_FOR, ORDER_SETTLES};
use decision::looks::{self, ClusterLook};
use decision::policy::Policy;
use decision::snapshot::Snapshot;
use decision::snapshot::aws::InstanceState::{
    self, Running, ShuttingDown, Stopped, Stopping, Terminated,
};
use decision::snapshot::aws::{RegistrationOwner, TargetGroup, TargetState};
use decision::snapshot::cluster::{Node, Pod, TrafficPolicy};
use decision::step::PatchPurpose;

const OUT: &str = "out-of-service node ip-10-0-3-1.ec2.internal";
const GONE: &str = "done: the instance runs no more; nothing on it can be saved";

// ---- It stops ------------------------------------------------------------------------------------

/// Our record was begun two seconds after the news, which is already late.
fn going(said: InstanceState) -> Departure {
    Departure { since: after(2), ranked_at: after(2), ..recorded(&state(said)) }
}

fn dying(said: InstanceState, now: u64) -> Snapshot {
    let mut snapshot = leaving(state(said));
    shown(&mut snapshot, said);
    marked(&mut snapshot, &going(said));
    snapshot.now = after(now);
    let view = view_mut(&mut snapshot);
    view.services = Ok(vec![service("web", TrafficPolicy::Local, &[("web-1", 1)])]);
    view.pods = Ok(vec![pod("web-1"), Pod { grace: crate::world::secs(60), ..pod("db-0") }]);
    view.budgets = Ok(vec![crate::world::budget("db", 0), crate::world::budget("web", 0)]);
    snapshot.aws.target_groups =
        Ok(vec![TargetGroup { read_at: snapshot.now, ..web(healthy(1..=4)) }]);
    snapshot
}

#[test]
fn the_target_of_a_dying_node_leaves_before_the_pod_that_answers_for_it() {
    for said in [Stopping, ShuttingDown] {
        let mut fresh = interrupted(state(said));
        shown(&mut fresh, said);
        check("first the cordon", &fresh, &act(), (&[CORDON, DEPARTING], "at once"));
        let settles_at = after(2) + ORDER_SETTLES;
        let mut early = dying(said, 3);
        // Whom no load balancer reaches through this node is out of its Services' endpoints at once, budgets or not.
        let db = "delete shop/db-0 with grace 60 s";
        check("the order settles", &early, &act(), (&[db], "again in 2000 ms"));
        early.now = settles_at;
        check("then the target", &early, &act(), (&[RECORD], "at once"));
        let mut next = dying(said, 7);
        let own = withdrawn(going(said), "web", after(6));
        marked(&mut next, &own);
        assert_eq!(steps(&decide(&next, &act())), [DEREGISTER, db]);
    }
}

#[test]
fn a_pod_that_serves_on_a_dying_node_is_held_as_long_as_that_helps() {
    let out = |now: u64| {
        let mut snapshot = dying(Stopping, now);
        marked(&mut snapshot, &withdrawn(going(Stopping), "web", after(6)));
        let targets = [target(1, TargetState::Draining)].into_iter().chain(healthy(2..=4));
        let read_at = snapshot.now;
        snapshot.aws.target_groups = Ok(vec![TargetGroup { read_at, ..web(targets.collect()) }]);
        view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
        snapshot
    };
    // Begun at 2 s, looked after for a minute, of which the last 35 s are its grace and our margins.
    for (now, expected) in [(26, None), (27, Some("delete shop/web-1 with grace 30 s"))] {
        let expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(steps(&decide(&out(now), &act())), expected, "{now} s");
    }
}

#[test]
fn a_dying_node_is_looked_after_for_a_minute_from_its_record() {
    let until = after(2) + LATE_FOR;
    let mut snapshot = dying(Stopping, 10);
    snapshot.aws.target_groups = Ok(Vec::new());
    for (now, ends) in [(until - millis(1), false), (until, true)] {
        snapshot.now = now;
        snapshot.memory.blocked_reported_at = Some(now);
        let decision = decide(&snapshot, &act());
        let left = "done: the deadline; left: shop/db-0, shop/web-1";
        assert_eq!(crate::world::answer(&decision, now) == left, ends, "{now}");
    }
}

// ---- It has stopped ------------------------------------------------------------------------------

/// The instance is in this state, and its node is as it was.
fn dead(said: InstanceState) -> Snapshot {
    let mut snapshot = interrupted(state(said));
    shown(&mut snapshot, said);
    view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
    snapshot
}

fn web_of(numbers: impl IntoIterator<Item = usize>) -> TargetGroup {
    web(healthy(numbers))
}

#[test]
fn ghosts_leave_at_once_but_never_the_last_that_a_group_counts_on() {
    let sick = || vec![target(1, TargetState::Unhealthy), target(2, TargetState::Healthy)];
    let alone = || vec![target(1, TargetState::Healthy), target(2, TargetState::Unhealthy)];
    let all_sick = || vec![target(1, TargetState::Unhealthy), target(2, TargetState::Unhealthy)];
    let rising = || vec![target(1, TargetState::Initial), target(2, TargetState::Unhealthy)];
    let rows = [
        ("one of three", web_of(1..=3), true),
        ("one of two", web_of(1..=2), true),
        ("unhealthy, another lives", web(sick()), true),
        ("the last that is healthy", web(alone()), false),
        ("all are sick: the group sends to all", web(all_sick()), true),
        ("about to be healthy beside one that fails", web(rising()), false),
        ("alone", web_of([1]), false),
        ("not in it", web_of(2..=3), false),
        ("the ASG's own", TargetGroup { owner: RegistrationOwner::Asg, ..web_of(1..=3) }, true),
    ];
    for said in [Stopped, Terminated] {
        for (name, group, leaves) in &rows {
            let mut snapshot = dead(said);
            snapshot.aws.target_groups = Ok(vec![group.clone()]);
            let (expected, next): (&[&str], _) =
                if *leaves { (&[DEREGISTER], "at once") } else { (&[], GONE) };
            check(&format!("{said}, {name}"), &snapshot, &act(), (expected, next));
        }
    }
}

#[test]
fn ghosts_leave_whatever_the_cluster_says() {
    for cluster in [absent(), unreachable(), decision::snapshot::cluster::ClusterView::NotAsked] {
        let mut snapshot = dead(Terminated);
        snapshot.cluster = cluster;
        snapshot.aws.target_groups = Ok(vec![web_of(1..=3)]);
        check("no node is asked", &snapshot, &act(), (&[DEREGISTER], "at once"));
        snapshot.aws.target_groups = Ok(vec![web_of(2..=3)]);
        check("and then it is over", &snapshot, &act(), (&[], GONE));
    }
    let mut unknown = dead(Stopped);
    unknown.aws.target_groups = Err(unread());
    check("its groups could not be read", &unknown, &act(), (&[], &usual(unknown.now)));
    unknown.now = after(60);
    check("nobody waits for that for long", &unknown, &act(), (&[], GONE));
}

#[test]
fn only_what_the_policy_wants_is_read_of_a_dead_instance() {
    let groups = ("TARGET_GROUPS", arn("web").to_string());
    let policy = |out: &str| policy(&[(groups.0, &groups.1), ("OUT_OF_SERVICE", out)]);
    let snapshot = dead(Stopped);
    assert_eq!(looks::cluster(&snapshot, &policy("off")), ClusterLook::No);
    assert_eq!(looks::cluster(&snapshot, &policy("on")), ClusterLook::Ask(id("prod")));
    assert_eq!(looks::target_groups(&snapshot, &policy("off")).len(), 1);
    let cordons = crate::world::policy(&[(groups.0, &groups.1), ("STATE_CHANGE", "cordon")]);
    assert!(looks::target_groups(&snapshot, &cordons).is_empty());
    check("policy cordon", &snapshot, &cordons, (&[], "done: the instance runs no more"));
}

fn taint_on() -> Policy {
    policy(&[("OUT_OF_SERVICE", "on")])
}

#[test]
fn the_out_of_service_taint_needs_the_policy_and_ec2s_word() {
    let rows = [
        ("stopped", Stopped, taint_on(), true),
        ("terminated", Terminated, taint_on(), true),
        ("stopped, by default", Stopped, act(), false),
        ("terminated, by default", Terminated, act(), false),
    ];
    for (name, said, policy, tainted) in rows {
        let (expected, next): (&[&str], _) =
            if tainted { (&[OUT], "at once") } else { (&[], GONE) };
        check(name, &dead(said), &policy, (expected, next));
    }
    // Whatever is announced: a host that shuts down may still write to its volumes.
    for (announced, shown_as) in
        [(Stopped, Stopping), (Terminated, ShuttingDown), (Stopped, Running)]
    {
        let mut snapshot = dead(announced);
        shown(&mut snapshot, shown_as);
        let steps = steps(&decide(&snapshot, &taint_on()));
        assert_eq!(steps, [CORDON, DEPARTING], "{announced} announced, EC2 shows {shown_as}");
    }
    let mut unknown = dead(Terminated);
    unknown.now = after(600);
    unknown.aws.instance = Ok(None);
    let over = "over: EC2 knows no such instance";
    check("EC2 knows it no more", &unknown, &taint_on(), (&[], over));
}

#[test]
fn the_out_of_service_taint_is_added_to_what_is_there_and_is_ours_to_undo() {
    let mut snapshot = dead(Stopped);
    node_mut(&mut snapshot).taints = vec![taint("dedicated")];
    let decision = decide(&snapshot, &taint_on());
    let patch = patch(&decision);
    assert_eq!(patch.purpose, PatchPurpose::OutOfService);
    let after_it = patched(node_mut(&mut snapshot).clone(), patch);
    let keys: Vec<_> =
        after_it.taints.iter().map(|taint| (taint.key.as_str(), taint.effect.as_str())).collect();
    assert_eq!(
        keys,
        [("dedicated", "NoSchedule"), (TAINT, "NoSchedule"), (OUT_OF_SERVICE, "NoExecute")]
    );
    let written = written(patch);
    assert!(written.out_of_service && written.cordoned && written.tainted);
    *node_mut(&mut snapshot) = after_it;
    check("once", &snapshot, &taint_on(), (&[], GONE));

    let mut foreign = dead(Stopped);
    node_mut(&mut foreign).taints = vec![taint(OUT_OF_SERVICE)];
    check("somebody else's is left alone", &foreign, &taint_on(), (&[], GONE));
}

#[test]
fn a_hook_that_waits_for_a_dead_instance_is_answered_at_once() {
    let mut snapshot = crate::world::departing();
    shown(&mut snapshot, Terminated);
    snapshot.aws.target_groups = Ok(vec![web_of(1..=3)]);
    check("with its ghosts", &snapshot, &taint_on(), (&[DEREGISTER, OUT], "continue"));
    shown(&mut snapshot, ShuttingDown);
    let steps = steps(&decide(&snapshot, &taint_on()));
    assert_eq!(steps, [RECORD], "its pods may still end in order");
}

// ---- It runs again -------------------------------------------------------------------------------

/// An hour after the departure the instance was started; its node carries this record and boot.
fn started(own: &Departure, boot: &str) -> Snapshot {
    let mut snapshot = interrupted(state(Running));
    snapshot.now = after(3_660);
    snapshot.signals[0].sent_at = after(3_600);
    snapshot.aws.instance.as_mut().expect("read").as_mut().expect("known").launched_at =
        Some(after(3_590));
    marked(&mut snapshot, own);
    node_mut(&mut snapshot).boot = Some(id(boot));
    snapshot
}

#[test]
fn what_an_earlier_life_left_is_taken_off_when_the_node_has_booted() {
    let own = Departure { out_of_service: true, ..recorded(&two_minutes()) };
    let mut snapshot = started(&own, "boot-2");
    node_mut(&mut snapshot).taints.push(taint(OUT_OF_SERVICE));
    node_mut(&mut snapshot).taints.push(taint("dedicated"));
    // While it is there, the pods that come to the node are deleted by force.
    check("that taint first", &snapshot, &act(), (&[RECORD], "at once"));
    let cleared = patched(node_mut(&mut snapshot).clone(), patch(&decide(&snapshot, &act())));
    assert_eq!(cleared.taints, [taint(TAINT), taint("dedicated")]);
    assert!(!written(patch(&decide(&snapshot, &act()))).out_of_service);
    let mut unready = snapshot.clone();
    node_mut(&mut unready).ready = Some(false);
    check("whatever else is missing", &unready, &act(), (&[RECORD], "at once"));
    *node_mut(&mut snapshot) = cleared;
    check("booted", &snapshot, &act(), (&[UNDO], "at once"));
    let undone = patched(node_mut(&mut snapshot).clone(), patch(&decide(&snapshot, &act())));
    assert_eq!((undone.unschedulable, &undone.taints), (false, &vec![taint("dedicated")]));
    assert!(!undone.annotations.contains_key(DEPARTURE));
    *node_mut(&mut snapshot) = undone;
    check("over", &snapshot, &act(), (&[], "done: nothing of ours is on its node"));
    // All who asked for it meant the life before.
    let mut several = own;
    several.because.extend([part(&state(Stopping)), part(&super::rebalance())]);
    check("however many asked", &started(&several, "boot-2"), &act(), (&[UNDO], "at once"));
}

#[test]
fn a_node_that_has_not_booted_yet_is_waited_for() {
    let snapshot = started(&recorded(&two_minutes()), "boot-1");
    let decision = decide(&snapshot, &act());
    let told = "arriving: its node still shows the boot before the stop";
    assert_eq!(
        (steps(&decision), decision.report.stage.to_string()),
        (Vec::new(), told.to_owned())
    );
    let mut unready = started(&recorded(&two_minutes()), "boot-2");
    node_mut(&mut unready).ready = Some(false);
    assert_eq!(steps(&decide(&unready, &act())), [""; 0]);
    let mut agent = started(&recorded(&two_minutes()), "boot-2");
    view_mut(&mut agent).pods = Ok(vec![Pod { ready: false, ..daemon("cni-1") }]);
    assert_eq!(steps(&decide(&agent, &act())), [""; 0]);
    // Nobody waits for an answer: our cordon must not stay on for what may never come.
    agent.now = after(3_600 + 900) - millis(1);
    assert_eq!(steps(&decide(&agent, &act())), [""; 0]);
    agent.now = after(3_600 + 900);
    assert_eq!(steps(&decide(&agent, &act())), [UNDO]);
    node_mut(&mut agent).annotations.clear();
    check("and then it is over", &agent, &act(), (&[], "done: nothing of ours is on its node"));
}

#[test]
fn a_departure_that_began_after_the_start_is_not_undone_by_it() {
    for boot in ["boot-1", "boot-2"] {
        for (since, stays) in [(after(3_600) - millis(1), false), (after(3_600), true)] {
            let own = Departure { since, ..recorded(&two_minutes()) };
            let snapshot = started(&own, boot);
            let done = "done: the departure on its node began after this start";
            let decision = decide(&snapshot, &act());
            assert_eq!(
                crate::world::answer(&decision, snapshot.now) == done,
                stays,
                "{boot} {since}"
            );
            if stays {
                assert_eq!(steps(&decision), [""; 0], "{boot} {since}");
            }
        }
    }
}

#[test]
fn a_node_that_came_back_and_is_warned_again_stays_cordoned() {
    // The warning was heard of before the node had booted: it stands on the record of the life before.
    let hard = after(3_600 + 60);
    let mut warned = recorded(&two_minutes());
    warned.because.push(Contributor { hard: Some(hard), ..part(&two_minutes()) });
    for boot in ["boot-1", "boot-2"] {
        let mut snapshot = started(&warned, boot);
        snapshot.now = after(3_600 + 30);
        let decision = decide(&snapshot, &act());
        let told = "arriving: about to be interrupted: its cordon stays";
        assert_eq!(
            (steps(&decision), decision.report.stage.to_string()),
            (Vec::new(), told.to_owned()),
            "{boot}"
        );
        let back = Next::ComeBack { at: hard + LATE_FOR };
        assert_eq!(decision.answers[0].next, back, "{boot}");
    }
    let mut survived = started(&warned, "boot-2");
    survived.now = hard + LATE_FOR;
    check("AWS has not taken it", &survived, &act(), (&[UNDO], "at once"));
    // What was to happen before the start has happened, or never will.
    for (deadline, waits) in [(after(3_600), false), (after(3_600) + millis(1), true)] {
        let mut early = recorded(&two_minutes());
        early.because.push(Contributor { hard: Some(deadline), ..part(&state(Stopped)) });
        let decision = decide(&started(&early, "boot-2"), &act());
        assert_eq!(steps(&decision).is_empty(), waits, "{deadline}: {:?}", decision.report.stage);
    }
    let out = Departure { out_of_service: true, ..warned };
    let mut tainted = started(&out, "boot-1");
    node_mut(&mut tainted).taints.push(taint(OUT_OF_SERVICE));
    check("pods that come are deleted by force", &tainted, &act(), (&[RECORD], "at once"));
    let mut ahead = recorded(&two_minutes());
    ahead.because.push(Contributor { hard: Some(after(3_600 + 2_000)), ..part(&two_minutes()) });
    let mut late = started(&ahead, "boot-2");
    late.now = after(3_600 + 900) - millis(1);
    assert_eq!(steps(&decide(&late, &act())), [""; 0]);
    late.now = after(3_600 + 900);
    check("it has had its time", &late, &act(), (&[UNDO], "again in 30000 ms"));
    let mut maintained = recorded(&two_minutes());
    let scheduled = Contributor {
        by: "maintenance".to_owned(),
        token: "maintenance:arn".to_owned(),
        hard: Some(after(9_000)),
    };
    maintained.because.push(scheduled);
    let other_host = started(&maintained, "boot-2");
    check("a change of the host that it left", &other_host, &act(), (&[UNDO], "at once"));
}

#[test]
fn what_was_taken_out_by_us_is_registered_again() {
    let own = withdrawn(recorded(&two_minutes()), "web", after(60));
    let mut snapshot = started(&own, "boot-2");
    snapshot.aws.target_groups = Ok(vec![web_of(2..=4)]);
    let register = ["register web: i-00000000000000001:30080"];
    assert_eq!(steps(&decide(&snapshot, &act())), register);
    snapshot.aws.target_groups = Ok(vec![web_of(1..=4)]);
    check("in again", &snapshot, &act(), (&[UNDO], "at once"));
}

#[test]
fn a_start_of_a_node_without_our_record_changes_nothing() {
    let mut plain = interrupted(state(Running));
    check("a new instance", &plain, &act(), (&[], "done: nothing of ours is on its node"));
    plain.cluster = absent();
    let none = "done: it has no node: there is nothing to take back";
    check("not registered", &plain, &act(), (&[], none));
    let mut foreign = interrupted(state(Running));
    *node_mut(&mut foreign) = cordoned(node(), &record(2));
    check("another's record", &foreign, &act(), (&[], "done: nothing of ours is on its node"));
    let mut cordoned_by_hand = interrupted(state(Running));
    let by_hand = Node { unschedulable: true, taints: vec![taint("dedicated")], ..node() };
    *node_mut(&mut cordoned_by_hand) = by_hand;
    check(
        "a person's cordon",
        &cordoned_by_hand,
        &act(),
        (&[], "done: nothing of ours is on its node"),
    );
    let mut stopped = started(&recorded(&two_minutes()), "boot-2");
    shown(&mut stopped, Stopped);
    assert_eq!(looks::cluster(&stopped, &act()), ClusterLook::No);
    stopped.cluster = decision::snapshot::cluster::ClusterView::NotAsked;
    let down = "done: the instance is not up: there is nothing to take back";
    check("stopped again meanwhile", &stopped, &act(), (&[], down));
}

#[test]
fn a_start_is_no_matter_to_the_policy_of_a_stop() {
    let snapshot = started(&recorded(&two_minutes()), "boot-2");
    let cordons = policy(&[("STATE_CHANGE", "cordon")]);
    check("cordon", &snapshot, &cordons, (&[UNDO], "at once"));
    let ignores = policy(&[("STATE_CHANGE", "ignore")]);
    let ignored = "ignored: state-change: the policy ignores it";
    check("ignore", &snapshot, &ignores, (&[], ignored));
    assert!(snapshot.signals[0].sent_at > SENT);
}
