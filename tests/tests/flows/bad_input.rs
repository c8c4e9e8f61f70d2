//! Bad input in a batch: what can't be read is put aside with its reason, and the others are unharmed.

use crate::flow::{Flow, MINUTE};
use crate::past::Past;
use sandbox::aws::autoscaling::{Ended, Verdict};
use sandbox::aws::sqs::Sqs;
use sandbox::fault::{Fault, Scope};
use sandbox::scenario::{LIFECYCLE_QUEUE, START};
use sandbox::world::World;
use serde_json::Value;

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
