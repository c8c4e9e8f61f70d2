//! What is logged: the names of fields, the span of an invocation, and the lines that alarms read.
//!
//! Two lines are an interface: the closing line of a slice, with the whole outcome, and the departure
//! record at the end of each departure. Alarms, the dashboard and saved queries go by their messages and
//! by the names in [`field`]. Levels: info, state has changed; warn, we go on; error, a person must act.
//! [`init`] is the one place that installs a subscriber.

mod closing;
pub mod field;

pub use closing::{Closing, Trigger};

use crate::config::{LogFormat, LogLevel};
use decision::id::InstanceId;
use tracing::level_filters::LevelFilter;
use tracing::{Span, info, info_span};

/// The message of a departure record.
pub const DEPARTURE_RECORD: &str = "departure record";

/// Whether an environment has just started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// This is its first invocation.
    Cold,
    /// It has served before.
    Warm,
}

/// Installs the subscriber: lines on standard output without a time, which Lambda adds, in the format and at the level of
/// Lambda's logging configuration. Call it once: a second call panics. Not lambda_runtime's own, whose filter by module
/// brings a compiler of regular expressions.
pub fn init(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt().with_target(false).without_time().with_max_level(level);
    match format {
        LogFormat::Json => lines.json().init(),
        LogFormat::Text => lines.init(),
    }
}

/// The span of one invocation; everything that is logged within carries its fields.
pub fn invocation(request_id: &str, start: Start, trigger: Trigger) -> Span {
    let cold_start = start == Start::Cold;
    info_span!(
        "invocation",
        { field::REQUEST_ID } = request_id,
        { field::COLD_START } = cold_start,
        { field::TRIGGER } = trigger.name(),
    )
}

/// The departure record, as one line: everything that happened to one instance on its way out. The record is
/// one field with JSON text, since its shape is its own.
pub fn departure(instance: &InstanceId, record: &serde_json::Value) {
    info!({ field::INSTANCE } = %instance, { field::RECORD } = %record, "departure record");
}

#[cfg(test)]
mod tests;
