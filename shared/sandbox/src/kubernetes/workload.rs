//! What a scenario says about its pods: who owns them, how they start, and how they end.

use crate::world::Millis;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Who owns the pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WorkloadKind {
    /// A Deployment with one ReplicaSet.
    Deployment,
    /// A ReplicaSet without a Deployment.
    ReplicaSet,
    /// Pods with names of their own, one after the other.
    StatefulSet,
    /// One pod on each node that matches; `replicas` is not looked at.
    DaemonSet,
    /// Pods that end by themselves.
    Job {
        /// How long each runs once it is Ready.
        run_ms: Millis,
    },
    /// Nobody: what is deleted stays away.
    Bare,
    /// The kubelet: a mirror pod on each node, put back when it is deleted.
    Static,
}

/// What a pod does about SIGTERM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Manners {
    /// Stops listening at once, and exits a little later.
    StopsAtOnce {
        /// From SIGTERM to its exit.
        exit_ms: Millis,
    },
    /// Goes on serving (a preStop sleep, a lame duck), then stops listening and exits.
    ServesOn {
        /// From SIGTERM to its exit.
        ms: Millis,
    },
    /// Serves until it is killed at the end of its grace.
    Ignores,
}

/// How the owner replaces pods when its template changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Strategy {
    /// One after the other.
    RollingUpdate,
    /// All at once; such an owner wants no two versions side by side.
    Recreate,
}

/// A number of pods, or a share of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Amount {
    /// So many.
    Count(i64),
    /// So many percent, rounded up.
    Percent(i64),
}

/// What a disruption budget limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// `minAvailable`.
    MinAvailable(Amount),
    /// `maxUnavailable`.
    MaxUnavailable(Amount),
}

/// `unhealthyPodEvictionPolicy`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UnhealthyPods {
    /// Evicted only while enough others are healthy: the default.
    #[default]
    IfHealthyBudget,
    /// Always evicted.
    AlwaysAllow,
}

/// A PodDisruptionBudget.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Budget {
    /// What it limits.
    pub limit: Limit,
    /// What becomes of pods that are not Ready.
    pub unhealthy: UnhealthyPods,
}

impl Budget {
    /// `minAvailable: count`.
    pub fn min_available(count: i64) -> Self {
        Self {
            limit: Limit::MinAvailable(Amount::Count(count)),
            unhealthy: UnhealthyPods::default(),
        }
    }

    /// `maxUnavailable: count`.
    pub fn max_unavailable(count: i64) -> Self {
        Self {
            limit: Limit::MaxUnavailable(Amount::Count(count)),
            unhealthy: UnhealthyPods::default(),
        }
    }
}

/// One toleration; without a key it tolerates every taint.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Toleration {
    /// The taint's key, or none for all.
    pub key: Option<String>,
    /// The taint's value; none means `operator: Exists`.
    pub value: Option<String>,
    /// The taint's effect, or none for all.
    pub effect: Option<String>,
    /// For how long a NoExecute taint is tolerated; none means for ever.
    pub seconds: Option<i64>,
}

impl Toleration {
    /// Tolerates everything, for ever.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Tolerates one key with this effect, for ever.
    pub fn of(key: &str, effect: &str) -> Self {
        Self { key: Some(key.to_owned()), effect: Some(effect.to_owned()), ..Self::default() }
    }

    pub(crate) fn covers(&self, taint: &Value) -> bool {
        let matches = |mine: &Option<String>, name: &str| {
            mine.as_deref().is_none_or(|mine| mine == taint[name].as_str().unwrap_or_default())
        };
        matches(&self.key, "key")
            && matches(&self.effect, "effect")
            && matches(&self.value, "value")
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut value = json!({"operator": if self.value.is_some() { "Equal" } else { "Exists" }});
        for (name, text) in [("key", &self.key), ("value", &self.value), ("effect", &self.effect)] {
            if let Some(text) = text {
                value[name] = text.as_str().into();
            }
        }
        if let Some(seconds) = self.seconds {
            value["tolerationSeconds"] = seconds.into();
        }
        value
    }
}

