//! Several signals about one instance, from both functions and in any order: one departure, and each hook its own answer.

use crate::flow::{DELIVERY, Flow, HOUR, MINUTE, SECOND};
use crate::past::{Past, TERMINATE};
use sandbox::aws::autoscaling::{Ended, HookSpec, Transition, Verdict};
use sandbox::aws::ec2::Purchase;
use sandbox::aws::sqs::Sqs;
use sandbox::kubernetes::{Budget, How, Manners, Workload, WorkloadKind};
use sandbox::scenario::{INTERRUPTION_QUEUE, Incident, LIFECYCLE_QUEUE, START};
use sandbox::world::{Millis, World};

const SPOT: &str = "EC2 Spot Instance Interruption Warning";

/// The small world on Spot: without capacity rebalancing, the terminate hook comes when the instance is gone.
fn on_spot() -> Flow {
    Flow::interrupted().group(|group| group.purchase = Purchase::Spot).for_at_most(2 * HOUR)
}

/// The same with capacity rebalancing: the terminate hook comes with the warning.
fn rebalancing() -> Flow {
    on_spot().group(|group| group.capacity_rebalance = true)
}

/// Asserts that host 0 left once, in time, without a dropped request, and its hook was answered CONTINUE.
#[track_caller]
fn left_once(past: &Past) {
    past.all_pods_were_removed(0);
    past.no_pod_left_twice();
    past.nothing_was_dropped();
    let cordons = past.marks(0).windows(2).filter(|pair| !pair[0].1.cordoned && pair[1].1.cordoned);
    assert_eq!(cordons.count(), 1, "{}", past.transcript());
    past.continued(0);
}

/// Asserts that each group was told once that host 0 leaves, at most.
#[track_caller]
fn deregistered_once(past: &Past) {
    for group in &past.place.groups {
        let calls = past.calls("DeregisterTargets");
        let calls = calls.iter().filter(|call| call.subject == *group).count();
        assert!(calls <= 1, "{calls} for {group}\n{}", past.transcript());
    }
}

#[tokio::test(start_paused = true)]
async fn a_warning_with_the_hook_beside_it_is_one_departure() {
    let past = rebalancing().befalls(0, SECOND, Incident::Spot).run().await;
    left_once(&past);
    deregistered_once(&past);
    let ending = past.ending(0);
    assert!(ending.at <= past.died_at(0) + 5 * SECOND, "{ending:?}");
}

#[tokio::test(start_paused = true)]
async fn a_warning_whose_hook_comes_when_the_instance_is_gone_is_one_departure() {
    let past = on_spot().befalls(0, SECOND, Incident::Spot).run().await;
    left_once(&past);
    deregistered_once(&past);
    let ending = past.ending(0);
    assert!(ending.action.began_at - START > past.died_at(0), "the hook came late: {ending:?}");
    assert!(ending.waited < MINUTE, "nobody waits for a host that is gone: {ending:?}");
}

#[tokio::test(start_paused = true)]
async fn a_warning_during_the_drain_for_a_hook_is_the_same_departure() {
    for after in [DELIVERY, 5 * SECOND, 30 * SECOND] {
        let past = on_spot()
            .befalls(0, SECOND, Incident::Replace)
            .befalls(0, SECOND + after, Incident::Spot)
            .run()
            .await;
        left_once(&past);
    }
}

#[tokio::test(start_paused = true)]
async fn duplicates_in_any_order_are_one_departure() {
    for seed in 0..6 {
        let flow = if seed % 2 == 0 { rebalancing() } else { on_spot() };
        let past = flow
            .with(|scenario| {
                scenario.seed = 100 + seed;
                scenario.delivery.duplicate = 1_000;
                scenario.delivery.late = 300;
                scenario.delivery.late_ms = 1_000..=40_000;
            })
            .befalls(0, SECOND, Incident::RebalanceThenSpot { after_ms: 10 * SECOND })
            .run()
            .await;
        past.all_pods_were_removed(0);
        past.no_pod_left_twice();
        past.continued(0);
    }
}

