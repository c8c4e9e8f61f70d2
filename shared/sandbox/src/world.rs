//! The world: all state behind one lock, and one ordered queue of what happens next.
//!
//! Nothing happens between two events, so traffic over that interval is arithmetic. Whoever looks
//! at the world (a call, the driver, a test) first brings it up to the present.

use crate::aws::autoscaling::Autoscaling;
use crate::aws::ec2::Ec2;
use crate::aws::elbv2::{self, Elb};
use crate::aws::{Aws, AwsEvent};
use crate::fault::Faults;
use crate::kubernetes::{Kubernetes, KubernetesEvent};
use crate::lambda::Process;
use crate::measure::Measures;
use crate::scenario::{Registrar, ScenarioEvent};
use crate::traffic::{Traffic, TrafficEvent};
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// Milliseconds since the Unix epoch, in the world's own time.
pub type Millis = i64;

/// How long copies of the account are kept for stale reads.
const COPIES_MS: Millis = 1_000;

/// Something that will happen by itself.
#[derive(Clone, Debug)]
pub enum Event {
    /// To AWS: a state that ends, a timeout, a delivery.
    Aws(AwsEvent),
    /// To Kubernetes: a kubelet's or a controller's next act.
    Kubernetes(KubernetesEvent),
    /// To the paths of requests: a load balancer or a kube-proxy catches up.
    Traffic(TrafficEvent),
    /// What the scenario planned.
    Scenario(ScenarioEvent),
}

/// One call that reached the world, for budgets, silence and the audit of rights.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it arrived.
    pub at: Millis,
    /// Which process made it.
    pub process: u32,
    /// `ec2:DescribeInstances`, or `PATCH nodes`, `POST pods/eviction`, …
    pub operation: String,
    /// What it was about: a path, or the main parameter.
    pub subject: String,
    /// The HTTP status it was answered with; 0 for none (timed out, reset, killed).
    pub status: u16,
    /// Whether it changes anything.
    pub write: bool,
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    /// The present.
    pub now: Millis,
    /// The one source of chance.
    pub rng: fastrand::Rng,
    /// The cluster.
    pub kubernetes: Kubernetes,
    /// Other clusters by name; each has its own store.
    pub clusters: BTreeMap<String, Kubernetes>,
    /// The account.
    pub aws: Aws,
    /// Requests from outside.
    pub traffic: Traffic,
    /// What goes wrong on the way.
    pub faults: Faults,
    /// How long the way takes.
    pub latency: Latency,
    /// What became of instances that were warned of.
    pub measures: Measures,
    /// All calls in order.
    pub calls: Vec<Call>,
    /// Who registers instances in target groups of their own accord.
    pub registrars: Vec<Registrar>,
    /// What happened, in words, for the demo's timeline.
    pub story: Vec<(Millis, String)>,
    /// The processes that Lambda made, by number.
    pub processes: BTreeMap<u32, Process>,
    /// How many invocations there were.
    pub invocations: u64,
    /// Rules of the world that somebody broke, found while it happened.
    pub violations: Vec<String>,
    copies: VecDeque<(Millis, Account)>,
    /// The cluster that has taken the place of the first one for a moment.
    away: Option<Arc<str>>,
    queue: BTreeMap<(Millis, u64), Planned>,
    sequence: u64,
}

/// An event, and the cluster that it is for unless it is the first one.
type Planned = (Event, Option<Arc<str>>);

/// How long calls and processes take, in milliseconds.
#[derive(Clone, Debug)]
pub struct Latency {
    /// One way to AWS, and the same back. A healthy round trip within a Region takes 2 to 40 ms.
    pub aws: RangeInclusive<Millis>,
    /// One way to an API server, and the same back.
    pub kubernetes: RangeInclusive<Millis>,
    /// From a batch to its handler in an environment that is there.
    pub dispatch: RangeInclusive<Millis>,
    /// What a new environment takes on top: 11 to 22 ms are measured for a small Rust function, the rest are its
    /// first connections.
    pub cold_start: RangeInclusive<Millis>,
}

