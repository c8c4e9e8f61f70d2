//! Instants and deadlines as plain values, in milliseconds, the finest that AWS sends.
//!
//! Nothing here asks a clock: whoever decides is handed `now`. A `Deadline` is an absolute instant,
//! passed by value; a part of the time that is left is a deadline too (`share`, `before`), so a wait
//! inside a wait can never outlive it. All arithmetic saturates: a wrong number from outside gives a
//! far or a passed deadline, never a panic.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use jiff::fmt::rfc2822;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::shorten;

/// The first and last millisecond that can be printed as RFC 3339 (jiff's range).
const MILLIS_MIN: i64 = -377_705_023_201_000;
const MILLIS_MAX: i64 = 253_402_207_200_999;

/// An instant: milliseconds since the Unix epoch, within the years that RFC 3339 can print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A text that is not an instant: the value seen (shortened) and the form expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("time `{value}`: expected {expected}")]
pub struct TimeError {
    /// The text seen, shortened.
    pub value: String,
    /// The form expected, as a phrase with an example.
    pub expected: &'static str,
}

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// An instant from milliseconds since the epoch; what lies outside of jiff's range is clamped.
    pub const fn from_millis(millis: i64) -> Self {
        if millis < MILLIS_MIN {
            Self(MILLIS_MIN)
        } else if millis > MILLIS_MAX {
            Self(MILLIS_MAX)
        } else {
            Self(millis)
        }
    }

    /// An instant from whole seconds since the epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self::from_millis(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339, any offset: `2026-11-22T09:30:00Z`. What is finer than a millisecond is cut.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimeError> {
        let expected = "RFC 3339, such as 2026-11-22T09:30:00Z";
        match text.parse::<jiff::Timestamp>() {
            Ok(instant) => Ok(Self::from_millis(instant.as_millisecond())),
            Err(_) => Err(TimeError { value: shorten(text), expected }),
        }
    }

    /// Parses RFC 2822 as AWS Health writes it: `Sat, 05 Jun 2016 15:10:09 GMT`. The weekday may be
    /// wrong, as it is in that sample of AWS's own.
    pub fn parse_rfc2822(text: &str) -> Result<Self, TimeError> {
        const PARSER: rfc2822::DateTimeParser =
            rfc2822::DateTimeParser::new().relaxed_weekday(true);
        let expected = "RFC 2822, such as Sun, 22 Nov 2026 09:30:00 GMT";
        match PARSER.parse_timestamp(text) {
            Ok(instant) => Ok(Self::from_millis(instant.as_millisecond())),
            Err(_) => Err(TimeError { value: shorten(text), expected }),
        }
    }

    /// Parses either of the two forms that AWS writes times in.
    pub fn parse_any(text: &str) -> Result<Self, TimeError> {
        Self::parse_rfc3339(text).or_else(|error| Self::parse_rfc2822(text).map_err(|_| error))
    }

    /// The time from `earlier` to this instant; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The time from this instant to `later`; zero if `later` is earlier.
    pub fn until(self, later: Self) -> Duration {
        later.since(self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        if self.0 % 1000 == 0 { write!(out, "{instant:.0}") } else { write!(out, "{instant:.3}") }
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        Self::parse_rfc3339(text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse_rfc3339(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, later_by: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(whole_millis(later_by)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, earlier_by: Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(whole_millis(earlier_by)))
    }
}

/// An absolute instant by which something must be over; at that very instant it is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Deadline(Timestamp);

impl Deadline {
    /// The deadline at this instant.
    pub const fn at(when: Timestamp) -> Self {
        Self(when)
    }

    /// The instant of the deadline.
    pub const fn when(self) -> Timestamp {
        self.0
    }

    /// The deadline that leaves `margin` before this one.
    pub fn before(self, margin: Duration) -> Self {
        Self(self.0 - margin)
    }

    /// The deadline that grants `numerator/denominator` of what is left: `share(now, 1, 3)` is a
    /// third of it. Never later than this deadline, and a denominator of 0 counts as 1.
    pub fn share(self, now: Timestamp, numerator: u32, denominator: u32) -> Self {
        let left = self.remaining(now).as_millis();
        let part = left * u128::from(numerator) / u128::from(denominator.max(1));
        let part = Duration::from_millis(u64::try_from(part.min(left)).unwrap_or(u64::MAX));
        Self(now + part).earlier(self)
    }

    /// The time left; zero once the deadline has passed.
    pub fn remaining(self, now: Timestamp) -> Duration {
        self.0.since(now)
    }

    /// Whether no time is left.
    pub fn passed(self, now: Timestamp) -> bool {
        now >= self.0
    }

    /// The earlier of two deadlines.
    pub fn earlier(self, other: Self) -> Self {
        self.min(other)
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A duration for people, in its two largest units at most and never rounded up: `0 s`, `44 s`,
/// `1 min 30 s`, `11 min`, `2 h 5 min`, `2 d 3 h`. Seconds are left out from ten minutes on.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..600 => two(minutes, "min", seconds % 60, "s"),
        600..3600 => format!("{minutes} min"),
        3600..86_400 => two(hours, "h", minutes % 60, "min"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// Two units, the second left out when it is zero.
fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 {
        format!("{large} {large_unit}")
    } else {
        format!("{large} {large_unit} {small} {small_unit}")
    }
}

fn whole_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn times_are_printed_in_utc_with_milliseconds_only_when_there_are_any() {
        let rows = [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_339_800_000, "2026-11-22T09:30:00Z"),
            (1_795_339_800_001, "2026-11-22T09:30:00.001Z"),
            (1_795_339_800_500, "2026-11-22T09:30:00.500Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (i64::MAX, "9999-12-30T22:00:00.999Z"),
            (i64::MIN, "-009999-01-02T01:59:59Z"),
        ];
        for (millis, text) in rows {
            assert_eq!(Timestamp::from_millis(millis).to_string(), text, "{millis}");
        }
    }

    #[test]
    fn the_range_is_all_that_can_be_printed() {
        assert_eq!(MILLIS_MIN, jiff::Timestamp::MIN.as_millisecond());
        assert_eq!(MILLIS_MAX, jiff::Timestamp::MAX.as_millisecond());
    }

    #[test]
    fn rfc_3339_is_read_with_any_offset_and_cut_to_milliseconds() {
        let rows = [
            ("2026-11-22T09:30:00Z", Some(1_795_339_800_000)),
            ("2026-11-22T10:30:00+01:00", Some(1_795_339_800_000)),
            ("2026-11-22T09:30:00.1239Z", Some(1_795_339_800_123)),
            ("yyyy-mm-ddThh:mm:ssZ", None),
            ("2026-11-22T09:30:00", None),
            ("2026-11-22", None),
            ("", None),
        ];
        for (text, millis) in rows {
            let parsed = Timestamp::parse_rfc3339(text);
            assert_eq!(parsed.ok().map(Timestamp::millis), millis, "{text}");
        }
        assert_eq!(
            Timestamp::parse_rfc3339("noon").unwrap_err().to_string(),
            "time `noon`: expected RFC 3339, such as 2026-11-22T09:30:00Z"
        );
    }

    #[test]
    fn rfc_2822_is_read_even_with_a_wrong_weekday() {
        let rows = [
            ("Sun, 05 Jun 2016 15:10:09 GMT", Some(1_465_139_409)),
            // AWS's own sample: that day was a Sunday.
            ("Sat, 05 Jun 2016 15:10:09 GMT", Some(1_465_139_409)),
            ("5 Jun 2016 17:10:09 +0200", Some(1_465_139_409)),
            ("Thu, 27 Aug 2026 13:19:03 GMT", Some(1_787_836_743)),
            // A day of one digit, as in another of AWS's samples.
            ("Fri, 3 Jun 2022 05:01:10 GMT", Some(1_654_232_470)),
            ("2016-06-05T15:10:09Z", None),
            ("", None),
        ];
        for (text, seconds) in rows {
            assert_eq!(Timestamp::parse_rfc2822(text).ok(), seconds.map(at), "{text}");
        }
    }

    #[test]
    fn either_form_is_read_and_the_error_asks_for_the_first() {
        assert_eq!(Timestamp::parse_any("2016-06-05T15:10:09Z"), Ok(at(1_465_139_409)));
        assert_eq!(Timestamp::parse_any("Sun, 05 Jun 2016 15:10:09 GMT"), Ok(at(1_465_139_409)));
        let error = Timestamp::parse_any("[Current time]").unwrap_err();
        let expected = "RFC 3339, such as 2026-11-22T09:30:00Z";
        assert_eq!(error, TimeError { value: "[Current time]".to_owned(), expected });
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        let (first, last) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        assert_eq!(last + Duration::MAX, last);
        assert_eq!(first - Duration::MAX, first);
        assert_eq!(at(10) + Duration::from_millis(1), Timestamp::from_millis(10_001));
        assert_eq!(at(10) - Duration::from_secs(3), at(7));
        assert_eq!(at(10).since(at(7)), Duration::from_secs(3));
        assert_eq!(at(7).since(at(10)), Duration::ZERO);
        assert_eq!(at(7).until(at(10)), Duration::from_secs(3));
        assert_eq!(last.until(first), Duration::ZERO);
    }

    #[test]
    fn a_deadline_is_passed_at_its_very_instant() {
        let deadline = Deadline::at(at(100));
        assert!(!deadline.passed(Timestamp::from_millis(99_999)));
        assert!(deadline.passed(at(100)));
        assert_eq!(deadline.remaining(at(40)), Duration::from_secs(60));
        assert_eq!(deadline.remaining(at(101)), Duration::ZERO);
        assert_eq!(deadline.before(Duration::from_secs(5)).when(), at(95));
        assert_eq!(deadline.earlier(Deadline::at(at(99))), Deadline::at(at(99)));
    }

    #[test]
    fn a_share_never_outlives_the_whole() {
        let deadline = Deadline::at(at(100));
        assert_eq!(deadline.share(at(40), 1, 3).when(), at(60));
        assert_eq!(deadline.share(at(40), 3, 3).when(), at(100));
        assert_eq!(deadline.share(at(40), 9, 3).when(), at(100));
        assert_eq!(deadline.share(at(40), 1, 0).when(), at(100));
        assert_eq!(deadline.share(at(40), 0, 3).when(), at(40));
        assert_eq!(deadline.share(at(200), 1, 3), deadline, "already passed");
    }

    #[test]
    fn durations_are_told_in_two_units_at_most() {
        let rows = [
            (0, "0 s"),
            (44, "44 s"),
            (59, "59 s"),
            (60, "1 min"),
            (90, "1 min 30 s"),
            (599, "9 min 59 s"),
            (600, "10 min"),
            (11 * 60 + 59, "11 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (2 * 3600 + 5 * 60, "2 h 5 min"),
            (86_399, "23 h 59 min"),
            (86_400, "1 d"),
            (2 * 86_400 + 3 * 3600, "2 d 3 h"),
        ];
        for (seconds, text) in rows {
            assert_eq!(human(Duration::from_secs(seconds)), text, "{seconds}");
        }
        assert_eq!(human(Duration::from_millis(1999)), "1 s");
    }
}
