//! Texts of settings: spans of time, lists, choices; and the error that names variable, value and form.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: `{value}`, expected {expected}")]
pub struct SettingError {
    /// The environment variable, or the key in the hook's metadata.
    pub name: String,
    /// The value seen, shortened.
    pub value: String,
    /// The form expected.
    pub expected: String,
}

impl SettingError {
    /// A mistake in the setting `name`.
    pub fn new(name: &str, value: &str, expected: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: crate::id::shorten(value), expected: expected.into() }
    }
}

/// A span of time as people write it: `90s`, `5m`, `2h`, whole numbers of one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// The form of a [`Span`], for errors.
pub(super) const SPAN_FORM: &str = "a whole number with a unit: 90s, 5m or 2h (at most 48h)";

/// The longest span that a setting takes: no lifecycle action can last longer (AWS: GlobalTimeout).
const SPAN_SECONDS_MAX: u64 = 48 * 3600;

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let units = [("h", 3600), ("m", 60), ("s", 1)];
        let (number, unit_seconds) = units
            .iter()
            .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)))
            .ok_or(SPAN_FORM)?;
        let count: u64 = number.trim_end().parse().map_err(|_| SPAN_FORM)?;
        let seconds = count.checked_mul(unit_seconds).ok_or(SPAN_FORM)?;
        if seconds > SPAN_SECONDS_MAX {
            Err(SPAN_FORM)
        } else {
            Ok(Self(Duration::from_secs(seconds)))
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 => write!(out, "0s"),
            _ if seconds.is_multiple_of(3600) => write!(out, "{}h", seconds / 3600),
            _ if seconds.is_multiple_of(60) => write!(out, "{}m", seconds / 60),
            _ => write!(out, "{seconds}s"),
        }
    }
}

/// Parses a comma-separated list; empty entries are left out.
pub(super) fn list<T: FromStr + Ord>(
    text: &str,
    form: &str,
) -> Result<std::collections::BTreeSet<T>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(|item| item.parse().map_err(|_| format!("{form}, comma-separated")))
        .collect()
}

/// Parses one of a few words.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(" or "))
}

/// Parses a span into its field.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    text.parse().map(|Span(duration)| duration).map_err(str::to_owned)
}
