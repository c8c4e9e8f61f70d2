//! The comparison as one JSON object, for machines.

use crate::demo::run::Run;
use crate::demo::why::losses;
use crate::demo::world::Scene;
use sandbox::traffic::Cause;
use serde_json::{Map, Value, json};

/// `{"event", "policy", "seed", "with": {…}, "without": {…}}`
pub(crate) fn object(scene: &Scene, with: &Run, without: &Run) -> Value {
    json!({
        "event": scene.script.name,
        "policy": scene.policy.to_string(),
        "seed": scene.seed,
        "with": column(with),
        "without": column(without),
    })
}

fn column(run: &Run) -> Value {
    let causes: Map<String, Value> = losses(run)
        .into_iter()
        .map(|(cause, count, _)| (key(cause).to_owned(), count.into()))
        .collect();
    json!({
        "served": run.served(),
        "dropped": run.dropped(),
        "causes": causes,
        "hook": run.hook(),
        "api_calls": run.calls + run.evictions,
        "seconds": run.seconds(),
    })
}

/// The name of a cause, for good: the words for people may be bettered.
fn key(cause: Cause) -> &'static str {
    match cause {
        Cause::NoTarget => "no_target",
        Cause::TargetGone => "target_gone",
        Cause::NotForwarding => "not_forwarding",
        Cause::NoReadyPod => "no_ready_pod",
        Cause::NoLocalPod => "no_local_pod",
        Cause::NoHostPod => "no_host_pod",
        Cause::PodNodeGone => "pod_node_gone",
        Cause::PodNotListening => "pod_not_listening",
        Cause::CutInFlight => "cut_in_flight",
    }
}
