//! What acting taught: kept in the process, for economy and reports.

use super::Act;
use decision::id::{ClusterName, InstanceId, PodKey};
use decision::pace::eviction_pause;
use decision::snapshot::{Attempts, HookState, Memory};
use decision::step::{HookCall, Outcome, Removal};
use decision::time::Timestamp;
use std::time::Duration;

impl Act<'_> {
    fn remember(&self, instance: &InstanceId, change: impl FnOnce(&mut Memory)) {
        let now = self.app.clock.now();
        let mut memory = self.app.kept.memory.get(instance, now).unwrap_or_default();
        change(&mut memory);
        self.app.kept.memory.put(instance.clone(), memory, now);
    }

    pub(super) fn remember_hook(&self, instance: &InstanceId, call: &HookCall, state: HookState) {
        self.remember(instance, |memory| {
            memory.hooks.insert(call.token.fingerprint(), state);
        });
    }

    pub(super) fn remember_eviction(
        &self,
        instance: &InstanceId,
        pod: &Removal,
        outcome: &Outcome,
        at: Timestamp,
    ) {
        let refused = match outcome {
            Outcome::Failed { why, .. } => Some(why.clone()),
            Outcome::Done | Outcome::Skipped(_) => None,
        };
        self.remember(instance, |memory| {
            let count = memory.evictions.get(&pod.uid).map_or(0, |attempts| attempts.count);
            let attempts = Attempts { count: count.saturating_add(1), last_at: at, refused };
            memory.evictions.insert(pod.uid.clone(), attempts);
        });
    }

    /// An eviction under this budget took so long.
    pub(super) fn remember_eviction_took(&self, lane: (ClusterName, PodKey), took: Duration) {
        let (pauses, now) = (&self.app.kept.pauses, self.app.clock.now());
        let before = pauses.get(&lane, now).unwrap_or_default();
        match eviction_pause(before, took) {
            Duration::ZERO => pauses.forget(&lane),
            pause => pauses.put(lane, pause, now),
        }
    }

    /// The departure was reported as blocked.
    pub(crate) fn remember_blocked(&self, instance: &InstanceId, at: Timestamp) {
        self.remember(instance, |memory| memory.blocked_reported_at = Some(at));
    }
}
