//! Who may leave a target group now: the floor's arithmetic, the order, its limits, and when what left is settled.

use crate::world::{
    SENT, after, arn, healthy, id, instance, millis, policy, record, secs, target, target_id, web,
    withdrawn,
};
use decision::annotation::{Contributor, Departure};
use decision::id::InstanceId;
use decision::limits::{CLAIM_SETTLES, ORDER_SETTLES, WITHDRAW_MARGIN};
use decision::snapshot::aws::TargetState::{
    Draining, Healthy, Initial, Unavailable, Unhealthy, Unused,
};
use decision::snapshot::aws::{Balancer, RegistrationOwner, TargetGroup, TargetState};
use decision::snapshot::departing::Departures;
use decision::time::Timestamp;
use decision::withdraw::{Known, May, Order, Records, Standing, Wait, standing};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The present of most rows: long after every order settled, long before any last moment.
const NOW: u64 = 60;

fn records(records: impl IntoIterator<Item = Departure>) -> Departures {
    records.into_iter().map(Arc::new).collect()
}

fn departing(numbers: impl IntoIterator<Item = usize>) -> Departures {
    records(numbers.into_iter().map(record))
}

/// All records, as `me` sees them.
fn known<'a>(records: &'a Departures, me: &InstanceId) -> Records<'a> {
    Records::Known(Known::new(records, &records[me]))
}

/// The order as instance `me` sees it at `now`, without a hard deadline.
fn order<'a>(me: &'a InstanceId, now: Timestamp, records: Records<'a>) -> Order<'a> {
    Order {
        now,
        me,
        since: SENT,
        begun: SENT,
        hard: None,
        records,
        after_hook: true,
        reserves: BTreeMap::new(),
    }
}

fn stand(group: &TargetGroup, me: usize, records: &Departures, floor: &str) -> Standing {
    let me = instance(me);
    standing(
        group,
        &order(&me, after(NOW), known(records, &me)),
        &policy(&[("WITHDRAW_FLOOR", floor)]),
    )
}

fn may(standing: Standing) -> May {
    match standing {
        Standing::Registered { may, .. } => may,
        other => panic!("expected a registered target: {other:?}"),
    }
}

/// The numbers of those that may leave now, of the departing ones.
fn leavers(group: &TargetGroup, records: &Departures, floor: &str) -> Vec<usize> {
    (1..=10)
        .filter(|number| records.contains_key(&instance(*number)))
        .filter(|number| {
            matches!(
                stand(group, *number, records, floor),
                Standing::Registered { may: May::Now, .. }
            )
        })
        .collect()
}

#[test]
fn the_floor_keeps_its_share_and_never_less_than_one() {
    // Healthy targets, all of them departing: how many may leave with a floor of 0, 50 and 100 percent.
    let rows = [
        (1, [0, 0, 0]),
        (2, [1, 1, 0]),
        (3, [2, 1, 0]),
        (4, [3, 2, 0]),
        (5, [4, 2, 0]),
        (6, [5, 3, 0]),
        (7, [6, 3, 0]),
        (8, [7, 4, 0]),
        (9, [8, 4, 0]),
        (10, [9, 5, 0]),
    ];
    for (targets, expected) in rows {
        let records = departing(1..=targets);
        let group = web(healthy(1..=targets));
        let leave = ["0", "50", "100"].map(|floor| leavers(&group, &records, floor).len());
        assert_eq!(leave, expected, "{targets} targets");
    }
}

#[test]
fn what_was_counted_for_one_health_is_not_taken_for_another() {
    let records = records((1..=4).map(record).chain([withdrawn(record(5), "web", after(1))]));
    let counted = |targets, floor| leavers(&web(healthy(targets)), &records, floor).len();
    assert_eq!(counted(1..=4, "50"), 1, "five were in");
    assert_eq!(counted(1..=5, "50"), 2, "the one that wrote it down, and another");
    assert_eq!(counted(1..=2, "50"), 0);
    assert_eq!(counted(1..=4, "50"), 1, "as before");
}

