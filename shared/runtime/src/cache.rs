//! What an environment remembers between turns and invocations: small, bounded, and never for long.
//!
//! A cache saves calls that throttle; it never decides. What is written on the strength of a read (target
//! health, lifecycle states, nodes, pods) is read anew and is not in here. `now` is handed in, so that
//! age goes by the wall: after an environment was frozen for an hour, everything is old.

use decision::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Entries of one cache. Doubled, a few more hundred kilobytes of the 128 MB; halved, an account with
/// more than 256 groups or a storm of more foreign instances asks again for what it knew.
pub const ENTRIES_MAX: usize = 512;

/// How long the description of an Auto Scaling group (tags, attached target groups) holds. Doubled, a
/// tag that takes a group out of scope counts a minute later; halved, twice the calls in a storm.
pub const GROUP_LASTS: Duration = Duration::from_secs(30);

/// How long a group's lifecycle hooks (timeouts, metadata) hold; see [`GROUP_LASTS`].
pub const HOOKS_LAST: Duration = Duration::from_secs(30);

/// How long a target group's attributes and its balancer's kind hold. Operators change them by hand and
/// rarely: doubled, a changed deregistration delay is ten minutes late; halved, two calls a group more.
pub const ATTRIBUTES_LAST: Duration = Duration::from_secs(300);

/// How long a cluster's Services hold: which node port leads to which pods. Doubled, a new Service is
/// not seen while a node's whole Spot notice runs out by a third; halved, a list each turn.
pub const SERVICES_LAST: Duration = Duration::from_secs(20);

/// How long a cluster's endpoint and CA hold. They change when it is made anew or its CA is rotated,
/// and a TLS failure forgets them at once: doubled or halved, little changes.
pub const ENDPOINT_LASTS: Duration = Duration::from_secs(3600);

/// How long "not ours" holds for an instance. Doubled, an instance that is brought into scope by a tag
/// is noticed later by as much; halved, a region of foreign Spot instances costs twice the calls.
pub const FOREIGN_LASTS: Duration = Duration::from_secs(60);

/// A bounded map whose entries end after a time.
#[derive(Debug)]
pub struct Cache<K, V> {
    entries_max: usize,
    lasts: Duration,
    entries: Mutex<Entries<K, V>>,
}

#[derive(Debug)]
struct Entries<K, V> {
    by_key: BTreeMap<K, Entry<V>>,
    /// Counts the puts, so that the oldest is known within a millisecond too.
    puts: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    put_at: Timestamp,
    put: u64,
}

impl<K: Ord + Clone, V: Clone> Cache<K, V> {
    /// An empty cache of at most [`ENTRIES_MAX`] entries that last so long.
    pub fn new(lasts: Duration) -> Self {
        Self::bounded(ENTRIES_MAX, lasts)
    }

    /// An empty cache with a bound of its own, at least 1.
    pub fn bounded(entries_max: usize, lasts: Duration) -> Self {
        let entries = Mutex::new(Entries { by_key: BTreeMap::new(), puts: 0 });
        Self { entries_max: entries_max.max(1), lasts, entries }
    }

    /// What was put under this key, unless it is as old as entries get.
    pub fn get(&self, key: &K, now: Timestamp) -> Option<V> {
        let entries = self.lock();
        let entry = entries.by_key.get(key)?;
        (now.since(entry.put_at) < self.lasts).then(|| entry.value.clone())
    }

    /// Keeps a value. A full cache drops what was put first.
    pub fn put(&self, key: K, value: V, now: Timestamp) {
        let mut entries = self.lock();
        let put = entries.puts;
        entries.puts += 1;
        entries.by_key.insert(key, Entry { value, put_at: now, put });
        if entries.by_key.len() > self.entries_max {
            let oldest = entries.by_key.iter().min_by_key(|(_, entry)| entry.put);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                entries.by_key.remove(&oldest);
            }
        }
    }

    /// Drops one entry, so that it is read anew.
    pub fn forget(&self, key: &K) {
        self.lock().by_key.remove(key);
    }

    /// How many entries are held, old ones too.
    pub fn len(&self) -> usize {
        self.lock().by_key.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn an_entry_ends_after_its_time_and_a_new_one_starts_again() {
        let cache = Cache::new(Duration::from_secs(30));
        assert!(cache.is_empty());
        cache.put("workers", 1, at(0));
        assert_eq!(cache.get(&"workers", at(29_999)), Some(1));
        assert_eq!(cache.get(&"workers", at(30_000)), None);
        assert_eq!(cache.get(&"others", at(0)), None);
        cache.put("workers", 2, at(30_000));
        assert_eq!(cache.get(&"workers", at(59_999)), Some(2));
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn what_is_forgotten_is_gone() {
        let cache = Cache::new(Duration::from_secs(30));
        cache.put("workers", 1, at(0));
        cache.forget(&"workers");
        cache.forget(&"workers");
        assert_eq!(cache.get(&"workers", at(0)), None);
        assert!(cache.is_empty());
    }

    #[test]
    fn a_full_cache_drops_what_was_put_first_even_within_a_millisecond() {
        let cache = Cache::bounded(2, Duration::from_secs(30));
        cache.put("b", 1, at(0));
        cache.put("a", 2, at(0));
        cache.put("b", 3, at(0));
        assert_eq!(cache.len(), 2, "the same key takes no second place");
        cache.put("c", 4, at(0));
        assert_eq!(cache.get(&"a", at(0)), None, "b was put again after it");
        assert_eq!(cache.get(&"b", at(0)), Some(3));
        assert_eq!(cache.get(&"c", at(0)), Some(4));
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_old() {
        let cache = Cache::new(Duration::from_secs(30));
        cache.put("workers", 1, at(60_000));
        assert_eq!(cache.get(&"workers", at(0)), Some(1));
    }
}
