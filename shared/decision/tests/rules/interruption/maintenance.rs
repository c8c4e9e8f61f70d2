//! Scheduled changes: announced, acted on in time, called off.

use super::{
    CORDON, DEPARTING, DEREGISTER, EVENT, RECORD, UNDO, check, closed, interrupted, leaving,
    maintenance, marked, part, recorded, seen, shown, two_minutes, unread, usual,
};
use crate::world::{
    absent, act, after, answer, arn, cordoned, healthy, id, instance, millis, node, node_mut,
    patch, patched, pod, policy, record, secs, steps, taint, target_id, view_mut, web, withdrawn,
    written,
};
use decision::annotation::{DEPARTURE, Departure, TAINT};
use decision::decide::decide;
use decision::limits::{HIDE_MAX, LOOKUP_PATIENCE};
use decision::looks::{self, ClusterLook};
use decision::report::Stage;
use decision::signal::{Cause, Due, Interruption, SignalKind, Urgency};
use decision::snapshot::Snapshot;
use decision::snapshot::aws::{InstanceState, RegistrationOwner};
use decision::snapshot::cluster::Node;
use decision::step::Step;
use decision::time::Timestamp;

const TOLD: &str = "Event DepartureAnnounced";

/// A reboot, announced for this instant.
fn at_start(start: Timestamp) -> Interruption {
    maintenance(Urgency::AtStart, Due::At(start))
}

/// Half an hour ahead: its lead of an hour has begun.
fn due() -> Interruption {
    at_start(after(1_800))
}

// ---- Announced -----------------------------------------------------------------------------------

#[test]
fn what_is_announced_is_told_once_and_waits_for_its_lead() {
    let mut snapshot = interrupted(at_start(after(7_200)));
    view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
    snapshot.aws.target_groups = Ok(vec![web(healthy(1..=4))]);
    check("the first time", &snapshot, &act(), (&[TOLD], "again in 3598000 ms"));
    let decision = decide(&snapshot, &act());
    assert_eq!(decision.report.stage, Stage::Announced(after(3_600)));
    let [Step::Note(note)] = decision.steps.as_slice() else { panic!("an Event") };
    assert!(
        !note.warning && note.text.contains("AWS_EC2_INSTANCE_STOP_SCHEDULED"),
        "{}",
        note.text
    );
    snapshot.signals[0].receives = 2;
    check("received again", &snapshot, &act(), (&[], "again in 3598000 ms"));
    snapshot.now = after(3_600) - millis(1);
    check("one millisecond before the lead", &snapshot, &act(), (&[], "again in 1 ms"));
    snapshot.now = after(3_600);
    check("the lead", &snapshot, &act(), (&[CORDON, DEPARTING], "at once"));
}

#[test]
fn what_is_due_later_than_a_queue_can_keep_it_is_left_to_the_sweep() {
    let lead = crate::world::secs(3_600);
    let mut snapshot = interrupted(at_start(after(2) + HIDE_MAX + lead));
    check("just kept", &snapshot, &act(), (&[TOLD], "again in 39600000 ms"));
    snapshot.signals = vec![seen(at_start(after(2) + HIDE_MAX + lead + millis(1)))];
    let later = "due at 2026-11-22T20:30:02.001Z, too late to be kept in the queue";
    check("one millisecond later", &snapshot, &act(), (&[TOLD], later));
}

#[test]
fn an_announcement_asks_its_cluster_only_once_and_reads_nothing_else() {
    let policy = policy(&[("TARGET_GROUPS", arn("web").as_str())]);
    let mut snapshot = interrupted(at_start(after(7_200)));
    assert_eq!(looks::cluster(&snapshot, &policy), ClusterLook::Ask(id("prod")));
    assert!(looks::target_groups(&snapshot, &policy).is_empty());
    assert!(!looks::wants_schedule(&snapshot, &policy), "not before it is due");
    snapshot.signals[0].receives = 2;
    assert_eq!(looks::cluster(&snapshot, &policy), ClusterLook::No);
}