#[test]
fn the_same_list_and_health_are_counted_once() {
    let (records, group) = (departing(1..=3), web(healthy(1..=4)));
    let first = records.tally(&group);
    assert!(Arc::ptr_eq(&first, &records.tally(&group.clone())), "the same answer of AWS");
    let later = TargetGroup { targets: group.targets.leaving(&[target_id(&instance(1))]), ..group };
    assert!(!Arc::ptr_eq(&first, &records.tally(&later)), "another one");
}

/// May this instance leave? Counted in the plainest way: all records with our own put in its place, one after the other.
fn may_leave(group: &TargetGroup, own: &Departure, listed: &[Departure], percent: usize) -> bool {
    let others = listed.iter().filter(|record| record.instance != own.instance);
    let all: Vec<&Departure> = others.chain([own]).collect();
    let lives = |record: &Departure| group.targets.living().contains(record.instance.as_str());
    let drains = |record: &Departure| group.targets.draining().contains(record.instance.as_str());
    let claims = |record: &Departure| record.withdrawn_from(&group.arn).map(|it| it.at);
    let gone = all.iter().filter(|it| !lives(it) && (drains(it) || claims(it).is_some())).count();
    let living = group.targets.living().len();
    let keep = ((living + gone) * percent).div_ceil(100).max(1);
    // Nobody's claim is new here: who wrote it down comes first, then the rank decides.
    let place = |record: &Departure| {
        let hard = record.hard().map_or(i64::MAX, |hard| hard.millis());
        (claims(record).is_none(), hard, record.instance.to_string())
    };
    let before = all.iter().filter(|it| lives(it) && place(it) < place(own)).count();
    before < living.saturating_sub(keep)
}

#[test]
fn our_own_record_counts_once_however_the_list_has_it() {
    let urgent = |mut record: Departure, seconds| {
        record.because[0].hard = Some(after(seconds));
        record
    };
    let claim = |number| withdrawn(record(number), "web", after(1));
    // How the list may have instance 3: not at all, as it is, with a claim that was dropped, less urgent, more urgent.
    let lists: [(&str, Option<Departure>); 5] = [
        ("not listed", None),
        ("listed", Some(record(3))),
        ("with a claim", Some(claim(3))),
        ("less urgent", Some(urgent(record(3), 9_000))),
        ("more urgent", Some(urgent(record(3), 5_000))),
    ];
    let owns = [record(3), claim(3), urgent(record(3), 6_000)];
    let others = [record(1), claim(2), urgent(record(4), 7_000), claim(5), record(6)];
    let states = [Healthy, Draining, Unused];
    let mut leave = 0;
    for (name, as_listed) in &lists {
        let listed: Vec<Departure> = others.iter().chain(as_listed).cloned().collect();
        for (own, percent, two, five) in owns.iter().flat_map(|own| {
            let states = states.iter().flat_map(|two| states.map(|five| (two, five)));
            states.flat_map(move |(two, five)| {
                (0..=100).step_by(10).map(move |percent| (own, percent, *two, five))
            })
        }) {
            let targets = [Healthy, two, Healthy, Healthy, five, Healthy, Healthy, Healthy];
            let targets = targets.iter().zip(1..).map(|(state, number)| target(number, *state));
            let group = web(targets.collect());
            let (me, known) = (instance(3), records(listed.clone()));
            let order = order(&me, after(NOW), Records::Known(Known::new(&known, own)));
            let policy = policy(&[("WITHDRAW_FLOOR", &percent.to_string())]);
            let said = matches!(may(standing(&group, &order, &policy)), May::Now);
            let expected = may_leave(&group, own, &listed, percent);
            assert_eq!(said, expected, "{name}, floor {percent}, {two:?}, {five:?}: {own:?}");
            leave += usize::from(said);
        }
    }
    assert!((400..1_000).contains(&leave), "both happen: {leave}");
}

#[test]
fn the_wait_says_how_many_live_and_how_many_must_stay() {
    let standing = stand(&web(healthy(1..=4)), 3, &departing(1..=4), "50");
    let expected = May::Later { at: after(300), why: Wait::Floor { living: 4, keep: 2 } };
    assert_eq!(may(standing), expected, "until the longest hold");
}

