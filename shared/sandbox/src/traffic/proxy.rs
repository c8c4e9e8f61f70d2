//! Each node's kube-proxy: its own copy of every followed Service's endpoints, which lags.
//!
//! A change reaches each node 0.3 to 1.5 s later, by chance; a later change that came sooner is not
//! undone by an earlier one. A kube-proxy starts when its kubelet has joined and is lost with its host.

use super::TrafficEvent;
use crate::kubernetes::Endpoint;
use crate::world::{Event, Millis, World};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// From a change of an EndpointSlice to a node's rules: about one second.
const LAG_MS: std::ops::RangeInclusive<Millis> = 300..=1_500;

/// From a node's registration to the first rules of its kube-proxy.
const START_MS: std::ops::RangeInclusive<Millis> = 1_000..=4_000;

/// A Service's endpoints on their way to one node.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The node's instance.
    pub(super) instance: Arc<str>,
    service: usize,
    change: u64,
    endpoints: Arc<[Endpoint]>,
}

/// A followed Service.
#[derive(Debug)]
struct Service {
    namespace: String,
    name: String,
    latest: Arc<[Endpoint]>,
}

/// What one node knows of one Service.
#[derive(Clone, Debug)]
struct View {
    change: u64,
    endpoints: Arc<[Endpoint]>,
}

/// All kube-proxies.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    services: Vec<Service>,
    /// By instance and then in the order of `services`; absent until the node first hears of one.
    views: BTreeMap<Arc<str>, Vec<Option<View>>>,
    changes: u64,
}

impl Proxies {
    /// Follows a Service from now on.
    pub(super) fn follow(&mut self, namespace: &str, name: &str) {
        if self.index(namespace, name).is_none() {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            self.services.push(Service { namespace, name, latest: Arc::from([]) });
        }
    }

    /// What the kube-proxy of `instance` knows of a Service; nothing while none runs there.
    pub(super) fn view(&self, instance: &str, namespace: &str, name: &str) -> Option<&[Endpoint]> {
        let service = self.index(namespace, name)?;
        self.views.get(instance)?.get(service)?.as_ref().map(|view| &*view.endpoints)
    }

    /// A change arrives, unless a later one was there sooner.
    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let Arrival { instance, service, change, endpoints } = arrival;
        let Some(views) = self.views.get_mut(&instance) else { return };
        views.resize(views.len().max(service + 1), None);
        let view = &mut views[service];
        if view.as_ref().is_none_or(|view| view.change < change) {
            *view = Some(View { change, endpoints });
        }
    }

    fn index(&self, namespace: &str, name: &str) -> Option<usize> {
        let same = |service: &Service| service.namespace == namespace && service.name == name;
        self.services.iter().position(same)
    }

    /// Takes the endpoints as they are now, and says which Services changed.
    fn refresh(&mut self, world: &World) -> BTreeSet<usize> {
        let mut changed = BTreeSet::new();
        for (index, service) in self.services.iter_mut().enumerate() {
            let current = world.kubernetes.endpoints(&service.namespace, &service.name);
            if *current != *service.latest {
                service.latest = Arc::from(current);
                changed.insert(index);
            }
        }
        changed
    }

    /// Instances whose kube-proxy starts now; those whose host is down lose theirs.
    fn starters(&mut self, world: &World) -> Vec<Arc<str>> {
        self.views.retain(|instance, _| world.aws.ec2.is_up(instance));
        let up = world.aws.ec2.instances.values().filter(|instance| instance.up);
        let new =
            up.map(|instance| &instance.id).filter(|id| !self.views.contains_key(id.as_str()));
        let node = |id: &&String| world.kubernetes.node_of_instance(id).is_some();
        new.filter(node).map(|id| Arc::from(id.as_str())).collect()
    }
}

/// Sends every change on its way to every node, and starts the kube-proxies of new nodes.
pub(super) fn follow_up(world: &mut World) {
    let mut proxies = std::mem::take(&mut world.traffic.proxies);
    let changed = proxies.refresh(world);
    let started = proxies.starters(world);
    let all: BTreeSet<usize> = (0..proxies.services.len()).collect();
    proxies.changes += 1;
    for instance in proxies.views.keys() {
        send(world, &proxies, instance, &changed);
    }
    for instance in started {
        send(world, &proxies, &instance, &all);
        proxies.views.insert(instance, Vec::new());
    }
    world.traffic.proxies = proxies;
}

fn send(world: &mut World, proxies: &Proxies, instance: &Arc<str>, services: &BTreeSet<usize>) {
    let starts = if proxies.views.contains_key(instance) {
        0
    } else {
        world.kubernetes.template.join_ms + world.rng.i64(START_MS)
    };
    for service in services {
        let arrival = Arrival {
            instance: instance.clone(),
            service: *service,
            change: proxies.changes,
            endpoints: proxies.services[*service].latest.clone(),
        };
        let lag = starts + world.rng.i64(LAG_MS);
        world.after(lag, Event::Traffic(TrafficEvent::Proxy(arrival)));
    }
}

/// Starts all kube-proxies with what there is now: the world did not begin with the route.
pub(super) fn start_full(world: &mut World) {
    let mut proxies = std::mem::take(&mut world.traffic.proxies);
    proxies.refresh(world);
    for instance in proxies.starters(world) {
        proxies.views.insert(instance, Vec::new());
    }
    let change = proxies.changes;
    for views in proxies.views.values_mut() {
        let known = views.len();
        for service in proxies.services.iter().skip(known) {
            views.push(Some(View { change, endpoints: service.latest.clone() }));
        }
    }
    world.traffic.proxies = proxies;
}

/// The endpoints that get new connections, of those that `local` admits: the ready ones, or else those
/// that serve on while they terminate.
pub(super) fn usable<'a>(
    view: Option<&'a [Endpoint]>,
    local: impl Fn(&&'a Endpoint) -> bool,
) -> Vec<&'a Endpoint> {
    let candidates = || view.unwrap_or_default().iter().filter(&local);
    let ready: Vec<&Endpoint> = candidates().filter(|endpoint| endpoint.ready).collect();
    if !ready.is_empty() {
        return ready;
    }
    candidates().filter(|endpoint| endpoint.serving && endpoint.terminating).collect()
}