#[test]
fn an_announcement_without_a_node_is_only_reported() {
    for cluster in [absent(), crate::world::unreachable()] {
        let mut snapshot = interrupted(at_start(after(7_200)));
        snapshot.cluster = cluster;
        check("nobody to tell", &snapshot, &act(), (&[], "again in 3598000 ms"));
    }
    let mut observed = interrupted(at_start(after(7_200)));
    observed.signals[0].receives = 1;
    let decision = decide(&observed, &policy(&[("MODE", "observe")]));
    assert_eq!((steps(&decision), decision.report.would.len()), (Vec::new(), 1));
    assert_eq!(answer(&decision, observed.now), "observed, nothing written");
}

#[test]
fn the_lead_is_the_policys_to_say() {
    let snapshot = interrupted(at_start(after(7_200)));
    let rows =
        [("2h", &[CORDON, DEPARTING][..], "at once"), ("10m", &[TOLD], "again in 6598000 ms")];
    for (lead, expected, next) in rows {
        check(lead, &snapshot, &policy(&[("MAINTENANCE_LEAD", lead)]), (expected, next));
    }
}

// ---- Due -----------------------------------------------------------------------------------------

#[test]
fn failing_hardware_is_left_at_once_whatever_its_time() {
    let days = Due::At(after(7 * 86_400));
    for due in [days, Due::At(after(0)), Due::Unknown] {
        let mut snapshot = interrupted(maintenance(Urgency::AtOnce, due));
        snapshot.aws.is_scheduled = Err(unread());
        check("at once", &snapshot, &act(), (&[CORDON, DEPARTING], "at once"));
        // One with a time of its own may have been called off since.
        assert_eq!(looks::wants_schedule(&snapshot, &act()), due != Due::Unknown);
    }
    let mut snapshot = leaving(maintenance(Urgency::AtOnce, days));
    view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
    snapshot.aws.target_groups = Ok(vec![web(healthy(1..=4))]);
    check("its target first", &snapshot, &act(), (&[RECORD], "at once"));
}

#[test]
fn nothing_is_written_before_ec2_says_that_it_still_stands() {
    let mut snapshot = interrupted(due());
    assert!(looks::wants_schedule(&snapshot, &act()));
    check("it stands", &snapshot, &act(), (&[CORDON, DEPARTING], "at once"));
    snapshot.aws.is_scheduled = Err(unread());
    check("not known", &snapshot, &act(), (&[], &usual(snapshot.now)));
    assert_eq!(
        decide(&snapshot, &act()).report.warnings,
        ["EC2 does not show (yet) what was announced as scheduled"]
    );
    snapshot.aws.is_scheduled = Ok(false);
    check("not shown yet", &snapshot, &act(), (&[], &usual(snapshot.now)));
    let over = "done: nothing of ours is on its node";
    let later = Snapshot { now: after(120), ..snapshot.clone() };
    check("it does not", &later, &act(), (&[], over));
    // A right that is missing must not let the change come unprepared.
    let mut later = later;
    later.aws.is_scheduled = Err(unread());
    check("still not known", &later, &act(), (&[CORDON, DEPARTING], "at once"));
    // Beside something that is certain, nobody waits for EC2's word.
    snapshot.aws.is_scheduled = Err(unread());
    snapshot.signals.push(seen(two_minutes()));
    assert_eq!(steps(&decide(&snapshot, &act())), [CORDON, DEPARTING]);
}

#[test]
fn a_change_without_a_start_time_is_due_now_if_it_stands() {
    let mut snapshot = interrupted(maintenance(Urgency::AtStart, Due::Unknown));
    check("it stands", &snapshot, &act(), (&[CORDON, DEPARTING], "at once"));
    assert_eq!(decide(&snapshot, &act()).report.hard, None);
    (snapshot.aws.is_scheduled, snapshot.now) = (Ok(false), after(120));
    check("it does not", &snapshot, &act(), (&[], "done: nothing of ours is on its node"));
}

