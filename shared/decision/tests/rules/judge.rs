//! The verdict on one pod: one row a rule, both sides of each limit.

use crate::world::{
    GLOBAL, SENT, act, after, budget, cordoned, daemon, deleted, key, labels, millis, node, owner,
    pod, policy, record, secs, service, sibling, uid, view,
};
use decision::budget::NodeOrder;
use decision::judge::{Bench, Path, judge};
use decision::limits::{ANSWER_MARGIN, EVICTION_RETRY, FORCE_MARGIN, STUCK_AFTER};
use decision::policy::Policy;
use decision::snapshot::cluster::TrafficPolicy::{Cluster, Local};
use decision::snapshot::cluster::{NodeView, Phase, Pod, Sibling, Toleration};
use decision::snapshot::{Attempts, Memory, Unread};
use decision::time::Timestamp;
use decision::verdict::{Forced, Held, Judged, Stays, Verdict};
use decision::withdraw::{May, Standing, Wait};
use std::collections::BTreeSet;

/// Everything a row may change; the rest is a drain in its second minute, with an hour to go.
#[derive(Clone)]
struct Stage {
    now: Timestamp,
    policy: Policy,
    view: NodeView,
    hard: Option<Timestamp>,
    soft: Timestamp,
    forced: Option<Forced>,
    paths: Result<Vec<Path>, Unread>,
    order: NodeOrder,
    memory: Memory,
}

/// When the next look is, in all rows.
fn look() -> Timestamp {
    after(62)
}

fn stage() -> Stage {
    Stage {
        now: after(60),
        policy: act(),
        view: view(cordoned(node(), &record(1))),
        hard: Some(SENT + GLOBAL),
        soft: after(3_600),
        forced: None,
        paths: Ok(Vec::new()),
        order: decision::budget::node_order(&vec![crate::world::peer(&record(1))].into()),
        memory: Memory::default(),
    }
}

impl Stage {
    fn judge<'a>(&self, pods: &'a [Pod]) -> Vec<Judged<'a>> {
        let bench = Bench {
            now: self.now,
            policy: &self.policy,
            view: &self.view,
            begun: SENT,
            hard: self.hard,
            soft: self.soft,
            forced: self.forced,
            paths: self.paths.as_deref(),
            order: &self.order,
            memory: &self.memory,
            look: look(),
        };
        judge(pods, &bench)
    }

    #[track_caller]
    fn check(&self, name: &str, pod: Pod, expected: &Verdict) {
        let pods = [pod];
        let judged = self.judge(&pods);
        assert_eq!(judged[0].verdict, *expected, "{name}");
    }
}

fn held(why: Held) -> Verdict {
    Verdict::Hold(look(), why)
}

fn unread() -> Unread {
    Unread::because("timed out")
}

#[test]
fn an_ordinary_pod_is_evicted() {
    stage().check("a pod of a ReplicaSet", pod("web-1"), &Verdict::Evict);
    stage().check(
        "a pod without a controller",
        Pod { owner: None, ..pod("web-1") },
        &Verdict::Evict,
    );
}

// ---- Stays ---------------------------------------------------------------------------------------

fn tolerates(key: Option<&str>, effect: Option<&str>) -> Toleration {
    Toleration {
        key: key.map(str::to_owned),
        exists: true,
        value: None,
        effect: effect.map(str::to_owned),
    }
}

fn equals(key: &str, value: Option<&str>) -> Toleration {
    Toleration { exists: false, value: value.map(str::to_owned), ..tolerates(Some(key), None) }
}

