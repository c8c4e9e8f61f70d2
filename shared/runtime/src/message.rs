//! What arrived: the messages of one invocation, each parsed alone, so that one bad body fails nobody else.

use aws_lambda_events::sqs::SqsMessage;
use decision::event::{EventError, Parsed, parse, parse_value};
use decision::id::InstanceId;
use decision::signal::{Reservation, Signal};
use decision::time::{Timestamp, human};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// Instances in one message: AWS Health splits long lists into pages of fewer. Twice: one message takes a slice's whole
/// time. Half: a page that AWS sends could be refused.
const INSTANCES_MAX: usize = 500;

/// How far our clock may be behind without a word: a second is what NTP and the queue's own clock may differ by.
const CLOCK_BEHIND_WARNED: Duration = Duration::from_secs(1);

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
    /// What it says, or one of the things that it says.
    pub signal: Signal,
}

/// A message about a capacity reservation: which instances it is about must be looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct Reserved {
    /// The message without its signal.
    pub envelope: Envelope,
    /// What it says.
    pub reservation: Reservation,
}

/// What is known of a message besides what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// `messageId`, or `bare`.
    pub message: String,
    /// How to give it back; `None` for a bare event.
    pub receipt: Option<Receipt>,
    /// `ApproximateReceiveCount`, from 1.
    pub receives: u32,
    /// When the queue got it; `None` for a bare event.
    pub queued_at: Option<Timestamp>,
    /// When the invocation began.
    pub now: Timestamp,
}

impl Envelope {
    /// The message with one of its signals.
    pub fn arrived(&self, signal: Signal) -> Arrived {
        let behind = self.behind();
        let signal = signal.moved_back(behind);
        // A clock that is ahead of ours must not make a deadline later than it is.
        let got_at = self.queued_at.map_or(self.now, |at| at - behind);
        let sent_at = signal.sent_at.map_or(got_at, |said| (said - behind).min(got_at));
        Arrived {
            message: self.message.clone(),
            receipt: self.receipt.clone(),
            receives: self.receives,
            sent_at,
            queued_at: self.queued_at,
            signal,
        }
    }

    /// How far our clock is behind AWS's, at least: a message can't be received before it was queued.
    fn behind(&self) -> Duration {
        self.queued_at.map_or(Duration::ZERO, |queued_at| self.now.until(queued_at))
    }
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
    /// With a signal each; a message that speaks of several instances is here once for each.
    pub arrived: Vec<Arrived>,
    /// About capacity reservations.
    pub reserved: Vec<Reserved>,
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
                    let message = unread_id(payload, inbox.messages());
                    let error = EventError::Empty;
                    inbox.unreadable.push(Unreadable { message, receipt: None, error });
                    continue;
                };
                let message = record.message_id.clone().unwrap_or_default();
                let body = record.body.clone().unwrap_or_default();
                let handle = record.receipt_handle.clone().unwrap_or_default();
                let parsed = parse(&body);
                let envelope = Envelope {
                    message,
                    receipt: Some(Receipt { handle, body }),
                    receives: number(&record, "ApproximateReceiveCount")
                        .map_or(1, |count| u32::try_from(count).unwrap_or(u32::MAX)),
                    queued_at: number(&record, "SentTimestamp").map(Timestamp::from_millis),
                    now,
                };
                inbox.sort_in(envelope, parsed);
            }
        }
        None => {
            let message = BARE.to_owned();
            let envelope = Envelope { message, receipt: None, receives: 1, queued_at: None, now };
            inbox.sort_in(envelope, parse_value(payload));
        }
    }
    inbox
}

impl Inbox {
    /// How many messages it holds.
    pub fn messages(&self) -> usize {
        let parts: BTreeSet<&str> =
            self.arrived.iter().map(|arrived| arrived.message.as_str()).collect();
        parts.len() + self.reserved.len() + self.ignored.len() + self.unreadable.len()
    }