#[test]
fn what_was_scheduled_and_is_no_more_is_taken_back() {
    let mut snapshot = leaving(due());
    (snapshot.aws.is_scheduled, snapshot.now) = (Ok(false), after(120));
    check("rescheduled, or over", &snapshot, &act(), (&[UNDO], "at once"));
    let rebooted = Node { boot: Some(id("boot-2")), ..node_mut(&mut snapshot).clone() };
    *node_mut(&mut snapshot) = rebooted;
    check("it was rebooted", &snapshot, &act(), (&[UNDO], "at once"));
}

#[test]
fn a_drain_before_the_start_time_ends_when_the_node_is_empty() {
    let mut snapshot = leaving(due());
    view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
    check("a pod is left", &snapshot, &act(), (&["evict shop/web-1"], "again in 2000 ms"));
    view_mut(&mut snapshot).pods = Ok(Vec::new());
    let done = "done: drained: pods, registrations and volumes are gone";
    check("empty", &snapshot, &act(), (&[], done));
}

#[test]
fn pods_that_are_left_are_deleted_before_the_start_time() {
    let mut snapshot = leaving(due());
    view_mut(&mut snapshot).pods = Ok(vec![pod("db-0")]);
    view_mut(&mut snapshot).budgets = Ok(vec![crate::world::budget("db", 0)]);
    snapshot.memory.blocked_reported_at = Some(after(1_700));
    for (now, expected) in
        [(after(1_755) - millis(1), None), (after(1_755), Some("delete shop/db-0 with grace 30 s"))]
    {
        snapshot.now = now;
        let expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(steps(&decide(&snapshot, &act())), expected, "{now}");
    }
}

// ---- Closed --------------------------------------------------------------------------------------

/// The end of the change comes ten minutes after its beginning, to a node that carries this record.
fn called_off(own: &Departure) -> Snapshot {
    let mut snapshot = interrupted(closed());
    snapshot.now = after(600);
    snapshot.signals[0].sent_at = after(598);
    marked(&mut snapshot, own);
    snapshot
}

#[test]
fn what_is_called_off_is_taken_back_exactly() {
    let before = Node { taints: vec![taint("dedicated")], ..node() };
    let mut snapshot = interrupted(due());
    *node_mut(&mut snapshot) = before.clone();
    let marked = patched(before.clone(), patch(&decide(&snapshot, &act())));
    let mut back = called_off(&recorded(&due()));
    *node_mut(&mut back) = marked.clone();
    check("closed", &back, &act(), (&[UNDO], "at once"));
    let undone = patched(marked, patch(&decide(&back, &act())));
    assert_eq!(undone, Node { resource_version: undone.resource_version.clone(), ..before });
    *node_mut(&mut back) = undone;
    check("and then it is over", &back, &act(), (&[], "done: nothing of ours is on its node"));
}

#[test]
fn what_we_took_out_is_registered_again_first() {
    let own = withdrawn(recorded(&due()), "web", after(60));
    let mut snapshot = called_off(&own);
    let mut group = web(healthy(2..=4));
    let register = "register web: i-00000000000000001:30080";
    group.owner = RegistrationOwner::Named;
    snapshot.aws.target_groups = Ok(vec![group.clone()]);
    check("out", &snapshot, &act(), (&[register], &again_at(&snapshot)));
    snapshot.aws.target_groups = Err(unread());
    check("not known", &snapshot, &act(), (&[], &again_at(&snapshot)));
    group.targets = healthy(1..=4).into();
    assert_eq!(group.targets[0].id, target_id(&instance(1)).id);
    snapshot.aws.target_groups = Ok(vec![group]);
    check("in again", &snapshot, &act(), (&[UNDO], "at once"));
}

fn again_at(snapshot: &Snapshot) -> String {
    let next = decision::pace::look(snapshot.now, snapshot.signals[0].sent_at, None);
    format!("again in {} ms", next.since(snapshot.now).as_millis())
}

