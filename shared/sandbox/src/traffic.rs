//! Requests from outside: each is served or dropped, with the cause.
//!
//! ```text
//!   load balancer ──> node ──> its kube-proxy ──> pod
//!   (A target group's   (up?)   (a lagging copy of     (listening? its node up?)
//!    lagging view)               the ready endpoints)
//! ```
//! Between two world events all of this is constant, so counting is arithmetic (in `meter.rs`). Whoever changes what a
//! path depends on says so: `Traffic::touch_pod`, `touch_service`, `touch_instance`; a load
//! balancer's changes are in `Elb::take_news`. Only what was touched is looked at again.

mod flow;
mod log;
mod meter;
mod proxy;
mod span;
#[cfg(test)]
mod tests;

pub use flow::Cause;
pub use meter::{Loss, Report};

use crate::aws::elbv2::{Elb, News};
use crate::kubernetes::Endpoint;
use crate::kubernetes::object::{self, Key};
use crate::world::{Millis, World};
use flow::{Hop, Onward, Place};
use meter::{Meter, Target};
use proxy::{Before, Proxies, View};
use std::collections::{BTreeMap, BTreeSet};
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

impl Entry {
    /// Why a request is dropped on a node that knows no pod for it.
    fn nobody(self) -> Cause {
        match self {
            Self::Cluster => Cause::NoReadyPod,
            Self::Local => Cause::NoLocalPod,
            Self::HostPort => Cause::NoHostPod,
        }
    }
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

/// A kube-proxy catches up.
#[derive(Clone, Debug)]
pub enum TrafficEvent {
    /// A change of one Service reaches some nodes.
    Proxy(proxy::Arrival),
    /// A new node has its first rules.
    Start(proxy::Start),
}

/// A route with its count.
#[derive(Debug)]
struct Road {
    route: Route,
    /// Its Service's number among the followed ones.
    service: usize,
    meter: Meter,
    /// Whether the load balancer knows of no healthy target, and sends to all.
    open: bool,
}

/// What changed since the last look.
#[derive(Debug, Default)]
struct Touched {
    pods: BTreeSet<Arc<str>>,
    services: BTreeSet<Key>,
    instances: BTreeSet<Arc<str>>,
    /// Lanes with a new view of a Service.
    lanes: BTreeSet<(Arc<str>, usize)>,
    /// Routes that are new, by their number.
    roads: BTreeSet<usize>,
}

impl Touched {
    fn is_empty(&self) -> bool {
        self.pods.is_empty()
            && self.services.is_empty()
            && self.instances.is_empty()
            && self.lanes.is_empty()
            && self.roads.is_empty()
    }
}

/// All routes, and what became of their requests.
#[derive(Debug, Default)]
pub struct Traffic {
    roads: Vec<Road>,
    proxies: Proxies,
    /// Node names and the instances they stood for, kept when the Node object is gone.
    instances: BTreeMap<String, Arc<str>>,
    /// When a new request last went through an instance.
    last_through: BTreeMap<Arc<str>, Millis>,
    touched: Touched,
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
        for (id, instance) in &world.aws.ec2.instances {
            let id = id.as_str().into();
            world.traffic.instances.insert(instance.private_dns.clone(), id);
        }
        let traffic = &mut world.traffic;
        traffic.proxies.follow(&route.namespace, &route.service);
        let key = object::key(&route.namespace, &route.service);
        let service = traffic.proxies.index(&key).unwrap_or_default();
        traffic.touched.roads.insert(traffic.roads.len());
        traffic.roads.push(Road { route, service, meter, open: false });
        traffic.counted_to = now;
        proxy::start_full(world);
        Self::look(world);
    }

    /// A pod began or ceased to listen or to run.
    pub(crate) fn touch_pod(&mut self, uid: &Arc<str>) {
        if !self.roads.is_empty() {
            self.touched.pods.insert(uid.clone());
        }
    }

    /// The endpoints of a Service changed.
    pub(crate) fn touch_service(&mut self, key: &Key) {
        if !self.roads.is_empty() {
            self.touched.services.insert(key.clone());
        }
    }

    /// An instance came, its host started, or it died.
    pub(crate) fn touch_instance(&mut self, id: &str) {
        if !self.roads.is_empty() {
            self.touched.instances.insert(id.into());
        }
    }

