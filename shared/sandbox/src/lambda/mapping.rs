//! What brings events to a function: Lambda's SQS event source mapping, or a schedule.
//!
//! The mapping starts with five batches at once and adds five a second while the queue is not empty,
//! up to its maximum concurrency. What a batch becomes follows AWS's rules for `batchItemFailures`.

use super::{Function, Returned, Trigger, md5};
use crate::aws::sqs::{Message, Sqs};
use crate::world::{Millis, World};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Concurrent batches at the start.
const CONCURRENCY_FIRST: usize = 5;

/// One more concurrent batch in this time: 300 more per minute.
const GROWTH_MS: Millis = 200;

/// An SQS event source mapping that reports batch item failures.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The queue's name.
    pub queue: String,
    /// At most so many messages per invocation.
    pub batch: usize,
    /// At most so many invocations at once.
    pub concurrency_max: usize,
    /// How long a batch that is not full waits for more: the batching window, in milliseconds.
    pub window_ms: Millis,
}

impl Mapping {
    /// A mapping with AWS's default batch size of 10 and no window, and at most 20 invocations at once.
    pub fn new(queue: &str) -> Self {
        Self { queue: queue.to_owned(), batch: 10, concurrency_max: 20, window_ms: 0 }
    }
}

/// What fetches the next event for one function.
#[derive(Debug)]
pub struct Poller {
    trigger: Trigger,
    /// Invocations that run now.
    busy: usize,
    /// How many may run now.
    limit: usize,
    /// When the limit last grew, or the schedule last ticked.
    since: Millis,
    /// Messages that wait for their batch to fill up, hidden since they were received.
    gathered: Vec<Message>,
    /// When the first of them was received.
    gathered_at: Millis,
    /// The digests of bodies by message id: a message that waits is received many times.
    digests: BTreeMap<String, String>,
}

impl Poller {
    pub(super) fn new(function: &Function, now: Millis) -> Self {
        Self::start(function.trigger.clone(), now)
    }

    /// Begins to poll for whatever `trigger` brings.
    pub fn start(trigger: Trigger, now: Millis) -> Self {
        let (busy, limit) = (0, CONCURRENCY_FIRST);
        let (gathered, digests) = (Vec::new(), BTreeMap::new());
        Self { trigger, busy, limit, since: now, gathered, gathered_at: now, digests }
    }

    /// The next event with the messages in it, when one is due and there is room for it.
    pub fn poll(&mut self, world: &mut World) -> Option<(Value, Vec<Message>)> {
        match &self.trigger {
            Trigger::Queue(mapping) => {
                let room = self.limit.min(mapping.concurrency_max);
                let visible = world.aws.sqs.next_visible_at(&mapping.queue);
                if visible.is_none_or(|at| at > world.now) && self.gathered.is_empty() {
                    if self.busy == 0 {
                        self.limit = CONCURRENCY_FIRST;
                    }
                    return None;
                }
                if self.busy >= room && world.now - self.since >= GROWTH_MS {
                    self.limit += 1;
                    self.since = world.now;
                }
                if self.busy >= self.limit.min(mapping.concurrency_max) {
                    return None;
                }
                let batch = gather(world, mapping, (&mut self.gathered, &mut self.gathered_at))?;
                self.busy += 1;
                Some((event(world, &mapping.queue, &batch, &mut self.digests), batch))
            }
            Trigger::Every(interval) => {
                if world.now < self.since + interval {
                    return None;
                }
                self.since += interval;
                self.busy += 1;
                Some((tick(world), Vec::new()))
            }
        }
    }

    /// When to poll again, unless an invocation ends before.
    pub fn wake_at(&self, world: &World) -> Option<Millis> {
        match &self.trigger {
            Trigger::Every(interval) => Some(self.since + interval),
            Trigger::Queue(mapping) => {
                let visible = world.aws.sqs.next_visible_at(&mapping.queue);
                let full_at = self.gathered_at + mapping.window_ms;
                let full_at = (!self.gathered.is_empty()).then_some(full_at);
                let visible = [visible, full_at].into_iter().flatten().min()?;
                if self.busy < self.limit.min(mapping.concurrency_max) {
                    return Some(visible);
                }
                let grows = self.limit < mapping.concurrency_max;
                grows.then(|| visible.max(self.since + GROWTH_MS))
            }
        }
    }

