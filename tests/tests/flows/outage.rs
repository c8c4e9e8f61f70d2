//! Interruptions while an API server is away: the AWS half goes on, and one broken cluster holds up no other.

use crate::flow::{DELIVERY, Flow, HOUR, MINUTE, SECOND};
use crate::past::Past;
use cluster::wrap;
use sandbox::aws::autoscaling::{AsgSpec, Autoscaling};
use sandbox::aws::ec2::Ec2;
use sandbox::aws::eks::Eks;
use sandbox::fault::{Fault, Scope, Script};
use sandbox::kubernetes::node::Cordon;
use sandbox::kubernetes::{Kubernetes, NodeSpec, Workload, WorkloadKind};
use sandbox::scenario::{Incident, Place, START};
use sandbox::world::{Millis, World};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The notice of a Spot warning.
const NOTICE: Millis = 2 * MINUTE;

/// Asserts that host 0 is out of both groups, and got its last request before it died.
#[track_caller]
fn out_in_time(past: &Past) {
    let (last, died_at) = (past.last_request_through(0), past.died_at(0));
    assert!(last < died_at, "{last} {died_at}\n{}", past.transcript());
    assert!(last < SECOND + NOTICE, "{last}\n{}", past.transcript());
    for group in &past.place.groups {
        let out = past.calls("DeregisterTargets");
        let out = out.iter().any(|call| {
            call.subject == *group && call.status == 200 && call.at < START + SECOND + NOTICE
        });
        assert!(out, "{group}\n{}", past.transcript());
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_api_server_away_to_the_end_named_and_attached_targets_leave_in_time() {
    for fault in [Fault::ResetBefore, Fault::TimedOutBefore, Fault::ServerError] {
        let past = Flow::interrupted()
            .befalls(0, SECOND, Incident::Spot)
            .outage(Scope::Kubernetes, (0, 4 * MINUTE), fault)
            .for_at_most(HOUR)
            .run()
            .await;
        out_in_time(&past);
        past.no_message_is_left();
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_api_server_back_after_a_minute_the_node_is_still_drained() {
    for fault in [Fault::ResetBefore, Fault::TimedOutBefore] {
        let past = Flow::interrupted()
            .befalls(0, SECOND, Incident::Spot)
            .outage(Scope::Kubernetes, (0, MINUTE), fault)
            .for_at_most(HOUR)
            .run()
            .await;
        let cordoned_at = past.cordoned_at(0);
        assert!(cordoned_at < MINUTE + 20 * SECOND, "{cordoned_at}\n{}", past.transcript());
        past.all_pods_were_removed(0);
        let last = past.removals(0).iter().map(|removal| removal.at).max().unwrap() - START;
        assert!(last < past.died_at(0) - 5 * SECOND, "{last}\n{}", past.transcript());
        out_in_time(&past);
        past.no_message_is_left();
    }
}

/// Another cluster of this name with one node in a group of its own, and its API server, which may be silent. Returns
/// the instance.
fn add_cluster(world: &mut World, name: &str) -> String {
    world.clusters.insert(name.to_owned(), Kubernetes::default());
    Eks::add(world, name, &format!("https://{name}.eks.example.com"), "LS0tLS1CRUdJTi0tLS0tCg==");
    let tags =
        [("ebbtide.dev/managed", "true"), (&format!("kubernetes.io/cluster/{name}"), "owned")];
    let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let group = format!("{name}-workers");
    Autoscaling::add_group(world, AsgSpec { name: group.clone(), tags, ..AsgSpec::default() });
    let instance = format!("i-0{:016x}", world.rng.u64(..));
    Autoscaling::add_instance(world, &group, &instance, "eu-west-1a");
    let node = world.aws.ec2.instances[&instance].private_dns.clone();
    world.in_cluster(name, |world| {
        Kubernetes::add_node(world, NodeSpec::new(&node, &instance, "eu-west-1a"));
        let work = Workload::new(WorkloadKind::Deployment, "default", "work", 1);
        Kubernetes::add_workload(world, work);
    });
    instance
}

/// Two nodes of ours in the first cluster and one in each of two others are interrupted at once; one of the others is
/// silent.
fn several_clusters(world: &mut World, _: &Place) {
    for name in ["broken", "other"] {
        let instance = add_cluster(world, name);
        Ec2::interrupt(world, &instance, NOTICE);
    }
    world.faults.silence("broken");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_never_answers_holds_up_no_other() {
    let past = Flow::interrupted()
        .with(|scenario| scenario.concurrency_max = 1)
        .process(|app, sandbox| {
            let sandbox = sandbox.clone();
            app.dial =
                Arc::new(move |access| Ok(wrap(sandbox.kubernetes_of(access.name.as_str(), 0))));
        })
        .befalls(0, SECOND, Incident::Spot)
        .at(SECOND, several_clusters)
        .for_at_most(HOUR)
        .run()
        .await;
    let after = past.cordoned_at(0) - SECOND - DELIVERY;
    assert!(after < 2 * SECOND, "{after}\n{}", past.transcript());
    past.all_pods_were_removed(0);
    past.nothing_was_dropped();
    let mut world = past.world();
    let node = world.in_cluster("other", |world| {
        let removals = &world.kubernetes.removals;
        removals.iter().map(|removal| removal.at - START).collect::<Vec<_>>()
    });
    drop(world);
    assert_eq!(node.len(), 1, "the third cluster's only pod\n{}", past.transcript());
    assert!(node[0] < 30 * SECOND, "{node:?}");
    past.no_message_is_left();
}

#[tokio::test(start_paused = true)]
async fn who_was_uncordoned_while_reads_took_long_is_cordoned_again_before_an_eviction() {
    let past = Flow::interrupted()
        .befalls(0, SECOND, Incident::Spot)
        // The first list of the budgets is never answered: five seconds later it is asked for again.
        .with(|scenario| {
            let lists = Scope::operation("GET poddisruptionbudgets");
            scenario.faults.scripts.push(Script::new(lists, 1, Fault::TimedOutBefore));
        })
        .at(4 * SECOND, |world, place| {
            assert!(world.kubernetes.removals.is_empty(), "it still reads");
            Kubernetes::cordon(world, &place.machines[0].node, Cordon::Off);
        })
        .for_at_most(HOUR)
        .run()
        .await;
    assert_eq!(past.calls("GET poddisruptionbudgets")[0].status, 0);
    past.all_pods_were_removed(0);
    past.no_message_is_left();
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_takes_four_seconds_for_each_answer_cordons_nevertheless() {
    let past = Flow::interrupted()
        .befalls(0, SECOND, Incident::Spot)
        // On the way there, and on the way back.
        .at(0, |world, _| world.latency.kubernetes = 1_900..=2_100)
        .for_at_most(HOUR)
        .run()
        .await;
    let cordoned_at = past.cordoned_at(0);
    assert!(cordoned_at < 20 * SECOND, "{cordoned_at}\n{}", past.transcript());
    past.no_message_is_left();
}

#[tokio::test(start_paused = true)]
async fn with_budgets_that_are_never_answered_pods_are_deleted_before_the_host_ends() {
    let past = Flow::interrupted()
        .befalls(0, SECOND, Incident::Spot)
        .outage(
            Scope::operation("GET poddisruptionbudgets"),
            (0, 4 * MINUTE),
            Fault::TimedOutBefore,
        )
        .for_at_most(HOUR)
        .run()
        .await;
    assert!(past.calls("GET poddisruptionbudgets").iter().all(|call| call.status == 0));
    let told: BTreeSet<String> = past.removals(0).into_iter().map(|removal| removal.pod).collect();
    assert_eq!(told, past.pods_at_start(0).iter().cloned().collect());
    let last = past.removals(0).iter().map(|removal| removal.at).max().unwrap() - START;
    assert!(last < past.died_at(0) - 5 * SECOND, "{last}\n{}", past.transcript());
    past.no_message_is_left();
}
