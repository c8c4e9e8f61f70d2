//! What went wrong for users of other drainers, each as a test: defects a, b, d, e and g of the most used one, and the
//! first of the painful reports. What only the wire can show is tested there.

use crate::world::{
    GLOBAL, HEARTBEAT, SENT, absent, act, after, answer, cordoned, deleted, departing, ec2,
    hook_mut, id, instance, node, node_mut, patch, patched, pod, policy, proven, record, secs,
    signalled, signalled_in, signalled_out, steps, token, uid, unreachable, view_mut, why, written,
};
use decision::annotation::{Departure, EXCLUDE};
use decision::decide::decide;
use decision::decision::{Decision, Next};
use decision::limits::{ANSWER_MARGIN, EVICTION_RETRY, RECEIVES_MAX};
use decision::signal::HookRoute::WarmPoolOut;
use decision::signal::Transition::Launching;
use decision::snapshot::aws::Instance;
use decision::snapshot::cluster::Pod;
use decision::snapshot::{Attempts, HookState, Snapshot, Unread};
use decision::step::{HookResult, Step};

fn decided(snapshot: &Snapshot) -> Decision {
    decide(snapshot, &act())
}

fn with_pods(pods: Vec<Pod>) -> Snapshot {
    let mut snapshot = departing();
    view_mut(&mut snapshot).pods = Ok(pods);
    snapshot
}

fn is_answered(decision: &Decision) -> bool {
    matches!(decision.answers[0].next, Next::Answer { .. })
}

// ---- Defects -------------------------------------------------------------------------------------

#[test]
fn defect_a_pods_that_were_not_read_are_not_no_pods() {
    let mut snapshot = departing();
    view_mut(&mut snapshot).pods = Err(Unread::because("not read in this turn"));
    assert!(!is_answered(&decided(&snapshot)));
    view_mut(&mut snapshot).pods = Ok(Vec::new());
    assert!(is_answered(&decided(&snapshot)), "no pods are no pods");
}

#[test]
fn defect_b_the_exclusion_label_that_we_set_is_taken_off_again() {
    let mut snapshot = signalled(Launching, WarmPoolOut);
    proven(&mut snapshot);
    let mut marked = cordoned(node(), &Departure { labelled: true, ..record(1) });
    marked.labels.insert(EXCLUDE.to_owned(), "true".to_owned());
    *node_mut(&mut snapshot) = marked.clone();
    let undone = patched(marked, patch(&decided(&snapshot)));
    assert!(!undone.labels.contains_key(EXCLUDE), "{undone:?}");
}

#[test]
fn defect_d_a_node_without_a_ready_condition_is_not_ready() {
    let mut snapshot = signalled_in();
    node_mut(&mut snapshot).ready = None;
    let decision = decided(&snapshot);
    assert!(!is_answered(&decision));
    assert_eq!(decision.report.stage.to_string(), "arriving: its node has no Ready condition yet");
}

#[test]
fn defect_e_several_messages_about_one_instance_are_one_departure_and_all_end_with_it() {
    let mut snapshot = departing();
    let mut again = snapshot.signals[0].clone();
    again.message = "message-2".to_owned();
    snapshot.signals.push(again);
    let decision = decided(&snapshot);
    assert!(
        decision.answers.iter().all(|answer| matches!(answer.next, Next::Answer { .. })),
        "{decision:?}"
    );

    view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
    assert_eq!(steps(&decided(&snapshot)), ["evict shop/web-1"], "and its steps are made once");
}

#[test]
fn defect_g_a_node_name_that_was_used_before_is_told_by_its_instance_boot_and_uid() {
    let mut snapshot = signalled_out();
    *node_mut(&mut snapshot) = cordoned(node(), &record(2));
    let decision = decided(&snapshot);
    let patch = patch(&decision);
    assert_eq!((&patch.uid, patch.resource_version.as_str()), (&uid("node-uid-1"), "4711"));
    assert_eq!(written(patch).instance, instance(1), "the other instance's record is not ours");
    let evicts =
        decision.steps.iter().any(|step| matches!(step, Step::Evict { .. } | Step::Delete { .. }));
    assert!(!evicts, "nothing else happens on the strength of it");
}

