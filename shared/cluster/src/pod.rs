//! The pods of a node, read whole enough to give a verdict on each.

use crate::call::{Call, PageOf};
use crate::error::{ClusterError, Operation};
use crate::meta::{Condition, Metadata, condition, controller};
use decision::id::NodeName;
use decision::snapshot::cluster::{Deletion, Phase, Pod, Toleration};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeSet;
use std::time::Duration;

pub(crate) const PATH: &str = "/api/v1/pods";

/// The kubelet's mark on the API object of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What the API server sets when `terminationGracePeriodSeconds` is left out.
const GRACE_SECONDS_DEFAULT: i64 = 30;

/// All pods bound to the node, finished ones included.
pub async fn pods_on(client: &kube::Client, node: &NodeName) -> Result<Vec<Pod>, ClusterError> {
    on_node(Operation::ListPods, node)
        .list(client, PageOf::Large, |raw: RawPod| Some(raw.into()))
        .await
}

/// The request for the pods bound to this node.
pub(crate) fn on_node(operation: Operation, node: &NodeName) -> Call {
    Call::get(operation, format!("on {node}"), PATH.to_owned())
        .with("fieldSelector", format!("spec.nodeName={node}"))
}

#[derive(Deserialize)]
struct RawPod {
    metadata: Metadata,
    spec: RawSpec,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    #[serde(default)]
    containers: Vec<RawContainer>,
    #[serde(default)]
    init_containers: Vec<RawContainer>,
    #[serde(default)]
    volumes: Vec<RawVolume>,
    #[serde(default)]
    tolerations: Vec<RawToleration>,
    #[serde(default)]
    host_network: bool,
    priority: Option<i32>,
    termination_grace_period_seconds: Option<i64>,
}

#[derive(Deserialize)]
struct RawContainer {
    #[serde(default)]
    ports: Vec<RawPort>,
    lifecycle: Option<RawLifecycle>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPort {
    container_port: Option<u16>,
    host_port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLifecycle {
    pre_stop: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawVolume {
    empty_dir: Option<IgnoredAny>,
    persistent_volume_claim: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct RawToleration {
    key: Option<String>,
    operator: Option<String>,
    value: Option<String>,
    effect: Option<String>,
}

/// `status` of a pod.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RawStatus {
    pub(crate) phase: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) container_statuses: Vec<RawContainerStatus>,
    pub(crate) init_container_statuses: Vec<RawContainerStatus>,
    ephemeral_container_statuses: Vec<RawContainerStatus>,
}

/// One container's status.
#[derive(Deserialize)]
pub(crate) struct RawContainerStatus {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) state: RawState,
}

/// One of the three is there, or none of them before the kubelet has seen the container.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawState {
    pub(crate) waiting: Option<RawReason>,
    running: Option<IgnoredAny>,
    terminated: Option<IgnoredAny>,
}

/// Why a container waits.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawReason {
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl RawStatus {
    /// `Unknown` is what a lost node leaves behind: its pods may well run.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.as_str() {
            "Succeeded" => Phase::Succeeded,
            "Failed" => Phase::Failed,
            "Running" | "Unknown" => Phase::Running,
            _ => Phase::Pending,
        }
    }

    /// Condition `Ready`.
    pub(crate) fn is_ready(&self) -> bool {
        condition(&self.conditions, "Ready").is_some_and(Condition::is_true)
    }

    /// Whether nothing of it runs any more. Sidecars are init containers; one that never started waits
    /// for ever, so of those only a running one counts.
    fn has_stopped(&self, containers: usize) -> bool {
        let mut beside =
            self.init_container_statuses.iter().chain(&self.ephemeral_container_statuses);
        matches!(self.phase(), Phase::Succeeded | Phase::Failed)
            || (containers > 0
                && self.container_statuses.len() >= containers
                && self.container_statuses.iter().all(|status| status.state.terminated.is_some())
                && beside.all(|status| status.state.running.is_none()))
    }
}

impl RawSpec {
    fn all_containers(&self) -> impl Iterator<Item = &RawContainer> {
        self.containers.iter().chain(&self.init_containers)
    }

    fn has_pre_stop(&self) -> bool {
        self.all_containers()
            .filter_map(|container| container.lifecycle.as_ref())
            .any(|lifecycle| lifecycle.pre_stop.is_some())
    }

    /// The ports that the pod takes of its node.
    fn host_ports(&self) -> Vec<u16> {
        let own = |port: &RawPort| port.host_port.filter(|port| *port != 0);
        let ports: BTreeSet<u16> = self
            .all_containers()
            .flat_map(|container| &container.ports)
            .filter_map(|port| own(port).or(port.container_port.filter(|_| self.host_network)))
            .collect();
        ports.into_iter().collect()
    }
}

impl From<RawToleration> for Toleration {
    fn from(raw: RawToleration) -> Self {
        // Left out and empty mean the same in the API.
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        Self {
            key: filled(raw.key),
            exists: raw.operator.as_deref() == Some("Exists"),
            value: filled(raw.value),
            effect: filled(raw.effect),
        }
    }
}

impl From<RawPod> for Pod {
    fn from(raw: RawPod) -> Self {
        let RawPod { metadata, spec, status } = raw;
        let grace = spec.termination_grace_period_seconds.unwrap_or(GRACE_SECONDS_DEFAULT);
        Self {
            key: metadata.key(),
            mirror: metadata.annotations.contains_key(MIRROR),
            deletion: metadata.deletion_timestamp.map(|ends_at| Deletion { ends_at }),
            uid: metadata.uid,
            owner: controller(metadata.owner_references),
            phase: status.phase(),
            containers_stopped: status.has_stopped(spec.containers.len()),
            labels: metadata.labels,
            annotations: metadata.annotations,
            ready: status.is_ready(),
            priority: spec.priority.unwrap_or_default(),
            grace: Duration::from_secs(u64::try_from(grace).unwrap_or_default()),
            pre_stop: spec.has_pre_stop(),
            host_ports: spec.host_ports(),
            empty_dir: spec.volumes.iter().any(|volume| volume.empty_dir.is_some()),
            claims: spec.volumes.iter().any(|volume| volume.persistent_volume_claim.is_some()),
            host_network: spec.host_network,
            tolerations: spec.tolerations.into_iter().map(Toleration::from).collect(),
        }
    }
}