    /// A node registered.
    pub(crate) fn node_registered(&mut self, instance: &str) {
        if !self.roads.is_empty() {
            self.proxies.comes(instance, Before::Start);
        }
    }

    /// What became of all requests so far, route by route.
    pub fn reports(&self) -> Vec<Report> {
        let report = |road: &Road| {
            road.meter.report(self.counted_to, &road.route.group, &road.route.service)
        };
        self.roads.iter().map(report).collect()
    }

    /// Dropped requests so far, over all routes.
    pub fn dropped(&self) -> u64 {
        self.reports().iter().map(Report::dropped).sum()
    }

    /// When a load balancer last sent a new request to this instance; the present while it does.
    pub fn last_request_through(&self, instance: &str) -> Option<Millis> {
        let current = self.roads.iter().any(|road| road.meter.goes_through(instance));
        current.then_some(self.counted_to).or_else(|| self.last_through.get(instance).copied())
    }

    /// Requests in flight now through this instance or on a pod of its: how many would be cut.
    pub fn in_flight(&self, instance: &str) -> f64 {
        let at = self.counted_to;
        self.roads.iter().map(|road| road.meter.in_flight(at, instance)).sum()
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
        let Some(road) = world.traffic.roads.iter().find(|road| road.route.port == port) else {
            return true;
        };
        let serves = |uid: &str| world.kubernetes.pod_serving(uid);
        match (road.route.entry, world.traffic.proxies.view(instance, road.service)) {
            (Entry::Cluster, view) => {
                view.is_some_and(|view| view.pool.pods.iter().any(|pod| serves(pod)))
            }
            (entry, view) => {
                let pods = world.traffic.pods_here(world, (&road.route, entry), (instance, view));
                pods.iter().any(|pod| serves(pod))
            }
        }
    }

    pub(crate) fn happen(world: &mut World, event: TrafficEvent) {
        let traffic = &mut world.traffic;
        match event {
            TrafficEvent::Proxy(arrival) => {
                let lane = (arrival.lane.clone(), arrival.service);
                if traffic.proxies.arrive(arrival) {
                    traffic.touched.lanes.insert(lane);
                }
            }
            TrafficEvent::Start(start) => {
                traffic.proxies.started(&start);
                traffic.touched.instances.insert(start.instance);
            }
        }
    }

    /// Nothing changes until `to`: what that means is worked out when something does.
    pub(crate) fn account(world: &mut World, to: Millis) {
        world.traffic.counted_to = to;
    }

    /// Looks again at what was touched, and cuts what was in flight on what died.
    pub(crate) fn look(world: &mut World) {
        if world.traffic.touched.is_empty() && !world.aws.elb.has_news() {
            return;
        }
        let touched = std::mem::take(&mut world.traffic.touched);
        let targets = world.aws.elb.take_news();
        if world.traffic.roads.is_empty() {
            return;
        }
        for id in &touched.instances {
            if let Some(instance) = world.aws.ec2.instances.get(&**id) {
                let name = instance.private_dns.clone();
                world.traffic.instances.insert(name, id.clone());
            }
            if world.aws.ec2.is_up(id) {
                world.traffic.proxies.comes(id, Before::Join);
            } else {
                world.traffic.proxies.lose(id);
            }
        }
        let followed = |key: &Key| world.traffic.proxies.index(key);
        let changed = touched.services.iter().filter_map(followed).collect();
        proxy::follow_up(world, &changed);
        let mut roads = std::mem::take(&mut world.traffic.roads);
        if !roads.iter().any(|road| road.minds(&touched, &targets)) {
            world.traffic.roads = roads;
            return;
        }
        for (number, road) in roads.iter_mut().enumerate() {
            road.look(world, &touched, (number, &targets));
        }
        world.traffic.roads = roads;
    }

    /// The pods that requests on this node go to, for entries that stay on the node.
    fn pods_here(
        &self,
        world: &World,
        (route, entry): (&Route, Entry),
        (instance, view): (&str, Option<&View>),
    ) -> BTreeSet<Arc<str>> {
        let here = |endpoint: &Endpoint| {
            self.instances.get(&endpoint.node).is_some_and(|id| **id == *instance)
        };
        let uid = |endpoint: &Endpoint| endpoint.pod_uid.as_str().into();
        if entry == Entry::HostPort {
            let endpoints = world.kubernetes.endpoints(&route.namespace, &route.service).iter();
            let listens = |endpoint: &&Endpoint| world.kubernetes.pod_serving(&endpoint.pod_uid);
            return endpoints.filter(|it| here(it)).filter(listens).map(uid).collect();
        }
        let endpoints = view.map_or(&[][..], |view| &*view.endpoints);
        proxy::usable(endpoints, &here).map(uid).collect()
    }
}

