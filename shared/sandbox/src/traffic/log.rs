//! What held when: the values of the last moments, for requests that are still in flight.

use crate::world::Millis;

/// Values, each from its time on.
#[derive(Clone, Debug)]
pub(super) struct Log<T>(Vec<(Millis, T)>);

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Log<T> {
    /// From `now` on it is `value`; what held before `oldest` is forgotten.
    pub(super) fn set(&mut self, now: Millis, value: T, oldest: Millis) {
        let old = self.0.partition_point(|(at, _)| *at <= oldest);
        if old > 1 {
            self.0.drain(..old - 1);
        }
        match self.0.last_mut() {
            Some(last) if last.0 == now => last.1 = value,
            _ => self.0.push((now, value)),
        }
    }

    /// What held at a time.
    pub(super) fn at(&self, time: Millis) -> Option<&T> {
        let count = self.0.partition_point(|(at, _)| *at <= time);
        self.0.get(count.checked_sub(1)?).map(|(_, value)| value)
    }

    /// What holds now.
    pub(super) fn last(&self) -> Option<&T> {
        self.0.last().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::Log;

    #[test]
    fn a_log_knows_what_held_for_as_long_as_it_must() {
        let mut log = Log::default();
        assert_eq!(log.at(5), None);
        for (at, value) in [(10, 'a'), (20, 'b'), (20, 'c'), (30, 'd')] {
            log.set(at, value, 0);
        }
        let at = |log: &Log<char>, time| log.at(time).copied();
        assert_eq!((at(&log, 9), at(&log, 10), at(&log, 19)), (None, Some('a'), Some('a')));
        assert_eq!((at(&log, 20), at(&log, 31), log.last()), (Some('c'), Some('d'), Some(&'d')));
        log.set(40, 'e', 25);
        assert_eq!((at(&log, 15), at(&log, 25), at(&log, 40)), (None, Some('c'), Some('e')));
    }
}
