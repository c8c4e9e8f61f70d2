//! Requests from outside: each is served or dropped, with the cause.
//!
//! ```text
//!   load balancer ──> node ──> its kube-proxy ──> pod
//!   (A target group's   (up?)   (a lagging copy of     (listening? its node up?)
//!    lagging view)               the ready endpoints)
//! ```
//! Between two world events all of this is constant, so a route is a handful of flows with a rate each,
//! and counting is arithmetic (in `meter.rs`). Flows are worked out anew only after something changed:
//! whoever changes what a path depends on (endpoints, what listens, hosts) calls [`Traffic::touch`].
//! Changes of a load balancer's routes are noticed by [`Elb::version`].

mod flow;
mod meter;
mod proxy;
#[cfg(test)]
mod tests;

pub use flow::Cause;
pub use meter::{Loss, Report};

use crate::aws::elbv2::Elb;
use crate::kubernetes::Endpoint;
use crate::world::{Millis, World};
use flow::{Flow, Hop, Target};
use meter::Meter;
use proxy::Proxies;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a request reaches a pod from a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Entry {
    /// Through a Service's node port with `externalTrafficPolicy: Cluster`: any ready pod.
    Cluster,
    /// Through a Service's node port with `externalTrafficPolicy: Local`: a ready pod on this node.
    Local,
    /// Straight to a host port: a pod on this node, without a kube-proxy.
    HostPort,
}

/// A steady stream of requests through one target group.
#[derive(Clone, Debug)]
pub struct Route {
    /// The target group's name or ARN.
    pub group: String,
    /// New requests per second.
    pub rate_per_second: f64,
    /// The namespace of the Service.
    pub namespace: String,
    /// The Service (for host ports, one that selects the pods).
    pub service: String,
    /// How a request goes on from the node.
    pub entry: Entry,
    /// The node port or host port: what health checks ask for.
    pub port: u16,
    /// How long each request takes.
    pub request_ms: Millis,
}

/// A kube-proxy catches up with one change of one Service.
#[derive(Clone, Debug)]
pub enum TrafficEvent {
    /// A change reaches one node.
    Proxy(proxy::Arrival),
}

/// All routes, and what became of their requests.
#[derive(Debug, Default)]
pub struct Traffic {
    routes: Vec<(Route, Meter)>,
    proxies: Proxies,
    /// Node names and the instances they stood for, kept when the Node object is gone.
    instances: BTreeMap<String, Arc<str>>,
    /// When a new request last went through an instance.
    last_through: BTreeMap<Arc<str>, Millis>,
    touched: bool,
    seen: u64,
    counted_to: Millis,
}

impl Traffic {
    /// Starts a stream of requests now. The group's targets are health-checked through it from now on.
    pub fn open(world: &mut World, route: Route) {
        let now = world.now;
        Self::look(world);
        let arn = if route.group.starts_with("arn:") {
            route.group.clone()
        } else {
            Elb::arn(world, &route.group)
        };
        world.aws.elb.probe = Self::target_answers;
        let route = Route { group: arn, ..route };
        let meter = Meter::new(route.rate_per_second, route.request_ms, now);
        world.traffic.proxies.follow(&route.namespace, &route.service);
        world.traffic.routes.push((route, meter));
        world.traffic.counted_to = now;
        world.traffic.touched = true;
        proxy::start_full(world);
        Self::look(world);
    }

    /// Says that something changed that a request's path depends on. Cheap: the paths are worked out
    /// anew before time goes on.
    pub fn touch(&mut self) {
        self.touched = true;
    }

    /// What became of all requests so far, route by route.
    pub fn reports(&self) -> Vec<Report> {
        self.routes
            .iter()
            .map(|(route, meter)| meter.report(&route.group, &route.service))
            .collect()
    }

    /// Dropped requests so far, over all routes.
    pub fn dropped(&self) -> u64 {
        self.reports().iter().map(Report::dropped).sum()
    }

    /// When a load balancer last sent a new request to this instance; the present while it does.
    pub fn last_request_through(&self, instance: &str) -> Option<Millis> {
        let current = self.routes.iter().any(|(_, meter)| meter.goes_through(instance));
        current.then_some(self.counted_to).or_else(|| self.last_through.get(instance).copied())
    }

    /// Requests in flight now through this instance or on a pod of its: how many would be cut.
    pub fn in_flight(&self, instance: &str) -> f64 {
        let at = self.counted_to;
        self.routes.iter().map(|(_, meter)| meter.in_flight(at, instance)).sum()
    }

