//! One plan for a batch: one call a group, one answer an action, waves in their order.

use crate::world::{
    act, after, arn, budget, cordoned, departing, healthy, hook_mut, instance, key, labels, node,
    node_mut, peer, pod, record, secs, signalled_in, target_id, token, uid, view_mut, web,
    withdrawn,
};
use decision::annotation::Departure;
use decision::decide::decide;
use decision::decision::{Answer, Decision, Next};
use decision::limits::HEALTH_FRESH;
use decision::plan::{For, Plan, Remove, ends_lane, join, lanes};
use decision::snapshot::Snapshot;
use decision::step::{Class, Deregister, HookResult, Outcome, Removal, Step, TargetChange};
use decision::time::Timestamp;
use std::collections::BTreeMap;

/// The departure of instance `number` with its target still in group `web` and its withdrawal on record a second ago.
fn leaving(number: usize, read_at: Timestamp) -> Snapshot {
    let mut snapshot = departing();
    snapshot.instance = instance(number);
    snapshot.signals[0].message = format!("message-{number}");
    hook_mut(&mut snapshot).token = token(number);
    let own = withdrawn(record(number), "web", after(59));
    *node_mut(&mut snapshot) = cordoned(node(), &own);
    let view = view_mut(&mut snapshot);
    view.peers = Ok((1..=4)
        .map(|other| peer(&record(other)))
        .map(|mut peer| {
            if peer.instance == own.instance {
                peer.annotation = own.text();
            }
            peer
        })
        .collect());
    view.pods = Ok(vec![pod(&format!("web-{number}"))]);
    let group = decision::snapshot::aws::TargetGroup { read_at, ..web(healthy(1..=9)) };
    snapshot.aws.target_groups = Ok(vec![group]);
    snapshot
}

fn plan(snapshots: &[Snapshot]) -> Plan {
    let decisions: Vec<Decision> =
        snapshots.iter().map(|snapshot| decide(snapshot, &act())).collect();
    join(&decisions)
}

#[test]
fn nothing_to_do_is_an_empty_plan() {
    assert_eq!(join(&[]), Plan::default());
}

#[test]
fn what_several_want_of_one_group_is_one_call_as_fresh_as_its_oldest_health() {
    let plan = plan(&[leaving(1, after(60)), leaving(2, after(59)), leaving(3, after(60))]);
    let [call] = plan.deregister.as_slice() else { panic!("one call: {:?}", plan.deregister) };
    assert_eq!(call.instances, [instance(1), instance(2), instance(3)]);
    let targets = (1..=3).map(|number| target_id(&instance(number))).collect();
    let change = TargetChange { group: arn("web"), targets };
    let (health, fresh_until) = (web(healthy(1..=9)).targets, after(59) + HEALTH_FRESH);
    assert_eq!(call.what, Deregister { change, health, fresh_until });
}

/// A decision to take out some instances' targets of a group with these living ones.
fn takes_out(number: usize, out: &[usize], living: usize) -> Decision {
    let targets = out.iter().map(|number| target_id(&instance(*number))).collect();
    let change = TargetChange { group: arn("web"), targets };
    let health = web(healthy(1..=living)).targets;
    let call = Deregister { change, health, fresh_until: after(60) };
    Decision { steps: vec![Step::Deregister(call)], ..decide(&leaving(number, after(60)), &act()) }
}

#[test]
fn a_joined_call_leaves_a_living_target_in() {
    // The calls that are decided on (whose, and what they take out), living targets, and what is taken out together.
    let rows = [
        ("of two that live, both leave", vec![(1, vec![1]), (2, vec![2])], 2, vec![1]),
        ("a third stays", vec![(1, vec![1]), (2, vec![2])], 3, vec![1, 2]),
        ("one call takes others along", vec![(1, vec![1, 2]), (3, vec![3])], 3, vec![1, 2]),
        ("nobody lives any more", vec![(1, vec![1]), (2, vec![2])], 0, vec![1, 2]),
        ("the last one alone", vec![(1, vec![1])], 1, vec![]),
    ];
    for (name, decided, living, expected) in rows {
        let decisions: Vec<Decision> =
            decided.iter().map(|(number, out)| takes_out(*number, out, living)).collect();
        let plan = join(&decisions);
        let calls = plan.deregister.iter();
        let out: Vec<_> = calls.flat_map(|call| call.what.change.targets.clone()).collect();
        let expected: Vec<_> =
            expected.iter().map(|number| target_id(&instance(*number))).collect();
        assert_eq!(out, expected, "{name}");
        let blamed = plan.deregister.iter().flat_map(|call| &call.instances);
        let takes = |instance: &_| expected.iter().any(|target| target == &target_id(instance));
        assert!(blamed.clone().all(takes), "{name}: {:?}", blamed.collect::<Vec<_>>());
    }
}

