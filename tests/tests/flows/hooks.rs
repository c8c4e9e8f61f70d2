//! Hooks beside each other: two of ours, another tool's, and one action told of several times.

use crate::flow::{Flow, HOUR, MINUTE};
use crate::past::TERMINATE;
use sandbox::aws::autoscaling::{HookSpec, Notification, Transition, Verdict};
use sandbox::scenario::LIFECYCLE_QUEUE;

fn hook(name: &str) -> HookSpec {
    HookSpec {
        name: name.to_owned(),
        transition: Transition::Terminating,
        heartbeat_seconds: 300,
        default_result: Verdict::Continue,
        ..HookSpec::default()
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_told_twice_to_two_processes_is_answered_once() {
    let past = Flow::new()
        .with(|scenario| {
            scenario.delivery.duplicate = 1_000;
            (scenario.batch, scenario.concurrency_max) = (1, 2);
        })
        .replaces([0])
        .run()
        .await;
    past.all_pods_were_removed(0);
    past.drained(0);
    let busy = past.world().processes.values().filter(|process| process.invocations > 0).count();
    assert!(busy >= 2, "two processes were at it");
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_that_comes_an_hour_late_touches_nothing() {
    let past = Flow::new()
        .with(|scenario| scenario.hooks.retain(|hook| hook.name == TERMINATE))
        .replaces([0])
        .at(HOUR, |world, _| {
            let sent = world.aws.events.events_log.clone();
            let copy = sent.iter().find(|sent| sent.body.contains(TERMINATE)).unwrap();
            sandbox::aws::sqs::Sqs::send(world, LIFECYCLE_QUEUE, &copy.body);
        })
        .for_at_most(2 * HOUR)
        .run()
        .await;
    past.drained(0);
    let writes = past.writes();
    let late: Vec<_> =
        writes.iter().filter(|call| call.at >= sandbox::scenario::START + HOUR).collect();
    assert!(late.is_empty(), "{late:#?}");
}

#[tokio::test(start_paused = true)]
async fn two_hooks_of_ours_are_answered_each_with_its_own_token() {
    let past = Flow::new()
        .setting("HOOKS", "ebbtide-launch,ebbtide-terminate,ebbtide-second")
        .with(|scenario| scenario.hooks.push(hook("ebbtide-second")))
        .replaces([0])
        .run()
        .await;
    let first = past.drained(0);
    let second = past.ending_of(&past.machine(0).instance, "ebbtide-second");
    past.check_continued(&second);
    assert_ne!(first.action.token, second.action.token);
    assert!(second.running.is_empty(), "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hook_is_ours_by_its_metadata_too() {
    let past = Flow::new()
        .setting("HOOKS", "none-by-name")
        .with(|scenario| {
            let metadata = Some(r#"{"ebbtide": {"settle_application": "45s"}}"#.to_owned());
            scenario.hooks = vec![HookSpec { metadata, ..hook(TERMINATE) }];
        })
        .replaces([0])
        .run()
        .await;
    past.all_pods_were_removed(0);
    past.drained(0);
}

#[tokio::test(start_paused = true)]
async fn a_hook_of_another_tool_is_never_answered() {
    let past = Flow::new().replaces([0, 1]).for_at_most(30 * MINUTE).run().await;
    past.drained(0);
    past.drained(1);
    let world = past.world();
    let foreign: Vec<_> =
        world.aws.autoscaling.actions.iter().filter(|action| !action.ours).collect();
    assert_eq!(foreign.len(), 2, "the other tool's hook held both");
    let answers = &world.aws.autoscaling.answers;
    assert!(answers.iter().all(|answer| answer.hook != "other-tool"), "{answers:#?}");
    let touched = |call: &&sandbox::world::Call| call.write && call.subject.contains("other-tool");
    assert_eq!(world.calls.iter().filter(touched).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn notifications_straight_from_the_group_and_through_a_topic_are_understood() {
    let queue = || LIFECYCLE_QUEUE.to_owned();
    for notification in [Notification::Queue(queue()), Notification::Topic(queue())] {
        let past = Flow::new()
            .with(|scenario| {
                let ours = scenario.hooks.iter_mut().filter(|hook| hook.ours);
                ours.for_each(|hook| hook.notification = notification.clone());
            })
            .at(0, |world, _| world.aws.events.rules.clear())
            .replaces([0])
            .run()
            .await;
        past.all_pods_were_removed(0);
        past.drained(0);
    }
}
