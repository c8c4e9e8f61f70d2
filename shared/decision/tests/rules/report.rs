//! What is said to somebody who was woken: what is held, why, what happens if nobody acts, what to type.

use crate::world::{
    GLOBAL, SENT, absent, act, after, budget, cordoned, daemon, deleted, departing, ec2, facts_mut,
    healthy, key, labels, node, node_mut, peer, pod, policy, proven, record, secs, service,
    sibling, signalled_in, signalled_out, target, token, uid, unreachable, view_mut, web,
    withdrawn,
};
use decision::annotation::DEPARTURE;
use decision::decide::decide;
use decision::policy::Policy;
use decision::report::Watch;
use decision::snapshot::aws::{Instance, TargetState};
use decision::snapshot::cluster::{Budget, Pod, Sibling, TrafficPolicy};
use decision::snapshot::{Attempts, HookState, Snapshot};

fn page(snapshot: &Snapshot, policy: &Policy) -> String {
    let report = decide(snapshot, policy).report;
    format!("{report}\n\n{}", report.page(snapshot.now, policy))
}

/// Eleven minutes into a drain; the target left at 30 s; AWS took a heartbeat two minutes ago.
fn eleven_minutes() -> Snapshot {
    let mut snapshot = departing();
    snapshot.now = after(660);
    let own = withdrawn(record(1), "web", after(30));
    *node_mut(&mut snapshot) = cordoned(node(), &own);
    view_mut(&mut snapshot).peers = Ok(vec![peer(&own)].into());
    snapshot.aws.target_groups = Ok(vec![web(healthy([2, 3]))]);
    snapshot.memory.hooks.insert(token(1).fingerprint(), HookState::Active(after(540)));
    snapshot
}

/// A budget that is zero because a replacement finds no room.
fn blocked() -> Snapshot {
    let mut snapshot = eleven_minutes();
    let trouble = "0/14 nodes are available: 14 Insufficient cpu".to_owned();
    let pending = Sibling {
        node: None,
        ready: false,
        unschedulable: true,
        created_at: Some(after(120)),
        trouble: Some(trouble),
        ..sibling("checkout-9zt5k", 9)
    };
    let view = view_mut(&mut snapshot);
    view.pods = Ok(vec![pod("checkout-x2x8q"), daemon("agent-1"), daemon("cni-1")]);
    view.budgets = Ok(vec![budget("checkout", 0)]);
    view.siblings = Ok(vec![sibling("checkout-x2x8q", 1), sibling("checkout-aaaaa", 2), pending]);
    let refused =
        Some("Cannot evict pod as it would violate the pod's disruption budget.".to_owned());
    let attempts = Attempts { count: 31, last_at: after(630), refused };
    snapshot.memory.evictions.insert(uid("uid-checkout-x2x8q"), attempts);
    snapshot
}

#[test]
fn a_drain_that_goes_its_way() {
    let mut snapshot = departing();
    let ending = Pod { deletion: deleted(after(80)), ..pod("api-1") };
    let local = service("web", TrafficPolicy::Local, &[]);
    snapshot.aws.target_groups =
        Ok(vec![web([target(1, TargetState::Draining)].into_iter().chain(healthy([2])).collect())]);
    let own = withdrawn(record(1), "web", after(50));
    *node_mut(&mut snapshot) = cordoned(node(), &own);
    let view = view_mut(&mut snapshot);
    view.pods = Ok(vec![ending, pod("web-1"), pod("shop-1"), daemon("agent-1")]);
    view.services = Ok(vec![local]);
    insta::assert_snapshot!(page(&snapshot, &act()));
}

#[test]
fn blocked_by_a_budget_that_is_zero_because_a_sibling_finds_no_room() {
    insta::assert_snapshot!(page(&blocked(), &act()));
}

#[test]
fn blocked_by_a_budget_that_is_zero_because_a_sibling_is_sick() {
    let mut snapshot = blocked();
    if let Ok(siblings) = &mut view_mut(&mut snapshot).siblings {
        let sick = siblings.last_mut().expect("three");
        sick.unschedulable = false;
        sick.trouble =
            Some("CrashLoopBackOff: back-off 5m0s restarting failed container".to_owned());
    }
    insta::assert_snapshot!(page(&snapshot, &act()));
}

#[test]
fn blocked_by_a_budget_that_allows_none_even_with_all_its_pods() {
    let mut snapshot = blocked();
    view_mut(&mut snapshot).siblings =
        Ok(vec![sibling("checkout-x2x8q", 1), sibling("checkout-aaaaa", 2)]);
    let rule = "maxUnavailable 0".to_owned();
    view_mut(&mut snapshot).budgets =
        Ok(vec![Budget { rule, healthy: 2, ..budget("checkout", 0) }]);
    insta::assert_snapshot!(page(&snapshot, &policy(&[("AT_LONGEST_DRAIN", "force")])));
}

#[test]
fn held_by_an_annotation() {
    let mut snapshot = eleven_minutes();
    let annotations = labels(&[("karpenter.sh/do-not-disrupt", "true")]);
    let protected = Pod { annotations, owner: None, ..pod("report-1") };
    view_mut(&mut snapshot).pods = Ok(vec![protected]);
    insta::assert_snapshot!(page(&snapshot, &act()));
}

#[test]
fn held_by_two_budgets() {
    let mut snapshot = eleven_minutes();
    view_mut(&mut snapshot).pods = Ok(vec![pod("checkout-x2x8q")]);
    let all = Budget { key: key("shop/all"), ..budget("checkout", 5) };
    view_mut(&mut snapshot).budgets = Ok(vec![budget("checkout", 1), all]);
    insta::assert_snapshot!(page(&snapshot, &act()));
}

