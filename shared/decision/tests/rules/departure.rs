//! Whole decisions about a departure: one turn's steps, what it waits for, and a departure from its signal to its answer.

use crate::story::{read_as_asked, story};
use crate::world::{
    GLOBAL, HEARTBEAT, SENT, act, after, answer, arn, budget, cordoned, daemon, deleted, departing,
    facts_mut, healthy, id, instance, key, labels, millis, node, node_mut, patch, peer, pod,
    policy, proven, record, secs, seen, service, signalled_out, steps, taint, target, target_id,
    token, uid, view_mut, web, why, withdrawn, written,
};
use decision::annotation::{DEPARTURE, Departure, FORCE, HOLD_UNTIL, TAINT};
use decision::decide::decide;
use decision::decision::{Decision, Next};
use decision::limits::{
    ANSWER_MARGIN, BLOCKED_AFTER, BLOCKED_REPORT_EVERY, FORCE_MARGIN, HEALTH_FRESH, ORDER_SETTLES,
    REMOVALS_AT_ONCE_MAX, SETTLING_LOOK, STUCK_AFTER,
};
use decision::pace::look;
use decision::policy::Policy;
use decision::report::Stage;
use decision::signal::HookRoute::Normal;
use decision::signal::Transition::Terminating;
use decision::snapshot::aws::{RegistrationOwner, TargetGroup, TargetState};
use decision::snapshot::cluster::{Pod, TrafficPolicy};
use decision::snapshot::{Attempts, Snapshot, Unread};
use decision::step::{Deregister, NodePatch, PatchPurpose, Step, TargetChange};
use decision::time::Timestamp;

const CORDON: &str = "cordon node ip-10-0-3-1.ec2.internal";
const RECORD: &str = "record node ip-10-0-3-1.ec2.internal";
pub(crate) const DEREGISTER: &str = "deregister web: i-00000000000000001:30080";

pub(crate) fn unread() -> Unread {
    Unread::because("throttled")
}

