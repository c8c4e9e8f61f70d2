//! Counting: exact shares times time, and what is cut when something dies.
//!
//! Pure. The load balancer gives each target the same share, a node each pod of its pool. Nodes that forward alike
//! share a lane, so that a change costs what changed and not what there is. A request that started at `s` is in flight
//! until `s + request_ms`, so what held in that last while is kept (in `span.rs`); when a pod or a node dies, what was
//! in flight there was not served after all.

use super::flow::{Cause, Hop, Onward, Place, Pool};
use super::log::Log;
use super::span::{Entry, Span, share};
use crate::world::Millis;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Requests that were dropped for one cause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// How many: shares of requests.
    pub requests: f64,
    /// When the first was dropped.
    pub first: Millis,
    /// When the last was.
    pub last: Millis,
}

/// What became of a route's requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The target group's ARN.
    pub group: String,
    /// The Service.
    pub service: String,
    /// All requests.
    pub total: u64,
    /// Dropped ones by cause, rounded up: a share of one request is a request.
    pub dropped: BTreeMap<Cause, u64>,
    /// When, by cause.
    pub losses: BTreeMap<Cause, Loss>,
}

impl Report {
    /// All dropped requests.
    pub fn dropped(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// The others.
    pub fn served(&self) -> u64 {
        self.total.saturating_sub(self.dropped())
    }
}

/// A target: an instance and its port.
pub(super) type Target = (Arc<str>, u16);

/// Nodes that forward alike.
#[derive(Debug, Default)]
pub(super) struct Lane {
    targets: usize,
    pub(super) onward: Log<Result<u64, Cause>>,
}

/// A pool that some lane leads to.
#[derive(Debug)]
struct Used {
    pool: Arc<Pool>,
    lanes: usize,
    targets: usize,
    /// Its pods that serve.
    serving: usize,
    /// The others, by cause.
    failing: BTreeMap<Cause, usize>,
}

/// A pod that is, or was, in some pool.
#[derive(Debug)]
pub(super) struct Pod {
    hop: Hop,
    pub(super) serves: Log<bool>,
}

/// The count of one route.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) rate_per_ms: f64,
    pub(super) request_ms: Millis,
    counted_to: Millis,
    total: f64,
    losses: BTreeMap<Cause, Loss>,
    /// Since when everything is as it is.
    pub(super) since: Millis,
    pub(super) targets: BTreeMap<Target, Log<Place>>,
    present: usize,
    /// Targets that lead nowhere by themselves.
    astray: BTreeMap<Cause, usize>,
    pub(super) lanes: BTreeMap<Arc<str>, Lane>,
    pools: BTreeMap<u64, Used>,
    pub(super) pods: BTreeMap<Arc<str>, Pod>,
    by_host: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Of all requests, by cause; none while it has to be worked out anew.
    dropping: Option<Vec<(Cause, f64)>>,
    pub(super) past: VecDeque<Span>,
}

impl Meter {
    pub(super) fn new(rate_per_second: f64, request_ms: Millis, now: Millis) -> Self {
        Self {
            rate_per_ms: rate_per_second / 1_000.0,
            request_ms,
            counted_to: now,
            total: 0.0,
            losses: BTreeMap::new(),
            since: now,
            targets: BTreeMap::new(),
            present: 0,
            astray: BTreeMap::new(),
            lanes: BTreeMap::new(),
            pools: BTreeMap::new(),
            pods: BTreeMap::new(),
            by_host: BTreeMap::new(),
            dropping: None,
            past: VecDeque::new(),
        }
    }

    /// Something is about to change at `now`: counts until then, and keeps what held.
    pub(super) fn begin(&mut self, now: Millis) {
        self.account(now);
        let oldest = now - self.request_ms;
        while self.past.front().is_some_and(|span| span.to <= oldest) {
            self.past.pop_front();
        }
        if self.since < now {
            if self.request_ms > 0 {
                self.past.push_back(self.present_span(now));
            }
            self.since = now;
        }
        self.dropping = None;
    }

    /// A target leads somewhere else from now on, or is none any more. True if it was one before.
    pub(super) fn put_target(&mut self, target: &Target, place: Place) -> bool {
        let before = self.targets.get(target).and_then(Log::last).unwrap_or(&Place::Absent);
        if *before == place {
            return place != Place::Absent;
        }
        let before = before.clone();
        self.count_target(&before, -1);
        self.count_target(&place, 1);
        let (now, oldest) = (self.since, self.oldest());
        if !self.targets.contains_key(target) {
            self.targets.insert(target.clone(), Log::default());
        }
        if let Some(log) = self.targets.get_mut(target) {
            log.set(now, place, oldest);
        }
        before != Place::Absent
    }

