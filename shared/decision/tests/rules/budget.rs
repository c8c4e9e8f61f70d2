//! How many pods may leave at once: PodDisruptionBudgets as the API server reads them, and the implicit budget.

use crate::world::{
    SENT, budget, cordoned, key, labels, node, node_name, owner, peer, pod, record, service,
    sibling, view,
};
use decision::budget::{Allowance, NodeOrder, allowance, implicit, node_order};
use decision::snapshot::cluster::{
    Budget, NodeView, Operator, Phase, Pod, Requirement, Selector, Sibling, TrafficPolicy,
};
use decision::snapshot::departing::{Peer, Peers};
use proptest::collection::vec;
use proptest::{prop_assert, proptest};

// ---- PodDisruptionBudgets ------------------------------------------------------------------------

#[track_caller]
fn check(name: &str, pod: &Pod, budgets: &[Budget], expected: &Allowance) {
    assert_eq!(allowance(pod, budgets), *expected, "{name}");
}

fn of(allowed: usize) -> Allowance {
    Allowance::Of { budget: key("shop/web"), allowed }
}

fn exhausted() -> Allowance {
    Allowance::Exhausted(key("shop/web"))
}

#[test]
fn no_one_or_two_budgets_guard_a_pod() {
    let web = pod("web-1");
    let other = Budget { key: key("other/web"), ..budget("web", 0) };
    let all = Budget { key: key("shop/all"), selector: Selector::default(), ..budget("web", 5) };
    check("none", &web, &[], &Allowance::Free);
    check("one of another app", &web, &[budget("api", 0)], &Allowance::Free);
    check("one of another namespace", &web, &[other], &Allowance::Free);
    check("one, none allowed", &web, &[budget("web", 0)], &exhausted());
    check("one, one allowed", &web, &[budget("web", 1)], &of(1));
    check("one, none allowed by far", &web, &[budget("web", -2)], &exhausted());
    check(
        "an empty selector guards all",
        &web,
        std::slice::from_ref(&all),
        &Allowance::Of { budget: key("shop/all"), allowed: 5 },
    );
    let both = Allowance::Several(vec![key("shop/web"), key("shop/all")]);
    check("two, whatever they allow", &web, &[budget("web", 5), all], &both);
}

#[test]
fn a_selector_selects_as_kubernetes_says() {
    let require = |key: &str, operator, values: &[&str]| Requirement {
        key: key.to_owned(),
        operator,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    let rows = [
        ("In, listed", require("app", Operator::In, &["web", "api"]), true),
        ("In, not listed", require("app", Operator::In, &["api"]), false),
        ("In, without the label", require("tier", Operator::In, &["web"]), false),
        ("NotIn, listed", require("app", Operator::NotIn, &["web"]), false),
        ("NotIn, not listed", require("app", Operator::NotIn, &["api"]), true),
        ("NotIn, without the label", require("tier", Operator::NotIn, &["web"]), true),
        ("Exists", require("app", Operator::Exists, &[]), true),
        ("Exists, without the label", require("tier", Operator::Exists, &[]), false),
        ("DoesNotExist", require("app", Operator::DoesNotExist, &[]), false),
        ("DoesNotExist, without the label", require("tier", Operator::DoesNotExist, &[]), true),
    ];
    for (name, requirement, selects) in rows {
        let selector =
            Selector { labels: labels(&[("app", "web")]), expressions: vec![requirement] };
        let guarded = Budget { selector, ..budget("web", 0) };
        let expected = if selects { exhausted() } else { Allowance::Free };
        check(name, &pod("web-1"), &[guarded], &expected);
    }
}

#[test]
fn pods_that_do_not_run_are_not_guarded_and_unready_ones_only_when_the_budget_is_short() {
    let pending = Pod { phase: Phase::Pending, ready: false, ..pod("web-1") };
    check("pending", &pending, &[budget("web", 0)], &Allowance::Free);
    let sick = Pod { ready: false, ..pod("web-1") };
    let short = Budget { healthy: 2, ..budget("web", 0) };
    check("not Ready, the budget is met", &sick, &[budget("web", 0)], &Allowance::Free);
    check("not Ready, the budget is short", &sick, std::slice::from_ref(&short), &exhausted());
    let always = Budget { unhealthy_always: true, ..short };
    check("not Ready, AlwaysAllow", &sick, &[always], &Allowance::Free);
    let nothing_wanted = Budget { healthy: 0, desired: 0, ..budget("web", 0) };
    check("not Ready, nothing desired", &sick, &[nothing_wanted], &exhausted());
    check("Ready, the budget is met", &pod("web-1"), &[budget("web", 0)], &exhausted());
}

// ---- The implicit budget -------------------------------------------------------------------------

/// Nodes 1 to `departing` leave, in this order.
fn order(departing: usize) -> NodeOrder {
    let peers: Peers = (1..=departing).map(|number| peer(&record(number))).collect();
    node_order(&peers)
}

fn on(number: usize) -> NodeView {
    let mut node = cordoned(node(), &record(number));
    node.name = node_name(number);
    view(node)
}

/// Replica `web-<number>` on the node of that number.
fn replicas(count: usize) -> Vec<Sibling> {
    (1..=count).map(|number| sibling(&format!("web-{number}"), number)).collect()
}

/// The numbers of the replicas that may leave.
fn leavers(siblings: &[Sibling], departing: usize) -> Vec<usize> {
    (1..=departing)
        .filter(|number| {
            let pod = pod(&format!("web-{number}"));
            implicit(&pod, &on(*number), &[], siblings, &order(departing)).is_none()
        })
        .collect()
}

#[test]
fn no_more_than_half_of_an_owners_pods_leave_at_once() {
    // Replicas, all of them on departing nodes: how many may go. A singleton is not held: nothing would come for it.
    let rows = [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3), (8, 4), (9, 4), (10, 5)];
    for (count, expected) in rows {
        let first: Vec<usize> = (1..=expected).collect();
        assert_eq!(leavers(&replicas(count), count), first, "{count} replicas");
    }
}