#[track_caller]
pub(crate) fn check(name: &str, snapshot: &Snapshot, policy: &Policy, expected: (&[&str], &str)) {
    let decision = decide(snapshot, policy);
    assert_eq!(
        (&steps(&decision)[..], answer(&decision, snapshot.now).as_str()),
        (&owned(expected.0)[..], expected.1),
        "{name}"
    );
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

pub(crate) fn at(decision: &Decision) -> Timestamp {
    match decision.answers[0].next {
        Next::ComeBack { at } => at,
        ref other => panic!("it comes back: {other:?}"),
    }
}

/// The usual next look.
pub(crate) fn usual(now: Timestamp) -> String {
    format!("again in {} ms", look(now, SENT, Some(HEARTBEAT)).since(now).as_millis())
}

// ---- The cordon ----------------------------------------------------------------------------------

#[test]
fn the_first_turn_cordons_and_says_so_and_does_nothing_else() {
    let mut snapshot = signalled_out();
    view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
    snapshot.aws.target_groups = Ok(vec![web(healthy(1..=3))]);
    node_mut(&mut snapshot).taints = vec![taint("dedicated")];
    let decision = decide(&snapshot, &act());
    let [Step::PatchNode(patch), Step::Note(note)] = decision.steps.as_slice() else {
        panic!("a PATCH and an Event: {:?}", decision.steps);
    };
    let record = Departure { since: snapshot.now, ranked_at: snapshot.now, ..record(1) };
    let expected = NodePatch {
        node: node().name,
        uid: uid("node-uid-1"),
        resource_version: "4711".to_owned(),
        unschedulable: Some(true),
        taints: Some(vec![taint("dedicated"), taint(TAINT)]),
        labels: Vec::new(),
        annotations: vec![(DEPARTURE.to_owned(), Some(record.text()))],
        purpose: PatchPurpose::Cordon,
    };
    assert_eq!(*patch, expected);
    assert_eq!(
        note.text,
        "i-00000000000000001 leaves service for hook ebbtide-terminate; at the latest at 2026-11-22T11:30:00Z"
    );
    assert_eq!(answer(&decision, snapshot.now), "at once");
}

#[test]
fn a_foreign_cordon_is_not_made_ours() {
    let mut snapshot = signalled_out();
    node_mut(&mut snapshot).unschedulable = true;
    let decision = decide(&snapshot, &act());
    assert_eq!(patch(&decision).unschedulable, None);
    assert!(!written(patch(&decision)).cordoned);
}

#[test]
fn a_second_hook_adds_its_part_to_the_record() {
    let mut snapshot = departing();
    let mut second = seen(Terminating, Normal);
    second.message = "message-2".to_owned();
    second.sent_at = after(10);
    let hook = crate::world::hook_of(&mut second);
    (hook.hook, hook.token) = (id("ebbtide-launch"), token(2));
    snapshot.signals.push(second);
    let decision = decide(&snapshot, &act());
    assert_eq!(steps(&decision), [RECORD]);
    let merged = written(patch(&decision));
    let deadlines: Vec<_> = merged.because.iter().map(|because| because.hard).collect();
    assert_eq!(deadlines, [Some(SENT + GLOBAL), Some(after(10) + GLOBAL)]);
    assert_eq!(merged.ranked_at, SENT, "the earliest deadline did not move");
    assert_eq!(decision.answers.len(), 2);
}

#[test]
fn an_earlier_deadline_moves_the_node_in_the_order() {
    let mut snapshot = departing();
    facts_mut(&mut snapshot).global = secs(3_000);
    // The record's own contributor keeps its deadline; a new token brings the earlier one.
    crate::world::hook_mut(&mut snapshot).token = token(2);
    let merged = written(patch(&decide(&snapshot, &act())));
    assert_eq!((merged.hard(), merged.ranked_at), (Some(after(3_000)), snapshot.now));
}

// ---- Withdrawal ----------------------------------------------------------------------------------

pub(crate) fn with_web(own: &Departure) -> Snapshot {
    let mut snapshot = departing();
    *node_mut(&mut snapshot) = cordoned(node(), own);
    let view = view_mut(&mut snapshot);
    view.peers = Ok(vec![peer(own)].into());
    view.pods = Ok(vec![pod("web-1")]);
    snapshot.aws.target_groups = Ok(vec![web(healthy(1..=3))]);
    snapshot
}

#[test]
fn a_withdrawal_is_written_down_before_it_is_made() {
    let snapshot = with_web(&record(1));
    check("first the record alone", &snapshot, &act(), (&[RECORD], "at once"));
    let noted = written(patch(&decide(&snapshot, &act())));
    assert_eq!(noted, withdrawn(record(1), "web", snapshot.now));

    let mut next = with_web(&noted);
    next.now = after(61);
    view_mut(&mut next).pods = Err(unread());
    let decision = decide(&next, &act());
    let change = TargetChange { group: arn("web"), targets: vec![target_id(&instance(1))] };
    let health = next.aws.target_groups.as_ref().unwrap()[0].targets.clone();
    let expected = Deregister { change, health, fresh_until: after(60) + HEALTH_FRESH };
    assert_eq!(decision.steps, [Step::Deregister(expected)]);
    assert_eq!(answer(&decision, next.now), "at once", "the next turn reads the pods");
}

#[test]
fn a_call_that_failed_is_made_again_and_the_drain_goes_on_beside_it() {
    let mut snapshot = with_web(&withdrawn(record(1), "web", after(57) - millis(1)));
    let decision = decide(&snapshot, &act());
    assert_eq!(steps(&decision), [RECORD, DEREGISTER, "evict shop/web-1"]);
    assert_eq!(
        written(patch(&decision)).withdrawn[0].at,
        snapshot.now,
        "settling counts from the new call"
    );
    assert!(at(&decision) > snapshot.now, "no hurry");
    view_mut(&mut snapshot).pods = Ok(Vec::new());
    check(
        "nor with an empty node",
        &snapshot,
        &act(),
        (&[RECORD, DEREGISTER], &usual(snapshot.now)),
    );
}

#[test]
fn pods_behind_cluster_leave_while_the_target_waits_for_its_turn() {
    let mut snapshot = with_web(&Departure { ranked_at: after(58), ..record(1) });
    let wait = ORDER_SETTLES - secs(2);
    view_mut(&mut snapshot).services = Ok(vec![service("web", TrafficPolicy::Cluster, &[])]);
    let again = format!("again in {} ms", wait.as_millis());
    check("behind Cluster", &snapshot, &act(), (&["evict shop/web-1"], &again));
    view_mut(&mut snapshot).services = Ok(vec![service("web", TrafficPolicy::Local, &[])]);
    check("behind Local", &snapshot, &act(), (&[], &again));
}

#[test]
fn groups_that_could_not_be_read_hold_the_answer_and_what_serves_here() {
    let mut snapshot = with_web(&record(1));
    snapshot.aws.target_groups = Err(unread());
    check("an ordinary pod", &snapshot, &act(), (&["evict shop/web-1"], &usual(snapshot.now)));
    view_mut(&mut snapshot).services = Ok(vec![service("web", TrafficPolicy::Local, &[])]);
    check("behind Local", &snapshot, &act(), (&[], &usual(snapshot.now)));
    view_mut(&mut snapshot).pods = Ok(Vec::new());
    check("empty, and still no answer", &snapshot, &act(), (&[], &usual(snapshot.now)));
}

#[test]
fn a_list_of_nodes_that_fails_is_tried_again_at_the_usual_pace() {
    let mut snapshot = with_web(&record(1));
    view_mut(&mut snapshot).peers = Err(unread());
    view_mut(&mut snapshot).pods = Ok(Vec::new());
    check("nobody leaves on a guess", &snapshot, &act(), (&[], &usual(snapshot.now)));
}

#[test]
fn an_empty_node_waits_for_its_load_balancers_and_is_then_answered() {
    // Out at 10 s with a delay of 300 s.
    let rows = [
        (
            "draining",
            after(60),
            Some(TargetState::Draining),
            format!("again in {} ms", SETTLING_LOOK.as_millis()),
        ),
        (
            "two seconds before the end",
            after(308),
            Some(TargetState::Draining),
            "again in 2000 ms".to_owned(),
        ),
        (
            "AWS takes longer than its delay",
            after(311),
            Some(TargetState::Draining),
            usual(after(311)),
        ),
        ("out of the group", after(311), None, "continue".to_owned()),
        ("out of the group, before it is settled", after(39), None, "again in 1000 ms".to_owned()),
        ("out of the group, settled", after(40), None, "continue".to_owned()),
    ];
    for (name, now, mine, expected) in rows {
        let mut snapshot = with_web(&withdrawn(record(1), "web", after(10)));
        snapshot.now = now;
        view_mut(&mut snapshot).pods = Ok(vec![daemon("agent-1")]);
        let targets =
            mine.map(|state| target(1, state)).into_iter().chain(healthy([2, 3])).collect();
        snapshot.aws.target_groups = Ok(vec![web(targets)]);
        check(name, &snapshot, &act(), (&[], &expected));
    }
}

#[test]
fn the_last_living_target_stays_in_and_the_departure_ends_without_it() {
    let mut snapshot = with_web(&record(1));
    snapshot.aws.target_groups = Ok(vec![web(healthy([1]))]);
    view_mut(&mut snapshot).pods = Ok(Vec::new());
    snapshot.now = after(300);
    let decision = decide(&snapshot, &act());
    assert_eq!(
        (steps(&decision), answer(&decision, snapshot.now)),
        (Vec::new(), "continue".to_owned())
    );
    assert_eq!(
        decision.report.registrations,
        ["web: stays in: the last living target, and nothing replaced it in time"]
    );
}

#[test]
fn a_call_for_others_never_empties_the_group() {
    // Both wrote down that they leave, and both calls failed: the order lets the first go, and the second stays.
    let claims = [1, 2].map(|number| withdrawn(record(number), "web", after(10)));
    let mut snapshot = with_web(&claims[0]);
    view_mut(&mut snapshot).peers = Ok(claims.iter().map(peer).collect());
    view_mut(&mut snapshot).pods = Ok(Vec::new());
    snapshot.aws.target_groups = Ok(vec![web(healthy([1, 2]))]);
    let decision = decide(&snapshot, &act());
    let calls = decision.steps.iter().filter_map(|step| match step {
        Step::Deregister(call) => Some(call.change.targets.clone()),
        _ => None,
    });
    let calls: Vec<_> = calls.collect();
    assert_eq!(calls, [vec![target_id(&instance(1))]]);
}

// ---- Pods and volumes ----------------------------------------------------------------------------

#[test]
fn so_many_pods_go_in_one_turn_and_the_rest_at_once_after_them() {
    for (count, evicted, hurry) in
        [(9, 9, false), (10, 10, false), (11, REMOVALS_AT_ONCE_MAX, true)]
    {
        let mut snapshot = departing();
        let pods =
            (0..count).map(|number| Pod { owner: None, ..pod(&format!("web-{number}")) }).collect();
        view_mut(&mut snapshot).pods = Ok(pods);
        let decision = decide(&snapshot, &act());
        assert_eq!(decision.steps.len(), evicted, "{count} pods");
        assert_eq!(at(&decision) == snapshot.now, hurry, "{count} pods");
    }
}

#[test]
fn volumes_are_waited_for_until_the_soft_deadline() {
    let mounted = |now, pods: Vec<Pod>, volumes| {
        let mut snapshot = departing();
        snapshot.now = now;
        proven(&mut snapshot);
        view_mut(&mut snapshot).pods = Ok(pods);
        view_mut(&mut snapshot).volumes = volumes;
        snapshot
    };
    let volumes = || Ok(vec!["pvc-1".to_owned()]);
    let none = Vec::new;
    let soft = after(3_600);
    let claims = vec![Pod { claims: true, ..daemon("agent-1") }];
    let rows = [
        ("attached", mounted(after(60), none(), volumes()), usual(after(60))),
        ("not known", mounted(after(60), none(), Err(unread())), usual(after(60))),
        ("detached", mounted(after(60), none(), Ok(Vec::new())), "continue".to_owned()),
        (
            "attached, for a pod that stays",
            mounted(after(60), claims, volumes()),
            "continue".to_owned(),
        ),
        ("at the soft deadline", mounted(soft, none(), volumes()), "continue".to_owned()),
    ];
    for (name, snapshot, expected) in rows {
        let decision = decide(&snapshot, &act());
        let beats = decision.steps.iter().all(|step| matches!(step, Step::Heartbeat(_)));
        assert!(beats, "{name}: {:?}", decision.steps);
        assert_eq!(answer(&decision, snapshot.now), expected, "{name}");
    }
    let ended = deleted(after(60) - STUCK_AFTER);
    let stuck = vec![Pod { claims: true, deletion: ended, ..pod("db-0") }];
    let lost = mounted(after(60), stuck, volumes());
    assert_eq!(answer(&decide(&lost, &act()), lost.now), "continue", "a lost kubelet's volume");
    let before = mounted(soft - millis(1), none(), volumes());
    assert_ne!(
        answer(&decide(&before, &act()), before.now),
        "continue",
        "one millisecond before the soft deadline"
    );
}

#[test]
fn the_next_look_is_when_something_can_change() {
    let hard = SENT + GLOBAL;
    let forced_at = hard - ANSWER_MARGIN - FORCE_MARGIN - secs(30);
    let blocked = |now| {
        let mut snapshot = departing();
        snapshot.now = now;
        proven(&mut snapshot);
        view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
        view_mut(&mut snapshot).budgets = Ok(vec![budget("web", 0)]);
        snapshot
    };
    let rows = [
        ("nothing in particular", blocked(after(1_000)), look(after(1_000), SENT, Some(HEARTBEAT))),
        ("the soft deadline", blocked(after(3_599)), after(3_600)),
        ("the moment from which it is forced", blocked(forced_at - secs(20)), forced_at),
        ("the moment of the answer", blocked(hard - secs(40)), hard - ANSWER_MARGIN),
    ];
    for (name, snapshot, expected) in rows {
        let decision = decide(&snapshot, &act());
        assert_eq!(at(&decision).min(hard - ANSWER_MARGIN), expected, "{name}");
    }
    let mut ends = blocked(after(1_000));
    view_mut(&mut ends).pods = Ok(vec![Pod { deletion: deleted(after(1_007)), ..pod("web-1") }]);
    assert_eq!(at(&decide(&ends, &act())), after(1_007), "a pod's own end");
    let mut evicted = blocked(after(1_000));
    view_mut(&mut evicted).budgets = Ok(Vec::new());
    assert_eq!(
        at(&decide(&evicted, &act())),
        after(1_000) + SETTLING_LOOK,
        "soon after the first eviction"
    );
    let attempts = Attempts { count: 1, last_at: after(900), refused: None };
    evicted.memory.evictions.insert(uid("uid-web-1"), attempts);
    let usual = look(after(1_000), SENT, Some(HEARTBEAT));
    assert_eq!(
        at(&decide(&evicted, &act())),
        usual,
        "not after each further try: it may be refused for hours"
    );
}

#[test]
fn a_refusal_that_lasts_costs_no_more_looks_than_any_other_wait() {
    let mut snapshot = departing();
    snapshot.now = after(40_000);
    facts_mut(&mut snapshot).global = secs(172_800);
    proven(&mut snapshot);
    let mut own = record(1);
    own.because[0].hard = Some(SENT + secs(172_800));
    *node_mut(&mut snapshot) = cordoned(node(), &own);
    view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
    let attempts =
        Attempts { count: 9, last_at: snapshot.now, refused: Some("webhook denied it".to_owned()) };
    snapshot.memory.evictions.insert(uid("uid-web-1"), attempts);
    assert_eq!(at(&decide(&snapshot, &act())), look(snapshot.now, SENT, Some(HEARTBEAT)));
}

#[test]
fn at_the_last_moment_the_hook_is_answered_whatever_is_left() {
    let last = SENT + GLOBAL - ANSWER_MARGIN;
    let with_pod = |now| {
        let mut snapshot = departing();
        snapshot.now = now;
        proven(&mut snapshot);
        view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
        snapshot
    };
    assert_eq!(at(&decide(&with_pod(last - millis(1)), &act())), last, "one millisecond before");
    for now in [last, last + millis(1)] {
        let decision = decide(&with_pod(now), &act());
        assert_eq!(answer(&decision, now), "continue");
        assert_eq!(why(&decision), "the deadline; left: shop/web-1");
        assert_eq!(decision.report.stage, Stage::Overdue);
    }
    let mut uncordoned = signalled_out();
    uncordoned.now = last;
    let decision = decide(&uncordoned, &act());
    assert_eq!(why(&decision), "this hook's own deadline", "even before the first PATCH");
}

#[test]
fn each_hook_is_answered_at_its_own_deadline() {
    let mut snapshot = departing();
    let mut second = snapshot.signals[0].clone();
    second.message = "message-2".to_owned();
    let hook = crate::world::hook_of(&mut second);
    (hook.hook, hook.token) = (id("ebbtide-launch"), token(2));
    if let Ok(Some(facts)) = &mut second.hook {
        facts.global = secs(3_000);
    }
    snapshot.signals.push(second);
    snapshot.now = after(3_000) - ANSWER_MARGIN;
    view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
    // The departure as a whole has no later deadline than its earliest: both are answered then.
    let decision = decide(&snapshot, &act());
    let answered =
        decision.answers.iter().filter(|answer| matches!(answer.next, Next::Answer { .. })).count();
    assert_eq!(answered, 1, "{:?}", decision.answers);
    assert_eq!(decision.answers[1].message, "message-2");
    assert!(matches!(decision.answers[1].next, Next::Answer { .. }));
}

// ---- A person's orders ---------------------------------------------------------------------------

#[test]
fn a_person_can_force_or_hold() {
    let ordered = |annotation: &str, value: &str, now| {
        let mut snapshot = departing();
        snapshot.now = now;
        proven(&mut snapshot);
        node_mut(&mut snapshot).annotations.insert(annotation.to_owned(), value.to_owned());
        view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
        view_mut(&mut snapshot).budgets = Ok(vec![budget("web", 0)]);
        snapshot
    };
    let force = policy(&[("AT_LONGEST_DRAIN", "force")]);
    let delete = "delete shop/web-1 with grace 30 s";
    let rows = [
        ("force: now", ordered(FORCE, "now", after(60)), act(), true),
        ("force: anything else", ordered(FORCE, "true", after(60)), act(), false),
        // Sent at 09:30, the longest drain ends at 10:30.
        ("overdue", ordered("x", "", after(3_600)), force.clone(), true),
        (
            "hold until 10:35Z, one second before",
            ordered(HOLD_UNTIL, "10:35Z", after(3_899)),
            force.clone(),
            false,
        ),
        ("hold until 10:35Z, at", ordered(HOLD_UNTIL, "10:35Z", after(3_900)), force.clone(), true),
        (
            "hold until a date",
            ordered(HOLD_UNTIL, "2026-11-22T10:35:00Z", after(3_899)),
            force.clone(),
            false,
        ),
        (
            "hold until a date, at",
            ordered(HOLD_UNTIL, "2026-11-22T10:35:00Z", after(3_900)),
            force.clone(),
            true,
        ),
        (
            "hold until before the soft deadline",
            ordered(HOLD_UNTIL, "09:31Z", after(3_599)),
            force.clone(),
            false,
        ),
        (
            "hold until before midnight, yesterday",
            ordered(HOLD_UNTIL, "23:00Z", after(3_600)),
            force.clone(),
            true,
        ),
        ("hold until nonsense", ordered(HOLD_UNTIL, "25:00Z", after(3_600)), force.clone(), true),
        ("hold until without a zone", ordered(HOLD_UNTIL, "10:35", after(3_600)), force, true),
    ];
    for (name, snapshot, policy, deleted) in rows {
        let deletes = steps(&decide(&snapshot, &policy)).iter().any(|step| step == delete);
        assert_eq!(deletes, deleted, "{name}");
    }
}

#[test]
fn a_drain_that_stands_still_says_so_now_and_then() {
    let blocked = |now, told: Option<Timestamp>| {
        let mut snapshot = departing();
        snapshot.now = now;
        snapshot.memory.blocked_reported_at = told;
        view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
        view_mut(&mut snapshot).budgets = Ok(vec![budget("web", 0)]);
        decide(&snapshot, &act())
    };
    let since = SENT + BLOCKED_AFTER;
    let rows = [
        ("one millisecond before it counts as blocked", since - millis(1), None, false),
        ("at", since, None, true),
        ("told just now", since, Some(since), false),
        (
            "one millisecond before the next time",
            since + BLOCKED_REPORT_EVERY - millis(1),
            Some(since),
            false,
        ),
        ("the next time", since + BLOCKED_REPORT_EVERY, Some(since), true),
    ];
    for (name, now, told, tells) in rows {
        let decision = blocked(now, told);
        let event = steps(&decision).contains(&"Event DrainBlocked".to_owned());
        assert_eq!((event, decision.report.tell_blocked), (tells, tells), "{name}");
    }
}

// ---- A whole departure ---------------------------------------------------------------------------

#[test]
fn a_departure_from_its_signal_to_its_answer() {
    let policy = policy(&[("TARGET_GROUPS", arn("web").as_str())]);
    let mut snapshot = signalled_out();
    let local = service("web", TrafficPolicy::Local, &[("web-1", 1), ("web-2", 2), ("web-3", 3)]);
    view_mut(&mut snapshot).services = Ok(vec![local]);
    view_mut(&mut snapshot).pods = Ok(vec![pod("web-1"), pod("api-1"), daemon("agent-1")]);
    let delay = TargetGroup { deregistration_delay: secs(60), ..web(healthy(1..=3)) };
    snapshot.aws.target_groups = Ok(vec![delay]);
    let all = story(snapshot.clone(), &policy, Snapshot::clone);
    let asked = story(snapshot, &policy, |world| read_as_asked(world, &policy));
    insta::assert_snapshot!(asked);
    assert_eq!(asked, all, "what is not asked for is not missed");
}

#[test]
fn an_observed_departure_says_all_that_it_would_do() {
    let mut snapshot = signalled_out();
    view_mut(&mut snapshot).pods = Ok(vec![pod("api-1"), daemon("agent-1")]);
    let attached = TargetGroup { owner: RegistrationOwner::Named, ..web(healthy(1..=3)) };
    snapshot.aws.target_groups = Ok(vec![attached]);
    let decision = decide(&snapshot, &policy(&[("MODE", "observe")]));
    assert_eq!(steps(&decision), [""; 0]);
    assert_eq!(decision.report.would, [CORDON, RECORD, DEREGISTER, "evict shop/api-1"]);
}

#[test]
fn a_pod_is_named_by_namespace_name_and_uid() {
    let mut snapshot = departing();
    view_mut(&mut snapshot).pods = Ok(vec![Pod { labels: labels(&[]), ..pod("web-1") }]);
    let decision = decide(&snapshot, &act());
    let [Step::Evict { pod: removal, .. }] = decision.steps.as_slice() else {
        panic!("one eviction: {:?}", decision.steps)
    };
    assert_eq!((&removal.pod, &removal.uid), (&key("shop/web-1"), &uid("uid-web-1")));
}
