//! How often to look: often while seconds count, rarely in a drain of hours, always within the hook's heartbeat.

use crate::decision::Decision;
use crate::id::InstanceId;
use crate::limits::{
    CRASH_COSTS_AT_MOST, EVICTION_COLLIDED, EVICTION_PAUSE_MAX, EVICTION_PAUSE_MIN,
    EVICTIONS_END_BEFORE, LOOK_EVERY, LOOK_EVERY_LATER, LOOKS_PER_SECOND,
};
use crate::time::Timestamp;
use std::time::Duration;

/// The longest wait that a hook with this heartbeat timeout leaves: after a third of the period without a heartbeat, two
/// waits and a crash still fit in. A period that a crash uses up almost whole leaves a sixth.
pub fn longest_wait(heartbeat: Duration) -> Duration {
    (heartbeat.saturating_sub(CRASH_COSTS_AT_MOST) / 3).max(heartbeat / 6)
}

/// When to look again at a departure that began at `since`, if no earlier instant matters.
pub fn look(now: Timestamp, since: Timestamp, heartbeat: Option<Duration>) -> Timestamp {
    let age = now.since(since);
    let every = LOOK_EVERY
        .iter()
        .find(|(younger_than, _)| age < *younger_than)
        .map_or(LOOK_EVERY_LATER, |(_, every)| *every);
    now + every.min(heartbeat.map_or(every, longest_wait))
}

/// When to look again at one of so many departing nodes: rarely enough that all of them together cost no more than
/// [`LOOKS_PER_SECOND`], and each at its own time.
pub fn crowded(now: Timestamp, instance: &InstanceId, receives: u32, nodes: usize) -> Timestamp {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    let every = Duration::from_secs(1) * nodes / LOOKS_PER_SECOND;
    now + every / 2 + jitter(instance, receives, every)
}

/// When the evictions of a batch must be over, because a hook in it is to be answered before its hard deadline. `None`: no hook
/// has one that is to come.
pub fn evictions_end(decisions: &[Decision], now: Timestamp) -> Option<Timestamp> {
    let by = decisions.iter().filter_map(|decision| decision.report.answer_by);
    by.filter(|by| *by > now).min().map(|by| by - EVICTIONS_END_BEFORE)
}

/// The longest pause before the next eviction under a budget, by the one before it and how long that eviction took. Processes
/// do not see each other; each finds by its own collisions how many there are, as stations on one wire do. It grows more slowly
/// than it shrinks, since the budget's controller writes as well, and would be taken for ever more of us.
pub fn eviction_pause(before: Duration, took: Duration) -> Duration {
    if took >= EVICTION_COLLIDED {
        return (before * 3 / 2).clamp(EVICTION_PAUSE_MIN, EVICTION_PAUSE_MAX);
    }
    let half = before / 2;
    if half < EVICTION_PAUSE_MIN / 2 { Duration::ZERO } else { half }
}

/// Spreads instants of many departures over `span`: a hash of the instance and the receive count, no chance in it.
pub fn jitter(instance: &InstanceId, receives: u32, span: Duration) -> Duration {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325 ^ u64::from(receives);
    for byte in instance.as_str().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let span_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(hash % span_ms)
}
