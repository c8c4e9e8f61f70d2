//! The cluster: an API server, kubelets and controllers, as far as Ebbtide relies on them.
//!
//! Everybody writes objects into one [`store::Store`] and hears of it from its history. Callers
//! come through [`serve`]; a kubelet or a controller acts when its event is due. Whoever wrote
//! makes no difference to those who hear of it.
//!
//! ```text
//!   caller ─ serve ──┐              ┌─> watches
//!   scenario ────────┼─> store ─────┼─> kubelet:     start, Ready, SIGTERM, SIGKILL, object gone
//!   kubelet ─────────┤   (history)  ├─> controllers: replicas, endpoints, budgets, taints, volumes
//!   controllers ─────┘              └─> scheduler
//! ```
//!
//! Each of those hears with a lag of its own ([`lag::Lags`]), drawn from the world's seed.

pub mod api;
pub mod budget;
mod create;
mod daemon;
mod delete;
mod event;
mod eviction;
mod index;
pub mod kind;
mod kubelet;
pub mod lag;
mod lifecycle;
mod news;
pub mod node;
pub mod object;
mod owner;
mod patch;
mod pod;
mod read;
mod room;
pub mod rule;
pub mod scenario;
mod scheduler;
mod selector;
pub mod service;
mod stateful;
mod status;
pub mod store;
mod strict;
mod taint;
mod volume;
mod watch;
pub mod workload;
mod write;

pub(crate) use api::Interest;
pub use api::{Request, Response, operation, serve};
pub use kind::Kind;
pub use lag::Lags;
pub use node::{InstanceBirth, NodeSpec, NodeTemplate, Stop, Taint};
pub use rule::{BudgetBreak, How, Removal};
pub use scenario::OtherParty;
pub use selector::Selector;
pub use service::{Endpoint, Policy, Service, ServiceKind, ServiceSpec};
pub use watch::watch_since;
pub use workload::{
    Amount, Budget, Limit, Manners, Strategy, Toleration, UnhealthyPods, Workload, WorkloadKind,
};

use crate::world::{Event, Millis, World};
use object::{Key, Object};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::Store;

/// More nodes than this make a large cluster.
const LARGE_NODES: usize = 100;

/// What a kubelet or a controller does next.
#[derive(Clone, Debug)]
pub enum KubernetesEvent {
    /// A controller looks at one thing again.
    Task(Task),
    /// A kubelet does something to a pod.
    Kubelet {
        /// The pod.
        uid: Arc<str>,
        /// The pod's round when this was planned; another one makes it void.
        round: u32,
        /// What it does.
        act: kubelet::Act,
    },
    /// Something happens to a node.
    Node {
        /// Its name.
        name: Arc<str>,
        /// The node's beat when this was planned; another one makes it void.
        beat: u32,
        /// What happens.
        act: lifecycle::Act,
    },
    /// A volume is off its node.
    Detached(Key),
    /// The second party writes to some node.
    Other,
}

/// One thing that a controller looks at again. Asked for twice before it is due, it is done once.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Task {
    /// An owner counts its pods.
    Workload(Arc<str>),
    /// A Service's EndpointSlice follows its pods.
    Service(Key),
    /// A budget counts its pods.
    Budget(Key),
    /// A budget gives up waiting for a granted eviction that never happened.
    GiveUp(Key),
    /// The scheduler looks for room.
    Schedule,
    /// The node controller ties taints to the node's state.
    Taints(Arc<str>),
}

/// The cluster.
#[derive(Debug, Default)]
pub struct Kubernetes {
    /// All objects.
    pub store: Store,
    /// How long everybody takes to react.
    pub lags: Lags,
    /// What nodes look like whose instances start by themselves.
    pub template: NodeTemplate,
    /// The same for the instances of one Auto Scaling group, by its name.
    pub templates: BTreeMap<String, NodeTemplate>,
    /// Verb and resource (`patch`, `nodes`; `create`, `pods/eviction`) that are refused with 403.
    pub denied: BTreeSet<(String, String)>,
    /// Every pod that a caller removed.
    pub removals: Vec<Removal>,
    /// Every deletion by a caller that took a healthy pod although its budget had none to give.
    pub budget_breaks: Vec<BudgetBreak>,
    pods: BTreeMap<Arc<str>, kubelet::Run>,
    nodes: BTreeMap<Arc<str>, node::State>,
    instances: BTreeMap<String, Arc<str>>,
    workloads: BTreeMap<Arc<str>, owner::State>,
    services: BTreeMap<Key, service::Service>,
    budgets: BTreeMap<Key, budget::State>,
    /// The pods with something on a node, by its name.
    runs_on: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    daemons: BTreeSet<Arc<str>>,
    services_by_label: index::Index,
    budgets_by_label: index::Index,
    room: room::Room,
    lists: read::Lists,
    pending: room::Pending,
    queued: BTreeSet<Task>,
    other: Option<OtherParty>,
    addresses: u32,
}

