//! Lifecycle hooks that users of other tools lost, or that were completed wrongly: one test for each complaint.

use crate::flow::{Flow, HOUR, MINUTE, SECOND};
use crate::past::{LAUNCH, Past, TERMINATE};
use decision::limits::STUCK_AFTER;
use sandbox::aws::autoscaling::{Autoscaling, Capacity, Ended, Verdict};
use sandbox::fault::{Fault, Scope, Script};
use sandbox::kubernetes::object::key;
use sandbox::kubernetes::{Budget, How, Kind, Kubernetes, Manners, Workload, WorkloadKind};
use sandbox::scenario::{GROUP, Incident, LIFECYCLE_QUEUE, Place, START};
use sandbox::world::{Millis, World};

/// The zone of the instances that the tests launch.
const ZONE: &str = "eu-west-1a";

/// How long after the hook began its event may be in the queue, and looked at: the delay of its delivery, a cold start
/// and some calls.
const PROMPT: Millis = 10 * SECOND;

/// The instance that is in the group and was not there at the start.
fn newcomer(world: &World, place: &Place) -> String {
    let members = &world.aws.autoscaling.groups[GROUP].members;
    let old = |id: &&String| place.machines.iter().any(|machine| machine.instance == **id);
    members.keys().find(|id| !old(id)).expect("one was launched").clone()
}

/// A world without a launch hook, in which one instance is launched at the start and told to go after `lives`.
fn short_life(lives: Millis) -> Flow {
    Flow::without_fronts()
        .with(|scenario| scenario.hooks.retain(|hook| hook.name != LAUNCH))
        .at(0, |world, _| drop(Autoscaling::launch(world, GROUP, ZONE)))
        .at(lives, |world, place| {
            let instance = newcomer(world, place);
            Autoscaling::terminate(world, &instance, Capacity::Decrement);
        })
}

/// How the hook of the instance of [`short_life`] ended.
#[track_caller]
fn short_lived(past: &Past) -> crate::past::Ending {
    let actions = past.actions();
    assert_eq!(actions.len(), 1, "{actions:#?}");
    past.ending_of(&actions[0].instance, TERMINATE)
}

#[tokio::test(start_paused = true)]
async fn lost_hook_01_of_an_instance_that_never_joined_is_answered_after_the_registration_wait() {
    let past = short_life(MINUTE)
        .setting("REGISTRATION_WAIT", "3m")
        .at(0, |world, _| world.kubernetes.template.join_ms = 48 * HOUR)
        .run()
        .await;
    let ending = short_lived(&past);
    past.check_continued(&ending);
    // The event says whole seconds.
    let waited = 3 * MINUTE - SECOND..3 * MINUTE + PROMPT;
    assert!(waited.contains(&ending.waited), "{ending:?}");
}

/// The first host's instance is a day old, and nobody knows its node.
fn lost_node(world: &mut World, place: &Place) {
    let machine = &place.machines[0];
    let instance = world.aws.ec2.instances.get_mut(&machine.instance).unwrap();
    instance.launched_at -= 24 * HOUR;
    world.kubernetes.store.remove(Kind::Node, &key("", &machine.node));
}

#[tokio::test(start_paused = true)]
async fn lost_hook_02_of_a_node_that_is_gone_already_is_answered_at_once() {
    let past = Flow::without_fronts().at(0, lost_node).replaces([0]).run().await;
    let ending = past.continued(0);
    assert!(ending.waited < PROMPT, "{ending:?}");
}