    /// The nodes of a lane forward elsewhere from now on; `look` tells of pods that are new.
    pub(super) fn put_lane(
        &mut self,
        name: &Arc<str>,
        onward: &Onward,
        look: impl Fn(&str) -> Hop,
    ) {
        let next = match onward {
            Onward::Dropped(cause) => Err(*cause),
            Onward::Pool(pool) => Ok(pool.number),
        };
        let lane = self.lanes.entry(name.clone()).or_default();
        let (targets, before) = (lane.targets, lane.onward.last().copied());
        if before == Some(next) {
            return;
        }
        if let Onward::Pool(pool) = onward {
            self.use_pool(pool, targets, look);
        }
        if let Some(Ok(old)) = before {
            self.leave_pool(old, targets);
        }
        let (now, oldest) = (self.since, self.oldest());
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.onward.set(now, next, oldest);
        }
    }

    /// A pod is as `hop` says from now on; if it does not run any more, what was in flight on it is cut.
    pub(super) fn put_pod(&mut self, name: &str, hop: &Hop) {
        let (now, oldest) = (self.since, self.oldest());
        let Some(pod) = self.pods.get_mut(name) else { return };
        if pod.hop == *hop {
            return;
        }
        let before = std::mem::replace(&mut pod.hop, hop.clone());
        if before.serves != hop.serves {
            pod.serves.set(now, hop.serves, oldest);
        }
        if before.cause() != hop.cause() {
            for used in self.pools.values_mut().filter(|used| used.pool.pods.contains(name)) {
                used.count(before.cause(), -1);
                used.count(hop.cause(), 1);
            }
        }
        if before.runs && !hop.runs {
            self.cut_pod(name);
        }
        self.know_host(&name.into(), hop.host.as_ref());
    }

    /// The pods on an instance that this route may have to do with.
    pub(super) fn pods_on(&self, instance: &str) -> Vec<Arc<str>> {
        self.by_host.get(instance).into_iter().flatten().cloned().collect()
    }

    /// Counts until `to`, during which nothing changed.
    pub(super) fn account(&mut self, to: Millis) {
        let requests = self.rate_per_ms * span_ms(self.counted_to, to);
        if requests <= 0.0 {
            return;
        }
        self.total += requests;
        let dropping = self.dropping.take().unwrap_or_else(|| self.work_out());
        for (cause, share) in &dropping {
            lose(&mut self.losses, *cause, requests * share, (self.counted_to, to));
        }
        self.dropping = Some(dropping);
        self.counted_to = to;
    }

    /// Whether new requests are sent to this instance now.
    pub(super) fn goes_through(&self, instance: &str) -> bool {
        let range = (Arc::from(instance), 0)..=(Arc::from(instance), u16::MAX);
        let mut here = self.targets.range(range);
        here.any(|(_, log)| log.last().is_some_and(|place| *place != Place::Absent))
    }

    /// What became of all requests until `now`.
    pub(super) fn report(&self, now: Millis, group: &str, service: &str) -> Report {
        let requests = self.rate_per_ms * span_ms(self.counted_to, now);
        let mut losses = self.losses.clone();
        if requests > 0.0 {
            for (cause, share) in self.dropping.clone().unwrap_or_else(|| self.work_out()) {
                lose(&mut losses, cause, requests * share, (self.counted_to, now));
            }
        }
        let dropped =
            losses.iter().map(|(cause, loss)| (*cause, rounded_up(loss.requests))).collect();
        Report {
            group: group.to_owned(),
            service: service.to_owned(),
            total: whole(self.total + requests),
            dropped,
            losses,
        }
    }

    /// Notes requests that were cut.
    pub(super) fn cut(&mut self, requests: f64) {
        if requests > 0.0 {
            let now = self.since;
            lose(&mut self.losses, Cause::CutInFlight, requests, (now, now));
        }
    }

    /// The instance of a pod.
    pub(super) fn host_of(&self, pod: &str) -> Option<&Arc<str>> {
        self.pods.get(pod)?.hop.host.as_ref()
    }

    /// Whether this pod is, or was, in some pool.
    pub(super) fn knows(&self, pod: &str) -> bool {
        self.pods.contains_key(pod)
    }

    /// Whether this instance is, or was, a target, or has such a pod.
    pub(super) fn knows_instance(&self, instance: &str) -> bool {
        self.by_host.contains_key(instance) || !self.keys_of(instance).is_empty()
    }

    /// The targets that an instance is, or was.
    pub(super) fn keys_of(&self, instance: &str) -> Vec<(String, u16)> {
        let range = (Arc::from(instance), 0)..=(Arc::from(instance), u16::MAX);
        self.targets.range(range).map(|((id, port), _)| ((**id).to_owned(), *port)).collect()
    }

    /// All targets that there are now.
    pub(super) fn present_keys(&self) -> BTreeSet<(String, u16)> {
        let present = |log: &Log<Place>| log.last().is_some_and(|place| *place != Place::Absent);
        let here = self.targets.iter().filter(|(_, log)| present(log));
        here.map(|((id, port), _)| ((**id).to_owned(), *port)).collect()
    }

    /// Whether there is no target at all.
    pub(super) fn is_empty(&self) -> bool {
        self.present == 0
    }

    /// The pool that a lane leads to.
    pub(super) fn pool_of(&self, lane: &str) -> Option<&Arc<Pool>> {
        let number = self.lanes.get(lane)?.onward.last()?.ok()?;
        self.pools.get(&number).map(|used| &used.pool)
    }

    /// What holds since the last change, until `to`.
    pub(super) fn present_span(&self, to: Millis) -> Span {
        let used = self.pools.iter().filter(|(_, used)| used.targets > 0);
        let entries = used.map(|(number, used)| {
            let (pool, targets) = (used.pool.clone(), used.targets);
            (*number, Entry { pool, targets, serving: used.serving })
        });
        Span::new((self.since, to), self.present, entries.collect())
    }

    /// Before this nothing is asked for any more.
    fn oldest(&self) -> Millis {
        self.past.front().map_or(self.since, |span| span.from)
    }

    fn count_target(&mut self, place: &Place, by: isize) {
        match place {
            Place::Absent => return,
            Place::Dropped(cause) => add(self.astray.entry(*cause).or_default(), by),
            Place::Lane(name) => {
                let lane = self.lanes.entry(name.clone()).or_default();
                add(&mut lane.targets, by);
                if let Some(Ok(number)) = lane.onward.last()
                    && let Some(used) = self.pools.get_mut(number)
                {
                    add(&mut used.targets, by);
                }
            }
        }
        add(&mut self.present, by);
    }

    fn use_pool(&mut self, pool: &Arc<Pool>, targets: usize, look: impl Fn(&str) -> Hop) {
        if let Some(used) = self.pools.get_mut(&pool.number) {
            used.lanes += 1;
            used.targets += targets;
            return;
        }
        let (now, oldest) = (self.since, self.oldest());
        let mut used =
            Used { pool: pool.clone(), lanes: 1, targets, serving: 0, failing: BTreeMap::new() };
        for name in &pool.pods {
            if !self.pods.contains_key(name) {
                let mut pod = Pod { hop: look(name), serves: Log::default() };
                pod.serves.set(now, pod.hop.serves, oldest);
                self.know_host(name, pod.hop.host.as_ref());
                self.pods.insert(name.clone(), pod);
            }
            if let Some(pod) = self.pods.get(name) {
                used.count(pod.hop.cause(), 1);
            }
        }
        self.pools.insert(pool.number, used);
    }

    fn leave_pool(&mut self, number: u64, targets: usize) {
        let Some(used) = self.pools.get_mut(&number) else { return };
        used.lanes -= 1;
        used.targets -= targets;
        if used.lanes == 0 {
            self.pools.remove(&number);
        }
    }

    fn know_host(&mut self, pod: &Arc<str>, host: Option<&Arc<str>>) {
        if let Some(host) = host {
            self.by_host.entry(host.clone()).or_default().insert(pod.clone());
        }
    }

    /// The shares of all requests that are dropped now.
    fn work_out(&self) -> Vec<(Cause, f64)> {
        if self.present == 0 {
            return vec![(Cause::NoTarget, 1.0)];
        }
        let mut shares: BTreeMap<Cause, f64> = BTreeMap::new();
        for (cause, count) in self.astray.iter().filter(|(_, count)| **count > 0) {
            *shares.entry(*cause).or_default() += share(*count, self.present);
        }
        for lane in self.lanes.values().filter(|lane| lane.targets > 0) {
            if let Some(Err(cause)) = lane.onward.last() {
                *shares.entry(*cause).or_default() += share(lane.targets, self.present);
            }
        }
        for used in self.pools.values().filter(|used| used.targets > 0) {
            for (cause, count) in used.failing.iter().filter(|(_, count)| **count > 0) {
                let of_all = share(used.targets, self.present);
                *shares.entry(*cause).or_default() += of_all * share(*count, used.pool.pods.len());
            }
        }
        shares.into_iter().collect()
    }
}

impl Used {
    fn count(&mut self, cause: Option<Cause>, by: isize) {
        match cause {
            None => add(&mut self.serving, by),
            Some(cause) => add(self.failing.entry(cause).or_default(), by),
        }
    }
}

fn add(count: &mut usize, by: isize) {
    *count = count.saturating_add_signed(by);
}

fn lose(
    losses: &mut BTreeMap<Cause, Loss>,
    cause: Cause,
    requests: f64,
    (first, last): (Millis, Millis),
) {
    let loss = losses.entry(cause).or_insert(Loss { requests: 0.0, first, last });
    loss.requests += requests;
    loss.last = last;
}

/// The milliseconds between two instants; none when they are the other way round.
#[expect(clippy::cast_precision_loss, reason = "spans of a world are far below 2^52 ms")]
pub(super) fn span_ms(from: Millis, to: Millis) -> f64 {
    (to - from).max(0) as f64
}

/// A share of one request counts as one; what binary fractions add does not.
fn rounded_up(requests: f64) -> u64 {
    whole((requests - 1e-6).ceil()).max(1)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are positive and far below 2^52"
)]
fn whole(requests: f64) -> u64 {
    requests.round() as u64
}
