//! Many nodes leave at once: one process calls for all, and none waits for one that died.

use crate::story::perform;
use crate::world::{
    SENT, act, after, arn, cordoned, departing, healthy, instance, millis, node, node_mut, peer,
    policy, record, secs, steps, target_id, view_mut, web, withdrawn,
};
use decision::annotation::Departure;
use decision::decide::decide;
use decision::decision::{Decision, Next};
use decision::id::InstanceId;
use decision::limits::{
    CLAIM_LASTS, CLAIM_SETTLES, HEALTH_FRESH, LEADER_ACTS, LOOKS_PER_SECOND, SHARED_LOOK,
    STAYERS_FRESH, STORM_NODES, WITHDRAW_MARGIN,
};
use decision::looks;
use decision::snapshot::Snapshot;
use decision::snapshot::aws::{TargetGroup, Targets};
use decision::snapshot::departing::{Peer, Peers};
use decision::step::{Step, TargetId};
use decision::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// Our node is the last of so many that wrote down at 60 s that they leave; a hundred more stay.
fn storm(nodes: usize, own: Timestamp) -> Snapshot {
    let claim = |number, at| withdrawn(record(number), "web", at);
    let mut snapshot = departing();
    let mine = claim(1, own);
    let others = (2..=nodes).map(|number| claim(number, after(60)));
    let peers: Vec<Departure> = others.chain([mine.clone()]).collect();
    *node_mut(&mut snapshot) = cordoned(node(), &mine);
    view_mut(&mut snapshot).peers = Ok(peers.iter().map(peer).collect());
    let targets = healthy(1..=nodes + 100);
    snapshot.aws.target_groups = Ok(vec![web(targets)]);
    snapshot.now = own + secs(1);
    refreshed(&mut snapshot);
    snapshot
}

/// The groups are read again.
fn refreshed(snapshot: &mut Snapshot) {
    read_ago(snapshot, Duration::ZERO);
}

/// The groups were read so long ago.
fn read_ago(snapshot: &mut Snapshot, ago: Duration) {
    let read_at = snapshot.now - ago;
    for group in snapshot.aws.target_groups.iter_mut().flatten() {
        *group = TargetGroup { read_at, ..group.clone() };
    }
}

fn called(decision: &Decision) -> Option<Vec<TargetId>> {
    decision.steps.iter().find_map(|step| match step {
        Step::Deregister(call) => Some(call.change.targets.clone()),
        _ => None,
    })
}

fn roomy() -> decision::policy::Policy {
    policy(&[("TARGET_GROUPS", arn("web").as_str())])
}

#[test]
fn the_first_to_write_it_down_calls_for_all() {
    let first = storm(STORM_NODES, after(59));
    let out = called(&decide(&first, &roomy())).expect("it calls");
    let all: Vec<TargetId> = (1..=STORM_NODES).map(|number| target_id(&instance(number))).collect();
    assert_eq!(out, all, "its own first");
    let mut later = storm(STORM_NODES, after(61));
    assert!(
        called(&decide(&later, &roomy())).is_some(),
        "who has just read the group need not wait"
    );
    read_ago(&mut later, HEALTH_FRESH / 2);
    assert_eq!(steps(&decide(&later, &roomy())), [""; 0], "who is later leaves it to the first");
    let few = storm(STORM_NODES - 1, after(61));
    assert!(called(&decide(&few, &roomy())).is_some(), "a few do not wait for each other");
}

/// Until when the call may be made, counted from the read of its group.
fn fresh_for(snapshot: &Snapshot) -> Duration {
    let read_at = snapshot.aws.target_groups.as_ref().expect("read")[0].read_at;
    let decision = decide(snapshot, &roomy());
    let calls = decision.steps.iter().find_map(|step| match step {
        Step::Deregister(call) => Some(call.fresh_until),
        _ => None,
    });
    calls.expect("it calls").since(read_at)
}