impl Default for Latency {
    fn default() -> Self {
        Self { aws: 1..=20, kubernetes: 1..=20, dispatch: 2..=30, cold_start: 15..=120 }
    }
}

impl Latency {
    /// What a user measures in one Region: AWS calls of 20 to 60 ms, API server calls of 3 to 15 ms, cold starts of
    /// 100 to 200 ms.
    pub fn measured() -> Self {
        Self { aws: 10..=30, kubernetes: 2..=7, cold_start: 100..=200, ..Self::default() }
    }
}

impl World {
    /// Plans `event` for `at`; events of one instant happen in the order in which they were planned.
    pub fn plan(&mut self, at: Millis, event: Event) {
        self.sequence += 1;
        let away = self.away.clone().filter(|_| matches!(event, Event::Kubernetes(_)));
        self.queue.insert((at.max(self.now), self.sequence), (event, away));
    }

    /// Does something in the cluster of this name: the first one, unless there is another of this name.
    pub fn in_cluster<R>(&mut self, name: &str, act: impl FnOnce(&mut Self) -> R) -> R {
        if self.away.as_deref() == Some(name) || !self.clusters.contains_key(name) {
            return act(self);
        }
        let before = self.away.replace(name.into());
        self.swap_cluster(name);
        let result = act(self);
        self.swap_cluster(name);
        self.away = before;
        result
    }

    fn swap_cluster(&mut self, name: &str) {
        if let Some(other) = self.clusters.get_mut(name) {
            std::mem::swap(&mut self.kubernetes, other);
        }
    }

    /// Plans `event` for `delay` milliseconds from now.
    pub fn after(&mut self, delay: Millis, event: Event) {
        self.plan(self.now + delay, event);
    }

    /// When the next event is due.
    pub fn next_at(&self) -> Option<Millis> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    /// Tells the story one more line.
    pub fn tell(&mut self, line: impl Into<String>) {
        self.story.push((self.now, line.into()));
    }

    /// Brings the world up to `to`, one event after the other, and counts the traffic between them.
    pub fn advance(&mut self, to: Millis) {
        loop {
            // Before time goes on: what was just changed may plan events for its paths.
            Traffic::look(self);
            let Some(entry) = self.queue.first_entry() else { break };
            let at = entry.key().0;
            if at > to {
                break;
            }
            let (event, away) = entry.remove();
            Traffic::account(self, at);
            self.now = at;
            match event {
                Event::Aws(event) => {
                    if shows(&event) {
                        self.remember_aws();
                    }
                    Aws::happen(self, event);
                }
                Event::Kubernetes(event) => match away {
                    Some(name) => {
                        self.in_cluster(&name, |world| Kubernetes::happen(world, event));
                    }
                    None => Kubernetes::happen(self, event),
                },
                Event::Traffic(event) => Traffic::happen(self, event),
                Event::Scenario(event) => ScenarioEvent::happen(self, event),
            }
        }
        if to > self.now {
            Traffic::account(self, to);
            self.now = to;
        }
    }

    /// Keeps a copy of the account as it is before a change, in worlds where reads may be stale.
    pub(crate) fn remember_aws(&mut self) {
        if !self.faults.stale_possible()
            || self.copies.back().is_some_and(|(at, _)| *at == self.now)
        {
            return;
        }
        let oldest = self.now - COPIES_MS;
        while self.copies.front().is_some_and(|(until, _)| *until < oldest) {
            self.copies.pop_front();
        }
        let Aws { autoscaling, ec2, elb, .. } = &self.aws;
        let copy = Account { autoscaling: autoscaling.clone(), ec2: ec2.clone(), elb: elb.clone() };
        self.copies.push_back((self.now, copy));
    }

