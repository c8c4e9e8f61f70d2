//! Nodes: what they look like, and what is done to them from outside: by EC2, by people, by faults.
//!
//! What follows by itself is in `lifecycle`.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::lifecycle::{self, Act};
use crate::kubernetes::object::{self, Object, Part};
use crate::kubernetes::store::uid;
use crate::kubernetes::{Kubernetes, kubelet, news, rule, taint};
use crate::world::{Millis, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An instance that runs, as EC2 tells it: its kubelet will register soon.
#[derive(Clone, Debug)]
pub struct InstanceBirth {
    /// `i-…`.
    pub instance: String,
    /// The private DNS name: the node's name.
    pub private_dns: String,
    /// `eu-west-1a`.
    pub zone: String,
    /// Counts the boots of this instance, from 1.
    pub boot: u32,
}

/// How a host went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// For good.
    Terminated,
    /// It may be started again.
    Stopped,
    /// It is started again at once.
    Rebooted,
}

/// A taint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Taint {
    /// `dedicated`, …
    pub key: String,
    /// Its value, often empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

impl Taint {
    /// A taint without a value.
    pub fn new(key: &str, effect: &str) -> Self {
        Self { key: key.to_owned(), value: String::new(), effect: effect.to_owned() }
    }

    fn to_value(&self) -> Value {
        let mut value = json!({"key": self.key, "effect": self.effect});
        if !self.value.is_empty() {
            value["value"] = self.value.as_str().into();
        }
        value
    }
}

/// What a node looks like.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its name: the private DNS name.
    pub name: String,
    /// The instance that its `providerID` ends in.
    pub instance: String,
    /// `eu-west-1a`.
    pub zone: String,
    /// Labels beside the well-known ones.
    pub labels: BTreeMap<String, String>,
    /// Taints that are there from the start.
    pub taints: Vec<Taint>,
    /// Whether somebody cordoned it before.
    pub unschedulable: bool,
    /// How many pods it takes.
    pub max_pods: u32,
}

impl NodeSpec {
    /// A node with room for 58 pods (an m5.xlarge).
    pub fn new(name: &str, instance: &str, zone: &str) -> Self {
        Self {
            name: name.to_owned(),
            instance: instance.to_owned(),
            zone: zone.to_owned(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            unschedulable: false,
            max_pods: 58,
        }
    }
}

/// What nodes look like whose instances start by themselves, and how long they take.
#[derive(Clone, Debug)]
pub struct NodeTemplate {
    /// Labels beside the well-known ones.
    pub labels: BTreeMap<String, String>,
    /// How many pods it takes.
    pub max_pods: u32,
    /// From the start of the instance to the registration.
    pub join_ms: Millis,
    /// From there to Ready.
    pub ready_ms: Millis,
    /// Taints that it has for good.
    pub taints: Vec<Taint>,
    /// Taints that it registers with, and how long each stays.
    pub startup_taints: Vec<(Taint, Millis)>,
}

impl Default for NodeTemplate {
    fn default() -> Self {
        Self {
            labels: BTreeMap::new(),
            max_pods: 58,
            join_ms: 20_000,
            ready_ms: 8_000,
            taints: Vec::new(),
            startup_taints: Vec::new(),
        }
    }
}

/// What really is the matter with a node.
#[derive(Debug)]
pub(super) struct State {
    /// Whether its host runs.
    pub(super) up: bool,
    /// Whether its kubelet does.
    pub(super) alive: bool,
    /// Whether it is cordoned, and not by a caller.
    pub(super) foreign_cordon: bool,
    /// Whether it is labelled out of load balancers, and not by a caller.
    pub(super) foreign_exclusion: bool,
    pub(super) spec: NodeSpec,
    pub(super) beat: u32,
    pub(super) stop: Option<Stop>,
    boot: u32,
}

impl Kubernetes {
    /// Adds a node that has been Ready for a while.
    pub fn add_node(world: &mut World, spec: NodeSpec) {
        let name: Arc<str> = spec.name.as_str().into();
        admit(world, spec, 1);
        register(world, &name, &[]);
        lifecycle::report_ready(world, &name);
        if let Some(state) = world.kubernetes.nodes.get_mut(&name) {
            state.alive = true;
        }
        news::settle(world);
    }