/// The bodies of all events of this type about host 0 that were sent so far.
fn sent(world: &World, instance: &str, detail_type: &str) -> Vec<String> {
    let log = world.aws.events.events_log.iter();
    let about = log.filter(|sent| sent.detail_type == detail_type && sent.body.contains(instance));
    about.map(|sent| sent.body.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_warning_of_an_earlier_life_changes_nothing() {
    const AGAIN: Millis = 15 * MINUTE;
    let past = Flow::interrupted()
        .group(|group| group.suspended = true)
        .befalls(0, SECOND, Incident::SpotStop)
        .befalls(0, 5 * MINUTE, Incident::Start)
        .at(AGAIN, |world, place| {
            let bodies = sent(world, &place.machines[0].instance, SPOT);
            assert!(!bodies.is_empty());
            bodies.iter().for_each(|body| Sqs::send(world, INTERRUPTION_QUEUE, body));
        })
        .goes_on_for(5 * MINUTE)
        .for_at_most(HOUR)
        .run()
        .await;
    past.no_message_is_left();
    let mut late = past.writes();
    late.retain(|call| call.at >= START + AGAIN);
    assert!(late.is_empty(), "{late:#?}");
    let (_, last) = past.marks(0).last().unwrap();
    assert!(!last.cordoned && last.exists, "{last:?}");
}

/// One host with one pod that may never be evicted, held by hooks of two hours' heartbeat.
fn held(hooks: Vec<HookSpec>) -> Flow {
    Flow::without_fronts().with_interruptions().heartbeat(7_200).with(|scenario| {
        scenario.hosts.truncate(1);
        scenario.hooks.retain(|hook| hook.ours);
        scenario.hooks.extend(hooks);
        let manners = Manners::StopsAtOnce { exit_ms: 1_000 };
        let pdb = Some(Budget::max_unavailable(0));
        let lone = Workload::new(WorkloadKind::Deployment, "default", "lone", 1);
        scenario.workloads = vec![Workload { manners, pdb, ..lone }];
    })
}

#[tokio::test(start_paused = true)]
async fn the_earliest_hard_deadline_of_all_signals_counts() {
    let past = held(Vec::new())
        .befalls(0, SECOND, Incident::Replace)
        .befalls(0, 10 * MINUTE, Incident::Spot)
        .for_at_most(HOUR)
        .run()
        .await;
    let removals = past.removals(0);
    assert_eq!(removals.len(), 1, "{removals:#?}");
    assert!(matches!(removals[0].how, How::Deleted(28..=30)), "{removals:#?}");
    let left_at = removals[0].at - START;
    assert!((10 * MINUTE + 60 * SECOND..10 * MINUTE + 90 * SECOND).contains(&left_at), "{left_at}");
    let ending = past.drained(0);
    assert!(ending.at < 13 * MINUTE, "{ending:?}");
}

#[tokio::test(start_paused = true)]
async fn each_hook_gets_its_own_answer_beside_a_warning() {
    let second = HookSpec {
        name: "ebbtide-second".to_owned(),
        transition: Transition::Terminating,
        heartbeat_seconds: 300,
        default_result: Verdict::Abandon,
        ..HookSpec::default()
    };
    let past = rebalancing()
        .setting("HOOKS", "ebbtide-launch,ebbtide-terminate,ebbtide-second")
        .with(|scenario| scenario.hooks.push(second))
        .befalls(0, SECOND, Incident::Spot)
        .run()
        .await;
    left_once(&past);
    let instance = past.machine(0).instance.clone();
    let endings = [TERMINATE, "ebbtide-second"].map(|hook| past.ending_of(&instance, hook));
    for ending in &endings {
        assert_eq!(ending.how, Ended::Answered(Verdict::Continue), "{ending:?}");
        past.check_continued(ending);
    }
    assert_ne!(endings[0].action.token, endings[1].action.token);
}

#[tokio::test(start_paused = true)]
async fn a_hook_of_somebody_else_does_not_make_the_instance_somebody_elses() {
    let theirs = HookSpec {
        name: "theirs".to_owned(),
        transition: Transition::Terminating,
        heartbeat_seconds: 300,
        ..HookSpec::default()
    };
    let past = Flow::interrupted()
        .with(|scenario| scenario.hooks = vec![theirs])
        .at(0, |world, _| {
            let queues = world.aws.events.rules.iter_mut();
            queues.for_each(|rule| rule.queue = INTERRUPTION_QUEUE.to_owned());
        })
        .befalls(0, SECOND, Incident::ScaleIn)
        .befalls(0, MINUTE, Incident::Spot)
        .run()
        .await;
    let machine = past.machine(0).instance.clone();
    let heard = past.world().aws.autoscaling.actions.iter().any(|it| it.instance == machine);
    assert!(heard, "their hook fired");
    assert!(past.was_cordoned(0));
    past.all_pods_were_removed(0);
}

#[tokio::test(start_paused = true)]
async fn a_hooks_message_that_went_astray_into_the_other_queue_is_answered_too() {
    let past = rebalancing()
        .at(0, |world, _| {
            let queues = world.aws.events.rules.iter_mut();
            queues.for_each(|rule| rule.queue = INTERRUPTION_QUEUE.to_owned());
        })
        .befalls(0, SECOND, Incident::Spot)
        .run()
        .await;
    left_once(&past);
    let other = past.world().aws.sqs.depth(LIFECYCLE_QUEUE);
    assert_eq!(other, 0);
}
