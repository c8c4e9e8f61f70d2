//! Is it ours, is it still true, and what does the policy make of it?

use super::{
    CORDON, DEPARTING, KINDS, check, closed, interrupted, rebalance, seen, shown, state,
    two_minutes, unread, usual,
};
use crate::world::{
    SENT, act, after, answer, answers, asg, ec2, id, labels, millis, policy, secs, steps,
    terminate_hook,
};
use decision::decide::decide;
use decision::limits::{EVENT_AHEAD, LOOKUP_PATIENCE, RECEIVES_MAX};
use decision::looks;
use decision::policy::Policy;
use decision::report::Stage;
use decision::signal::{Interruption, Transition};
use decision::snapshot::Snapshot;
use decision::snapshot::aws::{Asg, Hook, Instance, InstanceState};

#[test]
fn what_is_not_ours_is_ignored_with_its_reason_whatever_the_kind() {
    const NOBODYS: &str =
        "ignored: its Auto Scaling group is neither in ASGS nor tagged ebbtide.dev/managed";
    type Change = fn(&mut Snapshot);
    let rows: &[(&str, Change, &str)] = &[
        (
            "an instance without the group's tag",
            |snapshot| snapshot.aws.instance = Ok(Some(Instance { tags: labels(&[]), ..ec2() })),
            "ignored: its instance is in no Auto Scaling group",
        ),
        (
            "a group that is not tagged",
            |snapshot| snapshot.aws.group = Ok(Some(Asg { tags: labels(&[]), ..asg() })),
            NOBODYS,
        ),
        (
            "a group that is tagged false",
            |snapshot| {
                let tags = labels(&[("ebbtide.dev/managed", "false")]);
                snapshot.aws.group = Ok(Some(Asg { tags, ..asg() }));
            },
            NOBODYS,
        ),
        (
            "a managed node group",
            |snapshot| {
                let tags = [("ebbtide.dev/managed", "true"), ("eks:nodegroup-name", "ng")];
                snapshot.aws.group = Ok(Some(Asg { tags: labels(&tags), ..asg() }));
            },
            "ignored: a managed node group, which EKS drains itself",
        ),
        (
            "Karpenter",
            |snapshot| {
                let tags = [("ebbtide.dev/managed", "true"), ("karpenter.sh/nodepool", "x")];
                snapshot.aws.group = Ok(Some(Asg { tags: labels(&tags), ..asg() }));
            },
            "ignored: Karpenter's, which drains it itself",
        ),
    ];
    for (name, change, expected) in rows {
        for kind in KINDS {
            let mut snapshot = interrupted((kind.said)());
            change(&mut snapshot);
            let name = format!("{}, {name}", kind.name);
            check(&name, &snapshot, &act(), (&[], expected));
            assert!(!looks::wants_instance(&snapshot, &act()), "{name}: no more reads");
        }
    }
}

#[test]
fn what_aws_does_not_show_is_looked_up_again_for_a_while() {
    type Change = fn(&mut Snapshot);
    let rows: &[(&str, Change, std::time::Duration, &str)] = &[
        (
            "the instance",
            |snapshot| snapshot.aws.instance = Ok(None),
            EVENT_AHEAD,
            "over: EC2 knows no such instance",
        ),
        (
            "the group",
            |snapshot| snapshot.aws.group = Ok(None),
            LOOKUP_PATIENCE,
            "over: the Auto Scaling group no longer exists",
        ),
    ];
    for (name, change, patience, expected) in rows {
        let mut snapshot = interrupted(two_minutes());
        change(&mut snapshot);
        snapshot.now = SENT + *patience - millis(1);
        check(name, &snapshot, &act(), (&[], &usual(snapshot.now)));
        snapshot.now = SENT + *patience;
        check(name, &snapshot, &act(), (&[], expected));
    }
    let unreadable: &[(&str, Change)] = &[
        ("the instance", |snapshot| snapshot.aws.instance = Err(unread())),
        ("the group", |snapshot| snapshot.aws.group = Err(unread())),
        ("the hooks: they may say observe", |snapshot| snapshot.aws.hooks = Err(unread())),
    ];
    for (name, change) in unreadable {
        let mut snapshot = interrupted(two_minutes());
        change(&mut snapshot);
        snapshot.now = after(600);
        check(name, &snapshot, &act(), (&[], &usual(snapshot.now)));
    }
}