#[test]
fn the_last_that_may_turn_healthy_is_not_left_to_those_that_fail() {
    let group = |states: &[TargetState]| {
        web(states.iter().enumerate().map(|(index, state)| target(index + 1, *state)).collect())
    };
    let rows = [
        ("alone of its kind", &[Initial, Unhealthy, Unhealthy][..], &[1][..], &[][..]),
        ("with another", &[Initial, Initial, Unhealthy], &[1], &[1]),
        ("both leave", &[Initial, Initial, Unhealthy, Unhealthy], &[1, 2], &[1]),
        ("a healthy one is there", &[Initial, Healthy], &[1], &[1]),
        ("all fail", &[Unhealthy, Unhealthy], &[1], &[1]),
        ("one that fails", &[Initial, Unhealthy, Unhealthy], &[2], &[2]),
    ];
    for (name, states, departs, expected) in rows {
        let records = departing(departs.iter().copied());
        assert_eq!(leavers(&group(states), &records, "0"), expected, "{name}");
    }
    // Without a node to carry a record, at the last moment: of each kind the greatest id stays.
    let me = instance(1);
    let late = order(&me, after(300), Records::NoNode);
    let blind = |states: &[TargetState]| may(standing(&group(states), &late, &policy(&[])));
    assert_eq!(blind(&[Initial, Unhealthy]), May::LastLiving);
    assert_eq!(blind(&[Initial, Initial]), May::Now);
    assert_eq!(blind(&[Initial, Healthy]), May::Now);
}

#[test]
fn targets_that_do_not_leave_make_room_for_those_that_do() {
    assert_eq!(leavers(&web(healthy(1..=4)), &departing([1, 2]), "50"), [1, 2]);
    assert_eq!(leavers(&web(healthy(1..=3)), &departing([1, 2]), "50"), [1]);
}

#[test]
fn the_most_urgent_leaves_first_and_then_the_smaller_id() {
    let urgent = |number: usize, hard: u64| Departure {
        because: vec![Contributor { hard: Some(after(hard)), ..record(number).because.remove(0) }],
        ..record(number)
    };
    let group = web(healthy(1..=4));
    let rows = [
        (
            "the same deadline",
            vec![urgent(1, 7_200), urgent(2, 7_200), urgent(3, 7_200), urgent(4, 7_200)],
            [1, 2],
        ),
        (
            "the last is urgent",
            vec![urgent(1, 7_200), urgent(2, 7_200), urgent(3, 7_200), urgent(4, 7_199)],
            [1, 4],
        ),
        (
            "no deadline comes last",
            vec![
                Departure { because: Vec::new(), ..record(1) },
                urgent(2, 9_999),
                urgent(3, 7_200),
                urgent(4, 7_200),
            ],
            [3, 4],
        ),
    ];
    for (name, listed, expected) in rows {
        assert_eq!(leavers(&group, &records(listed), "50"), expected, "{name}");
    }
}

#[test]
fn a_place_in_the_order_must_settle_first() {
    let rows = [
        ("one millisecond before", ORDER_SETTLES - millis(1), false),
        ("at", ORDER_SETTLES, true),
        ("one millisecond after", ORDER_SETTLES + millis(1), true),
    ];
    for (name, age, settled) in rows {
        let ranked_at = after(NOW) - age;
        let listed = records([Departure { ranked_at, ..record(1) }]);
        let expected = if settled {
            May::Now
        } else {
            May::Later { at: ranked_at + ORDER_SETTLES, why: Wait::OrderSettles }
        };
        assert_eq!(may(stand(&web(healthy(1..=4)), 1, &listed, "50")), expected, "{name}");
    }
}

