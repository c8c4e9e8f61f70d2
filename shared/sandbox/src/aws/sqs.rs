//! Queues: visibility timeouts that end, receive counts, and dead-letter queues.
//!
//! A message is either visible or in flight. A receive hides it and gives a new receipt handle; when its
//! visibility timeout ends it is there again, and the old handle can't change it any more. A message that
//! was received as often as the queue allows moves to the dead-letter queue at the next receive.

pub mod api;

use crate::world::{Millis, World};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::Notify;

/// A message is hidden for at most twelve hours from its receive on.
const VISIBILITY_SECONDS_MAX: i64 = 43_200;

/// What a new queue is like.
#[derive(Clone, Debug)]
pub struct QueueSpec {
    /// Its name.
    pub name: String,
    /// The default visibility timeout.
    pub visibility_seconds: i64,
    /// How often a message is received before it goes to the dead-letter queue.
    pub max_receives: u32,
    /// The dead-letter queue's name.
    pub dead_letter: Option<String>,
    /// How long messages are kept, from their sending on.
    pub retention_seconds: i64,
}

impl Default for QueueSpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            visibility_seconds: 30,
            max_receives: 1_000,
            dead_letter: None,
            retention_seconds: 1_209_600,
        }
    }
}

/// A message in a queue.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its id.
    pub id: String,
    /// Its body.
    pub body: String,
    /// Its attributes: (data type, string value) by name.
    pub attributes: BTreeMap<String, (String, String)>,
    /// When it was sent.
    pub sent_at: Millis,
    /// When it was received first.
    pub first_received_at: Option<Millis>,
    /// When it was received last.
    pub received_at: Millis,
    /// How often it was received.
    pub receive_count: u32,
    /// When it is (or was) visible again.
    pub visible_at: Millis,
    receipt: String,
}

/// A message as a receiver sees it.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id, which stays.
    pub id: String,
    /// The handle of this receive.
    pub receipt: String,
    /// Its body.
    pub body: String,
    /// Its attributes: (data type, string value) by name.
    pub attributes: BTreeMap<String, (String, String)>,
    /// When it was sent.
    pub sent_at: Millis,
    /// When it was received first.
    pub first_received_at: Millis,
    /// How often it was received, this time included.
    pub receive_count: u32,
}

/// A queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// What it is like.
    pub spec: QueueSpec,
    /// Messages by their number, in flight or not.
    pub messages: BTreeMap<u64, Stored>,
    /// When each message is visible: the oldest first.
    order: BTreeSet<(Millis, u64)>,
    /// How many messages went to the dead-letter queue.
    pub dead_lettered: u32,
}

/// All queues.
#[derive(Clone, Debug, Default)]
pub struct Sqs {
    /// Queues by name.
    pub queues: BTreeMap<String, Queue>,
    /// Tells whoever polls in real time that something was sent, as a long poll does.
    pub arrivals: Arc<Notify>,
    sent: u64,
}

/// Why a visibility timeout was not changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unchanged {
    /// No queue of this name.
    NoQueue,
    /// The handle was never given out by this queue.
    BadHandle,
    /// The message is gone, or was received again since.
    Stale,
    /// Its visibility timeout has ended.
    NotInFlight,
    /// Not between 0 and 43200.
    OutOfRange,
    /// Beyond twelve hours since the receive.
    BeyondLimit,
}

impl Sqs {
    /// Adds a queue.
    pub fn add_queue(world: &mut World, spec: QueueSpec) {
        let name = spec.name.clone();
        let (messages, order) = (BTreeMap::new(), BTreeSet::new());
        world.aws.sqs.queues.insert(name, Queue { spec, messages, order, dead_lettered: 0 });
    }

    /// The queue's URL.
    pub fn url(world: &World, queue: &str) -> String {
        format!("https://sqs.{}.amazonaws.com/{}/{queue}", world.aws.region, world.aws.account)
    }

    /// Puts a message into a queue; without the queue it is lost, as with EventBridge.
    pub fn send(world: &mut World, queue: &str, body: &str) {
        Self::send_with(world, queue, body, BTreeMap::new());
    }

    /// Puts a message with attributes into a queue, and returns its id.
    pub fn send_with(
        world: &mut World,
        queue: &str,
        body: &str,
        attributes: BTreeMap<String, (String, String)>,
    ) -> Option<String> {
        let now = world.now;
        let id = super::uuid(&mut world.rng);
        let stored = Stored {
            id: id.clone(),
            body: body.to_owned(),
            attributes,
            sent_at: now,
            first_received_at: None,
            received_at: now,
            receive_count: 0,
            visible_at: now,
            receipt: String::new(),
        };
        let is_put = world.aws.sqs.put(queue, stored);
        if is_put {
            world.aws.sqs.arrivals.notify_waiters();
        }
        is_put.then_some(id)
    }

    /// Receives up to `max` messages: those are hidden for the queue's visibility timeout.
    pub fn receive(world: &mut World, queue: &str, max: usize) -> Vec<Message> {
        let now = world.now;
        let mut received = Vec::new();
        while received.len() < max {
            let salt = world.rng.u64(..);
            let Some(known) = world.aws.sqs.queues.get_mut(queue) else { break };
            match known.receive_one(now, salt) {
                Taken::Nothing => break,
                Taken::Expired => {}
                Taken::Message(message) => received.push(message),
                Taken::Dead(stored) => {
                    if let Some(dead_letter) = known.spec.dead_letter.clone() {
                        world.aws.sqs.put(&dead_letter, stored);
                    }
                }
            }
        }
        received
    }

