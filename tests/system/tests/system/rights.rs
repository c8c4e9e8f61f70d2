//! Each verb of `infra/rbac.yaml` is taken out of the ClusterRole in turn: the function names what it misses, and loses
//! nothing. So nothing is published that is not used either.
//!
//! One flow uses all of them: an instance held by its hook, with a pod that may go, and one behind a budget that lets nobody
//! go until a person orders it away.

use crate::apart::{Apart, Wanted};
use crate::stage::{Given, Run, SOON, Stage};
use sandbox::aws::autoscaling::{Autoscaling, Capacity, Ended, Verdict};
use serde_json::{Value, json};
use system_tests::{Right, Role, TERMINATE_HOOK, Workload};

/// What is asked for only once nothing may stay any longer.
const LATE: [&str; 2] = ["delete pods.", "list volumeattachments.storage.k8s.io"];
/// What is asked for only where all that is left is on its way out.
const ENDING: &str = "watch pods.";

/// A trial for each right that is published, named after it.
pub(crate) fn trials() -> Vec<(String, Run)> {
    let trial = |right: Right| {
        let name = format!("rights::without_{}_{}", right.verb, right.resource.replace('/', "_"));
        let run: Run = Box::new(move |given| Box::pin(without(given, right)));
        (name, run)
    };
    Role::published().into_iter().map(trial).collect()
}

/// Two nodes, each with a pod that may go and one that may not.
pub(crate) async fn held(given: &Given, name: &str) -> Wanted {
    let wanted = Wanted::new(Stage::shared(given).await, ("lifecycle", name), 2).await;
    let kinds = [("held", json!({"maxUnavailable": 0})), ("free", Value::Null)];
    for (kind, budget) in kinds {
        wanted.stage.work(&format!("{name}-{kind}"), name, (2, budget)).await;
    }
    wanted
}

/// Two nodes, each with a pod that may go, and stays on its way out until it is released.
async fn ending(given: &Given, name: &str) -> Wanted {
    let wanted = Wanted::new(Stage::shared(given).await, ("lifecycle", name), 2).await;
    let workload = Workload {
        name: name.to_owned(),
        replicas: 2,
        pool: name.to_owned(),
        budget: Value::Null,
        grace_seconds: 5,
        finalizers: vec!["example.com/stays".to_owned()],
    };
    workload.create(&wanted.stage.api, SOON).await.unwrap();
    wanted
}

async fn without(given: Given, right: Right) {
    let name = format!("no-{}-{}", right.verb, right.resource.replace('/', "-"));
    let is_ending = right.to_string() == ENDING;
    let wanted = if is_ending { ending(&given, &name).await } else { held(&given, &name).await };
    let wanted = wanted.without(&right).await;
    if LATE.contains(&right.to_string().as_str()) {
        wanted.stage.force(&wanted.machines[0]).await;
    }
    let apart = wanted.deploy(&given);
    terminate(&apart);
    let words = format!(r#"cannot {} resource \"{}\""#, right.verb, right.resource);
    // In a record, which is JSON within JSON.
    let within = words.replace('\\', r"\\\");
    apart.named(&right.to_string(), &[words, within]).await;
    // Given back, it is made good.
    apart.role.put(&apart.api, None).await.unwrap();
    if is_ending {
        release(&apart).await;
    }
    ends_well(&apart).await;
}

/// Lets the pods go that are on their way out.
async fn release(apart: &Apart) {
    for pod in apart.pods(&apart.machines[0]).await {
        let path = format!("/api/v1/namespaces/default/pods/{pod}");
        let released = json!({"metadata": {"finalizers": null}});
        drop(apart.api.patch(&path, &released).await.unwrap());
    }
}

/// The group ends the first of its instances.
pub(crate) fn terminate(apart: &Apart) {
    let id = &apart.machines[0].instance;
    apart.aws(|world| Autoscaling::terminate(world, id, Capacity::Decrement));
}

/// A person orders away what is left; all of it goes, and the hook is answered.
pub(crate) async fn ends_well(apart: &Apart) {
    let leaving = &apart.machines[0];
    apart.force(leaving).await;
    apart.drained(leaving, &apart.name).await;
    let ended = apart.answered(leaving, TERMINATE_HOOK, &apart.name).await;
    assert_eq!(ended, Ended::Answered(Verdict::Continue));
    apart.gone(leaving).await;
}
