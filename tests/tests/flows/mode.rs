//! The modes, and what each may write.

use crate::flow::{Flow, MINUTE, SECOND};
use crate::past::Past;
use decision::time::Timestamp;
use runtime::slice::handle;
use sandbox::aws::autoscaling::{Ended, Verdict};
use sandbox::fault::{Fault, Scope};
use serde_json::Value;

/// What the function says of the terminate event of host 0 when it is given by hand, without a queue.
async fn reported(past: &Past) -> Value {
    let body = {
        let world = past.world();
        let sent = &world.aws.events.events_log;
        let about = &past.machine(0).instance;
        let is_ours = |body: &str| body.contains("ebbtide-terminate") && body.contains(about);
        sent.iter().find(|sent| is_ours(&sent.body)).expect("it was sent").body.clone()
    };
    let app = ebbtide::stage::app(&past.place.sandbox, 99, &past.deployment);
    let deadline = Timestamp::from_millis(past.place.sandbox.now() + 15 * SECOND);
    handle(&app, serde_json::from_str(&body).unwrap(), deadline).await
}

#[tokio::test(start_paused = true)]
async fn observe_writes_nothing_and_says_what_it_would_do() {
    let past =
        Flow::new().setting("MODE", "observe").replaces([0]).for_at_most(2 * MINUTE).run().await;
    let report = reported(&past).await;
    let writes = past.writes();
    assert!(writes.is_empty(), "{writes:#?}");
    assert_eq!(report["fates"]["bare"]["fate"], "observed", "{report:#}");
    let would = report["reports"][0]["would"].to_string();
    for step in ["cordon", "deregister", "evict"] {
        assert!(would.to_lowercase().contains(step), "{step} in {would}");
    }
    past.no_message_is_left();
}

#[tokio::test(start_paused = true)]
async fn observe_leaves_the_hook_to_its_timeout() {
    let past = Flow::new().setting("MODE", "observe").replaces([0]).run().await;
    assert_eq!(past.ending(0).how, Ended::HeartbeatTimeout(Verdict::Continue));
    assert!(past.removals(0).is_empty());
    past.no_message_is_left();
}

#[tokio::test(start_paused = true)]
async fn paused_leaves_hooks_to_their_timeout() {
    let past = Flow::new().setting("MODE", "paused").replaces([0]).run().await;
    let writes = past.writes();
    assert!(writes.is_empty(), "{writes:#?}");
    assert_eq!(past.ending(0).how, Ended::HeartbeatTimeout(Verdict::Continue));
    past.no_message_is_left();
}

#[tokio::test(start_paused = true)]
async fn paused_continues_hooks_at_once_where_that_is_wanted() {
    let past = Flow::new()
        .setting("MODE", "paused")
        .setting("PAUSED_HOOKS", "continue")
        .replaces([0])
        .run()
        .await;
    let ending = past.continued(0);
    assert!(ending.waited < 10 * SECOND, "{ending:?}");
    let mut writes = past.writes();
    writes.retain(|call| !call.operation.contains("CompleteLifecycleAction"));
    assert!(writes.is_empty(), "{writes:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_function_for_other_groups_writes_nothing() {
    let past = Flow::new()
        .at(0, |world, _| {
            for group in world.aws.autoscaling.groups.values_mut() {
                group.spec.tags.remove("ebbtide.dev/managed");
            }
        })
        .replaces([0])
        .run()
        .await;
    let writes = past.writes();
    assert!(writes.is_empty(), "{writes:#?}");
    past.no_message_is_left();
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_to_withdraw_stops_neither_the_drain_nor_the_heartbeats() {
    let past = Flow::new()
        .heartbeat(120)
        .outage(Scope::operation("DeregisterTargets"), (0, 8 * MINUTE), Fault::ServerError)
        .replaces([0])
        .run()
        .await;
    past.all_pods_were_removed(0);
    let last = past.removals(0).into_iter().map(|removal| removal.at).max().unwrap();
    let ending = past.drained(0);
    assert!(last - ending.action.began_at < 3 * MINUTE, "pods leave meanwhile: {ending:?}");
    assert!(ending.at > 8 * MINUTE, "{ending:?}");
}