    /// Deletes a message. An old handle succeeds without an effect, as with a standard queue.
    pub fn delete(world: &mut World, queue: &str, receipt: &str) -> bool {
        let Some(queue) = world.aws.sqs.queues.get_mut(queue) else { return false };
        let Some(number) = number_of(receipt) else { return false };
        if queue.messages.get(&number).is_none_or(|message| message.receipt != receipt) {
            return false;
        }
        queue.remove(number);
        true
    }

    /// Gives a message back at once: visible again, with its receive counted.
    pub fn release(world: &mut World, queue: &str, receipt: &str) -> Result<(), Unchanged> {
        Self::change_visibility(world, queue, receipt, 0)
    }

    /// Changes when a message that is in flight is visible again: `seconds` from now.
    pub fn change_visibility(
        world: &mut World,
        queue: &str,
        receipt: &str,
        seconds: i64,
    ) -> Result<(), Unchanged> {
        let now = world.now;
        let queue = world.aws.sqs.queues.get_mut(queue).ok_or(Unchanged::NoQueue)?;
        if !(0..=VISIBILITY_SECONDS_MAX).contains(&seconds) {
            return Err(Unchanged::OutOfRange);
        }
        let number = number_of(receipt).ok_or(Unchanged::BadHandle)?;
        let message = queue.messages.get_mut(&number).ok_or(Unchanged::Stale)?;
        if message.receipt != receipt {
            return Err(Unchanged::Stale);
        }
        if message.visible_at <= now {
            return Err(Unchanged::NotInFlight);
        }
        let visible_at = now + seconds * 1_000;
        if visible_at > message.received_at + VISIBILITY_SECONDS_MAX * 1_000 {
            return Err(Unchanged::BeyondLimit);
        }
        queue.order.remove(&(message.visible_at, number));
        message.visible_at = visible_at;
        queue.order.insert((visible_at, number));
        Ok(())
    }

    /// When the next message of `queue` is (or was) visible.
    pub fn next_visible_at(&self, queue: &str) -> Option<Millis> {
        self.queues.get(queue)?.order.first().map(|(at, _)| *at)
    }

    /// How many messages `queue` holds, in flight or not.
    pub fn depth(&self, queue: &str) -> usize {
        self.queues.get(queue).map_or(0, |queue| queue.messages.len())
    }

    fn put(&mut self, queue: &str, stored: Stored) -> bool {
        let Some(queue) = self.queues.get_mut(queue) else { return false };
        self.sent += 1;
        queue.order.insert((stored.visible_at, self.sent));
        queue.messages.insert(self.sent, stored);
        true
    }
}

enum Taken {
    Nothing,
    Expired,
    Dead(Stored),
    Message(Message),
}

impl Queue {
    /// How many messages are visible at `now`.
    pub fn visible(&self, now: Millis) -> usize {
        self.order.range(..=(now, u64::MAX)).count()
    }

    /// When the oldest message was sent: ApproximateAgeOfOldestMessage.
    pub fn oldest_sent_at(&self) -> Option<Millis> {
        self.messages.values().map(|message| message.sent_at).min()
    }

    fn receive_one(&mut self, now: Millis, salt: u64) -> Taken {
        let Some(&(visible_at, number)) = self.order.first() else { return Taken::Nothing };
        let Some(message) = self.messages.get_mut(&number).filter(|_| visible_at <= now) else {
            return Taken::Nothing;
        };
        if now - message.sent_at >= self.spec.retention_seconds * 1_000 {
            self.remove(number);
            return Taken::Expired;
        }
        if self.spec.dead_letter.is_some() && message.receive_count >= self.spec.max_receives {
            self.dead_lettered += 1;
            return match self.remove(number) {
                // The sending time stays, so that retention goes on counting from it.
                Some(stored) => Taken::Dead(Stored { visible_at: now, ..stored }),
                None => Taken::Nothing,
            };
        }
        self.order.remove(&(visible_at, number));
        message.visible_at = now + self.spec.visibility_seconds * 1_000;
        message.received_at = now;
        message.receive_count += 1;
        message.receipt = format!("AQEB{number:x}.{:x}.{salt:016x}", message.receive_count);
        let first_received_at = *message.first_received_at.get_or_insert(now);
        self.order.insert((message.visible_at, number));
        Taken::Message(Message {
            id: message.id.clone(),
            receipt: message.receipt.clone(),
            body: message.body.clone(),
            attributes: message.attributes.clone(),
            sent_at: message.sent_at,
            first_received_at,
            receive_count: message.receive_count,
        })
    }

    fn remove(&mut self, number: u64) -> Option<Stored> {
        let stored = self.messages.remove(&number)?;
        self.order.remove(&(stored.visible_at, number));
        Some(stored)
    }
}

/// The number of the message that a handle was given out for.
fn number_of(receipt: &str) -> Option<u64> {
    let number = receipt.strip_prefix("AQEB")?.split('.').next()?;
    u64::from_str_radix(number, 16).ok()
}
