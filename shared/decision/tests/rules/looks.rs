//! What is worth reading next.

use crate::world::{
    absent, act, after, arn, asg, budget, cordoned, deleted, departing, ec2, facts_mut, healthy,
    id, labels, node, node_mut, peer, pod, policy, record, signalled, signalled_in, signalled_out,
    target, view_mut, web, withdrawn,
};
use decision::looks::{self, ClusterLook};
use decision::policy::Policy;
use decision::signal::HookRoute::{RootVolume, WarmPoolIn};
use decision::signal::Transition::{Launching, Terminating};
use decision::snapshot::aws::{Asg, Instance, RegistrationOwner, TargetState};
use decision::snapshot::cluster::{Budget, ClusterView, Pod};
use decision::snapshot::{Snapshot, Unread};

fn unread() -> Unread {
    Unread::because("throttled")
}

#[track_caller]
fn check_cluster(name: &str, snapshot: &Snapshot, policy: &Policy, expected: &ClusterLook) {
    assert_eq!(looks::cluster(snapshot, policy), *expected, "{name}");
}

#[test]
fn a_cluster_is_named_by_the_hook_then_the_tags_then_the_configuration() {
    let ask = |name: &str| ClusterLook::Ask(id(name));
    let configured = policy(&[("CLUSTER", "configured")]);
    let tagged = |tags: &[(&str, &str)]| {
        let mut snapshot = signalled_out();
        snapshot.aws.instance = Ok(Some(Instance { tags: labels(tags), ..ec2() }));
        snapshot
    };
    let untagged = || tagged(&[]);
    check_cluster("the instance's tag", &signalled_out(), &configured, &ask("prod"));
    check_cluster("EKS's own tag", &tagged(&[("eks:cluster-name", "eks")]), &act(), &ask("eks"));
    check_cluster("the configuration", &untagged(), &configured, &ask("configured"));
    check_cluster("nothing", &untagged(), &act(), &ClusterLook::Unnamed);

    let mut by_group = untagged();
    let tags =
        labels(&[("ebbtide.dev/managed", "true"), ("kubernetes.io/cluster/by-group", "owned")]);
    by_group.aws.group = Ok(Some(Asg { tags, ..asg() }));
    check_cluster("the group's tag", &by_group, &act(), &ask("by-group"));

    let mut by_hook = signalled_out();
    facts_mut(&mut by_hook).metadata = Some(r#"{"ebbtide":{"cluster":"by-hook"}}"#.to_owned());
    check_cluster("the hook", &by_hook, &configured, &ask("by-hook"));
}

#[test]
fn an_instance_that_could_not_be_read_may_still_belong_to_a_cluster() {
    let mut snapshot = signalled_out();
    snapshot.aws.instance = Err(unread());
    check_cluster("its tags are not known", &snapshot, &act(), &ClusterLook::No);
    let tags = labels(&[("ebbtide.dev/managed", "true"), ("kubernetes.io/cluster/prod", "owned")]);
    snapshot.aws.group = Ok(Some(Asg { tags, ..asg() }));
    check_cluster("its group's are", &snapshot, &act(), &ClusterLook::Ask(id("prod")));
}

#[test]
fn what_goes_into_the_warm_pool_needs_no_cluster() {
    check_cluster("launching", &signalled(Launching, WarmPoolIn), &act(), &ClusterLook::No);
    check_cluster(
        "terminating",
        &signalled(Terminating, WarmPoolIn),
        &act(),
        &ClusterLook::Ask(id("prod")),
    );
}

/// Which reads a snapshot asks for beyond the node.
fn reads(snapshot: &mut Snapshot, policy: &Policy) -> String {
    let groups = looks::target_groups(snapshot, policy).len();
    let view = view_mut(snapshot).clone();
    let asked = [
        ("peers", looks::peers(snapshot, &view, policy)),
        ("pods", looks::pods(snapshot, &view, policy)),
        ("budgets", looks::budgets(snapshot, &view, policy)),
        ("volumes", looks::volumes(snapshot, &view, policy)),
    ];
    let asked = asked.iter().filter(|(_, asked)| *asked).map(|(name, _)| *name);
    let groups = (groups > 0).then_some("groups");
    groups.into_iter().chain(asked).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_turn_reads_no_more_than_it_can_use() {
    type Change = fn(&mut Snapshot);
    let leaving = |snapshot: &mut Snapshot, at| {
        let own = withdrawn(record(1), "web", at);
        *node_mut(snapshot) = cordoned(node(), &own);
        view_mut(snapshot).peers = Ok(vec![peer(&own)].into());
    };
    let registered: Change = |snapshot| snapshot.aws.target_groups = Ok(vec![web(healthy(1..=9))]);
    let rows: &[(&str, &str, Change, &str)] = &[
        ("before the cordon", "act", |snapshot| *snapshot = signalled_out(), ""),
        ("before the proof", "act", |snapshot| *snapshot = signalled(Terminating, RootVolume), ""),
        ("cordoned, nothing left", "act", |_| {}, "groups pods volumes"),
        (
            "its groups could not be read",
            "act",
            |snapshot| snapshot.aws.target_groups = Err(unread()),
            "groups peers pods",
        ),
        (
            "cordoned, a pod is left",
            "act",
            |snapshot| view_mut(snapshot).pods = Ok(vec![pod("web-1")]),
            "groups pods budgets",
        ),
        (
            "only one that ends",
            "act",
            |snapshot| {
                let ending = Pod { deletion: deleted(after(80)), ..pod("web-1") };
                view_mut(snapshot).pods = Ok(vec![ending]);
            },
            "groups pods",
        ),
        ("its target leaves now", "act", registered, "groups peers"),
        (
            "observed, everything",
            "observe",
            |snapshot| *snapshot = signalled_out(),
            "groups pods volumes",
        ),
    ];
    for (name, mode, change, expected) in rows {
        let policy = policy(&[("MODE", *mode), ("TARGET_GROUPS", arn("web").as_str())]);
        let mut snapshot = departing();
        change(&mut snapshot);
        assert_eq!(reads(&mut snapshot, &policy), *expected, "{name}");
    }
    let policy = policy(&[("TARGET_GROUPS", arn("web").as_str())]);
    let rows = [
        ("the call follows", after(58), "groups peers"),
        ("three seconds old", after(57), "groups peers"),
        ("the call failed: pods are read beside it", after(56), "groups peers pods"),
    ];
    for (name, at, expected) in rows {
        let mut snapshot = departing();
        leaving(&mut snapshot, at);
        registered(&mut snapshot);
        assert_eq!(reads(&mut snapshot, &policy), expected, "{name}");
    }
}

#[test]
fn an_arrival_reads_pods_and_only_for_a_returning_node_its_groups() {
    let policy = policy(&[("TARGET_GROUPS", arn("web").as_str())]);
    assert_eq!(reads(&mut signalled_in(), &policy), "pods");
    let mut back = signalled_in();
    *node_mut(&mut back) = cordoned(node(), &withdrawn(record(1), "web", after(1)));
    assert_eq!(reads(&mut back, &policy), "groups pods");
}

#[test]
fn groups_are_the_asgs_and_the_named_ones() {
    let policy = policy(&[("TARGET_GROUPS", arn("named").as_str())]);
    let mut snapshot = departing();
    let target_groups = vec![arn("attached"), arn("named")];
    snapshot.aws.group = Ok(Some(Asg { target_groups, ..asg() }));
    let found: Vec<_> = looks::target_groups(&snapshot, &policy).into_iter().collect();
    let expected =
        [(arn("attached"), RegistrationOwner::Asg), (arn("named"), RegistrationOwner::Asg)];
    assert_eq!(found, expected, "attached counts more than named: the ASG puts it back");

    for cluster in [absent(), ClusterView::Unnamed, crate::world::unreachable()] {
        snapshot.cluster = cluster;
        assert_eq!(
            looks::target_groups(&snapshot, &policy).len(),
            2,
            "without a node, too: {:?}",
            snapshot.cluster
        );
    }
    snapshot.cluster = ClusterView::NotAsked;
    assert_eq!(looks::target_groups(&snapshot, &policy).len(), 0);
}

#[test]
fn a_target_that_drains_lets_the_pods_be_read() {
    let policy = policy(&[("TARGET_GROUPS", arn("web").as_str())]);
    let mut snapshot = departing();
    snapshot.aws.target_groups =
        Ok(vec![web(vec![target(1, TargetState::Draining), target(2, TargetState::Healthy)])]);
    assert_eq!(reads(&mut snapshot, &policy), "groups pods", "volumes leave meanwhile");
}

#[test]
fn only_a_departure_that_begins_is_read_ahead() {
    let groups = arn("web");
    let rows = [
        ("before the cordon", "act", signalled_out(), 1),
        ("cordoned", "act", departing(), 0),
        ("an arrival", "act", signalled_in(), 0),
        ("observed: this turn reads all there is", "observe", signalled_out(), 0),
    ];
    for (name, mode, snapshot, ahead) in rows {
        let policy = policy(&[("MODE", mode), ("TARGET_GROUPS", groups.as_str())]);
        assert_eq!(looks::begins(&snapshot, &policy), ahead > 0, "{name}");
        assert_eq!(looks::target_groups_ahead(&snapshot, &policy).len(), ahead, "{name}");
    }
}

// ---- What only some ask for ----------------------------------------------------------------------

#[test]
fn the_group_is_named_by_the_hook_or_by_the_instances_own_tag() {
    assert_eq!(looks::asg(&signalled_out()), Some(id("workers")));
    let mut warned = crate::interruption::interrupted(crate::interruption::two_minutes());
    assert_eq!(looks::asg(&warned), Some(id("workers")));
    warned.aws.instance = Ok(Some(Instance { tags: labels(&[]), ..ec2() }));
    assert_eq!(looks::asg(&warned), None, "in no group");
    warned.aws.instance = Err(unread());
    assert_eq!(looks::asg(&warned), None, "not known");
}

#[test]
fn hooks_are_read_of_groups_that_may_be_ours() {
    let foreign = Asg { tags: labels(&[]), ..asg() };
    let rows = [
        ("ours", Some(Ok(Some(asg()))), true),
        ("foreign", Some(Ok(Some(foreign))), false),
        ("gone", Some(Ok(None)), false),
        ("not known", Some(Err(unread())), true),
        ("not asked", None, true),
    ];
    for (name, group, wanted) in rows {
        assert_eq!(looks::wants_hooks(group.as_ref(), &act()), wanted, "{name}");
    }
}

#[test]
fn siblings_are_read_for_whom_no_budget_keeps_half_and_for_the_blocked() {
    let family = |snapshot: &mut Snapshot| {
        let view = view_mut(snapshot).clone();
        let pods = looks::family(snapshot, &view, &act());
        pods.into_iter().map(|pod| pod.key.name).collect::<Vec<_>>()
    };
    let with = |budgets: Vec<Budget>, mut snapshot: Snapshot| {
        view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
        view_mut(&mut snapshot).budgets = Ok(budgets);
        snapshot
    };
    let weak = Budget { desired: 1, expected: 3, ..budget("web", 1) };
    let warned = || crate::interruption::leaving(crate::interruption::two_minutes());
    assert_eq!(family(&mut with(Vec::new(), departing())), ["web-1"], "no budget");
    assert_eq!(family(&mut with(vec![weak.clone()], departing())), ["web-1"], "less than half");
    assert_eq!(family(&mut with(vec![budget("web", 1)], departing())), [""; 0], "it keeps half");
    assert_eq!(family(&mut with(vec![budget("web", 0)], departing())), ["web-1"], "blocked");
    assert_eq!(
        family(&mut with(vec![budget("web", 0)], warned())),
        [""; 0],
        "nobody mends it in time"
    );
    let mut late = with(vec![weak], departing());
    late.now = after(300);
    assert_eq!(family(&mut late), [""; 0], "the implicit budget has had its time");
    let mut ending = with(Vec::new(), departing());
    view_mut(&mut ending).pods = Ok(vec![Pod { deletion: deleted(after(80)), ..pod("web-1") }]);
    assert_eq!(family(&mut ending), [""; 0], "it goes");
}

#[test]
fn volumes_are_read_where_a_hook_can_hold_the_host() {
    let policy = policy(&[]);
    let mut warned = crate::interruption::leaving(crate::interruption::two_minutes());
    assert_eq!(reads(&mut warned, &policy), "pods");
    assert_eq!(reads(&mut departing(), &policy), "pods volumes");
}