#[test]
fn groups_are_called_one_by_one_in_the_order_of_their_arns() {
    let mut snapshot = leaving(1, after(60));
    let own = withdrawn(withdrawn(record(1), "web", after(59)), "api", after(59));
    *node_mut(&mut snapshot) = cordoned(node(), &own);
    let api = decision::snapshot::aws::TargetGroup { arn: arn("api"), ..web(healthy(1..=9)) };
    if let Ok(groups) = &mut snapshot.aws.target_groups {
        groups.push(api);
    }
    let groups: Vec<_> =
        plan(&[snapshot]).deregister.into_iter().map(|call| call.what.change.group).collect();
    assert_eq!(groups, [arn("api"), arn("web")]);
}

#[test]
fn an_action_is_answered_once_however_many_messages_speak_of_it() {
    let mut snapshot = departing();
    let mut again = snapshot.signals[0].clone();
    again.message = "message-2".to_owned();
    let mut other = snapshot.signals[0].clone();
    other.message = "message-3".to_owned();
    snapshot.signals.extend([again, other]);
    crate::world::hook_of(&mut snapshot.signals[2]).token = token(3);
    // The second hook's part is on record as well.
    let mut because = record(1).because;
    because.extend(record(3).because);
    *node_mut(&mut snapshot) = cordoned(node(), &Departure { because, ..record(1) });

    let plan = plan(&[snapshot]);
    let answers: Vec<_> =
        plan.answers.iter().map(|answer| (answer.messages.clone(), answer.result)).collect();
    let both = vec!["message-1".to_owned(), "message-2".to_owned()];
    let third = vec!["message-3".to_owned()];
    assert_eq!(answers, [(both, HookResult::Continue), (third, HookResult::Continue)]);
}

#[test]
fn a_rejected_message_answers_its_hook_with_continue() {
    let mut snapshot = departing();
    view_mut(&mut snapshot).pods = Ok(vec![pod("web-1")]);
    snapshot.signals[0].receives = decision::limits::RECEIVES_MAX;
    let plan = plan(&[snapshot]);
    assert_eq!(plan.answers.len(), 1);
    assert_eq!(plan.answers[0].result, HookResult::Continue);
}

#[test]
fn a_heartbeat_is_sent_once_for_each_action() {
    let mut snapshot = departing();
    snapshot.now = after(2_000);
    let mut again = snapshot.signals[0].clone();
    again.message = "message-2".to_owned();
    snapshot.signals.push(again);
    assert_eq!(plan(&[snapshot]).heartbeats.len(), 1);
}

fn name_of(what: Remove) -> String {
    match what {
        Remove::Evict { pod, .. } | Remove::Delete { pod, .. } => pod.pod.name,
    }
}

#[test]
fn steps_keep_their_order_within_a_wave() {
    let mut snapshot = departing();
    let names = ["web-2", "api-1", "dns-1"];
    let mut pods: Vec<_> = names.iter().map(|name| pod(name)).collect();
    pods[2].priority = -5;
    view_mut(&mut snapshot).pods = Ok(pods);
    let removed: Vec<_> =
        plan(&[snapshot]).removals.into_iter().map(|removal| name_of(removal.what)).collect();
    assert_eq!(removed, ["dns-1", "api-1", "web-2"], "the lowest priority first");
}

/// An eviction of the first node's, or a deletion (`!`), under this budget.
fn removal(name: &str, budget: Option<&str>) -> For<Remove> {
    let pod = Removal { pod: key(&format!("shop/{name}")), uid: uid(name) };
    let what = match name.strip_prefix('!') {
        Some(_) => Remove::Delete { pod, grace_seconds: 5 },
        None => Remove::Evict { pod, budget: budget.map(key) },
    };
    For { instance: instance(1), what }
}

