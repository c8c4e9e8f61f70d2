//! What the cluster says: the node, its pods, the budgets that guard them, and the nodes that leave beside it.

use super::Read;
use super::departing::Peers;
use crate::id::{BootId, ClusterName, NodeName, PodKey, Uid};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// How far the turn got with the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterView {
    /// Not asked: out of scope, or an earlier read decided it.
    NotAsked,
    /// Neither tags, hook metadata nor configuration name a cluster.
    Unnamed,
    /// EKS says that there is no such cluster.
    Deleted(ClusterName),
    /// Its API server cannot be reached or refuses us.
    Unreachable {
        /// Which one.
        cluster: ClusterName,
        /// What went wrong.
        why: String,
    },
    /// Asked and answered.
    Reached {
        /// Which one.
        cluster: ClusterName,
        /// What was found under the instance's name.
        node: NodeLookup,
    },
}

/// The node of an instance.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeLookup {
    /// No node has this instance's id in its `spec.providerID`.
    Absent,
    /// The node, verified by its `spec.providerID`.
    Found(Box<NodeView>),
}

/// One node and what is on it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView {
    /// The node object.
    pub node: Node,
    /// Why the node could not be read again although the other reads took long: it may have been uncordoned meanwhile, so
    /// nothing is evicted from it.
    pub outdated: Option<String>,
    /// Nodes that carry our annotation and are unschedulable, this one included.
    pub peers: Read<Peers>,
    /// Pods bound to the node.
    pub pods: Read<Vec<Pod>>,
    /// All budgets of the cluster.
    pub budgets: Read<Vec<Budget>>,
    /// Services with a selector, and their endpoints.
    pub services: Read<Vec<Service>>,
    /// Pods of the same owners (same revision), wherever they run; ours included.
    pub siblings: Read<Vec<Sibling>>,
    /// VolumeAttachments of the node: names of persistent volumes.
    pub volumes: Read<Vec<String>>,
}

/// A Node object, as far as we read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`
    pub name: NodeName,
    /// `metadata.uid`: a node that was deleted and came back has another one.
    pub uid: Uid,
    /// `metadata.resourceVersion`, the precondition of our patches.
    pub resource_version: String,
    /// `metadata.creationTimestamp`
    pub created_at: Option<Timestamp>,
    /// `spec.providerID`
    pub provider_id: String,
    /// `status.nodeInfo.bootID`: changes with every boot.
    pub boot: Option<BootId>,
    /// `spec.unschedulable`
    pub unschedulable: bool,
    /// `spec.taints`: an atomic list, ours and others'.
    pub taints: Vec<Taint>,
    /// `metadata.labels`
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`
    pub annotations: BTreeMap<String, String>,
    /// Condition `Ready`; `None` when it is not there yet, which is not ready.
    pub ready: Option<bool>,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value; absent and empty mean the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
    /// When it was added, for `NoExecute`; kept verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_added: Option<String>,
}

/// One pod of the node.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of the API's pod, read by name and never passed on"
)]
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Namespace and name.
    pub key: PodKey,
    /// `metadata.uid`: the precondition of every eviction and deletion.
    pub uid: Uid,
    /// Its controller.
    pub owner: Option<Owner>,
    /// `status.phase`
    pub phase: Phase,
    /// Annotation `kubernetes.io/config.mirror`: a static pod, the kubelet's own.
    pub mirror: bool,
    /// Set once it was deleted.
    pub deletion: Option<Deletion>,
    /// All containers have terminated, whatever finalizers still keep the object.
    pub containers_stopped: bool,
    /// `metadata.labels`
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`
    pub annotations: BTreeMap<String, String>,
    /// Condition `Ready`
    pub ready: bool,
    /// `spec.priority`
    pub priority: i32,
    /// `spec.terminationGracePeriodSeconds`
    pub grace: Duration,
    /// Whether any container has a `preStop` hook.
    pub pre_stop: bool,
    /// `spec.tolerations`
    pub tolerations: Vec<Toleration>,
    /// `spec.hostNetwork`
    pub host_network: bool,
    /// `ports[].hostPort`; with hostNetwork, `containerPort`.
    pub host_ports: Vec<u16>,
    /// Whether it has an `emptyDir` volume, whose content ends with the pod.
    pub empty_dir: bool,
    /// Whether it has a `persistentVolumeClaim` volume, which must detach before its successor can start.
    pub claims: bool,
}

