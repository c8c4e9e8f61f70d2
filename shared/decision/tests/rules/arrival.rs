//! Whole decisions about an arrival: what a node still lacks, deadlines, and coming back with our record.

use crate::world::{
    GLOBAL, HEARTBEAT, SENT, absent, act, after, answer, cordoned, daemon, deleted, facts_mut,
    healthy, id, instance, millis, node, node_mut, pod, policy, proven, record, signalled,
    signalled_in, steps, taint, target, target_id, unreachable, view_mut, web, why, withdrawn,
};
use decision::decide::decide;
use decision::limits::ANSWER_MARGIN;
use decision::looks;
use decision::pace::look;
use decision::policy::Policy;
use decision::signal::HookRoute::{RootVolume, WarmPoolIn, WarmPoolOut};
use decision::signal::Transition::Launching;
use decision::snapshot::aws::InstanceState::{
    self, Running, ShuttingDown, Stopped, Stopping, Terminated,
};
use decision::snapshot::aws::{RegistrationOwner, TargetGroup, TargetState};
use decision::snapshot::cluster::{ClusterView, Node, Pod};
use decision::snapshot::{Snapshot, Unread};
use decision::step::Step;

fn unread() -> Unread {
    Unread::because("timed out")
}

#[track_caller]
fn check(name: &str, snapshot: &Snapshot, policy: &Policy, expected: &str) {
    let decision = decide(snapshot, policy);
    assert_eq!(answer(&decision, snapshot.now), expected, "{name}: {:?}", decision.report.stage);
}

fn usual(snapshot: &Snapshot) -> String {
    let next = look(snapshot.now, SENT, Some(HEARTBEAT));
    format!("again in {} ms", next.since(snapshot.now).as_millis())
}

type Change = fn(&mut Snapshot);

/// What a node may lack, and how it is told.
const LACKS: &[(&str, Change, &str)] = &[
    ("not registered", |snapshot| snapshot.cluster = absent(), "its node has not registered"),
    (
        "no Ready condition",
        |snapshot| node_mut(snapshot).ready = None,
        "its node has no Ready condition yet",
    ),
    ("not Ready", |snapshot| node_mut(snapshot).ready = Some(false), "its node is not Ready"),
    (
        "a startup taint",
        |snapshot| {
            let csi = taint("ebs.csi.aws.com/agent-not-ready");
            node_mut(snapshot).taints = vec![taint("dedicated"), csi];
        },
        "its node still has the startup taint ebs.csi.aws.com/agent-not-ready",
    ),
    (
        "a configured startup taint",
        |snapshot| node_mut(snapshot).taints = vec![taint("example.com/warming")],
        "its node still has the startup taint example.com/warming",
    ),
    (
        "a DaemonSet pod",
        |snapshot| {
            let unready = Pod { ready: false, ..daemon("cni-1") };
            view_mut(snapshot).pods = Ok(vec![daemon("agent-1"), unready]);
        },
        "DaemonSet pod shop/cni-1 is not Ready",
    ),
];

fn configured() -> Policy {
    policy(&[("STARTUP_TAINTS", "example.com/warming")])
}

#[test]
fn a_node_that_lacks_nothing_is_answered() {
    check("ready", &signalled_in(), &act(), "continue");
    assert_eq!(steps(&decide(&signalled_in(), &act())), [""; 0], "and nothing is written");
}

#[test]
fn what_a_node_lacks_is_waited_for_until_its_time_is_over() {
    for (name, lack, told) in LACKS {
        let mut snapshot = signalled_in();
        lack(&mut snapshot);
        check(name, &snapshot, &configured(), &usual(&snapshot));
        let report = decide(&snapshot, &configured()).report;
        assert_eq!(report.stage.to_string(), format!("arriving: {told}"), "{name}");

        snapshot.now = after(900) - millis(1);
        check(
            &format!("{name}, one millisecond before"),
            &snapshot,
            &configured(),
            &usual(&snapshot),
        );
        snapshot.now = after(900);
        check(&format!("{name}, at"), &snapshot, &configured(), "abandon");
        assert_eq!(
            why(&decide(&snapshot, &configured())),
            format!("the launch's deadline, and {told}")
        );
        let go_on =
            policy(&[("LAUNCH_DEADLINE", "continue"), ("STARTUP_TAINTS", "example.com/warming")]);
        check(&format!("{name}, policy continue"), &snapshot, &go_on, "continue");
    }
}

#[test]
fn the_hooks_own_deadline_ends_a_launch_too() {
    let patient = policy(&[("LONGEST_LAUNCH", "48h")]);
    let mut snapshot = signalled_in();
    node_mut(&mut snapshot).ready = Some(false);
    snapshot.now = SENT + GLOBAL - ANSWER_MARGIN - millis(1);
    check("one millisecond before", &snapshot, &patient, "again in 1 ms");
    snapshot.now = SENT + GLOBAL - ANSWER_MARGIN;
    check("at", &snapshot, &patient, "abandon");
}

