//! A rebalance recommendation: a cordon for a while, taken back exactly when nothing followed, and never a load balancer.

use super::{
    CORDON, DEPARTING, RECORD, UNDO, check, interrupted, leaving, marked, part, rebalance,
    recorded, shown, two_minutes,
};
use crate::story::perform;
use crate::world::{
    SENT, act, after, answer, arn, cordoned, healthy, millis, node, node_mut, patch, patched, pod,
    policy, record, service, steps, taint, terminate_hook, view_mut, web, withdrawn, written,
};
use decision::annotation::{DEPARTURE, Departure, TAINT};
use decision::decide::decide;
use decision::decision::Next;
use decision::looks;
use decision::report::Stage;
use decision::snapshot::Snapshot;
use decision::snapshot::aws::{Hook, InstanceState};
use decision::snapshot::cluster::{Node, TrafficPolicy};
use decision::step::Step;

/// When it lapses by default.
const LAPSES: u64 = 3_600;

/// A node with all that a departure would take care of.
fn full(mut snapshot: Snapshot) -> Snapshot {
    let view = view_mut(&mut snapshot);
    view.pods = Ok(vec![pod("web-1"), pod("api-1")]);
    view.services = Ok(vec![service("web", TrafficPolicy::Local, &[("web-1", 1)])]);
    snapshot.aws.target_groups = Ok(vec![web(healthy(1..=4))]);
    snapshot
}

#[test]
fn it_cordons_and_does_nothing_else_until_it_lapses() {
    let fresh = full(interrupted(rebalance()));
    check("first", &fresh, &act(), (&[CORDON, DEPARTING], "at once"));
    for (name, now) in [("second", 3), ("a minute on", 60), ("an hour on", LAPSES - 1)] {
        let mut snapshot = full(leaving(rebalance()));
        snapshot.now = after(now);
        let again = format!("again in {} ms", (LAPSES - now) * 1_000);
        check(name, &snapshot, &act(), (&[], &again));
        assert_eq!(decide(&snapshot, &act()).report.stage, Stage::Recommended(after(LAPSES)));
    }
}

#[test]
fn a_cordon_that_failed_is_tried_again_at_once() {
    // Another writer came first: the node is as it was, and the message must not sleep for an hour.
    let mut snapshot = interrupted(rebalance());
    snapshot.now = after(9);
    check("the same again", &snapshot, &act(), (&[CORDON, DEPARTING], "at once"));
    let mut unfenced = leaving(rebalance());
    node_mut(&mut unfenced).unschedulable = false;
    check("somebody took it back", &unfenced, &act(), (&[CORDON], "at once"));
}

#[test]
fn it_reads_neither_pods_nor_load_balancers() {
    let policy = policy(&[("TARGET_GROUPS", arn("web").as_str())]);
    for snapshot in [full(interrupted(rebalance())), full(leaving(rebalance()))] {
        let view = view_mut(&mut snapshot.clone()).clone();
        assert!(looks::target_groups(&snapshot, &policy).is_empty());
        assert!(!looks::begins(&snapshot, &policy), "nothing is read ahead");
        assert!(!looks::pods(&snapshot, &view, &policy));
        assert!(!looks::peers(&snapshot, &view, &policy));
    }
}

// ---- The lapse -----------------------------------------------------------------------------------

#[test]
fn it_is_taken_back_when_nothing_followed() {
    let mut snapshot = full(leaving(rebalance()));
    snapshot.now = after(LAPSES) - millis(1);
    check("one millisecond before", &snapshot, &act(), (&[], "again in 1 ms"));
    snapshot.now = after(LAPSES);
    check("at", &snapshot, &act(), (&[UNDO], "at once"));
    *node_mut(&mut snapshot) = node();
    let done = "done: nothing followed; the cordon is taken back";
    check("it is", &snapshot, &act(), (&[], done));
}

#[test]
fn exactly_what_we_changed_goes_back() {
    let foreign = |unschedulable, taints: &[&str]| Node {
        unschedulable,
        taints: taints.iter().map(|key| taint(key)).collect(),
        ..node()
    };
    let rows = [
        ("a plain node", foreign(false, &[])),
        ("somebody else's cordon", foreign(true, &["node.kubernetes.io/unschedulable"])),
        (
            "somebody else's taints",
            foreign(false, &["dedicated", "ToBeDeletedByClusterAutoscaler"]),
        ),
    ];
    for (name, before) in rows {
        let mut snapshot = interrupted(rebalance());
        *node_mut(&mut snapshot) = before.clone();
        let cordon = decide(&snapshot, &act());
        *node_mut(&mut snapshot) = patched(before.clone(), patch(&cordon));
        snapshot.now = after(LAPSES);
        let undone = patched(node_mut(&mut snapshot).clone(), patch(&decide(&snapshot, &act())));
        let expected = Node { resource_version: undone.resource_version.clone(), ..before };
        assert_eq!(undone, expected, "{name}");
    }
}

#[test]
fn what_another_signal_asked_for_stays() {
    let mut both = recorded(&rebalance());
    both.because.push(part(&two_minutes()));
    let mut hooked = recorded(&rebalance());
    hooked.because.extend(record(1).because);
    for (name, own) in [("a Spot warning", both), ("a hook", hooked)] {
        let mut snapshot = leaving(rebalance());
        marked(&mut snapshot, &own);
        snapshot.now = after(LAPSES);
        check(name, &snapshot, &act(), (&[RECORD], "at once"));
        let rest = written(patch(&decide(&snapshot, &act())));
        assert_eq!(rest, Departure { because: own.because[1..].to_vec(), ..own }, "{name}");
        let node = patched(node_mut(&mut snapshot).clone(), patch(&decide(&snapshot, &act())));
        assert!(node.unschedulable && node.taints == [taint(TAINT)], "{name}: still cordoned");
        *node_mut(&mut snapshot) = node;
        let done = "done: something followed, which has its own course";
        check(name, &snapshot, &act(), (&[], done));
    }
}