/// A pod's controller (`ownerReferences` with `controller: true`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// `ReplicaSet`, `StatefulSet`, `DaemonSet`, `Job`, `Node` or anything else.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Uid,
}

/// `status.phase` of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `Pending`
    Pending,
    /// `Running`, or `Unknown`
    Running,
    /// `Succeeded`
    Succeeded,
    /// `Failed`
    Failed,
}

/// A deletion under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// `metadata.deletionTimestamp`: when its grace ends.
    pub ends_at: Timestamp,
}

/// A toleration of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toleration {
    /// `key`; `None` with `Exists` tolerates every taint.
    pub key: Option<String>,
    /// `operator: Exists`; otherwise `Equal`.
    pub exists: bool,
    /// `value`
    pub value: Option<String>,
    /// `effect`; `None` means every effect.
    pub effect: Option<String>,
}

/// A PodDisruptionBudget with its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Namespace and name.
    pub key: PodKey,
    /// Which pods it guards; an empty selector guards all of its namespace.
    pub selector: Selector,
    /// `minAvailable 3` or `maxUnavailable 10%`, for people.
    pub rule: String,
    /// `status.disruptionsAllowed`
    pub allowed: i32,
    /// `status.currentHealthy`
    pub healthy: i32,
    /// `status.desiredHealthy`
    pub desired: i32,
    /// `status.expectedPods`: how many it counts in all.
    pub expected: i32,
    /// `unhealthyPodEvictionPolicy: AlwaysAllow`
    pub unhealthy_always: bool,
}

/// A label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// `matchLabels`
    pub labels: BTreeMap<String, String>,
    /// `matchExpressions`
    pub expressions: Vec<Requirement>,
}

/// One entry of `matchExpressions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what, for `In` and `NotIn`.
    pub values: Vec<String>,
}

/// The operators of `matchExpressions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `In`
    In,
    /// `NotIn`
    NotIn,
    /// `Exists`
    Exists,
    /// `DoesNotExist`
    DoesNotExist,
}

/// A Service with a selector, and its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub key: PodKey,
    /// `spec.selector`
    pub selector: BTreeMap<String, String>,
    /// `spec.externalTrafficPolicy`
    pub policy: TrafficPolicy,
    /// `spec.ports[].nodePort`, and `healthCheckNodePort`
    pub node_ports: Vec<u16>,
    /// Endpoints of its EndpointSlices that are ready.
    pub ready: Vec<Endpoint>,
}

/// `externalTrafficPolicy`: whether a node forwards to pods elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Forwards to any ready endpoint.
    Cluster,
    /// Only to endpoints on the node itself.
    Local,
}

/// One ready endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// `targetRef.uid`: its pod.
    pub pod: Uid,
    /// `nodeName`
    pub node: Option<NodeName>,
}

/// A pod of the same owner, wherever it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sibling {
    /// Namespace and name.
    pub key: PodKey,
    /// Its uid.
    pub uid: Uid,
    /// The owner that it shares.
    pub owner: Uid,
    /// Where it runs; `None` while it is not scheduled.
    pub node: Option<NodeName>,
    /// Its labels, so that the budget that guards it can be told.
    pub labels: BTreeMap<String, String>,
    /// Condition `Ready`
    pub ready: bool,
    /// Whether it is being deleted or has finished.
    pub leaving: bool,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// Why it is not Ready, for people: the condition's or the waiting container's reason and message.
    pub trouble: Option<String>,
    /// `PodScheduled=False`, `Unschedulable`: there is no room for it.
    pub unschedulable: bool,
}
