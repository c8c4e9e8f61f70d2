//! The pods that share an owner with a node's pods, wherever they run, and why some are not Ready.
//!
//! There is no selector for an owner, but ReplicaSets and StatefulSets put a hash on their pods. Two
//! owners may share a hash, so only pods whose controller is one of those asked about are kept.

use crate::call::{Call, PageOf};
use crate::error::{ClusterError, Operation};
use crate::meta::{Metadata, condition, controller};
use crate::pod::{PATH, RawStatus};
use decision::id::{NodeName, Uid};
use decision::snapshot::cluster::{Phase, Pod, Sibling};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Who owns, and the label with which its pods of one revision are marked.
const REVISIONS: [(&str, &str); 2] =
    [("ReplicaSet", "pod-template-hash"), ("StatefulSet", "controller-revision-hash")];

/// The reasons of containers that are merely on their way.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// How much of the cluster's explanation is kept, in characters: two lines of a report.
const TROUBLE_CHARACTERS_MAX: usize = 300;

/// The pods of the same owner and revision as these pods, these included.
pub async fn siblings(client: &kube::Client, pods: &[Pod]) -> Result<Vec<Sibling>, ClusterError> {
    let owners: BTreeSet<&Uid> =
        pods.iter().filter_map(|pod| pod.owner.as_ref()).map(|owner| &owner.uid).collect();
    let mut found = Vec::new();
    for (kind, label) in REVISIONS {
        let call = Call::get(Operation::ListPods, format!("by {label}"), PATH.to_owned());
        for call in call.for_each_of(label, &hashes(pods, kind, label)) {
            found
                .extend(call.list(client, PageOf::Large, |raw: RawSibling| raw.of(&owners)).await?);
        }
    }
    Ok(found)
}

/// The different values of this label on pods whose controller is of this kind.
fn hashes<'a>(pods: &'a [Pod], kind: &str, label: &str) -> BTreeSet<&'a str> {
    pods.iter()
        .filter(|pod| pod.owner.as_ref().is_some_and(|owner| owner.kind == kind))
        .filter_map(|pod| pod.labels.get(label))
        .map(String::as_str)
        .filter(|hash| !hash.is_empty())
        .collect()
}

#[derive(Deserialize)]
struct RawSibling {
    metadata: Metadata,
    #[serde(default)]
    spec: RawSpec,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawSpec {
    node_name: Option<NodeName>,
}

impl RawSibling {
    /// The pod, if its controller is one of these.
    fn of(self, owners: &BTreeSet<&Uid>) -> Option<Sibling> {
        let Self { metadata, spec, status } = self;
        let key = metadata.key();
        let owner = controller(metadata.owner_references)?.uid;
        let finished = matches!(status.phase(), Phase::Succeeded | Phase::Failed);
        owners.contains(&owner).then(|| Sibling {
            key,
            uid: metadata.uid,
            owner,
            node: spec.node_name,
            labels: metadata.labels,
            ready: status.is_ready(),
            leaving: metadata.deletion_timestamp.is_some() || finished,
            created_at: metadata.creation_timestamp,
            trouble: trouble(&status),
            unschedulable: condition(&status.conditions, "PodScheduled")
                .is_some_and(|found| !found.is_true() && found.reason == "Unschedulable"),
        })
    }
}

/// Why the pod is not Ready, in the order in which a pod gets there: placed, started, Ready. `None`
/// when it is Ready or nobody says anything.
fn trouble(status: &RawStatus) -> Option<String> {
    if status.is_ready() {
        return None;
    }
    let scheduled = condition(&status.conditions, "PodScheduled").filter(|found| !found.is_true());
    let ready = condition(&status.conditions, "Ready");
    scheduled
        .and_then(|found| text(&found.reason, &found.message))
        .or_else(|| text(&status.reason, &status.message))
        .or_else(|| waiting(status))
        .or_else(|| ready.and_then(|found| text(&found.reason, &found.message)))
}

/// The first container that waits for something other than its turn.
fn waiting(status: &RawStatus) -> Option<String> {
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses);
    let stuck =
        containers.filter_map(|container| Some((container, container.state.waiting.as_ref()?)));
    let mut stuck = stuck.filter(|(_, why)| !STARTING.contains(&why.reason.as_str()));
    let (container, why) = stuck.next()?;
    let why = text(&why.reason, &why.message)?;
    Some(format!("container {}: {why}", container.name))
}

/// Reason and message, as far as they are there.
fn text(reason: &str, message: &str) -> Option<String> {
    let whole = match (reason, message) {
        ("", "") => return None,
        ("", message) => message.to_owned(),
        (reason, "") => reason.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    };
    Some(whole.chars().take(TROUBLE_CHARACTERS_MAX).collect())
}