    /// The cluster hears that an instance runs: its node registers and turns Ready.
    pub fn instance_started(world: &mut World, birth: &InstanceBirth) {
        let template = template_of(world, &birth.instance);
        let spec = NodeSpec {
            labels: template.labels.clone(),
            taints: template.taints.clone(),
            max_pods: template.max_pods,
            ..NodeSpec::new(&birth.private_dns, &birth.instance, &birth.zone)
        };
        let join_ms = template.join_ms;
        let name: Arc<str> = birth.private_dns.as_str().into();
        match world.kubernetes.nodes.get_mut(&name) {
            Some(state) => {
                state.up = true;
                state.boot = birth.boot;
                state.stop = None;
            }
            None => admit(world, spec, birth.boot),
        }
        lifecycle::after(world, &name, join_ms, Act::Join);
    }

    /// The cluster loses a host: its containers stop in this very millisecond.
    pub fn instance_stopped(world: &mut World, instance: &str, stop: Stop) {
        let Some(name) = world.kubernetes.instances.get(instance).cloned() else { return };
        let Some(state) = world.kubernetes.nodes.get_mut(&name) else { return };
        (state.up, state.alive, state.stop) = (false, false, Some(stop));
        state.beat += 1;
        kubelet::host_gone(world, &name);
        let (silent, gone) = (world.kubernetes.lags.node_monitor, world.kubernetes.lags.node_gone);
        lifecycle::after(world, &name, silent, Act::Silent);
        if stop == Stop::Terminated {
            lifecycle::after(world, &name, gone, Act::Gone);
        }
    }

    /// The kubelet alone falls silent: its containers serve on, nothing is started or stopped.
    pub fn lose_kubelet(world: &mut World, node: &str) {
        let name: Arc<str> = node.into();
        let Some(state) = world.kubernetes.nodes.get_mut(&name) else { return };
        state.alive = false;
        state.beat += 1;
        let silent = world.kubernetes.lags.node_monitor;
        lifecycle::after(world, &name, silent, Act::Silent);
    }

    /// The kubelet is back.
    pub fn return_kubelet(world: &mut World, node: &str) {
        let name: Arc<str> = node.into();
        let Some(state) = world.kubernetes.nodes.get_mut(&name).filter(|state| state.up) else {
            return;
        };
        state.alive = true;
        state.beat += 1;
        lifecycle::report_ready(world, &name);
        kubelet::resume(world, &name);
        news::spread(world);
    }

    /// Somebody else cordons a node, or takes that back.
    pub fn cordon(world: &mut World, node: &str, unschedulable: Cordon) {
        let key = object::key("", node);
        let on = unschedulable == Cordon::On;
        world.kubernetes.store.update(Kind::Node, &key, |node| {
            if (node.spec["unschedulable"] == true) != on
                && let Some(spec) = node.spec.edit().as_object_mut()
            {
                spec.remove("unschedulable");
                if on {
                    spec.insert("unschedulable".into(), true.into());
                }
            }
        });
        if let Some(state) = world.kubernetes.nodes.get_mut(node) {
            state.foreign_cordon = on;
        }
        news::spread(world);
    }

    /// Somebody else labels a node out of external load balancers.
    pub fn exclude(world: &mut World, node: &str) {
        let key = object::key("", node);
        world.kubernetes.store.update(Kind::Node, &key, |node| {
            node.labels_mut().insert(rule::EXCLUDE.to_owned(), "true".to_owned());
        });
        if let Some(state) = world.kubernetes.nodes.get_mut(node) {
            state.foreign_exclusion = true;
        }
        news::spread(world);
    }
}

/// Whether a cordon is put on or taken off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cordon {
    /// Put on.
    On,
    /// Taken off.
    Off,
}

