//! Target groups: what DescribeTargetHealth shows, and where requests really go.
//!
//! ```text
//!   register ─> initial ─> healthy <─> unhealthy ─┐      unused: no listener, or the instance is gone
//!                  └───────────┴────> draining <──┘ ─ (whole deregistration delay) ─> gone
//! ```
//! The two differ: a load balancer goes on sending new requests to a deregistered target for a while, and
//! uses a healthy one only after a moment. [`Elb::routes`] is that lagging view. Who has not heard of a deregistration yet goes
//! on checking the target, and leaves it when the checks fail or its instance is gone, as it would have done without one.

pub mod api;
mod health;

pub use health::{Health, Reason};

use super::AwsEvent;
use super::ec2::State;
use super::protocol::Refusal;
use crate::measure;
use crate::world::{Event, Millis, World};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// The kind of load balancer in front of a target group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Application.
    Alb,
    /// Network.
    Nlb,
}

/// What targets are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TargetType {
    /// Instance ids.
    Instance,
    /// Addresses (of pods).
    Ip,
}

/// What a new target group is like.
#[derive(Clone, Debug)]
pub struct TargetGroupSpec {
    /// Its name; the ARN follows from it.
    pub name: String,
    /// The kind of its load balancer.
    pub kind: Kind,
    /// What its targets are.
    pub target_type: TargetType,
    /// The port that is meant where a target has none of its own.
    pub port: u16,
    /// How long a deregistered target drains.
    pub deregistration_delay_seconds: i64,
    /// Time between two health checks of a target.
    pub health_check_interval_seconds: i64,
    /// Passed checks in a row after which an unhealthy target is healthy.
    pub healthy_threshold: u32,
    /// Failed checks in a row after which a target is unhealthy.
    pub unhealthy_threshold: u32,
    /// Whether a listener uses it; without one its targets are `unused`.
    pub listener: bool,
    /// Targets that are healthy from the start, on the default port.
    pub targets: Vec<String>,
}

impl Default for TargetGroupSpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: Kind::Alb,
            target_type: TargetType::Instance,
            port: 30_080,
            deregistration_delay_seconds: 300,
            health_check_interval_seconds: 30,
            healthy_threshold: 5,
            unhealthy_threshold: 2,
            listener: true,
            targets: Vec::new(),
        }
    }
}

/// A registered target.
#[derive(Clone, Debug)]
pub struct Target {
    /// What DescribeTargetHealth says.
    pub health: Health,
    /// Since when.
    pub since: Millis,
    /// From when on the load balancer sends requests to it.
    pub routable_since: Option<Millis>,
    /// Until when it does, once it was told to stop.
    pub routable_until: Option<Millis>,
    /// Health checks passed in a row.
    passed: u32,
    /// Health checks failed in a row.
    failed: u32,
    /// Counts registrations, so that what was planned for an earlier one is void.
    epoch: u32,
    /// What DescribeTargetHealth last said of it, and of which health.
    said: Option<(Health, String)>,
}

impl Target {
    /// Whether the load balancer sends new requests to it at `now`.
    pub fn is_routable(&self, now: Millis) -> bool {
        self.routable_since.is_some_and(|since| since <= now)
            && self.routable_until.is_none_or(|until| now < until)
    }
}

/// What the load balancer still knows of a target that is gone from its group.
#[derive(Clone, Copy, Debug)]
struct Lingering {
    /// Until when requests are sent to it.
    until: Millis,
    /// Health checks failed in a row.
    failed: u32,
    /// Its last registration.
    epoch: u32,
}

/// A target group.
#[derive(Clone, Debug)]
pub struct TargetGroup {
    /// Its ARN.
    pub arn: String,
    /// What it is like.
    pub spec: TargetGroupSpec,
    /// Registered (and draining) targets by (instance id or address, port).
    pub targets: BTreeMap<(String, u16), Target>,
    /// Targets that are gone from the group while the load balancer has not noticed yet.
    lingering: BTreeMap<(String, u16), Lingering>,
    /// Targets that are healthy on a host that is up.
    living: BTreeSet<(String, u16)>,
}

impl TargetGroup {
    /// How many of its targets are healthy on a host that is up.
    pub fn living(&self) -> usize {
        self.living.len()
    }

