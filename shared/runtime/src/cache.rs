//! What an environment remembers between turns and invocations: small, bounded, and never for long.
//!
//! A cache saves calls that throttle; it never decides. Capacity and lifetime are the owner's to choose, with
//! their reasons. `now` is handed in, so that age goes by the wall: after an environment was frozen for
//! an hour, everything is old.

use decision::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    /// What was known when it was put has changed since.
    is_outdated: bool,
}

impl<K: Ord + Clone, V: Clone> Cache<K, V> {
    /// An empty cache of so many entries at most (at least 1), each of which lasts so long.
    pub fn bounded(entries_max: usize, lasts: Duration) -> Self {
        let entries = Mutex::new(Entries { by_key: BTreeMap::new(), puts: 0 });
        Self { entries_max: entries_max.max(1), lasts, entries }
    }

    /// What was put under this key, unless it is as old as entries get.
    pub fn get(&self, key: &K, now: Timestamp) -> Option<V> {
        let entries = self.lock();
        let entry = entries.by_key.get(key).filter(|entry| !entry.is_outdated)?;
        (now.since(entry.put_at) < self.lasts).then(|| entry.value.clone())
    }

    /// What was put under this key less than `age` ago, outdated or not.
    pub fn within(&self, key: &K, now: Timestamp, age: Duration) -> Option<V> {
        let entries = self.lock();
        let entry = entries.by_key.get(key)?;
        (now.since(entry.put_at) < age).then(|| entry.value.clone())
    }

    /// What was put under this key last, however old: for when the service that knows better does not answer.
    pub fn last(&self, key: &K) -> Option<V> {
        self.lock().by_key.get(key).map(|entry| entry.value.clone())
    }

    /// What was put less than `age` ago, under any key.
    pub fn all_within(&self, now: Timestamp, age: Duration) -> Vec<V> {
        let entries = self.lock();
        let young = entries.by_key.values().filter(|entry| now.since(entry.put_at) < age);
        young.map(|entry| entry.value.clone()).collect()
    }

    /// Keeps a value. A full cache drops what was put first.
    pub fn put(&self, key: K, value: V, now: Timestamp) {
        let mut entries = self.lock();
        let put = entries.puts;
        entries.puts += 1;
        entries.by_key.insert(key, Entry { value, put_at: now, put, is_outdated: false });
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

    /// Changes what was put under this key, as old as it is.
    pub fn revise(&self, key: &K, change: impl FnOnce(&V) -> V) {
        if let Some(entry) = self.lock().by_key.get_mut(key) {
            entry.value = change(&entry.value);
        }
    }

    /// Makes one entry old: `get` reads it anew, [`Self::within`] a longer age may still be content with it.
    pub fn outdate(&self, key: &K) {
        if let Some(entry) = self.lock().by_key.get_mut(key) {
            entry.is_outdated = true;
        }
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

    /// How many entries there are, old ones too.
    fn held(cache: &Cache<&str, i32>) -> usize {
        cache.lock().by_key.len()
    }

    #[test]
    fn an_entry_ends_after_its_time_and_a_new_one_starts_again() {
        let cache = Cache::bounded(8, Duration::from_secs(30));
        cache.put("workers", 1, at(0));
        assert_eq!(cache.get(&"workers", at(29_999)), Some(1));
        assert_eq!(cache.get(&"workers", at(30_000)), None);
        assert_eq!(cache.get(&"others", at(0)), None);
        cache.put("workers", 2, at(30_000));
        assert_eq!(cache.get(&"workers", at(59_999)), Some(2));
        assert_eq!(held(&cache), 1);
    }

    #[test]
    fn what_is_forgotten_is_gone() {
        let cache = Cache::bounded(8, Duration::from_secs(30));
        cache.put("workers", 1, at(0));
        cache.forget(&"workers");
        cache.forget(&"workers");
        assert_eq!(cache.get(&"workers", at(0)), None);
        assert_eq!(held(&cache), 0);
    }

    #[test]
    fn a_full_cache_drops_what_was_put_first_even_within_a_millisecond() {
        let cache = Cache::bounded(2, Duration::from_secs(30));
        cache.put("b", 1, at(0));
        cache.put("a", 2, at(0));
        cache.put("b", 3, at(0));
        assert_eq!(held(&cache), 2, "the same key takes no second place");
        cache.put("c", 4, at(0));
        assert_eq!(cache.get(&"a", at(0)), None, "b was put again after it");
        assert_eq!(cache.get(&"b", at(0)), Some(3));
        assert_eq!(cache.get(&"c", at(0)), Some(4));
        assert_eq!(held(&cache), 2);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_old() {
        let cache = Cache::bounded(8, Duration::from_secs(30));
        cache.put("workers", 1, at(60_000));
        assert_eq!(cache.get(&"workers", at(0)), Some(1));
    }

    #[test]
    fn what_is_outdated_is_still_known_to_whoever_is_content_with_it() {
        let cache = Cache::bounded(2, Duration::from_secs(1));
        cache.put("a", 1, at(0));
        cache.put("b", 2, at(2_000));
        for _ in 0..2 {
            cache.outdate(&"a");
        }
        assert_eq!(cache.get(&"a", at(1)), None);
        assert_eq!(cache.within(&"a", at(2_999), Duration::from_secs(3)), Some(1));
        assert_eq!(cache.within(&"a", at(3_000), Duration::from_secs(3)), None);
        assert_eq!(cache.all_within(at(3_000), Duration::from_secs(3)), [2]);
        cache.put("a", 3, at(3_000));
        assert_eq!(cache.get(&"a", at(3_001)), Some(3));
    }
}
