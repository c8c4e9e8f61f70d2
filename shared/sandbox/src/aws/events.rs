//! EventBridge: events in AWS's documented shapes, and how (un)reliably they arrive.
//!
//! Auto Scaling's and EC2's events are best effort: late, twice, out of order, or never. An event goes to
//! each queue whose rule matches its detail-type; each copy has a delay of its own.

pub mod api;
mod notice;

pub use api::Put;
pub use notice::{BlockTitle, ReservationShape};

use super::AwsEvent;
use super::protocol::iso;
use super::uuid;
use crate::world::{Event, Millis, World};
use serde_json::{Value, json};
use std::ops::RangeInclusive;

/// How events arrive.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// How long a copy takes.
    pub delay_ms: RangeInclusive<Millis>,
    /// How many of a thousand copies arrive twice.
    pub duplicate: u32,
    /// How many of a thousand copies never arrive.
    pub lost: u32,
    /// How many of a thousand copies take `late_ms` more, and so are overtaken.
    pub late: u32,
    /// How late the late ones are.
    pub late_ms: RangeInclusive<Millis>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { delay_ms: 200..=1_500, duplicate: 0, lost: 0, late: 0, late_ms: 5_000..=60_000 }
    }
}

/// A rule with a queue as its target.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The queue's name.
    pub queue: String,
    /// The detail-types that match; none means all.
    pub detail_types: Vec<String>,
}

/// An event that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// When.
    pub at: Millis,
    /// Its detail-type; empty for a notification that went straight to a queue.
    pub detail_type: String,
    /// The whole body.
    pub body: String,
    /// How many copies are on their way; 0 when it was lost, or no rule matched.
    pub copies: u32,
}

/// Rules and deliveries.
#[derive(Clone, Debug, Default)]
pub struct EventBridge {
    /// The rules.
    pub rules: Vec<Rule>,
    /// How events arrive.
    pub delivery: Delivery,
    /// All events that were sent, in order.
    pub events_log: Vec<Sent>,
    /// Every entry of every PutEvents, in order.
    pub put: Vec<Put>,
}

/// What an event says, without its envelope.
#[derive(Clone, Debug)]
pub struct Notice<'a> {
    /// `aws.autoscaling`, `aws.ec2`, …
    pub source: &'a str,
    /// The detail-type.
    pub detail_type: &'a str,
    /// The ARNs that it is about.
    pub resources: Vec<String>,
    /// The detail.
    pub detail: Value,
}

impl EventBridge {
    /// Sends the events of `detail_types` to `queue` (none means all).
    pub fn add_rule(world: &mut World, queue: &str, detail_types: &[&str]) {
        let detail_types = detail_types.iter().map(|name| (*name).to_owned()).collect();
        world.aws.events.rules.push(Rule { queue: queue.to_owned(), detail_types });
    }

    /// Emits an event, to all queues whose rules match, as reliably as [`Delivery`] says.
    pub fn emit(world: &mut World, notice: &Notice<'_>) {
        let body = Self::envelope(world, notice);
        Self::route(world, notice.detail_type, body, Reliability::BestEffort);
    }

    /// Emits an event that arrives at least once, as AWS Health's do; a copy may come from another Region.
    pub fn emit_durably(world: &mut World, notice: &Notice<'_>, region: Option<&str>) {
        let mut body = Self::envelope_value(world, notice);
        if let Some(region) = region {
            body["region"] = region.into();
        }
        Self::route(world, notice.detail_type, body.to_string(), Reliability::Durable);
    }

    /// Sends a whole event, which somebody else wrote, to all queues whose rules match.
    fn route(world: &mut World, detail_type: &str, body: String, reliability: Reliability) {
        let matches = |rule: &Rule| {
            rule.detail_types.is_empty() || rule.detail_types.iter().any(|t| t == detail_type)
        };
        let rules = &world.aws.events.rules;
        let queues: Vec<String> =
            rules.iter().filter(|rule| matches(rule)).map(|rule| rule.queue.clone()).collect();
        let mut copies = 0;
        for queue in queues {
            copies += Self::deliver(world, &queue, &body, reliability);
        }
        let detail_type = detail_type.to_owned();
        world.aws.events.events_log.push(Sent { at: world.now, detail_type, body, copies });
    }

    /// Sends a body to one queue past all rules, as a hook's own notification goes.
    pub fn notify(world: &mut World, queue: &str, body: String) {
        let copies = Self::deliver(world, queue, &body, Reliability::BestEffort);
        let detail_type = String::new();
        world.aws.events.events_log.push(Sent { at: world.now, detail_type, body, copies });
    }

    /// An event as EventBridge would send it now.
    pub fn envelope(world: &mut World, notice: &Notice<'_>) -> String {
        Self::envelope_value(world, notice).to_string()
    }

    fn envelope_value(world: &mut World, notice: &Notice<'_>) -> Value {
        let Notice { source, detail_type, resources, detail } = notice;
        json!({
            "version": "0",
            "id": uuid(&mut world.rng),
            "detail-type": detail_type,
            "source": source,
            "account": world.aws.account,
            "time": seconds(world.now),
            "region": world.aws.region,
            "resources": resources,
            "detail": detail,
        })
    }

    pub(crate) fn instance_arn(world: &World, instance: &str) -> String {
        format!("arn:aws:ec2:{}:{}:instance/{instance}", world.aws.region, world.aws.account)
    }

    /// Puts the copies of one event on their way to one queue, and counts them.
    fn deliver(world: &mut World, queue: &str, body: &str, reliability: Reliability) -> u32 {
        let delivery = world.aws.events.delivery.clone();
        let lost = world.rng.u32(0..1_000) < delivery.lost;
        if lost && reliability == Reliability::BestEffort {
            return 0;
        }
        let copies = if world.rng.u32(0..1_000) < delivery.duplicate { 2 } else { 1 };
        for _ in 0..copies {
            let mut delay = world.rng.i64(delivery.delay_ms.clone());
            if world.rng.u32(0..1_000) < delivery.late {
                delay += world.rng.i64(delivery.late_ms.clone());
            }
            let event = AwsEvent::Deliver { queue: queue.to_owned(), body: body.to_owned() };
            world.after(delay, Event::Aws(event));
        }
        copies
    }
}

/// Whether an event may be lost on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reliability {
    BestEffort,
    Durable,
}

/// The time as EventBridge writes it: whole seconds.
fn seconds(at: Millis) -> String {
    let text = iso(at);
    text.split_once('.').map(|(whole, _)| format!("{whole}Z")).unwrap_or(text)
}
