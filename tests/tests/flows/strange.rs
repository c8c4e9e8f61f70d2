//! Signals that are not as they should be: each has an outcome of its own, and says so.

use crate::flow::{Flow, HOUR, MINUTE, SECOND};
use crate::past::Past;
use decision::time::Timestamp;
use runtime::slice::handle;
use sandbox::aws::sqs::Sqs;
use sandbox::fault::{Fault, Scope};
use sandbox::scenario::{INTERRUPTION_QUEUE, Incident, Place, START};
use sandbox::traffic::Entry;
use sandbox::world::{Millis, World};
use serde_json::{Value, json};

const SPOT: &str = "EC2 Spot Instance Interruption Warning";
const RESERVATION: &str = "EC2 Capacity Reservation Instance Interruption Warning";

/// What a function says of the first event of this type about host 0 when it is given by hand now, without a queue.
pub(crate) async fn given_by_hand(past: &Past, detail_type: &str) -> Value {
    let body = {
        let world = past.world();
        let about = &past.machine(0).instance;
        let mut sent = world.aws.events.events_log.iter();
        let first = sent.find(|it| it.detail_type == detail_type && it.body.contains(about));
        first.expect("it was sent").body.clone()
    };
    said(past, serde_json::from_str(&body).unwrap()).await
}

async fn said(past: &Past, event: Value) -> Value {
    let app = ebbtide::stage::app(&past.place.sandbox, 99, &past.deployment);
    let deadline = Timestamp::from_millis(past.place.sandbox.now() + 15 * SECOND);
    handle(&app, event, deadline).await
}

/// EC2's event of this type about an instance, sent now, with this besides.
fn event(world: &World, detail_type: &str, instance: &str, besides: Value) -> Value {
    let mut detail = besides;
    detail["instance-id"] = instance.into();
    let time = Timestamp::from_millis(world.now).to_string();
    json!({
        "version": "0",
        "id": "7bf73129-1428-4cd3-a780-95db273d1602",
        "detail-type": detail_type,
        "source": "aws.ec2",
        "account": world.aws.account,
        "time": time,
        "region": world.aws.region,
        "resources": [format!("arn:aws:ec2:eu-west-1:{}:instance/{instance}", world.aws.account)],
        "detail": detail,
    })
}

/// The small world in which this event about host 0, or about another instance, arrives after a second.
fn told(make: impl FnOnce(&World, &Place) -> Value + 'static) -> Flow {
    Flow::interrupted()
        .at(SECOND, |world, place| {
            let event = make(world, place);
            Sqs::send(world, INTERRUPTION_QUEUE, &event.to_string());
        })
        .for_at_most(2 * HOUR)
}

