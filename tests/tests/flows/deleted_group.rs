//! Target groups that somebody deleted: a node leaves the others, drains, and its hook is answered.

use crate::flow::{Flow, MINUTE, SECOND};
use crate::past::Past;
use sandbox::aws::elbv2::{Health, TargetGroup};
use sandbox::scenario::{Owner, START};
use sandbox::world::Millis;

/// One host is replaced; the target group of this front is deleted so long after the start.
async fn without(front: usize, after: Millis, owners: [Owner; 2]) -> Past {
    Flow::new()
        .with(|scenario| {
            for (front, owner) in scenario.fronts.iter_mut().zip(owners) {
                front.owner = owner;
            }
        })
        .at(after, move |world, place| {
            world.aws.elb.groups.remove(&place.groups[front]).expect("it was there");
            world.aws.elb.version += 1;
        })
        .replaces([0])
        .run()
        .await
}

/// Asserts that host 0 drained soon, out of the group of the other front by a call of ours.
#[track_caller]
fn left_the_other(past: &Past, front: usize, deleted: usize) {
    past.all_pods_were_removed(0);
    let ending = past.drained(0);
    assert!(ending.waited < 4 * MINUTE, "the deleted group held nobody: {ending:?}");
    let arns = &past.place.groups;
    let calls = past.calls("DeregisterTargets");
    let out = |call: &&sandbox::world::Call| call.status == 200 && call.subject == arns[front];
    let out = calls.iter().find(out).expect("it was taken out");
    assert!(out.at < START + ending.at, "{out:?} {ending:?}");
    let world = past.world();
    assert!(!world.aws.elb.groups.contains_key(&arns[deleted]), "it is still deleted");
    let group = world.aws.elb.groups.get(&arns[front]).expect("it is still there");
    assert!(is_out(group, &past.machine(0).instance), "{:#?}", group.targets);
}

/// Whether an instance gets no requests of this group any more.
fn is_out(group: &TargetGroup, instance: &str) -> bool {
    let mut targets = group.targets.iter().filter(|((id, _), _)| id == instance);
    targets.all(|(_, target)| matches!(target.health, Health::Draining { .. } | Health::Unused(_)))
}

#[tokio::test(start_paused = true)]
async fn a_named_group_that_was_deleted_before_is_left_out() {
    let past = without(1, 0, [Owner::Script, Owner::Script]).await;
    left_the_other(&past, 0, 1);
    let calls = past.calls("DeregisterTargets");
    assert!(calls.iter().all(|call| call.subject == past.place.groups[0]), "{calls:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_named_group_that_is_deleted_in_the_middle_holds_nobody() {
    for after in [2 * SECOND, 8 * SECOND, 20 * SECOND, 45 * SECOND] {
        let past = without(1, after, [Owner::Script, Owner::Script]).await;
        left_the_other(&past, 0, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_attached_group_that_was_deleted_is_left_out() {
    // At 25 s the Auto Scaling group has waited for the drain, and the hook has just begun.
    for after in [0, 10 * SECOND, 25 * SECOND] {
        let past = without(0, after, [Owner::Asg, Owner::Script]).await;
        left_the_other(&past, 1, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_group_left_the_node_drains_all_the_same() {
    let past = Flow::new()
        .at(0, |world, _| {
            world.aws.elb.groups.clear();
            world.aws.elb.version += 1;
        })
        .replaces([0])
        .run()
        .await;
    past.all_pods_were_removed(0);
    let ending = past.drained(0);
    assert!(ending.waited < 4 * MINUTE, "{ending:?}");
    assert!(past.calls("DeregisterTargets").is_empty(), "there is nothing to leave");
}