#[test]
fn a_signal_of_an_earlier_life_changes_nothing() {
    for kind in KINDS {
        for (launched_at, is_over) in
            [(SENT - millis(1), false), (SENT, false), (SENT + millis(1), true)]
        {
            let mut snapshot = interrupted((kind.said)());
            snapshot.aws.instance = Ok(Some(Instance { launched_at: Some(launched_at), ..ec2() }));
            let decision = decide(&snapshot, &act());
            let over = "over: it was sent before the instance last started";
            let name = format!("{}, launched at {launched_at}", kind.name);
            assert_eq!(answer(&decision, snapshot.now) == over, is_over, "{name}");
            assert_eq!(steps(&decision).is_empty(), is_over, "{name}");
        }
    }
    // A start is what these tell of, or they only take back.
    for said in [state(InstanceState::Running), closed()] {
        let mut snapshot = interrupted(said);
        let launched_at = Some(after(1));
        snapshot.aws.instance = Ok(Some(Instance { launched_at, ..ec2() }));
        assert!(answer(&decide(&snapshot, &act()), snapshot.now).starts_with("done: "));
    }
}

#[test]
fn a_state_that_ec2_does_not_show_counts_for_a_minute() {
    for said in [InstanceState::Stopping, InstanceState::ShuttingDown, InstanceState::Stopped] {
        let mut snapshot = interrupted(state(said));
        snapshot.now = SENT + EVENT_AHEAD - millis(1);
        check("EC2 may be behind", &snapshot, &act(), (&[CORDON, DEPARTING], "at once"));
        snapshot.now = SENT + EVENT_AHEAD;
        let over = "over: the instance runs, whatever state was announced";
        check("it is not", &snapshot, &act(), (&[], over));
        shown(&mut snapshot, InstanceState::ShuttingDown);
        let goes = steps(&decide(&snapshot, &act()));
        assert_eq!(goes, [CORDON, DEPARTING], "unless EC2 shows that it goes down");
    }
}

fn with_hook(metadata: &str, change: impl FnOnce(&mut Hook)) -> Snapshot {
    let mut hook = Hook { metadata: Some(metadata.to_owned()), ..terminate_hook() };
    change(&mut hook);
    let mut snapshot = interrupted(two_minutes());
    snapshot.aws.hooks = Ok(vec![hook]);
    snapshot
}

#[test]
fn what_is_observed_is_reported_and_nothing_is_written() {
    let observe = r#"{"ebbtide":{"mode":"observe"}}"#;
    let observed = "observed, nothing written";
    for kind in KINDS {
        let snapshot = interrupted((kind.said)());
        let configured = policy(&[("MODE", "observe")]);
        check(kind.name, &snapshot, &configured, (&[], observed));
        let would = decide(&snapshot, &configured).report.would;
        assert_eq!(would.first().map(String::as_str), Some(CORDON), "{}: {would:?}", kind.name);
    }
    check("by the terminate hook", &with_hook(observe, |_| {}), &act(), (&[], observed));
    let acts = (&[CORDON, DEPARTING][..], "at once");
    let launching = |hook: &mut Hook| hook.transition = Transition::Launching;
    check("a launch hook says nothing of it", &with_hook(observe, launching), &act(), acts);
    let act_anyway = r#"{"ebbtide":{"mode":"act"}}"#;
    let observing = policy(&[("MODE", "observe")]);
    check("the hook says act", &with_hook(act_anyway, |_| {}), &observing, acts);
}