impl Road {
    /// Whether any of this may have to do with it: most pods of a cluster are behind no route.
    fn minds(&self, touched: &Touched, targets: &News) -> bool {
        let pods = match self.route.entry {
            Entry::HostPort => !touched.pods.is_empty() || !touched.services.is_empty(),
            Entry::Cluster | Entry::Local => touched.pods.iter().any(|uid| self.meter.knows(uid)),
        };
        pods || !targets.is_empty()
            || !touched.instances.is_empty()
            || !touched.lanes.is_empty()
            || !touched.roads.is_empty()
    }

    /// Brings the count up to date with what was touched, if that has to do with this route.
    fn look(&mut self, world: &mut World, touched: &Touched, (number, targets): (usize, &News)) {
        let now = world.now;
        let new = touched.roads.contains(&number);
        let arn = &self.route.group;
        let first = (arn.clone(), (String::new(), 0));
        let ours = targets.range(first..).take_while(|(group, _)| group == arn);
        let mut keys: BTreeSet<(String, u16)> = ours.map(|(_, key)| key.clone()).collect();
        if new {
            keys.extend(world.aws.elb.routes(arn, now));
        }
        let (mut lanes, instances) = self.concerned(world, touched);
        if new && self.route.entry == Entry::Cluster {
            lanes.extend(world.traffic.proxies.lanes());
        }
        let pods: Vec<_> = touched.pods.iter().filter(|uid| self.meter.knows(uid)).collect();
        if keys.is_empty() && lanes.is_empty() && instances.is_empty() && pods.is_empty() {
            return;
        }
        self.meter.begin(now);
        for lane in &lanes {
            self.put_lane(world, lane);
        }
        let routed = !keys.is_empty();
        for instance in &instances {
            keys.extend(self.meter.keys_of(instance));
        }
        for key in &keys {
            self.put_target(world, key);
        }
        if self.open || (routed && self.meter.is_empty()) {
            self.fail_open(world);
        }
        for uid in pods {
            let hop = self.hop(world, uid);
            self.meter.put_pod(uid, &hop);
        }
        for instance in instances.intersection(&touched.instances) {
            for uid in self.meter.pods_on(instance) {
                let hop = self.hop(world, &uid);
                self.meter.put_pod(&uid, &hop);
            }
            if !world.aws.ec2.is_up(instance) {
                self.meter.cut_instance(instance);
            }
        }
    }

    /// The lanes and the instances whose way may be another one now.
    fn concerned(
        &self,
        world: &World,
        touched: &Touched,
    ) -> (BTreeSet<Arc<str>>, BTreeSet<Arc<str>>) {
        let mut lanes = BTreeSet::new();
        let known = touched.instances.iter().filter(|id| self.meter.knows_instance(id));
        let mut instances: BTreeSet<Arc<str>> = known.cloned().collect();
        for (lane, _) in touched.lanes.iter().filter(|(_, service)| *service == self.service) {
            match self.route.entry {
                Entry::Cluster => drop(lanes.insert(lane.clone())),
                Entry::Local => instances.extend(world.traffic.proxies.members(lane)),
                Entry::HostPort => {}
            }
        }
        // What listens on a host port is asked at once: there is no kube-proxy between.
        let asked = self.route.entry == Entry::HostPort
            && !(touched.pods.is_empty() && touched.services.is_empty());
        if asked {
            instances.extend(self.meter.targets.keys().map(|(instance, _)| instance.clone()));
        }
        (lanes, instances)
    }

    /// Where the nodes of a lane forward to now.
    fn put_lane(&mut self, world: &World, lane: &Arc<str>) {
        let view = world.traffic.proxies.view_in(lane, self.service);
        let onward = match view {
            None => Onward::Dropped(Cause::NotForwarding),
            Some(view) if view.pool.pods.is_empty() => Onward::Dropped(self.route.entry.nobody()),
            Some(view) => Onward::Pool(view.pool.clone()),
        };
        let endpoints = view.map_or(&[][..], |view| &*view.endpoints);
        self.meter.put_lane(lane, &onward, |uid| first_hop(world, uid, endpoints));
    }

