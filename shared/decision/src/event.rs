//! One message body in, one signal out: the border where JSON from AWS becomes our types.
//!
//! ```text
//! body ──> EventBridge envelope ──────┐
//!      ──> flat, straight from the ASG ├──> lifecycle action ──> Signal | Ignored | EventError
//!      ──> SNS wrapping either ────────┘
//! ```
//!
//! Lenient where AWS's own pages differ and nothing of ours depends on it (`resources`, a missing or
//! made-up `time`, fields we do not know); strict about what we act on, since a guess there answers
//! somebody else's hook. An error is final: the same body will not read better the next time.

mod error;
mod field;

use std::fmt;

use serde_json::Value;

pub use self::error::EventError;
use self::field::Object;
use crate::id::{AsgName, HookName, HookToken, InstanceId, shorten};
use crate::signal::{HookRoute, HookSignal, Signal, SignalKind, Transition};
use crate::time::Timestamp;

const LAUNCH: &str = "EC2 Instance-launch Lifecycle Action";
const TERMINATE: &str = "EC2 Instance-terminate Lifecycle Action";
const AUTO_SCALING: &str = "aws.autoscaling";
const TEST_NOTIFICATION: &str = "autoscaling:TEST_NOTIFICATION";

/// What one message body turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Something to look into.
    Signal(Signal),
    /// A well-formed message that asks nothing of us: acknowledge and count it.
    Ignored(IgnoredEvent),
}

/// A message that is not for us, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredEvent {
    /// Why there is nothing to do.
    pub reason: Ignored,
}

/// Why a message is acknowledged without a look at the world. Texts from the event are shortened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// `autoscaling:TEST_NOTIFICATION`, sent when a hook is given a queue or a topic.
    TestNotification,
    /// An Auto Scaling event of another `detail-type`: `EC2 Instance Launch Successful`, ….
    OtherDetailType(String),
    /// An EventBridge event of another `source`: `aws.ec2`, `aws.health`, ….
    OtherSource(String),
    /// A group's own notification, which carries no hook: `autoscaling:EC2_INSTANCE_TERMINATE`, ….
    OtherNotification(String),
    /// An SNS topic says that somebody subscribed or unsubscribed this queue.
    SubscriptionChange,
}

impl Ignored {
    /// The reason as one word of a closed set, for a metric's dimension.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::TestNotification => "test_notification",
            Self::OtherDetailType(_) => "other_detail_type",
            Self::OtherSource(_) => "other_source",
            Self::OtherNotification(_) => "other_notification",
            Self::SubscriptionChange => "subscription_change",
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TestNotification => out.write_str("test notification of a lifecycle hook"),
            Self::OtherDetailType(name) => {
                write!(out, "detail-type `{name}` is no lifecycle action")
            }
            Self::OtherSource(name) => write!(out, "source `{name}` is not {AUTO_SCALING}"),
            Self::OtherNotification(name) => write!(out, "notification `{name}` carries no hook"),
            Self::SubscriptionChange => out.write_str("subscription message of an SNS topic"),
        }
    }
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

/// What every shape says about a message besides the lifecycle action itself.
struct Envelope {
    sent_at: Option<Timestamp>,
    account: Option<String>,
    region: Option<String>,
}

fn unwrapped(body: &Object<'_>) -> Result<Parsed, EventError> {
    if body.has("detail-type") || body.has("detail_type") || body.has("source") {
        return event_bridge(body);
    }
    if body.has("LifecycleTransition") || body.has("LifecycleActionToken") {
        return lifecycle(body, None, flat_envelope(body));
    }
    match body.loose("Event") {
        Some(TEST_NOTIFICATION) => Ok(ignored(Ignored::TestNotification)),
        Some(event) if event.starts_with("autoscaling:") => {
            Ok(ignored(Ignored::OtherNotification(shorten(event))))
        }
        _ => Err(body.unrecognised()),
    }
}

/// Source before detail-type: anybody may put an event with our detail-type on a bus, but only AWS
/// one with a source that begins with `aws.`.
fn event_bridge(body: &Object<'_>) -> Result<Parsed, EventError> {
    let source = body.required("source", "an event source, such as aws.autoscaling")?;
    if source != AUTO_SCALING {
        return Ok(ignored(Ignored::OtherSource(shorten(source))));
    }
    // Some pages of the documentation print the key with an underscore.
    let key = if body.has("detail_type") { "detail_type" } else { "detail-type" };
    let transition =
        match body.required(key, "a detail-type, such as that of a lifecycle action")? {
            LAUNCH => Transition::Launching,
            TERMINATE => Transition::Terminating,
            other => return Ok(ignored(Ignored::OtherDetailType(shorten(other)))),
        };
    let envelope = Envelope {
        sent_at: sent_at(body.loose("time")),
        account: account(body.loose("account")),
        region: region(body.loose("region")),
    };
    lifecycle(&body.object("detail")?, Some(transition), envelope)
}

/// A flat message names no region; the queue that it came through does.
fn flat_envelope(body: &Object<'_>) -> Envelope {
    Envelope {
        sent_at: sent_at(body.loose("Time")),
        account: account(body.loose("AccountId")),
        region: None,
    }
}

/// The lifecycle action itself, the same fields in a flat message and in an event's `detail`.
fn lifecycle(
    action: &Object<'_>,
    announced: Option<Transition>,
    envelope: Envelope,
) -> Result<Parsed, EventError> {
    let test = |key| action.loose(key) == Some(TEST_NOTIFICATION);
    if test("Event") || test("LifecycleTransition") {
        return Ok(ignored(Ignored::TestNotification));
    }
    let transition = transition(action, announced)?;
    let origin = action.optional("Origin")?;
    let destination = action.optional("Destination")?;
    let hook = HookSignal {
        transition,
        asg: action.id("AutoScalingGroupName", AsgName::parse)?,
        hook: action.id("LifecycleHookName", HookName::parse)?,
        token: action.id("LifecycleActionToken", HookToken::parse)?,
        metadata: action.optional("NotificationMetadata")?.map(str::to_owned),
        route: HookRoute::read(transition, origin, destination, action.optional("Action")?),
    };
    let Envelope { sent_at, account, region } = envelope;
    let instance = action.id("EC2InstanceId", InstanceId::parse)?;
    let kind = SignalKind::Hook(hook);
    Ok(Parsed::Signal(Signal { instance, sent_at, account, region, kind }))
}

/// An unknown transition is an error, unlike an unknown way (`HookRoute::Normal`): whether to empty a
/// node or to wait for one is not to be guessed. So is one that contradicts the detail-type.
fn transition(
    action: &Object<'_>,
    announced: Option<Transition>,
) -> Result<Transition, EventError> {
    let both = [Transition::Launching, Transition::Terminating];
    let allowed = announced.as_ref().map_or(&both[..], std::slice::from_ref);
    let expected = allowed.iter().map(|one| one.wire()).collect::<Vec<_>>().join(" or ");
    let seen = action.required("LifecycleTransition", &expected)?;
    match allowed.iter().find(|one| one.wire() == seen) {
        Some(transition) => Ok(*transition),
        None => Err(action.mismatch("LifecycleTransition", expected)),
    }
}

/// A time that AWS can have meant. Samples carry `yyyy-mm-ddThh:mm:ssZ` or the epoch itself; both are
/// no time, since an age counted from them would make any signal look long overdue.
fn sent_at(text: Option<&str>) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(text?).ok().filter(|time| *time > Timestamp::EPOCH)
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
