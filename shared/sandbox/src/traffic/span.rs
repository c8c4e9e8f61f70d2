//! Requests in flight: what held in the last moments, and what is cut of it when something dies.
//!
//! What was cut once is taken out of its span, so that a request that loses its node and its pod is lost once.

use super::flow::{Place, Pool};
use super::meter::{Meter, Target, span_ms};
use crate::world::Millis;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What one pool got in a span.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) pool: Arc<Pool>,
    /// Targets that led to it, and live.
    pub(super) targets: usize,
    /// Pods of it that served, and live.
    pub(super) serving: usize,
}

/// A while in which nothing changed.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) from: Millis,
    pub(super) to: Millis,
    /// All targets.
    total: usize,
    entries: BTreeMap<u64, Entry>,
    cut_targets: BTreeSet<Target>,
    cut_pods: BTreeSet<Arc<str>>,
}

impl Span {
    pub(super) fn new(
        (from, to): (Millis, Millis),
        total: usize,
        entries: BTreeMap<u64, Entry>,
    ) -> Self {
        let (cut_targets, cut_pods) = (BTreeSet::new(), BTreeSet::new());
        Self { from, to, total, entries, cut_targets, cut_pods }
    }
}

impl Meter {
    /// An instance is gone: what was in flight through it is cut.
    pub(super) fn cut_instance(&mut self, instance: &str) {
        let mut past = std::mem::take(&mut self.past);
        let oldest = self.since - self.request_ms;
        let mut cut = 0.0;
        for span in &mut past {
            let requests = self.rate_per_ms * span_ms(span.from.max(oldest), span.to);
            for (target, pool) in self.led_to(instance, span.from) {
                let Some(entry) = span.entries.get_mut(&pool) else { continue };
                if !span.cut_targets.insert(target) {
                    continue;
                }
                let of_pool = share(entry.serving, entry.pool.pods.len());
                cut += requests * share(1, span.total) * of_pool;
                entry.targets -= 1;
            }
        }
        self.past = past;
        self.cut(cut);
    }

    /// A pod is gone: what was in flight on it is cut.
    pub(super) fn cut_pod(&mut self, pod: &str) {
        let mut past = std::mem::take(&mut self.past);
        let oldest = self.since - self.request_ms;
        let mut cut = 0.0;
        let log = self.pods.get(pod).map(|pod| &pod.serves);
        for span in &mut past {
            let served = log.and_then(|log| log.at(span.from)) == Some(&true);
            if !served || !span.cut_pods.insert(pod.into()) {
                continue;
            }
            let requests = self.rate_per_ms * span_ms(span.from.max(oldest), span.to);
            for entry in span.entries.values_mut().filter(|it| it.pool.pods.contains(pod)) {
                let of_all = share(entry.targets, span.total);
                cut += requests * of_all * share(1, entry.pool.pods.len());
                entry.serving -= 1;
            }
        }
        self.past = past;
        self.cut(cut);
    }

    /// Requests that are being served now through `instance` or on a pod of its.
    pub(super) fn in_flight(&self, now: Millis, instance: &str) -> f64 {
        let present = self.present_span(now);
        self.past.iter().chain([&present]).map(|span| self.of_span(now, span, instance)).sum()
    }

    fn of_span(&self, now: Millis, span: &Span, instance: &str) -> f64 {
        let requests = self.rate_per_ms * span_ms(span.from.max(now - self.request_ms), span.to);
        if requests <= 0.0 {
            return 0.0;
        }
        let through: Vec<u64> = self
            .led_to(instance, span.from)
            .into_iter()
            .filter(|(target, _)| !span.cut_targets.contains(target))
            .map(|(_, pool)| pool)
            .collect();
        let mut shares = 0.0;
        for (number, entry) in &span.entries {
            let size = entry.pool.pods.len();
            let own = through.iter().filter(|pool| *pool == number).count();
            let here = entry.pool.pods.iter().filter(|pod| {
                let log = self.pods.get(&***pod).map(|pod| &pod.serves);
                self.host_of(pod).is_some_and(|host| **host == *instance)
                    && log.and_then(|log| log.at(span.from)) == Some(&true)
                    && !span.cut_pods.contains(*pod)
            });
            shares += share(own, span.total) * share(entry.serving, size);
            shares += share(entry.targets - own, span.total) * share(here.count(), size);
        }
        requests * shares
    }

    /// The targets of an instance at a time, and the pool that each led to.
    fn led_to(&self, instance: &str, at: Millis) -> Vec<(Target, u64)> {
        let range = (Arc::from(instance), 0)..=(Arc::from(instance), u16::MAX);
        let here = self.targets.range(range);
        here.filter_map(|(target, log)| {
            let Place::Lane(lane) = log.at(at)? else { return None };
            let number = self.lanes.get(lane)?.onward.at(at)?.ok()?;
            Some((target.clone(), number))
        })
        .collect()
    }
}

/// So many of so many.
#[expect(clippy::cast_precision_loss, reason = "counts of targets and pods are far below 2^52")]
pub(super) fn share(part: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}
