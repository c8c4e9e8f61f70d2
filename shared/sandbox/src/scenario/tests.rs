//! The ready-made worlds as wholes: quiet ones drop nothing, a lost node does, and seeds repeat.

use super::{
    Front, GROUP, INTERRUPTION_QUEUE, Incident, LIFECYCLE_QUEUE, Owner, Place, START, STEADY_GROUP,
    Scenario, Storm,
};
use crate::aws::autoscaling::{AsgSpec, Autoscaling, LifecycleState};
use crate::aws::ec2::State;
use crate::aws::eks::Eks;
use crate::aws::elbv2::{Elb, Health};
use crate::aws::events::BlockTitle;
use crate::aws::health::Maintenance;
use crate::aws::sqs::Sqs;
use crate::kubernetes::{Kubernetes, Manners};
use crate::traffic::{Cause, Entry, Traffic};
use crate::wire::client::elb;
use crate::world::Millis;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, WatchEvent, WatchParams};
use std::collections::BTreeMap;
use std::time::Duration;

const MINUTE: Millis = 60_000;

async fn run(scenario: &Scenario, minutes: Millis) -> Place {
    let place = scenario.build();
    place.sandbox.run_until(START + minutes * MINUTE).await;
    place
}

/// Dropped requests by cause, over all routes.
fn dropped(place: &Place) -> BTreeMap<Cause, u64> {
    let mut all = BTreeMap::new();
    for report in place.sandbox.world().traffic.reports() {
        for (cause, count) in report.dropped {
            *all.entry(cause).or_insert(0) += count;
        }
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_quiet_world_serves_everything() {
    for (name, entry) in [("cluster", Entry::Cluster), ("local", Entry::Local)] {
        let mut scenario = Scenario::small(1);
        scenario.fronts[0].entry = entry;
        let place = run(&scenario, 30).await;
        assert_eq!(dropped(&place), BTreeMap::new(), "{name}");
        let world = place.sandbox.world();
        let totals: Vec<u64> = world.traffic.reports().iter().map(|it| it.served()).collect();
        assert_eq!(totals, [180_000, 180_000], "{name}");
        for arn in &place.groups {
            let targets = &world.aws.elb.groups[arn].targets;
            assert_eq!(targets.len(), 4, "{name}");
            assert!(targets.values().all(|it| it.health == Health::Healthy), "{name}: {targets:?}");
        }
        assert_eq!(world.violations, [] as [&str; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_lost_without_a_word_costs_its_share_until_the_health_check_notices() {
    let mut scenario = Scenario::small(2);
    scenario.incidents = vec![(10_000, 0, Incident::Crash)];
    let place = run(&scenario, 10).await;
    let causes = dropped(&place);
    // A quarter of 2 x 100 requests a second, until two checks failed, 10 s apart.
    let gone = causes[&Cause::TargetGone];
    assert!((500..1_100).contains(&gone), "{causes:?}");
    assert!(causes.contains_key(&Cause::PodNodeGone), "{causes:?}");
    assert!(causes.contains_key(&Cause::CutInFlight), "{causes:?}");
    let world = place.sandbox.world();
    let last = world.traffic.last_request_through(&place.machines[0].instance).unwrap();
    assert!((10_000..40_000).contains(&(last - START)), "{}", last - START);
}

#[tokio::test(start_paused = true)]
async fn a_pod_deleted_rudely_drops_until_the_kube_proxies_know_and_a_polite_one_does_not() {
    let rows = [
        ("rude", Manners::StopsAtOnce { exit_ms: 0 }, false),
        ("polite", Manners::ServesOn { ms: 5_000 }, true),
    ];
    for (name, manners, clean) in rows {
        let mut scenario = Scenario::small(3);
        scenario.workloads[0].manners = manners;
        let place = run(&scenario, 1).await;
        let client = kube::Client::new(place.sandbox.kubernetes(1), "default");
        let pods: Api<Pod> = Api::default_namespaced(client);
        let web = pods.list(&ListParams::default().labels("app=web")).await.unwrap();
        let victim = web.items[0].metadata.name.clone().unwrap();
        pods.delete(&victim, &DeleteParams::default()).await.unwrap();
        place.sandbox.run_until(START + 3 * MINUTE).await;
        let causes = dropped(&place);
        assert_eq!(causes.is_empty(), clean, "{name}: {causes:?}");
        if !clean {
            // A quarter of 100 requests a second for 0.3 to 1.8 s, and 5 in flight.
            assert!((5..60).contains(&causes[&Cause::PodNotListening]), "{name}: {causes:?}");
            assert_eq!(causes[&Cause::CutInFlight], 5, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_policy_local_the_last_pod_of_a_node_is_missed() {
    let mut scenario = Scenario::small(4);
    scenario.fronts[0].entry = Entry::Local;
    scenario.workloads[0].ready_ms = 30_000;
    let place = run(&scenario, 1).await;
    let machine = &place.machines[1];
    {
        let mut world = place.sandbox.world();
        assert!(Traffic::target_answers(&world, &machine.instance, 30_080));
        Kubernetes::cordon(&mut world, &machine.node, crate::kubernetes::node::Cordon::On);
    }
    let client = kube::Client::new(place.sandbox.kubernetes(1), "default");
    let pods: Api<Pod> = Api::default_namespaced(client);
    let here =
        ListParams::default().labels("app=web").fields(&format!("spec.nodeName={}", machine.node));
    for pod in pods.list(&here).await.unwrap() {
        pods.delete(&pod.metadata.name.unwrap(), &DeleteParams::default()).await.unwrap();
    }
    place.sandbox.run_until(START + MINUTE + 15_000).await;
    assert!(!Traffic::target_answers(&place.sandbox.world(), &machine.instance, 30_080));
    assert!(dropped(&place).contains_key(&Cause::NoLocalPod), "{:?}", dropped(&place));
}

#[tokio::test(start_paused = true)]
async fn a_scale_in_drains_fires_the_hooks_and_sends_an_event() {
    let mut scenario = Scenario::small(5);
    scenario.fronts[0].target_group.deregistration_delay_seconds = 30;
    scenario.incidents = vec![(1_000, 2, Incident::ScaleIn)];
    let place = run(&scenario, 2).await;
    let instance = &place.machines[2].instance;
    let world = place.sandbox.world();
    assert_eq!(world.aws.autoscaling.state(instance), Some(LifecycleState::TerminatingWait));
    let events = world.aws.sqs.depth(LIFECYCLE_QUEUE);
    assert_eq!(events, 2, "one for our hook, one for that of the other tool");
    assert_eq!(world.traffic.dropped(), 0);
    assert!(world.traffic.in_flight(instance) > 0.0, "api's group still leads there");
}

#[tokio::test(start_paused = true)]
async fn the_load_balancer_controller_puts_back_what_others_took_out_unless_it_is_labelled() {
    let mut scenario = Scenario::small(6);
    scenario.fronts[1] = Front::new("api", 30_081, Owner::Controller);
    scenario.fronts[1].target_group.deregistration_delay_seconds = 0;
    let place = run(&scenario, 1).await;
    let (machine, arn) = (&place.machines[0], &place.groups[1]);
    let key = (machine.instance.clone(), 30_081);
    let client = elb(&place.sandbox, 1);
    let target = aws_sdk_elasticloadbalancingv2::types::TargetDescription::builder()
        .id(&machine.instance)
        .port(30_081)
        .build();
    client.deregister_targets().target_group_arn(arn).targets(target).send().await.unwrap();
    place.sandbox.run_until(START + 2 * MINUTE).await;
    assert_eq!(place.sandbox.world().aws.elb.groups[arn].targets[&key].health, Health::Healthy);
    Kubernetes::exclude(&mut place.sandbox.world(), &machine.node);
    place.sandbox.run_until(START + 3 * MINUTE).await;
    let world = place.sandbox.world();
    assert!(!world.aws.elb.groups[arn].targets.contains_key(&key));
    assert_eq!(world.traffic.dropped(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_instance_joins_both_groups_and_serves() {
    let mut scenario = Scenario::small(7);
    scenario.hooks.clear();
    scenario.incidents = vec![(1_000, 0, Incident::ScaleOut)];
    let place = run(&scenario, 10).await;
    let world = place.sandbox.world();
    let old: Vec<&str> = place.machines.iter().map(|it| &*it.instance).collect();
    let new = world.aws.ec2.instances.keys().find(|id| !old.contains(&&***id)).unwrap();
    for arn in &place.groups {
        assert!(Elb::routes(&world.aws.elb, arn, world.now).iter().any(|(id, _)| id == new));
    }
    // Without a launch hook it may be registered before it can serve: those are the only losses.
    let causes: Vec<Cause> = world
        .traffic
        .reports()
        .iter()
        .flat_map(|it| it.dropped.keys().copied().collect::<Vec<_>>())
        .collect();
    assert!(causes.iter().all(|cause| *cause == Cause::NotForwarding), "{causes:?}");
    assert_eq!(world.traffic.last_request_through(new), Some(world.now));
}

#[tokio::test(start_paused = true)]
async fn a_watch_hears_what_calls_and_controllers_change() {
    let place = run(&Scenario::small(8), 1).await;
    let sandbox = &place.sandbox;
    let nodes: Api<Node> = Api::all(kube::Client::new(sandbox.kubernetes(1), "default"));
    let list = nodes.list(&ListParams::default()).await.unwrap();
    let version = list.metadata.resource_version.unwrap();
    let start = sandbox.now();
    let change = async {
        sandbox.sleep_until(start + 5_000).await;
        Kubernetes::exclude(&mut sandbox.world(), &place.machines[1].node);
    };
    let listen = async {
        let watch = nodes.watch(&WatchParams::default().timeout(20), &version).await.unwrap();
        let first = futures_util::StreamExt::next(&mut Box::pin(watch)).await;
        (first.unwrap().unwrap(), sandbox.now() - start)
    };
    let ((), (event, after)) = futures_util::future::join(change, listen).await;
    let WatchEvent::Modified(node) = event else { panic!("{event:?}") };
    assert_eq!(node.metadata.name.as_deref(), Some(&*place.machines[1].node));
    assert!((5_000..5_100).contains(&after), "{after}");
}

/// Everything that a run left, as one text.
async fn trace(seed: u64) -> String {
    let place = run(&Scenario::random(seed), 30).await;
    let world = place.sandbox.world();
    format!(
        "{:?} {:?} {:?} {:?} {}",
        world.story,
        world.traffic.reports(),
        world.aws.autoscaling.actions,
        world.aws.events.events_log,
        world.kubernetes.resource_version(),
    )
}

#[tokio::test(start_paused = true)]
async fn random_worlds_repeat_and_differ() {
    let mut traces = Vec::new();
    for seed in 0..40 {
        traces.push(trace(seed).await);
    }
    for (seed, before) in (0..40).zip(&traces).step_by(4) {
        assert_eq!(trace(seed).await, *before, "seed {seed}");
    }
    traces.dedup();
    assert_eq!(traces.len(), 40);
}

#[tokio::test(start_paused = true)]
async fn every_random_world_is_well_before_anything_befalls_it() {
    for seed in 0..100 {
        let mut scenario = Scenario::random(seed);
        scenario.incidents.clear();
        let place = run(&scenario, 1).await;
        let world = place.sandbox.world();
        for front in &scenario.fronts {
            let name = &front.target_group.name;
            let endpoints = world.kubernetes.endpoints("default", name);
            assert!(endpoints.iter().any(|it| it.ready), "seed {seed}: nobody behind {name}");
        }
        let dropped = world.traffic.reports();
        // With fewer pods than nodes, policy Local makes targets unhealthy, which is no fault here.
        let local = scenario.fronts.iter().any(|front| front.entry != Entry::Cluster);
        assert!(local || dropped.iter().all(|it| it.dropped() == 0), "seed {seed}: {dropped:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_spot_stopped_comes_back_as_the_same_node_with_another_boot() {
    let mut scenario = Scenario::small(10);
    scenario.incidents = vec![(1_000, 0, Incident::SpotStop), (250_000, 0, Incident::Start)];
    let place = scenario.build();
    let node = place.machines[0].node.clone();
    place.sandbox.world().aws.autoscaling.groups.get_mut("workers").unwrap().spec.suspended = true;
    let read = |place: &Place| {
        let world = place.sandbox.world();
        let node = world.kubernetes.node(&node).expect("it is registered");
        let shut =
            node.spec["taints"].to_string().contains("node.cloudprovider.kubernetes.io/shutdown");
        (node.meta.uid.clone(), node.status["nodeInfo"]["bootID"].clone(), shut)
    };
    let (uid, boot, shut) = read(&place);
    assert!(!shut);
    place.sandbox.run_until(START + 240_000).await;
    assert_eq!(read(&place), (uid.clone(), boot.clone(), true));
    place.sandbox.run_until(START + 330_000).await;
    let (uid_after, boot_after, shut) = read(&place);
    assert_eq!((uid_after, shut), (uid, false));
    assert_ne!(boot_after, boot);
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_incident_sends_its_event_to_the_interruption_queue() {
    let (in_ms, kind) = (60_000, Maintenance::InstanceReboot);
    let rows = [
        (Incident::Spot, "EC2 Spot Instance Interruption Warning"),
        (Incident::SpotStop, "EC2 Spot Instance Interruption Warning"),
        (Incident::SpotHibernate, "EC2 Spot Instance Interruption Warning"),
        (Incident::Rebalance, "EC2 Instance Rebalance Recommendation"),
        (Incident::Reservation, "EC2 Capacity Reservation Instance Interruption Warning"),
        (Incident::Block, "EC2 Capacity Reservation Instance Interruption Warning"),
        (Incident::BlockExpires(BlockTitle::Block), "Capacity Block Expiration Warning"),
        (
            Incident::BlockExpires(BlockTitle::Reservation),
            "Capacity Block Reservation Expiration Warning",
        ),
        (Incident::Maintenance { kind, in_ms }, "AWS Health Event"),
        (Incident::Stop, "EC2 Instance State-change Notification"),
        (Incident::Terminate, "EC2 Instance State-change Notification"),
    ];
    for (incident, title) in rows {
        let mut scenario = Scenario::small(11);
        scenario.incidents = vec![(1_000, 0, incident.clone())];
        let place = scenario.build();
        place.sandbox.run_until(START + 10_000).await;
        let mut world = place.sandbox.world();
        let messages = Sqs::receive(&mut world, INTERRUPTION_QUEUE, 10);
        let named = |body: &str| body.contains(&format!("\"detail-type\":\"{title}\""));
        assert!(messages.iter().any(|message| named(&message.body)), "{incident:?}: {messages:?}");
        assert_eq!(world.aws.sqs.depth(LIFECYCLE_QUEUE), 0, "{incident:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_recommendation_may_be_followed_by_a_warning_and_a_change_be_called_off() {
    let (kind, in_ms) = (Maintenance::Retirement, 120_000);
    let mut scenario = Scenario::small(12);
    scenario.incidents = vec![
        (1_000, 0, Incident::RebalanceThenSpot { after_ms: 60_000 }),
        (1_000, 1, Incident::Maintenance { kind, in_ms }),
        (30_000, 1, Incident::MaintenanceCancelled),
    ];
    let place = run(&scenario, 4).await;
    let world = place.sandbox.world();
    let ended = |index: usize| world.aws.ec2.instances[&place.machines[index].instance].state;
    assert_ne!(ended(0), State::Running);
    assert_eq!(ended(1), State::Running);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_of_another_name_has_its_own_objects_and_may_be_silent() {
    let place = run(&Scenario::small(13), 1).await;
    let sandbox = &place.sandbox;
    let other = {
        let mut world = sandbox.world();
        let mut other = Kubernetes::default();
        other.template.join_ms = 1_000;
        world.clusters.insert("other".to_owned(), other);
        for name in ["other", "broken"] {
            Eks::add(&mut world, name, &format!("https://{name}.eks.example.com"), "Q0E=");
        }
        world.faults.silence("broken");
        let tags = [("kubernetes.io/cluster/other".to_owned(), "owned".to_owned())].into();
        let name = "others".to_owned();
        Autoscaling::add_group(&mut world, AsgSpec { name, tags, ..AsgSpec::default() });
        Autoscaling::launch(&mut world, "others", "eu-west-1a")
    };
    sandbox.run_until(START + 3 * MINUTE).await;
    let nodes = |cluster: &str| {
        Api::<Node>::all(kube::Client::new(sandbox.kubernetes_of(cluster, 1), "default"))
    };
    let list = async |cluster: &str| {
        let list = nodes(cluster).list(&ListParams::default()).await.unwrap();
        list.iter().filter_map(|node| node.spec.clone()?.provider_id).collect::<Vec<_>>()
    };
    assert_eq!(list("demo").await.len(), 4);
    let found = list("other").await;
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with(&other));
    assert!(sandbox.world().kubernetes.node_of_instance(&other).is_none());
    let patience = Duration::from_secs(5);
    let api = nodes("broken");
    assert!(tokio::time::timeout(patience, api.list(&ListParams::default())).await.is_err());
    assert_eq!(list("demo").await.len(), 4, "the healthy one still answers");
}

#[tokio::test(start_paused = true)]
async fn a_storm_has_its_nodes_pods_targets_and_budgets() {
    let storm = Storm::new(1, 60);
    let place = storm.build();
    let world = place.sandbox.world();
    assert_eq!((place.machines.len(), place.groups.len()), (75, 3));
    let members = |name: &str| world.aws.autoscaling.groups[name].members.len();
    assert_eq!((members(GROUP), members(STEADY_GROUP)), (60, 15));
    for (index, machine) in place.machines.iter().enumerate() {
        let node = world.kubernetes.node(&machine.node).expect("it is registered");
        let soft = node.spec["taints"][0]["effect"] == "PreferNoSchedule";
        let evictable = world.kubernetes.evictable_on(&machine.node);
        assert_eq!((soft, evictable), (index < 60, if index < 60 { 10 } else { 0 }), "{index}");
        assert_eq!(world.kubernetes.pods_on(&machine.node).count(), evictable + 1, "an agent");
    }
    for arn in &place.groups {
        assert_eq!(world.aws.elb.groups[arn].living(), 75);
    }
    let budgets = world.kubernetes.store.all(crate::kubernetes::Kind::PodDisruptionBudget);
    let allowed: Vec<i64> =
        budgets.map(|(_, one)| one.status["disruptionsAllowed"].as_i64().unwrap()).collect();
    assert_eq!(allowed, [20; 3], "10 % of 200 pods");
}

/// What a storm left behind, for runs that repeat.
async fn weather(seed: u64) -> String {
    let place = Storm::new(seed, 30).build();
    place.sandbox.run_until(START + 160_000).await;
    let world = place.sandbox.world();
    format!(
        "{:?} {:?} {}",
        world.measures,
        world.traffic.reports(),
        world.kubernetes.resource_version()
    )
}

#[tokio::test(start_paused = true)]
async fn in_a_storm_all_are_warned_within_a_second_and_replaced_after_a_minute() {
    let place = Storm::new(2, 30).build();
    place.sandbox.run_until(START + 12_000).await;
    {
        let world = place.sandbox.world();
        assert_eq!(world.measures.departures.len(), 30);
        let warned: Vec<_> = world.measures.departures.values().map(|it| it.warned_at).collect();
        let (first, last) = (warned.iter().min().unwrap(), warned.iter().max().unwrap());
        assert!(last - first < 1_000 && *first >= START + 10_000);
        assert!(world.aws.autoscaling.actions.len() >= 30, "the hooks came with the warnings");
    }
    place.sandbox.run_until(START + 100_000).await;
    {
        let world = place.sandbox.world();
        for arn in &place.groups {
            assert_eq!(world.aws.elb.groups[arn].living(), 30 + 8 + 30, "old, steady and new");
        }
        let name = |node: &crate::kubernetes::object::Object| {
            node.spec["taints"][0]["key"].as_str().unwrap_or_default().to_owned()
        };
        let nodes = world.kubernetes.store.all(crate::kubernetes::Kind::Node);
        let spot = nodes.filter(|(_, node)| name(node) == super::SPOT_TAINT).count();
        assert_eq!(spot, 60, "a replacement has its group's taint");
    }
    place.sandbox.run_until(START + 140_000).await;
    let world = place.sandbox.world();
    for departure in world.measures.departures.values() {
        assert_eq!((departure.cordoned_at, departure.drained_at), (None, None), "nobody did");
        let left = departure.died_at.unwrap() - departure.warned_at;
        assert!((120_000..=122_000).contains(&left), "{left}");
    }
    for fewest in world.measures.fewest.values() {
        assert_eq!(fewest.targets, 38, "the new ones were there before the old ones went");
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_repeats() {
    assert_eq!(weather(3).await, weather(3).await);
    assert_ne!(weather(3).await, weather(4).await);
}

#[tokio::test(start_paused = true)]
async fn a_departure_is_measured_from_its_warning_on() {
    let mut storm = Storm::new(5, 3);
    storm.within_ms = 1;
    let place = storm.build();
    let (node, instance) = (place.machines[0].node.clone(), place.machines[0].instance.clone());
    place.sandbox.run_until(START + 12_000).await;
    let client = kube::Client::new(place.sandbox.kubernetes(1), "default");
    let nodes: Api<Node> = Api::all(client.clone());
    let patch = kube::api::Patch::Merge(serde_json::json!({"spec": {"unschedulable": true}}));
    nodes.patch(&node, &kube::api::PatchParams::default(), &patch).await.unwrap();
    for (arn, port) in place.groups.iter().zip([30_080, 30_081, 30_082]) {
        Elb::deregister(&mut place.sandbox.world(), arn, &instance, port);
        place.sandbox.run_until(place.sandbox.now() + 1_000).await;
    }
    let pods: Api<Pod> = Api::namespaced(client, "default");
    let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
    for pod in pods.list(&here).await.unwrap() {
        pods.delete(&pod.metadata.name.unwrap(), &DeleteParams::default()).await.unwrap();
    }
    place.sandbox.run_until(START + 40_000).await;
    let world = place.sandbox.world();
    let departure = world.measures.departures[&instance];
    let after = |at: Option<i64>| at.map(|at| at - departure.warned_at).unwrap();
    assert!((2_000..2_100).contains(&after(departure.cordoned_at)), "{departure:?}");
    assert!((4_000..4_100).contains(&after(departure.withdrawn_at)), "{departure:?}");
    assert!((9_000..13_000).contains(&after(departure.drained_at)), "{departure:?}");
    assert_eq!(departure.died_at, None);
    let spread = world.measures.spread(|it| it.cordoned_at).unwrap();
    let only = after(departure.cordoned_at);
    assert_eq!((spread.count, spread.p50, spread.p99, spread.last), (1, only, only, only));
    for arn in &place.groups {
        assert_eq!(world.measures.fewest[arn].targets, 3, "of four");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_rebooted_forwards_again() {
    let mut scenario = Scenario::small(14);
    scenario.hooks.clear();
    scenario.fronts[0].target_group.deregistration_delay_seconds = 30;
    scenario.incidents = vec![(1_000, 0, Incident::ReplaceRootVolume)];
    let place = run(&scenario, 10).await;
    let (world, instance) = (place.sandbox.world(), &place.machines[0].instance);
    assert_eq!(world.aws.ec2.instances[instance].boot, 2);
    for arn in &place.groups {
        let targets = &world.aws.elb.groups[arn].targets;
        let mut ours = targets.iter().filter(|((id, _), _)| id == instance);
        assert!(ours.all(|(_, target)| target.health == Health::Healthy), "{targets:?}");
        assert_eq!(world.aws.elb.groups[arn].living(), 4);
    }
    assert_eq!(world.traffic.last_request_through(instance), Some(world.now));
}
