//! The kinds of objects that this API server knows, and where each is found.

/// A kind of object.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// A node.
    Node,
    /// A pod.
    Pod,
    /// A Service.
    Service,
    /// Who is behind a Service.
    EndpointSlice,
    /// How many pods may be missing.
    PodDisruptionBudget,
    /// A volume on a node.
    VolumeAttachment,
    /// A volume.
    PersistentVolume,
    /// A pod's claim to a volume.
    PersistentVolumeClaim,
    /// An owner of pods.
    ReplicaSet,
    /// An owner of ReplicaSets.
    Deployment,
    /// An owner of pods with names of their own.
    StatefulSet,
    /// An owner of one pod per node.
    DaemonSet,
    /// An owner of pods that end.
    Job,
    /// What somebody told about an object.
    Event,
    /// Who may talk to a pod.
    NetworkPolicy,
    /// The AWS Load Balancer Controller's tie between a Service and a target group.
    TargetGroupBinding,
}

/// How a kind is named and found.
#[derive(Debug)]
pub struct Resource {
    /// `policy`; empty for the core group.
    pub group: &'static str,
    /// `v1`.
    pub version: &'static str,
    /// `poddisruptionbudgets`.
    pub plural: &'static str,
    /// `PodDisruptionBudget`.
    pub kind: &'static str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether it is a custom resource.
    pub custom: bool,
}

const fn resource(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
) -> Resource {
    Resource { group, version, plural, kind, namespaced: true, custom: false }
}

const fn of_cluster(mut resource: Resource) -> Resource {
    resource.namespaced = false;
    resource
}

static NODE: Resource = of_cluster(resource("", "v1", "nodes", "Node"));
static POD: Resource = resource("", "v1", "pods", "Pod");
static SERVICE: Resource = resource("", "v1", "services", "Service");
static ENDPOINT_SLICE: Resource =
    resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice");
static BUDGET: Resource = resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget");
static ATTACHMENT: Resource =
    of_cluster(resource("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment"));
static VOLUME: Resource = of_cluster(resource("", "v1", "persistentvolumes", "PersistentVolume"));
static CLAIM: Resource = resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim");
static REPLICA_SET: Resource = resource("apps", "v1", "replicasets", "ReplicaSet");
static DEPLOYMENT: Resource = resource("apps", "v1", "deployments", "Deployment");
static STATEFUL_SET: Resource = resource("apps", "v1", "statefulsets", "StatefulSet");
static DAEMON_SET: Resource = resource("apps", "v1", "daemonsets", "DaemonSet");
static JOB: Resource = resource("batch", "v1", "jobs", "Job");
static EVENT: Resource = resource("", "v1", "events", "Event");
static NETWORK_POLICY: Resource =
    resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy");
static BINDING: Resource = Resource {
    group: "elbv2.k8s.aws",
    version: "v1beta1",
    plural: "targetgroupbindings",
    kind: "TargetGroupBinding",
    namespaced: true,
    custom: true,
};

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 16] = [
        Self::Node,
        Self::Pod,
        Self::Service,
        Self::EndpointSlice,
        Self::PodDisruptionBudget,
        Self::VolumeAttachment,
        Self::PersistentVolume,
        Self::PersistentVolumeClaim,
        Self::ReplicaSet,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::Job,
        Self::Event,
        Self::NetworkPolicy,
        Self::TargetGroupBinding,
    ];

    /// The kind that a path names.
    pub fn find(group: &str, version: &str, plural: &str) -> Option<Self> {
        // The same Events are served by two groups, the old core one and their own.
        let group = if group == "events.k8s.io" && plural == "events" { "" } else { group };
        Self::ALL.into_iter().find(|kind| {
            let resource = kind.resource();
            resource.plural == plural && resource.group == group && resource.version == version
        })
    }

    /// How it is named and found.
    pub fn resource(self) -> &'static Resource {
        match self {
            Self::Node => &NODE,
            Self::Pod => &POD,
            Self::Service => &SERVICE,
            Self::EndpointSlice => &ENDPOINT_SLICE,
            Self::PodDisruptionBudget => &BUDGET,
            Self::VolumeAttachment => &ATTACHMENT,
            Self::PersistentVolume => &VOLUME,
            Self::PersistentVolumeClaim => &CLAIM,
            Self::ReplicaSet => &REPLICA_SET,
            Self::Deployment => &DEPLOYMENT,
            Self::StatefulSet => &STATEFUL_SET,
            Self::DaemonSet => &DAEMON_SET,
            Self::Job => &JOB,
            Self::Event => &EVENT,
            Self::NetworkPolicy => &NETWORK_POLICY,
            Self::TargetGroupBinding => &BINDING,
        }
    }

    /// `v1`, or `policy/v1`.
    pub fn api_version(self) -> &'static str {
        match self.resource().group {
            "" => "v1",
            "discovery.k8s.io" => "discovery.k8s.io/v1",
            "policy" => "policy/v1",
            "storage.k8s.io" => "storage.k8s.io/v1",
            "apps" => "apps/v1",
            "batch" => "batch/v1",
            "networking.k8s.io" => "networking.k8s.io/v1",
            _ => "elbv2.k8s.aws/v1beta1",
        }
    }

    /// `poddisruptionbudgets.policy`, or `pods`: how messages name the resource.
    pub fn qualified(self) -> String {
        let resource = self.resource();
        if resource.group.is_empty() {
            return resource.plural.to_owned();
        }
        format!("{}.{}", resource.plural, resource.group)
    }
}