#[test]
fn what_others_asked_for_stays_when_one_is_called_off() {
    let mut own = recorded(&due());
    own.because.push(part(&two_minutes()));
    let mut snapshot = called_off(&own);
    check("a Spot warning stays", &snapshot, &act(), (&[RECORD], "at once"));
    let rest = written(patch(&decide(&snapshot, &act())));
    assert_eq!(rest.because, [part(&two_minutes())]);
    assert_eq!(rest, Departure { because: rest.because.clone(), ..own });
    let node = patched(node_mut(&mut snapshot).clone(), patch(&decide(&snapshot, &act())));
    assert!(node.unschedulable && node.taints == [taint(TAINT)], "still cordoned");
    *node_mut(&mut snapshot) = node;
    let done = "done: nothing was begun for what is called off";
    check("and then it is over", &snapshot, &act(), (&[], done));
}

#[test]
fn another_event_is_not_called_off_with_it() {
    let mut other = due();
    if let Cause::Maintenance(maintenance) = &mut other.cause {
        maintenance.arn = format!("{EVENT}-2");
    }
    let mut snapshot = called_off(&recorded(&other));
    snapshot.now = snapshot.signals[0].sent_at + LOOKUP_PATIENCE;
    let done = "done: nothing was begun for what is called off";
    check("another arn", &snapshot, &act(), (&[], done));
    let mut both = recorded(&other);
    both.because.push(part(&due()));
    let decision = decide(&called_off(&both), &act());
    assert_eq!(written(patch(&decision)).because, [part(&other)]);
}

/// A record with the part of a change that was called off before it was begun: EC2 showed another one then.
fn begun_beside_another() -> Departure {
    let mut other = due();
    if let Cause::Maintenance(maintenance) = &mut other.cause {
        maintenance.arn = format!("{EVENT}-2");
    }
    let mut own = recorded(&due());
    own.because.push(part(&other));
    own
}

#[test]
fn with_the_last_scheduled_change_goes_what_was_begun_for_others() {
    let mut snapshot = called_off(&begun_beside_another());
    check("its own part first", &snapshot, &act(), (&[RECORD], "at once"));
    let node = patched(node_mut(&mut snapshot).clone(), patch(&decide(&snapshot, &act())));
    *node_mut(&mut snapshot) = node;
    let said_at = snapshot.signals[0].sent_at;
    // EC2 may lag behind Health: what it shows now is of no interest.
    for shown in [Ok(true), Ok(false), Err(unread())] {
        snapshot.aws.is_scheduled = shown;
        check("its word counts later", &snapshot, &act(), (&[], "again in 118000 ms"));
    }
    assert!(!looks::wants_schedule(&snapshot, &act()));
    snapshot.now = said_at + LOOKUP_PATIENCE;
    assert!(looks::wants_schedule(&snapshot, &act()));
    check("it could not be asked", &snapshot, &act(), (&[], &again_at(&snapshot)));
    snapshot.aws.is_scheduled = Ok(true);
    let done = "done: nothing was begun for what is called off";
    check("another stands", &snapshot, &act(), (&[], done));
    snapshot.aws.is_scheduled = Ok(false);
    check("none does", &snapshot, &act(), (&[UNDO], "at once"));
    let mut warned = begun_beside_another();
    warned.because.push(part(&two_minutes()));
    marked(&mut snapshot, &warned);
    check("nor for whom no schedule speaks", &snapshot, &act(), (&[RECORD], "at once"));
    let rest = written(patch(&decide(&snapshot, &act())));
    assert_eq!(rest.because, [part(&two_minutes())]);
    snapshot.aws.is_scheduled = Err(unread());
    marked(
        &mut snapshot,
        &Departure { because: begun_beside_another().because[1..].into(), ..warned },
    );
    snapshot.now = said_at + secs(900);
    check("nobody asks for ever", &snapshot, &act(), (&[], done));
}

