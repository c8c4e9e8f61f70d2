//! A naive drainer on random worlds: whole runs end, repeat to the call, and answer their hooks.

use super::{LIFECYCLE_QUEUE, Place, START, Scenario};
use crate::lambda::{Environment, Returned, drive};
use crate::wire::client::autoscaling;
use crate::world::{Millis, Sandbox};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;

const MINUTE: Millis = 60_000;

/// One attempt at everything: cordon, delete the pods, answer. What fails is left for another receive.
async fn drain(sandbox: Sandbox, process: u32, detail: Value) -> Option<()> {
    let text = |name: &str| detail[name].as_str().map(str::to_owned);
    let instance = text("EC2InstanceId")?;
    let client = kube::Client::new(sandbox.kubernetes(process), "default");
    let nodes: Api<Node> = Api::all(client.clone());
    let all = nodes.list(&ListParams::default()).await.ok()?;
    let ours =
        |node: &Node| node.spec.as_ref()?.provider_id.as_ref()?.ends_with(&instance).then_some(());
    if let Some(node) = all.iter().find(|node| ours(node).is_some()) {
        let name = node.metadata.name.clone()?;
        let patch = Patch::Merge(json!({"spec": {"unschedulable": true}}));
        nodes.patch(&name, &PatchParams::default(), &patch).await.ok()?;
        let here = ListParams::default().fields(&format!("spec.nodeName={name}"));
        for pod in Api::<Pod>::all(client.clone()).list(&here).await.ok()? {
            let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.metadata.namespace?);
            pods.delete(&pod.metadata.name?, &DeleteParams::default()).await.ok()?;
        }
    }
    autoscaling(&sandbox, process)
        .complete_lifecycle_action()
        .auto_scaling_group_name(text("AutoScalingGroupName")?)
        .lifecycle_hook_name(text("LifecycleHookName")?)
        .lifecycle_action_token(text("LifecycleActionToken")?)
        .lifecycle_action_result("CONTINUE")
        .send()
        .await
        .ok()
        .map(drop)
}

async fn handle(sandbox: Sandbox, process: u32, event: Value) -> Returned {
    let mut failed = Vec::new();
    for record in event["Records"].as_array().into_iter().flatten() {
        let body: Value = serde_json::from_str(record["body"].as_str().unwrap_or_default())
            .map_err(|error| error.to_string())?;
        if !body["detail"]["LifecycleHookName"].as_str().is_some_and(|it| it.starts_with("ebbtide"))
        {
            continue;
        }
        let work = drain(sandbox.clone(), process, body["detail"].clone());
        let done = tokio::time::timeout(Duration::from_secs(4), work).await;
        if !matches!(done, Ok(Some(()))) {
            failed.push(json!({"itemIdentifier": record["messageId"]}));
        }
    }
    Ok(json!({"batchItemFailures": failed}))
}

async fn run(seed: u64) -> Place {
    let scenario = Scenario::random(seed);
    let place = scenario.build();
    let sandbox = place.sandbox.clone();
    let function = scenario.function(LIFECYCLE_QUEUE, move |process| {
        let sandbox = sandbox.clone();
        Environment::new(move |event, _| handle(sandbox.clone(), process, event))
    });
    drive(&place.sandbox, &[function], START + 20 * MINUTE, |_| false).await;
    place
}

fn block_on<T>(run: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(run)
}

fn trace(place: &Place) -> String {
    let world = place.sandbox.world();
    format!(
        "{:?} {:?} {:?} {:?} {:?}",
        world.calls,
        world.processes,
        world.faults.struck,
        world.traffic.reports(),
        world.kubernetes.resource_version()
    )
}

#[test]
fn whole_runs_repeat_to_the_call() {
    let (mut kills, mut unheard, mut struck) = (0, 0, 0);
    for seed in 0..30 {
        let first = block_on(async { trace(&run(seed).await) });
        let second = block_on(async {
            let place = run(seed).await;
            let world = place.sandbox.world();
            kills += world.processes.values().filter(|it| it.killed).count();
            unheard += world.calls.iter().filter(|call| call.status == 0).count();
            struck += world.faults.struck.len();
            drop(world);
            trace(&place)
        });
        assert_eq!(first, second, "seed {seed}");
    }
    // The run is worth repeating only if something went wrong in it.
    assert!(kills > 0 && unheard > 0 && struck > 0, "{kills} {unheard} {struck}");
}

#[test]
fn without_faults_every_hook_that_is_heard_of_is_answered_by_a_process() {
    for seed in 0..30 {
        let mut scenario = Scenario::small(seed);
        scenario.incidents =
            vec![(1_000, 0, super::Incident::Replace), (3_000, 1, super::Incident::ScaleIn)];
        scenario.fronts[0].target_group.deregistration_delay_seconds = 10;
        block_on(async {
            let place = scenario.build();
            let sandbox = place.sandbox.clone();
            let function = scenario.function(LIFECYCLE_QUEUE, move |process| {
                let sandbox = sandbox.clone();
                Environment::new(move |event, _| handle(sandbox.clone(), process, event))
            });
            drive(&place.sandbox, &[function], START + 10 * MINUTE, |_| false).await;
            let world = place.sandbox.world();
            let ours: Vec<_> =
                world.aws.autoscaling.actions.iter().filter(|action| action.ours).collect();
            assert_eq!(ours.len(), 3, "seed {seed}: two go, one comes: {ours:?}");
            let accepted = world.aws.autoscaling.answers.iter().filter(|it| it.accepted).count();
            assert_eq!(accepted, 3, "seed {seed}");
            assert_eq!(world.aws.sqs.depth(LIFECYCLE_QUEUE), 0, "seed {seed}");
        });
    }
}