#[test]
fn what_is_no_lack_does_not_hold_a_launch() {
    let rows: &[(&str, Change)] = &[
        ("a foreign taint", |snapshot| node_mut(snapshot).taints = vec![taint("dedicated")]),
        ("a foreign cordon", |snapshot| node_mut(snapshot).unschedulable = true),
        ("an ordinary pod that is not Ready", |snapshot| {
            view_mut(snapshot).pods = Ok(vec![Pod { ready: false, ..pod("web-1") }]);
        }),
        ("a DaemonSet pod that is replaced", |snapshot| {
            let leaving = Pod { ready: false, deletion: deleted(after(9)), ..daemon("cni-1") };
            view_mut(snapshot).pods = Ok(vec![leaving]);
        }),
        ("no cluster named", |snapshot| snapshot.cluster = ClusterView::Unnamed),
        ("a deleted cluster", |snapshot| snapshot.cluster = ClusterView::Deleted(id("prod"))),
    ];
    for (name, change) in rows {
        let mut snapshot = signalled_in();
        change(&mut snapshot);
        check(name, &snapshot, &act(), "continue");
    }
}

#[test]
fn what_could_not_be_read_abandons_nobody() {
    let rows: &[(&str, Change)] = &[
        ("the API server is away", |snapshot| snapshot.cluster = unreachable()),
        ("nothing could be asked", |snapshot| snapshot.cluster = ClusterView::NotAsked),
        ("the pods could not be read", |snapshot| view_mut(snapshot).pods = Err(unread())),
    ];
    for (name, change) in rows {
        let mut snapshot = signalled_in();
        change(&mut snapshot);
        check(name, &snapshot, &act(), &usual(&snapshot));
        snapshot.now = after(900);
        check(&format!("{name}, to the end"), &snapshot, &act(), "continue");
    }
}

#[test]
fn the_way_into_the_warm_pool_waits_for_nothing() {
    let mut snapshot = signalled(Launching, WarmPoolIn);
    snapshot.cluster = ClusterView::NotAsked;
    check("the instance is stopped next", &snapshot, &act(), "continue");
}

// ---- Coming back ---------------------------------------------------------------------------------

/// Out of the warm pool, with our cordon and the record of a target that we took out.
fn back() -> Snapshot {
    let mut snapshot = signalled(Launching, WarmPoolOut);
    proven(&mut snapshot);
    *node_mut(&mut snapshot) = cordoned(node(), &withdrawn(record(1), "web", after(0)));
    snapshot.aws.target_groups = Ok(vec![web(healthy([2, 3]))]);
    snapshot
}

#[test]
fn a_node_that_comes_back_is_registered_then_uncordoned_then_answered() {
    let mut snapshot = back();
    let decision = decide(&snapshot, &act());
    let [Step::Register(change)] = decision.steps.as_slice() else {
        panic!("it registers: {:?}", decision.steps)
    };
    assert_eq!(change.targets, [target_id(&instance(1))], "exactly what the record says");
    check("then it looks again", &snapshot, &act(), &usual(&snapshot));

    snapshot.aws.target_groups = Ok(vec![web(healthy([1, 2, 3]))]);
    assert_eq!(steps(&decide(&snapshot, &act())), ["undo node ip-10-0-3-1.ec2.internal"]);
    check("at once after that", &snapshot, &act(), "at once");

    *node_mut(&mut snapshot) = node();
    check("nothing of ours is left", &snapshot, &act(), "continue");
}

#[test]
fn only_what_we_took_out_is_registered_and_only_where_nobody_else_does() {
    let undo = "undo node ip-10-0-3-1.ec2.internal";
    let register = "register web: i-00000000000000001:30080";
    let with = |state: Option<TargetState>, owner| {
        let targets = state.map(|state| target(1, state)).into_iter().collect();
        vec![TargetGroup { owner, ..web(targets) }]
    };
    let named = RegistrationOwner::Named;
    let rows = [
        ("out", with(None, named), register),
        ("still draining", with(Some(TargetState::Draining), named), register),
        ("in, not yet checked", with(Some(TargetState::Initial), named), undo),
        ("in, and unhealthy", with(Some(TargetState::Unhealthy), named), undo),
        ("the ASG registers it", with(None, RegistrationOwner::Asg), undo),
        ("the LBC registers it", with(None, RegistrationOwner::Controller), undo),
        ("the group is gone", Vec::new(), undo),
    ];
    for (name, groups, expected) in rows {
        let mut snapshot = back();
        snapshot.aws.target_groups = Ok(groups);
        assert_eq!(steps(&decide(&snapshot, &act())), [expected], "{name}");
    }
}

