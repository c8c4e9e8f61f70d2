//! Each kind of signal, from AWS's event to what is left in cluster, group and queue.

use crate::stage::{Case, Given, Stage};
use sandbox::World;
use sandbox::aws::autoscaling::{
    Autoscaling, Capacity, Ended, LifecycleState, Notification, Verdict,
};
use sandbox::aws::ec2::{Ec2, SpotAction, State};
use sandbox::aws::events::{BlockTitle, ReservationShape};
use sandbox::aws::health::{Change, Health, Maintenance};
use serde_json::{Value, json};
use std::time::Duration;
use system_tests::{Group, LAUNCH_HOOK, Machine, QUEUES, TERMINATE_HOOK, ZONE};

pub(crate) const CASES: &[Case] = &[
    ("an_instance_is_launched", |given| Box::pin(an_instance_is_launched(given))),
    ("an_instance_stops_and_starts", |given| Box::pin(an_instance_stops_and_starts(given))),
    ("an_instance_is_ended_by_hand", |given| Box::pin(an_instance_is_ended_by_hand(given))),
    ("a_spot_warning", |given| Box::pin(a_spot_warning(given))),
    ("a_spot_warning_of_a_stop", |given| Box::pin(a_spot_warning_of_a_stop(given))),
    ("a_spot_warning_of_a_hibernation", |given| Box::pin(a_hibernation(given))),
    ("a_capacity_reservation", |given| {
        Box::pin(a_reservation(given, "reservation", ReservationShape::Interruptible))
    }),
    ("a_capacity_block", |given| {
        Box::pin(a_reservation(given, "block", ReservationShape::CapacityBlock))
    }),
    ("the_end_of_a_capacity_block", |given| {
        Box::pin(the_end_of_a_block(given, "block-end", BlockTitle::Block))
    }),
    ("the_end_of_a_capacity_block_reservation", |given| {
        Box::pin(the_end_of_a_block(given, "block-reservation", BlockTitle::Reservation))
    }),
    ("a_retirement_that_is_called_off", |given| Box::pin(a_retirement(given))),
    ("a_reboot_within_the_hour", |given| Box::pin(a_reboot_within_the_hour(given))),
    ("a_terminate_hook", |given| Box::pin(a_terminate_hook(given))),
    ("a_terminate_hook_told_by_sns_too", |given| Box::pin(a_hook_told_twice(given))),
    ("a_rebalance_recommendation", |given| Box::pin(a_rebalance_recommendation(given))),
];

const INTERRUPTION: &str = "interruption";
const LIFECYCLE: &str = "lifecycle";
/// From the warning to the end, as EC2 does it.
const LEAD_MS: i64 = 120_000;
/// Until the change that was announced, within the lead of an hour.
const HALF_AN_HOUR_MS: i64 = 1_800_000;
/// As long as it is watched that nothing more happens: longer than the slice that a signal begins with.
const QUIET: Duration = Duration::from_secs(5);

/// The first of three nodes of a group leaves: it is cordoned, out of its target group, and its pods run elsewhere, by
/// eviction alone.
async fn leaves(
    given: &Given,
    (group, role): (&Group, &str),
    signal: impl FnOnce(&mut World, &str),
) -> (Stage, Machine) {
    let (stage, leaving) = departs(given, (group, role), signal).await;
    stage.assert_well();
    let deleted = deletions(&stage, &leaving, role);
    assert_eq!(deleted, Vec::<String>::new(), "evicted");
    (stage, leaving)
}

/// The same, however its pods went.
async fn departs(
    given: &Given,
    (group, role): (&Group, &str),
    signal: impl FnOnce(&mut World, &str),
) -> (Stage, Machine) {
    let stage = Stage::shared(given).await;
    let mut machines = stage.group_of(group, 3).await;
    let leaving = machines.remove(0);
    assert_eq!(stage.pods(&leaving).await.len(), 2, "what was created is spread");
    stage.aws(|world| signal(world, &leaving.instance));
    stage.cordoned(&leaving, role).await;
    stage.drained(&leaving, role).await;
    stage.withdrawn(&leaving, role).await;
    let record = stage.record(&leaving, role).await;
    assert_eq!(
        (&record["stage"], record["remaining"].as_array().map(Vec::len)),
        (&"drained".into(), Some(0))
    );
    for other in &machines {
        assert!(stage.serves(other), "{other:?}");
    }
    (stage, leaving)
}