#[test]
fn what_ends_with_the_node_or_would_come_straight_back_stays() {
    const OURS: &str = "ebbtide.dev/departing";
    const CORDON: &str = "node.kubernetes.io/unschedulable";
    let with = |tolerations: Vec<Toleration>| Pod { tolerations, ..pod("web-1") };
    let owned = |kind: &str| Pod { owner: Some(owner(kind, "web")), ..pod("web-1") };
    let rows = [
        ("succeeded", Pod { phase: Phase::Succeeded, ..pod("web-1") }, Some(Stays::Finished)),
        ("failed", Pod { phase: Phase::Failed, ..pod("web-1") }, Some(Stays::Finished)),
        ("pending", Pod { phase: Phase::Pending, ready: false, ..pod("web-1") }, None),
        ("a mirror pod", Pod { mirror: true, owner: None, ..pod("web-1") }, Some(Stays::Static)),
        ("owned by the node", owned("Node"), Some(Stays::Static)),
        ("of a DaemonSet", owned("DaemonSet"), Some(Stays::DaemonSet)),
        ("of a StatefulSet", owned("StatefulSet"), None),
        ("tolerates everything", with(vec![tolerates(None, None)]), Some(Stays::WouldComeBack)),
        (
            "tolerates every NoSchedule",
            with(vec![tolerates(None, Some("NoSchedule"))]),
            Some(Stays::WouldComeBack),
        ),
        ("tolerates every NoExecute only", with(vec![tolerates(None, Some("NoExecute"))]), None),
        ("tolerates only the cordon", with(vec![tolerates(Some(CORDON), None)]), None),
        ("tolerates only our taint", with(vec![tolerates(Some(OURS), None)]), None),
        (
            "tolerates both by name",
            with(vec![tolerates(Some(CORDON), None), tolerates(Some(OURS), Some("NoSchedule"))]),
            Some(Stays::WouldComeBack),
        ),
        (
            "tolerates both with an empty value",
            with(vec![equals(CORDON, None), equals(OURS, Some(""))]),
            Some(Stays::WouldComeBack),
        ),
        (
            "tolerates another value of ours",
            with(vec![equals(CORDON, None), equals(OURS, Some("no"))]),
            None,
        ),
        (
            "tolerates everything without a controller to bring it back",
            Pod { owner: None, ..with(vec![tolerates(None, None)]) },
            None,
        ),
    ];
    for (name, pod, stays) in rows {
        stage().check(name, pod, &stays.map_or(Verdict::Evict, Verdict::Leave));
    }
}

#[test]
fn a_pod_that_stays_is_not_waited_for() {
    let pods = [daemon("agent-1"), pod("web-1")];
    let judged = stage().judge(&pods);
    let waited: Vec<_> =
        judged.iter().map(|one| (one.pod.key.name.as_str(), one.is_waited_for())).collect();
    assert_eq!(waited, [("agent-1", false), ("web-1", true)]);
}

// ---- Going ---------------------------------------------------------------------------------------

#[test]
fn a_pod_that_is_being_deleted_is_gone_once_its_containers_stopped() {
    let going = |ends: Timestamp| Pod { deletion: deleted(ends), ..pod("web-1") };
    let at_its_end = Verdict::Hold(after(80), Held::Terminating);
    stage().check("its grace runs", going(after(80)), &at_its_end);
    let late = Verdict::Hold(after(60) + STUCK_AFTER, Held::Terminating);
    stage().check("its grace is over, the kubelet is late", going(after(60)), &late);
    let stopped = Pod { containers_stopped: true, ..going(after(80)) };
    stage().check("a finalizer keeps the object", stopped, &Verdict::Gone);
    let not_deleted = Pod { containers_stopped: true, ready: false, ..pod("web-1") };
    stage().check("crashed, but not deleted", not_deleted, &Verdict::Evict);
}

#[test]
fn a_pod_whose_kubelet_says_nothing_is_not_waited_for_for_ever() {
    let pod = |ends: Timestamp| Pod { deletion: deleted(ends), ..pod("web-1") };
    let stuck = after(60) - STUCK_AFTER;
    let held = Verdict::Hold(after(60) + millis(1), Held::Terminating);
    stage().check("one millisecond before", pod(stuck + millis(1)), &held);
    stage().check("at", pod(stuck), &Verdict::Leave(Stays::Stuck));
    stage().check("one millisecond after", pod(stuck - millis(1)), &Verdict::Leave(Stays::Stuck));
}

#[test]
fn a_grace_that_outlasts_the_deadline_is_shortened() {
    let hard = SENT + GLOBAL;
    let answered = hard - ANSWER_MARGIN;
    let rows = [
        ("it ends when the hook is answered", answered, false),
        ("it ends one millisecond later", answered + millis(1), true),
    ];
    for (name, ends, shortened) in rows {
        let now = hard - secs(30);
        let expected = if shortened {
            Verdict::Force(secs(15), Forced::HardDeadline(hard))
        } else {
            Verdict::Hold(ends, Held::Terminating)
        };
        let pod = Pod { deletion: deleted(ends), grace: secs(3_600), ..pod("web-1") };
        Stage { now, ..stage() }.check(name, pod, &expected);
    }
}

