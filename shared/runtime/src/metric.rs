//! Metrics as lines of CloudWatch's embedded metric format: no API call, no agent, no client.
//!
//! Lambda's log stream carries them; CloudWatch turns each `_aws` object that it finds there into metrics.
//! Names, units and dimensions are closed sets, so that no pod or instance name can become a dimension
//! (each combination is billed as a metric of its own). [`line`](Values::line) is pure, [`print()`] is the
//! one place that writes to standard output.

use decision::id::AsgName;
use decision::policy::Mode;
use decision::time::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::BTreeMap;

/// The namespace of all our metrics.
pub const NAMESPACE: &str = "Ebbtide";

/// Measured values of one metric on one line: what the format allows. A slice ends at most ten
/// departures, so doubled changes nothing, and CloudWatch would drop the whole metric.
const VALUES_MAX: usize = 100;

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Signals that were received, each receive counted.
    SignalsReceived,
    /// Signals that were acknowledged as not ours.
    SignalsIgnored,
    /// Steps that were done.
    StepsDone,
    /// Steps that failed; another turn tries again.
    StepsFailed,
    /// Hooks that were answered.
    HooksAnswered,
    /// Messages that were sent to the dead-letter queue.
    MessagesDeadLettered,
    /// Calls that AWS or an API server throttled.
    CallsThrottled,
    /// Departures that came to their end.
    DeparturesFinished,
    /// Departures that do not move because something holds a pod.
    DeparturesBlocked,
    /// Pods that were evicted.
    PodsEvicted,
    /// Pods that were deleted with a clamped grace.
    PodsForced,
    /// From the sending of a signal to the cordon.
    SignalToCordon,
    /// From the sending of a signal to the last target taken out.
    SignalToWithdrawn,
    /// From the first signal to the end of a departure.
    DepartureTime,
    /// From the launch of an instance to its node being ready.
    LaunchToReady,
    /// How long a slice took.
    SliceTime,
    /// 1 when everything that we need works, 0 when not.
    CanAct,
}

/// How the values of one metric on one line are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Their sum.
    Sum,
    /// Each for itself.
    Each,
    /// The last one.
    Last,
}

impl Metric {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 17] = [
        Self::SignalsReceived,
        Self::SignalsIgnored,
        Self::StepsDone,
        Self::StepsFailed,
        Self::HooksAnswered,
        Self::MessagesDeadLettered,
        Self::CallsThrottled,
        Self::DeparturesFinished,
        Self::DeparturesBlocked,
        Self::PodsEvicted,
        Self::PodsForced,
        Self::SignalToCordon,
        Self::SignalToWithdrawn,
        Self::DepartureTime,
        Self::LaunchToReady,
        Self::SliceTime,
        Self::CanAct,
    ];

    /// Its name in CloudWatch.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// Its unit, as CloudWatch spells it.
    pub const fn unit(self) -> &'static str {
        self.row().1
    }

    const fn row(self) -> (&'static str, &'static str, Kind) {
        match self {
            Self::SignalsReceived => ("SignalsReceived", "Count", Kind::Sum),
            Self::SignalsIgnored => ("SignalsIgnored", "Count", Kind::Sum),
            Self::StepsDone => ("StepsDone", "Count", Kind::Sum),
            Self::StepsFailed => ("StepsFailed", "Count", Kind::Sum),
            Self::HooksAnswered => ("HooksAnswered", "Count", Kind::Sum),
            Self::MessagesDeadLettered => ("MessagesDeadLettered", "Count", Kind::Sum),
            Self::CallsThrottled => ("CallsThrottled", "Count", Kind::Sum),
            Self::DeparturesFinished => ("DeparturesFinished", "Count", Kind::Sum),
            Self::DeparturesBlocked => ("DeparturesBlocked", "Count", Kind::Sum),
            Self::PodsEvicted => ("PodsEvicted", "Count", Kind::Sum),
            Self::PodsForced => ("PodsForced", "Count", Kind::Sum),
            Self::SignalToCordon => ("SignalToCordon", "Milliseconds", Kind::Each),
            Self::SignalToWithdrawn => ("SignalToWithdrawn", "Milliseconds", Kind::Each),
            Self::DepartureTime => ("DepartureTime", "Milliseconds", Kind::Each),
            Self::LaunchToReady => ("LaunchToReady", "Milliseconds", Kind::Each),
            Self::SliceTime => ("SliceTime", "Milliseconds", Kind::Each),
            Self::CanAct => ("CanAct", "Count", Kind::Last),
        }
    }
}

