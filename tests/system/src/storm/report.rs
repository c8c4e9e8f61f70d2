//! What a storm came to: a line of a table, and JSON.

use super::Times;
use lambda::Process;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Half of the nodes were done by `p50`, all but one in a hundred by `p99`; seconds from the warning on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread {
    /// How many were done at all.
    pub done: usize,
    /// Seconds.
    pub p50: f64,
    /// Seconds.
    pub p99: f64,
    /// Seconds.
    pub last: f64,
}

impl Spread {
    pub(super) fn of(times: impl Iterator<Item = Option<Duration>>) -> Self {
        let mut times: Vec<Duration> = times.flatten().collect();
        times.sort_unstable();
        // The nearest rank, as for the times of requests.
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).map_or(0.0, Duration::as_secs_f64)
        };
        Self { done: times.len(), p50: at(50), p99: at(99), last: at(100) }
    }

    /// As it is written to the file.
    pub fn json(self) -> Value {
        json!({"done": self.done, "p50_s": self.p50, "p99_s": self.p99, "last_s": self.last})
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, p50, p99, last } = self;
        write!(out, "{done:>5} {p50:>6.2} {p99:>6.2} {last:>6.2}")
    }
}

/// From the start of processes to their first request for an invocation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    /// Processor time.
    pub cpu: Spread,
    /// On the wall.
    pub wall: Spread,
}

impl Start {
    fn of(processes: &[Process]) -> Self {
        Self {
            cpu: Spread::of(processes.iter().map(|it| it.cpu_to_next)),
            wall: Spread::of(processes.iter().map(|it| it.start_to_next)),
        }
    }
}

/// One storm.
#[derive(Clone, Debug)]
pub struct Report {
    /// Nodes that were warned.
    pub warned: usize,
    /// Until unschedulable.
    pub cordoned: Spread,
    /// Until its target was gone or drained.
    pub withdrawn: Spread,
    /// Until no pod was left.
    pub drained: Spread,
    /// Requests to the API server by whoever acts, by verb and resource.
    pub requests: BTreeMap<String, usize>,
    /// Processes of the function so far.
    pub processes: usize,
    /// How they started.
    pub start: Start,
    /// The most that one of them held, in bytes.
    pub memory: Option<u64>,
}

impl Report {
    pub(super) fn of(
        times: &BTreeMap<String, Times>,
        requests: BTreeMap<String, usize>,
        processes: &[Process],
    ) -> Self {
        Self {
            warned: times.len(),
            cordoned: Spread::of(times.values().map(|times| times.cordoned)),
            withdrawn: Spread::of(times.values().map(|times| times.withdrawn)),
            drained: Spread::of(times.values().map(|times| times.drained)),
            requests,
            processes: processes.len(),
            start: Start::of(processes),
            memory: processes.iter().filter_map(|process| process.peak_memory_bytes).max(),
        }
    }

    /// The lines above a table of reports.
    pub const HEAD: &str = "\
nodes  | cordoned                  | withdrawn                 | drained                   | requests | processes | MiB
warned | nodes    p50    p99   last | nodes    p50    p99   last | nodes    p50    p99   last |          |           |";

    /// Requests to the API server for each departure.
    pub fn requests_each(&self) -> f64 {
        let requests: usize = self.requests.values().sum();
        f64::from(u32::try_from(requests).unwrap_or(u32::MAX))
            / f64::from(u32::try_from(self.warned.max(1)).unwrap_or(u32::MAX))
    }

    /// All of it.
    pub fn json(&self) -> Value {
        json!({
            "warned": self.warned,
            "cordoned": self.cordoned.json(),
            "withdrawn": self.withdrawn.json(),
            "drained": self.drained.json(),
            "requests": self.requests,
            "requests_total": self.requests.values().sum::<usize>(),
            "requests_each": self.requests_each(),
            "processes": self.processes,
            "start": {"cpu": self.start.cpu.json(), "wall": self.start.wall.json()},
            "peak_memory_bytes": self.memory,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests: usize = self.requests.values().sum();
        let memory = self.memory.map_or("-".to_owned(), |bytes| (bytes >> 20).to_string());
        write!(
            out,
            "{:>6} | {} | {} | {} | {requests:>8} | {:>9} | {memory:>3}",
            self.warned, self.cordoned, self.withdrawn, self.drained, self.processes
        )
    }
}
