//! The event file: its messages, and what each of them says.
//!
//! Whatever a queue or a person would hand to the function is taken as it is, but for what can't be the file's own:
//! see `truth`.

use crate::args::DemoArgs;
use decision::event::{EventError, Parsed, parse};
use decision::signal::{HookSignal, Reservation, Signal};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The event that is played when none is named, so that the demo works from anywhere.
const DEFAULT: (&str, &str) = (
    "events/autoscaling.terminate.json",
    include_str!("../../../events/autoscaling.terminate.json"),
);

/// The event as it was given.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// The file, as it was named.
    pub(crate) name: String,
    /// Whether the file was named: the default need not be named again.
    pub(crate) named: bool,
    /// Its messages, in their order.
    pub(crate) messages: Vec<Message>,
}

/// One message for the queue.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Its body, as text.
    pub(crate) body: String,
    /// What it says.
    pub(crate) content: Content,
}

/// What a message says.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// A lifecycle action, or interruptions: one for each instance.
    Signals(Vec<Signal>),
    /// The same for the instances of a capacity reservation.
    Reservation(Reservation),
    /// Nothing for the function to do, and why.
    Ignored(String),
    /// It can't be read, and why.
    Unreadable(String),
}

impl Message {
    fn new(body: String) -> Self {
        let content = match parse(&body) {
            Ok(Parsed::Signals(signals)) => Content::Signals(signals),
            Ok(Parsed::Reservation(reservation)) => Content::Reservation(reservation),
            Ok(Parsed::Ignored(ignored)) => Content::Ignored(ignored.reason.to_string()),
            Err(error) => Content::Unreadable(error.to_string()),
        };
        Self { body, content }
    }

    /// The instance and the hook that it speaks of, if it speaks of any.
    pub(crate) fn hook(&self) -> Option<(&str, &HookSignal)> {
        self.signals().iter().find_map(|signal| Some((signal.instance.as_str(), signal.hook()?)))
    }

    /// What it says about instances that it names.
    pub(crate) fn signals(&self) -> &[Signal] {
        match &self.content {
            Content::Signals(signals) => signals,
            Content::Reservation(_) | Content::Ignored(_) | Content::Unreadable(_) => &[],
        }
    }
}

/// Why an event file can't be played.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScriptError {
    /// No such file, no right to read it, not text.
    #[error("read {}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The event itself.
    #[error("{}", file.display())]
    Event {
        /// The file.
        file: PathBuf,
        /// The field, its value, and what was expected.
        #[source]
        source: EventError,
    },
}

/// Reads the event that the arguments name, or the default one.
pub(crate) fn read(args: &DemoArgs) -> Result<Script, ScriptError> {
    let Some(file) = &args.event else {
        let (name, text) = DEFAULT;
        return script(Path::new(name), text).map(|script| Script { named: false, ..script });
    };
    let text = std::fs::read_to_string(file)
        .map_err(|source| ScriptError::File { file: file.clone(), source })?;
    script(file, &text)
}

fn script(file: &Path, text: &str) -> Result<Script, ScriptError> {
    let bodies =
        bodies(text).map_err(|source| ScriptError::Event { file: file.to_owned(), source })?;
    let messages = bodies.into_iter().map(Message::new).collect();
    Ok(Script { name: file.display().to_string(), named: true, messages })
}

/// The messages of an SQS event, whatever they say; a bare event only if it can be read.
fn bodies(text: &str) -> Result<Vec<String>, EventError> {
    let value = serde_json::from_str::<Value>(text).unwrap_or_default();
    match value.get("Records") {
        Some(Value::Array(records)) if !records.is_empty() => {
            records.iter().enumerate().map(|(index, record)| body(index, record)).collect()
        }
        Some(Value::Array(_)) => Err(field("Records", "an empty list", "at least one message")),
        Some(_) | None => parse(text).map(|_| vec![text.to_owned()]),
    }
}

fn body(index: usize, record: &Value) -> Result<String, EventError> {
    let text = |key: &str| record.get(key).and_then(Value::as_str);
    match text("eventSource") {
        Some("aws:sqs") => {}
        other => {
            let seen = other.map_or("missing".to_owned(), |source| format!("`{source}`"));
            return Err(field(&format!("Records[{index}].eventSource"), &seen, "aws:sqs"));
        }
    }
    let missing = || field(&format!("Records[{index}].body"), "missing", "the message as text");
    text("body").map(str::to_owned).ok_or_else(missing)
}

fn field(path: &str, seen: &str, expected: &str) -> EventError {
    EventError::Field {
        path: path.to_owned(),
        seen: seen.to_owned(),
        expected: expected.to_owned(),
    }
}