/// What the node of an instance looks like: as its Auto Scaling group's template says, if there is one.
pub(super) fn template_of<'a>(world: &'a World, instance: &str) -> &'a NodeTemplate {
    let group = world.aws.autoscaling.group_of(instance);
    let own = group.and_then(|group| world.kubernetes.templates.get(&group.spec.name));
    own.unwrap_or(&world.kubernetes.template)
}

/// The instance that a node's `providerID` ends in.
pub(crate) fn instance_of(node: &Object) -> &str {
    let id = node.spec["providerID"].as_str().unwrap_or_default();
    id.rsplit('/').next().unwrap_or_default()
}

/// `10.0.3.41` for `ip-10-0-3-41.eu-west-1.compute.internal`.
pub(super) fn address(name: &str) -> String {
    let first = name.split('.').next().unwrap_or_default();
    first.trim_start_matches("ip-").replace('-', ".")
}

fn admit(world: &mut World, spec: NodeSpec, boot: u32) {
    let name: Arc<str> = spec.name.as_str().into();
    world.kubernetes.instances.insert(spec.instance.clone(), name.clone());
    let state = State {
        up: true,
        alive: false,
        foreign_cordon: spec.unschedulable,
        foreign_exclusion: spec.labels.contains_key(rule::EXCLUDE),
        spec,
        boot,
        beat: 0,
        stop: None,
    };
    world.kubernetes.nodes.insert(name, state);
}

/// The kubelet creates its node, as not Ready.
pub(super) fn register(world: &mut World, name: &Arc<str>, startup: &[Taint]) {
    let now = world.now;
    let node_uid = uid(&mut world.rng);
    let Some(state) = world.kubernetes.nodes.get(name) else { return };
    let spec = &state.spec;
    let mut node = Object::new(Kind::Node, "", name);
    node.meta.uid = node_uid;
    node.meta.created = now;
    *node.labels_mut() = labels(spec);
    let taints: Vec<Value> = spec.taints.iter().chain(startup).map(Taint::to_value).collect();
    let mut fields = json!({"providerID": format!("aws:///{}/{}", spec.zone, spec.instance)});
    if !taints.is_empty() {
        fields["taints"] = taints.into();
    }
    if spec.unschedulable {
        fields["unschedulable"] = true.into();
    }
    node.spec = Part::new(fields);
    let room = json!({"cpu": "4", "memory": "16Gi", "pods": spec.max_pods.to_string()});
    node.status = Part::new(json!({"capacity": room, "allocatable": room,
        "addresses": [{"type": "InternalIP", "address": address(name)},
            {"type": "InternalDNS", "address": **name}, {"type": "Hostname", "address": **name}],
        "nodeInfo": {"bootID": boot_id(state), "kubeletVersion": "v1.34.1-eks-113cf36",
            "machineID": spec.instance, "systemUUID": spec.instance, "operatingSystem": "linux",
            "architecture": "amd64", "osImage": "Amazon Linux 2023", "kernelVersion": "6.12",
            "containerRuntimeVersion": "containerd://2.1.4", "kubeProxyVersion": ""}}));
    if spec.unschedulable {
        taint::add(&mut node, json!({"key": taint::UNSCHEDULABLE, "effect": "NoSchedule"}));
    }
    for kind in ["MemoryPressure", "DiskPressure", "PIDPressure"] {
        node.set_condition(now, kind, "False", ("KubeletHasSufficient", ""));
    }
    lifecycle::not_ready(&mut node, now);
    world.kubernetes.store.put(node);
}

fn labels(spec: &NodeSpec) -> BTreeMap<String, String> {
    let region = spec.zone.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    let mut labels = spec.labels.clone();
    for (key, value) in [
        ("kubernetes.io/hostname", spec.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("node.kubernetes.io/instance-type", "m5.xlarge"),
        ("topology.kubernetes.io/zone", spec.zone.as_str()),
        ("topology.kubernetes.io/region", region),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

/// Another one after each boot.
pub(super) fn boot_id(state: &State) -> String {
    format!("{}-boot-{}", state.spec.instance, state.boot)
}