    fn sort_in(&mut self, envelope: Envelope, parsed: Result<Parsed, EventError>) {
        let behind = envelope.behind();
        if behind > CLOCK_BEHIND_WARNED {
            let (message, behind) = (&envelope.message, human(behind));
            tracing::warn!(
                message_id = message,
                behind,
                "our clock is behind AWS's; deadlines are moved by that"
            );
        }
        let Envelope { message, receipt, .. } = &envelope;
        match parsed {
            Ok(Parsed::Signals(signals)) if signals.len() > INSTANCES_MAX => {
                let error = EventError::Field {
                    path: "detail".to_owned(),
                    seen: format!("{} instances", signals.len()),
                    expected: format!("at most {INSTANCES_MAX} in one message"),
                };
                let (message, receipt) = (message.clone(), receipt.clone());
                self.unreadable.push(Unreadable { message, receipt, error });
            }
            Ok(Parsed::Signals(signals)) => {
                self.arrived.extend(signals.into_iter().map(|signal| envelope.arrived(signal)));
            }
            Ok(Parsed::Reservation(reservation)) => {
                self.reserved.push(Reserved { envelope, reservation });
            }
            Ok(Parsed::Ignored(ignored)) => {
                self.ignored.push((message.clone(), ignored.reason.to_string()));
            }
            Err(error) => {
                let (message, receipt) = (message.clone(), receipt.clone());
                self.unreadable.push(Unreadable { message, receipt, error });
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use decision::signal::{Due, SignalKind};
    use serde_json::json;

    /// 2026-11-22T10:00:00Z
    const NOON_MS: i64 = 1_795_341_600_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(NOON_MS + seconds * 1_000)
    }

    fn queued(body: &Value) -> Value {
        json!({ "Records": [{
            "messageId": "m-1",
            "receiptHandle": "r-1",
            "body": body.to_string(),
            "attributes": { "ApproximateReceiveCount": "2", "SentTimestamp": NOON_MS.to_string() },
            "eventSource": "aws:sqs",
        }] })
    }

    fn interruption() -> Value {
        json!({
            "source": "aws.ec2",
            "detail-type": "EC2 Capacity Reservation Instance Interruption Warning",
            "time": "2026-11-22T10:00:00Z",
            "detail": {
                "instance-id": "i-0a1b2c3d4e5f60718",
                "instance-action": "terminate",
                "instance-termination-time": "2026-11-22T10:02:00Z",
            },
        })
    }

    fn maintenance(instances: usize) -> Value {
        let entity = |index: usize| json!({ "entityValue": format!("i-{index:017x}") });
        json!({
            "source": "aws.health",
            "detail-type": "AWS Health Event",
            "region": "eu-west-1",
            "time": "2026-11-22T10:00:00Z",
            "detail": {
                "eventArn": "arn:aws:health:eu-west-1::event/EC2/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED/1",
                "service": "EC2",
                "eventTypeCode": "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
                "eventTypeCategory": "scheduledChange",
                "eventRegion": "eu-west-1",
                "statusCode": "open",
                "startTime": "Thu, 26 Nov 2026 10:00:00 GMT",
                "affectedEntities": (0..instances).map(entity).collect::<Vec<_>>(),
            },
        })
    }

    #[test]
    fn by_a_clock_that_is_behind_every_instant_is_as_much_earlier() {
        let payload = queued(&interruption());
        for (now, sent, due) in [(at(30), at(0), at(120)), (at(-60), at(-60), at(60))] {
            let inbox = read(&payload, now);
            let arrived = inbox.arrived.first().unwrap();
            assert_eq!(arrived.sent_at, sent, "received at {now}");
            let SignalKind::Interruption(interruption) = &arrived.signal.kind else {
                panic!("{arrived:?}");
            };
            assert_eq!(interruption.due, Due::At(due), "received at {now}");
        }
    }

    #[test]
    fn a_message_about_several_instances_arrives_once_for_each_and_counts_once() {
        let inbox = read(&queued(&maintenance(3)), at(1));
        let parts: Vec<(&str, u32)> =
            inbox.arrived.iter().map(|part| (part.message.as_str(), part.receives)).collect();
        assert_eq!(parts, [("m-1", 2); 3]);
        let instances: BTreeSet<&InstanceId> =
            inbox.arrived.iter().map(Arrived::instance).collect();
        assert_eq!(instances.len(), 3);
        assert_eq!(inbox.messages(), 1);
    }

    #[test]
    fn a_message_about_too_many_instances_is_a_dead_letter() {
        let inbox = read(&queued(&maintenance(501)), at(1));
        assert!(inbox.arrived.is_empty());
        let error = inbox.unreadable.first().map(|one| one.error.to_string());
        let expected = "detail: 501 instances, expected at most 500 in one message";
        assert_eq!(error.as_deref(), Some(expected));
    }
}