#[test]
fn who_wrote_down_that_it_leaves_counts_as_gone() {
    let group = web(healthy(1..=4));
    let claim = |number| withdrawn(record(number), "web", after(NOW));
    let old = |number| withdrawn(record(number), "web", after(NOW) - CLAIM_SETTLES);
    let rows = [
        ("nobody", vec![record(1), record(2), record(3)], vec![1, 2]),
        ("the last one did", vec![record(1), record(2), claim(3)], vec![1, 3]),
        ("the last two did", vec![record(1), claim(2), claim(3)], vec![2, 3]),
        (
            "one that came later does not hold up those who did",
            vec![record(1), claim(2), claim(3)],
            vec![2, 3],
        ),
        (
            "too many at once: none, until all have seen it",
            vec![claim(1), claim(2), claim(3)],
            vec![],
        ),
        ("the latest does not know yet who is before it", vec![old(1), old(2), claim(3)], vec![1]),
        ("all have seen it: the order decides", vec![old(1), old(2), old(3)], vec![1, 2]),
        ("one whose target is out of this group", vec![record(1), record(2), claim(9)], vec![1]),
        (
            "a claim on another group is none on this",
            vec![record(1), record(2), withdrawn(record(3), "api", after(NOW))],
            vec![1, 2],
        ),
    ];
    for (name, listed, expected) in rows {
        assert_eq!(leavers(&group, &records(listed), "50"), expected, "{name}");
    }
}

#[test]
fn the_floor_counts_those_that_left_for_as_long_as_their_nodes_are_there() {
    // Of four, two left. Whether their targets drain for minutes or were gone at once, two must stay.
    let claim = |number| withdrawn(record(number), "web", after(30));
    let listed = records([claim(1), claim(2), record(3), record(4)]);
    let draining: Vec<_> =
        [target(1, Draining), target(2, Draining)].into_iter().chain(healthy(3..=4)).collect();
    assert_eq!(leavers(&web(draining), &listed, "50"), [0; 0], "draining");
    assert_eq!(leavers(&web(healthy(3..=4)), &listed, "50"), [0; 0], "gone from the group");
    // Two replacements came: four live of six, three must stay.
    assert_eq!(leavers(&web(healthy(3..=6)), &listed, "50"), [3], "replaced");
    // A target that drains for somebody else's reason does not count.
    let other: Vec<_> = [target(9, Draining)].into_iter().chain(healthy(3..=4)).collect();
    assert_eq!(leavers(&web(other), &departing([3, 4]), "50"), [3], "drained by others");
}

#[test]
fn at_the_last_moment_the_floor_is_one() {
    let group = web(healthy(1..=4));
    // Sent at 0, a hold of 300 s; the hard deadline less 30 s settle time and a margin of 10 s.
    let hard_at = after(NOW) + secs(30) + WITHDRAW_MARGIN;
    let rows = [
        ("long before", after(299), None, vec![1, 2]),
        ("one millisecond before the longest hold", after(300) - millis(1), None, vec![1, 2]),
        ("at the longest hold", after(300), None, vec![1, 2, 3]),
        (
            "one millisecond before the deadline's last moment",
            after(NOW) - millis(1),
            Some(hard_at),
            vec![1, 2],
        ),
        ("at the deadline's last moment", after(NOW), Some(hard_at), vec![1, 2, 3]),
    ];
    let listed = departing(1..=4);
    for (name, now, hard, expected) in rows {
        let leave: Vec<usize> = (1..=4)
            .filter(|number| {
                let me = instance(*number);
                let order = Order { hard, ..order(&me, now, known(&listed, &me)) };
                matches!(
                    standing(&group, &order, &policy(&[])),
                    Standing::Registered { may: May::Now, .. }
                )
            })
            .collect();
        assert_eq!(leave, expected, "{name}");
    }
    let me = instance(4);
    let last = standing(&group, &order(&me, after(300), known(&listed, &me)), &policy(&[]));
    assert_eq!(may(last), May::LastLiving, "the last of the order stays for good");
}

#[test]
fn the_wait_for_the_floor_counts_from_our_record_and_not_from_an_old_signal() {
    let listed = departing(1..=4);
    let me = instance(4);
    // The signal waited an hour in the queue; the record is a minute old.
    let order = Order { since: SENT - secs(3_600), ..order(&me, after(NOW), known(&listed, &me)) };
    let held = standing(&web(healthy(1..=4)), &order, &policy(&[]));
    assert_eq!(may(held), May::Later { at: after(300), why: Wait::Floor { living: 4, keep: 2 } });
}

