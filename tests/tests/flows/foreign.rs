//! An account's whole stream of EC2's events: what is not ours costs next to nothing, and nothing is done about it.

use crate::flow::{Flow, MINUTE, SECOND};
use sandbox::aws::autoscaling::{AsgSpec, Autoscaling};
use sandbox::aws::ec2::{Ec2, State};
use sandbox::aws::events::EventBridge;
use sandbox::scenario::{Place, START};
use sandbox::world::World;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Instances that are not ours.
const STRANGERS: usize = 2_000;

/// Events about them, five each.
const EVENTS: usize = 10_000;

/// Other people's instances: in no group, in a group of somebody else, in a managed node group; and events of all kinds
/// about them, over a minute.
fn strangers(world: &mut World, _: &Place) {
    for id in add_strangers(world, STRANGERS) {
        EventBridge::spot_warning(world, &id);
        EventBridge::rebalance(world, &id);
        for state in [State::Stopping, State::Stopped, State::Running] {
            EventBridge::state_change(world, &id, state);
        }
    }
}

fn add_strangers(world: &mut World, count: usize) -> Vec<String> {
    let tags = |key: &str| [(key.to_owned(), "theirs".to_owned())].into();
    let theirs = AsgSpec { name: "theirs".to_owned(), tags: tags("team"), ..AsgSpec::default() };
    let managed = AsgSpec {
        name: "managed".to_owned(),
        tags: tags("eks:nodegroup-name"),
        ..AsgSpec::default()
    };
    for spec in [theirs, managed] {
        Autoscaling::add_group(world, AsgSpec { suspended: true, ..spec });
    }
    let mut strangers = Vec::new();
    for index in 0..count {
        let id = format!("i-0{:016x}", world.rng.u64(..));
        match index % 3 {
            0 => Ec2::add(world, &id, "eu-west-1a"),
            1 => Autoscaling::add_instance(world, "theirs", &id, "eu-west-1a"),
            _ => Autoscaling::add_instance(world, "managed", &id, "eu-west-1a"),
        }
        strangers.push(id);
    }
    strangers
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_events_about_others_are_acknowledged_and_looked_up_once_each() {
    let past = Flow::interrupted()
        .with(|scenario| scenario.delivery.delay_ms = 0..=MINUTE)
        .at(SECOND, strangers)
        .for_at_most(20 * MINUTE)
        .run()
        .await;
    past.no_message_is_left();
    let sent = past.world().aws.events.events_log.len();
    assert_eq!(sent, EVENTS);
    let writes = past.writes();
    assert!(writes.is_empty(), "{writes:#?}");
    let looked = past.calls("ec2:DescribeInstances");
    assert!(!looked.is_empty() && looked.iter().all(|call| call.status == 200));
    let mut batches = BTreeMap::<u32, usize>::new();
    looked.iter().for_each(|call| *batches.entry(call.process).or_default() += 1);
    let world = past.world();
    for (process, calls) in &batches {
        let invocations = usize::try_from(world.processes[process].invocations).unwrap();
        assert!(*calls <= invocations, "{calls} look-ups in {invocations} batches");
    }
    let asked: BTreeSet<&str> = world.calls.iter().map(|call| call.operation.as_str()).collect();
    let kubernetes: Vec<_> = asked.iter().filter(|operation| !operation.contains(':')).collect();
    assert!(kubernetes.is_empty(), "{kubernetes:?}");
    assert!(!asked.iter().any(|operation| operation.contains("elasticloadbalancing")), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_process_knows_not_to_be_ours_it_does_not_look_up_again_for_ten_minutes() {
    let ids = Rc::new(RefCell::new(Vec::new()));
    let warn = |ids: &Rc<RefCell<Vec<String>>>| {
        let ids = Rc::clone(ids);
        move |world: &mut World, _: &Place| {
            let ids = ids.borrow();
            ids.iter().for_each(|id| EventBridge::rebalance(world, id));
        }
    };
    let known = Rc::clone(&ids);
    let past = Flow::interrupted()
        .with(|scenario| scenario.concurrency_max = 1)
        .at(SECOND, move |world, _| known.replace(add_strangers(world, 60)).clear())
        .at(2 * SECOND, warn(&ids))
        .at(5 * MINUTE, warn(&ids))
        // Not idle for so long that Lambda takes the process away.
        .at(9 * MINUTE, warn(&ids))
        .at(13 * MINUTE, warn(&ids))
        .for_at_most(20 * MINUTE)
        .run()
        .await;
    past.no_message_is_left();
    assert_eq!(past.world().processes.len(), 1);
    let looked: Vec<_> =
        past.calls("ec2:DescribeInstances").iter().map(|it| it.at - START).collect();
    let within = |from, to| looked.iter().filter(|at| (from..to).contains(*at)).count();
    assert!((6..=12).contains(&within(0, MINUTE)), "{looked:?}");
    assert_eq!(within(MINUTE, 12 * MINUTE), 0, "{looked:?}");
    assert!(within(12 * MINUTE, 20 * MINUTE) >= 6, "{looked:?}");
}