    /// Whether a health check of this target passes: its node is up, and what the request would be
    /// forwarded to listens. A port that no route uses answers while the host is up.
    pub fn target_answers(world: &World, instance: &str, port: u16) -> bool {
        if !instance.starts_with("i-") {
            // The address of a pod: no route leads to one.
            return true;
        }
        if !world.aws.ec2.is_up(instance) {
            return false;
        }
        let mut routes = world.traffic.routes.iter().map(|(route, _)| route);
        let Some(route) = routes.find(|route| route.port == port) else {
            return true;
        };
        let chosen = world.traffic.chosen(world, route, instance);
        chosen.iter().any(|endpoint| world.kubernetes.pod_serving(&endpoint.pod_uid))
    }

    pub(crate) fn happen(world: &mut World, event: TrafficEvent) {
        let TrafficEvent::Proxy(arrival) = event;
        if world.aws.ec2.is_up(&arrival.instance) {
            world.traffic.proxies.arrive(arrival);
            world.traffic.touched = true;
        }
    }

    /// Counts what the current flows did until `to`.
    pub(crate) fn account(world: &mut World, to: Millis) {
        for (_, meter) in &mut world.traffic.routes {
            meter.account(to);
        }
        world.traffic.counted_to = to;
    }

    /// Works the flows out anew if anything changed since, and cuts what was in flight on what died.
    pub(crate) fn look(world: &mut World) {
        let seen = world.aws.elb.version;
        if world.traffic.routes.is_empty() || (!world.traffic.touched && world.traffic.seen == seen)
        {
            return;
        }
        world.traffic.touched = false;
        world.traffic.seen = seen;
        Self::learn_nodes(world);
        proxy::follow_up(world);
        let mut routes = std::mem::take(&mut world.traffic.routes);
        let now = world.now;
        for (route, meter) in &mut routes {
            let flows = world.traffic.flows(world, route);
            for instance in meter.instances_left_by(&flows) {
                world.traffic.last_through.insert(instance, now);
            }
            meter.change(now, flows, |flow| world.traffic.lives(world, flow));
        }
        world.traffic.routes = routes;
    }

    /// Remembers which instance each node is, for the time when the Node object is gone.
    fn learn_nodes(world: &mut World) {
        let known = &mut world.traffic.instances;
        if known.len() == world.aws.ec2.instances.len() {
            return;
        }
        for (id, instance) in &world.aws.ec2.instances {
            if !known.contains_key(&instance.private_dns) {
                known.insert(instance.private_dns.clone(), Arc::from(id.as_str()));
            }
        }
    }

    fn flows(&self, world: &World, route: &Route) -> Vec<Flow> {
        let targets: Vec<Target> = world
            .aws
            .elb
            .routes(&route.group, world.now)
            .iter()
            .map(|(instance, _)| self.target(world, route, instance))
            .collect();
        flow::flows(&targets, route.entry)
    }

    /// One target as a request finds it now.
    fn target(&self, world: &World, route: &Route, instance: &str) -> Target {
        let up = world.aws.ec2.is_up(instance);
        let forwards = up
            && (route.entry == Entry::HostPort
                || self.proxies.view(instance, &route.namespace, &route.service).is_some());
        let chosen = if up { self.chosen(world, route, instance) } else { Vec::new() };
        let hops = chosen.iter().map(|endpoint| self.hop(world, endpoint)).collect();
        Target { instance: Arc::from(instance), up, forwards, hops }
    }

    /// What a node that is up forwards to: by its kube-proxy's view, or what listens on its host port.
    fn chosen<'a>(&'a self, world: &'a World, route: &Route, instance: &str) -> Vec<&'a Endpoint> {
        let here = |endpoint: &&Endpoint| {
            self.instances.get(&endpoint.node).is_some_and(|id| &**id == instance)
        };
        if route.entry == Entry::HostPort {
            let endpoints = world.kubernetes.endpoints(&route.namespace, &route.service);
            let listens = |endpoint: &&Endpoint| world.kubernetes.pod_serving(&endpoint.pod_uid);
            return endpoints.iter().filter(here).filter(listens).collect();
        }
        let view = self.proxies.view(instance, &route.namespace, &route.service);
        if route.entry == Entry::Local {
            return proxy::usable(view, here);
        }
        proxy::usable(view, |_| true)
    }

    fn hop(&self, world: &World, endpoint: &Endpoint) -> Hop {
        let host = self.instances.get(&endpoint.node);
        Hop {
            pod: Arc::from(endpoint.pod_uid.as_str()),
            alive: world.kubernetes.pod_serving(&endpoint.pod_uid),
            host: host.cloned(),
            host_up: host.is_some_and(|id| world.aws.ec2.is_up(id)),
        }
    }

    /// Whether a request in flight on this flow goes on. Its pod may have stopped listening: it ends what
    /// it has begun for as long as its containers run.
    fn lives(&self, world: &World, flow: &Flow) -> bool {
        world.aws.ec2.is_up(&flow.instance)
            && flow.pod.as_ref().is_none_or(|pod| world.kubernetes.pod_running(pod))
    }
}
