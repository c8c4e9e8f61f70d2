//! The post: brings the event's messages to the function's queue, each when it is true.
//!
//! The world announces every lifecycle action itself. Where a message of the file speaks of that action it is sent in the
//! place of the world's own, with the token and the time of the action; any other action is announced by the world's own.
//! What speaks of no action (a test notification, a late message) goes along with the first.

use crate::demo::act::{Act, Part};
use crate::demo::cue::{Script, made_true};
use crate::demo::world::QUEUE;
use decision::event::{Parsed, parse};
use decision::signal::SignalKind;
use sandbox::World;
use sandbox::aws::events::EventBridge;
use serde_json::Value;
use std::collections::BTreeSet;

/// The messages of the event on their way.
#[derive(Debug)]
pub(crate) struct Post<'a> {
    script: &'a Script,
    /// For each message, whether it speaks of an action that the world will begin.
    plays: Vec<bool>,
    /// For each message, the body that was sent.
    sent: Vec<Option<String>>,
    /// The tokens of the actions that messages spoke of.
    tokens: BTreeSet<String>,
    /// How many of the world's own events were seen.
    seen: usize,
}

impl<'a> Post<'a> {
    /// Nothing is sent yet.
    pub(crate) fn new(script: &'a Script, parts: &[Part]) -> Self {
        let plays = |message: &crate::demo::cue::Message| {
            message.hook().is_some_and(|(instance, hook)| {
                let part = parts.iter().find(|part| part.instance == instance);
                part.is_some_and(|part| part.act == Act::of(hook))
            })
        };
        let plays: Vec<bool> = script.messages.iter().map(plays).collect();
        let sent = vec![None; plays.len()];
        Self { script, plays, sent, tokens: BTreeSet::new(), seen: 0 }
    }

    /// Whether there is something to bring.
    pub(crate) fn has_mail(&self, world: &World) -> bool {
        self.seen < world.aws.events.events_log.len()
    }

    /// For each message of the event, the body that was sent, if it was.
    pub(crate) fn sent(&self) -> &[Option<String>] {
        &self.sent
    }

    /// Whether a message of the event spoke of the action with this token.
    pub(crate) fn played(&self, token: &str) -> bool {
        self.tokens.contains(token)
    }

    /// Brings what is true by now.
    pub(crate) fn deliver(&mut self, world: &mut World) {
        if !self.plays.contains(&true) {
            self.deliver_others(world);
        }
        while let Some(own) = world.aws.events.events_log.get(self.seen).cloned() {
            self.seen += 1;
            // What has no detail-type is what this post brought.
            if !own.detail_type.ends_with("Lifecycle Action") {
                continue;
            }
            if !self.deliver_in_its_place(world, &own.body) {
                EventBridge::notify(world, QUEUE, own.body);
            }
        }
    }

    /// Sends the messages that speak of the same action as the world's own event; false if there are none.
    fn deliver_in_its_place(&mut self, world: &mut World, own: &str) -> bool {
        let (Ok(Parsed::Signal(signal)), Ok(value)) =
            (parse(own), serde_json::from_str::<Value>(own))
        else {
            return false;
        };
        let SignalKind::Hook(hook) = &signal.kind;
        let mut found = false;
        for index in 0..self.plays.len() {
            let same = self.script.messages[index].hook().is_some_and(|(instance, said)| {
                instance == signal.instance.as_str()
                    && said.hook == hook.hook
                    && said.transition == hook.transition
            });
            if !self.plays[index] || !same || self.sent[index].is_some() {
                continue;
            }
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (token, time) =
                (text(&value["detail"]["LifecycleActionToken"]), text(&value["time"]));
            let body = made_true(&self.script.messages[index].body, &token, &time);
            self.tokens.insert(token);
            self.send(world, index, body);
            found = true;
        }
        if found {
            self.deliver_others(world);
        }
        found
    }

    fn deliver_others(&mut self, world: &mut World) {
        for index in 0..self.plays.len() {
            if !self.plays[index] && self.sent[index].is_none() {
                self.send(world, index, self.script.messages[index].body.clone());
            }
        }
    }

    fn send(&mut self, world: &mut World, index: usize, body: String) {
        EventBridge::notify(world, QUEUE, body.clone());
        self.sent[index] = Some(body);
    }
}