impl Kubernetes {
    pub(crate) fn happen(world: &mut World, event: KubernetesEvent) {
        match event {
            KubernetesEvent::Task(task) => {
                world.kubernetes.queued.remove(&task);
                perform(world, &task);
            }
            KubernetesEvent::Kubelet { uid, round, act } => kubelet::act(world, &uid, round, act),
            KubernetesEvent::Node { name, beat, act } => lifecycle::act(world, &name, beat, act),
            KubernetesEvent::Detached(key) => volume::detached(world, &key),
            KubernetesEvent::Other => scenario::other_party(world),
        }
        news::spread(world);
    }

    /// The global resource version, where a watch that was answered up to now goes on.
    pub fn resource_version(&self) -> u64 {
        self.store.resource_version()
    }

    /// Whether this cluster is so large that its watches are served in batches.
    pub(crate) fn is_large(&self) -> bool {
        self.store.count(Kind::Node) > LARGE_NODES
    }

    /// All Services with their endpoints.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// The endpoints of a Service, as its EndpointSlice says now; none when there is no such Service.
    pub fn endpoints(&self, namespace: &str, service: &str) -> &[Endpoint] {
        let service = self.services.get(&object::key(namespace, service));
        service.map_or(&[], |service| service.endpoints.as_slice())
    }

    /// Whether the pod's containers accept connections right now.
    pub fn pod_serving(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(kubelet::Run::listens)
    }

    /// Whether the pod's containers run right now, whatever the API says.
    pub fn pod_running(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(kubelet::Run::runs)
    }

    /// The node that a pod was bound to, while anything of it is left there.
    pub(crate) fn node_of_pod(&self, uid: &str) -> Option<&str> {
        self.pods.get(uid)?.node.as_deref()
    }

    /// How many pods of a node could be evicted and have not ended: not a DaemonSet's, not the kubelet's own.
    pub(crate) fn evictable_on(&self, node: &str) -> usize {
        let Some(usage) = self.room.usage(node) else { return 0 };
        let bound = |id: &Arc<str>| {
            let kind = self.workloads.get(id).map(|state| state.work.kind);
            matches!(kind, Some(WorkloadKind::DaemonSet | WorkloadKind::Static))
        };
        let bound: usize =
            usage.same.iter().filter(|(id, _)| bound(id)).map(|(_, count)| count).sum();
        usage.all - bound
    }

    /// A pod by namespace and name.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Object> {
        self.store.get(Kind::Pod, &object::key(namespace, name)).map(Arc::as_ref)
    }

    /// The pods bound to a node, as the API shows them.
    pub fn pods_on(&self, node: &str) -> impl Iterator<Item = &Object> {
        let keys = self.store.pods_on(node);
        keys.filter_map(|key| self.store.get(Kind::Pod, key).map(Arc::as_ref))
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Option<&Object> {
        self.store.get(Kind::Node, &object::key("", name)).map(Arc::as_ref)
    }

    /// The registered node of an instance.
    pub fn node_of_instance(&self, instance: &str) -> Option<&str> {
        self.instances.get(instance).map(|name| &**name).filter(|name| self.node(name).is_some())
    }

    /// Whether the node's host is up, whatever the API says: its kube-proxy forwards then.
    pub fn host_up(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|state| state.up)
    }
}

/// Plans a task for `delay` milliseconds from now, unless it is planned already.
fn plan(world: &mut World, delay: Millis, task: Task) {
    if world.kubernetes.queued.insert(task.clone()) {
        world.after(delay, Event::Kubernetes(KubernetesEvent::Task(task)));
    }
}

fn perform(world: &mut World, task: &Task) {
    match task {
        Task::Workload(id) => owner::reconcile(world, id),
        Task::Service(key) => service::reconcile(world, key),
        Task::Budget(key) | Task::GiveUp(key) => budget::reconcile(world, key),
        Task::Schedule => scheduler::schedule(world),
        Task::Taints(node) => taint::reconcile(world, node),
    }
}