#[test]
fn held_by_the_implicit_budget() {
    let mut snapshot = departing();
    snapshot.now = after(120);
    let view = view_mut(&mut snapshot);
    view.pods = Ok(vec![pod("checkout-x2x8q")]);
    view.siblings = Ok(vec![
        sibling("checkout-x2x8q", 1),
        Sibling { ready: false, ..sibling("checkout-9zt5k", 2) },
    ]);
    facts_mut(&mut snapshot).global = secs(3_600);
    let mut own = record(1);
    own.because[0].hard = Some(after(3_600));
    node_mut(&mut snapshot).annotations.insert(DEPARTURE.to_owned(), own.text());
    insta::assert_snapshot!(page(&snapshot, &act()));
}

#[test]
fn many_blocked_pods() {
    let mut snapshot = blocked();
    view_mut(&mut snapshot).pods =
        Ok((0..9).map(|number| pod(&format!("checkout-{number}"))).collect());
    insta::assert_snapshot!(page(&snapshot, &act()));
}

#[test]
fn empty_and_settling() {
    let mut snapshot = eleven_minutes();
    snapshot.now = after(200);
    snapshot.memory.hooks.clear();
    snapshot.aws.target_groups =
        Ok(vec![web([target(1, TargetState::Draining)].into_iter().chain(healthy([2])).collect())]);
    view_mut(&mut snapshot).pods = Ok(vec![daemon("agent-1")]);
    insta::assert_snapshot!(page(&snapshot, &act()));
}

#[test]
fn volumes_that_detach() {
    let mut snapshot = eleven_minutes();
    view_mut(&mut snapshot).volumes = Ok(vec!["pvc-1".to_owned(), "pvc-2".to_owned()]);
    insta::assert_snapshot!(page(&snapshot, &act()));
}

#[test]
fn overdue() {
    let mut snapshot = blocked();
    snapshot.now = SENT + GLOBAL - secs(5);
    proven(&mut snapshot);
    insta::assert_snapshot!(page(&snapshot, &act()));
}

#[test]
fn waiting_for_a_node_to_register() {
    let mut snapshot = signalled_out();
    snapshot.cluster = absent();
    snapshot.aws.instance = Ok(Some(Instance { launched_at: Some(SENT - secs(20)), ..ec2() }));
    insta::assert_snapshot!(page(&snapshot, &act()));
}

#[test]
fn a_cluster_that_is_unreachable() {
    let mut snapshot = eleven_minutes();
    snapshot.cluster = unreachable();
    insta::assert_snapshot!(page(&snapshot, &act()));
}

#[test]
fn an_arrival_that_waits() {
    let mut snapshot = signalled_in();
    snapshot.now = after(130);
    node_mut(&mut snapshot).ready = Some(false);
    insta::assert_snapshot!(page(&snapshot, &act()));
}

#[test]
fn what_is_wrong_with_the_hook_and_the_pods() {
    let mut snapshot = departing();
    snapshot.now = after(50);
    facts_mut(&mut snapshot).heartbeat = secs(60);
    facts_mut(&mut snapshot).metadata = Some(r#"{"ebbtide":{"longest_drain":"1d"}}"#.to_owned());
    let view = view_mut(&mut snapshot);
    view.pods = Ok(vec![Pod { owner: None, pre_stop: false, empty_dir: true, ..pod("web-1") }]);
    view.services = Ok(vec![service("web", TrafficPolicy::Cluster, &[])]);
    insta::assert_snapshot!(page(&snapshot, &act()));
}

#[test]
fn a_page_fits_its_most_important_half_into_an_event() {
    // An Event's note takes 1,024 bytes; what is cut off must not be who is blocked and by what.
    let text = decide(&blocked(), &act()).report.page(after(660), &act());
    let held = text.find("held by").expect("it says what holds the pod");
    assert!(held < 512, "at byte {held}");
    assert!(text.len() <= 1_400, "{} bytes", text.len());
}

#[test]
fn what_is_watched_is_what_the_departure_waits_for() {
    let ending = || Pod { deletion: deleted(after(80)), ..pod("web-1") };
    let (pods, web, api) = (Watch::Pods(node().name), budget("web", 0), budget("api", 1));
    let closed = || vec![Watch::Budget(web.key.clone())];
    let budgets = || vec![web.clone(), api.clone()];
    let rows = [
        ("one ends", vec![ending()], Vec::new(), vec![pods]),
        ("one ends, one is evicted", vec![ending(), pod("api-1")], budgets(), Vec::new()),
        ("none is left", Vec::new(), budgets(), Vec::new()),
        ("a budget allows none", vec![pod("web-1")], budgets(), closed()),
        ("the same for two", vec![pod("web-1"), pod("web-2")], budgets(), closed()),
        ("and one ends", vec![ending(), pod("web-2")], budgets(), closed()),
        ("and one is evicted", vec![pod("api-1"), pod("web-1")], budgets(), closed()),
        ("this turn uses it up", vec![pod("api-1"), pod("api-2")], budgets(), Vec::new()),
    ];
    for (name, pods, budgets, watched) in rows {
        let mut snapshot = departing();
        let view = view_mut(&mut snapshot);
        (view.pods, view.budgets) = (Ok(pods), Ok(budgets));
        let watches = decide(&snapshot, &act()).report.watches();
        assert_eq!(watches.into_iter().collect::<Vec<_>>(), watched, "{name}");
    }
}