#[test]
fn of_several_terminate_hooks_the_first_of_ours_speaks_for_the_group() {
    let hook = |name: &str, metadata: Option<&str>| Hook {
        name: id(name),
        metadata: metadata.map(str::to_owned),
        ..terminate_hook()
    };
    let observe = Some(r#"{"ebbtide":{"mode":"observe"}}"#);
    let rows = [
        ("another tool's is not asked", vec![hook("a", Some("{}")), hook("b", observe)], true),
        (
            "the first by name",
            vec![hook("b", observe), hook("a", Some(r#"{"ebbtide":true}"#))],
            false,
        ),
        ("none", Vec::new(), false),
    ];
    for (name, hooks, is_observed) in rows {
        let mut snapshot = interrupted(two_minutes());
        snapshot.aws.hooks = Ok(hooks);
        assert_eq!(steps(&decide(&snapshot, &act())).is_empty(), is_observed, "{name}");
    }
}

#[test]
fn mistakes_in_the_hooks_metadata_are_told_and_not_applied() {
    let snapshot = with_hook(r#"{"ebbtide":{"spot_warning":"observe"}}"#, |_| {});
    let decision = decide(&snapshot, &act());
    assert_eq!(steps(&decision), [CORDON, DEPARTING]);
    assert_eq!(
        decision.report.warnings,
        [
            "NotificationMetadata, spot_warning: `observe`, expected ignore or cordon or drain; not applied"
        ]
    );
}

#[test]
fn a_pause_lets_interruptions_pass() {
    for kind in KINDS {
        let paused = policy(&[("MODE", "paused")]);
        check(kind.name, &interrupted((kind.said)()), &paused, (&[], "ignored: paused"));
    }
    let by_hook = with_hook(r#"{"ebbtide":{"mode":"paused"}}"#, |_| {});
    check("by the terminate hook", &by_hook, &act(), (&[], "ignored: paused"));
}

/// The policy in which every kind has this reaction.
fn all(reaction: &str) -> Policy {
    policy(&[
        ("SPOT_WARNING", reaction),
        ("REBALANCE", reaction),
        ("CAPACITY_RESERVATION", reaction),
        ("MAINTENANCE", reaction),
        ("STATE_CHANGE", reaction),
    ])
}

#[test]
fn each_kind_is_ignored_cordoned_or_drained_as_the_policy_says() {
    for kind in KINDS {
        let said: Interruption = (kind.said)();
        let ignored = format!("ignored: {}: the policy ignores it", said.cause.label());
        let fresh = interrupted(said.clone());
        check(kind.name, &fresh, &all("ignore"), (&[], &ignored));
        for reaction in ["cordon", "drain"] {
            let name = format!("{}, {reaction}", kind.name);
            check(&name, &fresh, &all(reaction), (&[CORDON, DEPARTING], "at once"));
        }
        let mut marked = super::leaving(said);
        crate::world::view_mut(&mut marked).pods = Ok(vec![crate::world::pod("web-1")]);
        let marked = Snapshot { now: after(5), ..marked };
        let cordoned = decide(&marked, &all("cordon"));
        assert_eq!(steps(&cordoned), [""; 0], "{}: no more than the cordon", kind.name);
        let drained = decide(&marked, &all("drain"));
        let pods = steps(&drained).iter().any(|step| step.contains("shop/web-1"));
        assert!(pods, "{}: {:?}", kind.name, steps(&drained));
    }
}

#[test]
fn a_cordon_is_all_that_is_asked_for_and_then_the_message_is_done() {
    for kind in KINDS {
        let said: Interruption = (kind.said)();
        let is_recommendation = said == rebalance();
        let snapshot = super::leaving(said);
        let decision = decide(&snapshot, &all("cordon"));
        if is_recommendation {
            assert_eq!(decision.report.stage, Stage::Recommended(after(3_600)));
            assert_eq!(answer(&decision, snapshot.now), "again in 3590000 ms", "{}", kind.name);
        } else {
            assert_eq!(decision.report.stage, Stage::Cordoned, "{}", kind.name);
            let done = "done: cordoned; the policy asks for no more";
            assert_eq!(answer(&decision, snapshot.now), done, "{}", kind.name);
        }
    }
}

#[test]
fn a_hook_may_override_what_an_interruption_of_its_group_leads_to() {
    let snapshot = with_hook(r#"{"ebbtide":{"spot_warning":"ignore"}}"#, |_| {});
    check("ignore", &snapshot, &act(), (&[], "ignored: spot: the policy ignores it"));
}

#[test]
fn a_message_that_was_received_too_often_is_rejected_without_an_answer() {
    let mut snapshot = interrupted(two_minutes());
    snapshot.signals[0].receives = RECEIVES_MAX;
    assert_eq!(answer(&decide(&snapshot, &act()), snapshot.now), "reject, answers 0");
    snapshot.signals[0].receives = RECEIVES_MAX - 1;
    assert_eq!(answer(&decide(&snapshot, &act()), snapshot.now), "at once");
}

#[test]
fn the_lifecycle_state_is_no_matter_to_an_interruption() {
    for membership in [Ok(None), Err(unread())] {
        let mut snapshot = interrupted(two_minutes());
        snapshot.aws.membership = membership;
        check("its own tag names the group", &snapshot, &act(), (&[CORDON, DEPARTING], "at once"));
    }
}

#[test]
fn each_message_of_a_batch_gets_its_own_word() {
    let mut snapshot = interrupted(two_minutes());
    let mut old = seen(rebalance());
    old.sent_at = SENT - secs(86_401);
    old.signal.sent_at = Some(old.sent_at);
    snapshot.signals.push(old);
    let decision = decide(&snapshot, &act());
    assert_eq!(
        answers(&decision, snapshot.now),
        ["at once", "over: it was sent before the instance last started"]
    );
}