#[test]
fn pods_that_are_not_ready_or_leave_already_use_the_half_up() {
    let mut siblings = replicas(4);
    siblings[3].ready = false;
    assert_eq!(leavers(&siblings, 3), [1], "one is not Ready");
    siblings[3].leaving = true;
    assert_eq!(leavers(&siblings, 3), [1], "one leaves");
    siblings[2].ready = false;
    assert_eq!(leavers(&siblings, 2), [0; 0], "half of them serve");
    siblings.push(sibling("web-8", 8));
    siblings.push(sibling("web-9", 9));
    assert_eq!(leavers(&siblings, 2), [1], "replacements are Ready");
}

#[test]
fn who_is_not_held_by_the_implicit_budget() {
    let siblings = replicas(2);
    let nobody_else = order(0);
    let rows = [
        ("a Ready one, before the order is known", pod("web-1"), true),
        ("one that is not Ready", Pod { ready: false, ..pod("web-1") }, false),
        ("a Job's", Pod { owner: Some(owner("Job", "web")), ..pod("web-1") }, false),
        ("one without a controller", Pod { owner: None, ..pod("web-1") }, false),
        ("one without siblings", pod("api-1"), false),
    ];
    for (name, pod, held) in rows {
        let found = implicit(&pod, &on(1), &[], &siblings, &nobody_else);
        assert_eq!(found.is_some(), held, "{name}: {found:?}");
    }
}

#[test]
fn the_reason_names_the_numbers_and_the_owner() {
    let why = implicit(&pod("web-2"), &on(2), &[], &replicas(2), &order(2));
    assert_eq!(why.as_deref(), Some("2 of 2 pods of ReplicaSet web are Ready, half must stay"));
}

/// A name, the Service's ready endpoints, and which replicas may leave.
type ServiceRow = (&'static str, &'static [(&'static str, usize)], &'static [usize]);

#[test]
fn the_last_ready_pod_of_a_service_stays() {
    // Four replicas, so that the half allows two; the Service has only these ready.
    let rows: &[ServiceRow] = &[
        ("all four", &[("web-1", 1), ("web-2", 2), ("web-3", 3), ("web-4", 4)], &[1, 2]),
        ("two, both on departing nodes", &[("web-1", 1), ("web-2", 2)], &[1]),
        ("two, one elsewhere", &[("web-1", 1), ("web-9", 9)], &[1, 2]),
        ("one", &[("web-1", 1)], &[2]),
        ("none of ours", &[("web-9", 9)], &[1, 2]),
    ];
    for (name, ready, expected) in rows {
        let services = [service("web", TrafficPolicy::Cluster, ready)];
        let leave: Vec<usize> = (1..=2)
            .filter(|number| {
                let pod = pod(&format!("web-{number}"));
                implicit(&pod, &on(*number), &services, &replicas(4), &order(4)).is_none()
            })
            .collect();
        assert_eq!(leave, *expected, "{name}");
    }
    let services = [service("web", TrafficPolicy::Cluster, &[("web-1", 1)])];
    let why = implicit(&pod("web-1"), &on(1), &services, &replicas(4), &order(4));
    assert_eq!(why.as_deref(), Some("the last Ready pod of Service shop/web must stay"));
}

#[test]
fn a_node_whose_record_can_not_be_read_comes_last() {
    let unread = Peer { annotation: "{}".to_owned(), ..peer(&record(1)) };
    let order = node_order(&vec![unread, peer(&record(2))].into());
    assert!(order[&node_name(2)] < order[&node_name(1)], "{order:?}");
    assert!(order[&node_name(2)].0 > SENT);
}

proptest! {
    #[test]
    fn all_processes_together_take_no_more_than_half_and_never_the_last_of_a_service(
        places in vec(1_usize..8, 2..12),
        departing in 1_usize..8,
        sick in vec(proptest::bool::weighted(0.2), 12),
        served in vec(proptest::bool::weighted(0.7), 12),
    ) {
        // Replica i runs on node places[i]; nodes 1 to `departing` leave.
        let siblings: Vec<Sibling> = places
            .iter()
            .enumerate()
            .map(|(index, on)| Sibling { ready: !sick[index], ..sibling(&format!("web-{index}"), *on) })
            .collect();
        let ready = || siblings.iter().enumerate().filter(|(_, one)| one.ready);
        let names: Vec<(String, usize)> = ready()
            .filter(|(index, _)| served[*index])
            .map(|(index, one)| (one.key.name.clone(), places[index]))
            .collect();
        let endpoints: Vec<(&str, usize)> = names.iter().map(|(name, on)| (name.as_str(), *on)).collect();
        let services = [service("web", TrafficPolicy::Cluster, &endpoints)];
        let taken: Vec<&Sibling> = ready()
            .filter(|(index, _)| places[*index] <= departing)
            .filter(|(index, one)| {
                let pod = pod(&one.key.name);
                implicit(&pod, &on(places[*index]), &services, &siblings, &order(departing)).is_none()
            })
            .map(|(_, one)| one)
            .collect();
        let left = ready().count() - taken.len();
        let half = siblings.len().div_ceil(2);
        prop_assert!(taken.is_empty() || left >= half, "{} taken, {left} of {} left", taken.len(), siblings.len());
        let serving = services[0].ready.iter().filter(|endpoint| taken.iter().all(|one| one.uid != endpoint.pod));
        prop_assert!(endpoints.is_empty() || serving.count() > 0, "the Service lost its last pod: {taken:?}");
    }
}
