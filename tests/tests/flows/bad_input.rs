//! Bad input in a batch: what can't be read is put aside with its reason, and the others are unharmed.

use crate::flow::{Flow, MINUTE};
use crate::past::{Past, TERMINATE};
use decision::decide::decide;
use decision::decision::Decision;
use decision::policy::Policy;
use decision::snapshot::Snapshot;
use sandbox::aws::autoscaling::{Ended, Verdict};
use sandbox::aws::sqs::Sqs;
use sandbox::fault::{Fault, Scope};
use sandbox::scenario::{LIFECYCLE_QUEUE, START};
use sandbox::world::World;
use serde_json::Value;
use std::cell::RefCell;

/// The bodies of the sample batch: departures and an arrival of unknown instances, one that is cut off, one of EC2 and
/// a test notification.
fn bodies() -> Vec<String> {
    let batch = include_str!("../../../events/sqs.batch.json");
    let batch: Value = serde_json::from_str(batch).unwrap();
    let records = batch["Records"].as_array().unwrap();
    records.iter().map(|record| record["body"].as_str().unwrap().to_owned()).collect()
}

/// Puts the sample batch into the queue.
fn send_batch(world: &mut World) {
    for body in bodies() {
        Sqs::send(world, LIFECYCLE_QUEUE, &body);
    }
}

/// Asserts that the only dead letter is the sample's message that is cut off, with its reason.
#[track_caller]
fn only_the_unreadable_one(past: &Past) {
    let dead = past.dead_letters();
    assert_eq!(dead.len(), 1, "{dead:#?}");
    assert!(
        bodies().contains(&dead[0].body) && serde_json::from_str::<Value>(&dead[0].body).is_err()
    );
    let (kind, reason) = dead[0].attributes.values().next().expect("it says why");
    assert_eq!(kind, "String");
    assert!(reason.contains("JSON") || reason.contains("EOF"), "{reason}");
    let left = past.world().aws.sqs.depth(LIFECYCLE_QUEUE);
    assert_eq!(left, 0, "{}", past.transcript());
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_message_is_a_dead_letter_and_the_others_are_unharmed() {
    let past = Flow::without_fronts().at(0, |world, _| send_batch(world)).replaces([0]).run().await;
    only_the_unreadable_one(&past);
    let sent = past.calls("SendMessage");
    assert_eq!(sent.len(), 1);
    assert!(sent[0].at < START + 5_000, "at once: {sent:?}");
    past.all_pods_were_removed(0);
    assert_eq!(past.ending(0).how, Ended::Answered(Verdict::Continue));
    let strangers: Vec<_> = past
        .writes()
        .into_iter()
        .filter(|call| call.operation.contains("CompleteLifecycleAction"))
        .collect();
    assert_eq!(strangers.len(), 2, "the departure's and its replacement's: {strangers:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_queue_that_refuses_costs_no_message() {
    let past = Flow::without_fronts()
        .outage(Scope::operation("SendMessage"), (0, 3 * MINUTE), Fault::ServerError)
        .at(0, |world, _| send_batch(world))
        .replaces([0])
        .run()
        .await;
    let tried = past.calls("SendMessage");
    assert!(tried.len() >= 2 && tried[0].status == 500, "{tried:#?}");
    only_the_unreadable_one(&past);
    past.all_pods_were_removed(0);
    assert_eq!(past.ending(0).how, Ended::Answered(Verdict::Continue));
    let ending = past.ending(0);
    assert!(ending.waited < 3 * MINUTE, "the others did not wait for it: {ending:?}");
}

thread_local! {
    /// The instance about which deciding panics, and how often it has.
    static CURSED: RefCell<(String, u32)> = const { RefCell::new((String::new(), 0)) };
}

/// The real decision, except that it panics about one instance.
fn panics(snapshot: &Snapshot, policy: &Policy) -> Decision {
    let cursed = CURSED.with_borrow_mut(|(instance, count)| {
        let hit = instance == snapshot.instance.as_str();
        *count += u32::from(hit);
        hit
    });
    assert!(!cursed, "no decision about this one");
    decide(snapshot, policy)
}

#[tokio::test(start_paused = true)]
async fn a_panic_about_one_instance_comes_back_once_then_its_hook_is_answered() {
    let past = Flow::without_fronts()
        .deciding(panics)
        .with(|scenario| {
            // One process, and nobody else's message about the same instance.
            scenario.hooks.retain(|hook| hook.ours);
            scenario.concurrency_max = 1;
        })
        .at(0, |_, place| {
            CURSED.with_borrow_mut(|cursed| *cursed = (place.machines[0].instance.clone(), 0));
        })
        .replaces([0, 1])
        .run()
        .await;
    assert_eq!(CURSED.with_borrow(|(_, count)| *count), 2);
    // The other message of the batch is handled as ever.
    past.all_pods_were_removed(1);
    let other = past.ending(1);
    assert_eq!(other.how, Ended::Answered(Verdict::Continue));
    assert!(other.running.is_empty(), "{other:?}");
    // This one's hook is answered, and the message is kept with the reason.
    let ending = past.ending(0);
    assert_eq!(ending.how, Ended::Answered(Verdict::Continue));
    assert!(ending.waited < MINUTE, "{ending:?}");
    let dead = past.dead_letters();
    assert_eq!(dead.len(), 1, "{dead:#?}");
    assert!(dead[0].body.contains(&past.machine(0).instance) && dead[0].body.contains(TERMINATE));
    let (_, reason) = dead[0].attributes.values().next().expect("it says why");
    assert!(reason.contains("panicked twice: no decision about this one"), "{reason}");
    assert!(past.removals(0).is_empty() && !past.was_cordoned(0));
}