#[test]
fn where_enough_stay_an_older_look_is_good_enough() {
    let first = |nodes| storm(nodes, after(59));
    assert_eq!(fresh_for(&first(STORM_NODES)), STAYERS_FRESH, "a hundred stay");
    assert_eq!(fresh_for(&first(STORM_NODES - 1)), HEALTH_FRESH, "no storm");
    let mut few_stay = first(STORM_NODES);
    few_stay.aws.target_groups = Ok(vec![web(healthy(1..=STORM_NODES + 3))]);
    few_stay.now = after(60) + CLAIM_SETTLES;
    refreshed(&mut few_stay);
    assert_eq!(fresh_for(&few_stay), HEALTH_FRESH, "the order decides who goes");
}

#[test]
fn a_claim_that_is_old_is_left_to_its_owner() {
    let mut snapshot = storm(5, after(60) + CLAIM_LASTS);
    snapshot.now = after(60) + CLAIM_LASTS + secs(1);
    refreshed(&mut snapshot);
    let out = called(&decide(&snapshot, &roomy())).expect("it calls");
    assert_eq!(out, [target_id(&instance(1))]);
}

#[test]
fn nobody_waits_for_a_first_that_died() {
    let own = after(61);
    let mut snapshot = storm(STORM_NODES, own);
    for _ in 0..100 {
        let decision = decide(&snapshot, &roomy());
        if called(&decision).is_some() {
            let waited = snapshot.now.since(own);
            assert!(waited <= LEADER_ACTS + secs(1), "{waited:?}");
            return;
        }
        let peers = view_mut(&mut snapshot).peers.clone().expect("listed");
        perform(&mut snapshot, &decision);
        // The others' records stay as they are; ours is what the node says now.
        let text = node_mut(&mut snapshot).annotations[decision::annotation::DEPARTURE].clone();
        let mine = Departure::parse(&text).expect("ours");
        let others = peers.iter().filter(|other| other.instance != mine.instance).cloned();
        view_mut(&mut snapshot).peers = Ok(others.chain([peer(&mine)]).collect());
        // Pods and budgets wake turns in between.
        snapshot.now = snapshot.now + millis(500);
        read_ago(&mut snapshot, HEALTH_FRESH / 2);
    }
    panic!("it never calls");
}

#[test]
fn a_crowd_is_looked_at_in_turns() {
    let mut snapshot = departing();
    view_mut(&mut snapshot).pods = Ok(vec![crate::world::pod("web-1")]);
    view_mut(&mut snapshot).budgets = Ok(vec![crate::world::budget("web", 0)]);
    let wait = |snapshot: &Snapshot| match decide(snapshot, &act()).answers[0].next {
        Next::ComeBack { at } => at.since(snapshot.now),
        ref other => panic!("not yet: {other:?}"),
    };
    let alone = wait(&snapshot);
    snapshot.memory.crowd = 2_000;
    let every = secs(2_000 / u64::from(LOOKS_PER_SECOND));
    let crowded = wait(&snapshot);
    assert!(crowded > alone && crowded >= every / 2 && crowded <= every * 2, "{crowded:?}");
    assert!(snapshot.now > SENT);
}

#[test]
fn whose_node_somebody_more_urgent_works_on_looks_less_often() {
    let mut snapshot = departing();
    snapshot.now = after(10);
    view_mut(&mut snapshot).pods = Ok(vec![crate::world::pod("web-1")]);
    view_mut(&mut snapshot).budgets = Ok(vec![crate::world::budget("web", 0)]);
    let next = |hard: Option<u64>| {
        let mut snapshot = snapshot.clone();
        let mut own = record(1);
        own.because.extend(hard.map(|hard| decision::annotation::Contributor {
            by: "spot".to_owned(),
            token: "spot".to_owned(),
            hard: Some(after(hard)),
        }));
        *node_mut(&mut snapshot) = cordoned(node(), &own);
        let decision = decide(&snapshot, &act());
        match decision.answers[0].next {
            Next::ComeBack { at } => at.since(snapshot.now),
            ref other => panic!("not yet: {other:?}"),
        }
    };
    assert_eq!(next(None), secs(2), "alone");
    assert_eq!(next(Some(120)), SHARED_LOOK, "a Spot warning has its own message");
    assert_eq!(next(Some(9_000)), secs(2), "the other has more time than we");
}

