//! Is it ours, and is it still true? Scope, hooks, lifecycle states, proofs, pauses, observation.

use crate::world::{
    HEARTBEAT, SENT, act, after, answer, asg, departing, ec2, facts_mut, hook_mut, id, labels,
    millis, policy, proven, signalled, signalled_in, signalled_out, state_of, steps, token, why,
};
use decision::decide::decide;
use decision::decision::{Ending, Next};
use decision::limits::{EVENT_AHEAD, LOOKUP_PATIENCE, PROOF_LASTS, RECEIVES_MAX};
use decision::pace::look;
use decision::policy::Policy;
use decision::scope;
use decision::signal::HookRoute::{Normal, RootVolume, WarmPoolEnd, WarmPoolIn, WarmPoolOut};
use decision::signal::Transition::{Launching, Terminating};
use decision::snapshot::aws::{Asg, LifecycleState, Membership};
use decision::snapshot::cluster::ClusterView;
use decision::snapshot::{HookState, Snapshot, Unread};

fn unread() -> Unread {
    Unread::because("throttled")
}

/// Again at the usual pace.
const LOOK: &str = "look";

/// What becomes of the first signal.
#[track_caller]
fn check(name: &str, snapshot: &Snapshot, policy: &Policy, expected: &str) {
    let decision = decide(snapshot, policy);
    let usual = look(snapshot.now, SENT, Some(HEARTBEAT)).since(snapshot.now).as_millis();
    let expected =
        if expected == LOOK { format!("again in {usual} ms") } else { expected.to_owned() };
    assert_eq!(answer(&decision, snapshot.now), expected, "{name}");
    assert_eq!(decision.answers.len(), snapshot.signals.len(), "{name}: one answer a signal");
}

/// The same, and nothing is done.
#[track_caller]
fn check_silent(name: &str, snapshot: &Snapshot, policy: &Policy, expected: &str) {
    check(name, snapshot, policy, expected);
    assert_eq!(steps(&decide(snapshot, policy)), [""; 0], "{name}: silence");
}

// ---- Scope ---------------------------------------------------------------------------------------

/// A name, the group's tags, `ASGS`, and whose it is if not ours.
type GroupRow =
    (&'static str, &'static [(&'static str, &'static str)], &'static str, Option<&'static str>);

#[test]
fn groups_are_ours_by_name_or_tag_and_never_when_somebody_else_drains_them() {
    const NOBODYS: &str =
        "its Auto Scaling group is neither in ASGS nor tagged ebbtide.dev/managed";
    let rows: &[GroupRow] = &[
        ("tagged", &[("ebbtide.dev/managed", "true")], "", None),
        ("tagged with anything", &[("ebbtide.dev/managed", "")], "", None),
        ("tagged false", &[("ebbtide.dev/managed", "false")], "", Some(NOBODYS)),
        ("neither", &[("team", "shop")], "", Some(NOBODYS)),
        ("named", &[], "other,workers", None),
        ("another is named", &[], "other", Some(NOBODYS)),
        ("named beats tagged false", &[("ebbtide.dev/managed", "false")], "workers", None),
        (
            "managed node group",
            &[("ebbtide.dev/managed", "true"), ("eks:nodegroup-name", "ng")],
            "workers",
            Some("a managed node group, which EKS drains itself"),
        ),
        (
            "Karpenter",
            &[("ebbtide.dev/managed", "true"), ("karpenter.sh/nodepool", "default")],
            "",
            Some("Karpenter's, which drains it itself"),
        ),
        (
            "an older Karpenter",
            &[("ebbtide.dev/managed", "true"), ("karpenter.sh/provisioner-name", "default")],
            "",
            Some("Karpenter's, which drains it itself"),
        ),
        (
            "Auto Mode",
            &[("ebbtide.dev/managed", "true"), ("eks:eks-auto-mode", "true")],
            "",
            Some("EKS Auto Mode's, which drains it itself"),
        ),
    ];
    for (name, tags, asgs, foreign) in rows {
        let policy = policy(&[("ASGS", *asgs)]);
        let asg = Asg { tags: labels(tags), ..asg() };
        let found = scope::group(&asg, &policy).err().map(|foreign| foreign.to_string());
        assert_eq!(found.as_deref(), *foreign, "{name}");
        if let Some(foreign) = foreign {
            let mut snapshot = signalled_out();
            snapshot.aws.group = Ok(Some(asg));
            check_silent(name, &snapshot, &policy, &format!("ignored: {foreign}"));
            // Of such a group no hooks are read, so nothing about them may be waited for.
            snapshot.signals[0].hook = Err(Unread::because("not read in this turn"));
            check_silent(name, &snapshot, &policy, &format!("ignored: {foreign}"));
        }
    }
}