    /// Whether a target gets requests now, and where it leads.
    fn put_target(&mut self, world: &mut World, (id, port): &(String, u16)) {
        let target: Target = (id.as_str().into(), *port);
        let routed = world.aws.elb.is_routed(&self.route.group, (id, *port), world.now);
        let place = if routed { self.place(world, &target.0) } else { Place::Absent };
        let leaves = place == Place::Absent;
        if self.meter.put_target(&target, place) && leaves {
            let now = world.now;
            world.traffic.last_through.insert(target.0, now);
        }
    }

    /// Where a target leads now.
    fn place(&mut self, world: &mut World, instance: &Arc<str>) -> Place {
        if !world.aws.ec2.is_up(instance) {
            return Place::Dropped(Cause::TargetGone);
        }
        let entry = self.route.entry;
        let lane = world.traffic.proxies.lane(instance, self.service).cloned();
        if entry == Entry::Cluster {
            let Some(lane) = lane else { return Place::Dropped(Cause::NotForwarding) };
            self.put_lane(world, &lane);
            return Place::Lane(lane);
        }
        let view = world.traffic.proxies.view(instance, self.service);
        if entry == Entry::Local && view.is_none() {
            return Place::Dropped(Cause::NotForwarding);
        }
        let pods = world.traffic.pods_here(world, (&self.route, entry), (instance, view));
        if pods.is_empty() {
            return Place::Dropped(entry.nobody());
        }
        // Each node leads to its own pods, so each is a lane of its own.
        if self.meter.pool_of(instance).is_none_or(|pool| pool.pods != pods) {
            let pool = Onward::Pool(world.traffic.proxies.pool(pods));
            let view = world.traffic.proxies.view(instance, self.service);
            let endpoints = view.map_or(&[][..], |view| &*view.endpoints);
            self.meter.put_lane(instance, &pool, |uid| first_hop(world, uid, endpoints));
        }
        Place::Lane(instance.clone())
    }

    /// A load balancer that knows of no healthy target sends to all that are registered.
    fn fail_open(&mut self, world: &mut World) {
        let (arn, now) = (self.route.group.clone(), world.now);
        let routes: BTreeSet<(String, u16)> = world.aws.elb.routes(&arn, now).into_iter().collect();
        let mut keys = self.meter.present_keys();
        keys.extend(routes.iter().cloned());
        self.open = false;
        for (id, port) in keys {
            let target: Target = (id.as_str().into(), port);
            if !routes.contains(&(id.clone(), port)) {
                self.meter.put_target(&target, Place::Absent);
                continue;
            }
            self.open |= !world.aws.elb.is_routed(&arn, (&id, port), now);
            let place = self.place(world, &target.0);
            self.meter.put_target(&target, place);
        }
    }

    /// A pod that the count knows, as a request finds it now.
    fn hop(&self, world: &World, uid: &str) -> Hop {
        let now = hop(world, uid);
        let known = || self.meter.host_of(uid).cloned();
        if now.host.is_some() { now } else { on_host(world, &now, known()) }
    }
}

/// A pod as a request finds it now; nothing tells where it was once nothing of it is left.
fn hop(world: &World, uid: &str) -> Hop {
    let cluster = &world.kubernetes;
    let (serves, runs) = (cluster.pod_serving(uid), cluster.pod_running(uid));
    let node = cluster.node_of_pod(uid);
    let host = node.and_then(|node| world.traffic.instances.get(node)).cloned();
    on_host(world, &Hop { serves, runs, ..Hop::default() }, host)
}

/// The same, of which an old view of these endpoints tells.
fn first_hop(world: &World, uid: &str, endpoints: &[Endpoint]) -> Hop {
    let now = hop(world, uid);
    if now.host.is_some() {
        return now;
    }
    let endpoint = endpoints.iter().find(|endpoint| endpoint.pod_uid == uid);
    let host = endpoint.and_then(|endpoint| world.traffic.instances.get(&endpoint.node)).cloned();
    on_host(world, &now, host)
}

fn on_host(world: &World, hop: &Hop, host: Option<Arc<str>>) -> Hop {
    let host_up = host.as_ref().is_some_and(|id| world.aws.ec2.is_up(id));
    Hop { serves: hop.serves, runs: hop.runs, host, host_up }
}
