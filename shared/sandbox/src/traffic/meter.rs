//! Counting: exact shares times time, and what is cut when something dies.
//!
//! Pure. A request that started at `s` is in flight until `s + request_ms`, so the flows of that last
//! while are kept; when a pod or a node dies, what they had in flight there was not served after all.

use super::flow::{Cause, Flow};
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

/// Flows that were the same for a while.
#[derive(Debug)]
struct Span {
    from: Millis,
    to: Millis,
    flows: Vec<Flow>,
}

/// The count of one route.
#[derive(Debug)]
pub(super) struct Meter {
    rate_per_ms: f64,
    request_ms: Millis,
    counted_to: Millis,
    total: f64,
    losses: BTreeMap<Cause, Loss>,
    /// Since when `flows` hold.
    since: Millis,
    flows: Vec<Flow>,
    /// Of all requests, by cause: the sums of `flows`.
    dropping: Vec<(Cause, f64)>,
    past: VecDeque<Span>,
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
            flows: Vec::new(),
            dropping: Vec::new(),
            past: VecDeque::new(),
        }
    }

    /// Counts until `to`, during which nothing changed.
    pub(super) fn account(&mut self, to: Millis) {
        let requests = self.rate_per_ms * span_ms(self.counted_to, to);
        if requests <= 0.0 {
            return;
        }
        self.total += requests;
        for (cause, share) in &self.dropping {
            lose(&mut self.losses, *cause, requests * share, (self.counted_to, to));
        }
        self.counted_to = to;
    }

    /// From `now` on requests go along `flows`; what was in flight where `lives` is not true any more is cut.
    pub(super) fn change(&mut self, now: Millis, flows: Vec<Flow>, lives: impl Fn(&Flow) -> bool) {
        if flows != self.flows {
            let before = std::mem::replace(&mut self.flows, flows);
            if self.since < now {
                self.past.push_back(Span { from: self.since, to: now, flows: before });
            }
            self.since = now;
            self.dropping = dropping(&self.flows);
        }
        let oldest = now - self.request_ms;
        while self.past.front().is_some_and(|span| span.to <= oldest) {
            self.past.pop_front();
        }
        let mut cut = 0.0;
        for span in &mut self.past {
            let requests = self.rate_per_ms * span_ms(span.from.max(oldest), span.to);
            span.flows.retain(|flow| {
                let served = flow.cause.is_none();
                let goes_on = !served || lives(flow);
                if !goes_on {
                    cut += requests * flow.share;
                }
                served && goes_on
            });
        }
        if cut > 0.0 {
            lose(&mut self.losses, Cause::CutInFlight, cut, (now, now));
        }
    }

    /// Whether new requests are sent to this instance now.
    pub(super) fn goes_through(&self, instance: &str) -> bool {
        self.flows.iter().any(|flow| &*flow.instance == instance)
    }

    /// Instances that get requests now, but none along `flows`.
    pub(super) fn instances_left_by(&self, flows: &[Flow]) -> BTreeSet<Arc<str>> {
        let stays = |flow: &&Flow| !flows.iter().any(|next| next.instance == flow.instance);
        self.flows.iter().filter(stays).map(|flow| flow.instance.clone()).collect()
    }

    /// Requests that are being served now through `instance` or on a pod of its.
    pub(super) fn in_flight(&self, now: Millis, instance: &str) -> f64 {
        let oldest = now - self.request_ms;
        let here = |flow: &&Flow| {
            let on_pod = flow.host.as_deref() == Some(instance);
            flow.cause.is_none() && (&*flow.instance == instance || on_pod)
        };
        let count = |from: Millis, to: Millis, flows: &[Flow]| {
            let share: f64 = flows.iter().filter(here).map(|flow| flow.share).sum();
            self.rate_per_ms * span_ms(from.max(oldest), to) * share
        };
        let past: f64 = self.past.iter().map(|span| count(span.from, span.to, &span.flows)).sum();
        past + count(self.since, now, &self.flows)
    }

    pub(super) fn report(&self, group: &str, service: &str) -> Report {
        let dropped =
            self.losses.iter().map(|(cause, loss)| (*cause, rounded_up(loss.requests))).collect();
        Report {
            group: group.to_owned(),
            service: service.to_owned(),
            total: whole(self.total),
            dropped,
            losses: self.losses.clone(),
        }
    }
}

fn dropping(flows: &[Flow]) -> Vec<(Cause, f64)> {
    let mut shares = BTreeMap::new();
    for flow in flows {
        if let Some(cause) = flow.cause {
            *shares.entry(cause).or_insert(0.0) += flow.share;
        }
    }
    shares.into_iter().collect()
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
fn span_ms(from: Millis, to: Millis) -> f64 {
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
