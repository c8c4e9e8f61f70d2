//! Services and their EndpointSlices, which follow the pods with a lag.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::{self, Key, Object, Part};
use crate::kubernetes::selector::Selector;
use crate::kubernetes::store::uid;
use crate::kubernetes::{Kubernetes, news, pod};
use crate::world::{Millis, World};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many endpoints one slice takes, as the real controller fills them.
const SLICE_MAX: usize = 100;

/// `externalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    /// Any node forwards to any pod.
    Cluster,
    /// A node forwards only to its own pods.
    Local,
}

/// `spec.type`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ServiceKind {
    /// Reached inside the cluster only.
    ClusterIp,
    /// Reached through a port of each node.
    NodePort,
    /// The same, with a load balancer that somebody makes for it.
    LoadBalancer,
}

/// What a scenario says about a Service.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The labels that its pods have.
    pub selector: BTreeMap<String, String>,
    /// The pods' port.
    pub port: u16,
    /// The nodes' port.
    pub node_port: Option<u16>,
    /// Where a node forwards to.
    pub policy: Policy,
    /// How it is reached.
    pub kind: ServiceKind,
}

impl ServiceSpec {
    /// A NodePort Service over pods with the label `app` of this name, policy Cluster.
    pub fn new(namespace: &str, name: &str, node_port: u16) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            selector: [("app".to_owned(), name.to_owned())].into(),
            port: 8080,
            node_port: Some(node_port),
            policy: Policy::Cluster,
            kind: ServiceKind::NodePort,
        }
    }
}

/// One pod behind a Service, as its EndpointSlice says now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// The pod.
    pub pod_uid: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's address.
    pub address: String,
    /// Its node's name.
    pub node: String,
    /// Takes new connections.
    pub ready: bool,
    /// The pod's readiness, whether or not it terminates.
    pub serving: bool,
    /// The pod has a deletion timestamp.
    pub terminating: bool,
    /// When one of these flags last changed.
    pub changed_at: Millis,
}

/// A Service with its endpoints.
#[derive(Debug)]
pub struct Service {
    /// What the scenario said.
    pub spec: ServiceSpec,
    /// Its endpoints in the order of their pods' keys.
    pub endpoints: Vec<Endpoint>,
    /// Counts the changes of `endpoints`.
    pub version: u64,
    pub(super) selector: Selector,
    pub(super) pending: BTreeSet<Key>,
    members: BTreeMap<Key, Endpoint>,
    slices: usize,
}

impl Kubernetes {
    /// Adds a Service with its EndpointSlice in place.
    pub fn add_service(world: &mut World, spec: ServiceSpec) {
        let mut object = Object::new(Kind::Service, &spec.namespace, &spec.name);
        object.meta.uid = uid(&mut world.rng);
        object.meta.created = world.now;
        object.spec = Part::new(fields(&spec));
        let key = object.key();
        world.kubernetes.store.put(object);
        let selector = Selector::of(&spec.selector);
        let pods = world.kubernetes.store.within(Kind::Pod, &spec.namespace);
        let pending = pods
            .filter(|(_, pod)| selector.matches(&pod.meta.labels))
            .map(|(key, _)| key.clone())
            .collect();
        let service = Service {
            spec,
            endpoints: Vec::new(),
            version: 0,
            selector,
            pending,
            members: BTreeMap::new(),
            slices: 0,
        };
        world.kubernetes.services.insert(key.clone(), service);
        reconcile(world, &key);
        news::settle(world);
    }
}

/// Brings the endpoints of the pods that changed up to date, and writes the slices.
pub(super) fn reconcile(world: &mut World, key: &Key) {
    let now = world.now;
    let Some(mut service) = world.kubernetes.services.remove(key) else { return };
    let mut changed = false;
    for pod_key in std::mem::take(&mut service.pending) {
        let pod = world.kubernetes.store.get(Kind::Pod, &pod_key);
        let new = pod.and_then(|pod| endpoint(&service.selector, pod, now));
        let old = service.members.get(&pod_key);
        if old.map(flags) == new.as_ref().map(flags) {
            continue;
        }
        changed = true;
        match new {
            Some(new) => drop(service.members.insert(pod_key, new)),
            None => drop(service.members.remove(&pod_key)),
        }
    }
    if changed || service.slices == 0 {
        service.endpoints = service.members.values().cloned().collect();
        service.version += 1;
        write_slices(world, &mut service);
        world.traffic.touch();
    }
    world.kubernetes.services.insert(key.clone(), service);
}