    /// Deletes what was dealt with; the rest comes back when its visibility ends.
    pub fn finish(&mut self, world: &mut World, batch: &[Message], returned: &Returned) {
        self.busy -= 1;
        let Trigger::Queue(mapping) = &self.trigger else { return };
        let ids: BTreeSet<&str> = batch.iter().map(|message| message.id.as_str()).collect();
        let failed = match returned {
            Ok(answer) => failures(answer, &ids),
            Err(_) => ids,
        };
        for message in batch.iter().filter(|message| !failed.contains(message.id.as_str())) {
            Sqs::delete(world, &mapping.queue, &message.receipt);
            self.digests.remove(&message.id);
        }
    }
}

/// Receives until the batch is full or its window is over. Without a window that is one receive.
fn gather(
    world: &mut World,
    mapping: &Mapping,
    (gathered, since): (&mut Vec<Message>, &mut Millis),
) -> Option<Vec<Message>> {
    let received = receive(world, mapping, mapping.batch - gathered.len());
    if gathered.is_empty() {
        *since = world.now;
    }
    gathered.extend(received);
    let waits = gathered.len() < mapping.batch && world.now < *since + mapping.window_ms;
    if gathered.is_empty() || waits { None } else { Some(std::mem::take(gathered)) }
}

/// SQS samples its servers, so that a poll often finds fewer messages than there are.
fn receive(world: &mut World, mapping: &Mapping, room: usize) -> Vec<Message> {
    let sampled = world.rng.u32(0..4) == 0;
    let most = if sampled { world.rng.usize(1..=room) } else { room };
    Sqs::receive(world, &mapping.queue, most)
}

/// The ids that failed. By AWS's rules the whole batch did when the answer can't be understood or
/// names a message that is not in it, and nothing did when the list is absent, null or empty.
fn failures<'a>(answer: &Value, ids: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    let list = match answer {
        Value::Null => return BTreeSet::new(),
        Value::Object(fields) => fields.get("batchItemFailures").unwrap_or(&Value::Null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return ids.clone();
        }
    };
    let Value::Array(items) = list else {
        return if list.is_null() { BTreeSet::new() } else { ids.clone() };
    };
    let failed: Option<BTreeSet<&str>> =
        items.iter().map(|item| ids.get(item.get("itemIdentifier")?.as_str()?).copied()).collect();
    failed.unwrap_or_else(|| ids.clone())
}

/// The event as Lambda builds it from the messages.
fn event(
    world: &World,
    queue: &str,
    batch: &[Message],
    digests: &mut BTreeMap<String, String>,
) -> Value {
    let (region, account) = (&world.aws.region, &world.aws.account);
    let mut record = |message: &Message| {
        let digest =
            digests.entry(message.id.clone()).or_insert_with(|| md5::hex(message.body.as_bytes()));
        json!({
            "messageId": message.id,
            "receiptHandle": message.receipt,
            "body": message.body,
            "attributes": {
                "ApproximateReceiveCount": message.receive_count.to_string(),
                "SentTimestamp": message.sent_at.to_string(),
                "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                "ApproximateFirstReceiveTimestamp": message.first_received_at.to_string(),
            },
            "messageAttributes": attributes(message),
            "md5OfBody": digest,
            "eventSource": "aws:sqs",
            "eventSourceARN": format!("arn:aws:sqs:{region}:{account}:{queue}"),
            "awsRegion": region,
        })
    };
    json!({ "Records": batch.iter().map(&mut record).collect::<Vec<_>>() })
}

/// A message's own attributes, as Lambda shows them.
fn attributes(message: &Message) -> Value {
    let one = |(kind, value): &(String, String)| json!({ "stringValue": value, "stringListValues": [], "binaryListValues": [], "dataType": kind });
    message.attributes.iter().map(|(name, value)| (name.clone(), one(value))).collect()
}

/// The event of a schedule.
fn tick(world: &mut World) -> Value {
    let id = crate::aws::uuid(&mut world.rng);
    let (region, account) = (&world.aws.region, &world.aws.account);
    let time = jiff::Timestamp::from_second(world.now.div_euclid(1000));
    json!({
        "version": "0",
        "id": id,
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": account,
        "time": time.map(|time| time.to_string()).unwrap_or_default(),
        "region": region,
        "resources": [format!("arn:aws:events:{region}:{account}:rule/ebbtide-schedule")],
        "detail": {},
    })
}