/// Which function speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Function {
    /// `lifecycle`
    Lifecycle,
    /// `interruption`
    Interruption,
    /// `target-health`
    TargetHealth,
    /// `sweep`
    Sweep,
}

impl Function {
    /// Its name, as its folder and the template call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lifecycle => "lifecycle",
            Self::Interruption => "interruption",
            Self::TargetHealth => "target-health",
            Self::Sweep => "sweep",
        }
    }
}

/// What tells one series of a metric from another; there is nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimensions {
    /// `Function`
    pub function: Function,
    /// `Mode`: what was done is not mixed with what would have been done.
    pub mode: Mode,
    /// `AutoScalingGroup`, for what is about one group. The operator's groups are few.
    pub group: Option<AsgName>,
}

/// The values of one slice, on their way to one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<Metric, Vec<u64>>);

impl Values {
    /// Takes note of a value: counts are summed, times are kept one by one (at most 100 of a metric),
    /// of [`Metric::CanAct`] the last one counts.
    pub fn add(&mut self, metric: Metric, value: u64) {
        let values = self.0.entry(metric).or_default();
        let listed = values.len();
        match (metric.row().2, values.first_mut()) {
            (Kind::Sum, Some(sum)) => *sum = sum.saturating_add(value),
            (Kind::Last, Some(last)) => *last = value,
            (Kind::Each, Some(_)) if listed == VALUES_MAX => {}
            (Kind::Sum | Kind::Last | Kind::Each, _) => values.push(value),
        }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The line, without its end: an object with `_aws` and one field for each dimension and metric.
    pub fn line(&self, dimensions: &Dimensions, at: Timestamp) -> String {
        // Numbers and strings: nothing that could fail.
        serde_json::to_string(&Line { values: self, dimensions, at }).unwrap_or_default()
    }
}

struct Line<'a> {
    values: &'a Values,
    dimensions: &'a Dimensions,
    at: Timestamp,
}

impl Line<'_> {
    fn dimensions(&self) -> Vec<(&'static str, &str)> {
        let mut pairs = vec![
            ("Function", self.dimensions.function.name()),
            ("Mode", mode_name(self.dimensions.mode)),
        ];
        pairs
            .extend(self.dimensions.group.as_ref().map(|name| ("AutoScalingGroup", name.as_str())));
        pairs
    }
}

impl Serialize for Line<'_> {
    /// By hand, since the order of the fields is the order of the text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("_aws", &Meta(self))?;
        for (name, value) in self.dimensions() {
            map.serialize_entry(name, value)?;
        }
        for (metric, values) in &self.values.0 {
            match values.as_slice() {
                [value] => map.serialize_entry(metric.name(), value)?,
                values => map.serialize_entry(metric.name(), values)?,
            }
        }
        map.end()
    }
}

struct Meta<'a>(&'a Line<'a>);

impl Serialize for Meta<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("Timestamp", &self.0.at.millis())?;
        map.serialize_entry("CloudWatchMetrics", &[Directive(self.0)])?;
        map.end()
    }
}

struct Directive<'a>(&'a Line<'a>);

