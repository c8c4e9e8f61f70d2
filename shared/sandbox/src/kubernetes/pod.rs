//! Pods as JSON: what their owner's template says, and what a kubelet reports.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::kubelet::Run;
use crate::kubernetes::object::{self, Key, Object, Part};
use crate::kubernetes::store::uid;
use crate::kubernetes::volume;
use crate::kubernetes::workload::{Workload, WorkloadKind};
use crate::kubernetes::{daemon, owner};
use crate::world::{Millis, World};
use serde_json::{Value, json};
use std::sync::Arc;

/// The spec that a workload's pods share.
pub(super) fn template(work: &Workload) -> Value {
    let mut port = json!({"containerPort": work.port, "protocol": "TCP"});
    if let Some(host_port) = work.host_port {
        port["hostPort"] = host_port.into();
    }
    let mut container = json!({"name": work.name, "image": format!("registry.test/{}:1", work.name),
        "ports": [port]});
    if let Some(seconds) = work.pre_stop_seconds {
        container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": seconds}}});
    }
    let tolerations: Vec<Value> =
        work.all_tolerations().iter().map(|toleration| toleration.to_value()).collect();
    let restart = match work.kind {
        WorkloadKind::Job { .. } => "Never",
        _ => "Always",
    };
    let mut spec = json!({"containers": [container], "restartPolicy": restart,
        "terminationGracePeriodSeconds": work.grace_seconds, "tolerations": tolerations,
        "priority": work.priority, "schedulerName": "default-scheduler",
        "serviceAccountName": "default"});
    if work.host_network {
        spec["hostNetwork"] = true.into();
    }
    if let Some(class) = &work.priority_class {
        spec["priorityClassName"] = class.as_str().into();
    }
    if !work.node_selector.is_empty() {
        spec["nodeSelector"] = json!(work.node_selector);
    }
    if work.empty_dir {
        spec["volumes"] = json!([{"name": "scratch", "emptyDir": {}}]);
    }
    spec
}

/// Creates a pod of a workload: bound nowhere yet, unless the scheduler may only choose `pin`.
pub(super) fn create(world: &mut World, id: &Arc<str>, name: &str, pin: Option<Arc<str>>) -> Key {
    let Some(state) = world.kubernetes.workloads.get(id) else { return "".into() };
    let work = state.work.clone();
    let mut pod = Object::new(Kind::Pod, &work.namespace, name);
    pod.spec = state.template.clone();
    pod.meta.labels = state.labels.clone();
    pod.meta.annotations = Arc::new(work.annotations.clone());
    pod.meta.finalizers = Arc::new(work.finalizers.clone());
    pod.meta.owners = Arc::new(state.owner.clone().into_iter().collect());
    if !matches!(work.kind, WorkloadKind::StatefulSet | WorkloadKind::Bare) {
        pod.meta.generate_name = Some(state.generate_name.clone());
    }
    owner::adorn(&mut pod, &work, name);
    pod.meta.uid = uid(&mut world.rng);
    pod.meta.created = world.now;
    pod.status = Part::new(json!({"phase": "Pending", "qosClass": "Burstable"}));
    let volume = volume::of_pod(world, &work, name);
    if let Some(volume) = &volume {
        let volumes = &mut pod.spec.edit()["volumes"];
        let claim = json!({"name": "data", "persistentVolumeClaim": {"claimName": volume.claim}});
        match volumes {
            Value::Array(all) => all.push(claim),
            _ => *volumes = json!([claim]),
        }
    }
    let key = pod.key();
    if work.kind == WorkloadKind::DaemonSet
        && let Some(node) = &pin
        && let Some(state) = world.kubernetes.workloads.get_mut(id)
    {
        daemon::meant(state, &key, node);
    }
    world.kubernetes.pending.insert(&key, (id, &work));
    let run = Run::new(key.clone(), id.clone(), work, pin, volume.map(|volume| volume.name));
    world.kubernetes.pods.insert(pod.meta.uid.clone(), run);
    world.kubernetes.store.put(pod);
    owner::note(world, id, &key);
    key
}