/// Our hook's departure, whose record says that a Spot warning takes the host so long after the signal.
fn warned(hard: u64) -> Snapshot {
    let mut snapshot = departing();
    let mut own = record(1);
    own.because.push(decision::annotation::Contributor {
        by: "spot".to_owned(),
        token: "spot".to_owned(),
        hard: Some(after(hard)),
    });
    *node_mut(&mut snapshot) = cordoned(node(), &own);
    snapshot
}

#[test]
fn in_a_storm_the_more_urgent_signal_looks_after_the_load_balancers_until_after_the_last_moment() {
    let last = act().settle_application + WITHDRAW_MARGIN / 2;
    let rows = [
        ("early", STORM_NODES, secs(10), true),
        ("no storm", STORM_NODES - 1, secs(10), false),
        ("the other's last moment", STORM_NODES, secs(110) - act().settle_application, true),
        ("just before its end", STORM_NODES, secs(120) - last - secs(1), true),
        ("it ends", STORM_NODES, secs(120) - last, false),
        ("over", STORM_NODES, secs(121), false),
    ];
    for (name, crowd, at, leaves) in rows {
        let mut snapshot = warned(120);
        snapshot.now = SENT + at;
        snapshot.memory.crowd = crowd;
        assert_eq!(looks::leaves_groups_to_other(&snapshot, &act()), leaves, "{name}");
    }
    let mut alone = departing();
    alone.memory.crowd = STORM_NODES;
    assert!(!looks::leaves_groups_to_other(&alone, &act()), "nobody else asks for it");
}

#[test]
fn of_a_new_list_only_what_changed_is_read() {
    let peer = |number: usize, record: &Departure| Peer {
        instance: instance(number),
        node: format!("node-{number}").parse().unwrap(),
        annotation: record.text(),
    };
    let moved = Departure { ranked_at: after(9), ..record(2) };
    let unreadable = Peer { annotation: "{".to_owned(), ..peer(4, &record(4)) };
    let before = Peers::from(vec![peer(1, &record(1)), peer(2, &record(2)), peer(3, &record(3))]);
    let now =
        before.renewed(vec![peer(0, &record(0)), peer(1, &record(1)), peer(2, &moved), unreadable]);
    let read: Vec<&InstanceId> = now.records().keys().collect();
    assert_eq!(read, [&instance(0), &instance(1), &instance(2)], "{now:?}");
    let is_same = |number| {
        Arc::ptr_eq(&before.records()[&instance(number)], &now.records()[&instance(number)])
    };
    assert!(is_same(1), "read once");
    assert!(!is_same(2));
    assert_eq!(*now.records()[&instance(2)], moved);
}

#[test]
fn a_call_is_known_before_the_group_is_read_again() {
    let targets = Targets::from(healthy(1..=3));
    let left = targets.leaving(&[target_id(&instance(2))]);
    assert_eq!(
        left.draining().iter().map(String::as_str).collect::<Vec<_>>(),
        [instance(2).as_str()]
    );
    assert_eq!(left.living().len(), 2);
    assert_eq!(left.len(), 3, "the others are as they were");
}

#[test]
fn a_cordon_is_owed_once_and_who_has_no_time_makes_way_for_none() {
    let mut first = departing();
    *node_mut(&mut first) = node();
    assert!(looks::owes_cordon(&first, &act()), "nothing is on the node");
    assert!(!looks::owes_cordon(&first, &decision::policy::Policy::default()), "it only observes");
    let mut begun = warned(120);
    assert!(!looks::owes_cordon(&begun, &act()), "it is cordoned");
    begun.now = after(30);
    assert!(looks::can_make_way(&begun, &act()), "a minute and a half is left");
    begun.now = after(70);
    assert!(!looks::can_make_way(&begun, &act()), "its last moments");
}
