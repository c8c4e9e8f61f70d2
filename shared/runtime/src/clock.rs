//! The clock: wall time for what AWS says, tokio's time for what we wait for.
//!
//! AWS's deadlines and a token's age go by wall time, which runs on while an environment is frozen;
//! waits go by tokio's clock, which tests pause. This is the one place that reads the wall clock, and
//! the one that converts between the two. Under a virtual clock both are the same: the wall moves
//! exactly as far as tokio's clock does.

use cloud::TimeSource;
use decision::time::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// What time it is.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system's.
    System,
    /// A world's own time, which begins at `start` and moves with tokio's clock.
    Virtual {
        /// Tokio's instant at which that time began.
        base: Instant,
        /// The wall time it began with.
        start: Timestamp,
    },
}

impl Clock {
    /// A virtual clock that shows `start` now. Needs a tokio runtime.
    pub fn starting(start: Timestamp) -> Self {
        Self::Virtual { base: Instant::now(), start }
    }

    /// The wall time, to the millisecond.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => wall(),
            Self::Virtual { base, start } => *start + base.elapsed(),
        }
    }

    /// The wall time as requests are signed by it.
    pub fn system_time(&self) -> SystemTime {
        let millis = u64::try_from(self.now().millis()).unwrap_or(0);
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    /// When, on tokio's clock, this wall time comes; now if it has come. Right only until the wall
    /// clock is set or the environment is frozen, so convert just before waiting and never keep it.
    pub fn instant_of(&self, when: Timestamp) -> Instant {
        Instant::now() + self.now().until(when)
    }

    /// Waits until this wall time; not at all if it has come.
    pub async fn sleep_until(&self, when: Timestamp) {
        tokio::time::sleep_until(self.instant_of(when)).await;
    }
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        self.system_time()
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall() -> Timestamp {
    // A clock that is set before 1970 shows 1970: every deadline is then far, and nothing is forced.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH + since
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_795_339_800);

    #[tokio::test(start_paused = true)]
    async fn a_virtual_clock_moves_with_tokio() {
        let clock = Clock::starting(START);
        assert_eq!(clock.now(), START);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(clock.now(), START + Duration::from_millis(1_500));
        let since = clock.system_time().duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(since, Duration::from_millis(1_795_339_801_500));
        assert_eq!(TimeSource::now(&clock), clock.system_time());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_at_the_instant_and_what_is_past_is_not_waited_for() {
        let clock = Clock::starting(START);
        clock.sleep_until(START + Duration::from_secs(90)).await;
        assert_eq!(clock.now(), START + Duration::from_secs(90));
        let before = Instant::now();
        clock.sleep_until(START).await;
        assert_eq!(Instant::now(), before);
        assert_eq!(clock.instant_of(START), before, "the past is now");
    }

    #[tokio::test(start_paused = true)]
    async fn the_farthest_time_can_be_converted() {
        for clock in [Clock::System, Clock::starting(Timestamp::EPOCH)] {
            let instant = clock.instant_of(Timestamp::from_millis(i64::MAX));
            assert!(instant > Instant::now() + Duration::from_secs(3600), "{clock:?}");
        }
    }

    #[test]
    fn the_system_clock_shows_this_century() {
        let year_2026 = Timestamp::from_seconds(1_767_225_600);
        assert!(Clock::System.now() > year_2026);
    }
}