/// A name, the hook's, the metadata in the event, the metadata that the hook has now, and whether it is ours.
type HookRow = (&'static str, &'static str, Option<&'static str>, Option<&'static str>, bool);

#[test]
fn hooks_are_ours_by_name_or_mark_and_the_metadata_of_now_counts() {
    const FOREIGN: &str =
        "ignored: its hook is neither in HOOKS nor marked in its NotificationMetadata";
    let rows: &[HookRow] = &[
        ("named", "ebbtide-terminate", None, None, true),
        ("foreign", "Launch-LC-Hook", None, None, false),
        ("marked now", "drain", None, Some(r#"{"ebbtide":{}}"#), true),
        ("marked then, not now", "drain", Some(r#"{"ebbtide":{}}"#), None, false),
        ("marked false", "drain", None, Some(r#"{"ebbtide":false}"#), false),
        ("another tool's metadata", "drain", None, Some("{}"), false),
        ("marked with a mistake", "drain", None, Some(r#"{"ebbtide":{"floor":50}}"#), true),
    ];
    for (name, hook, then, now, ours) in rows {
        let mut snapshot = signalled_out();
        hook_mut(&mut snapshot).hook = id(hook);
        hook_mut(&mut snapshot).metadata = then.map(str::to_owned);
        facts_mut(&mut snapshot).name = id(hook);
        facts_mut(&mut snapshot).metadata = now.map(str::to_owned);
        if *ours {
            check(name, &snapshot, &act(), "at once");
        } else {
            check_silent(name, &snapshot, &act(), FOREIGN);
        }
    }
}

#[test]
fn a_mistake_in_the_metadata_never_makes_us_bolder() {
    let observed = "observed, nothing written";
    let rows = [
        ("a mode that can't be read", r#"{"ebbtide":{"mode":"on"}}"#, observed),
        ("observe, beside a mistake", r#"{"ebbtide":{"mode":"observe","floor":5}}"#, observed),
        ("observe, before a mistake", r#"{"ebbtide":{"mode":"observe","x":1}}"#, observed),
        ("act, beside a mistake", r#"{"ebbtide":{"mode":"act","floor":5}}"#, "at once"),
        ("no object", r#"{"ebbtide":5}"#, "at once"),
    ];
    for (name, metadata, expected) in rows {
        let mut snapshot = signalled_out();
        facts_mut(&mut snapshot).metadata = Some(metadata.to_owned());
        check(name, &snapshot, &act(), expected);
        let decision = decide(&snapshot, &act());
        assert_eq!(decision.report.warnings.len(), 1, "{name}: {:?}", decision.report.warnings);
    }
}

#[test]
fn a_hook_that_could_not_be_read_is_looked_up_again_for_a_while_and_then_judged_by_the_event() {
    let rows = [
        ("one millisecond before", LOOKUP_PATIENCE - millis(1), None, LOOK),
        ("at", LOOKUP_PATIENCE, None, "at once"),
        (
            "after, marked in the event",
            LOOKUP_PATIENCE + millis(1),
            Some(r#"{"ebbtide":{}}"#),
            "at once",
        ),
    ];
    for (name, age, metadata, expected) in rows {
        let mut snapshot = signalled_out();
        snapshot.now = SENT + age;
        snapshot.signals[0].hook = Err(unread());
        hook_mut(&mut snapshot).metadata = metadata.map(str::to_owned);
        check(name, &snapshot, &act(), expected);
    }
    let mut foreign = signalled_out();
    foreign.now = SENT + LOOKUP_PATIENCE;
    foreign.signals[0].hook = Err(unread());
    hook_mut(&mut foreign).hook = id("drain");
    let expected = "ignored: its hook is neither in HOOKS nor marked in its NotificationMetadata";
    check_silent("foreign, as far as the event says", &foreign, &act(), expected);
}

#[test]
fn what_is_gone_is_over_and_what_could_not_be_read_is_looked_at_again() {
    type Change = fn(&mut Snapshot);
    let rows: &[(&str, Change, &str)] = &[
        (
            "the hook is gone, by a list that may be old",
            |snapshot| snapshot.signals[0].hook = Ok(None),
            LOOK,
        ),
        (
            "the hook is gone",
            |snapshot| {
                snapshot.now = SENT + LOOKUP_PATIENCE;
                snapshot.signals[0].hook = Ok(None);
            },
            "over: the Auto Scaling group has no such hook any more",
        ),
        (
            "the group is gone, by a list that may be old",
            |snapshot| snapshot.aws.group = Ok(None),
            LOOK,
        ),
        (
            "the group is gone",
            |snapshot| {
                snapshot.now = SENT + LOOKUP_PATIENCE;
                snapshot.aws.group = Ok(None);
            },
            "over: the Auto Scaling group no longer exists",
        ),
        ("the group could not be read", |snapshot| snapshot.aws.group = Err(unread()), LOOK),
        (
            "the membership could not be read",
            |snapshot| snapshot.aws.membership = Err(unread()),
            LOOK,
        ),
        (
            "answered already",
            |snapshot| {
                snapshot.memory.hooks.insert(token(1).fingerprint(), HookState::Inactive);
            },
            "over: the lifecycle action was answered already",
        ),
    ];
    for (name, change, expected) in rows {
        let mut snapshot = signalled_out();
        change(&mut snapshot);
        check_silent(name, &snapshot, &act(), expected);
    }
}

// ---- Does it still wait? -------------------------------------------------------------------------

#[test]
fn aws_reads_may_lag_behind_its_events_for_a_minute() {
    type Change = fn(&mut Snapshot);
    let changes: &[(&str, Change, &str)] = &[
        (
            "in another group",
            |snapshot| {
                let state = LifecycleState::TerminatingWait;
                snapshot.aws.membership = Ok(Some(Membership { asg: id("others"), state }));
            },
            "over: the instance is in the group no more",
        ),
        (
            "in no group",
            |snapshot| snapshot.aws.membership = Ok(None),
            "over: the instance is in the group no more",
        ),
        (
            "in service",
            |snapshot| {
                let state = LifecycleState::InService;
                snapshot.aws.membership = Ok(Some(Membership { asg: id("workers"), state }));
            },
            "over: its lifecycle state is no longer one that waits",
        ),
    ];
    for (name, change, over) in changes {
        let ages = [
            (EVENT_AHEAD - millis(1), LOOK),
            (EVENT_AHEAD, *over),
            (EVENT_AHEAD + millis(1), *over),
        ];
        for (age, expected) in ages {
            let mut snapshot = signalled_out();
            change(&mut snapshot);
            snapshot.now = SENT + age;
            check_silent(&format!("{name}, {age:?}"), &snapshot, &act(), expected);
        }
    }
}

#[test]
fn only_a_state_that_waits_for_this_transition_on_this_route_lets_a_signal_in() {
    let states = [
        LifecycleState::PendingWait,
        LifecycleState::InService,
        LifecycleState::Terminating,
        LifecycleState::TerminatingWait,
        LifecycleState::WarmedPendingWait,
        LifecycleState::WarmedTerminatingWait,
        LifecycleState::ReplacingRootVolumeWait,
        LifecycleState::Ending("Terminating:Proceed".to_owned()),
        LifecycleState::Other("Standby".to_owned()),
    ];
    let waits = [
        (Terminating, Normal, &["TerminatingWait", "WarmedTerminatingWait"][..]),
        (Terminating, WarmPoolIn, &["WarmedPendingWait", "TerminatingWait"][..]),
        (Terminating, WarmPoolEnd, &["TerminatingWait", "WarmedTerminatingWait"][..]),
        (Terminating, RootVolume, &["ReplacingRootVolumeWait"][..]),
        (Launching, Normal, &["PendingWait", "WarmedPendingWait"][..]),
        (Launching, WarmPoolIn, &["PendingWait", "WarmedPendingWait"][..]),
        (Launching, WarmPoolOut, &["PendingWait", "WarmedPendingWait"][..]),
        (Launching, RootVolume, &["ReplacingRootVolumeWait"][..]),
    ];
    for (transition, route, waiting) in waits {
        for state in &states {
            let mut snapshot = signalled(transition, route);
            snapshot.aws.membership =
                Ok(Some(Membership { asg: id("workers"), state: state.clone() }));
            // Past the lag, so that a signal is either over or ours; proven, so that it goes on.
            snapshot.now = SENT + EVENT_AHEAD;
            proven(&mut snapshot);
            let over = matches!(
                decide(&snapshot, &act()).answers[0].next,
                Next::Finished(Ending::Over(_))
            );
            let waits = waiting.contains(&format!("{state:?}").as_str());
            assert_eq!(!over, waits, "{transition:?} {route:?} in {state:?}");
        }
    }
}

#[test]
fn a_way_that_brings_the_instance_back_needs_a_heartbeat_that_aws_took_lately() {
    let first = [(Terminating, WarmPoolIn), (Terminating, WarmPoolEnd), (Terminating, RootVolume)];
    for (transition, route) in first {
        let snapshot = signalled(transition, route);
        let decision = decide(&snapshot, &act());
        assert_eq!(
            steps(&decision),
            ["heartbeat of hook ebbtide-terminate"],
            "{route:?}: asks before it writes"
        );
        check(&format!("{route:?}"), &snapshot, &act(), "at once");
    }
    let ages = [
        ("one millisecond before", PROOF_LASTS - millis(1), true),
        ("at", PROOF_LASTS, true),
        ("one millisecond after", PROOF_LASTS + millis(1), false),
    ];
    for (name, age, proves) in ages {
        let mut snapshot = signalled(Terminating, RootVolume);
        let beat = HookState::Active(snapshot.now - age);
        snapshot.memory.hooks.insert(token(1).fingerprint(), beat);
        let cordons =
            steps(&decide(&snapshot, &act())).iter().any(|step| step.starts_with("cordon"));
        assert_eq!(cordons, proves, "{name}");
    }
}

#[test]
fn the_normal_way_needs_no_proof() {
    let decision = decide(&signalled_out(), &act());
    assert_eq!(steps(&decision), ["cordon node ip-10-0-3-1.ec2.internal", "Event Departing"]);
}

#[test]
fn each_route_has_a_state_that_waits() {
    for route in [Normal, WarmPoolIn, WarmPoolEnd, RootVolume] {
        let state = state_of(Terminating, route);
        assert!(format!("{state:?}").ends_with("Wait"), "{route:?}: {state:?}");
    }
}

// ---- Modes ---------------------------------------------------------------------------------------

#[test]
fn a_pause_leaves_hooks_waiting_or_lets_aws_go_on() {
    let leave = policy(&[("MODE", "paused")]);
    let go_on = policy(&[("MODE", "paused"), ("PAUSED_HOOKS", "continue")]);
    check_silent("leave", &signalled_out(), &leave, "again in 300000 ms");
    check_silent("continue, departure", &signalled_out(), &go_on, "continue");
    check_silent("continue, arrival", &signalled_in(), &go_on, "continue");
    assert_eq!(why(&decide(&signalled_out(), &go_on)), "paused, PAUSED_HOOKS=continue");

    let mut foreign = signalled_out();
    foreign.aws.group = Ok(Some(Asg { tags: labels(&[]), ..asg() }));
    let expected =
        "ignored: its Auto Scaling group is neither in ASGS nor tagged ebbtide.dev/managed";
    check_silent("a foreign hook is not answered either", &foreign, &go_on, expected);
}

#[test]
fn one_hook_can_be_paused_by_its_metadata() {
    let mut snapshot = signalled_out();
    facts_mut(&mut snapshot).metadata = Some(r#"{"ebbtide":{"mode":"paused"}}"#.to_owned());
    check_silent("paused by its hook", &snapshot, &act(), "again in 300000 ms");
}

#[test]
fn observe_writes_nothing_and_says_what_it_would_do() {
    let observe = policy(&[("MODE", "observe")]);
    check_silent("departure", &signalled_out(), &observe, "observed, nothing written");
    let report = decide(&signalled_out(), &observe).report;
    let drained = "answer hook ebbtide-terminate with CONTINUE: drained: pods, registrations and volumes are gone";
    assert_eq!(report.would, ["cordon node ip-10-0-3-1.ec2.internal", drained], "it is empty");

    check_silent("arrival", &signalled_in(), &observe, "observed, nothing written");
    let mut unproven = signalled(Terminating, RootVolume);
    unproven.now = after(30);
    check_silent("no heartbeat either", &unproven, &observe, "observed, nothing written");
}

#[test]
fn a_departure_that_would_be_answered_without_a_drain_says_so_while_it_is_observed() {
    let rows = [
        (ClusterView::Unnamed, "no tag, hook or setting names a cluster for the instance"),
        (ClusterView::Deleted(crate::world::id("prod")), "EKS knows no cluster prod"),
    ];
    for (cluster, why) in rows {
        let snapshot = Snapshot { cluster, ..signalled_out() };
        let warning = format!("nothing is drained: {why}");
        let observed = decide(&snapshot, &policy(&[("MODE", "observe")])).report;
        let answer = format!("answer hook ebbtide-terminate with CONTINUE: {why}");
        assert_eq!((observed.would, observed.warnings), (vec![answer], vec![warning.clone()]));
        assert_eq!(decide(&snapshot, &act()).report.warnings, [warning]);
    }
}

#[test]
fn a_hook_can_be_observed_while_the_rest_acts_and_the_other_way_round() {
    let mut snapshot = departing();
    facts_mut(&mut snapshot).metadata = Some(r#"{"ebbtide":{"mode":"observe"}}"#.to_owned());
    check_silent("observed by its hook", &snapshot, &act(), "observed, nothing written");
    facts_mut(&mut snapshot).metadata = Some(r#"{"ebbtide":{"mode":"act"}}"#.to_owned());
    check("acted by its hook", &snapshot, &policy(&[("MODE", "observe")]), "continue");
}

// ---- What can never work -------------------------------------------------------------------------

#[test]
fn a_message_is_given_up_before_the_queue_does_it_silently() {
    let rows = [(RECEIVES_MAX - 1, "at once"), (RECEIVES_MAX, "reject, answers 1")];
    for (receives, expected) in rows {
        let mut snapshot = signalled_out();
        snapshot.signals[0].receives = receives;
        check(&format!("{receives}"), &snapshot, &act(), expected);
    }
    let mut done = departing();
    done.signals[0].receives = RECEIVES_MAX;
    check("an answer is an answer", &done, &act(), "continue");
}

#[test]
fn a_panic_comes_back_once_and_is_answered_the_second_time() {
    let snapshot = signalled_out();
    let postponed = decision::decide::postpone(&snapshot);
    assert!(
        matches!(postponed.answers[0].next, Next::ComeBack { at } if at > snapshot.now),
        "{postponed:?}"
    );
    assert_eq!(steps(&postponed), [""; 0]);

    let abandoned = decision::decide::abandon(&snapshot, &act(), "decided twice");
    assert_eq!(answer(&abandoned, snapshot.now), "reject, answers 1");
    let observe = policy(&[("MODE", "observe")]);
    let observed = decision::decide::abandon(&snapshot, &observe, "decided twice");
    assert_eq!(answer(&observed, snapshot.now), "reject, answers 0", "observe answers no hook");

    let mut by_hook = signalled_out();
    facts_mut(&mut by_hook).metadata = Some(r#"{"ebbtide":{"mode":"observe"}}"#.to_owned());
    let observed = decision::decide::abandon(&by_hook, &act(), "decided twice");
    assert_eq!(
        answer(&observed, snapshot.now),
        "reject, answers 0",
        "nor when only its hook says observe"
    );
}

#[test]
fn an_unnamed_cluster_is_no_reason_to_hold_a_hook() {
    let mut snapshot = signalled_out();
    snapshot.aws.instance = Ok(Some(ec2()));
    snapshot.cluster = ClusterView::Unnamed;
    check("departure", &snapshot, &act(), "continue");
    let mut snapshot = signalled_in();
    snapshot.cluster = ClusterView::Unnamed;
    check("arrival", &snapshot, &act(), "continue");
}

#[test]
fn each_hook_has_its_own_mode_in_either_order() {
    let mut watched = signalled_out();
    let mut second = watched.signals[0].clone();
    second.message = "second".to_owned();
    watched.signals.push(second);
    for (observed, acting) in [(0, 1), (1, 0)] {
        for configured in ["act", "observe"] {
            let mut snapshot = watched.clone();
            let metadata = |mode: &str| Some(format!(r#"{{"ebbtide":{{"mode":"{mode}"}}}}"#));
            for (index, mode) in [(observed, "observe"), (acting, "act")] {
                if let Ok(Some(facts)) = &mut snapshot.signals[index].hook {
                    facts.metadata = metadata(mode);
                }
            }
            let decision = decide(&snapshot, &policy(&[("MODE", configured)]));
            let is_observed =
                |index: usize| decision.answers[index].next == Next::Finished(Ending::Observed);
            assert!(is_observed(observed), "{configured}: {:?}", decision.answers);
            assert!(!is_observed(acting), "{configured}: {:?}", decision.answers);
            assert!(
                !decision.steps.is_empty(),
                "{configured}: the acting hook's departure goes on"
            );
        }
    }
}
