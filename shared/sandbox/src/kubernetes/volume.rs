//! Volumes: attached to the node of their pod, detached some time after its containers are gone, and
//! never on two nodes at once.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::{self, Key, Object, Part};
use crate::kubernetes::store::uid;
use crate::kubernetes::workload::{Workload, WorkloadKind};
use crate::kubernetes::{KubernetesEvent, kubelet};
use crate::world::{Event, World};
use serde_json::json;
use std::sync::Arc;

/// A pod's claim and the volume behind it.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) claim: String,
    pub(super) name: String,
}

/// The volume of a workload's pod, made when it is first asked for: one per name for a StatefulSet,
/// one for all otherwise.
pub(super) fn of_pod(world: &mut World, work: &Workload, pod: &str) -> Option<Volume> {
    let class = work.volume.as_ref()?;
    let claim = match work.kind {
        WorkloadKind::StatefulSet => format!("data-{pod}"),
        _ => format!("{}-data", work.name),
    };
    let key = object::key(&work.namespace, &claim);
    if let Some(known) = world.kubernetes.store.get(Kind::PersistentVolumeClaim, &key) {
        let name = known.spec["volumeName"].as_str().unwrap_or_default().to_owned();
        return Some(Volume { claim, name });
    }
    let name = format!("pvc-{}", uid(&mut world.rng));
    let mut object = Object::new(Kind::PersistentVolumeClaim, &work.namespace, &claim);
    object.spec = Part::new(json!({"accessModes": ["ReadWriteOnce"], "storageClassName": class,
        "volumeName": name, "resources": {"requests": {"storage": "10Gi"}}}));
    object.status = Part::new(json!({"phase": "Bound"}));
    put(world, object);
    let mut object = Object::new(Kind::PersistentVolume, "", &name);
    object.spec = Part::new(json!({"accessModes": ["ReadWriteOnce"], "storageClassName": class,
        "capacity": {"storage": "10Gi"},
        "claimRef": {"kind": "PersistentVolumeClaim", "namespace": work.namespace, "name": claim},
        "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": format!("vol-{name}")}}));
    object.status = Part::new(json!({"phase": "Bound"}));
    put(world, object);
    Some(Volume { claim, name })
}

/// Attaches a pod's volume to its node; says no while it is on another one.
pub(super) fn attach(world: &mut World, uid: &str, volume: &str) -> bool {
    let Some(node) = world.kubernetes.pods.get(uid).and_then(|run| run.node.clone()) else {
        return false;
    };
    if let Some(key) = attachment(world, volume) {
        let held = world.kubernetes.store.get(Kind::VolumeAttachment, &key);
        return held.is_some_and(|held| held.spec["nodeName"] == *node);
    }
    let mut object = Object::new(Kind::VolumeAttachment, "", &format!("csi-{volume}"));
    object.spec = Part::new(json!({"attacher": "ebs.csi.aws.com", "nodeName": *node,
        "source": {"persistentVolumeName": volume}}));
    object.status = Part::new(json!({"attached": true}));
    put(world, object);
    true
}

/// A pod's containers are gone: its volume is detached after a while.
pub(super) fn release(world: &mut World, uid: &str) {
    let Some(run) = world.kubernetes.pods.get(uid) else { return };
    let Some(key) = run.volume.clone().and_then(|volume| attachment(world, &volume)) else {
        return;
    };
    let delay = world.kubernetes.lags.detach;
    world.after(delay, Event::Kubernetes(KubernetesEvent::Detached(key)));
}

/// A node is gone for good, and can't say that it let go: its volumes are detached after minutes.
pub(super) fn forget_node(world: &mut World, node: &str) {
    let delay = world.kubernetes.lags.force_detach;
    for key in all_of(world, node) {
        world.after(delay, Event::Kubernetes(KubernetesEvent::Detached(key)));
    }
}

/// Detaches all volumes of a node now.
pub(super) fn drop_all_of(world: &mut World, node: &str) {
    for key in all_of(world, node) {
        detached(world, &key);
    }
}

/// A volume is off its node: a pod that waits for it goes on.
pub(super) fn detached(world: &mut World, key: &Key) {
    let Some(attachment) = world.kubernetes.store.get(Kind::VolumeAttachment, key).cloned() else {
        return;
    };
    let volume = &attachment.spec["source"]["persistentVolumeName"];
    let of_volume = |run: &kubelet::Run| run.volume.as_deref() == volume.as_str();
    let pods = world.kubernetes.pods.iter().filter(|(_, run)| of_volume(run));
    let pods: Vec<(Arc<str>, bool, bool)> = pods
        .map(|(uid, run)| {
            let here = attachment.spec["nodeName"].as_str() == run.node.as_deref();
            (uid.clone(), here && run.runs(), run.stage == kubelet::Stage::Waiting)
        })
        .collect();
    // The pod may have come back to the same node meanwhile: then the volume stays.
    if pods.iter().any(|(_, in_use, _)| *in_use) {
        return;
    }
    world.kubernetes.store.remove(Kind::VolumeAttachment, key);
    for (uid, _, waits) in pods {
        if waits {
            kubelet::hear(world, &uid, kubelet::Act::Start);
        }
    }
}

fn put(world: &mut World, mut object: Object) {
    object.meta.uid = uid(&mut world.rng);
    object.meta.created = world.now;
    world.kubernetes.store.put(object);
}

fn attachment(world: &World, volume: &str) -> Option<Key> {
    let key = object::key("", &format!("csi-{volume}"));
    world.kubernetes.store.get(Kind::VolumeAttachment, &key).is_some().then_some(key)
}

fn all_of(world: &World, node: &str) -> Vec<Key> {
    let all = world.kubernetes.store.all(Kind::VolumeAttachment);
    let here = all.filter(|(_, one)| one.spec["nodeName"] == node);
    here.map(|(key, _)| key.clone()).collect()
}