    /// Whether it has a target that lives as far as anybody can know: healthy or about to be. A host that died a moment
    /// ago counts until the health checks notice.
    fn is_living(&self) -> bool {
        self.targets
            .values()
            .any(|target| matches!(target.health, Health::Healthy | Health::Initial(_)))
    }
}

/// How far load balancers lag behind what they were told.
#[derive(Clone, Debug)]
pub struct Lag {
    /// ALB: from a deregistration to the last new request. Measured by users as 10 to 25 s.
    pub alb_out_ms: RangeInclusive<Millis>,
    /// NLB: up to 120 s, whatever the deregistration delay says.
    pub nlb_out_ms: RangeInclusive<Millis>,
    /// From healthy to the first request.
    pub in_ms: RangeInclusive<Millis>,
    /// From unhealthy to the last request.
    pub unhealthy_ms: RangeInclusive<Millis>,
    /// From a registration to the first health check.
    pub first_check_ms: RangeInclusive<Millis>,
    /// From EC2's `stopped` or `terminated` to `unused`.
    pub gone_ms: RangeInclusive<Millis>,
}

impl Default for Lag {
    fn default() -> Self {
        Self {
            alb_out_ms: 10_000..=25_000,
            nlb_out_ms: 20_000..=120_000,
            in_ms: 1_000..=5_000,
            unhealthy_ms: 0..=1_000,
            first_check_ms: 1_000..=5_000,
            gone_ms: 1_000..=5_000,
        }
    }
}

/// Targets by group (ARN) and key.
pub(crate) type News = BTreeSet<(String, (String, u16))>;

/// All target groups.
#[derive(Clone, Debug)]
pub struct Elb {
    /// Target groups by ARN.
    pub groups: BTreeMap<String, TargetGroup>,
    /// How far load balancers lag.
    pub lag: Lag,
    /// Whether a target answers its health check: world, instance (or address), port.
    pub probe: fn(&World, &str, u16) -> bool,
    /// Counts every change of any route, for those who cache them.
    pub version: u64,
    epoch: u32,
    /// The targets whose routes changed, by group, since somebody asked.
    news: News,
}

impl Default for Elb {
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
            lag: Lag::default(),
            probe: |world, id, _| !id.starts_with("i-") || world.aws.ec2.is_up(id),
            version: 0,
            epoch: 0,
            news: News::new(),
        }
    }
}

/// What a load balancer does next to one target.
#[derive(Clone, Debug)]
pub enum Step {
    /// A health check.
    Check(Subject),
    /// The deregistration delay is over.
    Drained(Subject),
    /// EC2 says that the instance is gone.
    Gone(Subject, State),
    /// The load balancer's own view of a target changes: nothing to do but to look again.
    Rerouted(Subject),
}

/// A target of a group, at one registration.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The group's ARN.
    pub group: String,
    /// Instance id (or address) and port.
    pub key: (String, u16),
    /// The registration.
    epoch: u32,
}

impl Elb {
    /// Adds a target group and returns its ARN.
    pub fn add_target_group(world: &mut World, spec: TargetGroupSpec) -> String {
        let arn = Self::arn(world, &spec.name);
        let (targets, port) = (spec.targets.clone(), spec.port);
        let group = TargetGroup {
            arn: arn.clone(),
            spec,
            targets: BTreeMap::new(),
            lingering: BTreeMap::new(),
            living: BTreeSet::new(),
        };
        world.aws.elb.groups.insert(arn.clone(), group);
        for target in targets {
            Self::add_healthy(world, &arn, &target, port);
        }
        arn
    }

    /// Adds a target that was healthy long before the world began.
    pub fn add_healthy(world: &mut World, arn: &str, id: &str, port: u16) {
        Self::register(world, arn, id, port);
        let now = world.now;
        let key = (id.to_owned(), port);
        let group = world.aws.elb.groups.get_mut(arn);
        let target = group.and_then(|group| group.targets.get_mut(&key));
        if let Some(target) = target.filter(|target| !matches!(target.health, Health::Unused(_))) {
            target.health = Health::Healthy;
            target.routable_since = Some(now);
            Self::changed(world, arn, &key);
        }
    }

    /// The ARN that a group of this name has.
    pub fn arn(world: &World, name: &str) -> String {
        // FNV-1a, so that the same name has the same ARN in every world.
        let id = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let (region, account) = (&world.aws.region, &world.aws.account);
        format!("arn:aws:elasticloadbalancing:{region}:{account}:targetgroup/{name}/{id:016x}")
    }

