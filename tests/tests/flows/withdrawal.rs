//! Out of the load balancers: never the last one, never before the time, and back again.

use crate::flow::{Flow, MINUTE, SECOND};
use sandbox::aws::elbv2::Health;
use sandbox::scenario::{Front, Host, Incident, Owner, START};
use sandbox::traffic::Entry;

#[tokio::test(start_paused = true)]
async fn a_group_whose_two_targets_terminate_at_once_is_never_emptied() {
    let past = Flow::new()
        .with(|scenario| {
            scenario.hosts.truncate(2);
            scenario.fronts.retain(|front| front.owner == Owner::Script);
        })
        .replaces([0, 1])
        .run()
        .await;
    past.drained(0);
    past.drained(1);
    let (arn, fewest) = past.seen.fewest.iter().next().expect("there is one group");
    assert!(*fewest >= 1, "{arn} had {fewest} targets\n{}", past.transcript());
    assert_eq!(past.world().traffic.dropped(), 0, "{:#?}", past.world().traffic.reports());
}

#[tokio::test(start_paused = true)]
async fn a_scale_in_to_nothing_leaves_the_last_target_in() {
    let past = Flow::new()
        .with(|scenario| {
            scenario.hosts.truncate(2);
            scenario.fronts.retain(|front| front.owner == Owner::Script);
            // No replacement will ever run, so a budget would never open again.
            scenario.workloads.iter_mut().for_each(|workload| workload.pdb = None);
        })
        .befalls(0, 0, Incident::ScaleIn)
        .befalls(1, 0, Incident::ScaleIn)
        .run()
        .await;
    past.continued(0);
    past.continued(1);
    let deregistered = past.calls("DeregisterTargets");
    assert_eq!(deregistered.len(), 1, "{deregistered:#?}");
}

#[tokio::test(start_paused = true)]
async fn behind_local_with_a_delay_of_zero_nothing_is_dropped() {
    for owner in [Owner::Asg, Owner::Script] {
        let past = Flow::new()
            .with(|scenario| {
                scenario.fronts.truncate(1);
                let front = &mut scenario.fronts[0];
                (front.owner, front.entry) = (owner, Entry::Local);
                front.target_group.deregistration_delay_seconds = 0;
            })
            .replaces([0])
            .run()
            .await;
        let ending = past.drained(0);
        let mut web = past.removals(0);
        web.retain(|removal| removal.pod.contains("web"));
        assert!(!web.is_empty(), "a pod behind the group was on this host");
        // 30 s of settling, counted from an event that says whole seconds.
        let settled = ending.action.began_at + 29 * SECOND;
        assert!(web.iter().all(|removal| removal.at >= settled), "{owner:?} {web:#?}");
        let world = past.world();
        assert_eq!(world.traffic.dropped(), 0, "{owner:?} {:#?}", world.traffic.reports());
    }
}

#[tokio::test(start_paused = true)]
async fn behind_cluster_no_request_is_dropped_and_the_node_outlives_its_connections() {
    let past = Flow::new().replaces([0]).run().await;
    let ending = past.drained(0);
    let instance = &past.machine(0).instance;
    let world = past.world();
    assert_eq!(world.traffic.dropped(), 0, "{:#?}", world.traffic.reports());
    let last = world.traffic.last_request_through(instance).expect("it served");
    assert!(START + ending.at >= last, "{ending:?}, last request at {last}");
}

#[tokio::test(start_paused = true)]
async fn the_floor_keeps_half_of_the_group_in_until_replacements_are_healthy() {
    let past = Flow::new()
        .with(|scenario| {
            scenario.hosts = ["a", "b", "c", "a", "b", "c", "a", "b"].map(Host::in_zone).into();
            scenario.fronts.retain(|front| front.owner == Owner::Script);
        })
        .replaces(0..6)
        .run()
        .await;
    (0..6).for_each(|host| drop(past.drained(host)));
    let (arn, fewest) = past.seen.fewest.iter().next().expect("there is one group");
    assert!(*fewest >= 4, "{arn} had {fewest} of 8 targets\n{}", past.transcript());
    let world = past.world();
    assert_eq!(world.traffic.dropped(), 0, "{:#?}", world.traffic.reports());
}

#[tokio::test(start_paused = true)]
async fn a_scale_in_does_not_wait_for_a_replacement_that_never_comes() {
    let past = Flow::new()
        .with(|scenario| {
            scenario.hosts.truncate(3);
            scenario.fronts.retain(|front| front.owner == Owner::Script);
        })
        .befalls(0, 0, Incident::ScaleIn)
        .befalls(1, 0, Incident::ScaleIn)
        .run()
        .await;
    for host in 0..2 {
        let ending = past.drained(host);
        assert!(ending.waited < 8 * MINUTE, "{ending:?}");
    }
    let world = past.world();
    let group = world.aws.elb.groups.values().next().expect("there is one group");
    let healthy = |health: &Health| matches!(health, Health::Healthy);
    assert_eq!(group.targets.values().filter(|target| healthy(&target.health)).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_in_many_groups_leaves_all_of_them_although_reads_are_rationed() {
    let past = Flow::new()
        .with(|scenario| {
            for port in 30_082..30_094 {
                let mut front = Front::new(&format!("extra-{port}"), port, Owner::Script);
                front.target_group.deregistration_delay_seconds = 20;
                front.rate_per_second = 0.0;
                scenario.fronts.push(front);
            }
        })
        .replaces([0])
        .run()
        .await;
    let ending = past.drained(0);
    assert!(ending.waited < 20 * MINUTE, "{ending:?}");
    let mut left: Vec<String> =
        past.calls("DeregisterTargets").into_iter().map(|call| call.subject).collect();
    left.sort();
    left.dedup();
    assert_eq!(left.len(), 13, "{left:#?}");
}