/// The pods of a group that a function deleted past their budget.
fn deletions(stage: &Stage, machine: &Machine, role: &str) -> Vec<String> {
    let asked = stage.system.audit.of(role).into_iter();
    let deleted =
        asked.filter(|asked| asked.verb == "delete" && asked.name.starts_with(&machine.group));
    deleted.map(|asked| asked.name).collect()
}

async fn a_spot_warning(given: Given) {
    let warn = |world: &mut World, id: &str| Ec2::interrupt(world, id, LEAD_MS);
    let (stage, leaving) = leaves(&given, (&Group::new("spot"), INTERRUPTION), warn).await;
    stage.acknowledged(&leaving, INTERRUPTION).await;
}

async fn a_spot_warning_of_a_stop(given: Given) {
    let warn =
        |world: &mut World, id: &str| Ec2::interrupt_with(world, id, SpotAction::Stop, LEAD_MS);
    let (stage, leaving) = leaves(&given, (&Group::new("spot-stop"), INTERRUPTION), warn).await;
    stage.acknowledged(&leaving, INTERRUPTION).await;
}

/// It begins with its warning: there is no time for budgets.
async fn a_hibernation(given: Given) {
    let warn = |world: &mut World, id: &str| {
        Ec2::interrupt_with(world, id, SpotAction::Hibernate, LEAD_MS);
    };
    let (stage, leaving) = departs(&given, (&Group::new("hibernate"), INTERRUPTION), warn).await;
    assert_eq!(deletions(&stage, &leaving, INTERRUPTION).len(), 2);
}

async fn a_reservation(given: Given, name: &str, shape: ReservationShape) {
    let reclaim = |world: &mut World, id: &str| {
        Ec2::reclaim_reservation(world, id, shape, LEAD_MS);
    };
    let (stage, leaving) = leaves(&given, (&Group::new(name), INTERRUPTION), reclaim).await;
    stage.acknowledged(&leaving, INTERRUPTION).await;
}

/// The event names the reservation alone.
async fn the_end_of_a_block(given: Given, name: &str, title: BlockTitle) {
    let expire = |world: &mut World, id: &str| {
        // As the instance's id, so that it is nobody else's.
        let reservation = id.replace("i-", "cr-");
        let instance = world.aws.ec2.instances.get_mut(id).unwrap();
        instance.capacity_reservation = Some(reservation.clone());
        Ec2::expire_block(world, &reservation, title);
    };
    let (stage, _) = leaves(&given, (&Group::new(name), INTERRUPTION), expire).await;
    stage.assert_well();
}

/// Drained at once, since it is within the hour; and put back as it was when nothing is to happen any more.
async fn a_retirement(given: Given) {
    let retire = |world: &mut World, id: &str| {
        let change = Change::new(Maintenance::Retirement, id, world.now + HALF_AN_HOUR_MS);
        Health::schedule(world, change);
    };
    let (stage, leaving) = leaves(&given, (&Group::new("retirement"), INTERRUPTION), retire).await;
    stage.aws(|world| {
        let event = world.aws.health.of_instance(&leaving.instance).unwrap().to_owned();
        Health::cancel(world, &event);
    });
    stage.put_back(&leaving, INTERRUPTION).await;
    stage.acknowledged(&leaving, INTERRUPTION).await;
}

async fn a_reboot_within_the_hour(given: Given) {
    let reboot = |world: &mut World, id: &str| {
        let change = Change::new(Maintenance::SystemReboot, id, world.now + HALF_AN_HOUR_MS);
        Health::schedule(world, change);
    };
    let (stage, _) = leaves(&given, (&Group::new("reboot"), INTERRUPTION), reboot).await;
    stage.assert_well();
}

/// `stopping`, `stopped`, `pending`, `running`: what it took with it comes back.
async fn an_instance_stops_and_starts(given: Given) {
    let stop = |world: &mut World, id: &str| Ec2::stop_by_hand(world, id);
    let (stage, leaving) = departs(&given, (&Group::new("stops"), INTERRUPTION), stop).await;
    stage.until(("it has stopped", INTERRUPTION), || is(&stage, &leaving, State::Stopped)).await;
    stage.aws(|world| Ec2::start(world, &leaving.instance));
    stage.until(("it runs", INTERRUPTION), || is(&stage, &leaving, State::Running)).await;
    // Its kubelet reports the new boot.
    let path = format!("/api/v1/nodes/{}/status", leaving.node);
    let status =
        json!({"status": {"nodeInfo": {"bootID": "4fd0a7d1-0c9f-4c63-9a3e-6f2f3f9b6c11"}}});
    drop(stage.api.patch(&path, &status).await.unwrap());
    stage.put_back(&leaving, INTERRUPTION).await;
    stage.acknowledged(&leaving, INTERRUPTION).await;
}