    /// Where the load balancer of a group (by ARN) sends new requests at `now`. When it knows of no healthy target
    /// it sends to all that are registered (it fails open).
    pub fn routes(&self, arn: &str, now: Millis) -> Vec<(String, u16)> {
        let Some(group) = self.groups.get(arn) else { return Vec::new() };
        let present = group.targets.iter().filter(|(_, target)| target.is_routable(now));
        let lingering = group.lingering.iter().filter(|(_, it)| now < it.until);
        let routes: Vec<_> =
            present.map(|(key, _)| key).chain(lingering.map(|(key, _)| key)).cloned().collect();
        if !routes.is_empty() {
            return routes;
        }
        let registered =
            |health: &Health| matches!(health, Health::Initial(_) | Health::Unhealthy(_));
        let open = group.targets.iter().filter(|(_, target)| registered(&target.health));
        open.map(|(key, _)| key.clone()).collect()
    }

    /// Whether the load balancer of a group (by ARN) sends new requests to this target because it takes it for healthy.
    pub(crate) fn is_routed(&self, arn: &str, (id, port): (&str, u16), now: Millis) -> bool {
        let key = (id.to_owned(), port);
        self.groups.get(arn).is_some_and(|group| {
            group.targets.get(&key).is_some_and(|target| target.is_routable(now))
                || group.lingering.get(&key).is_some_and(|it| now < it.until)
        })
    }

    /// Whether any route changed since the last [`Elb::take_news`].
    pub(crate) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// The targets whose routes may have changed since the last call, by group.
    pub(crate) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// The host of an instance came up or died.
    pub(crate) fn host_changed(world: &mut World, id: &str) {
        let range = (id.to_owned(), 0)..=(id.to_owned(), u16::MAX);
        let groups = world.aws.elb.groups.values();
        let keys: Vec<(String, (String, u16))> = groups
            .flat_map(|group| {
                let targets = group.targets.range(range.clone());
                targets.map(|(key, _)| (group.arn.clone(), key.clone()))
            })
            .collect();
        for (arn, key) in keys {
            Self::count_living(world, &arn, &key);
        }
    }

    /// Something about a target of a group changed.
    fn changed(world: &mut World, arn: &str, key: &(String, u16)) {
        let elb = &mut world.aws.elb;
        elb.version += 1;
        elb.news.insert((arn.to_owned(), key.clone()));
        Self::count_living(world, arn, key);
        measure::target_changed(world, arn, &key.0);
    }

    fn count_living(world: &mut World, arn: &str, key: &(String, u16)) {
        let up = !key.0.starts_with("i-") || world.aws.ec2.is_up(&key.0);
        let Some(group) = world.aws.elb.groups.get_mut(arn) else { return };
        let healthy = group.targets.get(key).is_some_and(|it| it.health == Health::Healthy);
        if up && healthy {
            group.living.insert(key.clone());
        } else {
            group.living.remove(key);
        }
    }

    /// Registers a target, whoever asks for it: new, or back from draining.
    pub fn register(world: &mut World, arn: &str, id: &str, port: u16) {
        let first = world.rng.i64(world.aws.elb.lag.first_check_ms.clone());
        let now = world.now;
        let elb = &mut world.aws.elb;
        let Some(group) = elb.groups.get_mut(arn) else { return };
        let key = (id.to_owned(), port);
        let draining = match group.targets.get(&key) {
            None => None,
            Some(target) if matches!(target.health, Health::Draining { .. }) => Some(target),
            // It is registered already: nothing changes.
            Some(_) => return,
        };
        elb.epoch += 1;
        // What is left of an earlier registration stays in the load balancer's view until it is dropped there.
        let lingering = group.lingering.remove(&key).map(|it| it.until);
        let health = if group.spec.listener {
            Health::Initial(Reason::RegistrationInProgress)
        } else {
            Health::Unused(Reason::NotInUse)
        };
        let target = Target {
            health,
            since: now,
            routable_since: draining.map_or(lingering.map(|_| now), |target| target.routable_since),
            routable_until: draining.map_or(lingering, |target| target.routable_until),
            passed: 0,
            failed: 0,
            epoch: elb.epoch,
            said: None,
        };
        group.targets.insert(key.clone(), target);
        let subject = Subject { group: arn.to_owned(), key: key.clone(), epoch: elb.epoch };
        Self::changed(world, arn, &key);
        world.after(first, Event::Aws(AwsEvent::Elb(Step::Check(subject))));
    }