// ---- Forced --------------------------------------------------------------------------------------

#[test]
fn a_pod_is_deleted_when_its_grace_just_fits_before_the_hard_deadline() {
    let hard = SENT + GLOBAL;
    let from = hard - ANSWER_MARGIN - FORCE_MARGIN - secs(30);
    let force = |grace| Verdict::Force(secs(grace), Forced::HardDeadline(hard));
    let rows = [
        ("one millisecond before", from - millis(1), Verdict::Evict),
        ("at", from, force(30)),
        ("one millisecond after", from + millis(1), force(29)),
        ("ten seconds after", from + secs(10), force(20)),
        ("one second before its end", from + secs(29), force(1)),
        ("at its end", from + secs(30), force(1)),
        ("one millisecond before the deadline", hard - millis(1), force(1)),
        // The host lives on by luck: nothing is left to fit the grace into.
        ("at the deadline", hard, force(30)),
        ("long after", hard + secs(60), force(30)),
    ];
    for (name, now, expected) in rows {
        Stage { now, ..stage() }.check(name, pod("web-1"), &expected);
    }
    let no_grace = Pod { grace: secs(0), ..pod("web-1") };
    Stage { now: hard, ..stage() }.check("a grace of 0 becomes 1", no_grace, &force(1));
    let none = Stage { now: hard + secs(60), hard: None, ..stage() };
    none.check("without a hard deadline nothing is forced", pod("web-1"), &Verdict::Evict);
    let long = Pod { grace: secs(10_800), ..pod("web-1") };
    stage().check("a grace of three hours does not fit into two", long, &force(7_200 - 60 - 15));
}

#[test]
fn a_deadline_comes_before_every_courtesy() {
    let hard = SENT + GLOBAL;
    let mut late = Stage { now: hard - secs(20), ..stage() };
    late.view.budgets = Ok(vec![budget("web", 0)]);
    late.view.services = Err(unread());
    let annotations = labels(&[("karpenter.sh/do-not-disrupt", "true")]);
    let protected = Pod { annotations, ..pod("web-1") };
    late.check(
        "budget, protection, unread",
        protected,
        &Verdict::Force(secs(5), Forced::HardDeadline(hard)),
    );
}

#[test]
fn the_soft_deadline_forces_only_when_the_policy_says_so() {
    let force = policy(&[("AT_LONGEST_DRAIN", "force")]);
    let forced = Verdict::Force(secs(30), Forced::LongestDrain);
    let rows = [
        ("go-on, after", act(), after(3_601), Verdict::Evict),
        ("force, one millisecond before", force.clone(), after(3_600) - millis(1), Verdict::Evict),
        ("force, at", force.clone(), after(3_600), forced.clone()),
        ("force, one millisecond after", force, after(3_600) + millis(1), forced),
    ];
    for (name, policy, now, expected) in rows {
        Stage { now, policy, ..stage() }.check(name, pod("web-1"), &expected);
    }
}

#[test]
fn a_persons_order_forces_with_the_pods_own_grace() {
    let mut ordered = Stage { forced: Some(Forced::Person), ..stage() };
    ordered.view.budgets = Ok(vec![budget("web", 0)]);
    ordered.check("past a budget", pod("web-1"), &Verdict::Force(secs(30), Forced::Person));
    let no_grace = Pod { grace: secs(0), ..pod("web-1") };
    ordered.check("never with 0", no_grace, &Verdict::Force(secs(1), Forced::Person));
    ordered.check("a DaemonSet's pod stays", daemon("agent-1"), &Verdict::Leave(Stays::DaemonSet));
    let going = Pod { deletion: deleted(after(80)), ..pod("web-1") };
    ordered.check("one that goes is let go", going, &Verdict::Hold(after(80), Held::Terminating));
}

// ---- Protected -----------------------------------------------------------------------------------

#[test]
fn protections_are_honoured_by_their_exact_value_unless_the_policy_says_evict() {
    const KARPENTER: &str = "karpenter.sh/do-not-disrupt";
    const AUTOSCALER: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";
    let rows = [
        (KARPENTER, "true", Some(KARPENTER)),
        (KARPENTER, "false", None),
        (AUTOSCALER, "false", Some(AUTOSCALER)),
        (AUTOSCALER, "true", None),
    ];
    for (annotation, value, protects) in rows {
        let pod = Pod { annotations: labels(&[(annotation, value)]), ..pod("web-1") };
        let expected = protects.map_or(Verdict::Evict, |name| held(Held::Protected(name)));
        stage().check(&format!("{annotation}: {value}"), pod.clone(), &expected);
        let evict = Stage { policy: policy(&[("PROTECTED_PODS", "evict")]), ..stage() };
        evict.check(&format!("{annotation}: {value}, policy evict"), pod, &Verdict::Evict);
    }
}

