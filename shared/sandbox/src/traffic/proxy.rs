//! Each node's kube-proxy: its own copy of every followed Service's endpoints, which lags.
//!
//! A change reaches each node 0.3 to 1.5 s later, by chance; a later change that came sooner is not
//! undone by an earlier one. A kube-proxy starts when its kubelet has joined and is lost with its host.
//! Beyond [`LANES_MAX`] nodes some share a lane: they hear of each change in the same moment.

use super::TrafficEvent;
use super::flow::Pool;
use crate::kubernetes::Endpoint;
use crate::kubernetes::object::{self, Key};
use crate::world::{Event, Millis, World};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// From a change of an EndpointSlice to a node's rules: about one second.
const LAG_MS: std::ops::RangeInclusive<Millis> = 300..=1_500;

/// From a node's registration to the first rules of its kube-proxy.
const START_MS: std::ops::RangeInclusive<Millis> = 1_000..=4_000;

/// So many nodes hear each for themselves. Twice as many make a large world's events twice as many; half as many
/// spread a change over fewer moments.
const LANES_MAX: usize = 16;

/// A Service's endpoints on their way to the nodes of one lane.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub(super) lane: Arc<str>,
    pub(super) service: usize,
    view: View,
}

/// The first rules of a node that shares a lane.
#[derive(Clone, Debug)]
pub struct Start {
    pub(super) instance: Arc<str>,
    pub(super) service: usize,
}

/// What one node knows of one Service.
#[derive(Clone, Debug)]
pub(super) struct View {
    change: u64,
    pub(super) endpoints: Arc<[Endpoint]>,
    /// Those that get new connections, whatever their node.
    pub(super) pool: Arc<Pool>,
}

/// A followed Service.
#[derive(Debug)]
struct Service {
    key: Key,
    latest: View,
}

/// Nodes that hear of a change in the same moment.
#[derive(Debug, Default)]
struct Lane {
    /// In the order of the Services; absent until it first hears of one.
    views: Vec<Option<View>>,
    members: BTreeSet<Arc<str>>,
}

/// One node's kube-proxy.
#[derive(Debug)]
struct Proxy {
    lane: Arc<str>,
    /// The Services for which it has no rules yet, although its lane may have.
    waits_for: BTreeSet<usize>,
}

/// What a kube-proxy waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Before {
    /// Nothing: its kubelet has just joined.
    Start,
    /// Its host is up, and its kubelet has yet to join.
    Join,
}

/// All kube-proxies.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    services: Vec<Service>,
    lanes: BTreeMap<Arc<str>, Lane>,
    proxies: BTreeMap<Arc<str>, Proxy>,
    /// Instances that have no kube-proxy yet, and what has to happen before theirs starts.
    fresh: BTreeMap<Arc<str>, Before>,
    changes: u64,
    pools: u64,
}

impl Proxies {
    /// Follows a Service from now on.
    pub(super) fn follow(&mut self, namespace: &str, name: &str) {
        let key = object::key(namespace, name);
        if self.index(&key).is_none() {
            let latest = self.view_of(&[]);
            self.services.push(Service { key, latest });
        }
    }

    /// The number of a followed Service.
    pub(super) fn index(&self, key: &str) -> Option<usize> {
        self.services.iter().position(|service| *service.key == *key)
    }

    /// What the kube-proxy of `instance` knows of a Service; nothing while none runs there.
    pub(super) fn view(&self, instance: &str, service: usize) -> Option<&View> {
        let proxy = self.proxies.get(instance)?;
        if proxy.waits_for.contains(&service) {
            return None;
        }
        self.lanes.get(&proxy.lane)?.views.get(service)?.as_ref()
    }

    /// What the nodes of a lane know of a Service.
    pub(super) fn view_in(&self, lane: &str, service: usize) -> Option<&View> {
        self.lanes.get(lane)?.views.get(service)?.as_ref()
    }

    /// The lane of an instance, once it has rules for a Service of its own.
    pub(super) fn lane(&self, instance: &str, service: usize) -> Option<&Arc<str>> {
        let proxy = self.proxies.get(instance)?;
        (!proxy.waits_for.contains(&service)).then_some(&proxy.lane)
    }

    /// All lanes.
    pub(super) fn lanes(&self) -> Vec<Arc<str>> {
        self.lanes.keys().cloned().collect()
    }

    /// The nodes of a lane.
    pub(super) fn members(&self, lane: &str) -> Vec<Arc<str>> {
        self.lanes.get(lane).into_iter().flat_map(|lane| lane.members.iter().cloned()).collect()
    }

    /// A change arrives, unless a later one was there sooner. False if nothing became of it.
    pub(super) fn arrive(&mut self, arrival: Arrival) -> bool {
        let Arrival { lane, service, view } = arrival;
        let Some(lane) = self.lanes.get_mut(&lane) else { return false };
        let views = &mut lane.views;
        views.resize(views.len().max(service + 1), None);
        let known = &mut views[service];
        if known.as_ref().is_none_or(|known| known.change < view.change) {
            *known = Some(view);
        }
        true
    }

    /// A node that shares a lane has its first rules.
    pub(super) fn started(&mut self, start: &Start) {
        if let Some(proxy) = self.proxies.get_mut(&start.instance) {
            proxy.waits_for.remove(&start.service);
        }
    }

    /// A node registered, or its host came up again: its kube-proxy starts with the next change of anything.
    pub(super) fn comes(&mut self, instance: &str, before: Before) {
        if !self.proxies.contains_key(instance) {
            self.fresh.insert(instance.into(), before);
        }
    }