#[test]
fn evictions_under_one_budget_go_one_after_the_other() {
    let (web, api) = (Some("shop/web"), Some("shop/api"));
    let rows = [
        removal("web-1", web),
        removal("api-1", api),
        removal("lone-1", None),
        removal("web-2", web),
        removal("!web-3", None),
        removal("lone-2", None),
    ];
    let lanes = in_lanes(rows.into(), &[(1, "shop")]);
    let expected: [&[&str]; 5] =
        [&["lone-1"], &["!web-3"], &["lone-2"], &["api-1"], &["web-1", "web-2"]];
    assert_eq!(lanes, expected, "what waits for nobody first");
}

fn in_lanes(removals: Vec<For<Remove>>, clusters: &[(usize, &str)]) -> Vec<Vec<String>> {
    let named = |(node, name): &(usize, &str)| Some((instance(*node), name.parse().ok()?));
    lanes(removals, &clusters.iter().filter_map(named).collect())
        .into_iter()
        .map(|lane| lane.into_iter().map(|one| name_of(one.what)).collect())
        .collect()
}

#[test]
fn budgets_of_one_name_in_two_clusters_have_a_lane_each() {
    let rows = || {
        let mut rows = ["web-1", "web-2", "web-3"].map(|name| removal(name, Some("shop/web")));
        rows[1].instance = instance(2);
        rows.to_vec()
    };
    let apart = in_lanes(rows(), &[(1, "blue"), (2, "green")]);
    assert_eq!(apart, [&["web-1", "web-3"][..], &["web-2"]]);
    let together = in_lanes(rows(), &[(1, "blue"), (2, "blue")]);
    assert_eq!(together, [["web-1", "web-2", "web-3"]]);
}

#[test]
fn what_became_of_one_eviction_speaks_for_the_others_if_it_is_about_the_budget_or_the_server() {
    let failed = |class| Outcome::Failed { class, why: "as the row says".to_owned() };
    let rows = [
        (Outcome::Done, false),
        (Outcome::Skipped("no time".to_owned()), false),
        (failed(Class::Blocked), true),
        (failed(Class::Throttled(None)), true),
        (failed(Class::Again), true),
        (failed(Class::Gone), false),
        (failed(Class::Conflict), false),
        (failed(Class::Mismatch), false),
        (failed(Class::Denied), false),
        (failed(Class::Final), false),
    ];
    for (outcome, ends) in rows {
        assert_eq!(ends_lane(&outcome), ends, "{outcome:?}");
    }
}

#[test]
fn an_eviction_names_the_budget_that_is_charged_for_it() {
    let mut snapshot = departing();
    let mut unready = pod("web-2");
    unready.ready = false;
    let mut alone = pod("lone-1");
    alone.labels = labels(&[]);
    view_mut(&mut snapshot).pods = Ok(vec![pod("web-1"), unready, alone]);
    view_mut(&mut snapshot).budgets = Ok(vec![budget("web", 2)]);
    let removals = plan(&[snapshot]).removals.into_iter().map(|removal| match removal.what {
        Remove::Evict { pod, budget } => (pod.pod.name, budget.map(|budget| budget.to_string())),
        Remove::Delete { .. } => panic!("nothing is forced"),
    });
    let removals: BTreeMap<String, Option<String>> = removals.collect();
    assert_eq!(removals["web-1"].as_deref(), Some("shop/web"));
    assert_eq!(removals["web-2"], None, "it is not Ready, so it costs the budget nothing");
    assert_eq!(removals["lone-1"], None);
}

#[test]
fn what_comes_back_or_is_finished_is_no_answer() {
    let mut snapshot = signalled_in();
    node_mut(&mut snapshot).ready = Some(false);
    assert_eq!(plan(&[snapshot]).answers, []);
}

#[test]
fn registrations_of_one_group_are_one_call() {
    let register = |number: usize| Decision {
        instance: instance(number),
        steps: vec![Step::Register(TargetChange {
            group: arn("web"),
            targets: vec![target_id(&instance(number))],
        })],
        answers: vec![Answer {
            message: format!("message-{number}"),
            next: Next::ComeBack { at: after(60) + secs(1) },
        }],
        ..decide(&signalled_in(), &act())
    };
    let plan = join(&[register(1), register(2)]);
    assert_eq!(plan.register.len(), 1);
    assert_eq!(plan.register[0].what.targets, [target_id(&instance(1)), target_id(&instance(2))]);
}