// ---- Serving -------------------------------------------------------------------------------------

fn path(ports: Option<&[u16]>, standing: Standing) -> Path {
    Path { ports: ports.map(|ports| ports.iter().copied().collect::<BTreeSet<_>>()), standing }
}

fn registered(may: May) -> Standing {
    Standing::Registered { targets: Vec::new(), may }
}

fn leaving(settled: Timestamp) -> Standing {
    Standing::Leaving { settled, drained: settled + secs(300) }
}

#[test]
fn a_pod_that_serves_what_arrives_here_is_held_until_the_load_balancers_are_settled() {
    let floor = || May::Later { at: after(300), why: Wait::Floor { living: 2, keep: 1 } };
    let now = after(60);
    let serving = Verdict::Hold(now + millis(1), Held::Serving);
    let rows = [
        ("still in", path(Some(&[30_080]), registered(floor())), held(Held::StillRegistered)),
        (
            "being taken out",
            path(Some(&[30_080]), registered(May::Now)),
            held(Held::StillRegistered),
        ),
        (
            "the last living target stays for good",
            path(Some(&[30_080]), registered(May::LastLiving)),
            Verdict::Evict,
        ),
        (
            "one millisecond before it is settled",
            path(Some(&[30_080]), leaving(now + millis(1))),
            serving,
        ),
        ("settled", path(Some(&[30_080]), leaving(now)), Verdict::Evict),
        ("out", path(Some(&[30_080]), Standing::Clear), Verdict::Evict),
        ("another port", path(Some(&[30_443]), registered(floor())), Verdict::Evict),
        (
            "ports no longer known",
            path(None, leaving(after(90))),
            Verdict::Hold(after(90), Held::Serving),
        ),
    ];
    for (name, path, expected) in rows {
        let mut local = Stage { paths: Ok(vec![path]), ..stage() };
        local.view.services = Ok(vec![service("web", Local, &[])]);
        local.check(&format!("behind Local, {name}"), pod("web-1"), &expected);

        let host = Stage { paths: local.paths.clone(), ..stage() };
        let on_port = Pod { host_ports: vec![30_080], ..pod("web-1") };
        host.check(&format!("on a host port, {name}"), on_port, &expected);
        let on_network = Pod { host_ports: vec![30_080], host_network: true, ..pod("web-1") };
        host.check(&format!("on the host's network, {name}"), on_network, &expected);

        let mut cluster = local.clone();
        cluster.view.services = Ok(vec![service("web", Cluster, &[])]);
        cluster.check(&format!("behind Cluster, {name}"), pod("web-1"), &Verdict::Evict);
        local.check(&format!("another Service's pod, {name}"), pod("api-1"), &Verdict::Evict);
    }
}

#[test]
fn the_latest_of_several_groups_holds_a_pod() {
    let paths =
        vec![path(Some(&[30_080]), leaving(after(70))), path(Some(&[30_080]), leaving(after(90)))];
    let mut local = Stage { paths: Ok(paths), ..stage() };
    local.view.services = Ok(vec![service("web", Local, &[])]);
    local.check("two groups", pod("web-1"), &Verdict::Hold(after(90), Held::Serving));
}

#[test]
fn what_could_not_be_read_is_not_taken_for_nothing() {
    let why = || held(Held::Unread("timed out".to_owned()));
    type Change = fn(&mut NodeView);
    let rows: &[(&str, Change)] = &[
        ("Services", |view| view.services = Err(Unread::because("timed out"))),
        ("budgets", |view| view.budgets = Err(Unread::because("timed out"))),
        ("siblings", |view| view.siblings = Err(Unread::because("timed out"))),
    ];
    for (name, change) in rows {
        let mut blind = stage();
        change(&mut blind.view);
        blind.check(name, pod("web-1"), &why());
    }
    let mut blind = Stage { paths: Err(unread()), ..stage() };
    blind.view.services = Ok(vec![service("web", Local, &[])]);
    blind.check("target groups, behind Local", pod("web-1"), &why());
    blind.check(
        "target groups, on a host port",
        Pod { host_ports: vec![80], ..pod("api-1") },
        &why(),
    );
    blind.check("target groups, served by kube-proxy", pod("api-1"), &Verdict::Evict);
}