#[test]
fn a_node_that_was_withdrawn_meanwhile_is_not_uncordoned() {
    let own = withdrawn(recorded(&rebalance()), "web", after(60));
    let mut snapshot = leaving(rebalance());
    marked(&mut snapshot, &own);
    snapshot.now = after(LAPSES);
    check("its target is out", &snapshot, &act(), (&[RECORD], "at once"));
    let rest = written(patch(&decide(&snapshot, &act())));
    assert_eq!((rest.because.len(), rest.withdrawn), (0, own.withdrawn));
}

#[test]
fn how_long_it_lasts_is_the_policys_to_say() {
    let brief = policy(&[("REBALANCE_HOLD", "10m")]);
    let mut snapshot = leaving(rebalance());
    snapshot.now = after(599);
    check("before", &snapshot, &brief, (&[], "again in 1000 ms"));
    snapshot.now = after(600);
    check("at", &snapshot, &brief, (&[UNDO], "at once"));
    let metadata = Some(r#"{"ebbtide":{"rebalance_hold":"20m"}}"#.to_owned());
    snapshot.aws.hooks = Ok(vec![Hook { metadata, ..terminate_hook() }]);
    check("the group's hook says more", &snapshot, &brief, (&[], "again in 600000 ms"));
    let never = policy(&[("REBALANCE_HOLD", "0s")]);
    let done = "done: nothing followed; the cordon is taken back";
    check("no time at all", &interrupted(rebalance()), &never, (&[], done));
}

#[test]
fn a_late_recommendation_has_lapsed_when_it_comes() {
    let mut snapshot = full(interrupted(rebalance()));
    snapshot.now = after(LAPSES + 600);
    let done = "done: nothing followed; the cordon is taken back";
    check("the queue was stopped for an hour", &snapshot, &act(), (&[], done));
}

#[test]
fn a_reboot_takes_no_cordon_off_so_its_record_of_an_earlier_boot_counts() {
    let mut snapshot = leaving(rebalance());
    snapshot.now = after(LAPSES);
    let earlier = Departure { boot: Some(crate::world::id("boot-0")), ..recorded(&rebalance()) };
    *node_mut(&mut snapshot) = cordoned(node(), &earlier);
    assert_eq!(steps(&decide(&snapshot, &act())), [UNDO]);
}

// ---- REBALANCE=drain -----------------------------------------------------------------------------

#[test]
fn even_drained_it_never_touches_a_load_balancer() {
    let drain = policy(&[("REBALANCE", "drain"), ("TARGET_GROUPS", arn("web").as_str())]);
    let mut snapshot = full(interrupted(rebalance()));
    let (mut told, mut turns) = (Vec::new(), 0);
    let ended = loop {
        let decision = decide(&snapshot, &drain);
        for step in &decision.steps {
            let touches = matches!(step, Step::Deregister(_) | Step::Register(_));
            assert!(!touches, "{step} at {}", snapshot.now);
            told.push((snapshot.now.since(SENT).as_secs(), step.to_string()));
        }
        perform(&mut snapshot, &decision);
        match decision.answers[0].next {
            Next::ComeBack { at } => snapshot.now = at.max(snapshot.now + millis(100)),
            ref end => break format!("{end:?}"),
        }
        let now = snapshot.now;
        if let Ok(pods) = &mut view_mut(&mut snapshot).pods {
            pods.retain(|pod| pod.deletion.is_none_or(|deletion| deletion.ends_at > now));
        }
        turns += 1;
        assert!(turns < 1_000, "it never ends: {told:?}");
    };
    let told: Vec<_> = told.iter().map(|(at, step)| (*at, step.as_str())).collect();
    let expected = [(2, CORDON), (2, DEPARTING), (2, "evict shop/api-1"), (LAPSES, UNDO)];
    assert_eq!(told, expected, "what serves behind its target stays");
    assert!(ended.contains("nothing followed"), "{ended}");
    assert!(!node_mut(&mut snapshot).annotations.contains_key(DEPARTURE));
}

#[test]
fn a_drained_node_waits_for_what_may_follow() {
    let drain = policy(&[("REBALANCE", "drain")]);
    let mut snapshot = leaving(rebalance());
    snapshot.aws.target_groups = Ok(vec![web(healthy(1..=4))]);
    check("empty, and still in", &snapshot, &drain, (&[], "again in 3590000 ms"));
    snapshot.now = after(LAPSES);
    check("taken back", &snapshot, &drain, (&[UNDO], "at once"));
}

#[test]
fn an_instance_that_is_gone_leaves_its_ghost_to_whoever_takes_it_out() {
    for reaction in ["cordon", "drain"] {
        let policy = policy(&[("REBALANCE", reaction), ("OUT_OF_SERVICE", "on")]);
        let mut snapshot = full(leaving(rebalance()));
        snapshot.now = after(LAPSES);
        shown(&mut snapshot, InstanceState::Terminated);
        let done = "done: the instance runs no more";
        check(reaction, &snapshot, &policy, (&[], done));
        assert_eq!(answer(&decide(&snapshot, &policy), snapshot.now), done);
    }
}
