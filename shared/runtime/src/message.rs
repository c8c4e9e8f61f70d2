//! What arrived: the messages of one invocation, each parsed alone, so that one bad body fails nobody else.

use aws_lambda_events::sqs::SqsMessage;
use decision::event::{EventError, Parsed, parse, parse_value};
use decision::id::InstanceId;
use decision::signal::Signal;
use decision::time::Timestamp;
use serde_json::Value;

/// A message's way back to its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// `receiptHandle` of this receive.
    pub handle: String,
    /// The body, for the dead-letter queue.
    pub body: String,
}

/// A message with a signal in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrived {
    /// `messageId`, or `bare`.
    pub message: String,
    /// How to give it back; `None` for a bare event.
    pub receipt: Option<Receipt>,
    /// `ApproximateReceiveCount`, from 1.
    pub receives: u32,
    /// The event's own time; else when the queue got it; else now.
    pub sent_at: Timestamp,
    /// When the queue got it; `None` for a bare event.
    pub queued_at: Option<Timestamp>,
    /// What it says.
    pub signal: Signal,
}

impl Arrived {
    /// The instance that it is about.
    pub fn instance(&self) -> &InstanceId {
        &self.signal.instance
    }
}

/// A message that can't be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreadable {
    /// `messageId`, or `bare`.
    pub message: String,
    /// Its way back; `None` for a bare event.
    pub receipt: Option<Receipt>,
    /// Why.
    pub error: EventError,
}

/// The messages of one invocation, sorted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inbox {
    /// With a signal.
    pub arrived: Vec<Arrived>,
    /// Nothing to do: the message and why.
    pub ignored: Vec<(String, String)>,
    /// For the dead-letter queue.
    pub unreadable: Vec<Unreadable>,
    /// Whether they came from a queue.
    pub queued: bool,
}

/// The id of a bare event, which no queue gave one.
pub const BARE: &str = "bare";

/// Sorts the payload of an invocation: an SQS batch, or one bare event.
pub fn read(payload: &Value, now: Timestamp) -> Inbox {
    let mut inbox = Inbox::default();
    match batch(payload) {
        Some(records) => {
            inbox.queued = true;
            for record in records {
                let Ok(record) = record else {
                    // Not what SQS sends: it can't be moved, so it comes back and the queue's own redrive takes it.
                    let message = unread_id(payload, inbox.len());
                    let error = EventError::Empty;
                    inbox.unreadable.push(Unreadable { message, receipt: None, error });
                    continue;
                };
                let message = record.message_id.clone().unwrap_or_default();
                let body = record.body.clone().unwrap_or_default();
                let handle = record.receipt_handle.clone().unwrap_or_default();
                let parsed = parse(&body);
                let facts = Facts {
                    receives: number(&record, "ApproximateReceiveCount")
                        .map_or(1, |count| u32::try_from(count).unwrap_or(u32::MAX)),
                    queued_at: number(&record, "SentTimestamp").map(Timestamp::from_millis),
                    now,
                    receipt: Some(Receipt { handle, body }),
                };
                inbox.sort_in(message, facts, parsed);
            }
        }
        None => {
            let facts = Facts { receives: 1, queued_at: None, now, receipt: None };
            inbox.sort_in(BARE.to_owned(), facts, parse_value(payload));
        }
    }
    inbox
}

struct Facts {
    receives: u32,
    queued_at: Option<Timestamp>,
    now: Timestamp,
    receipt: Option<Receipt>,
}

impl Inbox {
    /// How many messages it holds.
    fn len(&self) -> usize {
        self.arrived.len() + self.ignored.len() + self.unreadable.len()
    }

    fn sort_in(&mut self, message: String, facts: Facts, parsed: Result<Parsed, EventError>) {
        let Facts { receives, queued_at, now, receipt } = facts;
        let got_at = queued_at.unwrap_or(now);
        match parsed {
            Ok(Parsed::Signal(signal)) => {
                // A clock that is ahead of ours must not make a deadline later than it is.
                let sent_at = signal.sent_at.map_or(got_at, |said| said.min(got_at));
                self.arrived.push(Arrived {
                    message,
                    receipt,
                    receives,
                    sent_at,
                    queued_at,
                    signal,
                });
            }
            Ok(Parsed::Ignored(ignored)) => {
                self.ignored.push((message, ignored.reason.to_string()));
            }
            Err(error) => self.unreadable.push(Unreadable { message, receipt, error }),
        }
    }
}

/// The records of an SQS event; `None` when the payload is something else.
fn batch(payload: &Value) -> Option<Vec<Result<SqsMessage, serde_json::Error>>> {
    let records = payload.get("Records")?.as_array()?;
    let queued = records.iter().all(|record| record["eventSource"] == "aws:sqs");
    if !queued || records.is_empty() {
        return None;
    }
    Some(records.iter().cloned().map(serde_json::from_value).collect())
}

/// The id of the n-th record, as far as it has one.
fn unread_id(payload: &Value, n: usize) -> String {
    payload["Records"][n]["messageId"].as_str().unwrap_or_default().to_owned()
}

fn number(record: &SqsMessage, attribute: &str) -> Option<i64> {
    record.attributes.get(attribute)?.parse().ok()
}