// ---- Hooks that were not completed, or wrongly ---------------------------------------------------

#[test]
fn report_01_an_instance_that_never_joined_is_answered() {
    let mut snapshot = signalled_out();
    snapshot.cluster = absent();
    snapshot.aws.instance = Ok(Some(Instance { launched_at: Some(SENT - secs(60)), ..ec2() }));
    snapshot.now = after(120);
    assert_eq!(why(&decided(&snapshot)), "no node registered within 2 min");
}

#[test]
fn report_02_a_node_that_is_gone_already_is_answered_at_once() {
    let mut snapshot = signalled_out();
    snapshot.cluster = absent();
    assert_eq!(why(&decided(&snapshot)), "its node is gone already");
}

#[test]
fn report_03_no_message_is_retried_for_ever() {
    let mut snapshot = with_pods(vec![pod("web-1")]);
    snapshot.signals[0].receives = RECEIVES_MAX;
    assert_eq!(answer(&decided(&snapshot), snapshot.now), "reject, answers 1");
}

#[test]
fn report_04_a_drain_longer_than_two_minutes_goes_on() {
    let mut snapshot = with_pods(vec![pod("web-1")]);
    snapshot.now = after(600);
    let decision = decided(&snapshot);
    assert_eq!(steps(&decision), ["evict shop/web-1"]);
    assert!(!is_answered(&decision));
}

#[test]
fn report_05_the_hook_waits_for_pods_that_terminate() {
    let ending = Pod { deletion: deleted(after(90)), grace: secs(30), ..pod("web-1") };
    assert!(!is_answered(&decided(&with_pods(vec![ending.clone()]))));
    let stopped = Pod { containers_stopped: true, ..ending };
    assert!(is_answered(&decided(&with_pods(vec![stopped]))));
}

#[test]
fn report_07_a_grace_of_three_hours_is_kept_alive_by_heartbeats() {
    let ending = Pod { deletion: deleted(after(10_800)), grace: secs(10_800), ..pod("web-1") };
    let mut snapshot = with_pods(vec![ending]);
    crate::world::facts_mut(&mut snapshot).global = secs(172_800);
    let mut own = record(1);
    own.because[0].hard = Some(SENT + secs(172_800));
    *node_mut(&mut snapshot) = cordoned(node(), &own);
    let (mut beaten_at, mut beats) = (SENT, 0);
    while snapshot.now < after(10_000) {
        let decision = decided(&snapshot);
        if decision.steps.iter().any(|step| matches!(step, Step::Heartbeat(_))) {
            assert!(snapshot.now.since(beaten_at) < HEARTBEAT, "in time: {}", snapshot.now);
            (beaten_at, beats) = (snapshot.now, beats + 1);
            snapshot.memory.hooks.insert(token(1).fingerprint(), HookState::Active(beaten_at));
        }
        let Next::ComeBack { at } = decision.answers[0].next else {
            panic!("not yet: {decision:?}")
        };
        snapshot.now = at;
    }
    assert!((2..20).contains(&beats), "often enough and no more: {beats}");
}

#[test]
fn report_08_no_heartbeat_is_sent_for_an_action_that_is_over() {
    let mut snapshot = with_pods(vec![pod("web-1")]);
    snapshot.now = after(4_000);
    snapshot.memory.hooks.insert(token(1).fingerprint(), HookState::Inactive);
    let decision = decided(&snapshot);
    assert_eq!(steps(&decision), [""; 0]);
    assert_eq!(answer(&decision, snapshot.now), "over: the lifecycle action was answered already");
}

#[test]
fn report_09_a_launch_that_is_terminated_at_once_is_not_dropped() {
    let mut snapshot = signalled_out();
    snapshot.cluster = absent();
    snapshot.aws.instance = Ok(Some(Instance { launched_at: Some(SENT - secs(20)), ..ec2() }));
    assert!(
        matches!(decided(&snapshot).answers[0].next, Next::ComeBack { .. }),
        "its node may still register"
    );
}

