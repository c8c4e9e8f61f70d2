//! One message body in, signals out: the border where JSON from AWS becomes our types.
//!
//! ```text
//! body ──> EventBridge envelope ─┬─ aws.autoscaling ──> hook   ─┐
//!                                ├─ aws.ec2 ──────────> ec2    ─┼─> Signals | Reservation | Ignored | EventError
//!                                └─ aws.health ───────> health ─┤
//!      ──> flat, straight from the ASG ───────────────> hook   ─┘
//!      ──> SNS wrapping any of them
//! ```
//!
//! Lenient where AWS's own pages differ and nothing of ours depends on it (`resources`, a missing or
//! made-up `time`, fields we do not know); strict about what we act on, since a guess there answers
//! somebody else's hook, or empties somebody else's node. An error is final: the same body will not read better the
//! next time.

mod ec2;
mod error;
mod field;
mod health;
mod hook;
mod ignored;

use serde_json::Value;

pub use self::error::EventError;
use self::field::Object;
pub use self::ignored::{Ignored, IgnoredEvent};
use crate::id::{InstanceId, shorten};
use crate::signal::{Reservation, Signal, SignalKind};
use crate::time::Timestamp;

/// What one message body turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Something to look into: one signal for each instance, never none.
    Signals(Vec<Signal>),
    /// The same for the instances of a capacity reservation, which the event does not name.
    Reservation(Reservation),
    /// A well-formed message that asks nothing of us: acknowledge and count it.
    Ignored(IgnoredEvent),
}

/// Reads one message body: an EventBridge event, a lifecycle message, or either wrapped by SNS.
pub fn parse(body: &str) -> Result<Parsed, EventError> {
    if body.trim().is_empty() {
        return Err(EventError::Empty);
    }
    parse_value(&field::json(body, "body")?)
}

/// The same for a body that is JSON already, as in a manual invocation.
pub fn parse_value(body: &Value) -> Result<Parsed, EventError> {
    let body = Object::of(body, "")?;
    if !body.is_sns() {
        return unwrapped(&body);
    }
    if body.loose("Type").is_some_and(|kind| kind.ends_with("Confirmation")) {
        return Ok(ignored(Ignored::SubscriptionChange));
    }
    let message = field::json(body.required("Message", "the message as text")?, "Message")?;
    unwrapped(&Object::of(&message, "Message")?)
}

/// What every shape says about a message besides what happens to the instance.
#[derive(Clone)]
struct Envelope {
    sent_at: Option<Timestamp>,
    account: Option<String>,
    region: Option<String>,
}

impl Envelope {
    fn signal(&self, instance: InstanceId, kind: SignalKind) -> Signal {
        let (account, region) = (self.account.clone(), self.region.clone());
        Signal { instance, sent_at: self.sent_at, account, region, kind }
    }
}

fn unwrapped(body: &Object<'_>) -> Result<Parsed, EventError> {
    if body.has("detail-type") || body.has("detail_type") || body.has("source") {
        return event_bridge(body);
    }
    if body.has("LifecycleTransition") || body.has("LifecycleActionToken") {
        return hook::lifecycle(body, None, &flat_envelope(body));
    }
    match body.loose("Event") {
        Some(hook::TEST_NOTIFICATION) => Ok(ignored(Ignored::TestNotification)),
        Some(event) if event.starts_with("autoscaling:") => {
            Ok(ignored(Ignored::OtherNotification(shorten(event))))
        }
        _ => Err(body.unrecognised()),
    }
}

/// Source before detail-type: anybody may put an event with our detail-type on a bus, but only AWS
/// one with a source that begins with `aws.`.
fn event_bridge(body: &Object<'_>) -> Result<Parsed, EventError> {
    let read = match body.required("source", "an event source, such as aws.autoscaling")? {
        "aws.autoscaling" => hook::event,
        "aws.ec2" => ec2::event,
        "aws.health" => health::event,
        other => return Ok(ignored(Ignored::OtherSource(shorten(other)))),
    };
    // Some pages of the documentation print the key with an underscore.
    let key = if body.has("detail_type") { "detail_type" } else { "detail-type" };
    let detail_type = body.required(key, "a detail-type, such as that of a lifecycle action")?;
    let envelope = Envelope {
        sent_at: instant(body.loose("time")),
        account: account(body.loose("account")),
        region: region(body.loose("region")),
    };
    read(detail_type, body, &envelope)
}

/// A flat message names no region; the queue that it came through does.
fn flat_envelope(body: &Object<'_>) -> Envelope {
    Envelope {
        sent_at: instant(body.loose("Time")),
        account: account(body.loose("AccountId")),
        region: None,
    }
}

/// A time that AWS can have meant, in either of the two forms that it writes. Samples carry `yyyy-mm-ddThh:mm:ssZ` or
/// the epoch itself; both are no time, since what is counted from them is long overdue.
fn instant(text: Option<&str>) -> Option<Timestamp> {
    Timestamp::parse_any(text?).ok().filter(|time| *time > Timestamp::EPOCH)
}

fn account(text: Option<&str>) -> Option<String> {
    let digits = |text: &&str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.filter(digits).map(str::to_owned)
}

fn region(text: Option<&str>) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.filter(|text| text.len() <= 32 && text.bytes().all(allowed)).map(str::to_owned)
}

fn ignored(reason: Ignored) -> Parsed {
    Parsed::Ignored(IgnoredEvent { reason })
}