    /// Deregisters a target, whoever asks for it; it drains for the whole deregistration delay. An unknown
    /// target is no error.
    pub fn deregister(world: &mut World, arn: &str, id: &str, port: u16) {
        let elb = &mut world.aws.elb;
        let now = world.now;
        let Some(group) = elb.groups.get_mut(arn) else { return };
        let lag = match group.spec.kind {
            Kind::Alb => elb.lag.alb_out_ms.clone(),
            Kind::Nlb => elb.lag.nlb_out_ms.clone(),
        };
        let key = (id.to_owned(), port);
        let Some(target) = group.targets.get_mut(&key) else { return };
        if matches!(target.health, Health::Draining { .. }) {
            return;
        }
        if matches!(target.health, Health::Unused(_)) {
            // It had no traffic, so there is nothing to drain.
            group.targets.remove(&key);
            Self::changed(world, arn, &key);
            return;
        }
        let until = now + group.spec.deregistration_delay_seconds * 1_000;
        target.health = Health::Draining { until };
        target.since = now;
        let subject = Subject { group: arn.to_owned(), key: key.clone(), epoch: target.epoch };
        let out = now + world.rng.i64(lag);
        // Whether it counts or not, the load balancer may have seen it healthy a moment ago.
        let leaves =
            target.routable_since.is_some() && target.routable_until.is_none_or(|u| u > out);
        if leaves {
            target.routable_until = Some(out);
        }
        Self::changed(world, arn, &key);
        if leaves {
            world.plan(out, Event::Aws(AwsEvent::Elb(Step::Rerouted(subject.clone()))));
        }
        world.plan(until, Event::Aws(AwsEvent::Elb(Step::Drained(subject))));
    }

    /// Until when `id` drains in any of `groups`, if it does.
    pub(crate) fn drains_until(&self, groups: &[String], id: &str) -> Option<Millis> {
        let targets = groups
            .iter()
            .filter_map(|arn| self.groups.get(arn))
            .flat_map(|group| group.targets.range((id.to_owned(), 0)..=(id.to_owned(), u16::MAX)));
        let ends = targets.filter_map(|(_, target)| match target.health {
            Health::Draining { until } => Some(until),
            _ => None,
        });
        ends.max()
    }

    pub(crate) fn happen(world: &mut World, step: Step) {
        match step {
            Step::Check(subject) => Self::check(world, subject),
            Step::Drained(subject) => Self::drained(world, &subject),
            Step::Gone(subject, state) => Self::gone(world, &subject, state),
            Step::Rerouted(subject) => Self::rerouted(world, &subject),
        }
    }

    fn drained(world: &mut World, subject: &Subject) {
        let now = world.now;
        let Some(target) = Self::target_mut(world, subject) else { return };
        if !matches!(target.health, Health::Draining { until } if until <= now) {
            return;
        }
        let (until, failed, epoch) = (target.routable_until, target.failed, target.epoch);
        let Some(group) = world.aws.elb.groups.get_mut(&subject.group) else { return };
        group.targets.remove(&subject.key);
        if let Some(until) = until.filter(|until| now < *until) {
            group.lingering.insert(subject.key.clone(), Lingering { until, failed, epoch });
        }
        Self::changed(world, &subject.group, &subject.key);
    }

    fn rerouted(world: &mut World, subject: &Subject) {
        let now = world.now;
        if let Some(group) = world.aws.elb.groups.get_mut(&subject.group)
            && group.lingering.get(&subject.key).is_some_and(|it| it.until <= now)
        {
            group.lingering.remove(&subject.key);
        }
        Self::changed(world, &subject.group, &subject.key);
    }

    fn target_mut<'a>(world: &'a mut World, subject: &Subject) -> Option<&'a mut Target> {
        let group = world.aws.elb.groups.get_mut(&subject.group)?;
        let target = group.targets.get_mut(&subject.key)?;
        (target.epoch == subject.epoch).then_some(target)
    }

    fn group<'a>(world: &'a World, arn: &str) -> Result<&'a TargetGroup, Refusal> {
        world.aws.elb.groups.get(arn).ok_or_else(|| {
            Refusal::new(400, "TargetGroupNotFound", "One or more target groups not found")
        })
    }
}