#[test]
fn report_10_the_longest_drain_ends_nothing_in_silence() {
    let mut snapshot = with_pods(vec![pod("web-1")]);
    snapshot.now = after(3_600);
    crate::world::proven(&mut snapshot);
    view_mut(&mut snapshot).budgets = Ok(vec![crate::world::budget("web", 0)]);
    let decision = decided(&snapshot);
    assert!(!is_answered(&decision));
    assert!(steps(&decision).contains(&"Event DrainBlocked".to_owned()), "{:?}", steps(&decision));
    let forced = decide(&snapshot, &policy(&[("AT_LONGEST_DRAIN", "force")]));
    assert!(
        steps(&forced).contains(&"delete shop/web-1 with grace 30 s".to_owned()),
        "{:?}",
        steps(&forced)
    );
}

#[test]
fn report_11_an_outage_of_the_api_server_abandons_nobody() {
    let mut snapshot = signalled_out();
    snapshot.cluster = unreachable();
    for seconds in [2, 600, 3_600] {
        snapshot.now = after(seconds);
        assert!(!is_answered(&decided(&snapshot)), "after {seconds} s");
    }
    snapshot.now = SENT + GLOBAL - ANSWER_MARGIN;
    let at_last = &decided(&snapshot).answers[0].next;
    assert!(matches!(at_last, Next::Answer { result: HookResult::Continue, .. }), "{at_last:?}");
}

#[test]
fn report_12_an_eviction_that_timed_out_is_tried_again() {
    let mut snapshot = with_pods(vec![pod("web-1")]);
    let attempts =
        Attempts { count: 1, last_at: snapshot.now, refused: Some("timed out".to_owned()) };
    snapshot.memory.evictions.insert(uid("uid-web-1"), attempts);
    snapshot.memory.blocked_reported_at = Some(snapshot.now);
    assert_eq!(steps(&decided(&snapshot)), [""; 0]);
    snapshot.now = snapshot.now + EVICTION_RETRY;
    assert_eq!(steps(&decided(&snapshot)), ["evict shop/web-1"]);
}

#[test]
fn report_13_one_stuck_pod_holds_an_instance_only_as_long_as_the_policy_says() {
    let mut snapshot = with_pods(vec![pod("web-1")]);
    view_mut(&mut snapshot).budgets = Ok(vec![crate::world::budget("web", 0)]);
    snapshot.now = after(1_800);
    let half_an_hour = policy(&[("LONGEST_DRAIN", "30m"), ("AT_LONGEST_DRAIN", "force")]);
    let forced = steps(&decide(&snapshot, &half_an_hour));
    assert!(forced.contains(&"delete shop/web-1 with grace 30 s".to_owned()), "{forced:?}");
}

#[test]
fn report_14_no_wait_outlasts_the_hook() {
    for seconds in [60, 600, 3_600, 7_000, 7_180] {
        let mut snapshot = with_pods(vec![pod("web-1")]);
        snapshot.now = after(seconds);
        let Next::ComeBack { at } = decided(&snapshot).answers[0].next else {
            panic!("a pod is left")
        };
        assert!(at <= SENT + GLOBAL - ANSWER_MARGIN, "after {seconds} s: {at}");
    }
}

#[test]
fn report_24_a_pod_of_the_same_name_is_told_by_its_uid() {
    let snapshot = with_pods(vec![Pod { uid: uid("uid-of-now"), ..pod("db-0") }]);
    let decision = decided(&snapshot);
    let [Step::Evict { pod: removal, .. }] = decision.steps.as_slice() else {
        panic!("one eviction: {:?}", decision.steps)
    };
    assert_eq!(removal.uid, uid("uid-of-now"));
}

#[test]
fn report_43_a_foreign_hook_of_the_same_group_is_never_answered() {
    let mut snapshot = departing();
    hook_mut(&mut snapshot).hook = id("Terminate-LC-Hook");
    let decision = decided(&snapshot);
    assert_eq!(steps(&decision), [""; 0]);
    assert!(!is_answered(&decision));
}

#[test]
fn report_46_volumes_are_waited_for_before_the_instance_goes() {
    let mut snapshot = departing();
    view_mut(&mut snapshot).volumes = Ok(vec!["pvc-1".to_owned()]);
    assert!(!is_answered(&decided(&snapshot)));
}