/// An owner and its pods. Start from [`Workload::new`] and change what the scenario needs.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The namespace.
    pub namespace: String,
    /// The owner's name; pods are named after it.
    pub name: String,
    /// Who owns the pods.
    pub kind: WorkloadKind,
    /// How many pods there should be.
    pub replicas: u32,
    /// The pods' labels, also the owner's selector.
    pub labels: BTreeMap<String, String>,
    /// The pods' annotations.
    pub annotations: BTreeMap<String, String>,
    /// What its pods do about SIGTERM.
    pub manners: Manners,
    /// From the start of a pod to Ready, at least; at most half as much again, by the seed.
    pub ready_ms: Millis,
    /// `terminationGracePeriodSeconds`.
    pub grace_seconds: i64,
    /// A `preStop` sleep that the pod's spec shows; what it does is in its manners.
    pub pre_stop_seconds: Option<i64>,
    /// A disruption budget of the workload's name over its labels.
    pub pdb: Option<Budget>,
    /// Each pod has a ReadWriteOnce volume of this storage class.
    pub volume: Option<String>,
    /// The port it listens on.
    pub port: u16,
    /// The node's port that it takes, if it does.
    pub host_port: Option<u16>,
    /// Whether it lives in the node's network.
    pub host_network: bool,
    /// The pods' priority.
    pub priority: i32,
    /// `system-node-critical`, …
    pub priority_class: Option<String>,
    /// The taints that its pods tolerate, beside those that the server adds.
    pub tolerations: Vec<Toleration>,
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Whether the pods have an `emptyDir` volume.
    pub empty_dir: bool,
    /// Finalizers of the pods.
    pub finalizers: Vec<String>,
    /// The owner's update strategy.
    pub strategy: Strategy,
}

impl Workload {
    /// A workload of well-behaved pods: label `app` is its name, Ready after 2 s, a grace of 30 s,
    /// serving for 5 s after SIGTERM.
    pub fn new(kind: WorkloadKind, namespace: &str, name: &str, replicas: u32) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            kind,
            replicas,
            labels: [("app".to_owned(), name.to_owned())].into(),
            annotations: BTreeMap::new(),
            manners: Manners::ServesOn { ms: 5_000 },
            ready_ms: 2_000,
            grace_seconds: 30,
            pre_stop_seconds: None,
            pdb: None,
            volume: None,
            port: 8080,
            host_port: None,
            host_network: false,
            priority: 0,
            priority_class: None,
            tolerations: Vec::new(),
            node_selector: BTreeMap::new(),
            empty_dir: false,
            finalizers: Vec::new(),
            strategy: Strategy::RollingUpdate,
        }
    }

    /// The taints that its pods tolerate in the end: DaemonSet pods get the controller's, others
    /// five minutes of a lost node.
    pub(crate) fn all_tolerations(&self) -> Vec<Toleration> {
        let mut all = self.tolerations.clone();
        match self.kind {
            WorkloadKind::DaemonSet => {
                all.extend(DAEMON.map(|(key, effect)| Toleration::of(key, effect)));
            }
            WorkloadKind::Static => all
                .push(Toleration { effect: Some("NoExecute".to_owned()), ..Toleration::default() }),
            _ => {
                for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
                    let taint = json!({"key": key, "value": "", "effect": "NoExecute"});
                    if !all.iter().any(|one| one.covers(&taint)) {
                        let mut patience = Toleration::of(key, "NoExecute");
                        patience.seconds = Some(300);
                        all.push(patience);
                    }
                }
            }
        }
        all
    }

    pub(crate) fn owner_kind(&self) -> Option<crate::kubernetes::kind::Kind> {
        use crate::kubernetes::kind::Kind;
        match self.kind {
            WorkloadKind::Deployment | WorkloadKind::ReplicaSet => Some(Kind::ReplicaSet),
            WorkloadKind::StatefulSet => Some(Kind::StatefulSet),
            WorkloadKind::DaemonSet => Some(Kind::DaemonSet),
            WorkloadKind::Job { .. } => Some(Kind::Job),
            WorkloadKind::Bare | WorkloadKind::Static => None,
        }
    }
}

/// What the DaemonSet controller lets its pods tolerate.
const DAEMON: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
