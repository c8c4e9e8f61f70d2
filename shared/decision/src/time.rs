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