#[tokio::test(start_paused = true)]
async fn lost_hook_02_a_node_that_is_gone_still_leaves_its_target_groups() {
    let past = Flow::new().at(0, lost_node).replaces([0]).run().await;
    past.continued(0);
    let instance = &past.machine(0).instance;
    let world = past.world();
    for group in world.aws.elb.groups.values() {
        let left: Vec<_> = group.targets.keys().filter(|(id, _)| id == instance).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn lost_hook_03_a_node_that_is_not_found_is_not_looked_for_for_ever() {
    let past = Flow::without_fronts()
        .at(0, lost_node)
        .befalls(0, SECOND, Incident::ScaleIn)
        .goes_on_for(2 * HOUR)
        .for_at_most(3 * HOUR)
        .run()
        .await;
    let ending = past.continued(0);
    let after = START + ending.at + PROMPT;
    let late: Vec<_> = past.calls("").into_iter().filter(|call| call.at > after).collect();
    assert!(late.is_empty(), "{late:#?}");
}

#[tokio::test(start_paused = true)]
async fn lost_hook_04_a_drain_of_ten_minutes_keeps_its_hook() {
    let past = Flow::of_one_pod(|pod| {
        pod.grace_seconds = 600;
        pod.manners = Manners::Ignores;
    })
    .heartbeat(120)
    .run()
    .await;
    let ending = past.drained(past.departed());
    assert!((10 * MINUTE..11 * MINUTE).contains(&ending.waited), "{ending:?}");
    assert!(ending.action.heartbeats >= 5, "{ending:?}");
}

#[tokio::test(start_paused = true)]
async fn lost_hook_05_the_answer_comes_after_the_last_container_has_stopped() {
    let past = Flow::new()
        .with(|scenario| {
            for workload in &mut scenario.workloads {
                workload.grace_seconds = 90;
                workload.manners = Manners::ServesOn { ms: 70 * SECOND };
            }
        })
        .replaces([0])
        .run()
        .await;
    past.all_pods_were_removed(0);
    let ending = past.drained(0);
    let last = past.removals(0).into_iter().map(|removal| removal.at).max().unwrap();
    assert!(START + ending.at >= last + 70 * SECOND, "{ending:?}");
}

#[tokio::test(start_paused = true)]
async fn lost_hook_06_every_hook_of_a_rolling_replacement_is_answered() {
    let flow = Flow::new();
    let past = (0..4)
        .fold(flow, |flow, host| {
            let after = i64::try_from(host).unwrap() * 5 * MINUTE;
            flow.befalls(host, after, Incident::Replace)
        })
        .run()
        .await;
    for host in 0..4 {
        past.drained(host);
    }
    let launches: Vec<_> =
        past.actions().into_iter().filter(|action| action.hook == LAUNCH).collect();
    assert_eq!(launches.len(), 4);
    for launch in launches {
        past.check_continued(&past.ending_of(&launch.instance, LAUNCH));
    }
}

#[tokio::test(start_paused = true)]
async fn lost_hook_07_heartbeats_go_on_through_a_grace_of_three_hours() {
    let past = Flow::of_one_pod(|pod| {
        pod.grace_seconds = 3 * 3_600;
        pod.manners = Manners::Ignores;
    })
    .heartbeat(120)
    .for_at_most(5 * HOUR)
    .run()
    .await;
    let ending = past.drained(past.departed());
    assert!((3 * HOUR..3 * HOUR + 3 * MINUTE).contains(&ending.waited), "{ending:?}");
    assert!(ending.action.heartbeats >= 3 * 30, "{ending:?}");
}

#[tokio::test(start_paused = true)]
async fn lost_hook_08_no_heartbeat_is_sent_after_the_answer() {
    let past = Flow::new()
        .with(|scenario| scenario.hooks.retain(|hook| hook.name != LAUNCH))
        .heartbeat(120)
        .with(|scenario| scenario.workloads[0].grace_seconds = 300)
        .with(|scenario| scenario.workloads[0].manners = Manners::Ignores)
        .replaces([0])
        .goes_on_for(2 * HOUR)
        .for_at_most(4 * HOUR)
        .run()
        .await;
    let ending = past.drained(0);
    let beats = past.calls("RecordLifecycleActionHeartbeat");
    assert!(beats.len() >= 3, "{beats:#?}");
    let late: Vec<_> = beats.iter().filter(|call| call.at > START + ending.at).collect();
    assert!(late.is_empty(), "{late:#?}");
}

#[tokio::test(start_paused = true)]
async fn lost_hook_09_a_node_that_registers_while_its_instance_terminates_is_drained() {
    let bare = Workload {
        node_selector: [("pool".to_owned(), "new".to_owned())].into(),
        ..Workload::new(WorkloadKind::Bare, "default", "early", 2)
    };
    let past = short_life(30 * SECOND)
        .with(move |scenario| scenario.workloads.push(bare))
        .at(0, |world, _| {
            let template = &mut world.kubernetes.template;
            (template.join_ms, template.ready_ms) = (60 * SECOND, 0);
            template.labels.insert("pool".to_owned(), "new".to_owned());
        })
        .run()
        .await;
    let ending = short_lived(&past);
    past.check_continued(&ending);
    assert!(ending.running.is_empty(), "{ending:?}\n{}", past.transcript());
    let removals = past.world().kubernetes.removals.clone();
    assert_eq!(removals.len(), 2, "{removals:#?}\n{}", past.transcript());
    assert!(removals.iter().all(|removal| removal.pod.contains("early")), "{removals:#?}");
}

/// One of three pods whose budget wants all three.
fn stuck() -> Flow {
    Flow::without_fronts()
        .with(|scenario| {
            let web = Workload {
                pdb: Some(Budget::min_available(4)),
                ..Workload::new(WorkloadKind::Deployment, "default", "web", 4)
            };
            scenario.workloads = vec![web];
        })
        .replaces([0])
}

#[tokio::test(start_paused = true)]
async fn lost_hook_10_past_the_longest_drain_it_reports_and_goes_on() {
    let past = stuck()
        .setting("LONGEST_DRAIN", "2m")
        .at(40 * MINUTE, |world, _| {
            let budget = key("default", "web");
            world.kubernetes.store.remove(Kind::PodDisruptionBudget, &budget);
        })
        .for_at_most(2 * HOUR)
        .run()
        .await;
    let ending = past.drained(0);
    assert!(ending.at > 40 * MINUTE, "{ending:?}");
    let removals = past.removals(0);
    assert!(!removals.is_empty() && removals.iter().all(|removal| removal.how == How::Evicted));
    assert!(past.calls("DELETE pods").is_empty());
    let told = told(&past.world());
    assert!(told.iter().any(|note| note.contains("DrainBlocked")), "{told:#?}");
}

/// All Events in the cluster, as text.
fn told(world: &World) -> Vec<String> {
    world.kubernetes.store.all(Kind::Event).map(|(_, event)| event.to_value().to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn lost_hook_11_nobody_is_abandoned_while_the_api_server_is_away() {
    let (from, to) = (10 * SECOND, 10 * MINUTE);
    let past = Flow::new()
        .heartbeat(120)
        .replaces(0..4)
        .outage(Scope::Kubernetes, (from, to), Fault::TimedOutBefore)
        .run()
        .await;
    for host in 0..4 {
        let ending = past.drained(host);
        assert!(ending.at > to, "{ending:?}");
        let away = ending.action.began_at - START..to;
        let beats = past.calls("RecordLifecycleActionHeartbeat");
        let beats = beats.iter().filter(|call| away.contains(&(call.at - START)));
        assert!(beats.count() >= 4, "{ending:?}");
        past.all_pods_were_removed(host);
    }
    let answers = past.world().aws.autoscaling.answers.clone();
    assert!(answers.iter().all(|answer| answer.result == "CONTINUE"), "{answers:#?}");
}

#[tokio::test(start_paused = true)]
async fn lost_hook_12_a_call_that_times_out_is_made_again() {
    for fault in [Fault::TimedOutBefore, Fault::TimedOutAfter, Fault::ServerError] {
        for operation in ["PATCH nodes", "DeregisterTargets", "eviction", "CompleteLifecycle"] {
            let past = Flow::new()
                .with(|scenario| {
                    scenario.hooks.retain(|hook| hook.name != LAUNCH);
                    let script = Script::new(Scope::operation(operation), 1, fault);
                    scenario.faults.scripts.push(script);
                })
                .replaces([0])
                .run()
                .await;
            assert_eq!(past.world().faults.struck.len(), 1, "{operation} {fault:?}");
            past.all_pods_were_removed(0);
            past.drained(0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lost_hook_12_of_a_node_whose_kubelet_is_silent_is_not_held_for_ever() {
    let past = Flow::without_fronts()
        .befalls(0, 0, Incident::LoseKubelet)
        .befalls(0, 2 * MINUTE, Incident::Replace)
        .run()
        .await;
    let ending = past.continued(0);
    let stuck_after = i64::try_from(STUCK_AFTER.as_millis()).unwrap();
    // A lost kubelet confirms no detachment either: the volume of its pod is not waited for.
    let allowed = 30 * SECOND + stuck_after + 30 * SECOND;
    assert!(ending.waited < allowed, "{ending:?}\n{}", past.transcript());
}

#[tokio::test(start_paused = true)]
async fn lost_hook_13_the_longest_drain_ends_by_force_where_that_is_wanted() {
    let past =
        stuck().setting("LONGEST_DRAIN", "2m").setting("AT_LONGEST_DRAIN", "force").run().await;
    let ending = past.drained(0);
    let removals = past.removals(0);
    assert_eq!(removals.len(), 1, "{removals:?}");
    assert_eq!(removals[0].how, How::Deleted(30), "with its own grace");
    let after = removals[0].at - ending.action.began_at;
    assert!((2 * MINUTE - SECOND..2 * MINUTE + 20 * SECOND).contains(&after), "{removals:?}");
}

#[tokio::test(start_paused = true)]
async fn lost_hook_14_is_answered_before_its_global_timeout_even_if_a_budget_never_opens() {
    let past = stuck().heartbeat(120).for_at_most(4 * HOUR).run().await;
    let ending = past.drained(0);
    let hard = ending.action.global_until;
    let answered = START + ending.at;
    assert!((hard - 30 * SECOND..hard).contains(&answered), "{ending:?}, hard {hard}");
    let removals = past.removals(0);
    assert_eq!(removals.len(), 1, "{removals:?}");
    let How::Deleted(grace) = removals[0].how else { panic!("{removals:?}") };
    assert!((1..=30).contains(&grace), "{removals:?}");
    // Its grace, ten seconds for the answer, five for the kubelet, one since the event says whole seconds.
    let earliest = hard - 46 * SECOND;
    assert!((earliest..hard).contains(&removals[0].at), "{removals:?}, hard {hard}");
}

#[tokio::test(start_paused = true)]
async fn lost_hook_14_a_grace_longer_than_what_is_left_is_clamped() {
    let past = Flow::of_one_pod(|pod| {
        pod.grace_seconds = 1_000_000;
        pod.manners = Manners::Ignores;
        pod.pdb = Some(Budget::min_available(1));
    })
    .heartbeat(120)
    .for_at_most(4 * HOUR)
    .run()
    .await;
    let ending = past.drained(past.departed());
    assert!(START + ending.at < ending.action.global_until, "{ending:?}");
    let removals = past.removals(past.departed());
    assert!(!removals.is_empty());
    for removal in removals {
        let How::Deleted(grace) = removal.how else { panic!("{removal:?}") };
        assert!(grace >= 1, "{removal:?}");
        assert!(removal.at + grace * SECOND <= ending.action.global_until, "{removal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn lost_hook_12_a_kubelet_that_comes_back_ends_the_wait() {
    let past = Flow::of_one_pod(|pod| pod.grace_seconds = 900)
        .at(2 * SECOND, |world, place| {
            for machine in &place.machines {
                Kubernetes::lose_kubelet(world, &machine.node);
            }
        })
        .at(3 * MINUTE, |world, place| {
            for machine in &place.machines {
                Kubernetes::return_kubelet(world, &machine.node);
            }
        })
        .run()
        .await;
    let ending = past.drained(past.departed());
    assert!((3 * MINUTE..4 * MINUTE).contains(&ending.at), "{ending:?}");
    assert_eq!(past.world().aws.sqs.depth(LIFECYCLE_QUEUE), 0);
}

#[tokio::test(start_paused = true)]
async fn lost_hook_15_launches_that_never_join_are_abandoned_though_nodes_are_listed_once_a_minute()
{
    let mut flow = Flow::without_fronts()
        .with(|scenario| scenario.concurrency_max = 1)
        .at(0, |world, _| world.kubernetes.template.join_ms = 48 * HOUR)
        .for_at_most(20 * MINUTE);
    for nth in 0..3 {
        let at = nth * 7 * SECOND;
        flow = flow.at(at, |world, _| drop(Autoscaling::launch(world, GROUP, ZONE)));
    }
    let past = flow.run().await;
    let mut launches = past.actions();
    launches.retain(|action| action.hook == LAUNCH && action.began_at < START + MINUTE);
    assert_eq!(launches.len(), 3, "{launches:#?}");
    for launch in launches {
        let ending = past.ending_of(&launch.instance, LAUNCH);
        assert_eq!(ending.how, Ended::Answered(Verdict::Abandon), "{ending:?}");
    }
}
