//! What a decision costs: one about a full node, and a plan of ten of them. A slice has seconds, most of them for calls,
//! so a decision must not count beside one.

use criterion::{Criterion, criterion_group, criterion_main};
use decision::decide::decide;
use decision::plan::join;
use decision::snapshot::Snapshot;
use decision::snapshot::cluster::TrafficPolicy;
use std::hint::black_box;

#[expect(dead_code, reason = "the rules' small world; a full node needs only some of it")]
#[path = "../tests/rules/world.rs"]
mod world;

/// The most pods that a node of the usual size takes.
const PODS: usize = 110;
/// Applications on the node, each with a Service, a PodDisruptionBudget and pods on two more nodes.
const APPS: usize = 22;

fn name(number: usize) -> String {
    format!("app{}-{number}", number % APPS)
}

/// The drain of a full node, a minute after its signal.
fn full(instance: usize) -> Snapshot {
    let mut snapshot = world::departing();
    snapshot.instance = world::instance(instance);
    snapshot.signals[0].signal.instance = world::instance(instance);
    world::hook_mut(&mut snapshot).token = world::token(instance);
    let record = world::record(instance);
    *world::node_mut(&mut snapshot) = world::cordoned(world::node(), &record);
    let view = world::view_mut(&mut snapshot);
    view.node.name = world::node_name(instance);
    view.peers = Ok(vec![world::peer(&record)].into());
    view.pods = Ok((0..PODS).map(|number| world::pod(&name(number))).collect());
    let here = (0..PODS).map(|number| world::sibling(&name(number), instance));
    let elsewhere = (PODS..3 * PODS).map(|number| world::sibling(&name(number), 200));
    view.siblings = Ok(here.chain(elsewhere).collect());
    let apps = || (0..APPS).map(|app| format!("app{app}"));
    view.budgets = Ok(apps().map(|app| world::budget(&app, 1)).collect());
    let services = apps().map(|app| world::service(&app, TrafficPolicy::Cluster, &[]));
    view.services = Ok(services.collect());
    snapshot
}

fn bench(criterion: &mut Criterion) {
    let policy = world::act();
    let one = full(1);
    assert!(!decide(&one, &policy).steps.is_empty(), "a drain has steps");
    criterion.bench_function("decide, 110 pods", |bencher| {
        bencher.iter(|| decide(black_box(&one), &policy));
    });
    let ten: Vec<_> = (1..=10).map(|instance| decide(&full(instance), &policy)).collect();
    criterion
        .bench_function("join, 10 decisions", |bencher| bencher.iter(|| join(black_box(&ten))));
}

criterion_group!(benches, bench);
criterion_main!(benches);