#[test]
fn a_target_that_the_group_does_not_count_on_may_leave_at_once() {
    let rows = [
        ("unhealthy, another is healthy", vec![target(1, Unhealthy), target(2, Healthy)], May::Now),
        (
            "not yet checked, another is healthy",
            vec![target(1, Initial), target(2, Healthy)],
            May::Now,
        ),
        (
            "unhealthy, another's checks are off",
            vec![target(1, Unhealthy), target(2, Unavailable)],
            May::Now,
        ),
        (
            "none is healthy: a load balancer sends to all",
            vec![target(1, Unhealthy)],
            May::Later { at: after(300), why: Wait::Floor { living: 1, keep: 1 } },
        ),
        (
            "none is healthy, and another is registered",
            vec![target(1, Unhealthy), target(2, Initial)],
            May::Now,
        ),
        (
            "none is healthy, and the other only drains",
            vec![target(1, Unhealthy), target(2, Draining)],
            May::Later { at: after(300), why: Wait::Floor { living: 1, keep: 1 } },
        ),
    ];
    for (name, targets, expected) in rows {
        assert_eq!(may(stand(&web(targets), 1, &departing([1]), "50")), expected, "{name}");
    }
}

#[test]
fn nobody_leaves_on_a_guess() {
    let group = web(healthy(1..=4));
    let (me, policy) = (instance(1), policy(&[]));
    let unlisted = May::Later { at: after(NOW) + ORDER_SETTLES, why: Wait::Unlisted };
    let own = departing([1]);
    let unread = Records::Unread(&own[&me]);
    let unread = standing(&group, &order(&me, after(NOW), unread), &policy);
    assert_eq!(may(unread), unlisted, "the list failed");
    let listed_before_us = departing([2]);
    let records = Records::Known(Known::new(&listed_before_us, &own[&me]));
    let before_others = standing(&group, &order(&me, after(NOW), records), &policy);
    assert_eq!(may(before_others), May::Now, "the list is older than our record");
}

#[test]
fn a_list_that_failed_forgets_nothing_of_our_own_withdrawal() {
    let (me, policy) = (instance(1), policy(&[]));
    let own = withdrawn(record(1), "web", after(NOW - 5));
    let order = order(&me, after(NOW), Records::Unread(&own));
    let expected = Standing::Leaving { settled: after(NOW + 25), drained: after(NOW + 25) };
    assert_eq!(standing(&web(healthy(2..=4)), &order, &policy), expected);
}

#[test]
fn without_a_record_nobody_leaves_before_the_last_moment_and_the_greatest_id_stays() {
    let policy = policy(&[]);
    let group = web(healthy(1..=3));
    let rows = [
        (
            "one millisecond before",
            1,
            after(300) - millis(1),
            May::Later { at: after(300), why: Wait::Unlisted },
        ),
        ("at the last moment", 1, after(300), May::Now),
        ("the greatest id", 3, after(300), May::LastLiving),
    ];
    for (name, number, now, expected) in rows {
        let me = instance(number);
        assert_eq!(
            may(standing(&group, &order(&me, now, Records::NoNode), &policy)),
            expected,
            "{name}"
        );
    }
}

#[test]
fn all_ports_of_an_instance_leave_and_only_those_that_are_in() {
    let mut targets = healthy([1, 2, 3]);
    targets.push(decision::snapshot::aws::Target {
        port: 30_443,
        zone: Some("all".to_owned()),
        ..target(1, Healthy)
    });
    targets.push(decision::snapshot::aws::Target { port: 30_999, ..target(1, Draining) });
    targets.push(decision::snapshot::aws::Target { port: 30_998, ..target(1, Unused) });
    let Standing::Registered { targets, .. } = stand(&web(targets), 1, &departing([1]), "50")
    else {
        panic!("two ports are in");
    };
    let both = [
        target_id(&instance(1)),
        decision::step::TargetId {
            port: 30_443,
            zone: Some("all".to_owned()),
            ..target_id(&instance(1))
        },
    ];
    assert_eq!(targets, both);
}