/// Asserts that nothing was written, but to the queue.
#[track_caller]
fn nothing_was_written(past: &Past) {
    let writes = past.writes();
    assert!(writes.is_empty(), "{writes:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_warning_for_an_instance_that_ec2_does_not_know_is_over_after_a_minute() {
    const NOBODY: &str = "i-0123456789abcdef0";
    let spot = |world: &World| event(world, SPOT, NOBODY, json!({"instance-action": "terminate"}));
    let past = told(move |world, _| spot(world)).run().await;
    past.no_message_is_left();
    nothing_was_written(&past);
    let last = past.calls("").last().unwrap().at - START;
    assert!((MINUTE..3 * MINUTE).contains(&last), "{last}");
    let mut late = spot(&past.world());
    late["time"] = "2026-11-22T10:00:00Z".into();
    let said = said(&past, late).await;
    assert_eq!(said["fates"]["bare"]["fate"], "over", "{said:#}");
    assert_eq!(said["fates"]["bare"]["why"], "EC2 knows no such instance", "{said:#}");
}

#[tokio::test(start_paused = true)]
async fn a_warning_for_an_instance_that_has_ended_only_looks_for_ghosts() {
    let past = Flow::without_fronts()
        .with_interruptions()
        .with(|scenario| scenario.hooks.clear())
        .group(|group| group.suspended = true)
        .befalls(0, SECOND, Incident::Terminate)
        .at(5 * MINUTE, |world, place| {
            let about = place.machines[0].instance.clone();
            let spot = event(world, SPOT, &about, json!({"instance-action": "terminate"}));
            Sqs::send(world, INTERRUPTION_QUEUE, &spot.to_string());
        })
        .for_at_most(HOUR)
        .run()
        .await;
    past.no_message_is_left();
    let mut late = past.writes();
    late.retain(|call| call.at >= START + 5 * MINUTE);
    assert!(late.is_empty(), "{late:#?}");
    let about = past.machine(0).instance.clone();
    let late = event(&past.world(), SPOT, &about, json!({"instance-action": "terminate"}));
    let said = said(&past, late).await;
    assert_eq!(said["fates"]["bare"]["fate"], "done", "{said:#}");
    let why = said["fates"]["bare"]["why"].as_str().unwrap();
    assert!(why.contains("runs no more"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn an_action_that_is_not_known_or_missing_counts_as_the_end() {
    for action in [json!("evaporate"), json!(""), json!(7), Value::Null] {
        let detail = json!({"instance-action": action});
        let past =
            told(move |world, place| event(world, SPOT, &place.machines[0].instance, detail))
                .run()
                .await;
        assert!(past.was_cordoned(0), "{}", past.transcript());
        past.all_pods_were_removed(0);
        assert!(!past.is_target(0, 1));
        past.nothing_was_dropped();
        past.no_message_is_left();
    }
}

#[tokio::test(start_paused = true)]
async fn a_health_event_without_an_instance_is_acknowledged_with_its_code() {
    let body: Value =
        serde_json::from_str(include_str!("../../../events/health.no-entities.json")).unwrap();
    let sent = body.clone();
    let past = told(move |_, _| sent).run().await;
    past.no_message_is_left();
    let asked = past.calls("");
    assert!(asked.iter().all(|call| call.operation.starts_with("sqs:")), "{asked:#?}");
    let code = body["detail"]["eventTypeCode"].as_str().unwrap().to_owned();
    let said = said(&past, body).await;
    assert_eq!(said["fates"]["bare"]["fate"], "ignored", "{said:#}");
    let why = said["fates"]["bare"]["why"].as_str().unwrap();
    assert!(why.contains(&code), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_termination_time_in_the_past_does_what_it_still_can_and_ends() {
    for time in ["2026-11-22T09:59:50Z", "2026-11-22T09:00:00Z", "1970-01-01T00:00:00Z", "soon"] {
        let detail = json!({"instance-action": "terminate", "instance-termination-time": time});
        let past = told(move |world, place| {
            event(world, RESERVATION, &place.machines[0].instance, detail)
        })
        .run()
        .await;
        past.no_message_is_left();
        assert!(past.was_cordoned(0), "{}", past.transcript());
        for removal in past.removals(0) {
            assert_ne!(removal.how, sandbox::kubernetes::How::Deleted(0), "{removal:?}");
        }
        let last = past.calls("").last().unwrap().at - START;
        assert!(last < 10 * MINUTE, "{last}: it comes to an end");
    }
}

/// A Spot warning to processes whose clocks show so much more than AWS's.
async fn clock_off_by(off: Millis, entry: Entry) -> Past {
    Flow::interrupted()
        .with(|scenario| scenario.fronts.iter_mut().for_each(|front| front.entry = entry))
        .clock_off_by(off)
        .befalls(0, 5 * MINUTE, Incident::Spot)
        .for_at_most(HOUR)
        .run()
        .await
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_off_by_less_than_half_the_notice_costs_no_request() {
    let off = [-MINUTE, -5 * SECOND, 5 * SECOND, 20 * SECOND, MINUTE];
    for (off, entry) in off.map(|off| [(off, Entry::Cluster), (off, Entry::Local)]).as_flattened() {
        let past = clock_off_by(*off, *entry).await;
        past.all_pods_were_removed(0);
        let last = past.removals(0).iter().map(|removal| removal.at).max().unwrap() - START;
        assert!(last < past.died_at(0) - 10 * SECOND, "{last}\n{}", past.transcript());
        past.no_message_is_left();
        if (*off, *entry) == (MINUTE, Entry::Local) {
            // Half of the notice seems to be over: the pods can't serve for all of the settle time.
            let dropped = past.world().traffic.dropped();
            assert!(dropped < 700, "{dropped}");
        } else {
            past.nothing_was_dropped();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_about_a_reservation_that_cant_be_looked_up_comes_back() {
    let block = Incident::BlockExpires(sandbox::aws::events::BlockTitle::Block);
    let past = Flow::interrupted()
        .outage(Scope::operation("DescribeInstances"), (0, 2 * MINUTE), Fault::ServerError)
        .befalls(0, SECOND, block)
        .for_at_most(HOUR)
        .run()
        .await;
    past.all_pods_were_removed(0);
    past.nothing_was_dropped();
    past.no_message_is_left();
}
