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
    /// The keys of the pods in `endpoints`, in the same order.
    keys: Vec<Key>,
    slices: BTreeMap<usize, Slice>,
    /// The slice of each pod.
    places: BTreeMap<Key, usize>,
}

/// One EndpointSlice: each pod's line as it is written.
#[derive(Debug, Default)]
struct Slice {
    lines: BTreeMap<Key, String>,
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
            keys: Vec::new(),
            slices: BTreeMap::new(),
            places: BTreeMap::new(),
        };
        let namespace = &service.spec.namespace;
        world.kubernetes.services_by_label.insert(namespace, &service.selector, &key);
        world.kubernetes.services.insert(key.clone(), service);
        reconcile(world, &key);
        news::settle(world);
    }
}

/// Brings the endpoints of the pods that changed up to date, and writes the slices that they are in.
pub(super) fn reconcile(world: &mut World, key: &Key) {
    let now = world.now;
    let Some(mut service) = world.kubernetes.services.remove(key) else { return };
    let mut dirty = BTreeSet::new();
    let mut added = Vec::new();
    for pod_key in std::mem::take(&mut service.pending) {
        let pod = world.kubernetes.store.get(Kind::Pod, &pod_key);
        let new = pod.and_then(|pod| endpoint(&service.selector, pod, now));
        let place = service.keys.binary_search(&pod_key);
        let old = place.ok().and_then(|index| service.endpoints.get(index));
        if old.map(flags) == new.as_ref().map(flags) {
            continue;
        }
        let slice = service.places.get(&pod_key).copied();
        dirty.extend(slice);
        match (new, place) {
            (Some(new), Ok(index)) => {
                service.write_line(slice.unwrap_or_default(), &pod_key, &new);
                service.endpoints[index] = new;
            }
            (Some(new), Err(index)) => {
                service.keys.insert(index, pod_key.clone());
                service.endpoints.insert(index, new);
                added.push(pod_key);
            }
            (None, Ok(index)) => {
                service.keys.remove(index);
                service.endpoints.remove(index);
                service.drop_line(&pod_key);
            }
            (None, Err(_)) => {}
        }
    }
    for pod_key in added {
        dirty.insert(service.place(&pod_key, &dirty));
    }
    if service.slices.is_empty() {
        service.slices.insert(0, Slice::default());
        dirty.insert(0);
    }
    if !dirty.is_empty() {
        service.version += 1;
        for number in dirty {
            write_slice(world, &mut service, number);
        }
        world.traffic.touch_service(key);
    }
    world.kubernetes.services.insert(key.clone(), service);
}

impl Service {
    /// Puts a new pod into a slice with room: one that is written anyway, if there is one. Returns its number.
    fn place(&mut self, key: &Key, dirty: &BTreeSet<usize>) -> usize {
        let room = |number: &usize| {
            self.slices.get(number).is_none_or(|slice| slice.lines.len() < SLICE_MAX)
        };
        let known = dirty.iter().chain(self.slices.keys()).copied().find(|number| room(number));
        let number =
            known.unwrap_or_else(|| self.slices.keys().next_back().map_or(0, |last| last + 1));
        self.places.insert(key.clone(), number);
        if let Ok(index) = self.keys.binary_search(key)
            && let Some(endpoint) = self.endpoints.get(index).cloned()
        {
            self.write_line(number, key, &endpoint);
        }
        number
    }

    fn write_line(&mut self, number: usize, key: &Key, endpoint: &Endpoint) {
        let line = line(&self.spec, endpoint).to_string();
        self.slices.entry(number).or_default().lines.insert(key.clone(), line);
    }

    fn drop_line(&mut self, key: &Key) {
        let Some(number) = self.places.remove(key) else { return };
        if let Some(slice) = self.slices.get_mut(&number) {
            slice.lines.remove(key);
        }
    }
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
    let (serving, terminating) = (pod.is_ready(), pod.meta.deletion.is_some());
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

/// Writes one slice as it is now; an empty one goes, unless it is the last.
fn write_slice(world: &mut World, service: &mut Service, number: usize) {
    let spec = &service.spec;
    let key = object::key(&spec.namespace, &format!("{}-{number:05}", spec.name));
    let Some(slice) = service.slices.get(&number) else { return };
    if slice.lines.is_empty() && service.slices.len() > 1 {
        service.slices.remove(&number);
        world.kubernetes.store.remove(Kind::EndpointSlice, &key);
        return;
    }
    let ports = json!([{"name": "", "port": spec.port, "protocol": "TCP"}]);
    let mut rest = String::from("{\"addressType\":\"IPv4\",\"endpoints\":[");
    for (index, line) in slice.lines.values().enumerate() {
        if index > 0 {
            rest.push(',');
        }
        rest.push_str(line);
    }
    rest.push_str("],\"ports\":");
    rest.push_str(&ports.to_string());
    rest.push('}');
    let mut object = match world.kubernetes.store.get(Kind::EndpointSlice, &key) {
        Some(known) => Object::clone(known),
        None => new_slice(world, spec, number),
    };
    object.rest = Part::of_text(rest);
    world.kubernetes.store.put(object);
}

fn new_slice(world: &mut World, spec: &ServiceSpec, number: usize) -> Object {
    let name = format!("{}-{number:05}", spec.name);
    let mut slice = Object::new(Kind::EndpointSlice, &spec.namespace, &name);
    slice.meta.uid = uid(&mut world.rng);
    slice.meta.created = world.now;
    let labels = slice.labels_mut();
    labels.insert("kubernetes.io/service-name".to_owned(), spec.name.clone());
    let manager = "endpointslice.kubernetes.io/managed-by";
    labels.insert(manager.to_owned(), "endpointslice-controller.k8s.io".to_owned());
    slice
}

fn line(spec: &ServiceSpec, endpoint: &Endpoint) -> Value {
    json!({"addresses": [endpoint.address], "nodeName": endpoint.node,
        "conditions": {"ready": endpoint.ready, "serving": endpoint.serving,
            "terminating": endpoint.terminating},
        "targetRef": {"kind": "Pod", "namespace": spec.namespace, "name": endpoint.pod,
            "uid": endpoint.pod_uid}})
}