/// Binds a pod to a node.
pub(super) fn bind(world: &mut World, key: &Key, node: &Arc<str>) {
    let now = world.now;
    world.kubernetes.pending.remove(key);
    let Some(uid) = world.kubernetes.store.get(Kind::Pod, key).map(|pod| pod.meta.uid.clone())
    else {
        return;
    };
    world.kubernetes.store.update(Kind::Pod, key, |pod| {
        pod.spec.edit()["nodeName"] = (&**node).into();
        pod.set_condition(now, "PodScheduled", "True", ("", ""));
    });
    if let Some(run) = world.kubernetes.pods.get_mut(&uid) {
        run.node = Some(node.clone());
        let workload = run.workload.clone();
        world.kubernetes.room.sit(key, node, &workload);
        world.kubernetes.runs_on.entry(node.clone()).or_default().insert(uid);
    }
}

/// The status once the containers run.
pub(super) fn running(pod: &mut Object, now: Millis, run: &Run) {
    let at = object::time(now);
    let started = json!({"running": {"startedAt": at}});
    let container = container(pod, run, &started);
    let status = pod.status.edit();
    status["phase"] = "Running".into();
    status["hostIP"] = host_address(run).into();
    status["podIP"] = run.address.as_str().into();
    status["podIPs"] = json!([{"ip": run.address}]);
    if status["startTime"].is_null() {
        status["startTime"] = at.into();
    }
    status["containerStatuses"] = json!([container]);
    pod.set_condition(now, "Initialized", "True", ("", ""));
    unready(pod, now, "ContainersNotReady");
}

/// The status once the probes pass.
pub(super) fn ready(pod: &mut Object, now: Millis) {
    pod.set_condition(now, "ContainersReady", "True", ("", ""));
    pod.set_condition(now, "Ready", "True", ("", ""));
    mark_containers(pod);
}

/// The status while the probes fail.
pub(super) fn unready(pod: &mut Object, now: Millis, reason: &str) {
    pod.set_condition(now, "ContainersReady", "False", (reason, ""));
    pod.set_condition(now, "Ready", "False", (reason, ""));
    mark_containers(pod);
}

/// The status once the containers are gone for good.
pub(super) fn ended(pod: &mut Object, now: Millis, run: &Run, code: i64) {
    let (phase, reason) = if code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
    let why = if code == 0 { "PodCompleted" } else { "PodFailed" };
    let state = json!({"terminated": {"exitCode": code, "reason": reason,
        "finishedAt": object::time(now)}});
    let mut container = container(pod, run, &state);
    container["started"] = false.into();
    let status = pod.status.edit();
    status["phase"] = phase.into();
    status["containerStatuses"] = json!([container]);
    unready(pod, now, why);
}

/// Whether a pod has ended by itself or been ended for good.
pub(super) fn is_terminal(pod: &Object) -> bool {
    pod.status["phase"] == "Succeeded" || pod.status["phase"] == "Failed"
}

/// Whether a pod is Ready.
pub(super) fn is_ready(pod: &Object) -> bool {
    pod.condition_is("Ready", "True")
}

fn container(pod: &Object, run: &Run, state: &Value) -> Value {
    let name = pod.spec["containers"][0]["name"].clone();
    let image = pod.spec["containers"][0]["image"].clone();
    json!({"name": name, "image": image, "imageID": "registry.test/app@sha256:0",
        "containerID": format!("containerd://{}-{}", pod.meta.uid, run.restarts),
        "ready": false, "started": true, "restartCount": run.restarts, "state": state})
}

/// The containers are as ready as the pod is.
fn mark_containers(pod: &mut Object) {
    let ready = is_ready(pod);
    let is = |one: &Value| one["ready"] == ready;
    let all = pod.status["containerStatuses"].as_array();
    if all.is_none_or(|all| all.iter().all(is)) {
        return;
    }
    if let Some(all) = pod.status.edit()["containerStatuses"].as_array_mut() {
        for one in all {
            one["ready"] = ready.into();
        }
    }
}

/// Nodes have the address that their DNS name spells, where it does.
fn host_address(run: &Run) -> String {
    run.node.as_deref().map_or_else(String::new, super::node::address)
}
