//! What the controllers write that evictions rely on: a budget's count, while pods of a ReplicaSet come and go.

use crate::make::created;
use crate::side::{Case, Of, On, Side};
use sandbox::kubernetes::{Budget, Kubernetes, NodeSpec, Workload, WorkloadKind};
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) const CASES: &[Case] =
    &[Case { name: "budget_counts", on: On::Alone, run: |side| Box::pin(budget_counts(side)) }];

/// How long the controllers may take: a budget is counted again within two seconds on a busy machine.
const SOON: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

async fn budget_counts(side: &Side<'_>) {
    match &side.of {
        Of::Real(control, _) => {
            control.start_controllers(&["disruption", "replicaset"]).expect("they start");
            make_replica_set(side).await;
            until_running(side, 3).await;
        }
        Of::Sandbox(sandbox) => {
            let mut world = sandbox.world();
            world.kubernetes.lags = sandbox::kubernetes::Lags::default();
            // Its ReplicaSets are put there with their pods, which run at once.
            Kubernetes::add_node(&mut world, NodeSpec::new("ip-10-0-1-1", "i-1", "eu-west-1a"));
            let mut work = Workload::new(WorkloadKind::ReplicaSet, &side.namespace, "web", 3);
            work.pdb = Some(Budget::max_unavailable(1));
            Kubernetes::add_workload(&mut world, work);
        }
    }
    until_counted(side, &json!({"expectedPods": 3, "desiredHealthy": 2, "currentHealthy": 3, "disruptionsAllowed": 1})).await;
    let pods = pods(side).await;
    let first = pods.first().expect("there are three");
    assert_eq!(side.evict(first, &Value::Null).await.status, 201);
    // One less is healthy, and the owner still wants three.
    until_counted(side, &json!({"expectedPods": 3, "desiredHealthy": 2, "currentHealthy": 2, "disruptionsAllowed": 0})).await;
    let second = pods.get(1).expect("there are three");
    let answer = side.evict(second, &Value::Null).await;
    let cause = "The disruption budget web needs 2 healthy pods and has 2 currently";
    assert_eq!(answer.refusal(), (429, "TooManyRequests", vec![cause]));
}

async fn make_replica_set(side: &Side<'_>) {
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {
        "automountServiceAccountToken": false, "nodeName": "ip-10-0-1-1",
        "containers": [{"name": "web", "image": "registry.test/web:1"}]}});
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template}});
    created(&side.post(&side.path("replicasets", ""), &owner).await);
    side.make_budget("web", &json!({"maxUnavailable": 1})).await;
}

/// The names of the pods that are not on their way out.
async fn pods(side: &Side<'_>) -> Vec<String> {
    let list = side.raw(&side.path("pods", "")).await;
    let items = list["items"].as_array().into_iter().flatten();
    let stay = items.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    stay.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

/// Waits for so many pods and reports each as Ready, since no kubelet does.
async fn until_running(side: &Side<'_>, count: usize) {
    let by = tokio::time::Instant::now() + SOON;
    while pods(side).await.len() < count {
        assert!(tokio::time::Instant::now() < by, "the owner made {:?}", pods(side).await);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    for pod in pods(side).await {
        side.report(&pod, crate::make::Is::Ready).await;
    }
}

async fn until_counted(side: &Side<'_>, expected: &Value) {
    let by = tokio::time::Instant::now() + SOON;
    let path = side.path("poddisruptionbudgets", "web");
    loop {
        let status = side.raw(&path).await["status"].clone();
        let fields = expected.as_object().into_iter().flatten();
        if fields.into_iter().all(|(field, value)| status[field] == *value) {
            return;
        }
        assert!(tokio::time::Instant::now() < by, "{status} is not {expected}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