    /// The kube-proxy of an instance is gone with its host.
    pub(super) fn lose(&mut self, instance: &str) {
        let Some(proxy) = self.proxies.remove(instance) else { return };
        let Some(lane) = self.lanes.get_mut(&proxy.lane) else { return };
        lane.members.remove(instance);
        if lane.members.is_empty() {
            self.lanes.remove(&proxy.lane);
        }
    }

    fn view_of(&mut self, endpoints: &[Endpoint]) -> View {
        let pods = usable(endpoints, |_| true).map(|endpoint| endpoint.pod_uid.as_str().into());
        let pool = self.pool(pods.collect());
        View { change: self.changes, endpoints: endpoints.into(), pool }
    }

    /// A pool of its own for these pods.
    pub(super) fn pool(&mut self, pods: BTreeSet<Arc<str>>) -> Arc<Pool> {
        self.pools += 1;
        Arc::new(Pool { number: self.pools, pods })
    }

    /// Takes the endpoints of a Service as they are now.
    fn refresh(&mut self, world: &World, service: usize) {
        let Some(known) = self.services.get(service) else { return };
        let (namespace, name) = known.key.split_once('/').unwrap_or_default();
        let endpoints = world.kubernetes.endpoints(namespace, name);
        let latest = self.view_of(endpoints);
        self.services[service].latest = latest;
    }

    /// Instances whose kube-proxy starts now.
    fn starters(&mut self, world: &World) -> Vec<(Arc<str>, Before)> {
        let mut fresh: Vec<(Arc<str>, Before)> =
            std::mem::take(&mut self.fresh).into_iter().collect();
        fresh.retain(|(id, _)| {
            world.aws.ec2.is_up(id)
                && !self.proxies.contains_key(id)
                && world.kubernetes.node_of_instance(id).is_some()
        });
        fresh
    }

    /// Gives an instance a lane: of its own, or the one with the fewest members. True if it is its own.
    fn admit(&mut self, instance: &Arc<str>) -> bool {
        let own = self.lanes.len() < LANES_MAX;
        let lane = if own {
            instance.clone()
        } else {
            let fewest = self.lanes.iter().min_by_key(|(_, lane)| lane.members.len());
            fewest.map_or_else(|| instance.clone(), |(name, _)| name.clone())
        };
        let members = &mut self.lanes.entry(lane.clone()).or_default().members;
        members.insert(instance.clone());
        let waits_for = if own { BTreeSet::new() } else { (0..self.services.len()).collect() };
        self.proxies.insert(instance.clone(), Proxy { lane, waits_for });
        own
    }
}

/// Sends each change on its way to every lane, and starts the kube-proxies of new nodes.
pub(super) fn follow_up(world: &mut World, changed: &BTreeSet<usize>) {
    if changed.is_empty() && world.traffic.proxies.fresh.is_empty() {
        return;
    }
    let mut proxies = std::mem::take(&mut world.traffic.proxies);
    proxies.changes += 1;
    for service in changed {
        proxies.refresh(world, *service);
    }
    for lane in proxies.lanes() {
        for service in changed {
            send(world, &proxies, (&lane, *service), 0);
        }
    }
    for (instance, before) in proxies.starters(world) {
        let joins = match before {
            Before::Start => 0,
            Before::Join => world.kubernetes.template.join_ms,
        };
        let starts = joins + world.rng.i64(START_MS);
        let own = proxies.admit(&instance);
        for service in 0..proxies.services.len() {
            if own {
                send(world, &proxies, (&instance, service), starts);
            } else {
                let lag = starts + world.rng.i64(LAG_MS);
                let start = Start { instance: instance.clone(), service };
                world.after(lag, Event::Traffic(TrafficEvent::Start(start)));
            }
        }
    }
    world.traffic.proxies = proxies;
}

fn send(world: &mut World, proxies: &Proxies, (lane, service): (&Arc<str>, usize), starts: Millis) {
    let view = proxies.services[service].latest.clone();
    let arrival = Arrival { lane: lane.clone(), service, view };
    let lag = starts + world.rng.i64(LAG_MS);
    world.after(lag, Event::Traffic(TrafficEvent::Proxy(arrival)));
}

/// Starts all kube-proxies with what there is now: the world did not begin with the route.
pub(super) fn start_full(world: &mut World) {
    let mut proxies = std::mem::take(&mut world.traffic.proxies);
    for service in 0..proxies.services.len() {
        let known = &proxies.services[service];
        let (namespace, name) = known.key.split_once('/').unwrap_or_default();
        if *world.kubernetes.endpoints(namespace, name) != *known.latest.endpoints {
            proxies.refresh(world, service);
        }
    }
    let all = world.aws.ec2.instances.keys();
    proxies.fresh = all.map(|id| (id.as_str().into(), Before::Start)).collect();
    for (instance, _) in proxies.starters(world) {
        proxies.admit(&instance);
    }
    for proxy in proxies.proxies.values_mut() {
        proxy.waits_for.clear();
    }
    let Proxies { lanes, services, .. } = &mut proxies;
    for lane in lanes.values_mut() {
        let known = lane.views.len();
        for service in services.iter().skip(known) {
            lane.views.push(Some(service.latest.clone()));
        }
    }
    world.traffic.proxies = proxies;
}

/// The endpoints that get new connections, of those that `here` admits: the ready ones, or else those
/// that serve on while they terminate.
pub(super) fn usable<'a>(
    endpoints: &'a [Endpoint],
    here: impl Fn(&Endpoint) -> bool + Copy + 'a,
) -> impl Iterator<Item = &'a Endpoint> {
    let any_ready = endpoints.iter().any(|endpoint| endpoint.ready && here(endpoint));
    endpoints.iter().filter(move |endpoint| {
        let gets =
            if any_ready { endpoint.ready } else { endpoint.serving && endpoint.terminating };
        gets && here(endpoint)
    })
}