#[test]
fn what_was_said_before_the_last_start_goes_with_what_is_called_off() {
    // The policy ignores state changes, so nobody heard of the start.
    let ignoring = policy(&[("STATE_CHANGE", "ignore")]);
    let mut own = recorded(&due());
    own.because.push(part(&two_minutes()));
    let mut snapshot = called_off(&own);
    let started = |snapshot: &mut Snapshot, at: u64| {
        let instance = snapshot.aws.instance.as_mut().expect("read").as_mut().expect("known");
        instance.launched_at = Some(after(at));
    };
    started(&mut snapshot, 120);
    check("started since", &snapshot, &ignoring, (&[UNDO], "at once"));
    started(&mut snapshot, 119);
    check("before the warning was due", &snapshot, &ignoring, (&[RECORD], "at once"));
    node_mut(&mut snapshot).boot = Some(id("boot-2"));
    check("but booted since", &snapshot, &ignoring, (&[UNDO], "at once"));
    let warned = Departure { because: vec![part(&two_minutes())], ..own.clone() };
    let mut begun_for_another = called_off(&warned);
    started(&mut begun_for_another, 120);
    check("its own was never begun", &begun_for_another, &ignoring, (&[UNDO], "at once"));
    let mut hooked = called_off(&Departure { because: record(1).because, ..own });
    started(&mut hooked, 120);
    node_mut(&mut hooked).boot = Some(id("boot-2"));
    let done = "done: nothing was begun for what is called off";
    check("a hook waits on", &hooked, &ignoring, (&[], done));
}

#[test]
fn what_was_never_begun_needs_no_end() {
    let mut snapshot = interrupted(closed());
    check("a plain node", &snapshot, &act(), (&[], "done: nothing of ours is on its node"));
    snapshot.cluster = absent();
    check(
        "no node",
        &snapshot,
        &act(),
        (&[], "done: it has no node: there is nothing to take back"),
    );
    shown(&mut snapshot, InstanceState::Stopped);
    assert_eq!(looks::cluster(&snapshot, &act()), ClusterLook::No, "nothing runs");
    snapshot.cluster = crate::world::unreachable();
    snapshot.now = after(600);
    let again = again_at(&snapshot);
    check("it can't be known", &snapshot, &act(), (&[], &again));
    let mut foreign = called_off(&record(1));
    *node_mut(&mut foreign) = cordoned(node(), &record(2));
    check(
        "another instance's record",
        &foreign,
        &act(),
        (&[], "done: nothing of ours is on its node"),
    );
}

#[test]
fn an_end_beside_a_beginning_waits_for_it() {
    let mut snapshot = called_off(&recorded(&due()));
    snapshot.signals.push(seen(two_minutes()));
    let decision = decide(&snapshot, &act());
    assert_eq!(steps(&decision), [RECORD], "the Spot warning's part");
    assert!(written(patch(&decision)).because.contains(&part(&two_minutes())));
    let again: Vec<_> = crate::world::answers(&decision, snapshot.now);
    assert_eq!(again, ["again in 2000 ms", "at once"]);
}

#[test]
fn an_end_is_observed_like_everything_else() {
    let snapshot = called_off(&recorded(&due()));
    let observing = policy(&[("MODE", "observe")]);
    check("observed", &snapshot, &observing, (&[], "observed, nothing written"));
    assert_eq!(decide(&snapshot, &observing).report.would, [UNDO]);
    let ignoring = policy(&[("MAINTENANCE", "ignore")]);
    check("ignored", &snapshot, &ignoring, (&[], "ignored: maintenance: the policy ignores it"));
}

#[test]
fn a_scheduled_change_is_drained_whole() {
    let mut snapshot = leaving(due());
    snapshot.aws.target_groups = Ok(vec![web(healthy(1..=4))]);
    let own = withdrawn(recorded(&due()), "web", after(10));
    marked(&mut snapshot, &own);
    let decision = decide(&snapshot, &act());
    assert_eq!(steps(&decision), [DEREGISTER]);
    let SignalKind::Interruption(said) = &snapshot.signals[0].signal.kind else { panic!("it is") };
    assert_eq!(said.key(), format!("maintenance:{EVENT}"));
    assert!(node_mut(&mut snapshot).annotations[DEPARTURE].contains(EVENT));
}