fn fields(spec: &ServiceSpec) -> Value {
    let mut port = json!({"port": spec.port, "targetPort": spec.port, "protocol": "TCP"});
    if let Some(node_port) = spec.node_port {
        port["nodePort"] = node_port.into();
    }
    let kind = match spec.kind {
        ServiceKind::ClusterIp => "ClusterIP",
        ServiceKind::NodePort => "NodePort",
        ServiceKind::LoadBalancer => "LoadBalancer",
    };
    let mut fields = json!({"type": kind, "selector": spec.selector, "ports": [port],
        "internalTrafficPolicy": "Cluster"});
    if spec.kind != ServiceKind::ClusterIp {
        fields["externalTrafficPolicy"] = match spec.policy {
            Policy::Cluster => "Cluster".into(),
            Policy::Local => "Local".into(),
        };
    }
    fields
}

/// A pod's endpoint, if it has an address, has not ended, and is selected.
fn endpoint(selector: &Selector, pod: &Object, now: Millis) -> Option<Endpoint> {
    let address = pod.status["podIP"].as_str().filter(|address| !address.is_empty())?;
    if pod::is_terminal(pod) || !selector.matches(&pod.meta.labels) {
        return None;
    }
    let (serving, terminating) = (pod::is_ready(pod), pod.meta.deletion.is_some());
    Some(Endpoint {
        pod_uid: (*pod.meta.uid).to_owned(),
        pod: (*pod.meta.name).to_owned(),
        address: address.to_owned(),
        node: pod.spec["nodeName"].as_str().unwrap_or_default().to_owned(),
        ready: serving && !terminating,
        serving,
        terminating,
        changed_at: now,
    })
}

fn flags(endpoint: &Endpoint) -> (&str, &str, [bool; 3]) {
    let flags = [endpoint.ready, endpoint.serving, endpoint.terminating];
    (&endpoint.pod_uid, &endpoint.address, flags)
}

fn write_slices(world: &mut World, service: &mut Service) {
    let spec = &service.spec;
    let count = service.endpoints.len().div_ceil(SLICE_MAX).max(1);
    for index in 0..count.max(service.slices) {
        let name = format!("{}-{index:05}", spec.name);
        let key = object::key(&spec.namespace, &name);
        if index >= count {
            world.kubernetes.store.remove(Kind::EndpointSlice, &key);
            continue;
        }
        let from = index * SLICE_MAX;
        let to = (from + SLICE_MAX).min(service.endpoints.len());
        let endpoints: Vec<Value> = service
            .endpoints
            .get(from..to)
            .unwrap_or_default()
            .iter()
            .map(|one| line(spec, one))
            .collect();
        let rest = json!({"addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "", "port": spec.port, "protocol": "TCP"}]});
        if world.kubernetes.store.get(Kind::EndpointSlice, &key).is_some() {
            world
                .kubernetes
                .store
                .update(Kind::EndpointSlice, &key, |slice| slice.rest = Part::new(rest));
            continue;
        }
        let mut slice = Object::new(Kind::EndpointSlice, &spec.namespace, &name);
        slice.meta.uid = uid(&mut world.rng);
        slice.meta.created = world.now;
        let labels = slice.labels_mut();
        labels.insert("kubernetes.io/service-name".to_owned(), spec.name.clone());
        let manager = "endpointslice.kubernetes.io/managed-by";
        labels.insert(manager.to_owned(), "endpointslice-controller.k8s.io".to_owned());
        slice.rest = Part::new(rest);
        world.kubernetes.store.put(slice);
    }
    service.slices = count;
}

fn line(spec: &ServiceSpec, endpoint: &Endpoint) -> Value {
    json!({"addresses": [endpoint.address], "nodeName": endpoint.node,
        "conditions": {"ready": endpoint.ready, "serving": endpoint.serving,
            "terminating": endpoint.terminating},
        "targetRef": {"kind": "Pod", "namespace": spec.namespace, "name": endpoint.pod,
            "uid": endpoint.pod_uid}})
}
