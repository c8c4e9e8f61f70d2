//! What a whole departure costs on a machine: all its turns, with the world that it happens in.
//!
//! The clock is tokio's paused one, so the minute that it lasts in the world takes no time here. What is measured is
//! the function's own work (events, JSON, XML, signatures, decisions) and the sandbox's.

use criterion::{Criterion, criterion_group, criterion_main};
use decision::policy::Policy;
use ebbtide::stage::{Deployment, function};
use sandbox::lambda::drive;
use sandbox::scenario::{Incident, LIFECYCLE_QUEUE, Scenario};
use sandbox::world::{Millis, World};
use std::hint::black_box;

/// Longer than any departure of the small world takes.
const LONGEST: Millis = 600_000;

/// One instance of the small world is replaced; ends when our hook was answered. Returns the calls that were made.
async fn departure() -> usize {
    let mut scenario = Scenario::small(7);
    scenario.hooks.retain(|hook| hook.name == "ebbtide-terminate");
    scenario.fronts[0].target_group.deregistration_delay_seconds = 20;
    scenario.fronts[1].target_group.deregistration_delay_seconds = 20;
    scenario.incidents = vec![(0, 0, Incident::Replace)];
    let place = scenario.build();
    let settings = |variable: &str| match variable {
        "MODE" => Some("act".to_owned()),
        "TARGET_GROUPS" => place.groups.get(1).cloned(),
        _ => None,
    };
    let deployment = Deployment {
        policy: Policy::parse(settings).expect("these are settings"),
        queue: LIFECYCLE_QUEUE.to_owned(),
        dead_letter: format!("{LIFECYCLE_QUEUE}-dead-letter"),
        batch: scenario.batch,
        concurrency: 20,
    };
    let functions = [function(&place.sandbox, "lifecycle", &deployment)];
    let answered =
        |world: &World| world.aws.autoscaling.actions.iter().any(|action| action.ended.is_some());
    let until = place.sandbox.now() + LONGEST;
    drive(&place.sandbox, &functions, until, answered).await;
    let world = place.sandbox.world();
    assert!(answered(&world), "the departure ended");
    world.calls.len()
}

fn whole_departure(criterion: &mut Criterion) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime needs nothing from outside");
    criterion.bench_function("a whole departure in the sandbox", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(departure())));
    });
}

criterion_group!(benches, whole_departure);
criterion_main!(benches);