impl Serialize for Directive<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names: Vec<&str> = self.0.dimensions().iter().map(|(name, _)| *name).collect();
        let definitions: Vec<Definition> =
            self.0.values.0.keys().map(|metric| Definition(*metric)).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("Namespace", NAMESPACE)?;
        map.serialize_entry("Dimensions", &[names])?;
        map.serialize_entry("Metrics", &definitions)?;
        map.end()
    }
}

struct Definition(Metric);

impl Serialize for Definition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("Name", self.0.name())?;
        map.serialize_entry("Unit", self.0.unit())?;
        map.end()
    }
}

/// A mode as configuration spells it.
pub const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Act => "act",
        Mode::Paused => "paused",
    }
}

/// Writes a line to standard output, past the log subscriber, which would wrap it.
#[expect(clippy::print_stdout, reason = "the one place that writes metrics")]
pub fn print(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const AT: Timestamp = Timestamp::from_seconds(1_795_339_800);

    fn dimensions(group: Option<&str>) -> Dimensions {
        let group = group.map(|name| name.parse().unwrap());
        Dimensions { function: Function::Lifecycle, mode: Mode::Act, group }
    }

    #[test]
    fn a_line_is_what_cloudwatch_documents() {
        let mut values = Values::default();
        values.add(Metric::SliceTime, 812);
        values.add(Metric::SignalsReceived, 7);
        values.add(Metric::SignalsReceived, 3);
        values.add(Metric::SignalToCordon, 640);
        values.add(Metric::SignalToCordon, 712);
        let line = values.line(&dimensions(None), AT);
        let expected = concat!(
            r#"{"_aws":{"Timestamp":1795339800000,"CloudWatchMetrics":[{"Namespace":"Ebbtide","#,
            r#""Dimensions":[["Function","Mode"]],"Metrics":["#,
            r#"{"Name":"SignalsReceived","Unit":"Count"},"#,
            r#"{"Name":"SignalToCordon","Unit":"Milliseconds"},"#,
            r#"{"Name":"SliceTime","Unit":"Milliseconds"}]}]},"#,
            r#""Function":"lifecycle","Mode":"act","#,
            r#""SignalsReceived":10,"SignalToCordon":[640,712],"SliceTime":812}"#,
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn a_groups_line_names_it_once_more() {
        let mut values = Values::default();
        values.add(Metric::CanAct, 1);
        values.add(Metric::CanAct, 0);
        let line = values.line(&dimensions(Some(r#"work"ers"#)), AT);
        let expected = concat!(
            r#"{"_aws":{"Timestamp":1795339800000,"CloudWatchMetrics":[{"Namespace":"Ebbtide","#,
            r#""Dimensions":[["Function","Mode","AutoScalingGroup"]],"#,
            r#""Metrics":[{"Name":"CanAct","Unit":"Count"}]}]},"#,
            r#""Function":"lifecycle","Mode":"act","AutoScalingGroup":"work\"ers","CanAct":0}"#,
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn no_more_than_a_hundred_values_of_a_metric_are_listed() {
        let mut values = Values::default();
        assert!(values.is_empty());
        for value in 0..101 {
            values.add(Metric::DepartureTime, value);
            values.add(Metric::PodsEvicted, 1);
        }
        let line = values.line(&dimensions(None), AT);
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["DepartureTime"].as_array().unwrap().len(), VALUES_MAX);
        assert_eq!(parsed["PodsEvicted"], 101);
    }

    #[test]
    fn names_are_unique_and_counts_are_not_times() {
        let names: BTreeSet<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        assert_eq!(names.len(), Metric::ALL.len());
        for metric in Metric::ALL {
            assert_eq!(format!("{metric:?}"), metric.name());
            let is_time = metric.row().2 == Kind::Each;
            assert_eq!(metric.unit() == "Milliseconds", is_time, "{metric:?}");
        }
        let mut sorted = Metric::ALL;
        sorted.sort();
        assert_eq!(sorted, Metric::ALL, "in the order of the enum, with none left out");
    }
}