    /// Reads the account as it was `age` milliseconds ago.
    pub(crate) fn in_the_past<R>(&mut self, age: Millis, read: impl FnOnce(&mut Self) -> R) -> R {
        let at = self.now - age;
        // A copy shows the account up to the change that it was taken before.
        let Some(index) = self.copies.iter().position(|(until, _)| *until >= at) else {
            return read(self);
        };
        let mut copies = std::mem::take(&mut self.copies);
        copies[index].1.swap(&mut self.aws);
        let answer = read(self);
        copies[index].1.swap(&mut self.aws);
        self.copies = copies;
        answer
    }
}

/// Whether `event` may change what a read shows that AWS answers from a copy. Health checks could, but
/// come too often for a copy each, and a second makes no difference to their results.
fn shows(event: &AwsEvent) -> bool {
    match event {
        AwsEvent::Autoscaling(_) | AwsEvent::Ec2(_) => true,
        AwsEvent::Elb(step) => !matches!(step, elbv2::Step::Check(_) | elbv2::Step::Rerouted(_)),
        AwsEvent::Deliver { .. } => false,
    }
}

/// The parts of the account that reads may show as they were.
#[derive(Debug)]
struct Account {
    autoscaling: Autoscaling,
    ec2: Ec2,
    elb: Elb,
}

impl Account {
    fn swap(&mut self, aws: &mut Aws) {
        std::mem::swap(&mut self.autoscaling, &mut aws.autoscaling);
        std::mem::swap(&mut self.ec2, &mut aws.ec2);
        std::mem::swap(&mut self.elb, &mut aws.elb);
    }
}

/// A handle to one world, on tokio's clock.
#[derive(Clone, Debug)]
pub struct Sandbox {
    world: Arc<Mutex<World>>,
    base: Instant,
    start: Millis,
}

impl Sandbox {
    /// A new, empty world that starts at `start` and draws its chances from `seed`.
    /// Call it inside a tokio runtime, usually one with its clock paused.
    pub fn new(seed: u64, start: Millis) -> Self {
        let world = World {
            now: start,
            rng: fastrand::Rng::with_seed(seed),
            kubernetes: Kubernetes::default(),
            clusters: BTreeMap::new(),
            aws: Aws::default(),
            traffic: Traffic::default(),
            faults: Faults::default(),
            latency: Latency::default(),
            measures: Measures::default(),
            calls: Vec::new(),
            registrars: Vec::new(),
            story: Vec::new(),
            processes: BTreeMap::new(),
            invocations: 0,
            violations: Vec::new(),
            copies: VecDeque::new(),
            away: None,
            queue: BTreeMap::new(),
            sequence: 0,
        };
        Self { world: Arc::new(Mutex::new(world)), base: Instant::now(), start }
    }

    /// The world's present time.
    pub fn now(&self) -> Millis {
        self.start + i64::try_from(self.base.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Locks the world, brought up to the present.
    ///
    /// # Panics
    /// When a thread panicked while it held the world: the state can't be trusted then.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let now = self.now();
        let mut world = self.world.lock().expect("no thread panicked while it held the world");
        world.advance(now);
        world
    }

    /// When the next event is due, without bringing the world up to the present.
    ///
    /// # Panics
    /// As [`Sandbox::world`] does.
    pub(crate) fn next_at(&self) -> Option<Millis> {
        self.world.lock().expect("no thread panicked while it held the world").next_at()
    }

    /// Lets the world go on by itself until `until`.
    pub async fn run_until(&self, until: Millis) {
        while self.now() < until {
            let next = self.world().next_at().unwrap_or(until).min(until);
            self.sleep_until(next).await;
        }
        drop(self.world());
    }

    /// Sleeps until the world's clock shows `at`.
    pub async fn sleep_until(&self, at: Millis) {
        let after = u64::try_from(at - self.start).unwrap_or(0);
        tokio::time::sleep_until(self.base + Duration::from_millis(after)).await;
    }
}