// ---- What left -----------------------------------------------------------------------------------

struct Left {
    name: &'static str,
    owner: RegistrationOwner,
    balancer: Balancer,
    delay: u64,
    mine: Option<TargetState>,
    recorded: Option<u64>,
    now: u64,
    /// Settled and drained, in seconds after the signal; `None` is clear.
    expected: Option<(u64, u64)>,
}

const LEFT: Left = Left {
    name: "",
    owner: RegistrationOwner::Named,
    balancer: Balancer::Application,
    delay: 300,
    mine: None,
    recorded: None,
    now: 10,
    expected: None,
};

#[track_caller]
fn check_left(row: &Left) {
    let targets = row.mine.map(|state| target(1, state)).into_iter().chain(healthy([2])).collect();
    let group = TargetGroup {
        owner: row.owner,
        balancer: row.balancer,
        deregistration_delay: secs(row.delay),
        ..web(targets)
    };
    let own = match row.recorded {
        Some(at) => withdrawn(record(1), "web", after(at)),
        None => record(1),
    };
    let (me, listed) = (instance(1), records([own]));
    let order = order(&me, after(row.now), known(&listed, &me));
    let expected = row.expected.map_or(Standing::Clear, |(settled, drained)| Standing::Leaving {
        settled: after(settled),
        drained: after(drained),
    });
    assert_eq!(standing(&group, &order, &policy(&[])), expected, "{}", row.name);
}

#[test]
fn what_the_asg_took_out_left_a_delay_before_its_hook() {
    let asg = || Left { owner: RegistrationOwner::Asg, ..LEFT };
    let network = || Left { balancer: Balancer::Network, ..asg() };
    let rows = [
        Left { name: "delay 300: settled before the hook", ..asg() },
        Left { name: "delay 0", delay: 0, expected: Some((30, 30)), ..asg() },
        Left { name: "delay 0, settled", delay: 0, now: 30, ..asg() },
        Left { name: "an NLB, delay 0", delay: 0, expected: Some((120, 120)), ..network() },
        Left { name: "an NLB, delay 60", delay: 60, expected: Some((60, 60)), ..network() },
        Left { name: "still draining", mine: Some(Draining), expected: Some((30, 300)), ..asg() },
    ];
    for row in rows {
        check_left(&row);
    }
}

#[test]
fn what_we_took_out_is_settled_after_the_lag_and_drained_after_the_delay() {
    let recorded = || Left { recorded: Some(5), ..LEFT };
    let draining = || Left { mine: Some(Draining), expected: Some((35, 305)), ..recorded() };
    let rows = [
        Left { name: "was never in", ..LEFT },
        Left { name: "draining", ..draining() },
        Left { name: "draining, settled long ago", now: 200, ..draining() },
        Left { name: "gone at once, delay 0", delay: 0, expected: Some((35, 35)), ..recorded() },
        Left { name: "gone, one second early", now: 34, expected: Some((35, 35)), ..recorded() },
        Left { name: "gone, settled", now: 35, ..recorded() },
        Left {
            name: "an NLB's lag outlasts a short delay",
            balancer: Balancer::Network,
            delay: 30,
            expected: Some((125, 125)),
            ..draining()
        },
        Left { name: "drained by others", recorded: None, expected: Some((30, 300)), ..draining() },
        Left { name: "unused carries no traffic", mine: Some(Unused), ..LEFT },
    ];
    for row in rows {
        check_left(&row);
    }
}

#[test]
fn a_group_is_named_by_its_whole_arn() {
    // Two groups of one name in two regions: a record about one says nothing of the other.
    let mut other = web(Vec::new());
    other.arn = id(arn("web").as_str().replace("eu-central-1", "us-east-1").as_str());
    let listed = records([withdrawn(record(1), "web", after(5))]);
    assert_eq!(stand(&other, 1, &listed, "50"), Standing::Clear);
}