// ---- The order of pods ---------------------------------------------------------------------------

#[test]
fn jobs_leave_first_and_critical_pods_last() {
    let job = Pod { owner: Some(owner("Job", "report")), priority: 100, ..pod("report-1") };
    let critical = Pod { priority: 2_000_000_000, ..pod("dns-1") };
    let almost = Pod { priority: 1_999_999_999, ..pod("almost-1") };
    let low = Pod { priority: -1, ..pod("low-1") };
    let pods = [critical.clone(), almost, pod("web-1"), low, job];
    let judged = stage().judge(&pods);
    let order: Vec<_> =
        judged.iter().map(|one| (one.pod.key.name.as_str(), one.verdict.clone())).collect();
    let evict = |name| (name, Verdict::Evict);
    let last = ("dns-1", held(Held::AfterOthers));
    assert_eq!(order, [evict("report-1"), evict("low-1"), evict("web-1"), evict("almost-1"), last]);

    let mut gone =
        pods.map(|pod| Pod { deletion: deleted(after(50)), containers_stopped: true, ..pod });
    gone[0] = critical;
    let judged = stage().judge(&gone);
    assert_eq!(judged.last().map(|one| &one.verdict), Some(&Verdict::Evict), "the others are gone");
}

// ---- Room, refusals, budgets ---------------------------------------------------------------------

#[test]
fn a_pod_whose_sibling_finds_no_room_is_held_while_the_implicit_hold_lasts() {
    let pending =
        || Sibling { node: None, ready: false, unschedulable: true, ..sibling("web-9", 1) };
    let with = |other: Sibling, now: Timestamp| {
        let mut stage = Stage { now, ..stage() };
        stage.view.siblings =
            Ok(vec![sibling("web-1", 1), sibling("web-2", 2), sibling("web-3", 3), other]);
        stage
    };
    let no_room = held(Held::NoRoom(key("shop/web-9")));
    with(pending(), after(60)).check("no room", pod("web-1"), &no_room);
    with(pending(), after(300) - millis(1)).check(
        "one millisecond before the hold ends",
        pod("web-1"),
        &no_room,
    );
    with(pending(), after(300)).check("the hold has ended", pod("web-1"), &Verdict::Evict);
    let leaving = Sibling { leaving: true, ..pending() };
    with(leaving, after(60)).check("that one leaves itself", pod("web-1"), &Verdict::Evict);
    let other = Sibling { owner: uid("owner-api"), ..pending() };
    with(other, after(60)).check("another owner's", pod("web-1"), &Verdict::Evict);
}

#[test]
fn a_refused_eviction_is_not_tried_again_at_once() {
    let now = after(60);
    let refused = |age, refused: Option<&str>| {
        let attempts =
            Attempts { count: 3, last_at: now - age, refused: refused.map(str::to_owned) };
        let mut memory = Memory::default();
        memory.evictions.insert(uid("uid-web-1"), attempts);
        Stage { memory, ..stage() }
    };
    let hold = held(Held::Refused("webhook denied it".to_owned()));
    let why = Some("webhook denied it");
    refused(EVICTION_RETRY - millis(1), why).check("one millisecond before", pod("web-1"), &hold);
    refused(EVICTION_RETRY, why).check("at", pod("web-1"), &Verdict::Evict);
    refused(EVICTION_RETRY + millis(1), why).check("after", pod("web-1"), &Verdict::Evict);
    refused(millis(0), None).check("one that was not refused", pod("web-1"), &Verdict::Evict);
}

#[test]
fn a_budget_lets_so_many_go_in_one_turn_as_it_allows() {
    let pods: Vec<Pod> = (1..=4).map(|number| pod(&format!("web-{number}"))).collect();
    let mut stage = stage();
    stage.view.budgets = Ok(vec![budget("web", 2)]);
    let verdicts: Vec<Verdict> = stage.judge(&pods).into_iter().map(|one| one.verdict).collect();
    let full = held(Held::Budget(key("shop/web")));
    assert_eq!(verdicts, [Verdict::Evict, Verdict::Evict, full.clone(), full]);
}