#[test]
fn the_record_is_not_taken_off_while_the_groups_could_not_be_read() {
    let mut snapshot = back();
    snapshot.aws.target_groups = Err(unread());
    assert_eq!(steps(&decide(&snapshot, &act())), [""; 0]);
    check("again", &snapshot, &act(), &usual(&snapshot));
    *node_mut(&mut snapshot) = cordoned(node(), &record(1));
    assert_eq!(
        steps(&decide(&snapshot, &act())),
        ["undo node ip-10-0-3-1.ec2.internal"],
        "nothing was taken out"
    );
}

#[test]
fn nothing_is_written_before_aws_took_a_heartbeat() {
    let mut snapshot = back();
    snapshot.memory.hooks.clear();
    assert_eq!(steps(&decide(&snapshot, &act())), ["heartbeat of hook ebbtide-launch"]);
}

#[test]
fn a_node_that_is_not_ready_is_not_uncordoned() {
    let mut snapshot = back();
    node_mut(&mut snapshot).ready = Some(false);
    assert_eq!(steps(&decide(&snapshot, &act())), [""; 0]);
}

fn shown(snapshot: &mut Snapshot, state: InstanceState) {
    snapshot.aws.instance.as_mut().expect("read").as_mut().expect("known").state = state;
}

#[test]
fn nothing_is_taken_off_the_node_of_an_instance_that_goes_again() {
    let mut snapshot = back();
    assert!(looks::takes_back(&snapshot, &act()), "EC2 is asked first");
    for state in [ShuttingDown, Terminated] {
        shown(&mut snapshot, state);
        let going = "the instance is going: nothing is taken back";
        check("it ends", &snapshot, &act(), "continue");
        assert_eq!(why(&decide(&snapshot, &act())), going, "{state}");
        assert!(!looks::takes_back(&snapshot, &act()), "that does not change any more");
    }
    for state in [Stopping, Stopped] {
        shown(&mut snapshot, state);
        let decision = decide(&snapshot, &act());
        let told = format!("arriving: EC2 shows its instance as {state}");
        assert_eq!((steps(&decision), decision.report.stage.to_string()), (Vec::new(), told));
    }
    snapshot.now = after(900);
    proven(&mut snapshot);
    check("it never came up", &snapshot, &policy(&[("LAUNCH_DEADLINE", "abandon")]), "abandon");
    shown(&mut snapshot, Running);
    *node_mut(&mut snapshot) = node();
    assert!(!looks::takes_back(&snapshot, &act()), "nothing of ours is on it");
}

#[test]
fn an_instance_that_could_not_be_read_keeps_our_record_until_its_deadline() {
    let mut snapshot = back();
    snapshot.aws.instance = Err(unread());
    let decision = decide(&snapshot, &act());
    let told = "arriving: its instance could not be read: timed out";
    assert_eq!(
        (steps(&decision), decision.report.stage.to_string()),
        (Vec::new(), told.to_owned())
    );
    snapshot.now = after(900);
    proven(&mut snapshot);
    assert_eq!(steps(&decide(&snapshot, &act())), ["undo node ip-10-0-3-1.ec2.internal"]);
}

#[test]
fn ec2_is_asked_again_by_the_mode_of_the_hook() {
    let mut snapshot = back();
    assert!(!looks::takes_back(&snapshot, &policy(&[("MODE", "observe")])), "nothing is taken off");
    facts_mut(&mut snapshot).metadata = Some(r#"{"ebbtide": {"mode": "act"}}"#.to_owned());
    assert!(looks::takes_back(&snapshot, &policy(&[("MODE", "observe")])), "this hook acts");
    facts_mut(&mut snapshot).metadata = Some(r#"{"ebbtide": {"mode": "observe"}}"#.to_owned());
    assert!(!looks::takes_back(&snapshot, &act()), "this one does not");
}

#[test]
fn after_a_root_volume_was_replaced_the_new_boot_is_waited_for() {
    let mut snapshot = signalled(Launching, RootVolume);
    proven(&mut snapshot);
    *node_mut(&mut snapshot) = cordoned(node(), &record(1));
    assert_eq!(steps(&decide(&snapshot, &act())), [""; 0], "it still shows the old one");
    check("again", &snapshot, &act(), &usual(&snapshot));
    *node_mut(&mut snapshot) = Node { boot: Some(id("boot-2")), ..cordoned(node(), &record(1)) };
    assert_eq!(steps(&decide(&snapshot, &act())), ["undo node ip-10-0-3-1.ec2.internal"]);
    snapshot.now = after(900);
    proven(&mut snapshot);
    let late = steps(&decide(&snapshot, &act()));
    assert_eq!(late, ["undo node ip-10-0-3-1.ec2.internal"], "late, too");
}