/// `shutting-down`, `terminated`.
async fn an_instance_is_ended_by_hand(given: Given) {
    let end = |world: &mut World, id: &str| Ec2::terminate_by_hand(world, id);
    let (stage, leaving) = departs(&given, (&Group::new("by-hand"), INTERRUPTION), end).await;
    stage.until(("it has ended", INTERRUPTION), || is(&stage, &leaving, State::Terminated)).await;
    stage.acknowledged(&leaving, INTERRUPTION).await;
}

fn is(stage: &Stage, machine: &Machine, state: State) -> Option<()> {
    let world = stage.system.sandbox.world();
    (world.aws.ec2.state(&machine.instance) == Some(state)).then_some(())
}

fn terminate(world: &mut World, id: &str) {
    Autoscaling::terminate(world, id, Capacity::Decrement);
}

async fn a_terminate_hook(given: Given) {
    let (stage, leaving) = leaves(&given, (&Group::new("hook"), LIFECYCLE), terminate).await;
    continued(&stage, &leaving).await;
    let world = stage.system.sandbox.world();
    let state = world.aws.autoscaling.state(&leaving.instance);
    let goes_on = matches!(state, None | Some(LifecycleState::TerminatingProceed));
    assert!(goes_on, "the group goes on: {state:?}");
}

/// The group tells EventBridge, and its own target besides: the function hears of it twice and answers once.
async fn a_hook_told_twice(given: Given) {
    let mut group = Group::new("topic");
    group.notification = Notification::Topic(QUEUES[1].to_owned());
    let (stage, leaving) = leaves(&given, (&group, LIFECYCLE), terminate).await;
    continued(&stage, &leaving).await;
}

async fn continued(stage: &Stage, leaving: &Machine) {
    let ended = stage.answered(leaving, TERMINATE_HOOK, LIFECYCLE).await;
    assert_eq!(ended, Ended::Answered(Verdict::Continue));
    stage.acknowledged(leaving, LIFECYCLE).await;
    stage.gone(leaving).await;
}

/// Not in service before its node is Ready.
async fn an_instance_is_launched(given: Given) {
    let stage = Stage::shared(&given).await;
    drop(stage.system.add_group(&Group::new("launch"), 0).await.unwrap());
    let instance = stage.aws(|world| Autoscaling::launch(world, "launch", ZONE));
    let waits = || {
        let world = stage.system.sandbox.world();
        world.aws.autoscaling.waiting(&instance).next().map(|_| ())
    };
    stage.until(("its hook waits", LIFECYCLE), waits).await;
    tokio::time::sleep(QUIET).await;
    assert!(waits().is_some(), "there is no node yet\n{}", stage.system.log_tail(LIFECYCLE));
    let node = stage.aws(|world| world.aws.ec2.instances[&instance].private_dns.clone());
    let machine = Machine { instance, node, group: "launch".to_owned() };
    stage.system.join(std::slice::from_ref(&machine), 0).await.unwrap();
    let ended = stage.answered(&machine, LAUNCH_HOOK, LIFECYCLE).await;
    assert_eq!(ended, Ended::Answered(Verdict::Continue));
    stage
        .until(("it is in service", LIFECYCLE), || {
            let world = stage.system.sandbox.world();
            let state = world.aws.autoscaling.state(&machine.instance);
            (state == Some(LifecycleState::InService)).then_some(())
        })
        .await;
    stage.acknowledged(&machine, LIFECYCLE).await;
}

/// Two of three lead to nothing: no pod moves, and no target is taken out.
async fn a_rebalance_recommendation(given: Given) {
    let stage = Stage::shared(&given).await;
    let machines = stage.group("rebalance", 2).await;
    let leaving = &machines[0];
    let pods = stage.pods(leaving).await;
    stage.aws(|world| Ec2::recommend_rebalance(world, &leaving.instance));
    stage.cordoned(leaving, INTERRUPTION).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(stage.pods(leaving).await, pods);
    assert!(stage.serves(leaving));
    let records: Vec<Value> = stage.system.records(INTERRUPTION, &leaving.instance);
    assert!(records.is_empty(), "it has not left: {records:?}");
    stage.assert_well();
}
